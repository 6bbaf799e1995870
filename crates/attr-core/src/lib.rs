//! The shared core of attr.
#![doc = include_str!("../README.md")]

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
    AtLayers, Attribution, AttributionRecord, BaselineUse, ByRules, Explanation, Feature,
    LayerAttribution, LayerAttributionRecord, LayerMethod, LayerNames, Method, Row, WithBaseline,
    Work,
};
pub use model::{Layer, LayerParameters, Memory, Model, Output, Traced, by_rows};
pub use perturb::FeatureMask;
pub use question::{Budget, Progress, Question, Run, Target};
pub use value::{Constant, Input, Inputs, Kind, Value, Values};

/// Operations of traced models, which rules match on and models read from files are built from.
pub mod op {
    pub use crate::graph::{
        Binary, Compare, ConvGeometry, Cumulative, Dim, GridPadding, GroupKind, Interpolation,
        LayerGroup, Number, Op, Padding, PoolGeometry, Reduce, SliceDim, Unary, tap_value,
    };
}

/// Building blocks for methods: gradients of several targets, chunked results, random numbers.
pub mod build {
    pub use crate::method::{ask, on_the_rest};
    pub use crate::model::{Gradients, Seeds};
    pub use crate::question::{Chosen, Collected, TargetFunction, TargetGradients};
    pub use crate::random::Random;
}
