//! Layer-wise relevance propagation on any traced model.
#![doc = include_str!("../README.md")]

mod composite;
mod config;
mod layer_kind;
mod lrp;
mod presets;
pub mod rules;
mod stabilizer;

pub use composite::{ByKind, ByName, Mixed};
pub use config::{CompositeName, LrpConfig};
pub use layer_kind::LayerKind;
pub use lrp::Lrp;
pub use presets::{
    Preset, beta_smooth, deconvnet, epsilon_alpha2_beta1, epsilon_alpha2_beta1_flat,
    epsilon_gamma_box, epsilon_plus, epsilon_plus_flat, excitation_backprop, guided_backprop,
};
pub use stabilizer::Stabilizer;
