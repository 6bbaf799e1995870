//! The samples of a data set in which the concepts of a network are strongest.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod direction;
mod error;
mod groups;
mod index;
mod prototypes;
mod references;
mod run;
mod samples;
mod search;
mod shard;
mod similarity;
mod split;
mod state;
mod statistics;
mod strategies;
mod strengths;
mod table;
mod vectors;
mod zennit_crp;

pub use attr_store;

pub use direction::{ConceptDirection, DirectionSearch};
pub use error::Error;
pub use groups::mixture::Covariance;
pub use index::{Index, ShardStatus};
pub use prototypes::{ClassPrototypes, Prototype, PrototypeSearch, Prototypes};
pub use references::{Reference, References};
pub use run::RunInfo;
pub use samples::{Sample, Skipped};
pub use search::{MaxTarget, ReferenceSearch};
pub use shard::ShardWriter;
pub use similarity::ConceptSimilarity;
pub use split::{ChannelSplit, Part, Split};
pub use statistics::{Statistic, Statistics};
pub use strategies::{Strategies, StrategySearch};
pub use strengths::{LayerStrengths, Mode, Strengths};
pub use vectors::ConceptVectors;
