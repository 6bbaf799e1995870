//! How much memory a traced model's values take.

use crate::{Traced, Values};

/// Memory that a traced model's values take, in bytes: estimates from their shapes, without inputs,
/// parameters and results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The most at any moment of a forward pass over one row, or over the rows that the model
    /// requires.
    pub forward: usize,
    /// All activations of such a pass, as a backward pass may need them.
    pub activations: usize,
    /// All activations of each additional row.
    pub per_row: usize,
}

impl Traced {
    /// Returns how much memory passes over inputs like these take; `None` for inputs that do not
    /// fit.
    pub fn memory(&self, inputs: &Values) -> Option<Memory> {
        let graph = self.graphs.get(inputs.values()).ok()?;
        let rows = graph.rows.unwrap_or(1);
        Some(Memory {
            forward: graph.peak_bytes(rows),
            activations: graph.computed_bytes(rows),
            per_row: graph.bytes_per_row(),
        })
    }

    /// Returns [`Memory::per_row`] alone, which takes less time.
    pub(crate) fn bytes_per_row(&self, inputs: &Values) -> Option<usize> {
        let graph = self.graphs.get(inputs.values()).ok()?;
        Some(graph.bytes_per_row())
    }
}
