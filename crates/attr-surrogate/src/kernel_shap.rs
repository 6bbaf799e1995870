//! KernelSHAP: Shapley values by weighted regression on coalitions of features.
//!
//! Lundberg, Lee, "A unified approach to interpreting model predictions", 2017
//! (<https://arxiv.org/abs/1705.07874>); Covert, Lee, "Improving KernelSHAP", 2021
//! (<https://arxiv.org/abs/2012.01536>) for paired samples and standard errors. Follows Captum's
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

/// Largest number of features: the regression holds a matrix with a row and a column for each.
const MOST_FEATURES: usize = 4096;

/// Parameters of [`KernelShap`], under Captum's names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct KernelShapConfig {
    /// The largest number of coalitions evaluated, including the full and the empty one. Unless set,
    /// 2 per feature plus 2048, as in the `shap` package. Captum uses 25.
    pub n_samples: Option<usize>,
    /// Seed of the coalitions.
    pub seed: u64,
    /// Perturbed copies of the batch evaluated together; by default, as many as memory allows.
    pub perturbations_per_eval: Option<usize>,
}

/// Computes `argmin_φ Σ_S π(S) (v(S) - v(∅) - Σ_{i ∈ S} φ_i)²` subject to
/// `Σ φ_i = v(all) - v(∅)`, where `v(S)` is the output with the features of `S` present and all
/// others at their baseline, and `π(S) = (n - 1) / (C(n, |S|) |S| (n - |S|))`.
///
/// Sizes of coalitions are enumerated from the outside (one feature, all but one) inwards as long
/// as there are enough samples. Coalitions of the remaining sizes are drawn in pairs with their
/// complements. With samples for all `2^n` coalitions, the values are the exact Shapley values.
/// Each coalition is evaluated once; all rows share the draws, so each is explained as if it were
/// alone.
///
/// The convergence delta is only rounding error. Standard errors are those of the draws (sandwich
/// estimator over the pairs), 0 if nothing was drawn. R² measures how close the outputs are to a
/// sum over features.
///
/// Shapes: the input's, `[batch, ...]`, in units of the output; `[1, ...]` where the forward gives
/// one value for the whole batch. At most `n_samples` forward passes per row.
///
/// # Errors
/// [`Error::Parameter`] for fewer than three samples; [`Error::Method`] for more than 4096
/// features; [`Error::FeatureMask`] and [`Error::Shape`] for masks and baselines that do not fit.
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

impl KernelShap {
    /// Creates the method with 25 coalitions of all elements and zero as baseline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: KernelShapConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the largest number of coalitions.
    pub fn with_samples(mut self, n_samples: usize) -> Self {
        self.config.n_samples = Some(n_samples);
        self
    }

    /// Sets the seed of the coalitions.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
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
}

/// The regression for all rows and targets, which share coalitions and weights.
struct Regression<'a> {
    coalitions: &'a Coalitions,
    /// Maps `Σ w z (y - z·1 Δ / n)` to the difference between `φ` and an even share.
    inverse: DMatrix<f64>,
    /// `inverse` times each coalition.
    mapped: DMatrix<f64>,
    /// The leverage of each draw: 1 where values follow from it alone.
    leverages: Vec<f64>,
    /// How many directions the coalitions determine, of one less than there are players.
    rank: f64,
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
        let own = |k: usize| -> f64 {
            let members = coalitions.members[k].iter();
            members.map(|&member| mapped[(member, k)]).sum()
        };
        let leverage = |draw: &Draw| -> f64 {
            let weight = draw.count * coalitions.draw_weight;
            draw.coalitions.iter().map(|&k| weight * own(k)).sum()
        };
        let weights = coalitions.weights.iter().enumerate();
        Self {
            coalitions,
            leverages: coalitions.draws.iter().map(leverage).collect(),
            rank: weights.map(|(k, weight)| weight * own(k)).sum(),
            inverse,
            mapped,
        }
    }

    /// Whether the coalitions determine the values of all players.
    fn is_determined(&self) -> bool {
        self.rank > (self.coalitions.players - 1) as f64 - 0.5
    }

    /// Whether the draws show how far values spread. Below two more pairs than directions they do
    /// not, nor where a value follows from one pair alone.
    fn errors_are_known(&self) -> bool {
        let draws = &self.coalitions.draws;
        let enough = draws.is_empty() || draws.len() > self.coalitions.players;
        let alone = self.leverages.iter().any(|&leverage| leverage > 1.0 - 1e-9);
        self.is_determined() && enough && !alone
    }

    /// What a reader of the values must know.
    fn warning(&self) -> Option<String> {
        let (players, count) = (self.coalitions.players, self.coalitions.members.len() + 2);
        if !self.is_determined() {
            return Some(format!(
                "{count} coalitions do not determine {players} features: of all values that fit, \
                 these have the smallest norm; take more samples"
            ));
        }
        (!self.errors_are_known()).then(|| {
            format!(
                "{count} coalitions barely determine {players} features, so the values may be far \
                 off and have no standard errors; take more samples"
            )
        })
    }

    /// Fits the outputs at the coalitions, for a game worth `start` with no players, `end` with
    /// all.
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
        // What each draw would add to the values if they were fitted without it, around its mean
        // over the draws (HC3: a draw with much leverage pulls the fit towards itself).
        let count: f64 = draws.iter().map(|draw| draw.count).sum();
        let influence = |(draw, leverage): (&Draw, &f64)| {
            let mut influence = DVector::zeros(*players);
            for &k in &draw.coalitions {
                let weight = draw_weight * residual(k) / (1.0 - leverage);
                influence.axpy(weight, &self.mapped.column(k), 1.0);
            }
            influence
        };
        let influences: Vec<DVector<f64>> =
            draws.iter().zip(&self.leverages).map(influence).collect();
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
        let errors = || variances.iter().map(|variance| variance.sqrt()).collect();
        Fit {
            coefficients: values.iter().copied().collect(),
            intercept: start,
            r_squared: r_squared(left, spread, outputs, total),
            standard_errors: self.errors_are_known().then(errors),
        }
    }
}

// Even shares satisfy the constraint; the differences from them sum to zero. So both sides are
// centred, and the matrix is inverted on the space orthogonal to ones.

/// Returns the inverse if coalitions determine the values, through the players' matrix.
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

/// Returns the pseudo-inverse if coalitions do not determine the values, for values of smallest
/// norm, through the coalitions' matrix: with `X` the centred coalitions times the square roots of
/// their weights, `(XᵀX)⁺ = Xᵀ ((XXᵀ)⁺)² X`.
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

/// Returns the inverses of eigenvalues, with 0 for those that are zero up to rounding.
fn inverses(eigenvalues: &DVector<f64>) -> DVector<f64> {
    let largest = eigenvalues.amax();
    let known = |value: f64| value > 1e-10 * largest;
    eigenvalues.map(|value| if known(value) { 1.0 / value } else { 0.0 })
}

/// What was masked, and what was fitted to it.
struct Fitted<'a> {
    masked: Masked<'a>,
    /// `[target][row]`.
    fits: Vec<Vec<Fit>>,
    warnings: Vec<String>,
}

impl KernelShap {
    /// Returns the inputs with their features, and the fits, `[target][row]`.
    fn fit_all<'a>(&self, question: &Question<'a>) -> Result<Fitted<'a>, Error> {
        let budget = |features: usize| self.config.n_samples.unwrap_or(2 * features + 2048);
        kernel::check_samples("n_samples", budget(0), 3)?;
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
        kernel::check_size(budget(features), features)?;
        let start = masked.at_baseline()?;
        let empty = Fit {
            coefficients: Vec::new(),
            intercept: 0.0,
            r_squared: 1.0,
            standard_errors: None,
        };
        let mut fits = vec![vec![empty; masked.rows()]; question.targets().len()];
        let mut warnings = Vec::new();
        for (rows, own) in masked.groups() {
            let mut random = Random::new(self.config.seed);
            let coalitions = Coalitions::choose(own.len(), budget(own.len()) - 2, &mut random);
            let regression = Regression::new(&coalitions);
            warnings.extend(regression.warning());
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
        Ok(Fitted {
            masked,
            fits,
            warnings,
        })
    }
}

impl Method for KernelShap {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let Fitted {
            masked,
            fits,
            warnings,
        } = self.fit_all(question)?;
        let mut all = explained(&masked, &fits);
        for (explanation, fits) in all.iter_mut().zip(&fits) {
            let rows = fits.iter().zip(&explanation.scores);
            let delta = rows.map(|(fit, &end)| {
                let sum: f64 = fit.coefficients.iter().sum();
                (sum - (f64::from(end) - fit.intercept)) as f32
            });
            explanation.delta = Some(delta.collect());
            explanation.warnings = warnings.clone();
        }
        Ok(all)
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Perturbation
    }
}

impl FitMethod for KernelShap {
    fn fits(&self, question: &Question<'_>) -> Result<Vec<Vec<Fit>>, Error> {
        Ok(self.fit_all(question)?.fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A game with known Shapley values: players have a worth of their own, and one pair has more.
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
