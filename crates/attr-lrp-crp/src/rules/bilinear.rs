//! The rule for products of two activations.

use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{Error, Value};

use super::{in_proportion, relevance};
use crate::Stabilizer;

/// Gives each factor of a product half of the relevance, shared in proportion to contributions:
/// `R_A = A ⊙ (S Bᵀ)` and `R_B = B ⊙ (Aᵀ S)` with `S = R / stab(2 A B)`.
///
/// For matrix products and elementwise products of two values that both depend on the input.
/// Achtibat et al., "AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers",
/// 2024, proposition 3.3 (<https://arxiv.org/abs/2402.05602>).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bilinear {
    stabilizer: Stabilizer,
}

impl Bilinear {
    /// Creates the rule.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the stabiliser of the denominators.
    pub fn with_stabilizer(mut self, stabilizer: impl Into<Stabilizer>) -> Self {
        self.stabilizer = stabilizer.into();
        self
    }
}

impl Rule for Bilinear {
    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let doubled = node.outputs()[0].map(|z| z * 2.0)?;
        in_proportion(node, self.stabilizer, relevance(&r)?, &doubled)
    }
}
