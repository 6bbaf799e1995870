//! Facts known before anything runs: which values are never negative, and which nodes have a
//! linear layer before them.

use std::collections::HashMap;

use burn::tensor::DType;

use super::op::{Binary, Compare, Cumulative, Interpolation, Op, Padding, Reduce, Unary, number};
use super::{Graph, Node, SlotId, Source};

impl Graph {
    /// Per slot, whether its values are never negative. NaN and the results of a division by zero
    /// are ignored.
    ///
    /// Nothing is read from a device: for inputs, parameters and constants only the type counts.
    pub fn non_negative(&self) -> Vec<bool> {
        let groups: HashMap<SlotId, usize> = self
            .groups
            .iter()
            .enumerate()
            .map(|(i, group)| (group.output, i))
            .collect();
        let mut known: Vec<bool> = self
            .slots
            .iter()
            .map(|slot| matches!(slot.dtype, DType::Bool(_)) || slot.dtype.is_uint())
            .collect();
        for node in &self.nodes {
            for (i, &slot) in node.outputs.iter().enumerate() {
                // A cut graph takes some outputs of its nodes as inputs.
                if self.inputs.contains(&slot) {
                    continue;
                }
                let by_group = groups.get(&slot).is_some_and(|&group| {
                    let group = &self.groups[group];
                    group.kind.is_non_negative(known[group.operands[0]])
                });
                known[slot] =
                    known[slot] || by_group || self.output_is_non_negative(node, i, &known);
            }
        }
        known
    }

    /// Whether output `i` of a node is never negative, given which slots before it never are.
    fn output_is_non_negative(&self, node: &Node, i: usize, known: &[bool]) -> bool {
        let operand = |i: usize| node.operands.get(i).is_some_and(|&slot| known[slot]);
        let all = || node.operands.iter().all(|&slot| known[slot]);
        let same = || matches!(node.operands[..], [a, b] if a == b);
        match &node.op {
            Op::Relu
            | Op::Sigmoid
            | Op::HardSigmoid { .. }
            | Op::Softmax { .. }
            | Op::Softmin { .. } => true,
            Op::Gelu | Op::LeakyRelu { .. } | Op::PRelu => operand(0),
            Op::Unary(f) => match f {
                Unary::Abs
                | Unary::Acos
                | Unary::Acosh
                | Unary::Cosh
                | Unary::Exp
                | Unary::Sqrt => true,
                Unary::Asin
                | Unary::Asinh
                | Unary::Atan
                | Unary::Atanh
                | Unary::Ceil
                | Unary::Erf
                | Unary::Floor
                | Unary::Log1p
                | Unary::Recip
                | Unary::Round
                | Unary::Sign
                | Unary::Sinh
                | Unary::Tanh
                | Unary::Trunc => operand(0),
                _ => false,
            },
            Op::Clamp { min, max } => {
                let at_least_zero = |limit| number(limit) >= 0.0;
                let below = max.as_ref().is_none_or(at_least_zero);
                below && (operand(0) || min.as_ref().is_some_and(at_least_zero))
            }
            Op::Binary(f) => match f {
                Binary::Mul | Binary::Div => all() || same(),
                Binary::Add => all(),
                Binary::Pow | Binary::PowInt | Binary::Atan2 => operand(0),
                Binary::Hypot => true,
                _ => false,
            },
            Op::BinaryScalar(f, value) => {
                let value = number(value);
                match f {
                    Binary::Add | Binary::Mul => operand(0) && value >= 0.0,
                    Binary::Div => operand(0) && value > 0.0,
                    Binary::Sub => operand(0) && value <= 0.0,
                    Binary::Pow | Binary::PowInt => operand(0) || value % 2.0 == 0.0,
                    _ => false,
                }
            }
            Op::MatMul => all(),
            // Means of the values, or zero where everything is hidden.
            Op::Attention { .. } => operand(2),
            Op::Reduce(f, _) => match f {
                Reduce::MaxAbs | Reduce::ArgMax | Reduce::ArgMin => true,
                _ => operand(0),
            },
            Op::Cumulative(
                Cumulative::Max | Cumulative::Min | Cumulative::Prod | Cumulative::Sum,
                _,
            ) => operand(0),
            // Values come first, indices second.
            Op::ExtremeWithIndices { .. } | Op::MaxPool { .. } => i == 1 || operand(0),
            Op::TopK { values, .. } | Op::Sort { values, .. } => {
                i == usize::from(*values) || operand(0)
            }
            Op::SumDims(_)
            | Op::AvgPool(_)
            | Op::AdaptiveAvgPool { .. }
            | Op::Unfold4d { .. }
            | Op::Reshape(_)
            | Op::Expand(_)
            | Op::Permute(_)
            | Op::Flip(_)
            | Op::Unfold { .. }
            | Op::Slice(_)
            | Op::Gather { .. }
            | Op::GatherNd
            | Op::Select { .. }
            | Op::Repeat { .. }
            | Op::Cast(_)
            | Op::Embedding => operand(0),
            Op::Interpolate { mode, .. } | Op::GridSample { mode, .. } => {
                // Other modes have some negative weights.
                let means = matches!(
                    mode,
                    Interpolation::Bilinear | Interpolation::Nearest | Interpolation::NearestExact
                );
                means && operand(0)
            }
            Op::Pad(_, fill) => {
                let fits = match fill {
                    Padding::Constant(value) => *value >= 0.0,
                    Padding::Reflect | Padding::Edge => true,
                };
                fits && operand(0)
            }
            Op::SliceAssign(_) => all(),
            Op::Cat { .. } => all(),
            Op::Scatter { .. } | Op::ScatterNd { .. } | Op::SelectAssign { .. } => {
                operand(0) && operand(2)
            }
            Op::MaskFill(value) => number(value) >= 0.0 && operand(0),
            Op::MaskWhere => (operand(0) && operand(2)) || self.largest(node, known),
            Op::Full { value, .. } => number(value) >= 0.0,
            _ => false,
        }
    }

    /// Whether a selection takes the larger of two values, one of which is never negative. Burn
    /// records the maximum this way.
    fn largest(&self, node: &Node, known: &[bool]) -> bool {
        let [otherwise, mask, chosen] = node.operands[..] else {
            return false;
        };
        let Source::Node(comparison) = self.slots[mask].source else {
            return false;
        };
        let Some(comparison) = self.nodes.get(comparison) else {
            return false;
        };
        let pair = (comparison.operands.first(), comparison.operands.get(1));
        let larger = match comparison.op {
            Op::Compare(Compare::Lower | Compare::LowerEqual) => {
                pair == (Some(&otherwise), Some(&chosen))
            }
            Op::Compare(Compare::Greater | Compare::GreaterEqual) => {
                pair == (Some(&chosen), Some(&otherwise))
            }
            _ => false,
        };
        larger && comparison.outputs.contains(&mask) && (known[otherwise] || known[chosen])
    }

    /// Per node, whether it is a linear layer: a weight that does not depend on the inputs, applied
    /// to a tensor that does.
    pub fn linear_layers(&self) -> Vec<bool> {
        let active = self.dependents(&self.inputs);
        let nodes = self.nodes.iter();
        nodes.map(|node| is_linear(node, &active)).collect()
    }

    /// Per node, whether a linear layer lies before it on some path from the inputs. The linear
    /// layers with none before them are the first layers.
    pub fn linear_before(&self) -> Vec<bool> {
        let active = self.dependents(&self.inputs);
        let mut after = vec![false; self.slots.len()];
        let mut before = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let operands = node.operands.iter();
            let own = operands
                .filter(|&&slot| active[slot])
                .any(|&slot| after[slot]);
            before.push(own);
            if own || is_linear(node, &active) {
                node.outputs.iter().for_each(|&slot| after[slot] = true);
            }
        }
        before
    }
}

fn is_linear(node: &Node, active: &[bool]) -> bool {
    let depends = |i: usize| node.operands.get(i).map(|&slot| active[slot]);
    let applied =
        |x: usize, weight: usize| depends(x) == Some(true) && depends(weight) == Some(false);
    match node.op {
        Op::Linear | Op::Conv(_) | Op::ConvTranspose(_) => applied(0, 1),
        Op::DeformConv { .. } => applied(0, 2),
        Op::Embedding => applied(1, 0),
        Op::MatMul => applied(0, 1) || applied(1, 0),
        _ => false,
    }
}
