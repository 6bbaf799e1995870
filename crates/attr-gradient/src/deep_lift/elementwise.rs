//! The rescale rule for elementwise functions, and the rule for quotients.

use attr_core::op::{Binary, Op};
use attr_core::walk::{NodeView, Rule, Shares, in_pieces};
use attr_core::{Error, Value};
use burn::tensor::Tensor;

use super::parts::{between, difference, larger, reference, safe, unchanged};

/// The rescale rule: `m_in = m_out Δout / Δin`, elementwise.
///
/// Where `|Δin| < eps`, the derivative is used, as in the paper's section 3.5.1. It is also used
/// where the quotient would be rounding error; [`Form`] says where that is.
pub(super) struct Rescale {
    pub eps: f64,
    pub form: Form,
}

/// The form of a function, which decides where quotients would be rounding error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Smooth. Where both differences are small, the derivative at the midpoint is used; there it
    /// agrees with the quotient to second order.
    Smooth,
    /// Piecewise linear with any slopes, each of one piece unless it is 0. Where both ends have the
    /// same slope, that is the quotient.
    Pieces,
    /// Piecewise linear with slopes 1, 0 and -1, which cause no rounding error.
    ExactPieces,
}

/// Differences below this fraction of the values are mostly rounding error.
const SMALL: f64 = 1e-3;

impl Rule for Rescale {
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        let Some(Some(arriving)) = arriving.into_iter().next() else {
            return Ok(node.nothing());
        };
        let (before, after) = reference(node)?;
        let ends = [&node.operands()[0], &before[0]];
        let outcomes = [&node.outputs()[0], &after[0]];
        let values = [ends[0], ends[1], outcomes[0], outcomes[1], &arriving];
        let share = |values: &[Value]| self.share(node, values);
        let mut shares = vec![None; node.operands().len()];
        shares[0] = Some(if shares.len() == 1 {
            in_pieces(&values, 1, share)?
        } else {
            // The other operands have shapes of their own.
            share(&values.map(Clone::clone))?
        });
        Ok(shares.into())
    }
}

impl Rescale {
    /// What arrives at the first operand: `values` are that operand and the output, each followed by
    /// the reference's, and what arrives at the output.
    fn share(&self, node: &NodeView<'_>, values: &[Value]) -> Result<Value, Error> {
        let [x, before, out, after, arriving] = values else {
            return Err(Error::Internal("the rescale rule without its values"));
        };
        let (change, outcome) = (difference(x, before)?, difference(out, after)?);
        let at = |x: &Value| {
            let mut operands = node.operands().to_vec();
            operands[0] = x.clone();
            operands
        };
        let pull_back = |x: &Value, arriving: Value| {
            let found = node.pull_back(&at(x), vec![Some(arriving)], node.wanted())?;
            Ok::<_, Error>(found.into_iter().next().flatten())
        };
        let mut here = x.clone();
        let flat = match self.form {
            Form::ExactPieces => unchanged(&change, self.eps),
            Form::Pieces => {
                // The slopes at both ends: what an arriving 1 becomes there.
                let one = || Value::from_matrix(outcome.ones_like(), &out.shape());
                match (pull_back(x, one())?, pull_back(before, one())?) {
                    (Some(slopes), Some(before)) => {
                        // Of a slope of 0 there may be two pieces, with a step between them.
                        let slopes = slopes.matrix()?;
                        let flat = slopes.clone().equal_elem(0.0);
                        let same = slopes.equal(before.matrix()?).bool_and(flat.bool_not());
                        same.bool_or(unchanged(&change, self.eps))
                    }
                    _ => unchanged(&change, self.eps),
                }
            }
            Form::Smooth => {
                here = between(x, before, 0.5)?;
                let size = magnitude(x, before)?.clamp_min(1.0);
                let close = change.clone().abs().lower_equal(size * SMALL);
                let size = magnitude(out, after)?;
                let same = outcome.clone().abs().lower_equal(size * SMALL);
                close.bool_and(same).bool_or(unchanged(&change, self.eps))
            }
        };
        // A smooth function may have an infinite derivative, as a root has at 0. If the input does not
        // change there, the share is 0.
        let still = (self.form == Form::Smooth).then(|| change.clone().equal_elem(0.0));
        let quotient = arriving.matrix()? * outcome / safe(change, &flat);
        let share = match pull_back(&here, arriving.clone())? {
            Some(derivative) => {
                let mut derivative = derivative.matrix()?;
                if let Some(still) = still {
                    let singular = derivative.clone().is_finite().bool_not().bool_and(still);
                    derivative = derivative.mask_fill(singular, 0.0);
                }
                quotient.mask_where(flat, derivative)
            }
            // The derivative is 0 everywhere, as for a step function.
            None => quotient.mask_fill(flat, 0.0),
        };
        Ok(Value::from_matrix(share, &x.shape()))
    }
}

/// Returns the larger magnitude of two values.
fn magnitude(a: &Value, b: &Value) -> Result<Tensor<2>, Error> {
    Ok(larger(a.matrix()?.abs(), b.matrix()?.abs()))
}

/// The rule for `a / b` as the product of `a` and `1 / b`.
///
/// The midpoint rule for the product and the rescale rule for the reciprocal give
/// `m_a = m (1/b + 1/b₀) / 2` and `m_b = -m (a + a₀) / (2 b b₀)`.
pub(super) struct Division;

impl Rule for Division {
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        let wanted = node.wanted();
        let (before, _) = reference(node)?;
        let [a, b] = node.operands() else {
            return Err(Error::Internal("a quotient without two operands"));
        };
        let Some(Some(multiplier)) = arriving.first().cloned() else {
            return Ok(node.nothing());
        };
        let mut shares = vec![None, None];
        if wanted[0] {
            // The derivative with respect to `a` is `1 / b`; take the mean of both ends.
            let half = multiplier.map(|multiplier| multiplier * 0.5)?;
            let ends = [b, &before[1]];
            shares[0] =
                Some(Value::sum(ends.map(|b| {
                    node.pull_back_first(&[a.clone(), b.clone()], half.clone())
                }))?);
        }
        if wanted[1] {
            // The derivative of `a / y` with respect to `y` at 1 is `-a`.
            let square = b.zip(&before[1], |b, before| b * before)?;
            let quotient = Op::Binary(Binary::Div);
            let scaled = quotient.run(vec![multiplier, square], &b.device())?;
            let one = Value::from_matrix(b.matrix()?.ones_like(), &b.shape());
            let operands = [between(a, &before[0], 0.5)?, one];
            let arriving = scaled.into_iter().map(Some).collect();
            shares[1] = node
                .pull_back(&operands, arriving, &[false, true])?
                .remove(1);
        }
        Ok(shares.into())
    }
}
