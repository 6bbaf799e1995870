//! Derivatives written out in operations, for walks that are recorded: Burn's capture device has no
//! autodiff. Where values are computed, `vjp.rs` uses Burn's own derivatives.

use super::dim::{Dim, SliceDim};
use super::exec::{self, Place};
use super::lower;
use super::op::{Binary, Compare, ConvGeometry, Number, Op, Reduce, Unary};
use super::vjp::{Run, sum_to};
use crate::{Error, Kind, Value};

/// What is written down: operations at a place.
struct Writer<'a>(&'a Place);

impl Writer<'_> {
    fn run(&self, op: Op, operands: Vec<Value>) -> Result<Value, Error> {
        let outputs = exec::run(&op, operands, self.0)?;
        let first = outputs.into_iter().next();
        first.ok_or(Error::Internal("an operation without an output"))
    }

    fn binary(&self, f: Binary, a: &Value, b: &Value) -> Result<Value, Error> {
        self.run(Op::Binary(f), vec![a.clone(), b.clone()])
    }

    fn times(&self, a: &Value, b: &Value) -> Result<Value, Error> {
        self.binary(Binary::Mul, a, b)
    }

    fn scaled(&self, a: &Value, by: f64) -> Result<Value, Error> {
        self.run(
            Op::BinaryScalar(Binary::Mul, Number::Float(by)),
            vec![a.clone()],
        )
    }

    fn plus(&self, a: &Value, number: f64) -> Result<Value, Error> {
        self.run(
            Op::BinaryScalar(Binary::Add, Number::Float(number)),
            vec![a.clone()],
        )
    }

    fn unary(&self, f: Unary, x: &Value) -> Result<Value, Error> {
        self.run(Op::Unary(f), vec![x.clone()])
    }

    /// `value` where a comparison with a number holds, zero elsewhere.
    fn only(
        &self,
        value: &Value,
        x: &Value,
        holds: Compare,
        number: Number,
    ) -> Result<Value, Error> {
        let mask = self.run(Op::CompareScalar(holds, number), vec![x.clone()])?;
        self.run(Op::MaskWhere, vec![value.zeros_like(), mask, value.clone()])
    }

    /// Summed over the dimensions along which `like` was broadcast, and in its shape.
    fn reduced(&self, value: Value, like: &Value) -> Value {
        let shape = like.shape();
        let mut padded = vec![1; value.shape().len().saturating_sub(shape.len())];
        padded.extend(&shape);
        let sum = sum_to(value.into_dispatch(), &burn::tensor::Shape::from(padded));
        Value::from_dispatch(sum).reshape(&shape)
    }

    fn spread(&self, value: Value, like: &Value) -> Result<Value, Error> {
        let sizes = like.shape().into_iter();
        let dims = sizes.map(|size| Dim::fixed(size as isize)).collect();
        self.run(Op::Expand(dims), vec![value])
    }

    fn swapped(&self, value: &Value) -> Result<Value, Error> {
        let rank = value.shape().len();
        let mut axes: Vec<usize> = (0..rank).collect();
        axes.swap(rank - 2, rank - 1);
        self.run(Op::Permute(axes), vec![value.clone()])
    }
}

/// What arrives at a node's only float output, pulled back to each operand that is `wanted`; none
/// for an operation whose derivative is not written out.
pub(super) fn written(
    op: &Op,
    run: &Run<'_>,
    arriving: &Value,
    wanted: &[bool],
) -> Result<Option<Vec<Option<Value>>>, Error> {
    let w = Writer(run.place);
    let operands = run.operands;
    let (g, x) = (arriving, &operands[0]);
    // Of ReLU and sigmoid a pass keeps the output alone.
    let kept = || {
        let output = run.outputs.first();
        output.ok_or(Error::Internal("an output was not kept"))
    };
    let output = || w.run(op.clone(), operands.to_vec());
    let along =
        |dim: usize, value: &Value| w.run(Op::Reduce(Reduce::Sum, Some(dim)), vec![value.clone()]);
    let first = match op {
        Op::Unary(f) => match f {
            Unary::Exp => w.times(g, &output()?)?,
            Unary::Log => w.binary(Binary::Div, g, x)?,
            Unary::Log1p => w.binary(Binary::Div, g, &w.plus(x, 1.0)?)?,
            Unary::Tanh => {
                let y = output()?;
                let slope = w.plus(&w.scaled(&w.times(&y, &y)?, -1.0)?, 1.0)?;
                w.times(g, &slope)?
            }
            Unary::Sqrt => w.scaled(&w.binary(Binary::Div, g, &output()?)?, 0.5)?,
            Unary::Neg => w.scaled(g, -1.0)?,
            Unary::Abs => w.times(g, &w.unary(Unary::Sign, x)?)?,
            Unary::Sin => w.times(g, &w.unary(Unary::Cos, x)?)?,
            Unary::Cos => w.scaled(&w.times(g, &w.unary(Unary::Sin, x)?)?, -1.0)?,
            Unary::Recip => {
                let y = output()?;
                w.scaled(&w.times(g, &w.times(&y, &y)?)?, -1.0)?
            }
            Unary::Erf => {
                let square = w.scaled(&w.times(x, x)?, -1.0)?;
                let bell = w.unary(Unary::Exp, &square)?;
                w.scaled(&w.times(g, &bell)?, std::f64::consts::FRAC_2_SQRT_PI)?
            }
            Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc => {
                g.zeros_like()
            }
            _ => return Ok(None),
        },
        Op::Relu => w.only(g, kept()?, Compare::Greater, Number::Float(0.0))?,
        Op::Sigmoid => {
            let y = kept()?;
            let slope = w.times(y, &w.plus(&w.scaled(y, -1.0)?, 1.0)?)?;
            w.times(g, &slope)?
        }
        Op::Linear if wanted[1..].iter().all(|wanted| !wanted) => {
            let weight = w.swapped(&operands[1])?;
            let mut shape = vec![1; g.shape().len().saturating_sub(2)];
            shape.extend(weight.shape());
            w.run(Op::MatMul, vec![g.clone(), weight.reshape(&shape)])?
        }
        Op::Conv(geometry) if wanted[1..].iter().all(|wanted| !wanted) => {
            let back = transposed(geometry, x, &operands[1], g);
            w.run(
                Op::ConvTranspose(back),
                vec![g.clone(), operands[1].clone()],
            )?
        }
        Op::LeakyRelu { slope } => {
            let below = w.scaled(g, *slope)?;
            let positive = Op::CompareScalar(Compare::Greater, Number::Float(0.0));
            let mask = w.run(positive, vec![x.clone()])?;
            w.run(Op::MaskWhere, vec![below, mask, g.clone()])?
        }
        Op::Clamp { min, max } => {
            let mut inside = g.clone();
            if let Some(min) = min {
                inside = w.only(&inside, x, Compare::GreaterEqual, *min)?;
            }
            if let Some(max) = max {
                inside = w.only(&inside, x, Compare::LowerEqual, *max)?;
            }
            inside
        }
        Op::BinaryScalar(f, number) => {
            let c = lower::number(number);
            match f {
                Binary::Add | Binary::Sub => g.clone(),
                Binary::Mul => w.scaled(g, c)?,
                Binary::Div => w.scaled(g, 1.0 / c)?,
                Binary::Pow | Binary::PowInt => {
                    let lower = match number {
                        Number::Float(_) => Number::Float(c - 1.0),
                        _ => Number::Int(c as i64 - 1),
                    };
                    let power = w.run(Op::BinaryScalar(*f, lower), vec![x.clone()])?;
                    w.scaled(&w.times(g, &power)?, c)?
                }
                _ => return Ok(None),
            }
        }
        Op::Softmax { dim } | Op::Softmin { dim } => {
            let y = output()?;
            let mixed = w.times(&y, &along(*dim, &w.times(g, &y)?)?)?;
            let share = w.binary(Binary::Sub, &w.times(g, &y)?, &mixed)?;
            match op {
                Op::Softmin { .. } => w.scaled(&share, -1.0)?,
                _ => share,
            }
        }
        Op::LogSoftmax { dim } => {
            let parts = w.run(Op::Softmax { dim: *dim }, vec![x.clone()])?;
            let mixed = w.times(&parts, &along(*dim, g)?)?;
            w.binary(Binary::Sub, g, &mixed)?
        }
        Op::Reduce(Reduce::Sum, Some(_)) | Op::SumDims(_) => w.spread(g.clone(), x)?,
        Op::Reduce(Reduce::Mean, Some(dim)) => {
            let count = x.shape()[*dim] as f64;
            w.scaled(&w.spread(g.clone(), x)?, 1.0 / count)?
        }
        Op::Reduce(Reduce::Max | Reduce::Min, Some(dim)) => {
            // The first of equals, as Burn has it.
            let place_of = match op {
                Op::Reduce(Reduce::Max, _) => Reduce::ArgMax,
                _ => Reduce::ArgMin,
            };
            let at = w.run(Op::Reduce(place_of, Some(*dim)), vec![x.clone()])?;
            let scatter = Op::Scatter {
                dim: *dim,
                update: burn::tensor::IndexingUpdateOp::Add,
            };
            w.run(scatter, vec![x.zeros_like(), at, g.clone()])?
        }
        Op::Expand(_) => w.reduced(g.clone(), x),
        Op::Slice(ranges) => w.run(
            Op::SliceAssign(ranges.clone()),
            vec![x.zeros_like(), g.clone()],
        )?,
        Op::Cat { dim } => {
            let mut start = 0;
            let mut shares = Vec::with_capacity(operands.len());
            for (operand, wanted) in operands.iter().zip(wanted) {
                let shape = operand.shape();
                let whole = |(at, &size): (usize, &usize)| {
                    let from = if at == *dim { start } else { 0 };
                    SliceDim {
                        start: Dim::fixed(from as isize),
                        end: Some(Dim::fixed((from + size) as isize)),
                        step: 1,
                    }
                };
                let ranges = shape.iter().enumerate().map(whole).collect();
                let part = wanted.then(|| w.run(Op::Slice(ranges), vec![g.clone()]));
                shares.push(part.transpose()?);
                start += shape[*dim];
            }
            return Ok(Some(shares));
        }
        _ => return pair(&w, op, operands, g, wanted),
    };
    let mut shares = vec![None; operands.len()];
    shares[0] = Some(first);
    Ok(Some(shares))
}

/// The transposed convolution that undoes the geometry of a convolution of `x` with `weight`.
fn transposed(geometry: &ConvGeometry, x: &Value, weight: &Value, g: &Value) -> ConvGeometry {
    let (lengths, kernel, outputs) = (x.shape(), weight.shape(), g.shape());
    let rest = (0..geometry.stride.len()).map(|dim| {
        let (before, after) = geometry.padding[dim];
        let reach = geometry.dilation[dim] * (kernel[dim + 2] - 1) + 1;
        let covered = (outputs[dim + 2] - 1) * geometry.stride[dim] + reach;
        (lengths[dim + 2] + before + after).saturating_sub(covered)
    });
    ConvGeometry {
        padding_out: rest.collect(),
        ..geometry.clone()
    }
}

/// Operations of two operands that may both be wanted.
fn pair(
    w: &Writer<'_>,
    op: &Op,
    operands: &[Value],
    g: &Value,
    wanted: &[bool],
) -> Result<Option<Vec<Option<Value>>>, Error> {
    let mut shares = vec![None; operands.len()];
    let is_wanted = |i: usize| wanted.get(i) == Some(&true);
    match (op, operands) {
        (Op::Binary(Binary::Mul), [l, r]) => {
            if is_wanted(0) {
                shares[0] = Some(w.reduced(w.times(g, r)?, l));
            }
            if is_wanted(1) {
                shares[1] = Some(w.reduced(w.times(g, l)?, r));
            }
        }
        (Op::Binary(Binary::Div), [l, r]) => {
            let quotient = w.binary(Binary::Div, g, r)?;
            if is_wanted(1) {
                let ratio = w.binary(Binary::Div, l, r)?;
                let share = w.scaled(&w.times(&quotient, &ratio)?, -1.0)?;
                shares[1] = Some(w.reduced(share, r));
            }
            if is_wanted(0) {
                shares[0] = Some(w.reduced(quotient, l));
            }
        }
        (Op::MatMul, [l, r]) => {
            if is_wanted(0) {
                let share = w.run(Op::MatMul, vec![g.clone(), w.swapped(r)?])?;
                shares[0] = Some(w.reduced(share, l));
            }
            if is_wanted(1) {
                let share = w.run(Op::MatMul, vec![w.swapped(l)?, g.clone()])?;
                shares[1] = Some(w.reduced(share, r));
            }
        }
        (Op::MaskWhere, [x, mask, value]) => {
            let nothing = || g.zeros_like();
            if is_wanted(0) {
                let share = w.run(Op::MaskWhere, vec![g.clone(), mask.clone(), nothing()])?;
                shares[0] = Some(w.reduced(share, x));
            }
            if is_wanted(2) && value.kind() == Kind::Float {
                let share = w.run(Op::MaskWhere, vec![nothing(), mask.clone(), g.clone()])?;
                shares[2] = Some(w.reduced(share, value));
            }
        }
        (Op::MaskFill(_), [x, mask]) => {
            let share = w.run(
                Op::MaskFill(Number::Float(0.0)),
                vec![g.clone(), mask.clone()],
            )?;
            shares[0] = Some(w.reduced(share, x));
        }
        _ => return Ok(None),
    }
    Ok(Some(shares))
}
