//! Feature ablation: how much the output changes when a feature is replaced by its baseline.
//!
//! Follows Captum's `FeatureAblation`; at layers, through [`attr_core::AtLayers`], its
//! `LayerFeatureAblation`; and on a model up to a layer, its `NeuronFeatureAblation`. Zeiler,
//! Fergus, 2013 (<https://arxiv.org/abs/1311.2901>) occlude regions in the same way.

use attr_core::perturb::Masked;
use attr_core::{BaselineUse, Error, Explanation, FeatureMask, Method, Question};
use serde::{Deserialize, Serialize};

use crate::setters::setters;

/// Parameters of [`FeatureAblation`], under Captum's names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FeatureAblationConfig {
    /// Perturbed copies of the batch evaluated together; by default, as many as memory allows.
    pub perturbations_per_eval: Option<usize>,
}

/// Computes `A_i = f(x) - f(x with feature i replaced by its baseline)` and writes it to every
/// element of the feature.
///
/// Shapes: the input's, `[batch, ...]`, in units of the output; `[1, ...]` where the forward gives
/// one value for the whole batch. Integer inputs such as tokens are explained, too. One forward
/// pass for the inputs and one per feature and row; with a distribution of baselines, one per
/// feature, row and baseline.
///
/// At a layer, the baseline and the mask are given for its activation, as in Captum's
/// `LayerFeatureAblation`.
///
/// # Errors
/// [`Error::FeatureMask`] and [`Error::Shape`] for masks and baselines that do not fit,
/// [`Error::WholeBatch`], [`Error::NonFinite`] where the model gives NaN.
///
/// ```
/// use attr_core::{AtLayers, LayerMethod, Method, Traced};
/// use attr_perturb::FeatureAblation;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Int, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[1.0, -2.0, 3.0]], &device);
/// let groups = Tensor::<2, Int>::from_ints([[0, 0, 1]], &device);
/// let model = |x: Tensor<2>| x.powi_scalar(2).sum_dim(1);
/// let found = FeatureAblation::new().with_feature_mask(groups).attribute(&model, &x, 0)?;
/// assert_eq!(found.attribution().into_data().try_to_vec::<f32>().unwrap(), [5.0, 5.0, 9.0]);
///
/// let net: Linear = LinearConfig::new(3, 4).init(&device);
/// let model = Traced::new(&net, |n: &Linear, x| n.forward(x).tanh().sum_dim(1), &x)?;
/// let layer = model.layers()[0].name.clone();
/// let units = AtLayers::new([layer.clone()], FeatureAblation::new()).attribute(&model, &x, 0)?;
/// assert_eq!(units.tensor::<2>(&layer)?.dims(), [1, 4]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct FeatureAblation {
    config: FeatureAblationConfig,
    mask: FeatureMask,
}

impl FeatureAblation {
    /// Creates the method with each element as a feature and zero as baseline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: FeatureAblationConfig) -> Self {
        self.config = config;
        self
    }

    setters!(mask, perturbations_per_eval);

    pub(crate) fn mask(&self) -> &FeatureMask {
        &self.mask
    }
}

impl Method for FeatureAblation {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let per_eval = self.config.perturbations_per_eval;
        let masked = Masked::new(question, &self.mask, per_eval)?;
        let mut values = masked.without_each()?;
        for (values, scores) in values.iter_mut().zip(masked.scores()) {
            for (values, &score) in values.iter_mut().zip(scores) {
                for value in values {
                    *value = f64::from(score) - *value;
                }
            }
        }
        Ok(masked.explanations(&values, None))
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Perturbation
    }
}
