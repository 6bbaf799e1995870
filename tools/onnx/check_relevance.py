"""Check where `attrx lrp check` says relevance goes on full-sized models.

Exports the models of compare_models.py, a full-sized vision transformer and a model
with two inputs, and checks each with the composites that are meant for its kind. Prints
a table in Markdown, and scores, seconds and peak memory on standard error; exits with 1
if a ledger does not close or `attrx` fails.

    pip install -r requirements.txt
    python check_relevance.py --attrx PATH [--only NAME ...] [--exporter legacy]

Shares are of the score; "growth" is the absolute relevance at the inputs over the
score's, and "off by" what the ledger leaves unexplained, as a fraction of the score.
"""

import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

import small_models as small
from common import export, randomise
from compare_models import (
    CANDIDATES,
    MODELS,
    OPSETS,
    Full,
    attrx,
    calibrate,
    images,
    without_weights,
)

# How far a ledger may be from closing, as a fraction of the score.
TOLERANCE = 1e-5
IMAGE = ("epsilon_plus_flat", "epsilon_gamma_box")
TRANSFORMER = ("attnlrp", "cp_lrp")
OTHER = ("epsilon",)


def pairs(rows):
    """Random inputs of the model with two."""
    return {"left": torch.randn(rows, 3), "right": torch.randn(rows, 4)}


EXTRA = {
    "vit_b_16": Full(without_weights("vit_b_16"), images()),
    "two_inputs": Full(small.TwoInputs, pairs),
}
CHECKS = {
    "resnet18": IMAGE,
    "densenet121": IMAGE,
    "mobilenet_v2": IMAGE,
    "efficientnet_b0": IMAGE,
    "convnext_tiny": IMAGE,
    "unet": IMAGE,
    "vit_b_16": TRANSFORMER,
    "bert": TRANSFORMER,
    "gpt": TRANSFORMER,
    "lstm": OTHER,
    "gru": OTHER,
    "two_inputs": OTHER,
}
OUTPUTS = {"two_inputs": ("first", "second")}
# The second output of the model with two inputs ends in a softmax.
VARIANTS = {"two_inputs": ((), ("--output", "second", "--logits"))}


def prepare(name, full, exporter, folder):
    """Write a model and a row of inputs; gives the arguments that name them."""
    torch.manual_seed(0)
    model = full.build().eval()
    randomise(model)
    calibrate(model, full.inputs(CANDIDATES))
    inputs = full.inputs(1)
    path = folder / f"{name}.onnx"
    outputs = OUTPUTS.get(name, ("output",))
    export(model, inputs, outputs, path, exporter, OPSETS[exporter])
    arguments = ["--model", path]
    for key, value in inputs.items():
        file = folder / f"{key}.npy"
        np.save(file, value.numpy())
        option = "--constant" if key in full.constants else "--input"
        arguments += [option, f"{key}={file}"]
    # One class, but the unit that is compared where there is one for each position.
    target = full.target if len(full.target) > 1 else (0,)
    return [*arguments, "--target", ",".join(map(str, target))], inputs


def check(name, composite, program, arguments, inputs):
    """Print a model's row of the table; gives whether its ledger closes."""
    given = [*arguments, "--set", f"composite={composite}"]
    if composite == "epsilon_gamma_box":
        (pixels,) = inputs.values()
        given += ["--set", f"low={pixels.min()}", "--set", f"high={pixels.max()}"]
    try:
        text, seconds, megabytes = attrx(program, "lrp", "check", *given, "--json")
    except RuntimeError as error:
        print(f"| {name} | {composite} | FAILS: {error} |", flush=True)
        return False
    report = json.loads(text)
    (row,) = report["rows"]
    # JSON has no number for what is infinite.
    row = {key: np.nan if value is None else value for key, value in row.items()}
    score, nodes = row["started"], sum(report["rules"].values())
    keys = ("arrived", "bias", "stabilizer", "stopped", "rounding")
    shares = " | ".join(f"{100 * row[key] / score:.4g}" for key in keys)
    served = nodes - report["rules"].get("gradient", 0)
    fine = row["error"] <= TOLERANCE
    print(
        f"| {name} | {composite} | {served} / {nodes} | {shares}"
        f" | {row['growth']:.3g} | {row['error']:.1e}{'' if fine else ' OFF'} |",
        flush=True,
    )
    print(
        f"{name}, {composite}: score {score:.4f}, {seconds:.1f} s, {megabytes:.0f} MB",
        file=sys.stderr,
    )
    return fine


def main():
    parser = argparse.ArgumentParser(description="Check where relevance goes.")
    parser.add_argument("--attrx", required=True, help="the attrx program")
    parser.add_argument("--only", action="append", choices=CHECKS, help="one model")
    parser.add_argument("--exporter", choices=OPSETS, default="dynamo")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="TF32")
    print("| model | composite | nodes with a rule | arrives (%) | bias (%)", end="")
    print(" | stabiliser (%) | stopped (%) | rounding (%) | growth | off by |")
    print("|---" * 10 + "|")
    fine = True
    for name in options.only or CHECKS:
        full = (MODELS | EXTRA)[name]
        with tempfile.TemporaryDirectory() as folder:
            given, inputs = prepare(name, full, options.exporter, Path(folder))
            for variant in VARIANTS.get(name, ((),)):
                for composite in CHECKS[name]:
                    arguments = [*given, *variant]
                    title = " ".join([name, *variant])
                    fine &= check(title, composite, options.attrx, arguments, inputs)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
