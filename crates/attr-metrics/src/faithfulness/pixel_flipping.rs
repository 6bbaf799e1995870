//! Pixel flipping: how fast the output falls while features are removed, the most relevant first.
//!
//! Bach et al., 2015 (<https://doi.org/10.1371/journal.pone.0130140>). Quantus: `PixelFlipping`.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::options::{ends, positive};
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes the mean height of the curve of outputs while more and more features are replaced by the
/// baseline, the most relevant first. A good explanation has a low curve.
///
/// The curve starts after the first step, as Quantus' does. One evaluation for each step.
///
/// # Errors
/// [`Error::Parameter`] for steps of no features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PixelFlipping {
    /// Features removed in each step; default 1, as in Quantus.
    pub features_in_step: usize,
    /// Whether features are ordered by magnitude; default false, as in Quantus.
    pub abs: bool,
    /// Whether the value is the area with steps of length 1, as Quantus returns with this parameter,
    /// in place of the mean height, which does not grow with the number of steps; default false.
    pub return_auc_per_sample: bool,
}

impl Default for PixelFlipping {
    fn default() -> Self {
        Self {
            features_in_step: 1,
            abs: false,
            return_auc_per_sample: false,
        }
    }
}

impl Metric for PixelFlipping {
    fn about(&self) -> About {
        About {
            name: "pixel-flipping",
            summary: "the mean output while features are removed, the most relevant first",
            paper: "https://doi.org/10.1371/journal.pone.0130140",
            higher_is_better: false,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let step = positive("features_in_step", self.features_in_step)?;
        let order = case.most_relevant_first(self.abs)?;
        let curves = case.curve(&order, &ends(case.features(), step), false)?;
        let summary = if self.return_auc_per_sample {
            statistics::area
        } else {
            statistics::mean_height
        };
        let values = curves.iter().map(|curve| summary(curve));
        Ok(Measured::new(values.collect()).with_curves(curves))
    }
}
