//! The conformance suite: one binary, run on every backend.

mod absent;
mod black_box_errors;
mod black_box_traps;
mod black_boxes;
mod captum;
mod cut;
mod deep_lift;
mod defects;
mod edges;
mod errors;
mod golden;
mod maps;
mod methods;
mod modules;
mod nearby;
mod onnx;
mod operations;
mod published;
mod published_black_boxes;
mod rules;
mod sampling;
mod surrogates;
mod text;
mod tracing;
mod traps;
