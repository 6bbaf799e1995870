//! Faithfulness estimate: does each feature change the output as much as its relevance says?
//!
//! Alvarez-Melis, Jaakkola, 2018 (<https://arxiv.org/abs/1806.07538>). Quantus:
//! `FaithfulnessEstimate`.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::options::{ends, positive};
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes Pearson's correlation of the relevance of groups of features and the drop of the output
/// without each group, `f(x) - f(x without G)`. Groups are taken in order of relevance.
///
/// Undefined (NaN) where either is the same for all groups. One evaluation for each group.
///
/// # Errors
/// [`Error::Parameter`] for groups of no features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FaithfulnessEstimate {
    /// Features in each group; default 1, as in Quantus and the paper.
    pub features_in_step: usize,
    /// Whether magnitudes are summed; default false, as in Quantus.
    pub abs: bool,
}

impl Default for FaithfulnessEstimate {
    fn default() -> Self {
        Self {
            features_in_step: 1,
            abs: false,
        }
    }
}

impl Metric for FaithfulnessEstimate {
    fn about(&self) -> About {
        About {
            name: "faithfulness-estimate",
            summary: "the correlation of each feature's relevance and the drop without it",
            paper: "https://arxiv.org/abs/1806.07538",
            higher_is_better: true,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let step = positive("features_in_step", self.features_in_step)?;
        let relevance = case.relevance_or_magnitude(self.abs)?;
        let order = case.most_relevant_first(self.abs)?;
        let ends = ends(case.features(), step);
        let group = |row: usize, k: usize| &order[row][k * step..ends[k]];
        let outputs = case.outputs(ends.len(), &|row, k, absent| {
            for &feature in group(row, k) {
                absent[feature] = true;
            }
        })?;
        let scores = case.scores();
        let values = (0..case.rows()).map(|row| {
            let sums =
                (0..ends.len()).map(|k| group(row, k).iter().map(|&i| relevance[row][i]).sum());
            let drops = outputs[row].iter().map(|output| scores[row] - output);
            let (sums, drops): (Vec<f64>, Vec<f64>) = (sums.collect(), drops.collect());
            statistics::pearson(&sums, &drops)
        });
        Ok(Measured::new(values.collect()))
    }
}
