"""Run a command and write its run time and peak memory to a file.

    python measured.py OUT.json TIMEOUT COMMAND...

This is a separate, small process because Linux counts the memory of the starting process
into the started one's peak.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main():
    out, timeout, *command = sys.argv[1:]
    start = time.perf_counter()
    try:
        code = subprocess.run(command, check=False, timeout=float(timeout)).returncode
    except subprocess.TimeoutExpired:
        sys.exit(f"still running after {timeout} s")
    seconds = time.perf_counter() - start
    kibibytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    report = {"seconds": seconds, "megabytes": kibibytes * 1024 / 1e6}
    Path(out).write_text(json.dumps(report), encoding="utf-8")
    # As a shell reports a signal.
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
