//! AUC: does relevance separate the inside of the mask from the outside?
//!
//! Fawcett, 2006 (<https://doi.org/10.1016/j.patrec.2005.10.010>). Quantus: `AUC`.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use super::{about, compare, size};
use crate::{About, Case, Measured, Metric, statistics};

/// Computes the area under the ROC curve of relevance as a classifier of the mask: the chance that a
/// random feature inside is more relevant than one outside. 0.5 for a random or constant
/// explanation. Undefined (NaN) where all features lie inside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Auc {
    /// Whether magnitudes are compared; default false, as in Quantus.
    pub abs: bool,
}

impl Metric for Auc {
    fn about(&self) -> About {
        about(
            "auc",
            "the chance that a feature inside the mask is more relevant than one outside",
            "https://doi.org/10.1016/j.patrec.2005.10.010",
        )
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        compare(case, self.abs, |relevance, mask| {
            // The rank sum of Mann and Whitney; equal values count as half.
            let inside = size(mask) as f64;
            let outside = mask.len() as f64 - inside;
            let ranks = statistics::ranks(relevance);
            let sum: f64 = ranks
                .iter()
                .zip(mask)
                .filter(|(_, inside)| **inside)
                .map(|(r, _)| r)
                .sum();
            if outside == 0.0 {
                return f64::NAN;
            }
            (sum - inside * (inside + 1.0) / 2.0) / (inside * outside)
        })
    }
}
