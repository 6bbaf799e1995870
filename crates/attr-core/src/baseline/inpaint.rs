//! Fills masked parts of an image from their surroundings.
//!
//! Pull and push (Gortler, Grzeszczuk, Szeliski, Cohen, "The lumigraph", 1996,
//! <https://doi.org/10.1145/237170.237200>): known pixels are averaged over ever larger blocks;
//! then, from coarse to fine, each unknown pixel takes the colour of the coarser level.

use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{DType, Tensor};

use crate::{Error, Value};

/// Replaces the fraction `1 - known` of each element of an image `[batch, channels, height, width]`
/// by its surroundings; `known` is `[batch, elements]`, in [0, 1]. Zero where nothing is known.
///
/// # Errors
/// [`Error::Shape`] for a value that is not an image.
pub fn inpainted(image: &Value, known: Tensor<2>) -> Result<Value, Error> {
    let shape = image.shape();
    let Ok([rows, channels, height, width]) = <[usize; 4]>::try_from(&shape[..]) else {
        return Err(Error::Shape {
            what: "the value to inpaint".into(),
            got: shape,
            expected: "an image [batch, channels, height, width]".into(),
        });
    };
    if known.dims() != [rows, channels * height * width] {
        return Err(Error::Shape {
            what: "the mask of known elements".into(),
            got: known.dims().to_vec(),
            expected: format!("{:?}", [rows, channels * height * width]),
        });
    }
    let dtype = image.dtype();
    // Sums over an image may overflow 16-bit floats.
    let image = image.tensor::<4>()?.cast(DType::F32);
    let weight = known.cast(DType::F32);
    let weight = weight.reshape([rows, channels, height, width]);
    // Pull: sum weighted colours and weights over 2 by 2 blocks.
    let mut levels = vec![(image * weight.clone(), weight)];
    while let Some((colour, weight)) = levels.last() {
        let [.., height, width] = weight.dims();
        if height == 1 && width == 1 {
            break;
        }
        levels.push((halved(colour.clone()), halved(weight.clone())));
    }
    // Push: weights above one count as one.
    let mut filled: Option<Tensor<4>> = None;
    for (colour, weight) in levels.into_iter().rev() {
        let [.., height, width] = weight.dims();
        let nothing = weight.clone().lower_equal_elem(0.0);
        let total = weight.clone().mask_fill(nothing, 1.0);
        let sure = weight.clamp(0.0, 1.0);
        let own = colour / total * sure.clone();
        filled = Some(match filled {
            None => own,
            Some(coarse) => {
                let options = InterpolateOptions::new(InterpolateMode::Bilinear)
                    .with_align_corners(false)
                    .with_output_size([height, width]);
                let coarse = interpolate(coarse, options);
                own + coarse * (sure.neg() + 1.0)
            }
        });
    }
    let filled = filled.ok_or(Error::Internal("an image without pixels"))?;
    Ok(filled.cast(dtype).into())
}

/// Sums over 2 by 2 blocks; an odd last row or column stands alone.
fn halved(x: Tensor<4>) -> Tensor<4> {
    let [rows, channels, height, width] = x.dims();
    let (tall, wide) = (height.div_ceil(2), width.div_ceil(2));
    let x = match (2 * tall - height, 2 * wide - width) {
        (0, 0) => x,
        (below, right) => x.pad((0, right, 0, below), 0.0),
    };
    x.reshape([rows, channels, tall, 2, wide * 2])
        .sum_dim(3)
        .reshape([rows, channels, tall, wide, 2])
        .sum_dim(4)
        .reshape([rows, channels, tall, wide])
}
