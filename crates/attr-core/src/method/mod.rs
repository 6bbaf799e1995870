//! The traits of attribution methods, and their results.
//!
//! ```text
//! mod.rs            Method: attributes inputs; one required method
//! layer_method.rs   LayerMethod: attributes layers' activations
//! at_layers.rs      AtLayers: any method for inputs, applied at layers
//! by_rules.rs       ByRules: a composite of rules as a method
//! with_baseline.rs  WithBaseline: any method, with the caller's baselines
//! layer_names.rs    LayerNames: one name or several
//! explanation.rs    Explanation, Attribution, records
//! row.rs            Row: one row's features, to name, sort and print
//! ```

mod at_layers;
mod by_rules;
mod explanation;
mod layer_method;
mod layer_names;
mod row;
mod with_baseline;

use crate::model::Untyped;
use crate::{Baseline, Baselines, Error, Inputs, Model, Question, Run, Target, Value, Values};

pub use at_layers::{AtLayers, on_the_rest};
pub use by_rules::ByRules;
pub(crate) use explanation::Counter;
pub use explanation::{Attribution, AttributionRecord, Explanation, Work};
pub use layer_method::{LayerAttribution, LayerAttributionRecord, LayerMethod};
pub use layer_names::LayerNames;
pub use row::{Feature, Row};
pub use with_baseline::WithBaseline;
pub(crate) use with_baseline::refuse_unused;

/// An attribution method: computes how much each element of the input contributed to a target.
///
/// Implementations provide [`explain`](Self::explain); users call [`attribute`](Self::attribute)
/// and its variants. A method holds only its parameters, as plain data. Baselines, which replace
/// absent inputs, are part of the question: the caller gives them with
/// [`with_baseline`](Self::with_baseline).
///
/// ```
/// use attr_core::{Error, Explanation, Method, Question};
/// use burn::tensor::{Device, Tensor};
///
/// /// The gradient's magnitude.
/// struct Saliency;
///
/// impl Method for Saliency {
///     fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
///         let mut found = question.explained_by_gradients()?;
///         for value in found.iter_mut().flat_map(|one| &mut one.values).flatten() {
///             *value = value.map(|gradient| gradient.abs())?;
///         }
///         Ok(found)
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let x = Tensor::<2>::from_floats([[1.0, -2.0]], &Device::default());
/// let found = Saliency.attribute(&|x: Tensor<2>| x.powi_scalar(2), &x, 1)?;
/// assert_eq!(found.scores(), [4.0]);
/// # Ok(())
/// # }
/// ```
pub trait Method: Send + Sync {
    /// Answers a question with one explanation for each of its targets.
    ///
    /// # Errors
    /// Any error caused by the model or the method's parameters.
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error>;

    /// Returns how the method uses the question's baselines.
    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::None
    }

    /// Returns the baselines that [`with_baseline`](Self::with_baseline) gave to the method, or to
    /// a method that it wraps.
    fn own_baselines(&self) -> Option<&Baselines> {
        None
    }

    /// Applies the method at some layers. Returns one explanation with one value for each target
    /// and layer, `[target][layer]`. By default, the method explains the rest of the model, as
    /// [`AtLayers`] describes.
    ///
    /// # Errors
    /// As [`explain`](Self::explain); [`Error::NotTraced`] for a closure.
    fn explain_layers(
        &self,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        at_layers::on_the_rest(self, question, layers)
    }

    /// Returns the method with baselines, which replace absent inputs: a number, a tensor with one
    /// row or one per input row, or [`Baselines::each`] for several inputs. The default is zero.
    fn with_baseline(self, baselines: impl Into<Baselines>) -> WithBaseline<Self>
    where
        Self: Sized,
    {
        WithBaseline {
            method: self,
            baselines: baselines.into(),
        }
    }

    /// Returns the method with background data in place of a baseline: rows shaped like the input's,
    /// any number of them. Methods that perturb average over them, methods that draw baselines draw
    /// from them. For several inputs, give [`with_baseline`](Self::with_baseline) a
    /// [`Baseline::Distribution`](crate::Baseline::Distribution) for each.
    ///
    /// A tensor given to [`with_baseline`](Self::with_baseline) is another thing: one row for all
    /// rows, or one for each.
    fn with_background(self, rows: impl Into<Value>) -> WithBaseline<Self>
    where
        Self: Sized,
    {
        self.with_baseline(Baseline::Distribution(rows.into()))
    }

    /// Applies the method to the outputs of one or several named layers instead of the inputs.
    fn at_layers(self, layers: impl Into<LayerNames>) -> AtLayers<Self>
    where
        Self: Sized,
    {
        AtLayers::new(layers, self)
    }

    /// Computes the attribution of `target` to `inputs`, with the default memory budget and no
    /// progress reports.
    ///
    /// # Errors
    /// An [`Error`] that says which value was wrong and what would be right.
    fn attribute<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
    ) -> Result<Attribution<I>, Error>
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
    ) -> Result<Attribution<I>, Error>
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
    ) -> Result<Vec<Attribution<I>>, Error>
    where
        Self: Sized,
    {
        ask(model, inputs, targets, run, |question, given| {
            let found = self.explain(question)?.into_iter().zip(targets);
            let attributions = found.map(|(explanation, target)| {
                Attribution::new(explanation, given, target, question.work())
            });
            attributions.collect()
        })
    }
}

/// How a method uses baselines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaselineUse {
    /// The method uses no baselines.
    None,
    /// Each row is compared with a baseline. At a layer, with the baseline's activation.
    Reference,
    /// Baselines are rows to draw from. At a layer, those rows' activations are drawn from.
    Distribution,
    /// Baselines replace the absent parts of perturbed values. At a layer, they are given for the
    /// layer itself.
    Perturbation,
}

/// Checks the inputs and passes a question about them to `answer`, with the number of inputs that
/// the caller gave.
///
/// # Errors
/// [`Error::EmptyBatch`], [`Error::Shape`] and [`Error::NonFinite`] for inputs that cannot be
/// explained; [`Error::TargetRows`] for targets with a different number of rows;
/// [`Error::MixesRows`]; those of `answer`.
pub fn ask<I: Inputs, T>(
    model: &impl Model<I>,
    inputs: &I,
    targets: &[Target],
    run: &Run<'_>,
    answer: impl FnOnce(&Question<'_>, usize) -> Result<T, Error>,
) -> Result<T, Error> {
    let given = inputs.to_values();
    // Whatever rows these stand for, here they count as the caller's.
    let given = given
        .with(|_, value| Some(value.clone().detached()))
        .renumbered();
    given.check()?;
    for target in targets {
        target.check(given.rows())?;
    }
    let count = given.values().len();
    let constants = model.traced().map_or(&[][..], |traced| traced.constants());
    let values: Values = given.with_constants(constants)?;
    let model = Untyped::new(model);
    if let Some(traced) = Model::traced(&model)
        && traced.rows().is_none()
        && run.rows_at_once(&model, &values) > 1
    {
        traced.check_rows_apart(&values)?;
    }
    answer(&Question::new(&model, values, targets, run), count)
}

impl<T: Method + ?Sized> Method for &T {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        (**self).explain(question)
    }

    fn baseline_use(&self) -> BaselineUse {
        (**self).baseline_use()
    }

    fn own_baselines(&self) -> Option<&Baselines> {
        (**self).own_baselines()
    }

    fn explain_layers(
        &self,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        (**self).explain_layers(question, layers)
    }
}

impl<T: Method + ?Sized> Method for Box<T> {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        (**self).explain(question)
    }

    fn baseline_use(&self) -> BaselineUse {
        (**self).baseline_use()
    }

    fn own_baselines(&self) -> Option<&Baselines> {
        (**self).own_baselines()
    }

    fn explain_layers(
        &self,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        (**self).explain_layers(question, layers)
    }
}
