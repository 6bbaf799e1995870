//! A model file's graph without protobuf: nodes, attributes and constants.

use std::collections::HashMap;
use std::sync::Arc;

use attr_core::{Kind, Value};

use crate::fixed::Repeated;
use crate::host::Host;

/// A graph of a model or of a branch.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub constants: HashMap<String, Constant>,
    /// Constants that are repeated for each row.
    pub repeated: Vec<Repeated>,
}

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the file.
    pub name: String,
    /// The kind of its elements.
    pub kind: Kind,
    /// Its dimensions, if the file declares them.
    pub shape: Option<Vec<PortDim>>,
    /// Whether it holds text, which cannot be explained.
    pub(crate) text: bool,
}

/// A dimension declared in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortDim {
    /// This size only.
    Fixed(usize),
    /// Any size, with the file's name for it (empty for none).
    Free(String),
}

/// A node: one operation.
#[derive(Debug)]
pub(crate) struct Node {
    pub name: String,
    pub op: String,
    /// Empty for ONNX's default operators.
    pub domain: String,
    /// The version of its operator set.
    pub opset: i64,
    /// An empty name stands for an omitted input.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: HashMap<String, Attribute>,
}

impl Node {
    /// Returns the operator with its domain, unless that is ONNX's default.
    pub fn operator(&self) -> String {
        if self.domain.is_empty() {
            self.op.clone()
        } else {
            format!("{}::{}", self.domain, self.op)
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Attribute {
    Float(f32),
    Int(i64),
    Text(String),
    Tensor(Arc<Host>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
    Graph(Arc<Graph>),
    /// In a function's body: the attribute of this name on the node that calls the function.
    Reference(String),
    /// A type that no supported operator uses.
    Other,
}

/// A stored tensor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Constant {
    /// The values on the host, if few enough to be used for shapes or not floating point.
    pub host: Option<Arc<Host>>,
    /// The index among the model's parameters and the values on the device; floating point only.
    pub parameter: Option<(usize, Value)>,
}
