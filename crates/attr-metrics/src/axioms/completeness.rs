//! Completeness: do the attributions add up to the change of the output?
//!
//! Sundararajan, Taly, Yan, 2017 (<https://arxiv.org/abs/1703.01365>). Quantus' `Completeness` says
//! whether two floating-point numbers are exactly equal; here the value is how far they are apart.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::{About, Case, Family, Measured, Metric, Needs};

/// Computes `|Σ_i a_i - (f(x) - f(b))|` for the baseline `b`, in units of the output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Completeness {}

impl Metric for Completeness {
    fn about(&self) -> About {
        About {
            name: "completeness",
            summary: "how far the sum of the attributions is from the change of the output",
            paper: "https://arxiv.org/abs/1703.01365",
            higher_is_better: false,
            family: Family::Axioms,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let relevance = case.relevance()?;
        let absent = case.outputs(1, &|_, _, absent| absent.fill(true))?;
        let values = case.scores().into_iter().enumerate().map(|(row, score)| {
            let sum: f64 = relevance[row].iter().sum();
            (sum - (score - absent[row][0])).abs()
        });
        Ok(Measured::new(values.collect()))
    }
}
