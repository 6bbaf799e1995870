//! The shared core of attr: what a model is, how it is traced, run forwards and walked backwards,
//! and what an attribution of it looks like.
//!
//! Start at [`Traced`] (a Burn module as a graph of named layers) or [`Model`] (anything with a
//! forward function), then pick a method from a method crate; all of them implement [`Method`] or
//! [`LayerMethod`]. Who writes rules finds them in [`walk`], who writes methods in [`build`] and
//! [`perturb`].

mod baseline;
mod error;
mod graph;
mod method;
mod model;
pub mod perturb;
mod question;
mod random;
mod value;
pub mod walk;

pub use baseline::{Baseline, Baselines};
pub use error::Error;
pub use graph::tap;
pub use method::{
    AtLayers, Attribution, AttributionRecord, BaselineUse, Explanation, LayerAttribution,
    LayerAttributionRecord, LayerMethod, LayerNames, Method, WithBaseline, Work,
};
pub use model::{Layer, Model, Output, Traced};
pub use perturb::FeatureMask;
pub use question::{Budget, Progress, Question, Run, Target};
pub use value::{Constant, Input, Inputs, Kind, Value, Values};

/// Operations of traced models: what rules match on, and what models read from files are made of.
pub mod op {
    pub use crate::graph::{
        Binary, Compare, ConvGeometry, Cumulative, Dim, GridPadding, GroupKind, Interpolation,
        LayerGroup, Number, Op, Padding, PoolGeometry, Reduce, SliceDim, Unary, tap_value,
    };
}

/// What methods are built of: gradients of several targets, results that come in chunks, draws.
pub mod build {
    pub use crate::method::{ask, on_the_rest};
    pub use crate::model::{Gradients, Seeds};
    pub use crate::question::{Chosen, Collected, TargetFunction, TargetGradients};
    pub use crate::random::Random;
}
