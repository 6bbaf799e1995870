//! The model parameter randomisation test with smoothed explanations.
//!
//! Hedström et al., 2024 (<https://arxiv.org/abs/2401.06465>). Quantus: `SmoothMPRT`, which draws new
//! noise for every model; here all models see the same.

use attr_core::build::Random;
use attr_core::{Error, Traced, Value, Values};
use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};

use super::mprt::compare;
use super::parameters::{LayerOrder, Randomised, randomised};
use crate::options::{at_least, positive};
use crate::robustness::check_noise;
use crate::{About, Case, Family, Measured, Metric, Needs, Similarity};

/// Computes what [`Mprt`](crate::Mprt) does, of explanations that are means over noisy copies of the
/// input: noise of gradients in deep networks no longer looks like a change of the explanation.
///
/// `nr_samples - 1` copies have normal noise, the last has none, as in Quantus. The standard
/// deviation is `noise_magnitude` times the difference between a row's largest and smallest value.
///
/// # Errors
/// As [`Mprt`](crate::Mprt), and [`Error::NotTraced`] for every closure; [`Error::Parameter`] for no
/// samples or a negative magnitude.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SmoothMprt {
    /// Which layers are random at each step; default bottom_up, as in Quantus.
    pub layer_order: LayerOrder,
    /// How explanations are compared; default spearman, as in Quantus.
    pub similarity_func: Similarity,
    /// Copies of each row; default 50, as in Quantus.
    pub nr_samples: usize,
    /// The noise as a share of the row's range; default 0.1, as in Quantus.
    pub noise_magnitude: f64,
    /// Whether magnitudes are compared; default true, as in Quantus.
    pub abs: bool,
    /// Seed of the noise and the random parameters.
    pub seed: u64,
    /// Standard normal noise in place of random noise, for each explained input in order:
    /// `[nr_samples - 1, rows, ...]`.
    #[serde(skip)]
    pub noise: Vec<Value>,
    /// Models in place of randomised ones.
    #[serde(skip)]
    pub models: Option<Vec<Randomised>>,
}

impl Default for SmoothMprt {
    fn default() -> Self {
        Self {
            layer_order: LayerOrder::BottomUp,
            similarity_func: Similarity::Spearman,
            nr_samples: 50,
            noise_magnitude: 0.1,
            abs: true,
            seed: 0,
            noise: Vec::new(),
            models: None,
        }
    }
}

impl Metric for SmoothMprt {
    fn about(&self) -> About {
        About {
            name: "smooth-mprt",
            summary: "the similarity of smoothed explanations while the model's layers become random",
            paper: "https://arxiv.org/abs/2401.06465",
            higher_is_better: false,
            family: Family::Randomisation,
            needs: Needs {
                method: true,
                traced: true,
                seed: true,
                ..Needs::default()
            },
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        positive("nr_samples", self.nr_samples)?;
        let expected = "it must be at least 0";
        at_least("noise_magnitude", self.noise_magnitude, 0.0, expected)?;
        let question = case.question();
        question.check_attributed()?;
        check_noise(&self.noise, question.inputs(), self.nr_samples - 1)?;
        let traced = question.traced()?;
        let models = match &self.models {
            Some(models) => models.clone(),
            None => randomised(traced, self.layer_order, self.seed)?,
        };
        let own = self.smooth(case, traced)?;
        let others = models.iter().map(|random| self.smooth(case, &random.model));
        compare(case, &own, self.similarity_func, others)
    }
}

impl SmoothMprt {
    /// Returns the mean explanation of the copies of each row, `[row][feature]`.
    fn smooth(&self, case: &Case<'_>, model: &Traced) -> Result<Vec<Vec<f64>>, Error> {
        let mut sums: Vec<Option<Value>> = Vec::new();
        for sample in 0..self.nr_samples {
            let found = case.explain_model(model, self.noisy(case, sample)?)?;
            if sums.is_empty() {
                sums = found;
                continue;
            }
            for (sum, value) in sums.iter_mut().zip(found) {
                if let (Some(sum), Some(value)) = (sum, value) {
                    *sum = sum.zip(&value, |sum, value| sum + value)?;
                }
            }
        }
        let mut features = case.by_feature(&sums, self.abs)?;
        for value in features.iter_mut().flatten() {
            *value /= self.nr_samples as f64;
        }
        Ok(features)
    }

    fn noisy(&self, case: &Case<'_>, sample: usize) -> Result<Values, Error> {
        let inputs = case.question().inputs();
        if sample + 1 == self.nr_samples {
            return Ok(inputs.clone());
        }
        let mut noisy: Vec<Option<Value>> = vec![None; inputs.values().len()];
        let mut random = Random::stream(self.seed, sample as u64);
        let mut given = self.noise.iter();
        for (i, value) in inputs.values().iter().enumerate() {
            if !inputs.attributed(i) {
                continue;
            }
            let mut data = value.to_vec()?;
            let width = data.len() / value.rows();
            // The same draws for all rows.
            let noise = match given.next() {
                Some(noise) => noise.slice_rows(sample..sample + 1).to_vec()?,
                None if !self.noise.is_empty() => vec![0.0],
                None => random.normal(width).collect(),
            };
            let noise = noise.iter().cycle();
            let mut noise = noise.take(data.len());
            for row in data.chunks_mut(width) {
                let least = row.iter().copied().fold(f32::INFINITY, f32::min);
                let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let std = self.noise_magnitude as f32 * (most - least);
                for (x, noise) in row.iter_mut().zip(&mut noise) {
                    *x += std * noise;
                }
            }
            let data = TensorData::new(data, value.shape()).convert_dtype(value.dtype());
            noisy[i] = Some(Value::from_data(data, &value.device()));
        }
        Ok(inputs.with(|i, _| noisy[i].clone()))
    }
}
