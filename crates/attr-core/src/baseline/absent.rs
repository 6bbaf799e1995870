//! The rows that stand for an input where it is absent.

use crate::Value;

/// The rows of one input that stand for it where it is absent.
pub(crate) struct Absent {
    pub(super) rows: Value,
    /// For each background, its first row, and whether each row of the inputs has one of its own.
    pub(super) places: Vec<(usize, bool)>,
}

impl Absent {
    /// A row of its own for each row of the inputs.
    pub fn of_each_row(rows: Value) -> Self {
        Self {
            rows,
            places: vec![(0, true)],
        }
    }

    /// All rows.
    pub fn rows(&self) -> &Value {
        &self.rows
    }

    /// The row that stands for a row of the inputs.
    pub fn place(&self, background: usize, row: usize) -> usize {
        let (first, own) = self.places[background];
        if own { first + row } else { first }
    }

    /// How many backgrounds there are.
    pub fn backgrounds(&self) -> usize {
        self.places.len()
    }
}
