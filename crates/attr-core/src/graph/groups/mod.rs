//! Groups: nodes that a rule may treat as one, found in the recorded nodes.
//!
//! Groups are an overlay. Nodes keep their names, their replay and their derivatives; a group only
//! says that some of them together are one nonlinearity or one normalisation. A node outside a
//! group reads nothing inside it except the group's output.
//!
//! ```text
//! activation.rs, norm.rs  what groups look like
//! pattern.rs              matching nodes
//! ```

mod activation;
mod norm;
mod pattern;

use std::collections::HashMap;
use std::fmt;

use activation::activation;
use norm::{Norm, norm};
use pattern::{Pattern, producers};

use super::run::{self, Place};
use super::{Graph, SlotId};
use crate::{Error, Value};

/// What a group of nodes computes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum GroupKind {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * sigmoid(beta * x)`.
    Swish {
        /// The factor inside the sigmoid.
        beta: f64,
    },
    /// `x * tanh(softplus(x))`.
    Mish,
    /// `x * clamp(x / 6 + 1/2, 0, 1)`.
    HardSwish,
    /// The exact Gaussian error linear unit in several operations
    /// ([`Op::Gelu`](crate::op::Op::Gelu) is the same in one).
    Gelu,
    /// The Gaussian error linear unit by tanh.
    GeluTanh,
    /// `x` above zero, `alpha * (exp(x) - 1)` below.
    Elu {
        /// The negated lower limit.
        alpha: f64,
    },
    /// The scaled ELU with its two fixed constants.
    Selu,
    /// `x` above zero, `alpha * (exp(x / alpha) - 1)` below.
    Celu {
        /// The negated lower limit.
        alpha: f64,
    },
    /// `ln(1 + exp(beta * x)) / beta`.
    Softplus {
        /// How sharp the bend is.
        beta: f64,
    },
    /// `x / (1 + |x|)`.
    Softsign,
    /// `x - tanh(x)`.
    Tanhshrink,
    /// Zero where `|x|` is at most `lambda`, elsewhere `x` moved towards zero by `bias`.
    Shrink {
        /// Half the width of the flat part.
        lambda: f64,
        /// How far the rest is moved.
        bias: f64,
    },
    /// `x` above `threshold`, `value` elsewhere.
    Threshold {
        /// The value above which `x` is kept.
        threshold: f64,
        /// The output elsewhere.
        value: f64,
    },
    /// The first half of `x` along a dimension times the sigmoid of the second.
    Glu {
        /// The dimension.
        dim: usize,
    },
    /// `x / sqrt(mean(x^2) + epsilon) * gamma` over the last dimensions.
    RmsNorm {
        /// Added to the mean of squares.
        epsilon: f64,
    },
    /// Normalisation over the last dimensions in several operations
    /// ([`Op::LayerNorm`](crate::op::Op::LayerNorm) is the same in one).
    LayerNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// Normalisation over groups of channels and all positions.
    GroupNorm {
        /// The number of groups.
        groups: usize,
        /// Added to the variance.
        epsilon: f64,
    },
    /// Normalisation of each channel over all positions; a group norm with as many groups as
    /// channels is the same.
    InstanceNorm {
        /// Added to the variance.
        epsilon: f64,
    },
}

impl GroupKind {
    /// Whether it is a nonlinearity that works on each element of one operand separately.
    ///
    /// GLU is not, since it multiplies one part of `x` by another.
    pub fn is_activation(&self) -> bool {
        !self.is_norm() && !matches!(self, Self::Glu { .. })
    }

    /// Whether it is a normalisation. Its operands are x and, if it has them, scale and shift.
    pub fn is_norm(&self) -> bool {
        matches!(
            self,
            Self::RmsNorm { .. }
                | Self::LayerNorm { .. }
                | Self::GroupNorm { .. }
                | Self::InstanceNorm { .. }
        )
    }

    /// Whether its output is never negative, given whether its operand is.
    pub(super) fn is_non_negative(&self, of_non_negative: bool) -> bool {
        match *self {
            Self::Softplus { beta } => beta > 0.0,
            Self::Threshold { threshold, value } => {
                value >= 0.0 && (threshold >= 0.0 || of_non_negative)
            }
            // A bias larger than lambda may move values across zero.
            Self::Shrink { lambda, bias } => of_non_negative && bias <= lambda,
            kind => of_non_negative && (kind.is_activation() || matches!(kind, Self::Glu { .. })),
        }
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Numbers given in 32 bits print as they were given.
        let short = |number: f64| number as f32;
        match *self {
            Self::Silu => f.write_str("SiLU"),
            Self::Swish { beta } => write!(f, "Swish(beta {:?})", short(beta)),
            Self::Mish => f.write_str("Mish"),
            Self::HardSwish => f.write_str("HardSwish"),
            Self::Gelu => f.write_str("GELU"),
            Self::GeluTanh => f.write_str("GELU(tanh)"),
            Self::Elu { alpha } => write!(f, "ELU(alpha {:?})", short(alpha)),
            Self::Selu => f.write_str("SELU"),
            Self::Celu { alpha } => write!(f, "CELU(alpha {:?})", short(alpha)),
            Self::Softplus { beta } => write!(f, "Softplus(beta {:?})", short(beta)),
            Self::Softsign => f.write_str("Softsign"),
            Self::Tanhshrink => f.write_str("Tanhshrink"),
            Self::Shrink { lambda, bias } => {
                let (lambda, bias) = (short(lambda), short(bias));
                write!(f, "Shrink(lambda {lambda:?}, bias {bias:?})")
            }
            Self::Threshold { threshold, value } => {
                let (threshold, value) = (short(threshold), short(value));
                write!(f, "Threshold({threshold:?}, value {value:?})")
            }
            Self::Glu { dim } => write!(f, "GLU(dimension {dim})"),
            Self::RmsNorm { epsilon } => write!(f, "RMSNorm(epsilon {:?})", short(epsilon)),
            Self::LayerNorm { epsilon } => write!(f, "LayerNorm(epsilon {:?})", short(epsilon)),
            Self::GroupNorm { groups, epsilon } => {
                write!(
                    f,
                    "GroupNorm({groups} groups, epsilon {:?})",
                    short(epsilon)
                )
            }
            Self::InstanceNorm { epsilon } => {
                write!(f, "InstanceNorm(epsilon {:?})", short(epsilon))
            }
        }
    }
}

/// Nodes that a rule may treat as one.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub kind: GroupKind,
    /// In execution order; the last one produces the output.
    pub nodes: Vec<usize>,
    /// x first, then parameters: scale and shift of a normalisation.
    pub operands: Vec<SlotId>,
    pub output: SlotId,
    /// How many consecutive elements a normalisation normalises together, if that is fixed.
    pub together: Option<usize>,
    /// The name of the node that reads the parameters, which is the module's; without parameters,
    /// the name of the last node.
    pub name: String,
}

/// Layers of a traced model that work as one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LayerGroup {
    /// The name of the module if the group has parameters, otherwise of the last layer.
    pub name: String,
    /// What the layers compute together.
    pub kind: GroupKind,
    /// The layers, in execution order.
    pub layers: Vec<String>,
}

impl fmt::Display for LayerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<36} {:<32} ", self.name, self.kind.to_string())?;
        f.write_str(&self.layers.join(", "))
    }
}

/// Finds all groups of a graph whose `readers` are up to date.
pub(super) fn find(graph: &Graph) -> Vec<Group> {
    let producers = producers(graph);
    let mut taken = vec![false; graph.nodes.len()];
    let mut groups = Vec::new();
    // From the end, so that the larger pattern comes first: a Mish before the softplus in it.
    for (i, last) in graph.nodes.iter().enumerate().rev() {
        let &[output] = &last.outputs[..] else {
            continue;
        };
        if taken[i] || !graph.slots[output].dtype.is_float() {
            continue;
        }
        let mut pattern = Pattern::new(graph, &producers);
        let found = activation(&mut pattern, output)
            .map(|(kind, x)| Norm {
                kind,
                operands: vec![x],
                together: None,
            })
            .or_else(|| norm(&mut pattern, output));
        let Some(Norm {
            kind,
            operands,
            together,
        }) = found
        else {
            continue;
        };
        let mut nodes = pattern.nodes;
        nodes.sort_unstable();
        nodes.dedup();
        let free = nodes.iter().all(|&node| !taken[node]);
        if !free || !closed(graph, &nodes, output) {
            continue;
        }
        nodes.iter().for_each(|&node| taken[node] = true);
        let reads = |node: &&usize| {
            let own = &graph.nodes[**node].operands;
            operands[1..].iter().any(|slot| own.contains(slot))
        };
        let named = nodes.iter().rev().find(reads).unwrap_or(&i);
        groups.push(Group {
            kind,
            name: graph.nodes[*named].name.clone(),
            nodes,
            operands,
            output,
            together,
        });
    }
    groups.reverse();
    groups
}

/// Whether nothing outside reads what these nodes compute, except `output`.
fn closed(graph: &Graph, nodes: &[usize], output: SlotId) -> bool {
    let slots = nodes.iter().flat_map(|&node| &graph.nodes[node].outputs);
    slots.filter(|&&slot| slot != output).all(|&slot| {
        slot != graph.output && graph.readers[slot].iter().all(|node| nodes.contains(node))
    })
}

impl Graph {
    /// Runs a group's nodes on `operands`, in the group's order, and returns its output.
    pub fn run_group(
        &self,
        group: &Group,
        operands: Vec<Value>,
        place: &Place,
    ) -> Result<Vec<Value>, Error> {
        let mut values = self.group_values(group, operands, place)?;
        let output = values.remove(&group.output);
        let output = output.ok_or(Error::Internal("a group without an output"))?;
        Ok(vec![output])
    }

    /// The values of a group's operands and of what its nodes compute.
    pub fn group_values(
        &self,
        group: &Group,
        operands: Vec<Value>,
        place: &Place,
    ) -> Result<HashMap<SlotId, Value>, Error> {
        let operands = group.operands.iter().copied().zip(operands);
        let mut values: HashMap<SlotId, Value> = operands.collect();
        for &node in &group.nodes {
            let node = &self.nodes[node];
            let operands = node.operands.iter().map(|slot| {
                let value = values.get(slot).or_else(|| self.value_of(*slot));
                value
                    .cloned()
                    .ok_or(Error::Internal("a group lacks an operand"))
            });
            let outputs = run::run(&node.op, operands.collect::<Result<_, _>>()?, place)?;
            values.extend(node.outputs.iter().copied().zip(outputs));
        }
        Ok(values)
    }

    /// The slots of a group that depend on its marked operands.
    pub fn dependents_in(&self, group: &Group, marked: &[bool]) -> Vec<SlotId> {
        let operands = group.operands.iter().zip(marked);
        let marked = operands.filter(|(_, marked)| **marked);
        let mut dependents: Vec<SlotId> = marked.map(|(&slot, _)| slot).collect();
        for &node in &group.nodes {
            let node = &self.nodes[node];
            if node.operands.iter().any(|slot| dependents.contains(slot)) {
                dependents.extend(&node.outputs);
            }
        }
        dependents
    }

    /// The groups with layer names, as users see them.
    pub fn layer_groups(&self) -> Vec<LayerGroup> {
        let groups = self.groups.iter();
        groups
            .map(|group| LayerGroup {
                name: group.name.clone(),
                kind: group.kind,
                layers: group
                    .nodes
                    .iter()
                    .map(|&node| self.nodes[node].name.clone())
                    .collect(),
            })
            .collect()
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{DType, Device, Tensor, TensorData, activation};

    use super::*;
    use crate::graph::{FunctionRecorder, Spec, trace};

    #[test]
    fn a_group_runs_on_other_operands() {
        let device = Device::flex();
        let recorder = FunctionRecorder {
            parameters: Vec::new(),
            forward: |_: &[Value], inputs: &[Value]| {
                let x = inputs[0].tensor::<2>()?;
                Ok(Value::from(activation::mish(x.sin()).cos()))
            },
            settings: device.settings(),
        };
        let spec = Spec {
            shape: vec![2, 3],
            dtype: DType::F32,
        };
        let graph = trace(&recorder, &[spec], device.as_dispatch()).unwrap();
        let [group] = &graph.groups[..] else {
            panic!("{:?}", graph.groups);
        };
        assert_eq!(group.kind, GroupKind::Mish);
        assert_eq!(group.nodes.last(), Some(&(graph.nodes.len() - 2)));
        for rows in [1, 4] {
            let numbers: Vec<f32> = (0..rows * 3).map(|i| i as f32 - 3.0).collect();
            let data = TensorData::new(numbers, [rows, 3]);
            let x = Tensor::<2>::from_data(data, &device);
            let place = Place::new(device.as_dispatch().clone(), rows);
            let got = graph
                .run_group(group, vec![x.clone().into()], &place)
                .unwrap();
            let expected = Value::from(activation::mish(x));
            assert_eq!(got[0].to_vec().unwrap(), expected.to_vec().unwrap());
        }
        let place = Place::new(device.as_dispatch().clone(), 1);
        assert!(graph.run_group(group, Vec::new(), &place).is_err());
    }
}
