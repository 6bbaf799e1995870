//! Inputs that are settings or states: they get a value once, and become part of the model.

use std::sync::Arc;

use attr_core::op::{Dim, Op};
use attr_core::{Kind, Value};
use burn::tensor::TensorData;
use ndarray::{ArrayD, IxDyn};

use crate::graph::{Constant, Graph, Port, PortDim};
use crate::host::{Host, LIMIT, count};
use crate::{Error, OnnxModel};

/// The elements of an array for an input.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// Numbers.
    Float(Vec<f32>),
    /// Integers.
    Int(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

/// A dimension of a constant that every row has an entry of: it is repeated as often as there are rows.
#[derive(Clone, Debug)]
pub(crate) struct Repeated {
    pub name: String,
    pub dim: usize,
}

impl OnnxModel {
    /// Gives an input a value that is part of the model from now on: a setting, such as a sampling rate, or
    /// the state of a recurrent network. It needs no rows, and is no input any more. For a number, a list of
    /// one serves, too.
    ///
    /// `batch_dim` is the dimension of a state that is the batch, of size 1 in the value: all rows get the
    /// same state. Without it, it is the dimension that the file names as the first dimension of another
    /// input, or else its only dimension of any size, if the value has size 1 there.
    ///
    /// # Errors
    /// [`Error::Inputs`] for a name that is no input, elements of another kind or number, a shape that the
    /// file does not allow, a `batch_dim` of another size than 1 or without floating point, and once the
    /// model was traced.
    pub fn with_constant(
        mut self,
        name: &str,
        shape: &[usize],
        elements: Elements,
        batch_dim: Option<usize>,
    ) -> Result<Self, Error> {
        let graph = Arc::get_mut(&mut self.graph);
        let graph = graph.ok_or_else(|| {
            Error::Inputs(format!("input {name:?}: set it before the model is traced"))
        })?;
        let Some(at) = graph.inputs.iter().position(|port| port.name == name) else {
            let names: Vec<&str> = graph.inputs.iter().map(|port| &port.name[..]).collect();
            return Err(Error::Inputs(format!(
                "the model has no input {name:?}; its inputs are {names:?}"
            )));
        };
        let refused = |reason: String| Error::Inputs(format!("input {name:?}: {reason}"));
        let port = &graph.inputs[at];
        // A list of one is often meant where the file takes a number.
        let is_number = port.shape.as_ref().is_some_and(Vec::is_empty);
        let shape = if is_number && shape == [1] {
            &[]
        } else {
            shape
        };
        port.check_constant(shape)?;
        let host = elements.host(port.kind, shape).map_err(refused)?;
        let dim = match batch_dim {
            Some(dim) if shape.get(dim) != Some(&1) => {
                return Err(refused(format!(
                    "its dimension {dim} is the batch and must be 1, but its shape is {shape:?}"
                )));
            }
            Some(dim) => Some(dim),
            None => graph.batch_dim(at, shape),
        };
        if let Some(dim) = dim {
            if port.kind != Kind::Float {
                return Err(refused(
                    "integers cannot be repeated for each row; give them as an input".into(),
                ));
            }
            graph.repeated.push(Repeated {
                name: name.into(),
                dim,
            });
        }
        // As weights of the file: floats with a shape are parameters, too.
        let parameter = match &host {
            Host::Float(values) if !shape.is_empty() && !values.is_empty() => {
                let data = TensorData::new(host.to_floats(), shape.to_vec());
                let value = Value::from_data(data, &self.device);
                self.parameters.push((name.into(), value.clone()));
                Some((self.parameters.len() - 1, value))
            }
            _ => None,
        };
        let host = Some(Arc::new(host));
        graph.inputs.remove(at);
        graph
            .constants
            .insert(name.into(), Constant { host, parameter });
        Ok(self)
    }
}

impl Elements {
    fn host(self, kind: Kind, shape: &[usize]) -> Result<Host, String> {
        let wanted = count(shape, LIMIT)?;
        let shaped = IxDyn(shape);
        let host = match (self, kind) {
            (Self::Float(values), Kind::Float) => {
                ArrayD::from_shape_vec(shaped, values).map(Host::Float)
            }
            (Self::Int(values), Kind::Int) => ArrayD::from_shape_vec(shaped, values).map(Host::Int),
            (Self::Bool(values), Kind::Bool) => {
                ArrayD::from_shape_vec(shaped, values).map(Host::Bool)
            }
            (other, kind) => {
                let given = match other {
                    Self::Float(_) => Kind::Float,
                    Self::Int(_) => Kind::Int,
                    Self::Bool(_) => Kind::Bool,
                };
                return Err(format!("it is {given:?}, but the model takes {kind:?}"));
            }
        };
        host.map_err(|_| format!("shape {shape:?} takes {wanted} elements"))
    }
}

impl Graph {
    /// The dimension of an input that is the batch, in a value of this shape.
    fn batch_dim(&self, at: usize, shape: &[usize]) -> Option<usize> {
        let own = self.inputs[at].shape.as_deref()?;
        let others = self.inputs.iter().enumerate().filter(|(i, _)| *i != at);
        let batch = others.filter_map(|(_, port)| match port.shape.as_deref()?.first()? {
            PortDim::Free(name) if !name.is_empty() => Some(name),
            _ => None,
        });
        let batch: Vec<&String> = batch.collect();
        let one = |dim: &usize| shape.get(*dim) == Some(&1);
        let named =
            |dim: &usize| matches!(&own[*dim], PortDim::Free(name) if batch.contains(&name));
        let free = |dim: &usize| matches!(own[*dim], PortDim::Free(_));
        let dims = || 0..own.len();
        if let Some(dim) = dims().find(|dim| named(dim) && one(dim)) {
            return Some(dim);
        }
        let free: Vec<usize> = dims().filter(free).collect();
        match free[..] {
            [only] if one(&only) => Some(only),
            _ => None,
        }
    }

    /// Repeats a constant for each row, if it has a batch.
    pub(crate) fn for_rows(&self, name: &str, value: Value, rows: usize) -> Result<Value, Error> {
        let Some(repeated) = self.repeated.iter().find(|one| one.name == name) else {
            return Ok(value);
        };
        let sizes = value.shape().into_iter().enumerate();
        let sizes = sizes.map(|(dim, size)| {
            let size = if dim == repeated.dim { rows } else { size };
            Dim::fixed(size as isize)
        });
        let device = value.device();
        let mut found = Op::Expand(sizes.collect()).run(vec![value], &device)?;
        Ok(found.remove(0))
    }
}

impl Port {
    /// Whether a value of this shape has no rows of its own beside inputs whose first dimensions are
    /// `others`: a setting, or a state whose batch lies elsewhere.
    pub fn is_setting(&self, shape: &[usize], others: &[&Port]) -> bool {
        let first = |port: &Self| port.shape.as_ref().and_then(|dims| dims.first().cloned());
        let is_number = self.shape.as_ref().is_some_and(Vec::is_empty);
        if shape.is_empty() || is_number {
            return true;
        }
        match first(self) {
            // Inputs with rows leave their number open, or were exported for this number.
            Some(PortDim::Fixed(size)) => !others
                .iter()
                .any(|port| first(port) == Some(PortDim::Fixed(size))),
            Some(PortDim::Free(_)) | None => false,
        }
    }

    /// Refuses a shape that differs from the declared one.
    fn check_constant(&self, shape: &[usize]) -> Result<(), Error> {
        let Some(dims) = &self.shape else {
            return Ok(());
        };
        let fits = |(size, dim): (&usize, &PortDim)| match dim {
            PortDim::Fixed(fixed) => size == fixed,
            PortDim::Free(_) => true,
        };
        if shape.len() == dims.len() && shape.iter().zip(dims).all(fits) {
            return Ok(());
        }
        Err(Error::Inputs(format!(
            "input {:?} has shape {shape:?}, but the model takes {}",
            self.name,
            self.describe()
        )))
    }
}
