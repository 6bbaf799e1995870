//! Keeps denominators away from zero.

use burn::tensor::Tensor;

/// Moves a denominator `z` away from zero, in the direction of its sign; the sign of 0 is +1.
///
/// By default, `z + ε sign(z)`. With [`clipped`](Self::clipped), `sign(z) max(|z|, ε)`. With
/// [`relative`](Self::relative), `ε` is multiplied by the root mean square of the row's
/// denominators at that layer. Names and defaults are zennit's.
///
/// ```
/// use attr_lrp_crp::Stabilizer;
///
/// // The usual small number, and the larger one of LRP-ε as a rule of its own.
/// let tiny = Stabilizer::default();
/// assert_eq!(tiny, Stabilizer::new(1e-6));
/// let relative = Stabilizer::new(0.25).relative();
/// # let _ = relative;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stabilizer {
    epsilon: f64,
    clip: bool,
    norm_scale: bool,
}

impl Default for Stabilizer {
    fn default() -> Self {
        Self::new(1e-6)
    }
}

impl From<f64> for Stabilizer {
    fn from(epsilon: f64) -> Self {
        Self::new(epsilon)
    }
}

impl Stabilizer {
    /// Creates a stabiliser that adds `epsilon`.
    pub fn new(epsilon: f64) -> Self {
        Self {
            epsilon,
            clip: false,
            norm_scale: false,
        }
    }

    /// Replaces denominators below epsilon instead of adding epsilon to all.
    pub fn clipped(mut self) -> Self {
        self.clip = true;
        self
    }

    /// Multiplies epsilon by the root mean square of a row's denominators.
    pub fn relative(mut self) -> Self {
        self.norm_scale = true;
        self
    }

    /// Stabilises denominators `[rows, elements]`.
    pub(crate) fn apply(&self, z: Tensor<2>) -> Tensor<2> {
        let sign = z.clone().greater_equal_elem(0.0).float() * 2.0 - 1.0;
        let sign = sign.cast(z.dtype());
        let epsilon = if self.norm_scale {
            (z.clone() * z.clone()).mean_dim(1).sqrt() * self.epsilon
        } else {
            z.clone()
                .slice([0..z.dims()[0], 0..1])
                .full_like(self.epsilon)
        };
        if self.clip {
            let size = z.abs();
            let small = size.clone().lower(epsilon.clone());
            size.mask_where(small, epsilon.expand(sign.shape())) * sign
        } else {
            z + sign * epsilon
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{Device, Tensor, Tolerance};

    use super::Stabilizer;

    #[test]
    fn denominators_keep_their_sign() {
        let rows = [[0.0, -0.5, 2.0, -0.1], [0.0, 0.0, 0.0, 4.0]];
        let z = Tensor::<2>::from_floats(rows, &Device::flex());
        // The root mean squares of the rows are 1.0320, 2.
        let cases = [
            (
                Stabilizer::new(0.2),
                [0.2, -0.7, 2.2, -0.3],
                [0.2, 0.2, 0.2, 4.2],
            ),
            (
                Stabilizer::new(0.2).clipped(),
                [0.2, -0.5, 2.0, -0.2],
                [0.2, 0.2, 0.2, 4.0],
            ),
            (
                Stabilizer::new(0.5).relative(),
                [0.516, -1.016, 2.516, -0.616],
                [1.0, 1.0, 1.0, 5.0],
            ),
        ];
        for (stabilizer, first, second) in cases {
            let expected = Tensor::<2>::from_floats([first, second], &Device::flex());
            let got = stabilizer.apply(z.clone()).to_data();
            got.assert_approx_eq::<f32>(&expected.to_data(), Tolerance::absolute(1e-3));
        }
    }
}
