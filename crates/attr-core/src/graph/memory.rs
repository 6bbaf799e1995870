//! How much memory a graph's values take, known from their shapes before anything runs.

use super::op::Op;
use super::{Graph, Node, SlotId};

impl Graph {
    /// Bytes of everything that nodes compute for `rows` rows: the most that a walk can keep.
    pub fn computed_bytes(&self, rows: usize) -> usize {
        let slots = self.nodes.iter().flat_map(|node| &node.outputs);
        let bytes = slots.map(|&slot| self.bytes_at(slot, rows));
        bytes.fold(0, usize::saturating_add)
    }

    /// Bytes of everything that nodes compute for one additional row.
    pub fn bytes_per_row(&self) -> usize {
        match self.rows {
            // A graph bound to its batch size shares its values among those rows.
            Some(rows) => self.computed_bytes(rows) / rows.max(1),
            None => self
                .computed_bytes(2)
                .saturating_sub(self.computed_bytes(1)),
        }
    }

    /// The most bytes taken at any moment of a forward pass that keeps nothing: a value is held
    /// from the node that computes it to the last node that reads it.
    pub fn peak_bytes(&self, rows: usize) -> usize {
        let last_use = self.last_uses(&[]);
        let (mut held, mut peak) = (0usize, 0usize);
        for (i, node) in self.nodes.iter().enumerate() {
            for &slot in &node.outputs {
                held = held.saturating_add(self.bytes_at(slot, rows));
            }
            peak = peak.max(held.saturating_add(self.scratch_bytes(node, rows)));
            let unread = node
                .outputs
                .iter()
                .filter(|&&slot| last_use[slot].is_none() && slot != self.output);
            let mut done: Vec<SlotId> = unread.copied().collect();
            for &slot in &node.operands {
                if last_use[slot] == Some(i) && !done.contains(&slot) {
                    done.push(slot);
                }
            }
            for slot in done {
                held = held.saturating_sub(self.bytes_at(slot, rows));
            }
        }
        peak
    }

    /// Bytes that backends need while they run a node: operands in another layout, and the scores
    /// of a fused attention.
    fn scratch_bytes(&self, node: &Node, rows: usize) -> usize {
        let operand = |i: usize| node.operands.get(i).map(|&slot| self.bytes_at(slot, rows));
        match &node.op {
            Op::Conv(_) | Op::ConvTranspose(_) | Op::DeformConv { .. } => operand(0)
                .unwrap_or(0)
                .saturating_add(operand(1).unwrap_or(0)),
            Op::Attention { .. } => {
                let length = |i: usize| {
                    let shape = self.shape_at(node.operands[i], rows);
                    shape.iter().rev().nth(1).copied().unwrap_or(1)
                };
                let (queries, keys) = (operand(0).unwrap_or(0), length(1));
                let width = self.shape_at(node.operands[0], rows).last().copied();
                (queries / width.unwrap_or(1).max(1)).saturating_mul(keys)
            }
            _ => 0,
        }
    }

    /// Bytes of a slot's value.
    fn bytes_at(&self, slot: SlotId, rows: usize) -> usize {
        let slot = &self.slots[slot];
        let dims = slot.shape.iter().map(|dim| dim.at(rows).max(0) as usize);
        dims.fold(slot.dtype.size(), usize::saturating_mul)
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{DType, Device};

    use crate::Value;
    use crate::graph::{FunctionRecorder, Spec, trace};

    #[test]
    fn values_count_from_their_node_to_their_last_reader() {
        let device = Device::flex();
        let recorder = FunctionRecorder {
            parameters: Vec::new(),
            forward: |_: &[Value], inputs: &[Value]| {
                let x = inputs[0].tensor::<2>()?;
                let (a, b) = (x.clone().sin(), x.cos());
                // Integers and booleans count, too.
                let larger = a.clone().greater(b).int();
                Ok(Value::from((a + larger.float()).sum_dim(1)))
            },
            settings: device.settings(),
        };
        let spec = Spec {
            shape: vec![2, 100],
            dtype: DType::F32,
        };
        let graph = trace(&recorder, &[spec], device.as_dispatch()).unwrap();
        let sizes = |rows| {
            let outputs = graph.nodes.iter().flat_map(|node| &node.outputs);
            let sizes = outputs.map(|&slot| graph.slots[slot].dtype.size());
            let all: Vec<usize> = sizes.map(|size| size * 100 * rows).collect();
            all
        };
        let [sine, cosine, larger, integer, float, sum, last] = sizes(3)[..] else {
            panic!("{:?}", graph.nodes);
        };
        let computed = sine + cosine + larger + integer + float + sum + last / 100;
        assert_eq!(graph.computed_bytes(3), computed);
        assert_eq!(graph.bytes_per_row(), computed / 3);
        // The sine is held until the sum.
        let moments = [
            sine + cosine + larger,
            sine + larger + integer,
            sine + integer + float,
            sine + float + sum,
        ];
        assert_eq!(Some(graph.peak_bytes(3)), moments.into_iter().max());
    }
}
