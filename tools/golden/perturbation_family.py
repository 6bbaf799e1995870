"""Write the results of black-box methods, and of the surrogate models that some of them fit,
from Captum, scikit-learn, lime and shap.

Models, parameters, inputs, baselines and targets are read from the files that
`gradient_family.py` writes to `crates/attr-testkit/golden/captum/`. This script writes,
beside that folder,

- `perturbation.json`: Captum's ablation, occlusion, permutation and exact Shapley values;
- `regression.json`: weighted linear, ridge and lasso regressions of scikit-learn;
- `lime.json`: lime's choice of features and fit on a given neighbourhood, and its bins; and
- `shap.json`: shap's Kernel, Exact and Partition explainers with every coalition evaluated.

Captum runs in float64 on the float32 parameters, and its values are stored as float32. Where
it still sums in float32 (Shapley values, occlusion), it is made to sum in float64;
unchanged, on a float32 model, it must agree within `AGREEMENT`. Everything else is in float64
and stored to the last digit. Every number is also computed here a second time from the
definition of its method, without the reference library, and must agree within `ROUNDING`.

Random data are multiples of 1/1024, so that float32 and float64 hold the same values.

    pip install -r requirements.txt
    python perturbation_family.py
"""

import importlib.metadata
import itertools
import json
import math
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from unittest.mock import patch

import captum.attr as ca
import numpy as np
import shap
import torch
from lime.discretize import DecileDiscretizer, QuartileDiscretizer
from lime.lime_base import LimeBase
from lime.lime_tabular import LimeTabularExplainer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LinearRegression, Ridge
from torch import nn

from gradient_family import MODELS, OUT, Case, array

GOLDEN = OUT.parent
# Relative to the largest element: float32 and float64 runs, and a peer and the definition.
AGREEMENT = 1e-5
ROUNDING = 1e-10
# How much better the feature that forward selection takes must be than the next best, and
# how far a threshold must be from what it decides.
MARGIN = 1e-5


def package(name):
    """Name and version."""
    return f"{name} {importlib.metadata.version(name).split('+')[0]}"


def packages(*names):
    """Names and versions."""
    return ", ".join(map(package, names))


def write(name, document, counted):
    """Writes one file and prints its size."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    (GOLDEN / name).write_text(text + "\n", encoding="utf-8")
    print(f"{name}: {counted}, {len(text) / 1000:.0f} kB")


def exact(values):
    """Shape and data in float64."""
    values = np.asarray(values, dtype=np.float64)
    return {"shape": list(values.shape), "data": values.ravel().tolist()}


def integers(values):
    """Shape and data of whole numbers."""
    values = np.asarray(values)
    return {"shape": list(values.shape), "data": values.astype(int).ravel().tolist()}


def tensor(stored):
    """The tensor that `array` describes."""
    return torch.tensor(stored["data"], dtype=torch.float32).reshape(stored["shape"])


def dyadic(values):
    """Rounded to multiples of 1/1024."""
    return np.round(np.asarray(values) * 1024) / 1024


def far(values, wanted):
    """Largest difference, relative to the largest wanted value."""
    values, wanted = np.asarray(values), np.asarray(wanted)
    assert values.shape == wanted.shape
    return np.abs(values - wanted).max() / max(np.abs(wanted).max(), 1e-30)


def same(values, wanted):
    """Asserts that two computations of the same are."""
    assert far(values, wanted) < ROUNDING, far(values, wanted)


def shapley(values):
    """Shapley values by their definition, from the value of each coalition: bit i of the
    index says whether player i is in it."""
    players = int(math.log2(len(values)))
    result = []
    for player in range(players):
        total = 0.0
        for coalition in range(len(values)):
            if coalition >> player & 1:
                continue
            size = coalition.bit_count()
            orders = math.factorial(size) * math.factorial(players - size - 1)
            gain = values[coalition | 1 << player] - values[coalition]
            total = total + gain * (orders / math.factorial(players))
        result.append(total)
    return result


# Perturbation.


def restored(name):
    """A case of `gradient_family.py` with parameters and data from its file."""
    spec = MODELS[name]
    file = json.loads((OUT / f"{name}.json").read_text(encoding="utf-8"))
    model = spec.build().eval()
    found = dict(model.named_parameters())
    assert found.keys() == file["parameters"].keys()
    with torch.no_grad():
        for path, stored in file["parameters"].items():
            module = model.get_submodule(path.rpartition(".")[0])
            transposed = isinstance(module, nn.Linear) and path.endswith(".weight")
            value = tensor(stored)
            found[path].copy_(value.T if transposed else value)

    def data(key):
        tensors = tuple(map(tensor, file[key]))
        return tuple(x.long() for x in tensors) if spec.integer else tensors

    tensors = map(data, ("inputs", "baselines", "distribution"))
    case = Case(spec, model, *tensors, torch.tensor(file["targets"]))
    with torch.no_grad():
        assert far(model(*case.inputs), tensor(file["output"])) < AGREEMENT, name
    return case


@dataclass
class Run:
    """What to attribute, and how."""

    model: str
    method: str
    # "zero", "given" or a number; none for permutation. With a layer, "given" is what the
    # layer has at the given baselines.
    baseline: object = "zero"
    # One per input, or one for the layer: [1, ...] or [batch, ...].
    masks: tuple | None = None
    layer: str | None = None
    to_input: bool = False
    neuron: tuple | None = None
    options: dict = field(default_factory=dict)

    def described(self):
        """As it is stored, but for the values."""
        return {
            "model": self.model,
            "method": self.method,
            "layer": self.layer,
            "to_input": self.to_input,
            "neuron": self.neuron and list(self.neuron),
            "baseline": self.baseline,
            "masks": self.masks and [integers(mask) for mask in self.masks],
            "options": self.options,
        }


def rows(*ids):
    """A mask from the ids of its rows."""
    return torch.tensor(ids)


def grid(shape, block):
    """A mask of one row where the elements of each block have one id."""
    counts = [-(-size // side) for size, side in zip(shape, block)]
    places = [i // side for i, side in zip(np.indices(shape), block)]
    return torch.tensor(np.ravel_multi_index(places, counts))[None]


def windows(*pairs):
    """Options of occlusion: window and strides of each input."""
    return {
        "windows": [list(window) for window, _ in pairs],
        "strides": [list(strides) for _, strides in pairs],
    }


def permuted(*order):
    """Options of permutation: row i takes the features of row order[i]."""
    return {"permutation": list(order)}


def mlp_runs():
    """Every method on one input of six features."""
    groups = (rows([0, 0, 1, 2, 2, 1]),)
    four = (rows([0, 1, 1, 2, 3, 3]),)
    # Ids need not follow each other, and a row need not have all.
    ragged = (rows([0, 2, 2, 5, 9, 9], [9, 9, 9, 0, 0, 5], [2, 2, 2, 2, 2, 2]),)
    each = (rows([0, 0, 1, 1, 2, 2], [2, 1, 0, 2, 1, 0], [0, 0, 0, 0, 0, 1]),)
    layer_groups = (rows([0, 0, 1, 1, 2, 2, 3, 3]),)
    for baseline in ("zero", 0.25, "given"):
        yield Run("mlp", "feature_ablation", baseline)
    yield Run("mlp", "feature_ablation", "given", groups)
    yield Run("mlp", "feature_ablation", "zero", ragged)
    yield Run("mlp", "feature_permutation", None, options=permuted(1, 2, 0))
    yield Run("mlp", "feature_permutation", None, groups, options=permuted(2, 1, 0))
    for baseline in ("zero", "given"):
        yield Run("mlp", "shapley_values", baseline)
    yield Run("mlp", "shapley_values", -0.5, four)
    yield Run("mlp", "shapley_values", "given", each)
    yield Run("mlp", "occlusion", "given", options=windows(([3], [2])))
    yield Run("mlp", "layer_feature_ablation", "zero", layer="fc1")
    yield Run("mlp", "layer_feature_ablation", 0.5, layer_groups, layer="fc1")
    yield Run("mlp", "layer_feature_ablation", "given", layer="fc2", to_input=True)
    yield Run("mlp", "neuron_feature_ablation", "given", layer="fc2", neuron=(3,))
    yield Run("mlp", "neuron_feature_ablation", "zero", groups, layer="fc4", neuron=(1,))


def two_inputs_runs():
    """Masks whose ids stay within an input, and ones that span both."""
    apart = (rows([0, 0, 1]), rows([2, 2, 3, 3, 4]))
    six = (rows([0, 1, 2]), rows([3, 3, 4, 4, 5]))
    spanning = (rows([0, 1, 0]), rows([1, 1, 2, 0, 2]))
    each = (
        rows([0, 1, 2], [1, 1, 1], [2, 0, 0]),
        rows([0, 0, 1, 1, 2], [0, 1, 2, 0, 1], [2, 2, 2, 1, 1]),
    )
    yield Run("two_inputs", "feature_ablation")
    yield Run("two_inputs", "feature_ablation", "given", apart)
    yield Run("two_inputs", "feature_ablation", "given", spanning)
    yield Run("two_inputs", "feature_ablation", 0.5, each)
    yield Run("two_inputs", "feature_permutation", None, options=permuted(2, 0, 1))
    options = permuted(1, 2, 0)
    yield Run("two_inputs", "feature_permutation", None, spanning, options=options)
    yield Run("two_inputs", "shapley_values", "zero", six)
    yield Run("two_inputs", "shapley_values", "given", spanning)
    yield Run("two_inputs", "shapley_values", "given", each)
    options = windows(([2], [1]), ([2], [2]))
    yield Run("two_inputs", "occlusion", "given", options=options)
    yield Run("two_inputs", "layer_feature_ablation", "given", layer="left")
    layer_groups = (rows([0, 1, 1, 0]),)
    yield Run(
        "two_inputs", "layer_feature_ablation", "zero", layer_groups, "head", to_input=True
    )
    yield Run("two_inputs", "neuron_feature_ablation", "given", layer="left", neuron=(1,))
    yield Run(
        "two_inputs", "neuron_feature_ablation", "zero", spanning, "head", neuron=(0,)
    )


def cnn_runs():
    """Images."""
    quarters = grid((1, 8, 8), (1, 4, 4))
    each = (torch.cat([quarters, grid((1, 8, 8), (1, 2, 8))]),)
    channels = (grid((4, 2, 2), (1, 2, 2)),)
    yield Run("cnn", "feature_ablation")
    yield Run("cnn", "feature_ablation", "given", (grid((1, 8, 8), (1, 2, 2)),))
    yield Run("cnn", "feature_ablation", "given", each)
    # The last window clipped along both sides, along one side, and along none.
    yield Run("cnn", "occlusion", "zero", options=windows(([1, 3, 3], [1, 2, 2])))
    yield Run("cnn", "occlusion", "given", options=windows(([1, 4, 3], [1, 2, 3])))
    yield Run("cnn", "occlusion", 0.3, options=windows(([1, 2, 2], [1, 1, 1])))
    yield Run("cnn", "feature_permutation", None, (quarters,), options=permuted(1, 0))
    yield Run("cnn", "shapley_values", "given", (quarters,))
    yield Run("cnn", "shapley_values", "zero", (grid((1, 8, 8), (1, 3, 4)),))
    yield Run("cnn", "shapley_values", -0.25, each)
    yield Run("cnn", "layer_feature_ablation", "zero", layer="conv1")
    yield Run("cnn", "layer_feature_ablation", "given", channels, layer="conv2")
    yield Run("cnn", "layer_feature_ablation", 0.1, layer="fc", to_input=True)
    yield Run("cnn", "neuron_feature_ablation", layer="conv2", neuron=(1, 0, 1))
    yield Run("cnn", "neuron_feature_ablation", "given", (quarters,), "fc", neuron=(2,))


def conv1d_runs():
    """Sequences with channels."""
    halves = (grid((3, 9), (1, 5)),)
    yield Run("conv1d", "feature_ablation", "given")
    yield Run("conv1d", "feature_ablation", 0.5, (grid((3, 9), (1, 9)),))
    # Clipped along the sequence, along both, and along neither.
    yield Run("conv1d", "occlusion", "given", options=windows(([2, 4], [1, 3])))
    yield Run("conv1d", "occlusion", "zero", options=windows(([2, 2], [2, 2])))
    yield Run("conv1d", "occlusion", -0.2, options=windows(([3, 3], [3, 3])))
    yield Run("conv1d", "shapley_values", "given", halves)
    yield Run("conv1d", "feature_permutation", None, halves, options=permuted(1, 0))
    yield Run("conv1d", "layer_feature_ablation", layer="conv1")
    yield Run("conv1d", "neuron_feature_ablation", "given", layer="conv2", neuron=(1, 0))


def embedding_runs():
    """Tokens, also another token than 0 as the baseline."""
    groups = (rows([0, 0, 1, 2, 2]),)
    tokens = (grid((5, 6), (1, 6)),)
    yield Run("embedding", "feature_ablation")
    yield Run("embedding", "feature_ablation", 7)
    yield Run("embedding", "feature_ablation", 7, groups)
    yield Run("embedding", "occlusion", 7, options=windows(([2], [2])))
    yield Run("embedding", "feature_permutation", None, options=permuted(1, 2, 0))
    yield Run("embedding", "shapley_values", 7)
    yield Run("embedding", "shapley_values", "zero", groups)
    yield Run("embedding", "layer_feature_ablation", "zero", tokens, layer="embedding")
    yield Run("embedding", "layer_feature_ablation", "given", layer="fc2", to_input=True)


RUNS = {
    "mlp": mlp_runs,
    "two_inputs": two_inputs_runs,
    "cnn": cnn_runs,
    "conv1d": conv1d_runs,
    "embedding": embedding_runs,
}


@contextmanager
def summed_exactly():
    """Makes Captum sum in float64 where it asks for float32 whatever the model has."""
    double = patch.object(torch.Tensor, "float", torch.Tensor.double)
    with double, patch("torch.float", torch.float64):
        yield


class Stop(Exception):
    """Ends a forward pass."""


def at_layer(case, run, inputs, change):
    """The outputs with the layer's value, of its input or output, replaced by `change`."""
    module = getattr(case.model, run.layer)
    if run.to_input:
        hook = module.register_forward_pre_hook(lambda _, x: (change(x[0]),))
    else:
        hook = module.register_forward_hook(lambda _, _inputs, x: change(x))
    try:
        return case.model(*inputs)
    finally:
        hook.remove()


def layer_value(case, run, inputs):
    """What the layer has at these inputs."""
    seen = []

    def note(value):
        seen.append(value)
        raise Stop

    try:
        at_layer(case, run, inputs, note)
    except Stop:
        pass
    return seen[0]


def captum_values(case, run):
    """Runs Captum."""
    baselines = None if run.baseline == "zero" else run.baseline
    if run.method == "layer_feature_ablation":
        if run.baseline == "given":
            baselines = layer_value(case, run, case.baselines)
        layer = getattr(case.model, run.layer)
        values = ca.LayerFeatureAblation(case.model, layer).attribute(
            case.inputs,
            layer_baselines=baselines,
            target=case.targets,
            layer_mask=run.masks,
            attribute_to_layer_input=run.to_input,
        )
        return values if isinstance(values, tuple) else (values,)

    if run.baseline == "given":
        baselines = case.baselines
    elif baselines is not None:
        baselines = tuple(baselines for _ in case.inputs)
    arguments = {"target": case.targets}
    if run.method != "occlusion":
        arguments["feature_mask"] = run.masks
    if run.method != "feature_permutation":
        arguments["baselines"] = baselines
    if run.method == "neuron_feature_ablation":
        del arguments["target"]
        arguments["neuron_selector"] = run.neuron
        arguments["attribute_to_neuron_input"] = run.to_input
        layer = getattr(case.model, run.layer)
        return ca.NeuronFeatureAblation(case.model, layer).attribute(
            case.inputs, **arguments
        )
    if run.method == "feature_permutation":
        order = run.options["permutation"]

        def permute(x, mask):
            return x[order] * mask.to(x.dtype) + x * mask.bitwise_not().to(x.dtype)

        method = ca.FeaturePermutation(case.model, permute)
    elif run.method == "feature_ablation":
        method = ca.FeatureAblation(case.model)
    elif run.method == "shapley_values":
        method = ca.ShapleyValues(case.model)
    else:
        method = ca.Occlusion(case.model)
        arguments["sliding_window_shapes"] = tuple(map(tuple, run.options["windows"]))
        arguments["strides"] = tuple(map(tuple, run.options["strides"]))
    return method.attribute(case.inputs, **arguments)


class Definition:
    """The methods once more, by their definition."""

    def __init__(self, case, run):
        self.case, self.run = case, run
        at_layer_value = run.method == "layer_feature_ablation"
        self.features = case.inputs
        if at_layer_value:
            self.features = (layer_value(case, run, case.inputs),)
        if run.baseline == "given":
            baselines = case.baselines
            if at_layer_value:
                baselines = (layer_value(case, run, baselines),)
        else:
            value = run.baseline if isinstance(run.baseline, (int, float)) else 0
            baselines = [torch.full_like(x, value) for x in self.features]
        self.baselines = baselines
        self.masks = self.expanded_masks()

    def expanded_masks(self):
        """An id per element of every row; without masks, every element by itself."""
        masks, start = self.run.masks, 0
        if masks is None:
            masks = []
            for x in self.features:
                ids = torch.arange(x[0].numel()).reshape(1, *x.shape[1:])
                masks.append(ids + start)
                start += x[0].numel()
        return [mask.expand(x.shape) for mask, x in zip(masks, self.features)]

    def score(self, features):
        """What is explained, of each row."""
        run, case = self.run, self.case
        if run.method == "layer_feature_ablation":
            output = at_layer(case, run, case.inputs, lambda _: features[0])
        elif run.method == "neuron_feature_ablation":
            return layer_value(case, run, features)[(slice(None), *run.neuron)]
        else:
            output = case.model(*features)
        return output[torch.arange(len(output)), case.targets]

    def change(self, selected, others):
        """How much the score falls with the selected features replaced."""
        changed = [torch.where(*parts) for parts in zip(selected, others, self.features)]
        return self.score(self.features) - self.score(changed)

    def spread(self, values, selected, totals):
        """Adds a value per row to the selected elements."""
        for total, chosen in zip(totals, selected):
            total += chosen * values.reshape(-1, *[1] * (chosen.dim() - 1))

    def zeros(self):
        """A total per element."""
        return [torch.zeros(x.shape, dtype=torch.float64) for x in self.features]

    def values(self):
        """The attribution."""
        if self.run.method == "occlusion":
            return self.occluded()
        if self.run.method == "shapley_values":
            return self.shapley_values()
        others = self.baselines
        if self.run.method == "feature_permutation":
            others = [x[self.run.options["permutation"]] for x in self.features]
        totals = self.zeros()
        for identity in sorted(set(torch.cat([m.flatten() for m in self.masks]).tolist())):
            selected = [mask == identity for mask in self.masks]
            self.spread(self.change(selected, others), selected, totals)
        return totals

    def occluded(self):
        """The mean over the windows that hold an element. Windows lie every stride from 0
        until one reaches the end, where it may be clipped."""
        results = []
        options = self.run.options
        for i, (window, strides) in enumerate(zip(options["windows"], options["strides"])):
            total, count = self.zeros()[i], self.zeros()[i]
            sizes = self.features[i].shape[1:]
            starts = []
            for size, side, stride in zip(sizes, window, strides):
                starts.append([0])
                while starts[-1][-1] + side < size:
                    starts[-1].append(starts[-1][-1] + stride)
            for corner in itertools.product(*starts):
                selected = [torch.zeros(x.shape, dtype=torch.bool) for x in self.features]
                place = tuple(slice(c, c + side) for c, side in zip(corner, window))
                selected[i][(slice(None), *place)] = True
                change = self.change(selected, self.baselines)
                self.spread(change, selected[i : i + 1], [total])
                count += selected[i]
            results.append(total / count)
        return results

    def shapley_values(self):
        """From the scores of all coalitions."""
        players = sorted(set(torch.cat([m.flatten() for m in self.masks]).tolist()))
        scores = []
        for coalition in range(2 ** len(players)):
            present = [p for i, p in enumerate(players) if coalition >> i & 1]
            present = torch.tensor(present, dtype=torch.long)
            absent = [~torch.isin(mask, present) for mask in self.masks]
            changed = zip(absent, self.baselines, self.features)
            scores.append(self.score([torch.where(*parts) for parts in changed]))
        totals = self.zeros()
        for player, value in zip(players, shapley(scores)):
            self.spread(value, [mask == player for mask in self.masks], totals)
        return totals


def evaluated(case, run, context):
    """Captum's values, all in one and by input."""
    with torch.no_grad(), context:
        values = captum_values(case, run)
    return np.concatenate([x.double().flatten() for x in values]), values


def perturbation():
    """Writes `perturbation.json`."""
    cases, worst = [], 0.0
    for name, runs in RUNS.items():
        case = restored(name)
        double = case.double()
        for run in runs():
            found, values = evaluated(double, run, summed_exactly())
            single, _ = evaluated(case, run, nullcontext())
            with torch.no_grad():
                wanted = Definition(double, run).values()
            same(found, np.concatenate([x.flatten() for x in wanted]))
            off = far(single, found)
            worst = max(worst, off)
            assert off < AGREEMENT, (run, off)
            assert np.abs(found).max() > 1e-3, run
            cases.append(run.described() | {"values": [array(x) for x in values]})
    print(f"Captum in float32 and float64 differ by {worst:.1e}")
    document = {"peer": packages("captum", "torch"), "cases": cases}
    write("perturbation.json", document, f"{len(cases)} cases")


# Regression.


def regression_problems():
    """Name, design, targets, weights, whether to fit without intercept, too."""
    random = np.random.default_rng(5)

    def targets(x):
        """Linear, with one product and noise."""
        slopes = random.normal(size=x.shape[1]) * (random.random(x.shape[1]) < 0.7)
        noise = 0.3 * random.normal(size=len(x))
        return dyadic(0.7 + x @ slopes + 0.8 * x[:, 0] * x[:, -1] + noise)

    def binary(count, columns):
        """A row of ones, as of the input itself, then random rows."""
        x = (random.random((count, columns)) < 0.5).astype(float)
        x[0] = 1.0
        return x

    def positive(count):
        return dyadic(0.05 + random.random(count))

    def some_zero(count):
        return positive(count) * (random.random(count) < 0.7)

    x = binary(40, 8)
    yield "binary uniform", x, targets(x), np.ones(40), False
    x = binary(60, 12)
    yield "binary positive", x, targets(x), positive(60), True
    x = binary(20, 6)
    yield "binary some zero", x, targets(x), some_zero(20), False
    x = dyadic(random.normal(size=(30, 5)) * [0.3, 1.0, 2.0, 1.0, 0.5] + 1.0)
    yield "real positive", x, targets(x), positive(30), False
    # Weights that do not add up to anything near the number of rows.
    x = dyadic(random.normal(size=(25, 7)))
    yield "real some zero", x, targets(x), 64 * some_zero(25), False


def centred(x, y, weights, intercept):
    """Design and targets less their weighted means, and those means."""
    if not intercept:
        return x, y, np.zeros(x.shape[1]), 0.0
    x_mean, y_mean = np.average(x, 0, weights), np.average(y, weights=weights)
    return x - x_mean, y - y_mean, x_mean, y_mean


def check_fit(x, y, weights, kind, alpha, intercept, model):
    """Asserts that a fit is what its objective says."""
    x_centred, y_centred, x_mean, y_mean = centred(x, y, weights, intercept)
    gram = x_centred.T @ (weights[:, None] * x_centred)
    moments = x_centred.T @ (weights * y_centred)
    if kind == "lasso":
        # Minimises sum(w r^2) / (2 sum(w)) + alpha |c|; solved on the signs found.
        chosen = model.coef_ != 0
        pull = alpha * weights.sum() * np.sign(model.coef_[chosen])
        coefficients = np.zeros(x.shape[1])
        solved = np.linalg.solve(gram[np.ix_(chosen, chosen)], moments[chosen] - pull)
        coefficients[chosen] = solved
        assert (np.sign(coefficients) == np.sign(model.coef_)).all()
        slack = np.abs(moments - gram @ coefficients)[~chosen] / weights.sum()
        assert (slack < alpha * (1 - MARGIN)).all()
        assert np.abs(solved).min() > MARGIN
    else:
        # Minimises sum(w r^2) + alpha c^2.
        penalty = (alpha or 0.0) * np.eye(x.shape[1])
        coefficients = np.linalg.solve(gram + penalty, moments)
    same(model.coef_, coefficients)
    assert abs(model.intercept_ - (y_mean - x_mean @ coefficients)) < ROUNDING
    residuals = y_centred - x_centred @ coefficients
    total = weights @ (y - np.average(y, weights=weights)) ** 2
    r2 = 1 - weights @ residuals**2 / total
    assert abs(model.score(x, y, sample_weight=weights) - r2) < ROUNDING


def standard_errors(x, y, weights, intercept, model):
    """Of the coefficients, with analytic weights."""
    design = np.column_stack([x, np.ones(len(x))]) if intercept else x
    residuals = y - model.predict(x)
    freedom = (weights > 0).sum() - design.shape[1]
    assert freedom > 0
    variance = weights @ residuals**2 / freedom
    covariance = variance * np.linalg.inv(design.T @ (weights[:, None] * design))
    # The same from the design centred, where the intercept has no part.
    inner = centred(x, y, weights, intercept)[0]
    inner = np.linalg.inv(inner.T @ (weights[:, None] * inner))
    errors = np.sqrt(np.diag(covariance))[: x.shape[1]]
    same(errors, np.sqrt(variance * np.diag(inner)))
    return errors.tolist()


def fits(x, y, weights, without_intercept):
    """Every regression of one problem."""
    result = []
    for intercept in (True, False) if without_intercept else (True,):
        models = [("linear", None, LinearRegression(fit_intercept=intercept))]
        for alpha in (0.1, 1.0, 10.0):
            models.append(("ridge", alpha, Ridge(alpha=alpha, fit_intercept=intercept)))
        for alpha in (0.01, 0.1):
            model = Lasso(alpha=alpha, fit_intercept=intercept, tol=1e-14, max_iter=10**6)
            models.append(("lasso", alpha, model))
        for kind, alpha, model in models:
            model.fit(x, y, sample_weight=weights)
            check_fit(x, y, weights, kind, alpha, intercept, model)
            errors = None
            if kind == "linear":
                errors = standard_errors(x, y, weights, intercept, model)
            fit = {
                "model": kind,
                "alpha": alpha,
                "fit_intercept": intercept,
                "coefficients": model.coef_.tolist(),
                "intercept": float(model.intercept_),
                "r2": float(model.score(x, y, sample_weight=weights)),
                "standard_errors": errors,
            }
            result.append(fit)
    return result


def regression():
    """Writes `regression.json`."""
    problems, count = [], 0
    for name, x, y, weights, without_intercept in regression_problems():
        found = fits(x, y, weights, without_intercept)
        count += len(found)
        problems.append(
            {
                "name": name,
                "x": exact(x),
                "y": y.tolist(),
                "weights": weights.tolist(),
                "fits": found,
            }
        )
    document = {"peer": packages("scikit-learn", "numpy"), "problems": problems}
    write("regression.json", document, f"{len(problems)} problems, {count} fits")


# LIME.


def neighbourhoods():
    """Name, kind of distance, kernel width, data, labels, distances. As lime draws them:
    binary, the explained instance first and all ones."""
    random = np.random.default_rng(8)
    for name, columns in (("tabular", 8), ("image", 12)):
        data = (random.random((80, columns)) < 0.5).astype(float)
        data[data.sum(1) == 0, 0] = 1.0
        data[0] = 1.0
        slopes = random.normal(size=columns) * 0.75 ** np.arange(columns)
        random.shuffle(slopes)
        curve = np.tanh(data @ slopes + 0.5 * data[:, 1] * data[:, 3])
        labels = dyadic(curve + 0.05 * random.normal(size=80))
        kept = data.sum(1)
        if name == "tabular":
            distances, width = np.sqrt(columns - kept), 0.75 * math.sqrt(columns)
            yield name, "euclidean", width, data, labels, distances
        else:
            yield name, "cosine", 0.25, data, labels, 1 - np.sqrt(kept / columns)


def weighted_ridge(data, labels, weights, alpha):
    """Coefficients and intercept of a ridge regression."""
    x, y, x_mean, y_mean = centred(data, labels, weights, True)
    gram = x.T @ (weights[:, None] * x) + alpha * np.eye(x.shape[1])
    coefficients = np.linalg.solve(gram, x.T @ (weights * y))
    return coefficients, y_mean - x_mean @ coefficients


def weighted_r2(data, labels, weights, coefficients, intercept):
    """Share of the weighted variance that a linear model explains."""
    residuals = labels - data @ coefficients - intercept
    total = weights @ (labels - np.average(labels, weights=weights)) ** 2
    return 1 - weights @ residuals**2 / total


def forward_selected(data, labels, weights, count):
    """At each step the feature that makes the fit of all so far best."""
    chosen = []
    while len(chosen) < min(count, data.shape[1]):
        scores = []
        for feature in sorted(set(range(data.shape[1])) - set(chosen)):
            part = data[:, chosen + [feature]]
            fit = weighted_ridge(part, labels, weights, 0.0)
            scores.append((weighted_r2(part, labels, weights, *fit), feature))
        scores.sort(reverse=True)
        assert len(scores) == 1 or scores[0][0] - scores[1][0] > MARGIN
        chosen.append(scores[0][1])
    return chosen


def lasso_selected(data, labels, weights, count):
    """The features of the least penalty with no more than `count`, in rising order. The
    path of lars is cut at the penalties where a feature comes or goes; these are found
    here by bisection on scikit-learn's coordinate descent."""
    x, y, *_ = centred(data, labels, weights, True)
    root = np.sqrt(weights)[:, None]
    x, y = x * root, y * root[:, 0]

    def active(penalty):
        model = Lasso(alpha=penalty / len(x), fit_intercept=False, tol=1e-14)
        model.max_iter = 10**6
        return np.flatnonzero(model.fit(x, y).coef_).tolist()

    # No feature at `high`, too many at `low`.
    high, low = np.abs(x.T @ y).max() * 1.0001, 1e-6
    if len(active(low)) <= count:
        return active(low)
    while high / low > 1 + 1e-9:
        middle = math.sqrt(high * low)
        if len(active(middle)) <= count:
            high = middle
        else:
            low = middle
    return active(high)


def selected_features(data, labels, weights, count, method):
    """What lime should choose."""
    if method == "auto":
        method = "forward_selection" if count <= 6 else "highest_weights"
    if method == "none":
        return list(range(data.shape[1]))
    if method == "forward_selection":
        return forward_selected(data, labels, weights, count)
    if method == "lasso_path":
        return lasso_selected(data, labels, weights, count)
    coefficients, _ = weighted_ridge(data, labels, weights, 0.01)
    size = np.abs(coefficients * data[0])
    order = np.argsort(-size)
    assert (-np.diff(size[order]) > MARGIN).all()
    return order[:count].tolist()


def lime_fit(kernel, data, labels, distances, method, count):
    """One explanation of lime, checked."""
    base = LimeBase(kernel, random_state=0)
    weights = kernel(distances)
    chosen = base.feature_selection(data, labels, weights, count, method)
    chosen = [int(feature) for feature in chosen]
    assert chosen == selected_features(data, labels, weights, count, method), method
    intercept, explanation, score, prediction = base.explain_instance_with_data(
        data, labels[:, None], distances, 0, count, feature_selection=method
    )
    features = [int(feature) for feature, _ in explanation]
    coefficients = np.array([value for _, value in explanation])
    prediction = float(prediction[0])

    assert sorted(features) == sorted(chosen)
    part = data[:, features]
    wanted, wanted_intercept = weighted_ridge(part, labels, weights, 1.0)
    same(coefficients, wanted)
    assert (-np.diff(np.abs(wanted)) > MARGIN).all()
    assert abs(intercept - wanted_intercept) < ROUNDING
    r2 = weighted_r2(part, labels, weights, wanted, wanted_intercept)
    assert abs(score - r2) < ROUNDING
    assert abs(prediction - wanted_intercept - part[0] @ wanted) < ROUNDING
    return {
        "feature_selection": method,
        "num_features": count,
        "selected": chosen,
        "features": features,
        "coefficients": coefficients.tolist(),
        "intercept": float(intercept),
        "score": float(score),
        "local_prediction": prediction,
    }


def lime_problems():
    """Explanations on given neighbourhoods."""
    methods = ["forward_selection", "highest_weights", "lasso_path", "none", "auto"]
    for name, distance, width, data, labels, distances in neighbourhoods():

        def kernel(values, width=width):
            return np.sqrt(np.exp(-(values**2) / width**2))

        yield {
            "name": name,
            "distance": distance,
            "kernel_width": width,
            "data": exact(data),
            "labels": labels.tolist(),
            "distances": distances.tolist(),
            "weights": kernel(distances).tolist(),
            "fits": [
                lime_fit(kernel, data, labels, distances, method, count)
                for method in methods
                for count in (3, 7)
            ],
        }


def bins_of(column, shares):
    """Edges of the bins, by linear interpolation between the ordered values."""
    ordered = np.sort(column)
    edges = []
    for share in shares:
        place = share / 100 * (len(column) - 1)
        below = int(place)
        above = min(below + 1, len(column) - 1)
        edges.append(ordered[below] + (place - below) * (ordered[above] - ordered[below]))
    return np.unique(edges)


def discretized(kind, peer, shares, data, probes):
    """The bins of one discretizer, checked."""
    names = ["a", "b", "c"]
    found = peer(data, [], names)
    tabular = LimeTabularExplainer(data, feature_names=names, discretizer=kind)
    features = []
    wanted_bins = np.zeros(probes.shape, int)
    for feature, column in enumerate(data.T):
        edges = bins_of(column, shares)
        inner = np.array([(value > edges).sum() for value in column])
        frequencies = np.bincount(inner, minlength=len(edges) + 1) / len(column)
        means, stds = [], []
        for index in range(len(edges) + 1):
            inside = column[inner == index]
            means.append(inside.mean() if len(inside) else 0.0)
            stds.append((inside.std() if len(inside) else 0.0) + 1e-11)
        peer_edges = np.array(found.maxs[feature][:-1])
        same(peer_edges, edges)
        same(found.mins[feature], [column.min(), *edges])
        same(found.maxs[feature], [*edges, column.max()])
        same(found.means[feature], means)
        same(found.stds[feature], stds)
        # lime leaves bins without data out.
        same(tabular.feature_frequencies[feature], frequencies[frequencies > 0])
        present = np.flatnonzero(frequencies).tolist()
        assert [int(value) for value in tabular.feature_values[feature]] == present
        wanted_bins[:, feature] = [(value > edges).sum() for value in probes[:, feature]]
        entry = {
            "edges": peer_edges,
            "means": found.means[feature],
            "stds": found.stds[feature],
            "mins": found.mins[feature],
            "maxs": found.maxs[feature],
            "frequencies": frequencies,
        }
        features.append({key: [float(x) for x in value] for key, value in entry.items()})
    bins = found.discretize(probes)
    assert (bins == wanted_bins).all()
    return {"kind": kind, "features": features, "bins": integers(bins)}


def lime_bins():
    """A normal feature, a skewed one, and one of few values where quantiles coincide."""
    random = np.random.default_rng(4)
    normal, skewed = random.normal(size=60), random.exponential(size=60)
    few = random.choice(4, 60, p=[0.15, 0.45, 0.25, 0.15])
    data = dyadic(np.column_stack([normal, skewed, few]))
    within = dyadic(data[:2] + 0.25)
    beyond = [[-9.0, -1.0, -1.0], [9.0, 9.0, 9.0]]
    # On edges, which belong to the bin below: the medians are exact.
    edges = [np.median(data[:, 0]), np.median(data[:, 1]), 1.0]
    probes = np.vstack([within, beyond, edges])
    shares = {"quartile": [25, 50, 75], "decile": list(range(10, 100, 10))}
    peers = {"quartile": QuartileDiscretizer, "decile": DecileDiscretizer}
    return {
        "data": exact(data),
        "probes": exact(probes),
        "kinds": [
            discretized(kind, peer, shares[kind], data, probes)
            for kind, peer in peers.items()
        ],
    }


def lime_file():
    """Writes `lime.json`."""
    problems = list(lime_problems())
    document = {
        "peer": packages("lime", "scikit-learn", "numpy"),
        "problems": problems,
        "discretizers": lime_bins(),
    }
    count = sum(len(problem["fits"]) for problem in problems)
    write("lime.json", document, f"{count} fits, 2 discretizers")


# SHAP.

# Trees over six features: row i joins its two nodes to node 6 + i.
LINKAGES = {
    "balanced": [[0, 3], [1, 4], [6, 2], [7, 5], [8, 9]],
    "chain": [[5, 2], [6, 0], [7, 4], [8, 1], [9, 3]],
}


def leaves(linkage, node):
    """The features below a node."""
    count = len(linkage) + 1
    if node < count:
        return [node]
    return [leaf for child in linkage[node - count] for leaf in leaves(linkage, child)]


def with_sizes(linkage):
    """In SciPy's form: with a distance, here that of the row, and the number of leaves."""
    count = len(linkage) + 1
    sizes = [len(leaves(linkage, count + i)) for i in range(len(linkage))]
    joined = zip(linkage, sizes)
    return np.array([[*pair, i + 1.0, size] for i, (pair, size) in enumerate(joined)])


def orders(linkage, node=None):
    """Every order of the features that keeps the leaves of each node together."""
    count = len(linkage) + 1
    node = 2 * count - 2 if node is None else node
    if node < count:
        yield [node]
        return
    left, right = linkage[node - count]
    for first, second in ((left, right), (right, left)):
        for start in orders(linkage, first):
            for end in orders(linkage, second):
                yield start + end


def coalition_values(function, row, background):
    """The mean output over the background for each coalition of features."""
    values = []
    for coalition in range(2 ** len(row)):
        present = np.array([bool(coalition >> i & 1) for i in range(len(row))])
        values.append(function(np.where(present, row, background)).mean(0))
    return np.array(values)


def owen(linkage, values):
    """Owen values by their definition: the mean gain over the orders of the tree."""
    gains = np.zeros((len(linkage) + 1, values.shape[1]))
    every = list(orders(linkage))
    assert len(every) == 2 ** len(linkage)
    for order in every:
        coalition = 0
        for feature in order:
            joined = coalition | 1 << feature
            gains[feature] += (values[joined] - values[coalition]) / len(every)
            coalition = joined
    return gains


def shap_runs(function, x, background):
    """Each explainer's method, tree, values [row, feature, class] and expected values."""
    explainer = shap.KernelExplainer(function, background)
    # More samples than coalitions: all are evaluated.
    values = explainer.shap_values(x, nsamples=10_000, l1_reg=False, silent=True)
    yield "kernel", None, values, explainer.expected_value
    explainer = shap.ExactExplainer(function, shap.maskers.Independent(background))
    explanation = explainer(x, silent=True)
    yield "exact", None, explanation.values, explanation.base_values
    for tree, linkage in LINKAGES.items():
        masker = shap.maskers.Partition(background, clustering=with_sizes(linkage))
        explainer = shap.PartitionExplainer(function, masker)
        explanation = explainer(x, max_evals=10_000, silent=True)
        yield "partition", tree, explanation.values, explanation.base_values
        explanation = shap.ExactExplainer(function, masker)(x, silent=True)
        yield "exact_partition", tree, explanation.values, explanation.base_values


def shap_file():
    """Writes `shap.json`."""
    case = restored("mlp")
    model = case.double().model

    def function(x):
        with torch.no_grad():
            return model(torch.tensor(x)).numpy()

    x = case.inputs[0].double().numpy()
    draws = dyadic(0.6 * np.random.default_rng(3).normal(size=(4, x.shape[1])))
    backgrounds = {"baseline": case.baselines[0][:1].double().numpy(), "draws": draws}
    results = []
    # The order in which PartitionExplainer sums depends on draws where two nodes tie.
    np.random.seed(0)
    for name, background in backgrounds.items():
        tables = [coalition_values(function, row, background) for row in x]
        expected = function(background).mean(0)
        for method, tree, values, base in shap_runs(function, x, background):
            for table, row in zip(tables, values):
                same(row, owen(LINKAGES[tree], table) if tree else shapley(table))
            for base_row in np.atleast_2d(base):
                same(base_row, expected)
            entry = {
                "method": method,
                "background": name,
                "tree": tree,
                "linkage": tree and LINKAGES[tree],
                "expected_value": expected.tolist(),
                "values": [exact(values[..., target]) for target in range(values.shape[2])],
            }
            results.append(entry)
    document = {
        "peer": packages("shap", "numpy", "torch"),
        "model": "mlp",
        "rows": list(range(len(x))),
        "classes": list(range(3)),
        "backgrounds": {key: exact(value) for key, value in backgrounds.items()},
        "results": results,
    }
    write("shap.json", document, f"{len(results)} results")


def main():
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("error", category=ConvergenceWarning)
    perturbation()
    regression()
    lime_file()
    shap_file()


if __name__ == "__main__":
    main()
