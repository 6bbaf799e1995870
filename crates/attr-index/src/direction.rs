//! The direction of a concept in the channels of a layer, from examples with and without it.

use attr_core::walk::GradientEverywhere;
use attr_core::{Error as Core, Inputs, Traced};
use attr_lrp_crp::{Concepts, Condition, channel_dim};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Finds the direction in which a concept moves the activations of a layer: the pattern
///
/// `h = cov(a, t) / var(t) = mean(a | t = 1) - mean(a | t = 0)`
///
/// of activations `a` by channel, at all positions of all examples, and `t` that is 1 for examples
/// with the concept and 0 for those without (Pahde et al., 2022, <https://arxiv.org/abs/2202.03482>).
/// Unlike the weights of a classifier that separates both, it does not turn away from noise that both
/// share.
///
/// Examples should differ in the concept alone: if all that have it are of one class, the direction is
/// that of the class, too.
#[derive(Clone, Debug)]
pub struct DirectionSearch {
    layer: String,
    /// Without the concept, and with it.
    examples: [Examples; 2],
    /// The number of dimensions of the layer's output, and that of its channels.
    dims: (usize, usize),
}

/// The activations of some examples.
#[derive(Clone, Debug, Default)]
struct Examples {
    /// How many positions of how many rows were added.
    count: u64,
    /// The sum of each channel.
    sums: Vec<f64>,
}

/// The direction of a concept in the channels of a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConceptDirection {
    /// The layer's name.
    pub layer: String,
    /// The number of dimensions of the layer's output, the batch among them.
    pub rank: usize,
    /// The dimension of its channels.
    pub channel_dim: usize,
    /// The direction, `[channels]`, of length 1.
    pub direction: Vec<f32>,
    /// The mean component of activations along it, of examples with the concept.
    pub with: f32,
    /// The same, of examples without the concept.
    pub without: f32,
}

impl DirectionSearch {
    /// Creates a search in a layer.
    pub fn new(layer: impl Into<String>) -> Self {
        Self {
            layer: layer.into(),
            examples: Default::default(),
            dims: (0, 0),
        }
    }

    /// Adds examples that all have the concept, or all do not.
    ///
    /// # Errors
    /// Those of [`Traced::activations`], such as [`attr_core::Error::UnknownLayer`];
    /// [`Error::Examples`] if the layer has another number of channels than with earlier examples.
    pub fn add(
        &mut self,
        model: &Traced,
        examples: &impl Inputs,
        has_concept: bool,
    ) -> Result<(), Error> {
        let found = model.activations(examples, &[&self.layer])?;
        let found = found.into_iter().next();
        let activation = found.ok_or(Core::Internal("a layer without an activation"))?;
        let shape = activation.shape();
        let plan = model.plan(&GradientEverywhere, examples)?;
        let dim = channel_dim(plan.node(&self.layer)?, shape.len());
        let channels = shape.get(dim).copied().unwrap_or(1);
        let after: usize = shape[(dim + 1).min(shape.len())..].iter().product();
        self.dims = (shape.len(), dim);
        let own = &mut self.examples[usize::from(has_concept)];
        if own.sums.is_empty() {
            own.sums = vec![0.0; channels];
        }
        if own.sums.len() != channels {
            return Err(Error::Examples(format!(
                "layer {:?} has {channels} channels, and {} with earlier examples",
                self.layer,
                own.sums.len()
            )));
        }
        let values = activation.to_vec()?;
        for block in values.chunks_exact((channels * after).max(1)) {
            for (sum, values) in own.sums.iter_mut().zip(block.chunks_exact(after.max(1))) {
                *sum += values.iter().copied().map(f64::from).sum::<f64>();
            }
        }
        own.count += (values.len() / channels.max(1)) as u64;
        Ok(())
    }

    /// The direction.
    ///
    /// # Errors
    /// [`Error::Examples`] without examples of both kinds, or if they do not differ in this layer.
    pub fn find(&self) -> Result<ConceptDirection, Error> {
        let [without, with] = &self.examples;
        if without.count == 0 || with.count == 0 {
            return Err(Error::Examples(
                "a direction takes examples with the concept and examples without it".into(),
            ));
        }
        let mean = |examples: &Examples| -> Vec<f64> {
            let count = examples.count as f64;
            examples.sums.iter().map(|sum| sum / count).collect()
        };
        let (without, with) = (mean(without), mean(with));
        let pattern: Vec<f64> = with.iter().zip(&without).map(|(a, b)| a - b).collect();
        let length = pattern
            .iter()
            .map(|value| value * value)
            .sum::<f64>()
            .sqrt();
        if !(length.is_finite() && length > 0.0) {
            return Err(Error::Examples(format!(
                "examples with the concept do not differ from those without it in layer {:?}",
                self.layer
            )));
        }
        let direction: Vec<f64> = pattern.iter().map(|value| value / length).collect();
        let component = |mean: &[f64]| -> f32 {
            let products = mean.iter().zip(&direction).map(|(a, b)| a * b);
            products.sum::<f64>() as f32
        };
        Ok(ConceptDirection {
            layer: self.layer.clone(),
            rank: self.dims.0,
            channel_dim: self.dims.1,
            with: component(&with),
            without: component(&without),
            direction: direction.into_iter().map(|value| value as f32).collect(),
        })
    }
}

impl ConceptDirection {
    /// The condition that lets relevance flow through this direction alone, for
    /// [`Crp`](attr_lrp_crp::Crp): its map shows where the concept is.
    pub fn condition(&self, device: &Device) -> Condition {
        let data = TensorData::new(self.direction.clone(), [1, self.direction.len()]);
        let direction = Tensor::<2>::from_data(data, device);
        Condition::at(&self.layer, Concepts::orthonormal(direction))
    }
}
