//! How work is carried out: how much at once, and who hears of its progress.

use serde::{Deserialize, Serialize};

use crate::{Kind, Model, Values};

/// How much goes through the model at once. Results do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// At most this many rows; at least one goes.
    Rows(usize),
    /// As many rows as take about this many bytes of activations and gradients.
    Bytes(usize),
}

impl Default for Budget {
    /// One gibibyte.
    fn default() -> Self {
        Self::Bytes(1 << 30)
    }
}

/// Receives progress of long-running work, and may cancel it. All methods do nothing unless
/// implemented.
pub trait Progress {
    /// Work of `rows` model evaluations begins.
    fn start(&self, rows: usize) {
        let _ = rows;
    }

    /// So many further rows are done.
    fn advance(&self, rows: usize) {
        let _ = rows;
    }

    /// Whether the work should end now, with [`Error::Cancelled`](crate::Error::Cancelled). Asked
    /// before each chunk.
    fn cancelled(&self) -> bool {
        false
    }
}

/// How a method carries out its work.
#[derive(Clone, Copy, Default)]
pub struct Run<'a> {
    budget: Budget,
    progress: Option<&'a dyn Progress>,
    quiet: bool,
}

impl<'a> Run<'a> {
    /// The default budget, no progress.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how much goes through the model at once.
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Sets who hears of the progress.
    pub fn with_progress(mut self, progress: &'a dyn Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// The same without reports, for work inside other work; it can still be cancelled.
    pub(crate) fn quiet(&self) -> Self {
        Self {
            quiet: true,
            ..*self
        }
    }

    pub(crate) fn budget(&self) -> Budget {
        self.budget
    }

    /// Announces work of `rows` model evaluations.
    pub(crate) fn start(&self, rows: usize) {
        if let Some(progress) = self.progress.filter(|_| !self.quiet) {
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

    /// How many rows go through the model at once.
    pub(crate) fn rows_at_once(&self, model: &dyn Model, inputs: &Values) -> usize {
        match self.budget {
            Budget::Rows(rows) => rows.max(1),
            Budget::Bytes(bytes) => {
                let traced = model.traced();
                let known = traced.and_then(|traced| traced.bytes_per_row(inputs));
                let row = known.unwrap_or_else(|| guessed(inputs));
                // Gradients take about as much as the activations they belong to.
                (bytes / (2 * row).max(1)).max(1)
            }
        }
    }
}

/// What a row may take in a closure, whose activations are unknown: networks of numbers rarely hold
/// more than a hundred times their input; a token becomes a vector, and attention between tokens.
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
