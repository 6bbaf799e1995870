//! Non-sensitivity: do exactly the features without effect have no relevance?
//!
//! Nguyen, Martínez, 2020 (<https://arxiv.org/abs/2007.07584>). Quantus: `NonSensitivity`.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::options::at_least;
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes how many features either have relevance but no effect, or an effect but no relevance.
///
/// A feature has no relevance where `|a_i| < eps`, and no effect where the output changes by less
/// than `eps` when the baseline replaces it. One evaluation for each feature.
///
/// # Errors
/// [`Error::Parameter`] for a negative `eps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct NonSensitivity {
    /// What counts as nothing; default 1e-5, as in Quantus.
    pub eps: f64,
    /// Whether explanations are divided by their largest magnitude; default true, as in Quantus.
    pub normalise: bool,
}

impl Default for NonSensitivity {
    fn default() -> Self {
        Self {
            eps: 1e-5,
            normalise: true,
        }
    }
}

impl Metric for NonSensitivity {
    fn about(&self) -> About {
        About {
            name: "non-sensitivity",
            summary: "the number of features with relevance but no effect, or the reverse",
            paper: "https://arxiv.org/abs/2007.07584",
            higher_is_better: false,
            family: Family::Axioms,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let eps = at_least("eps", self.eps, 0.0, "a magnitude is at least 0")?;
        let outputs = case.outputs(case.features(), &|_, feature, absent| {
            absent[feature] = true
        })?;
        let relevance = case.relevance_or_magnitude(true)?;
        let values = case.scores().into_iter().enumerate().map(|(row, score)| {
            let own = if self.normalise {
                statistics::normalised(&relevance[row])
            } else {
                relevance[row].clone()
            };
            let features = own.iter().zip(&outputs[row]);
            let differ =
                features.filter(|(a, output)| (a.abs() < eps) != ((score - *output).abs() < eps));
            differ.count() as f64
        });
        Ok(Measured::new(values.collect()))
    }
}
