//! Computes the derivative of one node: pulls what arrives at its outputs back to its operands.
//!
//! Burn's own backward operations handle the hot cases; everything else runs the node once more on
//! a small autodiff tape of its own. Formulas are written here only for what merely moves or
//! scales what arrives, and where Burn's own derivative is missing or inexact on some backend
//! (resizing, GELU).
//!
//! ```text
//! written/  the same written out in operations, where walks are recorded
//! ```

mod written;

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::backend::ops::{ActivationOps, FloatTensorOps, IntTensorOps, ModuleOps};
use burn::backend::{
    AutodiffBackend, Dispatch, DispatchDevice, DispatchTensor, Scalar, TensorMetadata,
};
use burn::tensor::{IndexingUpdateOp, Shape, Slice, TensorData};

use super::op::{Binary, Interpolation, Op};
use super::run::{self, Place, conv, pool};
use super::{Graph, Group, panic_message};
use crate::{Error, Kind, Value};

type B = Dispatch;

/// What runs: a node's operation, or a group of nodes.
#[derive(Clone, Copy)]
pub(crate) enum Body<'a> {
    Op(&'a Op),
    Group(&'a Graph, &'a Group),
}

impl Body<'_> {
    pub fn run(&self, operands: Vec<Value>, place: &Place) -> Result<Vec<Value>, Error> {
        match self {
            Self::Op(op) => run::run(op, operands, place),
            Self::Group(graph, group) => graph.run_group(group, operands, place),
        }
    }

    /// As [`reads`]; the derivative of a group runs it again.
    pub fn reads(&self, wanted: &[bool]) -> (bool, bool) {
        match self {
            Self::Op(op) => reads(op, wanted),
            Self::Group(..) => (true, false),
        }
    }
}

/// One run of a node: its operands and outputs.
pub(crate) struct Run<'a> {
    pub body: Body<'a>,
    pub operands: &'a [Value],
    pub outputs: &'a [Value],
    pub place: &'a Place,
}

/// Pulls `arriving` (one entry per output) back to the operands marked in `wanted`.
///
/// An operand that nothing flows to gets `None`.
pub(crate) fn vjp(
    run: &Run<'_>,
    mut arriving: Vec<Option<Value>>,
    wanted: &[bool],
) -> Result<Vec<Option<Value>>, Error> {
    let wanted: Vec<bool> = run
        .operands
        .iter()
        .zip(wanted)
        .map(|(operand, wanted)| *wanted && operand.kind() == Kind::Float)
        .collect();
    let mut result = vec![None; run.operands.len()];
    let float = |value: &Option<Value>| value.as_ref().is_some_and(|v| v.kind() == Kind::Float);
    if !wanted.contains(&true) || !arriving.first().is_some_and(float) {
        return Ok(result);
    }
    let recording = matches!(run.place.device, DispatchDevice::Capture(_));
    let op = match run.body {
        Body::Op(op) => op,
        Body::Group(graph, group) if recording => {
            let arriving = arriving.swap_remove(0);
            return written::of_group(graph, group, run, arriving, &wanted);
        }
        Body::Group(..) => return tape(run, arriving, &wanted),
    };
    let only_first = wanted[0] && !wanted[1..].contains(&true);
    if let Op::Binary(f @ (Binary::Add | Binary::Sub)) = op {
        let shapes: Vec<Shape> = run.operands.iter().map(shape).collect();
        let Some(grad) = arriving.swap_remove(0).map(Value::into_dispatch) else {
            return Ok(result);
        };
        if wanted[1] {
            let grad = sum_to(grad.clone(), &shapes[1]);
            let grad = match f {
                Binary::Sub => B::float_neg(grad),
                _ => grad,
            };
            result[1] = Some(Value::from_dispatch(grad));
        }
        if wanted[0] {
            result[0] = Some(Value::from_dispatch(sum_to(grad, &shapes[0])));
        }
        return Ok(result);
    }
    if recording {
        // Burn's own backward operations cannot be recorded.
        let Some(arriving) = &arriving[0] else {
            return Ok(result);
        };
        let shares = written::written(op, run, arriving, &wanted)?;
        return shares.ok_or_else(|| unrecorded(&op.name()));
    }
    if let Op::GridSample {
        mode: Interpolation::Nearest | Interpolation::NearestExact,
        ..
    } = op
    {
        // Moving the grid a little changes nothing.
        if wanted[1] {
            result[1] = Some(run.operands[1].zeros_like());
        }
        if let (true, Some(grad)) = (wanted[0], arriving.swap_remove(0)) {
            result[0] = Some(nearest_sample_backward(op, run, grad)?);
        }
        return Ok(result);
    }
    if let (true, Some(kernels), Some(grad)) = (only_first, &run.place.kernels, &arriving[0])
        && let Some(share) = kernels.derivative(op, run.operands, run.outputs, grad)
    {
        result[0] = Some(share);
        return Ok(result);
    }
    if matches!(op, Op::MatMul | Op::Binary(Binary::Mul)) {
        if let Some(grad) = arriving.swap_remove(0) {
            result = product_backward(op, run, grad, &wanted)?;
        }
        return Ok(result);
    }
    if only_first && has_backward(op) {
        // Moved, not shared, so that Burn's backward operations work in place.
        let Some(grad) = arriving.swap_remove(0) else {
            return Ok(result);
        };
        let grad = first_operand(op, run, grad.into_dispatch())?;
        result[0] = Some(Value::from_dispatch(grad));
        return Ok(result);
    }
    tape(run, arriving, &wanted)
}

fn unrecorded(operation: &str) -> Error {
    Error::Trace(format!(
        "the derivative of {operation} is not written out in operations, so the walk cannot be \
         recorded"
    ))
}

/// Whether [`vjp`] reads the values of a node's wanted operands, and of its outputs. It needs the
/// shapes of what it does not read. It always has the operands that are not wanted, such as
/// weights.
pub(crate) fn reads(op: &Op, wanted: &[bool]) -> (bool, bool) {
    let only_first = wanted[0] && !wanted[1..].contains(&true);
    match op {
        Op::Binary(Binary::Add | Binary::Sub) => (false, false),
        op if !only_first || !has_backward(op) => (true, false),
        Op::Relu | Op::Sigmoid | Op::Softmax { .. } => (false, true),
        Op::Gelu | Op::LogSigmoid | Op::AvgPool(_) | Op::AdaptiveAvgPool { .. } => (true, false),
        Op::MaxPool { .. } => (true, true),
        _ => (false, false),
    }
}

/// Whether [`first_operand`] handles the operation.
fn has_backward(op: &Op) -> bool {
    match op {
        Op::Linear
        | Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::BatchNorm { .. }
        | Op::Relu
        | Op::Gelu
        | Op::Sigmoid
        | Op::Softmax { .. }
        | Op::LogSigmoid
        | Op::MaxPool { .. }
        | Op::AvgPool(_)
        | Op::AdaptiveAvgPool { .. }
        | Op::Reshape(_)
        | Op::Permute(_)
        | Op::BinaryScalar(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div, _) => true,
        Op::Interpolate { mode, .. } => matches!(
            mode,
            Interpolation::Bilinear | Interpolation::Bicubic | Interpolation::Lanczos3
        ),
        _ => false,
    }
}

fn operand(values: &[Value], i: usize) -> Result<Value, Error> {
    let value = values.get(i).cloned();
    value.ok_or(Error::Internal("an operation lacks an operand"))
}

fn shape(value: &Value) -> Shape {
    Shape::from(value.shape())
}

/// Sums a gradient over the dimensions along which the operand was broadcast.
pub(super) fn sum_to(grad: DispatchTensor, shape: &Shape) -> DispatchTensor {
    let broadcast: Vec<usize> = grad
        .shape()
        .iter()
        .zip(shape.iter())
        .enumerate()
        .filter(|(_, (grad, operand))| grad != operand)
        .map(|(dim, _)| dim)
        .collect();
    if broadcast.is_empty() {
        grad
    } else {
        B::float_sum_dims(grad, &broadcast)
    }
}

/// Handles the cases in which only the first operand is wanted and Burn has the backward operation
/// or values are only moved.
fn first_operand(op: &Op, run: &Run<'_>, grad: DispatchTensor) -> Result<DispatchTensor, Error> {
    let raw = |i: usize| operand(run.operands, i).map(Value::into_dispatch);
    let output = || operand(run.outputs, 0).map(Value::into_dispatch);
    let x = &run.operands[0];
    Ok(match op {
        Op::Linear => B::linear_x_backward(raw(1)?, grad),
        Op::Conv(g) => conv::convolution_x_backward(raw(0)?, raw(1)?, grad, g)?,
        Op::ConvTranspose(g) => conv::transposed_x_backward(raw(1)?, grad, g)?,
        Op::BatchNorm { epsilon } => {
            let deviation = B::float_add_scalar(raw(4)?, Scalar::Float(*epsilon));
            let scale = B::float_div(raw(1)?, B::float_sqrt(deviation));
            let mut dims = vec![1; x.shape().len()];
            dims[1] = x.shape()[1];
            B::float_mul(grad, B::float_reshape(scale, Shape::from(dims)))
        }
        Op::BinaryScalar(Binary::Mul, factor) => B::float_mul_scalar(grad, (*factor).into()),
        Op::BinaryScalar(Binary::Div, divisor) => B::float_div_scalar(grad, (*divisor).into()),
        Op::BinaryScalar(..) => grad,
        Op::Relu => B::relu_backward(output()?, grad),
        Op::Gelu => B::float_mul(grad, gelu_derivative(raw(0)?)),
        Op::Sigmoid => B::sigmoid_backward(output()?, grad),
        Op::Softmax { dim } => {
            let y = output()?;
            let product = B::float_mul(y.clone(), grad.clone());
            let mean = B::float_sum_dim(product, *dim);
            B::float_mul(y, B::float_sub(grad, mean))
        }
        Op::LogSigmoid => B::log_sigmoid_backward(raw(0)?, grad),
        Op::MaxPool { geometry, indices } => {
            let positions = if *indices {
                operand(run.outputs, 1)?
            } else {
                operand(
                    &pool::max_pool(raw(0)?, geometry, true, &run.place.settings)?,
                    1,
                )?
            };
            pool::max_pool_backward(raw(0)?, grad, positions.into_dispatch(), geometry)?
        }
        Op::AvgPool(g) => pool::avg_pool_backward(raw(0)?, grad, g)?,
        Op::AdaptiveAvgPool { size } => match size.len() {
            1 => B::adaptive_avg_pool1d_backward(raw(0)?, grad),
            2 => B::adaptive_avg_pool2d_backward(raw(0)?, grad),
            _ => B::adaptive_avg_pool3d_backward(raw(0)?, grad),
        },
        Op::Interpolate { size, .. } => resize_backward(op, run, x, grad, *size)?,
        Op::Reshape(_) => B::float_reshape(grad, shape(x)),
        Op::Permute(axes) => {
            let mut inverse = vec![0; axes.len()];
            for (to, &from) in axes.iter().enumerate() {
                inverse[from] = to;
            }
            B::float_permute(grad, &inverse)
        }
        _ => return Err(Error::Internal("an operation has no backward operation")),
    })
}

/// The derivative of a product: of matrices, `g rᵀ` and `lᵀ g`; of elements, `g r` and `l g`.
fn product_backward(
    op: &Op,
    run: &Run<'_>,
    grad: Value,
    wanted: &[bool],
) -> Result<Vec<Option<Value>>, Error> {
    let rank = grad.shape().len();
    let mut shares = vec![None; 2];
    for (i, share) in shares.iter_mut().enumerate().filter(|(i, _)| wanted[*i]) {
        let mut other = operand(run.operands, 1 - i)?.into_dispatch();
        if matches!(op, Op::MatMul) {
            other = B::float_swap_dims(other, rank - 2, rank - 1);
        }
        let mut factors = vec![grad.clone(), Value::from_dispatch(other)];
        if i == 1 {
            factors.reverse();
        }
        let product = run::run(op, factors, run.place)?.swap_remove(0);
        let product = sum_to(product.into_dispatch(), &shape(&run.operands[i]));
        *share = Some(Value::from_dispatch(product));
    }
    Ok(shares)
}

/// The derivative of GELU, `Φ(x) + x φ(x)`. Burn's own backward operation is that of the tanh
/// approximation on some backends, 1e-4 away from the function that its forward computes.
pub(super) fn gelu_derivative(x: DispatchTensor) -> DispatchTensor {
    let by = |x: DispatchTensor, number: f64| B::float_mul_scalar(x, Scalar::Float(number));
    let erf = B::float_erf(by(x.clone(), std::f64::consts::FRAC_1_SQRT_2));
    let cumulative = by(B::float_add_scalar(erf, Scalar::Float(1.0)), 0.5);
    let bell = B::float_exp(by(B::float_mul(x.clone(), x.clone()), -0.5));
    let density = by(
        bell,
        std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2 / 2.0,
    );
    B::float_add(cumulative, B::float_mul(x, density))
}

/// The derivative of resizing, which is linear and separable: `Rᵀ g C` for `y = R x Cᵀ`. Burn has
/// the backward operation for some backends only, but its forward on unit vectors gives `R` and
/// `C`.
fn resize_backward(
    op: &Op,
    run: &Run<'_>,
    x: &Value,
    grad: DispatchTensor,
    size: [usize; 2],
) -> Result<DispatchTensor, Error> {
    let Op::Interpolate {
        mode,
        align_corners,
        ..
    } = op
    else {
        return Err(Error::Internal("not an interpolation"));
    };
    let [_, _, height, width] = x.shape()[..] else {
        return Err(Error::Internal(
            "an interpolated tensor does not have four dimensions",
        ));
    };
    let float = x.dtype().into();
    let along = |length: usize, to: usize, vertical: bool| {
        let mut unit = vec![0f32; length * length];
        unit.iter_mut().step_by(length + 1).for_each(|v| *v = 1.0);
        let (from, size) = if vertical {
            ([1, length, length, 1], [to, 1])
        } else {
            ([1, length, 1, length], [1, to])
        };
        let unit = B::float_from_data(TensorData::new(unit, from), &run.place.device);
        let options = run::interpolate_options(*mode, *align_corners);
        let resized = B::interpolate(B::float_cast(unit, float), size, options);
        // One row per input element, one column per output element.
        B::float_reshape(resized, Shape::from(vec![1, 1, length, to]))
    };
    let rows = along(height, size[0], true);
    let columns = B::float_swap_dims(along(width, size[1], false), 2, 3);
    Ok(B::float_matmul(B::float_matmul(rows, grad), columns))
}

/// The derivative of sampling the nearest pixels: each gets what arrives where it was sampled.
/// Burn has no backward operation, but its forward on the pixels' numbers tells which they are.
fn nearest_sample_backward(op: &Op, run: &Run<'_>, grad: Value) -> Result<Value, Error> {
    let (x, grid) = (&run.operands[0], &run.operands[1]);
    let (&[rows, channels, height, width], [_, _, .., out]) = (&x.shape()[..], &grad.shape()[..])
    else {
        return Err(Error::Internal(
            "a sampled tensor does not have four dimensions",
        ));
    };
    let (pixels, samples) = (height * width, grad.shape()[2] * out);
    if pixels >= 1 << 24 {
        return Err(Error::Geometry {
            layer: "nearest grid sampling",
            got: format!("an image of {height}x{width} pixels"),
            supported: "its derivative needs fewer than 16777216",
        });
    }
    // Number 0 stands for what lies outside.
    let numbers: Vec<f32> = (1..=pixels).map(|number| number as f32).collect();
    let numbers = TensorData::new(numbers, [1, 1, height, width]);
    let numbers = B::float_from_data(numbers, &run.place.device);
    let numbers = B::float_cast(numbers, x.dtype().into());
    let numbers = B::float_expand(numbers, Shape::from(vec![rows, 1, height, width]));
    let numbers = vec![Value::from_dispatch(numbers), grid.clone()];
    let sampled = run::run(op, numbers, run.place)?.remove(0).into_dispatch();
    let places = B::float_into_int(sampled, run.place.settings.int_dtype);
    let places = B::int_reshape(places, Shape::from(vec![rows, 1, samples]));
    let places = B::int_expand(places, Shape::from(vec![rows, channels, samples]));
    let zeros = Shape::from(vec![rows, channels, pixels + 1]);
    let zeros = B::float_zeros(zeros, &run.place.device, x.dtype().into());
    let grad = grad.reshape(&[rows, channels, samples]).into_dispatch();
    let sums = B::float_scatter(2, zeros, places, grad, IndexingUpdateOp::Add);
    let inside = [
        Slice::new(0, None, 1),
        Slice::new(0, None, 1),
        Slice::new(1, None, 1),
    ];
    let inside = Value::from_dispatch(B::float_slice(sums, &inside));
    Ok(inside.reshape(&x.shape()))
}

/// Runs the node on an autodiff tape of its own and differentiates that.
fn tape(
    run: &Run<'_>,
    arriving: Vec<Option<Value>>,
    wanted: &[bool],
) -> Result<Vec<Option<Value>>, Error> {
    let leaves: Vec<Value> = run
        .operands
        .iter()
        .zip(wanted)
        .map(|(operand, wanted)| {
            if *wanted {
                leaf(operand.clone())
            } else {
                operand.clone()
            }
        })
        .collect();
    let outputs = run.body.run(leaves.clone(), run.place)?;
    let mut total: Option<DispatchTensor> = None;
    for (output, grad) in outputs.into_iter().zip(arriving) {
        // An output that depends on no leaf comes back untracked: nothing flows through it.
        let tracked = output.kind() == Kind::Float && output.device().is_autodiff();
        if let (true, Some(grad)) = (tracked, grad) {
            let product = B::float_mul(output.into_dispatch(), B::from_inner(grad.into_dispatch()));
            let sum = B::float_sum(product);
            total = Some(match total {
                Some(total) => B::float_add(total, sum),
                None => sum,
            });
        }
    }
    let Some(total) = total else {
        return Ok(vec![None; run.operands.len()]);
    };
    let mut gradients = backward(total)?;
    Ok(leaves
        .into_iter()
        .zip(wanted)
        .map(|(leaf, wanted)| {
            let leaf = wanted.then(|| leaf.into_dispatch())?;
            B::grad_remove(&leaf, &mut gradients).map(Value::from_dispatch)
        })
        .collect())
}

/// Makes a value a fresh leaf of an autodiff tape.
pub(crate) fn leaf(value: Value) -> Value {
    let inner = B::from_inner(value.detached().into_dispatch());
    let tracked = B::float_set_require_grad(inner, true);
    Value::from_dispatch(tracked)
}

/// Runs a tape backwards. Some backends lack the derivative of some operation and panic.
pub(crate) fn backward(total: DispatchTensor) -> Result<<B as AutodiffBackend>::Gradients, Error> {
    catch_unwind(AssertUnwindSafe(|| B::backward(total)))
        .map_err(|panic| Error::Device(panic_message(panic.as_ref())))
}
