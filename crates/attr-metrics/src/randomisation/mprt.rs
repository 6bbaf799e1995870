//! The model parameter randomisation test: does the explanation change when the model's parameters
//! become random?
//!
//! Adebayo et al., 2018, sanity checks for saliency maps (<https://arxiv.org/abs/1810.03292>).
//! Quantus: `MPRT`, whose average includes the unchanged model, and which draws parameters as PyTorch
//! initialises layers.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use super::parameters::{LayerOrder, Randomised, randomised};
use crate::{About, Case, Family, Measured, Metric, Needs, Similarity, statistics};

/// Computes the mean similarity of the explanation and those of the model with random parameters,
/// layer by layer. An explanation that stays similar does not show what the model has learned. On the
/// scenes of the examples, SSIM is 0.27 for gradients and 0.53 for guided backpropagation.
///
/// The curve holds the similarity for each layer, in the order in which they become random. Random
/// parameters have the mean and the standard deviation of the trained ones. Undefined (NaN) where
/// all similarities are, such as for constant attributions.
///
/// # Errors
/// [`Error::NotTraced`] for a closure, unless random models are given; [`Error::Method`] for given
/// attributions and for a model without parameters.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Mprt {
    /// Which layers are random at each step; default top_down, as in Quantus and the paper.
    pub layer_order: LayerOrder,
    /// How explanations are compared; default spearman, as in Quantus.
    pub similarity_func: Similarity,
    /// Whether magnitudes are compared; default true, as in Quantus.
    pub abs: bool,
    /// Seed of the random parameters.
    pub seed: u64,
    /// Models in place of randomised ones.
    #[serde(skip)]
    pub models: Option<Vec<Randomised>>,
}

impl Default for Mprt {
    fn default() -> Self {
        Self {
            layer_order: LayerOrder::TopDown,
            similarity_func: Similarity::Spearman,
            abs: true,
            seed: 0,
            models: None,
        }
    }
}

impl Metric for Mprt {
    fn about(&self) -> About {
        About {
            name: "mprt",
            summary: "the similarity of explanations while the model's layers become random",
            paper: "https://arxiv.org/abs/1810.03292",
            higher_is_better: false,
            family: Family::Randomisation,
            needs: Needs {
                method: true,
                traced: true,
                seed: true,
                ..Needs::default()
            },
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let models = match &self.models {
            Some(models) => models.clone(),
            None => randomised(case.question().traced()?, self.layer_order, self.seed)?,
        };
        let own = case.relevance_or_magnitude(self.abs)?;
        let explain = |model: &Randomised| {
            let found = case.explain_model(&model.model, case.question().inputs().clone())?;
            case.by_feature(&found, self.abs)
        };
        compare(case, &own, self.similarity_func, models.iter().map(explain))
    }
}

/// Compares explanations with those of each of some models, `[row][feature]`.
pub(super) fn compare(
    case: &Case<'_>,
    own: &[Vec<f64>],
    similarity: Similarity,
    others: impl Iterator<Item = Result<Vec<Vec<f64>>, Error>>,
) -> Result<Measured, Error> {
    let width = case.width();
    let mut curves = vec![Vec::new(); case.rows()];
    for other in others {
        for ((own, other), curve) in own.iter().zip(other?).zip(&mut curves) {
            curve.push(similarity.of(own, &other, width)?);
        }
    }
    let values = curves.iter().map(|curve| statistics::mean(curve));
    Ok(Measured::new(values.collect()).with_curves(curves))
}
