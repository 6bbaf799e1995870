//! The conformance suite: one binary, run on every backend.

mod tracing;
