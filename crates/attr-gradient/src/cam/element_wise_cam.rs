//! Element-wise Grad-CAM: the positive part of each element's product with its gradient.
//!
//! Matches `GradCAMElementWise` of pytorch-grad-cam.

use attr_core::Error;
use burn::tensor::Tensor;

use super::Cam;
use super::weighting::{LayerView, Weighting};

/// Element-wise Grad-CAM, `L = Σ_c max(G_c ⊙ A_c, 0)`.
pub type GradCamElementWise = Cam<PositiveProduct>;

/// Takes the positive part of each element's product with its gradient, as in
/// [`GradCamElementWise`].
#[derive(Clone, Copy, Debug, Default)]
pub struct PositiveProduct;

impl Weighting for PositiveProduct {
    fn weigh(&self, layer: &LayerView) -> Result<Tensor<3>, Error> {
        Ok((layer.gradient.clone() * layer.activation.clone()).clamp_min(0.0))
    }
}
