//! Patterns of normalisations that are recorded as several operations.

use super::GroupKind;
use super::pattern::Pattern;
use crate::graph::SlotId;
use crate::graph::op::{Binary, Op, Unary};

/// A normalisation: its kind, its operands (x, then the scale and the shift if it has them), and how
/// many elements are normalised together.
pub(super) struct Norm {
    pub kind: GroupKind,
    pub operands: Vec<SlotId>,
    pub together: Option<usize>,
}

/// The normalisation whose output is `slot`.
pub(super) fn norm(p: &mut Pattern<'_>, slot: SlotId) -> Option<Norm> {
    // The operation of the last node tells whether it can be one at all.
    let last = |op: &Op| match op {
        Op::Binary(Binary::Add | Binary::Mul | Binary::Div) | Op::Reshape(_) | Op::Cast(_) => {
            Some(())
        }
        _ => None,
    };
    p.attempt(|p| p.node(slot, last))?;
    p.nodes.clear();
    p.attempt(|p| shifted(p, slot))
        .or_else(|| p.attempt(|p| scaled(p, slot, None)))
        .or_else(|| p.attempt(|p| whole(p, slot, &[])))
}

fn shifted(p: &mut Pattern<'_>, slot: SlotId) -> Option<Norm> {
    p.either(slot, Binary::Add, |p, beta, rest| {
        p.is_given(beta).then_some(())?;
        scaled(p, rest, Some(beta))
    })
}

fn scaled(p: &mut Pattern<'_>, slot: SlotId, beta: Option<SlotId>) -> Option<Norm> {
    p.either(slot, Binary::Mul, |p, gamma, rest| {
        p.is_given(gamma).then_some(())?;
        let affine = [Some(gamma), beta];
        whole(p, rest, &affine.into_iter().flatten().collect::<Vec<_>>())
    })
}

/// The part of a normalisation before scale and shift.
struct Core {
    /// The tensor that is normalised, perhaps reshaped.
    inner: SlotId,
    /// The dimensions that it is normalised over.
    dims: Vec<usize>,
    /// Whether the mean is subtracted.
    centred: bool,
    epsilon: f64,
}

/// The normalisation that produces `slot`, before the affine part.
fn whole(p: &mut Pattern<'_>, slot: SlotId, affine: &[SlotId]) -> Option<Norm> {
    let (core, x) = p
        .attempt(|p| {
            let uncast = p.uncast(slot);
            let core = core(p, uncast)?;
            let x = p.uncast(core.inner);
            Some((core, x))
        })
        .or_else(|| p.attempt(|p| reshaped(p, slot)))?;
    // Scale and shift must not broadcast x to another shape.
    if p.shape(slot) != p.shape(x) {
        return None;
    }
    let kind = kind(p, &core, x, affine)?;
    let sizes = core.dims.iter().map(|&dim| p.size(core.inner, dim));
    Some(Norm {
        kind,
        operands: std::iter::once(x).chain(affine.iter().copied()).collect(),
        together: sizes.product(),
    })
}

fn reshape(op: &Op) -> Option<()> {
    matches!(op, Op::Reshape(_)).then_some(())
}

/// A core computed in another shape, with the shape restored.
fn reshaped(p: &mut Pattern<'_>, slot: SlotId) -> Option<(Core, SlotId)> {
    let (_, normal) = p.map(slot, reshape)?;
    let normal = p.uncast(normal);
    let core = core(p, normal)?;
    let flat = p.uncast(core.inner);
    let (_, x) = p.map(flat, reshape)?;
    Some((core, x))
}

/// `c / sqrt(mean(c^2) + epsilon)`, as a quotient or a product, where c may be `x - mean(x)`.
fn core(p: &mut Pattern<'_>, slot: SlotId) -> Option<Core> {
    p.attempt(|p| {
        let (c, below) = p.binary(slot, Binary::Div)?;
        let below = p.uncast(below);
        let square = root(p, below)?;
        quotient(p, c, square)
    })
    .or_else(|| {
        p.either(slot, Binary::Mul, |p, factor, c| {
            let factor = p.uncast(factor);
            let square = match p.unary(factor, Unary::Recip) {
                Some(below) => root(p, below)?,
                None => p.power(factor, -0.5)?,
            };
            quotient(p, c, square)
        })
    })
}

/// The operand of a square root.
fn root(p: &mut Pattern<'_>, slot: SlotId) -> Option<SlotId> {
    p.unary(slot, Unary::Sqrt).or_else(|| p.power(slot, 0.5))
}

/// The core with numerator `c`, and `under` below the root of the denominator.
fn quotient(p: &mut Pattern<'_>, c: SlotId, under: SlotId) -> Option<Core> {
    let (epsilon, moment) = p.plus(under).unwrap_or((0.0, under));
    if epsilon < 0.0 {
        return None;
    }
    let (square, dims) = p.mean(moment)?;
    let squared = p.square(square)?;
    let core = |inner, centred| {
        Some(Core {
            inner,
            dims: dims.clone(),
            centred,
            epsilon,
        })
    };
    // The deviation may be computed twice, once for the variance.
    if let Some((x, own)) = centred(p, c) {
        let same =
            squared == c || centred(p, squared).is_some_and(|(y, dims)| y == x && dims == own);
        return if same && own == dims {
            core(x, true)
        } else {
            None
        };
    }
    // For the mean of squares a narrow type may be widened.
    if squared == c || p.uncast(squared) == c {
        return core(c, false);
    }
    None
}

/// `x - mean(x)`: x, and the dimensions of the mean.
fn centred(p: &mut Pattern<'_>, slot: SlotId) -> Option<(SlotId, Vec<usize>)> {
    p.attempt(|p| {
        let (x, mean) = p.binary(slot, Binary::Sub)?;
        let (own, dims) = p.mean(mean)?;
        (own == x).then_some((x, dims))
    })
}

/// The kind of a normalisation of `x`.
fn kind(p: &Pattern<'_>, core: &Core, x: SlotId, affine: &[SlotId]) -> Option<GroupKind> {
    let (shape, inner) = (p.shape(x), p.shape(core.inner));
    let (rank, epsilon) = (shape.len(), core.epsilon);
    let trailing = |from: usize, rank: usize| core.dims.iter().copied().eq(from..rank);
    // One number for each channel, whatever dimensions follow.
    let per_channel = |slot: &SlotId| {
        let own = p.shape(*slot);
        let missing = rank.saturating_sub(own.len());
        (missing..rank).all(|d| d == 1 || own[d - missing].fixed == 1) && missing <= 1
    };
    let channelwise = rank >= 3 && affine.iter().all(per_channel);
    if core.centred && channelwise && inner.len() >= 3 && inner[0] == shape[0] {
        let (groups, channels) = (p.size(core.inner, 1), p.size(x, 1));
        if trailing(2, inner.len()) && groups.is_some() {
            if groups == channels {
                // Over the last dimension alone, without a scale by channel, it might as well
                // be a LayerNorm; without any scale both are the same.
                let plain = inner == shape && core.dims.len() == 1 && affine.is_empty();
                if !plain {
                    return Some(GroupKind::InstanceNorm { epsilon });
                }
            } else if inner != shape {
                let groups = groups?;
                return Some(GroupKind::GroupNorm { groups, epsilon });
            }
        }
        if inner == shape && trailing(1, rank) && !affine.is_empty() {
            return Some(GroupKind::GroupNorm { groups: 1, epsilon });
        }
    }
    // Over the last dimensions of x, which may have been joined into one.
    let first = *core.dims.first()?;
    let over_last = first >= 1
        && trailing(first, inner.len())
        && inner.get(..first) == shape.get(..first)
        && (inner == shape || first + 1 == inner.len());
    over_last.then_some(if core.centred {
        GroupKind::LayerNorm { epsilon }
    } else {
        GroupKind::RmsNorm { epsilon }
    })
}
