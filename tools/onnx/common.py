"""Shared by the ONNX scripts: random weights, the two exporters, reference values."""

import contextlib
import io
import logging
import math
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
OTHER_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)
# The one kind of metadata that is kept of what the dynamo exporter attaches to nodes and
# values: the rest outweighs the model, and the stack traces quote the machine's paths.
KEPT_METADATA = "pkg.torch.onnx.name_scopes"


def randomise(model, gain=1.4):
    """Redraw every parameter and BatchNorm's statistics, so that nothing saturates."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
        for module in model.modules():
            if isinstance(module, CONVOLUTIONS):
                fan_in = (
                    module.in_channels // module.groups * math.prod(module.kernel_size)
                )
                module.weight.normal_(0.0, gain / fan_in**0.5)
                if module.bias is not None:
                    module.bias.normal_(0.0, 0.1)
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0.0, gain / module.in_features**0.5)
                if module.bias is not None:
                    module.bias.normal_(0.0, 0.1)
            elif isinstance(module, nn.MultiheadAttention):
                module.in_proj_weight.normal_(0.0, gain / module.embed_dim**0.5)
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, 1.0)
            elif isinstance(module, nn.RNNBase):
                for name, parameter in module.named_parameters():
                    if name.startswith("weight"):
                        parameter.normal_(0.0, 1.0 / parameter.shape[1] ** 0.5)
            elif isinstance(module, BATCH_NORMS):
                module.weight.uniform_(0.7, 1.3)
                module.bias.normal_(0.0, 0.2)
                module.running_mean.normal_(0.0, 0.2)
                module.running_var.uniform_(0.7, 1.3)
            elif isinstance(module, OTHER_NORMS) and module.weight is not None:
                module.weight.uniform_(0.7, 1.3)
                module.bias.normal_(0.0, 0.2)
            elif isinstance(module, nn.PReLU):
                module.weight.uniform_(0.1, 0.4)


@contextlib.contextmanager
def quiet():
    """Hold back what the exporters print; it is shown if they fail."""
    text = io.StringIO()
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(text),
            contextlib.redirect_stderr(text),
        ):
            warnings.simplefilter("ignore")
            yield
    except BaseException:
        print(text.getvalue())
        raise
    finally:
        logging.disable(logging.NOTSET)


def export(
    model,
    inputs,
    outputs,
    path,
    exporter,
    opset,
    dynamic=None,
    external=False,
    keep_batch_norm=False,
):
    """Write `model` as ONNX.

    `inputs` maps names to example tensors in the order of `forward`, `outputs` are names,
    `dynamic` maps an input or output name to `{axis: axis name}`. `keep_batch_norm` stops
    the exporter from folding BatchNorm into the convolution before it.
    """
    dynamic = dynamic or {}
    arguments = tuple(inputs.values())
    with quiet():
        if exporter == "legacy":
            mode = torch.onnx.TrainingMode
            torch.onnx.export(
                model,
                arguments,
                str(path),
                dynamo=False,
                opset_version=opset,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes=dynamic,
                training=mode.PRESERVE if keep_batch_norm else mode.EVAL,
            )
        else:
            torch.onnx.export(
                model,
                arguments,
                str(path),
                dynamo=True,
                opset_version=opset,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=tuple(dynamic.get(name) for name in inputs),
                external_data=external,
                optimize=not keep_batch_norm,
                verbose=False,
            )
    if exporter == "dynamo":
        strip_metadata(path)
    found = default_opset(onnx.load(path, load_external_data=False))
    if found != opset:
        raise RuntimeError(f"{path.name}: asked for opset {opset}, got {found}")


def strip_metadata(path):
    """Remove what the dynamo exporter attaches to nodes and values, but their scopes."""
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for owner in [model, graph, *graph.node, *values]:
        kept = {e.key: e.value for e in owner.metadata_props if e.key == KEPT_METADATA}
        del owner.metadata_props[:]
        for key, value in kept.items():
            owner.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString(deterministic=True))


def default_opset(model):
    """The version of the standard operators that an ONNX model asks for."""
    return next(entry.version for entry in model.opset_import if entry.domain == "")


def all_nodes(nodes):
    """Nodes of a graph and of the graphs in their attributes."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from all_nodes(attribute.g.node)
            for graph in attribute.graphs:
                yield from all_nodes(graph.node)


def op_types(path):
    """Sorted operator names of a file, with the domain where it is not the default."""
    model = onnx.load(path, load_external_data=False)
    nodes = list(all_nodes(model.graph.node))
    for function in model.functions:
        nodes.extend(all_nodes(function.node))
    return sorted({(f"{n.domain}." if n.domain else "") + n.op_type for n in nodes})


def run_ort(path, inputs):
    """ONNX Runtime's outputs by name, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    feeds = {name: np.asarray(value) for name, value in inputs.items()}
    return dict(zip(names, session.run(names, feeds)))


def as_tuple(value):
    """Outputs of a model that may return one tensor or several."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def gradients(model, inputs, output, target):
    """Gradient of `output[row, *target]` with respect to each floating-point input."""
    leaves = {
        name: x.detach().clone().requires_grad_(x.is_floating_point())
        for name, x in inputs.items()
    }
    values = as_tuple(model(*leaves.values()))[output]
    names = [name for name, x in leaves.items() if x.requires_grad]
    if not names:
        return {}
    scores = values[(slice(None), *target)].sum()
    found = torch.autograd.grad(scores, [leaves[name] for name in names])
    return dict(zip(names, found))


def relative_error(found, expected):
    """Largest difference over the largest expected magnitude."""
    found = np.asarray(found, dtype=np.float64)
    expected = np.asarray(expected, dtype=np.float64)
    if found.shape != expected.shape:
        raise ValueError(f"shape {found.shape} instead of {expected.shape}")
    if not np.isfinite(found).all():
        return float("inf")
    difference = np.abs(found - expected).max(initial=0.0)
    return float(difference / max(np.abs(expected).max(initial=0.0), 1e-30))
