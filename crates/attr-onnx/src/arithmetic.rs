//! Elementwise arithmetic and reductions on the host, for values known while a model is traced.
//! `None` leaves an operation to the device.

use attr_core::op::{Binary, Compare, Reduce, Unary};
use ndarray::{ArrayD, Axis, IxDyn, Zip};

use crate::host::Host;

pub(crate) fn unary(f: Unary, host: &Host) -> Option<Host> {
    Some(match (host, f) {
        (Host::Float(a), Unary::Neg) => Host::Float(a.mapv(|v| -v)),
        (Host::Float(a), Unary::Abs) => Host::Float(a.mapv(f32::abs)),
        (Host::Float(a), Unary::Floor) => Host::Float(a.mapv(f32::floor)),
        (Host::Float(a), Unary::Ceil) => Host::Float(a.mapv(f32::ceil)),
        (Host::Float(a), Unary::Round) => Host::Float(a.mapv(f32::round_ties_even)),
        (Host::Float(a), Unary::Sqrt) => Host::Float(a.mapv(f32::sqrt)),
        (Host::Float(a), Unary::Exp) => Host::Float(a.mapv(f32::exp)),
        (Host::Float(a), Unary::Log) => Host::Float(a.mapv(f32::ln)),
        (Host::Float(a), Unary::Recip) => Host::Float(a.mapv(f32::recip)),
        (Host::Float(a), Unary::IsNan) => Host::Bool(a.mapv(f32::is_nan)),
        (Host::Float(a), Unary::IsInf) => Host::Bool(a.mapv(f32::is_infinite)),
        (Host::Int(a), Unary::Neg) => Host::Int(a.mapv(i64::wrapping_neg)),
        (Host::Int(a), Unary::Abs) => Host::Int(a.mapv(i64::wrapping_abs)),
        (Host::Int(a), Unary::Sign) => Host::Int(a.mapv(i64::signum)),
        (Host::Bool(a), Unary::Not) => Host::Bool(a.mapv(|v| !v)),
        _ => return None,
    })
}

/// Combines two arrays elementwise after broadcasting them to `shape`.
fn zip<A: Clone, B: Clone, R>(
    a: &ArrayD<A>,
    b: &ArrayD<B>,
    shape: &[usize],
    f: impl Fn(A, B) -> R,
) -> Result<ArrayD<R>, String> {
    let misfit = || "its operands cannot be broadcast together".to_string();
    let a = a.broadcast(IxDyn(shape)).ok_or_else(misfit)?;
    let b = b.broadcast(IxDyn(shape)).ok_or_else(misfit)?;
    Ok(Zip::from(a)
        .and(b)
        .map_collect(|a, b| f(a.clone(), b.clone())))
}

/// Computes binary arithmetic, or returns none to leave it to the device.
pub(crate) fn binary(
    f: Binary,
    a: &Host,
    b: &Host,
    shape: &[usize],
) -> Result<Option<Host>, String> {
    Ok(Some(match (a, b) {
        (Host::Float(a), Host::Float(b)) => {
            let f: fn(f32, f32) -> f32 = match f {
                Binary::Add => |a, b| a + b,
                Binary::Sub => |a, b| a - b,
                Binary::Mul => |a, b| a * b,
                Binary::Div => |a, b| a / b,
                Binary::Pow => f32::powf,
                // With the sign of the divisor, like Burn's remainder.
                Binary::Remainder => |a, b| a - (a / b).floor() * b,
                _ => return Ok(None),
            };
            Host::Float(zip(a, b, shape, f)?)
        }
        (Host::Int(x), Host::Int(y)) => {
            let divides = matches!(f, Binary::Div | Binary::Remainder);
            if divides && y.iter().any(|&v| v == 0) {
                return Err("it divides by zero".into());
            }
            let f: fn(i64, i64) -> i64 = match f {
                Binary::Add => i64::wrapping_add,
                Binary::Sub => i64::wrapping_sub,
                Binary::Mul => i64::wrapping_mul,
                Binary::Div => i64::wrapping_div,
                Binary::Remainder => |a, b| a.wrapping_rem(b).wrapping_add(b).wrapping_rem(b),
                Binary::Pow => |a, b| a.wrapping_pow(u32::try_from(b).unwrap_or(0)),
                _ => return Ok(None),
            };
            Host::Int(zip(x, y, shape, f)?)
        }
        (Host::Bool(a), Host::Bool(b)) => {
            let f: fn(bool, bool) -> bool = match f {
                Binary::And => |a, b| a & b,
                Binary::Or => |a, b| a | b,
                Binary::Xor => |a, b| a ^ b,
                _ => return Ok(None),
            };
            Host::Bool(zip(a, b, shape, f)?)
        }
        _ => return Ok(None),
    }))
}

pub(crate) fn compare(f: Compare, a: &Host, b: &Host, shape: &[usize]) -> Result<Host, String> {
    fn by<T: PartialOrd>(f: Compare) -> fn(T, T) -> bool {
        match f {
            Compare::Equal => |a, b| a == b,
            Compare::NotEqual => |a, b| a != b,
            Compare::Greater => |a, b| a > b,
            Compare::GreaterEqual => |a, b| a >= b,
            Compare::Lower => |a, b| a < b,
            Compare::LowerEqual => |a, b| a <= b,
        }
    }
    Ok(Host::Bool(match (a, b) {
        (Host::Float(a), Host::Float(b)) => zip(a, b, shape, by(f))?,
        (Host::Int(a), Host::Int(b)) => zip(a, b, shape, by(f))?,
        (Host::Bool(a), Host::Bool(b)) => zip(a, b, shape, by(f))?,
        _ => return Err("its operands are of different kinds".into()),
    }))
}

pub(crate) fn choose(
    condition: &Host,
    yes: &Host,
    no: &Host,
    shape: &[usize],
) -> Result<Host, String> {
    fn inner<T: Clone>(
        condition: &ArrayD<bool>,
        yes: &ArrayD<T>,
        no: &ArrayD<T>,
        shape: &[usize],
    ) -> Result<ArrayD<T>, String> {
        let pairs = zip(yes, no, shape, |yes, no| (yes, no))?;
        zip(
            condition,
            &pairs,
            shape,
            |c, (yes, no)| if c { yes } else { no },
        )
    }
    let Host::Bool(condition) = condition else {
        return Err("its condition is not boolean".into());
    };
    Ok(match (yes, no) {
        (Host::Float(yes), Host::Float(no)) => Host::Float(inner(condition, yes, no, shape)?),
        (Host::Int(yes), Host::Int(no)) => Host::Int(inner(condition, yes, no, shape)?),
        (Host::Bool(yes), Host::Bool(no)) => Host::Bool(inner(condition, yes, no, shape)?),
        _ => return Err("its operands are of different kinds".into()),
    })
}

pub(crate) fn reduce(f: Reduce, host: &Host, dim: usize) -> Option<Host> {
    if host.shape()[dim] == 0 && !matches!(f, Reduce::Sum | Reduce::Prod) {
        return None;
    }
    let along = Axis(dim);
    Some(match host {
        Host::Float(a) => {
            let reduced = match f {
                Reduce::Sum => a.sum_axis(along),
                Reduce::Mean => a.mean_axis(along)?,
                Reduce::Prod => a.fold_axis(along, 1.0, |p, v| p * v),
                Reduce::Max => a.fold_axis(along, f32::NEG_INFINITY, |m, v| m.max(*v)),
                Reduce::Min => a.fold_axis(along, f32::INFINITY, |m, v| m.min(*v)),
                _ => return None,
            };
            Host::Float(reduced.insert_axis(along))
        }
        Host::Int(a) => {
            let reduced = match f {
                Reduce::Sum => a.fold_axis(along, 0, |s: &i64, v| s.wrapping_add(*v)),
                Reduce::Prod => a.fold_axis(along, 1, |p: &i64, v| p.wrapping_mul(*v)),
                Reduce::Max => a.fold_axis(along, i64::MIN, |m, v| *m.max(v)),
                Reduce::Min => a.fold_axis(along, i64::MAX, |m, v| *m.min(v)),
                _ => return None,
            };
            Host::Int(reduced.insert_axis(along))
        }
        Host::Bool(_) => return None,
    })
}
