//! Derivatives of sums, extremes, sorting, running sums, matrix products, softmax and
//! normalisation.

use burn::tensor::IndexingUpdateOp;

use super::{Shares, Site};
use crate::graph::op::{Binary, Cumulative, Op, Reduce, Unary};
use crate::{Error, Value};

pub(super) fn shares(site: &Site<'_>) -> Result<Option<Shares>, Error> {
    let (s, x, g) = (site, site.x(), site.arriving);
    let share = match s.op {
        Op::Softmax { dim } => softmax(s, s.kept(0)?, g, *dim)?,
        Op::Softmin { dim } => s.scaled(&softmax(s, &s.output()?, g, *dim)?, -1.0)?,
        Op::LogSoftmax { dim } => {
            let parts = s.run(Op::Softmax { dim: *dim }, vec![x.clone()])?;
            let mixed = s.times(&parts, &s.along(Reduce::Sum, *dim, g)?)?;
            s.binary(Binary::Sub, g, &mixed)?
        }
        Op::SumDims(_) => s.expanded(g.clone(), x)?,
        Op::Reduce(f, dim) => match reduce(s, *f, *dim)? {
            Some(share) => share,
            None => return Ok(None),
        },
        Op::Cumulative(Cumulative::Sum, dim) => backwards(s, g, *dim)?,
        Op::Cumulative(Cumulative::Prod, dim) => {
            let weighted = s.times(g, &s.output()?)?;
            s.over(&backwards(s, &weighted, *dim)?, x)?
        }
        Op::ExtremeWithIndices { dim, .. } => {
            let at = s.run_for(s.op.clone(), vec![x.clone()], 1)?;
            placed(s, *dim, at)?
        }
        Op::TopK { dim, k, .. } => {
            let (dim, k) = (*dim, *k);
            let op = Op::TopK {
                dim,
                k,
                values: true,
                indices: true,
            };
            placed(s, dim, s.run_for(op, vec![x.clone()], 1)?)?
        }
        Op::Sort {
            dim, descending, ..
        } => {
            let (dim, descending) = (*dim, *descending);
            let op = Op::Sort {
                dim,
                descending,
                values: true,
                indices: true,
            };
            placed(s, dim, s.run_for(op, vec![x.clone()], 1)?)?
        }
        Op::LayerNorm { epsilon } if s.only_first_wanted() => layer_norm(s, *epsilon)?,
        Op::BatchNorm { epsilon } if s.only_first_wanted() => {
            let deviation = s.unary(Unary::Sqrt, &s.line(&s.operands[4], 1.0, *epsilon)?)?;
            let mut shape = vec![1; x.shape().len()];
            shape[1] = x.shape()[1];
            let scale = s.over(&s.operands[1], &deviation)?.reshape(&shape);
            s.times(g, &scale)?
        }
        Op::Linear if s.only_first_wanted() => {
            let weight = s.transposed(&s.operands[1])?;
            let mut shape = vec![1; g.shape().len().saturating_sub(2)];
            shape.extend(weight.shape());
            s.matmul(g, &weight.reshape(&shape))?
        }
        Op::MatMul => {
            let (l, r) = (x, &s.operands[1]);
            return Ok(Some(s.both(
                || s.matmul(g, &s.transposed(r)?),
                || s.matmul(&s.transposed(l)?, g),
            )?));
        }
        Op::Cross { dim } => {
            let (l, r) = (x, &s.operands[1]);
            let cross =
                |a: &Value, b: &Value| s.run(Op::Cross { dim: *dim }, vec![a.clone(), b.clone()]);
            return Ok(Some(s.both(|| cross(r, g), || cross(g, l))?));
        }
        _ => return Ok(None),
    };
    Ok(Some(s.first(share)))
}

/// `y ⊙ (g - Σ g ⊙ y)`, where `y` is a softmax.
pub(super) fn softmax(s: &Site<'_>, y: &Value, g: &Value, dim: usize) -> Result<Value, Error> {
    let weighted = s.times(g, y)?;
    let mixed = s.times(y, &s.along(Reduce::Sum, dim, &weighted)?)?;
    s.binary(Binary::Sub, &weighted, &mixed)
}

fn reduce(s: &Site<'_>, f: Reduce, dim: Option<usize>) -> Result<Option<Value>, Error> {
    let (x, g) = (s.x(), s.arriving);
    let Some(dim) = dim else {
        // A reduction over everything is one of a vector along its only dimension.
        let count = x.shape().iter().product();
        let flat = Site {
            op: &Op::Reduce(f, Some(0)),
            operands: &[x.clone().reshape(&[count])],
            arriving: &g.clone().reshape(&[1]),
            ..*s
        };
        let share = reduce(&flat, f, Some(0))?;
        return Ok(share.map(|share| share.reshape(&x.shape())));
    };
    let at = |f: Reduce, x: &Value| s.run(Op::Reduce(f, Some(dim)), vec![x.clone()]);
    Ok(Some(match f {
        Reduce::Sum => s.expanded(g.clone(), x)?,
        Reduce::Mean => {
            let count = x.shape()[dim] as f64;
            s.scaled(&s.expanded(g.clone(), x)?, 1.0 / count)?
        }
        Reduce::Prod => s.over(&s.times(g, &s.output()?)?, x)?,
        // The first of equal values, as in Burn.
        Reduce::Max => placed(s, dim, at(Reduce::ArgMax, x)?)?,
        Reduce::Min => placed(s, dim, at(Reduce::ArgMin, x)?)?,
        Reduce::MaxAbs => {
            let largest = placed(s, dim, at(Reduce::ArgMax, &s.unary(Unary::Abs, x)?)?)?;
            s.times(&largest, &s.unary(Unary::Sign, x)?)?
        }
        Reduce::All | Reduce::Any | Reduce::ArgMax | Reduce::ArgMin => return Ok(None),
    }))
}

/// Adds what arrives to zeros at the indices where it came from.
fn placed(s: &Site<'_>, dim: usize, indices: Value) -> Result<Value, Error> {
    let scatter = Op::Scatter {
        dim,
        update: IndexingUpdateOp::Add,
    };
    s.added_to_zeros(scatter, indices)
}

/// The running sum from the end.
fn backwards(s: &Site<'_>, value: &Value, dim: usize) -> Result<Value, Error> {
    let flip = || Op::Flip(vec![dim]);
    let flipped = s.run(flip(), vec![value.clone()])?;
    let sum = s.run(Op::Cumulative(Cumulative::Sum, dim), vec![flipped])?;
    s.run(flip(), vec![sum])
}

/// `(h - mean(h) - x̂ mean(h ⊙ x̂)) / σ` with `h = g ⊙ γ`.
fn layer_norm(s: &Site<'_>, epsilon: f64) -> Result<Value, Error> {
    let (x, g) = (s.x(), s.arriving);
    let dim = x.shape().len() - 1;
    let mut shape = vec![1; dim];
    shape.extend(s.operands[1].shape());
    let scaled = s.times(g, &s.operands[1].clone().reshape(&shape))?;
    let mean = |value: &Value| s.along(Reduce::Mean, dim, value);
    let centred = s.binary(Binary::Sub, x, &mean(x)?)?;
    let variance = mean(&s.square(&centred)?)?;
    let deviation = s.unary(Unary::Sqrt, &s.line(&variance, 1.0, epsilon)?)?;
    let normal = s.over(&centred, &deviation)?;
    let along = s.times(&normal, &mean(&s.times(&scaled, &normal)?)?)?;
    let rest = s.binary(Binary::Sub, &scaled, &mean(&scaled)?)?;
    s.over(&s.binary(Binary::Sub, &rest, &along)?, &deviation)
}
