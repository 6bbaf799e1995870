//! Attribution by gradients.
//!
//! Every method implements [`attr_core::Method`]; bring that trait into scope and call
//! `method.attribute(&model, &inputs, target)`.
//!
//! | Method | Paper |
//! |---|---|
//! | [`Saliency`] | Simonyan et al., 2013 |
//! | [`InputXGradient`] | Shrikumar et al., 2016 |
//! | [`IntegratedGradients`] | Sundararajan et al., 2017 |
//! | [`NoiseTunnel`] around any of them | Smilkov et al., 2017; Adebayo et al., 2018 |
//!
//! Where a number differs from Captum 0.9.0 on purpose:
//!
//! | Method | Captum | here |
//! |---|---|---|
//! | `IntegratedGradients`, trapezoid rule | weights sum to `(n-1)/n`, so completeness fails | weights sum to 1 |
//! | `NoiseTunnel`, vargrad | variance over `n`, by a difference of means that cancels | over `n-1`, around the mean |

mod blur_integrated_gradients;
mod cam;
mod deconvolution;
mod deep_lift;
mod deep_lift_shap;
mod gradient_shap;
mod guided_backprop;
mod guided_integrated_gradients;
mod idgi;
mod input_x_gradient;
mod integrated_gradients;
mod layer;
mod noise_tunnel;
mod path;
mod quadrature;
mod relu;
mod rows;
mod saliency;
mod xrai;

pub use blur_integrated_gradients::{BlurIntegratedGradients, BlurIntegratedGradientsConfig};
pub use cam::{
    AblationCam, Cam, CamConfig, EigenCam, EigenGradCam, ElementWise, Exceptional, Fem, FullGrad,
    GradCam, GradCamElementWise, GradCamPlusPlus, Gradients, GuidedGradCam, GuidedGradCamConfig,
    HiResCam, LayerCam, MeanGradient, Normalised, PlusPlus, PositiveGradients, Principal,
    PrincipalGradient, Resize, ScoreCam, Seen, ShapleyCam, Weighting, XGradCam,
};
pub use deconvolution::Deconvolution;
pub use deep_lift::{DeepLift, DeepLiftConfig, DeepLiftLayers, DeepLiftRule};
pub use deep_lift_shap::{DeepLiftShap, DeepLiftShapLayers};
pub use gradient_shap::{GradientShap, GradientShapConfig, GradientShapLayers};
pub use guided_backprop::GuidedBackprop;
pub use guided_integrated_gradients::{GuidedIntegratedGradients, GuidedIntegratedGradientsConfig};
pub use idgi::{Idgi, IdgiPath};
pub use input_x_gradient::InputXGradient;
pub use integrated_gradients::{IntegratedGradients, IntegratedGradientsConfig};
pub use layer::{
    AtLayers, Conductance, ConductanceConfig, GradientXActivation, GradientXActivationConfig,
    InternalInfluence, InternalInfluenceConfig, LayerActivation, NeuronConductance,
    NeuronConductanceConfig,
};
pub use noise_tunnel::{NoiseTunnel, NoiseTunnelConfig, NoiseTunnelKind};
pub use quadrature::Quadrature;
pub use saliency::Saliency;
pub use xrai::{Xrai, XraiAlgorithm, XraiConfig};
