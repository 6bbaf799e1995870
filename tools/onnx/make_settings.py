"""Write small ONNX files with inputs that are settings or states, and their reference values.

Into `crates/attr-testkit/onnx/settings`. Beside each `NAME.onnx` lies `NAME.safetensors` with

- `input.x`, the rows, and `constant.X` for every other input, as one call takes it;
- `output`, of ONNX Runtime, row by row, since all rows get the same state;
- `saliency`: |d output[row, 0] / d x|, by PyTorch's autograd.

A file whose batch is fixed says so in its metadata.

    pip install -r requirements.txt
    python make_settings.py
"""

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from common import quiet, randomise, relative_error, run_ort
from safetensors.numpy import save
from torch import nn

OUT = Path(__file__).resolve().parents[2] / "crates/attr-testkit/onnx/settings"
ROWS = 3


class Voice(nn.Module):
    """A voice detector: frames of samples, a sampling rate, and the state of two recurrent layers."""

    def __init__(self):
        super().__init__()
        self.frames = nn.Linear(8, 6)
        self.layers = nn.GRU(6, 5, num_layers=2, batch_first=True)
        self.head = nn.Linear(5, 1)

    def forward(self, x, sr, state):
        frames = x.reshape(x.shape[0], -1, 8) * (sr.float() / 16000)
        hidden, state = self.layers(torch.tanh(self.frames(frames)), state)
        return self.head(hidden[:, -1]), state


class Cell(nn.Module):
    """One step of an LSTM, with its state [layers, batch, hidden] and cell."""

    def __init__(self):
        super().__init__()
        self.layers = nn.LSTM(4, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, x, h, c):
        hidden, (h, c) = self.layers(x, (h, c))
        return self.head(hidden[:, -1]), h, c


class Tempered(nn.Module):
    """Class scores with a temperature and an offset for each class."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x, temperature, offset, centered):
        scores = self.layers(x) / temperature + offset
        return torch.where(centered, scores - scores.mean(1, keepdim=True), scores)


def case(model, shape, constants, dynamic):
    """A model, rows, the other inputs, and the axes of any size."""
    return model, torch.randn(ROWS, *shape), constants, dynamic


def cases():
    state = torch.randn(2, 1, 5) * 0.5
    batch = {0: "batch"}
    yield "voice", case(
        Voice(),
        [24],
        {"sr": torch.tensor(8000), "state": state},
        {"x": {0: "batch", 1: "samples"}, "state": {1: "batch"}},
    )
    yield "voice_unnamed", case(
        Voice(),
        [24],
        {"sr": torch.tensor(16000), "state": state},
        {"x": [0], "state": [1]},
    )
    cell = {name: torch.randn(1, 1, 5) for name in ("h", "c")}
    yield "cell_fixed", case(Cell(), [3, 4], cell, None)
    tempered = {
        "temperature": torch.tensor(0.7),
        "offset": torch.tensor([0.5, -1.0, 2.0]),
        "centered": torch.tensor(True),
    }
    yield "tempered", case(Tempered(), [6], tempered, {"x": batch})


def main():
    OUT.mkdir(exist_ok=True)
    for name, (model, rows, constants, dynamic) in cases():
        model.eval()
        randomise(model)
        path = OUT / f"{name}.onnx"
        names = ["x", *constants]
        with quiet():
            torch.onnx.export(
                model,
                (rows[:1], *constants.values()),
                str(path),
                input_names=names,
                dynamic_axes=dynamic,
                opset_version=17,
                dynamo=False,
            )
        onnx.checker.check_model(onnx.load(path))
        rows.requires_grad_(True)
        expected = [model(row[None], *constants.values()) for row in rows]
        expected = torch.cat([e[0] if isinstance(e, tuple) else e for e in expected])
        (saliency,) = torch.autograd.grad(expected[:, 0].sum(), rows)
        found = []
        for row in rows.detach():
            inputs = {"x": row[None], **constants}
            inputs = {key: value.numpy() for key, value in inputs.items()}
            first, *_ = run_ort(path, inputs).values()
            found.append(first)
        found = np.concatenate(found)
        error = relative_error(found, expected.detach().numpy())
        if error > 1e-5:
            raise RuntimeError(f"{name}: ONNX Runtime and PyTorch differ by {error:.2e}")
        tensors = {"input.x": rows.detach().numpy(), "output": found}
        tensors["saliency"] = saliency.abs().numpy()
        for key, value in constants.items():
            value = value.numpy()
            kind = np.float32 if value.dtype.kind == "f" else np.int64
            tensors[f"constant.{key}"] = value.astype(kind)
        file = save(
            {key: value.copy() for key, value in tensors.items()},
            {"fixed": json.dumps(dynamic is None)},
        )
        path.with_suffix(".safetensors").write_bytes(file)
        print(name, path.stat().st_size, f"{error:.1e}")


torch.manual_seed(3)
main()
