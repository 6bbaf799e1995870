//! HSIC attribution: how much the output depends on each feature's presence.
//!
//! Novello, Fel, Vigouroux, "Making sense of dependence: efficient black-box explanations using
//! dependence measure", 2022 (<https://arxiv.org/abs/2206.06219>); Gretton, Bousquet, Smola,
//! Schölkopf, "Measuring statistical dependence with Hilbert-Schmidt norms", 2005. Defaults are
//! those of the authors' `xplique`. Here, masks are random and balanced instead of a rounded Sobol
//! sequence, and the width of the output's kernel is the median *distance* between outputs, not the
//! median output.

use attr_core::build::Random;
use attr_core::perturb::Masked;
use attr_core::{BaselineUse, Error, Explanation, FeatureMask, Method, Question};
use serde::{Deserialize, Serialize};

use crate::grid::cells;
use crate::setters::setters;

/// Parameters of [`HsicAttribution`], under `xplique`'s names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HsicAttributionConfig {
    /// Cells along each side of an image if no feature mask is given; 8, as in the paper's code.
    pub grid_size: usize,
    /// Number of random masks, one forward pass each; 500, as in the paper's code.
    pub nb_design: usize,
    /// Seed of the masks.
    pub seed: u64,
    /// Perturbed copies of the batch evaluated together; by default, as many as memory allows.
    pub perturbations_per_eval: Option<usize>,
}

impl Default for HsicAttributionConfig {
    fn default() -> Self {
        Self {
            grid_size: 8,
            nb_design: 500,
            seed: 0,
            perturbations_per_eval: None,
        }
    }
}

/// Computes `A_i = tr(K_i H L H) / (n - 1)²`: the Hilbert-Schmidt independence criterion between
/// the presence of feature `i` and the output, over `n` random masks.
///
/// `K_i` is 1/2 for two masks that agree on feature `i` and -1/2 for two that do not. `L` is the
/// Gaussian kernel of the outputs, `exp(-(y - y')² / (2 σ²))`, where `σ` is the median distance
/// between two different outputs. `H = I - 1/n` centres both. Each feature is present in half of
/// the masks, rounded down. If the output does not vary, all values are zero. Values are not
/// negative and do not show in which direction a feature moves the output.
///
/// Unless a mask is given, features are the cells of a `grid_size` grid for images
/// `[batch, channels, ...]`, and elements otherwise.
///
/// Shapes: the input's, `[batch, ...]`, without unit. `1 + nb_design` forward passes per row,
/// regardless of the number of features.
///
/// # Errors
/// [`Error::Parameter`] for fewer than two masks or more than 4096; [`Error::FeatureMask`] and
/// [`Error::Shape`] for masks and baselines that do not fit.
///
/// ```
/// use attr_core::Method;
/// use attr_perturb::HsicAttribution;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[3.0, 1.0, 0.0]], &device);
/// let model = |x: Tensor<2>| x.sum_dim(1);
/// let found = HsicAttribution::new().attribute(&model, &x, 0)?;
/// let found = found.attribution().into_data().try_to_vec::<f32>().unwrap();
/// assert!(found[0] > found[1] && found[1] > found[2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct HsicAttribution {
    config: HsicAttributionConfig,
    mask: Option<FeatureMask>,
}

impl HsicAttribution {
    /// Creates the method with 500 masks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: HsicAttributionConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the number of masks.
    pub fn with_design(mut self, nb_design: usize) -> Self {
        self.config.nb_design = nb_design;
        self
    }

    setters!(mask, seed, perturbations_per_eval);
}

impl Method for HsicAttribution {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let n = self.config.nb_design;
        if !(2..=1 << 12).contains(&n) {
            return Err(Error::Parameter {
                name: "nb_design",
                value: n.to_string(),
                expected: "the number of masks must be from 2 to 4096",
            });
        }
        let mask = cells(&self.mask, self.config.grid_size, question.inputs())?;
        let per_eval = self.config.perturbations_per_eval;
        let masked = Masked::new(question, &mask, per_eval)?;
        let mut random = Random::new(self.config.seed);
        let signs = (0..masked.features()).map(|_| {
            let order = random.permutation(n);
            order.iter().map(|&place| place < n / 2).collect()
        });
        let signs: Vec<Vec<bool>> = signs.collect();
        let rows: Vec<usize> = (0..masked.rows()).collect();
        let found = masked.evaluate(&rows, n, &|k, present| {
            for (present, signs) in present.iter_mut().zip(&signs) {
                *present = f32::from(signs[k]);
            }
        })?;
        let values = found.iter();
        let values: Vec<Vec<Vec<f64>>> = values
            .map(|rows| rows.iter().map(|outputs| hsic(&signs, outputs)).collect())
            .collect();
        Ok(masked.explanations(&values, None))
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Perturbation
    }
}

/// Returns the dependence of the outputs on each feature.
fn hsic(signs: &[Vec<bool>], outputs: &[f64]) -> Vec<f64> {
    let n = outputs.len();
    let Some(width) = median_distance(outputs) else {
        return vec![0.0; signs.len()];
    };
    let mut kernel = vec![0f64; n * n];
    for (line, a) in kernel.chunks_mut(n).zip(outputs) {
        for (cell, b) in line.iter_mut().zip(outputs) {
            *cell = (-0.5 * ((a - b) / width).powi(2)).exp();
        }
    }
    // Centred: H L H.
    let means: Vec<f64> = kernel
        .chunks(n)
        .map(|line| line.iter().sum::<f64>() / n as f64)
        .collect();
    let mean = means.iter().sum::<f64>() / n as f64;
    for (line, a) in kernel.chunks_mut(n).zip(&means) {
        for (cell, b) in line.iter_mut().zip(&means) {
            *cell += mean - a - b;
        }
    }
    let value = |signs: &Vec<bool>| {
        // K_i is half the product of two signs.
        let signs: Vec<f64> = signs.iter().map(|&s| if s { 1.0 } else { -1.0 }).collect();
        let lines = kernel.chunks(n).zip(&signs);
        let sum: f64 = lines
            .map(|(line, sign)| {
                let products = line.iter().zip(&signs);
                sign * products.map(|(cell, sign)| cell * sign).sum::<f64>()
            })
            .sum();
        (0.5 * sum / ((n - 1) as f64).powi(2)).max(0.0)
    };
    signs.iter().map(value).collect()
}

/// Returns the median distance between two different outputs; `None` if all are equal.
fn median_distance(outputs: &[f64]) -> Option<f64> {
    let pairs = outputs.iter().enumerate();
    let distances = pairs.flat_map(|(i, a)| outputs[..i].iter().map(move |b| (a - b).abs()));
    let mut distances: Vec<f64> = distances.filter(|&distance| distance > 0.0).collect();
    if distances.is_empty() {
        return None;
    }
    let middle = distances.len() / 2;
    let (_, median, _) = distances.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_definition_with_matrices() {
        let outputs = [0.3, 1.2, -0.4, 2.0, 0.9];
        let signs = [true, false, true, true, false];
        let n = outputs.len();
        let width = median_distance(&outputs).unwrap();
        let k = |a: usize, b: usize| if signs[a] == signs[b] { 0.5 } else { -0.5 };
        let l = |a: usize, b: usize| (-0.5 * ((outputs[a] - outputs[b]) / width).powi(2)).exp();
        let h = |a: usize, b: usize| f64::from(a == b) - 1.0 / n as f64;
        let mut trace = 0.0;
        for a in 0..n {
            for b in 0..n {
                for c in 0..n {
                    for d in 0..n {
                        trace += k(a, b) * h(b, c) * l(c, d) * h(d, a);
                    }
                }
            }
        }
        let expected = trace / ((n - 1) as f64).powi(2);
        let found = hsic(&[signs.to_vec()], &outputs)[0];
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        assert_eq!(hsic(&[signs.to_vec()], &[1.0; 5]), [0.0]);
    }
}
