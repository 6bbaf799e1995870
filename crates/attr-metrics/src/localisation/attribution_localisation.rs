//! Attribution localisation: how much of the positive relevance lies inside the object, for objects
//! of any size?
//!
//! Kohlbrenner et al., 2020 (<https://arxiv.org/abs/1910.09840>). Quantus'
//! `AttributionLocalisation` takes the size of the image from the wrong dimensions and multiplies by
//! the object's share where the paper divides.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use super::{about, compare, share, size};
use crate::options;
use crate::{About, Case, Measured, Metric};

/// Computes `μ`, the share of the relevance that lies inside the mask, or `μ / (share of features
/// inside)` where `weighted`, which is about 1 for a random explanation.
///
/// Undefined (NaN) where there is no relevance, and for objects larger than `max_size`.
///
/// # Errors
/// [`Error::Parameter`] for a `max_size` that is not above 0 and at most 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AttributionLocalisation {
    /// Whether the share is divided by the mask's share of all features; default false, as in
    /// Quantus.
    pub weighted: bool,
    /// The largest object that counts, as a share of all features; default 1, as in Quantus.
    pub max_size: f64,
    /// Whether only positive relevance counts; default false, as in Quantus. The paper's is true.
    pub positive_attributions: bool,
    /// Whether magnitudes are summed, unless only positive relevance counts; default true, as in
    /// Quantus.
    pub abs: bool,
}

impl Default for AttributionLocalisation {
    fn default() -> Self {
        Self {
            weighted: false,
            max_size: 1.0,
            positive_attributions: false,
            abs: true,
        }
    }
}

impl Metric for AttributionLocalisation {
    fn about(&self) -> About {
        about(
            "attribution-localisation",
            "the share of the relevance inside the object",
            "https://arxiv.org/abs/1910.09840",
        )
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let max_size = options::share("max_size", self.max_size)?;
        let abs = self.abs && !self.positive_attributions;
        let least = if self.positive_attributions {
            0.0
        } else {
            f64::MIN
        };
        compare(case, abs, |relevance, mask| {
            let part = size(mask) as f64 / mask.len() as f64;
            if part > max_size {
                return f64::NAN;
            }
            let inside = share(relevance.iter().map(|value| value.max(least)), mask);
            if self.weighted { inside / part } else { inside }
        })
    }
}
