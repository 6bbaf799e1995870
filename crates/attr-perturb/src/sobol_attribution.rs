//! Sobol attribution: the share of the output's variance that each feature accounts for.
//!
//! Fel, Cadène, Chalvidal, Cord, Vigouroux, Serre, "Look at the variance! Efficient black-box
//! explanations with Sobol-based sensitivity analysis", 2021 (<https://arxiv.org/abs/2111.04138>);
//! estimators of Jansen, 1999 (<https://doi.org/10.1016/S0010-4655(98)00154-4>). Defaults are those
//! of the authors' `xplique`.

use attr_core::build::Random;
use attr_core::perturb::Masked;
use attr_core::{BaselineUse, Error, Explanation, FeatureMask, Method, Question};
use serde::{Deserialize, Serialize};

use crate::grid::cells;
use crate::setters::setters;

/// Parameters of [`SobolAttribution`], under `xplique`'s names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SobolAttributionConfig {
    /// Cells along each side of an image if no feature mask is given; 8, as in the paper's code.
    pub grid_size: usize,
    /// Number of design points, each with one forward pass per feature and one or two more; 32, as
    /// in the paper's code.
    pub nb_design: usize,
    /// Which index is estimated.
    pub order: SobolOrder,
    /// Seed of the scrambled Sobol sequence.
    pub seed: u64,
    /// Perturbed copies of the batch evaluated together; by default, as many as memory allows.
    pub perturbations_per_eval: Option<usize>,
}

impl Default for SobolAttributionConfig {
    fn default() -> Self {
        Self {
            grid_size: 8,
            nb_design: 32,
            order: SobolOrder::default(),
            seed: 0,
            perturbations_per_eval: None,
        }
    }
}

/// Which Sobol index is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SobolOrder {
    /// A feature's share including all its interactions, as in the paper.
    #[default]
    Total,
    /// A feature's share by itself.
    First,
}

/// Computes Jansen's total index `S_i = E[(f(A) - f(C_i))²] / (2 Var f(A))`, where `A` and `B` are
/// independent presences of all features, uniform in [0, 1], and `C_i` is `A` with feature `i`
/// taken from `B`.
///
/// The first-order index is `1 - E[(f(B) - f(C_i))²] / (2 Var f(A))`. Presences come from an
/// Owen-scrambled Sobol sequence; a feature with presence `z` has elements `z x + (1 - z) b`. If
/// the output does not vary, the indices are zero. Shares do not show in which direction a feature
/// moves the output.
///
/// Unless a mask is given, features are the cells of a `grid_size` grid for images
/// `[batch, channels, ...]`, and elements otherwise. Integers switch from the baseline to the input
/// at one half.
///
/// Shapes: the input's, `[batch, ...]`, without unit. `1 + nb_design (n + 2)` forward passes per
/// row for `n` features; `1 + nb_design (n + 1)` for the total index, which does not evaluate `B`.
///
/// # Errors
/// [`Error::Parameter`] for fewer than two points or no cells; [`Error::FeatureMask`] and
/// [`Error::Shape`] for masks and baselines that do not fit.
///
/// ```
/// use attr_core::Method;
/// use attr_perturb::SobolAttribution;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[3.0, 1.0, 0.0]], &device);
/// let model = |x: Tensor<2>| x.sum_dim(1);
/// let found = SobolAttribution::new().with_design(512).attribute(&model, &x, 0)?;
/// let shares = found.attribution().into_data().try_to_vec::<f32>().unwrap();
/// // Variances of 3 z and z are as 9 to 1.
/// assert!((shares[0] - 0.9).abs() < 0.02 && (shares[1] - 0.1).abs() < 0.02 && shares[2] == 0.0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct SobolAttribution {
    config: SobolAttributionConfig,
    mask: Option<FeatureMask>,
}

impl SobolAttribution {
    /// Creates the method with total indices from 32 points.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: SobolAttributionConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the number of points.
    pub fn with_design(mut self, nb_design: usize) -> Self {
        self.config.nb_design = nb_design;
        self
    }

    /// Sets which index is estimated.
    pub fn with_order(mut self, order: SobolOrder) -> Self {
        self.config.order = order;
        self
    }

    setters!(mask, seed, perturbations_per_eval);
}

/// Dimensions of one Sobol sequence; further features use another scrambling of it.
const DIMENSIONS: usize = sobol_burley::NUM_DIMENSIONS as usize;

impl Method for SobolAttribution {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let n = self.config.nb_design;
        if !(2..=1 << 16).contains(&n) {
            return Err(Error::Parameter {
                name: "nb_design",
                value: n.to_string(),
                expected: "the number of points must be from 2 to 65536",
            });
        }
        let mask = cells(&self.mask, self.config.grid_size, question.inputs())?;
        let per_eval = self.config.perturbations_per_eval;
        let masked = Masked::new(question, &mask, per_eval)?;
        let features = masked.features();
        let mut random = Random::new(self.config.seed);
        let seeds = (0..(2 * features).div_ceil(DIMENSIONS)).map(|_| random.bits() as u32);
        let seeds: Vec<u32> = seeds.collect();
        // Point `i` of the design: the first half of its dimensions is A's, the second B's.
        let point = |i: usize, dimension: usize| {
            let (seed, dimension) = (seeds[dimension / DIMENSIONS], dimension % DIMENSIONS);
            sobol_burley::sample(i as u32, dimension as u32, seed)
        };
        // Blocks of n: A, then each C_i, then B where it is needed.
        let first = self.config.order == SobolOrder::First;
        let blocks = features + 1 + usize::from(first);
        let rows: Vec<usize> = (0..masked.rows()).collect();
        let found = masked.evaluate(&rows, n * blocks, &|k, present| {
            let (block, i) = (k / n, k % n);
            for (feature, present) in present.iter_mut().enumerate() {
                let from_b = block == feature + 1 || block == features + 1;
                *present = point(i, feature + if from_b { features } else { 0 });
            }
        })?;
        let indices = |outputs: &Vec<f64>| -> Vec<f64> {
            let blocks: Vec<&[f64]> = outputs.chunks(n).collect();
            let mean = blocks[0].iter().sum::<f64>() / n as f64;
            let squares = blocks[0].iter().map(|y| (y - mean).powi(2)).sum::<f64>();
            let variance = squares / (n - 1) as f64;
            let index = |feature: usize| {
                let other = if first {
                    blocks[features + 1]
                } else {
                    blocks[0]
                };
                let pairs = other.iter().zip(blocks[feature + 1]);
                let square = pairs.map(|(a, c)| (a - c).powi(2)).sum::<f64>() / n as f64;
                if variance <= 0.0 {
                    return 0.0;
                }
                let share = square / (2.0 * variance);
                if first { 1.0 - share } else { share }
            };
            (0..features).map(index).collect()
        };
        let values = found.iter();
        let values: Vec<Vec<Vec<f64>>> = values
            .map(|rows| rows.iter().map(indices).collect())
            .collect();
        Ok(masked.explanations(&values, None))
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Perturbation
    }
}
