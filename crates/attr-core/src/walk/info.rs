//! Facts about a node that are known before anything runs; composites choose rules by them.

use crate::Value;
use crate::graph::{Body, Dim, Graph, Group, GroupKind, Node, Op, SlotId, Source};

/// The role of an operand in its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// It depends on an input of the model.
    Input,
    /// It is the module's parameter at that path.
    Parameter(&'a str),
    /// It is neither.
    Constant,
}

/// Facts about all nodes of a graph, found once per plan.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Per slot, whether it depends on an input of the model.
    pub varies: Vec<bool>,
    /// Per slot, whether its values are never negative.
    non_negative: Vec<bool>,
    /// Per node, whether it is a linear layer, and whether one lies before it.
    linear: Vec<bool>,
    follows_linear: Vec<bool>,
}

impl Facts {
    pub fn of(graph: &Graph) -> Self {
        Self {
            varies: graph.dependents(&graph.inputs),
            non_negative: graph.non_negative(),
            linear: graph.linear_layers(),
            follows_linear: graph.linear_before(),
        }
    }
}

/// What is known before anything runs about a node of a traced model, or about a group of nodes
/// that a rule may serve as one.
#[derive(Clone, Copy)]
pub struct NodeInfo<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) facts: &'a Facts,
    /// The node; for a group, its last node.
    pub(crate) index: usize,
    pub(crate) group: Option<&'a Group>,
}

impl<'a> NodeInfo<'a> {
    pub(crate) fn node(&self) -> &'a Node {
        &self.graph.nodes[self.index]
    }

    /// The operands of the node, or of the group as a whole.
    pub(crate) fn operand_slots(&self) -> &'a [SlotId] {
        self.group
            .map_or(&self.node().operands, |group| &group.operands)
    }

    pub(crate) fn body(&self) -> Body<'a> {
        match self.group {
            Some(group) => Body::Group(self.graph, group),
            None => Body::Op(&self.node().op),
        }
    }

    fn operand(&self, i: usize) -> Option<SlotId> {
        self.operand_slots().get(i).copied()
    }

    /// The node's name, as [`Traced::layers`](crate::Traced::layers) lists it.
    pub fn name(&self) -> &'a str {
        self.group.map_or(&self.node().name, |group| &group.name)
    }

    /// Other names of the node, such as that of a convolution whose BatchNorm was folded.
    pub fn aliases(&self) -> &'a [String] {
        &self.node().aliases
    }

    /// What the node computes; for a group, what its last node computes.
    pub fn op(&self) -> &'a Op {
        &self.node().op
    }

    /// What a group of nodes computes as a whole; `None` for a single node.
    pub fn group(&self) -> Option<&'a GroupKind> {
        self.group.map(|group| &group.kind)
    }

    /// The group of nodes that this node is the last of: the SiLU whose product it is.
    pub fn ended_group(&self) -> Option<&'a GroupKind> {
        let mut groups = self.graph.groups.iter();
        let ended = groups.find(|group| group.nodes.last() == Some(&self.index));
        ended.map(|group| &group.kind)
    }

    /// How many consecutive elements a normalisation of its operand's statistics normalises together:
    /// the last dimensions of a LayerNorm, a group of channels with all positions; `None` for other
    /// nodes.
    pub fn normalised_together(&self) -> Option<usize> {
        match (self.group, self.op()) {
            (Some(group), _) => group.together,
            (None, Op::LayerNorm { .. }) => {
                let size = self.shape(0).last()?;
                usize::try_from(size.fixed)
                    .ok()
                    .filter(|_| size.per_row == 0)
            }
            _ => None,
        }
    }

    /// The text that a plan prints in its operation column.
    pub(crate) fn kind(&self) -> String {
        self.group()
            .map_or_else(|| self.op().name(), ToString::to_string)
    }

    /// The node's place in execution order, from 0.
    pub fn position(&self) -> usize {
        self.index
    }

    /// The number of operands.
    pub fn operands(&self) -> usize {
        self.operand_slots().len()
    }

    /// The role of operand `i`; a constant if the node has no such operand.
    pub fn role(&self, i: usize) -> Role<'a> {
        let Some(slot) = self.operand(i) else {
            return Role::Constant;
        };
        match &self.graph.slots[slot].source {
            _ if self.facts.varies[slot] => Role::Input,
            Source::Parameter(path, _) => Role::Parameter(path),
            _ => Role::Constant,
        }
    }

    /// The value of operand `i` if it is a parameter or a constant.
    pub fn value(&self, i: usize) -> Option<&'a Value> {
        self.graph.value_of(self.operand(i)?)
    }

    /// Whether operand `i` depends on the model's inputs.
    pub fn varies(&self, i: usize) -> bool {
        self.role(i) == Role::Input
    }

    /// Whether operand `i`, and no other, depends on the model's inputs.
    pub fn only_varies(&self, i: usize) -> bool {
        (0..self.operands()).all(|other| self.varies(other) == (other == i))
    }

    /// The shape of operand `i`; sizes may follow the batch. Empty if the node has no such operand.
    pub fn shape(&self, i: usize) -> &'a [Dim] {
        self.operand(i)
            .map_or(&[], |slot| &self.graph.slots[slot].shape)
    }

    /// Whether operand `i` is floating point, so that relevance can flow to it.
    pub fn is_float(&self, i: usize) -> bool {
        self.operand(i)
            .is_some_and(|slot| self.graph.slots[slot].dtype.is_float())
    }

    /// The shape of the first output; sizes may follow the batch.
    pub fn output_shape(&self) -> &'a [Dim] {
        &self.graph.slots[self.node().outputs[0]].shape
    }

    /// Whether operand `i` is the same tensor as operand `j` of `other`.
    pub fn same(&self, i: usize, other: &NodeInfo<'_>, j: usize) -> bool {
        self.operand(i)
            .is_some_and(|slot| other.operand(j) == Some(slot))
    }

    /// The node that produced operand `i`; `None` for inputs, parameters and constants.
    pub fn producer(&self, i: usize) -> Option<NodeInfo<'a>> {
        match self.graph.slots[self.operand(i)?].source {
            Source::Node(index) => Some(self.other(index)),
            _ => None,
        }
    }

    /// The nodes that read an output of this one.
    pub fn readers(&self) -> impl Iterator<Item = NodeInfo<'a>> + use<'a> {
        let (info, graph) = (*self, self.graph);
        let readers = self
            .node()
            .outputs
            .iter()
            .flat_map(|&slot| &graph.readers[slot]);
        readers.map(move |&index| info.other(index))
    }

    fn other(&self, index: usize) -> Self {
        Self {
            index,
            group: None,
            ..*self
        }
    }

    /// Whether operand `i` is never negative, such as the output of a ReLU, softmax or square.
    pub fn non_negative(&self, i: usize) -> bool {
        self.operand(i)
            .is_some_and(|slot| self.facts.non_negative[slot])
    }

    /// Whether a linear layer lies before this node on some path from the inputs. The first layers,
    /// in execution order, are the linear layers that do not follow another.
    pub fn follows_linear(&self) -> bool {
        self.facts.follows_linear[self.index]
    }

    /// The only reader of this node's only output; `None` if there are several readers, or if the
    /// output is the model's output.
    pub fn only_reader(&self) -> Option<NodeInfo<'a>> {
        if self.node().outputs.contains(&self.graph.output) {
            return None;
        }
        let mut readers = self.readers();
        let first = readers.next()?;
        let slot = self.node().outputs[0];
        let uses = first.node().operands.iter().filter(|&&s| s == slot);
        (readers.next().is_none() && uses.count() == 1).then_some(first)
    }

    /// Whether the node is a linear layer: a weight that does not depend on the inputs, applied to
    /// a tensor that does.
    pub fn is_linear(&self) -> bool {
        self.group.is_none() && self.facts.linear[self.index]
    }
}
