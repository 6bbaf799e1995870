//! LRP-γ, generalised to inputs and outputs of either sign.

use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{Error, Value};

use super::split::{Part, Split, Weights};
use super::{negative, parameters, positive, quotient, relevance};
use crate::Stabilizer;

/// Favours positive contributions where the output is positive, and negative ones where it is
/// negative, by a factor of `1 + γ`.
///
/// With `P = W + γ W⁺`, `N = W + γ W⁻`:
/// `z⁺ = P x⁺ + N x⁻ + b + γ b⁺` and `S⁺ = R / stab(z⁺)` where `z = W x + b > 0`,
/// `z⁻ = N x⁺ + P x⁻ + b + γ b⁻` and `S⁻ = R / stab(z⁻)` where `z < 0`, and
/// `R_in = x⁺ ⊙ Pᵀ S⁺ + x⁻ ⊙ Nᵀ S⁺ + x⁺ ⊙ Nᵀ S⁻ + x⁻ ⊙ Pᵀ S⁻`.
///
/// Relevance that arrives where `z` is exactly 0 is lost. Default gamma: 0.25, as in zennit.
/// Montavon et al., "Layer-Wise Relevance Propagation: An Overview", 2019
/// (<https://doi.org/10.1007/978-3-030-28954-6_10>); generalised by Andéol et al., "Learning Domain
/// Invariant Representations by Joint Wasserstein Distance Minimization", 2023.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gamma {
    gamma: f64,
    stabilizer: Stabilizer,
    zero_bias: bool,
}

impl Default for Gamma {
    fn default() -> Self {
        Self::new(0.25)
    }
}

impl Gamma {
    /// Creates the rule with this gamma.
    pub fn new(gamma: f64) -> Self {
        Self {
            gamma,
            stabilizer: Stabilizer::default(),
            zero_bias: false,
        }
    }

    /// Sets the stabiliser of the denominators.
    pub fn with_stabilizer(mut self, stabilizer: impl Into<Stabilizer>) -> Self {
        self.stabilizer = stabilizer.into();
        self
    }

    /// Leaves the bias out of `z⁺` and `z⁻`, so that it takes no relevance.
    pub fn without_bias(mut self) -> Self {
        self.zero_bias = true;
        self
    }

    /// Whether `z` itself has all that `z⁺` and `z⁻` need. They have no bias where it is left out.
    fn output_suffices(&self, node: &NodeView<'_>) -> bool {
        !self.zero_bias || node.info().operands() < 3
    }
}

impl Rule for Gamma {
    /// `P` and `N`, then `W⁺`, `W⁻` and `b⁺` unless the bias is left out.
    fn prepare(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let own = parameters(node, "Gamma", self.zero_bias)?;
        let both_signs = !node.info().non_negative(0);
        let (w, v) = (positive(&own.weight)?, negative(&own.weight)?);
        let favour = |part: &Value| -> Result<Value, Error> {
            own.weight
                .zip(part, |weight, part| weight + part * self.gamma)
        };
        let (p, n) = (favour(&w)?, || favour(&v));
        let mut prepared = Weights::prepare(node, 2, both_signs, p, n)?;
        if self.output_suffices(node) {
            prepared.extend(Weights::prepare(node, 1, both_signs, w, || Ok(v))?);
            prepared.extend(own.bias.as_ref().map(positive).transpose()?);
        }
        Ok(prepared)
    }

    /// `z⁺` and `z⁻`. With the positive contributions `a = W⁺ x⁺ + W⁻ x⁻ + b⁺`, `z⁺ = z + γ a` and
    /// `z⁻ = z + γ (z - a)`. Nothing cancels where these are used: `a` is not negative, so it has
    /// the sign of `z` where `z` is positive, and `z - a` that of `z` where it is negative.
    fn forward(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let (x, (favoured, rest)) = (Split::of(node)?, favoured(node)?);
        if !self.output_suffices(node) {
            return x.outputs(node, &favoured, &[]);
        }
        let z = &node.outputs()[0];
        let (positive, bias) = Weights::of(node, 1, rest)?;
        let a = x.outputs(node, &positive, bias)?.remove(0);
        Ok(vec![
            z.zip(&a, |z, a| z + a * self.gamma)?,
            z.zip(&a, |z, a| z.clone() + (z - a) * self.gamma)?,
        ])
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let parts = self.divided(node, relevance(&r)?)?;
        Split::of(node)?.share(node, &favoured(node)?.0, &parts)
    }

    fn weight_share(
        &self,
        node: &NodeView<'_>,
        r: &[Option<Value>],
    ) -> Result<Option<Value>, Error> {
        let parts = self.divided(node, relevance(r)?)?;
        let share = Split::of(node)?.weight_share(node, &favoured(node)?.0, &parts);
        share.map(Some)
    }
}

/// The weights `P` and `N`, and what is prepared besides.
fn favoured<'v>(node: &'v NodeView<'_>) -> Result<(Weights<'v>, &'v [Value]), Error> {
    Weights::of(node, 2, node.prepared())
}

impl Gamma {
    /// What arrives at the outputs above zero, and at those below.
    fn divided<'v>(
        &self,
        node: &'v NodeView<'_>,
        relevance: &Value,
    ) -> Result<[Part<'v>; 2], Error> {
        let z = &node.outputs()[0];
        let above = relevance.zip(z, |r, z| r.mask_fill(z.lower_equal_elem(0.0), 0.0))?;
        let below = relevance.zip(z, |r, z| r.mask_fill(z.greater_equal_elem(0.0), 0.0))?;
        let part = |r: Value, z| -> Result<Part<'v>, Error> {
            let s = quotient(self.stabilizer, &r, z)?;
            Ok(Part { r, s, z })
        };
        Ok([
            part(above, &node.computed()[0])?,
            part(below, &node.computed()[1])?,
        ])
    }
}
