//! Local Lipschitz estimate: how much the explanation changes for each unit of distance.
//!
//! Alvarez-Melis, Jaakkola, 2018 (<https://arxiv.org/abs/1806.08049>). Quantus:
//! `LocalLipschitzEstimate`, which divides all rows of a batch by the largest value among them; here
//! each row is divided by its own.

use attr_core::{Error, Value};
use serde::{Deserialize, Serialize};

use super::neighbours::{Neighbourhood, Noise};
use crate::options::at_least;
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes `max ‖a(x) - a(x')‖₂ / ‖x - x'‖₂` over copies `x'` of the input with normal noise.
///
/// Explanations are divided by their largest magnitude, so that explainers with different units can
/// be compared. Undefined (NaN) where no copy differs from its row.
///
/// # Errors
/// [`Error::Method`] for given attributions; [`Error::Parameter`] for no samples or a negative
/// deviation; [`Error::NoGradient`] where no input is floating point.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LocalLipschitzEstimate {
    /// Number of noisy copies; default 200, as in Quantus.
    pub nr_samples: usize,
    /// Mean of the noise, in units of the input; default 0, as in Quantus.
    pub perturb_mean: f64,
    /// Standard deviation of the noise, in units of the input; default 0.1, as in Quantus.
    pub perturb_std: f64,
    /// Whether explanations are divided by their largest magnitude; default true, as in Quantus.
    pub normalise: bool,
    /// Whether magnitudes are compared; default false, as in Quantus.
    pub abs: bool,
    /// Seed of the noise.
    pub seed: u64,
    /// Noise in place of random noise, for each explained input in order: `[samples, rows, ...]`.
    #[serde(skip)]
    pub noise: Vec<Value>,
}

impl Default for LocalLipschitzEstimate {
    fn default() -> Self {
        Self {
            nr_samples: 200,
            perturb_mean: 0.0,
            perturb_std: 0.1,
            normalise: true,
            abs: false,
            seed: 0,
            noise: Vec::new(),
        }
    }
}

impl Metric for LocalLipschitzEstimate {
    fn about(&self) -> About {
        About {
            name: "local-lipschitz-estimate",
            summary: "the largest change of the explanation per distance of the input",
            paper: "https://arxiv.org/abs/1806.08049",
            higher_is_better: false,
            family: Family::Robustness,
            needs: Needs {
                method: true,
                seed: true,
                ..Needs::default()
            },
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let expected = "a standard deviation is at least 0";
        let std = at_least("perturb_std", self.perturb_std, 0.0, expected)?;
        let mean = at_least(
            "perturb_mean",
            self.perturb_mean,
            f64::MIN,
            "it must be finite",
        )?;
        let given = self.noise.first();
        let neighbourhood = Neighbourhood {
            samples: given.map_or(self.nr_samples, Value::rows),
            name: "nr_samples",
            noise: given.map_or(Noise::Normal(mean, std), |_| Noise::Given(&self.noise)),
            seed: self.seed,
            normalise: self.normalise,
            abs: self.abs,
            outputs: false,
            layers: &[],
            eps_min: 1e-6,
        };
        let found = neighbourhood.of(case)?;
        let values = found.iter().map(|neighbours| {
            let apart = neighbours.iter().filter(|each| each.input.euclidean > 0.0);
            let slopes = apart.map(|each| each.explanation.euclidean / each.input.euclidean);
            statistics::largest(slopes)
        });
        Ok(Measured::new(values.collect()))
    }
}
