//! LRP-ε and LRP-0.

use attr_core::walk::{NodeInfo, NodeView, Reads, Rule, Shares};
use attr_core::{Error, Value};

use super::{in_proportion, parameters, quotient, relevance, through_weight};
use crate::Stabilizer;

/// `R_in = x ⊙ Wᵀ (R / stab(z))` with `z = W x + b`: LRP-ε, or LRP-0 for a tiny epsilon.
///
/// The bias keeps its part of the relevance unless [`without_bias`](Self::without_bias) is set.
/// Default epsilon: 1e-6, as in zennit. Bach et al., "On Pixel-Wise Explanations for Non-Linear
/// Classifier Decisions by Layer-Wise Relevance Propagation", 2015
/// (<https://doi.org/10.1371/journal.pone.0130140>).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epsilon {
    epsilon: Stabilizer,
    zero_bias: bool,
}

impl Epsilon {
    /// Creates the rule with this epsilon, or with another kind of stabiliser.
    pub fn new(epsilon: impl Into<Stabilizer>) -> Self {
        Self {
            epsilon: epsilon.into(),
            zero_bias: false,
        }
    }

    /// Leaves the bias out of `z`, so that it takes no relevance.
    pub fn without_bias(mut self) -> Self {
        self.zero_bias = true;
        self
    }
}

impl Epsilon {
    /// Whether the denominators are not the layer's outputs.
    fn leaves_bias_out(&self, node: &NodeInfo<'_>) -> bool {
        self.zero_bias && node.is_linear() && node.operands() > 2
    }
}

impl Rule for Epsilon {
    fn reads(&self, node: &NodeInfo<'_>) -> Reads {
        Reads {
            operands: true,
            outputs: !self.leaves_bias_out(node),
        }
    }

    fn forward(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        if !self.leaves_bias_out(&node.info()) {
            return Ok(Vec::new());
        }
        let weight = parameters(node, "Epsilon", true)?.weight;
        Ok(vec![node.output_at(&[node.operands()[0].clone(), weight])?])
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let z = node.computed().first().unwrap_or(&node.outputs()[0]);
        in_proportion(node, self.epsilon, relevance(&r)?, z)
    }

    fn weight_share(
        &self,
        node: &NodeView<'_>,
        r: &[Option<Value>],
    ) -> Result<Option<Value>, Error> {
        let Some(linear) = node.linear() else {
            return Ok(None);
        };
        let z = node.computed().first().unwrap_or(&node.outputs()[0]);
        let s = quotient(self.epsilon, relevance(r)?, z)?;
        through_weight(node, [&linear.x, &linear.weight], &s).map(Some)
    }
}
