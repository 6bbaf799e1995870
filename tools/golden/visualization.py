"""Write what Captum, zennit and zennit-crp make of attributions before they draw them.

- Captum 0.9: the values that `visualize_image_attr` and `visualize_timeseries_attr` draw,
  normalised for each sign and share of outliers, and the pixels of their other methods.
- zennit 0.5.1: colour maps and the language that describes them, `imgify` and `gridify`.
- zennit-crp 0.6: reference images with all but the relevant region darkened and cropped. It
  asks for old versions of other packages; `latent_shift.py` says how it is installed.

Random data are multiples of 1/1024. Pixels are whole numbers that come from cutting off
decimals, so each is computed again in float32 and on data that a factor near 1 disturbs, and
must stay the same. Colour maps are an exception: they need float64.

Captum, with a the map, images summed over channels first:

    sign:       "all" a; "positive" max(a, 0); "negative" min(a, 0); "absolute_value" |a|
    threshold:  v = |a| sorted upwards, c = its running sums, total the last of them;
                v at the first index where c >= (total * 0.01) * (100 - outlier_perc)
    values:     a / threshold, for "negative" a / -threshold, cut to [-1, 1]

So "negative" gives values from 0 to 1. A threshold of zero is an error, and one below 1e-5 a
warning. With no outliers rounding can put the sum asked for above the total, which ends in an
IndexError here, though the largest value would do. Time series have channels first here; they
are summed over channels only for "overlay_combined", and otherwise all channels share one
threshold. Their drawing calls a function that matplotlib has no longer, so this script lends it
one. An original image with no value above 1 is multiplied by 255; then decimals are cut off,
and the same where "masked_image" multiplies it by the values. "alpha_scaling" adds 255 times
the values as a fourth channel. "blended_heat_map" draws the mean over channels, in grey, below
the values.

zennit's language of colour maps, with white space between any two tokens ignored:

    map    = node "," node { "," node } [ "," ]
    node   = [ index ":" ] colour
    colour = three hexadecimal digits, each doubled, or six
    index  = one hexadecimal digit, doubled, or two

The longest of six, three, two and one digits is read as one token, so four digits are a colour
and an index, which is an error. The first node is at 0; if its index is above 0, its colour
goes from 0 to there. A last node without index is at 255, and nodes without index in between
are evenly spaced between their neighbours with one, cut down to whole numbers. After the last
node its colour continues. An index below the one before is an error; an equal one makes a jump,
and the later colour holds at the index itself. The colour at x is linear between nodes, at 255
x; entry i of a palette is the colour at x = (level (2 i / 255 - 1) + 1) / 2, cut to [0, 1],
times 255, rounded to 12 decimals and cut down to a whole number.

`imgify` takes (a - low) / (high - low), times 255, cut to [0, 255] and cut down to a whole
number; bytes stay as they are. low and high are the smallest and largest of all values, or
minus and plus the largest absolute value if symmetric; `vmin` and `vmax` each replace one.
Three channels are colours, one an index into the palette; where the last axis has neither one
nor three elements, the first is the one of channels, after that of the maps in a grid. A map of
one value is zero by zero, and what bytes that gives depends on the processor. In a grid each
map has its own low and high. It has floor(sqrt(n)) columns and as many rows as needed, or
`grid` = (rows, columns), and then maps that find no place are dropped. It is filled row by row,
and empty places get `gridfill` or the smallest value that a channel has in any of the maps.

zennit-crp, for an image of three channels and a heat map:

    blurred  = Gaussian blur of the heat map, kernel_size wide, sigma = 0.15 kernel_size + 0.35,
               edges reflected without repeating the edge itself
    filtered = blurred / (max(blurred) + 1e-10)
    visible  = filtered > vis_th
    crop     = first and last row and column with filtered > crop_th; 0, -1, 0, -1 (all but the
               last row and column) if there is none, or only one row and one column

With `rf`, image and mask become [first row : last row, first column : last column]. The last
row and column are left out. That is undone if the cropped image sums to 0 or nothing in it is
visible. (A picture cropped to one or three columns is drawn wrongly, as `imgify` then takes the
columns for channels; there is none here.) What is not visible is multiplied by alpha, and
`imgify` then scales all to [0, 255]. `vis_img_heatmap` crops in the same way, undone if either
sums to 0, and gives the image and the heat map, the latter symmetric by default. `imgify` of
zennit-crp resizes so that the longer side is `resize`, the other cut down to a whole number,
each pixel from the nearest; `padding` then puts it in the middle of a transparent square.

Results go to `crates/attr-testkit/golden/visualization.json`.

    pip install -r requirements.txt
    python visualization.py
"""

import importlib.metadata
import json
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

import captum.attr._utils.visualization as viz
import matplotlib as mpl
import numpy as np
import torch
import zennit.image as zi
from latent_shift import alone, array
from matplotlib import pyplot as plt
from zennit.cmap import ColorMap

GOLDEN = Path(__file__).resolve().parents[2] / "crates/attr-testkit/golden"
CRP = "zennit-crp==0.6.0"
# Of inputs for which no pixel is near a whole number.
SEEDS = {"captum": 0, "zennit": 8, "crp": 6}
SIGNS = ["all", "positive", "negative", "absolute_value"]
OUTLIERS = [0, 0.5, 2, 10, 50]
# A running sum asked for that differs by this share must give the same threshold.
MARGIN = 1e-5
# How much the data are disturbed, and how often.
DISTURBANCE, TRIALS = 5e-7, 8
# Original image, method, sign. Captum leaves an image of floats up to 255 as it is, which
# matplotlib then draws as white, so of "bytes" only what gives whole numbers is here.
PICTURES = [
    ("fractions", "original_image", "absolute_value"),
    ("fractions", "masked_image", "positive"),
    ("fractions", "masked_image", "negative"),
    ("fractions", "masked_image", "absolute_value"),
    ("fractions", "alpha_scaling", "positive"),
    ("fractions", "alpha_scaling", "negative"),
    ("fractions", "alpha_scaling", "absolute_value"),
    ("fractions", "blended_heat_map", "absolute_value"),
    ("bytes", "masked_image", "negative"),
    ("bytes", "masked_image", "absolute_value"),
    ("bytes", "blended_heat_map", "absolute_value"),
]
ENTRIES = [*range(0, 256, 8), 255]
LEVELS = [0.0, 0.5, 2.0, -1.0]

SOURCES = [
    "f00,00f",
    "F00,0a0,00f",
    "000,f00,0f0,00f,fff",
    "40:000,c0:fff",
    "8:f00,c:0f0",
    "00:f00,0f0",
    " 000 ,\t80 : fff\n, f00 ",
    "fff,000,",
    "000,80:f00,80:00f,fff",
    "00:fff,00:000,ff:f00",
    "123456,abcdef",
    "000,f00,80:0f0,00f,f0f,fff",
    "000,111,222,20:fff,333,40:000",
    "ff:000,fff",
    "000,f00,10:0f0",
    # Errors.
    "",
    "  ",
    "fff",
    "fff,",
    ",fff,000",
    "fff,,000",
    "fff 000",
    "ffff,000",
    "fffff,000",
    "fffffff,000",
    "80fff,000",
    "8 fff,000",
    "8 0:fff,000",
    "080:fff,000",
    "80:,fff",
    "80::fff,000",
    "fff,80",
    "fff,80:",
    "fff:80,000",
    "#fff,000",
    "fff;000",
    "g00,fff",
    "80:fff,40:000",
    "000,80:fff,f00,40:00f",
]


def drawing(part):
    """Source of random numbers of one part."""
    return np.random.default_rng(SEEDS[part])


def dyadic(values):
    """Rounded to multiples of 1/1024."""
    return np.round(np.asarray(values) * 1024) / 1024


def whole(values):
    """Shape and data of whole numbers."""
    values = np.asarray(values)
    assert np.array_equal(values, values.astype(int))
    return {"shape": list(values.shape), "data": values.astype(int).ravel().tolist()}


def stable(compute, *inputs):
    """Whole numbers, also in float32 and from slightly different inputs."""
    generator = np.random.default_rng(0)
    wanted = compute(*inputs)
    others = [[np.asarray(x, dtype=np.float32) for x in inputs]]
    for _ in range(TRIALS):
        noise = [generator.uniform(-1, 1, np.shape(x)) for x in inputs]
        others.append(
            [x * (1 + DISTURBANCE * n) for x, n in zip(inputs, noise, strict=True)]
        )
    for other in others:
        for got, want in zip(compute(*other), wanted, strict=True):
            assert np.array_equal(got, want)
    return wanted


def drawn_images(attribution, **options):
    """The arrays that `visualize_image_attr` hands to matplotlib."""
    figure, axis = viz.visualize_image_attr(attribution, use_pyplot=False, **options)
    images = [np.ma.getdata(image.get_array()) for image in axis.images]
    plt.close(figure)
    return images


def drawn_series(attribution, **options):
    """The values that `visualize_timeseries_attr` draws."""
    values = []
    normalize = viz._normalize_attr

    def recorded(*args):
        values.append(normalize(*args))
        return values[-1]

    lent = patch.object(viz.cm, "get_cmap", mpl.colormaps.get_cmap, create=True)
    with lent, patch.object(viz, "_normalize_attr", recorded):
        viz.visualize_timeseries_attr(
            attribution, attribution, use_pyplot=False, **options
        )
    plt.close("all")
    (values,) = values
    return values


def normalized(a, sign, outlier_perc):
    """Captum's normalisation by the formula above."""
    signed = {
        "all": a,
        "positive": np.maximum(a, 0),
        "negative": np.minimum(a, 0),
        "absolute_value": np.abs(a),
    }[sign]
    v = np.sort(np.abs(signed), axis=None)
    c = np.cumsum(v)
    wanted = c[-1] * 0.01 * (100 - outlier_perc)
    threshold, *others = [
        v[min(np.searchsorted(c, wanted * factor), len(v) - 1)]
        for factor in (1, 1 - MARGIN, 1 + MARGIN)
    ]
    assert all(other == threshold for other in others)
    return np.clip(signed / (-threshold if sign == "negative" else threshold), -1, 1)


def captum_part(generator):
    """Everything of Captum."""

    def normal(*shape):
        return dyadic(generator.normal(0, 0.5, shape))

    constant = np.full((4, 3), 0.75)
    inputs = {
        "image": normal(7, 6, 3),
        "grey": normal(7, 6, 1),
        "flat": normal(3, 5),
        "constant": constant,
        "nearly constant": constant + dyadic(generator.uniform(0, 0.02, (4, 3))),
        "negative": -np.abs(normal(4, 3)) - 1 / 1024,
        "tiny": normal(4, 3) / 2**20,
        "zero": np.zeros((4, 3)),
        "series": normal(11, 3),
        "channels first": normal(3, 11),
    }
    maps, errors, series, pictures = [], [], [], []
    every = {"image": OUTLIERS, "grey": OUTLIERS}
    every |= {"constant": [0, 2, 50], "flat": [2, 100, 101, -1]}
    for name, value in inputs.items():
        if name in ("series", "channels first"):
            continue
        for sign in SIGNS:
            for outliers in every.get(name, [2]):
                entry = {"input": name, "sign": sign, "outlier_perc": outliers}
                try:
                    with warnings.catch_warnings(record=True) as warned:
                        (values,) = drawn_images(value, sign=sign, outlier_perc=outliers)
                except (AssertionError, IndexError) as error:
                    kind = f"{type(error).__name__}: {error}"
                    errors.append(entry | {"error": kind})
                    print(f"  {name}, {sign}, {outliers}: {kind}")
                    continue
                assert len(warned) == (name == "tiny"), warned
                summed = value.sum(2) if value.ndim == 3 else value
                assert np.array_equal(values, normalized(summed, sign, outliers))
                maps.append(entry | {"values": array(values + 0.0)})
    for name in ("series", "channels first"):
        last = name == "series"
        for method in ("overlay_individual", "overlay_combined", "colored_graph"):
            for sign, outliers in [(sign, 2) for sign in SIGNS] + [("all", 50)]:
                options = {"method": method, "channels_last": last}
                options |= {"sign": sign, "outlier_perc": outliers}
                values = drawn_series(inputs[name], **options)
                a = inputs[name].T if last else inputs[name]
                a = a.sum(0) if method == "overlay_combined" else a
                assert np.array_equal(values, normalized(a, sign, outliers))
                series.append({"input": name} | options | {"values": array(values + 0.0)})
    originals = {
        "fractions": dyadic(generator.uniform(0, 1, (7, 6, 3))),
        "bytes": generator.integers(0, 256, (7, 6, 3)).astype(float),
    }
    for original, method, sign in PICTURES:
        options = {"method": method, "sign": sign, "outlier_perc": 10}

        def pixels(attribution, original=originals[original], options=options):
            return drawn_images(attribution, original_image=original, **options)[:1]

        if method == "blended_heat_map":
            stored = array(*pixels(inputs["image"]))
        else:
            stored = whole(*stable(pixels, inputs["image"]))
        entry = {"input": "image", "original": original} | options
        pictures.append(entry | {"pixels": stored})
    return {
        "inputs": {name: array(value) for name, value in inputs.items()},
        "originals": {name: array(value) for name, value in originals.items()},
        "maps": maps,
        "errors": errors,
        "series": series,
        "pictures": pictures,
    }


def color_maps():
    """The built-in maps, some at other levels, and maps from source."""
    maps, levels, sources = {}, [], []
    positions = np.arange(33) / 32
    for name in zi.CMAPS:
        maps[name] = {
            "source": zi.CMAPS[name].source,
            "colors": array(zi.CMAPS[name](positions)),
            "palette": whole(zi.palette(name)),
        }
    for name in ("bwr", "hot", "coldnhot"):
        for level in LEVELS:
            entries = whole(zi.palette(name, level)[ENTRIES])
            levels.append({"map": name, "level": level, "entries": entries})
    for source in SOURCES:
        try:
            palette = ColorMap(source).palette()
        except RuntimeError as error:
            sources.append({"source": source, "error": str(error.__cause__)})
            continue
        sources.append({"source": source, "palette": whole(palette)})
    failed = sum("error" in entry for entry in sources)
    print(f"  {len(maps)} colour maps, {len(sources) - failed} sources, {failed} errors")
    return {"positions": ENTRIES, "maps": maps, "levels": levels, "sources": sources}


def shown(picture):
    """Pixels of a picture, and the colours of its pixels if they are indices."""
    pixels = {"mode": picture.mode, "pixels": whole(np.array(picture))}
    if picture.mode == "P":
        pixels["colors"] = whole(np.array(picture.convert("RGB")))
    return pixels


def zennit_images(generator):
    """`imgify`, `gridify` and the bounds of their values."""

    def normal(*shape):
        return dyadic(generator.normal(0.1, 0.5, shape))

    inputs = {
        "map": normal(4, 5),
        "channel first": normal(1, 4, 5),
        "channel last": normal(4, 5, 1),
        "colors first": normal(3, 4, 5),
        "colors last": normal(4, 5, 3),
        "bytes": generator.integers(0, 256, (4, 5)).astype(np.uint8),
        "maps": normal(5, 3, 4),
        "maps of channels": normal(5, 3, 2, 4),
        "three maps": normal(3, 2, 4, 1),
    }
    images, grids, bounds = [], [], []
    for name, options in [
        ("map", {}),
        ("map", {"symmetric": True}),
        ("map", {"symmetric": True, "level": 2.0, "cmap": "coldnhot"}),
        ("map", {"level": 0.5, "cmap": "seismic"}),
        ("map", {"cmap": "000,40:f00,fff"}),
        ("map", {"vmin": -0.4}),
        ("map", {"vmax": 0.3}),
        ("map", {"vmin": -1.5, "vmax": 2.5}),
        ("map", {"vmax": 0.45, "symmetric": True}),
        ("channel first", {}),
        ("channel last", {"symmetric": True}),
        ("colors first", {}),
        ("colors last", {"symmetric": True}),
        ("bytes", {"cmap": "gray"}),
        ("maps", {"grid": True}),
        ("maps", {"grid": True, "symmetric": True, "gridfill": 200}),
        ("maps", {"grid": [2, 3]}),
        ("maps", {"grid": [2, 2], "vmin": -1.0, "vmax": 1.25}),
        ("maps", {"grid": [1, 7], "gridfill": 0}),
        ("maps of channels", {"grid": True, "symmetric": True}),
        ("maps of channels", {"grid": [3, 2]}),
        ("three maps", {"grid": [2, 2], "gridfill": 128, "cmap": "hot"}),
    ]:

        def pixels(value, options=options):
            return [np.array(zi.imgify(value, **options))]

        if name != "bytes":
            stable(pixels, inputs[name])
        picture = zi.imgify(inputs[name], **options)
        images.append({"input": name, "options": options} | shown(picture))
    for name, shape, fill in [
        ("maps", None, None),
        ("maps", [2, 4], -0.5),
        ("maps of channels", None, None),
        ("three maps", [2, 2], 0.25),
    ]:
        grid = zi.gridify(inputs[name], shape=shape, fill_value=fill)
        entry = {"input": name, "shape": shape, "fill": fill}
        grids.append(entry | {"values": array(grid)})
    for name, symmetric, dim in [
        ("maps", False, None),
        ("maps", True, None),
        ("maps", True, (0, 1, 2)),
        ("maps of channels", False, (2, 3)),
    ]:
        low, high = zi.interval_norm_bounds(inputs[name], symmetric=symmetric, dim=dim)
        entry = {"input": name, "symmetric": symmetric, "dim": dim}
        bounds.append(entry | {"low": array(low), "high": array(high)})
    return {
        "inputs": {name: array(value) for name, value in inputs.items()},
        "images": images,
        "grids": grids,
        "bounds": bounds,
    }


def crp_part(generator):
    """Reference images of zennit-crp."""
    with alone(CRP) as folder:
        sys.path.insert(0, str(folder))
        import crp.image as ci

        sys.path.pop(0)
    side = 12
    rows, columns = np.mgrid[:side, :side]
    images = dyadic(generator.uniform(0.05, 1, (2, 3, side, side)))
    bump = np.exp(-((rows - 4) ** 2 / 6 + (columns - 7) ** 2 / 3))
    field = np.zeros((side, side))
    field[2:7, 5:10] = 1
    heats = {
        "whole": bump + 0.3 * generator.normal(0, 1, (side, side)),
        "receptive field": bump * field * generator.uniform(0.4, 1, (side, side)),
        "pixel": np.where((rows == 5) & (columns == 3), 0.75, 0.0),
        "zero": np.zeros((side, side)),
    }
    heats = {name: dyadic(value) for name, value in heats.items()}
    opaque, pairs, frames = [], [], []
    for image, heat, options in [
        (0, "whole", {}),
        (1, "whole", {"rf": True}),
        (0, "whole", {"alpha": 0.0, "vis_th": 0.5, "kernel_size": 5}),
        (1, "receptive field", {}),
        (0, "receptive field", {"rf": True}),
        (1, "receptive field", {"rf": True, "kernel_size": 3, "crop_th": 0.4}),
        (
            0,
            "receptive field",
            {"rf": True, "alpha": 0.6, "vis_th": 0.05, "crop_th": 0.0, "kernel_size": 9},
        ),
        # One pixel counts as none, so the last row and column are cropped.
        (0, "pixel", {"rf": True, "kernel_size": 1}),
        (0, "pixel", {"rf": True, "kernel_size": 3, "vis_th": 0.3}),
        (0, "zero", {"rf": True}),
    ]:
        kernel, threshold = options.get("kernel_size", 19), options.get("crop_th", 0.1)

        def filtered(value, kernel=kernel):
            heat = torch.as_tensor(value)[None]
            return ci.max_norm(ci.gaussian_blur(heat, kernel_size=kernel)[0])

        def cropped(value, threshold=threshold, filtered=filtered):
            bounds = ci.get_crop_range(filtered(value), threshold)
            return [np.array([int(bound) for bound in bounds])]

        def pixels(image, heat, options=options):
            image, heat = torch.as_tensor(image)[None], torch.as_tensor(heat)[None]
            (picture,) = ci.vis_opaque_img(image, heat, **options)
            return [np.array(picture)]

        (crop,) = stable(cropped, heats[heat])
        (picture,) = stable(pixels, images[image], heats[heat])
        entry = {"image": image, "heat": heat, "options": options}
        entry |= {"filtered": array(filtered(heats[heat])), "crop": crop.tolist()}
        opaque.append(entry | {"pixels": whole(picture)})
        print(f"  opaque {heat:16}{str(options):75}{crop} {picture.shape}")
    for image, heat, options in [
        (0, "whole", {}),
        (1, "receptive field", {"rf": True}),
        (
            0,
            "receptive field",
            {"rf": True, "kernel_size": 5, "cmap": "coldnhot", "symmetric": False},
        ),
        (1, "zero", {"rf": True, "vmin": -1.0, "vmax": 1.0}),
    ]:

        def both(image, heat, options=options):
            image, heat = torch.as_tensor(image)[None], torch.as_tensor(heat)[None]
            (left,), (right,) = ci.vis_img_heatmap(image, heat, **options)
            return [np.array(left), np.array(right)]

        stable(both, images[image], heats[heat])
        image_tensor = torch.as_tensor(images[image])[None]
        heat_tensor = torch.as_tensor(heats[heat])[None]
        (left,), (right,) = ci.vis_img_heatmap(image_tensor, heat_tensor, **options)
        entry = {"image": image, "heat": heat, "options": options}
        pairs.append(entry | {"picture": shown(left), "map": shown(right)})
    framed = {"wide": images[0][:, :3, :5], "map": heats["whole"][:7, :4]}
    for name, options in [
        ("wide", {"padding": True}),
        ("wide", {"resize": 10}),
        ("wide", {"resize": 8, "padding": True}),
        ("wide", {"resize": 4, "padding": True}),
        ("map", {"resize": 9, "padding": True, "symmetric": True}),
    ]:

        def frame(value, options=options):
            return [np.array(ci.imgify(torch.as_tensor(value), **options))]

        (picture,) = stable(frame, framed[name])
        frames.append({"input": name, "options": options, "pixels": whole(picture)})
    return {
        "images": array(images),
        "heats": {name: array(value) for name, value in heats.items()},
        "framed": {name: array(value) for name, value in framed.items()},
        "opaque": opaque,
        "pairs": pairs,
        "frames": frames,
    }


def main():
    torch.set_num_threads(1)
    mpl.use("Agg")
    warnings.filterwarnings("ignore", message=".*legend.*")
    names = ("captum", "zennit", "matplotlib", "numpy", "pillow", "torch", "torchvision")
    versions = [CRP.replace("==", " ")]
    for name in names:
        versions.append(f"{name} {importlib.metadata.version(name).split('+')[0]}")
    document = {
        "peer": ", ".join(versions),
        "captum": captum_part(drawing("captum")),
        "zennit": color_maps() | zennit_images(drawing("zennit")),
        "crp": crp_part(drawing("crp")),
    }
    for part in ("captum", "zennit", "crp"):
        size = len(json.dumps(document[part], separators=(",", ":")))
        print(f"{part}: {size / 1000:.0f} kB")
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    (GOLDEN / "visualization.json").write_text(text + "\n", encoding="utf-8")
    print(f"visualization.json: {len(text) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
