"""Run zennit and zennit-crp beside attr's benchmark, one method at a time.

The benchmark starts this script as a child process and drives it over stdin and stdout,
so that both sides are timed alternately in one run, on the same parameters and input. It
has written these into FOLDER as `.npy` files, all float32, in PyTorch's layouts: for each
of the convolutional networks `digits`, `resnet` and `vgg`, `MODEL.NAME` for every NAME of
its `state_dict` (with or without `num_batches_tracked`), and its input `MODEL_x` of one
row.

A model's files are read when a case first needs it. The first line of stdout is

    {"ready": true, "torch": "...", "zennit": "...", "threads": 2}

Then every line of stdin is a request, for example

    {"case": "lrp", "model": "vgg", "composite": "epsilon_plus"}

The answer is one line with the seconds that one run took, the first numbers of the
result and the sum of all of them:

    {"seconds": 0.5, "first": [0.1, 0.2], "sum": 0.3}

A request that fails is answered by `{"error": "..."}`. `quit` or the end of stdin ends the
script. The cases:

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

- `model` (`resnet`; or `digits`, `vgg`), `target` (281);
- `composite` (`epsilon_plus`): for `lrp`. `epsilon` has that rule for every linear layer
  and convolution, the others are zennit's own; `epsilon_gamma_box` is from -3 to 3;
- `layer`: for `crp`, which needs it, such as `layer3.1.conv1`, or `features.8` of VGG-11;
- `at_once`: channels in one pass, for `crp`; by default, that of zennit-crp;
- `channels_last` (false): convolutions in PyTorch's other order of memory;
- `warm`, `save`, `memory`: as in `captum_peer.py`.

The first run of a case includes what libraries load lazily: warm up before timing. The
number of threads is PyTorch's.

zennit-crp needs older libraries than Captum, so `crp` has an environment of its own. The
other cases run there too, but with zennit 0.4.6, whose Gamma rule evaluates a layer once,
where that of zennit 0.5.1 does so five times.

    pip install -r requirements.txt  # or, for `crp`, ../concepts/requirements.txt
    python zennit_peer.py FOLDER [--threads N] [--device cuda]
"""

from importlib.metadata import PackageNotFoundError, version

import torch
import zennit.composites as zc
from models import arrange, load, read
from peer import measured, serve
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.rules import Epsilon
from zennit.torchvision import ResNetCanonizer
from zennit.types import Linear

# How many heat maps `crp` makes.
CHANNELS = 64
CASES = {}


class Models:
    """All models, each read when first asked for, and what zennit has added to them."""

    def __init__(self, folder, device):
        self.folder = folder
        self.device = device
        self.known = {}
        # For each model, the name of the registered composite and itself.
        self.registered = {}

    def get(self, name):
        if name not in self.known:
            model = load(self.folder, name, self.device)
            self.known[name] = model, read(self.folder, f"{name}_x", self.device)
        return self.known[name]

    def prepared(self, request, composite=None):
        """The model asked for, and the composite that is now registered in it, if any."""
        name = request.get("model", "resnet")
        model, _ = self.get(name)
        arrange(model, request.get("channels_last", False), inplace=False)
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

    def x(self, request):
        return self.get(request.get("model", "resnet"))[1]


def build_composite(name, model):
    """One of zennit's composites, with what `model` needs."""
    canonizers = {"resnet": [ResNetCanonizer()], "digits": [SequentialMergeBatchNorm()]}
    options = {"canonizers": canonizers.get(model, [])}
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
def lrp(models, request):
    model, composite = models.prepared(
        request, request.get("composite", "epsilon_plus")
    )
    x = models.x(request)

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
    model, _ = models.prepared(request)
    composite = build_composite("epsilon_plus", request.get("model", "resnet"))
    # It only warns of a layer that does not exist.
    model.get_submodule(request["layer"])
    x = models.x(request).clone().requires_grad_()
    conditions = [
        {"y": [target(request)], request["layer"]: [channel]}
        for channel in range(CHANNELS)
    ]
    options = {"verbose": False}
    if request.get("at_once") is not None:
        options["batch_size"] = request["at_once"]
    method = CondAttribution(model)

    def run():
        batches = method.generate(x, conditions, composite, **options)
        return torch.cat([batch.heatmap for batch in batches])

    return run


def answer(models, request):
    """Run one request and time it."""
    run = CASES[request["case"]](models, request)
    return measured(run, request, models.folder)


def versions():
    """Those of zennit and, if it is installed, zennit-crp."""
    found = {"zennit": version("zennit")}
    try:
        found["zennit-crp"] = version("zennit-crp")
    except PackageNotFoundError:
        pass
    return found


if __name__ == "__main__":
    serve(__doc__, Models, versions(), answer)
