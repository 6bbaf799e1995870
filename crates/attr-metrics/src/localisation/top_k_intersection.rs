//! Top-k intersection: how many of the most relevant features lie inside the mask?
//!
//! Theiner et al., 2021 (<https://arxiv.org/abs/2104.14995>). Quantus: `TopKIntersection`.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use super::{about, compare, size};
use crate::options::positive;
use crate::{About, Case, Measured, Metric, statistics};

/// Computes the share of the `k` most relevant features that lie inside the mask.
///
/// # Errors
/// [`Error::Parameter`] for a `k` of 0, or of more than all features.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct TopKIntersection {
    /// How many features are looked at; by default 1000, as in Quantus, but at most a tenth.
    pub k: Option<usize>,
    /// Whether the share is divided by the mask's share of all features, so that a random
    /// explanation has a value of about 1; default false, as in Quantus.
    pub concept_influence: bool,
    /// Whether magnitudes are compared; default false, as in Quantus.
    pub abs: bool,
}

impl Metric for TopKIntersection {
    fn about(&self) -> About {
        about(
            "top-k-intersection",
            "the share of the k most relevant features inside the mask",
            "https://arxiv.org/abs/2104.14995",
        )
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let features = case.features();
        let k = positive("k", self.k.unwrap_or(1000.min(features.div_ceil(10))))?;
        if k > features {
            return Err(Error::Parameter {
                name: "k",
                value: k.to_string(),
                expected: "there are not that many features",
            });
        }
        compare(case, self.abs, |relevance, mask| {
            let top = &statistics::descending(relevance)[..k];
            let inside = top.iter().filter(|&&feature| mask[feature]).count();
            let share = inside as f64 / k as f64;
            if self.concept_influence {
                share * mask.len() as f64 / size(mask) as f64
            } else {
                share
            }
        })
    }
}
