//! Average drop, increase and gain: the output where an image shows only what is relevant.
//!
//! Chattopadhay et al., 2018, Grad-CAM++ (<https://arxiv.org/abs/1710.11063>); the gain is of Zhang
//! et al., 2024, Opti-CAM (<https://arxiv.org/abs/2301.07002>). Xplique: `AverageDropMetric`,
//! `AverageIncreaseMetric`, `AverageGainMetric`.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::{About, Case, Family, Measured, Metric, Needs};

/// Computes `max(0, f(x) - f(m ⊙ x)) / f(x)`: the share of the output that is lost where each
/// feature is present to the degree `m = max(a, 0) / max(a)` of its positive relevance.
///
/// The output should be a probability; undefined (NaN) where it is not positive. Absent parts fade
/// into the baseline. Without positive relevance nothing is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AverageDrop {}

/// Computes whether the output rises where an image shows only what is relevant, as in
/// [`AverageDrop`]: 1 if `f(m ⊙ x) > f(x)`, else 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AverageIncrease {}

/// Computes `max(0, f(m ⊙ x) - f(x)) / (1 - f(x))`: the share of what is missing to a certain
/// prediction that is gained where an image shows only what is relevant, as in [`AverageDrop`].
///
/// The output must be a probability; undefined (NaN) where it is not below 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AverageGain {}

impl Metric for AverageDrop {
    fn about(&self) -> About {
        About {
            name: "average-drop",
            summary: "the share of the output that is lost where only relevant features show",
            paper: "https://arxiv.org/abs/1710.11063",
            higher_is_better: false,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        compare(case, |whole, shown| {
            if whole > 0.0 {
                (whole - shown).max(0.0) / whole
            } else {
                f64::NAN
            }
        })
    }
}

impl Metric for AverageIncrease {
    fn about(&self) -> About {
        About {
            name: "average-increase",
            summary: "whether the output rises where only relevant features show",
            paper: "https://arxiv.org/abs/1710.11063",
            higher_is_better: true,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        compare(case, |whole, shown| f64::from(u8::from(shown > whole)))
    }
}

impl Metric for AverageGain {
    fn about(&self) -> About {
        About {
            name: "average-gain",
            summary: "the share of the missing output gained where only relevant features show",
            paper: "https://arxiv.org/abs/2301.07002",
            higher_is_better: true,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        compare(case, |whole, shown| {
            if whole < 1.0 {
                (shown - whole).max(0.0) / (1.0 - whole)
            } else {
                f64::NAN
            }
        })
    }
}

/// Compares the output of each row with that of what is relevant in it.
fn compare(case: &Case<'_>, of: impl Fn(f64, f64) -> f64) -> Result<Measured, Error> {
    let relevance = case.relevance()?;
    let shown = case.blended(&|row, present| {
        let most = relevance[row].iter().fold(0f64, |most, &a| most.max(a));
        for (present, &a) in present.iter_mut().zip(&relevance[row]) {
            *present = if most > 0.0 {
                (a.max(0.0) / most) as f32
            } else {
                0.0
            };
        }
    })?;
    let pairs = case.scores().into_iter().zip(shown);
    Ok(Measured::new(
        pairs.map(|(whole, shown)| of(whole, shown)).collect(),
    ))
}
