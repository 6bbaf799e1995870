"""Run Captum beside attr's benchmark, one method at a time.

The benchmark starts this script as a child process and drives it over stdin and stdout,
so that both sides are timed alternately in one run, on the same parameters and input. It
has written these into FOLDER as `.npy` files, all float32:

- the tabular network: `tabular_w0` [30, 64], `tabular_w1` [64, 64] and `tabular_w2`
  [64, 2], each `[in, out]` as in Burn, `tabular_b0` to `tabular_b2`, ReLU in between;
  and its input `tabular_x` [1, 30];
- ResNet-18: `resnet.NAME` for every NAME of torchvision's `state_dict` (with or without
  `num_batches_tracked`), in PyTorch's layouts; and its input `image_x` [1, 3, 224, 224].

A model's files are read when a case first needs it. The first line of stdout is

    {"ready": true, "torch": "...", "captum": "...", "threads": 2}

Then every line of stdin is a request, for example

    {"case": "kernel_shap", "n_samples": 2000, "perturbations_per_eval": 100}

The answer is one line with the seconds that one run took, the first numbers of the
result and the sum of all of them:

    {"seconds": 0.5, "first": [0.1, 0.2], "sum": 0.3}

`quit` or the end of stdin ends the script; a request that fails ends it with a traceback
on stderr. Baselines are zero. The fields of a request, all but `case` optional:

- `case`: one of the functions below that are decorated with `@case`;
- `perturbations_per_eval` (1), `target` (0; 281 for ResNet-18);
- `n_samples` (25, as in Captum): for the sampling methods;
- `features` (30): groups of inputs, for the Shapley values. Exact ones take features!
  permutations with features evaluations each; for many features, extrapolate the time
  from that of sampled permutations (`n_samples`) of as many features;
- `window` and `strides`: for occlusion;
- `batch` (1): rows, for `forward_*`;
- `seed` (0): of PyTorch's random numbers.

The first run of a case includes what libraries load lazily: warm up before timing. The
number of threads is PyTorch's; scikit-learn, which fits LIME and Kernel SHAP, takes its
own from `OMP_NUM_THREADS` and `OPENBLAS_NUM_THREADS`.

    pip install -r requirements.txt
    python captum_peer.py FOLDER [--threads N] [--channels-last]
"""

import time
from functools import cached_property

import captum
import captum.attr as ca
import numpy as np
import torch
from peer import serve
from torch import nn
from torchvision.models import resnet18

# How many numbers of a result go into `first`.
FIRST = 8
CASES = {}


class Models:
    """Both models with their inputs, as pairs, each read when first asked for."""

    def __init__(self, folder, channels_last=False):
        self.folder = folder
        # That of the weights is enough: the first convolution passes it on.
        self.memory_format = (
            torch.channels_last if channels_last else torch.contiguous_format
        )

    def read(self, name):
        return torch.from_numpy(np.load(self.folder / f"{name}.npy")).contiguous()

    @cached_property
    def tabular(self):
        layers = []
        for i in range(3):
            weight, bias = self.read(f"tabular_w{i}"), self.read(f"tabular_b{i}")
            linear = nn.Linear(*weight.shape)
            linear.load_state_dict({"weight": weight.T, "bias": bias})
            layers += [linear, nn.ReLU()]
        return nn.Sequential(*layers[:-1]).eval(), self.read("tabular_x")

    @cached_property
    def resnet(self):
        prefix = "resnet."
        paths = self.folder.glob(f"{prefix}*.npy")
        state = {p.stem.removeprefix(prefix): self.read(p.stem) for p in paths}
        model = resnet18(num_classes=len(state["fc.bias"]))
        for name, value in model.state_dict().items():
            # A count that inference does not read.
            if name.endswith(".num_batches_tracked"):
                state[name] = value
        model.load_state_dict(state)
        return model.eval().to(memory_format=self.memory_format), self.read("image_x")


def case(prepare):
    """Enter a function of the models and a request, which returns what is timed."""
    CASES[prepare.__name__] = prepare
    return prepare


def attribution(method, pair, request, target=0, **options):
    """A run of Captum's `method`, with what every case has in common."""
    model, x = pair
    explainer = method(model)
    options |= {
        "baselines": 0,
        "target": request.get("target", target),
        "perturbations_per_eval": request.get("perturbations_per_eval", 1),
    }
    return lambda: explainer.attribute(x, **options)


def sampled(method, models, request, **options):
    options["n_samples"] = request.get("n_samples", 25)
    return attribution(method, models.tabular, request, **options)


def groups(models, request):
    """A feature mask of as many groups of inputs as the request says."""
    _, x = models.tabular
    inputs = x.shape[1]
    return torch.arange(inputs)[None] * request.get("features", inputs) // inputs


def occlusion(pair, request, window, strides, **options):
    return attribution(
        ca.Occlusion,
        pair,
        request,
        sliding_window_shapes=tuple(request.get("window", window)),
        strides=tuple(request.get("strides", strides)),
        **options,
    )


def forward(pair, request):
    model, x = pair
    rows = x.repeat(request.get("batch", 1), *[1] * (x.dim() - 1))
    return lambda: model(rows)


@case
def kernel_shap(models, request):
    return sampled(ca.KernelShap, models, request)


@case
def lime(models, request):
    return sampled(ca.Lime, models, request)


@case
def shapley_value_sampling(models, request):
    mask = groups(models, request)
    return sampled(ca.ShapleyValueSampling, models, request, feature_mask=mask)


@case
def shapley_values(models, request):
    mask = groups(models, request)
    return attribution(ca.ShapleyValues, models.tabular, request, feature_mask=mask)


@case
def feature_ablation(models, request):
    return attribution(ca.FeatureAblation, models.tabular, request)


@case
def occlusion_tabular(models, request):
    return occlusion(models.tabular, request, (3,), (1,))


@case
def occlusion_resnet(models, request):
    return occlusion(models.resnet, request, (3, 15, 15), (3, 8, 8), target=281)


@case
def forward_tabular(models, request):
    return forward(models.tabular, request)


@case
def forward_resnet(models, request):
    return forward(models.resnet, request)


def answer(models, request):
    """Run one request and time it."""
    run = CASES[request["case"]](models, request)
    torch.manual_seed(request.get("seed", 0))
    with torch.no_grad():
        start = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "first": result.flatten()[:FIRST].tolist(),
        "sum": result.double().sum().item(),
    }


if __name__ == "__main__":
    serve(__doc__, Models, {"captum": captum.__version__}, answer)
