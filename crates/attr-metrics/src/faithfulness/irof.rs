//! IROF: how fast the output falls while segments are removed, the most relevant on average first.
//!
//! Rieger, Hansen, 2020 (<https://arxiv.org/abs/2003.08747>). Quantus' `IROF` leaves out the point
//! at which nothing is removed, so that even a constant model has an area of 1; `variant` = quantus
//! does the same.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::options::Variant;
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes the area over the curve of `f(x_l) / f(x)` while segments are replaced by the baseline,
/// those of the largest mean relevance first, divided by the number of segments: 0 where nothing
/// changes, 1 where the output falls to zero at once.
///
/// Segments are the evaluation's features: give superpixels with
/// [`Evaluation::with_features`](crate::Evaluation::with_features), and the mean of the image as
/// baseline, as in the paper. Undefined (NaN) where `f(x)` is 0; the output should be a probability.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Irof {
    /// Whether magnitudes are averaged; default false, as in Quantus.
    pub abs: bool,
    /// Which definition is computed; default the paper's. Quantus' is not divided by the number of
    /// segments, and its curve starts with the first removed.
    pub variant: Variant,
}

impl Metric for Irof {
    fn about(&self) -> About {
        About {
            name: "irof",
            summary: "how fast the output falls while segments are removed, the most relevant first",
            paper: "https://arxiv.org/abs/2003.08747",
            higher_is_better: true,
            family: Family::Faithfulness,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let relevance = case.relevance_or_magnitude(self.abs)?;
        let order = relevance.iter().enumerate().map(|(row, relevance)| {
            let sizes = case.sizes(row);
            let means = relevance.iter().zip(&sizes);
            let means: Vec<f64> = means.map(|(sum, &size)| sum / size.max(1) as f64).collect();
            statistics::descending(&means)
        });
        let order: Vec<Vec<usize>> = order.collect();
        let segments = case.features();
        let start = usize::from(self.variant == Variant::Quantus);
        let ends: Vec<usize> = (start..=segments).collect();
        let mut curves = case.curve(&order, &ends, false)?;
        let mut values = Vec::new();
        for (curve, score) in curves.iter_mut().zip(case.scores()) {
            for output in curve.iter_mut() {
                *output = if score == 0.0 {
                    f64::NAN
                } else {
                    *output / score
                };
            }
            let area = segments as f64 - statistics::area(curve);
            values.push(match self.variant {
                Variant::Paper => area / segments as f64,
                Variant::Quantus => area,
            });
        }
        Ok(Measured::new(values).with_curves(curves))
    }
}
