//! Walks (where they start, what they mask and what they keep) and the traversal itself.

use std::collections::HashMap;
use std::ops::Range;

use super::gate::{Around, Gate, Through};
use super::info::{NodeInfo, Role};
use super::ledger::{Ledger, sums};
use super::plan::Choices;
use super::rule::{Gradient, Rule};
use super::shares::Shares;
use super::stand::Stand;
use super::view::Views;
use crate::graph::{self, Graph, SlotId, Source};
use crate::{Error, Value};

/// A function that sees what arrives at a node's output during a walk.
pub type Visitor<'a> = dyn FnMut(&NodeInfo<'_>, &Value) -> Result<(), Error> + Send + 'a;

/// What a walk keeps besides what arrives at the inputs.
#[derive(Default)]
pub enum Keep<'a> {
    /// Nothing.
    #[default]
    Inputs,
    /// What arrives at the outputs of these layers, before any gate there.
    Layers(&'a [&'a str]),
    /// What arrives at every node's output.
    All,
    /// Nothing, but a function sees what arrives at every node's output, and may reduce it.
    Visit(&'a mut Visitor<'a>),
}

/// A walk back over a [`Pass`](super::Pass): where it starts, which rows it uses, what it masks and
/// what it keeps.
pub struct Walk<'a> {
    layer: Option<&'a str>,
    pub(super) seed: Value,
    pub(super) rows: Option<&'a [usize]>,
    pub(super) gates: Vec<(&'a str, Through, Around)>,
    pub(super) keep: Keep<'a>,
    pub(super) ledger: bool,
    pub(super) weights: bool,
}

impl<'a> Walk<'a> {
    /// Starts at the output with `seed`, which is shaped like the output.
    pub fn from_output(seed: Value) -> Self {
        Self {
            layer: None,
            seed,
            rows: None,
            gates: Vec::new(),
            keep: Keep::Inputs,
            ledger: false,
            weights: false,
        }
    }

    /// Starts at the output of `layer` with `seed`, which is shaped like that output.
    pub fn from_layer(layer: &'a str, seed: Value) -> Self {
        Self {
            layer: Some(layer),
            ..Self::from_output(seed)
        }
    }

    /// Makes row `j` of the walk use row `rows[j]` of the pass; by default each uses its own.
    /// Several conditions on one input need only one row of the pass. Long walks run a stretch of
    /// rows at a time, unless they keep or show every node. This saves memory and, on a CPU, time.
    pub fn on_rows(mut self, rows: &'a [usize]) -> Self {
        self.rows = Some(rows);
        self
    }

    /// Lets only a part of what arrives at the output of `layer` through: what a mask leaves, or what
    /// lies along [`Directions`](super::Directions). Several gates form a chain.
    pub fn gate(mut self, layer: &'a str, through: impl Into<Through>, around: Around) -> Self {
        self.gates.push((layer, through.into(), around));
        self
    }

    /// Keeps a [`Ledger`] of what is lost at each node. It reads every value on the host, so such a
    /// walk is slow and cannot be recorded; its rows run together.
    pub fn with_ledger(mut self) -> Self {
        self.ledger = true;
        self
    }

    /// Sets what is kept besides what arrives at the inputs.
    pub fn keep(mut self, keep: Keep<'a>) -> Self {
        self.keep = keep;
        self
    }

    /// Keeps what flows through each element of the weights of linear layers, where rules
    /// [say so](super::Rule::weight_share). The rows of such a walk run together.
    pub fn with_weights(mut self) -> Self {
        self.weights = true;
        self
    }

    /// The slot at which the walk starts.
    pub(super) fn start(&self, choices: &Choices) -> Result<SlotId, Error> {
        match self.layer {
            Some(layer) => choices.layer(layer),
            None => Ok(choices.graph.output),
        }
    }

    /// The layers that are kept, if some rows can walk without the others.
    pub(super) fn separable(&self) -> Option<&'a [&'a str]> {
        match &self.keep {
            // A ledger has one entry for each node, weights one share.
            _ if self.ledger || self.weights => None,
            Keep::Inputs => Some(&[]),
            Keep::Layers(layers) => Some(layers),
            // These show or give every node's rows together.
            Keep::All | Keep::Visit(_) => None,
        }
    }

    /// Whether it has as many rows as it runs on. If not, the walk itself says what is wrong.
    pub(super) fn fits(&self, rows: usize) -> bool {
        let mut masks = self.gates.iter().map(|(_, through, _)| through.rows());
        self.seed.rows() == rows && masks.all(|own| own == 1 || own == rows)
    }

    /// Returns the walk restricted to `rows` that keeps `layers`.
    pub(super) fn part(&self, rows: Range<usize>, layers: &'a [&'a str]) -> Result<Self, Error> {
        let gates = self.gates.iter().map(|(layer, through, around)| {
            let through = through.each(|value| Ok(value.slice_rows(rows.clone())))?;
            Ok((*layer, through, *around))
        });
        Ok(Self {
            layer: self.layer,
            gates: gates.collect::<Result<_, Error>>()?,
            seed: self.seed.slice_rows(rows),
            rows: None,
            keep: Keep::Layers(layers),
            ledger: false,
            weights: false,
        })
    }

    /// Returns the walk over a pass whose `rows` are padded to `to`; padding rows receive nothing.
    pub(super) fn padded(mut self, rows: usize, to: usize) -> Result<Self, Error> {
        if self.rows.is_none() {
            let pad = |value: &Value| -> Result<Value, Error> {
                if value.rows() != rows || value.shape().is_empty() {
                    return Ok(value.clone());
                }
                let more = value.select_rows(&vec![0; to - rows]).zeros_like();
                Value::cat_rows(vec![value.clone(), more])
            };
            self.seed = pad(&self.seed)?;
            for (_, through, _) in &mut self.gates {
                *through = through.each(pad)?;
            }
        }
        Ok(self)
    }
}

/// The result of a walk.
#[derive(Clone, Debug)]
pub struct Walked {
    /// What arrives at each input; `None` where nothing does.
    pub inputs: Vec<Option<Value>>,
    /// What arrives at each of the layers of [`Keep::Layers`], in their order.
    pub layers: Vec<Option<Value>>,
    /// With [`Keep::All`], what arrives at the first output of each node that the walk reaches, by
    /// name, last node first.
    pub nodes: Vec<(String, Value)>,
    /// With [`Walk::with_ledger`], what was lost on the way.
    pub ledger: Option<Ledger>,
    /// With [`Walk::with_weights`], what flows through the weight of each linear layer, summed over
    /// rows, by the parameter's path (the layer's name for other weights); last layer first.
    pub weights: Vec<(String, Value)>,
}

impl Walked {
    /// Returns what arrives at each of `layers`, which are those of [`Keep::Layers`].
    ///
    /// # Errors
    /// [`Error::Layer`] for a layer that nothing arrives at.
    pub fn reached(self, layers: &[String]) -> Result<Vec<Value>, Error> {
        let pairs = layers.iter().zip(self.layers);
        let each = pairs.map(|(layer, value)| {
            value.ok_or_else(|| Error::Layer {
                name: layer.clone(),
                reason: "the target does not depend on it".into(),
            })
        });
        each.collect()
    }

    /// Joins the results of parts of a walk, in order.
    pub(super) fn joined(parts: Vec<Self>) -> Result<Self, Error> {
        let of = |pick: fn(&Self) -> &Vec<Option<Value>>| {
            let count = parts.first().map_or(0, |part| pick(part).len());
            let column = |i: usize| parts.iter().map(move |part| pick(part)[i].clone());
            // Whether anything arrives depends on the graph, not on the rows.
            let rows = (0..count).map(|i| column(i).collect::<Option<Vec<Value>>>());
            rows.map(|rows| rows.map(Value::cat_rows).transpose())
                .collect::<Result<Vec<_>, Error>>()
        };
        Ok(Self {
            inputs: of(|part| &part.inputs)?,
            layers: of(|part| &part.layers)?,
            nodes: Vec::new(),
            ledger: None,
            weights: Vec::new(),
        })
    }

    pub(super) fn map(mut self, f: impl Fn(Value) -> Value) -> Self {
        let values = self.inputs.iter_mut().chain(&mut self.layers).flatten();
        for value in values.chain(self.nodes.iter_mut().map(|(_, value)| value)) {
            *value = f(value.clone());
        }
        self
    }
}

/// What arrives at a slot, with the parts that its only reader attached.
#[derive(Default)]
pub(super) struct Flow {
    pub value: Option<Value>,
    pub parts: Vec<Value>,
    /// What the shares add up to in 64 bits, for the ledger.
    pub shares: f64,
}

impl Flow {
    fn add(&mut self, share: Value) {
        self.parts.clear();
        self.value = Some(match self.value.take() {
            Some(sum) => graph::add(sum, share),
            None => share,
        });
    }
}

/// Runs `walk` from its start to the inputs.
pub(super) fn traverse(stand: Stand<'_>, walk: Walk<'_>) -> Result<Walked, Error> {
    let plan = &stand.forward.plan;
    let choices = stand.choices();
    let graph = &choices.graph;
    let start = walk.start(choices)?;
    let gates = walk.gates.iter();
    let gates =
        gates.map(|(layer, through, around)| Gate::new(stand, layer, through, *around, start));
    let gates: Vec<Gate<'_>> = gates.collect::<Result<_, _>>()?;
    let mut ledger = walk.ledger.then(Ledger::default);
    let mut weights = Vec::new();
    let (slots, mut visitor, all) = match walk.keep {
        Keep::Inputs => (Vec::new(), None, false),
        Keep::Layers(layers) => (reported(stand, layers)?, None, false),
        Keep::All => (Vec::new(), None, true),
        Keep::Visit(visitor) => (Vec::new(), Some(visitor), false),
    };
    stand.forward.work.count(stand.rows(), 0, 1);

    let mut kept: HashMap<SlotId, Value> = HashMap::new();
    let mut nodes = Vec::new();
    let mut arriving: Vec<Flow> = graph.slots.iter().map(|_| Flow::default()).collect();
    let seed = seed(stand, walk.seed, start)?;
    if let Some(ledger) = &mut ledger {
        ledger.start(&seed)?;
        arriving[start].shares = ledger.started;
    }
    arriving[start].value = Some(seed);
    let after = producer(graph, start).map_or(0, |index| index + 1);
    for index in (0..after).rev() {
        let node = &graph.nodes[index];
        // What arrives at a layer is reported as it arrives, before a gate there.
        for &slot in node.outputs.iter().filter(|slot| slots.contains(slot)) {
            kept.extend(arriving[slot].value.clone().map(|value| (slot, value)));
        }
        // A gate applies even where nothing arrives: then it lets nothing through.
        for gate in gates
            .iter()
            .filter(|gate| node.outputs.contains(&gate.slot))
        {
            pass_gate(gate, stand, &mut arriving, &mut ledger)?;
            if gate.drops() {
                // What arrived beside the gate was dropped.
                let leads = graph.dependents(&[gate.slot]);
                kept.retain(|&slot, _| leads[slot]);
            }
        }
        let reached = |slot: &SlotId| plan.active[*slot] && arriving[*slot].value.is_some();
        if !node.outputs.iter().any(reached) {
            continue;
        }
        if let Some(value) = &arriving[node.outputs[0]].value {
            if let Some(visitor) = &mut visitor {
                visitor(&choices.info(index), value)?;
            }
            if all {
                nodes.push((node.name.clone(), value.clone()));
            }
        }
        let parts = std::mem::take(&mut arriving[node.outputs[0]].parts);
        let shares: Vec<f64> = node
            .outputs
            .iter()
            .map(|&slot| arriving[slot].shares)
            .collect();
        let here = node.outputs.iter().map(|&slot| arriving[slot].value.take());
        let here: Vec<Option<Value>> = here.collect();
        // Walks end at this layer: nothing before it needs a share.
        if !plan.passes(index) {
            if let Some(ledger) = &mut ledger {
                for (value, shares) in here.iter().zip(shares) {
                    value.iter().try_for_each(|v| ledger.arrive(v, shares))?;
                }
            }
            continue;
        }
        let mut view = stand.view(index)?;
        view.parts = parts;
        view.accounting = ledger.is_some();
        let received = if ledger.is_some() {
            (total(here.iter().flatten())?, shares.iter().sum())
        } else {
            ((0.0, 0.0), 0.0)
        };
        let rule = choices.rules[index].as_deref().unwrap_or(&Gradient);
        if walk.weights && view.info().is_linear() {
            let share = graph::caught(&node.name, || rule.weight_share(&view, &here))?;
            let name = match view.role(1) {
                Role::Parameter(path) => path,
                _ => view.name(),
            };
            weights.extend(share.map(|share| (name.to_string(), share)));
        }
        let given = graph::caught(&node.name, || rule.backward(&view, here))?;
        check(&given, &view, rule)?;
        if let Some(ledger) = &mut ledger {
            let info = view.info();
            let active = |i: usize| plan.active[info.operand_slots()[i]];
            let name = choices.rules[index]
                .as_ref()
                .map_or("gradient".into(), |r| r.name());
            let each = ledger.node(&info, name, received, &given, active)?;
            for (&slot, share) in info.operand_slots().iter().zip(each) {
                arriving[slot].shares += share;
            }
        }
        let operands = view.info().operand_slots();
        for (i, (&slot, share)) in operands.iter().zip(given.shares).enumerate() {
            if let (true, Some(share)) = (plan.active[slot], share) {
                let alone = arriving[slot].value.is_none();
                arriving[slot].add(share);
                if i == 0 && alone {
                    arriving[slot].parts = given.parts.clone();
                }
            }
        }
    }
    let at_inputs = slots
        .iter()
        .filter(|&&slot| producer(graph, slot).is_none());
    for &slot in at_inputs {
        kept.extend(arriving[slot].value.clone().map(|value| (slot, value)));
    }
    for gate in gates
        .iter()
        .filter(|gate| producer(graph, gate.slot).is_none())
    {
        pass_gate(gate, stand, &mut arriving, &mut ledger)?;
    }
    if let Some(ledger) = &mut ledger {
        for &slot in &graph.inputs {
            let Flow { value, shares, .. } = &arriving[slot];
            value.iter().try_for_each(|v| ledger.arrive(v, *shares))?;
        }
    }
    let layers = slots.iter().map(|slot| kept.get(slot).cloned()).collect();
    let inputs = graph.inputs.iter().map(|&slot| arriving[slot].value.take());
    Ok(Walked {
        inputs: inputs.collect(),
        layers,
        nodes,
        ledger,
        weights,
    })
}

/// Applies a gate, and adds what it drops to the ledger.
fn pass_gate(
    gate: &Gate<'_>,
    stand: Stand<'_>,
    arriving: &mut [Flow],
    ledger: &mut Option<Ledger>,
) -> Result<(), Error> {
    let Some(ledger) = ledger else {
        return gate.apply(stand, arriving);
    };
    let values = |flows: &[Flow]| total(flows.iter().filter_map(|flow| flow.value.as_ref()));
    let before = values(arriving)?;
    gate.apply(stand, arriving)?;
    ledger.gate(gate.layer, before, values(arriving)?);
    // What the gate lets through counts anew.
    let flow = &mut arriving[gate.slot];
    flow.shares = total(flow.value.iter())?.0;
    Ok(())
}

/// The sum of all elements of some values, and of their absolute values.
fn total<'v>(values: impl Iterator<Item = &'v Value>) -> Result<(f64, f64), Error> {
    let mut total = (0.0, 0.0);
    for value in values {
        let (sum, absolute) = sums(value)?;
        total = (total.0 + sum, total.1 + absolute);
    }
    Ok(total)
}

/// The slots of layers that a walk reports, which the plan must reach.
fn reported(stand: Stand<'_>, layers: &[&str]) -> Result<Vec<SlotId>, Error> {
    let slots = layers.iter().map(|layer| {
        let slot = stand.choices().layer(layer)?;
        if stand.forward.plan.active[slot] {
            return Ok(slot);
        }
        Err(Error::Layer {
            name: (*layer).into(),
            reason: "the plan's walks do not reach it; add it with `Plan::recording`".into(),
        })
    });
    slots.collect()
}

/// Returns the seed if it fits the tensor at which the walk starts.
fn seed(stand: Stand<'_>, seed: Value, start: SlotId) -> Result<Value, Error> {
    let graph = &stand.choices().graph;
    let expected = graph.shape_at(start, stand.rows());
    if seed.shape() != expected {
        return Err(Error::Shape {
            what: "the seed".into(),
            got: seed.shape(),
            expected: format!("{expected:?}, the shape at the start of the walk,"),
        });
    }
    seed.checked("the seed".into(), graph.slots[start].dtype, &graph.device)
}

/// Returns an error if a share does not fit its operand.
fn check(given: &Shares, view: &super::NodeView<'_>, rule: &dyn Rule) -> Result<(), Error> {
    let operands = view.operands();
    if given.shares.len() != operands.len() {
        return Err(Error::Rule {
            rule: rule.name(),
            layer: view.name().into(),
            reason: format!(
                "it returned {} shares for {} operands",
                given.shares.len(),
                operands.len()
            ),
        });
    }
    for (i, (share, operand)) in given.shares.iter().zip(operands).enumerate() {
        if let Some(share) = share
            && share.shape() != operand.shape()
        {
            return Err(Error::Rule {
                rule: rule.name(),
                layer: view.name().into(),
                reason: format!(
                    "its share for operand {i} has shape {:?}, but the operand has {:?}",
                    share.shape(),
                    operand.shape()
                ),
            });
        }
    }
    Ok(())
}

/// The node that produces a slot's value; `None` for inputs, parameters and constants.
pub(super) fn producer(graph: &Graph, slot: SlotId) -> Option<usize> {
    match graph.slots[slot].source {
        Source::Node(index) => Some(index),
        _ => None,
    }
}
