//! MuFidelity: do random subsets of cells change the output in the order of their relevance?
//!
//! Bhatt, Weller, Moura, 2020 (<https://arxiv.org/abs/2005.00631>), on a grid and by ranks, as
//! Xplique's `MuFidelity`.

use attr_core::build::Random;
use attr_core::{Error, FeatureMask};
use serde::{Deserialize, Serialize};

use crate::options::{positive, share};
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes Spearman's correlation of `Σ_{i in S} a_i` and `f(x) - f(x without S)` over random
/// subsets `S` of cells of a regular grid.
///
/// Several inputs, inputs without space, `[batch, features]`, and images with fewer pixels than cells along a side
/// keep their features. Undefined (NaN) where the relevance or the output does not change from
/// subset to subset. The standard error is `(1 - r²) / sqrt(nb_samples - 1)`.
///
/// # Errors
/// [`Error::Parameter`] for fewer than two samples, no cells, or a share that is not above 0 and at
/// most 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct MuFidelity {
    /// Cells along each side of the grid; default 9, as in Xplique.
    pub grid_size: usize,
    /// The share of cells in each subset; default 0.2, as in Xplique.
    pub subset_percent: f64,
    /// Number of subsets; default 200, as in Xplique.
    pub nb_samples: usize,
    /// Seed of the subsets.
    pub seed: u64,
}

impl Default for MuFidelity {
    fn default() -> Self {
        Self {
            grid_size: 9,
            subset_percent: 0.2,
            nb_samples: 200,
            seed: 0,
        }
    }
}

impl Metric for MuFidelity {
    fn about(&self) -> About {
        About {
            name: "mu-fidelity",
            summary: "the rank correlation of relevance and change over random subsets of cells",
            paper: "https://arxiv.org/abs/2005.00631",
            higher_is_better: true,
            family: Family::Faithfulness,
            needs: Needs {
                seed: true,
                ..Needs::default()
            },
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let cells = positive("grid_size", self.grid_size)?;
        let share = share("subset_percent", self.subset_percent)?;
        if positive("nb_samples", self.nb_samples)? < 2 {
            return Err(Error::Parameter {
                name: "nb_samples",
                value: self.nb_samples.to_string(),
                expected: "a correlation needs at least two subsets",
            });
        }
        let inputs = case.question().inputs();
        let shape = inputs.values()[case.question().inputs().first_explained()].shape();
        let sides = &shape[2.min(shape.len())..];
        let alone = (0..inputs.values().len())
            .filter(|&i| inputs.explained(i))
            .count()
            == 1;
        if !alone || sides.is_empty() || sides.iter().any(|&side| side < cells) {
            return self.of(case, share);
        }
        let mask = || Ok(FeatureMask::Grid(vec![cells; sides.len()]));
        self.of(
            &case.with_features(&format!("attr:grid of {cells}"), mask)?,
            share,
        )
    }
}

impl MuFidelity {
    fn of(&self, case: &Case<'_>, share: f64) -> Result<Measured, Error> {
        let features = case.features();
        let size = ((features as f64 * share) as usize).max(1);
        let mut random = Random::new(self.seed);
        let subsets = (0..self.nb_samples).map(|_| {
            let mut subset = random.permutation(features);
            subset.truncate(size);
            subset
        });
        let subsets: Vec<Vec<usize>> = subsets.collect();
        let outputs = case.outputs(subsets.len(), &|_, k, absent| {
            for &feature in &subsets[k] {
                absent[feature] = true;
            }
        })?;
        let (relevance, scores) = (case.relevance()?, case.scores());
        let values = (0..case.rows()).map(|row| {
            let sums = subsets.iter();
            let sums = sums.map(|subset| subset.iter().map(|&i| relevance[row][i]).sum());
            let drops = outputs[row].iter().map(|output| scores[row] - output);
            let (sums, drops): (Vec<f64>, Vec<f64>) = (sums.collect(), drops.collect());
            statistics::spearman(&sums, &drops)
        });
        let values: Vec<f64> = values.collect();
        let errors = values.iter();
        let errors = errors.map(|r| (1.0 - r * r) / ((self.nb_samples - 1) as f64).sqrt());
        let errors = errors.collect();
        Ok(Measured::new(values).with_standard_errors(errors))
    }
}
