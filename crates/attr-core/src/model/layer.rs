//! A traced model's layers: what it is made of, by name.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::graph::{Graph, Node, SlotId, Source};

/// One node of a traced model, as a model summary shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its name: `layer1.0.conv1`, `layer1.0.bn1.relu`, `fc#2`.
    pub name: String,
    /// Other names that it answers to: of a convolution with BatchNorm folded in, which has the
    /// BatchNorm's name, the convolution's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// What it computes: `Conv2d`, `Add`.
    pub operation: String,
    /// Shape of its output, `batch` where it follows the batch.
    pub output_shape: String,
    /// How many parameters it uses.
    pub parameters: usize,
    /// Whether it is a linear layer: a weight that does not depend on the inputs, applied to what
    /// does. An embedding is one.
    #[serde(default)]
    pub linear: bool,
    /// Whether a linear layer lies before it on some path from the inputs. A linear layer that has
    /// none before it is a first one.
    #[serde(default)]
    pub linear_before: bool,
    /// Whether its (first) output is known never to be negative, whatever the inputs.
    #[serde(default)]
    pub non_negative: bool,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            operation,
            output_shape,
            parameters,
            ..
        } = self;
        write!(
            f,
            "{name:<36} {operation:<18} {output_shape:<26} {parameters:>10}"
        )
    }
}

impl Graph {
    /// All layers in execution order.
    pub(crate) fn layers(&self) -> Vec<Layer> {
        let active = self.dependents(&self.inputs);
        let (linear, linear_before) = (self.linear_layers(), self.linear_before());
        let non_negative = self.non_negative();
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(_, node)| node.outputs.iter().any(|&s| active[s]))
            .map(|(i, node)| {
                let shape = &self.slots[node.outputs[0]].shape;
                let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
                let parameters = node
                    .operands
                    .iter()
                    .map(|&slot| match &self.slots[slot].source {
                        Source::Parameter(_, value) => value.shape().iter().product(),
                        _ => 0,
                    });
                Layer {
                    name: node.name.clone(),
                    aliases: node.aliases.clone(),
                    operation: node.op.name(),
                    output_shape: format!("[{}]", dims.join(", ")),
                    parameters: parameters.sum(),
                    linear: linear[i],
                    linear_before: linear_before[i],
                    non_negative: non_negative[node.outputs[0]],
                }
            })
            .collect()
    }

    /// The slot that a layer's name means: a node's output, or that of the last node of a module.
    /// A node's other names mean the same as its name.
    ///
    /// With `@input` after the name it is what the layer takes: the first operand, of its first
    /// node, that depends on the model's inputs; with `@input1` the second such operand, ...
    pub(crate) fn layer<'a>(&'a self, name: &str) -> Result<SlotId, Error> {
        let active = self.dependents(&self.inputs);
        let nodes = || self.nodes.iter().filter(|node| active[node.outputs[0]]);
        let inside = |whole: &str, candidate: &str| {
            let rest = candidate.strip_prefix(whole);
            rest.is_some_and(|rest| rest.starts_with('.') || rest.starts_with('#'))
        };
        let names = |node: &'a Node| std::iter::once(&node.name).chain(&node.aliases);
        let unknown = || Error::UnknownLayer {
            name: name.to_string(),
            nearest: nearest(name, nodes().flat_map(names).map(|name| &name[..])),
        };
        let called = |name: &str| {
            let exact = nodes().find(|node| node.name == name);
            exact.or_else(|| nodes().find(|node| node.aliases.iter().any(|a| a == name)))
        };
        let within = |whole: &str, node: &'a Node| names(node).any(|name| inside(whole, name));
        if let Some(node) = called(name) {
            return Ok(node.outputs[0]);
        }
        if let Some((layer, number)) = name.rsplit_once("@input") {
            let number = match number {
                "" => 0,
                number => number.parse::<usize>().map_err(|_| unknown())?,
            };
            let node = called(layer)
                .or_else(|| nodes().find(|node| within(layer, node)))
                .ok_or_else(unknown)?;
            let operands = node.operands.iter().filter(|&&slot| active[slot]);
            return operands.copied().nth(number).ok_or_else(|| Error::Layer {
                name: name.into(),
                reason: "the layer does not take so many activations".into(),
            });
        }
        nodes()
            .rfind(|node| within(name, node))
            .map(|node| node.outputs[0])
            .ok_or_else(unknown)
    }
}

/// The three names most like `name`.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut ranked: Vec<(f64, &str)> = candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranked
        .into_iter()
        .take(3)
        .map(|(_, name)| name.to_string())
        .collect()
}
