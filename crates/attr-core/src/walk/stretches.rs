//! Runs long walks on chosen rows, a stretch of rows at a time.

use burn::backend::DispatchDevice;

use super::stand::{Forward, Stand};
use super::traverse::{Walk, Walked, traverse};
use crate::Error;
use crate::graph::SlotId;
use crate::value::is_cpu;

/// The most bytes that the largest activation of a stretch may take. On a CPU larger ones are
/// slower: no cache holds them, and the allocator requests each from the system anew. 64 rows of
/// ResNet-18 at 224x224 take 0.6 of the time when run one by one. Other devices want as many rows
/// as memory allows.
fn largest(device: &DispatchDevice) -> usize {
    if is_cpu(device) {
        return 4 << 20;
    }
    match device {
        // Stretches would be recorded for one number of rows.
        DispatchDevice::Capture(_) => usize::MAX,
        _ => 256 << 20,
    }
}

/// Walks on `rows` of a pass whose activations can be selected by row.
pub(super) fn walk(forward: &Forward, rows: &[usize], walk: Walk<'_>) -> Result<Walked, Error> {
    let (layers, at_once) = match walk.separable() {
        Some(layers) => (layers, at_once(forward, &walk, layers)?),
        None => (&[][..], usize::MAX),
    };
    if rows.len() <= at_once || !walk.fits(rows.len()) {
        return traverse(Stand::on(forward, rows), walk);
    }
    let starts = (0..rows.len()).step_by(at_once);
    let parts = starts.map(|start| {
        let range = start..rows.len().min(start + at_once);
        let own = &rows[range.clone()];
        traverse(Stand::on(forward, own), walk.part(range, layers)?)
    });
    Walked::joined(parts.collect::<Result<_, _>>()?)
}

/// The number of rows in a stretch; all of them if what the walk takes and returns cannot be cut
/// and joined along dimension 0.
fn at_once(forward: &Forward, walk: &Walk<'_>, layers: &[&str]) -> Result<usize, Error> {
    let plan = &forward.plan;
    let graph = &plan.choices.graph;
    let start = walk.start(&plan.choices)?;
    let mut cut = vec![start];
    cut.extend(&graph.inputs);
    for layer in layers
        .iter()
        .chain(walk.gates.iter().map(|(layer, ..)| layer))
    {
        cut.push(plan.choices.layer(layer)?);
    }
    let along_rows = |slot: &SlotId| matches!(graph.batch(*slot), Ok(Some(0)));
    if !cut.iter().all(along_rows) {
        return Ok(usize::MAX);
    }
    let active = (0..=start).filter(|&slot| plan.active[slot]);
    let bytes = active.map(|slot| {
        let elements: usize = graph.shape_at(slot, 1).iter().product();
        elements * graph.slots[slot].dtype.size()
    });
    let row = bytes.max().unwrap_or(0).max(1);
    Ok((largest(&graph.device) / row).max(1))
}
