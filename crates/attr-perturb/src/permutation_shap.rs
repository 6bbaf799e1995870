//! Shapley values by antithetic pairs of permutations: SHAP's permutation explainer.
//!
//! Mitchell, Cooper, Frank, Holmes, "Sampling permutations for Shapley value estimation", 2022
//! (<https://arxiv.org/abs/2104.12199>). Follows `PermutationExplainer` of the `shap` package.

use attr_core::perturb::Masked;
use attr_core::{BaselineUse, Error, Explanation, FeatureMask, Method, Question};
use serde::{Deserialize, Serialize};

use crate::permutations::{Sampling, sample};
use crate::setters::setters;

/// Parameters of [`PermutationShap`], under the `shap` package's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PermutationShapConfig {
    /// Number of pairs of permutations, or the largest number if a tolerance is given; 10, as in
    /// `shap`.
    pub npermutations: usize,
    /// A row stops sampling once no feature's standard error exceeds this; by default, it uses all
    /// pairs.
    pub tolerance: Option<f64>,
    /// Seed of the permutations.
    pub seed: u64,
    /// Perturbed copies of the batch evaluated together; by default, as many as memory allows.
    pub perturbations_per_eval: Option<usize>,
}

impl Default for PermutationShapConfig {
    fn default() -> Self {
        Self {
            npermutations: 10,
            tolerance: None,
            seed: 0,
            perturbations_per_eval: None,
        }
    }
}

/// Estimates `A_i = E[v(P_i ∪ i) - v(P_i)]` over random permutations, each followed by its reverse.
/// `P_i` are the features before `i`, and `v(S)` is the output with `S` present and all others at
/// their baseline.
///
/// One pair is exact for a model whose features interact only in pairs. All rows share the
/// permutations; the values add up to `f(x) - f(b)`. Standard errors are those of the mean over the
/// pairs of permutations.
///
/// Shapes: the input's, `[batch, ...]`, in units of the output; `[1, ...]` where the forward gives
/// one value for the whole batch. At most `2 + 2 npermutations (n - 1)` forward passes per row for
/// `n` features; a coalition shared by several permutations is evaluated once, as long as there is
/// room for its value.
///
/// # Errors
/// [`Error::Parameter`] for no samples or a tolerance that is not positive; [`Error::FeatureMask`]
/// and [`Error::Shape`] for masks and baselines that do not fit; [`Error::WholeBatch`].
///
/// ```
/// use attr_core::Method;
/// use attr_perturb::PermutationShap;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[2.0, 3.0, 1.0]], &device);
/// // Two features interact: 2 * 3 is shared between them.
/// let model = |x: Tensor<2>| x.clone().narrow(1, 0, 1) * x.clone().narrow(1, 1, 1) + x.narrow(1, 2, 1);
/// let found = PermutationShap::new().with_permutations(1).attribute(&model, &x, 0)?;
/// assert_eq!(found.attribution().into_data().try_to_vec::<f32>().unwrap(), [3.0, 3.0, 1.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct PermutationShap {
    config: PermutationShapConfig,
    mask: FeatureMask,
}

impl PermutationShap {
    /// Creates a sampler of ten pairs of permutations of all elements, with zero as baseline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: PermutationShapConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the number of pairs.
    pub fn with_permutations(mut self, npermutations: usize) -> Self {
        self.config.npermutations = npermutations;
        self
    }

    /// Sets the standard error at which a row stops sampling.
    pub fn with_tolerance(mut self, tolerance: f64) -> Self {
        self.config.tolerance = Some(tolerance);
        self
    }

    setters!(mask, seed, perturbations_per_eval);
}

impl Method for PermutationShap {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let per_eval = self.config.perturbations_per_eval;
        let masked = Masked::new(question, &self.mask, per_eval)?;
        let sampling = Sampling {
            units: self.config.npermutations,
            name: "npermutations",
            antithetic: true,
            tolerance: self.config.tolerance,
            seed: self.config.seed,
        };
        sample(masked, &sampling)
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Perturbation
    }
}
