//! Errors of reading and running a model file.

use std::fmt;
use std::path::PathBuf;

/// An error from reading or running an ONNX file.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file, or an external weights file that it names, could not be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's message.
        reason: String,
    },
    /// The file is not an ONNX model.
    #[error("{} is not an ONNX model: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A stored tensor is invalid.
    #[error("tensor {name:?}: {reason}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The graph is invalid: it has a cycle, or a value computed by no node or by two nodes.
    #[error("the model's graph is invalid: {0}")]
    Graph(String),
    /// The requested output does not exist.
    #[error("the model has no output {name:?}; its outputs are {outputs:?}")]
    UnknownOutput {
        /// The requested name.
        name: String,
        /// The names that exist.
        outputs: Vec<String>,
    },
    /// The file uses operators that this crate does not support; all of them are listed.
    #[error("the model uses operators that are not supported: {}", list(.0))]
    Unsupported(Vec<Unsupported>),
    /// The inputs do not match the model's.
    #[error("{0}")]
    Inputs(String),
    /// A node cannot be run on these inputs.
    #[error("node {node:?} ({operator}): {reason}")]
    Node {
        /// The node's name.
        node: String,
        /// Its operator.
        operator: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The core rejected the model or its inputs.
    #[error(transparent)]
    Core(#[from] attr_core::Error),
}

/// The message: it is what `main` prints when it returns the error.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An unsupported operator and the nodes that use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Its name, with its domain unless that is ONNX's default: `my.domain::Foo`.
    pub operator: String,
    /// The nodes that use it.
    pub nodes: Vec<String>,
}

/// Formats operators as `Foo (foo_1, foo_2), Bar (bar)`, shortening long lists of nodes.
fn list(unsupported: &[Unsupported]) -> String {
    let one = |u: &Unsupported| {
        let shown: Vec<&str> = u.nodes.iter().take(5).map(String::as_str).collect();
        let more = u.nodes.len().saturating_sub(shown.len());
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{} ({}{more})", u.operator, shown.join(", "))
    };
    unsupported.iter().map(one).collect::<Vec<_>>().join(", ")
}
