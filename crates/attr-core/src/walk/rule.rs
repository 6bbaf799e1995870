//! Rules: how a node shares what arrives at its outputs among its operands.

use super::info::NodeInfo;
use super::view::NodeView;
use crate::{Error, Value};

/// Which of a node's values a rule reads during a walk. Of the others only the shapes are kept;
/// their elements read as zeros.
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
    /// Neither: what arrives is moved or scaled.
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

/// What a rule hands back: one share per operand.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    pub(crate) shares: Vec<Option<Value>>,
    pub(crate) parts: Vec<Value>,
}

impl Shares {
    /// Lets parts of the share of operand 0 travel along, for the rule of the node that produced
    /// it to read as [`NodeView::parts`]. Parts are shaped like the share and masked with it. They
    /// are lost where other nodes read that operand, too.
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
        }
    }
}

/// How a node shares what arrives at its outputs among its operands.
///
/// A rule has up to three moments. [`prepare`](Self::prepare) runs once per graph, with parameters
/// only: clamped weights. [`forward`](Self::forward) runs once per row of the forward pass, however
/// many walks stand on it: the denominators of LRP. [`backward`](Self::backward) runs once per walk.
///
/// Walks can be recorded, so no rule reads a tensor's value on the host, unless it says so by
/// [`reads_values`](Self::reads_values).
///
/// The epsilon rule of LRP, in full:
///
/// ```
/// use attr_core::walk::{NodeView, Rule, Shares};
/// use attr_core::{Error, Value};
///
/// /// `R_in = x ⊙ Jᵀ (R / (z + ε sign z))`.
/// struct Epsilon(f64);
///
/// impl Rule for Epsilon {
///     fn backward(
///         &self,
///         node: &NodeView<'_>,
///         arriving: Vec<Option<Value>>,
///     ) -> Result<Shares, Error> {
///         let z = &node.outputs()[0];
///         let Some(relevance) = &arriving[0] else {
///             return Ok(node.nothing());
///         };
///         let stabilised = |z: burn::tensor::Tensor<2>| z.clone() + z.sign() * self.0;
///         let quotient = relevance.zip(z, |r, z| r / stabilised(z))?;
///         node.times_operands(node.pull_back_here(vec![Some(quotient)])?)
///     }
/// }
/// ```
pub trait Rule: Send + Sync {
    /// What a plan prints.
    fn name(&self) -> String {
        let path = std::any::type_name::<Self>();
        path.rsplit("::").next().unwrap_or(path).to_string()
    }

    /// What a walk reads of the node's forward values; all of them unless said otherwise.
    fn reads(&self, node: &NodeInfo<'_>) -> Reads {
        let _ = node;
        Reads::ALL
    }

    /// Whether the rule looks at tensors' values on the host, to refine itself. Such a walk cannot
    /// be recorded.
    fn reads_values(&self) -> bool {
        false
    }

    /// What depends on parameters alone: computed once per graph, found again as
    /// [`NodeView::prepared`]. `node` has the values of parameters and constants; of other operands
    /// it has only the shapes, for one row.
    ///
    /// # Errors
    /// The rule's own.
    fn prepare(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let _ = node;
        Ok(Vec::new())
    }

    /// What depends on the forward pass alone: computed once per pass, found again as
    /// [`NodeView::computed`]. Each value has the batch where the node's first output has it.
    ///
    /// # Errors
    /// The rule's own.
    fn forward(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let _ = node;
        Ok(Vec::new())
    }

    /// One share per operand, shaped like the operand; none for operands that are not
    /// [`wanted`](NodeView::wanted) or that nothing flows to. `arriving` has one entry per output,
    /// of which at least one is there.
    ///
    /// # Errors
    /// The rule's own, for a node it cannot serve.
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error>;
}

/// The true derivative.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gradient;

impl Rule for Gradient {
    fn reads(&self, node: &NodeInfo<'_>) -> Reads {
        let wanted: Vec<bool> = (0..node.operands()).map(|i| node.varies(i)).collect();
        let (operands, outputs) = node.body().reads(&wanted);
        Reads { operands, outputs }
    }

    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        Ok(node.pull_back_here(arriving)?.into())
    }
}
