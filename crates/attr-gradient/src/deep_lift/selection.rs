//! Rules for nodes that select a value: maxima, minima and masks.

use attr_core::op::{Dim, Op};
use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{Error, Value};
use burn::tensor::Tensor;

use super::parts::{arriving_matrix, difference, reference, safe};

/// The rule for maxima and minima.
///
/// The whole difference goes to the element selected by the more extreme of the two passes. There
/// `|Δin|` is at least `|Δout|`, so the multiplier stays in `[0, 1]`.
///
/// Captum 0.9.0 does the same for max pooling, but takes another example's derivative where an
/// element does not change.
pub(super) struct Extreme {
    pub smallest: bool,
}

impl Rule for Extreme {
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        let wanted = node.wanted();
        let Some(multiplier) = arriving_matrix(&arriving)? else {
            return Ok(node.nothing());
        };
        let (before, after) = reference(node)?;
        let (out, shape) = (&node.outputs()[0], node.outputs()[0].shape());
        let outcome = difference(out, &after[0])?;
        let by_reference = if self.smallest {
            outcome.clone().greater_elem(0.0)
        } else {
            outcome.clone().lower_elem(0.0)
        };
        let moved = multiplier * outcome;
        let only = |part: Tensor<2>| {
            let mut only = vec![None; arriving.len()];
            only[0] = Some(Value::from_matrix(part, &shape));
            only
        };
        let from_input = only(moved.clone().mask_fill(by_reference.clone(), 0.0));
        let from_reference = only(moved.mask_fill(by_reference.bool_not(), 0.0));
        let here = node.pull_back_here(from_input)?;
        let there = node.pull_back(before, from_reference, wanted)?;
        let derivative = node.pull_back_here(arriving)?;
        let parts = here.into_iter().zip(there).zip(derivative).enumerate();
        let shares = parts
            .map(|(i, ((here, there), derivative))| {
                let (Some(here), Some(there), Some(derivative)) = (here, there, derivative) else {
                    return Ok(None);
                };
                let change = difference(&node.operands()[i], &before[i])?;
                let still = change.clone().equal_elem(0.0);
                let share = (here.matrix()? + there.matrix()?) / safe(change, &still);
                let share = share.mask_where(still, derivative.matrix()?);
                Ok(Some(Value::from_matrix(share, &here.shape())))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(shares.into())
    }
}

/// The rule for `where(mask, value, x)` with a mask that depends on the input, which is a piecewise
/// function written by hand.
///
/// Where both passes selected the same operand, the derivative is used. Elsewhere, the difference
/// is shared in proportion to how much `x` and `value` changed.
pub(super) struct Masked;

impl Rule for Masked {
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        let wanted = node.wanted();
        let Some(multiplier) = arriving_matrix(&arriving)? else {
            return Ok(node.nothing());
        };
        let (before, after) = reference(node)?;
        let (operands, out) = (node.operands(), &node.outputs()[0]);
        let sources: &[usize] = match node.op() {
            Op::MaskWhere => &[0, 2],
            _ => &[0],
        };
        let shape = out.shape();
        if sources.iter().any(|&i| operands[i].shape() != shape) {
            return Err(Error::Method {
                method: "DeepLIFT",
                reason: format!(
                    "layer {:?} broadcasts the values it selects from",
                    node.name()
                ),
            });
        }
        let [rows, elements] = multiplier.dims();
        // Only the mask may be broadcast.
        let broadcast = Op::Expand(
            shape
                .iter()
                .map(|&size| Dim::fixed(size as isize))
                .collect(),
        );
        let truth = |mask: &Value| {
            let whole = broadcast.run(vec![mask.clone()], &mask.device())?;
            let whole = whole.into_iter().next();
            let whole = whole.ok_or(Error::Internal("a mask without a value"))?;
            whole.reshape(&[rows, elements]).bool_tensor::<2>()
        };
        let switched = truth(&operands[1])?.not_equal(truth(&before[1])?);
        let changes = sources
            .iter()
            .map(|&i| difference(&operands[i], &before[i]));
        let changes: Vec<Tensor<2>> = changes.collect::<Result<_, _>>()?;
        let mut size = multiplier.zeros_like();
        for change in &changes {
            size = size + change.clone().abs();
        }
        let still = size.clone().equal_elem(0.0);
        let share = multiplier * difference(out, &after[0])? / safe(size, &still);
        let share = share.mask_fill(still, 0.0);
        let mut shares = node.pull_back_here(arriving)?;
        for (&i, change) in sources.iter().zip(changes) {
            if let (true, Some(derivative)) = (wanted[i], &shares[i]) {
                let here = share.clone() * change.sign();
                let here = derivative.matrix()?.mask_where(switched.clone(), here);
                shares[i] = Some(Value::from_matrix(here, &shape));
            }
        }
        Ok(shares.into())
    }
}
