//! Metric: one required method; and what it returns.

use attr_core::{Error, Inputs, Model, Target, Work};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Case, Evaluation, Explainer, statistics};

/// What a reader must know of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name in kebab-case: Quantus' class name where Quantus has it, else Captum's, Xplique's or
    /// the paper's.
    pub name: &'static str,
    /// What it measures, in a few words.
    pub summary: &'static str,
    /// The URL of its paper.
    pub paper: &'static str,
    /// Whether a larger value is a better explanation.
    pub higher_is_better: bool,
    /// What it asks about.
    pub family: Family,
    /// What it needs besides the model, the rows and their attributions.
    pub needs: Needs,
}

/// What a group of metrics asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Does the model's output follow what the explanation calls important?
    Faithfulness,
    /// Do similar inputs have similar explanations?
    Robustness,
    /// Does the explanation point at what is known to matter?
    Localisation,
    /// Is the explanation concise?
    Complexity,
    /// Does the explanation change with the model's parameters and the target?
    Randomisation,
    /// Does the explanation satisfy a law?
    Axioms,
}

/// What a metric needs besides the model, the rows and their attributions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Ground-truth masks.
    pub masks: bool,
    /// A method that explains other inputs, targets or models, not given attributions.
    pub method: bool,
    /// A traced model, not a closure.
    pub traced: bool,
    /// It draws random numbers.
    pub seed: bool,
}

/// A measure of explanations. Implementations hold only parameters, as plain data.
///
/// ```
/// use attr_metrics::{About, Case, Family, Measured, Metric, Needs};
/// use attr_core::Error;
///
/// /// The share of an explanation that its most important feature has.
/// struct Dominance;
///
/// impl Metric for Dominance {
///     fn about(&self) -> About {
///         About {
///             name: "dominance",
///             summary: "the share of the most important feature",
///             paper: "",
///             higher_is_better: true,
///             family: Family::Complexity,
///             needs: Needs::default(),
///         }
///     }
///
///     fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
///         let rows = case.relevance()?.iter().map(|row| {
///             let most = row.iter().fold(0f64, |most, value| most.max(value.abs()));
///             most / row.iter().map(|value| value.abs()).sum::<f64>()
///         });
///         Ok(Measured::new(rows.collect()))
///     }
/// }
/// ```
pub trait Metric: Send + Sync {
    /// Returns the metric's name, direction and needs.
    fn about(&self) -> About;

    /// Computes one value for each row. Where the metric is not defined, the value is NaN.
    ///
    /// # Errors
    /// [`Error::Parameter`] for parameters out of range; those of the model and the method.
    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error>;

    /// Judges the explanations of `target` for all rows, with zero as baseline, one feature for each
    /// pixel of an image (each element otherwise), and the default memory budget. [`Evaluation`]
    /// sets these, and ground-truth masks.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    fn evaluate<'a, I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
        explainer: impl Into<Explainer<'a>>,
    ) -> Result<Score, Error>
    where
        Self: Sized,
    {
        Evaluation::new(model, inputs, target).measure(self, explainer)
    }
}

impl<T: Metric + ?Sized> Metric for Box<T> {
    fn about(&self) -> About {
        (**self).about()
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        (**self).measure(case)
    }
}

/// What a metric found.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Per row; NaN where the metric is not defined.
    pub values: Vec<f64>,
    /// Per row, the standard error of the value, for metrics that sample.
    pub standard_errors: Option<Vec<f64>>,
    /// Per row, the points of the curve that the value summarises, for metrics that have one.
    pub curves: Option<Vec<Vec<f64>>>,
}

impl Measured {
    /// Creates a result from one value for each row.
    pub fn new(values: Vec<f64>) -> Self {
        Self {
            values,
            ..Self::default()
        }
    }

    /// Sets the standard error of each value.
    pub fn with_standard_errors(mut self, errors: Vec<f64>) -> Self {
        self.standard_errors = Some(errors);
        self
    }

    /// Sets the curve of each row.
    pub fn with_curves(mut self, curves: Vec<Vec<f64>>) -> Self {
        self.curves = Some(curves);
        self
    }
}

/// The score of one explainer by one metric.
///
/// JSON has no NaN: it is written as null, and null is read as NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The metric's name.
    pub metric: String,
    /// Whether a larger value is a better explanation.
    pub higher_is_better: bool,
    /// Per row; NaN where the metric is not defined.
    #[serde(deserialize_with = "numbers")]
    pub values: Vec<f64>,
    /// Per row, the standard error of the value, for metrics that sample.
    #[serde(deserialize_with = "maybe_numbers")]
    pub standard_errors: Option<Vec<f64>>,
    /// Per row, the points of the curve that the value summarises, for metrics that have one.
    #[serde(deserialize_with = "curves")]
    pub curves: Option<Vec<Vec<f64>>>,
    /// The model evaluations that this score took. What other metrics or explainers had already
    /// evaluated does not count.
    pub work: Work,
}

fn numbers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    Ok(filled(Vec::deserialize(from)?))
}

fn maybe_numbers<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<f64>>, D::Error> {
    Ok(Option::<Vec<_>>::deserialize(from)?.map(filled))
}

fn curves<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Vec<f64>>>, D::Error> {
    let curves = Option::<Vec<Vec<_>>>::deserialize(from)?;
    Ok(curves.map(|curves| curves.into_iter().map(filled).collect()))
}

fn filled(values: Vec<Option<f64>>) -> Vec<f64> {
    let filled = values.into_iter().map(|value| value.unwrap_or(f64::NAN));
    filled.collect()
}

impl Score {
    /// Returns the mean over the rows for which the metric is defined; NaN if there is none.
    pub fn mean(&self) -> f64 {
        statistics::mean(&self.values)
    }

    /// Returns the standard error of [`mean`](Self::mean) over the rows; `None` for fewer than two.
    pub fn standard_error(&self) -> Option<f64> {
        statistics::standard_error(&self.values)
    }

    /// Appends the score of further rows.
    pub(crate) fn append(&mut self, more: Self) {
        fn joined<T>(own: &mut Option<Vec<T>>, more: Option<Vec<T>>) {
            match (own.as_mut(), more) {
                (Some(own), Some(more)) => own.extend(more),
                _ => *own = None,
            }
        }
        self.values.extend(more.values);
        joined(&mut self.standard_errors, more.standard_errors);
        joined(&mut self.curves, more.curves);
        self.work.forward_rows += more.work.forward_rows;
        self.work.backward_rows += more.work.backward_rows;
        self.work.passes += more.work.passes;
    }

    /// Returns how many rows the metric is not defined for.
    pub fn undefined(&self) -> usize {
        self.values.iter().filter(|value| value.is_nan()).count()
    }
}
