//! The weight of a sample by its distance from the input.

use attr_core::Error;
use serde::{Deserialize, Serialize};

/// How the distance between two points is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DistanceMode {
    /// One minus the cosine of the angle between them, Captum's default.
    #[default]
    Cosine,
    /// The length of their difference.
    Euclidean,
}

impl DistanceMode {
    /// Returns the distance between points with squared lengths `aa`, `bb` and product `ab`.
    pub(crate) fn distance(self, aa: f64, ab: f64, bb: f64) -> f64 {
        match self {
            // The angle to zero counts as a right angle.
            Self::Cosine if aa * bb <= 0.0 => 1.0,
            Self::Cosine => 1.0 - ab / (aa * bb).sqrt(),
            Self::Euclidean => (aa - 2.0 * ab + bb).max(0.0).sqrt(),
        }
    }
}

/// Returns `exp(-d² / (2 width²))`, Captum's exponential kernel.
pub(crate) fn exponential(distance: f64, width: f64) -> f64 {
    (-0.5 * (distance / width).powi(2)).exp()
}

/// Outputs held at a time, which limits how many rows are fitted together.
const AT_ONCE: usize = 1 << 22;

/// Divides rows into parts that are fitted together, each row with this many samples.
pub(crate) fn parts(rows: &[usize], samples: usize) -> std::slice::Chunks<'_, usize> {
    rows.chunks((AT_ONCE / samples.max(1)).max(1))
}

/// Rejects a width that is not positive and finite.
pub(crate) fn check(width: f64) -> Result<(), Error> {
    if width > 0.0 && width.is_finite() {
        return Ok(());
    }
    Err(Error::Parameter {
        name: "kernel_width",
        value: width.to_string(),
        expected: "a width must be positive and finite",
    })
}

/// Rejects samples and features whose values would not fit into two gibibytes.
pub(crate) fn check_size(samples: usize, features: usize) -> Result<(), Error> {
    let size = samples.checked_mul(features);
    if size.is_some_and(|size| size <= 1 << 28) {
        return Ok(());
    }
    Err(Error::Parameter {
        name: "n_samples",
        value: samples.to_string(),
        expected: "samples times features must be at most 268435456; group features with a mask",
    })
}

/// Rejects a number of samples that is too small or too large.
pub(crate) fn check_samples(name: &'static str, samples: usize, least: usize) -> Result<(), Error> {
    if (least..=1 << 24).contains(&samples) {
        return Ok(());
    }
    Err(Error::Parameter {
        name,
        value: samples.to_string(),
        expected: match least {
            1 => "a fit needs at least one sample, and takes at most 16777216",
            2 => "a fit needs the row and one more sample, and takes at most 16777216",
            _ => {
                "a fit needs all features, none, and one coalition between, and takes at most \
                 16777216"
            }
        },
    })
}
