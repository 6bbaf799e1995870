//! Eigen-Grad-CAM: the first principal component of activation times gradient.
//!
//! Matches `EigenGradCAM` of pytorch-grad-cam, with the sign chosen as for
//! [`EigenCam`](super::EigenCam).

use attr_core::Error;
use burn::tensor::Tensor;

use super::Cam;
use super::eigen_cam::project;
use super::weighting::{LayerView, Weighting};

/// Eigen-Grad-CAM, the class-specific [`EigenCam`](super::EigenCam) of `G ⊙ A` instead of `A`.
pub type EigenGradCam = Cam<PrincipalComponentOfProduct>;

/// The first principal component of activation times gradient, as in [`EigenGradCam`].
#[derive(Clone, Copy, Debug, Default)]
pub struct PrincipalComponentOfProduct;

impl Weighting for PrincipalComponentOfProduct {
    fn weigh(&self, layer: &LayerView) -> Result<Tensor<3>, Error> {
        project(layer.gradient.clone() * layer.activation.clone())
    }
}
