//! A model's inputs without their types, and which of the caller's rows each row stands for.

use std::ops::Range;

use crate::{Error, Kind, Value};

/// A model's inputs with run-time ranks, one [`Value`] each; dimension 0 of every one is the batch.
///
/// Rows may be repeats or perturbations of a caller's rows: [`origin`](Self::origin) tells which.
/// Per-row targets and baselines are looked up through it, so a method that expands rows (steps,
/// samples) expands nothing else.
#[derive(Clone, Debug)]
pub struct Values {
    values: Vec<Value>,
    attributed: Vec<bool>,
    origin: Vec<usize>,
    caller_rows: usize,
}

impl Values {
    /// Inputs, and which of them get an attribution (the floating-point ones among them do).
    pub fn new(values: Vec<Value>, attributed: Vec<bool>) -> Self {
        let caller_rows = values.first().map_or(0, Value::rows);
        Self {
            values,
            attributed,
            origin: (0..caller_rows).collect(),
            caller_rows,
        }
    }

    /// The tensors.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The tensors, taken out.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// For each row, the caller's row it stands for.
    pub fn origin(&self) -> &[usize] {
        &self.origin
    }

    /// How many rows the caller gave: what per-row targets and baselines count.
    pub fn caller_rows(&self) -> usize {
        self.caller_rows
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.origin.len()
    }

    /// Whether input `i` gets an attribution: it was not marked constant and is floating point.
    pub fn attributed(&self, i: usize) -> bool {
        self.attributed.get(i).copied().unwrap_or(false) && self.values[i].kind() == Kind::Float
    }

    /// Whether input `i` is explained, or would be were it not made of integers such as tokens: it
    /// was not marked constant.
    pub fn explained(&self, i: usize) -> bool {
        self.attributed.get(i).copied().unwrap_or(false) && self.values[i].kind() != Kind::Bool
    }

    /// The same rows as other inputs: their values, and which of them are explained.
    pub fn replaced(&self, values: Vec<Value>, attributed: Vec<bool>) -> Self {
        Self {
            values,
            attributed,
            origin: self.origin.clone(),
            caller_rows: self.caller_rows,
        }
    }

    /// The same rows as if a caller had given them: each stands for itself.
    pub fn renumbered(mut self) -> Self {
        self.caller_rows = self.origin.len();
        self.origin = (0..self.caller_rows).collect();
        self
    }

    /// The rows of several parts that came of the same inputs, in order.
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

    /// The rows at `indices`, repeats allowed.
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            values: self.values.iter().map(|v| v.select_rows(indices)).collect(),
            attributed: self.attributed.clone(),
            origin: indices.iter().map(|&i| self.origin[i]).collect(),
            caller_rows: self.caller_rows,
        }
    }

    /// Some rows in order.
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

    /// The same rows with other values, one per input; none keeps an input.
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

    /// These and further inputs that get no attribution.
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

    /// Refuses what no method can explain: no inputs, no rows, rows that disagree, NaN.
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
            // A constant may hold infinities: masks that are added to scores do.
            if self.attributed(i) && !value.is_finite()? {
                return Err(Error::NonFinite {
                    what: format!("input {i}"),
                });
            }
        }
        Ok(())
    }
}
