//! Shapley values by sampled permutations.
//!
//! Castro, Gómez, Tejada, "Polynomial calculation of the Shapley value based on sampling", 2009
//! (<https://doi.org/10.1016/j.cor.2008.04.004>); Štrumbelj, Kononenko, 2010. Follows Captum's
//! `ShapleyValueSampling`, but draws come from a seed, known coalitions are not evaluated again,
//! and the mean comes with its standard error.

use attr_core::perturb::Masked;
use attr_core::{BaselineUse, Error, Explanation, FeatureMask, Method, Question};
use serde::{Deserialize, Serialize};

use crate::permutations::{Sampling, sample};
use crate::setters::setters;

/// Parameters of [`ShapleyValueSampling`], under Captum's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ShapleyValueSamplingConfig {
    /// Number of permutations, or the largest number if a tolerance is given; 25, as in Captum.
    pub n_samples: usize,
    /// A row stops sampling once no feature's standard error exceeds this; by default, it uses all
    /// permutations.
    pub tolerance: Option<f64>,
    /// Seed of the permutations.
    pub seed: u64,
    /// Perturbed copies of the batch evaluated together; by default, as many as memory allows.
    pub perturbations_per_eval: Option<usize>,
}

impl Default for ShapleyValueSamplingConfig {
    fn default() -> Self {
        Self {
            n_samples: 25,
            tolerance: None,
            seed: 0,
            perturbations_per_eval: None,
        }
    }
}

/// Estimates `A_i = E[v(P_i ∪ i) - v(P_i)]` over random permutations, where `P_i` are the features
/// before `i` and `v(S)` is the output with `S` present and all others at their baseline.
///
/// All rows share the permutations, so each is explained as if it were alone. The values add up to
/// `f(x) - f(b)` for any number of samples: the convergence delta is only rounding error. Standard
/// errors are those of the mean over the permutations. [`PermutationShap`](crate::PermutationShap)
/// uses antithetic pairs, which are exact for interactions of two features.
///
/// Shapes: the input's, `[batch, ...]`, in units of the output; `[1, ...]` where the forward gives
/// one value for the whole batch. At most `2 + n_samples (n - 1)` forward passes per row for `n`
/// features; a coalition shared by several permutations is evaluated once, as long as there is room
/// for its value.
///
/// # Errors
/// [`Error::Parameter`] for no samples or a tolerance that is not positive; [`Error::FeatureMask`]
/// and [`Error::Shape`] for masks and baselines that do not fit; [`Error::WholeBatch`].
///
/// ```
/// use attr_core::Method;
/// use attr_perturb::ShapleyValueSampling;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[2.0, 3.0, 1.0]], &device);
/// let model = |x: Tensor<2>| x.prod_dim(1);
/// let sampling = ShapleyValueSampling::new().with_samples(1000).with_tolerance(0.2);
/// let found = sampling.attribute(&model, &x, 0)?;
/// let errors = found.standard_error().unwrap()[0].as_ref().unwrap().to_vec()?;
/// for (value, error) in found.values()[0].as_ref().unwrap().to_vec()?.iter().zip(errors) {
///     assert!(error <= 0.2 && (value - 2.0).abs() < 5.0 * error);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ShapleyValueSampling {
    config: ShapleyValueSamplingConfig,
    mask: FeatureMask,
}

impl ShapleyValueSampling {
    /// Creates a sampler of 25 permutations of all elements, with zero as baseline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: ShapleyValueSamplingConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the number of permutations.
    pub fn with_samples(mut self, n_samples: usize) -> Self {
        self.config.n_samples = n_samples;
        self
    }

    /// Sets the standard error at which a row stops sampling.
    pub fn with_tolerance(mut self, tolerance: f64) -> Self {
        self.config.tolerance = Some(tolerance);
        self
    }

    setters!(mask, seed, perturbations_per_eval);
}

impl Method for ShapleyValueSampling {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let per_eval = self.config.perturbations_per_eval;
        let masked = Masked::new(question, &self.mask, per_eval)?;
        let sampling = Sampling {
            units: self.config.n_samples,
            name: "n_samples",
            antithetic: false,
            tolerance: self.config.tolerance,
            seed: self.config.seed,
        };
        sample(masked, &sampling)
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Perturbation
    }
}
