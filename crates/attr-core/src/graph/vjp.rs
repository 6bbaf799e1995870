//! The derivative of one node: what arrives at its outputs, pulled back to its operands.
//!
//! Burn's own backward operations serve the hot cases; everything else runs the node once more on
//! a small autodiff tape of its own. No derivative formula is written here beyond the ones that
//! only move or scale what arrives.

use burn::backend::ops::{ActivationOps, FloatTensorOps, ModuleOps};
use burn::backend::{AutodiffBackend, Dispatch, DispatchTensor, Scalar, TensorMetadata};
use burn::tensor::Shape;

use super::conv;
use super::exec::{self, Place, operand};
use super::op::{Binary, Op, PoolGeometry};
use crate::{Error, Kind, Value};

type B = Dispatch;

/// One run of a node: what went in, what came out.
pub(crate) struct Run<'a> {
    pub op: &'a Op,
    pub operands: &'a [Value],
    pub outputs: &'a [Value],
    pub place: &'a Place,
}

/// Pulls `arriving` (one entry per output) back to the operands marked in `wanted`.
///
/// An operand that nothing flows to gets none.
pub(crate) fn vjp(
    run: &Run<'_>,
    arriving: &[Option<Value>],
    wanted: &[bool],
) -> Result<Vec<Option<Value>>, Error> {
    let wanted: Vec<bool> = run
        .operands
        .iter()
        .zip(wanted)
        .map(|(operand, wanted)| *wanted && operand.kind() == Kind::Float)
        .collect();
    let mut result = vec![None; run.operands.len()];
    let Some(grad) = arriving.first().cloned().flatten() else {
        return Ok(result);
    };
    if !wanted.contains(&true) || grad.kind() != Kind::Float {
        return Ok(result);
    }
    let only_first = wanted[0] && !wanted[1..].contains(&true);
    if let Op::Binary(f @ (Binary::Add | Binary::Sub)) = run.op {
        let grad = grad.into_dispatch();
        let shapes: Vec<Shape> = run.operands.iter().map(shape).collect();
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
    if only_first && let Some(grad) = first_operand(run, grad.into_dispatch())? {
        result[0] = Some(Value::from_dispatch(grad));
        return Ok(result);
    }
    tape(run, arriving, &wanted)
}

fn shape(value: &Value) -> Shape {
    Shape::from(value.shape())
}

/// Sums a gradient over the dimensions along which the operand was broadcast.
fn sum_to(grad: DispatchTensor, shape: &Shape) -> DispatchTensor {
    let broadcast: Vec<usize> = grad
        .shape()
        .iter()
        .zip(shape.iter())
        .enumerate()
        .filter(|(_, (grad, operand))| grad != operand)
        .map(|(dim, _)| dim)
        .collect();
    match broadcast.is_empty() {
        true => grad,
        false => B::float_sum_dims(grad, &broadcast),
    }
}

/// The cases in which only the first operand is wanted and Burn has the backward operation, or
/// nothing but moving is to be done.
fn first_operand(run: &Run<'_>, grad: DispatchTensor) -> Result<Option<DispatchTensor>, Error> {
    let raw = |i: usize| operand(run.operands, i).map(Value::into_dispatch);
    let output = || operand(run.outputs, 0).map(Value::into_dispatch);
    let x = &run.operands[0];
    Ok(Some(match run.op {
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
        Op::Relu => B::relu_backward(output()?, grad),
        Op::Gelu => B::gelu_backward(raw(0)?, grad),
        Op::Sigmoid => B::sigmoid_backward(output()?, grad),
        Op::LogSigmoid => B::log_sigmoid_backward(raw(0)?, grad),
        Op::MaxPool { geometry, indices } => {
            let positions = match indices {
                true => operand(run.outputs, 1)?,
                false => operand(
                    &exec::max_pool(raw(0)?, geometry, true, &run.place.settings)?,
                    1,
                )?,
            };
            max_pool_backward(raw(0)?, grad, positions.into_dispatch(), geometry)?
        }
        Op::AvgPool(g) => avg_pool_backward(raw(0)?, grad, g)?,
        Op::AdaptiveAvgPool { size } => match size.len() {
            1 => B::adaptive_avg_pool1d_backward(raw(0)?, grad),
            2 => B::adaptive_avg_pool2d_backward(raw(0)?, grad),
            _ => B::adaptive_avg_pool3d_backward(raw(0)?, grad),
        },
        Op::Reshape(_) => B::float_reshape(grad, shape(x)),
        Op::Permute(axes) => {
            let mut inverse = vec![0; axes.len()];
            for (to, &from) in axes.iter().enumerate() {
                inverse[from] = to;
            }
            B::float_permute(grad, &inverse)
        }
        _ => return Ok(None),
    }))
}

fn max_pool_backward(
    x: DispatchTensor,
    grad: DispatchTensor,
    indices: DispatchTensor,
    g: &PoolGeometry,
) -> Result<DispatchTensor, Error> {
    let ceil = g.ceil_mode;
    Ok(match g.kernel.len() {
        1 => {
            let (k, s, p, d) = (g.kernel[0], g.stride[0], g.padding[0], g.dilation[0]);
            B::max_pool1d_with_indices_backward(x, k, s, p, d, ceil, grad, indices).x_grad
        }
        _ => {
            let (k, s) = (conv::array(&g.kernel)?, conv::array(&g.stride)?);
            let (p, d) = (conv::array(&g.padding)?, conv::array(&g.dilation)?);
            B::max_pool2d_with_indices_backward(x, k, s, p, d, ceil, grad, indices).x_grad
        }
    })
}

fn avg_pool_backward(
    x: DispatchTensor,
    grad: DispatchTensor,
    g: &PoolGeometry,
) -> Result<DispatchTensor, Error> {
    let (pad, ceil) = (g.count_include_pad, g.ceil_mode);
    Ok(match g.kernel.len() {
        1 => B::avg_pool1d_backward(x, grad, g.kernel[0], g.stride[0], g.padding[0], pad, ceil),
        _ => {
            let (k, s) = (conv::array(&g.kernel)?, conv::array(&g.stride)?);
            B::avg_pool2d_backward(x, grad, k, s, conv::array(&g.padding)?, pad, ceil)
        }
    })
}

/// Runs the node on an autodiff tape of its own and differentiates that.
fn tape(
    run: &Run<'_>,
    arriving: &[Option<Value>],
    wanted: &[bool],
) -> Result<Vec<Option<Value>>, Error> {
    let leaves: Vec<Value> = run
        .operands
        .iter()
        .zip(wanted)
        .map(|(operand, wanted)| match wanted {
            true => leaf(operand.clone()),
            false => operand.clone(),
        })
        .collect();
    let outputs = exec::run(run.op, &leaves, run.place)?;
    let mut total: Option<DispatchTensor> = None;
    for (output, grad) in outputs.into_iter().zip(arriving) {
        // An output on no leaf's path comes back untracked: nothing flows through it.
        let tracked = output.kind() == Kind::Float && output.device().is_autodiff();
        if let (true, Some(grad)) = (tracked, grad) {
            let product = B::float_mul(
                output.into_dispatch(),
                B::from_inner(grad.clone().into_dispatch()),
            );
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
    let mut gradients = B::backward(total);
    Ok(leaves
        .into_iter()
        .zip(wanted)
        .map(|(leaf, wanted)| {
            let leaf = wanted.then(|| leaf.into_dispatch())?;
            B::grad_remove(&leaf, &mut gradients).map(Value::from_dispatch)
        })
        .collect())
}

/// A value as a fresh leaf of an autodiff tape.
pub(crate) fn leaf(value: Value) -> Value {
    let tracked = B::float_set_require_grad(B::from_inner(value.into_dispatch()), true);
    Value::from_dispatch(tracked)
}
