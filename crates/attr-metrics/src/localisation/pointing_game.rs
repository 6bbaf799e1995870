//! Pointing game: does the most relevant feature lie inside the mask?
//!
//! Zhang et al., 2018 (<https://arxiv.org/abs/1608.00507>). Quantus: `PointingGame`, which gives an
//! empty mask a hit, and whose `weighted` has no effect; here they are undefined and the weight.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use super::{about, compare, size};
use crate::{About, Case, Measured, Metric, statistics};

/// Computes whether the most relevant feature lies inside the mask: 1 or 0. If several are equally
/// relevant, one inside is enough, so a constant explanation always hits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PointingGame {
    /// Whether a hit counts as the share of features outside the mask, since a large mask is easy
    /// to hit; default false, as in Quantus.
    pub weighted: bool,
    /// Whether magnitudes are compared; default false, as in Quantus.
    pub abs: bool,
}

impl Metric for PointingGame {
    fn about(&self) -> About {
        about(
            "pointing-game",
            "whether the most relevant feature lies inside the mask",
            "https://arxiv.org/abs/1608.00507",
        )
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        compare(case, self.abs, |relevance, mask| {
            let most = statistics::largest(relevance.iter().copied());
            let mut features = relevance.iter().zip(mask);
            let hit = features.any(|(&value, &inside)| inside && value == most);
            let weight = if self.weighted {
                1.0 - size(mask) as f64 / mask.len() as f64
            } else {
                1.0
            };
            if hit { weight } else { 0.0 }
        })
    }
}
