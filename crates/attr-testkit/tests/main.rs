//! The conformance suite: one binary, run on every backend.

mod cut;
mod errors;
mod golden;
mod methods;
mod modules;
mod onnx;
mod operations;
mod rules;
mod tracing;
mod traps;
