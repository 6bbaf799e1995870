"""Write the ONNX files of `crates/attr-testkit/onnx/hostile` and `greedy`, and tables of them.

Each hostile file is broken, or asks for more memory than any machine has. All must be refused
with an error: no panic, no large allocation, no file read outside the model's folder. Each
greedy file is valid, but asks for more than `attrx` allows by default.

    pip install -r requirements.txt
    python make_hostile.py
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

OUT = Path(__file__).resolve().parents[2] / "crates/attr-testkit/onnx"
FLOAT = TensorProto.FLOAT
OPSET = 17
DEPTH = 200
FEATURES = ("batch", 4)
IMAGE = ("batch", 4, 8, 8)

# Per folder, by name: what is wrong, and a function that gives the model or the bytes.
HOSTILE, GREEDY = {}, {}


def hostile(wrong, files=HOSTILE):
    """Register a function under its name, with what is wrong with its file."""

    def register(build):
        files[build.__name__] = (wrong, build)
        return build

    return register


def greedy(wanted):
    """Register a function under its name, with what its file asks for."""
    return hostile(wanted, GREEDY)


def node(kind, inputs, output, name=None, **attributes):
    """A node with one output."""
    return helper.make_node(
        kind, inputs, [output], name or f"{kind.lower()}_1", **attributes
    )


def floats(name, *shape):
    """A float32 initializer."""
    count = int(np.prod(shape))
    values = np.linspace(-1.0, 1.0, count, dtype=np.float32).reshape(shape)
    return numpy_helper.from_array(values, name)


def integers(name, *values):
    """A one-dimensional int64 initializer."""
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def scalar(name, value):
    """An int64 or float32 scalar initializer."""
    kind = np.int64 if isinstance(value, int) else np.float32
    return numpy_helper.from_array(np.array(value, dtype=kind), name)


def raw(name, dims, data):
    """A float32 initializer that may announce something else than it holds."""
    tensor = TensorProto(name=name, data_type=FLOAT, raw_data=data)
    tensor.dims.extend(dims)
    return tensor


def external(name, dims, location, length=None):
    """A float32 initializer whose data lie in another file."""
    tensor = TensorProto(name=name, data_type=FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.dims.extend(dims)
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value="0")
    if length is not None:
        tensor.external_data.add(key="length", value=str(length))
    return tensor


def model(
    nodes, initializers=(), shape=FEATURES, outputs=("y",), functions=(), domains=()
):
    """A model with the input `x`."""
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", OPSET)]
    opsets += [helper.make_opsetid(domain, 1) for domain in domains]
    file = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
    file.ir_version = 8
    return file


def summed(nodes, initializers, shape=FEATURES):
    """The value `huge`, summed and added to the input, so that the output depends on both."""
    tail = [
        helper.make_node("ReduceSum", ["huge"], ["sum"], "sum_1", keepdims=0),
        node("Add", ["x", "sum"], "y"),
    ]
    return model([*nodes, *tail], initializers, shape)


def perceptron():
    """A valid model."""
    return model(
        [
            node("Gemm", ["x", "w1", "b1"], "h", "gemm_1"),
            node("Relu", ["h"], "r"),
            node("Gemm", ["r", "w2", "b2"], "y", "gemm_2"),
        ],
        [floats("w1", 4, 8), floats("b1", 8), floats("w2", 8, 3), floats("b2", 3)],
    )


@hostile("a valid file, cut in the middle")
def truncated():
    file = perceptron().SerializeToString(deterministic=True)
    return file[: len(file) // 2]


@hostile("no bytes at all")
def empty():
    return b""


@hostile("the header of a PNG image")
def wrong_magic():
    header = bytes.fromhex("0000000d49484452000000100000001008060000001ff3ff61")
    return b"\x89PNG\r\n\x1a\n" + header


@hostile("two nodes feed each other")
def cyclic():
    return model(
        [node("Add", ["x", "b"], "a"), node("Relu", ["a"], "b")], outputs=("b",)
    )


@hostile("an initializer of shape [-1, 4]")
def negative_dim():
    weight = raw("w", [-1, 4], np.ones(16, np.float32).tobytes())
    return model([node("MatMul", ["x", "w"], "y")], [weight])


@hostile("an initializer of shape [2^40, 2^40] with 10 bytes")
def huge_dim():
    weight = raw("w", [2**40, 2**40], b"0123456789")
    return model([node("MatMul", ["x", "w"], "y")], [weight])


@hostile("an initializer that announces 2 GiB of float32 and has 10 bytes")
def announced():
    weight = raw("w", [4, 2**27], b"0123456789")
    return model([node("MatMul", ["x", "w"], "y")], [weight])


@hostile("a node reads the value `w`, which nothing gives")
def missing_initializer():
    return model([node("MatMul", ["x", "w"], "y")])


@hostile("external data at `../../etc/passwd`")
def external_escape():
    weight = external("w", [4, 4], "../../etc/passwd", 64)
    return model([node("MatMul", ["x", "w"], "y")], [weight])


@hostile("external data at `/etc/passwd`")
def external_absolute():
    weight = external("w", [4, 4], "/etc/passwd", 64)
    return model([node("MatMul", ["x", "w"], "y")], [weight])


@hostile("64 bytes announced in `external_short.onnx.data`, which has 10")
def external_short():
    (OUT / "hostile/external_short.onnx.data").write_bytes(b"0123456789")
    weight = external("w", [4, 4], "external_short.onnx.data", 64)
    return model([node("MatMul", ["x", "w"], "y")], [weight])


@hostile("a scalar expanded to [2^31, 2^31]")
def huge_expand():
    return summed(
        [node("Expand", ["one", "shape"], "huge")],
        [scalar("one", 1.0), integers("shape", 2**31, 2**31)],
    )


@hostile("a Range from 0 to 2^62 in steps of 1")
def huge_range():
    return summed(
        [
            node("Range", ["start", "limit", "delta"], "range"),
            node("Cast", ["range"], "huge", to=FLOAT),
        ],
        [scalar("start", 0), scalar("limit", 2**62), scalar("delta", 1)],
    )


@hostile("the input tiled 2^31 times along each axis")
def huge_tile():
    return summed(
        [node("Tile", ["x", "repeats"], "huge")], [integers("repeats", 2**31, 2**31)]
    )


@hostile("2^40 zeros before and after the last axis")
def huge_pad():
    return summed(
        [node("Pad", ["x", "pads"], "huge")], [integers("pads", 0, 2**40, 0, 2**40)]
    )


@hostile("an image resized to 2^31 by 2^31 points")
def huge_resize():
    return summed(
        [node("Resize", ["x", "", "", "sizes"], "huge", mode="nearest")],
        [integers("sizes", 1, 4, 2**31, 2**31)],
        IMAGE,
    )


def convolution(*shape, **attributes):
    """One convolution with weights of the given shape."""
    return model(
        [node("Conv", ["x", "w"], "y", **attributes)], [floats("w", *shape)], IMAGE
    )


@hostile("a convolution with `kernel_shape` and `strides` of -3")
def negative_kernel():
    return convolution(2, 4, 3, 3, kernel_shape=[-3, -3], strides=[-3, -3])


@hostile("a convolution with `strides` of -1")
def negative_stride():
    return convolution(2, 4, 3, 3, kernel_shape=[3, 3], strides=[-1, -1])


@hostile("a max pooling with `strides` of 0")
def zero_stride():
    pool = node("MaxPool", ["x"], "y", kernel_shape=[2, 2], strides=[0, 0])
    return model([pool], shape=IMAGE)


@hostile("a convolution in 0 groups")
def bad_group():
    return convolution(4, 4, 3, 3, group=0)


@hostile("a convolution of 4 channels in 3 groups")
def bad_group_channels():
    return convolution(4, 1, 3, 3, group=3)


@hostile("a constant of 6 values reshaped to [4, 4]")
def reshape_mismatch():
    return model(
        [node("Reshape", ["c", "shape"], "w"), node("MatMul", ["x", "w"], "y")],
        [floats("c", 6), integers("shape", 4, 4)],
    )


@hostile("constants of 3 and 5 rows joined along the columns")
def concat_mismatch():
    return model(
        [
            node("Concat", ["c", "d"], "w", axis=1),
            node("MatMul", ["x", "w"], "y"),
        ],
        [floats("c", 3, 2), floats("d", 5, 2)],
    )


@hostile("4 features times a matrix of 5 rows")
def matmul_mismatch():
    return model([node("MatMul", ["x", "w"], "y")], [floats("w", 5, 3)])


@hostile("a model without a graph")
def no_graph():
    file = onnx.ModelProto(ir_version=8, producer_name="hostile")
    file.opset_import.add(domain="", version=OPSET)
    return file


@hostile("a graph without outputs")
def no_outputs():
    return model([node("Relu", ["x"], "y")], outputs=())


@hostile("two nodes both give the value `y`")
def duplicate_names():
    return model([node("Relu", ["x"], "y"), node("Tanh", ["x"], "y")])


@hostile("the operations Foo, my.domain.Bar and StringNormalizer among known ones")
def unsupported_many():
    return model(
        [
            node("MatMul", ["x", "w"], "a"),
            node("Foo", ["a"], "b", "foo_1", alpha=1.5),
            node("Relu", ["b"], "c"),
            node("Bar", ["c", "bias"], "d", "bar_1", domain="my.domain"),
            node("Add", ["d", "bias"], "e"),
            node("StringNormalizer", ["e"], "f", "normalizer_1"),
            node("Foo", ["f"], "g", "foo_2"),
            node("Softmax", ["g"], "y", axis=-1),
        ],
        [floats("w", 4, 3), floats("bias", 3)],
        domains=("my.domain",),
    )


@hostile("a function of the model that calls itself")
def self_loop_function():
    function = helper.make_function(
        "local",
        "Again",
        ["a"],
        ["b"],
        [
            helper.make_node("Relu", ["a"], ["c"], "relu_1"),
            helper.make_node("Again", ["c"], ["b"], "again_1", domain="local"),
        ],
        [helper.make_opsetid("", OPSET), helper.make_opsetid("local", 1)],
    )
    call = helper.make_node("Again", ["x"], ["y"], "again_0", domain="local")
    return model([call], functions=[function], domains=("local",))


def field(number, data):
    """One length-delimited field of a Protocol Buffers message."""
    header = bytearray()
    for value in (number << 3 | 2, len(data)):
        while value > 127:
            header.append(value & 127 | 128)
            value >>= 7
        header.append(value)
    return bytes(header) + data


@hostile(f"{DEPTH} conditions nested in each other")
def deep_if():
    # Written by hand, since the library refuses to write messages nested this deep.
    def branch(body, output):
        """A GraphProto: nodes, a name, one output."""
        value = helper.make_tensor_value_info(output, FLOAT, None).SerializeToString()
        return field(1, body) + field(2, b"g") + field(12, value)

    identity = node("Identity", ["x"], "e", "i").SerializeToString()
    graph = branch(node("Relu", ["x"], "v", "r").SerializeToString(), "v")
    for _ in range(DEPTH):
        body = helper.make_node("If", ["c"], ["v"], "f").SerializeToString()
        for key, inner in (
            ("then_branch", graph),
            ("else_branch", branch(identity, "e")),
        ):
            attribute = AttributeProto(name=key, type=AttributeProto.GRAPH)
            body += field(5, attribute.SerializeToString() + field(6, inner))
        graph = branch(body, "v")

    condition = numpy_helper.from_array(np.array(True), "c").SerializeToString()
    source = helper.make_tensor_value_info("x", FLOAT, FEATURES).SerializeToString()
    graph += field(5, condition) + field(11, source)
    return no_graph().SerializeToString() + field(7, graph)


@greedy("2^40 added to integers")
def wide_integers():
    nodes = [
        node("Cast", ["x"], "i", to=TensorProto.INT64),
        node("Add", ["i", "big"], "j"),
        node("Cast", ["j"], "f", to=FLOAT),
        node("Add", ["x", "f"], "y"),
    ]
    return model(nodes, [scalar("big", 1 << 40)])


@greedy("each row tiled to 2^29 integers")
def tiled_rows():
    nodes = [
        node("Cast", ["x"], "i", to=TensorProto.INT64),
        node("Tile", ["i", "n"], "t"),
        node("ReduceMax", ["t"], "m", axes=[1], keepdims=1),
        node("Cast", ["m"], "f", to=FLOAT),
        node("Add", ["x", "f"], "y"),
    ]
    return model(nodes, [integers("n", 1, 1 << 27)])


@greedy("a batch of 65536 rows, written into the file, of 16384 numbers each")
def bound_batch():
    nodes = [
        node("Expand", ["x", "shape"], "e"),
        node("ReduceSum", ["e", "last"], "s", keepdims=0),
        node("Reshape", ["s", "flat"], "y"),
    ]
    stored = [integers("shape", 1 << 16, 4, 1 << 12), integers("last", 2)]
    stored += [integers("flat", 1 << 16, 4)]
    return model(nodes, stored, (1 << 16, 4, 1))


@greedy("a convolution with 16000 zeros around a small image")
def padded_convolution():
    convolution = helper.make_node(
        "Conv", ["x", "w"], ["c"], "conv_1", pads=[16000] * 4, kernel_shape=[1, 1]
    )
    nodes = [convolution, node("GlobalMaxPool", ["c"], "m"), node("Flatten", ["m"], "y")]
    return model(nodes, [floats("w", 1, 4, 1, 1)], IMAGE)


@greedy("average pooling with padding over 16384 x 16384 points")
def shared_average():
    pooling = helper.make_node(
        "AveragePool", ["e"], ["p"], "pool_1", kernel_shape=[2, 2], pads=[1] * 4
    )
    nodes = [
        node("Expand", ["x", "shape"], "e"),
        pooling,
        node("GlobalMaxPool", ["p"], "m"),
        node("Flatten", ["m"], "y"),
    ]
    stored = [integers("shape", 1, 1, 1 << 14, 1 << 14)]
    return model(nodes, stored, ("batch", 1, 1, 1))


@greedy("60 identity matrices of 4096 x 4096")
def many_constants():
    nodes, last = [], "x"
    for i in range(60):
        nodes += [
            node("EyeLike", ["like"], f"eye{i}", f"eye_{i}"),
            node("ReduceSum", [f"eye{i}"], f"sum{i}", f"sum_{i}", keepdims=0),
            node("Add", [last, f"sum{i}"], f"x{i}", f"add_{i}"),
        ]
        last = f"x{i}"
    shape = integers("size", 4096, 4096)
    first = [node("ConstantOfShape", ["size"], "like")]
    return model([*first, *nodes, node("Relu", [last], "y")], [shape])


@greedy("a recurrent layer over sequences of any length")
def long_sequence():
    nodes = [
        node("Transpose", ["x"], "t", perm=[1, 0, 2]),
        helper.make_node("RNN", ["t", "w", "r"], ["", "h"], "rnn_1", hidden_size=2),
        node("Squeeze", ["h", "first"], "y"),
    ]
    stored = [floats("w", 1, 2, 1), floats("r", 1, 2, 2), integers("first", 0)]
    return model(nodes, stored, ("batch", "length", 1))


@greedy("an operation whose name would colour a terminal, and a node with a name of 64 kB")
def loud_names():
    return model([node("Foo\x1b[31m", ["x"], "y", "n" * (1 << 16))])


def main():
    for folder, title, files in (
        ("hostile", "Hostile ONNX files", HOSTILE),
        ("greedy", "ONNX files that ask for much", GREEDY),
    ):
        out = OUT / folder
        out.mkdir(parents=True, exist_ok=True)
        rows = []
        for name, (wrong, build) in files.items():
            content = build()
            if isinstance(content, onnx.ModelProto):
                content = content.SerializeToString(deterministic=True)
            (out / f"{name}.onnx").write_bytes(content)
            rows.append(f"| `{name}.onnx` | {wrong} |")
            print(f"{name}.onnx: {len(content)} bytes")
        table = "\n".join(["| file | what is wrong |", "|---|---|", *rows])
        text = f"# {title}\n\nWritten by `tools/onnx/make_hostile.py`.\n\n{table}\n"
        (out / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
