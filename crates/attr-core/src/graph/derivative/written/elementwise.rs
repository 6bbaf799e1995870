//! Derivatives of elementwise functions, and of arithmetic of two operands.

use super::{Shares, Site, is_float};
use crate::graph::derivative::gelu_derivative;
use crate::graph::op::{Binary, Compare, Number, Op, Unary, number};
use crate::{Error, Value};

pub(super) fn shares(site: &Site<'_>) -> Result<Option<Shares>, Error> {
    let (s, x, g) = (site, site.x(), site.arriving);
    let share = match s.op {
        Op::Unary(f) => match unary(s, *f)? {
            Some(share) => share,
            None => return Ok(None),
        },
        Op::BinaryScalar(f, number) => match with_number(s, *f, number)? {
            Some(share) => share,
            None => return Ok(None),
        },
        Op::Relu => s.only(g, s.kept(0)?, Compare::Greater, Number::Float(0.0))?,
        Op::LeakyRelu { slope } => {
            let below = s.scaled(g, *slope)?;
            choose(s, x, g, &below)?
        }
        Op::PRelu if s.only_first_wanted() => {
            let mut shape = vec![1; x.shape().len()];
            if let (Some(channels), [own]) = (shape.get_mut(1), &s.operands[1].shape()[..]) {
                *channels = *own;
            }
            let slope = s.operands[1].clone().reshape(&shape);
            let below = s.times(g, &slope)?;
            choose(s, x, g, &below)?
        }
        Op::Gelu => {
            let slope = gelu_derivative(x.clone().into_dispatch());
            s.times(g, &Value::from_dispatch(slope))?
        }
        Op::Sigmoid => {
            let y = s.kept(0)?;
            let slope = s.times(y, &s.line(y, -1.0, 1.0)?)?;
            s.times(g, &slope)?
        }
        Op::HardSigmoid { alpha, .. } => {
            let y = s.output()?;
            let zero = Number::Float(0.0);
            let inside = s.only(&s.scaled(g, *alpha)?, &y, Compare::Greater, zero)?;
            s.only(&inside, &y, Compare::Lower, Number::Float(1.0))?
        }
        Op::LogSigmoid => {
            let rest = s.run(Op::Sigmoid, vec![s.scaled(x, -1.0)?])?;
            s.times(g, &rest)?
        }
        Op::Clamp { min, max } => {
            let mut inside = g.clone();
            if let Some(min) = min {
                inside = s.only(&inside, x, Compare::GreaterEqual, *min)?;
            }
            if let Some(max) = max {
                inside = s.only(&inside, x, Compare::LowerEqual, *max)?;
            }
            inside
        }
        Op::Cast(_) if is_float(x) => s.run(Op::Cast(x.dtype()), vec![g.clone()])?,
        Op::Binary(f) => return binary(s, *f),
        _ => return Ok(None),
    };
    Ok(Some(s.first(share)))
}

/// `above` where `x` is positive, `below` elsewhere.
fn choose(s: &Site<'_>, x: &Value, above: &Value, below: &Value) -> Result<Value, Error> {
    let positive = Op::CompareScalar(Compare::Greater, Number::Float(0.0));
    let mask = s.run(positive, vec![x.clone()])?;
    s.run(Op::MaskWhere, vec![below.clone(), mask, above.clone()])
}

fn unary(s: &Site<'_>, f: Unary) -> Result<Option<Value>, Error> {
    let (x, g) = (s.x(), s.arriving);
    // g / √(a x² + b)
    let over_root = |a: f64, b: f64| {
        let root = s.unary(Unary::Sqrt, &s.line(&s.square(x)?, a, b)?)?;
        s.over(g, &root)
    };
    Ok(Some(match f {
        Unary::Abs => s.times(g, &s.unary(Unary::Sign, x)?)?,
        Unary::Acos => s.scaled(&over_root(-1.0, 1.0)?, -1.0)?,
        Unary::Acosh => over_root(1.0, -1.0)?,
        Unary::Asin => over_root(-1.0, 1.0)?,
        Unary::Asinh => over_root(1.0, 1.0)?,
        Unary::Atan => s.over(g, &s.line(&s.square(x)?, 1.0, 1.0)?)?,
        Unary::Atanh => s.over(g, &s.line(&s.square(x)?, -1.0, 1.0)?)?,
        Unary::Cos => s.scaled(&s.times(g, &s.unary(Unary::Sin, x)?)?, -1.0)?,
        Unary::Cosh => s.times(g, &s.unary(Unary::Sinh, x)?)?,
        Unary::Erf => {
            let bell = s.unary(Unary::Exp, &s.scaled(&s.square(x)?, -1.0)?)?;
            s.scaled(&s.times(g, &bell)?, std::f64::consts::FRAC_2_SQRT_PI)?
        }
        Unary::Exp => s.times(g, &s.output()?)?,
        Unary::Log => s.over(g, x)?,
        Unary::Log1p => s.over(g, &s.line(x, 1.0, 1.0)?)?,
        Unary::Neg => s.scaled(g, -1.0)?,
        Unary::Recip => s.scaled(&s.times(g, &s.square(&s.output()?)?)?, -1.0)?,
        Unary::Sin => s.times(g, &s.unary(Unary::Cos, x)?)?,
        Unary::Sinh => s.times(g, &s.unary(Unary::Cosh, x)?)?,
        Unary::Sqrt => s.scaled(&s.over(g, &s.output()?)?, 0.5)?,
        Unary::Tan => s.times(g, &s.line(&s.square(&s.output()?)?, 1.0, 1.0)?)?,
        Unary::Tanh => s.times(g, &s.line(&s.square(&s.output()?)?, -1.0, 1.0)?)?,
        Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc => g.zeros_like(),
        Unary::BitwiseNot | Unary::IsInf | Unary::IsNan | Unary::Not => return Ok(None),
    }))
}

fn with_number(s: &Site<'_>, f: Binary, of: &Number) -> Result<Option<Value>, Error> {
    let (x, g, c) = (s.x(), s.arriving, number(of));
    Ok(Some(match f {
        Binary::Add | Binary::Sub | Binary::Remainder => g.clone(),
        Binary::Mul => s.scaled(g, c)?,
        Binary::Div => s.scaled(g, 1.0 / c)?,
        Binary::Pow | Binary::PowInt => {
            let lower = match of {
                Number::Float(_) => Number::Float(c - 1.0),
                _ => Number::Int(c as i64 - 1),
            };
            let power = s.run(Op::BinaryScalar(f, lower), vec![x.clone()])?;
            s.scaled(&s.times(g, &power)?, c)?
        }
        _ => return Ok(None),
    }))
}

fn binary(s: &Site<'_>, f: Binary) -> Result<Option<Shares>, Error> {
    let [l, r] = s.operands else {
        return Ok(None);
    };
    let g = s.arriving;
    let shares = match f {
        Binary::Mul => s.both(|| s.times(g, r), || s.times(g, l)),
        Binary::Div => s.both(
            || s.over(g, r),
            || s.scaled(&s.over(&s.times(g, l)?, &s.square(r)?)?, -1.0),
        ),
        Binary::Remainder => s.both(
            || Ok(g.clone()),
            || {
                let whole = s.unary(Unary::Floor, &s.over(l, r)?)?;
                s.scaled(&s.times(g, &whole)?, -1.0)
            },
        ),
        Binary::Hypot => {
            let share = s.over(g, &s.output()?)?;
            s.both(|| s.times(&share, l), || s.times(&share, r))
        }
        Binary::Atan2 => {
            let square = s.binary(Binary::Add, &s.square(l)?, &s.square(r)?)?;
            let share = s.over(g, &square)?;
            s.both(
                || s.times(&share, r),
                || s.scaled(&s.times(&share, l)?, -1.0),
            )
        }
        Binary::Pow => s.both(
            || {
                let power = s.binary(f, l, &s.line(r, 1.0, -1.0)?)?;
                s.times(&s.times(g, r)?, &power)
            },
            || s.times(&s.times(g, &s.output()?)?, &s.unary(Unary::Log, l)?),
        ),
        Binary::PowInt if s.only_first_wanted() => {
            let lower = Op::BinaryScalar(Binary::Sub, Number::Int(1));
            let lower = s.run(lower, vec![r.clone()])?;
            let exponent = s.run(Op::Cast(g.dtype()), vec![r.clone()])?;
            let power = s.binary(f, l, &lower)?;
            s.both(
                || s.times(&s.times(g, &exponent)?, &power),
                || Err(Error::Internal("an integer exponent has no share")),
            )
        }
        _ => return Ok(None),
    };
    shares.map(Some)
}
