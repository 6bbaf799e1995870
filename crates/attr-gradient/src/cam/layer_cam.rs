//! LayerCAM: each position weighted by its own gradient where that is positive.
//!
//! Jiang et al., "LayerCAM", 2021 (<https://doi.org/10.1109/TIP.2021.3089943>). Matches `LayerCAM`
//! of pytorch-grad-cam.

use attr_core::Error;
use burn::tensor::Tensor;

use super::Cam;
use super::weighting::{LayerView, Weighting};

/// LayerCAM, `L = Σ_c max(G_c, 0) ⊙ A_c`, which is sharp enough for early layers.
pub type LayerCam = Cam<PositiveGradient>;

/// Weights each element by its own gradient where that is positive, as in [`LayerCam`].
#[derive(Clone, Copy, Debug, Default)]
pub struct PositiveGradient;

impl Weighting for PositiveGradient {
    fn weigh(&self, layer: &LayerView) -> Result<Tensor<3>, Error> {
        Ok(layer.gradient.clone().clamp_min(0.0) * layer.activation.clone())
    }
}
