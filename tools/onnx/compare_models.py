"""Compare `attrx` with ONNX Runtime and PyTorch on full-sized models.

Exports each model with random weights, by both of PyTorch's exporters, and compares
`attrx explain` with ONNX Runtime's prediction and the absolute gradient of PyTorch's
autograd, in double precision. Models that read token numbers are explained at their word
embedding. Prints a table; exits with 1 if anything is off.

    pip install -r requirements.txt
    python compare_models.py --attrx PATH [--only NAME ...]
    python compare_models.py --dry-run

`--dry-run` exports and computes the references without `attrx`.

    python compare_models.py --ops --runner PATH [--cases FOLDER] [--max-opset 20]

runs the single-operator cases of the ONNX standard through
`RUNNER MODEL.onnx OUT.npz NAME=FILE.npy ...`, which writes the outputs by name and exits
with 2 if the model is not supported. The cases are those that the installed onnx package
generates, mostly of its newest opset; `FOLDER` may be the `onnx/backend/test/data/node` of
an older package (those up to 1.20 have it; 1.15 is opset 20).
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

# Read when PyTorch loads. On a busy machine its threads, which else spin while they wait
# for one another, take up to four times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import onnx
import torch
import torchvision
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from torch import nn
from transformers import BertConfig, BertModel

import small_models as small
from common import (
    BATCH_NORMS,
    CONVOLUTIONS,
    all_nodes,
    export,
    quiet,
    randomise,
    relative_error,
    run_ort,
)

TOLERANCE = 1e-4
# How far PyTorch's own saliency in single precision may be from that in double for a row of
# inputs to be usable. Beyond it, rounding decides the side of some kink of ReLU or max
# pooling: of the millions in a large network, some row in a few has none that close.
CONDITION = 2e-5
# Noise, relative to the inputs, that stands for other orders of the same sums.
ROUNDING = 3e-7
# Few rows show a kink that way: each evaluation rounds anew, and attrx in a further way.
# So noise in the output of every module of ROUNDED, relative to the output's standard
# deviation, may not move the saliency by more than STABLE of its largest value either.
# Between kinks of these networks the saliency is constant, so any move means a kink. The
# noise adds up to 4 to 18 times PyTorch's rounding errors, at every depth of every network
# below that has kinks; with ten times as much, no row of the deep ones is stable.
NOISE = 1e-6
DRAWS = 12
STABLE = 1e-5
ROUNDED = (
    *CONVOLUTIONS,
    *BATCH_NORMS,
    nn.Linear,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Upsample,
)
KINKED = (nn.ReLU, nn.ReLU6, nn.MaxPool2d)
# How many rows are drawn at once where most are expected to fail, and how often.
CANDIDATES = 16
TRIES = 60
TIMEOUT = 900
MEASURED = Path(__file__).with_name("measured.py")
OPSETS = {"legacy": 17, "dynamo": 18}
# What the ONNX backend tests allow.
CASE_RTOL, CASE_ATOL = 1e-3, 1e-5
CASE_TIMEOUT = 60
RANDOM_OPERATORS = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
NUMPY_KINDS = "fiub"


@dataclasses.dataclass
class Full:
    """A full-sized model; `target` is the index of the explained unit of the output.

    `embedding` names the module to explain at, and `constants` the inputs that are given
    but not explained.
    """

    build: Callable
    inputs: Callable
    target: tuple[int, ...] = (1,)
    embedding: str | None = None
    constants: tuple[str, ...] = ()


def images(channels=3, size=224):
    """Random images named `input`."""
    return lambda rows: {"input": torch.randn(rows, channels, size, size)}


def sequences(length, features):
    """Random sequences named `x`."""
    return lambda rows: {"x": torch.randn(rows, length, features)}


def padded_tokens(rows):
    """Token numbers with their mask; every row but the first is padded."""
    mask = torch.ones(rows, 48, dtype=torch.int64)
    for row in range(1, rows):
        mask[row, 48 - 9 * row :] = 0
    return {
        "input_ids": torch.randint(1, 1000, (rows, 48)) * mask,
        "attention_mask": mask,
    }


def mlp():
    """A multilayer perceptron with BatchNorm."""
    layers, width = [], 784
    for hidden in (256, 128):
        layers += [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, 10))


def lenet():
    """LeNet-5 with ReLU."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def vit():
    """A small vision transformer."""
    return torchvision.models.VisionTransformer(
        image_size=224,
        patch_size=16,
        num_layers=6,
        num_heads=3,
        hidden_dim=192,
        mlp_dim=768,
    )


class BertClassifier(nn.Module):
    """A BERT encoder with a linear layer on its pooled output."""

    def __init__(self):
        super().__init__()
        self.bert = BertModel(
            BertConfig(
                vocab_size=1000,
                hidden_size=128,
                num_hidden_layers=4,
                num_attention_heads=4,
                intermediate_size=512,
                max_position_embeddings=64,
                attn_implementation="eager",
            )
        )
        self.head = nn.Linear(128, 5)

    def forward(self, input_ids, attention_mask):
        return self.head(self.bert(input_ids, attention_mask).pooler_output)


def gpt():
    """A causal decoder with an explicit mask."""
    return small.GptTiny(
        masked=True, vocabulary=1000, longest=64, width=128, heads=4, depth=4
    )


def lstm():
    """A bidirectional LSTM of two layers."""
    return small.Recurrent(nn.LSTM(32, 64, 2, batch_first=True, bidirectional=True))


def gru():
    """A GRU of two layers."""
    return small.Recurrent(nn.GRU(32, 64, 2, batch_first=True))


def unet():
    """A U-Net with 16 to 128 channels."""
    return small.UNet(inputs=3, classes=4, widths=(16, 32, 64, 128))


def vgg11_bn():
    """VGG-11 for images of 64 pixels.

    Its adaptive pooling would repeat pixels here, which the older exporter does not write.
    """
    model = torchvision.models.vgg11_bn(weights=None)
    model.avgpool = nn.Upsample(size=(7, 7))
    return model


def without_weights(name):
    """A model of torchvision."""
    return lambda: getattr(torchvision.models, name)(weights=None)


# Images are small where kinks are many: their number grows with the image, and the share of
# stable rows falls exponentially with it. At these sizes it is 1 in 2 to 1 in 100.
MODELS = {
    "mlp_bn": Full(mlp, lambda rows: {"input": torch.randn(rows, 784)}),
    "lenet": Full(lenet, images(1, 28)),
    "resnet18": Full(without_weights("resnet18"), images(size=64)),
    "vgg11_bn": Full(vgg11_bn, images(size=64)),
    "mobilenet_v2": Full(without_weights("mobilenet_v2"), images(size=32)),
    "densenet121": Full(without_weights("densenet121"), images(size=32)),
    "efficientnet_b0": Full(without_weights("efficientnet_b0"), images()),
    "squeezenet1_1": Full(without_weights("squeezenet1_1"), images(size=64)),
    "convnext_tiny": Full(without_weights("convnext_tiny"), images()),
    "vit": Full(vit, images()),
    "bert": Full(
        BertClassifier,
        padded_tokens,
        embedding="bert.embeddings.word_embeddings",
        constants=("attention_mask",),
    ),
    "gpt": Full(
        gpt,
        lambda rows: {"tokens": torch.randint(0, 1000, (rows, 32))},
        target=(31, 1),
        embedding="tokens",
    ),
    "lstm": Full(lstm, sequences(24, 32)),
    "gru": Full(gru, sequences(24, 32)),
    "unet": Full(unet, images(3, 64), target=(1, 32, 32)),
}


def calibrate(model, inputs):
    """Set BatchNorm's statistics to those of `inputs`, then disturb them.

    Random statistics would let the activations of a deep network grow or vanish.
    """
    norms = [module for module in model.modules() if isinstance(module, BATCH_NORMS)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        if norms:
            model(*inputs.values())
        for norm in norms:
            norm.eval()
            norm.running_mean += (
                0.1 * norm.running_var.sqrt() * torch.randn_like(norm.bias)
            )
            norm.running_var *= torch.empty_like(norm.bias).uniform_(0.8, 1.25)


def predict(model, inputs):
    """The model's output."""
    with torch.no_grad():
        return model(*inputs.values())


def saliency(model, full, inputs):
    """|d output[row, *target] / d explained value|, with what the model computes in."""
    kind = next(model.parameters()).dtype
    inputs = {k: x.to(kind) if x.is_floating_point() else x for k, x in inputs.items()}
    explained = None
    hook = None
    if full.embedding:

        def keep(_module, _inputs, output):
            nonlocal explained
            explained = output

        hook = model.get_submodule(full.embedding).register_forward_hook(keep)
    else:
        explained = next(iter(inputs.values())).detach().clone().requires_grad_()
        inputs = dict(inputs, **{next(iter(inputs)): explained})
    try:
        output = model(*inputs.values())
    finally:
        if hook:
            hook.remove()
    score = output[(slice(None), *full.target)].sum()
    return torch.autograd.grad(score, explained)[0].abs()


def row_errors(found, exact):
    """Largest difference over the largest exact value, for each row."""
    difference = (found - exact).abs().flatten(1).amax(1)
    return difference / exact.flatten(1).amax(1)


def rounding_errors(model, full, inputs):
    """Error of each row's saliency in single precision, and the exact values."""
    exact = saliency(model.double(), full, inputs)
    model.float()
    errors = torch.zeros(len(exact), dtype=exact.dtype)
    for noise in (0.0, ROUNDING, ROUNDING):
        nearby = {
            name: x * (1.0 + noise * torch.randn_like(x))
            if x.is_floating_point()
            else x
            for name, x in inputs.items()
        }
        errors = errors.maximum(row_errors(saliency(model, full, nearby), exact))
    with torch.backends.mkldnn.flags(enabled=False):
        errors = errors.maximum(row_errors(saliency(model, full, inputs), exact))
    return errors.tolist(), exact


@contextlib.contextmanager
def disturbed(model):
    """Add noise to the output of every module that rounds."""

    def disturb(_module, _inputs, output):
        deviation = output.detach().flatten(1).std(1)
        deviation = deviation.view(-1, *[1] * (output.dim() - 1))
        return output + NOISE * deviation * torch.randn_like(output)

    hooks = [
        module.register_forward_hook(disturb)
        for module in model.modules()
        if isinstance(module, ROUNDED)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def far_from_kinks(model, full, inputs):
    """The rows whose saliency, in double precision, noise in every module leaves alone."""
    model.double()
    exact = saliency(model, full, inputs)
    with disturbed(model):
        for _ in range(DRAWS):
            stable = row_errors(saliency(model, full, inputs), exact) <= STABLE
            inputs = {name: x[stable] for name, x in inputs.items()}
            exact = exact[stable]
            if not len(exact):
                break
    model.float()
    return inputs


def seconds_of_saliency(model, full, inputs):
    """Seconds of the fastest of three evaluations."""
    seconds = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        saliency(model, full, inputs)
        seconds = min(seconds, time.perf_counter() - start)
    return seconds


class Reference:
    """A model with weights, inputs and the values to compare with."""

    def __init__(self, full, rows, seed):
        torch.manual_seed(seed)
        self.model = full.build().eval()
        randomise(self.model)
        calibrate(self.model, full.inputs(CANDIDATES))
        best = self.best_rows(full, rows)
        self.rounding = best[-1][0]
        self.saliency = torch.stack([exact for _, _, exact in best]).numpy()
        self.inputs = {
            name: torch.stack([values[name] for _, values, _ in best])
            for name in best[0][1]
        }
        self.output = predict(self.model, self.inputs).numpy()
        self.seconds = seconds_of_saliency(self.model, full, self.inputs)

    def best_rows(self, full, rows):
        """Error, inputs and saliency of the rows that rounding changes least.

        Rows do not depend on each other, so each is chosen alone.
        """
        kinked = any(isinstance(module, KINKED) for module in self.model.modules())
        best = []
        for _ in range(TRIES):
            inputs = full.inputs(CANDIDATES if kinked else rows)
            if kinked:
                inputs = far_from_kinks(self.model, full, inputs)
            if not len(next(iter(inputs.values()))):
                continue
            errors, exact = rounding_errors(self.model, full, inputs)
            for row, error in enumerate(errors):
                values = {name: x[row] for name, x in inputs.items()}
                best.append((error, values, exact[row]))
            best = sorted(best, key=lambda entry: entry[0])[:rows]
            if len(best) == rows and best[-1][0] <= CONDITION:
                break
        if len(best) < rows:
            raise RuntimeError(f"only {len(best)} stable rows in {TRIES} tries")
        return best


def attrx(program, *arguments):
    """Run `attrx`; gives its standard output, the seconds and the peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        measured = [sys.executable, MEASURED, report, TIMEOUT, program]
        command = list(map(str, (*measured, *arguments)))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise RuntimeError(
                f"attrx exits with {done.returncode}: {' | '.join(lines[-3:])}"
            )
        cost = json.loads(report.read_text(encoding="utf-8"))
    return done.stdout, cost["seconds"], cost["megabytes"]


def explain(program, full, reference, path):
    """Prediction, saliency, seconds and peak memory of `attrx`."""
    given = []
    for name, value in reference.inputs.items():
        file = path.with_name(f"{name}.npy")
        np.save(file, value.numpy())
        option = "--constant" if name in full.constants else "--input"
        given += [option, f"{name}={file}"]
    layer = []
    if full.embedding:
        text, _, _ = attrx(program, "layers", "--model", path, *given, "--json")
        names = [
            row["name"] for row in json.loads(text) if row["operation"] == "Embedding"
        ]
        if not names:
            raise RuntimeError("attrx layers shows no Embedding")
        layer = ["--layer", names[0]]
    values, summary = path.with_name("attributions.npy"), path.with_name("summary.json")
    _, seconds, megabytes = attrx(
        program,
        "explain",
        "--model",
        path,
        *given,
        *layer,
        "--method",
        "saliency",
        "--target",
        ",".join(map(str, full.target)),
        "--out",
        values,
        "--json",
        summary,
        "--quiet",
    )
    output = json.loads(summary.read_text(encoding="utf-8"))["output"]
    prediction = np.array(output["values"], dtype=np.float64).reshape(output["shape"])
    return prediction, np.load(values), seconds, megabytes


def spread(found, expected):
    """How many values of a wrong saliency are off, and in which rows.

    A few in one row point to a kink on whose side rounding decides, many to an error.
    """
    difference = np.abs(found - expected) / np.abs(expected).max()
    rows = difference.reshape(len(difference), -1).max(1)
    off = (difference > TOLERANCE).mean()
    return (
        f", {off:.2%} of the values; by row {', '.join(f'{row:.0e}' for row in rows)}"
    )


def compare(name, full, exporter, reference, options):
    """Export and compare one model; gives whether all is well."""
    row = f"{name:16} {exporter:7}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        dynamic = {key: {0: "batch"} for key in (*reference.inputs, "output")}
        try:
            opset = OPSETS[exporter]
            export(
                reference.model,
                reference.inputs,
                ("output",),
                path,
                exporter,
                opset,
                dynamic,
            )
            expected = run_ort(path, reference.inputs)["output"]
        except Exception as error:
            print(f"{row} the exporter or ONNX Runtime fails: {error}", flush=True)
            return False
        row += f" {path.stat().st_size / 1e6:7.1f}"
        row += f" {relative_error(reference.output, expected):9.1e}"
        row += f" {reference.rounding:9.1e} {reference.seconds:7.2f}"
        if options.dry_run:
            print(row, flush=True)
            return True
        try:
            prediction, values, seconds, megabytes = explain(
                options.attrx, full, reference, path
            )
            errors = (
                relative_error(prediction, expected),
                relative_error(values, reference.saliency),
            )
        except Exception as error:
            print(f"{row} FAILS: {error}", flush=True)
            return False
    fine = all(error <= TOLERANCE for error in errors)
    verdict = "" if fine else f"   OFF{spread(values, reference.saliency)}"
    row += f" {errors[0]:9.1e} {errors[1]:9.1e} {seconds:7.2f} {megabytes:7.1f}"
    print(row + verdict, flush=True)
    return fine


def compare_models(options):
    """Compare all models asked for; gives whether all is well."""
    unknown = set(options.only) - MODELS.keys()
    if unknown:
        sys.exit(f"unknown models: {', '.join(sorted(unknown))}")
    print("Errors are the largest difference over the largest expected magnitude: of")
    print(
        "PyTorch's prediction from ONNX Runtime's, of its single-precision saliency from"
    )
    print("the double, then of attrx's prediction and saliency from the same. The first")
    print("MB is the file's size, the second attrx's peak memory.")
    header = f"{'model':16} {'export':7} {'MB':>7}"
    header += f" {'torch p':>9} {'torch s':>9} {'seconds':>7}"
    header += f" {'attrx p':>9} {'attrx s':>9} {'seconds':>7} {'MB':>7}"
    print(header, flush=True)
    fine = True
    for name, full in MODELS.items():
        if options.only and name not in options.only:
            continue
        try:
            reference = Reference(full, options.rows, options.seed)
        except RuntimeError as error:
            print(f"{name:16} FAILS: {error}", flush=True)
            fine = False
            continue
        for exporter in OPSETS:
            if options.exporter in (None, exporter):
                fine &= compare(name, full, exporter, reference, options)
    return fine


@dataclasses.dataclass
class OperatorCase:
    """One single-operator case: arrays by name, or why it cannot be run."""

    name: str
    model: onnx.ModelProto
    inputs: dict
    outputs: dict
    skipped: str = ""


def to_array(value):
    """A NumPy array of a kind that a .npy file holds; None for anything else."""
    if isinstance(value, TensorProto):
        if value.data_type in (TensorProto.STRING, TensorProto.BFLOAT16):
            return None
        value = numpy_helper.to_array(value)
    if not isinstance(value, (np.ndarray, np.generic, int, float)):
        return None
    array = np.asarray(value)
    # Types that NumPy does not know have another kind.
    return array if array.dtype.kind in NUMPY_KINDS else None


def read_tensors(folder, prefix, values):
    """Tensors of one data set, None where one is not a plain tensor."""
    tensors = []
    for index, value in enumerate(values):
        data = (folder / f"{prefix}_{index}.pb").read_bytes()
        if not value.type.HasField("tensor_type"):
            tensors.append(None)
            continue
        tensors.append(to_array(TensorProto.FromString(data)))
    return tensors


def folder_cases(folder):
    """Name, model, inputs and outputs of each case below a folder."""
    for path in sorted(folder.glob("test_*/model.onnx")):
        model = onnx.load(path)
        data = path.with_name("test_data_set_0")
        inputs = read_tensors(data, "input", model.graph.input)
        outputs = read_tensors(data, "output", model.graph.output)
        yield path.parent.name, model, inputs, outputs


def generated_cases():
    """The same of the cases that the installed onnx package generates."""
    for case in sorted(collect_testcases(), key=lambda case: case.name):
        inputs, outputs = case.data_sets[0]
        yield (
            case.name,
            case.model,
            list(map(to_array, inputs)),
            list(map(to_array, outputs)),
        )


def operator_cases(options):
    """All cases, with the reason where one is skipped."""
    if options.cases:
        found = folder_cases(Path(options.cases))
    else:
        with quiet():
            found = list(generated_cases())
    for name, model, inputs, outputs in found:
        case = OperatorCase(
            name,
            model,
            dict(zip((value.name for value in model.graph.input), inputs)),
            dict(zip((value.name for value in model.graph.output), outputs)),
        )
        kinds = {node.op_type for node in all_nodes(model.graph.node)}
        opset = next((e.version for e in model.opset_import if not e.domain), 0)
        if options.max_opset and opset > options.max_opset:
            case.skipped = "newer opset"
        elif any(value is None for value in (*inputs, *outputs)):
            case.skipped = "not plain tensors"
        elif kinds & RANDOM_OPERATORS or "training_dropout" in name:
            case.skipped = "random"
        elif not options.any_type and (not outputs or outputs[0].dtype.kind != "f"):
            case.skipped = "first output not floating point"
        yield case


def operator_name(case, known):
    """The operator a case is about; an expanded one belongs with the case it expands."""
    whole = case.name.split("_expanded")[0]
    if len(case.model.graph.node) == 1 and "_expanded" not in case.name:
        return case.model.graph.node[0].op_type
    return known.get(whole, case.model.graph.node[-1].op_type)


def with_constants(case):
    """The case with every input but the first float one stored in the model.

    Shapes, axes and weights are constants in what exporters write; the standard's cases
    pass them as inputs.
    """
    floats = [name for name, value in case.inputs.items() if value.dtype.kind == "f"]
    kept = next(iter(floats), next(iter(case.inputs), None))
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    del model.graph.input[:]
    for port in case.model.graph.input:
        if port.name == kept:
            model.graph.input.append(port)
        else:
            stored = onnx.numpy_helper.from_array(case.inputs[port.name], port.name)
            model.graph.initializer.append(stored)
    inputs = {name: value for name, value in case.inputs.items() if name == kept}
    return OperatorCase(case.name, model, inputs, case.outputs)


def run_operator(runner, case):
    """As given, or with constants stored where that is what it takes."""
    outcome = try_operator(runner, case)
    if outcome[0] == "unsupported" and len(case.inputs) > 1:
        outcome = try_operator(runner, with_constants(case))
    return outcome


def try_operator(runner, case):
    """`passed`, `unsupported` or `WRONG`, with a reason."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model, out = folder / "model.onnx", folder / "out.npz"
        model.write_bytes(case.model.SerializeToString())
        command = [runner, str(model), str(out)]
        for index, (name, value) in enumerate(case.inputs.items()):
            file = folder / f"input_{index}.npy"
            np.save(file, value)
            command.append(f"{name}={file}")
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                timeout=CASE_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return "WRONG", f"more than {CASE_TIMEOUT} s"
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no message"]
            if done.returncode == 2:
                return "unsupported", lines[-1]
            return "WRONG", f"exits with {done.returncode}: {lines[-1]}"
        try:
            found = dict(np.load(out))
        except (OSError, ValueError) as error:
            return "WRONG", f"cannot read the outputs: {error}"
    return compare_outputs(found, case.outputs)


def compare_outputs(found, outputs):
    """Compare the outputs that were written; the first one must be among them."""
    first = next(iter(outputs), None)
    for name, expected in outputs.items():
        if name not in found:
            if name == first:
                return "WRONG", f"output {name} is missing"
            continue
        value = found[name]
        if expected.shape == () and value.shape == (1,):
            # A traced model's output has rows.
            value = value.reshape(())
        if value.shape != expected.shape:
            return (
                "WRONG",
                f"{name} has shape {value.shape} instead of {expected.shape}",
            )
        if value.size and not np.allclose(
            value.astype(np.float64),
            expected.astype(np.float64),
            rtol=CASE_RTOL,
            atol=CASE_ATOL,
            equal_nan=True,
        ):
            with np.errstate(invalid="ignore"):
                gap = np.abs(value.astype(np.float64) - expected.astype(np.float64))
            return "WRONG", f"{name} differs by {np.nanmax(gap, initial=0.0):.2e}"
    return "passed", ""


def compare_operators(options):
    """Run the single-operator cases; gives whether none is wrong."""
    known, counts, reasons = {}, collections.defaultdict(collections.Counter), []
    skipped = collections.Counter()
    for case in operator_cases(options):
        operator = operator_name(case, known)
        known.setdefault(case.name, operator)
        if (
            options.only
            and operator not in options.only
            and case.name not in options.only
        ):
            continue
        if case.skipped:
            skipped[case.skipped] += 1
            continue
        result, reason = run_operator(options.runner, case)
        counts[operator][result] += 1
        if result != "passed":
            reasons.append((operator, case.name, result, reason))

    total = collections.Counter()
    print(f"{'operator':28} {'passed':>7} {'unsupported':>12} {'WRONG':>7}")
    for operator, results in sorted(counts.items()):
        total += results
        row = [results[key] for key in ("passed", "unsupported", "WRONG")]
        print(f"{operator:28} {row[0]:7} {row[1]:12} {row[2]:7}")
    print(
        f"{'total':28} {total['passed']:7} {total['unsupported']:12} {total['WRONG']:7}"
    )
    for reason, count in sorted(skipped.items()):
        print(f"skipped, {reason}: {count}")
    for operator, name, result, reason in sorted(reasons):
        print(f"{result:11} {operator}, {name}: {reason}")
    return not total["WRONG"]


def main():
    parser = argparse.ArgumentParser(description="Compare attrx with its peers.")
    parser.add_argument("--attrx", help="the attrx program")
    parser.add_argument(
        "--only", action="append", default=[], help="one model or operator"
    )
    parser.add_argument("--exporter", choices=OPSETS, help="one exporter only")
    parser.add_argument("--rows", type=int, default=2, help="rows of each input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry-run", action="store_true", help="references only")
    parser.add_argument("--ops", action="store_true", help="the ONNX operator cases")
    parser.add_argument("--runner", help="program that runs one operator case")
    parser.add_argument("--cases", help="folder of operator cases")
    parser.add_argument("--max-opset", type=int, help="skip cases of newer opsets")
    parser.add_argument(
        "--any-type", action="store_true", help="whole-number outputs too"
    )
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="TF32")
    if options.ops:
        if not options.runner:
            parser.error("--ops needs --runner")
        fine = compare_operators(options)
    else:
        if not options.attrx and not options.dry_run:
            parser.error("--attrx or --dry-run is needed")
        fine = compare_models(options)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
