//! Sizes that follow the batch, that is, depend on the number of rows.

use std::fmt;

/// A size that may depend on the number of rows: `fixed + per_row * rows`.
///
/// A recording holds literal numbers; comparing recordings at two batch sizes tells which of them
/// follow the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dim {
    /// The part that does not depend on the batch.
    pub fixed: isize,
    /// How much each row adds.
    pub per_row: isize,
}

impl Dim {
    /// A size that does not follow the batch.
    pub fn fixed(value: isize) -> Self {
        Self {
            fixed: value,
            per_row: 0,
        }
    }

    /// The size for a batch of `rows`.
    pub fn at(self, rows: usize) -> isize {
        let rows = isize::try_from(rows).unwrap_or(isize::MAX);
        self.fixed.saturating_add(self.per_row.saturating_mul(rows))
    }

    /// The line through `(rows.0, a)` and `(rows.1, b)`; `None` if its slope is not a whole number.
    pub(crate) fn through(a: isize, b: isize, rows: (usize, usize)) -> Option<Self> {
        let span = rows.1 as isize - rows.0 as isize;
        if a == b {
            return Some(Self::fixed(a));
        }
        if span == 0 || (b - a) % span != 0 {
            return None;
        }
        let per_row = (b - a) / span;
        Some(Self {
            fixed: a - per_row * rows.0 as isize,
            per_row,
        })
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.fixed, self.per_row) {
            (fixed, 0) => write!(f, "{fixed}"),
            (0, 1) => f.write_str("batch"),
            (0, n) => write!(f, "{n}*batch"),
            (fixed, 1) => write!(f, "batch{fixed:+}"),
            (fixed, n) => write!(f, "{n}*batch{fixed:+}"),
        }
    }
}

/// A slice of one dimension, `start..end` by `step`; ends may follow the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SliceDim {
    /// First index; negative counts from the end.
    pub start: Dim,
    /// One past the last index; `None` means the end of the dimension.
    pub end: Option<Dim>,
    /// Step; negative walks backwards.
    pub step: isize,
}
