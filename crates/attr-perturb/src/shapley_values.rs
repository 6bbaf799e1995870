//! Exact Shapley values.
//!
//! Shapley, "A value for n-person games", 1953; Castro, Gómez, Tejada, 2009
//! (<https://doi.org/10.1016/j.cor.2008.04.004>). Follows Captum's `ShapleyValues`, which evaluates
//! `n n!` copies where `2^n` suffice.

use attr_core::perturb::Masked;
use attr_core::{BaselineUse, Error, Explanation, FeatureMask, Method, Question};
use serde::{Deserialize, Serialize};

use crate::setters::setters;

/// With more features than this there are more than a million coalitions.
const MOST_FEATURES: usize = 20;

/// Coalitions, over all rows, that are evaluated before their values are combined.
const AT_ONCE: usize = 1 << 22;

/// Parameters of [`ShapleyValues`], under Captum's names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ShapleyValuesConfig {
    /// Perturbed copies of the batch evaluated together; by default, as many as memory allows.
    pub perturbations_per_eval: Option<usize>,
}

/// Computes `A_i = Σ_S |S|! (n - |S| - 1)! / n! (v(S ∪ i) - v(S))` over all sets `S` of other
/// features, where `v(S)` is the output with the features of `S` present and all others at their
/// baseline.
///
/// The convergence delta is `Σ_i A_i - (f(x) - f(b))`. Each feature counts once; the delta is only
/// rounding error.
///
/// Shapes: the input's, `[batch, ...]`, in units of the output; `[1, ...]` where the forward gives
/// one value for the whole batch. `2^n` forward passes per row, each coalition once.
///
/// # Errors
/// [`Error::Method`] for more than 20 features; [`Error::FeatureMask`] and [`Error::Shape`] for
/// masks and baselines that do not fit; [`Error::WholeBatch`].
///
/// ```
/// use attr_core::Method;
/// use attr_perturb::ShapleyValues;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[2.0, 3.0]], &device);
/// let model = |x: Tensor<2>| x.prod_dim(1);
/// let found = ShapleyValues::new().attribute(&model, &x, 0)?;
/// assert_eq!(found.attribution().into_data().try_to_vec::<f32>().unwrap(), [3.0, 3.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ShapleyValues {
    config: ShapleyValuesConfig,
    mask: FeatureMask,
}

impl ShapleyValues {
    /// Creates the method with each element as a feature and zero as baseline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: ShapleyValuesConfig) -> Self {
        self.config = config;
        self
    }

    setters!(mask, perturbations_per_eval);
}

impl Method for ShapleyValues {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let features = self.mask.resolve(question.inputs())?.count();
        if features > MOST_FEATURES {
            return Err(Error::Method {
                method: "exact Shapley values",
                reason: format!(
                    "{features} features have 2^{features} coalitions; group them into at most \
                     {MOST_FEATURES} with a feature mask, or use ShapleyValueSampling or KernelShap"
                ),
            });
        }
        let per_eval = self.config.perturbations_per_eval;
        let masked = Masked::new(question, &self.mask, per_eval)?;
        let coalitions = 1usize << features;
        let mut values: Vec<Vec<Vec<f64>>> = vec![Vec::new(); question.targets().len()];
        let mut start: Vec<Vec<f64>> = vec![Vec::new(); question.targets().len()];
        let rows: Vec<usize> = (0..masked.rows()).collect();
        for rows in rows.chunks((AT_ONCE / coalitions).max(1)) {
            // The last coalition is the input itself, whose output is known.
            let found = masked.evaluate(rows, coalitions - 1, &|coalition, present| {
                for (feature, present) in present.iter_mut().enumerate() {
                    *present = f32::from(coalition >> feature & 1 == 1);
                }
            })?;
            for (t, found) in found.into_iter().enumerate() {
                for (mut outputs, &row) in found.into_iter().zip(rows) {
                    outputs.push(f64::from(masked.scores()[t][row]));
                    start[t].push(outputs[0]);
                    values[t].push(shapley(&outputs, features));
                }
            }
        }
        Ok(masked.complete(&values, None, &start))
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Perturbation
    }
}

/// Returns the Shapley values of a game, given the value of each coalition; bit `i` of a
/// coalition's number says whether player `i` is in it.
fn shapley(game: &[f64], players: usize) -> Vec<f64> {
    // |S|! (n - |S| - 1)! / n! = 1 / (n C(n - 1, |S|)).
    let mut weights = Vec::with_capacity(players);
    let mut choose = 1.0;
    for size in 0..players {
        weights.push(1.0 / (players as f64 * choose));
        choose *= (players - 1 - size) as f64 / (size + 1) as f64;
    }
    let value = |player: usize| {
        let bit = 1usize << player;
        let others = (0..game.len()).filter(|coalition| coalition & bit == 0);
        let marginal = others.map(|coalition| {
            let weight = weights[coalition.count_ones() as usize];
            weight * (game[coalition | bit] - game[coalition])
        });
        marginal.sum()
    };
    (0..players).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_glove_game() {
        // One left glove, two right ones; a pair is worth 1: 2/3, 1/6, 1/6.
        let worth = |coalition: usize| f64::from(coalition & 1 == 1 && coalition & 6 != 0);
        let game: Vec<f64> = (0..8).map(worth).collect();
        let found = shapley(&game, 3);
        for (found, expected) in found.iter().zip([2.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }
}
