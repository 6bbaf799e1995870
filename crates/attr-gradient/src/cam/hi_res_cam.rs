//! HiResCAM: each position weighted by its own gradient.
//!
//! Draelos, Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional
//! neural networks", 2020 (<https://arxiv.org/abs/2011.08891>). As `HiResCAM` of pytorch-grad-cam.

use attr_core::Error;
use burn::tensor::Tensor;

use super::{Cam, Seen, Weighting};

/// `L = Σ_c G_c ⊙ A_c`: for a network that is linear behind the layer, exactly what each position
/// adds to the output.
pub type HiResCam = Cam<Gradients>;

/// Weights of [`HiResCam`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Gradients;

impl Weighting for Gradients {
    fn weigh(&self, seen: &Seen) -> Result<Tensor<3>, Error> {
        Ok(seen.gradient.clone() * seen.activation.clone())
    }
}
