//! Faithfulness correlation: do random subsets of features change the output as much as their
//! relevance says?
//!
//! Bhatt, Weller, Moura, 2020 (<https://arxiv.org/abs/2005.00631>). Quantus:
//! `FaithfulnessCorrelation`, which draws subsets for each row apart; here all rows share them.

use attr_core::Error;
use attr_core::build::Random;
use serde::{Deserialize, Serialize};

use crate::options::positive;
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes Pearson's correlation of `Σ_{i in S} a_i` and `f(x) - f(x without S)` over random
/// subsets `S` of the features.
///
/// Undefined (NaN) where the relevance or the model's output does not change from subset to subset,
/// such as for constant attributions. Subsets depend on the seed only, so all explainers share their
/// evaluations. The standard error is that of a correlation, `(1 - r²) / sqrt(nr_runs - 1)`.
///
/// # Errors
/// [`Error::Parameter`] for fewer than two runs, an empty subset, or one of more than all features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FaithfulnessCorrelation {
    /// Number of subsets; default 100, as in Quantus.
    pub nr_runs: usize,
    /// Features in each subset; by default 224, as in Quantus, but at most a quarter of them.
    pub subset_size: Option<usize>,
    /// Whether magnitudes are summed; default false, as in Quantus.
    pub abs: bool,
    /// Seed of the subsets.
    pub seed: u64,
    /// The subsets for each row, in place of random ones: `[run][row][feature]`.
    #[serde(skip)]
    pub subsets: Option<Vec<Vec<Vec<usize>>>>,
}

impl Default for FaithfulnessCorrelation {
    fn default() -> Self {
        Self {
            nr_runs: 100,
            subset_size: None,
            abs: false,
            seed: 0,
            subsets: None,
        }
    }
}

impl Metric for FaithfulnessCorrelation {
    fn about(&self) -> About {
        About {
            name: "faithfulness-correlation",
            summary: "the correlation of relevance and change over random subsets of features",
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
        let features = case.features();
        let runs = match &self.subsets {
            Some(subsets) => {
                check(subsets, case)?;
                subsets.len()
            }
            None => positive("nr_runs", self.nr_runs)?,
        };
        if runs < 2 {
            return Err(Error::Parameter {
                name: "nr_runs",
                value: runs.to_string(),
                expected: "a correlation needs at least two subsets",
            });
        }
        let drawn = match &self.subsets {
            Some(_) => Vec::new(),
            None => self.draw(features)?,
        };
        let subset = |row: usize, run: usize| match &self.subsets {
            Some(subsets) => &subsets[run][row],
            None => &drawn[run],
        };
        let outputs = case.outputs(runs, &|row, run, absent| {
            for &feature in subset(row, run) {
                absent[feature] = true;
            }
        })?;
        let relevance = case.relevance_or_magnitude(self.abs)?;
        let scores = case.scores();
        let values = (0..case.rows()).map(|row| {
            let sums =
                (0..runs).map(|run| subset(row, run).iter().map(|&i| relevance[row][i]).sum());
            let changes = outputs[row].iter().map(|output| scores[row] - output);
            let (sums, changes): (Vec<f64>, Vec<f64>) = (sums.collect(), changes.collect());
            statistics::pearson(&sums, &changes)
        });
        let values: Vec<f64> = values.collect();
        let errors = values
            .iter()
            .map(|r| (1.0 - r * r) / ((runs - 1) as f64).sqrt());
        let errors = errors.collect();
        Ok(Measured::new(values).with_standard_errors(errors))
    }
}

impl FaithfulnessCorrelation {
    fn draw(&self, features: usize) -> Result<Vec<Vec<usize>>, Error> {
        let size = self.subset_size.unwrap_or(224.min(features.div_ceil(4)));
        positive("subset_size", size)?;
        if size > features {
            return Err(Error::Parameter {
                name: "subset_size",
                value: size.to_string(),
                expected: "a subset cannot have more than all features",
            });
        }
        let mut random = Random::new(self.seed);
        let subsets = (0..self.nr_runs).map(|_| {
            let mut subset = random.permutation(features);
            subset.truncate(size);
            subset
        });
        Ok(subsets.collect())
    }
}

/// Refuses given subsets that do not fit the rows and features.
fn check(subsets: &[Vec<Vec<usize>>], case: &Case<'_>) -> Result<(), Error> {
    for run in subsets {
        let numbers = run.iter().flatten();
        let fits = run.len() == case.rows() && numbers.clone().all(|&i| i < case.features());
        if !fits {
            return Err(Error::Shape {
                what: "the subsets of one run".into(),
                got: vec![run.len(), numbers.max().map_or(0, |most| most + 1)],
                expected: format!(
                    "one for each of {} rows, of features below {},",
                    case.rows(),
                    case.features()
                ),
            });
        }
    }
    Ok(())
}
