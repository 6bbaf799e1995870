//! The w² rule.

use attr_core::walk::{NodeInfo, NodeView, Reads, Rule, Shares};
use attr_core::{Error, Value};

use super::{Blind, parameters};
use crate::Stabilizer;

/// Shares relevance in proportion to squared weights, whatever the input:
/// `R_in = (W²)ᵀ (R / stab(W² 1 + b²))`.
///
/// Montavon et al., "Explaining NonLinear Classification Decisions with Deep Taylor Decomposition",
/// 2017 (<https://doi.org/10.1016/j.patcog.2016.11.008>).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WSquare {
    stabilizer: Stabilizer,
    zero_bias: bool,
}

impl WSquare {
    /// Creates the rule.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the stabiliser of the denominators.
    pub fn with_stabilizer(mut self, stabilizer: impl Into<Stabilizer>) -> Self {
        self.stabilizer = stabilizer.into();
        self
    }

    /// Leaves the bias out of the denominators, so that it takes no relevance.
    pub fn without_bias(mut self) -> Self {
        self.zero_bias = true;
        self
    }
}

impl Rule for WSquare {
    fn reads(&self, _: &NodeInfo<'_>) -> Reads {
        Reads::NOTHING
    }

    /// `W²`, and `W² 1 + b²` for one row.
    fn prepare(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let own = parameters(node, "WSquare", self.zero_bias)?;
        let squared = |value: &Value| value.map(|value| value.clone() * value);
        let weight = squared(&own.weight)?;
        let ones = node.operands()[0].slice_rows(0..1).map(|x| x.ones_like())?;
        let mut operands = vec![ones, weight.clone()];
        if let Some(bias) = &own.bias {
            operands.push(squared(bias)?);
        }
        Ok(vec![weight, node.output_at(&operands)?])
    }

    fn backward(&self, node: &NodeView<'_>, r: Vec<Option<Value>>) -> Result<Shares, Error> {
        Blind::of(node, self.stabilizer).share(node, &r)
    }

    fn weight_share(
        &self,
        node: &NodeView<'_>,
        r: &[Option<Value>],
    ) -> Result<Option<Value>, Error> {
        let share = Blind::of(node, self.stabilizer).weight_share(node, r)?;
        Ok(Some(share))
    }
}
