"""What the peers' scripts share: their arguments, and the conversation with the benchmark."""

import argparse
import json
import os
import sys
from pathlib import Path

import torch


def serve(description, make_models, versions, answer):
    """Read the models' folder, say ready, and answer one request for each line of stdin.

    `make_models(folder, channels_last)` is called once, `answer(models, request)` for each
    request.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--channels-last",
        action="store_true",
        help="images and convolutions in PyTorch's channels-last memory format",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    models = make_models(arguments.folder, arguments.channels_last)

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
