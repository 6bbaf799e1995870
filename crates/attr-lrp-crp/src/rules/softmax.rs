//! The rule for softmax.

use attr_core::op::Op;
use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{Error, Value};

use super::relevance;

/// The Taylor decomposition of a softmax `p` of `x`: `R_in = x ⊙ (R - p ΣR)`, with the sum along the
/// dimension of the softmax.
///
/// The constant of the decomposition takes the rest of the relevance. Positions that are masked with
/// minus infinity get nothing. Achtibat et al., "AttnLRP: Attention-Aware Layer-Wise Relevance
/// Propagation for Transformers", 2024, proposition 3.1 (<https://arxiv.org/abs/2402.05602>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softmax;

impl Rule for Softmax {
    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let r = relevance(&r)?;
        let (Op::Softmax { dim }, Some(x)) = (node.op(), node.operands().first()) else {
            return Err(Error::Rule {
                rule: "Softmax".into(),
                layer: node.name().into(),
                reason: format!("it needs a softmax, not {}", node.op().name()),
            });
        };
        let shape = r.shape();
        let before: usize = shape[..*dim].iter().product();
        let after: usize = shape[*dim + 1..].iter().product();
        let sizes = [before, shape[*dim], after];
        let blocks = |value: &Value| value.clone().reshape(&sizes).tensor::<3>();
        let (r, p, x) = (blocks(r)?, blocks(&node.outputs()[0])?, blocks(x)?);
        let inner = r.clone() - p * r.sum_dim(1);
        // What is hidden is -∞ times 0.
        let hidden = inner.clone().equal_elem(0.0);
        let share = (x * inner).mask_fill(hidden, 0.0);
        Ok(node.only_first(Value::from(share).reshape(&shape)))
    }
}
