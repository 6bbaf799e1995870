//! Runs elementwise functions, arithmetic, comparisons and casts for all element kinds.

use burn::backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::backend::{
    DeviceSettings, Dispatch, DispatchDevice, DispatchTensor, Scalar, TensorMetadata,
};
use burn::tensor::{DType, Shape};

use crate::graph::op::{Binary, Compare, Number, Unary};
use crate::{Error, Kind};

type B = Dispatch;

/// The error for an operation that does not exist for an element kind.
pub(super) fn undefined(operation: impl std::fmt::Debug, kind: Kind) -> Error {
    Error::Operation {
        operation: format!("{operation:?}"),
        kind,
    }
}

pub(crate) fn unary(
    f: Unary,
    x: DispatchTensor,
    s: &DeviceSettings,
) -> Result<DispatchTensor, Error> {
    Ok(match (Kind::from(x.dtype()), f) {
        (Kind::Float, Unary::Abs) => B::float_abs(x),
        (Kind::Float, Unary::Acos) => B::float_acos(x),
        (Kind::Float, Unary::Acosh) => B::float_acosh(x),
        (Kind::Float, Unary::Asin) => B::float_asin(x),
        (Kind::Float, Unary::Asinh) => B::float_asinh(x),
        (Kind::Float, Unary::Atan) => B::float_atan(x),
        (Kind::Float, Unary::Atanh) => B::float_atanh(x),
        (Kind::Float, Unary::Ceil) => B::float_ceil(x),
        (Kind::Float, Unary::Cos) => B::float_cos(x),
        (Kind::Float, Unary::Cosh) => B::float_cosh(x),
        (Kind::Float, Unary::Erf) => B::float_erf(x),
        (Kind::Float, Unary::Exp) => B::float_exp(x),
        (Kind::Float, Unary::Floor) => B::float_floor(x),
        (Kind::Float, Unary::IsInf) => B::float_is_inf(x, s.bool_dtype),
        (Kind::Float, Unary::IsNan) => B::float_is_nan(x, s.bool_dtype),
        (Kind::Float, Unary::Log) => B::float_log(x),
        (Kind::Float, Unary::Log1p) => B::float_log1p(x),
        (Kind::Float, Unary::Neg) => B::float_neg(x),
        (Kind::Float, Unary::Recip) => B::float_recip(x),
        (Kind::Float, Unary::Round) => B::float_round(x),
        (Kind::Float, Unary::Sign) => B::float_sign(x),
        (Kind::Float, Unary::Sin) => B::float_sin(x),
        (Kind::Float, Unary::Sinh) => B::float_sinh(x),
        (Kind::Float, Unary::Sqrt) => B::float_sqrt(x),
        (Kind::Float, Unary::Tan) => B::float_tan(x),
        (Kind::Float, Unary::Tanh) => B::float_tanh(x),
        (Kind::Float, Unary::Trunc) => B::float_trunc(x),
        (Kind::Int, Unary::Abs) => B::int_abs(x),
        (Kind::Int, Unary::Neg) => B::int_neg(x),
        (Kind::Int, Unary::Sign) => B::int_sign(x),
        (Kind::Int, Unary::BitwiseNot) => B::bitwise_not(x),
        (Kind::Bool, Unary::Not) => B::bool_not(x),
        (kind, f) => return Err(undefined(f, kind)),
    })
}

pub(crate) fn binary(
    f: Binary,
    l: DispatchTensor,
    r: DispatchTensor,
) -> Result<DispatchTensor, Error> {
    Ok(match (Kind::from(l.dtype()), f) {
        (Kind::Float, Binary::Add) => B::float_add(l, r),
        (Kind::Float, Binary::Sub) => B::float_sub(l, r),
        (Kind::Float, Binary::Mul) => B::float_mul(l, r),
        (Kind::Float, Binary::Div) => B::float_div(l, r),
        (Kind::Float, Binary::Remainder) => B::float_remainder(l, r),
        (Kind::Float, Binary::Pow) => B::float_powf(l, r),
        (Kind::Float, Binary::PowInt) => B::float_powi(l, r),
        (Kind::Float, Binary::Atan2) => B::float_atan2(l, r),
        (Kind::Float, Binary::Hypot) => B::float_hypot(l, r),
        (Kind::Int, Binary::Add) => B::int_add(l, r),
        (Kind::Int, Binary::Sub) => B::int_sub(l, r),
        (Kind::Int, Binary::Mul) => B::int_mul(l, r),
        (Kind::Int, Binary::Div) => B::int_div(l, r),
        (Kind::Int, Binary::Remainder) => B::int_remainder(l, r),
        (Kind::Int, Binary::PowInt) => B::int_powi(l, r),
        (Kind::Int, Binary::BitwiseAnd) => B::bitwise_and(l, r),
        (Kind::Int, Binary::BitwiseOr) => B::bitwise_or(l, r),
        (Kind::Int, Binary::BitwiseXor) => B::bitwise_xor(l, r),
        (Kind::Int, Binary::ShiftLeft) => B::bitwise_left_shift(l, r),
        (Kind::Int, Binary::ShiftRight) => B::bitwise_right_shift(l, r),
        (Kind::Bool, Binary::And) => B::bool_and(l, r),
        (Kind::Bool, Binary::Or) => B::bool_or(l, r),
        (Kind::Bool, Binary::Xor) => B::bool_xor(l, r),
        (kind, f) => return Err(undefined(f, kind)),
    })
}

pub(crate) fn binary_scalar(
    f: Binary,
    l: DispatchTensor,
    r: Scalar,
) -> Result<DispatchTensor, Error> {
    Ok(match (Kind::from(l.dtype()), f) {
        (Kind::Float, Binary::Add) => B::float_add_scalar(l, r),
        (Kind::Float, Binary::Sub) => B::float_sub_scalar(l, r),
        (Kind::Float, Binary::Mul) => B::float_mul_scalar(l, r),
        (Kind::Float, Binary::Div) => B::float_div_scalar(l, r),
        (Kind::Float, Binary::Remainder) => B::float_remainder_scalar(l, r),
        (Kind::Float, Binary::Pow) => B::float_powf_scalar(l, r),
        (Kind::Float, Binary::PowInt) => B::float_powi_scalar(l, r),
        (Kind::Int, Binary::Add) => B::int_add_scalar(l, r),
        (Kind::Int, Binary::Sub) => B::int_sub_scalar(l, r),
        (Kind::Int, Binary::Mul) => B::int_mul_scalar(l, r),
        (Kind::Int, Binary::Div) => B::int_div_scalar(l, r),
        (Kind::Int, Binary::Remainder) => B::int_remainder_scalar(l, r),
        (Kind::Int, Binary::PowInt) => B::int_powi_scalar(l, r),
        (Kind::Int, Binary::BitwiseAnd) => B::bitwise_and_scalar(l, r),
        (Kind::Int, Binary::BitwiseOr) => B::bitwise_or_scalar(l, r),
        (Kind::Int, Binary::BitwiseXor) => B::bitwise_xor_scalar(l, r),
        (Kind::Int, Binary::ShiftLeft) => B::bitwise_left_shift_scalar(l, r),
        (Kind::Int, Binary::ShiftRight) => B::bitwise_right_shift_scalar(l, r),
        (kind, f) => return Err(undefined(f, kind)),
    })
}

pub(crate) fn compare(
    f: Compare,
    l: DispatchTensor,
    r: DispatchTensor,
    s: &DeviceSettings,
) -> Result<DispatchTensor, Error> {
    let b = s.bool_dtype;
    Ok(match (Kind::from(l.dtype()), f) {
        (Kind::Float, Compare::Equal) => B::float_equal(l, r, b),
        (Kind::Float, Compare::NotEqual) => B::float_not_equal(l, r, b),
        (Kind::Float, Compare::Greater) => B::float_greater(l, r, b),
        (Kind::Float, Compare::GreaterEqual) => B::float_greater_equal(l, r, b),
        (Kind::Float, Compare::Lower) => B::float_lower(l, r, b),
        (Kind::Float, Compare::LowerEqual) => B::float_lower_equal(l, r, b),
        (Kind::Int, Compare::Equal) => B::int_equal(l, r, b),
        (Kind::Int, Compare::NotEqual) => B::int_not_equal(l, r, b),
        (Kind::Int, Compare::Greater) => B::int_greater(l, r, b),
        (Kind::Int, Compare::GreaterEqual) => B::int_greater_equal(l, r, b),
        (Kind::Int, Compare::Lower) => B::int_lower(l, r, b),
        (Kind::Int, Compare::LowerEqual) => B::int_lower_equal(l, r, b),
        (Kind::Bool, Compare::Equal) => B::bool_equal(l, r),
        (Kind::Bool, Compare::NotEqual) => B::bool_not_equal(l, r),
        (Kind::Bool, _) => return Err(Error::Internal("booleans have no order")),
    })
}

pub(crate) fn compare_scalar(
    f: Compare,
    l: DispatchTensor,
    r: Scalar,
    s: &DeviceSettings,
) -> Result<DispatchTensor, Error> {
    let b = s.bool_dtype;
    Ok(match (Kind::from(l.dtype()), f) {
        (Kind::Float, Compare::Equal) => B::float_equal_elem(l, r, b),
        (Kind::Float, Compare::NotEqual) => B::float_not_equal_elem(l, r, b),
        (Kind::Float, Compare::Greater) => B::float_greater_elem(l, r, b),
        (Kind::Float, Compare::GreaterEqual) => B::float_greater_equal_elem(l, r, b),
        (Kind::Float, Compare::Lower) => B::float_lower_elem(l, r, b),
        (Kind::Float, Compare::LowerEqual) => B::float_lower_equal_elem(l, r, b),
        (Kind::Int, Compare::Equal) => B::int_equal_elem(l, r, b),
        (Kind::Int, Compare::NotEqual) => B::int_not_equal_elem(l, r, b),
        (Kind::Int, Compare::Greater) => B::int_greater_elem(l, r, b),
        (Kind::Int, Compare::GreaterEqual) => B::int_greater_equal_elem(l, r, b),
        (Kind::Int, Compare::Lower) => B::int_lower_elem(l, r, b),
        (Kind::Int, Compare::LowerEqual) => B::int_lower_equal_elem(l, r, b),
        (Kind::Bool, Compare::Equal) => B::bool_equal_elem(l, r),
        (Kind::Bool, Compare::NotEqual) => B::bool_not_equal_elem(l, r),
        (Kind::Bool, _) => return Err(Error::Internal("booleans have no order")),
    })
}

pub(crate) fn clamp(x: DispatchTensor, min: Option<Number>, max: Option<Number>) -> DispatchTensor {
    let int = Kind::from(x.dtype()) == Kind::Int;
    match (min.map(Scalar::from), max.map(Scalar::from)) {
        (Some(min), Some(max)) if int => B::int_clamp(x, min, max),
        (Some(min), Some(max)) => B::float_clamp(x, min, max),
        (Some(min), None) if int => B::int_clamp_min(x, min),
        (Some(min), None) => B::float_clamp_min(x, min),
        (None, Some(max)) if int => B::int_clamp_max(x, max),
        (None, Some(max)) => B::float_clamp_max(x, max),
        (None, None) => x,
    }
}

pub(crate) fn cast(kind: Kind, x: DispatchTensor, dtype: DType) -> DispatchTensor {
    match (kind, Kind::from(dtype)) {
        (Kind::Float, Kind::Float) => B::float_cast(x, dtype.into()),
        (Kind::Float, Kind::Int) => B::float_into_int(x, dtype.into()),
        (Kind::Float, Kind::Bool) => B::float_not_equal_elem(x, Scalar::Int(0), dtype.into()),
        (Kind::Int, Kind::Float) => B::int_into_float(x, dtype.into()),
        (Kind::Int, Kind::Int) => B::int_cast(x, dtype.into()),
        (Kind::Int, Kind::Bool) => B::int_not_equal_elem(x, Scalar::Int(0), dtype.into()),
        (Kind::Bool, Kind::Float) => B::bool_into_float(x, dtype.into()),
        (Kind::Bool, Kind::Int) => B::bool_into_int(x, dtype.into()),
        (Kind::Bool, Kind::Bool) => x,
    }
}

pub(crate) fn full(
    shape: Shape,
    value: Number,
    dtype: DType,
    device: &DispatchDevice,
) -> DispatchTensor {
    match Kind::from(dtype) {
        Kind::Float => B::float_full(shape, value.into(), device, dtype.into()),
        Kind::Int => B::int_full(shape, value.into(), device, dtype.into()),
        Kind::Bool if value.elem::<f32>() != 0.0 => B::bool_ones(shape, device, dtype.into()),
        Kind::Bool => B::bool_zeros(shape, device, dtype.into()),
    }
}
