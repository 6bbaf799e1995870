//! What a training set says of tabular features: bins, and how values fall into them.
//!
//! As the discretizers of the `lime` package (Ribeiro, Singh, Guestrin, 2016).

use attr_core::Error;
use attr_core::build::Random;
use serde::{Deserialize, Serialize};

/// Into how many bins features are divided, at quantiles of the training set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Discretizer {
    /// Four bins, `lime`'s default.
    #[default]
    Quartile,
    /// Ten bins.
    Decile,
    /// None: features keep their numbers.
    None,
}

/// A range of a feature's values, and the training values in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bin {
    /// Mean of its values; 0 of an empty bin.
    pub mean: f64,
    /// Their standard deviation.
    pub std: f64,
    /// The smallest of them, or the bin's lower edge.
    pub min: f64,
    /// The largest of them, or the bin's upper edge.
    pub max: f64,
    /// The share of the training set that it holds.
    pub frequency: f64,
}

/// A feature's bins: a value belongs to the first bin whose upper edge it does not exceed.
#[derive(Clone, Debug, PartialEq)]
pub struct Discretization {
    /// Where bins end, but for the last; equal quantiles are one edge.
    pub edges: Vec<f64>,
    /// One more than edges.
    pub bins: Vec<Bin>,
}

impl Discretization {
    /// The bins of a feature's training values.
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

    /// The bin of a value.
    pub fn bin(&self, value: f64) -> usize {
        self.edges.partition_point(|&edge| edge < value)
    }

    /// A bin, as often as the training set has it.
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

    /// A value in a bin: normal with the bin's mean and deviation, cut off at its ends.
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

/// A quantile of sorted values, interpolated linearly between two of them as NumPy does.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let part = place - below as f64;
    sorted[below] + (sorted[above] - sorted[below]) * part
}
