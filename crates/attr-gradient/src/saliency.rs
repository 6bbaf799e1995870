//! Saliency: the gradient of the target with respect to the input, `|∂f/∂x|`.
//!
//! Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", 2013
//! (<https://arxiv.org/abs/1312.6034>). Matches Captum's `Saliency`.

use attr_core::{Error, Explanation, Method, Question};
use serde::{Deserialize, Serialize};

/// Computes `A = |∂f/∂x|`, or the signed gradient with [`with_abs(false)`](Self::with_abs).
///
/// Shapes: the input's, `[batch, ...]`. One forward and one backward pass per row.
///
/// # Errors
/// [`Error::NoGradient`] for an input that receives no gradient; errors of the model and target.
///
/// ```
/// use attr_core::Method;
/// use attr_gradient::Saliency;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let x = Tensor::<2>::from_floats([[1.0, -2.0]], &Device::default());
/// let model = |x: Tensor<2>| x.powi_scalar(2);
/// let saliency = Saliency::new().attribute(&model, &x, 1)?;
/// let values = saliency.values()[0].as_ref().unwrap().to_vec()?;
/// assert_eq!(values, [0.0, 4.0]); // |2x| for the target, nothing for the other
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Saliency {
    /// Whether the absolute value is taken; default true, as in Captum.
    pub abs: bool,
}

impl Default for Saliency {
    fn default() -> Self {
        Self { abs: true }
    }
}

impl Saliency {
    /// Creates the method with absolute gradients.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the absolute value is taken.
    pub fn with_abs(mut self, abs: bool) -> Self {
        self.abs = abs;
        self
    }
}

impl Method for Saliency {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let mut explanations = question.explained_by_gradients()?;
        if self.abs {
            let values = explanations.iter_mut().flat_map(|one| &mut one.values);
            for value in values.flatten() {
                *value = value.map(|gradient| gradient.abs())?;
            }
        }
        Ok(explanations)
    }
}
