//! What methods return: explanations without types, attributions with the types of the inputs, and
//! records for storage.

use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};

use crate::{Error, Inputs, Target, Value};

/// What a method computes for one target.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// Per input, values shaped like it; none for inputs without attribution.
    pub values: Vec<Option<Value>>,
    /// Per row, the model's output for the target.
    pub scores: Vec<f32>,
    /// Per row, the convergence delta, for methods that promise completeness.
    pub delta: Option<Vec<f32>>,
    /// Like `values`, how far off they may be: the standard error of a mean over samples, for
    /// methods that sample.
    pub standard_error: Option<Vec<Option<Value>>>,
    /// Per row, how well a simple model fits around the input, for methods that fit one: the
    /// coefficient of determination.
    pub r_squared: Option<Vec<f32>>,
}

impl Explanation {
    /// Values and scores, with no promise of completeness.
    pub fn new(values: Vec<Option<Value>>, scores: Vec<f32>) -> Self {
        Self {
            values,
            scores,
            delta: None,
            standard_error: None,
            r_squared: None,
        }
    }

    /// Sets the convergence delta per row; none where there is no promise.
    pub fn with_delta(mut self, delta: impl Into<Option<Vec<f32>>>) -> Self {
        self.delta = delta.into();
        self
    }

    /// Sets how far off each value may be; none where that is not known.
    pub fn with_standard_error(mut self, errors: impl Into<Option<Vec<Option<Value>>>>) -> Self {
        self.standard_error = errors.into();
        self
    }

    /// Sets how well a simple model fits around each row.
    pub fn with_r_squared(mut self, r_squared: impl Into<Option<Vec<f32>>>) -> Self {
        self.r_squared = r_squared.into();
        self
    }
}

/// Model evaluations, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Rows that went through the model forwards.
    pub forward_rows: usize,
    /// Rows for which gradients were computed, counted once per target.
    pub backward_rows: usize,
    /// Forward passes, each of many rows.
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
    /// An explanation of the first `given` inputs, with their types.
    pub(crate) fn new(
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

    /// The attributions, shaped like the inputs: a tensor for a tensor, a tuple for a tuple.
    pub fn attribution(&self) -> I::Attributions
    where
        I::Attributions: Clone,
    {
        self.typed.clone()
    }

    /// The attributions without their types, one entry per input.
    pub fn values(&self) -> &[Option<Value>] {
        &self.explanation.values
    }

    /// What was explained: the model's output for the target, per row.
    pub fn scores(&self) -> &[f32] {
        &self.explanation.scores
    }

    /// The convergence delta per row, `sum(attribution) - (f(x) - f(baseline))`, for methods that
    /// promise completeness. Where a feature has several elements, it counts once.
    pub fn delta(&self) -> Option<&[f32]> {
        self.explanation.delta.as_deref()
    }

    /// For methods that sample, the standard error of each value, one entry per input.
    pub fn standard_error(&self) -> Option<&[Option<Value>]> {
        self.explanation.standard_error.as_deref()
    }

    /// For methods that fit a simple model around each row, how well it fits: the coefficient of
    /// determination, 1 at best.
    pub fn r_squared(&self) -> Option<&[f32]> {
        self.explanation.r_squared.as_deref()
    }

    /// Model evaluations it took, shared by all targets of one call.
    pub fn work(&self) -> Work {
        self.work
    }

    /// The same as plain data, for storage.
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
    /// Per row, how well a simple model fits.
    pub r_squared: Option<Vec<f32>>,
    /// Model evaluations it took.
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
            work,
        })
    }
}

impl Work {
    pub(crate) fn count(&mut self, rows: usize, forward_passes: usize, backward_passes: usize) {
        self.forward_rows += rows * forward_passes;
        self.backward_rows += rows * backward_passes;
        self.passes += forward_passes;
    }
}
