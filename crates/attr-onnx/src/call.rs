//! A node about to run: its inputs and attributes, checked when accessed.

use std::ops::Deref;
use std::sync::Arc;

use crate::graph::{Attribute, Graph, Node};
use crate::item::{Compute, Item, axis};

/// The largest kernel, stride, padding and similar size. A window's cost grows with its square, and
/// a few bytes in a file can declare any number.
const LARGEST_SIZE: usize = 1 << 16;

/// The result of an operator: its outputs in order, or an error message.
pub(crate) type Outcome = Result<Vec<Item>, String>;

/// A node with its inputs.
pub(crate) struct Call<'a> {
    pub node: &'a Node,
    pub inputs: Vec<Option<Item>>,
    pub compute: Compute<'a>,
}

impl<'a> Deref for Call<'a> {
    type Target = Compute<'a>;

    fn deref(&self) -> &Self::Target {
        &self.compute
    }
}

impl Call<'_> {
    /// Returns the version of the node's operator set.
    pub fn opset(&self) -> i64 {
        self.node.opset
    }

    /// Returns input `i`, which is required.
    pub fn input(&self, i: usize) -> Result<&Item, String> {
        self.optional(i)
            .ok_or_else(|| format!("its input {i} is missing"))
    }

    /// Returns input `i`, if present.
    pub fn optional(&self, i: usize) -> Option<&Item> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    /// Returns all inputs, none of which may be omitted.
    pub fn all(&self) -> Result<Vec<Item>, String> {
        (0..self.inputs.len())
            .map(|i| self.input(i).cloned())
            .collect()
    }

    /// Returns the integers of input `i`, which must be known before the model runs.
    pub fn known(&self, i: usize) -> Result<Vec<i64>, String> {
        let host = self.input(i)?.host.as_ref().ok_or_else(|| {
            format!(
                "its input {i} ({:?}) must be known before the model runs, but depends on the \
                 values of the model's input",
                self.node.inputs.get(i).map_or("", String::as_str)
            )
        })?;
        Ok(host.to_ints())
    }

    /// Like [`known`](Self::known), for an optional input.
    pub fn known_optional(&self, i: usize) -> Result<Option<Vec<i64>>, String> {
        match self.optional(i) {
            Some(_) => self.known(i).map(Some),
            None => Ok(None),
        }
    }

    /// Returns the floats of input `i`, which must be known before the model runs.
    pub fn known_floats(&self, i: usize) -> Result<Vec<f32>, String> {
        match &self.input(i)?.host {
            Some(host) => Ok(host.to_floats()),
            None => Err(format!("its input {i} must be a constant")),
        }
    }

    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.node.attributes.get(name)
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.attribute(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        }
    }

    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.int(name, i64::from(default)) != 0
    }

    pub fn float(&self, name: &str, default: f64) -> f64 {
        match self.attribute(name) {
            Some(Attribute::Float(value)) => f64::from(*value),
            _ => default,
        }
    }

    pub fn text(&self, name: &str, default: &'static str) -> &str {
        match self.attribute(name) {
            Some(Attribute::Text(value)) => value,
            _ => default,
        }
    }

    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attribute(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }

    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        match self.attribute(name) {
            Some(Attribute::Floats(values)) => Some(values),
            _ => None,
        }
    }

    pub fn graph(&self, name: &str) -> Result<&Arc<Graph>, String> {
        match self.attribute(name) {
            Some(Attribute::Graph(graph)) => Ok(graph),
            _ => Err(format!("its branch {name} is missing")),
        }
    }

    /// Returns `count` non-negative sizes from an attribute, or `default` for each if omitted.
    pub fn sizes(&self, name: &str, count: usize, default: usize) -> Result<Vec<usize>, String> {
        let Some(values) = self.ints(name) else {
            return Ok(vec![default; count]);
        };
        let sizes: Option<Vec<usize>> = values
            .iter()
            .map(|&v| usize::try_from(v).ok().filter(|v| *v <= LARGEST_SIZE))
            .collect();
        match sizes {
            Some(sizes) if sizes.len() == count => Ok(sizes),
            Some(_) => Err(format!(
                "{name} is {values:?}, but {count} numbers are needed"
            )),
            None => Err(format!("{name} is {values:?}, which is out of range")),
        }
    }

    /// Like [`sizes`](Self::sizes), but none may be zero.
    pub fn steps(&self, name: &str, count: usize, default: usize) -> Result<Vec<usize>, String> {
        let sizes = self.sizes(name, count, default)?;
        if sizes.contains(&0) {
            Err(format!("{name} is {sizes:?}, but must be positive"))
        } else {
            Ok(sizes)
        }
    }

    /// Returns the node's axes: an attribute in old operator sets, input `i` in new ones.
    pub fn axes(&self, i: usize, rank: usize) -> Result<Option<Vec<usize>>, String> {
        let axes = match self.ints("axes") {
            Some(axes) => Some(axes.to_vec()),
            None => self.known_optional(i)?,
        };
        axes.map(|axes| axes.into_iter().map(|a| axis(a, rank)).collect())
            .transpose()
    }
}
