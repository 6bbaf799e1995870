//! ABPC: the area between the perturbation curves of the least and the most relevant features.
//!
//! Blücher, Vielhaben, Strodthoff, 2024 (<https://arxiv.org/abs/2401.06654>) name it the symmetric
//! relevance gain; papers on LRP of transformers print it: Achtibat et al., 2024
//! (<https://arxiv.org/abs/2402.05602>).

use attr_core::Error;
use serde::{Deserialize, Serialize};

use super::deletion::shares;
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes the area between the curves of outputs while features are replaced by the baseline: the
/// least relevant first (LeRF), minus the most relevant first (MoRF).
///
/// A good explanation keeps the output up in the first and brings it down in the second; a random
/// one has an area of about zero. The area depends less than either curve alone on how far the
/// baseline lies from the data. The curve is the difference at each of `steps + 1` points.
///
/// # Errors
/// [`Error::Parameter`] for no steps, or a share that is not above 0 and at most 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Abpc {
    /// Steps of the curves; default 10; at most one for each feature.
    pub steps: usize,
    /// The share of features that is removed in the end; default 1.
    pub max_percentage_perturbed: f64,
}

impl Default for Abpc {
    fn default() -> Self {
        Self {
            steps: 10,
            max_percentage_perturbed: 1.0,
        }
    }
}

impl Metric for Abpc {
    fn about(&self) -> About {
        About {
            name: "abpc",
            summary: "the area between the curves of the least and the most relevant features first",
            paper: "https://arxiv.org/abs/2402.05602",
            higher_is_better: true,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let ends = shares(case.features(), self.steps, self.max_percentage_perturbed)?;
        let most_first = case.most_relevant_first(false)?;
        let mut least_first = most_first.clone();
        least_first.iter_mut().for_each(|order| order.reverse());
        let falls = case.curve(&most_first, &ends, false)?;
        let stays = case.curve(&least_first, &ends, false)?;
        let curves = stays.iter().zip(&falls);
        let curves = curves.map(|(lerf, morf)| lerf.iter().zip(morf).map(|(l, m)| l - m).collect());
        let curves: Vec<Vec<f64>> = curves.collect();
        let values = curves.iter().map(|curve| statistics::mean_height(curve));
        Ok(Measured::new(values.collect()).with_curves(curves))
    }
}
