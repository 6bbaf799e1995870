//! Gradient x activation: what flows back to a layer, times what it gave.
//!
//! As Captum's `LayerGradientXActivation`.

use attr_core::{
    Collected, Error, Explanation, LayerMethod, Model, Run, Target, Value, Values, Walk,
    target_walks,
};
use serde::{Deserialize, Serialize};

use super::{names, owned, reached};

/// Parameters of [`GradientXActivation`], under Captum's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct GradientXActivationConfig {
    /// Whether the gradient is multiplied by the activation; true, as in Captum.
    pub multiply_by_inputs: bool,
}

impl Default for GradientXActivationConfig {
    fn default() -> Self {
        Self {
            multiply_by_inputs: true,
        }
    }
}

/// `A = l(x) ⊙ ∂f/∂l(x)`; without the product, the gradient at the layer.
///
/// Shapes: the layers'. One forward and one backward pass per row, for all layers together; the
/// backward pass ends at the layers.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::UnknownLayer`]; [`Error::Layer`] for a layer that
/// the target does not depend on.
///
/// ```
/// use attr_core::{LayerMethod, Traced};
/// use attr_gradient::GradientXActivation;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Linear = LinearConfig::new(3, 2).init(&device);
/// let x = Tensor::<2>::ones([1, 3], &device);
/// let model = Traced::new(&net, |n: &Linear, x| activation::relu(n.forward(x)), &x)?;
/// let layer = model.layers()[0].name.clone();
/// let found = GradientXActivation::new([layer.clone()]).attribute(&model, &x, 1)?;
/// assert_eq!(found.tensor::<2>(&layer)?.dims(), [1, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GradientXActivation {
    layers: Vec<String>,
    config: GradientXActivationConfig,
}

impl GradientXActivation {
    /// Gradient times activation at these layers.
    pub fn new<S: Into<String>>(layers: impl IntoIterator<Item = S>) -> Self {
        Self::from_config(GradientXActivationConfig::default(), layers)
    }

    /// With all parameters given.
    pub fn from_config<S: Into<String>>(
        config: GradientXActivationConfig,
        layers: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            layers: owned(layers),
            config,
        }
    }

    /// Sets whether the gradient is multiplied by the activation.
    pub fn with_multiply_by_inputs(mut self, multiply: bool) -> Self {
        self.config.multiply_by_inputs = multiply;
        self
    }
}

impl LayerMethod for GradientXActivation {
    fn layers(&self) -> &[String] {
        &self.layers
    }

    fn explain_layers(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        let (rows, at_once) = (inputs.rows(), run.rows_at_once(model, inputs));
        let names = names(&self.layers);
        let walk = Walk::new().to_layers(&names);
        let mut scores: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
        let mut collected = Collected::new(targets.len(), self.layers.len());
        run.start(rows);
        for start in (0..rows).step_by(at_once) {
            let chunk = inputs.slice(start..(start + at_once).min(rows));
            let (walks, chosen) = target_walks(model, &chunk, targets, &walk)?;
            for (t, walked) in walks.walked.into_iter().enumerate() {
                scores[t].extend(&chosen[t]);
                let gradients = reached(&self.layers, walked.layers)?;
                let pairs = gradients.into_iter().zip(&walks.activations);
                let values = pairs.map(|(gradient, activation)| {
                    if !self.config.multiply_by_inputs {
                        return Ok(Some(gradient));
                    }
                    let product = gradient.matrix()? * activation.matrix()?;
                    Ok(Some(Value::from_matrix(product, &activation.shape())))
                });
                collected.push(t, values.collect::<Result<_, Error>>()?);
            }
            run.advance(chunk.rows());
        }
        let found = collected.finish(scores)?.into_iter().map(|whole| {
            let layers = whole.values.into_iter();
            layers
                .map(|value| Explanation::new(vec![value], whole.scores.clone()))
                .collect()
        });
        Ok(found.collect())
    }
}
