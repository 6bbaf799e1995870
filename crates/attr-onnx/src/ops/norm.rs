//! The normalisation and softmax operators.

use attr_core::Kind;
use attr_core::op::{Binary, Compare, Op, Padding, PoolGeometry, Reduce, Unary};

use super::Operator;
use crate::call::{Call, Outcome};
use crate::host::Host;
use crate::item::{Item, axis};

pub(crate) fn find(op: &str) -> Option<Operator> {
    Some(match op {
        "BatchNormalization" => batch_norm,
        "InstanceNormalization" => instance_norm,
        "GroupNormalization" => group_norm,
        "LayerNormalization" => layer_norm,
        "RMSNormalization" => rms_norm,
        "LpNormalization" => lp_norm,
        "MeanVarianceNormalization" => mean_variance,
        "LRN" => local_response,
        "Softmax" => |c| softmax(c, |dim| Op::Softmax { dim }),
        "LogSoftmax" => |c| softmax(c, |dim| Op::LogSoftmax { dim }),
        "Hardmax" => hardmax,
        _ => return None,
    })
}

fn float<'a>(c: &'a Call<'_>) -> Result<&'a Item, String> {
    let x = c.input(0)?;
    match (x.kind, x.rank()) {
        (Kind::Float, 1..) => Ok(x),
        _ => Err(format!("its input is {:?} of shape {:?}", x.kind, x.shape)),
    }
}

/// Returns input `i`, a vector of one number per channel.
fn per_channel<'a>(c: &'a Call<'_>, i: usize, channels: usize) -> Result<&'a Item, String> {
    let item = match c.inputs.get(i).and_then(Option::as_ref) {
        Some(item) => item,
        None => return Err(format!("its input {i} is missing")),
    };
    if item.shape[..] == [channels] && item.kind == Kind::Float {
        Ok(item)
    } else {
        Err(format!(
            "its input {i} has shape {:?}, but [{channels}] is needed",
            item.shape
        ))
    }
}

fn batch_norm(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    if c.flag("training_mode", false) {
        return Err("it is in training mode; export the model for inference".into());
    }
    if x.rank() < 2 {
        return Err(format!("its input has shape {:?}", x.shape));
    }
    let epsilon = c.float("epsilon", 1e-5);
    let channels = x.shape[1];
    let mut operands = vec![x];
    for i in 1..5 {
        operands.push(per_channel(c, i, channels)?);
    }
    Ok(vec![c.record(Op::BatchNorm { epsilon }, &operands)?])
}

/// Computes `(x - mean) / sqrt(variance + epsilon)` over the last dimension.
fn standardise(c: &Call<'_>, x: &Item, epsilon: f64) -> Result<Item, String> {
    let last = x.rank() - 1;
    let centred = c.sub(x, &c.reduce(Reduce::Mean, x, last)?)?;
    let variance = c.reduce(Reduce::Mean, &c.mul(&centred, &centred)?, last)?;
    let deviation = c.unary(
        Unary::Sqrt,
        &c.with_number(Binary::Add, &variance, epsilon)?,
    )?;
    c.div(&centred, &deviation)
}

/// Scales and shifts each channel of `[batch, channels, ...]`.
fn affine(c: &Call<'_>, x: &Item, scale: &Item, shift: &Item) -> Result<Item, String> {
    let mut along = vec![1; x.rank() - 1];
    along[0] = scale.elements();
    let scaled = c.mul(x, &c.reshape(scale, &along)?)?;
    c.add(&scaled, &c.reshape(shift, &along)?)
}

fn instance_norm(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    if x.rank() < 3 {
        return Err(format!("its input has shape {:?}", x.shape));
    }
    let (n, channels) = (x.shape[0], x.shape[1]);
    let area = x.shape[2..].iter().product();
    let flat = c.reshape(x, &[n, channels, area])?;
    let normal = c.reshape(&standardise(c, &flat, c.float("epsilon", 1e-5))?, &x.shape)?;
    let (scale, shift) = (per_channel(c, 1, channels)?, per_channel(c, 2, channels)?);
    Ok(vec![affine(c, &normal, scale, shift)?])
}

/// Computes group normalisation; before operator set 21, scale and shift are per group.
fn group_norm(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    let groups = usize::try_from(c.int("num_groups", 0)).unwrap_or(0);
    if x.rank() < 2 || groups == 0 || x.shape[1] % groups != 0 {
        return Err(format!("{groups} groups do not fit shape {:?}", x.shape));
    }
    let (n, channels) = (x.shape[0], x.shape[1]);
    let size = x.elements() / (n * groups).max(1);
    let flat = c.reshape(x, &[n, groups, size])?;
    let normal = standardise(c, &flat, c.float("epsilon", 1e-5))?;
    if c.opset() < 21 {
        let (scale, shift) = (per_channel(c, 1, groups)?, per_channel(c, 2, groups)?);
        let result = affine(c, &normal, scale, shift)?;
        return Ok(vec![c.reshape(&result, &x.shape)?]);
    }
    let (scale, shift) = (per_channel(c, 1, channels)?, per_channel(c, 2, channels)?);
    Ok(vec![affine(
        c,
        &c.reshape(&normal, &x.shape)?,
        scale,
        shift,
    )?])
}

/// Returns the input with the dimensions from `axis` on flattened into one.
fn joined(c: &Call<'_>, x: &Item, default: i64) -> Result<(Item, usize), String> {
    let from = axis(c.int("axis", default), x.rank())?;
    let mut shape = x.shape[..from].to_vec();
    shape.push(x.shape[from..].iter().product());
    Ok((c.reshape(x, &shape)?, from))
}

fn layer_norm(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    let epsilon = c.float("epsilon", 1e-5);
    let (flat, from) = joined(c, x, -1)?;
    let size = flat.shape[from];
    let vector = |item: &Item| {
        if item.elements() == size {
            c.reshape(item, &[size])
        } else {
            Err(format!(
                "shape {:?} does not fit {size} elements",
                item.shape
            ))
        }
    };
    let scale = vector(c.input(1)?)?;
    let shift = c.optional(2).map(vector).transpose()?;
    let mut operands = vec![&flat, &scale];
    operands.extend(&shift);
    let normal = c.record(Op::LayerNorm { epsilon }, &operands)?;
    let mut outputs = vec![c.reshape(&normal, &x.shape)?];
    if c.node.outputs.len() > 1 {
        // The mean and the inverse standard deviation, with normalised dimensions of length one.
        let mut shape = x.shape.clone();
        shape[from..].fill(1);
        let mean = c.reduce(Reduce::Mean, &flat, from)?;
        let centred = c.sub(&flat, &mean)?;
        let variance = c.reduce(Reduce::Mean, &c.mul(&centred, &centred)?, from)?;
        let deviation = c.unary(
            Unary::Sqrt,
            &c.with_number(Binary::Add, &variance, epsilon)?,
        )?;
        outputs.push(c.reshape(&mean, &shape)?);
        outputs.push(c.reshape(&c.unary(Unary::Recip, &deviation)?, &shape)?);
    }
    Ok(outputs)
}

fn rms_norm(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    let (flat, from) = joined(c, x, -1)?;
    let square = c.reduce(Reduce::Mean, &c.mul(&flat, &flat)?, from)?;
    let square = c.with_number(Binary::Add, &square, c.float("epsilon", 1e-5))?;
    let normal = c.div(&flat, &c.unary(Unary::Sqrt, &square)?)?;
    Ok(vec![c.mul(&c.reshape(&normal, &x.shape)?, c.input(1)?)?])
}

/// Replaces zeros in a norm by one, to divide by it.
pub(super) fn or_one(c: &Call<'_>, norm: &Item) -> Result<Item, String> {
    let zero = c.compare(Compare::Equal, norm, &Host::float(0.0).into())?;
    c.choose(&zero, &Host::float(1.0).into(), norm)
}

fn lp_norm(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    let dim = axis(c.int("axis", -1), x.rank())?;
    let norm = match c.int("p", 2) {
        1 => c.reduce(Reduce::Sum, &c.unary(Unary::Abs, x)?, dim)?,
        2 => c.unary(Unary::Sqrt, &c.reduce(Reduce::Sum, &c.mul(x, x)?, dim)?)?,
        p => return Err(format!("p = {p} is not supported")),
    };
    Ok(vec![c.div(x, &or_one(c, &norm)?)?])
}

fn mean_variance(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    let axes = match c.ints("axes") {
        Some(axes) => axes.to_vec(),
        None => vec![0, 2, 3],
    };
    let dims = axes
        .iter()
        .map(|&a| axis(a, x.rank()))
        .collect::<Result<Vec<_>, _>>()?;
    let centred = c.sub(x, &c.reduce_dims(Reduce::Mean, x, &dims)?)?;
    let variance = c.reduce_dims(Reduce::Mean, &c.mul(&centred, &centred)?, &dims)?;
    let deviation = c.with_number(Binary::Add, &c.unary(Unary::Sqrt, &variance)?, 1e-9)?;
    Ok(vec![c.div(&centred, &deviation)?])
}

/// Computes `x / (bias + alpha / size * sum of squares over neighbouring channels)^beta`.
fn local_response(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    let size = usize::try_from(c.int("size", 0)).unwrap_or(0);
    if x.rank() < 3 || size == 0 || size > 1 << 16 {
        return Err(format!("size {size} does not fit shape {:?}", x.shape));
    }
    let (n, channels) = (x.shape[0], x.shape[1]);
    let area: usize = x.shape[2..].iter().product();
    let squares = c.reshape(&c.mul(x, x)?, &[n, 1, channels, area])?;
    let before = (size - 1) / 2;
    let grow = [(0, 0), (0, 0), (before, size - 1 - before), (0, 0)];
    let squares = c.pad(&squares, &grow, Padding::Constant(0.0))?;
    let window = PoolGeometry {
        kernel: vec![size, 1],
        stride: vec![1, 1],
        padding: vec![0, 0],
        dilation: vec![1, 1],
        ceil_mode: false,
        count_include_pad: true,
    };
    let mean = c.reshape(&c.record(Op::AvgPool(window), &[&squares])?, &x.shape)?;
    let scaled = c.with_number(Binary::Mul, &mean, c.float("alpha", 1e-4))?;
    let base = c.with_number(Binary::Add, &scaled, c.float("bias", 1.0))?;
    Ok(vec![c.div(
        x,
        &c.with_number(Binary::Pow, &base, c.float("beta", 0.75))?,
    )?])
}

/// Computes softmax; before operator set 13, over all dimensions from the axis on.
fn softmax(c: &Call<'_>, op: fn(usize) -> Op) -> Outcome {
    let x = float(c)?;
    if c.opset() >= 13 {
        let dim = axis(c.int("axis", -1), x.rank())?;
        return Ok(vec![c.map(op(dim), x)?]);
    }
    let (flat, from) = joined(c, x, if x.rank() == 1 { 0 } else { 1 })?;
    Ok(vec![c.reshape(&c.map(op(from), &flat)?, &x.shape)?])
}

fn hardmax(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    let shape = x.shape.clone();
    let (x, dim) = if c.opset() >= 13 {
        (x.clone(), axis(c.int("axis", -1), x.rank())?)
    } else {
        joined(c, x, if x.rank() == 1 { 0 } else { 1 })?
    };
    let x = &x;
    let largest = c.reduce(Reduce::ArgMax, x, dim)?;
    let mut along = vec![1; x.rank()];
    along[dim] = x.shape[dim];
    let places = Host::ints((0..x.shape[dim] as i64).collect());
    let places = c.expand(&c.reshape(&places.into(), &along)?, &x.shape)?;
    let hit = c.compare(Compare::Equal, &places, &largest)?;
    Ok(vec![c.reshape(&c.cast(&hit, Kind::Float)?, &shape)?])
}
