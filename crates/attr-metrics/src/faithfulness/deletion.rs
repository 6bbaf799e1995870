//! Deletion and insertion: the area under the curve of outputs while the most relevant features are
//! removed from the input, or added to the baseline.
//!
//! Petsiuk, Das, Saenko, 2018 (<https://arxiv.org/abs/1806.07421>). Xplique: `Deletion`,
//! `Insertion`.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::options::{positive, share};
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes the area under the curve of outputs while the most relevant features are replaced by the
/// baseline. A good explanation has a small area.
///
/// The curve has `steps + 1` points, from the input on; features are removed in equal shares. In
/// the paper, the output is a probability: give a model that ends in a softmax, or read the area in
/// units of its scores.
///
/// # Errors
/// [`Error::Parameter`] for no steps, or a share that is not above 0 and at most 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Deletion {
    /// Steps of the curve; default 10, as in Xplique; at most one for each feature.
    pub steps: usize,
    /// The share of features that is removed in the end; default 1, as in Xplique.
    pub max_percentage_perturbed: f64,
}

impl Default for Deletion {
    fn default() -> Self {
        Self {
            steps: 10,
            max_percentage_perturbed: 1.0,
        }
    }
}

/// Computes the area under the curve of outputs while the most relevant features are added to the
/// baseline. A good explanation has a large area.
///
/// The curve has `steps + 1` points, from the baseline on; otherwise as [`Deletion`].
///
/// # Errors
/// As [`Deletion`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Insertion {
    /// Steps of the curve; default 10, as in Xplique; at most one for each feature.
    pub steps: usize,
    /// The share of features that is added in the end; default 1, as in Xplique.
    pub max_percentage_perturbed: f64,
}

impl Default for Insertion {
    fn default() -> Self {
        Self {
            steps: 10,
            max_percentage_perturbed: 1.0,
        }
    }
}

impl Metric for Deletion {
    fn about(&self) -> About {
        About {
            name: "deletion",
            summary: "the area under the output while the most relevant features are removed",
            paper: "https://arxiv.org/abs/1806.07421",
            higher_is_better: false,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        areas(case, self.steps, self.max_percentage_perturbed, false)
    }
}

impl Metric for Insertion {
    fn about(&self) -> About {
        About {
            name: "insertion",
            summary: "the area under the output while the most relevant features are added",
            paper: "https://arxiv.org/abs/1806.07421",
            higher_is_better: true,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        areas(case, self.steps, self.max_percentage_perturbed, true)
    }
}

fn areas(case: &Case<'_>, steps: usize, most: f64, inserted: bool) -> Result<Measured, Error> {
    let ends = shares(case.features(), steps, most)?;
    let curves = case.curve(&case.most_relevant_first(false)?, &ends, inserted)?;
    let values = curves.iter().map(|curve| statistics::mean_height(curve));
    Ok(Measured::new(values.collect()).with_curves(curves))
}

/// Returns how many features are changed at each of `steps + 1` points, from none to the share
/// `most`.
pub(super) fn shares(features: usize, steps: usize, most: f64) -> Result<Vec<usize>, Error> {
    let most = (share("max_percentage_perturbed", most)? * features as f64).max(1.0);
    let steps = positive("steps", steps)?.min((most as usize).max(1));
    let ends = (0..=steps).map(|step| (most * step as f64 / steps as f64).round() as usize);
    Ok(ends.collect())
}
