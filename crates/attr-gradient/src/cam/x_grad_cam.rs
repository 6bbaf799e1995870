//! XGrad-CAM: gradients weighted by each position's share of its channel's activation.
//!
//! Fu et al., "Axiom-based Grad-CAM", 2020 (<https://arxiv.org/abs/2008.02312>). Matches `XGradCAM`
//! of pytorch-grad-cam.

use attr_core::Error;
use burn::tensor::Tensor;

use super::Cam;
use super::weighting::{LayerView, Weighting};

/// XGrad-CAM, `L = Σ_c w_c A_c` with `w_c = Σ G_c ⊙ A_c / (Σ A_c + 1e-7)`.
pub type XGradCam = Cam<ActivationWeightedGradient>;

/// Weights each channel by its gradients, scaled by their share of the channel's activation, as in
/// [`XGradCam`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ActivationWeightedGradient;

impl Weighting for ActivationWeightedGradient {
    fn weigh(&self, layer: &LayerView) -> Result<Tensor<3>, Error> {
        let total = layer.activation.clone().sum_dim(2) + 1e-7;
        let weights = (layer.gradient.clone() * layer.activation.clone()).sum_dim(2) / total;
        Ok(weights * layer.activation.clone())
    }
}
