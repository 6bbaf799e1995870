//! The convolution operators.

use attr_core::Kind;
use attr_core::op::{ConvGeometry, Op, Padding};

use super::Operator;
use crate::call::{Call, Outcome};
use crate::host::count;
use crate::item::LARGEST;

pub(crate) fn find(op: &str) -> Option<Operator> {
    Some(match op {
        "Conv" => conv,
        "ConvTranspose" => conv_transpose,
        _ => return None,
    })
}

/// Returns the spatial sizes of an input `[batch, channels, ...]` with one to three of them.
pub(super) fn spatial(shape: &[usize]) -> Result<&[usize], String> {
    match shape.len() {
        3..=5 => Ok(&shape[2..]),
        _ => Err(format!(
            "its input has shape {shape:?}, but [batch, channels] and one to three spatial \
             dimensions are needed"
        )),
    }
}

/// Returns the padding before and after each spatial dimension, from `pads` or `auto_pad`.
pub(super) fn padding(
    c: &Call<'_>,
    sizes: &[usize],
    kernel: &[usize],
    stride: &[usize],
    dilation: &[usize],
) -> Result<Vec<(usize, usize)>, String> {
    let n = sizes.len();
    match c.text("auto_pad", "NOTSET") {
        "NOTSET" | "" => {
            let pads = c.sizes("pads", 2 * n, 0)?;
            Ok((0..n).map(|d| (pads[d], pads[n + d])).collect())
        }
        "VALID" => Ok(vec![(0, 0); n]),
        mode @ ("SAME_UPPER" | "SAME_LOWER") => Ok((0..n)
            .map(|d| {
                let window = dilation[d] * (kernel[d] - 1) + 1;
                let covered = (sizes[d].div_ceil(stride[d]) - 1) * stride[d] + window;
                let total = covered.saturating_sub(sizes[d]);
                let (less, more) = (total / 2, total - total / 2);
                if mode == "SAME_UPPER" {
                    (less, more)
                } else {
                    (more, less)
                }
            })
            .collect()),
        other => Err(format!("auto_pad {other:?} is not supported")),
    }
}

fn groups(c: &Call<'_>) -> Result<usize, String> {
    match usize::try_from(c.int("group", 1)) {
        Ok(groups) if groups > 0 => Ok(groups),
        _ => Err(format!("group = {} must be positive", c.int("group", 1))),
    }
}

/// Returns the kernel's spatial sizes, after the checks shared by both convolutions.
fn kernel(c: &Call<'_>) -> Result<Vec<usize>, String> {
    let (x, weight) = (c.input(0)?, c.input(1)?);
    let n = spatial(&x.shape)?.len();
    if weight.rank() != n + 2 || weight.shape.contains(&0) {
        return Err(format!(
            "a kernel of shape {:?} does not fit an input of shape {:?}",
            weight.shape, x.shape
        ));
    }
    if x.kind != Kind::Float || weight.kind != Kind::Float {
        return Err("convolutions of integers are not supported".into());
    }
    let kernel = weight.shape[2..].to_vec();
    match c.ints("kernel_shape") {
        Some(_) if c.sizes("kernel_shape", n, 1)? != kernel => Err(format!(
            "kernel_shape differs from the kernel's shape {:?}",
            weight.shape
        )),
        _ => Ok(kernel),
    }
}

fn bias_fits(c: &Call<'_>, channels: usize) -> Result<(), String> {
    match c.optional(2) {
        Some(bias) if bias.shape != [channels] => Err(format!(
            "a bias of shape {:?} does not fit {channels} channels",
            bias.shape
        )),
        _ => Ok(()),
    }
}

fn conv(c: &Call<'_>) -> Outcome {
    let (x, weight) = (c.input(0)?, c.input(1)?);
    let kernel = kernel(c)?;
    let sizes = spatial(&x.shape)?;
    let n = sizes.len();
    let (stride, dilation) = (c.steps("strides", n, 1)?, c.steps("dilations", n, 1)?);
    let groups = groups(c)?;
    if weight.shape[1].checked_mul(groups) != Some(x.shape[1]) || weight.shape[0] % groups != 0 {
        return Err(format!(
            "a kernel of shape {:?} in {groups} groups does not fit {} channels",
            weight.shape, x.shape[1]
        ));
    }
    bias_fits(c, weight.shape[0])?;
    let pads = padding(c, sizes, &kernel, &stride, &dilation)?;
    for d in 0..n {
        let window = (kernel[d] - 1)
            .saturating_mul(dilation[d])
            .saturating_add(1);
        let padded = sizes[d].saturating_add(pads[d].0).saturating_add(pads[d].1);
        if window > padded {
            return Err(format!(
                "a window of {window} does not fit dimension {} of {padded}, padding included",
                d + 2
            ));
        }
    }
    let grown: Vec<usize> = (0..n).map(|d| sizes[d] + pads[d].0 + pads[d].1).collect();
    count(&grown, LARGEST)?;
    let uneven = pads.iter().any(|(before, after)| before != after);
    let (x, pads) = if uneven {
        let all = [&[(0, 0), (0, 0)], &pads[..]].concat();
        let padded = c.pad(x, &all, Padding::Constant(0.0))?;
        (padded, vec![(0, 0); n])
    } else {
        (x.clone(), pads)
    };
    let geometry = ConvGeometry {
        stride,
        padding: pads,
        padding_out: vec![0; n],
        dilation,
        groups,
    };
    let mut operands = vec![&x, weight];
    operands.extend(c.optional(2));
    Ok(vec![c.record(Op::Conv(geometry), &operands)?])
}

fn conv_transpose(c: &Call<'_>) -> Outcome {
    let (x, weight) = (c.input(0)?, c.input(1)?);
    let kernel = kernel(c)?;
    let sizes = spatial(&x.shape)?;
    let n = sizes.len();
    let (stride, dilation) = (c.steps("strides", n, 1)?, c.steps("dilations", n, 1)?);
    let groups = groups(c)?;
    if weight.shape[0] != x.shape[1] || x.shape[1] % groups != 0 {
        return Err(format!(
            "a kernel of shape {:?} in {groups} groups does not fit {} channels",
            weight.shape, x.shape[1]
        ));
    }
    let channels = weight.shape[1] * groups;
    bias_fits(c, channels)?;
    let mut extra = c.sizes("output_padding", n, 0)?;
    // The uncut result: stride (n - 1) + window, plus the cells added at the end.
    let full = |d: usize| {
        let window = (kernel[d] - 1)
            .saturating_mul(dilation[d])
            .saturating_add(1);
        (sizes[d] - 1)
            .saturating_mul(stride[d])
            .saturating_add(window)
    };
    let mut whole: Vec<usize> = (0..n).map(|d| full(d).saturating_add(extra[d])).collect();
    let pads: Vec<(usize, usize)> = match (c.ints("output_shape"), c.text("auto_pad", "NOTSET")) {
        (Some(_), _) | (None, "SAME_UPPER" | "SAME_LOWER") => {
            let wanted = match c.ints("output_shape") {
                Some(shape) => {
                    let sizes = shape.iter().map(|&size| usize::try_from(size).ok());
                    let sizes: Option<Vec<usize>> = sizes.collect();
                    let sizes = sizes.filter(|sizes| sizes.len() == n);
                    sizes.ok_or_else(|| format!("output_shape {shape:?} does not fit"))?
                }
                None => (0..n).map(|d| sizes[d].saturating_mul(stride[d])).collect(),
            };
            // A shape larger than the uncut result is reached by adding cells at the end.
            for d in 0..n {
                extra[d] += wanted[d].saturating_sub(whole[d]);
                whole[d] = whole[d].max(wanted[d]);
            }
            let upper = c.text("auto_pad", "NOTSET") != "SAME_UPPER";
            (0..n)
                .map(|d| {
                    let total = whole[d].saturating_sub(wanted[d]);
                    let (less, more) = (total / 2, total - total / 2);
                    if upper { (more, less) } else { (less, more) }
                })
                .collect()
        }
        _ => padding(c, sizes, &kernel, &stride, &dilation)?,
    };
    count(&whole, LARGEST)?;
    for (d, pad) in pads.iter().enumerate() {
        if pad.0.saturating_add(pad.1) >= whole[d] {
            return Err(format!("its padding removes all of dimension {}", d + 2));
        }
    }
    // Burn cuts both sides equally and adds less than a stride at the end. The rest is cut or
    // added here, so that every combination of the attributes works.
    let even = pads.iter().all(|(before, after)| before == after)
        && (0..n).all(|d| extra[d] < stride[d] || extra[d] < dilation[d]);
    let geometry = ConvGeometry {
        padding: if even { pads.clone() } else { vec![(0, 0); n] },
        padding_out: if even { extra.clone() } else { vec![0; n] },
        stride,
        dilation,
        groups,
    };
    if even {
        let mut operands = vec![x, weight];
        operands.extend(c.optional(2));
        return Ok(vec![c.record(Op::ConvTranspose(geometry), &operands)?]);
    }
    let mut result = c.record(Op::ConvTranspose(geometry), &[x, weight])?;
    let grow: Vec<(usize, usize)> = (0..n + 2)
        .map(|d| (0, if d < 2 { 0 } else { extra[d - 2] }))
        .collect();
    result = c.pad(&result, &grow, Padding::Constant(0.0))?;
    for (d, pad) in pads.iter().enumerate() {
        let end = result.shape[d + 2] - pad.1;
        result = c.slice(&result, d + 2, pad.0, end, 1)?;
    }
    if let Some(bias) = c.optional(2) {
        let mut along = vec![1; n + 1];
        along[0] = channels;
        result = c.add(&result, &c.reshape(bias, &along)?)?;
    }
    Ok(vec![result])
}
