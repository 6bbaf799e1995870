//! The rule for sums and means.

use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{Error, Value};

use super::{in_proportion, relevance};
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
        in_proportion(node, self.stabilizer, relevance(&r)?, &node.outputs()[0])
    }
}
