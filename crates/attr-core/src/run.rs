//! How work is carried out: how much at once, and who hears of its progress.

use serde::{Deserialize, Serialize};

use crate::{Model, Values};

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

/// Hears how far long work has come. All methods do nothing unless implemented.
pub trait Progress {
    /// Work of `rows` model evaluations begins.
    fn start(&self, rows: usize) {
        let _ = rows;
    }

    /// So many further rows are done.
    fn advance(&self, rows: usize) {
        let _ = rows;
    }
}

/// How a method carries out its work.
#[derive(Clone, Copy, Default)]
pub struct Run<'a> {
    budget: Budget,
    progress: Option<&'a dyn Progress>,
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

    /// The same without progress, for work inside other work.
    pub fn quiet(&self) -> Run<'static> {
        Run {
            budget: self.budget,
            progress: None,
        }
    }

    /// Announces work of `rows` model evaluations.
    pub fn start(&self, rows: usize) {
        if let Some(progress) = self.progress {
            progress.start(rows);
        }
    }

    /// Reports `rows` evaluations done.
    pub fn advance(&self, rows: usize) {
        if let Some(progress) = self.progress {
            progress.advance(rows);
        }
    }

    /// How many rows go through the model at once: as many as it insists on, where it does.
    pub fn rows_at_once(&self, model: &dyn Model, inputs: &Values) -> usize {
        if let Some(rows) = model.rows().filter(|&rows| rows > 0) {
            return rows;
        }
        match self.budget {
            Budget::Rows(rows) => rows.max(1),
            Budget::Bytes(bytes) => {
                // A closure's activations are unknown; networks rarely hold more than a hundred
                // times their input.
                let input: usize = inputs
                    .values()
                    .iter()
                    .map(|v| v.shape()[1..].iter().product::<usize>() * v.dtype().size())
                    .sum();
                let row = model.bytes_per_row(inputs).unwrap_or(100 * input);
                // Gradients take about as much as the activations they belong to.
                (bytes / (2 * row).max(1)).max(1)
            }
        }
    }
}
