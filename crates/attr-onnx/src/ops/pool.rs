//! The pooling operators.

use attr_core::Kind;
use attr_core::op::{Binary, Op, Padding, PoolGeometry, Reduce};
use ndarray::{ArrayD, IxDyn};

use super::Operator;
use super::conv::{padding, spatial};
use crate::call::{Call, Outcome};
use crate::host::{Host, count};
use crate::item::{Item, LARGEST};

pub(crate) fn find(op: &str) -> Option<Operator> {
    Some(match op {
        "MaxPool" => |c| pool(c, true),
        "AveragePool" => |c| pool(c, false),
        "GlobalAveragePool" => |c| global(c, Reduce::Mean),
        "GlobalMaxPool" => |c| global(c, Reduce::Max),
        _ => return None,
    })
}

/// The maximum number of cells that one channel's windows may cover, counting overlaps: 16 Gi.
const MOST: usize = 1 << 34;

/// One spatial dimension of a window.
#[derive(Clone, Copy)]
struct Along {
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pad: (usize, usize),
    /// The number of windows.
    windows: usize,
}

impl Along {
    /// Returns the number of cells from the first window's start to the last window's end.
    fn reach(&self) -> usize {
        (self.windows - 1) * self.stride + self.dilation * (self.kernel - 1) + 1
    }

    /// Returns how many cells of the tensor (or of tensor and padding) each window covers.
    fn covered(&self, with_padding: bool) -> impl Iterator<Item = usize> {
        let along = *self;
        let (from, to) = if with_padding {
            (0, along.pad.0 + along.size + along.pad.1)
        } else {
            (along.pad.0, along.pad.0 + along.size)
        };
        // The number of cells at start, start + dilation, ... that lie before a limit.
        let before = move |limit: usize, start: usize| {
            let cells = limit.saturating_sub(start).div_ceil(along.dilation);
            cells.min(along.kernel)
        };
        (0..self.windows).map(move |window| {
            let start = window * along.stride;
            before(to, start) - before(from, start)
        })
    }
}

/// Computes max or average pooling over one to three dimensions, with any padding. Windows are laid
/// out here on a tensor padded to fit exactly, so that Burn's pools agree with ONNX for every
/// combination of uneven padding, ceil mode and dilation.
fn pool(c: &Call<'_>, max: bool) -> Outcome {
    let x = c.input(0)?;
    if x.kind != Kind::Float {
        return Err("pooling of integers is not supported".into());
    }
    let sizes = spatial(&x.shape)?;
    let n = sizes.len();
    c.ints("kernel_shape")
        .ok_or("its kernel_shape is missing")?;
    let kernel = c.steps("kernel_shape", n, 1)?;
    let (stride, dilation) = (c.steps("strides", n, 1)?, c.steps("dilations", n, 1)?);
    let pads = padding(c, sizes, &kernel, &stride, &dilation)?;
    let ceil = c.flag("ceil_mode", false);
    let mut dims = Vec::with_capacity(n);
    for d in 0..n {
        let (size, pad) = (sizes[d], pads[d]);
        let window = (kernel[d] - 1)
            .saturating_mul(dilation[d])
            .saturating_add(1);
        let padded = size.saturating_add(pad.0).saturating_add(pad.1);
        if window > padded || pad.0 >= window || pad.1 >= window {
            return Err(format!(
                "a window of {window} does not fit dimension {} of {size} padded by {pad:?}",
                d + 2
            ));
        }
        let steps = padded - window;
        let mut windows = steps / stride[d] + 1;
        // A last, partial window counts if it begins on the tensor or on the leading padding.
        if ceil && steps % stride[d] != 0 && windows * stride[d] < size + pad.0 {
            windows += 1;
        }
        dims.push(Along {
            size,
            kernel: kernel[d],
            stride: stride[d],
            dilation: dilation[d],
            pad,
            windows,
        });
    }
    let grown: Vec<usize> = dims.iter().map(|a| a.reach() + a.stride).collect();
    count(&grown, LARGEST)?;
    let work = dims.iter().try_fold(1usize, |work, a| {
        work.checked_mul(a.windows)?.checked_mul(a.kernel)
    });
    if work.is_none_or(|work| work > MOST) {
        return Err("its windows overlap too much".into());
    }
    let result = if max {
        max_pool(c, x, &dims)?
    } else {
        avg_pool(c, x, &dims)?
    };
    Ok(vec![result])
}

/// Returns whether Burn's pools can add the padding themselves.
fn is_simple(dims: &[Along]) -> bool {
    dims.iter()
        .all(|a| a.pad.0 == a.pad.1 && 2 * a.pad.0 <= a.kernel && a.reach() <= a.size + 2 * a.pad.0)
}

/// Pads the tensor so that the windows cover it exactly; even padding that Burn can add itself is
/// left to Burn.
fn fitted(c: &Call<'_>, x: &Item, dims: &[Along], fill: f64) -> Result<(Item, Vec<usize>), String> {
    let n = dims.len();
    if is_simple(dims) {
        return Ok((x.clone(), dims.iter().map(|a| a.pad.0).collect()));
    }
    let mut grow = vec![(0, 0); 2];
    grow.extend(dims.iter().map(|a| {
        let after = a.reach().saturating_sub(a.size + a.pad.0);
        (a.pad.0, after)
    }));
    Ok((c.pad(x, &grow, Padding::Constant(fill))?, vec![0; n]))
}

/// Computes max pooling. Burn pools over one or two dimensions, so three are pooled in two steps.
fn max_pool(c: &Call<'_>, x: &Item, dims: &[Along]) -> Result<Item, String> {
    let (x, pads) = fitted(c, x, dims, f64::from(f32::MIN))?;
    let indices = false;
    separately(c, &x, dims, &pads, true, |geometry| Op::MaxPool {
        geometry,
        indices,
    })
}

fn avg_pool(c: &Call<'_>, x: &Item, dims: &[Along]) -> Result<Item, String> {
    let with_padding = c.flag("count_include_pad", false);
    let (x, pads) = fitted(c, x, dims, 0.0)?;
    let dilated = dims.iter().any(|a| a.dilation != 1);
    if is_simple(dims) && !dilated {
        return separately(c, &x, dims, &pads, with_padding, Op::AvgPool);
    }
    let mean = if dilated {
        dilated_mean(c, &x, dims, &pads)?
    } else {
        separately(c, &x, dims, &pads, true, Op::AvgPool)?
    };
    // The mean over whole windows, including padding, divided by the share of cells that count.
    let mut shares = vec![1.0f32];
    for along in dims {
        let covered: Vec<usize> = along.covered(with_padding).collect();
        shares = shares
            .iter()
            .flat_map(|share| {
                let area = along.kernel as f32;
                covered.iter().map(move |&n| share * area / n.max(1) as f32)
            })
            .collect();
    }
    let mut shape = vec![1, 1];
    shape.extend(dims.iter().map(|a| a.windows));
    let shares = ArrayD::from_shape_vec(IxDyn(&shape), shares).map_err(|e| e.to_string())?;
    c.binary(Binary::Mul, &mean, &Host::Float(shares).into())
}

/// Computes the mean over dilated windows, which Burn does not support, cell by cell.
fn dilated_mean(c: &Call<'_>, x: &Item, dims: &[Along], pads: &[usize]) -> Result<Item, String> {
    let mut grow = vec![(0, 0); 2];
    grow.extend(pads.iter().map(|&p| (p, p)));
    let x = c.pad(x, &grow, Padding::Constant(0.0))?;
    let area: usize = dims.iter().map(|a| a.kernel).product();
    if area > 1 << 12 {
        return Err(format!("a dilated window of {area} cells is not supported"));
    }
    let mut sum: Option<Item> = None;
    for cell in 0..area {
        let mut rest = cell;
        let mut part = x.clone();
        for (d, along) in dims.iter().enumerate().rev() {
            let start = rest % along.kernel * along.dilation;
            rest /= along.kernel;
            let end = start + (along.windows - 1) * along.stride + 1;
            part = c.slice(&part, d + 2, start, end, along.stride)?;
        }
        sum = Some(match sum {
            Some(sum) => c.add(&sum, &part)?,
            None => part,
        });
    }
    let sum = sum.ok_or("its window is empty")?;
    c.with_number(Binary::Mul, &sum, 1.0 / area as f64)
}

/// Pools over the last two dimensions (or the only one), then over the first of three.
fn separately(
    c: &Call<'_>,
    x: &Item,
    dims: &[Along],
    pads: &[usize],
    count_include_pad: bool,
    op: impl Fn(PoolGeometry) -> Op,
) -> Result<Item, String> {
    let geometry = |dims: &[Along], pads: &[usize]| PoolGeometry {
        kernel: dims.iter().map(|a| a.kernel).collect(),
        stride: dims.iter().map(|a| a.stride).collect(),
        padding: pads.to_vec(),
        dilation: dims.iter().map(|a| a.dilation).collect(),
        ceil_mode: false,
        count_include_pad,
    };
    let cut = |pooled: Item, dims: &[Along]| {
        let first = pooled.rank() - dims.len();
        dims.iter().enumerate().try_fold(pooled, |item, (i, a)| {
            c.slice(&item, first + i, 0, a.windows, 1)
        })
    };
    let [first, rest @ ..] = dims else {
        return Err("it has no spatial dimensions".into());
    };
    if dims.len() < 3 {
        return cut(c.record(op(geometry(dims, pads)), &[x])?, dims);
    }
    let &[n, channels, depth, height, width] = &x.shape[..] else {
        return Err(format!("shape {:?} does not have five dimensions", x.shape));
    };
    let planes = c.reshape(x, &[n, channels * depth, height, width])?;
    let planes = cut(c.record(op(geometry(rest, &pads[1..])), &[&planes])?, rest)?;
    let area = rest[0].windows * rest[1].windows;
    let columns = c.reshape(&planes, &[n * channels, depth, area])?;
    let columns = c.permute(&columns, &[0, 2, 1])?;
    let columns = cut(
        c.record(op(geometry(&[*first], &pads[..1])), &[&columns])?,
        &[*first],
    )?;
    let columns = c.permute(&columns, &[0, 2, 1])?;
    let shape = [n, channels, first.windows, rest[0].windows, rest[1].windows];
    c.reshape(&columns, &shape)
}

fn global(c: &Call<'_>, f: Reduce) -> Outcome {
    let x = c.input(0)?;
    if x.rank() < 3 || x.kind != Kind::Float {
        return Err(format!("its input has shape {:?}", x.shape));
    }
    if let (Reduce::Mean, 4) = (f, x.rank()) {
        let size = vec![1, 1];
        return Ok(vec![c.record(Op::AdaptiveAvgPool { size }, &[x])?]);
    }
    let area = x.shape[2..].iter().product();
    let flat = c.reshape(x, &[x.shape[0], x.shape[1], area])?;
    let mut shape = vec![1; x.rank()];
    shape[..2].copy_from_slice(&x.shape[..2]);
    Ok(vec![c.reshape(&c.reduce(f, &flat, 2)?, &shape)?])
}
