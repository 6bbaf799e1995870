//! Runs one node: every [`Op`] in terms of Burn's rank-erased operations.
//!
//! The same code serves plain tensors (replay) and autodiff tensors (the generic derivative in
//! `vjp.rs`), since Burn dispatches on the tensor.

use burn::backend::ops::{ActivationOps, BoolTensorOps, FloatTensorOps, IntTensorOps, ModuleOps};
use burn::backend::ops::{
    AttentionModuleOptions, DeformConvOptions, GridSampleOptions, GridSamplePaddingMode,
    InterpolateMode, InterpolateOptions, PadMode, UnfoldOptions,
};
use burn::backend::{DeviceOps, DeviceSettings};
use burn::backend::{Dispatch, DispatchDevice, DispatchTensor, Scalar, TensorMetadata};
use burn::tensor::{DType, IndexingUpdateOp, Shape, Slice};

use super::conv;
use super::op::{
    Binary, Compare, Cumulative, Dim, GridPadding, Interpolation, Number, Op, Padding,
    PoolGeometry, Reduce, SliceDim, Unary,
};
use crate::value::by_kind;
use crate::{Error, Kind, Value};

type B = Dispatch;

/// Where and for how many rows a graph runs.
#[derive(Clone)]
pub(crate) struct Place {
    pub device: DispatchDevice,
    pub rows: usize,
    pub settings: DeviceSettings,
}

impl Place {
    pub fn new(device: DispatchDevice, rows: usize) -> Self {
        let settings = device.defaults();
        Self {
            device,
            rows,
            settings,
        }
    }

    /// Recordings name the capture device's default types; this device has its own.
    fn dtype(&self, recorded: DType) -> DType {
        match recorded {
            DType::Bool(_) => DType::Bool(self.settings.bool_dtype),
            DType::I64 => self.settings.int_dtype.into(),
            other => other,
        }
    }

    fn shape(&self, dims: &[Dim]) -> Result<Shape, Error> {
        let dims: Option<Vec<usize>> = dims
            .iter()
            .map(|d| usize::try_from(d.at(self.rows)).ok())
            .collect();
        dims.map(Shape::from)
            .ok_or(Error::Internal("a traced shape became negative"))
    }

    fn slices(&self, ranges: &[SliceDim]) -> Vec<Slice> {
        ranges
            .iter()
            .map(|r| {
                let end = r.end.map(|end| end.at(self.rows));
                Slice::new(r.start.at(self.rows), end, r.step)
            })
            .collect()
    }
}

/// Runs `op` on `operands`, giving its outputs in order. Operands that nobody else holds may be
/// overwritten.
pub(crate) fn run(op: &Op, operands: Vec<Value>, place: &Place) -> Result<Vec<Value>, Error> {
    let kind = operands.first().map_or(Kind::Float, Value::kind);
    let mut operands: Vec<Option<Value>> = operands.into_iter().map(Some).collect();
    let settings = &place.settings;
    if is_structural(op) {
        return Ok(vec![structural(op, kind, operands, place)?]);
    }
    let mut raw = |i: usize| take(&mut operands, i).map(Value::into_dispatch);
    let one = match op {
        Op::Linear => B::linear(raw(0)?, raw(1)?, raw(2).ok()),
        Op::MatMul => {
            let (lhs, rhs) = (raw(0)?, raw(1)?);
            match kind {
                Kind::Int => B::int_matmul(lhs, rhs),
                _ => B::float_matmul(lhs, rhs),
            }
        }
        Op::Conv(g) => conv::convolution(raw(0)?, raw(1)?, raw(2).ok(), g)?,
        Op::ConvTranspose(g) => conv::transposed(raw(0)?, raw(1)?, raw(2).ok(), g)?,
        Op::DeformConv {
            geometry: g,
            offset_groups,
            mask,
        } => {
            let options = DeformConvOptions::new(
                conv::array(&g.stride)?,
                conv::array(&conv::symmetric(&g.padding)?)?,
                conv::array(&g.dilation)?,
                g.groups,
                *offset_groups,
            );
            let bias = raw(if *mask { 4 } else { 3 }).ok();
            let mask = if *mask { Some(raw(3)?) } else { None };
            B::deform_conv2d(raw(0)?, raw(1)?, raw(2)?, mask, bias, options)
        }
        Op::BatchNorm { epsilon } => {
            B::batch_norm(raw(0)?, raw(1)?, raw(2)?, raw(3)?, raw(4)?, *epsilon)
        }
        Op::LayerNorm { epsilon } => B::layer_norm(raw(0)?, raw(1)?, raw(2).ok(), *epsilon),
        Op::Embedding => B::embedding(raw(0)?, raw(1)?),
        Op::Attention {
            scale,
            softcap,
            causal,
            mask,
            bias,
        } => {
            let options = AttentionModuleOptions {
                scale: *scale,
                softcap: *softcap,
                is_causal: *causal,
            };
            let bias = if *bias {
                Some(raw(3 + usize::from(*mask))?)
            } else {
                None
            };
            let mask = if *mask { Some(raw(3)?) } else { None };
            B::attention(raw(0)?, raw(1)?, raw(2)?, mask, bias, options)
        }
        Op::Relu => B::relu(raw(0)?),
        Op::LeakyRelu { slope } => B::leaky_relu(raw(0)?, Scalar::Float(*slope)),
        Op::PRelu => B::prelu(raw(0)?, raw(1)?),
        Op::Gelu => B::gelu(raw(0)?),
        Op::Sigmoid => B::sigmoid(raw(0)?),
        Op::HardSigmoid { alpha, beta } => {
            B::hard_sigmoid(raw(0)?, Scalar::Float(*alpha), Scalar::Float(*beta))
        }
        Op::LogSigmoid => B::log_sigmoid(raw(0)?),
        Op::Softmax { dim } => B::softmax(raw(0)?, *dim),
        Op::LogSoftmax { dim } => B::log_softmax(raw(0)?, *dim),
        Op::Softmin { dim } => B::softmin(raw(0)?, *dim),
        Op::Unary(f) => unary(*f, raw(0)?, settings)?,
        Op::Binary(f) => binary(*f, raw(0)?, raw(1)?)?,
        Op::BinaryScalar(f, value) => binary_scalar(*f, raw(0)?, (*value).into())?,
        Op::Compare(f) => compare(*f, raw(0)?, raw(1)?, settings)?,
        Op::CompareScalar(f, value) => compare_scalar(*f, raw(0)?, (*value).into(), settings)?,
        Op::Clamp { min, max } => clamp(raw(0)?, *min, *max),
        Op::Reduce(f, dim) => reduce(*f, raw(0)?, *dim, settings)?,
        Op::SumDims(dims) => match kind {
            Kind::Int => dims.iter().fold(raw(0)?, |x, &d| B::int_sum_dim(x, d)),
            _ => B::float_sum_dims(raw(0)?, dims),
        },
        Op::Cumulative(f, dim) => cumulative(*f, raw(0)?, *dim),
        Op::ExtremeWithIndices { .. } | Op::TopK { .. } | Op::Sort { .. } => {
            return ordered(op, raw(0)?, settings);
        }
        Op::Cross { dim } => B::float_cross(raw(0)?, raw(1)?, *dim),
        Op::MaxPool { geometry, indices } => {
            return max_pool(raw(0)?, geometry, *indices, settings);
        }
        Op::AvgPool(g) => avg_pool(raw(0)?, g)?,
        Op::AdaptiveAvgPool { size } => match size[..] {
            [l] => B::adaptive_avg_pool1d(raw(0)?, l),
            [h, w] => B::adaptive_avg_pool2d(raw(0)?, [h, w]),
            [d, h, w] => B::adaptive_avg_pool3d(raw(0)?, [d, h, w]),
            _ => return Err(Error::Internal("pooling over more than 3 dimensions")),
        },
        Op::Interpolate {
            size,
            mode,
            align_corners,
        } => B::interpolate(raw(0)?, *size, interpolate_options(*mode, *align_corners)),
        Op::GridSample {
            mode,
            padding,
            align_corners,
        } => {
            let padding = match padding {
                GridPadding::Zeros => GridSamplePaddingMode::Zeros,
                GridPadding::Border => GridSamplePaddingMode::Border,
                GridPadding::Reflection => GridSamplePaddingMode::Reflection,
            };
            let options = GridSampleOptions {
                mode: interpolate_mode(*mode),
                padding_mode: padding,
                align_corners: *align_corners,
            };
            B::float_grid_sample_2d(raw(0)?, raw(1)?, options)
        }
        Op::Unfold4d {
            kernel,
            stride,
            padding,
            dilation,
        } => B::unfold4d(
            raw(0)?,
            *kernel,
            UnfoldOptions::new(*stride, *padding, *dilation),
        ),
        Op::Pad(padding, fill) => {
            let mode = match fill {
                Padding::Constant(value) => PadMode::Constant(*value as f32),
                Padding::Reflect => PadMode::Reflect,
                Padding::Edge => PadMode::Edge,
            };
            match kind {
                Kind::Int => B::int_pad(raw(0)?, padding, mode),
                _ => B::float_pad(raw(0)?, padding, mode),
            }
        }
        Op::Cast(dtype) => cast(kind, raw(0)?, place.dtype(*dtype)),
        Op::Full {
            shape,
            value,
            dtype,
        } => {
            let shape = place.shape(shape)?;
            full(shape, *value, place.dtype(*dtype), &place.device)
        }
        _ => return Err(Error::Internal("an operation has no execution")),
    };
    Ok(vec![Value::from_dispatch(one)])
}

/// Takes an operand out of the list.
fn take(operands: &mut [Option<Value>], i: usize) -> Result<Value, Error> {
    let value = operands.get_mut(i).and_then(Option::take);
    value.ok_or(Error::Internal("an operation lacks an operand"))
}

fn is_structural(op: &Op) -> bool {
    matches!(
        op,
        Op::Reshape(_)
            | Op::Expand(_)
            | Op::Permute(_)
            | Op::Flip(_)
            | Op::Unfold { .. }
            | Op::Slice(_)
            | Op::SliceAssign(_)
            | Op::Select { .. }
            | Op::SelectAssign { .. }
            | Op::Repeat { .. }
            | Op::MaskWhere
            | Op::MaskFill(_)
            | Op::Cat { .. }
            | Op::Gather { .. }
            | Op::GatherNd
            | Op::Scatter { .. }
            | Op::ScatterNd { .. }
    )
}

/// Operations that move values without computing, for all element kinds.
fn structural(
    op: &Op,
    kind: Kind,
    mut operands: Vec<Option<Value>>,
    place: &Place,
) -> Result<Value, Error> {
    let x = take(&mut operands, 0)?;
    let mut raw = |i: usize| take(&mut operands, i).map(Value::into_dispatch);
    Ok(match op {
        Op::Reshape(dims) => {
            let shape = place.shape(dims)?;
            by_kind!(x, float_reshape, int_reshape, bool_reshape, shape)
        }
        Op::Expand(dims) => {
            let shape = place.shape(dims)?;
            by_kind!(x, float_expand, int_expand, bool_expand, shape)
        }
        Op::Permute(axes) => by_kind!(x, float_permute, int_permute, bool_permute, axes),
        Op::Flip(axes) => by_kind!(x, float_flip, int_flip, bool_flip, axes),
        Op::Unfold { dim, size, step } => {
            by_kind!(x, float_unfold, int_unfold, bool_unfold, *dim, *size, *step)
        }
        Op::Slice(ranges) => {
            let slices = place.slices(ranges);
            by_kind!(x, float_slice, int_slice, bool_slice, &slices)
        }
        Op::SliceAssign(ranges) => {
            let (slices, value) = (place.slices(ranges), raw(1)?);
            by_kind!(
                x,
                float_slice_assign,
                int_slice_assign,
                bool_slice_assign,
                &slices,
                value
            )
        }
        Op::Select { dim } => x.select(*dim, raw(1)?),
        Op::Repeat { dim, times } => {
            let times = times.at(place.rows).max(0) as usize;
            by_kind!(
                x,
                float_repeat_dim,
                int_repeat_dim,
                bool_repeat_dim,
                *dim,
                times
            )
        }
        Op::MaskWhere => {
            let (mask, value) = (raw(1)?, raw(2)?);
            by_kind!(
                x,
                float_mask_where,
                int_mask_where,
                bool_mask_where,
                mask,
                value
            )
        }
        Op::MaskFill(value) => {
            let (mask, value) = (raw(1)?, Scalar::from(*value));
            by_kind!(
                x,
                float_mask_fill,
                int_mask_fill,
                bool_mask_fill,
                mask,
                value
            )
        }
        Op::Cat { dim } => {
            let rest = operands.into_iter().flatten();
            let tensors = std::iter::once(x).chain(rest);
            let tensors = tensors.map(Value::into_dispatch).collect();
            Value::from_dispatch(match kind {
                Kind::Float => B::float_cat(tensors, *dim),
                Kind::Int => B::int_cat(tensors, *dim),
                Kind::Bool => B::bool_cat(tensors, *dim),
            })
        }
        Op::Gather { dim } => {
            let (x, indices) = (x.into_dispatch(), raw(1)?);
            Value::from_dispatch(match kind {
                Kind::Float => B::float_gather(*dim, x, indices),
                Kind::Int => B::int_gather(*dim, x, indices),
                Kind::Bool => B::bool_gather(*dim, x, indices),
            })
        }
        Op::Scatter { dim, update } => {
            let (x, indices, value) = (x.into_dispatch(), raw(1)?, raw(2)?);
            Value::from_dispatch(match (kind, update) {
                (Kind::Float, _) => B::float_scatter(*dim, x, indices, value, *update),
                (Kind::Int, _) => B::int_scatter(*dim, x, indices, value, *update),
                (Kind::Bool, IndexingUpdateOp::Add) => B::bool_scatter_or(*dim, x, indices, value),
                (Kind::Bool, _) => return Err(boolean_update()),
            })
        }
        Op::SelectAssign { dim, update } => {
            let (x, indices, value) = (x.into_dispatch(), raw(1)?, raw(2)?);
            Value::from_dispatch(match (kind, update) {
                (Kind::Float, _) => B::float_select_assign(x, *dim, indices, value, *update),
                (Kind::Int, _) => B::int_select_assign(x, *dim, indices, value, *update),
                (Kind::Bool, IndexingUpdateOp::Add) => B::bool_select_or(x, *dim, indices, value),
                (Kind::Bool, _) => return Err(boolean_update()),
            })
        }
        Op::GatherNd => {
            let (x, indices) = (x.into_dispatch(), raw(1)?);
            Value::from_dispatch(match kind {
                Kind::Int => B::int_gather_nd(x, indices),
                _ => B::float_gather_nd(x, indices),
            })
        }
        Op::ScatterNd { update } => {
            let (x, indices, value) = (x.into_dispatch(), raw(1)?, raw(2)?);
            Value::from_dispatch(match kind {
                Kind::Int => B::int_scatter_nd(x, indices, value, *update),
                _ => B::float_scatter_nd(x, indices, value, *update),
            })
        }
        _ => return Err(Error::Internal("an operation has no execution")),
    })
}

/// Burn's boolean tensors are only written with "or".
fn boolean_update() -> Error {
    Error::Method {
        method: "replay",
        reason: "a boolean scatter other than addition is not supported".into(),
    }
}

fn unary(f: Unary, x: DispatchTensor, s: &DeviceSettings) -> Result<DispatchTensor, Error> {
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
        _ => return Err(Error::Internal("a function of the wrong element kind")),
    })
}

fn binary(f: Binary, l: DispatchTensor, r: DispatchTensor) -> Result<DispatchTensor, Error> {
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
        _ => return Err(Error::Internal("arithmetic of the wrong element kind")),
    })
}

fn binary_scalar(f: Binary, l: DispatchTensor, r: Scalar) -> Result<DispatchTensor, Error> {
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
        _ => return Err(Error::Internal("arithmetic of the wrong element kind")),
    })
}

fn compare(
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
        (Kind::Bool, _) => return Err(Error::Internal("an order of truth values")),
    })
}

fn compare_scalar(
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
        (Kind::Bool, _) => return Err(Error::Internal("an order of truth values")),
    })
}

fn clamp(x: DispatchTensor, min: Option<Number>, max: Option<Number>) -> DispatchTensor {
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

fn reduce(
    f: Reduce,
    x: DispatchTensor,
    dim: Option<usize>,
    s: &DeviceSettings,
) -> Result<DispatchTensor, Error> {
    let (b, i) = (s.bool_dtype, s.int_dtype);
    Ok(match (Kind::from(x.dtype()), f, dim) {
        (Kind::Float, Reduce::All, None) => B::float_all(x, b),
        (Kind::Float, Reduce::All, Some(d)) => B::float_all_dim(x, d, b),
        (Kind::Float, Reduce::Any, None) => B::float_any(x, b),
        (Kind::Float, Reduce::Any, Some(d)) => B::float_any_dim(x, d, b),
        (Kind::Float, Reduce::ArgMax, Some(d)) => B::float_argmax(x, d, i),
        (Kind::Float, Reduce::ArgMin, Some(d)) => B::float_argmin(x, d, i),
        (Kind::Float, Reduce::Max, None) => B::float_max(x),
        (Kind::Float, Reduce::Max, Some(d)) => B::float_max_dim(x, d),
        (Kind::Float, Reduce::MaxAbs, None) => B::float_max_abs(x),
        (Kind::Float, Reduce::MaxAbs, Some(d)) => B::float_max_abs_dim(x, d),
        (Kind::Float, Reduce::Mean, None) => B::float_mean(x),
        (Kind::Float, Reduce::Mean, Some(d)) => B::float_mean_dim(x, d),
        (Kind::Float, Reduce::Min, None) => B::float_min(x),
        (Kind::Float, Reduce::Min, Some(d)) => B::float_min_dim(x, d),
        (Kind::Float, Reduce::Prod, None) => B::float_prod(x),
        (Kind::Float, Reduce::Prod, Some(d)) => B::float_prod_dim(x, d),
        (Kind::Float, Reduce::Sum, None) => B::float_sum(x),
        (Kind::Float, Reduce::Sum, Some(d)) => B::float_sum_dim(x, d),
        (Kind::Int, Reduce::All, None) => B::int_all(x, b),
        (Kind::Int, Reduce::All, Some(d)) => B::int_all_dim(x, d, b),
        (Kind::Int, Reduce::Any, None) => B::int_any(x, b),
        (Kind::Int, Reduce::Any, Some(d)) => B::int_any_dim(x, d, b),
        (Kind::Int, Reduce::ArgMax, Some(d)) => B::int_argmax(x, d),
        (Kind::Int, Reduce::ArgMin, Some(d)) => B::int_argmin(x, d),
        (Kind::Int, Reduce::Max, None) => B::int_max(x),
        (Kind::Int, Reduce::Max, Some(d)) => B::int_max_dim(x, d),
        (Kind::Int, Reduce::MaxAbs, None) => B::int_max_abs(x),
        (Kind::Int, Reduce::MaxAbs, Some(d)) => B::int_max_abs_dim(x, d),
        (Kind::Int, Reduce::Mean, None) => B::int_mean(x),
        (Kind::Int, Reduce::Mean, Some(d)) => B::int_mean_dim(x, d),
        (Kind::Int, Reduce::Min, None) => B::int_min(x),
        (Kind::Int, Reduce::Min, Some(d)) => B::int_min_dim(x, d),
        (Kind::Int, Reduce::Prod, None) => B::int_prod(x),
        (Kind::Int, Reduce::Prod, Some(d)) => B::int_prod_dim(x, d),
        (Kind::Int, Reduce::Sum, None) => B::int_sum(x),
        (Kind::Int, Reduce::Sum, Some(d)) => B::int_sum_dim(x, d),
        (Kind::Bool, Reduce::All, None) => B::bool_all(x),
        (Kind::Bool, Reduce::All, Some(d)) => B::bool_all_dim(x, d),
        (Kind::Bool, Reduce::Any, None) => B::bool_any(x),
        (Kind::Bool, Reduce::Any, Some(d)) => B::bool_any_dim(x, d),
        _ => return Err(Error::Internal("a reduction of the wrong element kind")),
    })
}

fn cumulative(f: Cumulative, x: DispatchTensor, dim: usize) -> DispatchTensor {
    match (Kind::from(x.dtype()), f) {
        (Kind::Int, Cumulative::Sum) => B::int_cumsum(x, dim),
        (Kind::Int, Cumulative::Prod) => B::int_cumprod(x, dim),
        (Kind::Int, Cumulative::Min) => B::int_cummin(x, dim),
        (Kind::Int, Cumulative::Max) => B::int_cummax(x, dim),
        (_, Cumulative::Sum) => B::float_cumsum(x, dim),
        (_, Cumulative::Prod) => B::float_cumprod(x, dim),
        (_, Cumulative::Min) => B::float_cummin(x, dim),
        (_, Cumulative::Max) => B::float_cummax(x, dim),
    }
}

/// Operations that order values: outputs are values, positions, or both.
fn ordered(op: &Op, x: DispatchTensor, s: &DeviceSettings) -> Result<Vec<Value>, Error> {
    let int = Kind::from(x.dtype()) == Kind::Int;
    let i = s.int_dtype;
    let (pair, values, indices) = match op {
        Op::ExtremeWithIndices { dim, smallest } => {
            let pair = match (int, smallest) {
                (true, true) => B::int_min_dim_with_indices(x, *dim),
                (true, false) => B::int_max_dim_with_indices(x, *dim),
                (false, true) => B::float_min_dim_with_indices(x, *dim, i),
                (false, false) => B::float_max_dim_with_indices(x, *dim, i),
            };
            (pair, true, true)
        }
        Op::TopK {
            dim,
            k,
            values,
            indices,
        } => {
            let pair = match int {
                true => B::int_topk_with_indices(x, *dim, *k),
                false => B::float_topk_with_indices(x, *dim, *k, i),
            };
            (pair, *values, *indices)
        }
        Op::Sort {
            dim,
            descending,
            values,
            indices,
        } => {
            let pair = match int {
                true => B::int_sort_with_indices(x, *dim, *descending),
                false => B::float_sort_with_indices(x, *dim, *descending, i),
            };
            (pair, *values, *indices)
        }
        _ => return Err(Error::Internal("not an ordering operation")),
    };
    let mut outputs = Vec::new();
    if values {
        outputs.push(Value::from_dispatch(pair.0));
    }
    if indices {
        outputs.push(Value::from_dispatch(pair.1));
    }
    Ok(outputs)
}

/// Max pooling, with the positions of the largest values when asked for.
pub(crate) fn max_pool(
    x: DispatchTensor,
    g: &PoolGeometry,
    indices: bool,
    s: &DeviceSettings,
) -> Result<Vec<Value>, Error> {
    let (ceil, int) = (g.ceil_mode, s.int_dtype);
    let outputs = match (g.kernel.len(), indices) {
        (1, false) => {
            let (k, s, p, d) = (g.kernel[0], g.stride[0], g.padding[0], g.dilation[0]);
            vec![B::max_pool1d(x, k, s, p, d, ceil)]
        }
        (1, true) => {
            let (k, s, p, d) = (g.kernel[0], g.stride[0], g.padding[0], g.dilation[0]);
            let pooled = B::max_pool1d_with_indices(x, k, s, p, d, ceil, int);
            vec![pooled.output, pooled.indices]
        }
        (2, indices) => {
            let (k, s) = (conv::array(&g.kernel)?, conv::array(&g.stride)?);
            let (p, d) = (conv::array(&g.padding)?, conv::array(&g.dilation)?);
            if indices {
                let pooled = B::max_pool2d_with_indices(x, k, s, p, d, ceil, int);
                vec![pooled.output, pooled.indices]
            } else {
                vec![B::max_pool2d(x, k, s, p, d, ceil)]
            }
        }
        _ => return Err(Error::Internal("pooling over more than 2 dimensions")),
    };
    Ok(outputs.into_iter().map(Value::from_dispatch).collect())
}

fn avg_pool(x: DispatchTensor, g: &PoolGeometry) -> Result<DispatchTensor, Error> {
    let (pad, ceil) = (g.count_include_pad, g.ceil_mode);
    Ok(match g.kernel.len() {
        1 => B::avg_pool1d(x, g.kernel[0], g.stride[0], g.padding[0], pad, ceil),
        _ => {
            let (k, s) = (conv::array(&g.kernel)?, conv::array(&g.stride)?);
            B::avg_pool2d(x, k, s, conv::array(&g.padding)?, pad, ceil)
        }
    })
}

fn interpolate_mode(mode: Interpolation) -> InterpolateMode {
    match mode {
        Interpolation::Nearest => InterpolateMode::Nearest,
        Interpolation::NearestExact => InterpolateMode::NearestExact,
        Interpolation::Bilinear => InterpolateMode::Bilinear,
        Interpolation::Bicubic => InterpolateMode::Bicubic,
        Interpolation::Lanczos3 => InterpolateMode::Lanczos3,
    }
}

pub(crate) fn interpolate_options(mode: Interpolation, align: bool) -> InterpolateOptions {
    InterpolateOptions::new(interpolate_mode(mode)).with_align_corners(align)
}

fn cast(kind: Kind, x: DispatchTensor, dtype: DType) -> DispatchTensor {
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

fn full(shape: Shape, value: Number, dtype: DType, device: &DispatchDevice) -> DispatchTensor {
    match Kind::from(dtype) {
        Kind::Float => B::float_full(shape, value.into(), device, dtype.into()),
        Kind::Int => B::int_full(shape, value.into(), device, dtype.into()),
        Kind::Bool if value.elem::<f32>() != 0.0 => B::bool_ones(shape, device, dtype.into()),
        Kind::Bool => B::bool_zeros(shape, device, dtype.into()),
    }
}
