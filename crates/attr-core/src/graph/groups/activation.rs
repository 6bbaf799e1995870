//! Patterns of elementwise nonlinearities that are recorded as several operations: by Burn, by
//! readers of model files, or from code written by hand.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::GroupKind;
use super::pattern::{Pattern, near};
use crate::graph::op::{Binary, Compare, Op, Unary, number};
use crate::graph::{SliceDim, SlotId};

/// `sqrt(2 / pi)`.
const SQRT_2_OVER_PI: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// The constants of SELU.
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_GAMMA: f64 = 1.050_700_987_355_480_5;
/// Above this threshold, a softplus that returns its operand is right to five digits.
const LEAST_THRESHOLD: f64 = 10.0;

/// Finds one nonlinearity whose output is a slot, and its operand.
type Matcher = fn(&mut Pattern<'_>, SlotId) -> Option<(GroupKind, SlotId)>;

/// The nonlinearity whose output is `slot`, and its operand.
pub(super) fn activation(p: &mut Pattern<'_>, slot: SlotId) -> Option<(GroupKind, SlotId)> {
    // The operation of the last node tells which patterns can match at all.
    let (op, _) = p.attempt(|p| p.node(slot, Some))?;
    p.nodes.clear();
    let patterns: &[Matcher] = match op {
        Op::Binary(Binary::Mul) => &[swish, mish, hard_swish, gelu, glu],
        Op::Binary(Binary::Div) => &[softsign],
        Op::Binary(Binary::Sub) => &[tanhshrink],
        Op::BinaryScalar(Binary::Mul | Binary::Div, _) => &[gelu, hard_swish, selu, softplus],
        Op::MaskWhere => &[exponential, softplus],
        Op::MaskFill(_) => &[shrink, threshold],
        Op::Unary(Unary::Log | Unary::Log1p | Unary::Neg) => &[softplus],
        _ => return None,
    };
    patterns
        .iter()
        .find_map(|pattern| p.attempt(|p| pattern(p, slot)))
}

/// `x * sigmoid(x)`, or `x * sigmoid(beta x)`.
fn swish(p: &mut Pattern<'_>, slot: SlotId) -> Option<(GroupKind, SlotId)> {
    p.either(slot, Binary::Mul, |p, gate, x| {
        let inner = p.exactly(gate, &Op::Sigmoid)?;
        if inner == x {
            return Some((GroupKind::Silu, x));
        }
        let (beta, inner) = p.times(inner)?;
        if inner != x {
            return None;
        }
        let kind = if beta == 1.0 {
            GroupKind::Silu
        } else {
            GroupKind::Swish { beta }
        };
        Some((kind, x))
    })
}

/// `x * tanh(softplus(x))`.
fn mish(p: &mut Pattern<'_>, slot: SlotId) -> Option<(GroupKind, SlotId)> {
    p.either(slot, Binary::Mul, |p, gate, x| {
        let inner = p.unary(gate, Unary::Tanh)?;
        match softplus(p, inner)? {
            (GroupKind::Softplus { beta: 1.0 }, own) if own == x => Some((GroupKind::Mish, x)),
            _ => None,
        }
    })
}

/// `x * clamp(x / 6 + 1/2, 0, 1)`, or `x * clamp(x + 3, 0, 6) / 6`.
fn hard_swish(p: &mut Pattern<'_>, slot: SlotId) -> Option<(GroupKind, SlotId)> {
    let sixth = 1.0 / 6.0;
    let fused = p.either(slot, Binary::Mul, |p, gate, x| {
        let accept = |op: &Op| match op {
            Op::HardSigmoid { alpha, beta } => {
                (near(*alpha, sixth) && near(*beta, 0.5)).then_some(())
            }
            _ => None,
        };
        (p.map(gate, accept)?.1 == x).then_some(x)
    });
    // The gate times six.
    let gate = |p: &mut Pattern<'_>, gate: SlotId, x: SlotId| {
        let accept = |op: &Op| match op {
            Op::Clamp {
                min: Some(min),
                max: Some(max),
            } => (number(min) == 0.0 && number(max) == 6.0).then_some(()),
            _ => None,
        };
        let (_, inner) = p.map(gate, accept)?;
        (p.shifted(inner, 3.0)? == x).then_some(x)
    };
    let x = fused
        .or_else(|| {
            p.attempt(|p| {
                let product = p.scaled(slot, sixth)?;
                p.either(product, Binary::Mul, gate)
            })
        })
        .or_else(|| {
            p.either(slot, Binary::Mul, |p, scaled, x| {
                let clamped = p.scaled(scaled, sixth)?;
                gate(p, clamped, x)
            })
        })?;
    Some((GroupKind::HardSwish, x))
}

/// `x / 2 * (1 + erf(x / sqrt(2)))` and its approximation
/// `x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`, with the half on any factor.
fn gelu(p: &mut Pattern<'_>, slot: SlotId) -> Option<(GroupKind, SlotId)> {
    // The half may scale the product, the gate or x.
    p.attempt(|p| {
        let product = p.scaled(slot, 0.5)?;
        p.either(product, Binary::Mul, gelu_gate)
    })
    .or_else(|| {
        p.either(slot, Binary::Mul, |p, half, x| {
            let gate = p.scaled(half, 0.5)?;
            gelu_gate(p, gate, x)
        })
    })
    .or_else(|| {
        p.either(slot, Binary::Mul, |p, half, gate| {
            let x = p.scaled(half, 0.5)?;
            gelu_gate(p, gate, x)
        })
    })
}

/// The gate for this `x`, a factor between 0 and 2.
fn gelu_gate(p: &mut Pattern<'_>, gate: SlotId, x: SlotId) -> Option<(GroupKind, SlotId)> {
    let curve = p.shifted(gate, 1.0)?;
    if let Some(inner) = p.unary(curve, Unary::Erf) {
        return (p.scaled(inner, FRAC_1_SQRT_2)? == x).then_some((GroupKind::Gelu, x));
    }
    let inner = p.unary(curve, Unary::Tanh)?;
    let sum = p.scaled(inner, SQRT_2_OVER_PI)?;
    p.either(sum, Binary::Add, |p, cubic, own| {
        let cube = p.scaled(cubic, 0.044_715)?;
        (own == x && p.cube(cube)? == x).then_some((GroupKind::GeluTanh, x))
    })
}

/// The ranges of a slice.
fn ranges(op: &Op) -> Option<&[SliceDim]> {
    match op {
        Op::Slice(ranges) => Some(ranges),
        _ => None,
    }
}

/// The first half along a dimension times the sigmoid of the second.
fn glu(p: &mut Pattern<'_>, slot: SlotId) -> Option<(GroupKind, SlotId)> {
    p.either(slot, Binary::Mul, |p, gate, first| {
        let second = p.exactly(gate, &Op::Sigmoid)?;
        let (first, x) = p.map(first, ranges)?;
        let (second, own) = p.map(second, ranges)?;
        let shape = p.shape(x);
        if own != x || first.len() != shape.len() || second.len() != shape.len() {
            return None;
        }
        let start = |range: &SliceDim| (range.step == 1).then_some(range.start);
        let end = |range: &SliceDim, dim: usize| range.end.unwrap_or(shape[dim]);
        let whole = |range: &SliceDim, dim: usize| {
            start(range).is_some_and(|s| s.fixed == 0 && s.per_row == 0)
                && end(range, dim) == shape[dim]
        };
        let mut cut = (0..shape.len()).filter(|&d| !whole(&first[d], d) || !whole(&second[d], d));
        let (Some(dim), None) = (cut.next(), cut.next()) else {
            return None;
        };
        let half = isize::try_from(p.size(x, dim)?).ok()? / 2;
        let at = |size: isize| crate::op::Dim::fixed(size);
        let halves = start(&first[dim])? == at(0)
            && end(&first[dim], dim) == at(half)
            && start(&second[dim])? == at(half)
            && end(&second[dim], dim) == at(2 * half)
            && shape[dim] == at(2 * half);
        halves.then_some((GroupKind::Glu { dim }, x))
    })
}

/// `x / (1 + |x|)`.
fn softsign(p: &mut Pattern<'_>, slot: SlotId) -> Option<(GroupKind, SlotId)> {
    let (x, below) = p.binary(slot, Binary::Div)?;
    let magnitude = p.shifted(below, 1.0)?;
    (p.unary(magnitude, Unary::Abs)? == x).then_some((GroupKind::Softsign, x))
}

/// `x - tanh(x)`.
fn tanhshrink(p: &mut Pattern<'_>, slot: SlotId) -> Option<(GroupKind, SlotId)> {
    let (x, curve) = p.binary(slot, Binary::Sub)?;
    (p.unary(curve, Unary::Tanh)? == x).then_some((GroupKind::Tanhshrink, x))
}

/// A comparison with a number: its kind, the number and the operand.
fn comparison(p: &mut Pattern<'_>, mask: SlotId) -> Option<(Compare, f64, SlotId)> {
    let ((compare, value), x) = p.map(mask, |op| match op {
        Op::CompareScalar(compare, value) => Some((*compare, number(value))),
        _ => None,
    })?;
    Some((compare, value, x))
}

/// A tensor with a number where a mask is true: the number, the tensor and the mask.
fn filled(p: &mut Pattern<'_>, slot: SlotId) -> Option<(f64, SlotId, SlotId)> {
    let (value, node) = p.node(slot, |op| match op {
        Op::MaskFill(value) => Some(number(value)),
        _ => None,
    })?;
    match node.operands[..] {
        [x, mask] => Some((value, x, mask)),
        _ => None,
    }
}

/// Zero where `|x| <= lambda`, elsewhere `x` moved towards zero by `bias`.
fn shrink(p: &mut Pattern<'_>, slot: SlotId) -> Option<(GroupKind, SlotId)> {
    let (0.0, shrunk, mask) = filled(p, slot)? else {
        return None;
    };
    let (Compare::Lower | Compare::LowerEqual, lambda, magnitude) = comparison(p, mask)? else {
        return None;
    };
    let x = p.unary(magnitude, Unary::Abs)?;
    if shrunk == x {
        return Some((GroupKind::Shrink { lambda, bias: 0.0 }, x));
    }
    let (own, pull) = p.binary(shrunk, Binary::Sub)?;
    let (bias, sign) = p.times(pull)?;
    let same = own == x && p.unary(sign, Unary::Sign)? == x;
    same.then_some((GroupKind::Shrink { lambda, bias }, x))
}

/// `x` above a threshold, a fixed value elsewhere.
fn threshold(p: &mut Pattern<'_>, slot: SlotId) -> Option<(GroupKind, SlotId)> {
    let (value, x, mask) = filled(p, slot)?;
    let (Compare::Lower | Compare::LowerEqual, threshold, own) = comparison(p, mask)? else {
        return None;
    };
    (own == x).then_some((GroupKind::Threshold { threshold, value }, x))
}

/// A choice by the sign of x: x, what is chosen above zero, what is chosen below.
fn by_sign(p: &mut Pattern<'_>, slot: SlotId) -> Option<(SlotId, SlotId, SlotId)> {
    let (_, node) = p.node(slot, |op| (*op == Op::MaskWhere).then_some(()))?;
    let [otherwise, mask, chosen] = node.operands[..] else {
        return None;
    };
    match comparison(p, mask)? {
        (Compare::Greater | Compare::GreaterEqual, 0.0, x) => Some((x, chosen, otherwise)),
        (Compare::Lower | Compare::LowerEqual, 0.0, x) => Some((x, otherwise, chosen)),
        _ => None,
    }
}

/// `alpha * (exp(x / scale) - 1)`: alpha, the scale if there is one, and x.
fn curve(p: &mut Pattern<'_>, slot: SlotId) -> Option<(f64, Option<f64>, SlotId)> {
    let (alpha, difference) = p.times(slot).unwrap_or((1.0, slot));
    let grown = p.shifted(difference, -1.0)?;
    let mut x = p.unary(grown, Unary::Exp)?;
    let mut scale = None;
    if let Some((factor, inner)) = p.times(x) {
        (scale, x) = (Some(1.0 / factor), inner);
    }
    // The branch that is not taken must not overflow.
    let below = |op: &Op| match op {
        Op::Clamp {
            min: None,
            max: Some(max),
        } => (number(max) == 0.0).then_some(()),
        _ => None,
    };
    if let Some((_, inner)) = p.map(x, below) {
        x = inner;
    }
    Some((alpha, scale, x))
}

/// ELU, CELU, and SELU as Burn records it.
fn exponential(p: &mut Pattern<'_>, slot: SlotId) -> Option<(GroupKind, SlotId)> {
    let (x, above, below) = by_sign(p, slot)?;
    let (alpha, scale, own) = curve(p, below)?;
    if own != x {
        return None;
    }
    if above == x {
        let kind = match scale {
            Some(scale) if near(scale, alpha) => GroupKind::Celu { alpha },
            None => GroupKind::Elu { alpha },
            Some(1.0) => GroupKind::Elu { alpha },
            Some(_) => return None,
        };
        return Some((kind, x));
    }
    let selu = scale.is_none_or(|scale| scale == 1.0) && near(alpha, SELU_ALPHA * SELU_GAMMA);
    (selu && p.scaled(above, SELU_GAMMA)? == x).then_some((GroupKind::Selu, x))
}

/// SELU as a multiple of an ELU.
fn selu(p: &mut Pattern<'_>, slot: SlotId) -> Option<(GroupKind, SlotId)> {
    let inner = p.scaled(slot, SELU_GAMMA)?;
    match exponential(p, inner)? {
        (GroupKind::Elu { alpha }, x) if near(alpha, SELU_ALPHA) => Some((GroupKind::Selu, x)),
        _ => None,
    }
}

/// `ln(1 + exp(beta x)) / beta`.
fn softplus(p: &mut Pattern<'_>, slot: SlotId) -> Option<(GroupKind, SlotId)> {
    let (beta, x) = p
        .attempt(|p| plain_softplus(p, slot))
        .map(|x| (1.0, x))
        .or_else(|| p.attempt(|p| guarded_softplus(p, slot)))
        .or_else(|| p.attempt(|p| scaled_softplus(p, slot)))?;
    Some((GroupKind::Softplus { beta }, x))
}

/// `ln(1 + exp(x))` or `-log_sigmoid(-x)`.
fn plain_softplus(p: &mut Pattern<'_>, slot: SlotId) -> Option<SlotId> {
    if let Some(grown) = p.unary(slot, Unary::Log1p) {
        return p.unary(grown, Unary::Exp);
    }
    if let Some(sum) = p.unary(slot, Unary::Log) {
        let grown = p.shifted(sum, 1.0)?;
        return p.unary(grown, Unary::Exp);
    }
    let negative = p.unary(slot, Unary::Neg)?;
    let inner = p.exactly(negative, &Op::LogSigmoid)?;
    p.unary(inner, Unary::Neg)
}

/// The softplus of a multiple of x, divided by that factor.
fn scaled_softplus(p: &mut Pattern<'_>, slot: SlotId) -> Option<(f64, SlotId)> {
    let (shrink, inner) = p.times(slot)?;
    let grown = plain_softplus(p, inner)?;
    let (beta, x) = p.times(grown)?;
    near(beta * shrink, 1.0).then_some((beta, x))
}

/// Softplus as Burn records it: x above a threshold, which also limits the exponential's operand.
fn guarded_softplus(p: &mut Pattern<'_>, slot: SlotId) -> Option<(f64, SlotId)> {
    let (_, node) = p.node(slot, |op| (*op == Op::MaskWhere).then_some(()))?;
    let [curve, mask, x] = node.operands[..] else {
        return None;
    };
    let (Compare::Greater | Compare::GreaterEqual, threshold, compared) = comparison(p, mask)?
    else {
        return None;
    };
    let (shrink, inner) = p.times(curve).unwrap_or((1.0, curve));
    let limited = plain_softplus(p, inner)?;
    let (limit, scaled, own_mask) = filled(p, limited)?;
    let (beta, own) = if scaled == x {
        (1.0, x)
    } else {
        p.times(scaled)?
    };
    let same = own == x && own_mask == mask && compared == scaled && near(limit, threshold);
    (same && threshold >= LEAST_THRESHOLD && near(beta * shrink, 1.0)).then_some((beta, x))
}
