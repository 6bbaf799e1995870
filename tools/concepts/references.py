"""Write zennit-crp's reference samples of the concepts of the networks of scenes and digits.

Under EpsilonPlusFlat, BatchNorms folded: for each channel of each layer, the samples in which it is
strongest, by relevance for the sample's class and by activation, among all samples and among those
of one class. The neuron is -1 where a channel's largest value is at several positions. Everything is
in float64; lists are `[rank][channel]`.

`crates/attr-testkit/golden/references.json` is of the 64 scenes of `assets/scenes`,
`examples/tests/references.json` of the first 500 digits and of 500 scenes, in the order in which a
folder of images lists them.

It needs the environment of `concepts.py`, and cargo.

    pip install -r requirements.txt
    python references.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

# What zennit-crp draws with asks for another torchvision, and nothing is drawn here.
drawing = ModuleType("crp.image")
drawing.vis_img_heatmap = drawing.vis_opaque_img = None
sys.modules["crp.image"] = drawing

from crp.attribution import CondAttribution  # noqa: E402
from crp.concepts import ChannelConcept  # noqa: E402
from crp.visualization import FeatureVisualization  # noqa: E402
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402
from zennit.canonizers import SequentialMergeBatchNorm  # noqa: E402
from zennit.composites import EpsilonPlusFlat  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "assets"
BATCH = 24


class Scenes(nn.Module):
    """The network of `examples/src/scenes`."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(64 * 4 * 4, 6)

    def forward(self, x):
        x = self.pool(self.relu1(self.conv1(x)))
        x = self.pool(self.relu2(self.conv2(x)))
        x = self.pool(self.relu3(self.conv3(x)))
        return self.fc(x.flatten(1))


class Digits(nn.Module):
    """The network of `examples/src/net.rs`."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.relu1 = nn.ReLU()
        self.conv2, self.bn2 = nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv3, self.bn3 = nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.relu3 = nn.ReLU()
        self.fc = nn.Linear(32 * 4 * 4, 10)

    def forward(self, x):
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.pool(self.relu2(self.bn2(self.conv2(x))))
        x = self.relu3(self.bn3(self.conv3(x)))
        return self.fc(x.flatten(1))


class Channels(ChannelConcept):
    """Channels, where a largest value at several positions has the place -1."""

    def reference_sampling(self, relevance, *args, **kwargs):
        values = relevance.flatten(2) if relevance.dim() > 2 else relevance[..., None]
        several = (values == values.amax(-1, keepdim=True)).sum(-1) > 1
        samples, scores, neurons = super().reference_sampling(relevance, *args, **kwargs)
        return samples, scores, neurons.masked_fill(several.gather(0, samples), -1)


def tensors(path):
    """The tensors of a safetensors file: a length, a header in JSON, and the numbers."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    kinds = {"F32": "<f4", "U8": "u1"}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            array = np.frombuffer(data[start:end], dtype=kinds[entry["dtype"]])
            yield name, array.reshape(entry["shape"])


def weights(path):
    """The weights of a network under PyTorch's names."""
    for name, array in tensors(path):
        name = name.replace("gamma", "weight").replace("beta", "bias")
        # Burn's linear layers hold the transpose of PyTorch's.
        yield name, torch.tensor(array.T if name == "fc.weight" else array)


def digits():
    """The first 500 digits."""
    found = dict(tensors(ASSETS / "digits/digits.safetensors"))
    images = torch.tensor(found["images"][:500, None].astype(np.float64) / 16)
    return images, found["labels"][:500].tolist()


def some_scenes():
    """The scenes of the repository."""
    images = torch.tensor(np.load(ASSETS / "scenes/images.npy")).double()
    return images, np.load(ASSETS / "scenes/labels.npy").tolist()


def many_scenes():
    """A folder of 500 scenes."""
    with tempfile.TemporaryDirectory() as folder:
        command = "cargo run --quiet --release --example scene_folder --".split()
        subprocess.run([*command, "500", folder], cwd=ROOT, check=True)
        files = sorted(Path(folder).glob("*/*.png"))
        images = np.stack([np.asarray(Image.open(file)) for file in files])
        labels = [int(file.parent.name[0]) for file in files]
    return torch.tensor(images).permute(0, 3, 1, 2).double() / 255, labels


def lists(folder, prefix, count):
    """The stored lists of one layer, their first `count` ranks."""

    def read(what):
        return np.load(folder / f"{prefix}_{what}.npy")[:count].tolist()

    scores = [[float(f"{score:.6g}") for score in rank] for rank in read("rel")]
    return {"samples": read("data"), "scores": scores, "neurons": read("rf")}


def case(name, network, data, layers, settings):
    """What zennit-crp finds in a data set; `settings` say how many ranks are stored."""
    max_target, abs_norm, count, each = settings
    model = network().eval()
    model.load_state_dict(dict(weights(ASSETS / name / "model.safetensors")), strict=False)
    model.double()
    images, labels = data()
    with torch.no_grad():
        found = model(images).argmax(1)
    print(f"{(found == torch.tensor(labels)).sum()} of {len(labels)} {name} are recognised")
    with tempfile.TemporaryDirectory() as folder:
        search = FeatureVisualization(
            CondAttribution(model),
            list(zip(images, labels)),
            {layer: Channels() for layer in layers},
            max_target=max_target,
            abs_norm=abs_norm,
            path=folder,
        )
        composite = EpsilonPlusFlat(canonizers=[SequentialMergeBatchNorm()])
        search.run(composite, 0, len(labels), batch_size=BATCH)
        end = f"{max_target}_{'normed' if abs_norm else 'unnormed'}"
        found = {"data": name, "max_target": max_target, "abs_norm": abs_norm, "layers": {}}
        for layer in layers:
            found["layers"][layer] = {
                mode: {
                    "all": lists(Path(folder) / f"{short}Max_{end}", layer, count),
                    "targets": [
                        lists(Path(folder) / f"{short}Stats_{end}" / layer, target, each)
                        for target in sorted(set(labels))
                        if each
                    ],
                }
                for mode, short in (("relevance", "Rel"), ("activation", "Act"))
            }
    return found


def write(path, cases):
    path.write_text(json.dumps(cases, separators=(",", ":")) + "\n")
    print(f"{len(cases)} cases, {path.stat().st_size} bytes")


def main():
    layers = ["conv1", "conv2", "conv3", "fc"]
    settings = [("sum", True, 12, 4), ("max", False, 12, 0)]
    few = [case("scenes", Scenes, some_scenes, layers, each) for each in settings]
    write(ROOT / "crates/attr-testkit/golden/references.json", few)
    settings = [("sum", True, 10, 3), ("max", False, 10, 0)]
    many = [
        case(name, network, data, layers, each)
        for name, network, data in (
            ("digits", Digits, digits),
            ("scenes", Scenes, many_scenes),
        )
        for each in settings
    ]
    write(ROOT / "examples/tests/references.json", many)


if __name__ == "__main__":
    main()
