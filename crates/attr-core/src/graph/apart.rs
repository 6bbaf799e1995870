//! Whether a graph computes each row of a batch on its own, and the parts of a batch that then run
//! side by side.

use std::ops::Range;

use super::run::{in_parallel, on_threads, threads};
use super::{Graph, Node, Op};

/// Activations of fewer bytes are computed sooner than threads are woken.
const FEWEST_BYTES: usize = 256 << 10;

impl Graph {
    /// Whether a pass over so many rows takes long enough for threads of its own.
    pub(crate) fn is_long(&self, rows: usize) -> bool {
        self.bytes_per_row().saturating_mul(rows) >= FEWEST_BYTES
    }
}

/// Runs `f` for the rows of each part, side by side.
pub(crate) fn by_parts<R: Send>(
    graph: &Graph,
    rows: usize,
    f: impl Fn(Range<usize>) -> R + Send + Sync,
) -> Vec<R> {
    let parts = parts(graph, rows);
    if parts.len() == 1 {
        return vec![together(graph, rows, || f(0..rows))];
    }
    in_parallel(&graph.device, parts, f)
}

/// Runs `f` for all of these rows.
pub(crate) fn together<R: Send>(graph: &Graph, rows: usize, f: impl FnOnce() -> R + Send) -> R {
    if graph.is_long(rows) {
        return on_threads(&graph.device, f);
    }
    f()
}

/// The rows of each part; one part where rows must, or had better, stay together.
fn parts(graph: &Graph, rows: usize) -> Vec<Range<usize>> {
    let threads = threads(&graph.device).min(rows);
    let apart = threads > 1 && graph.rows_apart && graph.is_long(rows);
    let count = if apart { threads } else { 1 };
    let start = |part: usize| part * rows / count;
    (0..count)
        .map(|part| start(part)..start(part + 1))
        .collect()
}

impl Graph {
    /// Whether every value that depends on an input has one entry per row along dimension 0, which
    /// depends on that row alone. A graph may keep its rows apart although this cannot tell.
    pub(super) fn keeps_rows_apart(&self) -> bool {
        if self.rows.is_some() {
            return false;
        }
        let varies = self.dependents(&self.inputs);
        let along_rows = |slot: usize| matches!(self.batch(slot), Ok(Some(0)));
        let inputs = self.inputs.iter().all(|&slot| along_rows(slot));
        inputs
            && varies[self.output]
            && self.nodes.iter().all(|node| {
                let reads = node.operands.iter().any(|&slot| varies[slot]);
                !reads
                    || self.keeps_apart(node, &varies)
                        && node.outputs.iter().all(|&s| along_rows(s))
            })
    }

    /// Whether a node, whose outputs have the batch first, computes it row by row.
    fn keeps_apart(&self, node: &Node, varies: &[bool]) -> bool {
        let first_only = !node.operands.iter().skip(1).any(|&slot| varies[slot]);
        let ranks = node
            .operands
            .iter()
            .map(|&slot| self.slots[slot].shape.len());
        let rank = ranks.max().unwrap_or(0);
        match &node.op {
            Op::Softmax { dim }
            | Op::LogSoftmax { dim }
            | Op::Softmin { dim }
            | Op::Cumulative(_, dim)
            | Op::Reduce(_, Some(dim))
            | Op::ExtremeWithIndices { dim, .. }
            | Op::TopK { dim, .. }
            | Op::Sort { dim, .. }
            | Op::Cross { dim }
            | Op::Unfold { dim, .. }
            | Op::Gather { dim }
            | Op::Repeat { dim, .. }
            | Op::Cat { dim } => *dim > 0,
            Op::SumDims(dims) | Op::Flip(dims) => !dims.contains(&0),
            Op::Permute(axes) => axes.first() == Some(&0),
            Op::Select { dim } => *dim > 0 && first_only,
            // In a product of matrices alone, the second mixes rows of the first.
            Op::MatMul => rank > 2 || first_only,
            Op::Linear | Op::Conv(_) | Op::ConvTranspose(_) | Op::LayerNorm { .. } => first_only,
            op if op.is_elementwise() => first_only,
            // The table has rows of its own.
            Op::Embedding => !varies[node.operands[0]],
            Op::Slice(ranges) => ranges.first().is_none_or(|range| {
                let rows = self.slots[node.operands[0]].shape[0];
                range.step == 1
                    && range.start.fixed == 0
                    && range.start.per_row == 0
                    && range.end.is_none_or(|end| end == rows)
            }),
            Op::Pad(sides, _) => sides.first().is_none_or(|&side| side == (0, 0)),
            // Dimension 0 has the batch before and after, so its rows stay in order.
            Op::Reshape(_) => true,
            Op::Binary(_)
            | Op::Compare(_)
            | Op::MaskWhere
            | Op::MaskFill(_)
            | Op::Attention { .. }
            | Op::DeformConv { .. }
            | Op::GridSample { .. }
            | Op::Expand(_)
            | Op::MaxPool { .. }
            | Op::AvgPool(_)
            | Op::AdaptiveAvgPool { .. }
            | Op::Interpolate { .. }
            | Op::Unfold4d { .. } => true,
            // Anything else may mix rows.
            _ => false,
        }
    }
}
