//! Relative stability: the relative change of the explanation per change of the input, of the
//! output, or of what the model makes of the input in between.
//!
//! Agarwal et al., 2022 (<https://arxiv.org/abs/2203.06877>). Quantus: `RelativeInputStability`,
//! `RelativeOutputStability`, `RelativeRepresentationStability`. There, one neighbour with another
//! prediction makes the result NaN, and the noise is never negative; here such neighbours do not
//! count, as in the paper, and the noise lies on both sides.

use attr_core::{Error, Value};
use serde::{Deserialize, Serialize};

use super::neighbours::{Neighbour, Neighbourhood, Noise};
use crate::options::at_least;
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes `max ‖(a(x) - a(x')) / a(x)‖ / max(‖(x - x') / x‖, eps_min)` over noisy copies `x'` of
/// the input for which the model predicts the same class.
///
/// Zeros in a divisor become `eps_min`, so explanations with many zeros have large values. Undefined
/// (NaN) where the prediction changes for all copies.
///
/// # Errors
/// [`Error::Method`] for given attributions; [`Error::Parameter`] for no samples, a negative radius
/// or an `eps_min` that is not positive; [`Error::TargetShape`] for a model whose output is not
/// `[batch, classes]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RelativeInputStability {
    /// Number of noisy copies; default 200, as in Quantus.
    pub nr_samples: usize,
    /// The largest uniform noise, in units of the input; default 0.2, as in Quantus.
    pub upper_bound: f64,
    /// What takes the place of zero divisors; default 1e-6, as in Quantus.
    pub eps_min: f64,
    /// Whether copies with another predicted class count, too; default false.
    pub any_class: bool,
    /// Whether magnitudes are compared; default false, as in Quantus.
    pub abs: bool,
    /// Seed of the noise.
    pub seed: u64,
    /// Noise in place of random noise, for each explained input in order: `[samples, rows, ...]`.
    #[serde(skip)]
    pub noise: Vec<Value>,
}

/// Computes `max ‖(a(x) - a(x')) / a(x)‖ / max(‖h(x) - h(x')‖, eps_min)` over noisy copies `x'` of
/// the input, where `h` is the model's whole output: give a model that ends in logits, as in the
/// paper.
///
/// Otherwise as [`RelativeInputStability`].
///
/// # Errors
/// As [`RelativeInputStability`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RelativeOutputStability {
    /// Number of noisy copies; default 200, as in Quantus.
    pub nr_samples: usize,
    /// The largest uniform noise, in units of the input; default 0.2, as in Quantus.
    pub upper_bound: f64,
    /// What takes the place of zero divisors; default 1e-6, as in Quantus.
    pub eps_min: f64,
    /// Whether copies with another predicted class count, too; default false.
    pub any_class: bool,
    /// Whether magnitudes are compared; default false, as in Quantus.
    pub abs: bool,
    /// Seed of the noise.
    pub seed: u64,
    /// Noise in place of random noise, for each explained input in order: `[samples, rows, ...]`.
    #[serde(skip)]
    pub noise: Vec<Value>,
}

/// Computes `max ‖(a(x) - a(x')) / a(x)‖ / max(‖(L(x) - L(x')) / L(x)‖, eps_min)` over noisy copies
/// `x'` of the input, where `L` are the activations of layers of a traced model.
///
/// Otherwise as [`RelativeInputStability`].
///
/// # Errors
/// As [`RelativeInputStability`]; [`Error::Parameter`] without layers, [`Error::UnknownLayer`],
/// [`Error::NotTraced`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RelativeRepresentationStability {
    /// The names of the layers; by default, the last layer with parameters before the output's.
    pub layer_names: Vec<String>,
    /// Number of noisy copies; default 200, as in Quantus.
    pub nr_samples: usize,
    /// The largest uniform noise, in units of the input; default 0.2, as in Quantus.
    pub upper_bound: f64,
    /// What takes the place of zero divisors; default 1e-6, as in Quantus.
    pub eps_min: f64,
    /// Whether copies with another predicted class count, too; default false.
    pub any_class: bool,
    /// Whether magnitudes are compared; default false, as in Quantus.
    pub abs: bool,
    /// Seed of the noise.
    pub seed: u64,
    /// Noise in place of random noise, for each explained input in order: `[samples, rows, ...]`.
    #[serde(skip)]
    pub noise: Vec<Value>,
}

impl Default for RelativeInputStability {
    fn default() -> Self {
        Self {
            nr_samples: 200,
            upper_bound: 0.2,
            eps_min: 1e-6,
            any_class: false,
            abs: false,
            seed: 0,
            noise: Vec::new(),
        }
    }
}

impl Default for RelativeOutputStability {
    fn default() -> Self {
        Self {
            nr_samples: 200,
            upper_bound: 0.2,
            eps_min: 1e-6,
            any_class: false,
            abs: false,
            seed: 0,
            noise: Vec::new(),
        }
    }
}

impl Default for RelativeRepresentationStability {
    fn default() -> Self {
        Self {
            layer_names: Vec::new(),
            nr_samples: 200,
            upper_bound: 0.2,
            eps_min: 1e-6,
            any_class: false,
            abs: false,
            seed: 0,
            noise: Vec::new(),
        }
    }
}

/// What the three metrics share.
struct Stability<'a> {
    samples: usize,
    radius: f64,
    eps_min: f64,
    any_class: bool,
    abs: bool,
    seed: u64,
    noise: &'a [Value],
    layers: &'a [String],
}

impl Stability<'_> {
    fn measure(
        &self,
        case: &Case<'_>,
        change: impl Fn(&Neighbour) -> f64,
    ) -> Result<Measured, Error> {
        let radius = at_least("upper_bound", self.radius, 0.0, "a radius is at least 0")?;
        let expected = "it must be above 0";
        let eps_min = at_least("eps_min", self.eps_min, f64::MIN_POSITIVE, expected)?;
        let given = self.noise.first();
        let neighbourhood = Neighbourhood {
            samples: given.map_or(self.samples, Value::rows),
            name: "nr_samples",
            noise: given.map_or(Noise::Uniform(-radius, radius), |_| {
                Noise::Given(self.noise)
            }),
            seed: self.seed,
            normalise: false,
            abs: self.abs,
            outputs: true,
            layers: self.layers,
            eps_min,
        };
        let found = neighbourhood.of(case)?;
        let values = found.iter().map(|neighbours| {
            let counted = neighbours
                .iter()
                .filter(|each| self.any_class || each.same_class);
            let ratios = counted.map(|each| each.explanation.relative / change(each).max(eps_min));
            statistics::largest(ratios)
        });
        Ok(Measured::new(values.collect()))
    }
}

impl Metric for RelativeInputStability {
    fn about(&self) -> About {
        about(
            "relative-input-stability",
            "the relative change of the explanation per relative change of the input",
            false,
        )
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let stability = Stability {
            samples: self.nr_samples,
            radius: self.upper_bound,
            eps_min: self.eps_min,
            any_class: self.any_class,
            abs: self.abs,
            seed: self.seed,
            noise: &self.noise,
            layers: &[],
        };
        stability.measure(case, |each| each.input.relative)
    }
}

impl Metric for RelativeOutputStability {
    fn about(&self) -> About {
        about(
            "relative-output-stability",
            "the relative change of the explanation per change of the output",
            false,
        )
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let stability = Stability {
            samples: self.nr_samples,
            radius: self.upper_bound,
            eps_min: self.eps_min,
            any_class: self.any_class,
            abs: self.abs,
            seed: self.seed,
            noise: &self.noise,
            layers: &[],
        };
        stability.measure(case, |each| each.output)
    }
}

impl Metric for RelativeRepresentationStability {
    fn about(&self) -> About {
        about(
            "relative-representation-stability",
            "the relative change of the explanation per relative change of a layer",
            true,
        )
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let layers = if self.layer_names.is_empty() {
            usual_layer(case)?
        } else {
            self.layer_names.clone()
        };
        let stability = Stability {
            samples: self.nr_samples,
            radius: self.upper_bound,
            eps_min: self.eps_min,
            any_class: self.any_class,
            abs: self.abs,
            seed: self.seed,
            noise: &self.noise,
            layers: &layers,
        };
        stability.measure(case, |each| each.representation)
    }
}

fn about(name: &'static str, summary: &'static str, traced: bool) -> About {
    About {
        name,
        summary,
        paper: "https://arxiv.org/abs/2203.06877",
        higher_is_better: false,
        family: Family::Robustness,
        needs: Needs {
            method: true,
            seed: true,
            traced,
            ..Needs::default()
        },
    }
}

/// Returns the last layer with parameters before the output's.
fn usual_layer(case: &Case<'_>) -> Result<Vec<String>, Error> {
    let layers = case.question().traced()?.parameters()?;
    let hidden = layers.len().checked_sub(2).and_then(|at| layers.get(at));
    match hidden {
        Some(layer) => Ok(vec![layer.layer.clone()]),
        None => Err(Error::Parameter {
            name: "layer_names",
            value: "[]".into(),
            expected: "the model has no hidden layer with parameters; name a layer",
        }),
    }
}
