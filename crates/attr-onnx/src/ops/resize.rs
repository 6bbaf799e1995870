//! The resizing and resampling operators.

use attr_core::Kind;
use attr_core::op::{GridPadding, Interpolation, Op};
use ndarray::{ArrayD, IxDyn};

use super::Operator;
use crate::call::{Call, Outcome};
use crate::host::{Host, LIMIT, count};
use crate::item::{Item, LARGEST};

pub(crate) fn find(op: &str) -> Option<Operator> {
    Some(match op {
        "Resize" => resize,
        "Upsample" => resize,
        "GridSample" => grid_sample,
        _ => return None,
    })
}

fn grid_sample(c: &Call<'_>) -> Outcome {
    let (x, grid) = (c.input(0)?, c.input(1)?);
    let fits =
        x.rank() == 4 && grid.rank() == 4 && grid.shape[3] == 2 && grid.shape[0] == x.shape[0];
    if !fits || x.kind != Kind::Float || grid.kind != Kind::Float {
        return Err(format!(
            "a grid of shape {:?} does not fit an image of shape {:?}",
            grid.shape, x.shape
        ));
    }
    let mode = match c.text("mode", "linear") {
        "linear" | "bilinear" => Interpolation::Bilinear,
        "nearest" => Interpolation::Nearest,
        "cubic" | "bicubic" => Interpolation::Bicubic,
        other => return Err(format!("mode {other:?} is not supported")),
    };
    let padding = match c.text("padding_mode", "zeros") {
        "zeros" => GridPadding::Zeros,
        "border" => GridPadding::Border,
        "reflection" => GridPadding::Reflection,
        other => return Err(format!("padding mode {other:?} does not exist")),
    };
    let align_corners = c.flag("align_corners", false);
    let op = Op::GridSample {
        mode,
        padding,
        align_corners,
    };
    Ok(vec![c.record(op, &[x, grid])?])
}

/// A dimension to resize.
struct Along {
    dim: usize,
    from: usize,
    to: usize,
    /// The new size over the old; differs from `to / from` if `to` was rounded.
    scale: f64,
    /// For `tf_crop_and_resize`: the part of the tensor to resize, in units of its length.
    part: (f64, f64),
}

fn resize(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    if x.kind != Kind::Float {
        return Err("resizing of integers is not supported".into());
    }
    let dims = dims(c, x)?;
    let upsample = c.node.op == "Upsample" || c.opset() < 11;
    let coordinates = if upsample {
        "asymmetric"
    } else {
        c.text("coordinate_transformation_mode", "half_pixel")
    };
    if let Some(op) = native(c, x, &dims, coordinates) {
        return Ok(vec![c.record(op, &[x])?]);
    }
    // Every mode is linear in the input and separable: one small matrix per dimension.
    let mut result = x.clone();
    for along in &dims {
        if along.from == along.to && along.scale == 1.0 && coordinates != "tf_crop_and_resize" {
            continue;
        }
        let matrix = weights(c, along, coordinates)?;
        let mut axes: Vec<usize> = (0..x.rank()).collect();
        axes.swap(along.dim, x.rank() - 1);
        let turned = c.permute(&result, &axes)?;
        let flat = [turned.elements() / along.from, along.from];
        let mut shape = turned.shape.clone();
        let resized = c.record(Op::MatMul, &[&c.reshape(&turned, &flat)?, &matrix])?;
        shape[x.rank() - 1] = along.to;
        result = c.permute(&c.reshape(&resized, &shape)?, &axes)?;
    }
    Ok(vec![result])
}

/// Returns the dimensions to resize, from scales or sizes.
fn dims(c: &Call<'_>, x: &Item) -> Result<Vec<Along>, String> {
    let rank = x.rank();
    let axes = match c.axes(usize::MAX, rank)? {
        Some(axes) => axes,
        None => (0..rank).collect(),
    };
    let (roi_at, scales_at) = if c.node.op == "Upsample" || c.opset() < 11 {
        (usize::MAX, 1)
    } else {
        (1, 2)
    };
    let floats = |i: usize| match c.optional(i) {
        Some(item) if item.elements() > 0 => c.known_floats(i).map(Some),
        _ => Ok(None),
    };
    let scales = match c.floats("scales") {
        Some(scales) => Some(scales.to_vec()),
        None => floats(scales_at)?,
    };
    let sizes = match c.optional(3) {
        Some(item) if item.elements() > 0 => Some(c.known(3)?),
        _ => None,
    };
    let roi = floats(roi_at)?.filter(|roi| roi.len() == 2 * axes.len());
    let size = |dim: usize| x.shape[dim] as f64;
    let mut result = Vec::with_capacity(axes.len());
    let policy = c.text("keep_aspect_ratio_policy", "stretch");
    let ratios: Option<Vec<f64>> = sizes.as_ref().map(|sizes| {
        axes.iter()
            .zip(sizes)
            .map(|(&dim, &to)| to as f64 / size(dim))
            .collect()
    });
    let common = ratios.map(|ratios| match policy {
        "not_larger" => ratios.iter().copied().fold(f64::INFINITY, f64::min),
        _ => ratios.iter().copied().fold(0.0, f64::max),
    });
    for (i, &dim) in axes.iter().enumerate() {
        let part = match &roi {
            Some(roi) => (f64::from(roi[i]), f64::from(roi[axes.len() + i])),
            None => (0.0, 1.0),
        };
        let (to, scale) = match (&sizes, &scales, common) {
            (Some(sizes), _, _) if policy == "stretch" => {
                let to = *sizes.get(i).ok_or("it has too few sizes")?;
                (to as f64, to as f64 / size(dim))
            }
            (Some(_), _, Some(common)) => ((common * size(dim)).round(), common),
            (None, Some(scales), _) => {
                let scale = f64::from(*scales.get(i).ok_or("it has too few scales")?);
                let length = match c.text("coordinate_transformation_mode", "") {
                    "tf_crop_and_resize" => size(dim) * (part.1 - part.0),
                    _ => size(dim),
                };
                // A scale that is a rounded fraction must not lose a cell to rounding.
                ((length * scale + 1e-6 * scale.max(1.0)).floor(), scale)
            }
            _ => return Err("neither scales nor sizes are given".into()),
        };
        if !(1.0..=LIMIT as f64).contains(&to) {
            return Err(format!("dimension {dim} would have size {to}"));
        }
        result.push(Along {
            dim,
            from: x.shape[dim],
            to: to as usize,
            scale,
            part,
        });
    }
    let mut shape = x.shape.clone();
    for along in &result {
        shape[along.dim] = along.to;
        count(&[along.from, along.to], LIMIT)?;
    }
    count(&shape, LARGEST)?;
    Ok(result)
}

/// Uses Burn's resizing for the last two of four dimensions, if its definition is the same.
fn native(c: &Call<'_>, x: &Item, dims: &[Along], coordinates: &str) -> Option<Op> {
    let changed = |along: &Along| along.from != along.to || along.scale != 1.0;
    let plane = x.rank() == 4 && dims.iter().all(|along| along.dim >= 2 || !changed(along));
    let exact = dims
        .iter()
        .all(|along| along.to as f64 == along.from as f64 * along.scale);
    if !plane || !exact || c.flag("antialias", false) || c.flag("exclude_outside", false) {
        return None;
    }
    let to = |dim: usize| {
        dims.iter()
            .find(|a| a.dim == dim)
            .map_or(x.shape[dim], |a| a.to)
    };
    let size = [to(2), to(3)];
    let whole = dims.iter().all(|along| along.to % along.from == 0);
    let aligned = coordinates == "align_corners";
    let centred = coordinates == "half_pixel"
        || (coordinates == "pytorch_half_pixel" && size.iter().all(|&n| n > 1));
    let mode = match c.text("mode", "nearest") {
        "nearest" => {
            let floor = c.text("nearest_mode", "round_prefer_floor") == "floor" || c.opset() < 11;
            let same = whole && coordinates == "asymmetric" && (floor || c.node.op == "Upsample");
            return same.then_some(Op::Interpolate {
                size,
                mode: Interpolation::Nearest,
                align_corners: false,
            });
        }
        "linear" if aligned || centred => Interpolation::Bilinear,
        "cubic" if (aligned || centred) && c.float("cubic_coeff_a", -0.75) == -0.75 => {
            Interpolation::Bicubic
        }
        _ => return None,
    };
    Some(Op::Interpolate {
        size,
        mode,
        align_corners: aligned,
    })
}

/// Returns `[from, to]`: how much each old cell contributes to each new one.
fn weights(c: &Call<'_>, along: &Along, coordinates: &str) -> Result<Item, String> {
    // In 32 bits, so that ties between cells are resolved as in ONNX Runtime.
    let (from, to, scale) = (along.from as f32, along.to as f32, along.scale as f32);
    let place = |i: usize| -> Result<f32, String> {
        let i = i as f32;
        Ok(match coordinates {
            "half_pixel" => (i + 0.5) / scale - 0.5,
            "pytorch_half_pixel" if to > 1.0 => (i + 0.5) / scale - 0.5,
            "pytorch_half_pixel" => 0.0,
            "align_corners" if to > 1.0 => i * (from - 1.0) / (to - 1.0),
            "align_corners" => 0.0,
            "asymmetric" => i / scale,
            "half_pixel_symmetric" => {
                let adjustment = to / (scale * from);
                from / 2.0 * (1.0 - adjustment) + (i + 0.5) / scale - 0.5
            }
            "tf_half_pixel_for_nn" => (i + 0.5) / scale,
            "tf_crop_and_resize" => {
                let (start, end) = (along.part.0 as f32, along.part.1 as f32);
                if to > 1.0 {
                    start * (from - 1.0) + i * (end - start) * (from - 1.0) / (to - 1.0)
                } else {
                    0.5 * (start + end) * (from - 1.0)
                }
            }
            other => return Err(format!("coordinates {other:?} are not supported")),
        })
    };
    let mode = c.text("mode", "nearest");
    let antialias = c.flag("antialias", false) && along.scale < 1.0;
    let spread = if antialias { along.scale } else { 1.0 };
    let from = f64::from(from);
    let a = c.float("cubic_coeff_a", -0.75);
    let mut matrix = ArrayD::from_elem(IxDyn(&[along.from, along.to]), 0.0f32);
    for i in 0..along.to {
        let at = f64::from(place(i)?);
        let outside = at < 0.0 || at > from - 1.0;
        if coordinates == "tf_crop_and_resize" && outside {
            if c.float("extrapolation_value", 0.0) != 0.0 {
                return Err("an extrapolation_value other than 0 is not supported".into());
            }
            continue;
        }
        if mode == "nearest" {
            matrix[[nearest(c, at)?.clamp(0.0, from - 1.0) as usize, i]] += 1.0;
            continue;
        }
        let radius = match mode {
            "linear" => 1.0 / spread,
            "cubic" => 2.0 / spread,
            other => return Err(format!("mode {other:?} is not supported")),
        };
        let curve = |distance: f64| match mode {
            "linear" => (1.0 - distance).max(0.0),
            _ => cubic(distance, a),
        };
        let (first, last) = ((at - radius).floor() as i64, (at + radius).ceil() as i64);
        let cells: Vec<(i64, f64)> = (first..=last)
            .map(|cell| (cell, curve((at - cell as f64).abs() * spread)))
            .filter(|(cell, weight)| {
                let inside = (0..along.from as i64).contains(cell);
                *weight != 0.0 && (inside || !c.flag("exclude_outside", false))
            })
            .collect();
        let total: f64 = cells.iter().map(|(_, weight)| weight).sum();
        for (cell, weight) in cells {
            let cell = cell.clamp(0, along.from as i64 - 1) as usize;
            matrix[[cell, i]] += (weight / total) as f32;
        }
    }
    Ok(Host::Float(matrix).into())
}

fn nearest(c: &Call<'_>, at: f64) -> Result<f64, String> {
    let default = if c.opset() < 11 || c.node.op == "Upsample" {
        "floor"
    } else {
        "round_prefer_floor"
    };
    Ok(match c.text("nearest_mode", default) {
        "floor" => at.floor(),
        "ceil" => at.ceil(),
        "round_prefer_ceil" => (at + 0.5).floor(),
        "round_prefer_floor" => (at - 0.5).ceil(),
        other => return Err(format!("nearest_mode {other:?} does not exist")),
    })
}

/// Keys' cubic convolution kernel.
fn cubic(x: f64, a: f64) -> f64 {
    match x {
        x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    }
}
