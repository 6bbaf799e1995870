//! Merges operations that were recorded at different batch sizes.

use crate::graph::op::Op;
use crate::graph::{Dim, SliceDim};

/// The operation that fits the recordings at both batch sizes `rows`, or `None` if they differ in
/// more than sizes that follow the batch.
pub(super) fn merge(a: &Op, b: &Op, rows: (usize, usize)) -> Option<Op> {
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
