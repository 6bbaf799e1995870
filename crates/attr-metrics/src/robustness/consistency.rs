//! Consistency: do rows with the same explanation have the same prediction?
//!
//! Dasgupta, Frost, Moshkovitz, 2022 (<https://arxiv.org/abs/2202.00734>). Quantus: `Consistency`,
//! which is 0 for a row whose explanation no other has; here it is not defined.

use std::hash::{DefaultHasher, Hash, Hasher};

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// When two explanations count as the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Discretise {
    /// The first `n` features have the same signs.
    #[default]
    TopNSign,
    /// All features have the same signs.
    Sign,
    /// All features are in the same order.
    Rank,
    /// All features are the same, rounded to `n` decimals.
    FloatingPoints,
}

/// Computes the share of rows with the same predicted class among the other rows with the same
/// explanation, after it was made discrete.
///
/// It compares rows with each other: more rows make it more meaningful. Undefined (NaN) for a row
/// whose explanation no other has.
///
/// # Errors
/// [`Error::TargetShape`] for a model whose output is not `[batch, classes]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Consistency {
    /// When two explanations count as the same; default top_n_sign, as in Quantus.
    pub discretise_func: Discretise,
    /// Features of top_n_sign, by default 5, or decimals of floating_points, by default 2, as in
    /// Quantus.
    pub n: Option<usize>,
    /// Whether magnitudes are compared; default false. Quantus' default is true, with which all
    /// signs are the same.
    pub abs: bool,
}

impl Default for Consistency {
    fn default() -> Self {
        Self {
            discretise_func: Discretise::TopNSign,
            n: None,
            abs: false,
        }
    }
}

impl Metric for Consistency {
    fn about(&self) -> About {
        About {
            name: "consistency",
            summary: "the share of equal predictions among rows with the same explanation",
            paper: "https://arxiv.org/abs/2202.00734",
            higher_is_better: true,
            family: Family::Robustness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let relevance = case.relevance_or_magnitude(self.abs)?;
        let labels: Vec<u64> = relevance.iter().map(|row| self.label(row)).collect();
        let classes = case.predicted()?;
        let values = (0..case.rows()).map(|row| {
            let others = (0..case.rows()).filter(|&other| other != row);
            let same: Vec<usize> = others
                .filter(|&other| labels[other] == labels[row])
                .collect();
            let agree = same.iter().filter(|&&other| classes[other] == classes[row]);
            agree.count() as f64 / same.len() as f64
        });
        Ok(Measured::new(values.collect()))
    }
}

impl Consistency {
    /// Returns a number that equal explanations share.
    fn label(&self, row: &[f64]) -> u64 {
        let sign = |a: &f64| i8::from(*a > 0.0) - i8::from(*a < 0.0);
        let mut hasher = DefaultHasher::new();
        match self.discretise_func {
            Discretise::TopNSign => {
                let first = &row[..self.n.unwrap_or(5).min(row.len())];
                first.iter().map(sign).collect::<Vec<_>>().hash(&mut hasher);
            }
            Discretise::Sign => row.iter().map(sign).collect::<Vec<_>>().hash(&mut hasher),
            Discretise::Rank => statistics::descending(row).hash(&mut hasher),
            Discretise::FloatingPoints => {
                let scale = 10f64.powi(self.n.unwrap_or(2).min(15) as i32);
                let rounded = row.iter().map(|a| (a * scale).round() as i64);
                rounded.collect::<Vec<_>>().hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}
