//! Gradient-based attribution for any Burn model, as a whole or at its layers.
#![doc = include_str!("../README.md")]

mod blur_integrated_gradients;
pub mod cam;
mod counterfactual;
mod deconvolution;
mod deep_lift;
mod deep_lift_shap;
mod gradient_shap;
mod guided_backprop;
mod guided_integrated_gradients;
mod idgi;
mod input_x_gradient;
mod integrated_gradients;
mod latent_shift;
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
    AblationCam, AtInput, Cam, CamConfig, EigenCam, EigenGradCam, Fem, FullGrad, GradCam,
    GradCamElementWise, GradCamPlusPlus, GuidedGradCam, GuidedGradCamConfig, HiResCam, LayerCam,
    Resize, ScoreCam, ShapleyCam, XGradCam,
};
pub use counterfactual::{Counterfactual, CounterfactualConfig, CounterfactualOptimizer};
pub use deconvolution::Deconvolution;
pub use deep_lift::{DeepLift, DeepLiftConfig, DeepLiftRule};
pub use deep_lift_shap::DeepLiftShap;
pub use gradient_shap::{GradientShap, GradientShapConfig};
pub use guided_backprop::GuidedBackprop;
pub use guided_integrated_gradients::{GuidedIntegratedGradients, GuidedIntegratedGradientsConfig};
pub use idgi::{Idgi, IdgiConfig, IdgiPath, IdgiPathKind};
pub use input_x_gradient::InputXGradient;
pub use integrated_gradients::{IntegratedGradients, IntegratedGradientsConfig};
pub use latent_shift::{
    LatentShift, LatentShiftConfig, Searched, Shift, ShiftHeatmap, ShiftSearch, Stop,
};
pub use layer::{
    Conductance, ConductanceConfig, GradientXActivation, GradientXActivationConfig,
    InternalInfluence, InternalInfluenceConfig, LayerActivation, NeuronConductance,
    NeuronConductanceConfig,
};
pub use noise_tunnel::{NoiseTunnel, NoiseTunnelConfig, NoiseTunnelKind};
pub use quadrature::Quadrature;
pub use saliency::Saliency;
pub use xrai::{Xrai, XraiAlgorithm, XraiConfig};
