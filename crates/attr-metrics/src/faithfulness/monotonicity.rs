//! Monotonicity: does every added feature raise the output?
//!
//! Arya et al., 2019 (<https://arxiv.org/abs/1909.03012>), the metric of AIX360. Quantus'
//! `Monotonicity` replaces features of the baseline by the baseline, so its input never changes and
//! every explanation is monotonous; here features of the input are added, as in the paper.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::options::{ends, positive};
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes whether the output never falls while features are added to the baseline, the least
/// relevant first: 1 if so, else 0.
///
/// The curve holds the outputs, from the baseline on. One evaluation for each step.
///
/// # Errors
/// [`Error::Parameter`] for steps of no features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Monotonicity {
    /// Features added in each step; default 1, as in Quantus and the paper.
    pub features_in_step: usize,
    /// Whether features are ordered by magnitude; default true, as in Quantus.
    pub abs: bool,
}

impl Default for Monotonicity {
    fn default() -> Self {
        Self {
            features_in_step: 1,
            abs: true,
        }
    }
}

impl Metric for Monotonicity {
    fn about(&self) -> About {
        About {
            name: "monotonicity",
            summary: "whether the output never falls while features are added by relevance",
            paper: "https://arxiv.org/abs/1909.03012",
            higher_is_better: true,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let step = positive("features_in_step", self.features_in_step)?;
        let relevance = case.relevance_or_magnitude(self.abs)?;
        let order: Vec<_> = relevance
            .iter()
            .map(|row| statistics::ascending(row))
            .collect();
        let ends: Vec<usize> = std::iter::once(0)
            .chain(ends(case.features(), step))
            .collect();
        let curves = case.curve(&order, &ends, true)?;
        let rises = |curve: &Vec<f64>| curve.windows(2).all(|pair| pair[1] >= pair[0]);
        let values = curves.iter().map(|curve| f64::from(u8::from(rises(curve))));
        Ok(Measured::new(values.collect()).with_curves(curves))
    }
}
