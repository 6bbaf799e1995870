"""Time shap, LightGBM and attr-tree on the same model: 1,000 rows of 30 features, 100 background rows.

    pip install -r requirements.txt
    OMP_NUM_THREADS=2 RAYON_NUM_THREADS=2 python speed.py [number of trees [number of leaves]]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lightgbm
import numpy as np
import shap
from sklearn.ensemble import RandomForestRegressor

from trees import numbers, of_lightgbm, of_sklearn

ROOT = Path(__file__).resolve().parents[2]


def timed(what, run, times=3):
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        values = run()
        best = min(best, time.perf_counter() - start)
    print(f"peer {what}: {best * 1e3:.1f} ms (sum {np.asarray(values).sum():.9f})", flush=True)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    leaves = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    random = np.random.default_rng(1)
    x = random.normal(size=(10_000, 30)).astype(np.float32)
    y = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + x[:, 3:12] @ random.normal(size=9)
    y = y + (x[:, 12] > 0) * x[:, 13] + 0.1 * random.normal(size=len(x))
    rows, background = x[:1000], x[5000:5100]
    if leaves > 0:
        model = lightgbm.LGBMRegressor(n_estimators=count, max_depth=6, num_leaves=leaves, n_jobs=2, verbose=-1)
        model.fit(x, y)
        trees, targets, _ = of_lightgbm(model)
        of_booster = shap.TreeExplainer(model)
        timed("LightGBM's own path-dependent", lambda: of_booster.shap_values(rows))
    else:
        # Trees that end where nothing is left to divide.
        model = RandomForestRegressor(n_estimators=count, n_jobs=2, random_state=1, max_features=0.3)
        model.fit(x, y)
        trees, targets, _ = of_sklearn(model)
    depth = max(len(tree["nodes"]) for tree in trees)
    print(f"{len(trees)} trees of up to {depth} nodes")
    own = {"features": 30, "rows": numbers(rows), "background": numbers(background), "trees": trees}
    # shap's own code takes its trees from any model; LightGBM's is left out by an explicit limit.
    paths = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
    limit = -1 if leaves <= 0 else count - 1

    few = rows[: 1000 if leaves > 0 else 20]
    if leaves > 0:
        paths.model.original_model = None
        paths.model.model_type = "internal"
    timed(f"shap path-dependent, {len(few)} rows", lambda: paths.shap_values(few, check_additivity=False, tree_limit=-1), 1)
    if leaves > 0:
        pairs = lambda: paths.shap_interaction_values(rows[:100])
        timed("shap path-dependent pairs, 100 rows", pairs, 1)
    against = shap.TreeExplainer(model, background, feature_perturbation="interventional")
    timed(f"shap interventional, {len(few)} rows", lambda: against.shap_values(few, check_additivity=False), 1)
    one = lambda: against.shap_values(rows[:1], check_additivity=False)
    timed("shap interventional, one row", one)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(own, file)
        file.flush()
        command = ["cargo", "run", "--release", "--offline", "-q", "-p", "attr-tree", "--example", "speed"]
        subprocess.run([*command, "--", file.name], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
