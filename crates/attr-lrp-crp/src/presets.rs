//! Composites by their names in zennit and iNNvestigate.

use std::sync::Arc;

use attr_core::Error;
use attr_core::walk::{Composite, NodeInfo, Rule};

use crate::other_layers::{self, check_derivative};
use crate::rules::{
    AlphaBeta, Bound, Epsilon, Flat, Gamma, Norm, ReLUBetaSmooth, ReLUDeconvNet,
    ReLUGuidedBackprop, WSquare, ZBox, ZPlus,
};
use crate::{LayerKind, Stabilizer};

/// A composite with one rule for fully connected layers, one for convolutions and perhaps one for
/// first layers, made by [`epsilon_plus`] and its neighbours.
///
/// All other layers have the same rules in each of them:
///
/// | Layer | Rule |
/// |---|---|
/// | activation functions, RMSNorms, BatchNorms that are not folded | `Pass` |
/// | LayerNorm, GroupNorm, InstanceNorm | `Normalisation` |
/// | sums of activations, average pooling, means, added constants | `Norm` |
/// | products with constants | `Pass`; `Norm` where they broadcast |
/// | products of a signal with a gate (a sigmoid, or of a smaller shape) | `SignalTakesAll` |
/// | other products of activations | `Bilinear` |
/// | max pooling, reshapes, slices, concatenations, padding, resizing | the derivative |
/// | softmax, fused attention, anything else | [`Error::Rule`], with the layer's name |
#[derive(Clone, Debug)]
pub struct Preset {
    name: &'static str,
    dense: Linear,
    convolution: Linear,
    first: First,
    epsilon: Stabilizer,
    gamma: f64,
    stabilizer: Stabilizer,
    zero_bias: bool,
}

/// The rule of linear layers.
#[derive(Clone, Copy, Debug)]
enum Linear {
    Epsilon,
    Plus,
    Alpha2Beta1,
    Gamma,
    WSquare,
    Flat,
}

/// The rule of the layers that no other linear layer precedes.
#[derive(Clone, Debug)]
enum First {
    AsOthers,
    /// One rule for convolutions and fully connected layers.
    All(Linear),
    /// The z-box rule with its bounds, for convolutions.
    Within(Box<[Bound; 2]>),
    /// The same for fully connected layers, too.
    AllWithin(Box<[Bound; 2]>),
}

/// Returns LRP-ε for all linear layers; LRP-0 for a tiny epsilon. iNNvestigate's `lrp.epsilon` and
/// `lrp.z`.
pub fn epsilon() -> Preset {
    Preset::new("epsilon", Linear::Epsilon, Linear::Epsilon)
}

/// Returns LRP-ε for fully connected layers and z⁺ for convolutions. With an epsilon of 0.1,
/// iNNvestigate's `lrp.sequential_preset_a`.
pub fn epsilon_plus() -> Preset {
    Preset::new("epsilon_plus", Linear::Epsilon, Linear::Plus)
}

/// Returns [`epsilon_plus`] with the flat rule for the first layers. With an epsilon of 0.1,
/// iNNvestigate's `lrp.sequential_preset_a_flat`.
pub fn epsilon_plus_flat() -> Preset {
    let preset = Preset::new("epsilon_plus_flat", Linear::Epsilon, Linear::Plus);
    preset.starting_with(First::All(Linear::Flat))
}

/// Returns LRP-ε for fully connected layers and LRP-α2β1 for convolutions. With an epsilon of 0.1,
/// iNNvestigate's `lrp.sequential_preset_b`.
pub fn epsilon_alpha2_beta1() -> Preset {
    Preset::new("epsilon_alpha2_beta1", Linear::Epsilon, Linear::Alpha2Beta1)
}

/// Returns [`epsilon_alpha2_beta1`] with the flat rule for the first layers. With an epsilon of 0.1,
/// iNNvestigate's `lrp.sequential_preset_b_flat`.
pub fn epsilon_alpha2_beta1_flat() -> Preset {
    let name = "epsilon_alpha2_beta1_flat";
    let preset = Preset::new(name, Linear::Epsilon, Linear::Alpha2Beta1);
    preset.starting_with(First::All(Linear::Flat))
}

/// Returns LRP-ε for fully connected layers, LRP-γ for convolutions, and the z-box rule for first
/// convolutions, whose inputs lie between `low` and `high`.
pub fn epsilon_gamma_box(low: impl Into<Bound>, high: impl Into<Bound>) -> Preset {
    let preset = Preset::new("epsilon_gamma_box", Linear::Epsilon, Linear::Gamma);
    preset.starting_with(First::Within(Box::new([low.into(), high.into()])))
}

/// Returns LRP-α1β0, which is z⁺, for all linear layers. iNNvestigate's `lrp.alpha_1_beta_0`.
pub fn alpha1_beta0() -> Preset {
    Preset::new("alpha1_beta0", Linear::Plus, Linear::Plus)
}

/// Returns LRP-α2β1 for all linear layers. iNNvestigate's `lrp.alpha_2_beta_1`.
pub fn alpha2_beta1() -> Preset {
    Preset::new("alpha2_beta1", Linear::Alpha2Beta1, Linear::Alpha2Beta1)
}

/// Returns the w² rule for all linear layers. iNNvestigate's `lrp.w_square`.
pub fn w_square() -> Preset {
    Preset::new("w_square", Linear::WSquare, Linear::WSquare)
}

/// Returns the flat rule for all linear layers: how the architecture alone spreads relevance.
/// iNNvestigate's `lrp.flat`.
pub fn flat() -> Preset {
    Preset::new("flat", Linear::Flat, Linear::Flat)
}

/// Returns deep Taylor decomposition for inputs of either sign: z⁺, and w² for the first layers.
///
/// Montavon et al., "Explaining NonLinear Classification Decisions with Deep Taylor Decomposition",
/// 2017 (<https://doi.org/10.1016/j.patcog.2016.11.008>).
pub fn deep_taylor() -> Preset {
    let preset = Preset::new("deep_taylor", Linear::Plus, Linear::Plus);
    preset.starting_with(First::All(Linear::WSquare))
}

/// Returns deep Taylor decomposition for inputs between `low` and `high`, such as pixels: z⁺, and
/// the z-box rule for the first layers.
pub fn deep_taylor_bounded(low: impl Into<Bound>, high: impl Into<Bound>) -> Preset {
    let preset = Preset::new("deep_taylor_bounded", Linear::Plus, Linear::Plus);
    preset.starting_with(First::AllWithin(Box::new([low.into(), high.into()])))
}

impl Preset {
    fn new(name: &'static str, dense: Linear, convolution: Linear) -> Self {
        Self {
            name,
            dense,
            convolution,
            first: First::AsOthers,
            epsilon: Stabilizer::default(),
            gamma: 0.25,
            stabilizer: Stabilizer::default(),
            zero_bias: false,
        }
    }

    fn starting_with(mut self, first: First) -> Self {
        self.first = first;
        self
    }

    /// Sets the epsilon of LRP-ε; 1e-6 by default.
    pub fn with_epsilon(mut self, epsilon: impl Into<Stabilizer>) -> Self {
        self.epsilon = epsilon.into();
        self
    }

    /// Sets the gamma of LRP-γ; 0.25 by default.
    pub fn with_gamma(mut self, gamma: f64) -> Self {
        self.gamma = gamma;
        self
    }

    /// Sets the stabiliser of all other rules; 1e-6 by default.
    pub fn with_stabilizer(mut self, stabilizer: impl Into<Stabilizer>) -> Self {
        self.stabilizer = stabilizer.into();
        self
    }

    /// Leaves biases out of all denominators, so that they take no relevance.
    pub fn without_bias(mut self) -> Self {
        self.zero_bias = true;
        self
    }

    fn linear(&self, rule: Linear) -> Arc<dyn Rule> {
        let stabilizer = self.stabilizer;
        match (rule, self.zero_bias) {
            (Linear::Epsilon, false) => Arc::new(Epsilon::new(self.epsilon)),
            (Linear::Epsilon, true) => Arc::new(Epsilon::new(self.epsilon).without_bias()),
            (Linear::Plus, zero_bias) => {
                let rule = ZPlus::new().with_stabilizer(stabilizer);
                Arc::new(if zero_bias { rule.without_bias() } else { rule })
            }
            (Linear::Alpha2Beta1, zero_bias) => {
                let rule = AlphaBeta::default().with_stabilizer(stabilizer);
                Arc::new(if zero_bias { rule.without_bias() } else { rule })
            }
            (Linear::Gamma, zero_bias) => {
                let rule = Gamma::new(self.gamma).with_stabilizer(stabilizer);
                Arc::new(if zero_bias { rule.without_bias() } else { rule })
            }
            (Linear::WSquare, zero_bias) => {
                let rule = WSquare::new().with_stabilizer(stabilizer);
                Arc::new(if zero_bias { rule.without_bias() } else { rule })
            }
            (Linear::Flat, _) => Arc::new(Flat::new().with_stabilizer(stabilizer)),
        }
    }

    /// Returns the rule of a first layer, if it has one of its own.
    fn first(&self, kind: LayerKind) -> Option<Arc<dyn Rule>> {
        let bounds = match (&self.first, kind) {
            (First::All(rule), _) => return Some(self.linear(*rule)),
            (First::Within(bounds), LayerKind::Convolution) | (First::AllWithin(bounds), _) => {
                bounds
            }
            _ => return None,
        };
        let [low, high] = &**bounds;
        let rule = ZBox::new(low.clone(), high.clone());
        Some(Arc::new(rule.with_stabilizer(self.stabilizer)))
    }
}

impl Composite for Preset {
    fn name(&self) -> String {
        self.name.into()
    }

    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        let constant = other_layers::added_constant(node, self.stabilizer, self.zero_bias);
        if constant.is_some() {
            return Ok(constant);
        }
        let Some(kind) = LayerKind::of(node) else {
            return check_derivative(node, self.name).map(|()| None);
        };
        if kind.is_linear()
            && !node.follows_linear()
            && let Some(rule) = self.first(kind)
        {
            return Ok(Some(rule));
        }
        Ok(Some(match kind {
            LayerKind::Dense => self.linear(self.dense),
            LayerKind::Convolution => self.linear(self.convolution),
            other => other_layers::rule(node, other, self.stabilizer),
        }))
    }

    fn group(&self, group: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        let kind = LayerKind::of(group);
        Ok(kind.map(|kind| other_layers::rule(group, kind, self.stabilizer)))
    }
}

/// Returns z⁺ for all linear layers, `Norm` for sums and average pooling, and the derivative for the
/// rest: excitation backpropagation. Zhang et al., "Top-Down Neural Attention by Excitation
/// Backprop", 2016 (<https://arxiv.org/abs/1608.00507>).
pub fn excitation_backprop() -> impl Composite + Clone {
    Named {
        name: "excitation_backprop",
        choose: |node| match LayerKind::of(node)? {
            LayerKind::Dense | LayerKind::Convolution => Some(Arc::new(ZPlus::new())),
            LayerKind::Sum | LayerKind::AveragePool => Some(Arc::new(Norm::new())),
            _ => None,
        },
    }
}

/// Returns the derivative, with [`ReLUDeconvNet`] at every ReLU.
pub fn deconvnet() -> impl Composite + Clone {
    Named {
        name: "deconvnet",
        choose: |node| node.op().is_relu().then(|| Arc::new(ReLUDeconvNet) as _),
    }
}

/// Returns the derivative, with [`ReLUGuidedBackprop`] at every ReLU.
pub fn guided_backprop() -> impl Composite + Clone {
    Named {
        name: "guided_backprop",
        choose: |node| {
            node.op()
                .is_relu()
                .then(|| Arc::new(ReLUGuidedBackprop) as _)
        },
    }
}

/// Returns the derivative, with [`ReLUBetaSmooth`] at every ReLU.
pub fn beta_smooth() -> impl Composite + Clone {
    Named {
        name: "beta_smooth",
        choose: |node| {
            node.op()
                .is_relu()
                .then(|| Arc::new(ReLUBetaSmooth::default()) as _)
        },
    }
}

/// A function with a name.
#[derive(Clone)]
struct Named {
    name: &'static str,
    choose: fn(&NodeInfo<'_>) -> Option<Arc<dyn Rule>>,
}

impl Composite for Named {
    fn name(&self) -> String {
        self.name.into()
    }

    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        Ok((self.choose)(node))
    }
}
