//! Plans assign a rule to each node of one graph before anything runs.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::composite::Composite;
use super::info::{Facts, NodeInfo};
use super::rule::Rule;
use super::view::NodeView;
use crate::graph::{self, Graph, Place, SlotId, Source};
use crate::model::{check_devices, check_shapes};
use crate::{Error, Value};

/// A composite's rules for one graph, and where walks end.
///
/// [`Traced::plan`](crate::Traced::plan) makes a plan once, for any number of passes. What rules
/// prepare, such as clamped weights, is computed at their first walk and kept. A plan prints as a
/// table of nodes and rules.
#[derive(Clone)]
pub struct Plan {
    pub(super) choices: Arc<Choices>,
    /// Which slots lead back to where walks end.
    pub(super) active: Arc<Vec<bool>>,
    /// Slots that walks may report, and whose activations outlive the forward pass.
    pub(super) recorded: Arc<Vec<SlotId>>,
    /// Where walks end: at these slots, or at the inputs.
    ends: Vec<SlotId>,
}

/// The rules that a composite chose for one graph.
pub(super) struct Choices {
    pub graph: Arc<Graph>,
    pub facts: Facts,
    pub rules: Vec<Option<Arc<dyn Rule>>>,
    /// Per node, the number of its group if a rule serves that group as one.
    served: Vec<Option<usize>>,
    prepared: Vec<OnceLock<Vec<Value>>>,
    composite: String,
}

impl Plan {
    /// Asks the composite about every node of `graph`. Walks lead to the `explained` inputs.
    pub(crate) fn new(
        graph: Arc<Graph>,
        composite: &dyn Composite,
        explained: Vec<SlotId>,
    ) -> Result<Self, Error> {
        let facts = Facts::of(&graph);
        let infos = (0..graph.nodes.len()).map(|index| NodeInfo {
            graph: &graph,
            facts: &facts,
            index,
            group: None,
        });
        let fitted = composite.for_model(&infos.collect::<Vec<_>>())?;
        let composite = fitted.as_deref().unwrap_or(composite);
        let mut rules = Vec::with_capacity(graph.nodes.len());
        for (index, node) in graph.nodes.iter().enumerate() {
            // Nothing flows through integers and truth values.
            let flows = |&&slot: &&SlotId| facts.varies[slot] && graph.slots[slot].dtype.is_float();
            let varies = node.outputs.iter().find(flows).is_some();
            let info = NodeInfo {
                graph: &graph,
                facts: &facts,
                index,
                group: None,
            };
            rules.push(if varies { composite.rule(&info)? } else { None });
        }
        let mut served = vec![None; graph.nodes.len()];
        for (number, group) in graph.groups.iter().enumerate() {
            let (Some(&index), true) = (group.nodes.last(), facts.varies[group.output]) else {
                continue;
            };
            let info = NodeInfo {
                graph: &graph,
                facts: &facts,
                index,
                group: Some(group),
            };
            if let Some(rule) = composite.group(&info)? {
                group.nodes.iter().for_each(|&node| {
                    served[node] = Some(number);
                    rules[node] = None;
                });
                rules[index] = Some(rule);
            }
        }
        let active = graph.dependents(&explained);
        let choices = Choices {
            prepared: graph.nodes.iter().map(|_| OnceLock::new()).collect(),
            facts,
            rules,
            served,
            composite: composite.name(),
            graph,
        };
        Ok(Self {
            choices: Arc::new(choices),
            active: Arc::new(active),
            recorded: Arc::default(),
            ends: explained,
        })
    }

    /// Returns the plan whose walks end at the outputs of `layers` and compute nothing for the
    /// nodes before them. The activations of `layers` outlive the forward pass.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`] with the nearest names.
    pub fn to_layers<S: AsRef<str>>(&self, layers: &[S]) -> Result<Self, Error> {
        let slots = self.slots(layers)?;
        Ok(self.reaching(slots.clone(), slots))
    }

    /// Returns the plan whose walks may also report what arrives at `layers` on the way to the
    /// inputs. The activations of `layers` outlive the forward pass.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`] with the nearest names.
    pub fn recording<S: AsRef<str>>(&self, layers: &[S]) -> Result<Self, Error> {
        let slots = [&self.recorded[..], &self.slots(layers)?].concat();
        Ok(self.reaching(self.ends.clone(), slots))
    }

    fn reaching(&self, ends: Vec<SlotId>, recorded: Vec<SlotId>) -> Self {
        // Layers between constant inputs and the output are reported, too.
        let wanted = [&ends[..], &recorded].concat();
        Self {
            choices: self.choices.clone(),
            active: Arc::new(self.choices.graph.dependents(&wanted)),
            recorded: Arc::new(recorded),
            ends,
        }
    }

    /// Returns the plan whose walks reach every node that depends on an input, explained or not.
    pub fn reaching_all(&self) -> Self {
        Self {
            active: Arc::new(self.choices.facts.varies.clone()),
            ..self.clone()
        }
    }

    /// Returns an error if the inputs do not match those that the plan was made for.
    pub(crate) fn check(&self, values: &[Value]) -> Result<(), Error> {
        let graph = &self.choices.graph;
        check_devices(&graph.device, values)?;
        check_shapes(graph, values)
    }

    /// The graph that the plan is for.
    pub(crate) fn graph(&self) -> &Arc<Graph> {
        &self.choices.graph
    }

    fn slots<S: AsRef<str>>(&self, layers: &[S]) -> Result<Vec<SlotId>, Error> {
        let layers = layers.iter();
        layers
            .map(|name| self.choices.layer(name.as_ref()))
            .collect()
    }

    /// The name of the composite that chose the rules.
    pub fn composite(&self) -> &str {
        &self.choices.composite
    }

    /// The nodes that walks pass, in execution order, each with its rule; `None` means the
    /// derivative.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeInfo<'_>, Option<&dyn Rule>)> {
        let graph = &self.choices.graph;
        (0..graph.nodes.len())
            .filter(|&index| self.passes(index))
            .map(|index| {
                let rule = self.choices.rules[index].as_deref();
                (self.choices.info(index), rule)
            })
    }

    /// The node whose output a layer's name refers to; `None` for an input of the model.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`] with the nearest names.
    pub fn node(&self, layer: &str) -> Result<Option<NodeInfo<'_>>, Error> {
        let slot = self.choices.layer(layer)?;
        Ok(match self.choices.graph.slots[slot].source {
            Source::Node(index) => Some(self.choices.info(index)),
            _ => None,
        })
    }

    /// Whether walks pass a share to an operand of the node, or of the group that it ends.
    pub(super) fn passes(&self, index: usize) -> bool {
        let info = self.choices.info(index);
        let active = |slots: &[SlotId]| slots.iter().any(|&slot| self.active[slot]);
        active(&info.node().outputs)
            && active(info.operand_slots())
            && !self.choices.is_inside(index)
    }

    /// The first rule that reads values on the host, and the layer it serves.
    pub(super) fn reads_values(&self) -> Option<(String, String)> {
        self.nodes().find_map(|(info, rule)| {
            let rule = rule.filter(|rule| rule.reads_values())?;
            Some((rule.name(), info.name().to_string()))
        })
    }

    /// Returns the same rules for another graph of the same nodes, where they prepare again.
    pub(super) fn moved(&self, graph: Arc<Graph>) -> Self {
        let choices = Choices {
            facts: Facts::of(&graph),
            prepared: graph.nodes.iter().map(|_| OnceLock::new()).collect(),
            rules: self.choices.rules.clone(),
            served: self.choices.served.clone(),
            composite: self.choices.composite.clone(),
            graph,
        };
        Self {
            choices: Arc::new(choices),
            ..self.clone()
        }
    }

    /// The slots whose values walks read, besides parameters and constants.
    pub(super) fn reads(&self) -> Vec<SlotId> {
        let mut read = Vec::new();
        for (index, node) in self.choices.graph.nodes.iter().enumerate() {
            if !self.passes(index) {
                continue;
            }
            let info = self.choices.info(index);
            let taken = info.operand_slots();
            let wanted: Vec<bool> = taken.iter().map(|&s| self.active[s]).collect();
            let (operands, outputs) = match &self.choices.rules[index] {
                Some(rule) => {
                    let reads = rule.reads(&info);
                    (reads.operands, reads.outputs)
                }
                None => graph::reads(&node.op, &wanted),
            };
            // A weight that the model computes itself is read like a parameter.
            let slots = taken.iter().zip(&wanted);
            let slots = slots.filter(|(_, wanted)| operands || !**wanted);
            read.extend(slots.map(|(slot, _)| *slot));
            if outputs {
                read.extend(&node.outputs);
            }
        }
        read
    }
}

impl Choices {
    pub fn info(&self, index: usize) -> NodeInfo<'_> {
        NodeInfo {
            graph: &self.graph,
            facts: &self.facts,
            index,
            group: self.served[index].map(|group| &self.graph.groups[group]),
        }
    }

    /// Whether the node is inside a group that a rule serves as one, but is not its last node.
    pub fn is_inside(&self, index: usize) -> bool {
        let group = self.served[index].map(|group| &self.graph.groups[group]);
        group.is_some_and(|group| group.nodes.last() != Some(&index))
    }

    /// Returns the slot of a layer at which a walk starts, masks or reports.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`]; [`Error::Layer`] for a layer inside a group that a rule serves as
    /// one.
    pub fn layer(&self, name: &str) -> Result<SlotId, Error> {
        let slot = self.graph.layer(name)?;
        if let Source::Node(index) = self.graph.slots[slot].source
            && self.is_inside(index)
        {
            return Err(Error::Layer {
                name: name.into(),
                reason: format!(
                    "it is inside the group {:?}, which one rule serves as a whole",
                    self.info(index).name()
                ),
            });
        }
        Ok(slot)
    }

    /// Returns what the rule of a node prepares, and computes it on first use.
    pub fn prepared(&self, index: usize) -> Result<&[Value], Error> {
        let Some(rule) = &self.rules[index] else {
            return Ok(&[]);
        };
        if let Some(prepared) = self.prepared[index].get() {
            return Ok(prepared);
        }
        let rows = self.graph.rows.unwrap_or(1);
        let place = Place::of(&self.graph, rows);
        let values = |slots: &[SlotId]| -> Vec<Value> {
            let value = |&slot: &SlotId| match &self.graph.slots[slot].source {
                Source::Parameter(_, value) | Source::Constant(value) => value.clone(),
                _ => {
                    let shape = self.graph.shape_at(slot, rows);
                    Value::shape_of(
                        &shape,
                        place.dtype(self.graph.slots[slot].dtype),
                        &place.device,
                    )
                }
            };
            slots.iter().map(value).collect()
        };
        let node = &self.graph.nodes[index];
        let info = self.info(index);
        let view = NodeView {
            info,
            operands: values(info.operand_slots()),
            outputs: values(&node.outputs),
            reference: None,
            wanted: vec![false; info.operands()],
            prepared: &[],
            computed: Vec::new(),
            parts: Vec::new(),
            accounting: false,
            place,
            others: None,
        };
        let made = graph::caught(&node.name, || rule.prepare(&view))?;
        Ok(self.prepared[index].get_or_init(|| made))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<36} {:<18} {}",
            "layer",
            "operation",
            self.composite()
        )?;
        for (info, rule) in self.nodes() {
            let rule = rule.map_or("gradient".to_string(), Rule::name);
            writeln!(f, "{:<36} {:<18} {rule}", info.name(), info.kind())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plan({})", self.composite())
    }
}
