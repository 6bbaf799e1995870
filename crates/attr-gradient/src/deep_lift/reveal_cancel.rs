//! RevealCancel: positive and negative contributions to a nonlinearity are kept apart, so that
//! they do not cancel before it.

use std::sync::Arc;

use attr_core::op::Op;
use attr_core::walk::{NodeInfo, NodeView, Rule, Shares};
use attr_core::{Error, Value};
use burn::tensor::Tensor;

use super::parts::{arriving_matrix, difference, reference, safe, unchanged};

/// Returns the rule for a linear or convolution layer read only by a nonlinearity, or for that
/// nonlinearity; none for other nodes.
pub(super) fn choose(node: &NodeInfo<'_>, eps: f64) -> Option<Arc<dyn Rule>> {
    if is_linear(node)
        && node
            .only_reader()
            .is_some_and(|reader| is_nonlinear(&reader))
    {
        return Some(Arc::new(Split));
    }
    let layer = node.producer(0).filter(is_linear)?;
    let alone = layer.only_reader()?.position() == node.position();
    if alone && is_nonlinear(node) {
        return Some(Arc::new(RevealCancel { eps }));
    }
    None
}

fn is_nonlinear(node: &NodeInfo<'_>) -> bool {
    let op = node.op();
    let mixes = matches!(
        op,
        Op::Softmax { .. } | Op::LogSoftmax { .. } | Op::Softmin { .. }
    );
    op.is_relu() || (op.is_activation() && !mixes)
}

fn is_linear(node: &NodeInfo<'_>) -> bool {
    matches!(node.op(), Op::Linear | Op::Conv(_)) && node.only_varies(0)
}

/// The RevealCancel rule at `y = f(x)` with `Δx = Δx⁺ + Δx⁻`, the sums of the positive and of the
/// negative contributions.
///
/// `Δy⁺ = ½ [f(x₀ + Δx⁺) - f(x₀)] + ½ [f(x₀ + Δx⁻ + Δx⁺) - f(x₀ + Δx⁻)]`, `Δy⁻` likewise, and
/// the multipliers are `Δy⁺ / Δx⁺` and `Δy⁻ / Δx⁻`. The layer receives both as parts of its
/// multiplier.
struct RevealCancel {
    eps: f64,
}

impl Rule for RevealCancel {
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        let mut shares = vec![None; node.operands().len()];
        let Some(multiplier) = arriving_matrix(&arriving)? else {
            return Ok(shares.into());
        };
        let layer = node.producer(0)?;
        let layer = layer.ok_or(Error::Internal("a nonlinearity without its layer"))?;
        let (before, after) = reference(node)?;
        let [positive, negative] = contributions(&layer)?;
        let shape = node.operands()[0].shape();
        let at = |x: Tensor<2>| -> Result<Tensor<2>, Error> {
            let mut operands = node.operands().to_vec();
            operands[0] = Value::from_matrix(x, &shape);
            node.output_at(&operands)?.matrix()
        };
        let x0 = before[0].matrix()?;
        let (f0, f) = (after[0].matrix()?, node.outputs()[0].matrix()?);
        let with_positive = at(x0.clone() + positive.clone())?;
        let with_negative = at(x0 + negative.clone())?;
        let of_positive =
            (with_positive.clone() - f0.clone() + f.clone() - with_negative.clone()) * 0.5;
        let of_negative = (with_negative - f0 + f - with_positive) * 0.5;
        let derivative = node.pull_back(node.operands(), arriving, node.wanted())?;
        let Some(derivative) = derivative.into_iter().next().flatten() else {
            return Ok(shares.into());
        };
        let quotient = |outcome: Tensor<2>, change: Tensor<2>| -> Result<Value, Error> {
            let still = unchanged(&change, self.eps);
            let quotient = multiplier.clone() * outcome / safe(change, &still);
            let quotient = quotient.mask_where(still, derivative.matrix()?);
            Ok(Value::from_matrix(quotient, &shape))
        };
        // Observers of the layer see its multiplier as a whole.
        shares[0] = Some(quotient(
            difference(&node.outputs()[0], &after[0])?,
            difference(&node.operands()[0], &before[0])?,
        )?);
        let parts = vec![
            quotient(of_positive, positive)?,
            quotient(of_negative, negative)?,
        ];
        Ok(Shares::from(shares).with_parts(parts))
    }
}

/// The rule for a linear layer whose positive and negative contributions have separate multipliers.
struct Split;

impl Rule for Split {
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        let [positive, negative] = node.parts() else {
            // The backward pass starts here, or nothing separated the contributions.
            return Ok(node.pull_back_here(arriving)?.into());
        };
        let (before, _) = reference(node)?;
        let x = &node.operands()[0];
        let change = difference(x, &before[0])?;
        let rises = change.clone().greater_elem(0.0);
        let falls = change.lower_elem(0.0);
        // A contribution `w Δx` is positive where both factors have the same sign. Where `Δx` is
        // 0, both multipliers count half.
        let share = |of_positive: &Value, of_negative: &Value| {
            let share = Value::sum([(1.0, of_positive), (-1.0, of_negative)].map(
                |(sign, multiplier)| {
                    node.pull_back_first(&with_weight(node, sign)?, multiplier.clone())
                },
            ));
            share?.matrix()
        };
        let (when_rising, when_falling) = (share(positive, negative)?, share(negative, positive)?);
        let mean = (when_rising.clone() + when_falling.clone()) * 0.5;
        let share = mean
            .mask_where(rises, when_rising)
            .mask_where(falls, when_falling);
        Ok(node.only_first(Value::from_matrix(share, &x.shape())))
    }
}

/// Returns the layer's operands with only the positive (or negative) part of its weight, no bias.
fn with_weight(layer: &NodeView<'_>, sign: f64) -> Result<Vec<Value>, Error> {
    let mut operands = layer.operands().to_vec();
    operands.truncate(2);
    let weight = operands[1].matrix()?;
    let part = if sign > 0.0 {
        weight.clamp_min(0.0)
    } else {
        weight.clamp_max(0.0)
    };
    operands[1] = Value::from_matrix(part, &operands[1].shape());
    Ok(operands)
}

/// Returns the sums of positive and of negative contributions `w Δx` to a layer's output.
fn contributions(layer: &NodeView<'_>) -> Result<[Tensor<2>; 2], Error> {
    let (before, _) = reference(layer)?;
    let x = &layer.operands()[0];
    let change = difference(x, &before[0])?;
    let part = |change: Tensor<2>, sign: f64| -> Result<Tensor<2>, Error> {
        let mut operands = with_weight(layer, sign)?;
        operands[0] = Value::from_matrix(change, &x.shape());
        layer.output_at(&operands)?.matrix()
    };
    let (rise, fall) = (change.clone().clamp_min(0.0), change.clamp_max(0.0));
    Ok([
        part(rise.clone(), 1.0)? + part(fall.clone(), -1.0)?,
        part(rise, -1.0)? + part(fall, 1.0)?,
    ])
}
