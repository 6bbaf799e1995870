//! Attribution by gradients: for any Burn model, as a whole or at its layers.
#![doc = include_str!("../README.md")]

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
    Ablated, AblationCam, Cam, CamConfig, EigenCam, EigenGradCam, ElementWise, Exceptional, Fem,
    FullGrad, GradCam, GradCamElementWise, GradCamPlusPlus, Gradients, GuidedGradCam,
    GuidedGradCamConfig, HiResCam, LayerCam, MeanGradient, Normalised, PlusPlus, PositiveGradients,
    Principal, PrincipalGradient, Resize, ScoreCam, Scored, SecondOrder, Seen, ShapleyCam,
    Weighting, XGradCam,
};
pub use deconvolution::Deconvolution;
pub use deep_lift::{DeepLift, DeepLiftConfig, DeepLiftLayers, DeepLiftRule};
pub use deep_lift_shap::{DeepLiftShap, DeepLiftShapLayers};
pub use gradient_shap::{GradientShap, GradientShapConfig, GradientShapLayers};
pub use guided_backprop::GuidedBackprop;
pub use guided_integrated_gradients::{GuidedIntegratedGradients, GuidedIntegratedGradientsConfig};
pub use idgi::{Idgi, IdgiConfig, IdgiPath, IdgiPathKind};
pub use input_x_gradient::InputXGradient;
pub use integrated_gradients::{IntegratedGradients, IntegratedGradientsConfig};
pub use layer::{
    Conductance, ConductanceConfig, GradientXActivation, GradientXActivationConfig,
    InternalInfluence, InternalInfluenceConfig, LayerActivation, LayersOf, NeuronConductance,
    NeuronConductanceConfig,
};
pub use noise_tunnel::{NoiseTunnel, NoiseTunnelConfig, NoiseTunnelKind};
pub use quadrature::Quadrature;
pub use saliency::Saliency;
pub use xrai::{Xrai, XraiAlgorithm, XraiConfig};
