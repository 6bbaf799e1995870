//! Grad-CAM++: positive gradients, weighted so that several objects of a class count equally.
//!
//! Chattopadhyay et al., "Grad-CAM++", 2017 (<https://arxiv.org/abs/1710.11063>), equation 19 with
//! the higher derivatives of an exponential. Matches `GradCAMPlusPlus` of pytorch-grad-cam.

use attr_core::Error;
use burn::tensor::Tensor;

use super::Cam;
use super::weighting::{LayerView, Weighting};

/// Grad-CAM++, `L = Σ_c w_c A_c` with `w_c = Σ α ⊙ max(G_c, 0)` and
/// `α = G_c² / (2 G_c² + G_c³ Σ A_c + 1e-6)`.
pub type GradCamPlusPlus = Cam<AlphaWeightedGradient>;

/// Weights each channel by its positive gradients, scaled by `α`, as in [`GradCamPlusPlus`].
#[derive(Clone, Copy, Debug, Default)]
pub struct AlphaWeightedGradient;

impl Weighting for AlphaWeightedGradient {
    fn weigh(&self, layer: &LayerView) -> Result<Tensor<3>, Error> {
        let gradient = layer.gradient.clone();
        let square = gradient.clone() * gradient.clone();
        let cube = square.clone() * gradient.clone();
        let total = layer.activation.clone().sum_dim(2);
        let alpha = square.clone() / (square * 2.0 + total * cube + 1e-6);
        let weights = (gradient.clamp_min(0.0) * alpha).sum_dim(2);
        Ok(weights * layer.activation.clone())
    }
}
