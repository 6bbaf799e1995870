//! Methods that explain layers' activations, with one result per layer.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::row::Row;
use super::{ask, refuse_unused};
use crate::{
    AttributionRecord, BaselineUse, Baselines, Error, Explanation, Inputs, Model, Question, Run,
    Target, Value, WithBaseline, Work,
};

/// A method that computes how much each activation of some layers contributed to a target; a
/// [`Method`](crate::Method) does so for the inputs.
///
/// Layers have the names that [`Traced::layers`](crate::Traced::layers) lists; `name@input` is a
/// layer's input instead of its output.
pub trait LayerMethod: Send + Sync {
    /// Returns the names of the layers to explain.
    fn layers(&self) -> &[String];

    /// Answers a question at each layer, `[target][layer]`; each explanation has one value.
    ///
    /// # Errors
    /// Any error caused by the model or the method's parameters.
    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error>;

    /// Returns how the method uses the question's baselines.
    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::None
    }

    /// Returns the method with baselines; see
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

    /// Computes the attribution of `target` to the layers' activations, with the default memory
    /// budget and no progress reports.
    ///
    /// # Errors
    /// An [`Error`] that says which value was wrong and what would be right.
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

    /// As [`attribute`](Self::attribute), with a memory budget and progress reports.
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

    /// Computes one attribution for each of several targets, with shared forward passes.
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
                method: "a layer method",
                reason: "no layer was named".into(),
            });
        }
        ask(model, inputs, targets, run, |question, _| {
            question.check_layers(self.layers())?;
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
    /// The layers' names, in the order given.
    pub layers: Vec<String>,
    /// For each layer, the attribution of its activation.
    pub attributions: Vec<AttributionRecord>,
}

impl LayerAttribution {
    /// Returns the layers' names, in the order given.
    pub fn layers(&self) -> &[String] {
        &self.layers
    }

    /// Returns the attribution at the only layer, or the first of several, as a tensor of rank `D`.
    ///
    /// # Errors
    /// [`Error::Rank`].
    pub fn attribution<const D: usize>(&self) -> Result<Tensor<D>, Error> {
        let first = self.layers.first().cloned().unwrap_or_default();
        self.tensor(&first)
    }

    /// Returns the attributions as plain data, for storage.
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

    /// Returns, for each layer, the attribution of its activation.
    pub fn explanations(&self) -> &[Explanation] {
        &self.explanations
    }

    /// Returns the attribution at a layer.
    ///
    /// # Errors
    /// [`Error::UnknownLayer`] for a layer that was not explained.
    pub fn value(&self, layer: &str) -> Result<&Value, Error> {
        let at = self.layers.iter().position(|name| name == layer);
        let value = at.and_then(|at| self.explanations.get(at)?.values.first()?.as_ref());
        value.ok_or_else(|| Error::UnknownLayer {
            name: layer.into(),
            nearest: self.layers.clone(),
        })
    }

    /// Returns the attribution at a layer as a tensor of rank `D`.
    ///
    /// # Errors
    /// As [`value`](Self::value); [`Error::Rank`].
    pub fn tensor<const D: usize>(&self, layer: &str) -> Result<Tensor<D>, Error> {
        self.value(layer)?.tensor()
    }

    /// Returns the attribution at a layer, `[batch, tokens, width]`, summed over the last
    /// dimension: one number per token, `[batch, tokens]`.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub fn per_token(&self, layer: &str) -> Result<Tensor<2>, Error> {
        let value = self.tensor::<3>(layer)?;
        Ok(value.sum_dim(2).squeeze_dim::<2>(2))
    }

    /// Returns the attribution of each row at a layer `[batch, tokens, width]`, summed over the
    /// last dimension: one feature for each token, to name, sort and print.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor); [`Error::Device`] when reading from the device fails.
    pub fn token_rows(&self, layer: &str) -> Result<Vec<Row>, Error> {
        let tokens = Value::from(self.per_token(layer)?);
        let scores = self.scores().to_vec();
        Row::all(&Explanation::new(vec![Some(tokens)], scores))
    }

    /// Returns, per row, the model's output for the target.
    pub fn scores(&self) -> &[f32] {
        self.explanations.first().map_or(&[], |e| &e.scores)
    }

    /// Returns the convergence delta per row, for methods that guarantee completeness: at the first
    /// layer, or over all layers for methods that explain them together.
    pub fn delta(&self) -> Option<&[f32]> {
        self.explanations.first()?.delta.as_deref()
    }

    /// Returns the number of model evaluations, shared by all layers and all targets of one call.
    pub fn work(&self) -> Work {
        self.work
    }
}
