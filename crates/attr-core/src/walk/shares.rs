//! What a rule reads of its node, and what it hands back.

use crate::Value;

/// The node values that a rule reads during a walk. For the others only shapes are kept; their
/// elements read as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    /// The values of the operands that depend on the model's inputs. Weights are always there.
    pub operands: bool,
    /// The values of the outputs.
    pub outputs: bool,
}

impl Reads {
    /// Operands and outputs.
    pub const ALL: Self = Self {
        operands: true,
        outputs: true,
    };
    /// Neither: the rule only moves or scales what arrives.
    pub const NOTHING: Self = Self {
        operands: false,
        outputs: false,
    };
    /// The operands.
    pub const OPERANDS: Self = Self {
        operands: true,
        outputs: false,
    };
}

/// The result of a rule: one share per operand.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    pub(crate) shares: Vec<Option<Value>>,
    pub(crate) parts: Vec<Value>,
    pub(crate) stabilized: Option<Value>,
}

impl Shares {
    /// Says what stabilisers took, as a value whose elements add up to it. A rule that shares in
    /// proportion to contributions says so if the walk [keeps a
    /// ledger](super::NodeView::accounting); the rest of what it does not pass on then counts as
    /// the share of the node's bias.
    pub fn with_stabilized(mut self, taken: Value) -> Self {
        self.stabilized = Some(taken);
        self
    }

    /// Attaches parts of the share of operand 0. The rule of the node that produced the operand
    /// reads them as [`NodeView::parts`](super::NodeView::parts). Parts are shaped like the share
    /// and masked with it. They are lost if other nodes also read that operand.
    pub fn with_parts(mut self, parts: Vec<Value>) -> Self {
        self.parts = parts;
        self
    }
}

impl From<Vec<Option<Value>>> for Shares {
    fn from(shares: Vec<Option<Value>>) -> Self {
        Self {
            shares,
            parts: Vec::new(),
            stabilized: None,
        }
    }
}
