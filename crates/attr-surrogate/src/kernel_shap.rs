//! KernelSHAP: Shapley values by a weighted regression on coalitions of features.
//!
//! Lundberg, Lee, "A unified approach to interpreting model predictions", 2017
//! (<https://arxiv.org/abs/1705.07874>); Covert, Lee, "Improving KernelSHAP", 2021
//! (<https://arxiv.org/abs/2012.01536>) for paired samples and standard errors. As Captum's
//! `KernelShap`, but the sum is exact instead of heavily weighted, and samples are chosen as in the
//! `shap` package's `KernelExplainer`.

use attr_core::build::Random;
use attr_core::perturb::Masked;
use attr_core::{BaselineUse, Error, Explanation, FeatureMask, Method, Question};
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::coalitions::{Coalitions, Draw};
use crate::fit_method::FitMethod;
use crate::interpretable::{Fit, r_squared};
use crate::kernel;
use crate::lime::{explained, spread};

/// The regression holds a matrix of as many rows and columns as there are features.
const MOST_FEATURES: usize = 4096;

/// Parameters of [`KernelShap`], under Captum's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct KernelShapConfig {
    /// Coalitions that are evaluated at most, everything and nothing among them; 25, as in Captum.
    /// The `shap` package takes 2048 and two for each feature.
    pub n_samples: usize,
    /// Seed of the coalitions.
    pub seed: u64,
    /// Perturbed copies of the batch that go through the model together; as many as memory allows
    /// unless given.
    pub perturbations_per_eval: Option<usize>,
}

impl Default for KernelShapConfig {
    fn default() -> Self {
        Self {
            n_samples: 25,
            seed: 0,
            perturbations_per_eval: None,
        }
    }
}

/// `argmin_φ Σ_S π(S) (v(S) - v(∅) - Σ_{i ∈ S} φ_i)²` with `Σ φ_i = v(all) - v(∅)` exactly, where `v(S)` is
/// the output with the features of `S` present and all others at their baseline, and
/// `π(S) = (n - 1) / (C(n, |S|) |S| (n - |S|))`.
///
/// Sizes of coalitions are enumerated from the outside (one feature, all but one) inwards as long as
/// the samples suffice; of the sizes in between, coalitions are drawn in pairs with their complements.
/// Where there are samples for all `2^n` coalitions the values are the exact Shapley values. Each
/// coalition is evaluated once; all rows share the draws, so each is explained as if it were alone.
///
/// The convergence delta is rounding. Standard errors are those of the draws (sandwich estimator over
/// the pairs), 0 where nothing was drawn. R² says how near the outputs are to a sum over features.
///
/// Shapes: the input's, `[batch, ...]`, in units of the output; `[1, ...]` where the forward gives
/// one value for the whole batch. At most `n_samples` forward passes per row.
///
/// # Errors
/// [`Error::Parameter`] for fewer than three samples; [`Error::Method`] for more than 4096 features;
/// [`Error::FeatureMask`] and [`Error::Shape`] for masks and baselines that do not fit.
///
/// ```
/// use attr_core::Method;
/// use attr_surrogate::KernelShap;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[2.0, 3.0, 1.0]], &device);
/// let model = |x: Tensor<2>| x.prod_dim(1);
/// let found = KernelShap::new().attribute(&model, &x, 0)?;
/// for value in found.attribution().into_data().try_to_vec::<f32>().unwrap() {
///     assert!((value - 2.0).abs() < 1e-5);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct KernelShap {
    config: KernelShapConfig,
    mask: FeatureMask,
}

impl From<KernelShapConfig> for KernelShap {
    fn from(config: KernelShapConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }
}

impl KernelShap {
    /// 25 coalitions of all elements, with zero as baseline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of coalitions.
    pub fn with_samples(mut self, n_samples: usize) -> Self {
        self.config.n_samples = n_samples;
        self
    }

    /// Sets the seed of the coalitions.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    /// Sets which elements are one feature; every element by itself unless set.
    pub fn with_feature_mask(mut self, mask: impl Into<FeatureMask>) -> Self {
        self.mask = mask.into();
        self
    }

    /// Sets how many perturbed copies of the batch go through the model together, instead of as
    /// many rows as the memory budget allows.
    pub fn with_perturbations_per_eval(mut self, count: usize) -> Self {
        self.config.perturbations_per_eval = Some(count);
        self
    }
}

/// The regression of all rows and targets, which share coalitions and weights.
struct Regression<'a> {
    coalitions: &'a Coalitions,
    /// Maps `Σ w z (y - z·1 Δ / n)` to what `φ` is beyond an even share.
    inverse: DMatrix<f64>,
    /// `inverse` times each coalition.
    mapped: DMatrix<f64>,
}

impl<'a> Regression<'a> {
    fn new(coalitions: &'a Coalitions) -> Self {
        let players = coalitions.players;
        let inverse = if coalitions.members.len() < players {
            inverse_of_few(coalitions)
        } else {
            inverse_of_many(coalitions)
        };
        let mut mapped = DMatrix::zeros(players, coalitions.members.len());
        for (k, members) in coalitions.members.iter().enumerate() {
            let mut column = mapped.column_mut(k);
            for &member in members {
                column += inverse.column(member);
            }
        }
        Self {
            coalitions,
            inverse,
            mapped,
        }
    }

    /// The fit of outputs at the coalitions, for a game worth `start` with nobody and `end` with all.
    fn fit(&self, outputs: &[f64], start: f64, end: f64) -> Fit {
        let Coalitions {
            players,
            members,
            weights,
            draws,
            draw_weight,
        } = self.coalitions;
        let share = (end - start) / *players as f64;
        let mut moments = DVector::zeros(*players);
        for ((members, weight), output) in members.iter().zip(weights).zip(outputs) {
            let beyond = weight * (output - start - share * members.len() as f64);
            for &member in members {
                moments[member] += beyond;
            }
        }
        let values = (&self.inverse * &moments).add_scalar(share);
        let residual = |k: usize| {
            let fitted: f64 = members[k].iter().map(|&member| values[member]).sum();
            outputs[k] - start - fitted
        };
        let total: f64 = weights.iter().sum();
        let mean = weights.iter().zip(outputs).map(|(w, y)| w * y).sum::<f64>() / total;
        let sum = |of: &dyn Fn(usize) -> f64| -> f64 {
            let all = weights.iter().enumerate();
            all.map(|(k, weight)| weight * of(k)).sum()
        };
        let spread = sum(&|k| (outputs[k] - mean).powi(2));
        let left = sum(&|k| residual(k).powi(2));
        // What each draw adds to the values, around its mean over the draws.
        let count: f64 = draws.iter().map(|draw| draw.count).sum();
        let influence = |draw: &Draw| {
            let mut influence = DVector::zeros(*players);
            for &k in &draw.coalitions {
                influence.axpy(draw_weight * residual(k), &self.mapped.column(k), 1.0);
            }
            influence
        };
        let influences: Vec<DVector<f64>> = draws.iter().map(influence).collect();
        let mut middle = DVector::zeros(*players);
        for (draw, influence) in draws.iter().zip(&influences) {
            middle.axpy(draw.count / count, influence, 1.0);
        }
        let mut variances = vec![0f64; *players];
        for (draw, influence) in draws.iter().zip(&influences) {
            for (variance, (own, middle)) in variances
                .iter_mut()
                .zip(influence.iter().zip(middle.iter()))
            {
                *variance += draw.count * (own - middle).powi(2);
            }
        }
        // A pair is one direction: a coalition and its complement are opposite around an even share.
        // As many different pairs as directions determine the values, and say nothing of their spread.
        let free = count - (*players - 1) as f64;
        let scale = count / free;
        let known = draws.is_empty() || draws.len() > *players - 1;
        let errors = || {
            if draws.is_empty() {
                return vec![0.0; *players];
            }
            variances.iter().map(|v| (v * scale).sqrt()).collect()
        };
        Fit {
            coefficients: values.iter().copied().collect(),
            intercept: start,
            r_squared: r_squared(left, spread, outputs, total),
            standard_errors: known.then(errors),
        }
    }
}

// Even shares satisfy the constraint; what is beyond sums to zero. So both sides are centred, and the
// matrix is inverted on the space orthogonal to ones, where it lives.

/// The inverse where coalitions determine the values, through the players' matrix.
fn inverse_of_many(coalitions: &Coalitions) -> DMatrix<f64> {
    let players = coalitions.players;
    let mut gram = DMatrix::<f64>::zeros(players, players);
    for (members, &weight) in coalitions.members.iter().zip(&coalitions.weights) {
        for &i in members {
            for &j in members {
                gram[(i, j)] += weight;
            }
        }
    }
    let means = gram.row_mean();
    let mean = means.mean();
    let centred = DMatrix::from_fn(players, players, |i, j| {
        gram[(i, j)] - means[i] - means[j] + mean
    });
    let even = DMatrix::from_element(players, players, 1.0 / players as f64);
    let scale = centred.trace() / players as f64;
    let whole = &centred + &even * scale;
    if let Some(factor) = whole.cholesky() {
        let diagonal = factor.l_dirty().diagonal();
        if diagonal.min() > 1e-6 * diagonal.max() {
            return factor.inverse() - even / scale;
        }
    }
    let eigen = centred.symmetric_eigen();
    let inverse = inverses(&eigen.eigenvalues);
    &eigen.eigenvectors * DMatrix::from_diagonal(&inverse) * eigen.eigenvectors.transpose()
}

/// The pseudo-inverse where they do not, for values of smallest norm, through the coalitions' matrix:
/// with `X` the centred coalitions times the roots of their weights, `(XᵀX)⁺ = Xᵀ ((XXᵀ)⁺)² X`.
fn inverse_of_few(coalitions: &Coalitions) -> DMatrix<f64> {
    let Coalitions {
        players, members, ..
    } = coalitions;
    if members.is_empty() {
        // A single player.
        return DMatrix::zeros(*players, *players);
    }
    let mut x = DMatrix::<f64>::zeros(members.len(), *players);
    for (k, (members, weight)) in members.iter().zip(&coalitions.weights).enumerate() {
        let mut row = x.row_mut(k);
        row.fill(-(members.len() as f64) / *players as f64);
        for &member in members {
            row[member] += 1.0;
        }
        row.scale_mut(weight.sqrt());
    }
    let eigen = (&x * x.transpose()).symmetric_eigen();
    let inverse = inverses(&eigen.eigenvalues);
    let half = x.tr_mul(&eigen.eigenvectors) * DMatrix::from_diagonal(&inverse);
    &half * half.transpose()
}

/// Inverses of eigenvalues, without those that are rounding errors of zero.
fn inverses(eigenvalues: &DVector<f64>) -> DVector<f64> {
    let largest = eigenvalues.amax();
    let known = |value: f64| value > 1e-10 * largest;
    eigenvalues.map(|value| if known(value) { 1.0 / value } else { 0.0 })
}

impl KernelShap {
    /// The inputs with their features, and the fits, `[target][row]`.
    #[allow(clippy::type_complexity)] // What was masked, and a list per target.
    fn fit_all<'a>(&self, question: &Question<'a>) -> Result<(Masked<'a>, Vec<Vec<Fit>>), Error> {
        let budget = self.config.n_samples;
        kernel::check_samples("n_samples", budget, 3)?;
        let features = self.mask.resolve(question.inputs())?.count();
        if features > MOST_FEATURES {
            return Err(Error::Method {
                method: "KernelSHAP",
                reason: format!(
                    "{features} features are more than {MOST_FEATURES}; group them with a feature \
                     mask, such as superpixels"
                ),
            });
        }
        let per_eval = self.config.perturbations_per_eval;
        let masked = Masked::new(question, &self.mask, per_eval)?;
        kernel::check_size(budget, features)?;
        let start = masked.at_baseline()?;
        let empty = Fit {
            coefficients: Vec::new(),
            intercept: 0.0,
            r_squared: 1.0,
            standard_errors: None,
        };
        let mut fits = vec![vec![empty; masked.rows()]; question.targets().len()];
        for (rows, own) in masked.groups() {
            let mut random = Random::new(self.config.seed);
            let coalitions = Coalitions::choose(own.len(), budget - 2, &mut random);
            let regression = Regression::new(&coalitions);
            let count = coalitions.members.len();
            for rows in kernel::parts(&rows, count) {
                let found = masked.evaluate(rows, count, &|k, present| {
                    for &member in &coalitions.members[k] {
                        present[own[member]] = 1.0;
                    }
                })?;
                for (t, found) in found.iter().enumerate() {
                    for (&row, outputs) in rows.iter().zip(found) {
                        let end = f64::from(masked.scores()[t][row]);
                        let fit = regression.fit(outputs, start[t][row], end);
                        fits[t][row] = spread(&fit, &own, features);
                    }
                }
            }
        }
        Ok((masked, fits))
    }
}

impl Method for KernelShap {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let (masked, fits) = self.fit_all(question)?;
        let mut all = explained(&masked, &fits);
        for (explanation, fits) in all.iter_mut().zip(&fits) {
            let rows = fits.iter().zip(&explanation.scores);
            let delta = rows.map(|(fit, &end)| {
                let sum: f64 = fit.coefficients.iter().sum();
                (sum - (f64::from(end) - fit.intercept)) as f32
            });
            explanation.delta = Some(delta.collect());
        }
        Ok(all)
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Perturbation
    }
}

impl FitMethod for KernelShap {
    fn fits(&self, question: &Question<'_>) -> Result<Vec<Vec<Fit>>, Error> {
        Ok(self.fit_all(question)?.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A game whose Shapley values are known: worth of a pair of players beside single ones.
    fn game(members: &[usize]) -> f64 {
        let single = [0.5, -1.0, 2.0, 0.0, 0.25];
        let pair = f64::from(members.contains(&0) && members.contains(&3));
        members.iter().map(|&m| single[m]).sum::<f64>() + 3.0 * pair
    }

    #[test]
    fn all_coalitions_give_shapley_values() {
        let coalitions = Coalitions::choose(5, 30, &mut Random::new(1));
        assert_eq!(coalitions.members.len(), 30);
        assert!(coalitions.draws.is_empty());
        let total: f64 = coalitions.weights.iter().sum();
        assert!((total - 1.0).abs() < 1e-12);
        let outputs: Vec<f64> = coalitions.members.iter().map(|m| game(m)).collect();
        let fit = Regression::new(&coalitions).fit(&outputs, 0.0, game(&[0, 1, 2, 3, 4]));
        for (got, expected) in fit.coefficients.iter().zip([2.0, -1.0, 2.0, 1.5, 0.25]) {
            assert!((got - expected).abs() < 1e-10, "{got} {expected}");
        }
    }

    #[test]
    fn too_few_coalitions_still_keep_the_sum() {
        let coalitions = Coalitions::choose(30, 6, &mut Random::new(5));
        let outputs: Vec<f64> = coalitions.members.iter().map(|m| m.len() as f64).collect();
        let fit = Regression::new(&coalitions).fit(&outputs, 0.0, 30.0);
        assert!((fit.coefficients.iter().sum::<f64>() - 30.0).abs() < 1e-10);
        assert!(fit.coefficients.iter().all(|c| (c - 1.0).abs() < 1e-8));
    }
}
