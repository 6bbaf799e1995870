//! The rescale rule for elementwise functions, and the rule of quotients.

use attr_core::{Binary, Error, NodeView, Op, Rule, Value};
use burn::tensor::{Bool, Tensor};

use super::rules::{arriving_matrix, between, difference, reference, wanted};

/// `m_in = m_out Δout / Δin`, elementwise.
///
/// Where `|Δin| < eps` it is the derivative, as in the paper's section 3.5.1. For smooth functions
/// the derivative at the middle also takes over where both differences are so small that their
/// quotient is rounding error: there it agrees with the quotient to second order.
pub(super) struct Rescale {
    pub eps: f64,
    /// Whether the function has kinks, and so no rounding error to speak of.
    pub kinks: bool,
}

/// Differences below this part of the values are mostly rounding error.
const SMALL: f64 = 1e-3;

impl Rule for Rescale {
    fn backward(
        &self,
        node: &NodeView<'_>,
        arriving: Vec<Option<Value>>,
    ) -> Result<Vec<Option<Value>>, Error> {
        let mut shares = vec![None; node.operands().len()];
        let Some(multiplier) = arriving_matrix(&arriving)? else {
            return Ok(shares);
        };
        let (before, after) = reference(node)?;
        let (x, out) = (&node.operands()[0], &node.outputs()[0]);
        let (change, outcome) = (difference(x, &before[0])?, difference(out, &after[0])?);
        let mut operands = node.operands().to_vec();
        let flat = match self.kinks {
            true => unchanged(&change, self.eps),
            false => {
                operands[0] = between(x, &before[0], 0.5)?;
                let size = larger(x, &before[0])?.clamp_min(1.0);
                let close = change.clone().abs().lower_equal(size * SMALL);
                let size = larger(out, &after[0])?;
                let same = outcome.clone().abs().lower_equal(size * SMALL);
                close.bool_and(same).bool_or(unchanged(&change, self.eps))
            }
        };
        let derivative = node.pull_back(&operands, arriving, &wanted(node))?;
        let still = change.clone().equal_elem(0.0);
        let quotient = multiplier * outcome / safe(change, &flat);
        shares[0] = match &derivative[0] {
            Some(derivative) => {
                let derivative = derivative.matrix()?;
                // A root at 0 that stays there: nothing changed, so nothing is shared.
                let singular = derivative.clone().is_finite().bool_not().bool_and(still);
                let share = quotient.mask_where(flat, derivative.mask_fill(singular, 0.0));
                Some(Value::from_matrix(share, &x.shape()))
            }
            // The derivative is 0 everywhere, as that of a step.
            None => {
                let share = quotient.mask_fill(flat, 0.0);
                Some(Value::from_matrix(share, &x.shape()))
            }
        };
        Ok(shares)
    }
}

/// The larger magnitude of two values.
fn larger(a: &Value, b: &Value) -> Result<Tensor<2>, Error> {
    Ok(a.matrix()?.abs().max_pair(b.matrix()?.abs()))
}

/// Where a difference counts as none; also where `eps` is 0, or 0 in half precision.
pub(super) fn unchanged(change: &Tensor<2>, eps: f64) -> Tensor<2, Bool> {
    let still = change.clone().equal_elem(0.0);
    change.clone().abs().lower_elem(eps).bool_or(still)
}

/// A denominator with ones where it is not used.
pub(super) fn safe(denominator: Tensor<2>, unused: &Tensor<2, Bool>) -> Tensor<2> {
    denominator.mask_fill(unused.clone(), 1.0)
}

/// `a / b` as the product of `a` and `1 / b`: the midpoint rule for the product, the rescale rule
/// for the reciprocal, so `m_a = m (1/b + 1/b₀) / 2` and `m_b = -m (a + a₀) / (2 b b₀)`.
pub(super) struct Division;

impl Rule for Division {
    fn backward(
        &self,
        node: &NodeView<'_>,
        arriving: Vec<Option<Value>>,
    ) -> Result<Vec<Option<Value>>, Error> {
        let wanted = wanted(node);
        let (before, _) = reference(node)?;
        let [a, b] = node.operands() else {
            return Err(Error::Internal("a quotient of other than two"));
        };
        let Some(Some(multiplier)) = arriving.first().cloned() else {
            return Ok(vec![None; 2]);
        };
        let mut shares = vec![None, None];
        if wanted[0] {
            // The derivative by `a` is `1 / b`: the mean of both ends.
            let half = Value::from_matrix(multiplier.matrix()? * 0.5, &multiplier.shape());
            let mut sum: Option<Value> = None;
            for b in [b, &before[1]] {
                let operands = [a.clone(), b.clone()];
                let share = node.pull_back(&operands, vec![Some(half.clone())], &[true, false])?;
                let share = share.into_iter().next().flatten();
                let share = share.ok_or(Error::Internal("a quotient without a derivative"))?;
                sum = Some(match sum {
                    Some(sum) => {
                        Value::from_matrix(sum.matrix()? + share.matrix()?, &share.shape())
                    }
                    None => share,
                });
            }
            shares[0] = sum;
        }
        if wanted[1] {
            // The derivative of `a / y` by `y` at 1 is `-a`.
            let square = b.matrix()? * before[1].matrix()?;
            let square = Value::from_matrix(square, &b.shape());
            let quotient = Op::Binary(Binary::Div);
            let scaled = quotient.run(vec![multiplier, square], &b.device())?;
            let one = Value::from_matrix(b.matrix()?.ones_like(), &b.shape());
            let operands = [between(a, &before[0], 0.5)?, one];
            let arriving = scaled.into_iter().map(Some).collect();
            shares[1] = node
                .pull_back(&operands, arriving, &[false, true])?
                .remove(1);
        }
        Ok(shares)
    }
}
