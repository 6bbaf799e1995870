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
        // Arithmetic, because flex selects by a mask up to ten times slower.
        let below = z.clone().lower_elem(0.0).float().cast(z.dtype());
        let sign = below * -2.0 + 1.0;
        match (self.clip, self.norm_scale) {
            (false, false) => sign * self.epsilon + z,
            (true, false) => z.abs().clamp_min(self.epsilon) * sign,
            (false, true) => sign * self.scaled(z.clone()) + z,
            (true, true) => {
                let epsilon = self.scaled(z.clone()).expand(z.shape());
                z.abs().max_pair(epsilon) * sign
            }
        }
    }

    /// Stabilises denominators of which all have this sign, 1 or -1, or are 0.
    pub(crate) fn apply_signed(&self, z: Tensor<2>, sign: f64) -> Tensor<2> {
        match (self.clip, self.norm_scale) {
            (false, false) => z + sign * self.epsilon,
            (true, false) if sign > 0.0 => z.clamp_min(self.epsilon),
            (true, false) => z.clamp_max(-self.epsilon),
            (false, true) => {
                let epsilon = self.scaled(z.clone()) * sign;
                z + epsilon
            }
            (true, true) => {
                let epsilon = self.scaled(z.clone()).expand(z.shape());
                (z * sign).max_pair(epsilon) * sign
            }
        }
    }

    /// Epsilon times the root mean square of each row.
    fn scaled(&self, z: Tensor<2>) -> Tensor<2> {
        (z.clone() * z).mean_dim(1).sqrt() * self.epsilon
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
