//! Work in chunks that keep to the memory budget.

use super::{Budget, Question};
use crate::{Error, Values};

impl Question<'_> {
    /// How many items go through the model at once, when each is `rows_each` rows that go together:
    /// as many as the budget allows, or as the model insists on.
    pub fn items_at_once(&self, rows_each: usize) -> usize {
        match self.bound() {
            Some(rows) => rows,
            None => (self.run.rows_at_once(self.model, &self.inputs) / rows_each.max(1)).max(1),
        }
    }

    /// The number of rows that the model insists on.
    pub fn bound(&self) -> Option<usize> {
        let rows = self.model.traced()?.rows();
        rows.filter(|&rows| rows > 0)
    }

    /// Whether the caller bounds the number of rows that go at once.
    pub fn budget(&self) -> Budget {
        self.run.budget()
    }

    /// Does the work of `total` items, as many at once as [`items_at_once`](Self::items_at_once)
    /// says, and reports progress. Items are taken as they are needed, so their number costs no
    /// memory.
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

    /// The same with `at_once` items at a time.
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

    /// Does work on the rows of the inputs, in order, as many at once as fit when `rows_each` rows
    /// of the model go together.
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
