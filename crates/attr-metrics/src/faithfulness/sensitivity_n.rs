//! Sensitivity-n: do subsets of every size change the output as much as their relevance says?
//!
//! Ancona et al., 2018 (<https://arxiv.org/abs/1711.06104>). Quantus' `SensitivityN` takes the `n`
//! most relevant features of each row instead of random ones, and correlates across the rows of a
//! batch; `variant` = quantus does the same.

use attr_core::Error;
use attr_core::build::Random;
use serde::{Deserialize, Serialize};

use crate::options::{Variant, ends, positive, share};
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes the mean over subset sizes `n` of Pearson's correlation of `Σ_{i in S} a_i` and
/// `f(x) - f(x without S)` over random subsets `S` of size `n`.
///
/// The curve holds the correlation for each size. Sizes are spread evenly from one feature to
/// `n_max_percentage` of them. Subsets depend on the seed only, so all explainers share their
/// evaluations. Undefined (NaN) where a correlation is for all sizes.
///
/// # Errors
/// [`Error::Parameter`] for fewer than two subsets, no sizes, or a share that is not above 0 and at
/// most 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SensitivityN {
    /// The largest subset, as a share of all features; default 0.8, as in Quantus and the paper.
    pub n_max_percentage: f64,
    /// How many sizes are tried; default 10.
    pub nr_sizes: usize,
    /// Subsets of each size; default 100, as in the paper.
    pub nr_samples: usize,
    /// Whether magnitudes are summed; default false, as in Quantus.
    pub abs: bool,
    /// Which definition is computed; default the paper's. Quantus': the correlation across rows, for
    /// each step of `features_in_step` of the most relevant features, of the step's relevance and
    /// the drop with all steps so far removed. All rows have the same value.
    pub variant: Variant,
    /// Features in each step of Quantus' variant; default 1, as there.
    pub features_in_step: usize,
    /// Seed of the subsets.
    pub seed: u64,
}

impl Default for SensitivityN {
    fn default() -> Self {
        Self {
            n_max_percentage: 0.8,
            nr_sizes: 10,
            nr_samples: 100,
            abs: false,
            variant: Variant::Paper,
            features_in_step: 1,
            seed: 0,
        }
    }
}

impl Metric for SensitivityN {
    fn about(&self) -> About {
        About {
            name: "sensitivity-n",
            summary: "the correlation of relevance and change over subsets of each size",
            paper: "https://arxiv.org/abs/1711.06104",
            higher_is_better: true,
            family: Family::Faithfulness,
            needs: Needs {
                seed: true,
                ..Needs::default()
            },
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let most = share("n_max_percentage", self.n_max_percentage)?;
        match self.variant {
            Variant::Paper => self.over_subsets(case, most),
            Variant::Quantus => self.across_rows(case, most),
        }
    }
}

impl SensitivityN {
    fn over_subsets(&self, case: &Case<'_>, most: f64) -> Result<Measured, Error> {
        let features = case.features();
        let samples = positive("nr_samples", self.nr_samples)?;
        if samples < 2 {
            return Err(Error::Parameter {
                name: "nr_samples",
                value: samples.to_string(),
                expected: "a correlation needs at least two subsets",
            });
        }
        let largest = ((features as f64 * most) as usize).max(1);
        let count = positive("nr_sizes", self.nr_sizes)?.min(largest);
        let sizes = (0..count).map(|k| 1 + k * (largest - 1) / (count - 1).max(1));
        let sizes: Vec<usize> = sizes.collect();
        let mut random = Random::new(self.seed);
        let subsets = sizes.iter().flat_map(|&size| {
            let mut draw = || {
                let mut subset = random.permutation(features);
                subset.truncate(size);
                subset
            };
            (0..samples).map(|_| draw()).collect::<Vec<_>>()
        });
        let subsets: Vec<Vec<usize>> = subsets.collect();
        let outputs = case.outputs(subsets.len(), &|_, k, absent| {
            for &feature in &subsets[k] {
                absent[feature] = true;
            }
        })?;
        let relevance = case.relevance_or_magnitude(self.abs)?;
        let scores = case.scores();
        let curves = (0..case.rows()).map(|row| {
            let of_size = |k: usize| {
                let range = k * samples..(k + 1) * samples;
                let sums = subsets[range.clone()].iter();
                let sums = sums.map(|subset| subset.iter().map(|&i| relevance[row][i]).sum());
                let drops = outputs[row][range]
                    .iter()
                    .map(|output| scores[row] - output);
                let (sums, drops): (Vec<f64>, Vec<f64>) = (sums.collect(), drops.collect());
                statistics::pearson(&sums, &drops)
            };
            (0..sizes.len()).map(of_size).collect::<Vec<f64>>()
        });
        let curves: Vec<Vec<f64>> = curves.collect();
        let values = curves.iter().map(|curve| statistics::mean(curve));
        Ok(Measured::new(values.collect()).with_curves(curves))
    }

    fn across_rows(&self, case: &Case<'_>, most: f64) -> Result<Measured, Error> {
        let step = positive("features_in_step", self.features_in_step)?;
        let features = case.features();
        let steps = ((features as f64 * most) as usize / step).max(1);
        let ends = &ends(features, step)[..steps];
        let order = case.most_relevant_first(self.abs)?;
        let relevance = case.relevance_or_magnitude(self.abs)?;
        let outputs = case.curve(&order, ends, false)?;
        let scores = case.scores();
        let curve = ends.iter().enumerate().map(|(k, &end)| {
            let rows = 0..case.rows();
            let sums = rows.clone().map(|row| {
                let step = &order[row][k * step..end];
                step.iter().map(|&i| relevance[row][i]).sum()
            });
            let drops = rows.map(|row| scores[row] - outputs[row][k]);
            let (sums, drops): (Vec<f64>, Vec<f64>) = (sums.collect(), drops.collect());
            statistics::pearson(&sums, &drops)
        });
        let curve: Vec<f64> = curve.collect();
        let values = vec![statistics::mean(&curve); case.rows()];
        Ok(Measured::new(values).with_curves(vec![curve; case.rows()]))
    }
}
