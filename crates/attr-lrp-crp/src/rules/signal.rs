//! The rule for gates.

use attr_core::walk::{NodeInfo, NodeView, Reads, Rule, Shares};
use attr_core::{Error, Value};

use super::relevance;

/// Gives all relevance of a product to the signal, and none to the gate that scales it.
///
/// Arras et al., "Explaining and Interpreting LSTMs", 2019
/// (<https://doi.org/10.1007/978-3-030-28954-6_11>), there called LRP-all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalTakesAll {
    signal: usize,
}

impl SignalTakesAll {
    /// Creates the rule for a product whose operand number `signal`, 0 or 1, is the signal.
    pub fn new(signal: usize) -> Self {
        Self { signal }
    }
}

impl Rule for SignalTakesAll {
    fn reads(&self, _: &NodeInfo<'_>) -> Reads {
        Reads::NOTHING
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let relevance = relevance(&r)?;
        let operand = node.operands().get(self.signal);
        if operand.is_none_or(|operand| operand.shape() != relevance.shape()) {
            return Err(Error::Rule {
                rule: "SignalTakesAll".into(),
                layer: node.name().into(),
                reason: "the signal must have the shape of the product".into(),
            });
        }
        let mut shares = vec![None; node.operands().len()];
        shares[self.signal] = Some(relevance.clone());
        Ok(shares.into())
    }
}
