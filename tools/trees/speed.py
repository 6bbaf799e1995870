"""Time shap, LightGBM and attr-tree on the same trees: 1,000 rows of 30 features, 100 background rows.

`boosted` is LightGBM with trees of 6 levels; its explainer asks LightGBM for path-dependent values, and
is asked once more with shap's own code. `forest` is scikit-learn's, with trees that end where nothing is
left to divide; shap gets 20 rows of it.

    pip install -r requirements.txt
    OMP_NUM_THREADS=2 RAYON_NUM_THREADS=2 python speed.py boosted 100
    OMP_NUM_THREADS=2 RAYON_NUM_THREADS=2 python speed.py forest 10
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
ATTR = ["cargo", "run", "--release", "-q", "-p", "attr-tree", "--example", "speed", "--"]


def timed(what, run, times=3):
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        values = run()
        best = min(best, time.perf_counter() - start)
    print(f"peer {what}: {best * 1e3:.1f} ms (sum {np.asarray(values).sum():.9f})", flush=True)


def main():
    kind, count = sys.argv[1], int(sys.argv[2])
    random = np.random.default_rng(1)
    x = random.normal(size=(10_000, 30)).astype(np.float32)
    y = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + x[:, 3:12] @ random.normal(size=9)
    y = y + (x[:, 12] > 0) * x[:, 13] + 0.1 * random.normal(size=len(x))
    rows, background = x[:1000], x[5000:5100]
    few = rows if kind == "boosted" else rows[:20]

    if kind == "boosted":
        model = lightgbm.LGBMRegressor(
            n_estimators=count, max_depth=6, num_leaves=64, n_jobs=2, verbose=-1
        )
        trees, _, _ = of_lightgbm(model.fit(x, y))
        native = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
        timed("LightGBM path-dependent", lambda: native.shap_values(rows))
    else:
        model = RandomForestRegressor(
            n_estimators=count, max_features=0.3, n_jobs=2, random_state=1
        )
        trees, _, _ = of_sklearn(model.fit(x, y))
    print(f"{len(trees)} trees of up to {max(len(tree['nodes']) for tree in trees)} nodes")
    paths = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
    # shap's own code instead of LightGBM's.
    paths.model.model_type = "internal"
    values = lambda: paths.shap_values(few, check_additivity=False)
    timed(f"shap path-dependent, {len(few)} rows", values, 1)
    if kind == "boosted":
        pairs = lambda: paths.shap_interaction_values(rows[:100])
        timed("shap path-dependent pairs, 100 rows", pairs, 1)
    against = shap.TreeExplainer(model, background, feature_perturbation="interventional")
    values = lambda: against.shap_values(few, check_additivity=False)
    timed(f"shap interventional, {len(few)} rows", values, 1)
    one = lambda: against.shap_values(rows[:1], check_additivity=False)
    timed("shap interventional, one row", one)

    same = {"features": 30, "rows": numbers(rows), "background": numbers(background)}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(same | {"trees": trees}, file)
        file.flush()
        subprocess.run([*ATTR, file.name], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
