"""Write the reference attributions that the gradient methods are compared with.

Each model mirrors one of `crates/attr-testkit/src/models/small.rs`. For each, this
script draws weights, inputs and baselines from a fixed seed, runs Captum's
IntegratedGradients (every quadrature rule), Saliency and InputXGradient in float32,
and writes one JSON file to `crates/attr-testkit/golden/integrated_gradients/`.

Parameters carry Burn's names and layouts: linear weights are `[in, out]`, the
transpose of PyTorch's, and BatchNorm holds `gamma`, `beta`, `running_mean` and
`running_var`. All data are flat and row-major.

    pip install -r requirements.txt
    python integrated_gradients.py
"""

import json
from pathlib import Path

import captum
import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from torch import nn

OUT = (
    Path(__file__).resolve().parents[2]
    / "crates/attr-testkit/golden/integrated_gradients"
)
N_STEPS = 30
# Captum's `riemann_trapezoid` weights sum to (n - 1) / n, so its delta is large; it is
# stored as Captum gives it.
RULES = (
    "gausslegendre",
    "riemann_left",
    "riemann_right",
    "riemann_middle",
    "riemann_trapezoid",
)


class FunctionalRelu(nn.Module):
    """Two linear layers with a ReLU called as a function."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.second = nn.Linear(6, 3)

    def forward(self, x):
        return self.second(F.relu(self.first(x)))


class SmallCnn(nn.Module):
    """Convolution, BatchNorm, dropout, pooling, softmax."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4, eps=1e-5)
        self.dropout = nn.Dropout(0.5)
        self.pool = nn.MaxPool2d(2, stride=2)
        self.fc = nn.Linear(36, 3)

    def forward(self, x):
        x = F.relu(self.bn(self.conv(x)))
        x = self.pool(self.dropout(x))
        return F.softmax(self.fc(x.flatten(1)), dim=1)


class TwoInputs(nn.Module):
    """Two inputs of different shapes that meet in a product."""

    def __init__(self):
        super().__init__()
        self.left = nn.Linear(3, 4)
        self.right = nn.Linear(5, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, left, right):
        return self.head(torch.tanh(self.left(left)) * torch.sigmoid(self.right(right)))


# Name: model, seed, input shapes, target class of each row. The seeds are ones where every
# row has attributions well above rounding error, and where no step falls so near a kink
# (of ReLU or max pooling) that rounding decides the side.
MODELS = {
    "functional_relu": (FunctionalRelu, 57, [(3, 4)], [0, 1, 2]),
    "small_cnn": (SmallCnn, 78, [(2, 1, 6, 6)], [0, 2]),
    "two_inputs": (TwoInputs, 125, [(3, 3), (3, 5)], [0, 1, 1]),
}


def randomise(model):
    """Redraw every parameter, with a spread that leaves no activation saturated."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0.0, 1.5 / fan_in**0.5)
                module.bias.normal_(0.0, 0.3)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0.0, 0.3)
                module.running_mean.normal_(0.0, 0.3)
                module.running_var.uniform_(0.5, 1.5)


def floats(tensor):
    """Flat list; nine significant digits restore a float32 exactly."""
    values = tensor.detach().numpy().astype(np.float32).ravel()
    return [float(f"{value:.9g}") for value in values]


def array(tensor):
    """Shape and data of one tensor."""
    return {"shape": list(tensor.shape), "data": floats(tensor)}


def burn_parameters(model):
    """Parameters and buffers under Burn's names, in Burn's layouts."""
    parameters = {}
    for name, module in model.named_children():
        if isinstance(module, nn.Linear):
            tensors = {"weight": module.weight.T.contiguous(), "bias": module.bias}
        elif isinstance(module, nn.Conv2d):
            tensors = {"weight": module.weight, "bias": module.bias}
        elif isinstance(module, nn.BatchNorm2d):
            tensors = {
                "gamma": module.weight,
                "beta": module.bias,
                "running_mean": module.running_mean,
                "running_var": module.running_var,
            }
        else:
            continue
        parameters |= {f"{name}.{key}": array(value) for key, value in tensors.items()}
    return parameters


def golden(model, inputs, baselines, targets):
    """All that one golden file holds."""
    attributions, delta = {}, {}
    for rule in RULES:
        values, deltas = IntegratedGradients(model).attribute(
            inputs,
            baselines,
            target=targets,
            n_steps=N_STEPS,
            method=rule,
            return_convergence_delta=True,
        )
        attributions[rule] = [array(value) for value in values]
        delta[rule] = floats(deltas)

    leaves = tuple(x.clone().requires_grad_() for x in inputs)

    def simple(method):
        return [array(x) for x in method(model).attribute(leaves, target=targets)]

    return {
        "peer": f"captum {captum.__version__}, torch {torch.__version__.split('+')[0]}",
        "n_steps": N_STEPS,
        "parameters": burn_parameters(model),
        "inputs": [array(x) for x in inputs],
        "baselines": [array(x) for x in baselines],
        "targets": targets.tolist(),
        "attributions": attributions,
        "delta": delta,
        "saliency": simple(Saliency),
        "input_x_gradient": simple(InputXGradient),
    }


def main():
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    for name, (build, seed, shapes, targets) in MODELS.items():
        torch.manual_seed(seed)
        model = build().eval()
        randomise(model)
        inputs = tuple(torch.randn(shape) for shape in shapes)
        baselines = tuple(0.5 * torch.randn(shape) for shape in shapes)
        result = golden(model, inputs, baselines, torch.tensor(targets))
        text = json.dumps(result, separators=(",", ":"), allow_nan=False)
        (OUT / f"{name}.json").write_text(text + "\n", encoding="utf-8")

        print(name)
        for rule in RULES:
            print(f"  {rule:18} max |delta| {max(map(abs, result['delta'][rule])):.3e}")


if __name__ == "__main__":
    main()
