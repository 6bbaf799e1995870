//! A model file's graph as this crate keeps it: names, attributes, constants; no protobuf.

use std::collections::HashMap;
use std::sync::Arc;

use attr_core::{Kind, Value};

use crate::host::Host;

/// A graph: the model's own, or that of a branch.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub constants: HashMap<String, Constant>,
}

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the file.
    pub name: String,
    /// What its elements are.
    pub kind: Kind,
    /// Its dimensions, where the file declares them.
    pub shape: Option<Vec<PortDim>>,
    /// Whether it holds text, which cannot be explained.
    pub(crate) text: bool,
}

/// One dimension that a file declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortDim {
    /// Of this size only.
    Fixed(usize),
    /// Of any size, under a name that the file gives it (empty for none).
    Free(String),
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Node {
    pub name: String,
    pub op: String,
    /// Empty for ONNX's own operators.
    pub domain: String,
    /// The version of its operator set.
    pub opset: i64,
    /// An empty name stands for an input that is left out.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: HashMap<String, Attribute>,
}

impl Node {
    /// The operator with its domain, unless that is ONNX's own.
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
    /// Of a function's body: the attribute of that name of the node that calls the function.
    Reference(String),
    /// Of a type that no supported operator has.
    Other,
}

/// A stored tensor.
#[derive(Clone, Debug)]
pub(crate) struct Constant {
    /// The values, where they are few enough to compute shapes with, or not floating point.
    pub host: Option<Arc<Host>>,
    /// The values on the model's device, and its number among the model's parameters; floating
    /// point only.
    pub parameter: Option<(usize, Value)>,
}
