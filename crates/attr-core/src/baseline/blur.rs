//! Gaussian blur, applied to one spatial dimension after another.

use burn::tensor::{Tensor, TensorData};

use crate::{Error, Value};

/// The longest side that can be blurred: memory grows with the square of the side's length.
pub const LONGEST_BLUR: usize = 8192;

/// Applies a matrix `[length, length]` along each spatial dimension.
///
/// # Errors
/// [`Error::ElementKind`] when the value is not floating point.
pub fn separable(value: &Value, matrix: impl Fn(usize, usize) -> Vec<f64>) -> Result<Value, Error> {
    let shape = value.shape();
    let Some(&rows) = shape.first() else {
        return Ok(value.clone());
    };
    let mut current = value.clone();
    for dim in 2..shape.len() {
        let length = shape[dim];
        let outer: usize = shape[1..dim].iter().product();
        let inner = shape[dim + 1..].iter().product();
        let data = TensorData::new(matrix(dim, length), [1, length, length]);
        let data = data.convert_dtype(value.dtype());
        let matrix = Tensor::<3>::from_data(data, &value.device());
        let matrix = matrix.expand([rows * outer, length, length]);
        let lines = current.reshape(&[rows * outer, length, inner]);
        current = Value::from(matrix.matmul(lines.tensor::<3>()?));
    }
    Ok(current.reshape(&shape))
}

/// Returns the Gaussian blur of a line of `length` pixels as a matrix, with zeros beyond the line's
/// ends. The kernel is truncated at four standard deviations, as in SciPy.
pub fn gaussian(sigma: f64, length: usize) -> Vec<f64> {
    let mut matrix = vec![0f64; length * length];
    let radius = if sigma > 1e-15 {
        (4.0 * sigma + 0.5) as usize
    } else {
        0
    };
    let weight = |distance: usize| match distance {
        0 => 1.0,
        distance => (-0.5 * (distance as f64 / sigma).powi(2)).exp(),
    };
    let total: f64 = weight(0) + 2.0 * (1..=radius).map(weight).sum::<f64>();
    for (i, row) in matrix.chunks_mut(length).enumerate() {
        for (j, cell) in row.iter_mut().enumerate() {
            let distance = i.abs_diff(j);
            if distance <= radius {
                *cell = weight(distance) / total;
            }
        }
    }
    matrix
}

/// Blurs an image `[batch, channels, ...]`; at the edges, only pixels inside the image count.
///
/// # Errors
/// [`Error::Parameter`] for a standard deviation that is not positive; [`Error::Shape`] for a value
/// that is not an image, or has a side longer than 8192 pixels.
pub(crate) fn blurred(image: &Value, sigma: f64, i: usize) -> Result<Value, Error> {
    if !(sigma > 0.0 && sigma <= 1e5) {
        return Err(Error::Parameter {
            name: "sigma",
            value: sigma.to_string(),
            expected: "the standard deviation of a blur must be positive and at most 100000",
        });
    }
    let shape = image.shape();
    if shape.len() < 3 || shape[2..].iter().any(|&side| side > LONGEST_BLUR) {
        return Err(Error::Shape {
            what: format!("input {i}, which should be blurred,"),
            got: shape,
            expected: format!(
                "an image [batch, channels, ...] of at most {LONGEST_BLUR} pixels a side"
            ),
        });
    }
    separable(image, |_, length| {
        let mut matrix = gaussian(sigma, length);
        for line in matrix.chunks_mut(length) {
            let total: f64 = line.iter().sum();
            for weight in line {
                *weight /= total;
            }
        }
        matrix
    })
}
