//! LayerCAM: each position weighted by its own gradient where that is positive.
//!
//! Jiang et al., "LayerCAM", 2021 (<https://doi.org/10.1109/TIP.2021.3089943>). As `LayerCAM` of
//! pytorch-grad-cam.

use attr_core::Error;
use burn::tensor::Tensor;

use super::{Cam, Seen, Weighting};

/// `L = Σ_c max(G_c, 0) ⊙ A_c`: sharp enough for early layers.
pub type LayerCam = Cam<PositiveGradients>;

/// Weights of [`LayerCam`].
#[derive(Clone, Copy, Debug, Default)]
pub struct PositiveGradients;

impl Weighting for PositiveGradients {
    fn weigh(&self, seen: &Seen) -> Result<Tensor<3>, Error> {
        Ok(seen.gradient.clone().clamp_min(0.0) * seen.activation.clone())
    }
}
