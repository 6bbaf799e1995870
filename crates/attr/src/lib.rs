//! Explains the predictions of neural networks: the attr crates behind one dependency.
#![doc = include_str!("../README.md")]

pub use attr_core::*;
#[cfg(feature = "data")]
pub use attr_data as data;
#[cfg(feature = "gradient")]
pub use attr_gradient as gradient;
#[cfg(feature = "index")]
pub use attr_index as index;
#[cfg(feature = "lrp")]
pub use attr_lrp_crp as lrp;
#[cfg(feature = "metrics")]
pub use attr_metrics as metrics;
#[cfg(feature = "onnx")]
pub use attr_onnx as onnx;
#[cfg(feature = "perturb")]
pub use attr_perturb as perturbation;
#[cfg(feature = "surrogate")]
pub use attr_surrogate as surrogate;
#[cfg(feature = "viz")]
pub use attr_viz as viz;

/// What a program that explains a model needs: the traits, the inputs and targets, and every
/// method of the enabled features.
pub mod prelude {
    pub use attr_core::{
        Attribution, Baseline, Budget, Constant, FeatureMask, LayerMethod, Method, Progress, Run,
        Target, Traced, Value, Values, by_rows,
    };
    #[cfg(feature = "gradient")]
    pub use attr_gradient::*;
    #[cfg(feature = "index")]
    pub use attr_index::ReferenceSearch;
    #[cfg(feature = "lrp")]
    pub use attr_lrp_crp::{
        Concepts, Condition, Crp, Lrp, attnlrp, auto, epsilon_gamma_box, epsilon_plus,
        epsilon_plus_flat,
    };
    #[cfg(feature = "metrics")]
    pub use attr_metrics::{Abpc, Comparison, Deletion, Evaluation, Given, Infidelity, Metric};
    #[cfg(feature = "onnx")]
    pub use attr_onnx::OnnxModel;
    #[cfg(feature = "perturb")]
    pub use attr_perturb::*;
    #[cfg(feature = "surrogate")]
    pub use attr_surrogate::*;
    #[cfg(feature = "viz")]
    pub use attr_viz::{Figure, Map, Panel, Picture, Sign, Style, View};
}
