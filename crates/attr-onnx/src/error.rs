//! What can be wrong with a model file.

use std::path::PathBuf;

/// Why an ONNX file could not be read or run.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file, or a file of weights that it names, could not be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
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
    /// A stored tensor is broken.
    #[error("tensor {name:?}: {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The graph is broken: a cycle, a value that nobody computes, or one that two nodes do.
    #[error("the model's graph is broken: {0}")]
    Graph(String),
    /// The output asked for does not exist.
    #[error("the model has no output {name:?}; its outputs are {outputs:?}")]
    UnknownOutput {
        /// The name given.
        name: String,
        /// The names that exist.
        outputs: Vec<String>,
    },
    /// Operators that this crate does not run; all of the file's are listed.
    #[error("the model uses operators that are not supported: {}", list(.0))]
    Unsupported(Vec<Unsupported>),
    /// The inputs given are not the model's.
    #[error("{0}")]
    Inputs(String),
    /// A node cannot be run on these inputs.
    #[error("node {node:?} ({operator}): {reason}")]
    Node {
        /// The node's name.
        node: String,
        /// Its operator.
        operator: String,
        /// What is wrong.
        reason: String,
    },
    /// The core refused the model or its inputs.
    #[error(transparent)]
    Core(#[from] attr_core::Error),
}

/// An operator without an implementation, and where the file uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Its name, with its domain unless that is ONNX's own: `my.domain::Foo`.
    pub operator: String,
    /// The nodes that use it.
    pub nodes: Vec<String>,
}

/// `Foo (foo_1, foo_2), Bar (bar)`, with long lists of nodes cut short.
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
