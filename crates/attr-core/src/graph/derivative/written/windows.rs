//! Derivatives of convolutions, pooling and resizing.

use burn::tensor::{Device, IndexingUpdateOp, TensorData};

use super::moves::slice;
use super::{Shares, Site};
use crate::graph::op::{ConvGeometry, Op, PoolGeometry};
use crate::{Error, Value};

pub(super) fn shares(site: &Site<'_>) -> Result<Option<Shares>, Error> {
    let (s, x, g) = (site, site.x(), site.arriving);
    let share = match s.op {
        Op::Conv(geometry) if s.only_first_wanted() => of_convolution(s, geometry)?,
        Op::ConvTranspose(geometry) if s.only_first_wanted() => {
            let weight = s.operands[1].clone();
            s.run(Op::Conv(geometry.clone()), vec![g.clone(), weight])?
        }
        Op::MaxPool { geometry, indices } => {
            let at = if *indices {
                s.kept(1)?.clone()
            } else {
                let op = Op::MaxPool {
                    geometry: geometry.clone(),
                    indices: true,
                };
                s.run_for(op, vec![x.clone()], 1)?
            };
            // The indices count over all spatial dimensions.
            let flat = |value: &Value| {
                let shape = value.shape();
                let spatial = shape[2..].iter().product();
                value.clone().reshape(&[shape[0], shape[1], spatial])
            };
            let scatter = Op::Scatter {
                dim: 2,
                update: IndexingUpdateOp::Add,
            };
            let operands = vec![flat(x).zeros_like(), flat(&at), flat(g)];
            s.run(scatter, operands)?.reshape(&x.shape())
        }
        Op::AvgPool(geometry) => separable(s, |dim, dims| Op::AvgPool(along(geometry, dim, dims)))?,
        Op::AdaptiveAvgPool { size } => separable(s, |dim, dims| {
            let mut own = vec![1; dims];
            own[dim] = size[dim];
            Op::AdaptiveAvgPool { size: own }
        })?,
        Op::Interpolate {
            size,
            mode,
            align_corners,
        } => separable(s, |dim, _| {
            let mut own = [1, 1];
            own[dim] = size[dim];
            Op::Interpolate {
                size: own,
                mode: *mode,
                align_corners: *align_corners,
            }
        })?,
        Op::Unfold4d {
            kernel,
            stride,
            padding,
            dilation,
        } => {
            // Unfolding is a convolution of each channel separately with unit kernels.
            let (channels, size) = (x.shape()[1], kernel[0] * kernel[1]);
            let geometry = ConvGeometry {
                stride: stride.to_vec(),
                padding: padding.iter().map(|&side| (side, side)).collect(),
                padding_out: vec![0, 0],
                dilation: dilation.to_vec(),
                groups: channels,
            };
            let windows = |dim: usize| {
                let reach = dilation[dim] * (kernel[dim] - 1) + 1;
                (x.shape()[dim + 2] + 2 * padding[dim] - reach) / stride[dim] + 1
            };
            let unit = units(s, size, vec![size, 1, kernel[0], kernel[1]]);
            let of_channels = s.run(Op::Cat { dim: 0 }, vec![unit; channels])?;
            let arriving = [x.shape()[0], channels * size, windows(0), windows(1)];
            let convolution = Site {
                operands: &[x.clone(), of_channels],
                arriving: &g.clone().reshape(&arriving),
                ..*s
            };
            of_convolution(&convolution, &geometry)?
        }
        _ => return Ok(None),
    };
    Ok(Some(s.first(share)))
}

/// The transposed convolution that undoes a convolution's geometry.
fn of_convolution(s: &Site<'_>, geometry: &ConvGeometry) -> Result<Value, Error> {
    let (g, weight) = (s.arriving, &s.operands[1]);
    let (lengths, kernel, outputs) = (s.x().shape(), weight.shape(), g.shape());
    let dims = geometry.stride.len();
    // A transposed convolution has the same padding on both sides; other padding is cropped later.
    let even = geometry
        .padding
        .iter()
        .all(|(before, after)| before == after);
    let padding = if even {
        geometry.padding.clone()
    } else {
        vec![(0, 0); dims]
    };
    let rest = (0..dims).map(|dim| {
        let (before, after) = geometry.padding[dim];
        let reach = geometry.dilation[dim] * (kernel[dim + 2] - 1) + 1;
        let covered = (outputs[dim + 2] - 1) * geometry.stride[dim] + reach;
        (lengths[dim + 2] + before + after).saturating_sub(covered)
    });
    let back = Op::ConvTranspose(ConvGeometry {
        padding,
        padding_out: rest.collect(),
        ..geometry.clone()
    });
    let share = s.run(back, vec![g.clone(), weight.clone()])?;
    if even {
        return Ok(share);
    }
    let sides = [(0, 0), (0, 0)].iter().chain(&geometry.padding);
    let inside = sides.zip(share.shape()).zip(&lengths);
    let inside = inside.map(|((&(before, _), _), length)| slice(before, before + length));
    s.run(Op::Slice(inside.collect()), vec![share])
}

/// A pooling window along one of its dimensions only.
fn along(geometry: &PoolGeometry, dim: usize, dims: usize) -> PoolGeometry {
    let pick = |values: &[usize], other: usize| {
        let mut own = vec![other; dims];
        own[dim] = values[dim];
        own
    };
    PoolGeometry {
        kernel: pick(&geometry.kernel, 1),
        stride: pick(&geometry.stride, 1),
        padding: pick(&geometry.padding, 0),
        dilation: pick(&geometry.dilation, 1),
        ..geometry.clone()
    }
}

/// Unit vectors along one dimension, one for each channel.
fn units(s: &Site<'_>, count: usize, shape: Vec<usize>) -> Value {
    let mut units = vec![0f32; count * count];
    units.iter_mut().step_by(count + 1).for_each(|v| *v = 1.0);
    let data = TensorData::new(units, shape).convert_dtype(s.arriving.dtype());
    Value::from_data(data, &Device::new(s.place.device.clone()))
}

/// The share of an operation that is linear and works on each spatial dimension separately. Its
/// output for unit vectors along a dimension is its matrix there; what arrives is multiplied by
/// each matrix.
fn separable(s: &Site<'_>, op: impl Fn(usize, usize) -> Op) -> Result<Value, Error> {
    let (lengths, outputs) = (s.x().shape(), s.arriving.shape());
    let dims = lengths.len() - 2;
    let last = lengths.len() - 1;
    let mut share = s.arriving.clone();
    for dim in 0..dims {
        let (from, to) = (lengths[dim + 2], outputs[dim + 2]);
        let mut shape = vec![1; lengths.len()];
        (shape[1], shape[dim + 2]) = (from, from);
        let units = s.run(op(dim, dims), vec![units(s, from, shape)])?;
        let mut matrix = vec![1; lengths.len() - 2];
        matrix.extend([from, to]);
        // One row per input element, one column per output element.
        let back = s.transposed(&units.reshape(&matrix))?;
        let along = s.swapped(&share, dim + 2, last)?;
        share = s.swapped(&s.matmul(&along, &back)?, dim + 2, last)?;
    }
    Ok(share)
}
