//! Focus: in a mosaic of images, how much of the positive relevance lies on those of the explained
//! class?
//!
//! Arias-Duart et al., 2022 (<https://arxiv.org/abs/2109.15035>). Quantus: `Focus`.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use super::{about, compare, share};
use crate::{About, Case, Measured, Metric};

/// Computes the share of the positive relevance that lies inside the mask: the quadrants of a mosaic
/// that hold images of the explained class. Undefined (NaN) where there is none.
///
/// Inputs are mosaics of two by two images, two of them of the class, and masks mark their
/// quadrants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Focus {
    /// Whether magnitudes are summed in place of positive relevance; default false, as in Quantus.
    pub abs: bool,
}

impl Metric for Focus {
    fn about(&self) -> About {
        about(
            "focus",
            "the share of the positive relevance on the images of the class in a mosaic",
            "https://arxiv.org/abs/2109.15035",
        )
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        compare(case, self.abs, |relevance, mask| {
            share(relevance.iter().map(|value| value.max(0.0)), mask)
        })
    }
}
