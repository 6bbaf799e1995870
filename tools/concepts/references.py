"""Write zennit-crp's reference samples of the concepts of the scenes' network.

The 64 scenes of `assets/scenes`, under EpsilonPlusFlat: for each channel of each layer, the samples
in which it is strongest, by relevance for the sample's class and by activation, among all samples
and among those of one class. The neuron is -1 where a channel's largest value is at several
positions. Everything is in float64. Results go to
`crates/attr-testkit/golden/references.json`; lists are `[rank][channel]`.

It needs the environment of `concepts.py`.

    pip install -r requirements.txt
    python references.py
"""

import json
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
from torch import nn  # noqa: E402
from zennit.composites import EpsilonPlusFlat  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SCENES = ROOT / "assets/scenes"
GOLDEN = ROOT / "crates/attr-testkit/golden"
LAYERS = ["conv1", "conv2", "conv3", "fc"]
# What is asked, and how many samples of each list are stored.
SETTINGS = [("sum", True, 12, 4), ("max", False, 12, 0)]
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


class Channels(ChannelConcept):
    """Channels, where a largest value at several positions has the place -1."""

    def reference_sampling(self, relevance, *args, **kwargs):
        values = relevance.flatten(2) if relevance.dim() > 2 else relevance[..., None]
        several = (values == values.amax(-1, keepdim=True)).sum(-1) > 1
        samples, scores, neurons = super().reference_sampling(relevance, *args, **kwargs)
        return samples, scores, neurons.masked_fill(several.gather(0, samples), -1)


def weights():
    """The tensors of `model.safetensors`: a length, a header in JSON, and the numbers."""
    data = (SCENES / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["dtype"] == "F32"
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            array = np.frombuffer(data[start:end], dtype="<f4").reshape(entry["shape"])
            # Burn's linear layers hold the transpose of PyTorch's.
            yield name, torch.tensor(array.T if name == "fc.weight" else array)


def lists(folder, prefix, count):
    """The stored lists of one layer, their first `count` ranks."""

    def read(what):
        return np.load(folder / f"{prefix}_{what}.npy")[:count].tolist()

    scores = [[float(f"{score:.6g}") for score in rank] for rank in read("rel")]
    return {"samples": read("data"), "scores": scores, "neurons": read("rf")}


def main():
    model = Scenes().eval()
    model.load_state_dict(dict(weights()))
    model.double()
    images = torch.tensor(np.load(SCENES / "images.npy")).double()
    labels = np.load(SCENES / "labels.npy").tolist()
    with torch.no_grad():
        found = model(images).argmax(1)
    print(f"{(found == torch.tensor(labels)).sum()} of {len(labels)} scenes are recognised")
    cases = []
    for max_target, abs_norm, count, each in SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            search = FeatureVisualization(
                CondAttribution(model),
                list(zip(images, labels)),
                {layer: Channels() for layer in LAYERS},
                max_target=max_target,
                abs_norm=abs_norm,
                path=folder,
            )
            search.run(EpsilonPlusFlat(), 0, len(labels), batch_size=BATCH)
            end = f"{max_target}_{'normed' if abs_norm else 'unnormed'}"
            case = {"max_target": max_target, "abs_norm": abs_norm, "layers": {}}
            for layer in LAYERS:
                case["layers"][layer] = {
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
            cases.append(case)
    path = GOLDEN / "references.json"
    path.write_text(json.dumps(cases, separators=(",", ":")) + "\n")
    print(f"{len(cases)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
