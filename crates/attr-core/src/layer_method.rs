//! Methods that explain activations: one result for each of some layers.

use burn::tensor::Tensor;

use crate::method::{Counted, prepare};
use crate::{Error, Explanation, Inputs, Model, Run, Target, Value, Values, Work};

/// A method that says how much each activation of some layers contributed to a target, where a
/// [`Method`](crate::Method) speaks of the inputs.
///
/// Layers go by the names that [`Traced::layers`](crate::Traced::layers) lists; `name@input` is
/// what a layer takes instead of what it gives.
pub trait LayerMethod: Send + Sync {
    /// The layers that are explained.
    fn layers(&self) -> &[String];

    /// Explains each of several targets at each layer, `[target][layer]`; each explanation has one
    /// value. Inputs and targets have been checked, and inputs carry the model's own constants.
    ///
    /// # Errors
    /// Whatever the model or the method's parameters give rise to.
    fn explain_layers(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Vec<Explanation>>, Error>;

    /// The attribution of `target` to the layers' activations, with default memory budget and no
    /// progress.
    ///
    /// # Errors
    /// [`Error`] says which value was wrong and what would be right.
    fn attribute<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
    ) -> Result<LayerAttribution, Error>
    where
        Self: Sized,
    {
        self.attribute_with(model, inputs, target, &Run::new())
    }

    /// As [`attribute`](Self::attribute), with a memory budget and progress.
    ///
    /// # Errors
    /// As [`attribute`](Self::attribute).
    fn attribute_with<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
        run: &Run<'_>,
    ) -> Result<LayerAttribution, Error>
    where
        Self: Sized,
    {
        let all = self.attribute_targets(model, inputs, &[target.into()], run)?;
        let mut all = all.into_iter();
        all.next()
            .ok_or(Error::Internal("a method returned nothing"))
    }

    /// One attribution for each of several targets, over shared forward passes.
    ///
    /// # Errors
    /// As [`attribute`](Self::attribute).
    fn attribute_targets<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<LayerAttribution>, Error>
    where
        Self: Sized,
    {
        if self.layers().is_empty() {
            return Err(Error::Method {
                method: "a method of layers",
                reason: "no layer was named".into(),
            });
        }
        let (values, _) = prepare(model, inputs, targets)?;
        let counted = Counted::new(model);
        let explained = self.explain_layers(&counted, &values, targets, run)?;
        let work = counted.work();
        let attributions = explained.into_iter().map(|explanations| LayerAttribution {
            layers: self.layers().to_vec(),
            explanations,
            work,
        });
        Ok(attributions.collect())
    }
}

impl<T: LayerMethod + ?Sized> LayerMethod for &T {
    fn layers(&self) -> &[String] {
        (**self).layers()
    }

    fn explain_layers(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        (**self).explain_layers(model, inputs, targets, run)
    }
}

impl<T: LayerMethod + ?Sized> LayerMethod for Box<T> {
    fn layers(&self) -> &[String] {
        (**self).layers()
    }

    fn explain_layers(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        (**self).explain_layers(model, inputs, targets, run)
    }
}

/// How much each activation of some layers contributed to a target.
#[derive(Clone, Debug)]
pub struct LayerAttribution {
    layers: Vec<String>,
    explanations: Vec<Explanation>,
    work: Work,
}

impl LayerAttribution {
    /// The layers' names, in the order asked for.
    pub fn layers(&self) -> &[String] {
        &self.layers
    }

    /// For each layer, the attribution of its activation.
    pub fn explanations(&self) -> &[Explanation] {
        &self.explanations
    }

    /// The attribution at a layer.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`] for a layer that was not asked for.
    pub fn value(&self, layer: &str) -> Result<&Value, Error> {
        let at = self.layers.iter().position(|name| name == layer);
        let value = at.and_then(|at| self.explanations.get(at)?.values.first()?.as_ref());
        value.ok_or_else(|| Error::UnknownLayer {
            name: layer.into(),
            nearest: self.layers.clone(),
        })
    }

    /// The attribution at a layer as a tensor of rank `D`.
    ///
    /// # Errors
    /// As [`value`](Self::value); [`Error::Rank`].
    pub fn tensor<const D: usize>(&self, layer: &str) -> Result<Tensor<D>, Error> {
        self.value(layer)?.tensor()
    }

    /// The attribution at a layer, `[batch, tokens, width]`, summed over the last dimension: one
    /// number per token, `[batch, tokens]`.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub fn per_token(&self, layer: &str) -> Result<Tensor<2>, Error> {
        let value = self.tensor::<3>(layer)?;
        Ok(value.sum_dim(2).squeeze_dim::<2>(2))
    }

    /// Per row, the model's output for the target.
    pub fn scores(&self) -> &[f32] {
        self.explanations.first().map_or(&[], |e| &e.scores)
    }

    /// The convergence delta per row at the first layer (of all layers together, for methods that
    /// explain them as one), for methods that promise completeness.
    pub fn delta(&self) -> Option<&[f32]> {
        self.explanations.first()?.delta.as_deref()
    }

    /// Model evaluations it took, shared by all layers, and by all targets of one call.
    pub fn work(&self) -> Work {
        self.work
    }
}
