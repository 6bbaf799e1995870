//! The shared core of attr: what a model is, how it is traced, run forwards and walked backwards,
//! and what an attribution of it looks like.
//!
//! Start at [`Traced`] (a Burn module as a graph of named layers) or [`Model`] (anything with a
//! forward function), then pick a method from a method crate; all of them implement [`Method`].

mod at_layers;
mod baseline;
mod blur;
mod error;
mod evaluate;
mod graph;
mod graphs;
mod inpaint;
mod inputs;
mod layer;
mod layer_method;
mod mask;
mod masked;
mod method;
mod model;
mod perturbed;
mod random;
mod run;
mod target;
mod traced;
mod value;
mod values;

pub use at_layers::AtLayers;
pub use baseline::{Baseline, Baselines};
pub use blur::{LONGEST_BLUR, gaussian, separable};
pub use error::Error;
pub use evaluate::{
    Collected, activations, fix_targets, gradients, scores, target_gradients, target_walks,
};
pub use graph::{
    Binary, Compare, ConvGeometry, Cumulative, Dim, Edit, Gate, Gradient, GridPadding,
    Interpolation, NodeView, Number, Op, Padding, PoolGeometry, Reduce, Role, Rule, Rules,
    SliceDim, Unary, Walk, WalkSeeds, Walked, Walks, tap, tap_value,
};
pub use inpaint::inpainted;
pub use inputs::{Constant, Input, Inputs};
pub use layer::Layer;
pub use layer_method::{LayerAttribution, LayerMethod};
pub use mask::{FeatureMask, Features};
pub use masked::{Blend, Masked, Present, Products, mixed};
pub use method::{
    Attribution, AttributionRecord, Explanation, Method, Rebase, Work, prepare, untyped,
};
pub use model::{Cut, Gradients, Model, Near, Seeds};
pub use perturbed::{Copy, Make, Perturbed, Windows};
pub use random::Random;
pub use run::{Budget, Progress, Run};
pub use target::{Chosen, Target, TargetFunction};
pub use traced::Traced;
pub use value::{Kind, Value};
pub use values::Values;
