//! The operators that move elements or return shapes.

use attr_core::Kind;
use attr_core::op::Padding;
use ndarray::{ArrayD, IxDyn};

use super::Operator;
use crate::call::{Call, Outcome};
use crate::graph::Attribute;
use crate::host::{Host, LIMIT, count};
use crate::item::{Item, LARGEST, axis, broadcast};

pub(crate) fn find(op: &str) -> Option<Operator> {
    Some(match op {
        "Constant" => constant,
        "ConstantOfShape" => constant_of_shape,
        "Shape" => shape,
        "Size" => |c| Ok(vec![Host::int(c.input(0)?.elements() as i64).into()]),
        "Range" => range,
        "EyeLike" => eye_like,
        "Reshape" => reshape,
        "Flatten" => flatten,
        "Squeeze" => squeeze,
        "Unsqueeze" => unsqueeze,
        "Transpose" => transpose,
        "Expand" => expand,
        "Tile" => tile,
        "Concat" => concat,
        "Split" => split,
        "Slice" => slice,
        "Pad" => pad,
        "Trilu" => trilu,
        "DepthToSpace" => depth_to_space,
        "SpaceToDepth" => space_to_depth,
        _ => return None,
    })
}

fn constant(c: &Call<'_>) -> Outcome {
    let names = [
        "value",
        "value_float",
        "value_floats",
        "value_int",
        "value_ints",
    ];
    let value = names
        .iter()
        .find_map(|name| c.attribute(name)?.as_constant());
    let value = value.ok_or("its value is text, sparse or missing")?;
    Ok(vec![value.into()])
}

/// Converts known integers to sizes.
fn sizes(values: &[i64]) -> Result<Vec<usize>, String> {
    let sizes: Option<Vec<usize>> = values.iter().map(|&v| usize::try_from(v).ok()).collect();
    sizes.ok_or_else(|| format!("the shape {values:?} has negative sizes"))
}

fn constant_of_shape(c: &Call<'_>) -> Outcome {
    let shape = sizes(&c.known(0)?)?;
    let value: Item = match c.attribute("value") {
        Some(Attribute::Tensor(host)) => host.clone().into(),
        _ => Host::float(0.0).into(),
    };
    let value = c.reshape(&value, &[])?;
    Ok(vec![c.expand(&value, &shape)?])
}

fn shape(c: &Call<'_>) -> Outcome {
    let shape = &c.input(0)?.shape;
    let rank = shape.len() as i64;
    let limit = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank) as usize;
    let (start, end) = (limit(c.int("start", 0)), limit(c.int("end", rank)));
    let part = shape.get(start..end.max(start)).unwrap_or_default();
    Ok(vec![
        Host::ints(part.iter().map(|&d| d as i64).collect()).into(),
    ])
}

fn range(c: &Call<'_>) -> Outcome {
    let too_long = || format!("its output has more than {LIMIT} numbers");
    if c.input(0)?.kind == Kind::Float {
        let at = |i| Ok::<_, String>(c.known_floats(i)?.first().copied().unwrap_or(0.0));
        let (start, limit, delta) = (at(0)?, at(1)?, at(2)?);
        let steps = ((f64::from(limit) - f64::from(start)) / f64::from(delta)).ceil();
        if !(steps.is_finite() && steps <= LIMIT as f64) {
            return Err(too_long());
        }
        let steps = steps.max(0.0) as usize;
        let values = (0..steps).map(|i| start + i as f32 * delta).collect();
        return Ok(vec![Host::floats(&[steps], values)?.into()]);
    }
    let at = |i| Ok::<_, String>(c.known(i)?.first().copied().unwrap_or(0));
    let (start, limit, delta) = (i128::from(at(0)?), i128::from(at(1)?), i128::from(at(2)?));
    if delta == 0 {
        return Err("its step is 0".into());
    }
    let steps = (limit - start + delta - delta.signum()) / delta;
    if steps > LIMIT as i128 {
        return Err(too_long());
    }
    let values = (0..steps.max(0))
        .map(|i| (start + i * delta) as i64)
        .collect();
    Ok(vec![Host::ints(values).into()])
}

fn eye_like(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let &[rows, columns] = &x.shape[..] else {
        return Err(format!(
            "its input has shape {:?}, but two dimensions are needed",
            x.shape
        ));
    };
    count(&x.shape, LIMIT)?;
    let diagonal = c.int("k", 0);
    let eye = ArrayD::from_shape_fn(IxDyn(&[rows, columns]), |i| {
        f32::from(u8::from(i[1] as i64 - i[0] as i64 == diagonal))
    });
    let kind = match i32::try_from(c.int("dtype", -1))
        .ok()
        .and_then(crate::weights::kind_of)
    {
        Some(kind) => kind,
        None => x.kind,
    };
    Ok(vec![Host::Float(eye).cast(kind).into()])
}

fn reshape(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let wanted = match c.ints("shape") {
        Some(shape) => shape.to_vec(),
        None => c.known(1)?,
    };
    let copies = !c.flag("allowzero", false);
    let mut shape = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (i, &size) in wanted.iter().enumerate() {
        shape.push(match size {
            -1 if open.is_some() => return Err(format!("{wanted:?} has more than one -1")),
            -1 => {
                open = Some(i);
                1
            }
            0 if copies => *x
                .shape
                .get(i)
                .ok_or_else(|| format!("{wanted:?} copies dimension {i} of shape {:?}", x.shape))?,
            size => {
                usize::try_from(size).map_err(|_| format!("the shape {wanted:?} is negative"))?
            }
        });
    }
    if let Some(open) = open {
        let rest = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        match rest {
            Some(rest) if rest > 0 && x.elements() % rest == 0 => shape[open] = x.elements() / rest,
            _ => {
                return Err(format!(
                    "shape {:?} cannot be reshaped to {wanted:?}",
                    x.shape
                ));
            }
        }
    }
    Ok(vec![c.reshape(x, &shape)?])
}

fn flatten(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let at = match c.int("axis", 1) {
        at if at == x.rank() as i64 => x.rank(),
        at => axis(at, x.rank())?,
    };
    let rows = x.shape[..at].iter().product();
    let columns = x.shape[at..].iter().product();
    Ok(vec![c.reshape(x, &[rows, columns])?])
}

fn squeeze(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let axes = c.axes(1, x.rank())?.filter(|axes| !axes.is_empty());
    let drops = |d: usize| match &axes {
        Some(axes) => axes.contains(&d),
        None => x.shape[d] == 1,
    };
    if let Some(d) = (0..x.rank()).find(|&d| drops(d) && x.shape[d] != 1) {
        return Err(format!("dimension {d} of shape {:?} is not 1", x.shape));
    }
    let kept = (0..x.rank()).filter(|&d| !drops(d)).map(|d| x.shape[d]);
    Ok(vec![c.reshape(x, &kept.collect::<Vec<_>>())?])
}

fn unsqueeze(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let count = match c.ints("axes") {
        Some(axes) => axes.len(),
        None => c.known(1)?.len(),
    };
    let rank = x.rank() + count;
    let axes = c.axes(1, rank)?.ok_or("its axes are missing")?;
    let mut old = x.shape.iter();
    let shape = (0..rank).map(|d| {
        if axes.contains(&d) {
            Some(1)
        } else {
            old.next().copied()
        }
    });
    let shape: Option<Vec<usize>> = shape.collect();
    Ok(vec![c.reshape(x, &shape.ok_or("its axes repeat")?)?])
}

fn transpose(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let axes = match c.ints("perm") {
        Some(perm) => perm
            .iter()
            .map(|&a| axis(a, x.rank()))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..x.rank()).rev().collect(),
    };
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..x.rank()) {
        return Err(format!(
            "perm {axes:?} is not a permutation of {} dimensions",
            x.rank()
        ));
    }
    Ok(vec![c.permute(x, &axes)?])
}

fn expand(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let wanted = sizes(&c.known(1)?)?;
    Ok(vec![c.expand(x, &broadcast(&x.shape, &wanted)?)?])
}

fn tile(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let repeats = sizes(&c.known(1)?)?;
    if repeats.len() != x.rank() || repeats.contains(&0) {
        return Err(format!(
            "repeats {repeats:?} do not fit shape {:?}",
            x.shape
        ));
    }
    let grown: Option<Vec<usize>> = x
        .shape
        .iter()
        .zip(&repeats)
        .map(|(a, b)| a.checked_mul(*b))
        .collect();
    let grown = grown.ok_or("its result is too large")?;
    count(&grown, LARGEST)?;
    // [a, b] tiled by [m, n] is [1, a, 1, b] broadcast to [m, a, n, b].
    let spread: Vec<usize> = x.shape.iter().flat_map(|&d| [1, d]).collect();
    let full: Vec<usize> = x
        .shape
        .iter()
        .zip(&repeats)
        .flat_map(|(&d, &r)| [r, d])
        .collect();
    let wide = c.expand(&c.reshape(x, &spread)?, &full)?;
    Ok(vec![c.reshape(&wide, &grown)?])
}

fn concat(c: &Call<'_>) -> Outcome {
    let items = c.all()?;
    let rank = c.input(0)?.rank();
    Ok(vec![c.cat(&items, axis(c.int("axis", 0), rank)?)?])
}

fn split(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let dim = axis(c.int("axis", 0), x.rank())?;
    let size = x.shape[dim];
    let given = match c.ints("split") {
        Some(parts) => Some(parts.to_vec()),
        None => c.known_optional(1)?,
    };
    let parts = match given {
        Some(parts) => sizes(&parts)?,
        None => {
            let count = c.node.outputs.len().max(1);
            let count = usize::try_from(c.int("num_outputs", count as i64)).unwrap_or(0);
            if count == 0 || count > size {
                return Err(format!(
                    "dimension {dim} of size {size} cannot be split into {count} parts"
                ));
            }
            let part = size.div_ceil(count);
            (0..count)
                .map(|i| part.min(size.saturating_sub(i * part)))
                .collect()
        }
    };
    if parts.iter().sum::<usize>() != size {
        return Err(format!(
            "parts {parts:?} do not add up to dimension {dim} of size {size}"
        ));
    }
    let mut start = 0;
    parts
        .iter()
        .zip(&c.node.outputs)
        .map(|(part, output)| {
            start += part;
            if output.is_empty() {
                Ok(Host::ints(Vec::new()).into())
            } else {
                c.slice(x, dim, start - part, start, 1)
            }
        })
        .collect()
}

fn slice(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let (starts, ends) = match (c.ints("starts"), c.ints("ends")) {
        (Some(starts), Some(ends)) => (starts.to_vec(), ends.to_vec()),
        _ => (c.known(1)?, c.known(2)?),
    };
    let axes = match c.axes(3, x.rank())? {
        Some(axes) => axes,
        None => (0..starts.len()).collect(),
    };
    let steps = c
        .known_optional(4)?
        .unwrap_or_else(|| vec![1; starts.len()]);
    let lengths = [ends.len(), axes.len(), steps.len()];
    if lengths.iter().any(|&n| n != starts.len()) || axes.iter().any(|&d| d >= x.rank()) {
        return Err("its starts, ends, axes and steps do not match".into());
    }
    let mut result = x.clone();
    for (i, &dim) in axes.iter().enumerate() {
        let size = x.shape[dim] as i64;
        let counted = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let step = steps[i];
        let (start, end) = (counted(starts[i]), counted(ends[i]));
        result = match step {
            0 => return Err("a step is 0".into()),
            1.. => {
                let start = start.clamp(0, size) as usize;
                let end = (end.clamp(0, size) as usize).max(start);
                c.slice(&result, dim, start, end, step.min(size.max(1)) as usize)?
            }
            _ => {
                // From `start` backwards to `end` (exclusive): that part, reversed.
                let start = start.clamp(0, size - 1);
                let end = end.clamp(-1, size - 1).min(start);
                let part = c.slice(&result, dim, (end + 1) as usize, (start + 1) as usize, 1)?;
                let part = c.flip(&part, dim)?;
                let length = part.shape[dim];
                let step = step.unsigned_abs().min(length.max(1) as u64) as usize;
                c.slice(&part, dim, 0, length, step)?
            }
        };
    }
    Ok(vec![result])
}

fn pad(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let pads = match c.ints("pads") {
        Some(pads) => pads.to_vec(),
        None => c.known(1)?,
    };
    let axes = match c.known_optional(3)? {
        Some(axes) => axes
            .iter()
            .map(|&a| axis(a, x.rank()))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..x.rank()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!(
            "pads {pads:?} do not fit {} dimensions",
            axes.len()
        ));
    }
    let mut padding = vec![(0i64, 0i64); x.rank()];
    for (i, &dim) in axes.iter().enumerate() {
        padding[dim] = (pads[i], pads[axes.len() + i]);
    }
    // Negative padding removes elements.
    let mut result = x.clone();
    let mut grow = vec![(0, 0); x.rank()];
    for (dim, &(before, after)) in padding.iter().enumerate() {
        let size = result.shape[dim];
        let cut = |p: i64| usize::try_from(p.min(0).unsigned_abs()).unwrap_or(usize::MAX);
        let end = size.saturating_sub(cut(after));
        if cut(before) >= end {
            return Err(format!(
                "its padding {pads:?} removes all of dimension {dim} of size {size}"
            ));
        }
        result = c.slice(&result, dim, cut(before), end, 1)?;
        grow[dim] = (before.max(0) as usize, after.max(0) as usize);
    }
    let mode = c.text("mode", "constant");
    let padded = match mode {
        "constant" => {
            let value = match (c.attribute("value"), c.optional(2)) {
                (Some(_), _) => c.float("value", 0.0),
                (None, Some(_)) => f64::from(c.known_floats(2)?.first().copied().unwrap_or(0.0)),
                (None, None) => 0.0,
            };
            match x.kind {
                Kind::Bool => {
                    let numbers = c.cast(&result, Kind::Int)?;
                    let padded = c.pad(&numbers, &grow, Padding::Constant(value))?;
                    c.cast(&padded, Kind::Bool)?
                }
                _ => c.pad(&result, &grow, Padding::Constant(value))?,
            }
        }
        "reflect" | "edge" | "wrap" => by_index(c, &result, &grow, mode)?,
        other => return Err(format!("padding mode {other:?} is not supported")),
    };
    Ok(vec![padded])
}

/// Pads with the tensor's own elements, one dimension at a time.
fn by_index(c: &Call<'_>, x: &Item, grow: &[(usize, usize)], mode: &str) -> Result<Item, String> {
    let mut result = x.clone();
    for (dim, &(before, after)) in grow.iter().enumerate() {
        if (before, after) == (0, 0) {
            continue;
        }
        let size = x.shape[dim] as i64;
        let mut grown = result.shape.clone();
        grown[dim] = grown[dim].saturating_add(before).saturating_add(after);
        count(&grown, LIMIT)?;
        let indices = (-(before as i64)..size + after as i64).map(|i| match mode {
            "edge" => i.clamp(0, size - 1) as usize,
            "wrap" => i.rem_euclid(size) as usize,
            _ => {
                let period = (2 * (size - 1)).max(1);
                let i = i.rem_euclid(period);
                i.min(period - i).min(size - 1) as usize
            }
        });
        result = c.select(&result, dim, &indices.collect::<Vec<_>>())?;
    }
    Ok(result)
}

fn trilu(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let &[.., rows, columns] = &x.shape[..] else {
        return Err(format!("shape {:?} has no matrices", x.shape));
    };
    count(&[rows, columns], LIMIT)?;
    let diagonal = c
        .known_optional(1)?
        .and_then(|k| k.first().copied())
        .unwrap_or(0);
    let upper = c.flag("upper", true);
    let keep = ArrayD::from_shape_fn(IxDyn(&[rows, columns]), |i| {
        let offset = i[1] as i64 - i[0] as i64;
        if upper {
            offset >= diagonal
        } else {
            offset <= diagonal
        }
    });
    let zero = Host::float(0.0).cast(x.kind);
    Ok(vec![c.choose(&Host::Bool(keep).into(), x, &zero.into())?])
}

/// Returns the input's four sizes and the block size of a rearrangement.
fn blocks(c: &Call<'_>) -> Result<([usize; 4], usize), String> {
    let x = c.input(0)?;
    let &[n, channels, height, width] = &x.shape[..] else {
        return Err(format!(
            "shape {:?} is not [batch, channels, height, width]",
            x.shape
        ));
    };
    let block = usize::try_from(c.int("blocksize", 0)).unwrap_or(0);
    match block {
        1..=4096 => Ok(([n, channels, height, width], block)),
        _ => Err("its blocksize is out of range".into()),
    }
}

/// Returns whether a channel's blocks lie together: mode CRD, columns before rows before depth.
fn columns_first(c: &Call<'_>) -> Result<bool, String> {
    match c.text("mode", "DCR") {
        "DCR" => Ok(false),
        "CRD" => Ok(true),
        mode => Err(format!("mode {mode:?} is neither DCR nor CRD")),
    }
}

fn depth_to_space(c: &Call<'_>) -> Outcome {
    let ([n, channels, h, w], b) = blocks(c)?;
    if channels % (b * b) != 0 {
        return Err(format!(
            "{channels} channels do not divide into blocks of {b} x {b}"
        ));
    }
    let depth = channels / (b * b);
    let moved = if columns_first(c)? {
        let parts = c.reshape(c.input(0)?, &[n, depth, b, b, h, w])?;
        c.permute(&parts, &[0, 1, 4, 2, 5, 3])?
    } else {
        let parts = c.reshape(c.input(0)?, &[n, b, b, depth, h, w])?;
        c.permute(&parts, &[0, 3, 4, 1, 5, 2])?
    };
    Ok(vec![c.reshape(&moved, &[n, depth, h * b, w * b])?])
}

fn space_to_depth(c: &Call<'_>) -> Outcome {
    let ([n, channels, h, w], b) = blocks(c)?;
    if h % b != 0 || w % b != 0 {
        return Err(format!(
            "{h} x {w} does not divide into blocks of {b} x {b}"
        ));
    }
    let parts = c.reshape(c.input(0)?, &[n, channels, h / b, b, w / b, b])?;
    let moved = if columns_first(c)? {
        c.permute(&parts, &[0, 1, 3, 5, 2, 4])?
    } else {
        c.permute(&parts, &[0, 3, 5, 1, 2, 4])?
    };
    Ok(vec![
        c.reshape(&moved, &[n, channels * b * b, h / b, w / b])?,
    ])
}
