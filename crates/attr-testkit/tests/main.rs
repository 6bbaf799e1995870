//! The conformance suite: one binary, run on every backend.

mod attention;
mod baselines;
mod black_box_errors;
mod black_boxes;
mod captum;
mod concepts;
mod cut;
mod deep_lift;
mod defects;
mod directions;
mod edges;
mod element_types;
mod errors;
mod golden;
mod groups;
mod host_reads;
mod index;
#[cfg(feature = "flex")]
mod intervals;
mod latent_shift;
mod ledger;
mod lrp;
mod maps;
mod methods;
mod metrics;
mod modules;
mod nearby;
mod onnx;
mod operations;
mod own_rules;
mod perturbations;
mod published;
mod published_black_boxes;
mod published_metrics;
mod quantus;
mod questions;
mod references;
mod results;
mod sampling;
#[cfg(feature = "flex")]
mod scenes;
mod side_by_side;
mod surrogates;
mod text;
mod tracing;
mod walk;
