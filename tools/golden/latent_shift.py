"""Write the counterfactuals of Latent Shift and of Wachter's method, by the original code.

The code is that of `latentshift` 0.0.6 (Cohen et al. 2021, "Gifsplanation via Latent Shift").
The package asks for old versions of other packages, so this script installs it alone, into a
folder that it removes, and loads the two files of `latentshift/cf`. The model is an autoencoder
of images with one channel and 6x6 pixels and five latent values, and a classifier of such
images with three outputs. Everything runs in float64 on numbers that are multiples of 1/1024.

Every result is also computed here a second time, by the steps below; which condition stopped a
search comes from there. A run in float32 must visit the same lambdas and give the same within
`AGREEMENT`, and no comparison of a search may be nearer to a tie than `MARGIN`.

Latent Shift, for each image of the batch alone, with the same target for all:

1. z = encode(x), x0 = decode(z), p = output[target] of x0, through a sigmoid only if
   `apply_sigmoid`. d = dp/dz, so the derivative of the sigmoid is in it. Every later image is
   x_l = decode(z + l d) and every later prediction is p of x_l. Each lambda is computed once;
   the first prediction p0 is that of lambda 0.
2. With `fix_range` = (left, right), of any signs, there is no search.
3. Otherwise lambda = 0, last = p0, and with the image and prediction of lambda, in this order:
   stop "rises" if last < p; "low" if p < 0.05; "difference" if p0 - search_pred_diff > p;
   "steps" if lambda <= -search_max_steps; "pixels" if sum |x0 - x_l| >
   search_max_pixel_diff_pct * sum |x0|, over all pixels and channels. All but "steps" are
   strict. If nothing stops: last = p, lambda = lambda - search_step_size + floor(lambda / 10).
   The 10 is fixed and not the step size, and floor is towards minus infinity, of fractions
   too: from -8 with a step of 3.5 to -8 - 3.5 - 1.
4. The range is (the lambda that stopped, 0); a step that went too far is not taken back.
   Lambda 0 is tested too, so "low", "steps" and "pixels" can stop there, and with
   `apply_sigmoid` = False the 0.05 is compared with the raw output. Then all lambdas are zero,
   all images are x0 and the heat map is zero.
5. The sweep takes `lambda_sweep_steps` >= 2 lambdas evenly from left to right, both included.
6. Heat maps, never negative, shape of one image, with g_1 .. g_n the images of the sweep:
   "int": mean of |g_i - g_(i+1)| over the n - 1 pairs; "mean": mean of |x0 - g_i| over all n,
   where g_n = x0 counts too; "mm": |g_1 - g_n|; "max": largest |x0 - g_i|. "mean" and "max"
   compare with lambda 0 even if a fixed range does not hold it.

`search_max_steps` bounds lambda, not the number of steps. The documentation of the package
calls `search_max_pixel_diff_pct` `search_max_pixel_diff`.

Wachter, for a single image without batch axis, in the space of the input, with no sigmoid: x'
starts at x, and each of `max_iter` iterations takes the gradient of

    (output[target] of x' - target_output)^2 + _lambda * ||x' - x||_2

and one step of the optimiser. The norm is not squared, and its gradient at x' = x is zero.
"adam" is PyTorch's: m = 0.9 m + 0.1 g, v = 0.999 v + 0.001 g^2, and x' less lr / (1 - 0.9^t) *
m / (sqrt(v) / sqrt(1 - 0.999^t) + 1e-8), t from 1. "sgd" takes lr * g from x'. There is no early
stop. The heat map is |x' - x|. `preds` of the package are the target's output before the last
step, not of the x' returned, and all outputs of x; here `preds` are the target's output at
the start of every iteration, and `outputs` all outputs of the x' returned.

Results go to `crates/attr-testkit/golden/latent_shift.json`. "searched" is null where the range
is fixed, "images" where they are not stored. Linear weights are [in, out].

    pip install -r requirements.txt
    python latent_shift.py
"""

import contextlib
import copy
import importlib.metadata
import importlib.util
import io
import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from gradient_family import burn_parameters
from torch import nn

GOLDEN = Path(__file__).resolve().parents[2] / "crates/attr-testkit/golden"
PEER = "latentshift==0.0.6"
SEED = 15
IMAGES = 6
METHODS = ["int", "mean", "mm", "max"]
# Of float32 and float64 runs, relative to the largest element.
AGREEMENT = 1e-5
# Of two computations of the same in float64.
ROUNDING = 1e-12
# How far predictions and sums of pixels are from what they are compared with.
MARGIN = 1e-5

DEFAULTS = {
    "fix_range": None,
    "search_pred_diff": 0.8,
    "search_step_size": 10.0,
    "search_max_steps": 3000,
    "search_max_pixel_diff_pct": 0.05,
    "lambda_sweep_steps": 10,
    "apply_sigmoid": True,
}
# Name, images, target, options other than the defaults, whether to store the images.
CASES = [
    ("pixels", [0], 0, {}, True),
    ("pixels of another target", [4], 1, {}, False),
    ("rises", [0], 2, {"search_max_pixel_diff_pct": 0.5}, False),
    ("low", [1], 2, {"search_max_pixel_diff_pct": 0.5}, False),
    (
        "difference",
        [3],
        2,
        {"search_max_pixel_diff_pct": 0.5, "search_pred_diff": 0.3},
        True,
    ),
    (
        "steps",
        [4],
        2,
        {"search_max_pixel_diff_pct": 0.5, "search_max_steps": 500},
        False,
    ),
    (
        "steps reached exactly",
        [1],
        1,
        {"search_max_pixel_diff_pct": 0.5, "search_max_steps": 63},
        False,
    ),
    (
        "steps passed",
        [1],
        1,
        {"search_max_pixel_diff_pct": 0.5, "search_max_steps": 64},
        False,
    ),
    ("no step", [1], 1, {"search_max_steps": 0}, False),
    ("small step", [2], 0, {"search_step_size": 3.5}, False),
    (
        "large step",
        [5],
        2,
        {
            "search_step_size": 25.0,
            "search_max_pixel_diff_pct": 0.4,
            "search_pred_diff": 0.35,
        },
        False,
    ),
    ("fixed range", [0], 1, {"fix_range": [-120.0, 0.0]}, False),
    (
        "fixed range on both sides",
        [2],
        2,
        {"fix_range": [-60.0, 45.0], "lambda_sweep_steps": 7},
        False,
    ),
    (
        "fixed range on the right",
        [5],
        0,
        {"fix_range": [20.5, 200.0], "lambda_sweep_steps": 2},
        False,
    ),
    (
        "five lambdas",
        [3],
        2,
        {"search_max_pixel_diff_pct": 0.2, "lambda_sweep_steps": 5},
        False,
    ),
    (
        "raw output",
        [1],
        1,
        {
            "apply_sigmoid": False,
            "search_max_pixel_diff_pct": 0.5,
            "search_pred_diff": 0.25,
            "search_step_size": 1.0,
        },
        False,
    ),
    ("raw output below zero", [1], 0, {"apply_sigmoid": False}, False),
    (
        "two images",
        [1, 2],
        2,
        {"search_max_pixel_diff_pct": 0.5, "search_pred_diff": 0.4},
        False,
    ),
]
SEQUENCE = [0, -10, -21, -34, -48, -63, -80, -98, -118]

WACHTER_DEFAULTS = {
    "target": 0,
    "target_output": 0,
    "_lambda": 1,
    "optimizer": "adam",
    "lr": 0.005,
    "max_iter": 100,
}
# Image, options other than the defaults.
WACHTER = [
    (0, {}),
    (
        3,
        {"target": 2, "target_output": -1.5, "_lambda": 0.5, "lr": 0.02, "max_iter": 60},
    ),
    (
        2,
        {
            "target": 1,
            "target_output": 0.5,
            "_lambda": 0.1,
            "optimizer": "sgd",
            "lr": 0.02,
            "max_iter": 25,
        },
    ),
]


class Shifted(nn.Module):
    """An autoencoder and a classifier of its images."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(36, 5)
        self.decoder1 = nn.Linear(5, 8)
        self.decoder2 = nn.Linear(8, 36)
        self.classifier1 = nn.Linear(36, 6)
        self.classifier2 = nn.Linear(6, 3)

    def encode(self, x):
        return torch.tanh(self.encoder(x.flatten(1)))

    def decode(self, z):
        hidden = torch.tanh(self.decoder1(z))
        return nn.functional.softplus(self.decoder2(hidden)).reshape(-1, 1, 6, 6)

    def forward(self, x):
        return self.classifier2(torch.tanh(self.classifier1(x.flatten(1))))


def dyadic(tensor):
    """Rounded to multiples of 1/1024."""
    return torch.round(tensor * 1024) / 1024


def drawn():
    """The model and its images."""
    generator = torch.Generator().manual_seed(SEED)
    model = Shifted()
    scales = {
        "encoder": 0.25,
        "decoder1": 0.3,
        "decoder2": 0.15,
        "classifier1": 0.5,
        "classifier2": 1.0,
    }
    with torch.no_grad():
        for name, layer in model.named_children():
            weight = torch.randn(layer.weight.shape, generator=generator)
            layer.weight.copy_(dyadic(weight * scales[name]))
            bias = torch.randn(layer.bias.shape, generator=generator)
            layer.bias.copy_(dyadic(bias * 0.25))
    images = dyadic(torch.rand(IMAGES, 1, 6, 6, generator=generator) * 1.5)
    return model.double(), images.double()


@contextlib.contextmanager
def alone(requirement):
    """A folder with a package, installed without those that it asks for."""
    with tempfile.TemporaryDirectory() as folder:
        install = ["-m", "pip", "install", "-q", "--disable-pip-version-check"]
        install += ["--no-deps", "--target", folder, requirement]
        subprocess.run([sys.executable, *install], check=True)
        yield Path(folder)


def original():
    """The two classes of the package."""
    classes = []
    with alone(PEER) as folder:
        for file, name in [("latent_shift", "LatentShift"), ("wachter", "Wachter")]:
            path = folder / f"latentshift/cf/{file}.py"
            spec = importlib.util.spec_from_file_location(f"original_{file}", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            # From 2.4 on, NumPy makes no float of an array with one element.
            module.float = lambda value: value.item()
            classes.append(getattr(module, name))
    return classes


def rounded(values):
    """Flat list of nine significant digits."""
    values = np.asarray(values, dtype=np.float64).ravel()
    assert np.isfinite(values).all()
    return [float(f"{value:.9g}") for value in values]


def array(values):
    """Shape and data."""
    return {"shape": list(np.shape(values)), "data": rounded(values)}


def same(values, wanted, tolerance):
    """Asserts that two computations of the same are."""
    values, wanted = np.asarray(values), np.asarray(wanted)
    assert values.shape == wanted.shape, (values.shape, wanted.shape)
    off = np.abs(values - wanted).max() / max(np.abs(wanted).max(), 1e-30)
    assert off < tolerance, off
    return off


def run(cls, model, x, target, options):
    """What the original gives for each image, and the lambdas and predictions of its search."""
    results = []
    for method in METHODS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            given = cls(model, model).attribute(
                x, target, heatmap_method=method, return_dicts=True, **options
            )
        for index, result in enumerate(given):
            if method == METHODS[0]:
                results.append(result | {"heatmaps": {}})
            results[index]["heatmaps"][method] = result["heatmap"]
            for key in ("lambdas", "preds", "generated_images"):
                assert np.array_equal(results[index][key], result[key])
    for result, part in zip(results, printed.getvalue().split("Selected bounds")):
        shifts = re.findall(r"Shift: (\S+), Pred: (\S+),", part)
        result["searched"] = [float(shift) for shift, _ in shifts]
        result["searched_preds"] = [float(pred) for _, pred in shifts]
    return results


class Definition:
    """Latent Shift by the steps above, for one image."""

    def __init__(self, model, x, target, options):
        self.model, self.target, self.options = model, target, options
        self.z = model.encode(x).detach().requires_grad_()
        x0 = model.decode(self.z)
        (self.d,) = torch.autograd.grad(self.predict(x0).sum(), self.z)
        self.x0 = x0.detach()
        self.margin = math.inf

    def predict(self, x):
        output = self.model(x)[:, self.target]
        return torch.sigmoid(output) if self.options["apply_sigmoid"] else output

    @torch.no_grad()
    def shifted(self, shift):
        x = self.model.decode(self.z + shift * self.d)
        return x, self.predict(x).item()

    def beyond(self, value, bound):
        """Whether a value is larger; the two must not be near."""
        self.margin = min(self.margin, abs(value - bound))
        return value > bound

    def search(self):
        """Lambdas, their predictions and what stopped."""
        options = self.options
        lambdas, preds = [0.0], []
        while True:
            shift = lambdas[-1]
            x, p = self.shifted(shift)
            preds.append(p)
            moved = ((self.x0 - x).abs().sum() / self.x0.abs().sum()).item()
            if len(preds) > 1 and self.beyond(p, preds[-2]):
                return lambdas, preds, "rises"
            if self.beyond(0.05, p):
                return lambdas, preds, "low"
            if self.beyond(preds[0] - options["search_pred_diff"], p):
                return lambdas, preds, "difference"
            if shift <= -options["search_max_steps"]:
                return lambdas, preds, "steps"
            if self.beyond(moved, options["search_max_pixel_diff_pct"]):
                return lambdas, preds, "pixels"
            lambdas.append(shift - options["search_step_size"] + math.floor(shift / 10))

    def check(self, result):
        """Compares with what the original gave, and returns what stopped its search."""
        stop = None
        left, right = self.options["fix_range"] or (None, 0.0)
        if left is None:
            lambdas, preds, stop = self.search()
            assert lambdas == result["searched"]
            same(preds, result["searched_preds"], ROUNDING)
            left = lambdas[-1]
        count = self.options["lambda_sweep_steps"]
        step = (right - left) / (count - 1)
        lambdas = [left + i * step for i in range(count)]
        assert np.allclose(lambdas, result["lambdas"], rtol=0, atol=1e-9)
        shifted = [self.shifted(shift) for shift in lambdas]
        same([p for _, p in shifted], result["preds"], ROUNDING)
        x0 = self.x0[0].numpy()
        images = np.stack([x[0].numpy() for x, _ in shifted])
        same(images, result["generated_images"], ROUNDING)
        maps = {
            "int": np.abs(images[:-1] - images[1:]).sum(0) / (count - 1),
            "mean": np.abs(x0 - images).sum(0) / count,
            "mm": np.abs(images[0] - images[-1]),
            "max": np.abs(x0 - images).max(0),
        }
        for method in METHODS:
            given = result["heatmaps"][method]
            assert np.allclose(maps[method], given, rtol=0, atol=ROUNDING), method
        assert self.margin > MARGIN, self.margin
        return stop


def shift_case(cls, model, images, case):
    """One entry of `cases`."""
    name, rows, target, given, store = case
    options = DEFAULTS | given
    x = images[rows]
    single = copy.deepcopy(model).float()
    shorter = run(cls, single, x.float(), target, options)
    samples = []
    results = run(cls, model, x, target, options)
    for row, result, short in zip(rows, results, shorter, strict=True):
        definition = Definition(model, images[row : row + 1], target, options)
        stop = definition.check(result)
        assert short["searched"] == result["searched"]
        off = same(short["preds"], result["preds"], AGREEMENT)
        for method in METHODS:
            wanted = result["heatmaps"][method]
            if wanted.any():
                off = max(off, same(short["heatmaps"][method], wanted, AGREEMENT))
            else:
                assert not short["heatmaps"][method].any()
        searched = options["fix_range"] is None
        heatmaps = {key: array(value) for key, value in result["heatmaps"].items()}
        samples.append(
            {
                "stop": stop,
                "searched": rounded(result["searched"]) if searched else None,
                "searched_preds": rounded(result["searched_preds"]) if searched else None,
                "lambdas": rounded(result["lambdas"]),
                "preds": rounded(result["preds"]),
                "heatmaps": heatmaps,
                "images": array(result["generated_images"]) if store else None,
            }
        )
        print(
            f"{name:26}{row} {target} {stop or '-':11}{len(result['searched']):3} lambdas "
            f"to {result['lambdas'][0]:8.1f}, {result['preds'][-1]:.4f} -> "
            f"{result['preds'][0]:.4f}, margin {definition.margin:.0e}, float32 off by "
            f"{off:.0e}"
        )
    return {
        "name": name,
        "inputs": rows,
        "target": target,
        "options": options,
        "samples": samples,
    }


def wachter_by_definition(model, x, options):
    """x' and the predictions, by the formulas above."""
    norm, lr = options["_lambda"], options["lr"]
    moved = x.clone()
    m, v, preds = torch.zeros_like(x), torch.zeros_like(x), []
    for t in range(1, options["max_iter"] + 1):
        leaf = moved.clone().requires_grad_()
        output = model(leaf[None])[0, options["target"]]
        preds.append(output.item())
        (gradient,) = torch.autograd.grad(output, leaf)
        g = 2 * (output.item() - options["target_output"]) * gradient
        away = moved - x
        length = away.pow(2).sum().sqrt()
        if length > 0:
            g = g + norm * away / length
        if options["optimizer"] == "sgd":
            moved = moved - lr * g
            continue
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        scale = v.sqrt() / math.sqrt(1 - 0.999**t) + 1e-8
        moved = moved - lr / (1 - 0.9**t) * m / scale
    return moved, preds


def wachter_case(cls, model, images, row, given):
    """One entry of `wachter`."""
    options = WACHTER_DEFAULTS | given
    results = []
    for dtype in (torch.float32, torch.float64):
        typed = copy.deepcopy(model).to(dtype)
        preds = []

        def recorded(x, typed=typed, preds=preds):
            output = typed(x)
            preds.append(output[0, options["target"]].item())
            return output

        with contextlib.redirect_stdout(io.StringIO()):
            result = cls(recorded).attribute(images[row].to(dtype), **options)
        # The last call is for the outputs of x.
        results.append(result | {"all_preds": preds[:-1]})
    short, result = results
    off = same(short["heatmap"], result["heatmap"], AGREEMENT)
    moved, unmoved = result["generated_images"]
    assert np.array_equal(unmoved, images[row].numpy())
    assert result["preds"][0] == result["all_preds"][-1]
    wanted, preds = wachter_by_definition(model, images[row], options)
    same(moved, wanted.numpy(), 1e-9)
    same(result["all_preds"], preds, 1e-9)
    same(result["heatmap"], np.abs(moved - unmoved), ROUNDING)
    with torch.no_grad():
        outputs = model(torch.as_tensor(moved)[None])[0].numpy()
    print(
        f"Wachter, {options['optimizer']:5}{row} {options['target']} {preds[0]:.4f} -> "
        f"{outputs[options['target']]:.4f} (wanted {options['target_output']}), largest "
        f"change {result['heatmap'].max():.3f}, float32 off by {off:.0e}"
    )
    return {
        "input": row,
        "options": {key.lstrip("_"): value for key, value in options.items()},
        "counterfactual": array(moved),
        "heatmap": array(result["heatmap"]),
        "preds": rounded(preds),
        "outputs": rounded(outputs),
    }


def main():
    torch.set_num_threads(1)
    latent_shift, wachter = original()
    model, images = drawn()
    cases = [shift_case(latent_shift, model, images, case) for case in CASES]
    stops = {sample["stop"] for case in cases for sample in case["samples"]}
    assert stops == {None, "rises", "low", "difference", "steps", "pixels"}, stops
    searched = [sample["searched"] for case in cases for sample in case["samples"]]
    assert SEQUENCE in searched
    versions = [PEER.replace("==", " ")]
    for name in ("torch", "numpy"):
        versions.append(f"{name} {importlib.metadata.version(name).split('+')[0]}")
    document = {
        "peer": ", ".join(versions),
        "parameters": burn_parameters(model),
        "inputs": array(images),
        "cases": cases,
        "wachter": [wachter_case(wachter, model, images, *case) for case in WACHTER],
    }
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    (GOLDEN / "latent_shift.json").write_text(text + "\n", encoding="utf-8")
    print(f"latent_shift.json: {len(cases)} cases, {len(text) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
