//! Relevance rank accuracy: how many of the most relevant features lie inside the mask, if as many
//! are looked at as lie inside?
//!
//! Arras, Osman, Samek, 2022, CLEVR-XAI (<https://arxiv.org/abs/2003.07258>). Quantus:
//! `RelevanceRankAccuracy`.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use super::{about, compare, size};
use crate::{About, Case, Measured, Metric, statistics};

/// Computes the share of the `K` most relevant features that lie inside the mask, where `K` features
/// lie inside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RelevanceRankAccuracy {
    /// Whether magnitudes are compared; default false, as in Quantus.
    pub abs: bool,
}

impl Metric for RelevanceRankAccuracy {
    fn about(&self) -> About {
        about(
            "relevance-rank-accuracy",
            "the share of as many most relevant features as the mask has that lie inside it",
            "https://arxiv.org/abs/2003.07258",
        )
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        compare(case, self.abs, |relevance, mask| {
            let size = size(mask);
            let top = &statistics::descending(relevance)[..size];
            let inside = top.iter().filter(|&&feature| mask[feature]).count();
            inside as f64 / size as f64
        })
    }
}
