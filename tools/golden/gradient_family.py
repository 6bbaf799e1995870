"""Write Captum's results for every gradient method that attr implements.

Each model mirrors one of `crates/attr-testkit/src/models/` (`golden.rs`, and `TwoInputs`
and `LstmClassifier` beside it). For each, this script draws weights, inputs, baselines
and a baseline distribution from a fixed seed, runs Captum's input, layer and neuron
methods in float32, and writes one JSON file to `crates/attr-testkit/golden/captum/`.
Results are stored as Captum gives them, even where Captum is known to be wrong.

Where two modules with a DeepLIFT rule follow each other, Captum 0.9 ignores the rule of
the second: its hook reads the gradient before the other has changed it. So DeepLIFT is not
complete through ReLU and max pooling. For the models that have this,
`separated_results` holds the DeepLIFT methods again, on the same model with a
multiplication by one in between, which makes them complete.

Parameters carry Burn's names and layouts: linear weights are `[in, out]`, the transpose
of PyTorch's; normalisations hold `gamma` and `beta`; each gate of an LSTM holds an
`input_transform` and a `hidden_transform`. All data are flat and row-major.

The random draws of the GradientShap methods are those of Rust's `ChaCha8Rng`, which
`ChaCha8` below reproduces, so that Rust can repeat them; `shap_draws` gives their order.

    pip install -r requirements.txt
    python gradient_family.py            # write the files
    python gradient_family.py --search   # look for seeds away from kinks
"""

import copy
import json
import struct
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import captum
import captum.attr as ca
import numpy as np
import torch
from torch import nn

OUT = Path(__file__).resolve().parents[2] / "crates/attr-testkit/golden/captum"
N_STEPS = 20
N_SAMPLES = 6
SHAP_SEED = 11
DISTRIBUTION = 3
VOCABULARY = 12
# Float32 and float64 results must agree this well, relative to the largest element.
AGREEMENT = 2e-5
# How near zero, relative to the largest of the tensor, an input of ReLU may come, and how
# near each other the two largest elements of a pooling window.
MARGIN = 3e-5


class ChaCha8:
    """Rust's `rand_chacha::ChaCha8Rng`, seeded by `seed_from_u64`."""

    def __init__(self, key):
        self.key = struct.unpack("<8I", key)
        self.block = 0
        self.words = []

    @classmethod
    def seed_from_u64(cls, state):
        """rand_core's expansion of a seed: eight outputs of PCG32."""
        key = b""
        for _ in range(8):
            state = (state * 0x5851F42D4C957F2D + 0xA17654E46FBE17F3) % 2**64
            shifted = (((state >> 18) ^ state) >> 27) % 2**32
            turn = state >> 59
            key += struct.pack("<I", (shifted >> turn | shifted << (32 - turn)) % 2**32)
        return cls(key)

    def refill(self):
        """One block of sixteen words; 64-bit counter, stream 0."""
        counter = (self.block % 2**32, self.block >> 32, 0, 0)
        start = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *self.key, *counter)
        x = list(start)

        def quarter(a, b, c, d):
            for first, second, third, bits in (
                (a, b, d, 16),
                (c, d, b, 12),
                (a, b, d, 8),
                (c, d, b, 7),
            ):
                x[first] = (x[first] + x[second]) % 2**32
                mixed = x[third] ^ x[first]
                x[third] = (mixed << bits | mixed >> (32 - bits)) % 2**32

        for _ in range(4):
            for i in range(4):
                quarter(i, 4 + i, 8 + i, 12 + i)
            for i in range(4):
                quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
        self.words = [(a + b) % 2**32 for a, b in zip(x, start)]
        self.block += 1

    def next_u32(self):
        """The next word."""
        if not self.words:
            self.refill()
        return self.words.pop(0)

    def next_u64(self):
        """Two words, the low one first."""
        low = self.next_u32()
        return low | self.next_u32() << 32

    def uniform(self):
        """A float64 of 53 random bits in `[0, 1)`."""
        return (self.next_u64() >> 11) * 2.0**-53


def check_chacha():
    """The published key stream of ChaCha8 for a zero key and a zero nonce."""
    random = ChaCha8(bytes(32))
    stream = struct.pack("<16I", *(random.next_u32() for _ in range(16)))
    assert stream.hex() == (
        "3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e"
        "984ce172b9216f419f445367456d5619314a42a3da86b001387bfdb80e0cfe42"
    )


def shap_draws(rows, inputs):
    """Baseline rows per input and coefficients, for rows x samples in row-major order.

    For each sample, one uniform per input gives the row of the distribution, then one
    gives the coefficient of the point between baseline and input.
    """
    random = ChaCha8.seed_from_u64(SHAP_SEED)
    chosen, coefficients = [[] for _ in range(inputs)], []
    for _ in range(rows * N_SAMPLES):
        for indices in chosen:
            indices.append(int(random.uniform() * DISTRIBUTION))
        coefficients.append(random.uniform())
    return chosen, coefficients


@contextmanager
def fixed_draws(rows, inputs):
    """Feeds `shap_draws` to Captum, which draws with NumPy: all baseline rows of the first
    input, of the second, and so on, then all coefficients."""
    chosen, coefficients = shap_draws(rows, inputs)
    chosen, coefficients = iter(chosen), iter([coefficients])

    def choice(count, size):
        indices = np.array(next(chosen))
        assert count == DISTRIBUTION and indices.shape == (size,)
        return indices

    def uniform(low, high, size):
        values = np.array(next(coefficients))
        assert (low, high) == (0.0, 1.0) and values.shape == (size,)
        return values

    with patch("numpy.random.choice", choice), patch("numpy.random.uniform", uniform):
        yield
    assert next(chosen, None) is None and next(coefficients, None) is None


class Mlp(nn.Module):
    """ReLU, tanh and sigmoid between linear layers."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 8)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(8, 7)
        self.tanh = nn.Tanh()
        self.fc3 = nn.Linear(7, 5)
        self.sigmoid = nn.Sigmoid()
        self.fc4 = nn.Linear(5, 3)

    def forward(self, x):
        x = self.tanh(self.fc2(self.relu(self.fc1(x))))
        return self.fc4(self.sigmoid(self.fc3(x)))


class TwoInputs(nn.Module):
    """Two inputs of different shapes that meet in a product."""

    def __init__(self):
        super().__init__()
        self.left = nn.Linear(3, 4)
        self.tanh = nn.Tanh()
        self.right = nn.Linear(5, 4)
        self.sigmoid = nn.Sigmoid()
        self.head = nn.Linear(4, 2)

    def forward(self, left, right):
        return self.head(self.tanh(self.left(left)) * self.sigmoid(self.right(right)))


class Cnn(nn.Module):
    """Two convolutions with max pooling between."""

    separate = False

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, 3)
        self.relu1 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(3, 4, 2)
        self.relu2 = nn.ReLU()
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        x = self.relu1(self.conv1(x))
        x = self.pool(x * 1.0 if self.separate else x)
        return self.fc(self.relu2(self.conv2(x)).flatten(1))


class Residual(nn.Module):
    """A residual block with BatchNorm, pooled and classified."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(3, eps=1e-5)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(3, 2, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(2, eps=1e-5)
        self.relu2 = nn.ReLU()
        self.fc = nn.Linear(2, 3)

    def forward(self, x):
        inner = self.relu1(self.bn1(self.conv1(x)))
        inner = self.bn2(self.conv2(inner))
        return self.fc(self.relu2(inner + x).mean((2, 3)))


class Conv1dNet(nn.Module):
    """Two 1-D convolutions with max pooling between."""

    separate = False

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(3, 4, 3)
        self.relu1 = nn.ReLU()
        self.pool = nn.MaxPool1d(2)
        self.conv2 = nn.Conv1d(4, 3, 2)
        self.relu2 = nn.ReLU()
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = self.relu1(self.conv1(x))
        x = self.pool(x * 1.0 if self.separate else x)
        return self.fc(self.relu2(self.conv2(x)).flatten(1))


class LstmClassifier(nn.Module):
    """The last hidden state of an LSTM, classified."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Vit(nn.Module):
    """A vision transformer of one block: four patches and a class token."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(1, 8, 4, stride=4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.position = nn.Parameter(torch.zeros(1, 5, 8))
        self.norm1 = nn.LayerNorm(8, eps=1e-5)
        self.query = nn.Linear(8, 8)
        self.key = nn.Linear(8, 8)
        self.value = nn.Linear(8, 8)
        self.softmax = nn.Softmax(dim=-1)
        self.out = nn.Linear(8, 8)
        self.norm2 = nn.LayerNorm(8, eps=1e-5)
        self.fc1 = nn.Linear(8, 16)
        self.gelu = nn.GELU()
        self.fc2 = nn.Linear(16, 8)
        self.norm = nn.LayerNorm(8, eps=1e-5)
        self.head = nn.Linear(8, 3)

    def attention(self, x):
        rows = x.shape[0]

        def heads(projected):
            return projected.reshape(rows, 5, 2, 4).transpose(1, 2)

        query, key = heads(self.query(x)), heads(self.key(x))
        weights = self.softmax(query @ key.transpose(-1, -2) / 2.0)
        mixed = weights @ heads(self.value(x))
        return self.out(mixed.transpose(1, 2).reshape(rows, 5, 8))

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], 1, 8), x], dim=1)
        x = x + self.position
        x = x + self.attention(self.norm1(x))
        x = x + self.fc2(self.gelu(self.fc1(self.norm2(x))))
        return self.head(self.norm(x)[:, 0])


class EmbeddingClassifier(nn.Module):
    """Embedded tokens, each through a linear layer, averaged and classified."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 6)
        self.fc1 = nn.Linear(6, 7)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(7, 3)

    def forward(self, tokens):
        return self.fc2(self.relu(self.fc1(self.embedding(tokens))).mean(1))


@dataclass
class Spec:
    """A model, how to draw its data, and where to attribute."""

    build: type
    # Found by --search.
    seed: int
    shapes: list
    targets: list
    # Layers whose output is attributed to, and layers whose input is.
    layers: list
    to_input: list
    # Layer and index of a neuron of its output.
    neurons: list = field(default_factory=list)
    convolutions: list = field(default_factory=list)
    # Whether there is a ReLU for guided backpropagation to change.
    relu: bool = False
    # Whether the inputs are tokens, which have no gradient.
    integer: bool = False


MODELS = {
    "mlp": Spec(
        build=Mlp,
        seed=6,
        shapes=[(3, 6)],
        targets=[0, 2, 1],
        layers=["fc1", "fc2", "fc3"],
        to_input=["fc2", "fc4"],
        neurons=[("fc2", (3,)), ("fc4", (1,))],
        relu=True,
    ),
    "two_inputs": Spec(
        build=TwoInputs,
        seed=2,
        shapes=[(3, 3), (3, 5)],
        targets=[0, 1, 1],
        layers=["left", "right"],
        to_input=["head"],
        neurons=[("left", (1,)), ("head", (0,))],
    ),
    "cnn": Spec(
        build=Cnn,
        seed=14,
        shapes=[(2, 1, 8, 8)],
        targets=[0, 2],
        layers=["conv1", "conv2", "fc"],
        to_input=["conv2", "fc"],
        neurons=[("conv2", (1, 0, 1)), ("fc", (2,))],
        convolutions=["conv1", "conv2"],
        relu=True,
    ),
    "residual": Spec(
        build=Residual,
        seed=52,
        shapes=[(2, 2, 5, 5)],
        targets=[2, 1],
        layers=["conv1", "bn1", "conv2", "bn2"],
        to_input=["conv2", "fc"],
        neurons=[("bn2", (1, 2, 3)), ("fc", (1,))],
        convolutions=["conv1", "conv2"],
        relu=True,
    ),
    "conv1d": Spec(
        build=Conv1dNet,
        seed=82,
        shapes=[(2, 3, 9)],
        targets=[1, 0],
        layers=["conv1", "conv2", "fc"],
        to_input=["conv2", "fc"],
        neurons=[("conv2", (1, 0)), ("fc", (1,))],
        convolutions=["conv1", "conv2"],
        relu=True,
    ),
    "lstm": Spec(
        build=LstmClassifier,
        seed=1,
        shapes=[(2, 4, 5)],
        targets=[0, 2],
        layers=["head"],
        to_input=["head"],
        neurons=[("head", (2,))],
    ),
    "vit": Spec(
        build=Vit,
        seed=1,
        shapes=[(2, 1, 8, 8)],
        targets=[1, 2],
        layers=["patch", "norm1", "key", "fc1"],
        to_input=["fc1", "head"],
        neurons=[("key", (1, 3)), ("fc1", (0, 5))],
        convolutions=["patch"],
    ),
    "embedding": Spec(
        build=EmbeddingClassifier,
        seed=1,
        shapes=[(3, 5)],
        targets=[0, 1, 2],
        layers=["embedding", "fc1", "fc2"],
        to_input=["fc1", "fc2"],
        relu=True,
        integer=True,
    ),
}


def randomise(model):
    """Redraw every parameter, with a spread that leaves no activation saturated."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0.0, 1.5 / fan_in**0.5)
                # Enough for pooling windows of nothing but zeros to be few.
                mean = 0.1 if isinstance(module, nn.Linear) else 0.8
                if module.bias is not None:
                    module.bias.normal_(mean, 0.3)
            elif isinstance(module, nn.LSTM):
                for parameter in module.parameters():
                    parameter.normal_(0.0, 0.5)
            elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0.0, 0.3)
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.normal_(0.0, 0.3)
                    module.running_var.uniform_(0.5, 1.5)
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, 1.0)
        for parameter in model.parameters(recurse=False):
            parameter.normal_(0.0, 0.7)


def floats(tensor):
    """Flat list; nine significant digits restore a float32 exactly."""
    values = tensor.detach().numpy().astype(np.float32).ravel()
    return [float(f"{value:.9g}") for value in values]


def array(tensor):
    """Shape and data of one tensor."""
    return {"shape": list(tensor.shape), "data": floats(tensor)}


def lstm_tensors(lstm):
    """Burn has a module of two linear layers per gate, PyTorch stacks the gates."""
    tensors = {}
    for index, gate in enumerate(("input", "forget", "cell", "output")):
        rows = slice(index * lstm.hidden_size, (index + 1) * lstm.hidden_size)
        for transform, suffix in (("input", "ih_l0"), ("hidden", "hh_l0")):
            path = f"{gate}_gate.{transform}_transform"
            weight = getattr(lstm, f"weight_{suffix}")[rows]
            tensors[f"{path}.weight"] = weight.T.contiguous()
            tensors[f"{path}.bias"] = getattr(lstm, f"bias_{suffix}")[rows]
    return tensors


def burn_parameters(model):
    """Parameters and buffers under Burn's names, in Burn's layouts."""
    parameters = {
        name: array(value) for name, value in model.named_parameters(recurse=False)
    }
    for name, module in model.named_children():
        if isinstance(module, nn.Linear):
            tensors = {"weight": module.weight.T.contiguous(), "bias": module.bias}
        elif isinstance(module, (nn.Conv1d, nn.Conv2d)):
            tensors = {"weight": module.weight, "bias": module.bias}
        elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            tensors = {"gamma": module.weight, "beta": module.bias}
            if isinstance(module, nn.BatchNorm2d):
                tensors["running_mean"] = module.running_mean
                tensors["running_var"] = module.running_var
        elif isinstance(module, nn.Embedding):
            tensors = {"weight": module.weight}
        elif isinstance(module, nn.LSTM):
            tensors = lstm_tensors(module)
        else:
            assert not list(module.parameters()), name
            continue
        parameters |= {
            f"{name}.{key}": array(value)
            for key, value in tensors.items()
            if value is not None
        }
    return parameters


@dataclass
class Case:
    """A model with its data."""

    spec: Spec
    model: nn.Module
    inputs: tuple
    baselines: tuple
    distribution: tuple
    targets: torch.Tensor

    @classmethod
    def draw(cls, spec, seed):
        """Everything from a seed."""
        torch.manual_seed(seed)
        model = spec.build().eval()
        randomise(model)
        rows = [(DISTRIBUTION, *shape[1:]) for shape in spec.shapes]
        if spec.integer:
            inputs = tuple(torch.randint(1, VOCABULARY, s) for s in spec.shapes)
            baselines = tuple(torch.zeros_like(x) for x in inputs)
            distribution = tuple(torch.randint(0, VOCABULARY, s) for s in rows)
        else:
            inputs = tuple(torch.randn(s) for s in spec.shapes)
            baselines = tuple(0.5 * torch.randn(s) for s in spec.shapes)
            distribution = tuple(0.5 * torch.randn(s) for s in rows)
        targets = torch.tensor(spec.targets)
        return cls(spec, model, inputs, baselines, distribution, targets)

    def double(self):
        """The same in float64."""

        def convert(tensors):
            return tensors if self.spec.integer else tuple(x.double() for x in tensors)

        return Case(
            self.spec,
            copy.deepcopy(self.model).double(),
            convert(self.inputs),
            convert(self.baselines),
            convert(self.distribution),
            self.targets,
        )

    def runs(self):
        """Each run: layer, whether its input is meant, neuron, method, options, data
        arguments of `attribute`, whether it has a delta."""
        target = {"target": self.targets}
        path = {"baselines": self.baselines}
        shap = {"baselines": self.distribution}
        steps = {"n_steps": N_STEPS, "method": "gausslegendre"}
        trapezoid = steps | {"method": "riemann_trapezoid"}
        samples = {"n_samples": N_SAMPLES, "seed": SHAP_SEED}
        spec = self.spec
        # Method, options, arguments, has a delta.
        plain = [
            ("Saliency", {}, target, False),
            ("InputXGradient", {}, target, False),
            ("IntegratedGradients", steps, target | path, True),
            ("DeepLift", {}, target | path, True),
            ("DeepLiftShap", {}, target | shap, True),
            ("GradientShap", samples, target | shap, False),
        ]
        if spec.relu:
            plain += [
                ("GuidedBackprop", {}, target, False),
                ("Deconvolution", {}, target, False),
            ]
        layer = [
            ("LayerActivation", {}, {}, False),
            ("LayerGradientXActivation", {}, target, False),
            ("LayerIntegratedGradients", steps, target | path, True),
            ("LayerConductance", steps, target | path, True),
            ("InternalInfluence", steps, target | path, False),
            ("LayerDeepLift", {}, target | path, True),
            ("LayerDeepLiftShap", {}, target | shap, True),
            ("LayerGradientShap", samples, target | shap, False),
        ]
        cam = [
            ("LayerGradCam", {"relu_attributions": False}, target, False),
            ("LayerGradCam", {"relu_attributions": True}, target, False),
        ]
        if spec.relu:
            nearest = {"interpolate_mode": "nearest"}
            cam.append(("GuidedGradCam", nearest, target, False))
        neuron = [
            ("NeuronGradient", {}, {}, False),
            ("NeuronIntegratedGradients", steps, path, False),
            ("NeuronConductance", trapezoid, target | path, False),
            ("NeuronConductance", steps, target | path, False),
            ("NeuronDeepLift", {}, path, False),
            ("NeuronDeepLiftShap", {}, shap, False),
            ("NeuronGradientShap", samples, shap, False),
        ]
        if spec.relu:
            neuron += [
                ("NeuronGuidedBackprop", {}, {}, False),
                ("NeuronDeconvolution", {}, {}, False),
            ]

        if not spec.integer:
            yield from ((None, False, None, *run) for run in plain)
        for name in spec.layers:
            yield from ((name, False, None, *run) for run in layer)
        for name in spec.to_input:
            yield from ((name, True, None, *run) for run in layer)
        for name in spec.convolutions:
            yield from ((name, False, None, *run) for run in cam)
        for name, index in spec.neurons:
            yield from ((name, False, index, *run) for run in neuron)

    def attribute(self, layer, to_input, neuron, method, options, arguments, has_delta):
        """Runs Captum; gives values and delta."""
        keywords = dict(arguments)
        keywords |= {k: v for k, v in options.items() if k != "seed"}
        place = [] if layer is None else [getattr(self.model, layer)]
        if to_input:
            keywords["attribute_to_layer_input"] = True
        if neuron is not None:
            keywords["neuron_selector"] = neuron
        if has_delta:
            keywords["return_convergence_delta"] = True
        inputs = self.inputs
        if not self.spec.integer:
            inputs = tuple(x.clone().requires_grad_() for x in inputs)
        subject = getattr(ca, method)(self.model, *place)
        if "GradientShap" in method:
            with fixed_draws(len(self.targets), len(inputs)):
                values = subject.attribute(inputs, **keywords)
        else:
            values = subject.attribute(inputs, **keywords)
        values, delta = values if has_delta else (values, None)
        values = values if isinstance(values, tuple) else (values,)
        return [x.detach() for x in values], delta

    def separated(self):
        """The same with ReLU and pooling apart, where they follow each other."""
        if not hasattr(self.model, "separate"):
            return None
        case = copy.copy(self)
        case.model = copy.deepcopy(self.model)
        case.model.separate = True
        return case

    def results(self, methods=""):
        """Every run of methods whose names hold `methods`: what it was, values and delta,
        or the error that Captum raises."""
        found, skipped = [], []
        for layer, to_input, neuron, method, options, arguments, has_delta in self.runs():
            if methods not in method:
                continue
            entry = {
                "method": method,
                "layer": layer,
                "to_input": to_input,
                "neuron": neuron and list(neuron),
                "options": options,
            }
            try:
                values, delta = self.attribute(
                    layer, to_input, neuron, method, options, arguments, has_delta
                )
            except (RuntimeError, TypeError, AssertionError, StopIteration) as error:
                skipped.append((entry, f"{type(error).__name__}: {error}"))
            else:
                found.append((entry, values, delta))
        return found, skipped


class Margins:
    """How near a kink the evaluated points come."""

    def __init__(self, model):
        self.least = float("inf")
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_pre_hook(self.relu)
            elif isinstance(module, (nn.MaxPool1d, nn.MaxPool2d)):
                module.register_forward_pre_hook(self.pool)

    def note(self, distances, scale):
        """Keeps the smallest distance."""
        if distances.numel():
            self.least = min(self.least, float(distances.min() / scale))

    def relu(self, _, inputs):
        """Distance to zero."""
        size = inputs[0].detach().abs()
        self.note(size, size.max())

    def pool(self, module, inputs):
        """Distance of the two largest in a window, where not both are zero after ReLU."""
        x = inputs[0].detach()
        sides = 1 if isinstance(module, nn.MaxPool1d) else 2
        windows = windows_of(x, sides)
        top = windows.topk(2, dim=-1).values
        gap = (top[..., 0] - top[..., 1])[top[..., 0] > 0]
        self.note(gap, x.abs().max())


def windows_of(x, sides):
    """The windows of pooling by 2 with stride 2 along the last axes."""
    for axis in range(2, 2 + sides):
        x = x.unfold(axis, 2, 2)
    return x.flatten(2 + sides)


def dead_windows(case):
    """Whether some pooling window of the inputs is zero throughout: there the methods that
    override ReLU depend on which element wins the tie."""
    dead = []

    def note(_module, _inputs, output):
        dead.append(bool((output == 0).any()))

    model = copy.deepcopy(case.model)
    for module in model.modules():
        if isinstance(module, (nn.MaxPool1d, nn.MaxPool2d)):
            module.register_forward_hook(note)
    model(*case.inputs)
    return any(dead)


def examine(case):
    """Results of a case, the runs skipped, and what speaks against its seed."""
    found, skipped = case.results()
    double = case.double()
    margins = Margins(double.model)
    reference, _ = double.results()
    assert len(reference) == len(found)

    faults, disagreement = [], 0.0
    for (entry, values, delta), (_, exact, _) in zip(found, reference):
        for value, wanted in zip(values, exact):
            size = wanted.abs().max().item()
            off = (value.double() - wanted).abs().max().item() / max(size, 1e-30)
            disagreement = max(disagreement, off)
            if size < 3e-3:
                faults.append(f"{entry['method']} {entry['layer']}: at most {size:.1e}")
            elif entry["layer"] is None:
                rows = wanted.flatten(1).abs().amax(1)
                if rows.min() < 0.03 * size:
                    faults.append(f"{entry['method']}: a row is all but zero")
    if disagreement > AGREEMENT:
        faults.append(f"float32 and float64 differ by {disagreement:.1e}")
    if margins.least < MARGIN:
        faults.append(f"{margins.least:.1e} from a kink")
    if dead_windows(case):
        faults.append("a pooling window is zero throughout")
    return found, skipped, faults, margins.least, disagreement


def described(found):
    """Results as they are stored."""
    results = []
    for entry, values, delta in found:
        result = entry | {"values": [array(x) for x in values], "delta": None}
        if delta is not None:
            result["delta"] = floats(delta)
            if "DeepLift" in entry["method"]:
                result["captum_delta_max"] = max(map(abs, result["delta"]))
        results.append(result)
    return results


def document(case, found, separated):
    """All that one golden file holds."""
    result = {
        "peer": f"captum {captum.__version__}, torch {torch.__version__.split('+')[0]}",
        "parameters": burn_parameters(case.model),
        "inputs": [array(x) for x in case.inputs],
        "integer_inputs": case.spec.integer,
        "baselines": [array(x) for x in case.baselines],
        "distribution": [array(x) for x in case.distribution],
        "targets": case.targets.tolist(),
        "output": array(case.model(*case.inputs)),
        "results": described(found),
    }
    if separated:
        result["separated_results"] = described(separated)
    return result


def report(case, found, skipped):
    """Prints what was left out, and how far DeepLift misses completeness."""
    for entry, reason in skipped:
        where = entry["layer"] or "inputs"
        side = " (input)" if entry["to_input"] else ""
        text = " ".join(reason.split())[:110]
        print(f"  skipped {entry['method']} at {where}{side}: {text}")
    rows = torch.arange(len(case.targets))
    with torch.no_grad():
        change = case.model(*case.inputs) - case.model(*case.baselines)
    change = change[rows, case.targets].abs().max().item()
    print(f"  max |f(x) - f(b)| {change:.3e}")
    deltas(found)


def deltas(found):
    """Prints the largest delta of each result that has one."""
    for entry, _, delta in found:
        if delta is not None:
            where = (entry["layer"] or "-") + (" (input)" if entry["to_input"] else "")
            worst = delta.abs().max().item()
            print(f"  {entry['method']:26} {where:14} max |delta| {worst:.3e}")


def search(names, seeds):
    """Prints the seed of each model that stays farthest from kinks, among those with
    nothing else against them."""
    for name in names:
        best = None
        for seed in seeds:
            case = Case.draw(MODELS[name], seed)
            if dead_windows(case):
                continue
            *_, faults, margin, disagreement = examine(case)
            if not faults and (best is None or margin > best[1]):
                best = (seed, margin, disagreement)
                if margin > 4 * MARGIN:
                    break
        print(name, best, flush=True)


def main():
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    check_chacha()
    if sys.argv[1:2] == ["--search"]:
        search(sys.argv[2:] or MODELS, range(1, 100))
        return
    OUT.mkdir(parents=True, exist_ok=True)
    for name, spec in MODELS.items():
        case = Case.draw(spec, spec.seed)
        found, skipped, faults, margin, disagreement = examine(case)
        separated = case.separated()
        separated = separated.results("DeepLift")[0] if separated else []
        content = document(case, found, separated)
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        (OUT / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(f"{name}: {len(found)} results, {len(text) / 1000:.0f} kB")
        print(f"  float32 off by {disagreement:.1e}, nearest kink {margin:.1e}")
        for fault in faults:
            print(f"  FAULT {fault}")
        report(case, found, skipped)
        if separated:
            print("  with ReLU and pooling apart:")
            deltas(separated)


if __name__ == "__main__":
    main()
