//! Lowers Burn's recorded operations to the semantic set of [`Op`].
//!
//! The only place that reads Burn's operation format. To support a further operation, add its
//! line here, its execution in `graph/run/`, and a case in the testkit's operation table.

use burn::backend::ir::{
    ActivationOperationIr as Act, BaseOperationIr as Base, BinaryOpIr, BoolOperationIr as BoolOp,
    FloatOperationIr as FloatOp, GridSamplePaddingModeIr, IntOperationIr as IntOp,
    NumericOperationIr as Numeric, OperationIr, PadModeIr, ReduceDimOpIr, ReduceOpIr, ScalarOpIr,
    TensorIr, UnaryOpIr,
};
use burn::tensor::{Shape, Slice};

use super::lowered::{Lowered, interpolation, node};
use super::modules;
use crate::graph::op::{
    Binary, Compare, Cumulative, GridPadding, Number, Op, Padding, Reduce, Unary, number,
};
use crate::graph::{Dim, SliceDim};

/// Lowers one operation; `None` for bookkeeping that computes nothing.
///
/// For an operation outside the set, the error is its name.
pub(crate) fn lower(operation: &OperationIr) -> Result<Option<Lowered>, String> {
    let lowered = match operation {
        OperationIr::Init(_) | OperationIr::Drop(_) => return Ok(None),
        OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => {
            base(op)
        }
        OperationIr::NumericFloat(_, op) | OperationIr::NumericInt(_, op) => numeric(op),
        OperationIr::Bool(op) => Some(boolean(op)),
        OperationIr::Int(op) => Some(integer(op)),
        OperationIr::Float(_, op) => float(op),
        OperationIr::Module(op) => modules::lower(op),
        OperationIr::Activation(op) => activation(op),
        OperationIr::Custom(_) | OperationIr::Distributed(_) => None,
    };
    lowered.map(Some).ok_or_else(|| operation_name(operation))
}

/// The operation's own variant name: the innermost identifier before its fields.
pub(crate) fn operation_name(operation: &OperationIr) -> String {
    if let OperationIr::Custom(custom) = operation {
        return format!("Custom({})", custom.id);
    }
    let text = format!("{operation:?}");
    let head = text.split(['{', '[']).next().unwrap_or(&text);
    // `Module(CtcLoss(CtcLossOpIr ` or `Float(F32, Random(RandomOpIr `: the second-last name.
    let names: Vec<&str> = head
        .split(|c: char| !c.is_alphanumeric())
        .filter(|name| !name.is_empty())
        .collect();
    names
        .iter()
        .rev()
        .nth(1)
        .or(names.first())
        .unwrap_or(&"unknown")
        .to_string()
}

fn dims(shape: &Shape) -> Vec<Dim> {
    shape.iter().map(|&d| Dim::fixed(d as isize)).collect()
}

fn slices(ranges: &[Slice]) -> Vec<SliceDim> {
    ranges
        .iter()
        .map(|s| SliceDim {
            start: Dim::fixed(s.start),
            end: s.end.map(Dim::fixed),
            step: s.step,
        })
        .collect()
}

fn unary(f: Unary, op: &UnaryOpIr) -> Lowered {
    node(Op::Unary(f), [&op.input], [&op.out])
}

fn binary(f: Binary, op: &BinaryOpIr) -> Lowered {
    node(Op::Binary(f), [&op.lhs, &op.rhs], [&op.out])
}

fn scalar(f: Binary, op: &ScalarOpIr) -> Lowered {
    node(Op::BinaryScalar(f, op.rhs), [&op.lhs], [&op.out])
}

fn compare(f: Compare, op: &BinaryOpIr) -> Lowered {
    node(Op::Compare(f), [&op.lhs, &op.rhs], [&op.out])
}

fn compare_scalar(f: Compare, op: &ScalarOpIr) -> Lowered {
    node(Op::CompareScalar(f, op.rhs), [&op.lhs], [&op.out])
}

fn reduce(f: Reduce, op: &ReduceOpIr) -> Lowered {
    node(Op::Reduce(f, None), [&op.input], [&op.out])
}

fn reduce_dim(f: Reduce, op: &ReduceDimOpIr) -> Lowered {
    node(Op::Reduce(f, Some(op.axis)), [&op.input], [&op.out])
}

fn full(out: &TensorIr, value: Number) -> Lowered {
    let op = Op::Full {
        shape: dims(&out.shape),
        value,
        dtype: out.dtype,
    };
    node(op, [], [out])
}

fn top_k(op: &ReduceDimOpIr, values: bool) -> Lowered {
    let kind = Op::TopK {
        dim: op.axis,
        k: op.out.shape[op.axis],
        values,
        indices: !values,
    };
    node(kind, [&op.input], [&op.out])
}

fn base(op: &Base) -> Option<Lowered> {
    Some(match op {
        Base::Reshape(o) => node(Op::Reshape(dims(&o.out.shape)), [&o.input], [&o.out]),
        Base::Expand(o) => node(Op::Expand(dims(&o.out.shape)), [&o.input], [&o.out]),
        Base::SwapDims(o) => {
            let mut axes: Vec<usize> = (0..o.input.shape.num_dims()).collect();
            axes.swap(o.dim1, o.dim2);
            node(Op::Permute(axes), [&o.input], [&o.out])
        }
        Base::Permute(o) => node(Op::Permute(o.axes.clone()), [&o.input], [&o.out]),
        Base::Flip(o) => node(Op::Flip(o.axes.clone()), [&o.input], [&o.out]),
        Base::Unfold(o) => {
            let op = Op::Unfold {
                dim: o.dim,
                size: o.size,
                step: o.step,
            };
            node(op, [&o.input], [&o.out])
        }
        Base::Slice(o) => node(Op::Slice(slices(&o.ranges)), [&o.tensor], [&o.out]),
        Base::SliceAssign(o) => node(
            Op::SliceAssign(slices(&o.ranges)),
            [&o.tensor, &o.value],
            [&o.out],
        ),
        Base::Select(o) => node(Op::Select { dim: o.dim }, [&o.tensor, &o.indices], [&o.out]),
        Base::SelectAssign(o) => {
            let op = Op::SelectAssign {
                dim: o.dim,
                update: o.update,
            };
            node(op, [&o.tensor, &o.indices, &o.value], [&o.out])
        }
        Base::MaskWhere(o) => node(Op::MaskWhere, [&o.tensor, &o.mask, &o.value], [&o.out]),
        Base::MaskFill(o) => node(Op::MaskFill(o.value), [&o.tensor, &o.mask], [&o.out]),
        Base::Gather(o) => node(Op::Gather { dim: o.dim }, [&o.tensor, &o.indices], [&o.out]),
        Base::Scatter(o) => {
            let op = Op::Scatter {
                dim: o.dim,
                update: o.update,
            };
            node(op, [&o.tensor, &o.indices, &o.value], [&o.out])
        }
        Base::GatherNd(o) => node(Op::GatherNd, [&o.data, &o.indices], [&o.out]),
        Base::ScatterNd(o) => {
            let op = Op::ScatterNd {
                update: o.reduction,
            };
            node(op, [&o.data, &o.indices, &o.values], [&o.out])
        }
        Base::Equal(o) => compare(Compare::Equal, o),
        Base::EqualElem(o) => compare_scalar(Compare::Equal, o),
        Base::NotEqual(o) => compare(Compare::NotEqual, o),
        Base::NotEqualElem(o) => compare_scalar(Compare::NotEqual, o),
        Base::RepeatDim(o) => {
            let op = Op::Repeat {
                dim: o.dim,
                times: Dim::fixed(o.times as isize),
            };
            node(op, [&o.tensor], [&o.out])
        }
        Base::Cat(o) => Lowered {
            op: Op::Cat { dim: o.dim },
            operands: o.tensors.clone(),
            outputs: vec![o.out.clone()],
        },
        Base::Cast(o) => node(Op::Cast(o.out.dtype), [&o.input], [&o.out]),
        // An empty tensor's values are unspecified; zero is one of the choices.
        Base::Empty(o) | Base::Zeros(o) => full(&o.out, Number::Int(0)),
        Base::Ones(o) => full(&o.out, Number::Int(1)),
        Base::All(o) => reduce(Reduce::All, o),
        Base::Any(o) => reduce(Reduce::Any, o),
        Base::AllDim(o) => reduce_dim(Reduce::All, o),
        Base::AnyDim(o) => reduce_dim(Reduce::Any, o),
    })
}

fn numeric(op: &Numeric) -> Option<Lowered> {
    Some(match op {
        Numeric::Add(o) => binary(Binary::Add, o),
        Numeric::AddScalar(o) => scalar(Binary::Add, o),
        Numeric::Sub(o) => binary(Binary::Sub, o),
        Numeric::SubScalar(o) => scalar(Binary::Sub, o),
        Numeric::Div(o) => binary(Binary::Div, o),
        Numeric::DivScalar(o) => scalar(Binary::Div, o),
        Numeric::Rem(o) => binary(Binary::Remainder, o),
        Numeric::RemScalar(o) => scalar(Binary::Remainder, o),
        Numeric::Mul(o) => binary(Binary::Mul, o),
        Numeric::MulScalar(o) => scalar(Binary::Mul, o),
        Numeric::Powi(o) => binary(Binary::PowInt, o),
        Numeric::PowiScalar(o) => scalar(Binary::PowInt, o),
        Numeric::Abs(o) => unary(Unary::Abs, o),
        Numeric::Neg(o) => unary(Unary::Neg, o),
        Numeric::Sign(o) => unary(Unary::Sign, o),
        Numeric::Full(o) => full(&o.out, o.value),
        Numeric::Mean(o) => reduce(Reduce::Mean, o),
        Numeric::MeanDim(o) => reduce_dim(Reduce::Mean, o),
        Numeric::Sum(o) => reduce(Reduce::Sum, o),
        Numeric::SumDim(o) => reduce_dim(Reduce::Sum, o),
        Numeric::SumDims(o) => node(Op::SumDims(o.axes.clone()), [&o.input], [&o.out]),
        Numeric::Prod(o) => reduce(Reduce::Prod, o),
        Numeric::ProdDim(o) => reduce_dim(Reduce::Prod, o),
        Numeric::Max(o) => reduce(Reduce::Max, o),
        Numeric::MaxDim(o) => reduce_dim(Reduce::Max, o),
        Numeric::Min(o) => reduce(Reduce::Min, o),
        Numeric::MinDim(o) => reduce_dim(Reduce::Min, o),
        Numeric::MaxAbs(o) => reduce(Reduce::MaxAbs, o),
        Numeric::MaxAbsDim(o) => reduce_dim(Reduce::MaxAbs, o),
        Numeric::ArgMax(o) => reduce_dim(Reduce::ArgMax, o),
        Numeric::ArgMin(o) => reduce_dim(Reduce::ArgMin, o),
        Numeric::Greater(o) => compare(Compare::Greater, o),
        Numeric::GreaterElem(o) => compare_scalar(Compare::Greater, o),
        Numeric::GreaterEqual(o) => compare(Compare::GreaterEqual, o),
        Numeric::GreaterEqualElem(o) => compare_scalar(Compare::GreaterEqual, o),
        Numeric::Lower(o) => compare(Compare::Lower, o),
        Numeric::LowerElem(o) => compare_scalar(Compare::Lower, o),
        Numeric::LowerEqual(o) => compare(Compare::LowerEqual, o),
        Numeric::LowerEqualElem(o) => compare_scalar(Compare::LowerEqual, o),
        Numeric::ArgTopK(o) => top_k(o, false),
        Numeric::TopK(o) => top_k(o, true),
        Numeric::TopKWithIndices(o) => {
            let op = Op::TopK {
                dim: o.dim,
                k: o.k,
                values: true,
                indices: true,
            };
            node(op, [&o.tensor], [&o.out, &o.out_indices])
        }
        Numeric::MaxDimWithIndices(o) | Numeric::MinDimWithIndices(o) => {
            let op = Op::ExtremeWithIndices {
                dim: o.dim,
                smallest: matches!(op, Numeric::MinDimWithIndices(_)),
            };
            node(op, [&o.tensor], [&o.out, &o.out_indices])
        }
        Numeric::Clamp(o) => {
            let op = Op::Clamp {
                min: Some(o.min),
                max: Some(o.max),
            };
            node(op, [&o.tensor], [&o.out])
        }
        Numeric::ClampMin(o) => {
            let op = Op::Clamp {
                min: Some(o.rhs),
                max: None,
            };
            node(op, [&o.lhs], [&o.out])
        }
        Numeric::ClampMax(o) => {
            let op = Op::Clamp {
                min: None,
                max: Some(o.rhs),
            };
            node(op, [&o.lhs], [&o.out])
        }
        Numeric::CumSum(o) => node(
            Op::Cumulative(Cumulative::Sum, o.axis),
            [&o.input],
            [&o.out],
        ),
        Numeric::CumProd(o) => node(
            Op::Cumulative(Cumulative::Prod, o.axis),
            [&o.input],
            [&o.out],
        ),
        Numeric::CumMin(o) => node(
            Op::Cumulative(Cumulative::Min, o.axis),
            [&o.input],
            [&o.out],
        ),
        Numeric::CumMax(o) => node(
            Op::Cumulative(Cumulative::Max, o.axis),
            [&o.input],
            [&o.out],
        ),
        Numeric::Sort(o) | Numeric::ArgSort(o) => {
            let values = matches!(op, Numeric::Sort(_));
            let op = Op::Sort {
                dim: o.dim,
                descending: o.descending,
                values,
                indices: !values,
            };
            node(op, [&o.input], [&o.out])
        }
        Numeric::SortWithIndices(o) => {
            let op = Op::Sort {
                dim: o.dim,
                descending: o.descending,
                values: true,
                indices: true,
            };
            node(op, [&o.input], [&o.out, &o.out_indices])
        }
        Numeric::Pad(o) => {
            let fill = match &o.mode {
                PadModeIr::Constant(value) => Padding::Constant(number(value)),
                PadModeIr::Reflect => Padding::Reflect,
                PadModeIr::Edge => Padding::Edge,
            };
            node(Op::Pad(o.padding.clone(), fill), [&o.input], [&o.out])
        }
        Numeric::IntRandom(_) => return None,
    })
}

fn boolean(op: &BoolOp) -> Lowered {
    match op {
        BoolOp::IntoFloat(o) | BoolOp::IntoInt(o) => {
            node(Op::Cast(o.out.dtype), [&o.input], [&o.out])
        }
        BoolOp::Not(o) => unary(Unary::Not, o),
        BoolOp::And(o) => binary(Binary::And, o),
        BoolOp::Or(o) => binary(Binary::Or, o),
        BoolOp::Xor(o) => binary(Binary::Xor, o),
    }
}

fn integer(op: &IntOp) -> Lowered {
    match op {
        IntOp::IntoFloat(o) => node(Op::Cast(o.out.dtype), [&o.input], [&o.out]),
        IntOp::BitwiseAnd(o) => binary(Binary::BitwiseAnd, o),
        IntOp::BitwiseAndScalar(o) => scalar(Binary::BitwiseAnd, o),
        IntOp::BitwiseOr(o) => binary(Binary::BitwiseOr, o),
        IntOp::BitwiseOrScalar(o) => scalar(Binary::BitwiseOr, o),
        IntOp::BitwiseXor(o) => binary(Binary::BitwiseXor, o),
        IntOp::BitwiseXorScalar(o) => scalar(Binary::BitwiseXor, o),
        IntOp::BitwiseNot(o) => unary(Unary::BitwiseNot, o),
        IntOp::BitwiseLeftShift(o) => binary(Binary::ShiftLeft, o),
        IntOp::BitwiseLeftShiftScalar(o) => scalar(Binary::ShiftLeft, o),
        IntOp::BitwiseRightShift(o) => binary(Binary::ShiftRight, o),
        IntOp::BitwiseRightShiftScalar(o) => scalar(Binary::ShiftRight, o),
        IntOp::Matmul(o) => node(Op::MatMul, [&o.lhs, &o.rhs], [&o.out]),
    }
}

fn float(op: &FloatOp) -> Option<Lowered> {
    Some(match op {
        FloatOp::Exp(o) => unary(Unary::Exp, o),
        FloatOp::Log(o) => unary(Unary::Log, o),
        FloatOp::Log1p(o) => unary(Unary::Log1p, o),
        FloatOp::Erf(o) => unary(Unary::Erf, o),
        FloatOp::Sqrt(o) => unary(Unary::Sqrt, o),
        FloatOp::Cos(o) => unary(Unary::Cos, o),
        FloatOp::Cosh(o) => unary(Unary::Cosh, o),
        FloatOp::Sin(o) => unary(Unary::Sin, o),
        FloatOp::Sinh(o) => unary(Unary::Sinh, o),
        FloatOp::Tan(o) => unary(Unary::Tan, o),
        FloatOp::Tanh(o) => unary(Unary::Tanh, o),
        FloatOp::ArcCos(o) => unary(Unary::Acos, o),
        FloatOp::ArcCosh(o) => unary(Unary::Acosh, o),
        FloatOp::ArcSin(o) => unary(Unary::Asin, o),
        FloatOp::ArcSinh(o) => unary(Unary::Asinh, o),
        FloatOp::ArcTan(o) => unary(Unary::Atan, o),
        FloatOp::ArcTanh(o) => unary(Unary::Atanh, o),
        FloatOp::Round(o) => unary(Unary::Round, o),
        FloatOp::Floor(o) => unary(Unary::Floor, o),
        FloatOp::Ceil(o) => unary(Unary::Ceil, o),
        FloatOp::Trunc(o) => unary(Unary::Trunc, o),
        FloatOp::Recip(o) => unary(Unary::Recip, o),
        FloatOp::IsNan(o) => unary(Unary::IsNan, o),
        FloatOp::IsInf(o) => unary(Unary::IsInf, o),
        FloatOp::PowfScalar(o) => scalar(Binary::Pow, o),
        FloatOp::Powf(o) => binary(Binary::Pow, o),
        FloatOp::Hypot(o) => binary(Binary::Hypot, o),
        FloatOp::ArcTan2(o) => binary(Binary::Atan2, o),
        FloatOp::IntoInt(o) => node(Op::Cast(o.out.dtype), [&o.input], [&o.out]),
        FloatOp::Matmul(o) => node(Op::MatMul, [&o.lhs, &o.rhs], [&o.out]),
        FloatOp::Cross(o) => node(Op::Cross { dim: o.dim }, [&o.lhs, &o.rhs], [&o.out]),
        FloatOp::GridSample2d(o) => {
            let op = Op::GridSample {
                mode: interpolation(&o.options.mode),
                padding: match o.options.padding_mode {
                    GridSamplePaddingModeIr::Zeros => GridPadding::Zeros,
                    GridSamplePaddingModeIr::Border => GridPadding::Border,
                    GridSamplePaddingModeIr::Reflection => GridPadding::Reflection,
                },
                align_corners: o.options.align_corners,
            };
            node(op, [&o.tensor, &o.grid], [&o.out])
        }
        FloatOp::Random(_) | FloatOp::Quantize(_) | FloatOp::Dequantize(_) => return None,
    })
}

fn activation(op: &Act) -> Option<Lowered> {
    Some(match op {
        Act::Relu(o) => node(Op::Relu, [&o.input], [&o.out]),
        Act::LeakyRelu(o) => {
            let slope = number(&o.rhs);
            node(Op::LeakyRelu { slope }, [&o.lhs], [&o.out])
        }
        Act::PRelu(o) => node(Op::PRelu, [&o.lhs, &o.rhs], [&o.out]),
        Act::Gelu(o) => node(Op::Gelu, [&o.input], [&o.out]),
        Act::Sigmoid(o) => node(Op::Sigmoid, [&o.input], [&o.out]),
        Act::HardSigmoid(o) => {
            let op = Op::HardSigmoid {
                alpha: number(&o.alpha),
                beta: number(&o.beta),
            };
            node(op, [&o.tensor], [&o.out])
        }
        Act::LogSigmoid(o) => node(Op::LogSigmoid, [&o.input], [&o.out]),
        Act::Softmax(o) => node(Op::Softmax { dim: o.axis }, [&o.input], [&o.out]),
        Act::LogSoftmax(o) => node(Op::LogSoftmax { dim: o.axis }, [&o.input], [&o.out]),
        Act::Softmin(o) => node(Op::Softmin { dim: o.axis }, [&o.input], [&o.out]),
        Act::ReluBackward(_)
        | Act::GeluBackward(_)
        | Act::SigmoidBackward(_)
        | Act::LogSigmoidBackward(_) => return None,
    })
}
