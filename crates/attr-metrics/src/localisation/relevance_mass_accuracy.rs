//! Relevance mass accuracy: how much of the relevance lies inside the mask?
//!
//! Arras, Osman, Samek, 2022, CLEVR-XAI (<https://arxiv.org/abs/2003.07258>), who make relevance
//! non-negative first. Quantus' `RelevanceMassAccuracy` sums signed relevance, so that its share may
//! be negative or above 1; `variant` = quantus does the same.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use super::{about, compare, share};
use crate::options::Variant;
use crate::{About, Case, Measured, Metric};

/// Computes the share of the positive relevance that lies inside the mask. Undefined (NaN) where
/// there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RelevanceMassAccuracy {
    /// Whether magnitudes are summed in place of positive relevance; default false.
    pub abs: bool,
    /// Which definition is computed; default the paper's. Quantus' sums signed relevance.
    pub variant: Variant,
}

impl Metric for RelevanceMassAccuracy {
    fn about(&self) -> About {
        about(
            "relevance-mass-accuracy",
            "the share of the positive relevance inside the mask",
            "https://arxiv.org/abs/2003.07258",
        )
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let least = match self.variant {
            Variant::Paper => 0.0,
            Variant::Quantus => f64::MIN,
        };
        compare(case, self.abs, |relevance, mask| {
            share(relevance.iter().map(|value| value.max(least)), mask)
        })
    }
}
