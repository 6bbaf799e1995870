//! The flat rule.

use attr_core::walk::{NodeInfo, NodeView, Reads, Rule, Shares};
use attr_core::{Error, Value};

use super::{Blind, parameters};
use crate::Stabilizer;

/// Shares relevance equally among the inputs of a unit, whatever their values and weights:
/// `R_in = 1ᵀ (R / stab(1 1))`, with ones in place of the weight. The bias gets nothing.
///
/// Lapuschkin et al., "Unmasking Clever Hans Predictors and Assessing What Machines Really Learn",
/// 2019 (<https://doi.org/10.1038/s41467-019-08987-4>).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flat {
    stabilizer: Stabilizer,
}

impl Flat {
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

impl Rule for Flat {
    fn reads(&self, _: &NodeInfo<'_>) -> Reads {
        Reads::NOTHING
    }

    /// Ones like the weight, and the number of inputs of each unit.
    fn prepare(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let weight = parameters(node, "Flat", true)?.weight;
        let ones = |value: &Value| value.map(|value| value.ones_like());
        let (x, weight) = (ones(&node.operands()[0].slice_rows(0..1))?, ones(&weight)?);
        let counts = node.output_at(&[x, weight.clone()])?;
        Ok(vec![weight, counts])
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
