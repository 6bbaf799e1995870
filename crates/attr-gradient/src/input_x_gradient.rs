//! Input x gradient: `x ⊙ ∂f/∂x`.
//!
//! Shrikumar, Greenside, Shcherbina, Kundaje, "Not Just a Black Box", 2016
//! (<https://arxiv.org/abs/1605.01713>). Matches Captum's `InputXGradient`.

use attr_core::{Error, Explanation, Method, Question};
use serde::{Deserialize, Serialize};

/// Computes `A = x ⊙ ∂f/∂x`.
///
/// For a linear function, this is exactly each input's contribution to the output.
///
/// Shapes: the input's, `[batch, ...]`. One forward and one backward pass per row.
///
/// # Errors
/// The same as for [`Saliency`](crate::Saliency).
///
/// ```
/// use attr_core::Method;
/// use attr_gradient::InputXGradient;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let x = Tensor::<2>::from_floats([[1.0, -2.0]], &Device::default());
/// let model = |x: Tensor<2>| x.powi_scalar(2);
/// let product = InputXGradient::new().attribute(&model, &x, 1)?;
/// assert_eq!(product.values()[0].as_ref().unwrap().to_vec()?, [0.0, 8.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InputXGradient {}

impl InputXGradient {
    /// Creates the method, which has no parameters.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Method for InputXGradient {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let mut explanations = question.explained_by_gradients()?;
        for explanation in &mut explanations {
            for (gradient, input) in explanation
                .values
                .iter_mut()
                .zip(question.inputs().values())
            {
                if let Some(gradient) = gradient {
                    *gradient = gradient.zip(input, |gradient, x| gradient * x)?;
                }
            }
        }
        Ok(explanations)
    }
}
