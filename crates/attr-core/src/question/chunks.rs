//! Work in chunks that fit the memory budget.

use super::Question;
use crate::{Error, Values};

impl Question<'_> {
    /// Returns how many items go through the model at once when each item is `rows_each` rows: as
    /// many as the budget allows, or the number of rows that the model requires.
    pub fn items_at_once(&self, rows_each: usize) -> usize {
        match self.bound() {
            Some(rows) => rows,
            None => (self.run.rows_at_once(self.model, &self.inputs) / rows_each.max(1)).max(1),
        }
    }

    /// Returns the fixed number of rows that the model requires, if any.
    pub fn bound(&self) -> Option<usize> {
        let rows = self.model.traced()?.rows();
        rows.filter(|&rows| rows > 0)
    }

    /// Processes `total` items in chunks of [`items_at_once`](Self::items_at_once) and reports
    /// progress. Items are taken lazily, so memory does not grow with their number.
    ///
    /// # Errors
    /// [`Error::Cancelled`], and those of `f`.
    pub fn for_items<T>(
        &self,
        total: usize,
        items: impl IntoIterator<Item = T>,
        rows_each: usize,
        f: impl FnMut(&[T]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.for_chunks(total, items, self.items_at_once(rows_each), f)
    }

    /// As [`for_items`](Self::for_items), with `at_once` items at a time.
    ///
    /// # Errors
    /// As [`for_items`](Self::for_items).
    pub fn for_chunks<T>(
        &self,
        total: usize,
        items: impl IntoIterator<Item = T>,
        at_once: usize,
        mut f: impl FnMut(&[T]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.run.start(total);
        let mut items = items.into_iter();
        loop {
            let chunk: Vec<T> = items.by_ref().take(at_once.max(1)).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            if self.run.cancelled() {
                return Err(Error::Cancelled);
            }
            f(&chunk)?;
            self.run.advance(chunk.len());
        }
    }

    /// Processes the rows of the inputs in order and in chunks, where each row takes `rows_each`
    /// rows of the model.
    ///
    /// # Errors
    /// As [`for_items`](Self::for_items).
    pub fn for_rows(
        &self,
        rows_each: usize,
        mut f: impl FnMut(Values) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let rows = self.inputs.rows();
        self.for_items(rows, 0..rows, rows_each, |chunk| {
            f(self.inputs.slice(chunk[0]..chunk[0] + chunk.len()))
        })
    }
}
