//! The efficient randomisation test: does the explanation become more complex when all of the
//! model's parameters become random?
//!
//! Hedström et al., 2024 (<https://arxiv.org/abs/2401.06465>). Quantus: `EfficientMPRT`.

use attr_core::{Error, Traced};
use serde::{Deserialize, Serialize};

use super::parameters::all_random;
use crate::options::positive;
use crate::{About, Case, Family, Measured, Metric, Needs};

/// Computes the relative rise of complexity, `(H(â) - H(a)) / H(a)`, where `â` explains the model
/// with random parameters and `H` is the entropy of a histogram of the relevance.
///
/// An explanation of a trained model is simpler than noise, so the value should be positive. It
/// compares no pixels, so it is not misled by noise, and needs one random model only. Undefined (NaN)
/// for constant attributions.
///
/// # Errors
/// [`Error::NotTraced`] for a closure, unless a random model is given; [`Error::Method`] for given
/// attributions and for a model without parameters; [`Error::Parameter`] for no bins.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct EfficientMprt {
    /// Bins of the histogram; default 100, as in Quantus.
    pub n_bins: usize,
    /// Whether magnitudes are counted; default false, as in Quantus.
    pub abs: bool,
    /// Seed of the random parameters.
    pub seed: u64,
    /// A model in place of the randomised one.
    #[serde(skip)]
    pub model: Option<Traced>,
}

impl Default for EfficientMprt {
    fn default() -> Self {
        Self {
            n_bins: 100,
            abs: false,
            seed: 0,
            model: None,
        }
    }
}

impl Metric for EfficientMprt {
    fn about(&self) -> About {
        About {
            name: "efficient-mprt",
            summary: "the relative rise of complexity when the model's parameters become random",
            paper: "https://arxiv.org/abs/2401.06465",
            higher_is_better: true,
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
        let bins = positive("n_bins", self.n_bins)?;
        let random = match &self.model {
            Some(model) => model.clone(),
            None => all_random(case.question().traced()?, self.seed)?,
        };
        let inputs = case.question().inputs().clone();
        let other = case.by_feature(&case.explain_model(&random, inputs)?, self.abs)?;
        let own = case.relevance_or_magnitude(self.abs)?;
        let values = own.iter().zip(&other).map(|(own, other)| {
            let before = entropy(own, bins);
            if before == 0.0 {
                return f64::NAN;
            }
            (entropy(other, bins) - before) / before
        });
        Ok(Measured::new(values.collect()))
    }
}

/// Returns the entropy of a histogram between the smallest and the largest value, in nats.
fn entropy(values: &[f64], bins: usize) -> f64 {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut counts = vec![0usize; bins];
    for value in values {
        let at = (value - least) / (most - least) * bins as f64;
        // The last bin includes its upper end. A constant is in one bin.
        counts[(at as usize).min(bins - 1)] += 1;
    }
    let shares = counts
        .iter()
        .map(|&count| count as f64 / values.len() as f64);
    shares
        .filter(|share| *share > 0.0)
        .map(|share| -share * share.ln())
        .sum()
}
