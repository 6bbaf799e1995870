//! HiResCAM: each position weighted by its own gradient.
//!
//! Draelos, Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional
//! neural networks", 2020 (<https://arxiv.org/abs/2011.08891>). Matches `HiResCAM` of
//! pytorch-grad-cam.

use attr_core::Error;
use burn::tensor::Tensor;

use super::Cam;
use super::weighting::{LayerView, Weighting};

/// HiResCAM, `L = Σ_c G_c ⊙ A_c`.
///
/// For a network that is linear after the layer, this is exactly each position's contribution to
/// the output.
pub type HiResCam = Cam<ElementwiseGradient>;

/// Weights each element by its own gradient, as in [`HiResCam`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ElementwiseGradient;

impl Weighting for ElementwiseGradient {
    fn weigh(&self, layer: &LayerView) -> Result<Tensor<3>, Error> {
        Ok(layer.gradient.clone() * layer.activation.clone())
    }
}
