//! The rule that passes relevance on.

use attr_core::walk::{NodeInfo, NodeView, Reads, Rule, Shares};
use attr_core::{Error, Value};

use super::relevance;

/// Passes relevance on unchanged, to the first operand that depends on the model's input. For
/// activation functions and normalisations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass;

impl Rule for Pass {
    fn reads(&self, _: &NodeInfo<'_>) -> Reads {
        Reads::NOTHING
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        let mut shares = vec![None; node.operands().len()];
        let first = node.wanted().iter().position(|wanted| *wanted);
        if let Some(first) = first {
            shares[first] = Some(relevance(&r)?.clone());
        }
        Ok(shares.into())
    }
}
