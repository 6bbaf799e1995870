//! The activation of some layers.
//!
//! As Captum's `LayerActivation`.

use attr_core::{Collected, Error, Explanation, LayerMethod, Model, Run, Target, Values, Walk};

use super::{names, owned};

/// `A = l(x)`: what the layers give for the input, whatever the target.
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
    /// The activation of these layers.
    pub fn new<S: Into<String>>(layers: impl IntoIterator<Item = S>) -> Self {
        Self {
            layers: owned(layers),
        }
    }
}

impl LayerMethod for LayerActivation {
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
        // No walk: the targets are looked up for their scores only.
        let walk = Walk::new().to_layers(&names);
        let mut scores: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
        let mut collected = Collected::new(1, self.layers.len());
        run.start(rows);
        for start in (0..rows).step_by(at_once) {
            let chunk = inputs.slice(start..(start + at_once).min(rows));
            let walks = model.walk(&chunk, &|_, _| Ok(Vec::new()), &walk)?;
            for (scores, target) in scores.iter_mut().zip(targets) {
                scores.extend(target.choose(&walks.output, &chunk)?.scores);
            }
            collected.push(0, walks.activations.into_iter().map(Some).collect());
            run.advance(chunk.rows());
        }
        let found = collected.finish(vec![Vec::new()])?;
        let values = found.into_iter().flat_map(|found| found.values);
        let values: Vec<_> = values.collect();
        let each = scores.into_iter().map(|scores| {
            let layers = values.iter();
            layers
                .map(|value| Explanation::new(vec![value.clone()], scores.clone()))
                .collect()
        });
        Ok(each.collect())
    }
}
