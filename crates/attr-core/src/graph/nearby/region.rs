//! Boxes in the spatial dimensions of rows: where a change can reach, and the values there.

use std::ops::Range;

use burn::backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::tensor::Slice;

use crate::value::by_kind;
use crate::{Error, Value};

/// A patch that covers more than this share of an activation is made whole.
const NEARLY_WHOLE: f64 = 0.8;

/// Where the rows of a slot differ from the known activation: a box of the same size in each row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Region {
    /// Per row, where the box begins along each spatial dimension.
    pub starts: Vec<Vec<usize>>,
    pub size: Vec<usize>,
}

/// The window of an operation along one dimension of its input.
#[derive(Clone, Copy)]
pub(crate) struct Sight {
    pub kernel: usize,
    pub stride: usize,
    pub before: usize,
    pub after: usize,
}

impl Sight {
    pub fn outputs(&self, length: usize) -> usize {
        (length + self.before + self.after - self.kernel) / self.stride + 1
    }

    /// The number of outputs that `size` elements in a line of `length` reach.
    pub fn reach(&self, size: usize, length: usize) -> usize {
        ((size + self.kernel - 2) / self.stride + 1).min(self.outputs(length))
    }

    /// The first of the outputs that they reach.
    pub fn start(&self, start: usize, size: usize, length: usize) -> usize {
        let first = (start + self.before + 1).saturating_sub(self.kernel);
        let last = self.outputs(length) - self.reach(size, length);
        first.div_ceil(self.stride).min(last)
    }
}

/// Whether a box covers so much of an activation that the whole is simpler.
pub(crate) fn nearly_whole(size: &[usize], lengths: &[usize]) -> bool {
    let (part, whole): (usize, usize) = (size.iter().product(), lengths.iter().product());
    part as f64 > NEARLY_WHOLE * whole as f64
}

/// Boxes of equal size, one around two boxes in each row.
pub(crate) fn joined(a: &Region, b: &Region, lengths: &[usize]) -> Region {
    let rows = || a.starts.iter().zip(&b.starts);
    let side = |dim: usize, (a_starts, b_starts): (&Vec<usize>, &Vec<usize>)| {
        let low = a_starts[dim].min(b_starts[dim]);
        let high = (a_starts[dim] + a.size[dim]).max(b_starts[dim] + b.size[dim]);
        (low, high)
    };
    let size = (0..lengths.len()).map(|dim| {
        let widths = rows().map(|row| {
            let (low, high) = side(dim, row);
            high - low
        });
        widths.max().unwrap_or(1)
    });
    let size: Vec<usize> = size.collect();
    let starts = rows().map(|row| {
        let dims = 0..lengths.len();
        dims.map(|dim| side(dim, row).0.min(lengths[dim] - size[dim]))
            .collect()
    });
    Region {
        starts: starts.collect(),
        size,
    }
}

/// The ranges of one whole row of a value.
pub(crate) fn full(row: usize, value: &Value) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = value.shape().into_iter().map(|size| 0..size).collect();
    ranges[0] = row..row + 1;
    ranges
}

/// Cuts out each row's box.
pub(crate) fn cut(rows: &Value, region: &Region) -> Result<Value, Error> {
    let parts = region.starts.iter().enumerate();
    let parts = parts.map(|(row, starts)| cut_one(rows.clone(), row, starts, &region.size));
    Value::cat_rows(parts.collect())
}

/// Cuts a box out of one row.
pub(crate) fn cut_one(value: Value, row: usize, starts: &[usize], size: &[usize]) -> Value {
    let mut ranges = full(row, &value);
    for (dim, (&start, &size)) in starts.iter().zip(size).enumerate() {
        ranges[dim + 2] = start..start + size;
    }
    sliced(value, &ranges)
}

fn slices(ranges: &[Range<usize>]) -> Vec<Slice> {
    let each = ranges.iter();
    each.map(|range| Slice::new(range.start as isize, Some(range.end as isize), 1))
        .collect()
}

pub(crate) fn sliced(value: Value, ranges: &[Range<usize>]) -> Value {
    let slices = slices(ranges);
    by_kind!(value, float_slice, int_slice, bool_slice, &slices)
}

pub(crate) fn assigned(value: Value, ranges: &[Range<usize>], part: Value) -> Value {
    let (slices, part) = (slices(ranges), part.into_dispatch());
    by_kind!(
        value,
        float_slice_assign,
        int_slice_assign,
        bool_slice_assign,
        &slices,
        part
    )
}
