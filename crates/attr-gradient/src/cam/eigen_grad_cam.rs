//! Eigen-Grad-CAM: the first principal component of activation times gradient.
//!
//! As `EigenGradCAM` of pytorch-grad-cam, with the sign chosen as for
//! [`EigenCam`](super::EigenCam).

use attr_core::Error;
use burn::tensor::Tensor;

use super::eigen_cam::project;
use super::{Cam, Seen, Weighting};

/// [`EigenCam`](super::EigenCam) of `G ⊙ A` instead of `A`: like it, but of one class.
pub type EigenGradCam = Cam<PrincipalGradient>;

/// Weights of [`EigenGradCam`].
#[derive(Clone, Copy, Debug, Default)]
pub struct PrincipalGradient;

impl Weighting for PrincipalGradient {
    fn weigh(&self, seen: &Seen) -> Result<Tensor<3>, Error> {
        project(seen.gradient.clone() * seen.activation.clone())
    }
}
