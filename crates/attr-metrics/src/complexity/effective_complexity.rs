//! Effective complexity: how many features matter.
//!
//! Nguyen, Martínez, 2020 (<https://arxiv.org/abs/2007.07584>). Quantus: `EffectiveComplexity`,
//! which divides all rows of a batch by the largest value among them; here each by its own.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::options::at_least;
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes the number of features whose magnitude exceeds `eps`.
///
/// # Errors
/// [`Error::Parameter`] for a negative `eps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct EffectiveComplexity {
    /// The magnitude from which a feature matters; default 1e-5, as in Quantus.
    pub eps: f64,
    /// Whether explanations are divided by their largest magnitude; default true, as in Quantus.
    pub normalise: bool,
}

impl Default for EffectiveComplexity {
    fn default() -> Self {
        Self {
            eps: 1e-5,
            normalise: true,
        }
    }
}

impl Metric for EffectiveComplexity {
    fn about(&self) -> About {
        About {
            name: "effective-complexity",
            summary: "the number of features that matter",
            paper: "https://arxiv.org/abs/2007.07584",
            higher_is_better: false,
            family: Family::Complexity,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let eps = at_least("eps", self.eps, 0.0, "a magnitude is at least 0")?;
        let values = case.relevance_or_magnitude(true)?.into_iter().map(|row| {
            let row = if self.normalise {
                statistics::normalised(&row)
            } else {
                row
            };
            row.iter().filter(|value| value.abs() > eps).count() as f64
        });
        Ok(Measured::new(values.collect()))
    }
}
