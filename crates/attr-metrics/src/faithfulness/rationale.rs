//! Comprehensiveness and sufficiency of a rationale: the output without the most relevant features,
//! and with nothing else.
//!
//! DeYoung et al., 2020, the ERASER benchmark (<https://arxiv.org/abs/1911.03429>).

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::options::share;
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes the mean over shares `k` of `f(x) - f(x without its most relevant k)`. A good
/// explanation has a large value: nothing that matters is left.
///
/// The curve holds the difference for each share. In the paper, the output is a probability.
///
/// # Errors
/// [`Error::Parameter`] for no shares, or one that is not above 0 and at most 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Comprehensiveness {
    /// The shares of features; default 0.01, 0.05, 0.1, 0.2 and 0.5, as in the paper.
    pub shares: Vec<f64>,
}

/// Computes the mean over shares `k` of `f(x) - f(x with nothing but its most relevant k)`. A good
/// explanation has a small value: what it names is enough.
///
/// Otherwise as [`Comprehensiveness`]. Named after the benchmark, since Quantus'
/// [`Sufficiency`](crate::Sufficiency) is another metric.
///
/// # Errors
/// As [`Comprehensiveness`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct EraserSufficiency {
    /// The shares of features; default 0.01, 0.05, 0.1, 0.2 and 0.5, as in the paper.
    pub shares: Vec<f64>,
}

const SHARES: [f64; 5] = [0.01, 0.05, 0.1, 0.2, 0.5];

impl Default for Comprehensiveness {
    fn default() -> Self {
        Self {
            shares: SHARES.to_vec(),
        }
    }
}

impl Default for EraserSufficiency {
    fn default() -> Self {
        Self {
            shares: SHARES.to_vec(),
        }
    }
}

impl Metric for Comprehensiveness {
    fn about(&self) -> About {
        About {
            name: "comprehensiveness",
            summary: "the drop of the output without the most relevant features",
            paper: "https://arxiv.org/abs/1911.03429",
            higher_is_better: true,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        drops(case, &self.shares, false)
    }
}

impl Metric for EraserSufficiency {
    fn about(&self) -> About {
        About {
            name: "eraser-sufficiency",
            summary: "the drop of the output with nothing but the most relevant features",
            paper: "https://arxiv.org/abs/1911.03429",
            higher_is_better: false,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        drops(case, &self.shares, true)
    }
}

fn drops(case: &Case<'_>, shares: &[f64], kept: bool) -> Result<Measured, Error> {
    if shares.is_empty() {
        return Err(Error::Parameter {
            name: "shares",
            value: "[]".into(),
            expected: "give at least one share of the features, such as 0.1",
        });
    }
    let features = case.features();
    let ends = shares.iter().map(|&each| {
        let count = (share("shares", each)? * features as f64).ceil();
        Ok((count as usize).min(features))
    });
    let ends = ends.collect::<Result<Vec<usize>, Error>>()?;
    let mut curves = case.curve(&case.most_relevant_first(false)?, &ends, kept)?;
    for (curve, score) in curves.iter_mut().zip(case.scores()) {
        for output in curve {
            *output = score - *output;
        }
    }
    let values = curves.iter().map(|curve| statistics::mean(curve));
    Ok(Measured::new(values.collect()).with_curves(curves))
}
