//! Methods that explain activations: one result for each of some layers.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{ask, refuse_unused};
use crate::{
    AttributionRecord, BaselineUse, Baselines, Error, Explanation, Inputs, Model, Question, Run,
    Target, Value, WithBaseline, Work,
};

/// A method that says how much each activation of some layers contributed to a target, where a
/// [`Method`](crate::Method) speaks of the inputs.
///
/// Layers go by the names that [`Traced::layers`](crate::Traced::layers) lists; `name@input` is
/// what a layer takes instead of what it gives.
pub trait LayerMethod: Send + Sync {
    /// The layers that are explained.
    fn layers(&self) -> &[String];

    /// Answers a question at each layer, `[target][layer]`; each explanation has one value.
    ///
    /// # Errors
    /// Whatever the model or the method's parameters give rise to.
    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error>;

    /// What the method takes the question's baselines for.
    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::None
    }

    /// The method with what stands for absent inputs; see
    /// [`Method::with_baseline`](crate::Method::with_baseline).
    fn with_baseline(self, baselines: impl Into<Baselines>) -> WithBaseline<Self>
    where
        Self: Sized,
    {
        WithBaseline {
            method: self,
            baselines: baselines.into(),
        }
    }

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
        ask(model, inputs, targets, run, |question, _| {
            let explained = self.explain_at(question)?.into_iter().zip(targets);
            let attributions = explained.map(|(explanations, target)| LayerAttribution {
                layers: self.layers().to_vec(),
                explanations,
                target: target.to_string(),
                work: question.work(),
            });
            Ok(attributions.collect())
        })
    }
}

impl<T: LayerMethod + ?Sized> LayerMethod for &T {
    fn layers(&self) -> &[String] {
        (**self).layers()
    }

    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error> {
        (**self).explain_at(question)
    }

    fn baseline_use(&self) -> BaselineUse {
        (**self).baseline_use()
    }
}

impl<T: LayerMethod + ?Sized> LayerMethod for Box<T> {
    fn layers(&self) -> &[String] {
        (**self).layers()
    }

    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error> {
        (**self).explain_at(question)
    }

    fn baseline_use(&self) -> BaselineUse {
        (**self).baseline_use()
    }
}

impl<M: LayerMethod> LayerMethod for WithBaseline<M> {
    fn layers(&self) -> &[String] {
        self.method.layers()
    }

    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error> {
        refuse_unused(self.method.baseline_use())?;
        let question = question.with_own_baselines(&self.baselines);
        self.method.explain_at(&question)
    }

    fn baseline_use(&self) -> BaselineUse {
        self.method.baseline_use()
    }
}

/// How much each activation of some layers contributed to a target.
#[derive(Clone, Debug)]
pub struct LayerAttribution {
    layers: Vec<String>,
    explanations: Vec<Explanation>,
    target: String,
    work: Work,
}

/// An attribution of layers on the host, for storage and exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerAttributionRecord {
    /// The layers' names, in the order asked for.
    pub layers: Vec<String>,
    /// For each layer, the attribution of its activation.
    pub attributions: Vec<AttributionRecord>,
}

impl LayerAttribution {
    /// The layers' names, in the order asked for.
    pub fn layers(&self) -> &[String] {
        &self.layers
    }

    /// The attribution at the only layer, or the first of several, as a tensor of rank `D`.
    ///
    /// # Errors
    /// [`Error::Rank`].
    pub fn attribution<const D: usize>(&self) -> Result<Tensor<D>, Error> {
        let first = self.layers.first().cloned().unwrap_or_default();
        self.tensor(&first)
    }

    /// The same as plain data, for storage.
    ///
    /// # Errors
    /// [`Error::Device`] when reading from the device fails.
    pub fn to_record(&self) -> Result<LayerAttributionRecord, Error> {
        let each = self.explanations.iter();
        let each = each.map(|one| AttributionRecord::of(one, &self.target, self.work));
        Ok(LayerAttributionRecord {
            layers: self.layers.clone(),
            attributions: each.collect::<Result<_, _>>()?,
        })
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
