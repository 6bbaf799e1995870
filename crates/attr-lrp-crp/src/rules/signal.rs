//! The rule for gates.

use attr_core::op::{Binary, Op};
use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{Error, Value};

use super::{Term, account, quotient, relevance};
use crate::Stabilizer;

/// Gives all relevance of a product to the signal, and none to the gate that scales it:
/// `R_signal = x ⊙ Jᵀ (R / stab(z))`, which is `R` itself for an elementwise product.
///
/// For products with gates of LSTMs, GRUs, and squeeze-and-excitation, and, where queries and keys
/// get nothing, for the product of attention weights with values. Arras et al., "Explaining and
/// Interpreting LSTMs", 2019 (<https://doi.org/10.1007/978-3-030-28954-6_11>), there called LRP-all;
/// Ali et al., "XAI for Transformers: Better Explanations through Conservative Propagation", 2022
/// (<https://arxiv.org/abs/2202.07304>).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignalTakesAll {
    signal: usize,
    stabilizer: Stabilizer,
}

impl SignalTakesAll {
    /// Creates the rule for a product whose operand number `signal`, 0 or 1, is the signal.
    pub fn new(signal: usize) -> Self {
        Self {
            signal,
            stabilizer: Stabilizer::default(),
        }
    }

    /// Sets the stabiliser of the denominators.
    pub fn with_stabilizer(mut self, stabilizer: impl Into<Stabilizer>) -> Self {
        self.stabilizer = stabilizer.into();
        self
    }
}

impl Rule for SignalTakesAll {
    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let relevance = relevance(&r)?;
        let product = matches!(
            node.op(),
            Op::MatMul | Op::Binary(Binary::Mul | Binary::Div)
        );
        let Some(signal) = node.operands().get(self.signal).filter(|_| product) else {
            return Err(Error::Rule {
                rule: "SignalTakesAll".into(),
                layer: node.name().into(),
                reason: "it needs a product of two values, one of which is the signal".into(),
            });
        };
        let mut shares = vec![None; node.operands().len()];
        let elementwise = *node.op() != Op::MatMul && signal.shape() == relevance.shape();
        if elementwise {
            shares[self.signal] = Some(relevance.clone());
            return Ok(shares.into());
        }
        let z = &node.outputs()[0];
        let s = quotient(self.stabilizer, relevance, z)?;
        let wanted: Vec<bool> = (0..shares.len()).map(|i| i == self.signal).collect();
        let back = node.pull_back(node.operands(), vec![Some(s.clone())], &wanted)?;
        let shares = node.times_operands(back)?;
        let term = Term {
            r: relevance,
            s: &s,
            z,
        };
        account(node, shares, &[term])
    }
}
