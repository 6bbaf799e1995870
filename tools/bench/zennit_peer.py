"""Run zennit and zennit-crp beside attr's benchmark, one method at a time.

The benchmark starts this script as a child process and drives it over stdin and stdout,
so that both sides are timed alternately in one run, on the same parameters and input. It
has written these into FOLDER as `.npy` files, all float32, in PyTorch's layouts:

- ResNet-18: `resnet.NAME` for every NAME of torchvision's `state_dict` (with or without
  `num_batches_tracked`);
- VGG-11 without BatchNorm: `vgg.NAME`, likewise;
- the input of both: `image_x` [1, 3, 224, 224].

A model's files are read when a case first needs it. The first line of stdout is

    {"ready": true, "torch": "...", "zennit": "...", "threads": 2}

Then every line of stdin is a request, for example

    {"case": "lrp", "model": "vgg", "composite": "epsilon_plus"}

The answer is one line with the seconds that one run took, the first numbers of the
result and the sum of all of them:

    {"seconds": 0.5, "first": [0.1, 0.2], "sum": 0.3}

`quit` or the end of stdin ends the script; a request that fails ends it with a traceback
on stderr. The cases:

- `gradient`: that of the target's score, without zennit: what LRP costs at least;
- `lrp`: zennit's `Gradient` with a composite, from the target's score, at the input.
  ResNet-18's BatchNorms are merged, and its sums follow the rule for sums;
- `crp`: a heat map for each of the first 64 channels of a layer, with `epsilon_plus`, as
  `generate` of zennit-crp's `CondAttribution` makes them: one forward pass of as many
  rows as a batch has channels, a backward pass for each batch, relevance summed over the
  input's channels. The layer is the PyTorch module whose output is masked.

Timed are the forward and the backward passes. A composite is registered before, and
stays so until a request for the same model asks for another or none. For `crp`,
zennit-crp registers and removes it in every run, and this is timed. Gradients of the
model's parameters are not asked for. The fields of a request, all but `case` optional:

- `model` (`resnet`; or `vgg`), `target` (281);
- `batch` (1): rows, all of them the same input, for `gradient` and `lrp`;
- `composite` (`epsilon_plus`): for `lrp`. `epsilon` has that rule for every linear layer
  and convolution, the others are zennit's own; `epsilon_gamma_box` is from -3 to 3;
- `layer`: for `crp`, which needs it, such as `layer3.1.conv1`, or `features.8` of VGG-11;
- `batch_size` (16): channels in one pass, for `crp`.

The first run of a case includes what libraries load lazily: warm up before timing. The
number of threads is PyTorch's.

zennit-crp needs older libraries than Captum, so `crp` has an environment of its own. The
other cases run there too, but with zennit 0.4.6, whose Gamma rule evaluates a layer once,
where that of zennit 0.5.1 does so five times.

    pip install -r requirements.txt  # or, for `crp`, ../concepts/requirements.txt
    python zennit_peer.py FOLDER [--threads N] [--channels-last]
"""

import time
from functools import cached_property
from importlib.metadata import version

import numpy as np
import PIL
import torch
import zennit.composites as zc
from peer import serve

# The torchvision of zennit-crp's environment imports what Pillow no longer has.
PIL.PILLOW_VERSION = PIL.__version__
from torchvision.models import resnet18, vgg11  # noqa: E402
from zennit.attribution import Gradient  # noqa: E402
from zennit.rules import Epsilon  # noqa: E402
from zennit.torchvision import ResNetCanonizer  # noqa: E402
from zennit.types import Linear  # noqa: E402

# How many numbers of a result go into `first`.
FIRST = 8
# How many heat maps `crp` makes.
CHANNELS = 64
CASES = {}


class Models:
    """Both models, each read when first asked for, and what zennit has added to them."""

    def __init__(self, folder, channels_last=False):
        self.folder = folder
        # That of the weights is enough: the first convolution passes it on.
        self.memory_format = (
            torch.channels_last if channels_last else torch.contiguous_format
        )
        # For each model, the name of the registered composite and itself.
        self.registered = {}

    def read(self, name):
        return torch.from_numpy(np.load(self.folder / f"{name}.npy")).contiguous()

    def load(self, prefix, last, build):
        """A model, whose number of classes is that of the last layer."""
        prefix += "."
        paths = self.folder.glob(f"{prefix}*.npy")
        state = {p.stem.removeprefix(prefix): self.read(p.stem) for p in paths}
        model = build(num_classes=len(state[f"{last}.bias"]))
        for name, value in model.state_dict().items():
            # A count that inference does not read.
            if name.endswith(".num_batches_tracked"):
                state[name] = value
        model.load_state_dict(state)
        model = model.eval().to(memory_format=self.memory_format)
        return model.requires_grad_(False)

    @cached_property
    def resnet(self):
        return self.load("resnet", "fc", resnet18)

    @cached_property
    def vgg(self):
        return self.load("vgg", "classifier.6", vgg11)

    @cached_property
    def x(self):
        return self.read("image_x")

    def prepared(self, request, composite=None):
        """The model asked for, and the composite that is now registered in it, if any."""
        name = request.get("model", "resnet")
        model = getattr(self, name)
        known, registered = self.registered.get(name, (None, None))
        if known != composite:
            if registered is not None:
                registered.remove()
            registered = None
            if composite is not None:
                registered = build_composite(composite, name)
                registered.register(model)
            self.registered[name] = composite, registered
        return model, registered

    def rows(self, request):
        return self.x.repeat(request.get("batch", 1), 1, 1, 1)


def build_composite(name, model):
    """One of zennit's composites, with what `model` needs."""
    options = {"canonizers": [ResNetCanonizer()] if model == "resnet" else []}
    if name == "epsilon":
        # A list before zennit 0.5.
        old = not hasattr(zc, "layer_map_base")
        base = zc.LAYER_MAP_BASE if old else zc.layer_map_base()
        return zc.LayerMapComposite([*base, (Linear, Epsilon())], **options)
    if name == "epsilon_gamma_box":
        options |= {"low": -3.0, "high": 3.0}
    return zc.COMPOSITES[name](**options)


def case(prepare):
    """Enter a function of the models and a request, which returns what is timed."""
    CASES[prepare.__name__] = prepare
    return prepare


def target(request):
    return request.get("target", 281)


@case
def gradient(models, request):
    model, _ = models.prepared(request)
    x = models.rows(request).requires_grad_()
    return lambda: torch.autograd.grad(model(x)[:, target(request)].sum(), x)[0]


@case
def lrp(models, request):
    model, composite = models.prepared(
        request, request.get("composite", "epsilon_plus")
    )
    x = models.rows(request)

    def score(output):
        start = torch.zeros_like(output)
        start[:, target(request)] = output[:, target(request)]
        return start

    # It registers the composite only if that has not been done.
    attributor = Gradient(model, composite, score)
    return lambda: attributor(x)[1]


@case
def crp(models, request):
    try:
        from crp.attribution import CondAttribution
    except ImportError as error:
        raise RuntimeError(
            "crp needs zennit-crp: install concepts/requirements.txt"
        ) from error
    if request.get("batch", 1) != 1:
        raise ValueError("crp takes one input")
    model, _ = models.prepared(request)
    composite = build_composite("epsilon_plus", request.get("model", "resnet"))
    # It only warns of a layer that does not exist.
    model.get_submodule(request["layer"])
    x = models.x.clone().requires_grad_()
    conditions = [
        {"y": [target(request)], request["layer"]: [channel]}
        for channel in range(CHANNELS)
    ]
    options = {"batch_size": request.get("batch_size", 16), "verbose": False}
    method = CondAttribution(model)

    def run():
        batches = method.generate(x, conditions, composite, **options)
        return torch.cat([batch.heatmap for batch in batches])

    return run


def answer(models, request):
    """Run one request and time it."""
    run = CASES[request["case"]](models, request)
    start = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "first": result.flatten()[:FIRST].tolist(),
        "sum": result.double().sum().item(),
    }


if __name__ == "__main__":
    serve(__doc__, Models, {"zennit": version("zennit")}, answer)
