//! LRP-αβ.

use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{Error, Value};

use super::split::{Part, Split, Weights};
use super::{negative, parameters, positive, relevance, signed_quotient};
use crate::Stabilizer;

/// Shares positive and negative contributions separately: `α` times what the positive ones get,
/// minus `β` times what the negative ones get.
///
/// With `z⁺ = W⁺ x⁺ + W⁻ x⁻ + b⁺`, `z⁻ = W⁻ x⁺ + W⁺ x⁻ + b⁻`, `S⁺ = R / stab(z⁺)` and
/// `S⁻ = R / stab(z⁻)`:
/// `R_in = α (x⁺ ⊙ W⁺ᵀ S⁺ + x⁻ ⊙ W⁻ᵀ S⁺) - β (x⁺ ⊙ W⁻ᵀ S⁻ + x⁻ ⊙ W⁺ᵀ S⁻)`.
///
/// Relevance is conserved because `α - β = 1`. Default: `α = 2`, `β = 1`, as in zennit. Bach et al.,
/// 2015 (<https://doi.org/10.1371/journal.pone.0130140>).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlphaBeta {
    alpha: f64,
    stabilizer: Stabilizer,
    zero_bias: bool,
}

impl Default for AlphaBeta {
    fn default() -> Self {
        Self::of(2.0)
    }
}

impl AlphaBeta {
    /// Creates the rule.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `alpha - beta = 1` and neither is negative.
    pub fn new(alpha: f64, beta: f64) -> Result<Self, Error> {
        let fits = beta >= 0.0 && (alpha - beta - 1.0).abs() <= 1e-9;
        if !fits {
            return Err(Error::Parameter {
                name: "alpha",
                value: format!("{alpha}, beta = {beta}"),
                expected: "neither may be negative, and alpha - beta must be 1",
            });
        }
        Ok(Self::of(alpha))
    }

    pub(crate) fn of(alpha: f64) -> Self {
        Self {
            alpha,
            stabilizer: Stabilizer::default(),
            zero_bias: false,
        }
    }

    /// Sets the stabiliser of the denominators.
    pub fn with_stabilizer(mut self, stabilizer: impl Into<Stabilizer>) -> Self {
        self.stabilizer = stabilizer.into();
        self
    }

    /// Leaves the bias out of the denominators, so that it takes no relevance.
    pub fn without_bias(mut self) -> Self {
        self.zero_bias = true;
        self
    }

    fn beta(&self) -> f64 {
        self.alpha - 1.0
    }
}

impl Rule for AlphaBeta {
    /// `W⁺` and `W⁻`, then `b⁺` and `b⁻`.
    fn prepare(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let own = parameters(node, "AlphaBeta", self.zero_bias)?;
        let both_signs = !node.info().non_negative(0);
        let weight = positive(&own.weight)?;
        let other = || negative(&own.weight);
        let mut prepared = Weights::prepare(node, self.parts(), both_signs, weight, other)?;
        if let Some(bias) = &own.bias {
            prepared.extend([positive(bias)?, negative(bias)?]);
        }
        Ok(prepared)
    }

    fn forward(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let (weights, biases) = self.weights(node)?;
        Split::of(node)?.outputs(node, &weights, biases)
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let parts = self.divided(node, relevance(&r)?)?;
        Split::of(node)?.share(node, &self.weights(node)?.0, &parts)
    }

    fn weight_share(
        &self,
        node: &NodeView<'_>,
        r: &[Option<Value>],
    ) -> Result<Option<Value>, Error> {
        let parts = self.divided(node, relevance(r)?)?;
        let share = Split::of(node)?.weight_share(node, &self.weights(node)?.0, &parts);
        share.map(Some)
    }
}

impl AlphaBeta {
    /// The part of `α` and, if there is one, that of `β`.
    fn parts(&self) -> usize {
        if self.beta() > 0.0 { 2 } else { 1 }
    }

    /// The weights, and the biases if there are any.
    fn weights<'v>(&self, node: &'v NodeView<'_>) -> Result<(Weights<'v>, &'v [Value]), Error> {
        Weights::of(node, self.parts(), node.prepared())
    }

    fn divided<'v>(
        &self,
        node: &'v NodeView<'_>,
        relevance: &Value,
    ) -> Result<Vec<Part<'v>>, Error> {
        let parts = [self.alpha, -self.beta()].into_iter().zip(node.computed());
        let parts = parts.map(|(factor, z)| {
            let r = if factor == 1.0 {
                relevance.clone()
            } else {
                relevance.map(|r| r * factor)?
            };
            // Positive contributions alone on the side of α, negative ones on that of β.
            let s = signed_quotient(self.stabilizer, &r, z, factor.signum())?;
            Ok(Part { r, s, z })
        });
        parts.collect()
    }
}
