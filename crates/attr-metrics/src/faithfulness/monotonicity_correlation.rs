//! Monotonicity correlation: do features of more relevance leave the output less certain?
//!
//! Nguyen, Martínez, 2020 (<https://arxiv.org/abs/2007.07584>). Quantus: `MonotonicityCorrelation`,
//! which replaces all features of a group by one and the same random number; here each gets its own,
//! as in the paper.

use attr_core::build::Random;
use attr_core::perturb::Perturbation;
use attr_core::{Error, Values};
use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};

use crate::options::{ends, positive};
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// What replaces the features of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MonotonicityBaseline {
    /// Random numbers between the row's smallest and largest value.
    #[default]
    Uniform,
    /// The baseline.
    Baseline,
}

/// Computes Spearman's correlation of the relevance of groups of features and the expected square
/// of the change when a group is replaced, `E[(f(x_G) - f(x))²] / f(x)²`. Groups are taken in order
/// of relevance, the least first.
///
/// Where `|f(x)|` is below `eps`, the expectation is not divided. Undefined (NaN) where either is
/// the same for all groups.
///
/// # Errors
/// [`Error::Parameter`] for groups of no features or no samples; [`Error::Method`] for random
/// replacements of inputs that are not floating point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct MonotonicityCorrelation {
    /// Outputs below this are taken as zero; default 1e-5, as in Quantus.
    pub eps: f64,
    /// Random replacements of each group; default 100, as in Quantus.
    pub nr_samples: usize,
    /// Features in each group; default 1, as in Quantus.
    pub features_in_step: usize,
    /// Whether magnitudes are summed; default true, as in Quantus.
    pub abs: bool,
    /// What replaces a group; default random numbers, as in Quantus.
    pub perturb_baseline: MonotonicityBaseline,
    /// Seed of the replacements.
    pub seed: u64,
}

impl Default for MonotonicityCorrelation {
    fn default() -> Self {
        Self {
            eps: 1e-5,
            nr_samples: 100,
            features_in_step: 1,
            abs: true,
            perturb_baseline: MonotonicityBaseline::Uniform,
            seed: 0,
        }
    }
}

impl Metric for MonotonicityCorrelation {
    fn about(&self) -> About {
        About {
            name: "monotonicity-correlation",
            summary: "the rank correlation of relevance and the output's uncertainty without a feature",
            paper: "https://arxiv.org/abs/2007.07584",
            higher_is_better: true,
            family: Family::Faithfulness,
            needs: Needs {
                seed: true,
                ..Needs::default()
            },
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let step = positive("features_in_step", self.features_in_step)?;
        let samples = match self.perturb_baseline {
            MonotonicityBaseline::Uniform => positive("nr_samples", self.nr_samples)?,
            MonotonicityBaseline::Baseline => 1,
        };
        let relevance = case.relevance_or_magnitude(self.abs)?;
        let order: Vec<Vec<usize>> = relevance
            .iter()
            .map(|row| statistics::ascending(row))
            .collect();
        let ends = ends(case.features(), step);
        let group = |row: usize, k: usize| &order[row][k * step..ends[k]];
        let outputs = match self.perturb_baseline {
            MonotonicityBaseline::Baseline => case.outputs(ends.len(), &|row, k, absent| {
                for &feature in group(row, k) {
                    absent[feature] = true;
                }
            })?,
            MonotonicityBaseline::Uniform if step == 1 => {
                // Single features have the same draws whatever the order: they are evaluated once for
                // all explainers.
                let features: Vec<usize> = (0..case.features()).collect();
                let single = |_: usize, feature: usize| &features[feature..feature + 1];
                let make = |part: &[Perturbation]| self.replaced(case, part, samples, &single);
                let name = format!("attr:monotonicity {} {samples}", self.seed);
                let copies = features.len() * samples;
                let known = case.remember(name, || case.scores_at_copies(copies, &make))?;
                let rows = known.iter().zip(&order).map(|(known, order)| {
                    let each = order
                        .iter()
                        .flat_map(|&i| &known[i * samples..(i + 1) * samples]);
                    each.copied().collect()
                });
                rows.collect()
            }
            MonotonicityBaseline::Uniform => {
                let make = |part: &[Perturbation]| self.replaced(case, part, samples, &group);
                case.scores_at_copies(ends.len() * samples, &make)?
            }
        };
        let scores = case.scores();
        let values = (0..case.rows()).map(|row| {
            let score = scores[row];
            let scale = if score.abs() >= self.eps {
                score.powi(-2)
            } else {
                1.0
            };
            let spreads = outputs[row].chunks(samples).map(|outputs| {
                let squares = outputs.iter().map(|output| (output - score).powi(2));
                squares.sum::<f64>() / samples as f64 * scale
            });
            let sums =
                (0..ends.len()).map(|k| group(row, k).iter().map(|&i| relevance[row][i]).sum());
            let (sums, spreads): (Vec<f64>, Vec<f64>) = (sums.collect(), spreads.collect());
            statistics::spearman(&sums, &spreads)
        });
        Ok(Measured::new(values.collect()))
    }
}

impl MonotonicityCorrelation {
    /// Makes copies in which the features of one group are random.
    fn replaced<'g>(
        &self,
        case: &Case<'_>,
        part: &[Perturbation],
        samples: usize,
        group: &dyn Fn(usize, usize) -> &'g [usize],
    ) -> Result<Values, Error> {
        let inputs = case.question().inputs();
        let rows: Vec<usize> = part.iter().map(|copy| copy.row).collect();
        let copies = inputs.select(&rows);
        let mut replaced = vec![None; inputs.values().len()];
        for (i, value) in copies.values().iter().enumerate() {
            if !inputs.explained(i) {
                continue;
            }
            if !inputs.attributed(i) {
                return Err(Error::Method {
                    method: "monotonicity correlation",
                    reason: "an input of integers cannot be replaced by random numbers; set \
                             perturb_baseline to baseline"
                        .into(),
                });
            }
            let mut data = value.to_vec()?;
            let width = data.len() / part.len();
            for (data, copy) in data.chunks_mut(width).zip(part) {
                let least = data.iter().copied().fold(f32::INFINITY, f32::min);
                let most = data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let mut chosen = vec![false; case.features() + 1];
                for &feature in group(copy.row, copy.number / samples) {
                    chosen[feature] = true;
                }
                let numbers = case.numbers(copy.row, i);
                // A stream for each first feature of a group: a copy does not depend on the others,
                // and single features have the same draws under all methods.
                let first = group(copy.row, copy.number / samples)[0];
                let stream = ((first * samples + copy.number % samples) * 16 + i) as u64;
                let mut random = Random::stream(self.seed, stream);
                for (value, feature) in data.iter_mut().zip(numbers) {
                    if chosen[*feature] {
                        *value = least + (most - least) * random.uniform() as f32;
                    }
                }
            }
            let data = TensorData::new(data, value.shape()).convert_dtype(value.dtype());
            replaced[i] = Some(attr_core::Value::from_data(data, &value.device()));
        }
        Ok(copies.with(|i, _| replaced[i].clone()))
    }
}
