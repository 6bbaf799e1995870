//! The elementwise operators: functions, arithmetic, comparisons and casts.

use attr_core::Kind;
use attr_core::op::{Binary, Compare, Number, Op, Unary};
use ndarray::{ArrayD, IxDyn};

use super::Operator;
use crate::call::{Call, Outcome};
use crate::host::Host;
use crate::item::{Item, broadcast};
use crate::weights::kind_of;

pub(crate) fn find(op: &str) -> Option<Operator> {
    Some(match op {
        "Abs" => |c| unary(c, Unary::Abs),
        "Acos" => |c| unary(c, Unary::Acos),
        "Acosh" => |c| unary(c, Unary::Acosh),
        "Asin" => |c| unary(c, Unary::Asin),
        "Asinh" => |c| unary(c, Unary::Asinh),
        "Atan" => |c| unary(c, Unary::Atan),
        "Atanh" => |c| unary(c, Unary::Atanh),
        "Ceil" => |c| unary(c, Unary::Ceil),
        "Cos" => |c| unary(c, Unary::Cos),
        "Cosh" => |c| unary(c, Unary::Cosh),
        "Erf" => |c| unary(c, Unary::Erf),
        "Exp" => |c| unary(c, Unary::Exp),
        "Floor" => |c| unary(c, Unary::Floor),
        "IsNaN" => |c| unary(c, Unary::IsNan),
        "IsInf" => is_inf,
        "Log" => |c| unary(c, Unary::Log),
        "Neg" => |c| unary(c, Unary::Neg),
        "Not" => |c| unary(c, Unary::Not),
        "Reciprocal" => |c| unary(c, Unary::Recip),
        "Round" => |c| unary(c, Unary::Round),
        "Sign" => |c| unary(c, Unary::Sign),
        "Sin" => |c| unary(c, Unary::Sin),
        "Sinh" => |c| unary(c, Unary::Sinh),
        "Sqrt" => |c| unary(c, Unary::Sqrt),
        "Tan" => |c| unary(c, Unary::Tan),
        "Tanh" => |c| unary(c, Unary::Tanh),
        "Relu" => relu,
        "Sigmoid" => |c| map(c, Op::Sigmoid),
        "LeakyRelu" => |c| {
            let slope = c.float("alpha", 0.01);
            map(c, Op::LeakyRelu { slope })
        },
        "HardSigmoid" => |c| {
            let (alpha, beta) = (c.float("alpha", 0.2), c.float("beta", 0.5));
            map(c, Op::HardSigmoid { alpha, beta })
        },
        "HardSwish" => hard_swish,
        "Gelu" => gelu,
        "Elu" => |c| exponential(c, 1.0, c.float("alpha", 1.0), 1.0),
        "Celu" => |c| {
            let alpha = c.float("alpha", 1.0);
            exponential(c, 1.0, alpha, alpha)
        },
        "Selu" => |c| {
            let gamma = c.float("gamma", 1.050_701);
            exponential(c, gamma, c.float("alpha", 1.673_263_2), 1.0)
        },
        "Mish" => mish,
        "Swish" => swish,
        "Softplus" => |c| Ok(vec![softplus(c, c.input(0)?)?]),
        "Softsign" => softsign,
        "ThresholdedRelu" => thresholded_relu,
        "Shrink" => shrink,
        "PRelu" => prelu,
        "Clip" => clip,
        "Add" => |c| binary(c, Binary::Add),
        "Sub" => |c| binary(c, Binary::Sub),
        "Mul" => |c| binary(c, Binary::Mul),
        "Div" => |c| binary(c, Binary::Div),
        "Pow" => pow,
        "Mod" => modulo,
        "And" => |c| binary(c, Binary::And),
        "Or" => |c| binary(c, Binary::Or),
        "Xor" => |c| binary(c, Binary::Xor),
        "BitwiseAnd" => |c| binary(c, Binary::BitwiseAnd),
        "BitwiseOr" => |c| binary(c, Binary::BitwiseOr),
        "BitwiseXor" => |c| binary(c, Binary::BitwiseXor),
        "Max" => |c| fold(c, |c, a, b| c.extreme(a, b, false)),
        "Min" => |c| fold(c, |c, a, b| c.extreme(a, b, true)),
        "Sum" => |c| fold(c, |c, a, b| c.add(a, b)),
        "Mean" => mean,
        "Equal" => |c| compare(c, Compare::Equal),
        "Greater" => |c| compare(c, Compare::Greater),
        "GreaterOrEqual" => |c| compare(c, Compare::GreaterEqual),
        "Less" => |c| compare(c, Compare::Lower),
        "LessOrEqual" => |c| compare(c, Compare::LowerEqual),
        "Where" => |c| Ok(vec![c.choose(c.input(0)?, c.input(1)?, c.input(2)?)?]),
        "Cast" => cast,
        "CastLike" => |c| Ok(vec![c.cast(c.input(0)?, c.input(1)?.kind)?]),
        "Identity" => |c| Ok(vec![c.input(0)?.clone()]),
        "Dropout" => dropout,
        _ => return None,
    })
}

/// Returns the node's input, which must be floating point.
fn float<'a>(c: &'a Call<'_>) -> Result<&'a Item, String> {
    let x = c.input(0)?;
    match x.kind {
        Kind::Float => Ok(x),
        kind => Err(format!("its input is {kind:?}, but Float is needed")),
    }
}

fn unary(c: &Call<'_>, f: Unary) -> Outcome {
    let x = c.input(0)?;
    let whole = matches!(f, Unary::Abs | Unary::Neg | Unary::Sign);
    match (x.kind, f) {
        (Kind::Bool, Unary::Not) | (Kind::Float, _) => {}
        (Kind::Int, _) if whole => {}
        (kind, f) => return Err(format!("{f:?} of {kind:?} does not exist")),
    }
    Ok(vec![c.unary(f, x)?])
}

fn map(c: &Call<'_>, op: Op) -> Outcome {
    Ok(vec![c.map(op, float(c)?)?])
}

fn relu(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    match x.kind {
        Kind::Float => map(c, Op::Relu),
        _ => Ok(vec![c.extreme(x, &Host::int(0).into(), false)?]),
    }
}

fn is_inf(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    let limit = |value: f32| Item::from(Host::float(value));
    let (up, down) = (
        c.flag("detect_positive", true),
        c.flag("detect_negative", true),
    );
    Ok(vec![match (up, down) {
        (true, true) => c.unary(Unary::IsInf, x)?,
        (true, false) => c.compare(Compare::Equal, x, &limit(f32::INFINITY))?,
        (false, true) => c.compare(Compare::Equal, x, &limit(f32::NEG_INFINITY))?,
        (false, false) => c.compare(Compare::Lower, x, &limit(f32::NEG_INFINITY))?,
    }])
}

fn hard_swish(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    let (alpha, beta) = (1.0 / 6.0, 0.5);
    Ok(vec![c.mul(x, &c.map(Op::HardSigmoid { alpha, beta }, x)?)?])
}

fn gelu(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    if c.text("approximate", "none") == "none" {
        return map(c, Op::Gelu);
    }
    // 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
    let cube = c.with_number(Binary::Pow, x, 3.0)?;
    let inner = c.add(x, &c.with_number(Binary::Mul, &cube, 0.044_715)?)?;
    let inner = c.with_number(Binary::Mul, &inner, (2.0 / std::f64::consts::PI).sqrt())?;
    let gate = c.with_number(Binary::Add, &c.unary(Unary::Tanh, &inner)?, 1.0)?;
    Ok(vec![c.mul(&c.with_number(Binary::Mul, x, 0.5)?, &gate)?])
}

/// `gamma * (max(0, x) + min(0, alpha * (exp(x / scale) - 1)))`: ELU, CELU and SELU.
fn exponential(c: &Call<'_>, gamma: f64, alpha: f64, scale: f64) -> Outcome {
    let x = float(c)?;
    if scale == 0.0 {
        return Err("alpha is 0".into());
    }
    // Clamped first: if the branch not taken overflowed, its gradient would be NaN.
    let below = c.map(
        Op::Clamp {
            min: None,
            max: Some(Number::Float(0.0)),
        },
        x,
    )?;
    let grown = c.unary(
        Unary::Exp,
        &c.with_number(Binary::Mul, &below, 1.0 / scale)?,
    )?;
    let curve = c.with_number(
        Binary::Mul,
        &c.with_number(Binary::Sub, &grown, 1.0)?,
        alpha,
    )?;
    let zero = Host::float(0.0).into();
    let result = c.choose(&c.compare(Compare::Greater, x, &zero)?, x, &curve)?;
    Ok(vec![if gamma == 1.0 {
        result
    } else {
        c.with_number(Binary::Mul, &result, gamma)?
    }])
}

/// `ln(1 + exp(x)) = max(x, 0) + ln(1 + exp(-|x|))`, as `-log_sigmoid(-x)`.
pub(crate) fn softplus(c: &Call<'_>, x: &Item) -> Result<Item, String> {
    c.unary(
        Unary::Neg,
        &c.map(Op::LogSigmoid, &c.unary(Unary::Neg, x)?)?,
    )
}

fn mish(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    Ok(vec![c.mul(x, &c.unary(Unary::Tanh, &softplus(c, x)?)?)?])
}

fn swish(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    let scaled = match c.float("alpha", 1.0) {
        1.0 => x.clone(),
        alpha => c.with_number(Binary::Mul, x, alpha)?,
    };
    Ok(vec![c.mul(x, &c.map(Op::Sigmoid, &scaled)?)?])
}

fn softsign(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    let below = c.with_number(Binary::Add, &c.unary(Unary::Abs, x)?, 1.0)?;
    Ok(vec![c.div(x, &below)?])
}

fn number(value: f64) -> Item {
    Host::float(value as f32).into()
}

fn thresholded_relu(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    let above = c.compare(Compare::Greater, x, &number(c.float("alpha", 1.0)))?;
    let zeros = c.with_number(Binary::Mul, x, 0.0)?;
    Ok(vec![c.choose(&above, x, &zeros)?])
}

fn shrink(c: &Call<'_>) -> Outcome {
    let x = float(c)?;
    let (bias, lambda) = (c.float("bias", 0.0), c.float("lambd", 0.5));
    let zeros = c.with_number(Binary::Mul, x, 0.0)?;
    let above = c.compare(Compare::Greater, x, &number(lambda))?;
    let below = c.compare(Compare::Lower, x, &number(-lambda))?;
    let lowered = c.with_number(Binary::Sub, x, bias)?;
    let raised = c.with_number(Binary::Add, x, bias)?;
    let rest = c.choose(&below, &raised, &zeros)?;
    Ok(vec![c.choose(&above, &lowered, &rest)?])
}

/// Uses PReLU for one slope or one slope per channel, and broadcasts other slopes.
fn prelu(c: &Call<'_>) -> Outcome {
    let (x, slope) = (float(c)?, c.input(1)?);
    let aligned = c.lift(slope, x.rank())?;
    let channelwise = x.rank() >= 2
        && (0..x.rank()).all(|d| d == 1 || aligned.shape[d] == 1)
        && (aligned.shape[1] == x.shape[1] || aligned.shape[1] == 1);
    if channelwise && !slope.active {
        return Ok(vec![c.record(Op::PRelu, &[x, &aligned])?]);
    }
    let above = c.compare(Compare::Greater, x, &number(0.0))?;
    Ok(vec![c.choose(&above, x, &c.mul(slope, x)?)?])
}

fn clip(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let limit = |i: usize, name: &str| -> Result<Option<Item>, String> {
        match (c.attribute(name), c.optional(i)) {
            (Some(_), _) => Ok(Some(number(c.float(name, 0.0)))),
            (None, Some(limit)) if limit.elements() == 1 => {
                let rank = x.rank().min(limit.rank());
                c.reshape(limit, &vec![1; rank]).map(Some)
            }
            (None, Some(limit)) => Err(format!("its limit has shape {:?}", limit.shape)),
            (None, None) => Ok(None),
        }
    };
    let (min, max) = (limit(1, "min")?, limit(2, "max")?);
    let known = |limit: &Option<Item>| limit.as_ref().map(Item::scalar);
    if x.host.is_none() && x.kind != Kind::Bool {
        match (known(&min), known(&max)) {
            (None, None) => return Ok(vec![x.clone()]),
            (Some(Some(min)), Some(Some(max))) if min.elem::<f64>() <= max.elem::<f64>() => {
                let (min, max) = (Some(min), Some(max));
                return Ok(vec![c.map(Op::Clamp { min, max }, x)?]);
            }
            _ => {}
        }
    }
    let mut result = x.clone();
    if let Some(min) = &min {
        result = c.extreme(&result, min, false)?;
    }
    if let Some(max) = &max {
        result = c.extreme(&result, max, true)?;
    }
    Ok(vec![result])
}

fn binary(c: &Call<'_>, f: Binary) -> Outcome {
    let (a, b) = (c.input(0)?, c.input(1)?);
    let fits = match f {
        Binary::And | Binary::Or | Binary::Xor => a.kind == Kind::Bool,
        Binary::BitwiseAnd | Binary::BitwiseOr | Binary::BitwiseXor => a.kind == Kind::Int,
        _ => a.kind != Kind::Bool,
    };
    if fits {
        Ok(vec![c.binary(f, a, b)?])
    } else {
        Err(format!("{f:?} of {:?} does not exist", a.kind))
    }
}

/// Computes a power; the exponent may have another type than the base.
fn pow(c: &Call<'_>) -> Outcome {
    let (base, exponent) = (c.input(0)?, c.input(1)?);
    if base.kind == Kind::Bool || exponent.kind == Kind::Bool {
        return Err("powers of booleans are not supported".into());
    }
    if base.kind == exponent.kind && base.kind == Kind::Float {
        return Ok(vec![c.binary(Binary::Pow, base, exponent)?]);
    }
    let kind = base.kind;
    if let (Kind::Int, Kind::Int, Some(Number::Int(p @ 1..=64))) =
        (kind, exponent.kind, exponent.scalar())
    {
        let product = (1..p).try_fold(base.clone(), |product, _| c.mul(&product, base))?;
        return Ok(vec![
            c.expand(&product, &broadcast(&base.shape, &exponent.shape)?)?,
        ]);
    }
    let (x, p) = (c.cast(base, Kind::Float)?, c.cast(exponent, Kind::Float)?);
    Ok(vec![c.cast(&c.binary(Binary::Pow, &x, &p)?, kind)?])
}

fn modulo(c: &Call<'_>) -> Outcome {
    let (a, b) = (c.input(0)?, c.input(1)?);
    if a.kind == Kind::Bool {
        return Err("remainders of booleans are not supported".into());
    }
    if !c.flag("fmod", false) {
        return Ok(vec![c.binary(Binary::Remainder, a, b)?]);
    }
    // With the sign of the dividend: a - trunc(a / b) * b. Integer division truncates.
    if a.kind == Kind::Int && b.kind == Kind::Int {
        return Ok(vec![c.sub(a, &c.mul(&c.div(a, b)?, b)?)?]);
    }
    let (x, y) = (c.cast(a, Kind::Float)?, c.cast(b, Kind::Float)?);
    let whole = c.unary(Unary::Trunc, &c.div(&x, &y)?)?;
    Ok(vec![c.cast(&c.sub(&x, &c.mul(&whole, &y)?)?, a.kind)?])
}

fn fold(c: &Call<'_>, f: fn(&Call<'_>, &Item, &Item) -> Result<Item, String>) -> Outcome {
    let mut result = c.input(0)?.clone();
    for i in 1..c.inputs.len() {
        result = f(c, &result, c.input(i)?)?;
    }
    Ok(vec![result])
}

fn mean(c: &Call<'_>) -> Outcome {
    let sum = fold(c, |c, a, b| c.add(a, b))?.remove(0);
    let share = 1.0 / c.inputs.len() as f64;
    Ok(vec![c.with_number(Binary::Mul, &sum, share)?])
}

fn compare(c: &Call<'_>, f: Compare) -> Outcome {
    let (a, b) = (c.input(0)?, c.input(1)?);
    if a.kind == Kind::Bool && f != Compare::Equal {
        return Err("booleans have no order".into());
    }
    Ok(vec![c.compare(f, a, b)?])
}

/// Casts to another kind; all float types are one kind, as are all integer types.
fn cast(c: &Call<'_>) -> Outcome {
    let to = c.int("to", 1);
    let kind = i32::try_from(to).ok().and_then(kind_of);
    let kind = kind.ok_or_else(|| format!("element type {to} is not supported"))?;
    let cast = c.cast(c.input(0)?, kind)?;
    // Narrow integers wrap around.
    let (bits, signed) = match to {
        2 => (8, false),
        3 => (8, true),
        4 => (16, false),
        5 => (16, true),
        _ => return Ok(vec![cast]),
    };
    let int = |value: i64| Item::from(Host::int(value));
    let (span, half) = (1i64 << bits, if signed { 1i64 << (bits - 1) } else { 0 });
    let shifted = c.add(&cast, &int(half))?;
    let wrapped = c.binary(Binary::Remainder, &shifted, &int(span))?;
    Ok(vec![c.sub(&wrapped, &int(half))?])
}

/// Returns the input unchanged, as at inference; the mask, if requested, is all true.
fn dropout(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let training = c.known_optional(2)?;
    if training.is_some_and(|flag| flag.first() == Some(&1)) {
        return Err("it is in training mode; export the model for inference".into());
    }
    let mask = Host::Bool(ArrayD::from_elem(IxDyn(&[]), true));
    let mut outputs = vec![x.clone()];
    if c.node.outputs.len() > 1 {
        outputs.push(c.expand(&mask.into(), &x.shape)?);
    }
    Ok(outputs)
}
