//! Elementwise work in pieces that a processor's cache holds.

use std::ops::Range;

use crate::graph;
use crate::{Error, Value};

/// Elements of a piece. Half a dozen values of this size fit a core's own cache.
const PIECE: usize = 1 << 14;

/// Applies `f` to values of one shape, which it must work on line by line: each result depends on the
/// same line of the values, of `width` elements; 1 for elementwise functions.
///
/// `f` gets the values as `[lines, width]` and returns the result in that shape. On a CPU it is called
/// for some lines at a time, on several threads, so that what it computes on the way stays in the
/// cache. Elsewhere it is called once.
///
/// # Errors
/// Those of `f`; [`Error::Internal`] without values.
pub fn in_pieces(
    values: &[&Value],
    width: usize,
    f: impl Fn(&[Value]) -> Result<Value, Error> + Send + Sync,
) -> Result<Value, Error> {
    let first = *values
        .first()
        .ok_or(Error::Internal("no values to work on"))?;
    let shape = first.shape();
    let width = width.max(1);
    let lines = shape.iter().product::<usize>() / width;
    let values = values.iter().map(|&value| value.clone());
    let values: Vec<Value> = values.map(|value| value.reshape(&[lines, width])).collect();
    let at_once = (PIECE / width).max(1);
    if !first.is_on_cpu() || lines <= at_once {
        return Ok(f(&values)?.reshape(&shape));
    }
    let starts = (0..lines).step_by(at_once);
    let ranges = starts.map(|start| start..lines.min(start + at_once));
    let device = first.device();
    let piece = |lines: Range<usize>| {
        let part = values.iter().map(|value| value.slice_rows(lines.clone()));
        f(&part.collect::<Vec<_>>())
    };
    let pieces = graph::in_parallel(device.as_dispatch(), ranges.collect(), piece);
    let joined = Value::cat_rows(pieces.into_iter().collect::<Result<_, _>>()?)?;
    Ok(joined.reshape(&shape))
}
