//! The channel weightings of class activation maps, one type for each method.
//!
//! [`GradCam`](crate::GradCam) is [`Cam`](crate::Cam) with [`MeanGradient`], and so on. For a
//! custom map, implement [`Weighting`].
//!
//! ```
//! use attr_core::Error;
//! use attr_gradient::Cam;
//! use attr_gradient::cam::weighting::{LayerView, Weighting};
//! use burn::tensor::Tensor;
//!
//! /// Each channel weighted by its largest gradient.
//! #[derive(Clone, Default)]
//! struct LargestGradient;
//!
//! impl Weighting for LargestGradient {
//!     fn weigh(&self, layer: &LayerView) -> Result<Tensor<3>, Error> {
//!         Ok(layer.gradient.clone().max_dim(2) * layer.activation.clone())
//!     }
//! }
//!
//! let cam = Cam::<LargestGradient>::new("layer4").with_relu(true);
//! ```

use attr_core::Error;
use burn::tensor::Tensor;

pub use super::ablation_cam::ScoreDrop;
pub use super::eigen_cam::PrincipalComponent;
pub use super::eigen_grad_cam::PrincipalComponentOfProduct;
pub use super::element_wise_cam::PositiveProduct;
pub use super::fem::ExceptionalActivation;
pub use super::grad_cam::MeanGradient;
pub use super::grad_cam_plus_plus::AlphaWeightedGradient;
pub use super::hi_res_cam::ElementwiseGradient;
pub use super::layer_cam::PositiveGradient;
pub use super::score_cam::MaskedScore;
pub use super::shapley_cam::SecondOrderGradient;
pub use super::x_grad_cam::ActivationWeightedGradient;

/// A weighting of channels that follows from the activation and its gradient.
///
/// [`ScoreDrop`], [`MaskedScore`] and [`SecondOrderGradient`] need further evaluations of the
/// model, so they do not implement this trait.
pub trait Weighting: Clone + Default + Send + Sync {
    /// Whether the weighting uses the gradient. If not, there is no backward pass, and all targets
    /// have the same map.
    const GRADIENT: bool = true;

    /// Returns the weighted activation, `[batch, channels, positions]`, whose sum over channels is
    /// the map; or the map itself, with one channel.
    ///
    /// # Errors
    /// Those of the weighting.
    fn weigh(&self, layer: &LayerView) -> Result<Tensor<3>, Error>;
}

/// The values of a layer that a weighting receives.
pub struct LayerView {
    /// The activation, `[batch, channels, positions]`.
    pub activation: Tensor<3>,
    /// The gradient of the target at the activation, of the same shape; zeros for weightings that
    /// do not use it.
    pub gradient: Tensor<3>,
}
