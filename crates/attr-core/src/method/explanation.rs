//! Results of methods: untyped explanations, attributions with the inputs' types, and records for
//! storage.

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};

use super::row::Row;
use crate::{Error, Inputs, Target, Value};

/// The result of a method for one target.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// Per input, its attribution, shaped like it; `None` for inputs without attribution.
    pub values: Vec<Option<Value>>,
    /// Per row, the model's output for the target.
    pub scores: Vec<f32>,
    /// Per row, the convergence delta, for methods that guarantee completeness.
    pub delta: Option<Vec<f32>>,
    /// The standard error of each of `values`, as a mean over samples, for methods that sample.
    pub standard_error: Option<Vec<Option<Value>>>,
    /// Per row, the coefficient of determination of a simple model fitted around the input, for
    /// methods that fit one.
    pub r_squared: Option<Vec<f32>>,
    /// What a reader of the values must know, such as that samples do not determine them; empty
    /// where all is well.
    pub warnings: Vec<String>,
}

impl Explanation {
    /// Creates an explanation from values and scores, without a convergence delta.
    pub fn new(values: Vec<Option<Value>>, scores: Vec<f32>) -> Self {
        Self {
            values,
            scores,
            delta: None,
            standard_error: None,
            r_squared: None,
            warnings: Vec::new(),
        }
    }

    /// Sets the convergence delta per row; `None` where completeness is not guaranteed.
    pub fn with_delta(mut self, delta: impl Into<Option<Vec<f32>>>) -> Self {
        self.delta = delta.into();
        self
    }

    /// Sets the standard error of each value; `None` where it is unknown.
    pub fn with_standard_error(mut self, errors: impl Into<Option<Vec<Option<Value>>>>) -> Self {
        self.standard_error = errors.into();
        self
    }

    /// Sets what a reader of the values must know.
    pub fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    /// Sets the coefficient of determination of the simple model fitted around each row.
    pub fn with_r_squared(mut self, r_squared: impl Into<Option<Vec<f32>>>) -> Self {
        self.r_squared = r_squared.into();
        self
    }

    /// Returns one explanation for each value, as layer methods give them. Each has the scores,
    /// deltas, R² and warnings of the whole.
    pub fn split(self) -> Vec<Self> {
        let errors = self.standard_error.unwrap_or_default().into_iter();
        let errors = errors.chain(std::iter::repeat(None));
        let each = self.values.into_iter().zip(errors);
        each.map(|(value, error)| Self {
            values: vec![value],
            scores: self.scores.clone(),
            delta: self.delta.clone(),
            standard_error: error.map(|error| vec![Some(error)]),
            r_squared: self.r_squared.clone(),
            warnings: self.warnings.clone(),
        })
        .collect()
    }
}

/// The number of model evaluations, counted in rows. The three rows with which a traced model is
/// tried once, whether it keeps rows apart, do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Rows that went through a forward pass.
    pub forward_rows: usize,
    /// Rows for which gradients were computed, counted once per target.
    pub backward_rows: usize,
    /// Forward passes, each over many rows.
    pub passes: usize,
}

/// How much each element of the inputs `I` contributed to a target.
#[derive(Clone, Debug)]
pub struct Attribution<I: Inputs> {
    typed: I::Attributions,
    explanation: Explanation,
    target: String,
    work: Work,
}

impl<I: Inputs> Attribution<I> {
    /// Creates an attribution of the first `given` inputs, with their types. [`ask`](crate::build::ask)
    /// says how many inputs the caller gave.
    ///
    /// # Errors
    /// [`Error::Rank`] and [`Error::ElementKind`] for values that do not fit the inputs' types.
    pub fn new(
        mut explanation: Explanation,
        given: usize,
        target: &Target,
        work: Work,
    ) -> Result<Self, Error> {
        explanation.values.truncate(given);
        if let Some(errors) = &mut explanation.standard_error {
            errors.truncate(given);
        }
        Ok(Self {
            typed: I::attributions(explanation.values.clone())?,
            target: target.to_string(),
            explanation,
            work,
        })
    }

    /// Returns attributions shaped like the inputs: a tensor for a tensor, a tuple for a tuple.
    pub fn attribution(&self) -> I::Attributions
    where
        I::Attributions: Clone,
    {
        self.typed.clone()
    }

    /// Returns the attributions without static types, one entry per input.
    pub fn values(&self) -> &[Option<Value>] {
        &self.explanation.values
    }

    /// Returns the explained scores: the model's output for the target, per row.
    pub fn scores(&self) -> &[f32] {
        &self.explanation.scores
    }

    /// Returns the convergence delta per row, `sum(attribution) - (f(x) - f(baseline))`, for
    /// methods that guarantee completeness. A feature with several elements counts once.
    pub fn delta(&self) -> Option<&[f32]> {
        self.explanation.delta.as_deref()
    }

    /// Returns the standard error of each value, one entry per input, for methods that sample.
    pub fn standard_error(&self) -> Option<&[Option<Value>]> {
        self.explanation.standard_error.as_deref()
    }

    /// Returns the coefficient of determination per row, 1 at best, for methods that fit a simple
    /// model around each row.
    pub fn r_squared(&self) -> Option<&[f32]> {
        self.explanation.r_squared.as_deref()
    }

    /// Returns what a reader of the values must know, such as that samples do not determine them;
    /// empty where all is well.
    pub fn warnings(&self) -> &[String] {
        &self.explanation.warnings
    }

    /// Returns the number of model evaluations, shared by all targets of one call.
    pub fn work(&self) -> Work {
        self.work
    }

    /// Returns the attribution of each row, feature by feature, to name, sort and print.
    ///
    /// # Errors
    /// [`Error::Device`] when reading from the device fails.
    pub fn rows(&self) -> Result<Vec<Row>, Error> {
        Row::all(&self.explanation)
    }

    /// Returns the attribution as plain data, for storage.
    ///
    /// # Errors
    /// [`Error::Device`] when reading from the device fails.
    pub fn to_record(&self) -> Result<AttributionRecord, Error> {
        AttributionRecord::of(&self.explanation, &self.target, self.work)
    }
}

/// An attribution on the host, for storage and exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttributionRecord {
    /// The target, as text.
    pub target: String,
    /// Per input, its attribution.
    pub values: Vec<Option<TensorData>>,
    /// Per row, the model's output for the target.
    pub scores: Vec<f32>,
    /// Per row, the convergence delta.
    pub delta: Option<Vec<f32>>,
    /// Per input, the standard error of each value.
    pub standard_error: Option<Vec<Option<TensorData>>>,
    /// Per row, the coefficient of determination of the fitted simple model.
    pub r_squared: Option<Vec<f32>>,
    /// What a reader of the values must know; empty where all is well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The number of model evaluations.
    pub work: Work,
}

impl AttributionRecord {
    pub(crate) fn of(explanation: &Explanation, target: &str, work: Work) -> Result<Self, Error> {
        let data = |values: &Vec<Option<Value>>| {
            let values = values.iter();
            let data = values.map(|value| value.as_ref().map(Value::to_data).transpose());
            data.collect::<Result<Vec<_>, Error>>()
        };
        Ok(Self {
            target: target.into(),
            values: data(&explanation.values)?,
            scores: explanation.scores.clone(),
            delta: explanation.delta.clone(),
            standard_error: explanation.standard_error.as_ref().map(data).transpose()?,
            r_squared: explanation.r_squared.clone(),
            warnings: explanation.warnings.clone(),
            work,
        })
    }
}

/// Work counted in several places; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<Mutex<Work>>);

impl Counter {
    /// The work so far.
    pub fn get(&self) -> Work {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn count(&self, rows: usize, forward_passes: usize, backward_passes: usize) {
        let mut work = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work.count(rows, forward_passes, backward_passes);
    }
}

impl Work {
    pub(crate) fn count(&mut self, rows: usize, forward_passes: usize, backward_passes: usize) {
        self.forward_rows += rows * forward_passes;
        self.backward_rows += rows * backward_passes;
        self.passes += forward_passes;
    }
}
