//! Convolutions of all ranks, and their derivatives with respect to the input.
//!
//! Burn fixes the number of spatial dimensions in the type; [`ConvGeometry`] does not. This file
//! is where the one becomes the other.

use burn::backend::ops::ModuleOps;
use burn::backend::ops::{ConvOptions, ConvTransposeOptions};
use burn::backend::{Dispatch, DispatchTensor};

use super::op::ConvGeometry;
use crate::Error;

type B = Dispatch;

/// A slice as an array of known length.
pub(crate) fn array<T: Copy, const N: usize>(values: &[T]) -> Result<[T; N], Error> {
    values
        .try_into()
        .map_err(|_| Error::Internal("a window has the wrong number of dimensions"))
}

/// Padding that is equal on both sides, as one number per dimension.
pub(crate) fn symmetric(padding: &[(usize, usize)]) -> Result<Vec<usize>, Error> {
    if padding.iter().any(|(before, after)| before != after) {
        return Err(Error::Internal("padding differs between the two sides"));
    }
    Ok(padding.iter().map(|p| p.0).collect())
}

fn options<const N: usize>(g: &ConvGeometry) -> Result<ConvOptions<N>, Error> {
    Ok(ConvOptions {
        stride: array(&g.stride)?,
        padding: array(&g.padding)?,
        dilation: array(&g.dilation)?,
        groups: g.groups,
    })
}

fn transposed_options<const N: usize>(g: &ConvGeometry) -> Result<ConvTransposeOptions<N>, Error> {
    Ok(ConvTransposeOptions {
        stride: array(&g.stride)?,
        padding: array(&symmetric(&g.padding)?)?,
        padding_out: array(&g.padding_out)?,
        dilation: array(&g.dilation)?,
        groups: g.groups,
    })
}

fn too_many() -> Error {
    Error::Internal("a convolution over more than 3 dimensions")
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
        _ => return Err(too_many()),
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
        _ => return Err(too_many()),
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
        _ => return Err(too_many()),
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
        _ => return Err(too_many()),
    })
}
