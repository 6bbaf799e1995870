//! Sensitivity: how much the explanation changes under small noise, at most and on average.
//!
//! Yeh et al., 2019 (<https://arxiv.org/abs/1901.09392>). Captum: `sensitivity_max`. Quantus:
//! `MaxSensitivity`, `AvgSensitivity`.

use attr_core::{Error, Value};
use serde::{Deserialize, Serialize};

use super::neighbours::{Distance, Neighbour, Neighbourhood, Noise};
use crate::options::at_least;
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// A norm of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// The square root of the sum of squares.
    #[default]
    Fro,
    /// The sum of magnitudes.
    L1,
    /// The largest magnitude.
    Inf,
}

impl Norm {
    fn of(self, distance: &Distance) -> f64 {
        match self {
            Self::Fro => distance.euclidean,
            Self::L1 => distance.manhattan,
            Self::Inf => distance.largest,
        }
    }

    /// Returns the change of an explanation relative to it. A zero explanation has the norm 1, as in
    /// Captum.
    fn change(self, neighbour: &Neighbour) -> f64 {
        let own = self.of(&neighbour.own);
        self.of(&neighbour.explanation) / if own == 0.0 { 1.0 } else { own }
    }
}

/// Computes `max ‖a(x) - a(x')‖ / ‖a(x)‖` over copies `x'` of the input with uniform noise.
///
/// Where the explanation is zero, the change is not divided. The largest of random changes grows
/// with their number: compare explainers with the same parameters. Names and defaults are Captum's;
/// Quantus' `MaxSensitivity` has 200 samples of a radius of 0.2.
///
/// # Errors
/// [`Error::Method`] for given attributions; [`Error::Parameter`] for no samples or a negative
/// radius; [`Error::NoGradient`] where no input is floating point.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SensitivityMax {
    /// The largest noise, in units of the input; default 0.02, as in Captum.
    pub perturb_radius: f64,
    /// Number of noisy copies; default 10, as in Captum.
    pub n_perturb_samples: usize,
    /// The norm; default fro, as in Captum.
    pub norm_ord: Norm,
    /// Whether explanations are divided by their largest magnitude; default false, as in Quantus.
    pub normalise: bool,
    /// Whether magnitudes are compared; default false, as in Quantus.
    pub abs: bool,
    /// Seed of the noise.
    pub seed: u64,
    /// Noise in place of random noise, for each explained input in order: `[samples, rows, ...]`.
    #[serde(skip)]
    pub noise: Vec<Value>,
}

impl Default for SensitivityMax {
    fn default() -> Self {
        Self {
            perturb_radius: 0.02,
            n_perturb_samples: 10,
            norm_ord: Norm::Fro,
            normalise: false,
            abs: false,
            seed: 0,
            noise: Vec::new(),
        }
    }
}

impl Metric for SensitivityMax {
    fn about(&self) -> About {
        About {
            name: "sensitivity-max",
            summary: "the largest relative change of the explanation under small noise",
            paper: "https://arxiv.org/abs/1901.09392",
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
        let expected = "a radius is at least 0";
        let radius = at_least("perturb_radius", self.perturb_radius, 0.0, expected)?;
        let given = self.noise.first();
        let neighbourhood = Neighbourhood {
            samples: given.map_or(self.n_perturb_samples, Value::rows),
            name: "n_perturb_samples",
            noise: given.map_or(Noise::Uniform(-radius, radius), |_| {
                Noise::Given(&self.noise)
            }),
            ..unlike(self.seed, self.normalise, self.abs)
        };
        let found = neighbourhood.of(case)?;
        let values = found.iter().map(|neighbours| {
            let changes = neighbours.iter().map(|each| self.norm_ord.change(each));
            statistics::largest(changes)
        });
        Ok(Measured::new(values.collect()))
    }
}

/// Computes the mean of `‖a(x) - a(x')‖ / ‖a(x)‖` over copies `x'` of the input with uniform noise,
/// with its standard error.
///
/// Where the explanation is zero, the change is not divided.
///
/// # Errors
/// As [`SensitivityMax`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AvgSensitivity {
    /// The largest noise, in units of the input, or the smallest where `upper_bound` is given;
    /// default 0.2, as in Quantus.
    pub lower_bound: f64,
    /// The largest noise, if it does not lie on both sides of zero.
    pub upper_bound: Option<f64>,
    /// Number of noisy copies; default 200, as in Quantus.
    pub nr_samples: usize,
    /// The norm; default fro, as in Quantus.
    pub norm_ord: Norm,
    /// Whether explanations are divided by their largest magnitude; default false, as in Quantus.
    pub normalise: bool,
    /// Whether magnitudes are compared; default false, as in Quantus.
    pub abs: bool,
    /// Seed of the noise.
    pub seed: u64,
    /// Noise in place of random noise, for each explained input in order: `[samples, rows, ...]`.
    #[serde(skip)]
    pub noise: Vec<Value>,
}

impl Default for AvgSensitivity {
    fn default() -> Self {
        Self {
            lower_bound: 0.2,
            upper_bound: None,
            nr_samples: 200,
            norm_ord: Norm::Fro,
            normalise: false,
            abs: false,
            seed: 0,
            noise: Vec::new(),
        }
    }
}

impl Metric for AvgSensitivity {
    fn about(&self) -> About {
        About {
            name: "avg-sensitivity",
            summary: "the mean relative change of the explanation under small noise",
            paper: "https://arxiv.org/abs/1901.09392",
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
        let low = at_least(
            "lower_bound",
            self.lower_bound,
            f64::MIN,
            "it must be finite",
        )?;
        let (low, high) = match self.upper_bound {
            Some(high) => (
                low,
                at_least("upper_bound", high, low, "it must be at least lower_bound")?,
            ),
            None => (-low.abs(), low.abs()),
        };
        let given = self.noise.first();
        let neighbourhood = Neighbourhood {
            samples: given.map_or(self.nr_samples, Value::rows),
            noise: given.map_or(Noise::Uniform(low, high), |_| Noise::Given(&self.noise)),
            ..unlike(self.seed, self.normalise, self.abs)
        };
        let found = neighbourhood.of(case)?;
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for neighbours in found.iter() {
            let changes = neighbours.iter().map(|each| self.norm_ord.change(each));
            let changes: Vec<f64> = changes.collect();
            values.push(statistics::mean(&changes));
            errors.push(statistics::standard_error(&changes));
        }
        let measured = Measured::new(values);
        let known: Option<Vec<f64>> = errors.into_iter().collect();
        Ok(match known {
            Some(errors) => measured.with_standard_errors(errors),
            None => measured,
        })
    }
}

/// A neighbourhood in which only explanations are compared.
fn unlike(seed: u64, normalise: bool, abs: bool) -> Neighbourhood<'static> {
    Neighbourhood {
        noise: Noise::Uniform(0.0, 0.0),
        samples: 0,
        name: "nr_samples",
        seed,
        normalise,
        abs,
        outputs: false,
        layers: &[],
        eps_min: 1e-6,
    }
}
