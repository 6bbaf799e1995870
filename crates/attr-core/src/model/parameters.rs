//! A traced model's parameters, read and replaced; shifts of its inputs undone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::graphs::Step;
use super::layer::nearest;
use crate::graph::{Binary, Graph, Node, Number, Op, Slot, SlotId, Source};
use crate::{Error, Traced, Value};

/// The parameters of one layer.
#[derive(Clone, Debug)]
pub struct LayerParameters {
    /// The layer that reads them first.
    pub layer: String,
    /// Their paths and values, such as `conv1.weight`.
    pub values: Vec<(String, Value)>,
}

/// Values that take the place of parameters, by path.
#[derive(Clone)]
pub(crate) struct Replacements(Arc<HashMap<String, Value>>);

impl PartialEq for Replacements {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Traced {
    /// Returns the parameters by layer, in execution order. A parameter that several layers share
    /// is the first one's.
    ///
    /// # Errors
    /// [`Error::Internal`] for a model without a trace.
    pub fn parameters(&self) -> Result<Vec<LayerParameters>, Error> {
        let graph = self.graphs.example()?;
        let active = graph.dependents(&graph.inputs);
        let mut seen = HashSet::new();
        let nodes = graph.nodes.iter();
        let layers = nodes.filter(|node| node.outputs.iter().any(|&slot| active[slot]));
        let layers = layers.map(|node| LayerParameters {
            layer: node.name.clone(),
            values: graph.parameters_behind(&node.operands, &active, &mut seen),
        });
        Ok(layers.filter(|layer| !layer.values.is_empty()).collect())
    }

    /// Returns the model with some parameters replaced, by path; the others stay as they are.
    /// Nothing is traced again, and this model does not change.
    ///
    /// # Errors
    /// [`Error::UnknownParameter`]; [`Error::Shape`] and [`Error::Unlike`] for a value whose shape,
    /// type or device differs from the parameter's.
    pub fn with_parameters(
        &self,
        replaced: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<Self, Error> {
        let layers = self.parameters()?;
        let known: HashMap<&str, &Value> = layers
            .iter()
            .flat_map(|layer| &layer.values)
            .map(|(path, value)| (path.as_str(), value))
            .collect();
        let mut checked = HashMap::new();
        for (path, value) in replaced {
            let Some(own) = known.get(path.as_str()) else {
                return Err(Error::UnknownParameter {
                    nearest: nearest(&path, known.keys().copied()),
                    name: path,
                });
            };
            let what = format!("the value for parameter {path:?}");
            if value.shape() != own.shape() {
                return Err(Error::Shape {
                    what,
                    got: value.shape(),
                    expected: format!("{:?}", own.shape()),
                });
            }
            let device = own.device();
            let value = value.checked(what, own.dtype(), device.as_dispatch())?;
            checked.insert(path, value);
        }
        Ok(self.with_step(Step::Parameters(Replacements(Arc::new(checked)))))
    }

    /// Returns the model that first subtracts `shift` from every floating-point input:
    /// `g(x) = f(x - shift)`, so that `g(x + shift)` is `f(x)`.
    pub fn with_shifted_inputs(&self, shift: f64) -> Self {
        self.with_step(Step::ShiftInputs(shift))
    }
}

impl Graph {
    /// Returns the parameters that some slots are, or are computed from, without those in `seen`.
    fn parameters_behind(
        &self,
        slots: &[SlotId],
        active: &[bool],
        seen: &mut HashSet<SlotId>,
    ) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        // The next slot is last.
        let mut left: Vec<SlotId> = slots.iter().rev().copied().collect();
        while let Some(slot) = left.pop() {
            if active[slot] || !seen.insert(slot) {
                continue;
            }
            match &self.slots[slot].source {
                Source::Parameter(path, value) => found.push((path.clone(), value.clone())),
                Source::Node(node) => left.extend(self.nodes[*node].operands.iter().rev()),
                Source::Input(_) | Source::Constant(_) => {}
            }
        }
        found
    }

    pub(super) fn with_parameters(&self, replaced: &Replacements) -> Graph {
        let mut graph = self.clone();
        for slot in &mut graph.slots {
            if let Source::Parameter(path, value) = &mut slot.source
                && let Some(other) = replaced.0.get(path)
            {
                *value = other.clone();
            }
        }
        graph
    }

    pub(super) fn with_shifted_inputs(&self, shift: f64) -> Graph {
        let mut graph = self.clone();
        for (i, &input) in self.inputs.iter().enumerate() {
            let Slot { shape, dtype, .. } = self.slots[input].clone();
            if !dtype.is_float() {
                continue;
            }
            let shifted = graph.slots.len();
            let source = Source::Node(0);
            graph.slots.push(Slot {
                shape,
                dtype,
                source,
            });
            for operand in graph.nodes.iter_mut().flat_map(|node| &mut node.operands) {
                if *operand == input {
                    *operand = shifted;
                }
            }
            if graph.output == input {
                graph.output = shifted;
            }
            let node = Node {
                name: format!("input{i}.shift"),
                aliases: Vec::new(),
                op: Op::BinaryScalar(Binary::Sub, Number::Float(shift)),
                operands: vec![input],
                outputs: vec![shifted],
            };
            graph.nodes.insert(0, node);
        }
        graph.connect();
        graph
    }
}
