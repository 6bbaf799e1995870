//! Which rule serves which node, so that at every node `Σ m_in Δin = m_out Δout`.

use std::sync::Arc;

use attr_core::{Binary, Cumulative, Error, NodeView, Op, Reduce, Role, Rule, Unary, Value};
use burn::tensor::Tensor;

use super::average::{Average, Midpoint};
use super::elementwise::{Division, Rescale};
use super::normalisation::{LayerNorm, Softmax};
use super::selection::{Extreme, Masked};

/// The rule of a node; none is the derivative, for nodes that are linear in what varies.
pub(super) fn choose(node: &NodeView<'_>, eps: f64) -> Option<Arc<dyn Rule>> {
    let count = node.operands().len();
    let varying = (0..count).filter(|&i| node.varies(i)).count();
    let only_first = varying == 1 && node.varies(0);
    let smooth = || -> Option<Arc<dyn Rule>> { Some(Arc::new(Rescale { eps, kinks: false })) };
    let kinked = || -> Option<Arc<dyn Rule>> { Some(Arc::new(Rescale { eps, kinks: true })) };
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
        // Linear in the first operand, and their other operands are given.
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
        | Op::LeakyRelu { .. }
        | Op::Clamp { .. }
        | Op::Unary(Unary::Abs | Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round)
        | Op::Unary(Unary::Trunc)
        | Op::HardSigmoid { .. }
        | Op::BinaryScalar(Binary::Remainder, _) => kinked(),
        Op::PRelu if only_first => kinked(),
        Op::Gelu | Op::Sigmoid | Op::LogSigmoid | Op::Unary(_) | Op::BinaryScalar(..) => smooth(),
        _ => Some(Arc::new(Average)),
    }
}

/// Which operands get a share.
pub(super) fn wanted(node: &NodeView<'_>) -> Vec<bool> {
    let operands = 0..node.operands().len();
    operands.map(|i| node.role(i) == Role::Input).collect()
}

/// What arrives at the first output, as `[rows, elements]`.
pub(super) fn arriving_matrix(arriving: &[Option<Value>]) -> Result<Option<Tensor<2>>, Error> {
    match arriving.first() {
        Some(Some(value)) => value.matrix().map(Some),
        _ => Ok(None),
    }
}

/// The operands and outputs of the reference pass.
pub(super) fn reference<'a>(node: &'a NodeView<'_>) -> Result<(&'a [Value], &'a [Value]), Error> {
    node.reference()
        .ok_or(Error::Internal("DeepLIFT without a reference"))
}

/// `a - b`, as `[rows, elements]`.
pub(super) fn difference(a: &Value, b: &Value) -> Result<Tensor<2>, Error> {
    Ok(a.matrix()? - b.matrix()?)
}

/// The point between two values, `b + α (a - b)`; integers and truth values stay those of `a`.
pub(super) fn between(a: &Value, b: &Value, alpha: f64) -> Result<Value, Error> {
    if a.kind() != attr_core::Kind::Float {
        return Ok(a.clone());
    }
    let point = b.matrix()? + difference(a, b)? * alpha;
    Ok(Value::from_matrix(point, &a.shape()))
}
