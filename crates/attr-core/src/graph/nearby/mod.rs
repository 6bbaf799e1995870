//! Runs a graph on rows that differ from a known row in a window only, computing only the part of
//! each layer that the window can reach.
//!
//! Nakandala, Kumar, Papakonstantinou, "Incremental and approximate inference for faster
//! occlusion-based deep CNN explanations", 2019 (<https://doi.org/10.1145/3299869.3319874>).
//! Results equal those of a whole run up to rounding. As long as operations are local
//! (convolutions, pooling, elementwise functions), a row is a *patch* on the known activation. The
//! first operation that is not local, or a patch that covers nearly everything, turns patches into
//! whole activations.
//!
//! ```text
//! region.rs  boxes of an activation
//! ```

mod region;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use burn::backend::Dispatch;
use burn::backend::ops::{FloatTensorOps, PadMode};

use super::op::{ConvGeometry, Op, PoolGeometry};
use super::run::{self, Activations, Place};
use super::{Dim, Graph, Node, SlotId, caught};
use crate::{Error, Value, Values};
use region::{Region, Sight, assigned, cut, cut_one, full, joined, nearly_whole, sliced};

/// The multiplications that cost about as much as handling one patch of one row. If patches save
/// less, whole rows are faster.
const PATCH_COST: usize = 1_000_000;

/// Incremental inference: evaluates rows that differ from a known row only inside a window. It
/// computes only the part of each layer that the window can reach.
pub struct NearRow {
    graph: Arc<Graph>,
    known: Activations,
    input: usize,
    /// Per slot, whether dimension 0 is the batch.
    batched: Vec<bool>,
}

/// The rows of a slot.
enum Rows {
    /// Values that replace a box of the known activation in each row, `[rows, channels, ...]`.
    Patch(Value, Region),
    /// The whole rows.
    Whole(Value),
}

/// The windows of a local operation along each spatial dimension, and its padding value; `None` if
/// the operation is not local.
fn sights(op: &Op, node: &Node, graph: &Graph) -> Option<(Vec<Sight>, f32)> {
    match op {
        Op::Conv(g) => {
            let shape = &graph.slots[*node.operands.get(1)?].shape;
            let kernel = shape.iter().skip(2).map(|dim| dim.fixed as usize);
            let sides = kernel.zip(&g.stride).zip(&g.dilation).zip(&g.padding);
            let sights = sides.map(|(((kernel, &stride), &dilation), &(before, after))| Sight {
                kernel: (kernel - 1) * dilation + 1,
                stride,
                before,
                after,
            });
            Some((sights.collect(), 0.0))
        }
        Op::MaxPool {
            geometry: g,
            indices: false,
        } if !g.ceil_mode => Some((pooled(g), f32::NEG_INFINITY)),
        Op::AvgPool(g)
            if !g.ceil_mode && (g.count_include_pad || g.padding.iter().all(|&p| p == 0)) =>
        {
            Some((pooled(g), 0.0))
        }
        _ => None,
    }
}

fn pooled(g: &PoolGeometry) -> Vec<Sight> {
    let sides = g.kernel.iter().zip(&g.stride).zip(&g.dilation);
    let sides = sides.zip(&g.padding);
    let sights = sides.map(|(((&kernel, &stride), &dilation), &padding)| Sight {
        kernel: (kernel - 1) * dilation.max(1) + 1,
        stride,
        before: padding,
        after: padding,
    });
    sights.collect()
}

/// The same operation for an input that is already padded.
fn unpadded(op: &Op) -> Op {
    match op {
        Op::Conv(g) => Op::Conv(ConvGeometry {
            padding: vec![(0, 0); g.padding.len()],
            ..g.clone()
        }),
        Op::MaxPool { geometry, indices } => Op::MaxPool {
            geometry: PoolGeometry {
                padding: vec![0; geometry.padding.len()],
                ..geometry.clone()
            },
            indices: *indices,
        },
        Op::AvgPool(g) => Op::AvgPool(PoolGeometry {
            padding: vec![0; g.padding.len()],
            ..g.clone()
        }),
        other => other.clone(),
    }
}

impl Graph {
    /// Returns the graph's activations on one row, for runs on rows that differ from it in a window
    /// of `size` (per spatial dimension) of an input; `None` if such runs cost no less than whole
    /// ones.
    pub fn nearby(
        self: &Arc<Self>,
        row: &[Value],
        input: usize,
        size: &[usize],
    ) -> Result<Option<NearRow>, Error> {
        let one_row = row.iter().all(|value| value.rows() == 1);
        let rank = row.get(input).map_or(0, |value| value.shape().len());
        if self.rows.is_some() || !one_row || rank < 3 || rank != size.len() + 2 {
            return Ok(None);
        }
        let batch = Dim {
            fixed: 0,
            per_row: 1,
        };
        let mut batched = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            batched.push(slot.shape.first() == Some(&batch));
            if slot.shape.iter().skip(1).any(|dim| dim.per_row != 0)
                || slot
                    .shape
                    .first()
                    .is_some_and(|dim| *dim != batch && dim.per_row != 0)
            {
                return Ok(None);
            }
        }
        if !self.saves(input, size) {
            return Ok(None);
        }
        let all: Vec<SlotId> = (0..self.slots.len()).collect();
        let known = self.replay(row, &HashMap::new(), &all)?;
        Ok(Some(NearRow {
            graph: self.clone(),
            known,
            input,
            batched,
        }))
    }

    /// Whether patches save more than it costs to handle them.
    fn saves(&self, input: usize, size: &[usize]) -> bool {
        let mut sizes: HashMap<SlotId, Vec<usize>> = HashMap::new();
        sizes.insert(self.inputs[input], size.to_vec());
        let spatial = |slot: SlotId| -> Vec<usize> {
            let dims = self.slots[slot].shape.iter().skip(2);
            dims.map(|dim| dim.fixed.max(1) as usize).collect()
        };
        let (mut saved, mut handled) = (0usize, 0usize);
        for node in &self.nodes {
            let patches = node.operands.iter().filter_map(|slot| sizes.get(slot));
            let Some(size) = patches.max_by_key(|size| size.iter().product::<usize>()) else {
                continue;
            };
            let lengths = spatial(node.operands[0]);
            let reached = match sights(&node.op, node, self) {
                Some((sights, _)) if sights.len() == size.len() => {
                    let sides = sights.iter().zip(size).zip(&lengths);
                    let reached: Vec<usize> = sides
                        .map(|((sight, &size), &length)| sight.reach(size, length))
                        .collect();
                    let whole: usize = spatial(node.outputs[0]).iter().product();
                    if let Op::Conv(_) = node.op {
                        let weights = &self.slots[node.operands[1]].shape;
                        let weights: usize = weights.iter().map(|dim| dim.fixed as usize).product();
                        saved += weights * whole.saturating_sub(reached.iter().product());
                    }
                    reached
                }
                None if node.op.is_elementwise() || matches!(node.op, Op::Binary(_)) => {
                    size.clone()
                }
                _ => continue,
            };
            handled += 1;
            sizes.insert(node.outputs[0], reached);
        }
        saved > handled * PATCH_COST
    }
}

impl NearRow {
    /// The output for the known row.
    ///
    /// # Errors
    /// [`Error::Internal`] for an output that was not kept.
    pub fn output(&self) -> Result<Value, Error> {
        self.known.get(self.graph.output).cloned()
    }

    /// Computes the output for rows that each differ from the known row in one window. A window is
    /// a range per spatial dimension (those after batch and channels) of the input it lies in.
    ///
    /// # Errors
    /// Whatever error makes the rows unfit for the model.
    pub fn forward(&self, rows: &Values, windows: &[Vec<Range<usize>>]) -> Result<Value, Error> {
        let outputs = super::by_parts(&self.graph, windows.len(), |part| {
            self.together(&rows.slice(part.clone()), &windows[part])
        });
        Value::cat_rows(outputs.into_iter().collect::<Result<_, _>>()?)
    }

    /// Computes the output for rows that go through the graph together.
    fn together(&self, rows: &Values, windows: &[Vec<Range<usize>>]) -> Result<Value, Error> {
        let count = windows.len();
        let place = Place::of(&self.graph, count);
        let mut states: HashMap<SlotId, Rows> = HashMap::new();
        let slot = self.graph.inputs[self.input];
        let region = self.boxes(slot, windows);
        let own = cut(&rows.values()[self.input], &region)?;
        states.insert(slot, Rows::Patch(own, region));
        let last_use = self.graph.last_uses(&[]);
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let done = node.outputs.iter().all(|slot| states.contains_key(slot));
            if done || !node.operands.iter().any(|slot| states.contains_key(slot)) {
                continue;
            }
            let after = self.graph.activation_after(i, &last_use);
            let (slots, outputs) = caught(&node.name, || self.run(node, after, &states, &place))?;
            states.extend(slots.iter().copied().zip(outputs));
            for slot in &node.operands {
                if last_use[*slot] == Some(i) {
                    states.remove(slot);
                }
            }
        }
        match states.get(&self.graph.output) {
            Some(_) => self.whole(self.graph.output, &states, count),
            None => self.shared(self.graph.output, count),
        }
    }

    /// Boxes of equal size, one around each window, within the input.
    fn boxes(&self, slot: SlotId, windows: &[Vec<Range<usize>>]) -> Region {
        let lengths = self.lengths(slot);
        let size = (0..lengths.len()).map(|dim| {
            let widths = windows.iter().map(|window| window[dim].len());
            widths.max().unwrap_or(1)
        });
        let size: Vec<usize> = size.collect();
        let starts = windows.iter().map(|window| {
            let sides = window.iter().zip(&size).zip(&lengths);
            sides
                .map(|((range, size), length)| range.start.min(length - size))
                .collect()
        });
        Region {
            starts: starts.collect(),
            size,
        }
    }

    /// Sizes of a slot's spatial dimensions.
    fn lengths(&self, slot: SlotId) -> Vec<usize> {
        let dims = self.graph.slots[slot].shape.iter().skip(2);
        dims.map(|dim| dim.fixed.max(0) as usize).collect()
    }

    /// Runs a node, and the activation after it if a kernel computes both. Returns which slots the
    /// outputs belong to.
    fn run<'a>(
        &self,
        node: &'a Node,
        after: Option<&'a Node>,
        states: &HashMap<SlotId, Rows>,
        place: &Place,
    ) -> Result<(&'a [SlotId], Vec<Rows>), Error> {
        let local = match &node.op {
            Op::Binary(_) | Op::Compare(_) => self.meet(node, states)?,
            op if op.is_elementwise() => self.each(node, states)?,
            op => match sights(op, node, &self.graph) {
                Some((sights, fill)) => self.look(node, states, &sights, fill)?,
                None => None,
            },
        };
        let (op, operands, region) = match local {
            Some((operands, region)) => (unpadded(&node.op), operands, Some(region)),
            None => {
                let operands = node.operands.iter().map(|&slot| match states.get(&slot) {
                    Some(_) => self.whole(slot, states, place.rows),
                    None => self.shared(slot, place.rows),
                });
                (node.op.clone(), operands.collect::<Result<_, _>>()?, None)
            }
        };
        let rows = |value| match &region {
            Some(region) => Rows::Patch(value, region.clone()),
            None => Rows::Whole(value),
        };
        let (slots, outputs) = run::run_node(node, after, &op, operands, place)?;
        Ok((slots, outputs.into_iter().map(rows).collect()))
    }

    /// The operands of an elementwise function on a patch.
    fn each(
        &self,
        node: &Node,
        states: &HashMap<SlotId, Rows>,
    ) -> Result<Option<(Vec<Value>, Region)>, Error> {
        let Some(Rows::Patch(patch, region)) = states.get(&node.operands[0]) else {
            return Ok(None);
        };
        let rest = &node.operands[1..];
        if rest
            .iter()
            .any(|slot| states.contains_key(slot) || self.batched[*slot])
        {
            return Ok(None);
        }
        let mut operands = vec![patch.clone()];
        for &slot in rest {
            operands.push(self.known.get(slot)?.clone());
        }
        Ok(Some((operands, region.clone())))
    }

    /// The operands of arithmetic on patches, or on a patch and a known activation: both cut to the
    /// box around both.
    fn meet(
        &self,
        node: &Node,
        states: &HashMap<SlotId, Rows>,
    ) -> Result<Option<(Vec<Value>, Region)>, Error> {
        let output = self.lengths(node.outputs[0]);
        let mut region: Option<Region> = None;
        for slot in &node.operands {
            match states.get(slot) {
                Some(Rows::Patch(_, own)) if self.lengths(*slot) == output => {
                    region = Some(match region {
                        Some(region) => joined(&region, own, &output),
                        None => own.clone(),
                    });
                }
                None => {}
                _ => return Ok(None),
            }
        }
        let Some(region) = region else {
            return Ok(None);
        };
        if nearly_whole(&region.size, &output) {
            return Ok(None);
        }
        let rank = self.graph.slots[node.outputs[0]].shape.len();
        let mut operands = Vec::with_capacity(2);
        for &slot in &node.operands {
            let lengths = self.lengths(slot);
            let same_rank = self.graph.slots[slot].shape.len() == rank;
            if states.contains_key(&slot) || (same_rank && lengths == output) {
                operands.push(self.around(slot, states, &region, &[], 0.0)?);
            } else if lengths.iter().all(|&length| length == 1) {
                // A number, or one per channel.
                operands.push(self.known.get(slot)?.clone());
            } else {
                return Ok(None);
            }
        }
        Ok(Some((operands, region)))
    }

    /// The operands of an operation that reads neighbours: the patch with its surroundings.
    fn look(
        &self,
        node: &Node,
        states: &HashMap<SlotId, Rows>,
        sights: &[Sight],
        fill: f32,
    ) -> Result<Option<(Vec<Value>, Region)>, Error> {
        let slot = node.operands[0];
        let Some(Rows::Patch(_, own)) = states.get(&slot) else {
            return Ok(None);
        };
        let lengths = self.lengths(slot);
        let rest = &node.operands[1..];
        if sights.len() != lengths.len() || rest.iter().any(|slot| states.contains_key(slot)) {
            return Ok(None);
        }
        let sides = || sights.iter().zip(&own.size).zip(&lengths);
        let size: Vec<usize> = sides()
            .map(|((s, &size), &length)| s.reach(size, length))
            .collect();
        let outputs = sights.iter().zip(&lengths);
        let outputs: Vec<usize> = outputs
            .map(|(sight, &length)| sight.outputs(length))
            .collect();
        if nearly_whole(&size, &outputs) {
            return Ok(None);
        }
        let starts = own.starts.iter().map(|starts| {
            let each = sides().zip(starts);
            each.map(|(((sight, &size), &length), &start)| sight.start(start, size, length))
                .collect()
        });
        let reached = Region {
            starts: starts.collect(),
            size,
        };
        // In coordinates of the padded input.
        let seen = Region {
            starts: reached
                .starts
                .iter()
                .map(|starts| {
                    starts
                        .iter()
                        .zip(sights)
                        .map(|(at, s)| at * s.stride)
                        .collect()
                })
                .collect(),
            size: reached
                .size
                .iter()
                .zip(sights)
                .map(|(size, s)| (size - 1) * s.stride + s.kernel)
                .collect(),
        };
        let padding: Vec<(usize, usize)> = sights.iter().map(|s| (s.before, s.after)).collect();
        let mut operands = vec![self.around(slot, states, &seen, &padding, fill)?];
        for &slot in rest {
            operands.push(self.known.get(slot)?.clone());
        }
        Ok(Some((operands, reached)))
    }

    /// Boxes of a slot's rows, in coordinates of the activation padded with `fill`.
    fn around(
        &self,
        slot: SlotId,
        states: &HashMap<SlotId, Rows>,
        seen: &Region,
        padding: &[(usize, usize)],
        fill: f32,
    ) -> Result<Value, Error> {
        let mut known = self.known.get(slot)?.clone();
        let patch = match states.get(&slot) {
            Some(Rows::Patch(value, own)) => Some((value, own)),
            _ => None,
        };
        if let Some(kernels) = &self.known.place.kernels {
            let before: Vec<usize> = padding.iter().map(|side| side.0).collect();
            let patch = patch.map(|(value, own)| (value, (&own.starts[..], &own.size[..])));
            let seen = (&seen.starts[..], &seen.size[..]);
            if let Some(found) = kernels.boxes(&known, &before, fill, seen, patch) {
                return Ok(found);
            }
        }
        if padding.iter().any(|side| *side != (0, 0)) {
            let all = [&[(0, 0), (0, 0)], padding].concat();
            let padded = Dispatch::float_pad(known.into_dispatch(), &all, PadMode::Constant(fill));
            known = Value::from_dispatch(padded);
        }
        let before = |dim: usize| padding.get(dim).map_or(0, |side| side.0);
        let rows = seen.starts.iter().enumerate().map(|(row, starts)| {
            let part = cut_one(known.clone(), 0, starts, &seen.size);
            let Some((patch, own)) = patch else {
                return part;
            };
            // The part of the patch that is seen, in its own coordinates and in those of the box.
            let (mut from, mut to) = (full(row, patch), full(0, &part));
            for (dim, (&start, &size)) in starts.iter().zip(&seen.size).enumerate() {
                let at = own.starts[row][dim] + before(dim);
                let low = at.max(start);
                let high = (at + own.size[dim]).min(start + size);
                if low >= high {
                    return part;
                }
                from[dim + 2] = low - at..high - at;
                to[dim + 2] = low - start..high - start;
            }
            assigned(part, &to, sliced(patch.clone(), &from))
        });
        Value::cat_rows(rows.collect())
    }

    /// All of a slot's rows.
    fn whole(
        &self,
        slot: SlotId,
        states: &HashMap<SlotId, Rows>,
        count: usize,
    ) -> Result<Value, Error> {
        if let Some(Rows::Whole(value)) = states.get(&slot) {
            return Ok(value.clone());
        }
        let size = self.lengths(slot);
        let all = Region {
            starts: vec![vec![0; size.len()]; count],
            size,
        };
        self.around(slot, states, &all, &[], 0.0)
    }

    /// The value of a slot that is the same for all rows.
    fn shared(&self, slot: SlotId, count: usize) -> Result<Value, Error> {
        let known = self.known.get(slot)?;
        Ok(if self.batched[slot] {
            known.select_rows(&vec![0; count])
        } else {
            known.clone()
        })
    }
}
