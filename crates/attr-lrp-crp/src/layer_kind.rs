//! What kind of layer a node is, as composites see it.

use attr_core::op::{Binary, Op, Reduce, Unary};
use attr_core::walk::NodeInfo;

/// The kinds of layers that composites have rules for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// A fully connected layer, or a product with a constant matrix.
    Dense,
    /// A convolution or transposed convolution over 1 to 3 dimensions.
    Convolution,
    /// A BatchNorm that is not folded into the layer before it.
    BatchNorm,
    /// A normalisation by statistics of the input: LayerNorm, RMSNorm, GroupNorm, InstanceNorm.
    Normalisation,
    /// A function of single elements: ReLU, GELU, SiLU, a clip, tanh, ...
    Activation,
    /// Average pooling, a sum or a mean over dimensions.
    AveragePool,
    /// A sum or difference of two activations, such as a residual connection.
    Sum,
    /// A product with a constant of the same shape for every row, such as a scale.
    Scale,
    /// A product or quotient of two activations, or a product of two matrices of activations.
    Product,
}

impl LayerKind {
    /// Returns a node's kind; `None` for what has none, such as a reshape or a softmax.
    pub fn of(node: &NodeInfo<'_>) -> Option<Self> {
        if let Some(group) = node.group() {
            return if group.is_activation() {
                Some(Self::Activation)
            } else if group.is_norm() {
                Some(Self::Normalisation)
            } else {
                None
            };
        }
        let both = node.varies(0) && node.varies(1);
        Some(match node.op() {
            Op::Linear if node.is_linear() => Self::Dense,
            Op::Conv(_) | Op::ConvTranspose(_) if node.is_linear() => Self::Convolution,
            Op::MatMul if both => Self::Product,
            Op::MatMul => Self::Dense,
            Op::BatchNorm { .. } if node.only_varies(0) => Self::BatchNorm,
            Op::LayerNorm { .. } if node.only_varies(0) => Self::Normalisation,
            Op::Relu
            | Op::LeakyRelu { .. }
            | Op::PRelu
            | Op::Gelu
            | Op::Sigmoid
            | Op::HardSigmoid { .. }
            | Op::LogSigmoid
            | Op::Clamp { .. } => Self::Activation,
            Op::Unary(f) if !matches!(f, Unary::IsInf | Unary::IsNan) => Self::Activation,
            Op::BinaryScalar(Binary::Pow | Binary::PowInt, _) => Self::Activation,
            Op::BinaryScalar(Binary::Mul | Binary::Div, _) => Self::Scale,
            Op::AvgPool(_) | Op::AdaptiveAvgPool { .. } | Op::SumDims(_) => Self::AveragePool,
            Op::Reduce(Reduce::Mean | Reduce::Sum, _) => Self::AveragePool,
            Op::Binary(Binary::Add | Binary::Sub) if both => Self::Sum,
            Op::Binary(Binary::Mul | Binary::Div) if both => Self::Product,
            Op::Binary(Binary::Mul) => Self::Scale,
            Op::Binary(Binary::Div) if node.varies(0) => Self::Scale,
            _ => return None,
        })
    }

    /// Whether it is a linear layer with a weight.
    pub fn is_linear(self) -> bool {
        matches!(self, Self::Dense | Self::Convolution)
    }
}
