//! The rows that replace an input where it is absent.

use crate::Value;

/// The rows that replace one input where it is absent.
pub(crate) struct Absent {
    pub(super) rows: Value,
    /// For each background, its first row, and whether each row of the inputs has its own.
    pub(super) places: Vec<(usize, bool)>,
}

impl Absent {
    /// Creates one background with a separate row for each row of the inputs.
    pub fn of_each_row(rows: Value) -> Self {
        Self {
            rows,
            places: vec![(0, true)],
        }
    }

    /// Returns all rows.
    pub fn rows(&self) -> &Value {
        &self.rows
    }

    /// Returns the index of the row that replaces a row of the inputs.
    pub fn place(&self, background: usize, row: usize) -> usize {
        let (first, own) = self.places[background];
        if own { first + row } else { first }
    }

    /// Returns the number of backgrounds.
    pub fn backgrounds(&self) -> usize {
        self.places.len()
    }
}
