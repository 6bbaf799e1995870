//! Grad-CAM++: positive gradients, weighted so that several objects of a class count alike.
//!
//! Chattopadhyay et al., "Grad-CAM++", 2017 (<https://arxiv.org/abs/1710.11063>), equation 19 with
//! the higher derivatives of an exponential. As `GradCAMPlusPlus` of pytorch-grad-cam.

use attr_core::Error;
use burn::tensor::Tensor;

use super::{Cam, Seen, Weighting};

/// `L = Σ_c w_c A_c` with `w_c = Σ α ⊙ max(G_c, 0)` and
/// `α = G_c² / (2 G_c² + G_c³ Σ A_c + 1e-6)`.
pub type GradCamPlusPlus = Cam<PlusPlus>;

/// Weights of [`GradCamPlusPlus`].
#[derive(Clone, Copy, Debug, Default)]
pub struct PlusPlus;

impl Weighting for PlusPlus {
    fn weigh(&self, seen: &Seen) -> Result<Tensor<3>, Error> {
        let gradient = seen.gradient.clone();
        let square = gradient.clone() * gradient.clone();
        let cube = square.clone() * gradient.clone();
        let total = seen.activation.clone().sum_dim(2);
        let alpha = square.clone() / (square * 2.0 + total * cube + 1e-6);
        let weights = (gradient.clamp_min(0.0) * alpha).sum_dim(2);
        Ok(weights * seen.activation.clone())
    }
}
