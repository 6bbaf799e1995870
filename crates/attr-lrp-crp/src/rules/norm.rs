//! The rule for sums and means.

use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{Error, Value};
use burn::tensor::Tensor;

use super::{Term, account, quotient, relevance};
use crate::Stabilizer;

/// Shares relevance in proportion to what each input adds: `R_in = x ⊙ Jᵀ (R / stab(z))` with the
/// output `z`. For sums of layers (residual connections), means and average pooling.
///
/// The name is zennit's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Norm {
    stabilizer: Stabilizer,
}

impl Norm {
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

impl Rule for Norm {
    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let (r, z) = (relevance(&r)?, &node.outputs()[0]);
        let s = quotient(self.stabilizer, r, z)?;
        let back = node.pull_back_here(vec![Some(s.clone())])?;
        let pairs = back.into_iter().zip(node.operands());
        let shares = pairs.map(|(back, operand)| {
            let back = back.as_ref();
            back.map(|back| back.zip(operand, |back, x| product(x, back)))
                .transpose()
        });
        let shares: Vec<Option<Value>> = shares.collect::<Result<_, Error>>()?;
        account(node, shares.into(), &[Term { r, s: &s, z }])
    }
}

/// Multiplies by what arrives. What gets nothing may be -∞: the mask of a score.
fn product(x: Tensor<2>, back: Tensor<2>) -> Tensor<2> {
    let nothing = back.clone().equal_elem(0.0);
    (x * back).mask_fill(nothing, 0.0)
}
