//! Concept relevance propagation: LRP under conditions on layers in between.
//!
//! ```text
//! mod.rs        Crp: the parameters
//! condition.rs  Condition, Concepts: what a condition keeps at a layer
//! attribute.rs  conditional heat maps, relevance at layers
//! concepts.rs   how much each concept of a layer contributes; receptive fields
//! graph.rs      how concepts of several layers contribute to each other
//! ```

mod attribute;
mod concepts;
mod condition;
mod graph;

pub use attribute::ConditionalAttribution;
pub(crate) use attribute::Found;
pub use concepts::{Concept, ConceptRanking, Region, bounding_box};
pub use condition::{Concepts, Condition, Dictionary, channel_dim};
pub use graph::{ConceptGraph, ConceptNode, Edge};

use attr_core::Value;
use attr_core::walk::{Around, Composite};

/// Explains a prediction by the concepts of hidden layers: relevance flows back as in
/// [`Lrp`](crate::Lrp), but at a condition's layers only that of its concepts flows on.
///
/// A concept is a channel, a neuron, or any direction in a layer's activation ([`Concepts`]). All
/// conditions share one forward pass, and flow back together.
///
/// Shapes: each map has the input's, `[batch, ...]`. One forward pass per row, and one walk back per
/// row and condition.
///
/// Achtibat et al., "From Attribution Maps to Human-Understandable Explanations through Concept
/// Relevance Propagation", 2023 (<https://doi.org/10.1038/s42256-023-00711-8>).
///
/// ```
/// use attr_core::Traced;
/// use attr_lrp_crp::{Condition, Crp, epsilon_plus};
/// use burn::nn::conv::{Conv2d, Conv2dConfig};
/// use burn::tensor::{Device, Tensor, activation};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Conv2d = Conv2dConfig::new([1, 4], [3, 3]).init(&device);
/// let image = Tensor::<4>::ones([1, 1, 8, 8], &device);
/// let forward =
///     |n: &Conv2d, x: Tensor<4>| activation::relu(n.forward(x)).flatten::<2>(1, 3).sum_dim(1);
/// let model = Traced::new(&net, forward, &image)?;
/// let layer = &model.layers()[0].name;
///
/// let crp = Crp::new(epsilon_plus())
///     .with_condition(Condition::at(layer, 2))
///     .with_condition(Condition::at(layer, [0, 1]));
/// let found = crp.attribute(&model, &image, 0)?;
/// assert_eq!(found.maps().len(), 2);
/// assert_eq!(found.maps()[0].attribution().dims(), [1, 1, 8, 8]);
///
/// // Which channels matter in the first place.
/// let ranking = &Crp::new(epsilon_plus()).concepts(&model, &image, 0, layer)?[0];
/// println!("{ranking}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Crp<C> {
    composite: C,
    conditions: Vec<Condition>,
    exclude_parallel: bool,
    start: Start,
    recorded: Vec<String>,
    fold: bool,
}

/// Where relevance sets out.
#[derive(Clone, Debug)]
enum Start {
    /// At the output, with the target's score.
    Target,
    /// At a layer, with its activation.
    Activation(String),
    /// At a layer, with given relevance.
    Relevance(String, Value),
}

impl Start {
    fn layer(&self) -> Option<&str> {
        match self {
            Self::Target => None,
            Self::Activation(layer) | Self::Relevance(layer, _) => Some(layer),
        }
    }
}

impl<C: Composite> Crp<C> {
    /// Creates the method from a composite, such as [`epsilon_plus_flat`](crate::epsilon_plus_flat).
    pub fn new(composite: C) -> Self {
        Self {
            composite,
            conditions: Vec::new(),
            exclude_parallel: true,
            start: Start::Target,
            recorded: Vec::new(),
            fold: true,
        }
    }

    /// Adds a condition. Each gives a map of its own; without any, there is one map, that of LRP.
    pub fn with_condition(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Adds several conditions.
    pub fn with_conditions(mut self, conditions: impl IntoIterator<Item = Condition>) -> Self {
        self.conditions.extend(conditions);
        self
    }

    /// Sets whether relevance that bypasses a condition's layer, such as through a skip connection,
    /// is dropped; true by default, as in zennit-crp. Layers of one condition must then lie behind
    /// each other. If it is kept, a condition only masks its layers.
    pub fn with_exclude_parallel(mut self, exclude: bool) -> Self {
        self.exclude_parallel = exclude;
        self
    }

    /// Starts at a layer, with its activation as relevance, instead of at the target.
    pub fn starting_at(mut self, layer: impl Into<String>) -> Self {
        self.start = Start::Activation(layer.into());
        self
    }

    /// Starts at a layer with this relevance, `[batch, ...]` or one row for all.
    pub fn starting_with(mut self, layer: impl Into<String>, relevance: impl Into<Value>) -> Self {
        self.start = Start::Relevance(layer.into(), relevance.into());
        self
    }

    /// Records the relevance at a layer, too.
    pub fn recording(mut self, layer: impl Into<String>) -> Self {
        self.recorded.push(layer.into());
        self
    }

    /// Leaves BatchNorms as layers of their own.
    pub fn without_folding(mut self) -> Self {
        self.fold = false;
        self
    }

    fn around(&self) -> Around {
        if self.exclude_parallel {
            Around::Drop
        } else {
            Around::Keep
        }
    }
}
