//! The values of one forward pass, and the rows of it that a walk uses.

use std::sync::OnceLock;

use super::plan::{Choices, Plan};
use super::view::{NodeView, Views};
use crate::graph::{self, Activations, Place, SlotId};
use crate::method::Counter;
use crate::{Error, Value, Values};

/// One forward pass: the inputs, and the values that rules read.
pub(super) struct Forward {
    pub plan: Plan,
    pub inputs: Values,
    pub run: Activations,
    pub reference: Option<(Values, Activations)>,
    /// Per node, what its rule computed from the forward pass.
    computed: Vec<OnceLock<Vec<Value>>>,
    pub work: Counter,
}

/// The forward pass that a walk uses, and which of its rows.
#[derive(Clone, Copy)]
pub(super) struct Stand<'a> {
    pub forward: &'a Forward,
    rows: Option<&'a [usize]>,
}

impl Forward {
    /// Runs the plan's graph on `inputs`, which have been checked, and on the reference.
    pub fn new(
        plan: &Plan,
        inputs: Values,
        reference: Option<Values>,
        work: Counter,
    ) -> Result<Self, Error> {
        let graph = &plan.choices.graph;
        let mut kept = plan.reads();
        kept.extend(&*plan.recorded);
        let run = |values: Values| {
            let run = graph.replay(values.values(), &Default::default(), &kept)?;
            Ok::<_, Error>((values, run))
        };
        let rows = inputs.rows();
        let both = [Some(inputs), reference].into_iter().flatten();
        let runs = if graph.is_long(2 * rows) {
            graph::in_parallel(&graph.device, both.collect(), run)
        } else {
            both.map(run).collect()
        };
        let mut runs = runs.into_iter();
        let first = runs
            .next()
            .ok_or(Error::Internal("a pass without inputs"))?;
        Ok(Self::of(plan, first?, runs.next().transpose()?, &work))
    }

    /// Puts together what ran already.
    pub fn of(
        plan: &Plan,
        (inputs, run): (Values, Activations),
        reference: Option<(Values, Activations)>,
        work: &Counter,
    ) -> Self {
        let nodes = plan.choices.graph.nodes.iter();
        Self {
            plan: plan.clone(),
            computed: nodes.map(|_| OnceLock::new()).collect(),
            inputs,
            run,
            reference,
            work: work.clone(),
        }
    }
}

/// The error for an activation that a plan does not record.
pub(super) fn not_kept(layer: &str) -> Error {
    Error::Layer {
        name: layer.into(),
        reason: "its activation was not kept; add it with `Plan::recording`".into(),
    }
}

impl<'a> Views<'a> for Stand<'a> {
    fn view(&self, index: usize) -> Result<NodeView<'a>, Error> {
        let computed = self.computed(index)?;
        let node = &self.choices().graph.nodes[index];
        // The batch lies where the first output has it.
        let along = node.outputs[0];
        let computed = computed.iter().map(|value| self.selected(along, value));
        Ok(NodeView {
            computed: computed.collect(),
            ..self.bare(index)?
        })
    }
}

impl<'a> Stand<'a> {
    pub fn on_all(forward: &'a Forward) -> Self {
        Self {
            forward,
            rows: None,
        }
    }

    pub fn on(forward: &'a Forward, rows: &'a [usize]) -> Self {
        let rows = Some(rows);
        Self { forward, rows }
    }

    pub fn choices(&self) -> &'a Choices {
        &self.forward.plan.choices
    }

    /// The number of rows in the walk.
    pub fn rows(&self) -> usize {
        let rows = self.rows.map(<[usize]>::len);
        rows.unwrap_or(self.forward.inputs.rows())
    }

    fn place(&self) -> Place {
        let mut place = self.forward.run.place.clone();
        place.rows = self.rows();
        place
    }

    /// The same without what the rule computes from the forward pass.
    fn bare(&self, index: usize) -> Result<NodeView<'a>, Error> {
        let choices = self.choices();
        let node = &choices.graph.nodes[index];
        let info = choices.info(index);
        let operands = info.operand_slots();
        let reference = self
            .forward
            .reference
            .as_ref()
            .map(|(_, run)| (self.values(run, operands), self.values(run, &node.outputs)));
        let active = &self.forward.plan.active;
        Ok(NodeView {
            info,
            operands: self.values(&self.forward.run, operands),
            outputs: self.values(&self.forward.run, &node.outputs),
            reference,
            wanted: operands.iter().map(|&slot| active[slot]).collect(),
            prepared: choices.prepared(index)?,
            computed: Vec::new(),
            parts: Vec::new(),
            accounting: false,
            place: self.place(),
            others: Some(Box::new(*self)),
        })
    }

    /// Returns the walk's rows of an activation that the plan records.
    pub fn activation(&self, slot: SlotId, layer: &str) -> Result<Value, Error> {
        let value = self.forward.run.get(slot).map_err(|_| not_kept(layer))?;
        Ok(self.selected(slot, value))
    }

    fn values(&self, run: &Activations, slots: &[SlotId]) -> Vec<Value> {
        let graph = &self.choices().graph;
        let place = &self.forward.run.place;
        let value = |&slot: &SlotId| match run.get(slot) {
            Ok(value) => self.selected(slot, value),
            // Nothing reads its elements.
            Err(_) => {
                let shape = graph.shape_at(slot, self.rows());
                Value::shape_of(&shape, place.dtype(graph.slots[slot].dtype), &place.device)
            }
        };
        slots.iter().map(value).collect()
    }

    /// Selects the walk's rows of a value that has the batch where `slot` has it.
    fn selected(&self, slot: SlotId, value: &Value) -> Value {
        let Some(rows) = self.rows else {
            return value.clone();
        };
        match self.choices().graph.batch(slot) {
            Ok(Some(dim)) => value.select_along(dim, rows),
            _ => value.clone(),
        }
    }

    /// Returns what the rule of a node computes from the whole forward pass, once on first use.
    fn computed(&self, index: usize) -> Result<&'a [Value], Error> {
        let cell = &self.forward.computed[index];
        if let Some(computed) = cell.get() {
            return Ok(computed);
        }
        let choices = self.choices();
        let Some(rule) = &choices.rules[index] else {
            return Ok(&[]);
        };
        let view = Stand::on_all(self.forward).bare(index)?;
        let computed = graph::caught(view.name(), || rule.forward(&view))?;
        Ok(cell.get_or_init(|| computed))
    }
}
