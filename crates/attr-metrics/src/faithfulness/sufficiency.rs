//! Sufficiency: do rows with similar explanations have the same prediction?
//!
//! Dasgupta, Frost, Moshkovitz, 2022 (<https://arxiv.org/abs/2202.00734>). Quantus: `Sufficiency`,
//! which is 0 for a row without neighbours; here it is not defined.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::options::at_least;
use crate::{About, Case, Family, Measured, Metric, Needs};

/// The distance of two explanations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SufficiencyDistance {
    /// The Euclidean distance, with each feature divided by its standard deviation over the rows.
    #[default]
    Seuclidean,
    /// The Euclidean distance.
    Euclidean,
}

/// Computes the share of rows with the same predicted class among the other rows whose explanation
/// is at most `threshold` away. The largest distance of any two rows is 1.
///
/// It compares rows with each other: more rows make it more meaningful. Undefined (NaN) for a row
/// that no other is close to.
///
/// # Errors
/// [`Error::Parameter`] for a negative threshold; [`Error::TargetShape`] for a model whose output is
/// not `[batch, classes]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Sufficiency {
    /// The distance up to which explanations count as the same; default 0.6, as in Quantus.
    pub threshold: f64,
    /// How distances are measured; default seuclidean, as in Quantus.
    pub distance_func: SufficiencyDistance,
    /// Whether magnitudes are compared; default true, as in Quantus.
    pub abs: bool,
}

impl Default for Sufficiency {
    fn default() -> Self {
        Self {
            threshold: 0.6,
            distance_func: SufficiencyDistance::Seuclidean,
            abs: true,
        }
    }
}

impl Metric for Sufficiency {
    fn about(&self) -> About {
        About {
            name: "sufficiency",
            summary: "the share of equal predictions among rows with similar explanations",
            paper: "https://arxiv.org/abs/2202.00734",
            higher_is_better: true,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let expected = "a distance is at least 0";
        let threshold = at_least("threshold", self.threshold, 0.0, expected)?;
        let relevance = case.relevance_or_magnitude(self.abs)?;
        let classes = case.predicted()?;
        let rows = case.rows();
        let weights = self.weights(&relevance);
        let distance = |a: usize, b: usize| {
            let pairs = relevance[a].iter().zip(&relevance[b]).zip(&weights);
            let squares: f64 = pairs.map(|((a, b), weight)| weight * (a - b).powi(2)).sum();
            squares.sqrt()
        };
        let distances: Vec<Vec<f64>> = (0..rows)
            .map(|a| (0..rows).map(|b| distance(a, b)).collect())
            .collect();
        let largest = distances
            .iter()
            .flatten()
            .fold(0f64, |most, &d| most.max(d));
        let scale = if largest > 0.0 { largest } else { 1.0 };
        let values = (0..rows).map(|row| {
            let near = (0..rows).filter(|&other| other != row);
            let near: Vec<usize> = near
                .filter(|&other| distances[row][other] / scale <= threshold)
                .collect();
            let same = near.iter().filter(|&&other| classes[other] == classes[row]);
            same.count() as f64 / near.len() as f64
        });
        Ok(Measured::new(values.collect()))
    }
}

impl Sufficiency {
    /// Returns the weight of each feature's squared difference. A feature that is the same in all
    /// rows has no difference to weigh.
    fn weights(&self, relevance: &[Vec<f64>]) -> Vec<f64> {
        let features = relevance.first().map_or(0, Vec::len);
        let rows = relevance.len() as f64;
        let variance = |i: usize| {
            let mean = relevance.iter().map(|row| row[i]).sum::<f64>() / rows;
            let squares: f64 = relevance.iter().map(|row| (row[i] - mean).powi(2)).sum();
            squares / (rows - 1.0)
        };
        let weight = |i: usize| match self.distance_func {
            SufficiencyDistance::Euclidean => 1.0,
            SufficiencyDistance::Seuclidean if variance(i) > 0.0 => 1.0 / variance(i),
            SufficiencyDistance::Seuclidean => 0.0,
        };
        (0..features).map(weight).collect()
    }
}
