//! Random logit: is the explanation of another class another one?
//!
//! Sixt, Granz, Landgraf, 2020 (<https://arxiv.org/abs/1912.09818>). Quantus: `RandomLogit`, which
//! compares images as if they had one dimension; `variant` = quantus does the same.

use attr_core::Error;
use attr_core::build::Random;
use serde::{Deserialize, Serialize};

use crate::options::Variant;
use crate::{About, Case, Family, Measured, Metric, Needs, Similarity};

/// Computes the similarity of the explanations of the target class and of a random other class. A
/// large one does not show why it is this class.
///
/// # Errors
/// [`Error::Method`] for given attributions, for a target that is not a class, and for a model with
/// one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RandomLogit {
    /// How explanations are compared; default spearman. Quantus' default is ssim.
    pub similarity_func: Similarity,
    /// Whether magnitudes are compared; default false, as in Quantus.
    pub abs: bool,
    /// Whether ssim compares images; Quantus' compares them as one row of pixels.
    pub variant: Variant,
    /// Seed of the other classes.
    pub seed: u64,
    /// The other class of each row, in place of random ones.
    #[serde(skip)]
    pub other_classes: Option<Vec<usize>>,
}

impl Default for RandomLogit {
    fn default() -> Self {
        Self {
            similarity_func: Similarity::Spearman,
            abs: false,
            variant: Variant::Paper,
            seed: 0,
            other_classes: None,
        }
    }
}

impl Metric for RandomLogit {
    fn about(&self) -> About {
        About {
            name: "random-logit",
            summary: "the similarity of the explanations of this and of a random other class",
            paper: "https://arxiv.org/abs/1912.09818",
            higher_is_better: false,
            family: Family::Randomisation,
            needs: Needs {
                method: true,
                seed: true,
                ..Needs::default()
            },
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let others = match &self.other_classes {
            Some(classes) => classes.clone(),
            None => self.draw(case)?,
        };
        if others.len() != case.rows() {
            return Err(Error::TargetRows {
                expected: case.rows(),
                got: others.len(),
            });
        }
        let own = case.relevance_or_magnitude(self.abs)?;
        let other = case.by_feature(&case.explain_classes(&others)?, self.abs)?;
        let width = match self.variant {
            Variant::Paper => case.width(),
            Variant::Quantus => case.features(),
        };
        let pairs = own.iter().zip(&other);
        let values = pairs.map(|(own, other)| self.similarity_func.of(own, other, width));
        Ok(Measured::new(values.collect::<Result<_, _>>()?))
    }
}

impl RandomLogit {
    fn draw(&self, case: &Case<'_>) -> Result<Vec<usize>, Error> {
        let own = case.classes()?;
        let question = case.question();
        let output = question.forward(&question.inputs().slice(0..1))?.shape();
        let (2, Some(&classes @ 2..)) = (output.len(), output.last()) else {
            return Err(Error::Method {
                method: "random logit",
                reason: format!("an output of shape {output:?} has no other class"),
            });
        };
        // The same step for all rows: a row's other class does not depend on its neighbours.
        let step = 1 + Random::new(self.seed).index(classes - 1);
        let others = own.iter().map(|&class| (class + step) % classes);
        Ok(others.collect())
    }
}
