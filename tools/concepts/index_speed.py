"""Time `attrx crp index` beside zennit-crp's `FeatureVisualization` on the same CPU, model and data.

Two cases: a folder of generated scenes with the network of `assets/scenes`, and rows of noise at
224x224 with a VGG-11 of random weights, all of its convolutions. Both sides rank the samples of each
channel by relevance and activation, among all samples and in each class, and write what they find;
reading and decoding samples counts, loading the model does not. Runs alternate; medians, and their
ratio, are printed. zennit-crp runs with several batch sizes, and the best counts.

It needs the environment of `concepts.py`, and cargo.

    pip install -r requirements.txt
    python index_speed.py [--scenes 3000] [--rows 32] [--runs 5] [--threads 2]
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from references import ASSETS, ROOT, ChannelConcept, CondAttribution, EpsilonPlusFlat
from references import FeatureVisualization, Image, Scenes, nn, weights

# The widths of VGG-11's convolutions, and where it pools.
VGG = [64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"]


class Folder(torch.utils.data.Dataset):
    """A folder of images, decoded when they are asked for."""

    def __init__(self, path):
        self.files = sorted(Path(path).glob("*/*.png"))

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = np.asarray(Image.open(self.files[index]), dtype=np.float32) / 255
        label = int(self.files[index].parent.name[0])
        return torch.from_numpy(image).permute(2, 0, 1), label


def vgg():
    torch.manual_seed(1)
    layers, channels = [], 3
    for width in VGG:
        if width == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    linear = [nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
    linear.append(nn.Linear(4096, 1000))
    return nn.Sequential(*layers, nn.Flatten(), *linear).eval()


def cargo(*arguments):
    command = ["cargo", "run", "--quiet", "--release", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return done.stdout


def ours(arguments):
    """Samples per second of one run."""
    with tempfile.TemporaryDirectory() as folder:
        out = ["--out", f"{folder}/index", "--json"]
        summary = cargo("--bin", "attrx", "--", "crp", "index", *arguments, *out)
    summary = json.loads(summary)
    return summary["measured"] / summary["time"]


def theirs(model, data, layers, batch):
    """Samples per second of one run."""
    with tempfile.TemporaryDirectory() as folder:
        concepts = {layer: ChannelConcept() for layer in layers}
        attribution = CondAttribution(model)
        search = FeatureVisualization(attribution, data, concepts, path=folder)
        start = time.perf_counter()
        search.run(EpsilonPlusFlat(), 0, len(data), batch_size=batch)
        return len(data) / (time.perf_counter() - start)


def compare(name, arguments, model, data, layers, batches, runs):
    ours(arguments)
    found, best = [], {batch: [] for batch in batches}
    for _ in range(runs):
        found.append(ours(arguments))
        for batch in batches:
            best[batch].append(theirs(model, data, layers, batch))
    medians = {batch: statistics.median(rates) for batch, rates in best.items()}
    batch = max(medians, key=medians.get)
    own = statistics.median(found)
    ratio = own / medians[batch]
    print(
        f"{name}: attrx {own:.1f} per second, zennit-crp {medians[batch]:.1f} with batches of"
        f" {batch}: {ratio:.2f} times as fast",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=3000)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    os.environ["RAYON_NUM_THREADS"] = str(asked.threads)
    # Both sides decode on as many cores.
    os.sched_setaffinity(0, set(range(asked.threads)))
    with tempfile.TemporaryDirectory() as folder:
        scenes = f"{folder}/scenes"
        cargo("--example", "scene_folder", "--", str(asked.scenes), scenes)
        model = Scenes().eval()
        model.load_state_dict(dict(weights(ASSETS / "scenes/model.safetensors")))
        layers = ["conv1", "conv2", "conv3", "fc"]
        file = str(ASSETS / "scenes/scenes.onnx")
        arguments = ["--model", file, "--data", scenes, "--layers", "conv*,logits"]
        data = Folder(scenes)
        compare("scenes", arguments, model, data, layers, [16, 32, 128], asked.runs)

        model = vgg()
        rng = np.random.default_rng(2)
        rows = rng.standard_normal((asked.rows, 3, 224, 224), dtype=np.float32)
        labels = rng.integers(0, 1000, asked.rows)
        np.save(f"{folder}/rows.npy", rows)
        np.save(f"{folder}/labels.npy", labels)
        file = f"{folder}/vgg.onnx"
        names = {"input_names": ["image"], "dynamic_axes": {"image": {0: "batch"}}}
        torch.onnx.export(model, torch.zeros(1, 3, 224, 224), file, **names)
        arguments = ["--model", file, "--data", f"{folder}/rows.npy", "--layers", "*Conv*"]
        arguments += ["--labels", f"{folder}/labels.npy"]
        # Lists of 1,000 classes, which these few rows hardly fill.
        arguments += ["--table-memory", "16384"]
        data = list(zip(torch.from_numpy(rows), labels.tolist()))
        modules = model.named_modules()
        layers = [name for name, module in modules if isinstance(module, nn.Conv2d)]
        compare("VGG-11", arguments, model, data, layers, [4, 8, 16], asked.runs)


if __name__ == "__main__":
    main()
