//! Sparseness: the Gini coefficient of the relevance.
//!
//! Chalasani et al., 2020 (<https://arxiv.org/abs/1810.06583>). Quantus: `Sparseness`, which adds
//! 1e-7 to every magnitude.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::{About, Case, Family, Measured, Metric, Needs};

/// Computes the Gini coefficient of the magnitudes,
/// `Σ_i (2i - n - 1) |a|_(i) / (n Σ_i |a|_(i))` over sorted magnitudes: 0 where all are equal
/// (zeros included), near 1 where one feature has everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Sparseness {}

impl Metric for Sparseness {
    fn about(&self) -> About {
        About {
            name: "sparseness",
            summary: "the Gini coefficient of the relevance",
            paper: "https://arxiv.org/abs/1810.06583",
            higher_is_better: true,
            family: Family::Complexity,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let values = case
            .relevance_or_magnitude(true)?
            .into_iter()
            .map(|mut row| {
                row.sort_by(f64::total_cmp);
                let n = row.len() as f64;
                let total: f64 = row.iter().sum();
                if total == 0.0 {
                    return 0.0;
                }
                let weighted = row.iter().enumerate();
                let weighted =
                    weighted.map(|(i, value)| (2.0 * (i as f64 + 1.0) - n - 1.0) * value);
                weighted.sum::<f64>() / (n * total)
            });
        Ok(Measured::new(values.collect()))
    }
}
