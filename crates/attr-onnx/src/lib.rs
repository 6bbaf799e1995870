//! An ONNX file as a traced model.
//!
//! ```text
//! file.rs    reads the protobuf messages        weights.rs  stored tensors, on the model's device
//! graph.rs   the graph without protobuf         functions.rs  inlines model-local functions
//! plan.rs    the nodes that an output needs     run.rs      runs them
//! item.rs    the values between nodes, computed on the host if known, recorded otherwise
//! host.rs    tensors on the host                arithmetic.rs  arithmetic on the host
//! call.rs    one node's inputs and attributes   ops/        the operators, by family
//! batch.rs   runs models exported for one batch size at any batch size
//! fixed.rs   inputs that are settings or states, which get a value once
//! edit.rs    changes a file: takes a concept out of a layer
//! ```
#![doc = include_str!("../README.md")]

mod arithmetic;
mod batch;
mod call;
mod edit;
mod error;
mod file;
mod fixed;
mod functions;
mod graph;
mod host;
mod item;
mod limits;
mod model;
mod ops;
mod plan;
mod run;
mod weights;

pub use edit::DirectionRemoval;
pub use error::{Error, Unsupported};
pub use fixed::Elements;
pub use graph::{Port, PortDim};
pub use model::OnnxModel;
