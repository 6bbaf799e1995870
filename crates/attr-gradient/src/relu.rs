//! The composite of guided backpropagation and deconvolution: a special rule at every ReLU.

use std::sync::Arc;

use attr_core::walk::{Composite, NodeInfo, Rule};

/// Returns the composite with `rule` at every ReLU and the derivative elsewhere.
pub(crate) fn at_relus(rule: Arc<dyn Rule>) -> impl Composite {
    move |node: &NodeInfo<'_>| Ok(node.op().is_relu().then(|| rule.clone()))
}
