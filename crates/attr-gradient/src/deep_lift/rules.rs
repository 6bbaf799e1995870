//! Chooses the rule of each node, so that `Σ m_in Δin = m_out Δout` at every node.

use std::sync::Arc;

use attr_core::op::{Binary, Cumulative, Op, Reduce, Unary};
use attr_core::walk::{NodeInfo, Rule};

use super::average::{Average, Midpoint};
use super::elementwise::{Division, Form, Rescale};
use super::normalisation::{LayerNorm, Softmax};
use super::selection::{Extreme, Masked};

/// Returns the rule of a node. None means the derivative, for nodes that are linear in the operands
/// that vary.
pub(super) fn choose(node: &NodeInfo<'_>, eps: f64) -> Option<Arc<dyn Rule>> {
    let only_first = node.only_varies(0);
    let rescale = |form| -> Option<Arc<dyn Rule>> { Some(Arc::new(Rescale { eps, form })) };
    match node.op() {
        Op::Binary(Binary::Add | Binary::Sub)
        | Op::BinaryScalar(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div, _)
        | Op::Unary(Unary::Neg)
        | Op::Reduce(Reduce::Sum | Reduce::Mean, _)
        | Op::SumDims(_)
        | Op::Cumulative(Cumulative::Sum, _)
        | Op::AvgPool(_)
        | Op::AdaptiveAvgPool { .. }
        | Op::Interpolate { .. }
        | Op::Unfold4d { .. }
        | Op::Pad(..)
        | Op::Reshape(_)
        | Op::Expand(_)
        | Op::Permute(_)
        | Op::Flip(_)
        | Op::Unfold { .. }
        | Op::Slice(_)
        | Op::SliceAssign(_)
        | Op::Repeat { .. }
        | Op::Cat { .. }
        | Op::Cast(_) => None,
        // Nothing flows through booleans.
        Op::Compare(_) | Op::CompareScalar(..) => None,
        // Linear in the first operand; the other operands do not vary.
        Op::Linear
        | Op::MatMul
        | Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::BatchNorm { .. }
        | Op::Embedding
        | Op::DeformConv { .. }
        | Op::GridSample { .. }
        | Op::Gather { .. }
        | Op::GatherNd
        | Op::Select { .. }
        | Op::Scatter { .. }
        | Op::ScatterNd { .. }
        | Op::SelectAssign { .. }
        | Op::Cross { .. }
        | Op::Binary(Binary::Mul | Binary::Div)
            if only_first =>
        {
            None
        }
        // Products: exact at the midpoint.
        Op::Linear
        | Op::MatMul
        | Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::Cross { .. }
        | Op::Binary(Binary::Mul) => Some(Arc::new(Midpoint)),
        Op::Binary(Binary::Div) => Some(Arc::new(Division)),
        Op::MaxPool { .. } => Some(Arc::new(Extreme { smallest: false })),
        Op::Reduce(Reduce::Max, _) | Op::Cumulative(Cumulative::Max, _) => {
            Some(Arc::new(Extreme { smallest: false }))
        }
        Op::Reduce(Reduce::Min, _) | Op::Cumulative(Cumulative::Min, _) => {
            Some(Arc::new(Extreme { smallest: true }))
        }
        Op::ExtremeWithIndices { smallest, .. } => Some(Arc::new(Extreme {
            smallest: *smallest,
        })),
        Op::Softmax { dim } => Some(Arc::new(Softmax::new(*dim))),
        Op::Softmin { dim } => Some(Arc::new(Softmax::new(*dim).negated())),
        Op::LogSoftmax { dim } => Some(Arc::new(Softmax::new(*dim).logarithmic())),
        Op::LayerNorm { epsilon } if only_first => Some(Arc::new(LayerNorm { epsilon: *epsilon })),
        Op::MaskWhere | Op::MaskFill(_) if node.varies(1) => Some(Arc::new(Masked)),
        Op::MaskWhere | Op::MaskFill(_) => None,
        Op::Relu
        | Op::Clamp { .. }
        | Op::Unary(Unary::Abs | Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round)
        | Op::Unary(Unary::Trunc)
        | Op::BinaryScalar(Binary::Remainder, _) => rescale(Form::ExactPieces),
        Op::LeakyRelu { .. } | Op::HardSigmoid { .. } => rescale(Form::Pieces),
        Op::PRelu if only_first => rescale(Form::Pieces),
        Op::Gelu | Op::Sigmoid | Op::LogSigmoid | Op::Unary(_) | Op::BinaryScalar(..) => {
            rescale(Form::Smooth)
        }
        _ => Some(Arc::new(Average)),
    }
}
