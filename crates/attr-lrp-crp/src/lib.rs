//! Layer-wise relevance propagation and concept relevance propagation on any traced model.
#![doc = include_str!("../README.md")]

mod attention;
mod auto;
mod bilrp;
mod composite;
mod config;
mod crp;
mod layer_kind;
mod lrp;
mod other_layers;
mod presets;
pub mod rules;
mod stabilizer;

pub use attention::{Transformer, attnlrp, cp_lrp};
pub use auto::{Auto, auto};
pub use bilrp::bilrp;
pub use composite::{ByKind, ByName, Mixed};
pub use config::{CompositeName, LrpConfig};
pub use crp::{
    Concept, ConceptGraph, ConceptNode, ConceptRanking, Concepts, Condition,
    ConditionalAttribution, Crp, Dictionary, Edge, Region, bounding_box, channel_dim,
};
pub use layer_kind::LayerKind;
pub use lrp::{Lrp, canonized};
pub use presets::{
    Preset, alpha1_beta0, alpha2_beta1, beta_smooth, deconvnet, deep_taylor, deep_taylor_bounded,
    epsilon, epsilon_alpha2_beta1, epsilon_alpha2_beta1_flat, epsilon_gamma_box, epsilon_plus,
    epsilon_plus_flat, excitation_backprop, flat, guided_backprop, w_square,
};
pub use stabilizer::Stabilizer;
