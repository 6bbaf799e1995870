"""Write the class activation maps of pytorch-grad-cam and the path methods of PAIR's saliency.

Models, parameters, inputs, baselines and targets are those of `gradient_family.py`, whose
files under `crates/attr-testkit/golden/captum/` hold the parameters. The class of a row is
its target there, explained on the model's raw output. This script writes

- `cams.json`: the class activation maps as their class returns them, before the package
  drops negative values, scales to [0, 1] and resizes; and
- `paths.json`: integrated gradients, Guided IG, Blur IG and XRAI of `saliency`, and IDGI
  after its authors' code, row by row.

Everything runs in float64 on the float32 parameters and inputs. The script prints how far
a float32 run of the same packages is from that, and how close each result is to a
discontinuity of the method.

    pip install -r requirements.txt
    python cams_and_paths.py
"""

import importlib.metadata
import json
import os
import warnings
from unittest.mock import patch

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import pytorch_grad_cam as pgc
import saliency.core as pair
import torch
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from saliency.core.blur_ig import gaussian_blur

from gradient_family import AGREEMENT, MODELS, OUT, Case, Margins, array

GOLDEN = OUT.parent
CAM_LAYERS = {"cnn": ["conv1", "conv2"], "residual": ["bn1", "bn2"], "vit": ["patch"]}
# Tokens: the first is the class token, the others a grid of 2x2 patches.
TOKEN_LAYERS = {"vit": ["norm1"]}
# Layers after ReLU, where Ablation-CAM of the package ablates with zero.
ABLATION_LAYERS = {"cnn": ["relu1", "relu2"], "residual": ["relu1", "relu2"]}
PATH_MODELS = ["cnn", "residual"]
STEPS = 20
BLUR = {"max_sigma": 3.0, "steps": STEPS, "grad_step": 0.01}
GUIDED = {"x_steps": 30, "fraction": 0.25}
# Trials with disturbed points and gradients, to see whether Guided IG chooses otherwise.
TRIALS = 20

FORMULAS = {
    "common": (
        "A = activation, g = gradient of the class output, both [batch, channel, h, w]; "
        "values = what the class returns; the package then takes max(0, .), min-max "
        "scales each image (x - min, then / (1e-7 + max)), resizes with OpenCV's bilinear"
        " filter, averages over layers and min-max scales again"
    ),
    "GradCAM": "sum_c mean_hw(g) A",
    "GradCAMPlusPlus": (
        "a = g^2 / (2 g^2 + sum_hw(A) g^3 + 1e-6), 0 where g = 0; sum_c (sum_hw max(g, 0)"
        " a) A"
    ),
    "HiResCAM": "sum_c g A",
    "XGradCAM": "sum_c (sum_hw g A / (sum_hw(A) + 1e-7)) A",
    "LayerCAM": "sum_c max(g, 0) A; A itself is not clipped",
    "GradCAMElementWise": "sum_c max(g A, 0)",
    "EigenCAM": (
        "rows = positions, columns = channels of A, each column less its mean; product "
        "with the first right singular vector; the sign is arbitrary"
    ),
    "EigenGradCAM": "the same with g A for A; the sign is arbitrary",
    "AblationCAM": (
        "sum_c ((s - s_c) / s) A; s = class output, s_c = the same with channel c "
        "replaced: by 0 if the smallest activation of the row is 0 exactly, otherwise by "
        "smallest - 1e7 (k + 1) for the k-th channel of a batch of 32; no absolute value,"
        " no epsilon. With ablation 'zero' the layer was made to replace with 0 always"
    ),
    "ScoreCAM": (
        "m_c = A_c resized bilinearly with align_corners, then (m - min) / (max - min + "
        "1e-8); w = softmax over channels of the class output of m_c x; sum_c w A. No "
        "baseline score is subtracted"
    ),
    "FEM": (
        "w = fraction of positions with A > mean_hw(A) + k std_hw(A), population std; "
        "sum_c w A"
    ),
    "ShapleyCAM": (
        "h = gradient with respect to A of sum(g A) with A in it held fixed, that is "
        "Hessian times A; sum_c mean_hw(g - h / 2) A. Equal to GradCAM where the class "
        "output is piecewise linear in A"
    ),
    "KPCA_CAM": (
        "as EigenCAM, columns less their mean, then scikit-learn's KernelPCA of one "
        "component: K = tanh(x.y / channels + 1), K doubly centred, largest eigenvalue l "
        "and unit eigenvector v with its largest |element| positive; v sqrt(l)"
    ),
    "FullGradTerm": (
        "input: |gradient x input|; layer: |b g| with g the gradient of its output and b "
        "its bias, of BatchNorm beta - gamma mean / sqrt(var + eps)"
    ),
    "FullGrad": (
        "every channel of every term min-max scaled as above and resized to the input "
        "(OpenCV, bilinear, half-pixel centres), all summed; before the last scaling. "
        "Convolutions without bias and linear layers do not count"
    ),
}


def package(name):
    """Name and version."""
    return f"{name} {importlib.metadata.version(name)}"


def drawn(name):
    """A case of `gradient_family.py`, checked against its file."""
    case = Case.draw(MODELS[name], MODELS[name].seed)
    stored = json.loads((OUT / f"{name}.json").read_text(encoding="utf-8"))
    assert stored["inputs"] == [array(x) for x in case.inputs], name
    assert stored["baselines"] == [array(x) for x in case.baselines], name
    assert stored["output"] == array(case.model(*case.inputs)), name
    return case


def stored(values):
    """Shape and data of an array or tensor."""
    return array(torch.as_tensor(np.asarray(values)))


def integers(values, shape):
    """Shape and data of whole numbers."""
    return {"shape": shape, "data": values.astype(int).ravel().tolist()}


def far(values, exact):
    """Largest difference, relative to the largest value."""
    values, exact = np.asarray(values), np.asarray(exact)
    return np.abs(values - exact).max() / max(np.abs(exact).max(), 1e-30)


def described(case):
    """Data of a model that are not in its parameters."""
    return {
        "inputs": [array(x) for x in case.inputs],
        "baselines": [array(x) for x in case.baselines],
        "targets": case.targets.tolist(),
        "output": array(case.model(*case.inputs)),
    }


def write(name, document):
    """Writes one file."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    (GOLDEN / name).write_text(text + "\n", encoding="utf-8")
    print(f"{name}: {len(document['results'])} results, {len(text) / 1000:.0f} kB")


class ZeroAblation(AblationLayer):
    """Replaces channels by zero, whatever the other activations are."""

    def __call__(self, x):
        output = self.activations
        for row, channel in enumerate(self.indices[: output.size(0)]):
            output[row, channel] = 0
        return output


def patches(tokens):
    """The grid of patches, channels first."""
    return tokens[:, 1:].transpose(1, 2).reshape(tokens.shape[0], -1, 2, 2)


def cam_runs(name):
    """Each run: method, layer, options stored, arguments of the class."""
    gradient = ["GradCAM", "GradCAMPlusPlus", "HiResCAM", "XGradCAM", "LayerCAM"]
    gradient += ["GradCAMElementWise", "EigenCAM", "EigenGradCAM", "ScoreCAM"]
    gradient += ["KPCA_CAM"]
    for layer in CAM_LAYERS[name]:
        for method in gradient + ["ShapleyCAM"]:
            yield method, layer, {}, {}
        for k in (1, 2):
            yield "FEM", layer, {"k": k}, {"k": k}
        if name != "vit":
            for key, kind in (("package", AblationLayer), ("zero", ZeroAblation)):
                options = {"ablation": key}
                yield "AblationCAM", layer, options, {"ablation_layer": kind()}
    for layer in ABLATION_LAYERS.get(name, []):
        # The rows' smallest activations are 0.
        arguments = {"ablation_layer": AblationLayer()}
        yield "AblationCAM", layer, {"ablation": "package"}, arguments
    for layer in TOKEN_LAYERS.get(name, []):
        for method in gradient + ["ShapleyCAM"]:
            options = {"reshape": "without class token, 2x2"}
            yield method, layer, options, {"reshape_transform": patches}


def cam_of(case, method, layer, arguments):
    """The map as the class returns it, and as the package returns it in the end."""
    layers = [getattr(case.model, layer)] if layer else []
    with getattr(pgc, method)(case.model, layers, **dict(arguments)) as cam:
        found = []
        name = "compute_cam_per_layer" if method == "FullGrad" else "get_cam_image"
        inner = getattr(cam, name)
        if method == "ShapleyCAM" and arguments:
            inner = shapley_tokens(cam)

        def record(*args):
            found.append(inner(*args))
            return found[-1]

        setattr(cam, name, record)
        targets = [ClassifierOutputTarget(int(c)) for c in case.targets]
        final = cam(input_tensor=case.inputs[0], targets=targets)
        (raw,) = found
        terms = full_grad_terms(case, cam) if method == "FullGrad" else None
        if method == "ShapleyCAM":
            # The package detaches these in place, which fails for views.
            cam.activations_and_grads.gradients = []
    if layer:
        assert getattr(case.model, layer) is layers[0]
    return np.asarray(raw), final, terms


def shapley_tokens(cam):
    """The map of ShapleyCAM with a reshape: there the package multiplies its weights with
    activations that it has not reshaped, and fails."""

    def image(x, layer, targets, activations, gradients, _smooth):
        weights = cam.get_cam_weights(x, layer, targets, activations, gradients)
        return (weights[:, :, None, None] * patches(activations).detach().numpy()).sum(1)

    return image


def full_grad_terms(case, cam):
    """What FullGrad scales and adds, with the biases it used."""
    x = case.inputs[0].clone().requires_grad_()
    case.model(x)[torch.arange(len(x)), case.targets].sum().backward()
    names = {module: name for name, module in case.model.named_children()}
    terms = [("input", (x.grad * x).abs().detach().numpy(), None)]
    for module, bias, gradient in zip(
        cam.target_layers, cam.bias_data, cam.activations_and_grads.gradients
    ):
        gradient = gradient.numpy()
        term = np.abs(bias[None, :, None, None] * gradient)
        terms.append((names[module], term, bias))
    return terms


def rows_of(case):
    """The case, one row at a time."""
    for row in range(len(case.targets)):
        one = slice(row, row + 1)
        inputs = tuple(x[one] for x in case.inputs)
        baselines = tuple(x[one] for x in case.baselines)
        distribution = case.distribution
        targets = case.targets[one]
        yield Case(case.spec, case.model, inputs, baselines, distribution, targets)


def signless(method, values, exact):
    """Values with the sign of each row of `exact`, where it is arbitrary."""
    if method not in ("EigenCAM", "EigenGradCAM"):
        return values
    return np.stack([v * (1 if (v * e).sum() >= 0 else -1) for v, e in zip(values, exact)])


def singular_gaps(case, layer, method, arguments):
    """Second over first singular value of each row: near 1 the direction is unstable."""
    found = {}
    module = getattr(case.model, layer)
    handle = module.register_forward_hook(
        lambda _module, _inputs, output: (output.retain_grad(), found.update(a=output))[0]
    )
    outputs = case.model(case.inputs[0].clone().requires_grad_())
    outputs[torch.arange(len(outputs)), case.targets].sum().backward()
    handle.remove()
    change = arguments.get("reshape_transform", lambda tensor: tensor)
    values = change(found["a"]).detach()
    if method == "EigenGradCAM":
        values = values * change(found["a"].grad)
    gaps = []
    for row in values:
        matrix = row.flatten(1).T.numpy()
        sizes = np.linalg.svd(matrix - matrix.mean(0), compute_uv=False)
        gaps.append(sizes[1] / sizes[0])
    return gaps


def class_activation_maps():
    """Everything of `cams.json`."""
    models, results = {}, []
    for name in CAM_LAYERS:
        single = drawn(name)
        case = single.double()
        models[name] = described(single)
        for method, layer, options, arguments in cam_runs(name):
            raw, final, _ = cam_of(case, method, layer, arguments)
            again, _, _ = cam_of(case, method, layer, arguments)
            assert np.array_equal(raw, again), method
            short, _, _ = cam_of(single, method, layer, arguments)
            alone = [cam_of(one, method, layer, arguments)[0] for one in rows_of(case)]
            alone = signless(method, np.concatenate(alone), raw)
            # Convolutions round differently in another batch size.
            mixing = far(alone, raw)
            short = signless(method, short, raw)
            entry = {"model": name, "method": method, "layer": layer, "options": options}
            entry |= {"values": stored(raw), "sign_arbitrary": "Eigen" in method}
            if method == "GradCAM":
                entry["final"] = stored(final)
            results.append(entry)
            note = ""
            if mixing > 1e-6:
                note += f"  ROWS MIX {mixing:.1e}"
            if far(short, raw) > AGREEMENT:
                note += f"  FLOAT32 off by {far(short, raw):.1e}"
            if "Eigen" in method:
                gaps = singular_gaps(case, layer, method, arguments)
                note += "  s2/s1 " + " ".join(f"{gap:.2f}" for gap in gaps)
            print(f"  {name:9}{layer:7}{method:20} max {np.abs(raw).max():.3e}{note}")
        if name == "vit":
            continue
        raw, final, terms = cam_of(case, "FullGrad", None, {})
        short, _, _ = cam_of(single, "FullGrad", None, {})
        entry = {"model": name, "method": "FullGrad", "layer": None, "options": {}}
        entry |= {"values": stored(raw), "final": stored(final), "sign_arbitrary": False}
        results.append(entry)
        for place, values, bias in terms:
            entry = {"model": name, "method": "FullGradTerm", "layer": place}
            entry |= {"options": {}, "values": stored(values), "sign_arbitrary": False}
            entry["bias"] = None if bias is None else stored(bias)
            results.append(entry)
        print(f"  {name:9}{'':7}FullGrad             float32 off by {far(short, raw):.1e}")
    peer = f"{package('grad-cam')}, {package('torch').split('+')[0]}"
    peer += f", {package('scikit-learn')}, {package('opencv-python-headless')}"
    document = {"peer": peer, "formulas": FORMULAS, "models": models, "results": results}
    write("cams.json", document)


class Row:
    """One row of a case as the saliency package wants it: images are [h, w, channel].

    With `disturbed`, points and gradients are multiplied by random factors so far from 1.
    """

    def __init__(self, case, row, disturbed=0.0, seed=0):
        self.case = case
        self.dtype = case.inputs[0].dtype
        self.target = int(case.targets[row])
        self.image = self.flipped(case.inputs[0][row])
        self.baseline = self.flipped(case.baselines[0][row])
        self.disturbed = disturbed
        self.random = np.random.default_rng(seed)

    @staticmethod
    def flipped(image):
        """Channels last."""
        return np.ascontiguousarray(image.numpy().transpose(1, 2, 0))

    @staticmethod
    def ours(image):
        """A batch of one, channels first."""
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))[None]

    def noise(self, values):
        """The values, disturbed if asked for."""
        if not self.disturbed:
            return values
        return values * (1 + self.disturbed * self.random.standard_normal(values.shape))

    def output(self, batch):
        """Class outputs and their gradients for images [batch, h, w, channel]."""
        batch = self.noise(np.asarray(batch))
        x = torch.as_tensor(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
        x = x.to(self.dtype).requires_grad_()
        outputs = self.case.model(x)[:, self.target]
        (gradients,) = torch.autograd.grad(outputs.sum(), x)
        gradients = gradients.numpy().transpose(0, 2, 3, 1)
        return outputs.detach().numpy(), self.noise(gradients)

    def __call__(self, batch, call_model_args=None, expected_keys=None):
        _, gradients = self.output(batch)
        return {pair.INPUT_OUTPUT_GRADIENTS: gradients}


def guided_ig(row, max_dist):
    """saliency's Guided IG, which asks for a keyword that NumPy has renamed."""
    quantile = np.quantile

    def renamed(values, fraction, interpolation):
        return quantile(values, fraction, method=interpolation)

    with patch("numpy.quantile", renamed):
        return pair.GuidedIG().GetMask(
            row.image, row, x_baseline=row.baseline, max_dist=max_dist, **GUIDED
        )


def idgi(row):
    """IDGI along the straight line, after https://github.com/yangruo1226/IDGI."""
    fractions = np.arange(STEPS + 1)[:, None, None, None] / STEPS
    points = row.baseline + fractions * (row.image - row.baseline)
    outputs, gradients = row.output(points)
    squares = gradients[:-1] ** 2
    totals = squares.sum((1, 2, 3))
    assert (totals > 0).all()
    shares = squares / totals[:, None, None, None]
    return (shares * np.diff(outputs)[:, None, None, None]).sum(0)


def path_runs(row):
    """Method, options and a function of the row for every path method."""
    for max_dist in (0.02, 0.5):
        options = GUIDED | {"max_dist": max_dist}
        yield "GuidedIG", options, lambda r, d=max_dist: guided_ig(r, d)
    for sqrt in (False, True):
        options = BLUR | {"sqrt": sqrt}
        blur = pair.BlurIG()
        yield "BlurIG", options, lambda r, o=options: blur.GetMask(r.image, r, **o)
    straight = pair.IntegratedGradients()
    yield (
        "IntegratedGradients",
        {"x_steps": STEPS},
        lambda r: straight.GetMask(r.image, r, x_baseline=r.baseline, x_steps=STEPS),
    )
    yield "IDGI", {"steps": STEPS}, idgi


def segments_of(height, width):
    """Hand-made masks by name: some overlap, some leave pixels out, one adds nothing."""
    y, x = np.mgrid[:height, :width]
    left, top = x < width // 2, y < height // 2
    centre = (abs(y - height // 2) <= 1) & (abs(x - width // 2) <= 1)
    corner = (y + x) >= height + width - 4
    band = (y == 1) | (y == 2)
    return {
        "partition": [left & top, left & ~top, ~left],
        "overlapping": [band, centre, x <= 2],
        "contained": [top, top & left, corner, band & (x > 2)],
    }


def xrai(row, segments, attribution, algorithm, area, least, steps=STEPS):
    """saliency's XRAI: heat map and ranks."""
    parameters = pair.XRAIParameters(
        steps=steps,
        algorithm=algorithm,
        area_threshold=area,
        return_xrai_segments=True,
    )
    parameters.experimental_params["min_pixel_diff"] = least
    result = pair.XRAI().GetMaskWithDetails(
        row.image,
        row,
        segments=segments,
        base_attribution=attribution,
        extra_parameters=parameters,
    )
    return result.attribution_mask, result.segments


def xrai_entries(name, case, document):
    """XRAI over a fixed attribution, and over the package's own integrated gradients."""
    torch.manual_seed(5)
    attribution = torch.randn(case.inputs[0].shape)
    height, width = attribution.shape[2:]
    segments = segments_of(height, width)
    document["xrai"][name] = {
        "attribution": array(attribution),
        "segments": {
            key: [integers(mask, [height, width]) for mask in masks]
            for key, masks in segments.items()
        },
    }
    runs = [(key, kind, 1.0, 1, True) for key in segments for kind in ("full", "fast")]
    runs.append(("contained", "full", 0.3, 1, True))
    runs += [("overlapping", kind, 1.0, height + 3, True) for kind in ("full", "fast")]
    runs += [("overlapping", kind, 1.0, 50, True) for kind in ("full", "fast")]
    runs += [("overlapping", kind, 1.0, 1, False) for kind in ("full", "fast")]
    for index in range(len(case.targets)):
        row = Row(case, index)
        fixed = Row.flipped(attribution[index].double())
        for key, kind, area, least, given in runs:
            base = fixed if given else None
            values, ranks = xrai(row, segments[key], base, kind, area, least)
            options = {
                "segments": key,
                "algorithm": kind,
                "area_threshold": area,
                "min_pixel_diff": least,
                "attribution": "given" if given else "IntegratedGradients",
            }
            if not given:
                # The mean of two, from the row's least value and from its largest.
                options |= {"x_steps": STEPS, "baselines": ["min", "max"]}
            entry = {"model": name, "row": index, "target": row.target, "method": "XRAI"}
            entry |= {"options": options, "values": stored(values[None, None])}
            entry["ranks"] = integers(ranks, [1, 1, height, width])
            document["results"].append(entry)


def disturbance(case, index, run, exact):
    """Largest change of a result under disturbances the size of float32's rounding."""
    rows = (Row(case, index, disturbed=1e-7, seed=seed) for seed in range(TRIALS))
    return max(far(run(row), exact) for row in rows)


def crossings(sqrt):
    """Steps of Blur IG between whose two blurs the kernel grows."""

    def radius(sigma):
        return int(4.0 * sigma + 0.5)

    found = []
    for i in range(STEPS):
        sigma = i * BLUR["max_sigma"] / STEPS
        sigma = sigma**0.5 if sqrt else sigma
        if radius(sigma) != radius(sigma + BLUR["grad_step"]):
            found.append(i)
    return found


def path_methods():
    """Everything of `paths.json`."""
    document = {
        "peer": f"{package('saliency')}, {package('scipy')}, {package('numpy')}",
        "models": {},
        "xrai": {},
        "blurs": [],
        "results": [],
    }
    for name in PATH_MODELS:
        single = drawn(name)
        case = single.double()
        margins = Margins(case.model)
        document["models"][name] = described(single)
        for index in range(len(case.targets)):
            row, short = Row(case, index), Row(single, index)
            for method, options, run in path_runs(row):
                margins.least = float("inf")
                values = run(row)
                least = margins.least
                assert np.array_equal(values, run(row)), method
                (end,), _ = row.output(row.image[None])
                (start,), _ = row.output(row.baseline[None])
                if method == "BlurIG":
                    sigma = options["max_sigma"]
                    sigma = sigma**0.5 if options["sqrt"] else sigma
                    (start,), _ = row.output(gaussian_blur(row.image, sigma)[None])
                entry = {"model": name, "row": index, "target": row.target}
                entry |= {"method": method, "options": options}
                entry["values"] = stored(Row.ours(values))
                document["results"].append(entry)
                print(
                    f"  {name:9}{index} {method:20}{str(options)[-32:]:33}"
                    f"float32 off by {far(run(short), values):.1e}, "
                    f"disturbed {disturbance(case, index, run, values):.1e}, "
                    f"kink {least:.0e}, sum {values.sum():+.4f} of {end - start:+.4f}"
                )
            for sigma in (0.12, 0.13, 0.5, 1.25, 3.0):
                blurred = Row.ours(gaussian_blur(row.image, sigma))
                entry = {"model": name, "row": index, "sigma": sigma}
                document["blurs"].append(entry | {"values": stored(blurred)})
        xrai_entries(name, case, document)
    for sqrt in (False, True):
        print(f"  BlurIG sqrt={sqrt}: the kernel grows within steps {crossings(sqrt)}")
    write("paths.json", document)


def main():
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    class_activation_maps()
    path_methods()


if __name__ == "__main__":
    main()
