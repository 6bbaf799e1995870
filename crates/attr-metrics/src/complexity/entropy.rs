//! Complexity: the entropy of the relevance.
//!
//! Bhatt, Weller, Moura, 2020 (<https://arxiv.org/abs/2005.00631>). Quantus: `Complexity`.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::{About, Case, Family, Measured, Metric, Needs};

/// Computes the entropy `-Σ p_i ln p_i` of the shares `p_i = |a_i| / Σ |a|`, in nats: 0 where one
/// feature has everything, `ln n` where all are equal. Undefined (NaN) for zero attributions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Complexity {}

impl Metric for Complexity {
    fn about(&self) -> About {
        About {
            name: "complexity",
            summary: "the entropy of the relevance",
            paper: "https://arxiv.org/abs/2005.00631",
            higher_is_better: false,
            family: Family::Complexity,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let values = case.relevance_or_magnitude(true)?.into_iter().map(|row| {
            let total: f64 = row.iter().sum();
            if total == 0.0 {
                return f64::NAN;
            }
            let shares = row.iter().map(|value| value / total);
            let terms = shares
                .filter(|share| *share > 0.0)
                .map(|share| -share * share.ln());
            terms.sum()
        });
        Ok(Measured::new(values.collect()))
    }
}
