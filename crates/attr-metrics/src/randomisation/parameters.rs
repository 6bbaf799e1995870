//! The models of a randomisation test: parameters drawn anew, layer by layer.

use attr_core::build::Random;
use attr_core::{Error, Kind, LayerParameters, Traced, Value};
use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};

/// Which layers are random at each step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LayerOrder {
    /// One more layer at each step, from the output on (cascading).
    #[default]
    TopDown,
    /// One more layer at each step, from the input on.
    BottomUp,
    /// A single layer at each step, from the output on.
    Independent,
}

/// A model with random parameters.
#[derive(Clone)]
pub struct Randomised {
    /// The layer that was made random last.
    pub layer: String,
    /// The model.
    pub model: Traced,
}

/// Returns a model for each layer with parameters.
pub(super) fn randomised(
    model: &Traced,
    order: LayerOrder,
    seed: u64,
) -> Result<Vec<Randomised>, Error> {
    let mut layers = drawn(model, seed)?;
    if order != LayerOrder::BottomUp {
        layers.reverse();
    }
    let mut so_far: Vec<(String, Value)> = Vec::new();
    let models = layers.into_iter().map(|layer| {
        if order == LayerOrder::Independent {
            so_far.clear();
        }
        so_far.extend(layer.values);
        Ok(Randomised {
            layer: layer.layer,
            model: model.with_parameters(so_far.clone())?,
        })
    });
    models.collect()
}

/// Returns the model with all parameters random.
pub(super) fn all_random(model: &Traced, seed: u64) -> Result<Traced, Error> {
    let layers = drawn(model, seed)?.into_iter();
    model.with_parameters(layers.flat_map(|layer| layer.values))
}

/// Draws new values for all parameters: normal, with the mean and the standard deviation of the
/// parameter's own elements. So they have a usual size in every kind of layer, and constants, such
/// as the weights of a BatchNorm at its start, stay. Parameters without negative elements, such as
/// the variances of a BatchNorm, are shuffled instead: they may not be allowed any. A layer's draws
/// do not depend on the others.
fn drawn(model: &Traced, seed: u64) -> Result<Vec<LayerParameters>, Error> {
    let layers = model.parameters()?.into_iter().enumerate();
    let layers = layers.map(|(number, layer)| {
        let mut random = Random::stream(seed, number as u64);
        let floats = layer
            .values
            .into_iter()
            .filter(|(_, value)| value.kind() == Kind::Float);
        let values = floats.map(|(path, value)| Ok((path, redrawn(&value, &mut random)?)));
        Ok(LayerParameters {
            layer: layer.layer,
            values: values.collect::<Result<_, Error>>()?,
        })
    });
    let layers: Vec<LayerParameters> = layers.collect::<Result<_, Error>>()?;
    if layers.is_empty() {
        return Err(Error::Method {
            method: "a randomisation test",
            reason: "the model has no parameters".into(),
        });
    }
    Ok(layers)
}

fn redrawn(value: &Value, random: &mut Random) -> Result<Value, Error> {
    let data = value.to_vec()?;
    let tensor = |data: Vec<f32>| {
        let data = TensorData::new(data, value.shape()).convert_dtype(value.dtype());
        Value::from_data(data, &value.device())
    };
    if data.iter().all(|&v| v >= 0.0) {
        let order = random.permutation(data.len()).into_iter();
        return Ok(tensor(order.map(|at| data[at]).collect()));
    }
    let n = data.len() as f64;
    let mean = data.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let squares = data.iter().map(|&v| (f64::from(v) - mean).powi(2));
    let std = (squares.sum::<f64>() / n).sqrt();
    let new = random
        .normal(data.len())
        .map(|z| (mean + std * f64::from(z)) as f32);
    Ok(tensor(new.collect()))
}
