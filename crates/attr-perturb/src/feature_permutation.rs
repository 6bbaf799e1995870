//! Feature permutation: how much the output changes when a feature takes another row's value.
//!
//! Follows Captum's `FeaturePermutation`; draws come from a seed. Breiman, "Random forests", 2001
//! (<https://doi.org/10.1023/A:1010933404324>); Fisher, Rudin, Dominici, 2019
//! (<https://arxiv.org/abs/1801.01489>). For a data set that does not fit in memory, see
//! [`OverData`](crate::OverData).

use std::cell::RefCell;

use attr_core::build::Random;
use attr_core::perturb::{Blend, Perturbation, Perturbed, without};
use attr_core::{Error, Explanation, FeatureMask, Method, Question};
use serde::{Deserialize, Serialize};

use crate::setters::setters;

/// Parameters of [`FeaturePermutation`], under Captum's names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FeaturePermutationConfig {
    /// Perturbed copies of the batch evaluated together; by default, as many as memory allows.
    pub perturbations_per_eval: Option<usize>,
    /// Seed of the permutations.
    pub seed: u64,
}

/// Computes `A_i[r] = f(x)[r] - f(x with feature i permuted over the batch)[r]` and writes it to
/// every element of the feature.
///
/// Each feature has its own permutation, never the identity. The mean over the rows is the
/// feature's permutation importance; one row's value depends on the other rows of the batch.
///
/// Shapes: the input's, `[batch, ...]`, in units of the output. One forward pass for the inputs and
/// one per feature and row.
///
/// # Errors
/// [`Error::Method`] for a single row or a list that is not a permutation of the rows;
/// [`Error::FeatureMask`] and [`Error::Shape`] for masks that do not fit.
///
/// ```
/// use attr_core::Method;
/// use attr_perturb::FeaturePermutation;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[1.0, 5.0], [2.0, 5.0]], &device);
/// let model = |x: Tensor<2>| x.sum_dim(1);
/// let found = FeaturePermutation::new().with_permutation([1, 0]).attribute(&model, &x, 0)?;
/// assert_eq!(found.attribution().into_data().try_to_vec::<f32>().unwrap(), [-1.0, 0.0, 1.0, 0.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct FeaturePermutation {
    config: FeaturePermutationConfig,
    permutation: Option<Vec<usize>>,
    mask: FeatureMask,
}

impl FeaturePermutation {
    /// Creates the method with each element as a feature and random permutations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: FeaturePermutationConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets one permutation of the rows for all features: row `r` takes the value of row
    /// `permutation[r]`.
    pub fn with_permutation(mut self, permutation: impl Into<Vec<usize>>) -> Self {
        self.permutation = Some(permutation.into());
        self
    }

    setters!(mask, seed, perturbations_per_eval);

    pub(crate) fn mask(&self) -> &FeatureMask {
        &self.mask
    }

    pub(crate) fn seed(&self) -> u64 {
        self.config.seed
    }

    /// Returns whether permutations are drawn, rather than given.
    pub(crate) fn draws(&self) -> bool {
        self.permutation.is_none()
    }

    /// Returns the order of the rows for each feature.
    pub(crate) fn orders<'a>(
        &'a self,
        rows: usize,
        random: &'a mut Random,
    ) -> Result<Orders<'a>, Error> {
        let bad = |reason: String| {
            Err(Error::Method {
                method: "feature permutation",
                reason,
            })
        };
        if rows < 2 {
            return bad("a single row cannot be permuted; give at least two rows".into());
        }
        if let Some(permutation) = &self.permutation {
            let mut sorted = permutation.clone();
            sorted.sort_unstable();
            if !sorted.into_iter().eq(0..rows) {
                return bad(format!(
                    "{permutation:?} is not a permutation of {rows} rows"
                ));
            }
        }
        Ok(Orders {
            given: self.permutation.as_deref(),
            random,
            drawn: 0,
            latest: (0..rows).collect(),
        })
    }
}

/// An order of the rows for each feature, drawn when needed.
pub(crate) struct Orders<'a> {
    given: Option<&'a [usize]>,
    random: &'a mut Random,
    /// How many features have had an order drawn.
    drawn: usize,
    latest: Vec<usize>,
}

impl Orders<'_> {
    /// Returns the order for a feature, which must be the latest or a later one.
    pub fn of(&mut self, feature: usize) -> &[usize] {
        if let Some(given) = self.given {
            return given;
        }
        let rows = self.latest.len();
        while self.drawn <= feature {
            self.latest = self.random.permutation(rows);
            self.drawn += usize::from(!self.latest.iter().copied().eq(0..rows));
        }
        &self.latest
    }
}

impl Method for FeaturePermutation {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let inputs = question.inputs();
        if !inputs.origin().iter().copied().eq(0..inputs.caller_rows()) {
            return Err(Error::Method {
                method: "feature permutation",
                reason:
                    "the rows are copies, such as those of a noise tunnel, not a data set's rows; \
                         permute the rows themselves"
                        .into(),
            });
        }
        // Another row's value replaces an absent feature.
        let blend = Blend::new(inputs, &self.mask, inputs.clone())?;
        let count = blend.features().count();
        let mut random = Random::new(self.config.seed);
        let orders = RefCell::new(self.orders(inputs.rows(), &mut random)?);
        let per_eval = self.config.perturbations_per_eval;
        let perturbed = Perturbed::new(question, per_eval)?;
        if perturbed.whole_batch() && !blend.features().shared() {
            return Err(Error::Method {
                method: "a feature mask per row",
                reason: "the forward gives one value for the whole batch; give one mask for all \
                         rows"
                    .into(),
            });
        }
        let rows = perturbed.rows();
        let copies =
            (0..count).flat_map(|number| (0..rows).map(move |row| Perturbation { row, number }));
        let found = perturbed.evaluate(count * rows, copies, &|copies| {
            let mut present = vec![0f32; copies.len() * count];
            for (present, copy) in present.chunks_mut(count).zip(copies) {
                without(copy.number, present);
            }
            let mut orders = orders.borrow_mut();
            let rows: Vec<usize> = copies.iter().map(|copy| copy.row).collect();
            let from = copies.iter().map(|copy| orders.of(copy.number)[copy.row]);
            blend.make(inputs, &rows, &from.collect::<Vec<_>>(), present)
        })?;
        let each = found.into_iter().zip(perturbed.scores());
        let each = each.map(|(found, scores)| {
            let row = |row: usize| {
                let own = found.iter().skip(row).step_by(rows);
                own.map(|&without| f64::from(scores[row]) - f64::from(without))
                    .collect()
            };
            let values: Vec<Vec<f64>> = (0..rows).map(row).collect();
            Explanation::new(blend.features().spread(inputs, &values), scores.clone())
        });
        Ok(each.collect())
    }
}
