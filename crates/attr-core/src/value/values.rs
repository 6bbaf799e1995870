//! A model's inputs without static types, and the caller's row behind each row.

use std::ops::Range;

use crate::{Error, Kind, Value};

/// A model's inputs with run-time ranks, one [`Value`] each; dimension 0 of each is the batch.
///
/// Rows may repeat or perturb the caller's rows; [`origin`](Self::origin) says which. Per-row
/// targets and baselines are looked up through it, so a method that expands rows (steps, samples)
/// need not expand anything else.
#[derive(Clone, Debug)]
pub struct Values {
    values: Vec<Value>,
    attributed: Vec<bool>,
    origin: Vec<usize>,
    caller_rows: usize,
}

impl Values {
    /// Creates inputs; `attributed` marks those that get an attribution if they are floating point.
    pub fn new(values: Vec<Value>, attributed: Vec<bool>) -> Self {
        let caller_rows = values.first().map_or(0, Value::rows);
        Self {
            values,
            attributed,
            origin: (0..caller_rows).collect(),
            caller_rows,
        }
    }

    /// Returns the tensors.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Converts into the tensors.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// Returns, for each row, the index of the caller's row that it stands for.
    pub fn origin(&self) -> &[usize] {
        &self.origin
    }

    /// Returns how many rows the caller gave; per-row targets and baselines have as many.
    pub fn caller_rows(&self) -> usize {
        self.caller_rows
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.origin.len()
    }

    /// Returns whether input `i` gets an attribution: it is not marked constant and is floating
    /// point.
    pub fn attributed(&self, i: usize) -> bool {
        self.attributed.get(i).copied().unwrap_or(false) && self.values[i].kind() == Kind::Float
    }

    /// Returns whether input `i` is explained: it is not marked constant and is not boolean.
    /// Integers such as tokens count.
    pub fn explained(&self, i: usize) -> bool {
        self.attributed.get(i).copied().unwrap_or(false) && self.values[i].kind() != Kind::Bool
    }

    /// Returns the number of the first input that is explained; 0 if none is.
    pub fn first_explained(&self) -> usize {
        let mut all = 0..self.values.len();
        all.find(|&i| self.explained(i)).unwrap_or(0)
    }

    /// Returns the same rows with other inputs: their values, and which of them are explained.
    pub fn replaced(&self, values: Vec<Value>, attributed: Vec<bool>) -> Self {
        Self {
            values,
            attributed,
            origin: self.origin.clone(),
            caller_rows: self.caller_rows,
        }
    }

    /// Returns the same rows as if the caller had given them: each stands for itself.
    pub fn renumbered(mut self) -> Self {
        self.caller_rows = self.origin.len();
        self.origin = (0..self.caller_rows).collect();
        self
    }

    /// Concatenates the rows of several parts of the same inputs, in order.
    ///
    /// # Errors
    /// [`Error::Internal`] for no parts.
    pub fn cat(parts: Vec<Values>) -> Result<Self, Error> {
        let mut parts = parts.into_iter();
        let mut all = parts.next().ok_or(Error::Internal("no rows to join"))?;
        let mut columns: Vec<Vec<Value>> = all.values.drain(..).map(|v| vec![v]).collect();
        for part in parts {
            for (column, value) in columns.iter_mut().zip(part.values) {
                column.push(value);
            }
            all.origin.extend(part.origin);
        }
        let columns = columns.into_iter().map(Value::cat_rows);
        all.values = columns.collect::<Result<_, _>>()?;
        Ok(all)
    }

    /// Returns the rows at `indices`; repeats are allowed.
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            values: self.values.iter().map(|v| v.select_rows(indices)).collect(),
            attributed: self.attributed.clone(),
            origin: indices.iter().map(|&i| self.origin[i]).collect(),
            caller_rows: self.caller_rows,
        }
    }

    /// Returns a range of rows.
    pub fn slice(&self, rows: Range<usize>) -> Self {
        Self {
            values: self
                .values
                .iter()
                .map(|v| v.slice_rows(rows.clone()))
                .collect(),
            attributed: self.attributed.clone(),
            origin: self.origin[rows].to_vec(),
            caller_rows: self.caller_rows,
        }
    }

    /// Returns the same rows with values replaced, one per input; `None` keeps an input.
    pub fn with(&self, replace: impl Fn(usize, &Value) -> Option<Value>) -> Self {
        let values = self.values.iter().enumerate();
        Self {
            values: values
                .map(|(i, v)| replace(i, v).unwrap_or_else(|| v.clone()))
                .collect(),
            attributed: self.attributed.clone(),
            origin: self.origin.clone(),
            caller_rows: self.caller_rows,
        }
    }

    /// Appends inputs that get no attribution.
    pub(crate) fn with_constants(mut self, constants: &[Value]) -> Result<Self, Error> {
        for constant in constants {
            if constant.rows() != self.rows() {
                return Err(Error::Shape {
                    what: "the activation to start from".into(),
                    got: self.values[0].shape(),
                    expected: format!(
                        "{} rows, as the inputs given to `from_layer` have,",
                        constant.rows()
                    ),
                });
            }
            self.values.push(constant.clone());
            self.attributed.push(false);
        }
        Ok(self)
    }

    /// Refuses inputs that no method can explain: no inputs, no rows, differing row counts, NaN.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Some(first) = self.values.first() else {
            return Err(Error::InputCount {
                expected: 1,
                got: 0,
            });
        };
        for (i, value) in self.values.iter().enumerate() {
            let shape = value.shape();
            if shape.is_empty() || shape.contains(&0) {
                return Err(Error::EmptyBatch { input: i, shape });
            }
            if value.rows() != first.rows() {
                return Err(Error::Shape {
                    what: format!("input {i}"),
                    got: shape,
                    expected: format!("{} rows, as input 0 has,", first.rows()),
                });
            }
            // A constant may hold infinities, as masks that are added to scores do.
            if self.attributed(i) && !value.is_finite()? {
                return Err(Error::NonFinite {
                    what: format!("input {i}"),
                });
            }
        }
        Ok(())
    }
}
