//! Composites for transformers: AttnLRP and CP-LRP.

use std::sync::Arc;

use attr_core::Error;
use attr_core::op::{GroupKind, Op};
use attr_core::walk::{Composite, NodeInfo, Rule};

use crate::other_layers::{added_constant, check_derivative, comes_from, rule, signal_takes_all};
use crate::rules::{Bilinear, Epsilon, Gamma, Softmax};
use crate::{LayerKind, Stabilizer};

/// A composite for transformers, made by [`attnlrp`] or [`cp_lrp`].
///
/// | Layer | AttnLRP | CP-LRP |
/// |---|---|---|
/// | fully connected layers, convolutions | `Epsilon`, or `Gamma` | the same |
/// | softmax of attention | `Softmax` | nothing arrives |
/// | attention weights times values | `Bilinear` | `SignalTakesAll`, the values |
/// | queries times keys | `Bilinear` | nothing arrives |
/// | gated units: an activation function times a linear layer | `Bilinear` | `SignalTakesAll`, the linear layer |
/// | products with the gates of an LSTM, or with a sigmoid | `SignalTakesAll` | the same |
/// | LayerNorm, GroupNorm | `Normalisation` | the same |
/// | RMSNorm, activation functions, scales | `Pass` | the same |
/// | sums, means, added constants such as positions | `Norm` | the same |
/// | max pooling, reshapes, slices, concatenations, embeddings | the derivative | the same |
/// | a softmax that is the output, anything else | [`Error::Rule`] | the same |
///
/// The rules are recognised on the graph, whatever the model's modules are called. Fused attention
/// must be [expanded](attr_core::Traced::expand_attention); [`Lrp`](crate::Lrp) does so by itself.
#[derive(Clone, Debug)]
pub struct Transformer {
    values_take_all: bool,
    epsilon: Stabilizer,
    gamma: Option<f64>,
    stabilizer: Stabilizer,
    zero_bias: bool,
}

/// Returns AttnLRP: the relevance of an attention flows to values, queries and keys.
///
/// Achtibat et al., "AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers",
/// 2024 (<https://arxiv.org/abs/2402.05602>). Results are those of LXT 2. For vision transformers the
/// authors use LRP-γ in linear layers; see [`with_gamma`](Transformer::with_gamma).
pub fn attnlrp() -> Transformer {
    Transformer {
        values_take_all: false,
        epsilon: Stabilizer::default(),
        gamma: None,
        stabilizer: Stabilizer::default(),
        zero_bias: false,
    }
}

/// Returns CP-LRP: attention weights and gates are constants, so that values take all relevance.
///
/// Ali et al., "XAI for Transformers: Better Explanations through Conservative Propagation", 2022
/// (<https://arxiv.org/abs/2202.07304>).
pub fn cp_lrp() -> Transformer {
    Transformer {
        values_take_all: true,
        ..attnlrp()
    }
}

impl Transformer {
    /// Sets the epsilon of linear layers; 1e-6 by default.
    pub fn with_epsilon(mut self, epsilon: impl Into<Stabilizer>) -> Self {
        self.epsilon = epsilon.into();
        self
    }

    /// Serves linear layers by LRP-γ with this gamma instead of LRP-ε. It steadies the heat maps of
    /// vision transformers.
    pub fn with_gamma(mut self, gamma: f64) -> Self {
        self.gamma = Some(gamma);
        self
    }

    /// Sets the stabiliser of all other rules; 1e-6 by default.
    pub fn with_stabilizer(mut self, stabilizer: impl Into<Stabilizer>) -> Self {
        self.stabilizer = stabilizer.into();
        self
    }

    /// Leaves biases of linear layers out of denominators, so that they take no relevance.
    pub fn without_bias(mut self) -> Self {
        self.zero_bias = true;
        self
    }

    fn linear(&self) -> Arc<dyn Rule> {
        match self.gamma {
            Some(gamma) => {
                let rule = Gamma::new(gamma).with_stabilizer(self.stabilizer);
                Arc::new(if self.zero_bias {
                    rule.without_bias()
                } else {
                    rule
                })
            }
            None => {
                let rule = Epsilon::new(self.epsilon);
                Arc::new(if self.zero_bias {
                    rule.without_bias()
                } else {
                    rule
                })
            }
        }
    }

    /// Returns the rule of a product of two activations.
    fn product(&self, node: &NodeInfo<'_>) -> Arc<dyn Rule> {
        if self.values_take_all {
            let constant = |i: usize| match node.op() {
                Op::MatMul => comes_from(node, i, |op| matches!(op, Op::Softmax { .. })),
                _ => is_activation(node, i),
            };
            match (constant(0), constant(1)) {
                (true, false) => return signal_takes_all(1, self.stabilizer),
                (false, true) => return signal_takes_all(0, self.stabilizer),
                _ => {}
            }
        }
        match node.op() {
            Op::MatMul => Arc::new(Bilinear::new().with_stabilizer(self.stabilizer)),
            _ => rule(node, LayerKind::Product, self.stabilizer),
        }
    }
}

/// Whether an operand is the output of an activation function.
fn is_activation(node: &NodeInfo<'_>, i: usize) -> bool {
    node.producer(i).is_some_and(|producer| {
        producer.ended_group().is_some_and(GroupKind::is_activation)
            || LayerKind::of(&producer) == Some(LayerKind::Activation)
    })
}

impl Composite for Transformer {
    fn name(&self) -> String {
        if self.values_take_all {
            "cp_lrp".into()
        } else {
            "attnlrp".into()
        }
    }

    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        if matches!(node.op(), Op::Softmax { .. }) && node.readers().next().is_some() {
            return Ok(Some(Arc::new(Softmax)));
        }
        let constant = added_constant(node, self.stabilizer, self.zero_bias);
        if constant.is_some() {
            return Ok(constant);
        }
        let Some(kind) = LayerKind::of(node) else {
            return check_derivative(node, &self.name()).map(|()| None);
        };
        Ok(Some(match kind {
            LayerKind::Dense | LayerKind::Convolution => self.linear(),
            LayerKind::Product => self.product(node),
            other => rule(node, other, self.stabilizer),
        }))
    }

    fn group(&self, group: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        Ok(LayerKind::of(group).map(|kind| rule(group, kind, self.stabilizer)))
    }
}
