"""Write single-operator ONNX files beside the exported models, with ONNX Runtime's outputs.

Each covers an edge case of an operator's definition that exported models rarely reach.
Files go to `crates/attr-testkit/onnx/models`, named `op_*`.

    pip install -r requirements.txt
    python make_operators.py
"""

from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

OUT = Path(__file__).resolve().parents[2] / "crates/attr-testkit/onnx/models"
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
X = np.array([[1.5, -7.0, 0.0, 700.0], [-0.25, 3.0, 2.0, -300.0]], np.float32)
CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4) % 7 - 3
IMAGE = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4) % 11


def node(op, inputs=("x",), outputs=("y",), domain="", **attributes):
    """A node of one operator."""
    return helper.make_node(op, list(inputs), list(outputs), domain=domain, **attributes)


def ints(*values):
    return np.array(values, np.int64)


def through_ints(*nodes):
    """Nodes on integers between two casts; they read `i` and write `j`."""
    return [
        node("Cast", outputs=("i",), to=INT64),
        *nodes,
        node("Cast", inputs=("j",), to=FLOAT),
    ]


# Name: operator set, nodes from `x` to `y`, input, stored tensors.
CASES = {
    "hardmax_old": (11, [node("Hardmax", axis=1)], CUBE, {}),
    "softmax_old": (11, [node("Softmax", axis=1)], CUBE, {}),
    "reduce_noop": (18, [node("ReduceSumSquare", noop_with_empty_axes=1)], X, {}),
    "lp_zero_row": (
        13,
        [node("Mul", ("x", "m"), ("z",)), node("LpNormalization", ("z",), axis=-1, p=2)],
        X,
        {"m": np.array([[1], [0]], np.float32)},
    ),
    "normalizer_zero_row": (
        13,
        [
            node("Mul", ("x", "m"), ("z",)),
            node("Normalizer", ("z",), domain="ai.onnx.ml", norm="L1"),
        ],
        X,
        {"m": np.array([[1], [0]], np.float32)},
    ),
    "cast_wraps": (
        13,
        [
            node("Cast", outputs=("i",), to=INT64),
            node("Cast", ("i",), ("b",), to=TensorProto.UINT8),
            node("Cast", ("i",), ("c",), to=TensorProto.INT8),
            node("Cast", ("b",), ("f",), to=FLOAT),
            node("Cast", ("c",), ("g",), to=FLOAT),
            node("Add", ("f", "g")),
        ],
        X,
        {},
    ),
    "pow_of_integers": (
        13,
        through_ints(
            node("Pow", ("i", "p"), ("q",)), node("Mod", ("q", "m"), ("j",))
        ),
        np.array([[3, 7], [2, -3]], np.float32),
        {"p": ints(10)[0], "m": ints(1000)[0]},
    ),
    "fmod_of_integers": (
        13,
        through_ints(node("Mod", ("i", "m"), ("j",), fmod=1)),
        np.array([[5, -5], [16777216, -7]], np.float32),
        {"m": ints(3)[0]},
    ),
    "slice_backwards_from_before": (
        13,
        [node("Slice", ("x", "s", "e", "a", "t"))],
        X,
        {"s": ints(-10), "e": ints(-20), "a": ints(1), "t": ints(-1)},
    ),
    "squeeze_all": (
        13,
        [node("Unsqueeze", ("x", "a"), ("u",)), node("Squeeze", ("u", "none"))],
        X,
        {"a": ints(1), "none": ints()},
    ),
    "clip_crossed": (
        13,
        [node("Clip", ("x", "low", "high"))],
        X,
        {"low": np.float32(2), "high": np.float32(1)},
    ),
    "gather_from_the_end": (
        13,
        [
            node("ArgMax", outputs=("i",), axis=1, keepdims=1),
            node("Sub", ("i", "four"), ("n",)),
            node("GatherElements", ("x", "n"), axis=1),
        ],
        X,
        {"four": ints(4)[0]},
    ),
    "resize_nearest_ties": (
        13,
        [node("Resize", ("x", "", "s"), mode="nearest")],
        IMAGE,
        {"s": np.array([1, 1, 0.6, 0.7], np.float32)},
    ),
    "scatter_adds_twice": (
        16,
        [node("ScatterElements", ("x", "i", "u"), axis=1, reduction="add")],
        X,
        {"i": ints(1, 1, 0).reshape(1, 3), "u": np.array([[1, 2, 3]], np.float32)},
    ),
    "transposed_beyond": (
        11,
        [
            node(
                "ConvTranspose", ("x", "w"), strides=[3, 2], output_shape=[13, 10]
            )
        ],
        IMAGE,
        {"w": np.arange(36, dtype=np.float32).reshape(2, 2, 3, 3) / 9 - 2},
    ),
    "average_with_gaps": (
        19,
        [
            node(
                "AveragePool",
                kernel_shape=[2, 2],
                dilations=[2, 2],
                pads=[1, 1, 1, 1],
                ceil_mode=1,
            )
        ],
        IMAGE,
        {},
    ),
    "einsum_implicit": (
        13,
        [node("Einsum", ("x", "w"), equation="...ij,...jk")],
        CUBE,
        {"w": np.arange(40, dtype=np.float32).reshape(2, 4, 5) / 10},
    ),
    # ONNX Runtime knows no mode here; the two operators undo each other.
    "space_to_depth_crd": (
        13,
        [
            node("SpaceToDepth", outputs=("d",), blocksize=2, mode="CRD"),
            node("DepthToSpace", ("d",), blocksize=2, mode="CRD"),
        ],
        IMAGE,
        {},
    ),
    # A tensor that nothing reads; its file does not exist.
    "unused_beside": (13, [node("Mul", ("x", "x"))], X, {"unused": None}),
    "text_beside": (
        13,
        [node("Mul", ("x", "x"))],
        X,
        {"classes": np.array(["a", "b"], dtype=object)},
    ),
}

# Outputs known without a reference.
EXPECTED = {"space_to_depth_crd": IMAGE, "unused_beside": X * X}


def initializer(name, value):
    """A stored tensor; one without a value lies in a file that does not exist."""
    if value is not None:
        return numpy_helper.from_array(np.asarray(value), name)
    tensor = TensorProto(name=name, data_type=FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.dims.extend([1 << 16, 1 << 14])
    tensor.external_data.add(key="location", value="missing.data")
    return tensor


def main():
    for name, (opset, nodes, x, stored) in CASES.items():
        free = [f"d{i}" if i == 0 else size for i, size in enumerate(x.shape)]
        initializers = [initializer(key, value) for key, value in stored.items()]
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("x", FLOAT, free)],
            [helper.make_tensor_value_info("y", FLOAT, None)],
            initializers,
        )
        imports = [
            helper.make_opsetid("", opset),
            helper.make_opsetid("ai.onnx.ml", 1),
        ]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        content = model.SerializeToString()
        reference, y = "the definition", EXPECTED.get(name)
        if y is None:
            reference = "onnxruntime"
            session = onnxruntime.InferenceSession(content)
            (y,) = session.run(["y"], {"x": x})
        path = OUT / f"op_{name}.onnx"
        path.write_bytes(content)
        tensors = {"input.x": x, "output.y": np.ascontiguousarray(y)}
        save_file(
            tensors,
            path.with_suffix(".safetensors"),
            {"output_name": "y", "target_index": "0", "reference": reference},
        )
        print(f"{path.name}: {y.shape} {y.ravel()[:6]}")


if __name__ == "__main__":
    main()
