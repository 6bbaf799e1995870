"""Write zennit's LRP for every composite that attr implements.

Four of the models whose weights and inputs `gradient_family.py` stores: a perceptron, a CNN in the
manner of VGG, a residual block with BatchNorm, a 1-D CNN. zennit sees modules only, so sums and
means are modules here, and a canonizer merges the BatchNorms. The relevance at the output is the
target's score. Results go to `crates/attr-testkit/golden/lrp.json`.

    pip install -r requirements.txt
    python relevance.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from gradient_family import Cnn, Conv1dNet, Mlp
from torch import nn
from zennit import composites
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.layer import Sum

GOLDEN = Path(__file__).resolve().parents[2] / "crates/attr-testkit/golden"
LOW, HIGH = -3.0, 3.0


class Residual(nn.Module):
    """That of `gradient_family.py`, with its sum and its mean as modules."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(3, eps=1e-5)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(3, 2, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(2, eps=1e-5)
        self.sum = Sum()
        self.relu2 = nn.ReLU()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2, 3)

    def forward(self, x):
        inner = self.relu1(self.bn1(self.conv1(x)))
        inner = self.bn2(self.conv2(inner))
        both = self.sum(torch.stack([inner, x], dim=-1))
        return self.fc(self.mean(self.relu2(both)).flatten(1))


MODELS = {"mlp": Mlp, "cnn": Cnn, "residual": Residual, "conv1d": Conv1dNet}
BURN = {"gamma": "weight", "beta": "bias"}


def tensor(array):
    """A stored array."""
    return torch.tensor(array["data"], dtype=torch.float64).reshape(array["shape"])


def load(name):
    """A model with its stored weights, in 64 bits, and its inputs and targets."""
    case = json.loads((GOLDEN / "captum" / f"{name}.json").read_text())
    model = MODELS[name]().double().eval()
    state = model.state_dict()
    for path, array in case["parameters"].items():
        module, own = path.rsplit(".", 1)
        value = tensor(array)
        # Burn's linear layers hold the transpose of PyTorch's.
        if isinstance(model.get_submodule(module), nn.Linear) and own == "weight":
            value = value.T
        key = f"{module}.{BURN.get(own, own)}"
        assert state[key].shape == value.shape, key
        state[key] = value
    model.load_state_dict(state)
    return model, tensor(case["inputs"][0]), case["targets"]


def main():
    results = {}
    for name in MODELS:
        results[name] = {}
        for key, build in composites.COMPOSITES.items():
            model, x, targets = load(name)
            options = {"canonizers": [SequentialMergeBatchNorm()]}
            if key == "epsilon_gamma_box":
                bound = torch.ones_like(x[:1])
                options |= {"low": LOW * bound, "high": HIGH * bound}
            seed = torch.eye(3, dtype=x.dtype)[targets]
            with Gradient(model=model, composite=build(**options)) as attributor:
                output, relevance = attributor(x.clone(), lambda out: out.detach() * seed)
            values = relevance.detach().numpy()
            assert np.isfinite(values).all()
            results[name][key] = [float(f"{v:.9g}") for v in values.ravel()]
            print(f"{name}, {key}: {values.sum():.6f} of {(output * seed).sum():.6f}")
    (GOLDEN / "lrp.json").write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
