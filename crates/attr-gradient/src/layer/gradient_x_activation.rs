//! Gradient x activation: the gradient at a layer times the layer's activation.
//!
//! Matches Captum's `LayerGradientXActivation`.

use attr_core::build::Collected;
use attr_core::walk::{GradientEverywhere, Keep, Walk};
use attr_core::{Error, Explanation, LayerMethod, LayerNames, Question};
use serde::{Deserialize, Serialize};

use super::names;

/// Parameters of [`GradientXActivation`], under Captum's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct GradientXActivationConfig {
    /// Whether the gradient is multiplied by the activation; default true, as in Captum.
    pub multiply_by_inputs: bool,
}

impl Default for GradientXActivationConfig {
    fn default() -> Self {
        Self {
            multiply_by_inputs: true,
        }
    }
}

/// Computes `A = l(x) ⊙ ∂f/∂l(x)` or, without the product, the gradient at the layer.
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
    /// Creates the method for these layers.
    pub fn new(layers: impl Into<LayerNames>) -> Self {
        Self {
            layers: layers.into().into_vec(),
            config: GradientXActivationConfig::default(),
        }
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: GradientXActivationConfig) -> Self {
        self.config = config;
        self
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

    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error> {
        let plan = question
            .plan_at(&GradientEverywhere, &self.layers)?
            .to_layers(&self.layers)?;
        let names = names(&self.layers);
        let mut collected = Collected::new(question.targets().len(), self.layers.len());
        question.for_rows(1, |rows| {
            let pass = question.pass(&rows, None, &plan)?;
            let chosen = question.chosen(&pass.output()?, &rows)?;
            for (t, chosen) in chosen.into_iter().enumerate() {
                let walk = Walk::from_output(chosen.seed).keep(Keep::Layers(&names));
                let gradients = pass.walk(walk)?.reached(&self.layers)?;
                let pairs = gradients.into_iter().zip(&self.layers);
                let values = pairs.map(|(gradient, layer)| {
                    if !self.config.multiply_by_inputs {
                        return Ok(Some(gradient));
                    }
                    let activation = pass.activation(layer)?;
                    gradient
                        .zip(&activation, |gradient, a| gradient * a)
                        .map(Some)
                });
                collected.push(t, values.collect::<Result<_, Error>>()?, &chosen.scores);
            }
            Ok(())
        })?;
        let found = collected.finish()?.into_iter();
        Ok(found.map(Explanation::split).collect())
    }
}
