//! Rules decide how a node shares what arrives at its outputs among its operands.

use super::info::NodeInfo;
use super::shares::{Reads, Shares};
use super::view::NodeView;
use crate::{Error, Value};

/// Decides how a node shares what arrives at its outputs among its operands.
///
/// A rule has up to three steps. [`prepare`](Self::prepare) runs once per graph and sees only
/// parameters, for example to clamp weights. [`forward`](Self::forward) runs once per row of the
/// forward pass, regardless of how many walks use it, for example for the denominators of LRP.
/// [`backward`](Self::backward) runs once per walk.
///
/// Walks can be recorded, so a rule must not read tensor values on the host unless
/// [`reads_values`](Self::reads_values) says so.
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
    /// The name that a plan prints.
    fn name(&self) -> String {
        let path = std::any::type_name::<Self>();
        path.rsplit("::").next().unwrap_or(path).to_string()
    }

    /// The node's forward values that a walk reads; all of them by default.
    fn reads(&self, node: &NodeInfo<'_>) -> Reads {
        let _ = node;
        Reads::ALL
    }

    /// Whether the rule reads tensor values on the host to refine itself. Walks with such a rule
    /// cannot be recorded.
    fn reads_values(&self) -> bool {
        false
    }

    /// Computes, once per graph, what depends on parameters alone; [`NodeView::prepared`] returns
    /// it later. `node` has the values of parameters and constants; for other operands it has only
    /// the shapes, for one row.
    ///
    /// # Errors
    /// The rule's own errors.
    fn prepare(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let _ = node;
        Ok(Vec::new())
    }

    /// Computes, once for each row of the pass, what depends on the forward pass alone;
    /// [`NodeView::computed`] returns it later. Rows of one pass may come in several parts. Each value has the batch where the node's first output has it.
    ///
    /// # Errors
    /// The rule's own errors.
    fn forward(&self, node: &NodeView<'_>) -> Result<Vec<Value>, Error> {
        let _ = node;
        Ok(Vec::new())
    }

    /// Returns one share per operand, shaped like the operand; `None` for operands that are not
    /// [`wanted`](NodeView::wanted) or that nothing flows to. `arriving` has one entry per output,
    /// of which at least one is `Some`.
    ///
    /// # Errors
    /// The rule's own errors, for a node that it cannot serve.
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error>;

    /// Returns how much flows through each element of the weight of a linear layer, summed over
    /// rows and positions; `None` for rules and nodes to which that means nothing. Only asked for by
    /// walks [with weights](super::Walk::with_weights).
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    fn weight_share(
        &self,
        node: &NodeView<'_>,
        arriving: &[Option<Value>],
    ) -> Result<Option<Value>, Error> {
        let _ = (node, arriving);
        Ok(None)
    }
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
