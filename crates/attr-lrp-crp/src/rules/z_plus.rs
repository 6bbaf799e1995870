//! The z⁺ rule.

use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{Error, Value};

use super::AlphaBeta;
use crate::Stabilizer;

/// Shares relevance in proportion to positive contributions alone:
/// `R_in = x⁺ ⊙ W⁺ᵀ S + x⁻ ⊙ W⁻ᵀ S` with `S = R / stab(W⁺ x⁺ + W⁻ x⁻ + b⁺)`.
///
/// It is LRP-αβ with `α = 1`, `β = 0`. Montavon et al., "Explaining NonLinear Classification
/// Decisions with Deep Taylor Decomposition", 2017
/// (<https://doi.org/10.1016/j.patcog.2016.11.008>).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZPlus(AlphaBeta);

impl Default for ZPlus {
    fn default() -> Self {
        Self::new()
    }
}

impl ZPlus {
    /// Creates the rule.
    pub fn new() -> Self {
        Self(AlphaBeta::of(1.0))
    }

    /// Sets the stabiliser of the denominators.
    pub fn with_stabilizer(self, stabilizer: impl Into<Stabilizer>) -> Self {
        Self(self.0.with_stabilizer(stabilizer))
    }

    /// Leaves the bias out of the denominators, so that it takes no relevance.
    pub fn without_bias(self) -> Self {
        Self(self.0.without_bias())
    }
}

impl Rule for ZPlus {
    fn prepare(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        self.0.prepare(node)
    }

    fn forward(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        self.0.forward(node)
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        self.0.backward(node, r)
    }

    fn weight_share(
        &self,
        node: &NodeView<'_>,
        r: &[Option<Value>],
    ) -> Result<Option<Value>, Error> {
        self.0.weight_share(node, r)
    }
}
