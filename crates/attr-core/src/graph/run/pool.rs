//! Pooling over 1 and 2 dimensions, and its derivatives with respect to the input.

use burn::backend::ops::ModuleOps;
use burn::backend::{DeviceSettings, Dispatch, DispatchTensor};

use super::conv::{array, wrong_rank};
use crate::graph::op::PoolGeometry;
use crate::{Error, Value};

type B = Dispatch;

const MAX: &str = "max pooling";
const AVERAGE: &str = "average pooling";

fn rank(layer: &'static str, g: &PoolGeometry) -> Error {
    wrong_rank(layer, g.kernel.len(), "it must have 1 or 2")
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
            let (k, s) = (array(MAX, &g.kernel)?, array(MAX, &g.stride)?);
            let (p, d) = (array(MAX, &g.padding)?, array(MAX, &g.dilation)?);
            if indices {
                let pooled = B::max_pool2d_with_indices(x, k, s, p, d, ceil, int);
                vec![pooled.output, pooled.indices]
            } else {
                vec![B::max_pool2d(x, k, s, p, d, ceil)]
            }
        }
        _ => return Err(rank(MAX, g)),
    };
    Ok(outputs.into_iter().map(Value::from_dispatch).collect())
}

pub(crate) fn avg_pool(x: DispatchTensor, g: &PoolGeometry) -> Result<DispatchTensor, Error> {
    let (pad, ceil) = (g.count_include_pad, g.ceil_mode);
    Ok(match g.kernel.len() {
        1 => B::avg_pool1d(x, g.kernel[0], g.stride[0], g.padding[0], pad, ceil),
        2 => {
            let (k, s) = (array(AVERAGE, &g.kernel)?, array(AVERAGE, &g.stride)?);
            B::avg_pool2d(x, k, s, array(AVERAGE, &g.padding)?, pad, ceil)
        }
        _ => return Err(rank(AVERAGE, g)),
    })
}

pub(crate) fn max_pool_backward(
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
        2 => {
            let (k, s) = (array(MAX, &g.kernel)?, array(MAX, &g.stride)?);
            let (p, d) = (array(MAX, &g.padding)?, array(MAX, &g.dilation)?);
            B::max_pool2d_with_indices_backward(x, k, s, p, d, ceil, grad, indices).x_grad
        }
        _ => return Err(rank(MAX, g)),
    })
}

pub(crate) fn avg_pool_backward(
    x: DispatchTensor,
    grad: DispatchTensor,
    g: &PoolGeometry,
) -> Result<DispatchTensor, Error> {
    let (pad, ceil) = (g.count_include_pad, g.ceil_mode);
    Ok(match g.kernel.len() {
        1 => B::avg_pool1d_backward(x, grad, g.kernel[0], g.stride[0], g.padding[0], pad, ceil),
        2 => {
            let (k, s) = (array(AVERAGE, &g.kernel)?, array(AVERAGE, &g.stride)?);
            B::avg_pool2d_backward(x, grad, k, s, array(AVERAGE, &g.padding)?, pad, ceil)
        }
        _ => return Err(rank(AVERAGE, g)),
    })
}
