//! A composite that is chosen for the model.

use std::sync::Arc;

use attr_core::Error;
use attr_core::op::Op;
use attr_core::walk::{Composite, NodeInfo, Rule};

use crate::other_layers::comes_from;
use crate::{CompositeName, LayerKind, LrpConfig};

/// A composite that looks at the model and chooses another, made by [`auto`].
#[derive(Clone, Debug)]
pub struct Auto(LrpConfig);

/// Returns the composite that suits a model:
///
/// | Model | Composite |
/// |---|---|
/// | with attention: a softmax that weighs other activations | [`attnlrp`](crate::attnlrp) |
/// | with convolutions, where bounds of its input are given | [`epsilon_gamma_box`](crate::epsilon_gamma_box) |
/// | with convolutions | [`epsilon_plus_flat`](crate::epsilon_plus_flat) |
/// | any other, such as a perceptron or a recurrent network | [`epsilon`](crate::epsilon) |
///
/// A plan says which one it is, and why: its name is `auto: attnlrp (attention)`.
pub fn auto() -> Auto {
    Auto::of(LrpConfig::default())
}

impl Auto {
    /// Creates the composite; whichever it chooses has these parameters.
    pub(crate) fn of(config: LrpConfig) -> Self {
        Self(config)
    }

    /// Sets the bounds between which the model's input lies, such as pixels.
    pub fn with_bounds(mut self, low: f64, high: f64) -> Self {
        (self.0.low, self.0.high) = (Some(low), Some(high));
        self
    }

    /// Returns the composite for a model with these nodes, and the reason.
    fn choose(&self, nodes: &[NodeInfo<'_>]) -> (CompositeName, &'static str) {
        let softmax = |op: &Op| matches!(op, Op::Softmax { .. });
        let weighs = |node: &NodeInfo<'_>| {
            LayerKind::of(node) == Some(LayerKind::Product)
                && (comes_from(node, 0, softmax) || comes_from(node, 1, softmax))
        };
        let convolves = |node: &NodeInfo<'_>| LayerKind::of(node) == Some(LayerKind::Convolution);
        if nodes.iter().any(weighs) {
            (CompositeName::Attnlrp, "attention")
        } else if !nodes.iter().any(convolves) {
            (CompositeName::Epsilon, "no convolutions, no attention")
        } else if self.0.low.is_some() || self.0.high.is_some() {
            (
                CompositeName::EpsilonGammaBox,
                "convolutions, bounded input",
            )
        } else {
            (CompositeName::EpsilonPlusFlat, "convolutions")
        }
    }
}

impl Composite for Auto {
    fn name(&self) -> String {
        "auto".into()
    }

    fn for_model(&self, nodes: &[NodeInfo<'_>]) -> Result<Option<Arc<dyn Composite>>, Error> {
        let (composite, reason) = self.choose(nodes);
        let mut config = LrpConfig {
            composite,
            ..self.0.clone()
        };
        if matches!(
            composite,
            CompositeName::Epsilon | CompositeName::EpsilonPlusFlat
        ) {
            config.gamma = None;
        }
        let composite = Arc::new(config.composite()?);
        Ok(Some(Arc::new(Chosen { composite, reason })))
    }

    fn rule(&self, _: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        Err(Error::Internal("a composite was not fitted to its model"))
    }
}

/// The composite that was chosen, and why.
struct Chosen {
    composite: Arc<dyn Composite>,
    reason: &'static str,
}

impl Composite for Chosen {
    fn name(&self) -> String {
        format!("auto: {} ({})", self.composite.name(), self.reason)
    }

    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        self.composite.rule(node)
    }

    fn group(&self, group: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        self.composite.group(group)
    }
}
