//! Edits graphs: starts or ends them at a layer, drops a final softmax, and folds BatchNorm into
//! the convolution or linear layer before it.
//!
//! ```text
//! expand.rs  fused attention as simple nodes
//! ```

mod expand;

use burn::backend::ops::FloatTensorOps;
use burn::backend::{Dispatch, Scalar};
use burn::tensor::Shape;

use super::{Graph, Node, Op, SlotId, Source};
use crate::{Error, Value};

type B = Dispatch;

impl Graph {
    /// Returns the graph whose output is `slot`.
    pub fn up_to(&self, slot: SlotId) -> Graph {
        let mut graph = self.clone();
        graph.output = slot;
        graph.prune(&[slot], &[]);
        graph
    }

    /// Returns the graph whose first inputs are `slots`. Other tensors that later nodes need and
    /// that depend on the original inputs become further inputs, whose slots are returned second.
    ///
    /// The error is the index in `slots` of a slot that the output does not depend on.
    pub fn from(&self, slots: &[SlotId]) -> Result<(Graph, Vec<SlotId>), usize> {
        let mut graph = self.clone();
        graph.prune(&[graph.output], slots);
        for (i, &slot) in slots.iter().enumerate() {
            if !graph.dependents(&[slot])[graph.output] {
                return Err(i);
            }
        }
        let after = graph.dependents(slots);
        let before = self.dependents(&self.inputs);
        let mut side: Vec<SlotId> = Vec::new();
        let readers = graph
            .nodes
            .iter()
            .filter(|n| n.outputs.iter().any(|&s| after[s] && !slots.contains(&s)));
        for &operand in readers.flat_map(|node| &node.operands) {
            if before[operand] && !after[operand] && !side.contains(&operand) {
                side.push(operand);
            }
        }
        graph.inputs = slots.iter().chain(&side).copied().collect();
        let inputs = graph.inputs.clone();
        graph.prune(&[graph.output], &inputs);
        for (i, &slot) in inputs.iter().enumerate() {
            graph.slots[slot].source = Source::Input(i);
        }
        Ok((graph, side))
    }

    /// Returns the graph without a final softmax, log-softmax or sigmoid, or unchanged if there is
    /// none.
    pub fn logits(&self) -> Graph {
        let Source::Node(node) = self.slots[self.output].source else {
            return self.clone();
        };
        let node = &self.nodes[node];
        match node.op {
            Op::Softmax { .. } | Op::LogSoftmax { .. } | Op::Sigmoid | Op::LogSigmoid => {
                self.up_to(node.operands[0])
            }
            _ => self.clone(),
        }
    }

    /// Folds every BatchNorm that directly follows a convolution or linear layer into that layer's
    /// weights. The result is the same function in fewer operations.
    ///
    /// The folded node has the BatchNorm's name, since it computes the BatchNorm's output, and
    /// answers to the other layer's as well. The activation in between no longer exists, so both
    /// names mean the BatchNorm's output. `w' = w * s`, `b' = (b - mean) * s + beta` with
    /// `s = gamma / sqrt(variance + epsilon)`.
    ///
    /// A BatchNorm before a convolution is left alone, with or without a ReLU in between: the
    /// convolution pads with zeros after the shift, so a folded bias would depend on the position.
    ///
    /// Slots in `keep` stay. Weights come from `made`, if this graph was folded into that one before.
    pub fn fold_batch_norm(&self, keep: &[SlotId], made: Option<&Graph>) -> Result<Graph, Error> {
        let mut graph = self.clone();
        for i in 0..graph.nodes.len() {
            let Op::BatchNorm { epsilon } = graph.nodes[i].op else {
                continue;
            };
            let x = graph.nodes[i].operands[0];
            let Source::Node(layer) = graph.slots[x].source else {
                continue;
            };
            if keep.contains(&x) {
                continue;
            }
            let layer_node = &graph.nodes[layer];
            // The output channel's dimension in the weight.
            let channel = match &layer_node.op {
                Op::Conv(_) => 0,
                Op::ConvTranspose(g) if g.groups == 1 => 1,
                Op::Linear if graph.slots[x].shape.len() == 2 => 1,
                _ => continue,
            };
            let statistics = &graph.nodes[i].operands[1..];
            let constants: Option<Vec<Value>> = layer_node.operands[1..]
                .iter()
                .chain(statistics)
                .map(|&slot| graph.value_of(slot).cloned())
                .collect();
            let (true, Some(constants)) = (graph.sole_reader(x) == Some(i), constants) else {
                continue;
            };
            let made = made.and_then(|made| {
                let same = |node: &&Node| {
                    node.outputs == graph.nodes[i].outputs && node.op == layer_node.op
                };
                let node = made.nodes.iter().find(same)?;
                let values = node.operands.get(1..3)?.iter();
                let values = values.map(|&slot| made.value_of(slot).cloned());
                values.collect::<Option<Vec<_>>>()
            });
            let values = match made {
                Some(values) => values,
                None => folded(&constants, channel, epsilon)?,
            };
            let (weight_slot, gamma_slot) = (layer_node.operands[1], graph.nodes[i].operands[1]);
            // The bias has the path of the layer's own bias, or that of beta if there is none.
            let bias_path = layer_node
                .operands
                .get(2)
                .unwrap_or(&graph.nodes[i].operands[2]);
            let places = [(weight_slot, weight_slot), (gamma_slot, *bias_path)];
            let mut operands = vec![layer_node.operands[0]];
            let (op, mut aliases) = (layer_node.op.clone(), vec![layer_node.name.clone()]);
            aliases.extend(layer_node.aliases.iter().cloned());
            for ((shape, path), value) in places.into_iter().zip(values) {
                let mut slot = graph.slots[shape].clone();
                slot.source = match &graph.slots[path].source {
                    Source::Parameter(path, _) => Source::Parameter(path.clone(), value),
                    _ => Source::Constant(value),
                };
                graph.slots.push(slot);
                operands.push(graph.slots.len() - 1);
            }
            let node = &mut graph.nodes[i];
            (node.op, node.operands) = (op, operands);
            node.aliases.extend(aliases);
        }
        graph.prune(&[&[graph.output], keep].concat(), &[]);
        Ok(graph)
    }
}

/// The weight and bias of a layer with a BatchNorm folded in, from the layer's own and the BatchNorm's
/// operands; `channel` is the output channel's dimension in the weight.
fn folded(constants: &[Value], channel: usize, epsilon: f64) -> Result<Vec<Value>, Error> {
    let (layer_values, statistics) = constants.split_at(constants.len() - 4);
    let raw = |value: &Value| value.clone().into_dispatch();
    let [gamma, beta, mean, variance] = statistics else {
        return Err(Error::Internal("a BatchNorm lacks an operand"));
    };
    let deviation = B::float_sqrt(B::float_add_scalar(raw(variance), Scalar::Float(epsilon)));
    let scale = B::float_div(raw(gamma), deviation);
    let weight = &layer_values[0];
    let mut along = vec![1; weight.shape().len()];
    along[channel] = weight.shape()[channel];
    let weight = B::float_mul(
        raw(weight),
        B::float_reshape(scale.clone(), Shape::from(along)),
    );
    let shift = match layer_values.get(1) {
        Some(bias) => B::float_sub(raw(bias), raw(mean)),
        None => B::float_neg(raw(mean)),
    };
    let bias = B::float_add(B::float_mul(shift, scale), raw(beta));
    Ok([weight, bias].map(Value::from_dispatch).to_vec())
}
