//! Run settings: the memory budget, and progress reports.

use serde::{Deserialize, Serialize};

use super::Question;
use crate::model::Untyped;
use crate::{Error, Inputs, Kind, Model, Value, Values};

/// How much goes through the model at once. Results do not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// As many rows as suit the device of the inputs, within one gibibyte. On a CPU, where what
    /// caches hold is faster, eight, or as many as need 32 mebibytes.
    #[default]
    Auto,
    /// At most this many rows, but at least one.
    Rows(usize),
    /// As many rows as need about this many bytes for activations and gradients.
    Bytes(usize),
}

/// Receives progress of long-running work, and can cancel it. By default, all methods do nothing.
pub trait Progress {
    /// Called when work of up to `rows` model evaluations begins. What is announced later, such as
    /// finer steps, comes on top.
    fn start(&self, rows: usize) {
        let _ = rows;
    }

    /// Called when `rows` more evaluations are done.
    fn advance(&self, rows: usize) {
        let _ = rows;
    }

    /// Returns whether the work should stop now with
    /// [`Error::Cancelled`](crate::Error::Cancelled). Called before each chunk.
    fn cancelled(&self) -> bool {
        false
    }
}

/// The settings of a method's run: budget and progress.
#[derive(Clone, Copy, Default)]
pub struct Run<'a> {
    budget: Budget,
    progress: Option<&'a dyn Progress>,
    quiet: bool,
    announced: bool,
}

impl<'a> Run<'a> {
    /// Creates settings with the default budget and no progress.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how much goes through the model at once.
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Sets the receiver of progress reports.
    pub fn with_progress(mut self, progress: &'a dyn Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Computes the model's output for all rows, in chunks that fit the budget.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; the model's own.
    pub fn forward<I: Inputs>(&self, model: &impl Model<I>, inputs: &I) -> Result<Value, Error> {
        let constants = model.traced().map_or(&[][..], |traced| traced.constants());
        let values = inputs.to_values().with_constants(constants)?;
        let model = Untyped::new(model);
        let question = Question::new(&model, values, &[], self);
        let rows = question.inputs().rows();
        let mut chunks: Vec<Value> = Vec::new();
        let mut by_rows = true;
        question.quiet().for_rows(1, |chunk| {
            if by_rows {
                let output = question.forward(&chunk)?;
                // An output that is not one row for each of the input's cannot be joined.
                by_rows = output.rows() == chunk.rows() || chunk.rows() == rows;
                chunks.push(output);
            }
            Ok(())
        })?;
        if by_rows {
            return Value::cat_rows(chunks);
        }
        question.forward(question.inputs())
    }

    /// Returns the same settings without progress reports, for work inside other work, which can
    /// still be cancelled.
    pub(crate) fn quiet(&self) -> Self {
        Self {
            quiet: true,
            ..*self
        }
    }

    /// Announces work of `rows` model evaluations, and returns the settings for its parts, which
    /// only advance it.
    pub(crate) fn announce(&self, rows: usize) -> Self {
        self.start(rows);
        Self {
            announced: true,
            ..*self
        }
    }

    /// Announces work of `rows` model evaluations, unless it is part of announced work.
    pub(crate) fn start(&self, rows: usize) {
        if let Some(progress) = self.progress.filter(|_| !self.quiet && !self.announced) {
            progress.start(rows);
        }
    }

    /// Reports `rows` evaluations done.
    pub(crate) fn advance(&self, rows: usize) {
        if let Some(progress) = self.progress.filter(|_| !self.quiet) {
            progress.advance(rows);
        }
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.progress.is_some_and(Progress::cancelled)
    }

    /// Returns how many rows go through the model at once.
    pub(crate) fn rows_at_once(&self, model: &dyn Model, inputs: &Values) -> usize {
        let known = model
            .traced()
            .and_then(|traced| traced.bytes_per_row(inputs));
        // Methods make the rows that they evaluate: perturbed copies, masks, points on a path.
        let known = known.map(|bytes| bytes + COPIES * bytes_of_row(inputs));
        // Gradients take about as much as the activations they belong to.
        let row = known.unwrap_or_else(|| guessed(inputs)).max(1);
        let row = row.saturating_mul(2);
        let rows = match self.budget {
            Budget::Rows(rows) => rows,
            Budget::Bytes(bytes) => bytes / row,
            Budget::Auto => {
                let most = (1 << 30) / row;
                if inputs.values().iter().all(Value::is_on_cpu) {
                    (CACHED / row).max(8).min(most)
                } else {
                    most
                }
            }
        };
        rows.max(1)
    }
}

/// What a CPU works on fast: beyond eight rows, more than about this is slower.
const CACHED: usize = 32 << 20;

/// How many times a method holds a row of the inputs while it makes a new one.
const COPIES: usize = 6;

/// Returns the bytes of one row of all inputs.
fn bytes_of_row(inputs: &Values) -> usize {
    let rows = inputs.values().iter().map(|value| {
        let elements = value.shape()[1..].iter().product::<usize>();
        elements * value.dtype().size()
    });
    rows.sum()
}

/// Estimates the bytes per row of a closure, whose activations are unknown. Networks on numeric
/// inputs rarely hold more than a hundred times their input; a token becomes a vector, and takes
/// part in attention between tokens.
fn guessed(inputs: &Values) -> usize {
    const TOKEN: usize = 1024;
    let input: usize = inputs
        .values()
        .iter()
        .map(|value| {
            let elements = value.shape()[1..].iter().product::<usize>();
            match value.kind() {
                Kind::Int => elements * TOKEN,
                _ => elements * value.dtype().size(),
            }
        })
        .sum();
    100 * input
}
