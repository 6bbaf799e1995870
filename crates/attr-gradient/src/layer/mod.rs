//! Methods that look at layers: what they give, what flows back to them, what passes a neuron.

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

/// The output does not depend on this layer.
pub(crate) fn unreached(layer: &str) -> Error {
    Error::Layer {
        name: layer.into(),
        reason: "nothing flows from the target to it".into(),
    }
}

/// Layer names, borrowed.
pub(crate) fn names(layers: &[String]) -> Vec<&str> {
    layers.iter().map(|layer| &layer[..]).collect()
}

/// What arrives at each layer; an error for one that nothing flows to.
pub(crate) fn reached(layers: &[String], found: Vec<Option<Value>>) -> Result<Vec<Value>, Error> {
    let found = layers.iter().zip(found);
    found
        .map(|(layer, value)| value.ok_or_else(|| unreached(layer)))
        .collect()
}

/// An explanation for each layer, of sums over samples and the shape of one sample.
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
