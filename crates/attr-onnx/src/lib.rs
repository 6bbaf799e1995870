//! An ONNX file as a traced model: read at run time, run with Burn, explained by every method.
//!
//! [`OnnxModel::open`] reads the file, [`OnnxModel::trace`] runs its nodes once on Burn's
//! recording device. The result is an ordinary [`Traced`](attr_core::Traced) model whose layers
//! carry the file's node names.
//!
//! ```text
//! file.rs    reads the protobuf messages        weights.rs  stored tensors, on the model's device
//! graph.rs   what is kept of them               functions.rs  model-local functions, inlined
//! plan.rs    which nodes an output needs        run.rs      runs them
//! item.rs    the values between nodes, computed on the host where they are known, recorded
//!            otherwise                          host.rs     tensors on the host, arithmetic.rs
//! call.rs    one node's inputs and attributes   ops/        the operators, by family
//! batch.rs   models exported for one batch size, run at any
//! ```

mod arithmetic;
mod batch;
mod call;
mod error;
mod file;
mod functions;
mod graph;
mod host;
mod item;
mod model;
mod ops;
mod plan;
mod run;
mod weights;

pub use error::{Error, Unsupported};
pub use graph::{Port, PortDim};
pub use model::OnnxModel;
