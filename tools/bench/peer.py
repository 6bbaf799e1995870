"""What the peers' scripts share: their arguments, the conversation, and a run's measurement."""

import argparse
import ctypes
import gc
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

# How many numbers of a result go into `first`.
FIRST = 8
# How a library says that it cannot; the benchmark goes on with the next.
FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError)
FAILURES += (NotImplementedError, RuntimeError, TypeError, ValueError)


def serve(description, make_models, versions, answer):
    """Read the models' folder, say ready, and answer one request for each line of stdin.

    `make_models(folder, device)` is called once, `answer(models, request)` for each request.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="PyTorch's name of it")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    models = make_models(arguments.folder, arguments.device)

    # Whatever a library prints must not come between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr

    def tell(message):
        print(json.dumps(message), file=answers, flush=True)

    threads = torch.get_num_threads()
    tell({"ready": True, "torch": torch.__version__, **versions, "threads": threads})
    # Not `for line in sys.stdin`, which may read ahead.
    for line in iter(sys.stdin.readline, ""):
        if line.strip() == "quit":
            break
        tell(answer(models, json.loads(line)))


def synchronise():
    """Wait for a GPU, if there is one."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def status(name):
    """A number of mebibytes from the kernel's table."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"no {name}")


def at_rest():
    """Give freed memory back, forget the peak, and return the resident mebibytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def warm_up(run, request):
    """Repeat what does not count for the milliseconds that a request asks for."""
    end = time.perf_counter() + request.get("warm", 0) / 1e3
    while time.perf_counter() < end:
        run()


def measured(run, request, folder):
    """Time one run of a request, with what else it asks for; or say why it fails."""
    before = mib = None
    try:
        warm_up(run, request)
        if request.get("memory"):
            try:
                before = at_rest()
            except (OSError, AttributeError):
                # Only Linux tells.
                before = None
        synchronise()
        start = time.perf_counter()
        result = run()
        synchronise()
        seconds = time.perf_counter() - start
    except FAILURES as error:
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    if before is not None:
        mib = max(status("VmHWM") - before, 0)
    result = result.detach().cpu()
    if request.get("save"):
        np.save(folder / "result.npy", result.contiguous().numpy())
    return {
        "seconds": seconds,
        "first": result.flatten()[:FIRST].tolist(),
        "sum": result.double().sum().item(),
        "mib": mib,
    }
