//! Walking a graph backwards: at every node a rule decides how what arrives at the outputs is
//! shared among the operands.
//!
//! The default rule, [`Gradient`], is the true derivative. Guided backpropagation, DeepLIFT and
//! every LRP rule are other choices on the same walk.

use std::collections::HashMap;
use std::sync::Arc;

use super::exec;
use super::op::Op;
use super::vjp::{self, vjp};
use super::{Activations, Graph, Node, SlotId, Source};
use crate::{Error, Value, Values};

/// What an operand is to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// It depends on an input of the model: the rule gives it a contribution.
    Input,
    /// It is the module's parameter of that path.
    Parameter(&'a str),
    /// It is neither.
    Constant,
}

/// What a rule sees of the node it serves.
pub struct NodeView<'a> {
    node: &'a Node,
    graph: &'a Graph,
    operands: Vec<Value>,
    outputs: Vec<Value>,
    reference: Option<(Vec<Value>, Vec<Value>)>,
    active: &'a [bool],
    place: &'a exec::Place,
    walker: &'a Walker<'a>,
}

impl NodeView<'_> {
    /// The node's name, as [`Traced::layers`](crate::Traced::layers) lists it.
    pub fn name(&self) -> &str {
        &self.node.name
    }

    /// What the node computes.
    pub fn op(&self) -> &Op {
        &self.node.op
    }

    /// The operands' values in the forward pass, in the order that [`Op`] documents.
    pub fn operands(&self) -> &[Value] {
        &self.operands
    }

    /// The outputs' values in the forward pass.
    pub fn outputs(&self) -> &[Value] {
        &self.outputs
    }

    /// Operand and output values of the reference forward pass, where the walk has one.
    pub fn reference(&self) -> Option<(&[Value], &[Value])> {
        self.reference.as_ref().map(|(o, r)| (&o[..], &r[..]))
    }

    /// What operand `i` is.
    pub fn role(&self, i: usize) -> Role<'_> {
        let slot = self.node.operands[i];
        if self.active[slot] {
            return Role::Input;
        }
        match &self.graph.slots[slot].source {
            Source::Parameter(path, _) => Role::Parameter(path),
            _ => Role::Constant,
        }
    }

    /// Whether operand `i` depends on the model's inputs, also where the walk gives it nothing.
    pub fn varies(&self, i: usize) -> bool {
        self.walker.varies[self.node.operands[i]]
    }

    /// The node that produced operand `i`, if a node did and no other node reads it: what a rule
    /// needs that serves two nodes as one.
    ///
    /// # Errors
    /// None for a node of the graph being walked.
    pub fn producer(&self, i: usize) -> Result<Option<NodeView<'_>>, Error> {
        let slot = self.node.operands[i];
        let Source::Node(producer) = self.graph.slots[slot].source else {
            return Ok(None);
        };
        let nodes = self.graph.nodes.iter();
        let readers = nodes
            .flat_map(|node| &node.operands)
            .filter(|&&operand| operand == slot)
            .count();
        if readers != 1 || slot == self.graph.output {
            return Ok(None);
        }
        self.walker.view(&self.graph.nodes[producer]).map(Some)
    }

    /// Runs the node's operation on other operands: clamped, squared, without bias.
    ///
    /// # Errors
    /// Whatever the operation reports; operands must fit as the recorded ones did.
    pub fn rerun(&self, operands: &[Value]) -> Result<Vec<Value>, Error> {
        exec::run(&self.node.op, operands.to_vec(), self.place)
    }

    /// The derivative of such a run: `arriving` at its outputs (one entry each), pulled back to
    /// every operand `i` with `wanted[i]`.
    ///
    /// # Errors
    /// As [`rerun`](Self::rerun).
    pub fn pull_back(
        &self,
        operands: &[Value],
        arriving: Vec<Option<Value>>,
        wanted: &[bool],
    ) -> Result<Vec<Option<Value>>, Error> {
        let outputs = self.rerun(operands)?;
        let run = vjp::Run {
            op: &self.node.op,
            operands,
            outputs: &outputs,
            place: self.place,
        };
        vjp(&run, arriving, wanted)
    }
}

/// How a node shares what arrives at its outputs among its operands.
pub trait Rule: Send + Sync {
    /// One contribution per operand, shaped like the operand; none for operands that are not
    /// [`Role::Input`] or that nothing flows to. `arriving` has one entry per output.
    ///
    /// # Errors
    /// The rule's own, for a node it cannot serve.
    fn backward(
        &self,
        node: &NodeView<'_>,
        arriving: Vec<Option<Value>>,
    ) -> Result<Vec<Option<Value>>, Error>;
}

/// The true derivative.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gradient;

impl Rule for Gradient {
    fn backward(
        &self,
        node: &NodeView<'_>,
        arriving: Vec<Option<Value>>,
    ) -> Result<Vec<Option<Value>>, Error> {
        let wanted: Vec<bool> = (0..node.operands.len())
            .map(|i| node.role(i) == Role::Input)
            .collect();
        let run = vjp::Run {
            op: &node.node.op,
            operands: &node.operands,
            outputs: &node.outputs,
            place: node.place,
        };
        vjp(&run, arriving, &wanted)
    }
}

/// Chooses a node's rule; none is [`Gradient`].
pub type Rules<'a> = dyn Fn(&NodeView<'_>) -> Option<Arc<dyn Rule>> + 'a;

/// Edits what arrives at an output of a node, by its number, before the node's rule sees it.
pub type Edit<'a> = dyn Fn(&NodeView<'_>, usize, Value) -> Result<Value, Error> + 'a;

/// Edits what arrives at the layer that a walk leads through.
pub type Gate<'a> = dyn Fn(Value) -> Result<Value, Error> + 'a;

/// How a model is walked backwards; by default with the true derivative everywhere.
#[derive(Clone, Copy, Default)]
pub struct Walk<'a> {
    pub(crate) rules: Option<&'a Rules<'a>>,
    pub(crate) edit: Option<&'a Edit<'a>>,
    pub(crate) reference: Option<&'a Values>,
    pub(crate) layers: &'a [&'a str],
    pub(crate) stop: bool,
    pub(crate) through: Option<(&'a str, &'a Gate<'a>)>,
}

impl<'a> Walk<'a> {
    /// The true derivative everywhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the choice of rules: the first match by name, by kind or by position is the closure's
    /// business.
    pub fn with_rules(mut self, rules: &'a Rules<'a>) -> Self {
        self.rules = Some(rules);
        self
    }

    /// Sets what edits the arriving values: a mask of channels, a condition.
    pub fn with_edit(mut self, edit: &'a Edit<'a>) -> Self {
        self.edit = Some(edit);
        self
    }

    /// Sets inputs, with as many rows, for a second forward pass that rules see as
    /// [`NodeView::reference`].
    pub fn with_reference(mut self, reference: &'a Values) -> Self {
        self.reference = Some(reference);
        self
    }

    /// Sets the layers at whose outputs the arriving values are reported.
    pub fn with_layers(mut self, layers: &'a [&'a str]) -> Self {
        self.layers = layers;
        self
    }

    /// As [`with_layers`](Self::with_layers), and the walk ends at those layers: nothing is
    /// computed for the inputs.
    pub fn to_layers(mut self, layers: &'a [&'a str]) -> Self {
        self.layers = layers;
        self.stop = true;
        self
    }

    /// Lets only what passes the output of `layer` reach the inputs, edited by `gate`: what flows
    /// around it is dropped.
    pub fn through(mut self, layer: &'a str, gate: &'a Gate<'a>) -> Self {
        self.through = Some((layer, gate));
        self
    }
}

/// Turns a model's output, and that for the reference where there is one, into what is walked
/// back: one value for each walk, shaped like the output.
pub type WalkSeeds<'a> = dyn Fn(&Value, Option<&Value>) -> Result<Vec<Value>, Error> + 'a;

/// A forward pass and the walks back over it.
#[derive(Clone, Debug)]
pub struct Walks {
    /// The model's output.
    pub output: Value,
    /// The output for the reference, where the walk has one.
    pub reference: Option<Value>,
    /// The output of each of the walk's layers.
    pub activations: Vec<Value>,
    /// The same for the reference; empty without one.
    pub reference_activations: Vec<Value>,
    /// For each seed, what a walk found.
    pub walked: Vec<Walked>,
}

/// What a walk back found.
#[derive(Clone, Debug)]
pub struct Walked {
    /// What arrives at each input; none where nothing does.
    pub inputs: Vec<Option<Value>>,
    /// What arrives at the output of each of [`Walk::with_layers`], in their order.
    pub layers: Vec<Option<Value>>,
}

/// A walk back over one forward pass of one graph.
pub(crate) struct Walker<'a> {
    pub graph: &'a Graph,
    pub forward: &'a Activations,
    pub reference: Option<&'a Activations>,
    pub rules: Option<&'a Rules<'a>>,
    pub edit: Option<&'a Edit<'a>>,
    pub through: Option<(SlotId, &'a Gate<'a>)>,
    /// Slots whose arriving values are reported.
    pub keep: &'a [SlotId],
    /// Which slots lead back to an input that wants a result.
    pub active: &'a [bool],
    /// Which slots depend on the model's inputs.
    pub varies: &'a [bool],
}

impl Walker<'_> {
    /// Walks from the output, where `seed` arrives, to the inputs.
    pub fn run(&self, seed: Value) -> Result<Walked, Error> {
        let graph = self.graph;
        let mut arriving: Vec<Option<Value>> = vec![None; graph.slots.len()];
        let mut kept: HashMap<SlotId, Value> = HashMap::new();
        arriving[graph.output] = Some(seed);
        for node in graph.nodes.iter().rev() {
            let reached = |slot: &SlotId| self.active[*slot] && arriving[*slot].is_some();
            if !node.outputs.iter().any(reached) {
                continue;
            }
            if let Some((slot, gate)) = self.through
                && node.outputs.contains(&slot)
            {
                // Nodes are in execution order, so all that can arrive here has arrived, and all
                // else that has arrived elsewhere came around this layer.
                let value = arriving[slot].take();
                arriving.fill(None);
                let Some(value) = value else { continue };
                arriving[slot] = Some(gate(value)?);
            }
            let view = self.view(node)?;
            let mut here = Vec::with_capacity(node.outputs.len());
            for (i, &slot) in node.outputs.iter().enumerate() {
                let value = match (self.edit, arriving[slot].take()) {
                    (Some(edit), Some(value)) => Some(edit(&view, i, value)?),
                    (_, value) => value,
                };
                if let (true, Some(value)) = (self.keep.contains(&slot), &value) {
                    kept.insert(slot, value.clone());
                }
                here.push(value);
            }
            // A layer at which the walk ends: nothing before it wants a share.
            if !node.operands.iter().any(|&slot| self.active[slot]) {
                continue;
            }
            let rule = self.rules.and_then(|rules| rules(&view));
            let shares = match &rule {
                Some(rule) => rule.backward(&view, here)?,
                None => Gradient.backward(&view, here)?,
            };
            for (&slot, share) in node.operands.iter().zip(shares) {
                if let (true, Some(share)) = (self.active[slot], share) {
                    arriving[slot] = Some(match arriving[slot].take() {
                        Some(sum) => add(sum, share),
                        None => share,
                    });
                }
            }
        }
        // A layer's input may be the model's.
        if let Some((slot, gate)) = self.through
            && graph.inputs.contains(&slot)
        {
            let value = arriving[slot].take();
            arriving.fill(None);
            arriving[slot] = value.map(gate).transpose()?;
        }
        let layers = self.keep.iter();
        let layers = layers
            .map(|slot| kept.get(slot).or(arriving[*slot].as_ref()).cloned())
            .collect();
        let inputs = graph.inputs.iter().map(|&s| arriving[s].take()).collect();
        Ok(Walked { inputs, layers })
    }

    fn view<'a>(&'a self, node: &'a Node) -> Result<NodeView<'a>, Error> {
        let reference = match self.reference {
            Some(run) => Some((run.all(&node.operands)?, run.all(&node.outputs)?)),
            None => None,
        };
        Ok(NodeView {
            node,
            graph: self.graph,
            operands: self.forward.all(&node.operands)?,
            outputs: self.forward.all(&node.outputs)?,
            reference,
            active: self.active,
            place: &self.forward.place,
            walker: self,
        })
    }
}

fn add(a: Value, b: Value) -> Value {
    use burn::backend::Dispatch;
    use burn::backend::ops::FloatTensorOps;
    Value::from_dispatch(Dispatch::float_add(a.into_dispatch(), b.into_dispatch()))
}
