//! LIME: a sparse linear model of feature presence, fitted around each input.
//!
//! Ribeiro, Singh, Guestrin, "Why should I trust you? Explaining the predictions of any
//! classifier", 2016 (<https://arxiv.org/abs/1602.04938>). Follows Captum's `Lime`, with the
//! feature selection of the `lime` package; draws come from a seed.

use std::fmt;
use std::sync::Arc;

use attr_core::build::Random;
use attr_core::perturb::Masked;
use attr_core::{BaselineUse, Error, Explanation, FeatureMask, Method, Question};
use serde::{Deserialize, Serialize};

use crate::fit_method::FitMethod;
use crate::interpretable::{Design, Fit, InterpretableModel, Lasso, LinearRegression, Ridge};
use crate::kernel::{self, DistanceMode};
use crate::selection::{FeatureSelection, select_features};

/// Parameters of [`Lime`], under Captum's names where they exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LimeConfig {
    /// Number of samples around each row; 25, as in Captum. Fits of many features need many more.
    pub n_samples: usize,
    /// How the distance between a sample and the input is measured.
    pub distance_mode: DistanceMode,
    /// Width of the exponential kernel of distances; 1, as in Captum.
    pub kernel_width: f64,
    /// The model that is fitted.
    pub interpretable_model: Surrogate,
    /// Penalty of the lasso or ridge; 0.01, as in Captum.
    pub alpha: f64,
    /// How the features of the fit are selected.
    pub feature_selection: FeatureSelection,
    /// Largest number of features to select, if any are selected; 10, as in the `lime` package.
    pub num_features: usize,
    /// Seed of the samples.
    pub seed: u64,
    /// Perturbed copies of the batch evaluated together; by default, as many as memory allows.
    pub perturbations_per_eval: Option<usize>,
}

impl Default for LimeConfig {
    fn default() -> Self {
        Self {
            n_samples: 25,
            distance_mode: DistanceMode::default(),
            kernel_width: 1.0,
            interpretable_model: Surrogate::default(),
            alpha: 0.01,
            feature_selection: FeatureSelection::default(),
            num_features: 10,
            seed: 0,
            perturbations_per_eval: None,
        }
    }
}

/// The model that is fitted around each row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Surrogate {
    /// Least squares with a penalty on absolute coefficients, Captum's default.
    #[default]
    Lasso,
    /// Least squares with a penalty on squared coefficients, the `lime` package's default.
    Ridge,
    /// Least squares.
    Linear,
}

/// Computes the coefficients of `argmin Σ_k w_k (f(x_k) - c₀ - c·z_k)² / (2 Σ w) + alpha ‖c‖₁`,
/// where `z_k` says which features are present in sample `x_k`; all others are at their baseline.
///
/// Each feature is present with probability 1/2. A sample has weight
/// `exp(-d² / (2 kernel_width²))`, where `d` is its distance from the input: one minus the cosine
/// of their angle, or the length of their difference. For inpainted images and inputs with tokens,
/// whose numbers are only names, `d` is the distance between `z_k` and all ones instead. All rows
/// share the draws `z_k`, so each is explained as if it were alone.
///
/// The coefficient of a feature is written to all its elements. [`fit`](FitMethod::fit) returns one
/// coefficient per feature, and the intercept. Both come with R² and with standard errors over the
/// draws, which are robust to a model that is not linear.
///
/// Shapes: the input's, `[batch, ...]`, in units of the output; `[1, ...]` where the forward gives
/// one value for the whole batch. `1 + n_samples` forward passes per row.
///
/// # Errors
/// [`Error::Parameter`] for no samples, a width that is not positive, a negative penalty or no
/// features to select; [`Error::FeatureMask`] and [`Error::Shape`] for masks and baselines that do
/// not fit; [`Error::Method`] if all samples have weight 0.
///
/// ```
/// use attr_core::Method;
/// use attr_surrogate::Lime;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[2.0, -1.0, 0.5]], &device);
/// let model = |x: Tensor<2>| x.sum_dim(1);
/// let found = Lime::new().with_samples(200).with_alpha(0.0).attribute(&model, &x, 0)?;
/// let values = found.attribution().into_data().try_to_vec::<f32>().unwrap();
/// assert!((values[0] - 2.0).abs() < 1e-4 && (values[1] + 1.0).abs() < 1e-4);
/// assert!(found.r_squared().unwrap()[0] > 0.999);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Lime {
    config: LimeConfig,
    mask: FeatureMask,
    model: Option<Arc<dyn InterpretableModel>>,
}

impl fmt::Debug for Lime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lime").field(&self.config).finish()
    }
}

impl Lime {
    /// Creates a lasso on 25 samples of all elements, with zero as baseline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: LimeConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the number of samples.
    pub fn with_samples(mut self, n_samples: usize) -> Self {
        self.config.n_samples = n_samples;
        self
    }

    /// Sets the seed of the samples.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    /// Sets how distances are measured.
    pub fn with_distance_mode(mut self, mode: DistanceMode) -> Self {
        self.config.distance_mode = mode;
        self
    }

    /// Sets the width of the distance kernel.
    pub fn with_kernel_width(mut self, width: f64) -> Self {
        self.config.kernel_width = width;
        self
    }

    /// Sets the penalty of the lasso or ridge.
    pub fn with_alpha(mut self, alpha: f64) -> Self {
        self.config.alpha = alpha;
        self
    }

    /// Sets the model to fit: one of this crate's models with its own parameters, or a closure.
    pub fn with_interpretable_model(mut self, model: impl InterpretableModel + 'static) -> Self {
        self.model = Some(Arc::new(model));
        self
    }

    /// Sets how features are selected, and the largest number of them.
    pub fn with_feature_selection(mut self, selection: FeatureSelection, count: usize) -> Self {
        self.config.feature_selection = selection;
        self.config.num_features = count;
        self
    }

    /// Sets which elements form one feature; by default, each element is a feature.
    pub fn with_feature_mask(mut self, mask: impl Into<FeatureMask>) -> Self {
        self.mask = mask.into();
        self
    }

    /// Sets how many perturbed copies of the batch are evaluated together, instead of as many rows
    /// as the memory budget allows.
    pub fn with_perturbations_per_eval(mut self, count: usize) -> Self {
        self.config.perturbations_per_eval = Some(count);
        self
    }

    /// Returns the inputs with their features, and the fits, `[target][row]`.
    #[allow(clippy::type_complexity)] // What was masked, and a list per target.
    fn fit_all<'a>(&self, question: &Question<'a>) -> Result<(Masked<'a>, Vec<Vec<Fit>>), Error> {
        let LimeConfig {
            n_samples,
            kernel_width,
            num_features,
            ..
        } = self.config;
        kernel::check_samples("n_samples", n_samples, 1)?;
        kernel::check(kernel_width)?;
        if num_features == 0 {
            return Err(Error::Parameter {
                name: "num_features",
                value: "0".into(),
                expected: "at least one feature must be selected",
            });
        }
        let per_eval = self.config.perturbations_per_eval;
        let masked = Masked::new(question, &self.mask, per_eval)?;
        let features = masked.features();
        kernel::check_size(n_samples, features)?;
        let shares = masked.products()?;
        let linear = masked.is_linear();
        let mut fits: Vec<Vec<Option<Fit>>> =
            vec![vec![None; masked.rows()]; question.targets().len()];
        for (rows, own) in masked.groups() {
            let mut random = Random::new(self.config.seed);
            let presence = (0..n_samples * own.len()).map(|_| f64::from(random.uniform() < 0.5));
            let samples = Design::new(own.len(), presence.collect())?;
            let weight = |row: usize, k: usize| {
                let sample = samples.row(k);
                let [aa, ab, bb] = if linear {
                    shares[row].blended(&own, sample)
                } else {
                    let present: f64 = sample.iter().sum();
                    [own.len() as f64, present, present]
                };
                let distance = self.config.distance_mode.distance(aa, ab, bb);
                kernel::exponential(distance, kernel_width)
            };
            for rows in kernel::parts(&rows, n_samples) {
                let outputs = masked.evaluate(rows, n_samples, &|k, present| {
                    for (&feature, &sample) in own.iter().zip(samples.row(k)) {
                        present[feature] = sample as f32;
                    }
                })?;
                for (i, &row) in rows.iter().enumerate() {
                    let weights: Vec<f64> = (0..n_samples).map(|k| weight(row, k)).collect();
                    for (fits, outputs) in fits.iter_mut().zip(&outputs) {
                        let fit = self.fit_one(&samples, &outputs[i], &weights)?;
                        fits[row] = Some(spread(&fit, &own, features));
                    }
                }
            }
        }
        let fits = fits
            .into_iter()
            .map(|fits| fits.into_iter().flatten().collect());
        let fits = fits.collect();
        Ok((masked, fits))
    }

    /// Selects features and fits those.
    fn fit_one(&self, samples: &Design, labels: &[f64], weights: &[f64]) -> Result<Fit, Error> {
        let model = |design: &Design| match (&self.model, self.config.interpretable_model) {
            (Some(model), _) => model.fit(design, labels, weights),
            (None, Surrogate::Lasso) => Lasso {
                alpha: self.config.alpha,
                ..Lasso::default()
            }
            .fit(design, labels, weights),
            (None, Surrogate::Ridge) => Ridge {
                alpha: self.config.alpha,
                ..Ridge::default()
            }
            .fit(design, labels, weights),
            (None, Surrogate::Linear) => LinearRegression::default().fit(design, labels, weights),
        };
        if self.config.feature_selection == FeatureSelection::None {
            return checked(model(samples)?, samples.columns());
        }
        let all = vec![1.0; samples.columns()];
        let (selection, count) = (self.config.feature_selection, self.config.num_features);
        let chosen = select_features(selection, count, &all, (samples, labels, weights))?;
        if chosen.is_empty() {
            // Nothing explains the labels: their mean is the fit.
            return LinearRegression::default()
                .fit(&Design::new(1, vec![0.0; samples.rows()])?, labels, weights)
                .map(|fit| spread(&fit, &[], samples.columns()));
        }
        let fit = checked(model(&samples.with_columns(&chosen))?, chosen.len())?;
        Ok(spread(&fit, &chosen, samples.columns()))
    }
}

/// Rejects a closure's fit with the wrong number of features.
fn checked(fit: Fit, features: usize) -> Result<Fit, Error> {
    if fit.coefficients.len() != features {
        return Err(Error::Shape {
            what: "the coefficients of the interpretable model".into(),
            got: vec![fit.coefficients.len()],
            expected: format!("one for each of {features} features"),
        });
    }
    Ok(fit)
}

/// Turns a fit of some features into one of all; the others have the coefficient 0.
pub(crate) fn spread(fit: &Fit, chosen: &[usize], features: usize) -> Fit {
    let place = |values: &[f64]| {
        let mut all = vec![0.0; features];
        for (&feature, &value) in chosen.iter().zip(values) {
            all[feature] = value;
        }
        all
    };
    Fit {
        coefficients: place(&fit.coefficients),
        standard_errors: fit.standard_errors.as_deref().map(place),
        ..*fit
    }
}

/// Returns explanations from fits, `[target][row]`.
pub(crate) fn explained(masked: &Masked<'_>, fits: &[Vec<Fit>]) -> Vec<Explanation> {
    let each = |of: &dyn Fn(&Fit) -> Option<Vec<f64>>| -> Option<Vec<Vec<Vec<f64>>>> {
        let targets = fits.iter();
        targets.map(|fits| fits.iter().map(of).collect()).collect()
    };
    let values = each(&|fit| Some(fit.coefficients.clone())).unwrap_or_default();
    let errors = each(&|fit| fit.standard_errors.clone());
    let mut all = masked.explanations(&values, errors.as_deref());
    for (explanation, fits) in all.iter_mut().zip(fits) {
        explanation.r_squared = Some(fits.iter().map(|fit| fit.r_squared as f32).collect());
    }
    all
}

impl Method for Lime {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let (masked, fits) = self.fit_all(question)?;
        Ok(explained(&masked, &fits))
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Perturbation
    }
}

impl FitMethod for Lime {
    fn fits(&self, question: &Question<'_>) -> Result<Vec<Vec<Fit>>, Error> {
        Ok(self.fit_all(question)?.1)
    }
}
