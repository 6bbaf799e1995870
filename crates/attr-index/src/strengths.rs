//! How strong concepts are in some samples, before anything is ranked or summed.

use serde::{Deserialize, Serialize};

/// What a concept's strength is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Its relevance for the explained class.
    Relevance,
    /// Its activation.
    Activation,
}

impl Mode {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Relevance, Self::Activation];

    /// The name in tables: `relevance` or `activation`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relevance => "relevance",
            Self::Activation => "activation",
        }
    }
}

/// How strong each concept of some layers is in some samples, as
/// [`ReferenceSearch::measure`](crate::ReferenceSearch::measure) finds it.
///
/// [`References`](crate::References) rank them, [`Statistics`](crate::Statistics) sum them up.
#[derive(Clone, Debug, PartialEq)]
pub struct Strengths {
    pub(crate) samples: Vec<u64>,
    pub(crate) targets: Vec<usize>,
    pub(crate) layers: Vec<LayerStrengths>,
}

/// How strong each concept of a layer is, by one mode.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerStrengths {
    pub(crate) layer: String,
    pub(crate) mode: Mode,
    pub(crate) concepts: usize,
    pub(crate) scores: Vec<f32>,
    pub(crate) neurons: Vec<usize>,
}

impl Strengths {
    /// The numbers of the samples, one for each row.
    pub fn samples(&self) -> &[u64] {
        &self.samples
    }

    /// The class that was explained, for each row.
    pub fn targets(&self) -> &[usize] {
        &self.targets
    }

    /// Each layer with each mode.
    pub fn layers(&self) -> &[LayerStrengths] {
        &self.layers
    }
}

impl LayerStrengths {
    /// The layer's name.
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// What strength is measured by.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The number of concepts.
    pub fn concepts(&self) -> usize {
        self.concepts
    }

    /// The strength of each concept, `[rows, concepts]`.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// The neuron of each concept with the largest value, `[rows, concepts]`: its place in row-major
    /// order among all positions of the layer's output, that is, its dimensions without the batch and
    /// the channels.
    pub fn neurons(&self) -> &[usize] {
        &self.neurons
    }

    /// Each row's scores and neurons.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&[f32], &[usize])> {
        let scores = self.scores.chunks_exact(self.concepts.max(1));
        scores.zip(self.neurons.chunks_exact(self.concepts.max(1)))
    }
}

/// Whose samples a list ranks or sums up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub layer: String,
    pub mode: Mode,
    /// `None` for the samples of all classes.
    pub class: Option<usize>,
}

impl Key {
    /// The lists that a row belongs to: that of all classes and, if asked for, that of its own.
    pub fn of(strengths: &LayerStrengths, target: usize, each_target: bool) -> Vec<Self> {
        let classes = [None, each_target.then_some(target)];
        let count = 1 + usize::from(each_target);
        let key = |class| Self {
            layer: strengths.layer.clone(),
            mode: strengths.mode,
            class,
        };
        classes.into_iter().take(count).map(key).collect()
    }
}
