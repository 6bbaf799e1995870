//! A traced model's layers and their names.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::graph::{Graph, Node, SlotId, Source};

/// One node of a traced model, as a model summary shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The layer's name: `layer1.0.conv1`, `layer1.0.bn1.relu`, `fc#2`.
    pub name: String,
    /// Other names of the layer. A convolution with BatchNorm folded in has the BatchNorm's name,
    /// and the convolution's name as an alias.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The operation: `Conv2d`, `Add`.
    pub operation: String,
    /// The shape of the layer's output, with `batch` where a size depends on the batch size.
    pub output_shape: String,
    /// How many parameters the layer uses.
    pub parameters: usize,
    /// Whether the layer is linear: it applies a weight that does not depend on the inputs to a
    /// value that does. An embedding is linear.
    #[serde(default)]
    pub linear: bool,
    /// Whether another linear layer precedes this one on some path from the inputs. A linear layer
    /// that none precedes is a first layer.
    #[serde(default)]
    pub linear_before: bool,
    /// Whether the layer's (first) output is known to be non-negative for all inputs.
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
    /// Returns all layers in execution order.
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

    /// Returns the slot that a layer's name refers to: the output of the node of that name, or of
    /// the module of that name if the graph shows at which node it ends. Aliases of a node count as
    /// its name.
    ///
    /// With `@input` after the name, the slot is the layer's input: the first operand of its first
    /// node that depends on the model's inputs; with `@input1`, the second such operand, ...
    pub(crate) fn layer(&self, name: &str) -> Result<SlotId, Error> {
        let active = self.dependents(&self.inputs);
        let unknown = || self.unknown(name, &active);
        if let Some(node) = self.called(name, &active) {
            return Ok(self.nodes[node].outputs[0]);
        }
        if let Some((layer, number)) = name.rsplit_once("@input") {
            let number = match number {
                "" => 0,
                number => number.parse::<usize>().map_err(|_| unknown())?,
            };
            let first = match self.called(layer, &active) {
                Some(node) => node,
                None => self.first_of_module(layer, &active)?.ok_or_else(unknown)?,
            };
            let operands = self.nodes[first].operands.iter();
            let mut operands = operands.filter(|&&slot| active[slot]);
            return operands.nth(number).copied().ok_or_else(|| Error::Layer {
                name: name.into(),
                reason: "the layer does not have that many inputs".into(),
            });
        }
        let last = self.last_of_module(name, &active)?.ok_or_else(unknown)?;
        Ok(self.nodes[last].outputs[0])
    }

    /// Returns the node with this name or alias.
    fn called(&self, name: &str, active: &[bool]) -> Option<usize> {
        let is = |node: &Node, called: bool| active[node.outputs[0]] && called;
        let mut nodes = self.nodes.iter();
        let exact = nodes.position(|node| is(node, node.name == name));
        let alias = |node: &Node| is(node, node.aliases.iter().any(|alias| alias == name));
        exact.or_else(|| self.nodes.iter().position(alias))
    }

    /// Returns the nodes inside a module, by name, in execution order.
    fn module(&self, name: &str, active: &[bool]) -> Vec<usize> {
        let inside = |candidate: &String| {
            let rest = candidate.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('.') || rest.starts_with('#'))
        };
        let nodes = self.nodes.iter().enumerate();
        let nodes = nodes.filter(|(_, node)| {
            let mut names = std::iter::once(&node.name).chain(&node.aliases);
            active[node.outputs[0]] && names.any(inside)
        });
        nodes.map(|(index, _)| index).collect()
    }

    /// Returns the node whose output is a module's output; `None` if no module has this name.
    ///
    /// A node without parameters is named after the node it follows, so the last nodes with the
    /// module's name may lie after the module. Later nodes may read only the module's last node;
    /// if several nodes could be the last, the name is ambiguous.
    fn last_of_module(&self, name: &str, active: &[bool]) -> Result<Option<usize>, Error> {
        let module = self.module(name, active);
        if module.is_empty() {
            return Ok(None);
        }
        let with_parameters = module.iter().rposition(|&node| self.has_parameters(node));
        let possible = &module[with_parameters.unwrap_or(0)..];
        let is_all_that_leaves = |&&last: &&usize| {
            let inner = module.iter().filter(|&&node| node < last);
            let mut slots = inner.flat_map(|&node| &self.nodes[node].outputs);
            slots.all(|&slot| self.readers[slot].iter().all(|&reader| reader <= last))
        };
        let ends: Vec<usize> = possible
            .iter()
            .filter(is_all_that_leaves)
            .copied()
            .collect();
        if let [last] = ends[..] {
            return Ok(Some(last));
        }
        // If several of its nodes are read later, the module has several outputs.
        let candidates = if ends.is_empty() { possible } else { &ends };
        let candidates = candidates.iter();
        Err(Error::AmbiguousLayer {
            name: name.into(),
            candidates: candidates
                .map(|&node| self.nodes[node].name.clone())
                .collect(),
        })
    }

    /// Returns the first node of a module; `None` if no module has this name. The name is ambiguous
    /// if a node without parameters precedes it, which may also belong to the module.
    fn first_of_module(&self, name: &str, active: &[bool]) -> Result<Option<usize>, Error> {
        let module = self.module(name, active);
        let Some(&first) = module.first() else {
            return Ok(None);
        };
        let operands = self.nodes[first].operands.iter();
        let mut given = operands.filter(|&&slot| active[slot]);
        let is_clear = given.all(|&slot| match self.slots[slot].source {
            Source::Node(before) => self.has_parameters(before),
            _ => true,
        });
        if is_clear {
            return Ok(Some(first));
        }
        Err(Error::AmbiguousLayer {
            name: format!("{name}@input"),
            candidates: vec![format!("{}@input", self.nodes[first].name)],
        })
    }

    fn has_parameters(&self, node: usize) -> bool {
        let mut operands = self.nodes[node].operands.iter();
        operands.any(|&slot| matches!(self.slots[slot].source, Source::Parameter(..)))
    }

    fn unknown(&self, name: &str, active: &[bool]) -> Error {
        let nodes = self.nodes.iter().filter(|node| active[node.outputs[0]]);
        let names = nodes.flat_map(|node| std::iter::once(&node.name).chain(&node.aliases));
        Error::UnknownLayer {
            name: name.to_string(),
            nearest: nearest(name, names.map(|name| &name[..])),
        }
    }
}

/// Returns the three names most similar to `name`. Names that contain its last part come first,
/// since layer names differ mostly at the end.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    let tail = |name: &'a str| name.rsplit('.').next().unwrap_or(name);
    let sought = name.rsplit('.').next().unwrap_or(name);
    let likeness = |candidate: &'a str| {
        let whole = candidate.split('.').any(|part| part == sought);
        let part = candidate.contains(sought);
        let like = strsim::jaro_winkler(name, candidate);
        let like_tail = strsim::jaro_winkler(sought, tail(candidate));
        f64::from(u8::from(whole)) * 4.0 + f64::from(u8::from(part)) * 2.0 + like + like_tail
    };
    let mut ranked: Vec<(f64, &str)> = candidates
        .map(|candidate| (likeness(candidate), candidate))
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranked
        .into_iter()
        .take(3)
        .map(|(_, name)| name.to_string())
        .collect()
}
