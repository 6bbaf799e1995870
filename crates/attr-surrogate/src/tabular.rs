//! The bins of tabular features in a training set, and how values fall into them.
//!
//! Follows the discretizers of the `lime` package (Ribeiro, Singh, Guestrin, 2016).

use attr_core::Error;
use attr_core::build::Random;
use serde::{Deserialize, Serialize};

/// The number of bins for each feature, divided at quantiles of the training set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Discretizer {
    /// Four bins, `lime`'s default.
    #[default]
    Quartile,
    /// Ten bins.
    Decile,
    /// No bins: features keep their values.
    None,
}

/// A range of a feature's values, and the training values in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bin {
    /// Mean of the values in the bin; 0 for an empty bin.
    pub mean: f64,
    /// Standard deviation of the values.
    pub std: f64,
    /// The bin's lower edge; for the first bin, the smallest value.
    pub min: f64,
    /// The bin's upper edge; for the last bin, the largest value.
    pub max: f64,
    /// The share of the training set in the bin.
    pub frequency: f64,
}

/// A feature's bins: a value belongs to the first bin whose upper edge it does not exceed.
#[derive(Clone, Debug, PartialEq)]
pub struct Discretization {
    /// Upper edges of all bins but the last; equal quantiles form one edge.
    pub edges: Vec<f64>,
    /// The bins, one more than there are edges.
    pub bins: Vec<Bin>,
}

impl Discretization {
    /// Computes the bins of a feature's training values.
    ///
    /// # Errors
    /// [`Error::Method`] for no values, [`Error::NonFinite`] for NaN and infinities.
    pub fn new(values: &[f64], discretizer: Discretizer) -> Result<Self, Error> {
        if values.is_empty() {
            return Err(Error::Method {
                method: "a discretization",
                reason: "there are no training values".into(),
            });
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Error::NonFinite {
                what: "the training set".into(),
            });
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = match discretizer {
            Discretizer::Quartile => 4,
            Discretizer::Decile => 10,
            Discretizer::None => 1,
        };
        let quantiles = (1..count).map(|i| quantile(&sorted, i as f64 / count as f64));
        let mut edges: Vec<f64> = quantiles.collect();
        edges.dedup();
        let mut bins = Vec::with_capacity(edges.len() + 1);
        let (lowest, highest) = (sorted[0], sorted[sorted.len() - 1]);
        let mut rest = &sorted[..];
        for i in 0..=edges.len() {
            let inside = match edges.get(i) {
                Some(edge) => rest.partition_point(|value| value <= edge),
                None => rest.len(),
            };
            let (own, others) = rest.split_at(inside);
            rest = others;
            let n = own.len() as f64;
            let mean = own.iter().sum::<f64>() / n.max(1.0);
            let squares: f64 = own.iter().map(|value| (value - mean).powi(2)).sum();
            let below = i.checked_sub(1).map_or(lowest, |i| edges[i]);
            bins.push(Bin {
                mean,
                std: (squares / n.max(1.0)).sqrt(),
                min: below,
                max: edges.get(i).copied().unwrap_or(highest),
                frequency: n / values.len() as f64,
            });
        }
        Ok(Self { edges, bins })
    }

    /// Returns the bin of a value.
    pub fn bin(&self, value: f64) -> usize {
        self.edges.partition_point(|&edge| edge < value)
    }

    /// Draws a bin with its frequency in the training set.
    pub(crate) fn draw(&self, random: &mut Random) -> usize {
        let mut left = random.uniform();
        let full = self.bins.iter().enumerate();
        let mut last = 0;
        for (i, bin) in full.filter(|(_, bin)| bin.frequency > 0.0) {
            last = i;
            if left < bin.frequency {
                break;
            }
            left -= bin.frequency;
        }
        last
    }

    /// Draws a value in a bin: normal with the bin's mean and deviation, truncated to the bin.
    pub(crate) fn value(&self, bin: usize, random: &mut Random) -> f64 {
        let Bin {
            mean,
            std,
            min,
            max,
            ..
        } = self.bins[bin];
        if std <= 0.0 || min >= max {
            return mean;
        }
        // The mean lies in the bin, and the deviation is at most half its width: nearly every
        // second draw falls inside.
        for _ in 0..1000 {
            let noise = random.normal(1).next().unwrap_or_default();
            let value = mean + std * f64::from(noise);
            if (min..=max).contains(&value) {
                return value;
            }
        }
        mean
    }
}

/// Returns a quantile of sorted values, interpolated linearly as in NumPy.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let part = place - below as f64;
    sorted[below] + (sorted[above] - sorted[below]) * part
}
