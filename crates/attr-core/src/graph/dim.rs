//! Sizes that follow the batch, and how two recordings show which do.

use std::fmt;

use super::op::Op;

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
        self.fixed + self.per_row * rows as isize
    }

    /// The line through `(rows.0, a)` and `(rows.1, b)`; none when it is not a whole number a row.
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
    /// One past the last index; none is the end of the dimension.
    pub end: Option<Dim>,
    /// Step; negative walks backwards.
    pub step: isize,
}

/// The operation that serves recordings at both batch sizes `rows`, or none when they differ in
/// more than sizes that follow the batch.
pub(crate) fn merge(a: &Op, b: &Op, rows: (usize, usize)) -> Option<Op> {
    let line = |a: &Dim, b: &Dim| Dim::through(a.fixed, b.fixed, rows);
    let lines = |a: &[Dim], b: &[Dim]| -> Option<Vec<Dim>> {
        (a.len() == b.len()).then(|| a.iter().zip(b).map(|(a, b)| line(a, b)).collect())?
    };
    let slices = |a: &[SliceDim], b: &[SliceDim]| -> Option<Vec<SliceDim>> {
        if a.len() != b.len() {
            return None;
        }
        a.iter()
            .zip(b)
            .map(|(a, b)| {
                let end = match (a.end, b.end) {
                    (Some(a), Some(b)) => Some(line(&a, &b)?),
                    (None, None) => None,
                    _ => return None,
                };
                (a.step == b.step).then_some(SliceDim {
                    start: line(&a.start, &b.start)?,
                    end,
                    step: a.step,
                })
            })
            .collect()
    };
    Some(match (a, b) {
        (Op::Reshape(a), Op::Reshape(b)) => Op::Reshape(lines(a, b)?),
        (Op::Expand(a), Op::Expand(b)) => Op::Expand(lines(a, b)?),
        (Op::Slice(a), Op::Slice(b)) => Op::Slice(slices(a, b)?),
        (Op::SliceAssign(a), Op::SliceAssign(b)) => Op::SliceAssign(slices(a, b)?),
        (Op::Repeat { dim, times }, Op::Repeat { dim: d, times: t }) if dim == d => Op::Repeat {
            dim: *dim,
            times: line(times, t)?,
        },
        (
            Op::Full {
                shape,
                value,
                dtype,
            },
            Op::Full {
                shape: s,
                value: v,
                dtype: t,
            },
        ) if value == v && dtype == t => Op::Full {
            shape: lines(shape, s)?,
            value: *value,
            dtype: *dtype,
        },
        (a, b) if a == b => a.clone(),
        _ => return None,
    })
}
