//! Inlines model-local functions: replaces each call by the function's nodes.

use std::collections::HashMap;

use crate::Error;
use crate::graph::{Attribute, Graph, Node};

/// A function defined in the file.
pub(crate) struct Function {
    pub nodes: Vec<Node>,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub defaults: HashMap<String, Attribute>,
}

/// Functions by domain and name.
pub(crate) type Functions = HashMap<(String, String), Function>;

/// The maximum depth of nested calls: a recursive function would never end.
const DEEPEST: usize = 16;
/// The maximum number of nodes after inlining, and of bytes of names and lists added.
const MOST: usize = 1 << 18;
const LARGEST: usize = 1 << 28;

/// Replaces every call in the graph.
pub(crate) fn inline(graph: &mut Graph, functions: &Functions) -> Result<(), Error> {
    if functions.is_empty() {
        return Ok(());
    }
    let mut size = 0;
    for depth in 0.. {
        let called = |node: &Node| functions.get(&(node.domain.clone(), node.op.clone()));
        if !graph.nodes.iter().any(|node| called(node).is_some()) {
            return Ok(());
        }
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        for (i, node) in std::mem::take(&mut graph.nodes).into_iter().enumerate() {
            match called(&node) {
                Some(function) => {
                    body(&node, function, &format!("{depth}.{i}"), &mut nodes);
                    let added = nodes.iter().rev().take(function.nodes.len());
                    size += added.map(weight).sum::<usize>();
                }
                None => nodes.push(node),
            }
            if depth >= DEEPEST || nodes.len() > MOST || size > LARGEST {
                return Err(Error::Graph(format!(
                    "its functions are nested more than {DEEPEST} levels deep or are too large"
                )));
            }
        }
        graph.nodes = nodes;
    }
    Ok(())
}

/// Estimates how many bytes a node's names and lists take.
fn weight(node: &Node) -> usize {
    let names = node.inputs.iter().chain(&node.outputs);
    let names: usize = names.map(String::len).sum();
    let attributes = node.attributes.values().map(|attribute| match attribute {
        Attribute::Text(text) => text.len(),
        Attribute::Texts(texts) => texts.iter().map(String::len).sum(),
        Attribute::Ints(values) => 8 * values.len(),
        Attribute::Floats(values) => 4 * values.len(),
        _ => 8,
    });
    node.name.len() + names + attributes.sum::<usize>()
}

/// Adds the nodes of one call; `call` makes the function's internal names unique.
fn body(node: &Node, function: &Function, call: &str, nodes: &mut Vec<Node>) {
    let empty = String::new();
    let mut names: HashMap<&str, String> = HashMap::new();
    for (i, name) in function.inputs.iter().enumerate() {
        names.insert(name, node.inputs.get(i).unwrap_or(&empty).clone());
    }
    for (name, outer) in function.outputs.iter().zip(&node.outputs) {
        // An omitted output is still computed, under an internal name.
        if !outer.is_empty() {
            names.insert(name, outer.clone());
        }
    }
    let rename = |name: &String| match names.get(&name[..]) {
        Some(outer) => outer.clone(),
        None if name.is_empty() => String::new(),
        None => format!("{call}/{name}"),
    };
    for inner in &function.nodes {
        let attributes = inner.attributes.iter().filter_map(|(name, value)| {
            let value = match value {
                Attribute::Reference(of) => {
                    let given = node.attributes.get(of);
                    given.or_else(|| function.defaults.get(of))?.clone()
                }
                other => other.clone(),
            };
            Some((name.clone(), value))
        });
        nodes.push(Node {
            name: format!("{}/{}", node.name, inner.name),
            op: inner.op.clone(),
            domain: inner.domain.clone(),
            opset: inner.opset,
            inputs: inner.inputs.iter().map(rename).collect(),
            outputs: inner.outputs.iter().map(rename).collect(),
            attributes: attributes.collect(),
        });
    }
}
