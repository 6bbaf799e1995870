//! Composites choose the rule for each node.

use std::sync::Arc;

use super::info::NodeInfo;
use super::rule::Rule;
use crate::Error;

/// Chooses the rule of each node from what is known before anything runs.
///
/// A composite is asked once per node of a graph when a [`Plan`](super::Plan) is made, in
/// execution order. The name is Anders et al.'s ("Software for Dataset-wide XAI", 2021).
///
/// Closures are composites, too: `|node: &NodeInfo<'_>| Ok(None)`.
pub trait Composite: Send + Sync {
    /// The name in the heading of a printed plan.
    fn name(&self) -> String {
        "custom".into()
    }

    /// Returns the composite to use for a model with these nodes, in execution order, in place of
    /// this one; `None` if this one serves every model.
    ///
    /// # Errors
    /// The composite's own errors.
    fn for_model(&self, nodes: &[NodeInfo<'_>]) -> Result<Option<Arc<dyn Composite>>, Error> {
        let _ = nodes;
        Ok(None)
    }

    /// Returns the rule for `node`; `None` means [`Gradient`](super::Gradient).
    ///
    /// # Errors
    /// The composite's own errors, for a node that it has no rule for.
    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error>;

    /// Returns the rule that serves a group of nodes as one, such as a SiLU or an RMSNorm (see
    /// [`NodeInfo::group`]); `None` lets [`rule`](Self::rule) choose for each of its nodes.
    ///
    /// # Errors
    /// The composite's own errors.
    fn group(&self, group: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        let _ = group;
        Ok(None)
    }
}

impl<F> Composite for F
where
    F: Fn(&NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> + Send + Sync,
{
    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        self(node)
    }
}

impl Composite for &dyn Composite {
    fn name(&self) -> String {
        (**self).name()
    }

    fn for_model(&self, nodes: &[NodeInfo<'_>]) -> Result<Option<Arc<dyn Composite>>, Error> {
        (**self).for_model(nodes)
    }

    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        (**self).rule(node)
    }

    fn group(&self, group: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        (**self).group(group)
    }
}

/// The true derivative at every node.
#[derive(Clone, Copy, Debug, Default)]
pub struct GradientEverywhere;

impl Composite for GradientEverywhere {
    fn name(&self) -> String {
        "gradient".into()
    }

    fn rule(&self, _: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        Ok(None)
    }
}
