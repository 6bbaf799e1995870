"""Run Captum beside attr's benchmark, one method at a time.

The benchmark starts this script as a child process and drives it over stdin and stdout,
so that both sides are timed alternately in one run, on the same parameters and input. It
has written these into FOLDER as `.npy` files, all float32, in PyTorch's layouts: for every
model of `models.py`, `MODEL.NAME` for every NAME of its `state_dict` (with or without
`num_batches_tracked`), and its input `MODEL_x` of one row.

A model's files are read when a case first needs it. The first line of stdout is

    {"ready": true, "torch": "...", "captum": "...", "threads": 2}

Then every line of stdin is a request, for example

    {"case": "kernel_shap", "model": "tabular", "target": 0, "samples": 200, "at_once": 64}

The answer is one line with the seconds that one run took, the first numbers of the
result and the sum of all of them, or why the request failed:

    {"seconds": 0.5, "first": [0.1, 0.2], "sum": 0.3}
    {"error": "..."}

`quit` or the end of stdin ends the script. Baselines are zero. The fields of a request:

- `case`: one of the functions below that are decorated with `@case`;
- `model`, `target`;
- `samples`: of the sampling methods; steps of the methods that integrate;
- `at_once`: `perturbations_per_eval`, `internal_batch_size` or `nt_samples_batch_size`,
  where the method has one; if it is null, Captum's default;
- `channels_last` (false): convolutions in PyTorch's other order of memory;
- `features`: `elements`, `cells` of a 7x7 grid, `tokens`, or a number of groups;
- `window` and `strides`: for occlusion;
- `layer`: for the methods of layers;
- `warm` (0): for how many milliseconds runs that do not count come right before;
- `save` (false): whether the result is written to `result.npy`;
- `memory` (false): whether the answer has `mib`, by how much the resident memory grew;
- `seed` (0): of PyTorch's random numbers.

Exact Shapley values take features! permutations with features evaluations each.

The first run of a case includes what libraries load lazily: warm up before timing. The
number of threads is PyTorch's; scikit-learn, which fits LIME and Kernel SHAP, takes its
own from `OMP_NUM_THREADS` and `OPENBLAS_NUM_THREADS`.

    pip install -r requirements.txt
    python captum_peer.py FOLDER [--threads N] [--device cuda]
"""

import warnings

import captum
import captum.attr as ca
import torch
from models import arrange, load, own_relu_resnet18, read
from peer import measured, serve

CASES = {}


class Models:
    """All models with their inputs, each read when first asked for."""

    def __init__(self, folder, device):
        self.folder = folder
        self.device = device
        self.known = {}

    def get(self, name):
        if name not in self.known:
            build = own_relu_resnet18 if name == "resnet" else None
            model = load(self.folder, name, self.device, build)
            self.known[name] = model, read(self.folder, f"{name}_x", self.device)
        return self.known[name]


def case(prepare):
    """Enter a function of a model, its input and a request, which returns what is timed."""
    CASES[prepare.__name__] = prepare
    return prepare


def run_of(explainer, x, request, **options):
    """A run of one of Captum's methods, without options that are None."""
    options["target"] = request["target"]
    options = {name: value for name, value in options.items() if value is not None}
    return lambda: explainer.attribute(x, **options)


@case
def forward(model, x, request):
    return lambda: model(x)


@case
def saliency(model, x, request):
    return run_of(ca.Saliency(model), x, request)


@case
def deep_lift(model, x, request):
    return run_of(ca.DeepLift(model), x, request)


def integral(explainer, x, request):
    return run_of(
        explainer,
        x,
        request,
        n_steps=request["samples"],
        internal_batch_size=request.get("at_once"),
    )


@case
def integrated_gradients(model, x, request):
    return integral(ca.IntegratedGradients(model), x, request)


@case
def layer_integrated_gradients(model, x, request):
    layer = model.get_submodule(request["layer"])
    return integral(ca.LayerIntegratedGradients(model, layer), x, request)


@case
def layer_conductance(model, x, request):
    layer = model.get_submodule(request["layer"])
    return integral(ca.LayerConductance(model, layer), x, request)


@case
def gradient_shap(model, x, request):
    options = {"baselines": torch.zeros_like(x), "n_samples": request["samples"]}
    return run_of(ca.GradientShap(model), x, request, **options)


@case
def smooth_grad(model, x, request):
    return run_of(
        ca.NoiseTunnel(ca.Saliency(model)),
        x,
        request,
        nt_samples=request["samples"],
        nt_samples_batch_size=request.get("at_once"),
    )


def mask(x, request):
    """The feature mask of a request; None where each element is a feature."""
    features = request.get("features", "elements")
    if features == "elements":
        return None
    if features == "cells":
        rows, columns = (torch.arange(size) * 7 // size for size in x.shape[2:])
        return (rows[:, None] * 7 + columns).expand_as(x).to(x.device)
    if features == "tokens":
        return torch.arange(x.shape[1])[:, None].expand_as(x).to(x.device)
    groups = torch.arange(x.shape[1]) * features // x.shape[1]
    return groups[None].to(x.device)


def perturbation(explainer, x, request, **options):
    return run_of(
        explainer,
        x,
        request,
        baselines=0,
        perturbations_per_eval=request.get("at_once"),
        **options,
    )


@case
def feature_ablation(model, x, request):
    features = mask(x, request)
    return perturbation(ca.FeatureAblation(model), x, request, feature_mask=features)


@case
def occlusion(model, x, request):
    return perturbation(
        ca.Occlusion(model),
        x,
        request,
        sliding_window_shapes=tuple(request["window"]),
        strides=tuple(request["strides"]),
    )


def sampled(explainer, x, request):
    options = {"feature_mask": mask(x, request), "n_samples": request["samples"]}
    return perturbation(explainer, x, request, **options)


@case
def kernel_shap(model, x, request):
    return sampled(ca.KernelShap(model), x, request)


@case
def lime(model, x, request):
    return sampled(ca.Lime(model), x, request)


@case
def shapley_value_sampling(model, x, request):
    return sampled(ca.ShapleyValueSampling(model), x, request)


@case
def shapley_values(model, x, request):
    features = mask(x, request)
    return perturbation(ca.ShapleyValues(model), x, request, feature_mask=features)


# What hooks read must not be overwritten.
HOOKED = {"deep_lift", "layer_integrated_gradients", "layer_conductance"}


def answer(models, request):
    """Run one request and time it."""
    name = request["case"]
    model, x = models.get(request["model"])
    arrange(model, request.get("channels_last", False), inplace=name not in HOOKED)
    run = CASES[name](model, x, request)
    torch.manual_seed(request.get("seed", 0))
    with torch.no_grad():
        return measured(run, request, models.folder)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    serve(__doc__, Models, {"captum": captum.__version__}, answer)
