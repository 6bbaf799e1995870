"""Write the scores that Quantus and Captum give to attribution maps, with every random draw.

The model is the CNN whose parameters `gradient_family.py` writes to
`crates/attr-testkit/golden/captum/cnn.json`. This script draws four images, a signed map and
a mask for each, and whatever else the metrics draw, and writes them with the scores to
`metrics.json`, beside that folder. Scores are stored as the libraries give them, even where
these deviate from the paper of the metric; `note` then says so.

Everything runs in float64, and all that is drawn are multiples of 1/256, small noise of 1/512
or 1/1024, so that nine digits hold them exactly. Scores have nine significant digits; null
stands for a score that is not a number. Run again in float32, each must agree within
`AGREEMENT`.

Each entry of `results` holds the metric, the library, its options (by the names they have
there) and `values`, along `axis`: one for each row unless said otherwise. Strings such as
`subsets` or `noise` name the draws at the top of the file. Where `data` is "six", inputs,
targets and maps are those of `six`. An `explainer` of "input-x-gradient" is the input times
the gradient of the target's logit, "gradient" the gradient alone and "square-x-logit" the
square of the input times that logit; then no maps are given.

MST-C came after Quantus 0.6.0 and is computed here by its formula, with SciPy and
scikit-learn. Its graph of nearest neighbours may depend on how ties of distance are broken;
the maps are such that the score does not.

    pip install -r requirements.txt quantus==0.6.0
    python metrics.py
"""

import importlib.metadata
import io
import itertools
import json
import math
import re
import warnings
from contextlib import contextmanager, redirect_stdout
from functools import partial
from unittest.mock import patch

import captum.attr as ca
import captum.metrics as cm
import numpy as np
import quantus
import torch
from quantus.functions import discretise_func, perturb_func, similarity_func
from quantus.helpers import asserts, utils
from quantus.helpers.model.pytorch_model import PyTorchModel
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist
from sklearn.neighbors import kneighbors_graph
from torch import nn

from gradient_family import MODELS, OUT, burn_parameters

# Names that NumPy 2 dropped and Quantus still asks for.
np.trapz = np.trapezoid
np.NaN = np.nan


GOLDEN = OUT.parent
ROWS = 4
PIXELS = 64
SHAPE = (1, 8, 8)
# Of the scores in float32, relative to the largest of the entry.
AGREEMENT = 2e-4
# How far what decides a score of steps must be from its threshold.
MARGIN = 1e-4
RADIUS = 0.05
STD = 0.1
SAMPLES = 5
PERCENTAGES = [10, 30, 50, 70, 90]
QUANTUS_FUNCTIONS = {
    "similarity_func": similarity_func,
    "discretise_func": discretise_func,
    "norm_numerator": similarity_func,
}


def package(name):
    """Name and version."""
    return f"{name} {importlib.metadata.version(name).split('+')[0]}"


def kebab(name):
    """The name of a class in lower case with hyphens."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return words.lower()


def short(values):
    """Numbers with nine significant digits, null for what is none."""
    if isinstance(values, (list, tuple, np.ndarray)):
        return [short(value) for value in values]
    return float(f"{float(values):.9g}") if math.isfinite(values) else None


def floats(values):
    """Shape and data."""
    values = np.asarray(values, dtype=np.float64)
    return {"shape": list(values.shape), "data": short(values.ravel())}


def exact(values):
    """Shape and data of numbers that nine digits hold exactly."""
    stored = floats(values)
    assert stored["data"] == np.asarray(values).ravel().tolist()
    return stored


def integers(values):
    """Shape and data of whole numbers."""
    values = np.asarray(values)
    return {"shape": list(values.shape), "data": values.astype(int).ravel().tolist()}


def dyadic(values, steps=256):
    """Rounded to multiples of `1 / steps`."""
    return np.round(np.asarray(values) * steps) / steps


def nonzero(values, steps=256):
    """Rounded, but never to zero."""
    values = dyadic(values, steps)
    return np.where(values == 0.0, 1.0 / steps, values)


def apart(values, axis=-1):
    """Asserts that no two values along an axis are equal."""
    assert (np.diff(np.sort(values, axis=axis), axis=axis) > 1e-6).all()


def undecided(values, threshold):
    """How many values come near a threshold without being equal to each other or to it."""
    gaps = np.abs(np.asarray(values) - threshold)
    return int(((gaps < MARGIN) & (gaps > 1e-12)).sum())


def restored_model():
    """The CNN with the parameters from its file."""
    file = json.loads((OUT / "cnn.json").read_text(encoding="utf-8"))
    model = MODELS["cnn"].build().eval()
    found = dict(model.named_parameters())
    assert found.keys() == file["parameters"].keys()
    with torch.no_grad():
        for path, stored in file["parameters"].items():
            module = model.get_submodule(path.rpartition(".")[0])
            value = torch.tensor(stored["data"], dtype=torch.float32)
            value = value.reshape(stored["shape"])
            transposed = isinstance(module, nn.Linear) and path.endswith(".weight")
            found[path].copy_(value.T if transposed else value)
    return model


class Data:
    """Images, maps, masks and draws; the same in every precision."""

    def __init__(self):
        random = np.random.default_rng(6)
        self.six = Six(random)
        # The first four of six images.
        self.x = self.six.x[:ROWS]
        count = ROWS * PIXELS
        sizes = random.choice(np.arange(1, 900), count, replace=False) / 256
        signs = random.choice([-1.0, 1.0], count, p=[0.4, 0.6])
        self.a = (sizes * signs).reshape(ROWS, *SHAPE)
        assert len(np.unique(np.abs(self.a))) == count and (self.a != 0.0).all()
        self.s = np.zeros((ROWS, PIXELS), dtype=int)
        for row, size in zip(self.s, (12, 20, 31, 39)):
            row[random.choice(PIXELS, size, replace=False)] = 1
        # The pointing game hits in rows 0 and 2, with absolute values in row 3. In row 2 the
        # mask has more relevance than the whole image.
        self.s[0, self.a[0].argmax()] = 1
        self.s[1, self.a[1].argmax()] = 0
        self.s[2] = (self.a[2].ravel() > 0.0) & (np.arange(PIXELS) > 9)
        self.s[2, self.a[2].argmax()] = 1
        self.s[3, np.abs(self.a[3]).argmax()] = 1
        self.s = self.s.reshape(self.a.shape)
        assert all(10 <= mask.sum() <= 40 for mask in self.s)
        self.c = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]])
        self.segments = np.arange(16).reshape(4, 4).repeat(2, 0).repeat(2, 1)

        def several(count, size, choices):
            choose = partial(random.choice, choices, size, replace=False)
            return np.array([[choose() for _ in range(ROWS)] for _ in range(count)])

        self.subsets = several(20, 12, PIXELS)
        self.permutations = several(1, 16, 16)[0]
        # For each step of 1 or 4 features, sample and row.
        self.baselines = {
            step: dyadic(random.uniform(size=(PIXELS // step, 2, ROWS))) for step in (1, 4)
        }
        shape = (SAMPLES, ROWS, *SHAPE)
        uniform = random.uniform(-RADIUS, RADIUS, shape)
        self.uniform = nonzero(np.trunc(uniform * 1024) / 1024, 1024)
        self.normal = nonzero(np.clip(random.normal(0, STD, shape), -0.9, 0.9), 512)
        self.road = dyadic(random.normal(size=(len(PERCENTAGES), ROWS, *SHAPE)))
        self.smooth = dyadic(random.normal(size=(2, ROWS, *SHAPE)))
        apart(np.abs(self.a).reshape(ROWS, -1))

    def stored(self):
        """What the file holds of these."""
        return {
            "inputs": exact(self.x),
            "attributions": exact(self.a),
            "masks": integers(self.s),
            "mosaic_classes": integers(self.c),
            "segments": integers(self.segments),
            "subsets_12": integers(self.subsets),
            "permutations": integers(self.permutations),
            "uniform_baselines_1": exact(self.baselines[1]),
            "uniform_baselines_4": exact(self.baselines[4]),
            "noise_uniform": exact(self.uniform),
            "noise_normal": exact(self.normal),
            "noise_road": exact(self.road),
            "noise_smooth": exact(self.smooth),
        }


class Six:
    """Six images, and maps of which some have the same signs or the same ranks.

    Row 1 has the signs and ranks of row 0, row 2 its signs, row 3 its first five signs and
    row 4 its ranks.
    """

    def __init__(self, random):
        self.x = nonzero(np.random.default_rng(6).normal(size=(6, *SHAPE)))

        def sizes():
            # Even, so that the odd shift of row 4 leaves none at zero.
            return 2 * random.choice(np.arange(1, 300), PIXELS, replace=False) / 256

        signs = random.choice([-1.0, 1.0], (6, PIXELS))
        signs[1], signs[2], signs[3, :5] = signs[0], signs[0], signs[0, :5]
        a = signs * np.array([sizes() for _ in range(6)])
        a[1] = 2.0 * a[0]
        a[4] = a[0] + 129 / 256
        assert (a != 0.0).all()
        apart(a)
        self.a = a.reshape(6, *SHAPE)

    def stored(self):
        """What the file holds of these."""
        return {"inputs": exact(self.x), "attributions": exact(self.a)}


def logits(model, x):
    """What the model gives, in its precision."""
    with torch.no_grad():
        return model(torch.tensor(x, dtype=torch.get_default_dtype())).numpy()


def gradient(model, inputs, targets, times_input=False, **_):
    """The gradient of the targets' logits, as NumPy has it."""
    x = torch.tensor(
        np.asarray(inputs), dtype=torch.get_default_dtype(), requires_grad=True
    )
    rows = torch.arange(len(x))
    (result,) = torch.autograd.grad(model(x)[rows, torch.tensor(targets)].sum(), x)
    return (x.detach() * result if times_input else result).numpy()


def square_by_logit(model, inputs, targets, **_):
    """The squared input times the target's logit, which no tie in pooling changes."""
    scores = logits(model, inputs)[np.arange(len(inputs)), targets]
    return inputs**2 * scores[:, None, None, None]


EXPLAINERS = {
    "gradient": gradient,
    "input-x-gradient": partial(gradient, times_input=True),
    "square-x-logit": square_by_logit,
}


@contextmanager
def predictions():
    """Gives the list of all that Quantus' wrapped models predict."""
    seen = []
    predict = PyTorchModel.predict

    def noted(self, *arguments, **options):
        result = predict(self, *arguments, **options)
        seen.append(result)
        return result

    with patch.object(PyTorchModel, "predict", noted):
        yield seen


@contextmanager
def drawn(function, values, again=False):
    """Makes a function of `numpy.random` give these arrays in turn, once or over and over."""
    values = itertools.cycle(values) if again else iter(values)

    def draw(*arguments, size=None, **_):
        value = np.array(next(values))
        shape = size
        if function == "choice":
            shape = arguments[1]
        elif function in ("randn", "permutation"):
            shape = arguments
        if function != "permutation":
            assert value.size == np.prod(shape)
            return value.reshape(shape)
        return value

    with patch(f"numpy.random.{function}", draw):
        yield
    assert again or next(values, None) is None


@contextmanager
def rounded_parameters():
    """Makes `reset_parameters` draw in float32."""

    def rounding(kind):
        reset = kind.reset_parameters

        def reset_rounded(self):
            reset(self.float())
            self.to(torch.get_default_dtype())

        return patch.object(kind, "reset_parameters", reset_rounded)

    with rounding(nn.Conv2d), rounding(nn.Linear):
        yield


class Run:
    """All scores in one precision."""

    def __init__(self, data, dtype):
        torch.set_default_dtype(dtype)
        self.data = data
        self.model = restored_model().to(dtype)
        self.x, self.a, self.s = data.x, data.a, data.s
        self.y = logits(self.model, self.x).argmax(1)
        self.six_y = logits(self.model, data.six.x).argmax(1)
        self.entries = []
        # What is near a threshold, by metric.
        self.near = {}

    def flat(self):
        """The images, one row each."""
        return self.x.reshape(ROWS, -1)

    def reference(self, inputs, targets):
        """The targets' logits."""
        return logits(self.model, inputs)[np.arange(len(inputs)), targets]

    def add(self, metric, values, options, peer="quantus", **extra):
        """Keeps an entry."""
        entry = {"metric": metric, "peer": peer, "options": options}
        self.entries.append(entry | {"values": short(values)} | extra)

    def near_threshold(self, metric, values, threshold):
        """Keeps count of what decides a score and comes near its threshold."""
        self.near[metric] = self.near.get(metric, 0) + undecided(values, threshold)

    def scores(self, name, options, explainer=None, six=False, arguments=None, **call):
        """Runs a metric of Quantus; gives the metric and its scores."""
        # `normalise_axes` stands for the keyword arguments of the normalisation.
        passed = {k: v for k, v in options.items() if k != "normalise_axes"}
        if "normalise_axes" in options:
            axes = options["normalise_axes"]
            passed["normalise_func_kwargs"] = {"normalise_axes": axes}
        for key, module in QUANTUS_FUNCTIONS.items():
            if key in passed:
                passed[key] = getattr(module, passed[key])
        passed |= arguments or {}
        data = self.data.six if six else self.data
        settings = {
            "model": self.model,
            "x_batch": data.x.copy(),
            "y_batch": (self.six_y if six else self.y).copy(),
            "a_batch": None if explainer else data.a.copy(),
            "s_batch": self.s.copy(),
            "channel_first": True,
            "softmax": False,
            "explain_func": EXPLAINERS.get(explainer),
        }
        if six:
            del settings["s_batch"]
        # Quantus prints advice about absolute values.
        with redirect_stdout(io.StringIO()):
            metric = getattr(quantus, name)(
                return_aggregate=False, disable_warnings=True, **passed
            )
            return metric, metric(**settings | call)

    def score(self, name, extra=None, arguments=None, explainer=None, six=False, **options):
        """Runs a metric of Quantus and keeps its scores."""
        options = {"abs": False, "normalise": False} | options
        _, values = self.scores(name, options, explainer, six, arguments)
        extra = dict(extra or {})
        if explainer:
            extra["explainer"] = explainer
        if six:
            extra["data"] = "six"
        self.add(kebab(name), values, options, **extra)

    def curve(self, name, extra=None, arguments=None, **options):
        """Runs a metric whose score of a row is a curve; the values are the areas under it."""
        options = {"abs": False, "normalise": False} | options
        _, curves = self.scores(name, options, arguments=arguments)
        areas = utils.calculate_auc(np.array(curves), batched=True)
        extra = {"curve": short(curves)} | (extra or {})
        self.add(kebab(name), areas, options, **extra)

    def all(self):
        """Every score."""
        self.faithfulness()
        self.regions()
        self.sensitivity_n()
        self.irof()
        self.infidelity()
        self.road()
        self.sufficiency()
        self.stability()
        self.localisation()
        self.complexity()
        self.mstc()
        self.randomisation()
        self.efficient()
        self.axioms()
        self.captum()
        return self.entries

    def faithfulness(self):
        """Metrics that replace single features."""
        zero = {"perturb_baseline": 0.0}
        for sign in (False, True):
            options = {"nr_runs": 20, "subset_size": 12, "abs": sign, "normalise": True}
            with drawn("choice", self.data.subsets.reshape(-1, 12)):
                extra = {"subsets": "subsets_12"}
                self.score("FaithfulnessCorrelation", extra, **options, **zero)

        # Quantus refuses steps that leave a rest, but its code can take them.
        rest = {"note": "Quantus' check that the steps leave no rest is off"}
        with patch.object(asserts, "assert_features_in_step", lambda **_: None):
            for step, sign in ((1, False), (1, True), (4, False), (5, False)):
                options = {"features_in_step": step, "abs": sign}
                extra = rest if step == 5 else {}
                self.score("FaithfulnessEstimate", extra, **options, **zero)
            for step, sign in ((1, False), (1, True), (5, False)):
                options = {"features_in_step": step, "abs": sign}
                extra = rest if step == 5 else {}
                self.curve("PixelFlipping", extra, **options, **zero)
                options |= {"return_auc_per_sample": True}
                self.score("PixelFlipping", extra, **options, **zero)
            options = {"features_in_step": 5, "perturb_baseline": 0.25}
            self.curve("PixelFlipping", rest, **options)
        self.monotonicity()

    def monotonicity(self):
        """With Quantus' baseline that never changes, and with one that becomes the input."""

        def restore(arr, indices, **_):
            rows = np.arange(ROWS)[:, None]
            arr = arr.copy()
            arr[rows, indices] = self.flat()[rows, indices]
            return arr

        stuck = "the baseline is replaced by itself, so the output never changes"
        restored = "perturb_func puts the input's features into the baseline"
        runs = [(1, True, False), (4, False, False)]
        runs += [(step, sign, True) for step in (1, 16, 32) for sign in (False, True)]
        for step, sign, right in runs:
            options = {"features_in_step": step, "perturb_baseline": 0.0}
            arguments = {"perturb_func": restore} if right else None
            rows = np.arange(ROWS)
            with predictions() as seen:
                options |= {"abs": sign, "normalise": False}
                _, values = self.scores("Monotonicity", options, arguments=arguments)
            curve = np.stack([output[rows, self.y] for output in seen], 1)
            self.near_threshold("monotonicity", np.diff(curve), 0.0)
            if right:
                options["perturb_func"] = "restore-input"
            extra = {"curve": short(curve), "note": restored if right else stuck}
            self.add("monotonicity", values, options, **extra)

        for step in (1, 4):
            for sign in (False, True):
                options = {"features_in_step": step, "nr_samples": 2, "abs": sign}
                options |= {"eps": 1e-5, "perturb_baseline": 0.0}
                self.score("MonotonicityCorrelation", **options)
            extra = {"uniform_baselines": f"uniform_baselines_{step}"}
            extra["note"] = "one number for all features of a step"
            options |= {"perturb_baseline": "uniform", "abs": True}
            with drawn("uniform", self.data.baselines[step].reshape(-1, ROWS)):
                self.score("MonotonicityCorrelation", extra, **options)

    def regions(self):
        """Metrics that replace square patches."""
        for size in (2, 4):
            patches = self.a.reshape(ROWS, 8 // size, size, 8 // size, size)
            for sums in (patches.sum((2, 4)), np.abs(patches).sum((2, 4))):
                apart(sums.reshape(ROWS, -1))
        first = {"note": "the curve starts after the first patch"}
        for size, order, sign in (
            (2, "morf", False),
            (2, "lerf", False),
            (2, "morf", True),
            (4, "morf", False),
            (4, "lerf", False),
            (3, "morf", False),
        ):
            options = {"patch_size": size, "order": order, "regions_evaluation": 100}
            options |= {"abs": sign, "perturb_baseline": 0.0}
            extra = dict(first)
            if size == 3:
                extra["note"] += "; maps are padded with zeros, images by their edge"
                extra["padding"] = [0, 1]
            self.curve("RegionPerturbation", extra, **options)
        options = {"patch_size": 2, "order": "morf", "regions_evaluation": 5}
        self.curve("RegionPerturbation", first, **options, perturb_baseline=0.0)
        options = {"patch_size": 2, "order": "random", "regions_evaluation": 100}
        with drawn("permutation", self.data.permutations):
            extra = first | {"permutations": "permutations"}
            self.curve("RegionPerturbation", extra, **options, perturb_baseline=0.0)
        for size, sign in ((2, False), (2, True), (4, False)):
            options = {"patch_size": size, "abs": sign, "perturb_baseline": 0.0}
            self.curve("Selectivity", first, **options)

    def sensitivity_n(self):
        """One correlation over the rows for each number of features."""
        for step, sign, most in ((1, False, 0.8), (1, True, 0.8), (4, False, 1.0)):
            options = {"features_in_step": step, "n_max_percentage": most, "abs": sign}
            options |= {"perturb_baseline": 0.0}
            note = (
                "value i correlates over the four rows the change of output after i + 1 "
                "steps, all features of which are replaced, with the sum of the map over "
                "step i + 1 alone"
            )
            self.score("SensitivityN", {"axis": "step", "note": note}, **options)

    def irof(self):
        """Segments replaced, by zero and by two kinds of mean."""
        means = self.x.mean((1, 2, 3))
        each = np.broadcast_to(means[:, None, None, None], self.x.shape).copy()
        grid = self.a.reshape(ROWS, 4, 2, 4, 2)
        apart(grid.mean((2, 4)).reshape(ROWS, -1))
        assert (self.reference(self.x, self.y) > 0.1).all()
        whole = "the mean of the whole batch as far as it is replaced"
        for baseline, sign, given, note in (
            (0.0, False, 0.0, None),
            (0.0, True, 0.0, None),
            ("mean-of-each-image", False, each, None),
            ("mean", False, "mean", whole),
        ):
            options = {"perturb_baseline": given, "abs": sign, "normalise": False}
            segments = patch.object(
                utils, "get_superpixel_segments", lambda **_: self.data.segments.copy()
            )
            with segments, predictions() as seen:
                _, values = self.scores("IROF", options)
            start = seen[0][np.arange(ROWS), self.y]
            steps = [output[np.arange(ROWS), self.y] / start for output in seen[1:]]
            extra = {"segments": "segments", "curve": short(np.stack(steps, 1))}
            if baseline == "mean-of-each-image":
                extra["baselines"] = short(means)
            if note:
                extra["note"] = note
            self.add("irof", values, options | {"perturb_baseline": baseline}, **extra)

    def infidelity(self):
        """Patches replaced on top of each other, as Quantus does, and one at a time."""

        def alone(arr, indices, perturb_baseline):
            arr = self.flat().copy()
            arr[np.arange(ROWS)[:, None], indices] = perturb_baseline
            return arr

        for sizes, sign, baseline, separate in (
            ([2], False, 0.0, False),
            ([2, 4], False, 0.0, False),
            ([2, 4], True, 0.0, False),
            ([2], False, 0.0, True),
            ([2, 4], False, 0.0, True),
            ([2], False, 0.25, True),
        ):
            options = {"perturb_patch_sizes": sizes, "n_perturb_samples": 1, "abs": sign}
            options |= {"perturb_baseline": baseline, "normalise": False}
            arguments = {"perturb_func": alone} if separate else None
            _, values = self.scores("Infidelity", options, arguments=arguments)
            if separate:
                options["perturb_func"] = "one-patch-at-a-time"
                extra = {"note": "perturb_func forgets the patches replaced before"}
            else:
                extra = {"note": "each patch is replaced on top of those before"}
            self.add("infidelity", values, options, **extra)

    def road(self):
        """Pixels imputed from their neighbours, without noise and with."""
        for noise, sign in ((0.0, False), (0.0, True), (0.01, False)):
            images = []
            draws = iter(self.data.road.reshape(-1, PIXELS))

            def impute(arr, indices, draws=draws, images=images, **options):
                chosen = next(draws)[indices]
                with drawn("randn", [chosen]):
                    result = perturb_func.noisy_linear_imputation(arr, indices, **options)
                images.append(result)
                return result

            options = {"percentages": PERCENTAGES, "noise": noise, "abs": sign}
            options |= {"normalise": False}
            arguments = {"perturb_func": impute}
            with predictions() as seen:
                _, values = self.scores("ROAD", options, arguments=arguments)
            kept = np.stack([output.argmax(1) == self.y for output in seen], 1)
            values = [values[percentage] for percentage in PERCENTAGES]
            assert np.allclose(values, kept.mean(0))
            best = np.sort(np.concatenate(seen), 1)
            self.near_threshold("road", best[:, -1] - best[:, -2], 0.0)
            images = np.stack(images).reshape(len(PERCENTAGES), ROWS, *SHAPE)
            extra = {"axis": "percentage", "curve": short(kept), "images": floats(images)}
            if noise:
                extra["noise"] = "noise_road"
            self.add("road", values, options, **extra)

    def sufficiency(self):
        """Rows whose maps are near each other."""
        note = {"note": "zero where no other map is near"}
        for six, threshold, sign in (
            (False, 0.6, True),
            (False, 0.99, True),
            (False, 0.96, False),
            (True, 0.6, True),
            (True, 0.6, False),
            (True, 0.8, False),
        ):
            a = (self.data.six if six else self.data).a
            a = (np.abs(a) if sign else a).reshape(len(a), -1)
            distances = cdist(a, a, "seuclidean")
            self.near_threshold("sufficiency", distances / distances.max(), threshold)
            options = {"threshold": threshold, "distance_func": "seuclidean"}
            options |= {"abs": sign, "normalise": True}
            extra = dict(note)
            if six:
                extra["targets"] = self.six_y.tolist()
            self.score("Sufficiency", extra, six=six, **options)
        for function, sign in (
            ("top_n_sign", False),
            ("top_n_sign", True),
            ("sign", False),
            ("rank", False),
        ):
            note = "zero where no other map has the same label"
            if function == "top_n_sign":
                note += "; the first five features, not the largest"
            options = {"discretise_func": function, "abs": sign, "normalise": True}
            self.score("Consistency", {"note": note}, six=True, **options)

    def stability(self):
        """Metrics that explain noisy images again."""
        by_row = {"normalise": True, "normalise_axes": [1, 2, 3]}
        options = {"nr_samples": SAMPLES, "perturb_std": STD}
        extra = {"noise": "noise_normal"}
        for explainer, more in (
            ("input-x-gradient", {}),
            ("input-x-gradient", {"norm_numerator": "distance_manhattan"}),
            ("input-x-gradient", {"normalise": True}),
            ("input-x-gradient", by_row),
            ("input-x-gradient", {"abs": True}),
            ("gradient", {}),
        ):
            with drawn("normal", self.data.normal):
                self.score(
                    "LocalLipschitzEstimate", extra, None, explainer, **options | more
                )

        options = {"nr_samples": SAMPLES, "lower_bound": RADIUS}
        extra = {"noise": "noise_uniform"}
        for name in ("MaxSensitivity", "AvgSensitivity"):
            for explainer, more in (
                ("input-x-gradient", {}),
                ("input-x-gradient", {"abs": True}),
                ("input-x-gradient", by_row),
                ("gradient", {}),
            ):
                with drawn("uniform", self.data.uniform):
                    self.score(name, extra, None, explainer, **options | more)

        options = {"nr_samples": SAMPLES, "eps_min": 1e-6}
        options |= {"return_nan_when_prediction_changes": False}
        bounds = {"lower_bound": RADIUS, "upper_bound": None}
        arguments = {"perturb_func_kwargs": bounds}
        flat = "the outputs of the layers, each flattened by row, one after the other"
        for name, layers in (
            ("RelativeInputStability", None),
            ("RelativeOutputStability", None),
            ("RelativeRepresentationStability", ["conv2"]),
            ("RelativeRepresentationStability", ["conv1", "fc"]),
        ):
            for explainer, sign in (("input-x-gradient", False), ("gradient", True)):
                named = {"layer_names": layers} if layers else {}
                more = {"note": flat} if layers else {}
                with drawn("uniform", self.data.uniform):
                    self.score(
                        name,
                        extra | more,
                        arguments,
                        explainer,
                        **options | named | {"abs": sign},
                    )

        note = "shifted in by the smallest value of the row, whatever the baseline"
        extra = {"note": note, "translations": [-4, 0, 4, 8]}
        ties = extra | {"note": note + "; depends on which wins a tie in pooling"}
        for explainer, normalise, steps in (
            ("input-x-gradient", True, 4),
            ("square-x-logit", True, 4),
            ("square-x-logit", False, 4),
            ("square-x-logit", False, 3),
        ):
            # Only with absolute values and normalised is it what Quantus gives by default.
            options = {"nr_steps": steps, "abs": normalise, "normalise": normalise}
            more = ties if explainer == "input-x-gradient" else extra
            if steps == 3:
                more = more | {"translations": [-3, 2, 7]}
            self.score("Continuity", more, None, explainer, **options)

    def localisation(self):
        """Maps against masks."""
        for sign in (False, True):
            self.score("PointingGame", abs=sign)
            for k in (5, 10):
                for influence in (False, True):
                    options = {"k": k, "concept_influence": influence, "abs": sign}
                    self.score("TopKIntersection", **options)
            self.score("RelevanceRankAccuracy", abs=sign)
            self.score("RelevanceMassAccuracy", abs=sign)
            self.score("AUC", abs=sign)
        above = "a share above one is no number"
        weighted = "the weight is the size of the mask over that of all inputs but two"
        for sign, positive, weigh in (
            (True, False, False),
            (False, False, False),
            (False, True, False),
            (True, False, True),
        ):
            options = {"positive_attributions": positive, "weighted": weigh}
            options |= {"abs": sign, "max_size": 1.0}
            extra = {"note": weighted if weigh else above}
            self.score("AttributionLocalisation", extra, **options)
        for sign in (False, True):
            options = {"abs": sign, "normalise": False}
            _, values = self.scores("Focus", options, custom_batch=self.data.c.copy())
            self.add("focus", values, options, mosaic_classes="mosaic_classes")

    def complexity(self):
        """Maps alone."""
        by_row = [1, 2, 3]
        for normalise in (False, True):
            self.score("Sparseness", abs=True, normalise=normalise)
        self.score("Complexity", abs=True)
        note = "the logarithm of a negative share is no number"
        self.score("Complexity", {"note": note}, abs=False)
        for eps, options in (
            (0.5, {"abs": True}),
            (1.0, {"abs": True}),
            (0.5, {"abs": False}),
            (0.3, {"abs": True, "normalise": True}),
            (0.3, {"abs": True, "normalise": True, "normalise_axes": by_row}),
        ):
            a = np.abs(self.a) if options["abs"] else self.a
            if "normalise_axes" in options:
                a = a / a.max((1, 2, 3), keepdims=True)
            elif "normalise" in options:
                a = a / a.max()
            self.near_threshold("effective-complexity", a, eps)
            self.score("EffectiveComplexity", eps=eps, **options)

    def mstc(self):
        """Spread and cohesion of the strongest pixels."""
        for threshold, k, increase, scale in (
            (80.0, 20, False, True),
            (80.0, 20, False, False),
            (80.0, 3, False, True),
            (60.0, 3, False, True),
            (90.0, 1, False, True),
            (90.0, 1, True, True),
        ):
            options = {"threshold": threshold, "k": k, "auto_increase_k": increase}
            options |= {"scale_score": scale, "abs": True, "normalise": False}
            found = [mstc(np.abs(a[0]), threshold, k, increase, scale) for a in self.a]
            values, components, used = zip(*found)
            extra = {"components": list(components), "used_k": list(used)}
            self.add("mstc", values, options, "formula", **extra)

    def randomisation(self):
        """Models with layers drawn again, and other classes."""
        for name, order, sign in (
            ("MPRT", "top_down", False),
            ("MPRT", "bottom_up", False),
            ("MPRT", "independent", False),
            ("MPRT", "top_down", True),
            ("SmoothMPRT", "top_down", False),
            ("SmoothMPRT", "bottom_up", True),
        ):
            options = {"layer_order": order, "similarity_func": "correlation_spearman"}
            options |= {"abs": sign, "normalise": False, "seed": 42}
            explainer = "input-x-gradient"
            extra = {"explainer": explainer}
            note = "values are means over the steps with that before any layer"
            if name == "SmoothMPRT":
                options |= {"nr_samples": 3, "noise_magnitude": 0.1}
                extra["noise"] = "noise_smooth"
                note += "; the last sample has no noise, each explanation the same"
            smooth = patch.object(quantus, "explain", EXPLAINERS[explainer])
            draws = drawn("randn", self.data.smooth, again=True)
            with rounded_parameters(), smooth, draws:
                metric, _ = self.scores(name, options, explainer)
            steps, done = [], []
            for layer, values in metric.evaluation_scores.items():
                if layer != "original":
                    done = [layer] if order == "independent" else [*done, layer]
                step = {"layer": layer, "randomised": list(done), "values": short(values)}
                steps.append(step)
            values = metric.recompute_average_correlation_per_sample()
            extra |= {"steps": steps, "note": note, "parameters": "randomised_parameters"}
            self.add(kebab(name), values, options, **extra)

        for similarity, sign in (
            ("ssim", False),
            ("correlation_spearman", False),
            ("ssim", True),
        ):
            options = {"similarity_func": similarity, "num_classes": 3, "seed": 42}
            options |= {"abs": sign, "normalise": False}
            asked = []

            def explain(model, inputs, targets, asked=asked, **_):
                asked.append(targets.tolist())
                return gradient(model, inputs, targets, times_input=True)

            _, values = self.scores(
                "RandomLogit", options, "input-x-gradient", explain_func=explain
            )
            assert asked[0] == self.y.tolist() and len(asked) == 2
            extra = {"explainer": "input-x-gradient", "other_classes": asked[1]}
            if similarity == "ssim":
                extra["note"] = "of the flattened maps, with windows of seven pixels"
            self.add("random-logit", values, options, **extra)

    def efficient(self):
        """Entropies of maps and outputs before and after randomisation."""
        for order, skip in (("bottom_up", True), ("top_down", True), ("bottom_up", False)):
            options = {"layer_order": order, "skip_layers": skip, "n_bins": 20, "seed": 42}
            options |= {"compute_extra_scores": True, "softmax": True}
            options |= {"abs": False, "normalise": False}
            bins = {"n_bins": 20}
            passed = {
                key: value
                for key, value in options.items()
                if key not in ("n_bins", "softmax")
            }
            maps = []

            def explain(model, inputs, targets, maps=maps, **_):
                maps.append(gradient(model, inputs, targets, times_input=True))
                return maps[-1]

            with rounded_parameters():
                metric, values = self.scores(
                    "EfficientMPRT",
                    passed,
                    "input-x-gradient",
                    arguments={"complexity_func_kwargs": bins},
                    explain_func=explain,
                    softmax=True,
                )
            for a in np.concatenate(maps):
                places = (a - a.min()) / (a.max() - a.min()) * 20
                inner = places[(places > 0.5) & (places < 19.5)]
                self.near_threshold("efficient-mprt", inner - np.round(inner), 0.0)
            extra = {
                "explainer": "input-x-gradient",
                "parameters": "randomised_parameters",
                "explanation_entropies": {
                    layer: short(scores)
                    for layer, scores in metric.explanation_scores_by_layer.items()
                },
                "model_entropies": {
                    layer: short(scores)
                    for layer, scores in metric.model_scores_by_layer.items()
                },
                "extra": {key: short(list(v)) for key, v in metric.scores_extra.items()},
            }
            self.add("efficient-mprt", values, options, **extra)

    def complete(self):
        """Smaller maps, with the first pixel such that each adds up to the change of output."""
        a = self.a.reshape(ROWS, -1) / 64
        change = self.reference(self.x, self.y) - self.reference(0.0 * self.x, self.y)
        for row, wanted in zip(a, change):
            for _ in range(100):
                if row.sum() == wanted:
                    break
                row[0] += wanted - row.sum()
        return a.reshape(self.a.shape), change

    def axioms(self):
        """Completeness, features without effect, and shifted inputs."""
        complete, change = self.complete()
        options = {"abs": False, "normalise": False, "perturb_baseline": 0.0}
        for name, a in (("attributions", self.a), ("complete_attributions", complete)):
            _, values = self.scores("Completeness", options, a_batch=a.copy())
            extra = {
                "attributions": name,
                "sums": short(a.reshape(ROWS, -1).sum(1)),
                "differences": short(change),
                "note": "true only where both are equal to the last bit",
            }
            self.add("completeness", values, options, **extra)

        for eps, sign, options in (
            (0.25, True, {}),
            (0.5, True, {}),
            (0.25, False, {}),
            (0.1, True, {"normalise": True}),
        ):
            with predictions() as seen:
                options = {"abs": sign, "eps": eps, "features_in_step": 1} | options
                self.score("NonSensitivity", perturb_baseline=0.0, **options)
            start, *rest = [output[np.arange(ROWS), self.y] for output in seen]
            self.near_threshold("non-sensitivity", np.abs(rest - start), eps)
            a = np.abs(self.a) if sign else self.a
            a = a / np.abs(a).max() if options.get("normalise") else a
            self.near_threshold("non-sensitivity", a, eps)

        note = {"note": "the first feature is not shifted"}
        for explainer in ("gradient", "input-x-gradient"):
            self.score("InputInvariance", note, None, explainer, input_shift=-1)

    def captum(self):
        """Captum's two metrics over the same noise."""
        x = torch.tensor(self.x, dtype=torch.get_default_dtype())
        a = torch.tensor(self.a, dtype=torch.get_default_dtype())
        y = torch.tensor(self.y)

        def repeated(noise):
            # Captum repeats each row for all of its samples.
            noise = torch.tensor(noise, dtype=torch.get_default_dtype())
            return noise.transpose(0, 1).flatten(0, 1)

        normal, uniform = repeated(self.data.normal), repeated(self.data.uniform)

        def plain(inputs):
            return normal, inputs - normal

        def decorated(by_inputs):
            @cm.infidelity_perturb_func_decorator(multiply_by_inputs=by_inputs)
            def perturb(inputs, baselines=None):
                return inputs - normal

            return perturb

        for by_inputs, baseline in (
            (None, None),
            (True, 0.25),
            (False, 0.25),
            (True, None),
        ):
            function = plain if by_inputs is None else decorated(by_inputs)
            for normalise in (False, True):
                values = cm.infidelity(
                    self.model,
                    function,
                    x,
                    a,
                    baselines=baseline,
                    target=y,
                    n_perturb_samples=SAMPLES,
                    normalize=normalise,
                )
                options = {"n_perturb_samples": SAMPLES, "normalize": normalise}
                options |= {"multiply_by_inputs": by_inputs, "baselines": baseline}
                options |= {"abs": False, "normalise": False}
                note = "perturbed inputs are the inputs minus noise"
                if by_inputs is None:
                    note += ", and the perturbations the noise; no decorator"
                extra = {"noise": "noise_normal", "note": note}
                self.add("infidelity", values.numpy(), options, "captum", **extra)

        def jitter(inputs):
            return inputs + uniform

        saliency = partial(ca.Saliency(self.model).attribute, abs=False)
        for explainer, function in (
            ("gradient", saliency),
            ("input-x-gradient", ca.InputXGradient(self.model).attribute),
        ):
            for norm in ("fro", math.inf):
                values = cm.sensitivity_max(
                    function,
                    x.clone().requires_grad_(),
                    jitter,
                    n_perturb_samples=SAMPLES,
                    norm_ord=norm,
                    target=y,
                )
                options = {"n_perturb_samples": SAMPLES, "norm_ord": str(norm)}
                options |= {"abs": False, "normalise": False}
                extra = {"noise": "noise_uniform", "explainer": explainer}
                values = values.detach().numpy()
                self.add("sensitivity-max", values, options, "captum", **extra)


def neighbour_graph(points, k):
    """The symmetric graph of the nearest neighbours, and how many parts it has."""
    graph = kneighbors_graph(points, k, mode="distance", include_self=False)
    graph = graph.maximum(graph.T)
    return graph, connected_components(graph, directed=False, return_labels=False)


def mstc(size, threshold, k, increase, scale):
    """MST-C of one map of absolute values, the parts of its graph and the k it took."""
    points = np.argwhere(size >= np.percentile(size, threshold)).astype(float)
    count = len(points)
    diagonal = np.hypot(*size.shape)

    def length(points):
        used = min(k, count - 1)
        graph, parts = neighbour_graph(points, used)
        while increase and parts != 1 and used < count - 1:
            used += 1
            graph, parts = neighbour_graph(points, used)
        return minimum_spanning_tree(graph).sum(), parts, used

    total, parts, used = length(points)
    random = np.random.default_rng(0)
    for _ in range(30):
        assert np.allclose(length(random.permutation(points)), (total, parts, used))
    score = count / total / np.sqrt(ConvexHull(points).volume)
    return score * diagonal * 100.0 if scale else score, int(parts), used


def randomised_parameters(model):
    """All parameters after each layer was drawn again, rounded to float32."""
    with rounded_parameters():
        for _, drawn_again in PyTorchModel(model).get_random_layer_generator(
            "top_down", 42
        ):
            result = drawn_again
    return burn_parameters(result)


def off(values, wanted):
    """Largest difference between two lists, relative to the largest value."""
    values, wanted = (np.array(v, dtype=float) for v in (values, wanted))
    assert (np.isnan(values) == np.isnan(wanted)).all()
    return np.nanmax(np.abs(values - wanted), initial=0.0) / max(
        np.nanmax(np.abs(wanted), initial=0.0), 1e-30
    )


def compare(found, wanted):
    """Prints where scores in float32 are off."""
    worst = 0.0
    for entry, reference in zip(found, wanted, strict=True):
        assert entry["metric"] == reference["metric"]
        if entry["metric"] == "completeness":
            continue
        for key in ("values", "curve"):
            if key in entry:
                far = off(entry[key], reference[key])
                worst = max(worst, far)
                if far > AGREEMENT:
                    print(f"  FAULT {entry['metric']} {entry['options']} {key}: {far:.1e}")
    print(f"  float32 off by {worst:.1e}")


def main():
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    data = Data()
    single = Run(data, torch.float32).all()
    run = Run(data, torch.float64)
    entries = run.all()
    versions = ["quantus", "captum", "torch", "numpy", "scipy", "scikit-learn"]
    document = {
        "peer": ", ".join(map(package, [*versions, "scikit-image"])),
        "model": "cnn",
        "targets": run.y.tolist(),
        "output": floats(logits(run.model, data.x)),
        **data.stored(),
        "complete_attributions": floats(run.complete()[0]),
        "six": {"targets": run.six_y.tolist(), **data.six.stored()},
        "randomised_parameters": randomised_parameters(run.model),
        "results": entries,
    }
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    (GOLDEN / "metrics.json").write_text(text + "\n", encoding="utf-8")
    print(f"metrics.json: {len(entries)} results, {len(text) / 1000:.0f} kB")
    compare(single, entries)
    for metric, count in run.near.items():
        if count:
            print(f"  FAULT {metric}: {count} near a threshold")


if __name__ == "__main__":
    main()
