//! Layer activation: the output of layers for the input.
//!
//! Matches Captum's `LayerActivation`.

use attr_core::build::Collected;
use attr_core::walk::GradientEverywhere;
use attr_core::{Error, Explanation, LayerMethod, LayerNames, Question};

/// Returns `A = l(x)`, the layers' output for the input, regardless of the target.
///
/// Shapes: the layers'. One forward pass per row.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::UnknownLayer`] with the nearest names.
///
/// ```
/// use attr_core::{LayerMethod, Traced};
/// use attr_gradient::LayerActivation;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Linear = LinearConfig::new(3, 2).init(&device);
/// let x = Tensor::<2>::ones([1, 3], &device);
/// let model = Traced::new(&net, |n: &Linear, x| activation::relu(n.forward(x)), &x)?;
/// let layer = model.layers()[0].name.clone();
/// let found = LayerActivation::new([layer.clone()]).attribute(&model, &x, 1)?;
/// assert_eq!(found.tensor::<2>(&layer)?.dims(), [1, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LayerActivation {
    layers: Vec<String>,
}

impl LayerActivation {
    /// Creates the method for these layers.
    pub fn new(layers: impl Into<LayerNames>) -> Self {
        Self {
            layers: layers.into().into_vec(),
        }
    }
}

impl LayerMethod for LayerActivation {
    fn layers(&self) -> &[String] {
        &self.layers
    }

    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error> {
        let plan = question
            .plan_at(&GradientEverywhere, &self.layers)?
            .to_layers(&self.layers)?;
        let targets = question.targets();
        let mut scores: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
        let mut collected = Collected::new(1, self.layers.len());
        // No backward pass: the targets are used only for their scores.
        question.for_rows(1, |rows| {
            let pass = question.pass(&rows, None, &plan)?;
            let output = pass.output()?;
            for (scores, target) in scores.iter_mut().zip(targets) {
                scores.extend(target.scores(&output, &rows)?);
            }
            let values = self
                .layers
                .iter()
                .map(|layer| pass.activation(layer).map(Some));
            collected.push(0, values.collect::<Result<_, _>>()?, &[]);
            Ok(())
        })?;
        let found = collected.finish()?;
        let values: Vec<_> = found.into_iter().flat_map(|found| found.values).collect();
        let each = scores.into_iter().map(|scores| {
            let layers = values.iter();
            layers
                .map(|value| Explanation::new(vec![value.clone()], scores.clone()))
                .collect()
        });
        Ok(each.collect())
    }
}
