//! Runs one node: implements every [`Op`] with Burn's rank-erased operations.
//!
//! The same code serves plain tensors (replay) and autodiff tensors (the generic derivative in
//! `derivative/`), since Burn dispatches on the tensor.
//!
//! ```text
//! mod.rs          one node                replay.rs  a graph
//! elementwise.rs, reduce.rs, conv.rs, pool.rs   operations by family
//! kernels/        faster implementations of some on the CPU
//! ```

pub(super) mod conv;
mod elementwise;
mod kernels;
pub(super) mod pool;
mod reduce;
mod replay;

use std::sync::Arc;

use burn::backend::ops::{ActivationOps, BoolTensorOps, FloatTensorOps, IntTensorOps, ModuleOps};
use burn::backend::ops::{
    AttentionModuleOptions, DeformConvOptions, GridSampleOptions, GridSamplePaddingMode,
    InterpolateMode, InterpolateOptions, PadMode, UnfoldOptions,
};
use burn::backend::{DeviceOps, DeviceSettings};
use burn::backend::{Dispatch, DispatchDevice, Scalar};
use burn::tensor::{DType, Device, IndexingUpdateOp, Shape, Slice};

pub(crate) use kernels::{Kernels, in_parallel, on_threads, threads};
pub(crate) use replay::{Activations, caught};

use super::op::{GridPadding, Interpolation, Op, Padding};
use super::{Dim, Graph, Node, SliceDim, SlotId};
use crate::value::by_kind;
use crate::{Error, Kind, Value};

type B = Dispatch;

/// The device that a graph runs on, and the number of rows.
#[derive(Clone)]
pub(crate) struct Place {
    pub device: DispatchDevice,
    pub rows: usize,
    pub settings: DeviceSettings,
    /// Faster implementations, with the weights that a graph has prepared; without a graph, Burn
    /// does all the work.
    pub kernels: Option<Arc<Kernels>>,
}

impl Place {
    pub fn new(device: DispatchDevice, rows: usize) -> Self {
        let settings = device.defaults();
        Self {
            device,
            rows,
            settings,
            kernels: None,
        }
    }

    /// The place where `graph` runs.
    pub fn of(graph: &Graph, rows: usize) -> Self {
        Self {
            kernels: Some(graph.kernels.clone()),
            ..Self::new(graph.device.clone(), rows)
        }
    }

    /// The type on this device for a recorded type, which may be a default of the capture device.
    pub fn dtype(&self, recorded: DType) -> DType {
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

impl Op {
    /// Runs the operation on `device`, where the operands live, and returns its outputs in order.
    ///
    /// Burn checks the sizes of dimensions and elements, and panics if they do not fit.
    ///
    /// # Errors
    /// [`Error::Internal`] for too few operands, or for an element kind that the operation does not
    /// support.
    pub fn run(&self, operands: Vec<Value>, device: &Device) -> Result<Vec<Value>, Error> {
        let place = Place::new(device.as_dispatch().clone(), 1);
        run(self, operands, &place)
    }
}

/// Runs a node's operation in the form `op`, and the activation `after` it if a kernel computes both.
/// Returns the outputs, and the slots that they belong to.
pub(crate) fn run_node<'a>(
    node: &'a Node,
    after: Option<&'a Node>,
    op: &Op,
    operands: Vec<Value>,
    place: &Place,
) -> Result<(&'a [SlotId], Vec<Value>), Error> {
    if let (Some(after), Some(kernels)) = (after, &place.kernels)
        && let Some(value) = kernels.run_with_activation(op, &operands, &after.op)
    {
        return Ok((&after.outputs, vec![value]));
    }
    Ok((&node.outputs, run(op, operands, place)?))
}

/// Runs `op` on `operands` and returns its outputs in order. Operands that nobody else holds may be
/// overwritten.
pub(crate) fn run(op: &Op, operands: Vec<Value>, place: &Place) -> Result<Vec<Value>, Error> {
    let fast = |kernels: &Arc<Kernels>| kernels.run(op, &operands);
    if let Some(result) = place.kernels.as_ref().and_then(fast) {
        return Ok(vec![result]);
    }
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
            const DEFORMABLE: &str = "a deformable convolution";
            let options = DeformConvOptions::new(
                conv::array(DEFORMABLE, &g.stride)?,
                conv::symmetric(DEFORMABLE, &g.padding)?,
                conv::array(DEFORMABLE, &g.dilation)?,
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
        Op::Unary(f) => elementwise::unary(*f, raw(0)?, settings)?,
        Op::Binary(f) => elementwise::binary(*f, raw(0)?, raw(1)?)?,
        Op::BinaryScalar(f, value) => elementwise::binary_scalar(*f, raw(0)?, (*value).into())?,
        Op::Compare(f) => elementwise::compare(*f, raw(0)?, raw(1)?, settings)?,
        Op::CompareScalar(f, value) => {
            elementwise::compare_scalar(*f, raw(0)?, (*value).into(), settings)?
        }
        Op::Clamp { min, max } => elementwise::clamp(raw(0)?, *min, *max),
        Op::Reduce(f, dim) => reduce::reduce(*f, raw(0)?, *dim, settings)?,
        Op::SumDims(dims) => match kind {
            Kind::Int => dims.iter().fold(raw(0)?, |x, &d| B::int_sum_dim(x, d)),
            _ => B::float_sum_dims(raw(0)?, dims),
        },
        Op::Cumulative(f, dim) => reduce::cumulative(*f, raw(0)?, *dim),
        Op::ExtremeWithIndices { .. } | Op::TopK { .. } | Op::Sort { .. } => {
            return reduce::ordered(op, raw(0)?, settings);
        }
        Op::Cross { dim } => B::float_cross(raw(0)?, raw(1)?, *dim),
        Op::MaxPool { geometry, indices } => {
            return pool::max_pool(raw(0)?, geometry, *indices, settings);
        }
        Op::AvgPool(g) => pool::avg_pool(raw(0)?, g)?,
        Op::AdaptiveAvgPool { size } => match size[..] {
            [l] => B::adaptive_avg_pool1d(raw(0)?, l),
            [h, w] => B::adaptive_avg_pool2d(raw(0)?, [h, w]),
            [d, h, w] => B::adaptive_avg_pool3d(raw(0)?, [d, h, w]),
            _ => {
                let supported = "it must have 1, 2 or 3";
                return Err(conv::wrong_rank("adaptive pooling", size.len(), supported));
            }
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
        Op::Cast(dtype) => elementwise::cast(kind, raw(0)?, place.dtype(*dtype)),
        Op::Full {
            shape,
            value,
            dtype,
        } => {
            let shape = place.shape(shape)?;
            elementwise::full(shape, *value, place.dtype(*dtype), &place.device)
        }
        _ => return Err(Error::Internal("an operation is not implemented")),
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
        // Flex overwrites a tensor that is held once, with a branch for each element that the
        // processor cannot predict: ten times slower than the copy it makes of a shared one.
        Op::MaskWhere => {
            let (mask, value) = (raw(1)?, raw(2)?);
            let _shared = (x.clone(), value.clone());
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
            let _shared = x.clone();
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
                (Kind::Bool, _) => return Err(elementwise::undefined(update, Kind::Bool)),
            })
        }
        Op::SelectAssign { dim, update } => {
            let (x, indices, value) = (x.into_dispatch(), raw(1)?, raw(2)?);
            Value::from_dispatch(match (kind, update) {
                (Kind::Float, _) => B::float_select_assign(x, *dim, indices, value, *update),
                (Kind::Int, _) => B::int_select_assign(x, *dim, indices, value, *update),
                (Kind::Bool, IndexingUpdateOp::Add) => B::bool_select_or(x, *dim, indices, value),
                (Kind::Bool, _) => return Err(elementwise::undefined(update, Kind::Bool)),
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
        _ => return Err(Error::Internal("an operation is not implemented")),
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
