//! Selectivity: how fast the output falls while patches are removed, the most relevant first.
//!
//! Montavon, Samek, Müller, 2018 (<https://arxiv.org/abs/1706.07979>). Quantus: `Selectivity`.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::options::positive;
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes the mean height of the curve of outputs while all patches of an image are replaced by
/// the baseline, the most relevant first. A good explanation has a low curve.
///
/// Patches are as in [`RegionPerturbation`](crate::RegionPerturbation). The curve starts after the
/// first patch, as Quantus' does.
///
/// # Errors
/// [`Error::Parameter`] for patches of no pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Selectivity {
    /// Pixels along each side of a patch; default 8, as in Quantus.
    pub patch_size: usize,
    /// Whether magnitudes are summed; default false, as in Quantus.
    pub abs: bool,
}

impl Default for Selectivity {
    fn default() -> Self {
        Self {
            patch_size: 8,
            abs: false,
        }
    }
}

impl Metric for Selectivity {
    fn about(&self) -> About {
        About {
            name: "selectivity",
            summary: "the mean output while patches are removed, the most relevant first",
            paper: "https://arxiv.org/abs/1706.07979",
            higher_is_better: false,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let patched = case.in_patches(positive("patch_size", self.patch_size)?, self.abs)?;
        let ends: Vec<usize> = (1..=patched.case.features()).collect();
        let curves = patched.case.curve(&patched.order, &ends, false)?;
        let values = curves.iter().map(|curve| statistics::mean_height(curve));
        Ok(Measured::new(values.collect()).with_curves(curves))
    }
}
