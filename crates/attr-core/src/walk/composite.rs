//! Composites: which rule serves which node.

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
    /// What the plan is headed with.
    fn name(&self) -> String {
        "custom".into()
    }

    /// The rule of `node`; none is [`Gradient`](super::Gradient).
    ///
    /// # Errors
    /// The composite's own, for a node that it has no rule for.
    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error>;

    /// The rule that serves a group of nodes as one, such as a SiLU or an RMSNorm (see
    /// [`NodeInfo::group`]); none lets [`rule`](Self::rule) choose for each of its nodes.
    ///
    /// # Errors
    /// The composite's own.
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
