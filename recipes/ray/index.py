"""Index a data set on a Ray cluster: every task measures one shard, and the last step merges them.

    pip install -r requirements.txt
    python index.py --shards 16 OUT --model net.onnx --data photos/ --layers 'conv*'

`attrx` is in the PATH of all nodes; model, data set and OUT lie on storage that they share. A task that
fails runs again, and goes on at its last checkpoint.
"""

import argparse
import os
import subprocess

import ray


@ray.remote(num_cpus=1, max_retries=3, retry_exceptions=True)
def measure(shard, shards, out, questions):
    command = ["attrx", "crp", "index", *questions, "--out", out, "--wait", "300", "--quiet"]
    environment = {**os.environ, "RAYON_NUM_THREADS": "1"}
    subprocess.run([*command, "--shard", f"{shard}/{shards}"], check=True, env=environment)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("out")
    asked, questions = parser.parse_known_args()
    ray.init()
    shards = range(asked.shards)
    ray.get([measure.remote(i, asked.shards, asked.out, questions) for i in shards])
    subprocess.run(["attrx", "crp", "merge", asked.out], check=True)


if __name__ == "__main__":
    main()
