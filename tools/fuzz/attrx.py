"""Run `attrx` on mutated models, arrays and images, and report every broken promise.

A run must end with a result (exit status 0) or with one named error (1 or 2). It must not panic
or report an internal error, hold more than twice its memory budget plus the files it reads, or
work for 20 seconds without a word. Inputs of failed runs are kept in OUT.

    python attrx.py ATTRX SECONDS OUT [SEED]

Needs Linux and only Python's standard library.
"""

import json
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "crates/attr-testkit/onnx"
MIB = 1 << 20
# The program, its libraries and a small model, in bytes.
PROGRAM = 150 * MIB
# How often the inputs' size is held for inputs, results and JSON.
COPIES = 16
SILENT = 20.0
LONGEST = 25.0
EXTREMES = [0, 1, 2, 7, 64, 65536, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 63) - 1]
EXTREMES += [(1 << 64) - 1, (1 << 64) - 2]
OPERATORS = """Abs Add ArgMax AveragePool BatchNormalization BitShift Cast Ceil Clip Concat
ConstantOfShape Conv ConvTranspose Cos CumSum DepthToSpace Div Einsum Equal Erf Exp Expand EyeLike
Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool Greater GridSample GRU
Hardmax HardSigmoid Identity InstanceNormalization LayerNormalization LeakyRelu Log LogSoftmax LpPool
LRN LSTM MatMul Max MaxPool Mean Min Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow Range Reciprocal
ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceProd ReduceSum Relu Reshape Resize RNN Round
ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Slice Softmax Softplus SpaceToDepth Split Sqrt
Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor""".split()
METHODS = [
    ("saliency", []),
    ("input-x-gradient", []),
    ("integrated-gradients", ["n_steps=4"]),
    ("deeplift", []),
    ("guided-backprop", []),
    ("fullgrad", []),
    ("gradient-shap", ["n_samples=3"]),
    ("feature-ablation", []),
    ("occlusion", []),
    ("shapley-value-sampling", ["n_samples=2"]),
    ("kernel-shap", ["n_samples=20"]),
    ("lime", ["n_samples=20"]),
    ("lrp", []),
    ("rise", ["N=20"]),
    ("permutation-shap", []),
    ("sobol", ["nb_design=4"]),
]


# ------------------------------------------------------------------------------------ protobuf


def varint(value):
    """Encode an unsigned integer."""
    out = bytearray()
    while True:
        part, value = value & 0x7F, value >> 7
        out.append(part | (0x80 if value else 0))
        if not value:
            return bytes(out)


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a varint is too long")


def fields(data):
    """Parse a message into `[number, wire type, value]`, or raise."""
    found, at = [], 0
    while at < len(data):
        key, at = read_varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError("field 0")
        if wire == 0:
            value, at = read_varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = data[at : at + size], at + size
        elif wire == 2:
            size, at = read_varint(data, at)
            value, at = data[at : at + size], at + size
            if len(value) != size:
                raise ValueError("a field is cut off")
        else:
            raise ValueError("a group")
        if at > len(data):
            raise ValueError("cut off")
        found.append([number, wire, value])
    return found


def join(parts):
    out = bytearray()
    for number, wire, value in parts:
        out += varint(number << 3 | wire)
        if wire == 0:
            out += varint(value)
        elif wire == 2:
            out += varint(len(value)) + value
        else:
            out += value
    return bytes(out)


def mutate_message(data, draw, depth=0):
    """Change one field somewhere inside a message."""
    try:
        parts = fields(data)
    except (ValueError, IndexError):
        return mutate_bytes(data, draw)
    if not parts:
        return data
    at = draw.randrange(len(parts))
    # Most of a model is its graph, and most of a graph are its nodes.
    nested = [i for i, part in enumerate(parts) if (depth, part[0]) in ((0, 7), (1, 1))]
    if nested and draw.random() < 0.8:
        at = draw.choice(nested)
    number, wire, value = parts[at]
    choice = draw.random()
    if wire == 2 and depth < 7 and choice < 0.8 and len(value) > 1:
        parts[at][2] = mutate_leaf(value, draw, depth)
    elif choice < 0.3:
        del parts[at]
    elif choice < 0.45:
        parts.insert(draw.randrange(len(parts) + 1), list(parts[at]))
    elif choice < 0.55:
        other = draw.randrange(len(parts))
        parts[at], parts[other] = parts[other], parts[at]
    elif wire == 0:
        near = [max(value - 1, 0), value + 1, value * 2]
        parts[at][2] = draw.choice(EXTREMES + near)
    elif wire == 2:
        # What another field of the same kind holds.
        alike = [part[2] for part in parts if part[:2] == [number, 2]]
        parts[at][2] = draw.choice(alike)
    else:
        size = len(value)
        parts[at][2] = draw.choice(
            [bytes(size), b"\xff" * size, struct.pack("<f", 1e30)[:size].ljust(size, b"\0")]
        )
    return join(parts)


def mutate_leaf(value, draw, depth):
    """Change a nested message, a list of integers, or a text."""
    text = value.decode("ascii", "replace")
    if text in OPERATORS:
        return draw.choice(OPERATORS).encode()
    if value and all(32 <= byte < 127 for byte in value) and draw.random() < 0.95:
        # A name: another character, or a new end.
        at = draw.randrange(len(text))
        return (text[:at] + draw.choice(["", "x", "\x1b[31m", "é"]) + text[at + 1 :]).encode()
    try:
        nested = fields(value)
    except (ValueError, IndexError):
        nested = []
    if nested and depth < 7:
        return mutate_message(value, draw, depth + 1)
    if len(value) % 8 == 0 and 0 < len(value) <= 64 and draw.random() < 0.7:
        # Most likely 64-bit integers: a shape, pads, axes.
        at = draw.randrange(len(value) // 8) * 8
        number = draw.choice(EXTREMES) & ((1 << 64) - 1)
        return value[:at] + struct.pack("<Q", number) + value[at + 8 :]
    return mutate_bytes(value, draw)


def mutate_bytes(data, draw):
    """Flip, cut, repeat or insert bytes."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 8])):
        if not data:
            return b"\0"
        at = draw.randrange(len(data))
        kind = draw.randrange(5)
        if kind == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at] = draw.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            del data[at : at + draw.choice([1, 4, 64])]
        elif kind == 3:
            data[at:at] = data[at : at + draw.choice([1, 8, 64])]
        else:
            data[at:at] = bytes(draw.randrange(256) for _ in range(draw.choice([1, 4])))
    return bytes(data)


# ------------------------------------------------------------------------------------ files


def npy(descr, shape, data):
    """A .npy file."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    text = text.ljust(-(-(len(text) + 11) // 64) * 64 - 11) + "\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode() + data


def png(width, height, channels):
    """A PNG of random pixels."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + os.urandom(width * channels) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tensors(path):
    """The inputs stored beside a model, `{name: (descr, shape, bytes)}`, and a target."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    descr = {"F32": "<f4", "I64": "<i8", "BOOL": "|b1", "F64": "<f8", "I32": "<i4"}
    found, target = {}, header["__metadata__"]["target_index"]
    for name, entry in header.items():
        if name.startswith("input."):
            start, end = entry["data_offsets"]
            part = data[8 + size :][start:end]
            found[name[6:]] = (descr[entry["dtype"]], entry["shape"], part)
    return found, target


def mutate_array(descr, shape, data, draw):
    """Another shape, type or content, or a broken file."""
    kind = draw.randrange(8)
    width = int(descr[2:])
    if kind == 0:
        return mutate_bytes(npy(descr, shape, data), draw)
    if kind == 1:
        shape = list(shape)
        shape[draw.randrange(len(shape))] = draw.choice(EXTREMES[:10])
        return npy(descr, shape, data)
    if kind == 2:
        return npy(draw.choice(["<f2", "<f8", "<i1", "<u8", "|b1", ">f4", "|S4", "<c8"]), shape, data)
    if kind == 3:
        at = draw.randrange(max(len(data) // width, 1)) * width
        floats = {4: struct.pack("<f", draw.choice([float("nan"), float("inf"), 1e38])), 8: b"\xff" * 8}
        return npy(descr, shape, data[:at] + floats.get(width, b"\xff" * width) + data[at + width :])
    if kind == 4:
        # Many rows, all alike.
        rows = draw.choice([1, 3, 1000, 1 << 16])
        row = data[: len(data) // max(shape[0], 1)]
        rows = min(rows, (64 * MIB) // max(len(row), 1))
        return npy(descr, [rows, *shape[1:]], row * rows)
    if kind == 5:
        depth = draw.choice([1, 8, 64])
        text = b"{" * depth + b"}" * depth + b"\n"
        return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text
    if kind == 6:
        return npy(descr, shape, data[: draw.randrange(len(data) + 1)])
    return npy(descr, [1, *shape], data)


def archive(arrays, draw):
    """A .npz of the arrays, sometimes broken."""
    with tempfile.TemporaryFile() as file:
        method = draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
        with zipfile.ZipFile(file, "w", method) as packed:
            for name, array in arrays.items():
                packed.writestr(f"{name}.npy", array)
        file.seek(0)
        data = file.read()
    return mutate_bytes(data, draw) if draw.random() < 0.5 else data


# ------------------------------------------------------------------------------------ runs


def case(draw, models, folder):
    """Write a case's files; return the arguments, the budget and the files' size."""
    model, inputs, index = draw.choice(models)
    data = model.read_bytes()
    shapes = [shape for _, shape, _ in inputs.values()]
    pictures = len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][1] in (1, 3)
    targets = ["model", "model", "model", "array", "image" if pictures else "array"]
    target = draw.choice(targets)
    if target == "model":
        for _ in range(draw.choice([1, 1, 2, 4])):
            whole = draw.random() < 0.97
            data = mutate_message(data, draw) if whole else mutate_bytes(data, draw)
    (folder / "model.onnx").write_bytes(data)
    beside = Path(f"{model}.data")
    if beside.exists():
        (folder / beside.name).write_bytes(beside.read_bytes())
    arguments = ["explain", "--model", "model.onnx"]
    arrays = {name: npy(*array) for name, array in inputs.items()}
    if target == "array" and arrays:
        name = draw.choice(sorted(arrays))
        arrays[name] = mutate_array(*inputs[name], draw)
    if target == "image" or not arrays:
        picture = png(draw.choice([1, 8, 33]), draw.choice([1, 8, 500]), draw.choice([1, 3]))
        (folder / "x.png").write_bytes(mutate_bytes(picture, draw) if draw.random() < 0.7 else picture)
        arguments += ["--input", "x.png"]
    elif draw.random() < 0.2:
        (folder / "x.npz").write_bytes(archive(arrays, draw))
        arguments += ["--input", "x.npz"]
    else:
        for i, (name, array) in enumerate(arrays.items()):
            (folder / f"{i}.npy").write_bytes(array)
            arguments += ["--input", f"{name}={i}.npy"]
    method, settings = draw.choice(METHODS)
    if method == "occlusion" and len(shapes) == 1:
        window = ",".join(str(min(size, 3)) for size in shapes[0][1:])
        settings = [f"sliding_window_shapes={window}"]
    arguments += ["--method", method, "--json", "-"]
    for setting in settings:
        arguments += ["--set", setting]
    if "," in index:
        arguments += ["--target", index]
    budget = draw.choice([None, None, 64])
    if budget:
        arguments += ["--memory", str(budget)]
    # The inputs are held as floats, as are the result and what a method collects for each row.
    unpacked = sum(len(array) for array in arrays.values())
    size = sum(path.stat().st_size for path in folder.iterdir()) + COPIES * unpacked
    return arguments, (budget or 1024) * MIB, size


def run(attrx, arguments, folder):
    """Run the program; return its status, peak memory, seconds and what it printed."""
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as output:
        start = time.monotonic()
        process = subprocess.Popen(
            [attrx, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (24 << 30, 24 << 30)),
        )
        status = usage = None
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            seconds = time.monotonic() - start
            if pid:
                break
            if seconds > LONGEST:
                process.kill()
                _, status, usage = os.wait4(process.pid, 0)
                break
            time.sleep(0.002 if seconds < 1 else 0.05)
        process.returncode = status
        errors.seek(0)
        output.seek(0)
        # A large process would pass its own size on to the next child.
        said = errors.read(MIB).decode("utf-8", "replace")
        code = os.waitstatus_to_exitcode(status)
        return code, usage.ru_maxrss * 1024, seconds, said, output.read(MIB)


def broken(code, peak, seconds, said, output, budget, size):
    """What promises a run broke."""
    reasons = []
    # Long work that says how far it is may be stopped.
    stopped = seconds > LONGEST and code == -9
    if code not in (0, 1, 2) and not stopped:
        reasons.append(f"status {code}")
    for words in ("internal error", "panicked", "backtrace", "stack overflow", "memory allocation"):
        if words in said:
            reasons.append(words)
    if code and not stopped and "error: " not in said:
        reasons.append("an error without its word")
    if len(said) > 4000:
        reasons.append(f"{len(said)} characters of errors")
    if "\x1b" in said or b"\x1b" in output:
        reasons.append("an escape sequence")
    if peak > 2 * budget + size + PROGRAM:
        reasons.append(f"{peak // MIB} MiB with a budget of {budget // MIB}")
    if seconds > SILENT and "evaluations" not in said:
        reasons.append(f"{seconds:.0f} s without a word")
    return reasons


def main():
    attrx, seconds, out = Path(sys.argv[1]).resolve(), float(sys.argv[2]), Path(sys.argv[3])
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(1 << 32)
    draw = random.Random(seed)
    paths = sorted((MODELS / "models").glob("*.onnx"))
    models = [(path, *tensors(path.with_suffix(".safetensors"))) for path in paths]
    models *= 10
    models += [(path, {}, "0") for path in sorted((MODELS / "hostile").glob("*.onnx"))]
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    runs = failures = 0
    codes, longest, highest = {}, 0.0, 0
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            arguments, budget, size = case(draw, models, folder)
            result = run(attrx, arguments, folder)
            reasons = broken(*result, budget, size)
            runs += 1
            codes[result[0]] = codes.get(result[0], 0) + 1
            if os.environ.get("SHOW"):
                print(result[0], result[3].strip()[:120])
            longest, highest = max(longest, result[2]), max(highest, result[1])
            if reasons:
                failures += 1
                kept = out / f"{seed}-{runs}"
                kept.mkdir(exist_ok=True)
                for path in folder.iterdir():
                    (kept / path.name).write_bytes(path.read_bytes())
                text = [" ".join(arguments), ", ".join(reasons), result[3][:2000]]
                (kept / "why.txt").write_text("\n".join(text))
                print(f"{kept}: {', '.join(reasons)}: {result[3].strip()[:160]}", flush=True)
    print(
        f"{runs} runs with seed {seed}: {failures} broken; exit statuses {codes}; "
        f"at most {longest:.1f} s and {highest // MIB} MiB"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
