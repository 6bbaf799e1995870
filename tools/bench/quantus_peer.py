"""Run Quantus' and Captum's metrics beside attr's benchmark, one at a time.

The benchmark starts this script as a child process and drives it over stdin and stdout,
so that both sides are timed alternately in one run, on the same parameters and inputs. It
has written these into FOLDER as `.npy` files, all float32, in PyTorch's layouts:

- a small CNN: `small.NAME` for every NAME of the `state_dict` of `Small` below (with or
  without `num_batches_tracked`);
- ResNet-18: `resnet.NAME` for every NAME of torchvision's `state_dict`, likewise;
- for each model, its inputs, their attributions, and the class that is explained in each
  row: `small_x` and `small_a` [rows, 1, 8, 8], `small_y` [rows]; `resnet_x` and `resnet_a`
  [rows, 3, 224, 224], `resnet_y`; and `grey_x` and `grey_a` [rows, 1, 224, 224], `grey_y`
  for ResNet-18 with one channel that is repeated.

BatchNorms are folded into the convolutions before them. A model's files are read when a
case first needs it. The first line of stdout is

    {"ready": true, "torch": "...", "captum": "...", "quantus": "...", "threads": 2}

Then every line of stdin is a request, for example

    {"case": "pixel_flipping", "model": "small", "features_in_step": 1}

The answer is one line with the seconds that one run took, and the first numbers of the
result: of a metric that draws random numbers, only the mean over all rows.

    {"seconds": 0.5, "first": [0.1, 0.2]}

`quit` or the end of stdin ends the script; a request that fails ends it with a traceback
on stderr. The cases:

- `infidelity`: Captum's, of inputs that become Gaussian noise with a deviation of 0.1;
- `sensitivity_max`: Captum's, of its `Saliency`, with a radius of 0.02;
- `pixel_flipping`: Quantus' `PixelFlipping`, whose curves are the result. Each element is
  a feature;
- `road`: Quantus' `ROAD`. It ranks the elements of all channels, but imputes as if these
  were pixels, so that it fails on inputs of three channels: ask for `grey`.

The fields of a request, all but `case` optional:

- `model` (`small`; or `resnet`, `grey`);
- `samples` (10): of Captum's metrics;
- `at_once` (all): the largest number of rows that go through the model together, for
  Captum's metrics. Quantus' take all rows of the input at once;
- `features_in_step` (1): for `pixel_flipping`;
- `percentages` (Quantus' own): for `road`;
- `channels_last` (false): convolutions in PyTorch's other order of memory;
- `warm` (0): for how many milliseconds runs that do not count come right before;
- `seed` (0): of the random numbers.

The first run of a case includes what libraries load lazily: warm up before timing. The
number of threads is PyTorch's.

    pip install -r requirements.txt
    python quantus_peer.py FOLDER [--threads N]
"""

import time
import warnings
from functools import cached_property
from importlib.metadata import version
from itertools import pairwise

import captum.attr as ca
import captum.metrics as cm
import numpy as np
import quantus
import torch
from models import Digits, arrange
from peer import FIRST, serve, warm_up
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import resnet18

# Names that NumPy 2 dropped and Quantus still asks for.
np.trapz = np.trapezoid
np.NaN = np.nan

CASES = {}


class Grey(nn.Module):
    """A network of three channels, all of them the same."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.expand(-1, 3, -1, -1))


def folded(model):
    """The model with every BatchNorm folded into the convolution before it."""
    for block in list(model.modules()):
        children = list(block.named_children())
        for (name, conv), (after, norm) in pairwise(children):
            if isinstance(norm, nn.BatchNorm2d):
                setattr(block, name, fuse_conv_bn_eval(conv, norm))
                setattr(block, after, nn.Identity())
    return model


class Models:
    """All models, each read when first asked for."""

    def __init__(self, folder, device):
        if device != "cpu":
            raise ValueError("Quantus computes on the host")
        self.folder = folder

    def read(self, name):
        return np.load(self.folder / f"{name}.npy")

    def load(self, prefix, build):
        prefix += "."
        paths = self.folder.glob(f"{prefix}*.npy")
        state = {
            p.stem.removeprefix(prefix): torch.from_numpy(self.read(p.stem))
            for p in paths
        }
        model = build(num_classes=len(state["fc.bias"]))
        for name, value in model.state_dict().items():
            # A count that inference does not read.
            if name.endswith(".num_batches_tracked"):
                state[name] = value
        model.load_state_dict(state)
        return folded(model.eval()).requires_grad_(False)

    @cached_property
    def small(self):
        return self.load("small", Digits)

    @cached_property
    def resnet(self):
        return self.load("resnet", resnet18)

    @cached_property
    def grey(self):
        return Grey(self.resnet).eval()

    def asked(self, request):
        """The model of a request, with its inputs, attributions and classes."""
        name = request.get("model", "small")
        x, a, y = (self.read(f"{name}_{of}") for of in "xay")
        model = arrange(getattr(self, name), request.get("channels_last", False))
        return model, x, a, y.astype(int)


def case(prepare):
    """Enter a function of the models and a request, which returns what is timed."""
    CASES[prepare.__name__] = prepare
    return prepare


def sampling(request):
    return {
        "n_perturb_samples": request.get("samples", 10),
        "max_examples_per_batch": request.get("at_once"),
    }


def noisy_baseline(x):
    """What infidelity asks for: the perturbation and the perturbed inputs."""
    noise = 0.1 * torch.randn_like(x)
    return x - noise, noise


@case
def infidelity(models, request):
    model, *arrays = models.asked(request)
    x, a, y = map(torch.from_numpy, arrays)
    options = sampling(request)
    return lambda: cm.infidelity(
        model, noisy_baseline, x, a, target=y, **options
    ).mean()


@case
def sensitivity_max(models, request):
    model, *arrays = models.asked(request)
    x, _, y = map(torch.from_numpy, arrays)
    explain = ca.Saliency(model).attribute
    options = sampling(request)
    return lambda: cm.sensitivity_max(explain, x, target=y, **options).mean()


def measured(metric, models, request, **options):
    """A run of a metric of Quantus, with what all of them have in common."""
    model, x, a, y = models.asked(request)
    metric = metric(
        abs=False,
        normalise=False,
        disable_warnings=True,
        display_progressbar=False,
        **options,
    )
    return lambda: metric(
        model=model,
        x_batch=x,
        y_batch=y,
        a_batch=a,
        channel_first=True,
        softmax=False,
        device="cpu",
        batch_size=len(x),
    )


@case
def pixel_flipping(models, request):
    options = {"features_in_step": request.get("features_in_step", 1)}
    # Quantus' own baseline is the smallest value of the input.
    options["perturb_baseline"] = 0.0
    return measured(quantus.PixelFlipping, models, request, **options)


@case
def road(models, request):
    percentages = request.get("percentages")
    run = measured(quantus.ROAD, models, request, percentages=percentages)
    # Quantus gives the share of rows for each percentage.
    return lambda: np.mean(list(run().values()))


def answer(models, request):
    """Run one request and time it."""
    run = CASES[request["case"]](models, request)
    warm_up(run, request)
    seed = request.get("seed", 0)
    torch.manual_seed(seed)
    np.random.seed(seed)
    start = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - start
    first = np.asarray(result, dtype=np.float64).ravel()[:FIRST]
    return {"seconds": seconds, "first": first.tolist()}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    versions = {"captum": version("captum"), "quantus": version("quantus")}
    serve(__doc__, Models, versions, answer)
