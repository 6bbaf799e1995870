//! The rules of LRP: how a layer's relevance is shared among its inputs.
//!
//! Notation: `R` arrives at the layer's output, `x` is its input, `W` its weight, `b` its bias,
//! `stab` a [`Stabilizer`]. `v⁺` and `v⁻` are the positive and negative parts of `v`. `Wᵀ S` stands
//! for pulling `S` back through the layer, whatever its kind: fully connected, a convolution or a
//! transposed convolution over 1 to 3 dimensions.

mod alpha_beta;
mod bilinear;
mod epsilon;
mod flat;
mod gamma;
mod norm;
mod normalisation;
mod pass;
mod relu;
mod signal;
mod softmax;
mod split;
mod w_square;
mod z_box;
mod z_plus;

pub use alpha_beta::AlphaBeta;
pub use bilinear::Bilinear;
pub use epsilon::Epsilon;
pub use flat::Flat;
pub use gamma::Gamma;
pub use norm::Norm;
pub use normalisation::Normalisation;
pub use pass::Pass;
pub use relu::{ReLUBetaSmooth, ReLUDeconvNet, ReLUGuidedBackprop};
pub use signal::SignalTakesAll;
pub use softmax::Softmax;
pub use w_square::WSquare;
pub use z_box::{Bound, ZBox};
pub use z_plus::ZPlus;

use attr_core::walk::{NodeView, Shares};
use attr_core::{Error, Value};

use crate::Stabilizer;

/// Returns what arrives at the node's first output.
fn relevance(arriving: &[Option<Value>]) -> Result<&Value, Error> {
    let first = arriving.first().and_then(Option::as_ref);
    first.ok_or(Error::Internal("nothing arrives at the first output"))
}

/// Returns `R / stab(z)`. A `z` of one row serves all rows of `R`.
fn quotient(stabilizer: Stabilizer, relevance: &Value, z: &Value) -> Result<Value, Error> {
    let z = stabilizer.apply(z.matrix()?);
    relevance.map(|relevance| relevance / z)
}

/// Returns `W ⊙ J_Wᵀ S`: what flows through each element of a weight, of an input with a weight.
fn through_weight(
    node: &NodeView<'_>,
    [x, weight]: [&Value; 2],
    s: &Value,
) -> Result<Value, Error> {
    let operands = [x.clone(), weight.clone()];
    let shares = node.pull_back(&operands, vec![Some(s.clone())], &[false, true])?;
    let back = shares.into_iter().nth(1).flatten();
    let back = back.ok_or(Error::Internal(
        "a linear layer without a weight's derivative",
    ))?;
    back.zip(weight, |back, weight| back * weight)
}

/// A quotient `S = R / stab(z)` of a rule.
struct Term<'a> {
    r: &'a Value,
    s: &'a Value,
    z: &'a Value,
}

/// Adds what stabilisers took, `Σ (R - z ⊙ S)`, to the shares, if the walk keeps a ledger.
fn account(node: &NodeView<'_>, shares: Shares, terms: &[Term<'_>]) -> Result<Shares, Error> {
    if !node.accounting() {
        return Ok(shares);
    }
    let taken = terms.iter().map(|Term { r, s, z }| {
        let z = z.matrix()?;
        // Where nothing is shared, z may be -∞: a masked score.
        r.zip(s, |r, s| {
            let nothing = s.clone().equal_elem(0.0);
            r - (z * s).mask_fill(nothing, 0.0)
        })
    });
    Ok(shares.with_stabilized(Value::sum(taken)?))
}

/// As [`quotient`], where no `z` has another sign than this, 1 or -1.
fn signed_quotient(
    stabilizer: Stabilizer,
    relevance: &Value,
    z: &Value,
    sign: f64,
) -> Result<Value, Error> {
    let z = stabilizer.apply_signed(z.matrix()?, sign);
    relevance.map(|relevance| relevance / z)
}

fn positive(value: &Value) -> Result<Value, Error> {
    value.map(|value| value.clamp_min(0.0))
}

fn negative(value: &Value) -> Result<Value, Error> {
    value.map(|value| value.clamp_max(0.0))
}

/// The weight of a linear layer, and its bias unless the rule leaves it out.
fn parameters(node: &NodeView<'_>, rule: &str, zero_bias: bool) -> Result<Parameters, Error> {
    let linear = node.linear().ok_or_else(|| Error::Rule {
        rule: rule.into(),
        layer: node.name().into(),
        reason: format!(
            "it needs a fully connected layer or a convolution with a constant weight, not {}",
            node.op().name()
        ),
    })?;
    Ok(Parameters {
        weight: linear.weight,
        bias: linear.bias.filter(|_| !zero_bias),
    })
}

struct Parameters {
    weight: Value,
    bias: Option<Value>,
}

/// The shares of a rule that ignores the input, from a weight and the denominators of one row:
/// `R_in = Wᵀ S` with `S = R / stab(z)`.
struct Blind<'a> {
    stabilizer: Stabilizer,
    weight: &'a Value,
    z: &'a Value,
}

impl<'a> Blind<'a> {
    /// The rule of a node that has prepared its weight and its denominators.
    fn of(node: &'a NodeView<'_>, stabilizer: Stabilizer) -> Self {
        Self {
            stabilizer,
            weight: &node.prepared()[0],
            z: &node.prepared()[1],
        }
    }

    fn share(&self, node: &NodeView<'_>, r: &[Option<Value>]) -> Result<Shares, Error> {
        let r = relevance(r)?;
        let s = quotient(self.stabilizer, r, self.z)?;
        let operands = [node.operands()[0].clone(), self.weight.clone()];
        let shares = node.only_first(node.pull_back_first(&operands, s.clone())?);
        let term = Term {
            r,
            s: &s,
            z: self.z,
        };
        account(node, shares, &[term])
    }

    /// What flows through each element of the weight, of an input of ones.
    fn weight_share(&self, node: &NodeView<'_>, r: &[Option<Value>]) -> Result<Value, Error> {
        let s = quotient(self.stabilizer, relevance(r)?, self.z)?;
        let ones = node.operands()[0].map(|x| x.ones_like())?;
        through_weight(node, [&ones, self.weight], &s)
    }
}

/// Returns `x ⊙ Jᵀ (R / stab(z))` for every operand that gets a share, at the forward pass itself.
fn in_proportion(
    node: &NodeView<'_>,
    stabilizer: Stabilizer,
    r: &Value,
    z: &Value,
) -> Result<Shares, Error> {
    let s = quotient(stabilizer, r, z)?;
    let shares = node.times_operands(node.pull_back_here(vec![Some(s.clone())])?)?;
    account(node, shares, &[Term { r, s: &s, z }])
}
