//! Feature permutation: how much the output changes when a feature takes another row's value.
//!
//! As Captum's `FeaturePermutation`; draws come from a seed. Breiman, "Random forests", 2001
//! (<https://doi.org/10.1023/A:1010933404324>); Fisher, Rudin, Dominici, 2019
//! (<https://arxiv.org/abs/1801.01489>). Over a data set that does not fit in memory, see
//! [`OverData`](crate::OverData).

use attr_core::{
    Blend, Error, Explanation, FeatureMask, Method, Model, Perturbed, Random, Run, Target, Values,
};
use serde::{Deserialize, Serialize};

use crate::feature_ablation::without;

/// Parameters of [`FeaturePermutation`], under Captum's names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FeaturePermutationConfig {
    /// Perturbed copies of the batch that go through the model together; as many as memory allows
    /// unless given.
    pub perturbations_per_eval: Option<usize>,
    /// Seed of the permutations.
    pub seed: u64,
}

/// `A_i[r] = f(x)[r] - f(x with feature i permuted over the batch)[r]`, written to every element of
/// the feature.
///
/// Each feature has a permutation of its own, never the identity. The mean over the rows is the
/// feature's permutation importance; for one row it depends on the rows it is explained with.
///
/// Shapes: the input's, `[batch, ...]`, in units of the output. One forward pass for the inputs and
/// one per feature and row.
///
/// # Errors
/// [`Error::Method`] for a single row or a list that is no permutation of the rows;
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

impl From<FeaturePermutationConfig> for FeaturePermutation {
    fn from(config: FeaturePermutationConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }
}

impl FeaturePermutation {
    /// Each element by itself, with random permutations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the permutation of the rows that all features take: row `r` takes the value of row
    /// `permutation[r]`.
    pub fn with_permutation(mut self, permutation: impl Into<Vec<usize>>) -> Self {
        self.permutation = Some(permutation.into());
        self
    }

    /// Sets which elements are one feature; every element by itself unless set.
    pub fn with_feature_mask(mut self, mask: impl Into<FeatureMask>) -> Self {
        self.mask = mask.into();
        self
    }

    /// Sets the seed of the permutations.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    crate::setters::per_eval!();

    pub(crate) fn mask(&self) -> &FeatureMask {
        &self.mask
    }

    pub(crate) fn seed(&self) -> u64 {
        self.config.seed
    }

    /// A permutation of the rows for each feature.
    pub(crate) fn permutations(
        &self,
        rows: usize,
        features: usize,
        random: &mut Random,
    ) -> Result<Vec<Vec<usize>>, Error> {
        let bad = |reason: String| {
            Err(Error::Method {
                method: "feature permutation",
                reason,
            })
        };
        if rows < 2 {
            return bad("a single row has nothing to be permuted with; give several".into());
        }
        if let Some(permutation) = &self.permutation {
            let mut sorted = permutation.clone();
            sorted.sort_unstable();
            return match sorted.into_iter().eq(0..rows) {
                true => Ok(vec![permutation.clone(); features]),
                false => bad(format!("{permutation:?} is no permutation of {rows} rows")),
            };
        }
        let one = |_| loop {
            let order = random.permutation(rows);
            if !order.iter().copied().eq(0..rows) {
                return order;
            }
        };
        Ok((0..features).map(one).collect())
    }
}

impl Method for FeaturePermutation {
    fn explain(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Explanation>, Error> {
        if !inputs.origin().iter().copied().eq(0..inputs.caller_rows()) {
            return Err(Error::Method {
                method: "feature permutation",
                reason:
                    "copies of rows, such as a noise tunnel makes, are not those of a data set; \
                         permute the rows themselves"
                        .into(),
            });
        }
        // What is absent is another row's.
        let blend = Blend::new(inputs, &self.mask, inputs.clone())?;
        let count = blend.features().count();
        let mut random = Random::new(self.config.seed);
        let orders = self.permutations(inputs.rows(), count, &mut random)?;
        let per_eval = self.config.perturbations_per_eval;
        let perturbed = Perturbed::new(model, inputs, targets, per_eval, run)?;
        if perturbed.whole_batch() && !blend.features().shared() {
            return Err(Error::Method {
                method: "a feature mask per row",
                reason: "the forward gives one value for the whole batch; give one mask for all \
                         rows"
                    .into(),
            });
        }
        let rows = perturbed.rows();
        let copies = (0..count).flat_map(|k| (0..rows).map(move |row| (row, k)));
        let found = perturbed.evaluate(&copies.collect::<Vec<_>>(), &|copies| {
            let mut present = vec![0f32; copies.len() * count];
            for (present, copy) in present.chunks_mut(count).zip(copies) {
                without(copy.1, present);
            }
            let rows: Vec<usize> = copies.iter().map(|copy| copy.0).collect();
            let from = copies.iter().map(|&(row, k)| orders[k][row]);
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
