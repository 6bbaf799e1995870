//! Derivatives of operations that move, repeat or choose values.

use burn::tensor::IndexingUpdateOp;

use super::{Shares, Site, is_float, reduced};
use crate::graph::op::{Number, Op, Padding};
use crate::graph::{Dim, SliceDim};
use crate::{Error, Value};

pub(super) fn shares(site: &Site<'_>) -> Result<Option<Shares>, Error> {
    let (s, x, g) = (site, site.x(), site.arriving);
    let scatter = |dim: usize| Op::Scatter {
        dim,
        update: IndexingUpdateOp::Add,
    };
    let nothing = || g.zeros_like();
    let share = match s.op {
        Op::Reshape(_) => g.clone().reshape(&x.shape()),
        Op::Expand(_) => reduced(g.clone(), x),
        Op::Permute(axes) => {
            let mut inverse = vec![0; axes.len()];
            for (to, &from) in axes.iter().enumerate() {
                inverse[from] = to;
            }
            s.permuted(g, inverse)?
        }
        Op::Flip(_) => s.run(s.op.clone(), vec![g.clone()])?,
        Op::Slice(ranges) => {
            let assign = Op::SliceAssign(ranges.clone());
            s.run(assign, vec![x.zeros_like(), g.clone()])?
        }
        Op::SliceAssign(ranges) => {
            return Ok(Some(s.both(
                || s.run(s.op.clone(), vec![g.clone(), s.operands[1].zeros_like()]),
                || s.run(Op::Slice(ranges.clone()), vec![g.clone()]),
            )?));
        }
        Op::Cat { dim } => return cat(s, *dim).map(Some),
        Op::Repeat { dim, .. } => {
            // Each copy is a block of the dimension.
            let (mut blocks, own) = (x.shape(), x.shape()[*dim]);
            blocks.insert(*dim, g.shape()[*dim] / own.max(1));
            let blocks = g.clone().reshape(&blocks);
            s.run(Op::SumDims(vec![*dim]), vec![blocks])?
                .reshape(&x.shape())
        }
        Op::Gather { dim } => {
            let operands = vec![x.zeros_like(), s.operands[1].clone(), g.clone()];
            s.run(scatter(*dim), operands)?
        }
        Op::Select { dim } => added(s, *dim, s.operands[1].clone())?,
        Op::GatherNd => {
            let update = IndexingUpdateOp::Add;
            let operands = vec![x.zeros_like(), s.operands[1].clone(), g.clone()];
            s.run(Op::ScatterNd { update }, operands)?
        }
        Op::Scatter { dim, update } => {
            return written_into(s, *update, Op::Gather { dim: *dim });
        }
        Op::SelectAssign { dim, update } => {
            return written_into(s, *update, Op::Select { dim: *dim });
        }
        Op::ScatterNd { update } => return written_into(s, *update, Op::GatherNd),
        Op::Unfold { dim, size, step } => {
            // The last dimension holds each window's elements. Windows laid side by side along
            // `dim` are a selection.
            let mut axes: Vec<usize> = (0..g.shape().len()).collect();
            let last = axes.pop().unwrap_or_default();
            axes.insert(dim + 1, last);
            let windows = g.shape()[*dim];
            let mut side_by_side = x.shape();
            side_by_side[*dim] = windows * size;
            let flat = s.permuted(g, axes)?.reshape(&side_by_side);
            let from = (0..windows).flat_map(|w| (0..*size).map(move |i| (w * step + i) as i64));
            let indices = s.indices(from.collect());
            let assign = Op::SelectAssign {
                dim: *dim,
                update: IndexingUpdateOp::Add,
            };
            s.run(assign, vec![x.zeros_like(), indices, flat])?
        }
        Op::Pad(sides, Padding::Constant(_)) => {
            let inside = sides.iter().zip(x.shape());
            let inside = inside.map(|(&(before, _), length)| slice(before, before + length));
            s.run(Op::Slice(inside.collect()), vec![g.clone()])?
        }
        Op::MaskWhere => {
            let (mask, value) = (&s.operands[1], &s.operands[2]);
            let mut shares = vec![None; 3];
            if s.is_wanted(0) {
                let share = s.run(Op::MaskWhere, vec![g.clone(), mask.clone(), nothing()])?;
                shares[0] = Some(reduced(share, x));
            }
            if s.is_wanted(2) && is_float(value) {
                let share = s.run(Op::MaskWhere, vec![nothing(), mask.clone(), g.clone()])?;
                shares[2] = Some(reduced(share, value));
            }
            return Ok(Some(shares));
        }
        Op::MaskFill(_) => {
            let fill = Op::MaskFill(Number::Float(0.0));
            let share = s.run(fill, vec![g.clone(), s.operands[1].clone()])?;
            reduced(share, x)
        }
        _ => return Ok(None),
    };
    Ok(Some(s.first(share)))
}

pub(super) fn slice(from: usize, to: usize) -> SliceDim {
    SliceDim {
        start: Dim::fixed(from as isize),
        end: Some(Dim::fixed(to as isize)),
        step: 1,
    }
}

/// Adds what arrives to zeros at `indices` along a dimension.
fn added(s: &Site<'_>, dim: usize, indices: Value) -> Result<Value, Error> {
    let assign = Op::SelectAssign {
        dim,
        update: IndexingUpdateOp::Add,
    };
    s.added_to_zeros(assign, indices)
}

/// Shares for values added to or written over places of operand 0; `read` reads these places.
fn written_into(s: &Site<'_>, update: IndexingUpdateOp, read: Op) -> Result<Option<Shares>, Error> {
    let (g, indices) = (s.arriving, &s.operands[1]);
    let mut shares = vec![None; 3];
    if s.is_wanted(0) {
        shares[0] = Some(match update {
            IndexingUpdateOp::Add => g.clone(),
            IndexingUpdateOp::Assign => {
                let nothing = s.operands[2].zeros_like();
                s.run(s.op.clone(), vec![g.clone(), indices.clone(), nothing])?
            }
            _ => return Ok(None),
        });
    }
    if s.is_wanted(2) {
        if !matches!(update, IndexingUpdateOp::Add | IndexingUpdateOp::Assign) {
            return Ok(None);
        }
        shares[2] = Some(s.run(read, vec![g.clone(), indices.clone()])?);
    }
    Ok(Some(shares))
}

fn cat(s: &Site<'_>, dim: usize) -> Result<Shares, Error> {
    let mut start = 0;
    let mut shares = Vec::with_capacity(s.operands.len());
    for (operand, wanted) in s.operands.iter().zip(s.wanted) {
        let shape = operand.shape();
        let sizes = shape.iter().enumerate();
        let ranges = sizes.map(|(at, &size)| {
            let from = if at == dim { start } else { 0 };
            slice(from, from + size)
        });
        let part = wanted.then(|| s.run(Op::Slice(ranges.collect()), vec![s.arriving.clone()]));
        shares.push(part.transpose()?);
        start += shape[dim];
    }
    Ok(shares)
}
