//! A traced model's layers: what it is made of, by name.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::graph::{Graph, SlotId, Source};

/// One node of a traced model, as a model summary shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its name: `layer1.0.conv1`, `layer1.0.bn1.relu`, `fc#2`.
    pub name: String,
    /// What it computes: `Conv2d`, `Add`.
    pub operation: String,
    /// Shape of its output, `batch` where it follows the batch.
    pub output_shape: String,
    /// How many parameters it uses.
    pub parameters: usize,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            operation,
            output_shape,
            parameters,
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
        let nodes = self
            .nodes
            .iter()
            .filter(|n| n.outputs.iter().any(|&s| active[s]));
        nodes
            .map(|node| {
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
                    operation: node.op.name(),
                    output_shape: format!("[{}]", dims.join(", ")),
                    parameters: parameters.sum(),
                }
            })
            .collect()
    }

    /// The slot that a layer's name means: a node's output, or that of the last node of a module.
    pub(crate) fn layer(&self, name: &str) -> Result<SlotId, Error> {
        let active = self.dependents(&self.inputs);
        let named: Vec<(&str, SlotId)> = self
            .nodes
            .iter()
            .filter(|node| active[node.outputs[0]])
            .map(|node| (&node.name[..], node.outputs[0]))
            .collect();
        let inside = |candidate: &str| {
            let rest = candidate.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('.') || rest.starts_with('#'))
        };
        named
            .iter()
            .find(|(candidate, _)| *candidate == name)
            .or_else(|| named.iter().rfind(|(candidate, _)| inside(candidate)))
            .map(|(_, slot)| *slot)
            .ok_or_else(|| Error::UnknownLayer {
                name: name.to_string(),
                nearest: nearest(name, named.iter().map(|(candidate, _)| *candidate)),
            })
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
