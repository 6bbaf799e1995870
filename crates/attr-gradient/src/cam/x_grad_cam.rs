//! XGrad-CAM: gradients weighted by each position's part of its channel's activation.
//!
//! Fu et al., "Axiom-based Grad-CAM", 2020 (<https://arxiv.org/abs/2008.02312>). As `XGradCAM` of
//! pytorch-grad-cam.

use attr_core::Error;
use burn::tensor::Tensor;

use super::{Cam, Seen, Weighting};

/// `L = Σ_c w_c A_c` with `w_c = Σ G_c ⊙ A_c / (Σ A_c + 1e-7)`.
pub type XGradCam = Cam<Normalised>;

/// Weights of [`XGradCam`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Normalised;

impl Weighting for Normalised {
    fn weigh(&self, seen: &Seen) -> Result<Tensor<3>, Error> {
        let total = seen.activation.clone().sum_dim(2) + 1e-7;
        let weights = (seen.gradient.clone() * seen.activation.clone()).sum_dim(2) / total;
        Ok(weights * seen.activation.clone())
    }
}
