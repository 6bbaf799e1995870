//! Recognises Burn's linear layer.
//!
//! The layer records itself as a matrix product and a sum. Either the leading dimensions are folded
//! into rows, or weight and bias get leading dimensions of 1, whichever multiplies faster; the
//! choice may change with the batch size. All forms become [`Op::Linear`] on the layer's own input,
//! weight `[in, out]` and bias `[out]`.

use std::collections::HashMap;

use crate::graph::op::{Binary, Op};
use crate::graph::{Graph, SlotId, Source};

/// Replaces every recorded linear layer by one node; nodes it makes useless are left to pruning.
/// Slots in `wanted` (the output, and tensors that the user named) are left unchanged.
pub(crate) fn recognise(graph: &mut Graph, wanted: &[SlotId]) {
    let active = graph.dependents(&graph.inputs);
    // Per slot, how often it is read, and the first node that reads it. Replacing a layer's nodes
    // changes neither for the slots between another layer's nodes.
    let mut readers: HashMap<SlotId, (usize, Option<usize>)> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        for slot in &node.operands {
            let (count, first) = readers.entry(*slot).or_default();
            *count += 1;
            first.get_or_insert(i);
        }
    }
    for slot in wanted {
        readers.entry(*slot).or_default().0 += 1;
    }
    let sole_reader = |slot: SlotId| match readers.get(&slot) {
        Some((1, first)) => *first,
        _ => None,
    };

    for i in 0..graph.nodes.len() {
        let node = &graph.nodes[i];
        let (Op::MatMul, &[x, weight]) = (&node.op, &node.operands[..]) else {
            continue;
        };
        if !active[x] || active[weight] || !graph.slots[x].dtype.is_float() {
            continue;
        }
        let Some(weight) = unfolded(graph, weight, 2) else {
            continue;
        };
        graph.nodes[i].op = Op::Linear;
        graph.nodes[i].operands = vec![x, weight];

        // The sum that adds the bias, if nothing else reads the product.
        let mut last = i;
        let product = graph.nodes[i].outputs[0];
        if let Some(sum) = sole_reader(product)
            && graph.nodes[sum].op == Op::Binary(Binary::Add)
            && graph.nodes[sum].operands[0] == product
            && !active[graph.nodes[sum].operands[1]]
            && graph.slots[graph.nodes[sum].outputs[0]].shape == graph.slots[product].shape
            && let Some(bias) = unfolded(graph, graph.nodes[sum].operands[1], 1)
            && graph.slots[bias].shape[0] == graph.slots[weight].shape[1]
        {
            graph.nodes[sum].op = Op::Linear;
            graph.nodes[sum].operands = vec![x, weight, bias];
            last = sum;
        }

        // The two reshapes around a product whose leading dimensions were folded.
        let folded = graph.nodes[last].outputs[0];
        if let Some(source) = reshaped(graph, x)
            && !wanted.contains(&x)
            // A vector as one row stays a matrix: Burn's linear operation needs two dimensions.
            && graph.slots[source].shape.len() >= 2
            && graph.slots[source].shape.last() == graph.slots[x].shape.last()
            && let Some(restore) = sole_reader(folded)
            && matches!(graph.nodes[restore].op, Op::Reshape(_))
            && same_but_last(graph, source, graph.nodes[restore].outputs[0])
        {
            let mut operands = graph.nodes[last].operands.clone();
            operands[0] = source;
            graph.nodes[restore].op = Op::Linear;
            graph.nodes[restore].operands = operands;
        }
    }
}

/// The operand of the reshape that produces the slot, if one does.
fn reshaped(graph: &Graph, slot: SlotId) -> Option<SlotId> {
    let Source::Node(node) = graph.slots[slot].source else {
        return None;
    };
    let node = &graph.nodes[node];
    matches!(node.op, Op::Reshape(_)).then(|| node.operands[0])
}

/// The slot of the given rank before reshapes that only added leading dimensions of 1.
fn unfolded(graph: &Graph, mut slot: SlotId, rank: usize) -> Option<SlotId> {
    loop {
        let shape = &graph.slots[slot].shape;
        let leading = shape.len().checked_sub(rank)?;
        if shape[..leading].iter().any(|d| d.fixed != 1) {
            return None;
        }
        if leading == 0 {
            return Some(slot);
        }
        let source = reshaped(graph, slot)?;
        let behind = &graph.slots[source].shape;
        if behind.len() < rank || behind[behind.len() - rank..] != shape[leading..] {
            return None;
        }
        slot = source;
    }
}

fn same_but_last(graph: &Graph, a: SlotId, b: SlotId) -> bool {
    let (a, b) = (&graph.slots[a].shape, &graph.slots[b].shape);
    a.len() == b.len() && !a.is_empty() && a[..a.len() - 1] == b[..b.len() - 1]
}
