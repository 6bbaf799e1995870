//! Convolutions of all ranks, and their derivatives with respect to the input.
//!
//! Burn fixes the number of spatial dimensions in the type; [`ConvGeometry`] does not. This file
//! converts between the two.

use burn::backend::ops::ModuleOps;
use burn::backend::ops::{ConvOptions, ConvTransposeOptions};
use burn::backend::{Dispatch, DispatchTensor};

use crate::Error;
use crate::graph::op::ConvGeometry;

type B = Dispatch;

const CONVOLUTION: &str = "a convolution";
const TRANSPOSED: &str = "a transposed convolution";

/// Converts a window's numbers per spatial dimension to an array of known length.
pub(crate) fn array<T: Copy, const N: usize>(
    layer: &'static str,
    values: &[T],
) -> Result<[T; N], Error> {
    values.try_into().map_err(|_| Error::Geometry {
        layer,
        got: format!("{} numbers for {N} spatial dimensions", values.len()),
        supported: "kernel, stride, padding and dilation need one number per dimension",
    })
}

/// Padding that is equal on both sides, as one number per dimension.
pub(crate) fn symmetric<const N: usize>(
    layer: &'static str,
    padding: &[(usize, usize)],
) -> Result<[usize; N], Error> {
    if padding.iter().any(|(before, after)| before != after) {
        return Err(Error::Geometry {
            layer,
            got: format!("padding {padding:?}"),
            supported: "its padding must be the same on both sides; pad or crop separately",
        });
    }
    let equal: Vec<usize> = padding.iter().map(|p| p.0).collect();
    array(layer, &equal)
}

fn options<const N: usize>(g: &ConvGeometry) -> Result<ConvOptions<N>, Error> {
    Ok(ConvOptions {
        stride: array(CONVOLUTION, &g.stride)?,
        padding: array(CONVOLUTION, &g.padding)?,
        dilation: array(CONVOLUTION, &g.dilation)?,
        groups: g.groups,
    })
}

fn transposed_options<const N: usize>(g: &ConvGeometry) -> Result<ConvTransposeOptions<N>, Error> {
    Ok(ConvTransposeOptions {
        stride: array(TRANSPOSED, &g.stride)?,
        padding: symmetric(TRANSPOSED, &g.padding)?,
        padding_out: array(TRANSPOSED, &g.padding_out)?,
        dilation: array(TRANSPOSED, &g.dilation)?,
        groups: g.groups,
    })
}

/// The error for a window over a number of dimensions that is not supported.
pub(crate) fn wrong_rank(layer: &'static str, dims: usize, supported: &'static str) -> Error {
    Error::Geometry {
        layer,
        got: format!("{dims} spatial dimensions"),
        supported,
    }
}

fn rank(layer: &'static str, g: &ConvGeometry) -> Error {
    wrong_rank(layer, g.stride.len(), "it must have 1, 2 or 3")
}

pub(crate) fn convolution(
    x: DispatchTensor,
    weight: DispatchTensor,
    bias: Option<DispatchTensor>,
    g: &ConvGeometry,
) -> Result<DispatchTensor, Error> {
    Ok(match g.stride.len() {
        1 => B::conv1d(x, weight, bias, options(g)?),
        2 => B::conv2d(x, weight, bias, options(g)?),
        3 => B::conv3d(x, weight, bias, options(g)?),
        _ => return Err(rank(CONVOLUTION, g)),
    })
}

pub(crate) fn convolution_x_backward(
    x: DispatchTensor,
    weight: DispatchTensor,
    grad: DispatchTensor,
    g: &ConvGeometry,
) -> Result<DispatchTensor, Error> {
    Ok(match g.stride.len() {
        1 => B::conv1d_x_backward(x, weight, grad, options(g)?),
        2 => B::conv2d_x_backward(x, weight, grad, options(g)?),
        3 => B::conv3d_x_backward(x, weight, grad, options(g)?),
        _ => return Err(rank(CONVOLUTION, g)),
    })
}

pub(crate) fn transposed(
    x: DispatchTensor,
    weight: DispatchTensor,
    bias: Option<DispatchTensor>,
    g: &ConvGeometry,
) -> Result<DispatchTensor, Error> {
    Ok(match g.stride.len() {
        1 => B::conv_transpose1d(x, weight, bias, transposed_options(g)?),
        2 => B::conv_transpose2d(x, weight, bias, transposed_options(g)?),
        3 => B::conv_transpose3d(x, weight, bias, transposed_options(g)?),
        _ => return Err(rank(TRANSPOSED, g)),
    })
}

pub(crate) fn transposed_x_backward(
    weight: DispatchTensor,
    grad: DispatchTensor,
    g: &ConvGeometry,
) -> Result<DispatchTensor, Error> {
    Ok(match g.stride.len() {
        1 => B::conv_transpose1d_x_backward(weight, grad, transposed_options(g)?),
        2 => B::conv_transpose2d_x_backward(weight, grad, transposed_options(g)?),
        3 => B::conv_transpose3d_x_backward(weight, grad, transposed_options(g)?),
        _ => return Err(rank(TRANSPOSED, g)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_cannot_be_say_what_is_supported() {
        let uneven = symmetric::<2>(TRANSPOSED, &[(0, 0), (0, 1)]).unwrap_err();
        let message = uneven.to_string();
        assert!(message.contains("a transposed convolution with padding [(0, 0), (0, 1)]"));
        assert!(message.contains("the same on both sides"), "{message}");
        let flat = array::<usize, 2>(CONVOLUTION, &[1]).unwrap_err();
        assert!(matches!(flat, Error::Geometry { .. }), "{flat}");
        let deep = wrong_rank(CONVOLUTION, 4, "it has 1, 2 or 3 of them").to_string();
        assert!(deep.contains("4 spatial dimensions"), "{deep}");
    }
}
