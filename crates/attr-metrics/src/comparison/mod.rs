//! Comparison: methods by metrics over the same rows.
//!
//! ```text
//! mod.rs            what is compared, and the scores
//! disagreement.rs   ranks, and whether metrics agree on them
//! flags.rs          methods that fail a check
//! table.rs          the table as text and CSV
//! ```

mod disagreement;
mod flags;
mod table;

use attr_core::perturb::widened;
use attr_core::{Error, Inputs, Method, Model};
use serde::{Deserialize, Serialize};

use crate::{EdgeDetector, Evaluation, Explainer, Family, Metric, RandomMap, Score};

pub use disagreement::{Agreement, Disagreement};

/// The names under which [`Evaluation::compare`] adds explanations that know nothing of the model.
pub const RANDOM: &str = "random";
/// As [`RANDOM`].
pub const EDGE_DETECTOR: &str = "edge-detector";

/// Scores of methods by metrics, over the same rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The names of the methods, in the order of the rows of the table.
    pub methods: Vec<String>,
    /// The metrics, in the order of its columns.
    pub metrics: Vec<Column>,
    /// `[method][metric]`.
    pub scores: Vec<Vec<Score>>,
}

/// A metric of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Whether a larger value is a better explanation.
    pub higher_is_better: bool,
    /// What it asks about.
    pub family: Family,
}

impl Comparison {
    /// Appends the scores of further rows, by the same methods and metrics.
    ///
    /// # Errors
    /// [`Error::Parameter`] for other methods or metrics.
    pub fn append(&mut self, more: Self) -> Result<(), Error> {
        if more.methods != self.methods || more.metrics != self.metrics {
            return Err(Error::Parameter {
                name: "comparison",
                value: format!("{} by other metrics or methods", more.methods.join(", ")),
                expected: "all parts must compare the same methods by the same metrics",
            });
        }
        let own = self.scores.iter_mut().flatten();
        for (own, more) in own.zip(more.scores.into_iter().flatten()) {
            own.append(more);
        }
        Ok(())
    }
}

impl<I: Inputs, M: Model<I>> Evaluation<'_, I, M> {
    /// Judges all `methods` by all `metrics`. Evaluations of the model are shared wherever two of
    /// them ask for the same one. A [`RandomMap`] and, for inputs with space, an [`EdgeDetector`]
    /// are judged, too: a metric that does not tell a method from these says nothing about it.
    ///
    /// ```
    /// use attr_core::{Error, Explanation, Method, Question};
    /// use attr_metrics::{Deletion, Evaluation, Metric, Sparseness};
    /// use burn::tensor::{Device, Tensor};
    ///
    /// struct Gradient;
    ///
    /// impl Method for Gradient {
    ///     fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
    ///         question.explained_by_gradients()
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Error> {
    /// let x = Tensor::<2>::from_floats([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], &Device::default());
    /// let model = |x: Tensor<2>| x.powi_scalar(2).sum_dim(1);
    /// let metrics: [&dyn Metric; 2] = [&Deletion::default(), &Sparseness::default()];
    /// let table = Evaluation::new(&model, &x, 0).compare(&[("gradient", &Gradient)], &metrics)?;
    /// println!("{table}");
    /// assert_eq!(table.methods, ["gradient", "random"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`measure`](Self::measure), for the first score that fails; [`Error::Parameter`] without
    /// metrics, and for a method with the name of a reference.
    pub fn compare(
        &self,
        methods: &[(&str, &dyn Method)],
        metrics: &[&dyn Metric],
    ) -> Result<Comparison, Error> {
        let explainers = methods.iter();
        let explainers = explainers.map(|&(name, method)| (name, Explainer::Method(method)));
        self.compare_each(&explainers.collect::<Vec<_>>(), metrics, &mut |_, _| {})
    }

    /// As [`compare`](Self::compare), for explainers of any kind. Calls `scored` with the name of
    /// the explainer and each score as soon as it is known.
    ///
    /// # Errors
    /// As [`compare`](Self::compare).
    pub fn compare_each(
        &self,
        explainers: &[(&str, Explainer<'_>)],
        metrics: &[&dyn Metric],
        scored: &mut dyn FnMut(&str, &Score),
    ) -> Result<Comparison, Error> {
        if metrics.is_empty() {
            return Err(Error::Parameter {
                name: "metrics",
                value: "[]".into(),
                expected: "give at least one metric",
            });
        }
        let reserved = [RANDOM, EDGE_DETECTOR];
        if let Some((name, _)) = explainers.iter().find(|(name, _)| reserved.contains(name)) {
            return Err(Error::Parameter {
                name: "methods",
                value: (*name).into(),
                expected: "this is the name of a reference that every table has; choose another",
            });
        }
        let (random, edges) = (RandomMap::new(0), EdgeDetector::new());
        self.with_rows(|rows| {
            let mut names: Vec<&str> = explainers.iter().map(|(name, _)| *name).collect();
            let mut all: Vec<Explainer<'_>> = explainers.iter().map(|(_, e)| e.clone()).collect();
            names.push(RANDOM);
            all.push(Explainer::from(&random));
            let inputs = rows.question.inputs();
            if inputs.values()[inputs.first_explained()].shape().len() > 2 {
                names.push(EDGE_DETECTOR);
                all.push(Explainer::from(&edges));
            }
            let scores = self.scores(rows, &all, metrics, &mut |number, score| {
                scored(names[number], score);
            })?;
            let columns = metrics.iter().map(|metric| {
                let about = metric.about();
                Column {
                    name: about.name.into(),
                    higher_is_better: about.higher_is_better,
                    family: about.family,
                }
            });
            Ok(Comparison {
                methods: names.into_iter().map(String::from).collect(),
                metrics: columns.collect(),
                scores,
            })
        })
    }
}

impl Comparison {
    /// Returns the half width of the 95 % confidence interval of a score's mean over the rows; `None`
    /// for fewer than five rows.
    pub fn interval(score: &Score) -> Option<f64> {
        let defined = score.values.len() - score.undefined();
        Some(1.96 * score.standard_error()? * widened(defined)?)
    }

    /// Returns the ranks of the methods by each metric, `[method][metric]`: 1 for the best, the mean
    /// rank for equal means, `None` for a method for which the metric is not defined.
    pub fn ranks(&self) -> Vec<Vec<Option<f64>>> {
        let mut ranks = vec![vec![None; self.metrics.len()]; self.methods.len()];
        for (metric, column) in self.metrics.iter().enumerate() {
            let means = self.scores.iter().enumerate().map(|(method, row)| {
                let mean = row[metric].mean();
                // Ranks rise with values, and the best has rank 1.
                (method, if column.higher_is_better { -mean } else { mean })
            });
            let defined: Vec<(usize, f64)> = means.filter(|(_, mean)| !mean.is_nan()).collect();
            let values: Vec<f64> = defined.iter().map(|(_, mean)| *mean).collect();
            for ((method, _), rank) in defined.iter().zip(crate::statistics::ranks(&values)) {
                ranks[*method][metric] = Some(rank);
            }
        }
        ranks
    }

    /// Returns each method's mean rank over the metrics; NaN where none is defined.
    pub fn mean_ranks(&self) -> Vec<f64> {
        let mean = |ranks: Vec<Option<f64>>| {
            let defined: Vec<f64> = ranks.into_iter().flatten().collect();
            crate::statistics::mean(&defined)
        };
        self.ranks().into_iter().map(mean).collect()
    }

    /// Says whether the metrics agree on the order of the methods.
    pub fn disagreement(&self) -> Disagreement {
        Disagreement::of(self)
    }
}
