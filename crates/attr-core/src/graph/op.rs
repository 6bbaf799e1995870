//! The operations of a traced graph: a small semantic set, independent of Burn's recording format.
//!
//! Rules match on these kinds ("every convolution", "every activation"), so kinds that a rule
//! would treat alike share a variant: all elementwise functions are [`Op::Unary`], all two-operand
//! arithmetic is [`Op::Binary`], convolutions of every rank are [`Op::Conv`].

use burn::backend::ir::ScalarIr;
use burn::tensor::{DType, IndexingUpdateOp};

use super::dim::{Dim, SliceDim};

/// A recorded number: float, integer or boolean.
pub type Number = ScalarIr;

/// Geometry of a convolution over 1 to 3 spatial dimensions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    /// Step per spatial dimension.
    pub stride: Vec<usize>,
    /// `(before, after)` zero padding per spatial dimension.
    pub padding: Vec<(usize, usize)>,
    /// Output padding per spatial dimension (transposed convolutions; zero otherwise).
    pub padding_out: Vec<usize>,
    /// Distance between kernel elements per spatial dimension.
    pub dilation: Vec<usize>,
    /// Channel groups.
    pub groups: usize,
}

/// Geometry of a pooling window over 1 or 2 spatial dimensions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolGeometry {
    /// Window size per spatial dimension.
    pub kernel: Vec<usize>,
    /// Step per spatial dimension.
    pub stride: Vec<usize>,
    /// Padding on both sides per spatial dimension.
    pub padding: Vec<usize>,
    /// Distance between window elements (max pooling; one otherwise).
    pub dilation: Vec<usize>,
    /// Whether the last, partial window counts.
    pub ceil_mode: bool,
    /// Whether padding counts in the mean (average pooling).
    pub count_include_pad: bool,
}

/// Elementwise functions of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each is the mathematical function of its name.
pub enum Unary {
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    BitwiseNot,
    Ceil,
    Cos,
    Cosh,
    Erf,
    Exp,
    Floor,
    IsInf,
    IsNan,
    Log,
    Log1p,
    Neg,
    Not,
    Recip,
    Round,
    Sign,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
    Trunc,
}

/// Arithmetic and logic of two operands, or of one and a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each is the operation of its name.
pub enum Binary {
    Add,
    And,
    Atan2,
    BitwiseAnd,
    BitwiseOr,
    BitwiseXor,
    Div,
    Hypot,
    Mul,
    Or,
    Pow,
    PowInt,
    Remainder,
    ShiftLeft,
    ShiftRight,
    Sub,
    Xor,
}

/// Comparisons; the result is boolean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each is the comparison of its name.
pub enum Compare {
    Equal,
    Greater,
    GreaterEqual,
    Lower,
    LowerEqual,
    NotEqual,
}

/// Reductions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each is the reduction of its name.
pub enum Reduce {
    All,
    Any,
    ArgMax,
    ArgMin,
    Max,
    MaxAbs,
    Mean,
    Min,
    Prod,
    Sum,
}

/// Running reductions along one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each is the running reduction of its name.
pub enum Cumulative {
    Max,
    Min,
    Prod,
    Sum,
}

/// How cells outside the tensor are filled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Padding {
    /// With a constant.
    Constant(f64),
    /// By reflection, without repeating the edge.
    Reflect,
    /// By repeating the edge.
    Edge,
}

/// How values between grid points are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each is the interpolation of its name.
pub enum Interpolation {
    Bicubic,
    Bilinear,
    Lanczos3,
    Nearest,
    NearestExact,
}

/// What a node computes. Each comment gives the operands in order; `[x]` may be absent.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `x @ weight [+ bias]` with `weight: [in, out]` a parameter. Operands: x, weight, \[bias\].
    Linear,
    /// Matrix product of the last two dimensions. Operands: lhs, rhs.
    MatMul,
    /// Convolution. Operands: x, weight `[out, in/groups, kernel...]`, \[bias\].
    Conv(ConvGeometry),
    /// Transposed convolution. Operands: x, weight `[in, out/groups, kernel...]`, \[bias\].
    ConvTranspose(ConvGeometry),
    /// Deformable 2-D convolution. Operands: x, offset, weight, then mask and bias if present.
    DeformConv {
        /// Stride, symmetric padding, dilation; `groups` are the weight groups.
        geometry: ConvGeometry,
        /// Groups of offsets.
        offset_groups: usize,
        /// Whether a mask operand is present.
        mask: bool,
    },
    /// Normalisation with given statistics. Operands: x, gamma, beta, mean, variance.
    BatchNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// Normalisation over the last dimension. Operands: x, gamma, \[beta\].
    LayerNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// Rows of a table. Operands: table, indices `[batch, sequence]`.
    Embedding,
    /// Scaled dot-product attention. Operands: query, key, value, then mask and bias if present.
    Attention {
        /// Factor on the scores; `None` means `1/sqrt(head size)`.
        scale: Option<f64>,
        /// Soft limit of the scores.
        softcap: Option<f64>,
        /// Whether later positions are hidden.
        causal: bool,
        /// Whether a mask operand is present.
        mask: bool,
        /// Whether a bias operand is present.
        bias: bool,
    },
    /// `max(x, 0)`.
    Relu,
    /// `x` where positive, `slope * x` elsewhere.
    LeakyRelu {
        /// Slope below zero.
        slope: f64,
    },
    /// Leaky ReLU with learnt slopes. Operands: x, alpha.
    PRelu,
    /// Gaussian error linear unit (exact).
    Gelu,
    /// Logistic function.
    Sigmoid,
    /// `clamp(alpha * x + beta, 0, 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f64,
        /// Offset.
        beta: f64,
    },
    /// Logarithm of the logistic function.
    LogSigmoid,
    /// Softmax along a dimension.
    Softmax {
        /// The dimension.
        dim: usize,
    },
    /// Logarithm of the softmax along a dimension.
    LogSoftmax {
        /// The dimension.
        dim: usize,
    },
    /// Softmax of the negated operand.
    Softmin {
        /// The dimension.
        dim: usize,
    },
    /// Elementwise function.
    Unary(Unary),
    /// Elementwise arithmetic with broadcasting. Operands: lhs, rhs.
    Binary(Binary),
    /// Elementwise arithmetic with a scalar on the right.
    BinaryScalar(Binary, Number),
    /// Elementwise comparison. Operands: lhs, rhs.
    Compare(Compare),
    /// Elementwise comparison with a scalar.
    CompareScalar(Compare, Number),
    /// Limits from below and above.
    Clamp {
        /// Lower limit.
        min: Option<Number>,
        /// Upper limit.
        max: Option<Number>,
    },
    /// Reduction over one dimension, kept with length one, or over everything to `[1]`.
    Reduce(Reduce, Option<usize>),
    /// Sum over several dimensions, each kept with length one.
    SumDims(Vec<usize>),
    /// Running reduction along a dimension.
    Cumulative(Cumulative, usize),
    /// Largest (or smallest) value along a dimension and where it is. Two outputs.
    ExtremeWithIndices {
        /// The dimension.
        dim: usize,
        /// Whether to find the smallest.
        smallest: bool,
    },
    /// The `k` largest values along a dimension; outputs values, indices, or both in that order.
    TopK {
        /// The dimension.
        dim: usize,
        /// The number of values.
        k: usize,
        /// Whether values are an output.
        values: bool,
        /// Whether indices are an output.
        indices: bool,
    },
    /// Sorts along a dimension; outputs values, indices, or both in that order.
    Sort {
        /// The dimension.
        dim: usize,
        /// Largest first.
        descending: bool,
        /// Whether values are an output.
        values: bool,
        /// Whether indices are an output.
        indices: bool,
    },
    /// Vector product along a dimension of length three. Operands: lhs, rhs.
    Cross {
        /// The dimension.
        dim: usize,
    },
    /// Largest value in each window; a second output holds the positions when `indices`.
    MaxPool {
        /// The window.
        geometry: PoolGeometry,
        /// Whether positions are an output.
        indices: bool,
    },
    /// Mean of each window.
    AvgPool(PoolGeometry),
    /// Mean of windows chosen so that the output has the given size.
    AdaptiveAvgPool {
        /// Output size per spatial dimension.
        size: Vec<usize>,
    },
    /// Resizes the last two dimensions.
    Interpolate {
        /// Output height and width.
        size: [usize; 2],
        /// How values between points are found.
        mode: Interpolation,
        /// Whether corner points coincide.
        align_corners: bool,
    },
    /// Samples `[batch, channels, height, width]` at given points. Operands: x, grid.
    GridSample {
        /// How values between points are found.
        mode: Interpolation,
        /// The values outside the tensor.
        padding: GridPadding,
        /// Whether corner points coincide.
        align_corners: bool,
    },
    /// Sliding blocks of a 4-D tensor as columns.
    Unfold4d {
        /// Block size.
        kernel: [usize; 2],
        /// Step.
        stride: [usize; 2],
        /// Zero padding.
        padding: [usize; 2],
        /// Distance between block elements.
        dilation: [usize; 2],
    },
    /// Padding, `(before, after)` per dimension.
    Pad(Vec<(usize, usize)>, Padding),
    /// Same values, other shape.
    Reshape(Vec<Dim>),
    /// Broadcast to a shape.
    Expand(Vec<Dim>),
    /// Dimensions in another order.
    Permute(Vec<usize>),
    /// Dimensions reversed.
    Flip(Vec<usize>),
    /// Sliding windows along a dimension, as a new last dimension.
    Unfold {
        /// The dimension.
        dim: usize,
        /// Window size.
        size: usize,
        /// Step.
        step: usize,
    },
    /// Part of a tensor.
    Slice(Vec<SliceDim>),
    /// A tensor with a part replaced. Operands: x, value.
    SliceAssign(Vec<SliceDim>),
    /// Values at indices along a dimension. Operands: x, indices.
    Gather {
        /// The dimension.
        dim: usize,
    },
    /// Writes values at indices along a dimension. Operands: x, indices, value.
    Scatter {
        /// The dimension.
        dim: usize,
        /// How a new value is combined with the old one.
        update: IndexingUpdateOp,
    },
    /// Values at index tuples. Operands: x, indices.
    GatherNd,
    /// Writes values at index tuples. Operands: x, indices, values.
    ScatterNd {
        /// How a new value is combined with the old one.
        update: IndexingUpdateOp,
    },
    /// Whole slices along a dimension. Operands: x, indices `[n]`.
    Select {
        /// The dimension.
        dim: usize,
    },
    /// Writes whole slices along a dimension. Operands: x, indices, value.
    SelectAssign {
        /// The dimension.
        dim: usize,
        /// How a new value is combined with the old one.
        update: IndexingUpdateOp,
    },
    /// `value` where the mask is true. Operands: x, mask, value.
    MaskWhere,
    /// A scalar where the mask is true. Operands: x, mask.
    MaskFill(Number),
    /// Repeats along a dimension.
    Repeat {
        /// The dimension.
        dim: usize,
        /// The number of repeats.
        times: Dim,
    },
    /// Joins along a dimension. Any number of operands.
    Cat {
        /// The dimension.
        dim: usize,
    },
    /// Changes the element type.
    Cast(DType),
    /// A tensor filled with one value. No operands.
    Full {
        /// Its shape.
        shape: Vec<Dim>,
        /// Its value.
        value: Number,
        /// Its element type.
        dtype: DType,
    },
}

/// The values that grid sampling reads outside the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each is the padding of its name.
pub enum GridPadding {
    Border,
    Reflection,
    Zeros,
}

/// Converts a number to floating point.
pub(super) fn number(number: &Number) -> f64 {
    number.elem()
}

impl Op {
    /// A short name, as [`Layer`](crate::Layer) prints it: `Conv2d`, `BatchNorm`, `Add`.
    pub fn name(&self) -> String {
        match self {
            Self::Conv(g) => format!("Conv{}d", g.stride.len()),
            Self::ConvTranspose(g) => format!("ConvTranspose{}d", g.stride.len()),
            Self::DeformConv { .. } => "DeformConv2d".into(),
            Self::MaxPool { geometry, .. } => format!("MaxPool{}d", geometry.kernel.len()),
            Self::AvgPool(g) => format!("AvgPool{}d", g.kernel.len()),
            Self::AdaptiveAvgPool { size } => format!("AdaptiveAvgPool{}d", size.len()),
            Self::MatMul => "Matmul".into(),
            Self::Unary(f) => format!("{f:?}"),
            Self::Binary(f) | Self::BinaryScalar(f, _) => format!("{f:?}"),
            Self::Compare(f) | Self::CompareScalar(f, _) => format!("{f:?}"),
            Self::Reduce(f, _) => format!("{f:?}"),
            Self::SumDims(_) => "Sum".into(),
            Self::Cumulative(f, _) => format!("Cum{f:?}"),
            Self::ExtremeWithIndices { smallest, .. } => {
                if *smallest { "Min" } else { "Max" }.into()
            }
            // The variant's own name, without its fields.
            other => format!("{other:?}")
                .split(|c: char| !c.is_alphanumeric())
                .next()
                .unwrap_or_default()
                .to_string(),
        }
    }

    /// Whether this is a ReLU: `relu(x)`, or `clamp(x, 0, ..)` (ReLU6 among them).
    pub fn is_relu(&self) -> bool {
        let zero = |number: &Number| matches!(number, Number::Float(0.0) | Number::Int(0));
        match self {
            Self::Relu => true,
            Self::Clamp { min, .. } => min.as_ref().is_some_and(zero),
            _ => false,
        }
    }

    /// Whether this treats each element of its first operand separately, with further operands that
    /// have one number per channel.
    pub(super) fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Self::Relu
                | Self::LeakyRelu { .. }
                | Self::PRelu
                | Self::Gelu
                | Self::Sigmoid
                | Self::HardSigmoid { .. }
                | Self::LogSigmoid
                | Self::Unary(_)
                | Self::BinaryScalar(..)
                | Self::CompareScalar(..)
                | Self::Clamp { .. }
                | Self::Cast(_)
                | Self::BatchNorm { .. }
        )
    }

    /// Whether this is a nonlinearity with an operation of its own, or a softmax.
    ///
    /// Softmaxes mix the elements of a row, so what holds for elementwise functions may not hold
    /// for them. A ReLU6 or hard tanh is a [`Clamp`](Self::Clamp), which does not count
    /// ([`is_relu`](Self::is_relu) recognises those that cut at zero). What Burn records as several
    /// operations (SiLU, ELU, softplus) is a group: see [`GroupKind`](crate::op::GroupKind).
    pub fn is_activation(&self) -> bool {
        matches!(
            self,
            Self::Relu
                | Self::LeakyRelu { .. }
                | Self::PRelu
                | Self::Gelu
                | Self::Sigmoid
                | Self::HardSigmoid { .. }
                | Self::LogSigmoid
                | Self::Softmax { .. }
                | Self::LogSoftmax { .. }
                | Self::Softmin { .. }
                | Self::Unary(Unary::Tanh | Unary::Erf)
        )
    }
}
