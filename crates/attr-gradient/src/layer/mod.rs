//! Methods for layers and neurons: activations, gradients, influence and conductance.

mod activation;
mod conductance;
mod gradient_x_activation;
mod internal_influence;
mod neuron_conductance;

pub use activation::LayerActivation;
pub use conductance::{Conductance, ConductanceConfig};
pub use gradient_x_activation::{GradientXActivation, GradientXActivationConfig};
pub use internal_influence::{InternalInfluence, InternalInfluenceConfig};
pub use neuron_conductance::{NeuronConductance, NeuronConductanceConfig};

use attr_core::{Error, Explanation, Value};
use burn::tensor::Tensor;

/// The error for a layer that the target does not depend on.
pub(crate) fn unreached(layer: &str) -> Error {
    Error::Layer {
        name: layer.into(),
        reason: "the target does not depend on it".into(),
    }
}

/// Borrows the layer names.
pub(crate) fn names(layers: &[String]) -> Vec<&str> {
    layers.iter().map(|layer| &layer[..]).collect()
}

/// Builds an explanation for each layer from its sum over samples and the shape of its samples.
pub(crate) fn explanations(
    sums: Vec<Option<Tensor<2>>>,
    shapes: &[Vec<usize>],
    rows: usize,
    scores: &[f32],
) -> Vec<Explanation> {
    let each = sums.into_iter().zip(shapes).map(|(sum, shape)| {
        let value = sum.map(|sum| {
            let mut shape = shape.clone();
            shape[0] = rows;
            Value::from_matrix(sum, &shape)
        });
        Explanation::new(vec![value], scores.to_vec())
    });
    each.collect()
}
