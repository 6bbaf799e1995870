"""Write the small ONNX files of `crates/attr-testkit/onnx/models` and their reference values.

PyTorch's two exporters, skl2onnx and onnx.helper each write models with random weights
from a fixed seed. Beside each `NAME.onnx` lies `NAME.safetensors` with

- `input.X` for every input X,
- `output.Y` for every output Y, as ONNX Runtime computes it,
- `saliency.X` for every floating-point input: |d output[row, target] / d input|, by
  PyTorch's autograd,

all float32 (or int64), regardless of the type the model computes in, and the metadata
`output_name` and `target_index` (which output and which unit of it `saliency` explains)
and `reference` (what computed the outputs).

The script fails if ONNX Runtime and PyTorch differ, at the file's or another batch size.

    pip install -r requirements.txt
    python make_fixtures.py [NAME ...]
"""

import argparse
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

import small_models as small
from common import (
    as_tuple,
    export,
    gradients,
    op_types,
    quiet,
    randomise,
    relative_error,
    run_ort,
)

OUT = Path(__file__).resolve().parents[2] / "crates/attr-testkit/onnx/models"
LARGEST_FILE = 60_000
LARGEST_TOTAL = 1_200_000
TOLERANCE = 1e-4
# What one rounding in half precision costs, over a few layers.
HALF_TOLERANCE = {torch.float16: 5e-3, torch.bfloat16: 4e-2}


@dataclasses.dataclass
class Case:
    """One model and the files to export from it.

    An export is `legacy13` or `dynamo18`: an exporter and an opset; `_unfused` keeps
    BatchNorm apart from the convolution before it.
    """

    build: Callable
    inputs: Callable
    exports: tuple[str, ...]
    rows: int = 2
    fixed: bool = False
    outputs: tuple[str, ...] = ("output",)
    target: tuple[int, ...] = (0,)
    dtype: torch.dtype = torch.float32
    # Axes other than the batch that the file leaves open, by input or output.
    axes: dict = dataclasses.field(default_factory=dict)


def image(channels, *size):
    """Random images named `input`."""
    return lambda rows: {"input": torch.randn(rows, channels, *size)}


def features(*shape):
    """Random features named `x`."""
    return lambda rows: {"x": torch.randn(rows, *shape)}


def tokens(vocabulary, length):
    """Random token numbers named `tokens`."""
    return lambda rows: {"tokens": torch.randint(0, vocabulary, (rows, length))}


def left_right(rows):
    """Two feature vectors of different lengths."""
    return {"left": torch.randn(rows, 3), "right": torch.randn(rows, 4)}


def bert_inputs(rows):
    """Token numbers, all rows but the first padded."""
    mask = torch.ones(rows, 7, dtype=torch.int64)
    for row in range(1, rows):
        mask[row, 7 - row :] = 0
    return {
        "input_ids": torch.randint(1, 30, (rows, 7)) * mask,
        "attention_mask": mask,
        "token_type_ids": (torch.arange(7) >= 4).long().repeat(rows, 1) * mask,
    }


class Bert(nn.Module):
    """BERT for classification, from the transformers library."""

    def __init__(self, attention):
        super().__init__()
        config = BertConfig(
            vocab_size=30,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=12,
            num_labels=3,
            attn_implementation=attention,
        )
        self.bert = BertForSequenceClassification(config)

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.bert(input_ids, attention_mask, token_type_ids).logits


def lstm():
    return small.Recurrent(
        nn.LSTM(4, 5, num_layers=2, batch_first=True, bidirectional=True)
    )


def gru():
    return small.Recurrent(nn.GRU(4, 6, batch_first=True))


def rnn_tanh():
    return small.Recurrent(nn.RNN(4, 6, batch_first=True))


SEQUENCE = {1: "sequence"}
BERT_SEQUENCE = dict.fromkeys(
    ("input_ids", "attention_mask", "token_type_ids"), SEQUENCE
)

CASES = {
    "mlp_bn": Case(
        small.MlpBn,
        features(6),
        ("legacy11", "legacy20", "dynamo17", "dynamo18", "dynamo18_unfused"),
        rows=3,
    ),
    "lenet": Case(small.LeNet, image(1, 16, 16), ("legacy11", "dynamo18")),
    "resnet_tiny": Case(
        small.ResNetTiny,
        image(3, 12, 12),
        ("legacy13", "legacy16_unfused", "dynamo18", "dynamo20_unfused"),
    ),
    "resnet_tiny_fixed": Case(
        small.ResNetTiny, image(3, 12, 12), ("legacy17", "dynamo18"), rows=1, fixed=True
    ),
    "vgg_bn_tiny": Case(small.VggBnTiny, image(3, 8, 8), ("legacy11", "dynamo18")),
    "mobilenet_tiny": Case(
        small.MobileNetTiny, image(3, 12, 12), ("legacy14", "dynamo18")
    ),
    "densenet_tiny": Case(small.DenseNetTiny, image(3, 8, 8), ("legacy11", "dynamo20")),
    "efficientnet_tiny": Case(
        small.EfficientNetTiny, image(3, 12, 12), ("legacy13", "dynamo18")
    ),
    "squeezenet_tiny": Case(
        small.SqueezeNetTiny, image(3, 17, 17), ("legacy11", "dynamo18")
    ),
    "convnext_tiny": Case(
        small.ConvNextTiny,
        image(3, 8, 8),
        ("legacy14", "legacy17", "dynamo18", "dynamo20"),
    ),
    "vit_tiny": Case(
        lambda: small.VitTiny(fused=False, depth=1),
        image(3, 8, 8),
        ("legacy14", "legacy17", "dynamo18"),
    ),
    "vit_sdpa_tiny": Case(
        lambda: small.VitTiny(fused=True, depth=1),
        image(3, 8, 8),
        ("legacy16", "dynamo20"),
    ),
    "vit_tiny_fixed": Case(
        lambda: small.VitTiny(fused=False, depth=1),
        image(3, 8, 8),
        ("legacy17",),
        rows=1,
        fixed=True,
    ),
    "bert_tiny": Case(
        lambda: Bert("eager"), bert_inputs, ("legacy14",), axes=BERT_SEQUENCE
    ),
    "bert_tiny_fixed": Case(
        lambda: Bert("eager"), bert_inputs, ("legacy17",), rows=1, fixed=True
    ),
    "bert_sdpa_tiny": Case(lambda: Bert("sdpa"), bert_inputs, ("legacy17", "dynamo18")),
    "gpt_tiny": Case(
        lambda: small.GptTiny(masked=True, depth=1),
        tokens(17, 6),
        ("legacy13", "dynamo18"),
        target=(0, 0),
        axes={"tokens": SEQUENCE, "output": SEQUENCE},
    ),
    "gpt_sdpa_tiny": Case(
        lambda: small.GptTiny(masked=False, depth=1),
        tokens(17, 6),
        ("legacy14", "dynamo20"),
        target=(0, 0),
    ),
    "lstm": Case(lstm, features(5, 4), ("legacy11", "legacy14", "dynamo18")),
    "gru": Case(gru, features(5, 4), ("legacy13", "dynamo18")),
    "rnn_tanh": Case(rnn_tanh, features(5, 4), ("legacy16", "dynamo18")),
    "unet_tiny": Case(
        small.UNet,
        image(1, 16, 16),
        ("legacy11", "legacy18", "dynamo18"),
        target=(0, 0, 0),
    ),
    "conv1d_net": Case(
        small.Conv1dNet, features(2, 20), ("legacy13", "dynamo18"), rows=3
    ),
    "conv3d_net": Case(small.Conv3dNet, image(1, 4, 8, 8), ("legacy11", "dynamo18")),
    "groupnorm_net": Case(small.GroupNormNet, image(2, 8, 8), ("legacy14", "dynamo18")),
    "two_inputs": Case(
        small.TwoInputs,
        left_right,
        ("legacy13", "dynamo18"),
        rows=3,
        outputs=("a", "b"),
    ),
    "mlp_f16": Case(
        small.Mlp, features(6), ("legacy13", "dynamo18"), dtype=torch.float16
    ),
    "mlp_f64": Case(
        small.Mlp, features(6), ("legacy13", "dynamo18"), dtype=torch.float64
    ),
    "mlp_bf16": Case(
        small.Mlp, features(6), ("legacy16", "dynamo18"), dtype=torch.bfloat16
    ),
}


def to_float32(value):
    """As the safetensors file holds it: float32, or int64 for whole numbers and truths."""
    array = value.detach() if isinstance(value, torch.Tensor) else np.asarray(value)
    if isinstance(array, torch.Tensor):
        array = (array.float() if array.is_floating_point() else array.long()).numpy()
    kind = np.int64 if array.dtype.kind in "iub" else np.float32
    return np.ascontiguousarray(array, dtype=kind)


def write_reference(path, inputs, outputs, saliency, output_name, target, reference):
    """Write the safetensors file beside `path`."""
    tensors = {f"input.{name}": to_float32(x) for name, x in inputs.items()}
    tensors |= {f"output.{name}": to_float32(x) for name, x in outputs.items()}
    tensors |= {f"saliency.{name}": to_float32(abs(x)) for name, x in saliency.items()}
    metadata = {
        "output_name": output_name,
        "target_index": ",".join(map(str, target)),
        "reference": reference,
    }
    file = save(tensors, metadata)
    # The library writes the metadata in any order; sorted, the same values give the same file.
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode().ljust(end - 8)
    path.with_suffix(".safetensors").write_bytes(file[:8] + text + file[end:])


def well_conditioned(model, inputs, output, target):
    """Whether rounding cannot change the gradient, and no row's gradient vanishes.

    False near a kink of ReLU or max pooling.
    """
    double = {k: x.double() if x.is_floating_point() else x for k, x in inputs.items()}
    exact = gradients(model, double, output, target)
    for _ in range(4):
        nearby = {
            name: x + 1e-5 * torch.randn_like(x) if x.is_floating_point() else x
            for name, x in double.items()
        }
        for name, found in gradients(model, nearby, output, target).items():
            if relative_error(found, exact[name]) > 1e-3:
                return False
    rows = [x.abs().flatten(1).amax(1).min() for x in exact.values()]
    return all(row > 1e-3 for row in rows)


def draw(case):
    """The model and its inputs, from the first seed that gives a well-conditioned case."""
    for seed in range(50):
        torch.manual_seed(seed)
        model = case.build().eval()
        randomise(model)
        model.to(case.dtype)
        inputs = case.inputs(case.rows)
        inputs = {
            name: x.to(case.dtype) if x.is_floating_point() else x
            for name, x in inputs.items()
        }
        if well_conditioned(model.double(), inputs, 0, case.target):
            return model, inputs
    raise RuntimeError("no seed gives a well-conditioned case")


def check(name, what, found, expected, tolerance):
    """Fail if two arrays differ by more than the tolerance."""
    error = relative_error(found, expected)
    if not error <= tolerance:
        raise RuntimeError(f"{name}: {what} differs by {error:.2e}")
    return error


def torch_outputs(model, inputs, names):
    """PyTorch's outputs by name, as NumPy arrays."""
    with torch.no_grad():
        values = as_tuple(model(*inputs.values()))
    return {name: to_float32(value) for name, value in zip(names, values, strict=True)}


def make_case(name, case):
    """Export one model in every way asked for; yields the files."""
    model, inputs = draw(case)
    # Double precision is exact enough to serve as the derivative of every other one.
    saliency = gradients(
        model,
        {k: x.double() if x.is_floating_point() else x for k, x in inputs.items()},
        0,
        case.target,
    )
    model.to(case.dtype)
    dynamic = {}
    if not case.fixed:
        dynamic = {key: {0: "batch"} | case.axes.get(key, {}) for key in inputs}
        dynamic |= {key: {0: "batch"} | case.axes.get(key, {}) for key in case.outputs}
    tolerance = HALF_TOLERANCE.get(case.dtype, TOLERANCE)
    expected = torch_outputs(model, inputs, case.outputs)

    for variant in case.exports:
        exporter, opset, unfused = re.fullmatch(
            r"(legacy|dynamo)(\d+)(_unfused)?", variant
        ).groups()
        path = OUT / f"{name}_{variant}.onnx"
        export(
            model,
            inputs,
            case.outputs,
            path,
            exporter,
            int(opset),
            dynamic,
            keep_batch_norm=bool(unfused),
        )
        if case.dtype == torch.bfloat16:
            # ONNX Runtime has no bfloat16 matrix product on the CPU.
            outputs, reference = expected, "torch"
        else:
            outputs, reference = run_ort(path, inputs), "onnxruntime"
            for key in case.outputs:
                check(path.name, key, outputs[key], expected[key], tolerance)
            if not case.fixed:
                check_other_size(path, model, case, tolerance)
        write_reference(
            path, inputs, outputs, saliency, case.outputs[0], case.target, reference
        )
        yield path


def check_other_size(path, model, case, tolerance):
    """The file must work at another batch size too."""
    inputs = {
        key: x.to(case.dtype) if x.is_floating_point() else x
        for key, x in case.inputs(case.rows + 2).items()
    }
    outputs = run_ort(path, inputs)
    for key, expected in torch_outputs(model, inputs, case.outputs).items():
        check(path.name, f"{key} of another batch", outputs[key], expected, tolerance)


def make_external():
    """A model whose weights lie in a second file."""
    case = dataclasses.replace(CASES["mlp_bn"], build=small.Mlp)
    model, inputs = draw(case)
    saliency = gradients(model, {k: x.double() for k, x in inputs.items()}, 0, (0,))
    model.float()
    path = OUT / "mlp_external.onnx"
    data = path.with_name(path.name + ".data")
    data.unlink(missing_ok=True)
    dynamic = {"x": {0: "batch"}, "output": {0: "batch"}}
    export(model, inputs, ("output",), path, "dynamo", 18, dynamic, external=True)
    # The exporter may keep so small a model in one file.
    stored = onnx.load(path)
    data.unlink(missing_ok=True)
    onnx.save(
        stored, path, save_as_external_data=True, location=data.name, size_threshold=0
    )
    outputs = run_ort(path, inputs)
    expected = torch_outputs(model, inputs, ("output",))
    check(path.name, "output", outputs["output"], expected["output"], TOLERANCE)
    write_reference(path, inputs, outputs, saliency, "output", (0,), "onnxruntime")
    yield path


def linear(weight, bias):
    """A linear layer with given weights, `[out, in]`."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
    layer.weight.data = torch.from_numpy(np.array(weight, dtype=np.float64))
    layer.bias.data = torch.from_numpy(np.array(bias, dtype=np.float64))
    return layer


class Standardise(nn.Module):
    """scikit-learn's StandardScaler."""

    def __init__(self, scaler):
        super().__init__()
        self.mean = torch.from_numpy(scaler.mean_)
        self.scale = torch.from_numpy(scaler.scale_)

    def forward(self, x):
        return (x - self.mean) / self.scale


def small_digits():
    """Digits 0, 1 and 2 with noise, so that no classifier is certain."""
    data, labels = load_digits(n_class=3, return_X_y=True)
    noise = np.random.default_rng(0).normal(0.0, 4.0, data.shape)
    return ((data + noise) / 16.0).astype(np.float32), labels


def make_sklearn(name):
    """A fitted scikit-learn model, with a PyTorch equivalent for the derivative."""
    data, labels = small_digits()
    if name == "sklearn_mlp":
        fitted = MLPClassifier((6,), alpha=3.0, max_iter=60, random_state=0)
        with quiet():  # It has not converged by then.
            fitted.fit(data, labels)
        first, second = zip(fitted.coefs_, fitted.intercepts_)
        model = nn.Sequential(
            linear(first[0].T, first[1]),
            nn.ReLU(),
            linear(second[0].T, second[1]),
            nn.Softmax(-1),
        )
        expected = fitted.predict_proba
    elif name == "sklearn_logreg":
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
        fitted.fit(data, labels)
        scaler, regression = fitted[0], fitted[1]
        model = nn.Sequential(
            Standardise(scaler),
            linear(regression.coef_, regression.intercept_),
            nn.Softmax(-1),
        )
        expected = fitted.predict_proba
    else:
        fitted = LinearRegression().fit(data[:, 20:30], data[:, 30])
        data = data[:, 20:30]
        model = linear(fitted.coef_[None], [fitted.intercept_])

        def expected(x):
            return fitted.predict(x)[:, None]

    x = data[[0, 1, 2]]
    options = {} if name == "sklearn_linear" else {"zipmap": False}
    file = to_onnx(
        fitted,
        name=name,
        initial_types=[("X", FloatTensorType([None, data.shape[1]]))],
        options=options,
        target_opset={"": 15, "ai.onnx.ml": 3},
    )
    # skl2onnx writes these in any order, some of them twice.
    opsets = sorted((entry.domain, entry.version) for entry in file.opset_import)
    del file.opset_import[:]
    file.opset_import.extend(helper.make_opsetid(*entry) for entry in opsets)
    path = OUT / f"{name}.onnx"
    path.write_bytes(file.SerializeToString(deterministic=True))
    outputs = run_ort(path, {"X": x})
    output = list(outputs)[-1]
    leaf = {"X": torch.from_numpy(x).double()}
    with torch.no_grad():
        value = model(leaf["X"]).numpy()
    check(name, "PyTorch's equivalent", value, expected(x), TOLERANCE)
    check(name, output, outputs[output], value, TOLERANCE)
    if not well_conditioned(model, leaf, 0, (0,)):
        raise RuntimeError(f"{name}: ill-conditioned")
    saliency = gradients(model, leaf, 0, (0,))
    write_reference(path, {"X": x}, outputs, saliency, output, (0,), "onnxruntime")
    yield path


def keras_graph(model):
    """The graph tf2onnx writes for a small channels-last Keras network."""
    prefix = "StatefulPartitionedCall/model"
    constants = {}

    def constant(name, value):
        constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def batch_norm(layer, module, source):
        names = [
            constant(f"{prefix}/{layer}/{key}:0", value.detach().numpy())
            for key, value in (
                ("gamma", module.weight),
                ("beta", module.bias),
                ("moving_mean", module.running_mean),
                ("moving_variance", module.running_var),
            )
        ]
        return node("BatchNormalization", layer, [source, *names], epsilon=module.eps)

    def convolution(layer, module, source, stride):
        weight = constant(f"{prefix}/{layer}/kernel:0", module.weight.detach().numpy())
        bias = constant(f"{prefix}/{layer}/bias:0", module.bias.detach().numpy())
        return node(
            "Conv",
            layer,
            [source, weight, bias],
            auto_pad="SAME_UPPER",
            kernel_shape=[3, 3],
            strides=[stride, stride],
            dilations=[1, 1],
            group=1,
        )

    nodes = []

    def node(kind, layer, sources, output=None, **attributes):
        output = output or f"{prefix}/{layer}/{kind}:0"
        name = f"{prefix}/{layer}/{kind}"
        nodes.append(helper.make_node(kind, sources, [output], name, **attributes))
        return output

    x = node("Transpose", "conv2d", ["input_1"], perm=[0, 3, 1, 2])
    x = convolution("conv2d", model.conv1, x, 2)
    x = batch_norm("batch_normalization", model.bn1, x)
    x = node("Relu", "activation", [x])
    x = node(
        "MaxPool",
        "max_pooling2d",
        [x],
        auto_pad="SAME_UPPER",
        kernel_shape=[3, 3],
        strides=[2, 2],
    )
    x = convolution("conv2d_1", model.conv2, x, 1)
    x = batch_norm("batch_normalization_1", model.bn2, x)
    x = node("Relu", "activation_1", [x])
    x = node("GlobalAveragePool", "global_average_pooling2d", [x])
    axes = constant("const_axes__10", np.array([2, 3], dtype=np.int64))
    x = node("Squeeze", "global_average_pooling2d", [x, axes])
    weight = constant(f"{prefix}/dense/kernel:0", model.fc.weight.detach().numpy().T)
    bias = constant(f"{prefix}/dense/bias:0", model.fc.bias.detach().numpy())
    x = node("MatMul", "dense", [x, weight])
    x = node("Add", "dense", [x, bias])
    node("Softmax", "dense", [x], "Identity:0", axis=-1)

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tf2onnx",
        [value("input_1", TensorProto.FLOAT, ["unk__6", 16, 16, 3])],
        [value("Identity:0", TensorProto.FLOAT, ["unk__7", 4])],
        list(constants.values()),
    )
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    file.ir_version = 7
    file.producer_name = "tf2onnx"
    onnx.checker.check_model(file, full_check=True)
    return file


def make_keras():
    """A channels-last network with `auto_pad`."""
    case = Case(
        small.KerasCnn, lambda rows: {"input_1": torch.randn(rows, 16, 16, 3)}, ()
    )
    model, inputs = draw(case)
    saliency = gradients(model, {k: x.double() for k, x in inputs.items()}, 0, (0,))
    model.float()
    path = OUT / "keras_cnn.onnx"
    path.write_bytes(keras_graph(model).SerializeToString(deterministic=True))
    outputs = run_ort(path, inputs)
    expected = torch_outputs(model, inputs, ("Identity:0",))
    check(path.name, "output", outputs["Identity:0"], expected["Identity:0"], TOLERANCE)
    write_reference(path, inputs, outputs, saliency, "Identity:0", (0,), "onnxruntime")
    yield path


OTHERS = {
    "mlp_external": make_external,
    "sklearn_mlp": lambda: make_sklearn("sklearn_mlp"),
    "sklearn_logreg": lambda: make_sklearn("sklearn_logreg"),
    "sklearn_linear": lambda: make_sklearn("sklearn_linear"),
    "keras_cnn": make_keras,
}


def check_files(paths):
    """Print what was written and hold it to the limits."""
    for path in paths:
        size = path.stat().st_size
        reference = path.with_suffix(".safetensors").stat().st_size
        print(f"{path.name}: {size} + {reference} bytes")
        print(f"    {', '.join(op_types(path))}")
        if size > LARGEST_FILE:
            raise RuntimeError(f"{path.name} has more than {LARGEST_FILE} bytes")
        if b"site-packages" in path.read_bytes() or b'File "' in path.read_bytes():
            raise RuntimeError(f"{path.name} quotes paths of this machine")
    total = sum(file.stat().st_size for file in OUT.iterdir())
    print(f"{len(paths)} models, {total} bytes in the folder")
    if total > LARGEST_TOTAL:
        raise RuntimeError(f"the folder has more than {LARGEST_TOTAL} bytes")


def main():
    parser = argparse.ArgumentParser(description="Write the ONNX fixtures.")
    parser.add_argument("name", nargs="*", help="models to write; all if none is given")
    names = parser.parse_args().name
    unknown = set(names) - CASES.keys() - OTHERS.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")

    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, case in CASES.items():
        if not names or name in names:
            paths.extend(make_case(name, case))
    for name, make in OTHERS.items():
        if not names or name in names:
            paths.extend(make())
    check_files(paths)


if __name__ == "__main__":
    main()
