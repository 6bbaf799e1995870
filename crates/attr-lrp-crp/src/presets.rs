//! The composites of zennit, by their names.

use std::sync::Arc;

use attr_core::Error;
use attr_core::op::{Binary, Op, Reduce};
use attr_core::walk::{Composite, NodeInfo, Rule};

use crate::rules::{
    AlphaBeta, Bilinear, Bound, Epsilon, Flat, Gamma, Norm, Pass, ReLUBetaSmooth, ReLUDeconvNet,
    ReLUGuidedBackprop, SignalTakesAll, ZBox, ZPlus,
};
use crate::{LayerKind, Stabilizer};

/// A composite with LRP-ε for fully connected layers and another rule for convolutions, made by
/// [`epsilon_plus`] and its neighbours.
///
/// All other layers have the same rules in each of them:
///
/// | Layer | Rule |
/// |---|---|
/// | activation functions, normalisations, BatchNorms that are not folded | `Pass` |
/// | sums of activations, average pooling, means | `Norm` |
/// | products with constants | `Pass`; `Norm` where they broadcast |
/// | products of a signal with a gate (a sigmoid, or of a smaller shape) | `SignalTakesAll` |
/// | other products of activations | `Bilinear` |
/// | max pooling, reshapes, slices, concatenations, padding, resizing | the derivative |
/// | softmax, fused attention, anything else | [`Error::Rule`], with the layer's name |
#[derive(Clone, Debug)]
pub struct Preset {
    name: &'static str,
    convolution: Convolution,
    first: First,
    epsilon: Stabilizer,
    gamma: f64,
    stabilizer: Stabilizer,
    zero_bias: bool,
}

/// The rule of convolutions.
#[derive(Clone, Copy, Debug)]
enum Convolution {
    Plus,
    Alpha2Beta1,
    Gamma,
}

/// The rule of the layers that no other linear layer precedes.
#[derive(Clone, Debug)]
enum First {
    AsOthers,
    /// The flat rule, for convolutions and fully connected layers.
    Flat,
    /// The z-box rule with its bounds, for convolutions.
    Within(Box<[Bound; 2]>),
}

/// Returns LRP-ε for fully connected layers and z⁺ for convolutions.
pub fn epsilon_plus() -> Preset {
    Preset::new("epsilon_plus", Convolution::Plus, First::AsOthers)
}

/// Returns [`epsilon_plus`] with the flat rule for the first layers.
pub fn epsilon_plus_flat() -> Preset {
    Preset::new("epsilon_plus_flat", Convolution::Plus, First::Flat)
}

/// Returns LRP-ε for fully connected layers and LRP-α2β1 for convolutions.
pub fn epsilon_alpha2_beta1() -> Preset {
    Preset::new(
        "epsilon_alpha2_beta1",
        Convolution::Alpha2Beta1,
        First::AsOthers,
    )
}

/// Returns [`epsilon_alpha2_beta1`] with the flat rule for the first layers.
pub fn epsilon_alpha2_beta1_flat() -> Preset {
    Preset::new(
        "epsilon_alpha2_beta1_flat",
        Convolution::Alpha2Beta1,
        First::Flat,
    )
}

/// Returns LRP-ε for fully connected layers, LRP-γ for convolutions, and the z-box rule for first
/// convolutions, whose inputs lie between `low` and `high`.
pub fn epsilon_gamma_box(low: impl Into<Bound>, high: impl Into<Bound>) -> Preset {
    let first = First::Within(Box::new([low.into(), high.into()]));
    Preset::new("epsilon_gamma_box", Convolution::Gamma, first)
}

impl Preset {
    fn new(name: &'static str, convolution: Convolution, first: First) -> Self {
        Self {
            name,
            convolution,
            first,
            epsilon: Stabilizer::default(),
            gamma: 0.25,
            stabilizer: Stabilizer::default(),
            zero_bias: false,
        }
    }

    /// Sets the epsilon of fully connected layers; 1e-6 by default.
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

    fn dense(&self) -> Arc<dyn Rule> {
        let rule = Epsilon::new(self.epsilon);
        Arc::new(if self.zero_bias {
            rule.without_bias()
        } else {
            rule
        })
    }

    fn convolution(&self) -> Arc<dyn Rule> {
        let stabilizer = self.stabilizer;
        match self.convolution {
            Convolution::Plus => {
                let rule = ZPlus::new().with_stabilizer(stabilizer);
                Arc::new(if self.zero_bias {
                    rule.without_bias()
                } else {
                    rule
                })
            }
            Convolution::Alpha2Beta1 => {
                let rule = AlphaBeta::default().with_stabilizer(stabilizer);
                Arc::new(if self.zero_bias {
                    rule.without_bias()
                } else {
                    rule
                })
            }
            Convolution::Gamma => {
                let rule = Gamma::new(self.gamma).with_stabilizer(stabilizer);
                Arc::new(if self.zero_bias {
                    rule.without_bias()
                } else {
                    rule
                })
            }
        }
    }

    /// Returns the rule of a first layer, if it has one of its own.
    fn first(&self, kind: LayerKind) -> Option<Arc<dyn Rule>> {
        match (&self.first, kind) {
            (First::Flat, _) => Some(Arc::new(Flat::new().with_stabilizer(self.stabilizer))),
            (First::Within(bounds), LayerKind::Convolution) => {
                let [low, high] = &**bounds;
                let rule = ZBox::new(low.clone(), high.clone());
                Some(Arc::new(rule.with_stabilizer(self.stabilizer)))
            }
            _ => None,
        }
    }
}

impl Composite for Preset {
    fn name(&self) -> String {
        self.name.into()
    }

    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
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
            LayerKind::Dense => self.dense(),
            LayerKind::Convolution => self.convolution(),
            other => around(node, other, self.stabilizer),
        }))
    }

    fn group(&self, group: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        Ok(LayerKind::of(group).map(|kind| around(group, kind, self.stabilizer)))
    }
}

/// Returns the rule of a layer that is not linear.
fn around(node: &NodeInfo<'_>, kind: LayerKind, stabilizer: Stabilizer) -> Arc<dyn Rule> {
    let like_output = |i: usize| node.shape(i) == node.output_shape();
    match kind {
        LayerKind::BatchNorm | LayerKind::Normalisation | LayerKind::Activation => Arc::new(Pass),
        LayerKind::Scale if (0..node.operands()).all(|i| !node.varies(i) || like_output(i)) => {
            Arc::new(Pass)
        }
        LayerKind::Product => product(node, stabilizer),
        _ => Arc::new(Norm::new().with_stabilizer(stabilizer)),
    }
}

/// Returns the rule of a product or quotient of two activations.
fn product(node: &NodeInfo<'_>, stabilizer: Stabilizer) -> Arc<dyn Rule> {
    let like_output = |i: usize| node.shape(i) == node.output_shape();
    let signal = match (node.op(), like_output(0), like_output(1)) {
        (Op::MatMul, ..) | (_, false, false) => None,
        // What is divided is the signal.
        (Op::Binary(Binary::Div), own, _) => own.then_some(0),
        (_, true, false) => Some(0),
        (_, false, true) => Some(1),
        (_, true, true) => match (is_gate(node, 0), is_gate(node, 1)) {
            (false, true) => Some(0),
            (true, false) => Some(1),
            _ => None,
        },
    };
    match signal {
        Some(signal) => Arc::new(SignalTakesAll::new(signal)),
        None => Arc::new(Bilinear::new().with_stabilizer(stabilizer)),
    }
}

/// Whether an operand is a number between 0 and 1 for each element, moved about at most.
fn is_gate(node: &NodeInfo<'_>, i: usize) -> bool {
    let mut producer = node.producer(i);
    while let Some(node) = producer {
        match node.op() {
            Op::Sigmoid | Op::HardSigmoid { .. } | Op::Softmax { .. } => return true,
            Op::Reshape(_) | Op::Expand(_) | Op::Permute(_) | Op::Slice(_) => {
                producer = node.producer(0);
            }
            _ => return false,
        }
    }
    false
}

/// Refuses a node where the derivative, which composites leave it to, does not conserve relevance.
fn check_derivative(node: &NodeInfo<'_>, composite: &str) -> Result<(), Error> {
    let refused = |reason: &str| {
        Err(Error::Rule {
            rule: composite.into(),
            layer: node.name().into(),
            reason: format!("it has no rule for {}: {reason}", node.op().name()),
        })
    };
    match node.op() {
        // Largest values take all; values that only move keep their relevance.
        Op::MaxPool { .. }
        | Op::Reduce(Reduce::Max | Reduce::Min | Reduce::MaxAbs, _)
        | Op::ExtremeWithIndices { .. }
        | Op::TopK { .. }
        | Op::Sort { .. }
        | Op::Reshape(_)
        | Op::Expand(_)
        | Op::Permute(_)
        | Op::Flip(_)
        | Op::Unfold { .. }
        | Op::Unfold4d { .. }
        | Op::Slice(_)
        | Op::SliceAssign(_)
        | Op::Select { .. }
        | Op::Repeat { .. }
        | Op::MaskWhere
        | Op::MaskFill(_)
        | Op::Cat { .. }
        | Op::Gather { .. }
        | Op::GatherNd
        | Op::Embedding
        | Op::Pad(..)
        | Op::Interpolate { .. }
        | Op::Cast(_)
        | Op::Full { .. } => Ok(()),
        // A constant that is added or subtracted takes nothing.
        Op::Binary(Binary::Add | Binary::Sub) | Op::BinaryScalar(Binary::Add | Binary::Sub, _) => {
            Ok(())
        }
        // Nothing flows through truth values and numbers of places.
        Op::Compare(_) | Op::CompareScalar(..) | Op::Unary(_) => Ok(()),
        Op::Softmax { .. } | Op::LogSoftmax { .. } | Op::Softmin { .. } => refused(
            "explain the scores before it, with `model.logits()`, or give it a rule with `ByName`",
        ),
        _ => refused("give it a rule with `ByName` in front of the composite, in a `Mixed`"),
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
