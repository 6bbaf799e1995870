"""Write small models of LightGBM, XGBoost and scikit-learn, and shap's values for them.

`crates/attr-tree/tests/golden.json` has for each model its trees as plain lists, rows, background rows, margins,
and what `shap.TreeExplainer` says: values and interactions with `tree_path_dependent`, and values with
`interventional`. Where shap has no value, there is `null`.

Peers differ in what they compare and calculate with:

- LightGBM and scikit-learn compare `x <= t` in 64 bits. Rows are of 32 bits here, and thresholds are rounded
  down to 32 bits, so that all rows go the same way. To the nearest is wrong: a row can lie between both.
- XGBoost compares `x < t` in 32 bits, and adds up margins, values and covers in 32 bits. The trees are
  exact here, the expected numbers are not: they agree to about 1e-6. shap's own code runs on XGBoost's trees in 64
  bits for `interventional`, and takes XGBoost's values for `tree_path_dependent`.
- For several classes, XGBoost has a base value for each, and shap's own code takes one for all: values are right,
  and the expected value is not, as it does not lead to XGBoost's margins. None is written.
- XGBoost writes a cover for each node, and those of two children do not add up to their parent's in 32 bits. It
  divides by the parent's, attr by their sum.
- In LightGBM, NaN counts as 0 at branches that saw no NaN in training. shap's own code sends it the way of
  `default_left`, which is not LightGBM's: its values then do not add up to LightGBM's prediction. Only
  LightGBM's own are written there.
- shap's own code for `interventional` has weights of 32 bits: it agrees to about 1e-7.

    pip install -r requirements.txt
    python trees.py
"""

import json
import math
from pathlib import Path

import lightgbm
import numpy as np
import shap
import xgboost
from sklearn.ensemble import (
    GradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeRegressor

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "crates" / "attr-tree" / "tests" / "golden.json"
FEATURES = 5
ROWS, PAIRS, BACKGROUND = 6, 2, 12


def data(missing, categories=False):
    """Rows of few digits, which are the same in text and in 32 bits."""
    random = np.random.default_rng(3)
    x = random.normal(size=(300, FEATURES)).round(2)
    if categories:
        x[:, 4] = random.integers(0, 6, size=300)
    y = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + (x[:, 4] % 3) + 0.1 * random.normal(size=300)
    if missing:
        x[:, :4][random.random((300, 4)) < 0.15] = np.nan
    return x.astype(np.float32), y


def below(threshold):
    """The largest number of 32 bits that is not above one of 64 bits."""
    rounded = np.float32(threshold)
    if float(rounded) > threshold:
        rounded = np.nextafter(rounded, np.float32(-np.inf))
    return float(rounded)


def branch(feature, mode, threshold, missing, children):
    return {
        "feature": feature,
        "mode": mode,
        "threshold": threshold,
        "missing": bool(missing),
        "pass": int(children[0]),
        "fail": int(children[1]),
    }


def of_lightgbm(model):
    """Trees, their number of targets, and the base values."""
    dump = model.booster_.dump_model()
    targets = dump["num_tree_per_iteration"]
    trees = []
    for at, info in enumerate(dump["tree_info"]):
        nodes, cover = [], []

        def visit(node):
            here = len(nodes)
            nodes.append(None)
            cover.append(node.get("internal_count", node.get("leaf_count", 1)))
            if "split_index" not in node:
                nodes[here] = {"leaf": [[at % targets, node["leaf_value"]]]}
                return here
            children = visit(node["left_child"]), visit(node["right_child"])
            if node["decision_type"] == "==":
                members = [float(member) for member in node["threshold"].split("||")]
                nodes[here] = branch(node["split_feature"], "member", members, False, children)
                return here
            threshold = below(node["threshold"])
            missing = node["default_left"] if node["missing_type"] == "NaN" else 0 <= threshold
            nodes[here] = branch(node["split_feature"], "<=", [threshold], missing, children)
            return here

        visit(info["tree_structure"])
        trees.append({"nodes": nodes, "cover": cover})
    return trees, targets, [0.0] * targets


def of_xgboost(model):
    learner = json.loads(bytes(model.get_booster().save_raw("json")))["learner"]
    parameters = learner["learner_model_param"]
    booster = learner["gradient_booster"]["model"]
    targets = max(1, int(parameters["num_class"]))
    base = json.loads(parameters["base_score"])
    base = base if isinstance(base, list) else [base]
    if learner["objective"]["name"].startswith("binary"):
        base = [math.log(value / (1 - value)) for value in base]
    base = base * (targets // len(base))
    trees = []
    for tree, target in zip(booster["trees"], booster["tree_info"]):
        nodes = []
        for at, (left, right) in enumerate(zip(tree["left_children"], tree["right_children"])):
            value = float(np.float32(tree["split_conditions"][at]))
            if left < 0:
                nodes.append({"leaf": [[target, value]]})
                continue
            feature, missing = tree["split_indices"][at], tree["default_left"][at]
            nodes.append(branch(feature, "<", [value], missing, (left, right)))
        trees.append({"nodes": nodes, "cover": tree["sum_hessian"]})
    return trees, targets, base


def of_sklearn(model):
    if isinstance(model, GradientBoostingClassifier):
        all_trees = [tree for line in model.estimators_ for tree in line]
        targets = model.estimators_.shape[1]
        prior = model.init_.class_prior_
        base = np.log(prior) if targets > 1 else [math.log(prior[1] / prior[0])]
        scale, per_target = model.learning_rate, targets
    else:
        all_trees = getattr(model, "estimators_", [model])
        base, scale, per_target = None, 1.0, 0
    trees = []
    for at, tree in enumerate(all_trees):
        tree, nodes = tree.tree_, []
        for node in range(tree.node_count):
            children = tree.children_left[node], tree.children_right[node]
            if children[0] < 0:
                value = tree.value[node].reshape(-1) * scale
                if per_target:
                    leaf = [[at % per_target, float(value[0])]]
                else:
                    leaf = [[target, float(value)] for target, value in enumerate(value)]
                nodes.append({"leaf": leaf})
                continue
            threshold, missing = below(tree.threshold[node]), tree.missing_go_to_left[node]
            nodes.append(branch(int(tree.feature[node]), "<=", [threshold], missing, children))
        trees.append({"nodes": nodes, "cover": tree.weighted_n_node_samples.tolist()})
    targets = per_target or max(target for target, _ in leaf) + 1
    return trees, targets, [float(value) for value in (base if base is not None else [0.0] * targets)]


def by_target(values, features_behind):
    """shap gives `[rows, features, ..., targets]`, without the last dimension for one target."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 1 + features_behind:
        values = values[..., None]
    return np.moveaxis(values, -1, 1)


def numbers(values):
    return np.asarray(values, dtype=np.float64).reshape(-1).tolist()


def rows_of(x):
    return [None if np.isnan(value) else float(str(value)) for value in x.reshape(-1)]


def entry(name, model, read, x, margin, average=False, exact=True, only_paths=False):
    rows, background = x[:ROWS], x[100 : 100 + BACKGROUND]
    trees, targets, base = read(model)
    paths = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
    found = {
        "name": name,
        "features": FEATURES,
        "targets": targets,
        "average": average,
        # Whether the peers calculate in 64 bits.
        "exact": exact,
        "base": base,
        "trees": trees,
        "rows": rows_of(rows),
        "background": rows_of(background),
        "margins": numbers(margin(rows)),
        "path_dependent": numbers(by_target(paths.shap_values(rows, check_additivity=False), 1)),
        "expected": numbers(paths.expected_value),
        "interactions": None,
        "interventional": None,
        "interventional_expected": None,
    }
    if not only_paths:
        found["interactions"] = numbers(by_target(paths.shap_interaction_values(rows[:PAIRS]), 2))
        explainer = shap.TreeExplainer(model, background, feature_perturbation="interventional")
        values = explainer.shap_values(rows, check_additivity=False)
        found["interventional"] = numbers(by_target(values, 1))
        found["interventional_expected"] = numbers(explainer.expected_value)
        sums = np.reshape(found["interventional"], (ROWS, targets, FEATURES)).sum(axis=2)
        sums = sums + np.asarray(found["interventional_expected"])
        if np.abs(sums.reshape(-1) - found["margins"]).max() > 1e-5:
            print(f"{name}: expected {explainer.expected_value} does not lead to the margins")
            found["interventional_expected"] = None
    # scikit-learn's forests have a value for both of two classes, boosted trees one.
    for key, count in [("path_dependent", ROWS * targets * FEATURES), ("expected", targets)]:
        assert len(found[key]) == count, (name, key, len(found[key]), count)
    return found


def main():
    x, y = data(missing=True)
    plain, y_plain = data(missing=False)
    mixed, y_mixed = data(missing=True, categories=True)
    classes, two = np.digitize(y, [0.3, 1.4]), (y > 0.8).astype(int)
    plain_classes, plain_two = np.digitize(y_plain, [0.3, 1.4]), (y_plain > 0.8).astype(int)

    light = {"n_estimators": 4, "num_leaves": 8, "learning_rate": 0.3, "random_state": 1, "verbose": -1}
    light |= {"n_jobs": 1, "deterministic": True}
    extreme = {"n_estimators": 4, "max_depth": 3, "learning_rate": 0.3, "random_state": 1, "n_jobs": 1}
    forest = {"n_estimators": 3, "max_depth": 4, "random_state": 1}

    def raw(model):
        return lambda rows: model.predict(rows, raw_score=True)

    def output(model):
        return lambda rows: model.predict(rows, output_margin=True)

    entries = []
    for name, model, values, target in [
        ("LightGBM regression", lightgbm.LGBMRegressor(**light), x, y),
        ("LightGBM regression, NaN not seen", lightgbm.LGBMRegressor(**light), plain, y_plain),
        ("LightGBM binary", lightgbm.LGBMClassifier(**light), x, two),
        ("LightGBM multiclass", lightgbm.LGBMClassifier(**(light | {"n_estimators": 2})), x, classes),
    ]:
        model.fit(values, target)
        entries.append(entry(name, model, of_lightgbm, x, raw(model), only_paths=values is plain))
    model = lightgbm.LGBMRegressor(**light, min_data_per_group=5, cat_smooth=1, max_cat_to_onehot=1)
    model.fit(mixed, y_mixed, categorical_feature=[4])
    # shap leaves categories to LightGBM, which has no background rows.
    entries.append(entry("LightGBM categories", model, of_lightgbm, mixed, raw(model), only_paths=True))
    for name, model, target in [
        ("XGBoost regression", xgboost.XGBRegressor(**extreme), y),
        ("XGBoost binary", xgboost.XGBClassifier(**extreme), two),
        ("XGBoost multiclass", xgboost.XGBClassifier(**(extreme | {"n_estimators": 2})), classes),
    ]:
        model.fit(x, target)
        entries.append(entry(name, model, of_xgboost, x, output(model), exact=False))
    model = RandomForestRegressor(**forest).fit(plain, y_plain)
    entries.append(entry("forest regression", model, of_sklearn, plain, model.predict, average=True))
    for name, target in [("forest binary", plain_two), ("forest multiclass", plain_classes)]:
        model = RandomForestClassifier(**forest).fit(plain, target)
        entries.append(entry(name, model, of_sklearn, plain, model.predict_proba, average=True))
    model = DecisionTreeRegressor(max_depth=5, random_state=1).fit(plain, y_plain)
    entries.append(entry("one tree", model, of_sklearn, plain, model.predict))
    model = GradientBoostingClassifier(n_estimators=4, max_depth=3, random_state=1).fit(plain, plain_two)
    entries.append(entry("boosting binary", model, of_sklearn, plain, model.decision_function))

    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    FILE.write_text(f"[\n{lines}\n]\n")
    print(f"{FILE.relative_to(ROOT)}: {len(entries)} models, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
