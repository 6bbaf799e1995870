//! A forward pass that runs once and can be walked back any number of times.

use std::cell::OnceCell;

use super::parts::Parts;
use super::plan::Plan;
use super::stand::not_kept;
use super::traverse::{Walk, Walked};
use crate::graph::Graph;
use crate::method::Counter;
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
    forward: Parts,
    /// The number of the caller's rows; the rest are padding for a graph bound to its row count.
    rows: usize,
    selectable: OnceCell<bool>,
}

impl Pass {
    /// Runs the plan's graph on `inputs`, which have been checked, and on the reference.
    pub(crate) fn new(
        plan: &Plan,
        inputs: Values,
        reference: Option<Values>,
        work: Counter,
    ) -> Result<Self, Error> {
        Ok(Self {
            rows: inputs.rows(),
            forward: Parts::new(plan, inputs, reference, &work)?,
            selectable: OnceCell::new(),
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
        self.forward.work().get()
    }

    /// The inputs.
    pub fn inputs(&self) -> Values {
        self.forward.inputs.slice(0..self.rows)
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        self.forward.plan()
    }

    /// The model's output.
    ///
    /// # Errors
    /// None for a pass that [`Traced::pass`](crate::Traced::pass) made.
    pub fn output(&self) -> Result<Value, Error> {
        Ok(self.own(self.forward.activation(self.graph().output)?))
    }

    /// The output for the reference; `None` if there is no reference.
    ///
    /// # Errors
    /// As [`output`](Self::output).
    pub fn reference_output(&self) -> Result<Option<Value>, Error> {
        let output = self.forward.reference_activation(self.graph().output)?;
        Ok(output.map(|output| self.own(output)))
    }

    /// The output of a layer that the plan [ends at](Plan::to_layers) or
    /// [records](Plan::recording).
    ///
    /// # Errors
    /// [`Error::UnknownLayer`]; [`Error::Layer`] if the layer's activation was not kept.
    pub fn activation(&self, layer: &str) -> Result<Value, Error> {
        let slot = self.graph().layer(layer)?;
        let value = self.forward.activation(slot);
        Ok(self.own(value.map_err(|_| not_kept(layer))?))
    }

    /// The output of a layer for the reference; `None` if there is no reference.
    ///
    /// # Errors
    /// As [`activation`](Self::activation).
    pub fn reference_activation(&self, layer: &str) -> Result<Option<Value>, Error> {
        let slot = self.graph().layer(layer)?;
        let value = self.forward.reference_activation(slot);
        let value = value.map_err(|_| not_kept(layer))?;
        Ok(value.map(|value| self.own(value)))
    }

    /// The shape of a layer's output in this pass.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`] with the nearest names.
    pub fn shape(&self, layer: &str) -> Result<Vec<usize>, Error> {
        let slot = self.graph().layer(layer)?;
        let mut shape = self.graph().shape_at(slot, self.forward.inputs.rows());
        if self.rows < self.forward.inputs.rows()
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
        let padded = self.forward.inputs.rows();
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
        let total = self.forward.inputs.rows();
        let rows = walk.rows.take();
        let Some(rows) = rows.filter(|rows| !rows.iter().copied().eq(0..total)) else {
            return self.forward.walk(None, walk);
        };
        if let Some(&row) = rows.iter().find(|&&row| row >= self.rows) {
            return Err(Error::Rows {
                row,
                rows: self.rows,
            });
        }
        if self.selectable() {
            return self.forward.walk(Some(rows), walk);
        }
        // Some tensor has no separate batch dimension: the rows run forward once more.
        let reference = self.forward.reference.as_ref();
        let reference = reference.map(|values| values.select(rows));
        let inputs = self.forward.inputs.select(rows);
        Self::new(self.plan(), inputs, reference, self.forward.work().clone())?.walk_on(walk)
    }

    fn graph(&self) -> &Graph {
        &self.plan().choices.graph
    }

    /// The caller's rows of an activation.
    fn own(&self, value: Value) -> Value {
        if self.rows < self.forward.inputs.rows() && value.rows() == self.forward.inputs.rows() {
            value.slice_rows(0..self.rows)
        } else {
            value
        }
    }

    /// Whether rows can be selected from every value that walks read.
    fn selectable(&self) -> bool {
        *self.selectable.get_or_init(|| {
            let graph = self.graph();
            let read = self.plan().reads();
            graph.rows.is_none() && read.iter().all(|&slot| graph.batch(slot).is_ok())
        })
    }
}
