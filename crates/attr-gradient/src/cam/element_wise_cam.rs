//! Element-wise Grad-CAM: of each position's product with its gradient, what is positive.
//!
//! As `GradCAMElementWise` of pytorch-grad-cam.

use attr_core::Error;
use burn::tensor::Tensor;

use super::{Cam, Seen, Weighting};

/// `L = Σ_c max(G_c ⊙ A_c, 0)`.
pub type GradCamElementWise = Cam<ElementWise>;

/// Weights of [`GradCamElementWise`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ElementWise;

impl Weighting for ElementWise {
    fn weigh(&self, seen: &Seen) -> Result<Tensor<3>, Error> {
        Ok((seen.gradient.clone() * seen.activation.clone()).clamp_min(0.0))
    }
}
