//! Region perturbation: how far the output falls while patches of an image are removed by relevance.
//!
//! Samek et al., 2015 (<https://arxiv.org/abs/1509.06321>). Quantus: `RegionPerturbation`.

use attr_core::Error;
use attr_core::build::Random;
use serde::{Deserialize, Serialize};

use crate::options::{Order, patches, positive};
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes the area over the perturbation curve, `AOPC = 1/(L+1) Σ_{k=0..L} f(x) - f(x_k)`, where
/// `x_k` is the input without its `k` first patches.
///
/// Patches are squares of `patch_size` pixels, all channels together, from the upper left corner on;
/// those at the right and lower border may be smaller (Quantus pads the image instead). The curve
/// holds `f(x) - f(x_k)` from `k = 1` on, as Quantus' does. With the most relevant first, a large
/// area is good; with the least relevant first, the value is the negative area, so that larger is
/// still better.
///
/// # Errors
/// [`Error::Parameter`] for patches of no pixels, or no regions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RegionPerturbation {
    /// Pixels along each side of a patch; default 8, as in Quantus.
    pub patch_size: usize,
    /// Which patches are removed first; default the most relevant, as in Quantus.
    pub order: Order,
    /// How many patches are removed; default 100, as in Quantus.
    pub regions_evaluation: usize,
    /// Whether magnitudes are summed; default false, as in Quantus.
    pub abs: bool,
    /// Seed of a random order.
    pub seed: u64,
}

impl Default for RegionPerturbation {
    fn default() -> Self {
        Self {
            patch_size: 8,
            order: Order::Morf,
            regions_evaluation: 100,
            abs: false,
            seed: 0,
        }
    }
}

impl Metric for RegionPerturbation {
    fn about(&self) -> About {
        About {
            name: "region-perturbation",
            summary: "how far the output falls while patches are removed, the most relevant first",
            paper: "https://arxiv.org/abs/1509.06321",
            higher_is_better: true,
            family: Family::Faithfulness,
            needs: Needs {
                seed: true,
                ..Needs::default()
            },
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let size = positive("patch_size", self.patch_size)?;
        let regions = positive("regions_evaluation", self.regions_evaluation)?;
        let patched = case.in_patches(size, self.abs)?;
        let mut order = patched.order.clone();
        match self.order {
            Order::Morf => {}
            Order::Lerf => order.iter_mut().for_each(|order| order.reverse()),
            Order::Random => {
                let random = Random::new(self.seed).permutation(patched.case.features());
                order.fill(random);
            }
        }
        let ends: Vec<usize> = (1..=regions.min(patched.case.features())).collect();
        let mut curves = patched.case.curve(&order, &ends, false)?;
        let sign = if self.order == Order::Lerf { -1.0 } else { 1.0 };
        let mut values = Vec::new();
        for (curve, score) in curves.iter_mut().zip(case.scores()) {
            for output in curve.iter_mut() {
                *output = score - *output;
            }
            values.push(sign * curve.iter().sum::<f64>() / (curve.len() + 1) as f64);
        }
        Ok(Measured::new(values).with_curves(curves))
    }
}

/// A case with patches as features, and their order in each row.
pub(super) struct Patched<'a> {
    pub case: Case<'a>,
    /// The most relevant first.
    pub order: Vec<Vec<usize>>,
}

impl<'a> Case<'a> {
    /// Returns the case with square patches as features, in order of relevance or magnitude.
    pub(super) fn in_patches(&self, size: usize, abs: bool) -> Result<Patched<'a>, Error> {
        let patches = || patches(self.question(), size);
        let case = self.with_features(&format!("attr:patches of {size}"), patches)?;
        let relevance = case.relevance_or_magnitude(abs)?;
        let order = relevance.iter().map(|row| statistics::descending(row));
        Ok(Patched {
            order: order.collect(),
            case,
        })
    }
}
