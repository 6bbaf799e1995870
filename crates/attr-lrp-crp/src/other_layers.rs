//! The rules of layers that are not linear, which all composites for relevance share.

use std::sync::Arc;

use attr_core::Error;
use attr_core::op::{Binary, GroupKind, Op, Reduce, Unary};
use attr_core::walk::{NodeInfo, Rule};

use crate::rules::{Bilinear, Norm, Normalisation, Pass, SignalTakesAll};
use crate::{LayerKind, Stabilizer};

/// Returns the rule of a layer that is not linear.
pub(crate) fn rule(node: &NodeInfo<'_>, kind: LayerKind, stabilizer: Stabilizer) -> Arc<dyn Rule> {
    let like_output = |i: usize| node.shape(i) == node.output_shape();
    match kind {
        LayerKind::BatchNorm | LayerKind::Activation => Arc::new(Pass),
        LayerKind::Normalisation => match node.group() {
            // It subtracts no mean: each element gets what it had.
            Some(GroupKind::RmsNorm { .. }) => Arc::new(Pass),
            _ => Arc::new(Normalisation::new().with_stabilizer(stabilizer)),
        },
        LayerKind::Scale if (0..node.operands()).all(|i| !node.varies(i) || like_output(i)) => {
            Arc::new(Pass)
        }
        LayerKind::Product => match signal(node) {
            Some(signal) => signal_takes_all(signal, stabilizer),
            None => Arc::new(Bilinear::new().with_stabilizer(stabilizer)),
        },
        _ => Arc::new(Norm::new().with_stabilizer(stabilizer)),
    }
}

/// Returns the rule of a node that adds or subtracts a constant; `None` for other nodes. The constant
/// gets its share, as a bias does: an exported fully connected layer is a product and a sum. Without
/// biases it gets nothing.
pub(crate) fn added_constant(
    node: &NodeInfo<'_>,
    stabilizer: Stabilizer,
    zero_bias: bool,
) -> Option<Arc<dyn Rule>> {
    let sum = matches!(
        node.op(),
        Op::Binary(Binary::Add | Binary::Sub) | Op::BinaryScalar(Binary::Add | Binary::Sub, _)
    );
    let constant = !(node.varies(0) && node.varies(1));
    (sum && constant).then(|| -> Arc<dyn Rule> {
        if zero_bias {
            Arc::new(Pass)
        } else {
            Arc::new(Norm::new().with_stabilizer(stabilizer))
        }
    })
}

pub(crate) fn signal_takes_all(signal: usize, stabilizer: Stabilizer) -> Arc<dyn Rule> {
    Arc::new(SignalTakesAll::new(signal).with_stabilizer(stabilizer))
}

/// Returns which operand of a product or quotient of two activations is a signal that the other
/// one scales, if either is.
fn signal(node: &NodeInfo<'_>) -> Option<usize> {
    let like_output = |i: usize| node.shape(i) == node.output_shape();
    match (node.op(), like_output(0), like_output(1)) {
        (Op::MatMul, ..) | (_, false, false) => None,
        // What is divided is the signal.
        (Op::Binary(Binary::Div), own, _) => own.then_some(0),
        (_, true, false) => Some(0),
        (_, false, true) => Some(1),
        (_, true, true) => {
            let gate = |i: usize| comes_from(node, i, is_gate);
            match (gate(0), gate(1)) {
                (false, true) => Some(0),
                (true, false) => Some(1),
                _ => None,
            }
        }
    }
}

/// Whether a node gives a number between 0 and 1 for each element.
fn is_gate(op: &Op) -> bool {
    matches!(
        op,
        Op::Sigmoid | Op::HardSigmoid { .. } | Op::Softmax { .. }
    )
}

/// Whether an operand is what such a node gives, moved about, masked or subtracted from a constant
/// at most.
pub(crate) fn comes_from(node: &NodeInfo<'_>, i: usize, is: fn(&Op) -> bool) -> bool {
    let mut producer = node.producer(i);
    while let Some(node) = producer {
        let through = match node.op() {
            op if is(op) => return true,
            Op::Reshape(_)
            | Op::Expand(_)
            | Op::Permute(_)
            | Op::Slice(_)
            | Op::Select { .. }
            | Op::Cast(_)
            | Op::MaskFill(_)
            | Op::Unary(Unary::Neg)
            | Op::BinaryScalar(Binary::Add | Binary::Sub, _) => Some(0),
            // Rows without any key have zeros in place of the softmax's NaN.
            Op::MaskWhere => [0, 2]
                .into_iter()
                .find(|&i| node.varies(i) && node.is_float(i)),
            // One minus a gate is a gate.
            Op::Binary(Binary::Sub | Binary::Add) if node.only_varies(0) => Some(0),
            Op::Binary(Binary::Sub | Binary::Add) if node.only_varies(1) => Some(1),
            _ => None,
        };
        producer = through.and_then(|operand| node.producer(operand));
    }
    false
}

/// Refuses a node where the derivative, which composites leave it to, does not conserve relevance.
pub(crate) fn check_derivative(node: &NodeInfo<'_>, composite: &str) -> Result<(), Error> {
    let refused = |reason: &str| {
        Err(Error::Rule {
            rule: composite.into(),
            layer: node.name().into(),
            reason: format!("it has no rule for {}: {reason}", node.op().name()),
        })
    };
    match node.op() {
        // Largest values take all; values that only move keep their relevance.
        Op::MaxPool { .. }
        | Op::Reduce(Reduce::Max | Reduce::Min | Reduce::MaxAbs, _)
        | Op::ExtremeWithIndices { .. }
        | Op::TopK { .. }
        | Op::Sort { .. }
        | Op::Reshape(_)
        | Op::Expand(_)
        | Op::Permute(_)
        | Op::Flip(_)
        | Op::Unfold { .. }
        | Op::Unfold4d { .. }
        | Op::Slice(_)
        | Op::SliceAssign(_)
        | Op::Select { .. }
        | Op::Repeat { .. }
        | Op::MaskWhere
        | Op::MaskFill(_)
        | Op::Cat { .. }
        | Op::Gather { .. }
        | Op::GatherNd
        | Op::Embedding
        | Op::Pad(..)
        | Op::Interpolate { .. }
        | Op::Cast(_)
        | Op::Full { .. } => Ok(()),
        // Nothing flows through truth values and numbers of places.
        Op::Compare(_) | Op::CompareScalar(..) | Op::Unary(_) => Ok(()),
        Op::Softmax { .. } | Op::LogSoftmax { .. } | Op::Softmin { .. }
            if node.readers().next().is_none() =>
        {
            refused(
                "explain the scores before it, with `model.logits()`, or give it a rule with \
                 `ByName`",
            )
        }
        Op::Softmax { .. } => refused(
            "the composites `attnlrp` and `cp_lrp` have rules for attention; `auto` chooses",
        ),
        Op::Attention { .. } => refused("it works on the model of `expand_attention()`"),
        _ => refused("give it a rule with `ByName` in front of the composite, in a `Mixed`"),
    }
}
