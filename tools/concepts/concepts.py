"""Write zennit-crp's Concept Relevance Propagation for two of the models of `golden/relevance.py`.

The CNN in the manner of VGG and the residual block, under two composites, with a canonizer that
merges the BatchNorms. A condition names channels of the outputs of layers, which are the models'
PyTorch modules: what else arrives there on the way back is masked. Relevance starts as the
target's score, or, with a start layer, as the activation of that layer. It is stored as it
arrives at the input, before zennit-crp sums it over channels. `exclude_parallel` lets it pass
only through the named layers, from one to the next; without it, what bypasses a named layer
stays. A layer without channels is masked altogether.

`conditions` holds one condition for each row. `recorded` is the relevance that arrives at the
outputs of layers, before they are masked themselves, and `importance` the share of each of
their channels. `toy` holds the model of zennit-crp's own tests, with linear weights `[out, in]`,
and the values that these tests expect.

zennit-crp 0.6.0 needs PyTorch 1: under PyTorch 2 the recorded relevance is masked, and counted
twice where relevance restarts at the layer. So it has an environment of its own, with Python
3.11 at most; zennit 0.4.6 is the newest that it allows. Everything is in float64. Results go to
`crates/attr-testkit/golden/crp.json`.

    pip install -r requirements.txt
    python concepts.py
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from crp.attribution import CondAttribution
from crp.concepts import ChannelConcept

sys.path.append(str(Path(__file__).resolve().parents[1] / "golden"))
from relevance import GOLDEN, load  # noqa: E402
from torch import nn
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import COMPOSITES, EpsilonPlus

# Sums of maps and the map of the sum, relative to the largest element.
ROUNDING = 1e-6
# zennit 0.4.6 and the later one of `relevance.py`. The earlier has no rule for BatchNorm, and a
# merged one still divides by the root of one plus its epsilon.
VERSIONS = 2e-5

CHAIN = {"conv2": [1], "conv1": [0]}
ACROSS = {"relu2": [1], "conv1": [0]}
RECORD = {"cnn": ["conv2", "conv1"], "residual": ["relu2", "conv2", "conv1"]}
# What is asked, the condition of all rows or of each, and what differs from the defaults.
BOTH = [
    ("no condition", {}, {"record": True}),
    ("one channel of the first convolution", {"conv1": [0]}, {}),
    ("another channel for each row", [{"conv1": [0]}, {"conv1": [1]}], {}),
    ("two channels at once", {"conv2": [0, 1]}, {}),
    ("a chain of two layers", CHAIN, {}),
    ("a chain of two layers", CHAIN, {"exclude_parallel": False}),
    ("no channel of a layer", {"conv1": []}, {}),
    ("no channel of a layer", {"conv1": []}, {"exclude_parallel": False}),
    ("one channel, with recorded layers", {"conv2": [1]}, {"record": True}),
    ("start at a layer", {"conv2": [1]}, {"start": "conv2", "record": True}),
    ("start at a layer, then an earlier one", CHAIN, {"start": "conv2"}),
]
BRANCH = [
    ("a channel inside the branch", {"conv1": [0]}, {"exclude_parallel": False}),
    (
        "a later channel inside the branch",
        {"conv2": [1]},
        {"exclude_parallel": False, "record": True},
    ),
    ("a chain from after the sum", ACROSS, {}),
    ("a chain from after the sum", ACROSS, {"exclude_parallel": False}),
    ("start after the sum", ACROSS, {"start": "relu2"}),
    ("start after the sum", ACROSS, {"start": "relu2", "exclude_parallel": False}),
]
CASES = {"cnn": BOTH, "residual": BOTH + BRANCH}

TOY_WEIGHTS = {
    "layer1": [[1, 2], [0, 1]],
    "layer2": [[2, 3], [0, 0]],
    "layer3": [[1, 4, 5, 0]],
}
TOY_INPUT = [[-1, 1]]
# The condition, whether parallel layers are excluded, and what the tests expect.
TOY_TESTS = [
    ({}, True, [-11, 21], [1, 4], [5, 0]),
    ({"layer1": [0], "layer2": []}, False, [-1, 2], [1, 4], [5, 0]),
    ({"layer1": [0]}, True, [-1, 2], [1, 4], [0, 0]),
    ({"layer2": [0], "layer1": [0]}, False, [-11, 17], [1, 4], [5, 0]),
    ({"layer3": [0], "layer1": [0]}, True, [-1, 2], [1, 4], [0, 0]),
]


class Toy(nn.Module):
    """Two layers side by side, as in zennit-crp's tests."""

    def __init__(self):
        super().__init__()
        for name, weight in TOY_WEIGHTS.items():
            weight = torch.tensor(weight, dtype=torch.float64)
            layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            layer.weight = nn.Parameter(weight)
            self.add_module(name, layer)

    def forward(self, x):
        return self.layer3(torch.cat([self.layer1(x), self.layer2(x)], dim=1))


class Unsummed(CondAttribution):
    """Returns relevance for each channel of the input, as zennit-crp's tests do."""

    def heatmap_modifier(self, data, on_device=None):
        return data.grad.detach()


def digits(values):
    """A tensor, flat and rounded to nine significant digits."""
    values = values.numpy().ravel()
    assert np.isfinite(values).all()
    # Minus zero becomes zero.
    return [float(f"{v:.9g}") + 0.0 for v in values]


def near(got, expected, tolerance):
    """Whether two tensors agree, relative to the largest element."""
    return (got - expected).abs().max() <= tolerance * expected.abs().max()


def attribute(name, composite, conditions, record=(), start=None, exclude_parallel=True):
    """zennit-crp's result for a stored model, one condition for each row."""
    model, x, _ = load(name)
    return Unsummed(model)(
        x.clone().requires_grad_(),
        conditions,
        COMPOSITES[composite](canonizers=[SequentialMergeBatchNorm()]),
        record_layer=list(record),
        start_layer=start,
        exclude_parallel=exclude_parallel,
    )


def with_targets(name, condition):
    """A condition, with the target of each row."""
    return [{"y": [target], **condition} for target in load(name)[2]]


def case(name, composite, what, condition, record=False, start=None, exclude_parallel=True):
    """One stored case."""
    _, x, targets = load(name)
    rows = condition if isinstance(condition, list) else [condition] * len(targets)
    assert len(rows) == len(x)
    if start is None:
        rows = [{"y": [target], **row} for target, row in zip(targets, rows)]
    record = RECORD[name] if record else []
    found = attribute(name, composite, rows, record, start, exclude_parallel)
    assert found.heatmap.shape == x.shape
    layers = {layer: found.relevances[layer] for layer in record}
    return {
        "model": name,
        "composite": composite,
        "what": what,
        "conditions": rows,
        "exclude_parallel": exclude_parallel,
        "start_layer": start,
        "record": record,
        "shape": list(found.heatmap.shape),
        "relevance": digits(found.heatmap),
        "recorded": {
            layer: {"shape": list(values.shape), "values": digits(values)}
            for layer, values in layers.items()
        },
        "importance": {
            layer: [digits(row) for row in ChannelConcept().attribute(values, abs_norm=True)]
            for layer, values in layers.items()
        },
    }


def toy():
    """The model of zennit-crp's tests, once it gives the values that they expect."""
    layers = list(TOY_WEIGHTS)
    tests = []
    for condition, exclude_parallel, heatmap, *expected in TOY_TESTS:
        x = torch.tensor(TOY_INPUT, dtype=torch.float64, requires_grad=True)
        conditions = [{"y": [0], **condition}]
        method = Unsummed(Toy())
        found = method(x, conditions, EpsilonPlus(), layers, exclude_parallel=exclude_parallel)
        relevances = dict(zip(layers, expected))
        assert torch.allclose(found.heatmap, found.heatmap.new_tensor([heatmap]))
        for layer, values in relevances.items():
            got = found.relevances[layer]
            assert torch.allclose(got, got.new_tensor([values])), (condition, layer)
        tests.append(
            {
                "conditions": conditions,
                "exclude_parallel": exclude_parallel,
                "relevance": [heatmap],
                "recorded": {layer: [values] for layer, values in relevances.items()},
            }
        )
    return {
        "composite": "epsilon_plus",
        "weights": TOY_WEIGHTS,
        "input": TOY_INPUT,
        "tests": tests,
    }


def check(name, composite):
    """What must hold between zennit-crp's results."""
    whole = attribute(name, composite, with_targets(name, {})).heatmap
    stored = json.loads((GOLDEN / "lrp.json").read_text())[name][composite]
    assert near(whole.ravel(), whole.new_tensor(stored), VERSIONS)

    def masked(condition, exclude_parallel):
        conditions = with_targets(name, condition)
        return attribute(name, composite, conditions, exclude_parallel=exclude_parallel).heatmap

    def summed(layer, exclude_parallel=False):
        channels = load(name)[0].get_submodule(layer).out_channels
        return sum(masked({layer: [channel]}, exclude_parallel) for channel in range(channels))

    for layer in ("conv1", "conv2"):
        if name == "cnn":
            # Every path crosses the layer.
            assert near(summed(layer), whole, ROUNDING), layer
        else:
            # Without the layer's channels, what is left took the skip connection.
            skip = masked({layer: []}, False)
            assert near(summed(layer, exclude_parallel=True) + skip, whole, ROUNDING), layer
            for condition in ({layer: [0]}, {layer: [1]}):
                assert not near(masked(condition, True), masked(condition, False), 0.1), layer


def main():
    cases = []
    for name, asked in CASES.items():
        for composite in ("epsilon_plus", "epsilon_plus_flat"):
            check(name, composite)
            for what, condition, options in asked:
                cases.append(case(name, composite, what, condition, **options))
                one = cases[-1]
                print(f"{name}, {composite}, {what}: {sum(one['relevance']):.6f}")
    path = GOLDEN / "crp.json"
    path.write_text(json.dumps({"toy": toy(), "cases": cases}) + "\n")
    print(f"{len(cases)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
