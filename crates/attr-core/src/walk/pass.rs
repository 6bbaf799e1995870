//! A forward pass that runs once and can be walked back any number of times.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::plan::{Choices, Plan};
use super::stretches;
use super::traverse::{Walk, Walked, traverse};
use super::view::NodeView;
use crate::graph::{self, Activations, Graph, Place, SlotId};
use crate::{Error, Value, Values, Work};

/// One forward pass of a traced model, with the activations that the walks of a plan read.
///
/// [`Traced::pass`](crate::Traced::pass) makes it. Any number of walks can use one pass, from the
/// output or from any layer, on all of its rows or on chosen ones.
///
/// ```
/// use attr_core::walk::{GradientEverywhere, Walk};
/// use attr_core::{Traced, Value};
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Linear = LinearConfig::new(3, 2).init(&device);
/// let x = Tensor::<2>::ones([1, 3], &device);
/// let model = Traced::new(&net, |n: &Linear, x| activation::relu(n.forward(x)), &x)?;
///
/// let plan = model.plan(&GradientEverywhere, &x)?;
/// println!("{plan}");
/// let pass = model.pass(&x, &plan)?;
/// // Both classes at once: two rows of a walk stand on the only row of the pass.
/// let seed = Value::from(Tensor::<2>::from_floats([[1.0, 0.0], [0.0, 1.0]], &device));
/// let walked = pass.walk(Walk::from_output(seed).on_rows(&[0, 0]))?;
/// assert_eq!(walked.inputs[0].as_ref().map(Value::shape), Some(vec![2, 3]));
/// # Ok(())
/// # }
/// ```
pub struct Pass {
    pub(super) plan: Plan,
    inputs: Values,
    forward: Activations,
    reference: Option<(Values, Activations)>,
    /// Per node, what its rule computed from the forward pass.
    computed: Vec<OnceCell<Vec<Value>>>,
    /// The number of the caller's rows; the rest are padding for a graph bound to its row count.
    rows: usize,
    selectable: OnceCell<bool>,
    pub(super) work: Rc<Cell<Work>>,
}

/// The pass that a walk uses, and which of its rows.
#[derive(Clone, Copy)]
pub(super) struct Stand<'a> {
    pub pass: &'a Pass,
    rows: Option<&'a [usize]>,
}

impl Pass {
    /// Runs the plan's graph on `inputs`, which have been checked, and on the reference.
    pub(crate) fn new(
        plan: &Plan,
        inputs: Values,
        reference: Option<Values>,
        work: Rc<Cell<Work>>,
    ) -> Result<Self, Error> {
        let graph = &plan.choices.graph;
        let mut kept = plan.reads();
        kept.extend(&*plan.recorded);
        let run = |values: &Values| graph.replay(values.values(), &Default::default(), &kept);
        let forward = run(&inputs)?;
        let reference = reference.map(|values| Ok::<_, Error>((values.clone(), run(&values)?)));
        let reference = reference.transpose()?;
        let rows = inputs.rows();
        let mut counted = work.get();
        counted.count(rows, 1 + usize::from(reference.is_some()), 0);
        work.set(counted);
        Ok(Self {
            plan: plan.clone(),
            computed: graph.nodes.iter().map(|_| OnceCell::new()).collect(),
            inputs,
            forward,
            reference,
            rows,
            selectable: OnceCell::new(),
            work,
        })
    }

    /// Returns the same pass, of which only the first `rows` rows are the caller's.
    pub(crate) fn padded_from(mut self, rows: usize) -> Self {
        self.rows = rows;
        self
    }

    /// The number of rows in the forward pass, without those that pad a model with a fixed number
    /// of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The work of this pass and its walks so far; for a pass made by a method, the work of the
    /// whole explanation.
    pub fn work(&self) -> Work {
        self.work.get()
    }

    /// The inputs.
    pub fn inputs(&self) -> Values {
        self.inputs.slice(0..self.rows)
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The model's output.
    ///
    /// # Errors
    /// None for a pass that [`Traced::pass`](crate::Traced::pass) made.
    pub fn output(&self) -> Result<Value, Error> {
        Ok(self.own(self.forward.get(self.graph().output)?.clone()))
    }

    /// The output for the reference; `None` if there is no reference.
    ///
    /// # Errors
    /// As [`output`](Self::output).
    pub fn reference_output(&self) -> Result<Option<Value>, Error> {
        let Some((_, reference)) = &self.reference else {
            return Ok(None);
        };
        let output = reference.get(self.graph().output)?.clone();
        Ok(Some(self.own(output)))
    }

    /// The output of a layer that the plan [ends at](Plan::to_layers) or
    /// [records](Plan::recording).
    ///
    /// # Errors
    /// [`Error::UnknownLayer`]; [`Error::Layer`] if the layer's activation was not kept.
    pub fn activation(&self, layer: &str) -> Result<Value, Error> {
        self.of_layer(&self.forward, layer)
    }

    /// The output of a layer for the reference; `None` if there is no reference.
    ///
    /// # Errors
    /// As [`activation`](Self::activation).
    pub fn reference_activation(&self, layer: &str) -> Result<Option<Value>, Error> {
        let reference = self.reference.as_ref();
        reference
            .map(|(_, reference)| self.of_layer(reference, layer))
            .transpose()
    }

    fn of_layer(&self, run: &Activations, layer: &str) -> Result<Value, Error> {
        let slot = self.graph().layer(layer)?;
        let value = run.get(slot).map_err(|_| Error::Layer {
            name: layer.into(),
            reason: "its activation was not kept; add it with `Plan::recording`".into(),
        })?;
        Ok(self.own(value.clone()))
    }

    /// The shape of a layer's output in this pass.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`] with the nearest names.
    pub fn shape(&self, layer: &str) -> Result<Vec<usize>, Error> {
        let slot = self.graph().layer(layer)?;
        let mut shape = self.graph().shape_at(slot, self.forward.place.rows);
        if self.rows < self.inputs.rows()
            && let Some(rows) = shape.first_mut()
        {
            *rows = self.rows;
        }
        Ok(shape)
    }

    /// Walks back over this pass.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`]; [`Error::Shape`] or [`Error::Unlike`] for a seed or a mask that
    /// does not fit; [`Error::Layer`] for a layer that the plan does not reach; [`Error::Rows`] for
    /// a row that the pass does not have; whatever the rules report.
    pub fn walk(&self, walk: Walk<'_>) -> Result<Walked, Error> {
        let padded = self.inputs.rows();
        if self.rows == padded {
            return self.walk_on(walk);
        }
        // The rows beyond the caller's receive nothing.
        let walk = walk.padded(self.rows, padded)?;
        let walked = self.walk_on(walk)?;
        let rows = self.rows;
        Ok(walked.map(|value| {
            if value.rows() == padded {
                value.slice_rows(0..rows)
            } else {
                value
            }
        }))
    }

    fn walk_on(&self, mut walk: Walk<'_>) -> Result<Walked, Error> {
        let total = self.inputs.rows();
        let rows = walk.rows.take().map(<[usize]>::to_vec);
        let Some(rows) = rows.filter(|rows| !rows.iter().copied().eq(0..total)) else {
            return traverse(Stand::on_all(self), walk);
        };
        if let Some(&row) = rows.iter().find(|&&row| row >= self.rows) {
            return Err(Error::Rows {
                row,
                rows: self.rows,
            });
        }
        if self.selectable() {
            return stretches::walk(self, &rows, walk);
        }
        // Some tensor has no separate batch dimension: the rows run forward once more.
        let reference = self
            .reference
            .as_ref()
            .map(|(values, _)| values.select(&rows));
        let inputs = self.inputs.select(&rows);
        Self::new(&self.plan, inputs, reference, self.work.clone())?.walk_on(walk)
    }

    fn graph(&self) -> &Graph {
        &self.plan.choices.graph
    }

    /// The caller's rows of an activation.
    fn own(&self, value: Value) -> Value {
        if self.rows < self.inputs.rows() && value.rows() == self.inputs.rows() {
            value.slice_rows(0..self.rows)
        } else {
            value
        }
    }

    /// Whether rows can be selected from every value that walks read.
    fn selectable(&self) -> bool {
        *self.selectable.get_or_init(|| {
            let graph = self.graph();
            let read = self.plan.reads();
            graph.rows.is_none() && read.iter().all(|&slot| graph.batch(slot).is_ok())
        })
    }
}

impl<'a> Stand<'a> {
    pub fn on_all(pass: &'a Pass) -> Self {
        Self { pass, rows: None }
    }

    pub fn on(pass: &'a Pass, rows: &'a [usize]) -> Self {
        let rows = Some(rows);
        Self { pass, rows }
    }

    pub fn choices(&self) -> &'a Choices {
        &self.pass.plan.choices
    }

    /// The number of rows in the walk.
    pub fn rows(&self) -> usize {
        let rows = self.rows.map(<[usize]>::len);
        rows.unwrap_or(self.pass.inputs.rows())
    }

    fn place(&self) -> Place {
        let mut place = self.pass.forward.place.clone();
        place.rows = self.rows();
        place
    }

    /// A node with its values for the rows of the walk.
    pub fn view(&self, index: usize) -> Result<NodeView<'a>, Error> {
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

    /// The same without what the rule computes from the forward pass.
    fn bare(&self, index: usize) -> Result<NodeView<'a>, Error> {
        let choices = self.choices();
        let node = &choices.graph.nodes[index];
        let info = choices.info(index);
        let operands = info.operand_slots();
        let reference = self
            .pass
            .reference
            .as_ref()
            .map(|(_, run)| (self.values(run, operands), self.values(run, &node.outputs)));
        let active = &self.pass.plan.active;
        Ok(NodeView {
            info,
            operands: self.values(&self.pass.forward, operands),
            outputs: self.values(&self.pass.forward, &node.outputs),
            reference,
            wanted: operands.iter().map(|&slot| active[slot]).collect(),
            prepared: choices.prepared(index)?,
            computed: Vec::new(),
            parts: Vec::new(),
            place: self.place(),
            stand: Some(*self),
        })
    }

    fn values(&self, run: &Activations, slots: &[SlotId]) -> Vec<Value> {
        let graph = &self.choices().graph;
        let place = &self.pass.forward.place;
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
        let cell = &self.pass.computed[index];
        if let Some(computed) = cell.get() {
            return Ok(computed);
        }
        let choices = self.choices();
        let Some(rule) = &choices.rules[index] else {
            return Ok(&[]);
        };
        let view = Stand::on_all(self.pass).bare(index)?;
        let computed = graph::caught(view.name(), || rule.forward(&view))?;
        Ok(cell.get_or_init(|| computed))
    }
}
