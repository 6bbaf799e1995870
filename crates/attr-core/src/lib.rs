//! The shared core of attr: what a model is, how it is traced, run forwards and walked backwards,
//! and what an attribution of it looks like.
//!
//! Start at [`Traced`] (a Burn module as a graph of named layers) or [`Model`] (anything with a
//! forward function), then pick a method from a method crate; all of them implement [`Method`] or
//! [`LayerMethod`]. Who writes rules finds them in [`walk`], who writes methods in [`build`] and
//! [`perturb`].

mod at_layers;
mod baseline;
mod blur;
mod error;
mod explanation;
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
mod question;
mod random;
mod run;
mod target;
mod traced;
mod value;
mod values;
pub mod walk;

pub use at_layers::AtLayers;
pub use baseline::{Baseline, Baselines};
pub use error::Error;
pub use explanation::{Attribution, AttributionRecord, Explanation, Work};
pub use graph::tap;
pub use inputs::{Constant, Input, Inputs};
pub use layer::Layer;
pub use layer_method::{LayerAttribution, LayerAttributionRecord, LayerMethod};
pub use mask::FeatureMask;
pub use method::{BaselineUse, LayerNames, Method, WithBaseline};
pub use model::{Model, Output};
pub use question::Question;
pub use run::{Budget, Progress, Run};
pub use target::Target;
pub use traced::Traced;
pub use value::{Kind, Value};
pub use values::Values;

/// Operations of traced models: what rules match on, and what models read from files are made of.
pub mod op {
    pub use crate::graph::{
        Binary, Compare, ConvGeometry, Cumulative, Dim, GridPadding, GroupKind, Interpolation,
        LayerGroup, Number, Op, Padding, PoolGeometry, Reduce, SliceDim, Unary, tap_value,
    };
}

/// What methods that perturb stand on: copies of rows, features that are present to a degree.
pub mod perturb {
    pub use crate::blur::{LONGEST_BLUR, gaussian, separable};
    pub use crate::graph::NearRow;
    pub use crate::inpaint::inpainted;
    pub use crate::mask::Features;
    pub use crate::masked::{Blend, Masked, Present, Products, mixed};
    pub use crate::perturbed::{MakeRows, Perturbation, Perturbed, Windows};
}

/// What methods are built of: gradients of several targets, results that come in chunks, draws.
pub mod build {
    pub use crate::at_layers::on_the_rest;
    pub use crate::method::ask;
    pub use crate::model::{Gradients, Seeds};
    pub use crate::question::{Collected, TargetGradients};
    pub use crate::random::Random;
    pub use crate::target::{Chosen, TargetFunction};
}
