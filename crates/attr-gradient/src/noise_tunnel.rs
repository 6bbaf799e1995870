//! Noise tunnel: statistics of an attribution over noisy copies of the input.
//!
//! SmoothGrad: Smilkov et al., 2017 (<https://arxiv.org/abs/1706.03825>). VarGrad: Adebayo et al.,
//! 2018 (<https://arxiv.org/abs/1810.03307>). SmoothGrad²: Hooker et al., 2019
//! (<https://arxiv.org/abs/1806.10758>). Matches Captum's `NoiseTunnel`, except that VarGrad is the
//! unbiased variance and that the noise is seeded.

use attr_core::build::Random;
use attr_core::perturb::widened;
use attr_core::{
    BaselineUse, Baselines, Error, Explanation, LayerMethod, Method, Question, Value, Values,
};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::rows::{Moment, Moments, samples_of};

/// The statistic taken over the noisy copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NoiseTunnelKind {
    /// The mean, `E[a]`.
    #[default]
    #[serde(rename = "smoothgrad")]
    SmoothGrad,
    /// The mean square, `E[a²]`.
    #[serde(rename = "smoothgrad_sq")]
    SmoothGradSq,
    /// The variance, `Σ (a - E[a])² / (n - 1)`.
    #[serde(rename = "vargrad")]
    VarGrad,
}

/// Parameters of [`NoiseTunnel`], under Captum's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct NoiseTunnelConfig {
    /// The statistic taken over the noisy copies; default the mean, as in Captum.
    pub nt_type: NoiseTunnelKind,
    /// Number of noisy copies per row; default 5, as in Captum.
    pub nt_samples: usize,
    /// Standard deviation of the noise, in units of the input: one for all inputs, or one per
    /// attributed input; default 1, as in Captum.
    pub stdevs: Vec<f64>,
    /// Seed of the noise.
    pub seed: u64,
}

impl Default for NoiseTunnelConfig {
    fn default() -> Self {
        Self {
            nt_type: NoiseTunnelKind::default(),
            nt_samples: 5,
            stdevs: vec![1.0],
            seed: 0,
        }
    }
}

/// Computes a statistic of another method's attribution `a(x + ε)` over `nt_samples` noisy copies
/// of the input, with `ε ~ N(0, stdev²)`.
///
/// Around a [`LayerMethod`], the noise is added to the inputs and the attribution is at the layers.
/// A mean comes with its standard error.
///
/// Shapes: those of the method. `nt_samples` times the work of the method, and one forward pass.
/// The same seed gives the same noise, regardless of the device and the memory budget.
///
/// # Errors
/// [`Error::Parameter`] for no samples (VarGrad needs two), a negative deviation or a wrong number
/// of deviations; the errors of the method.
///
/// ```
/// use attr_core::Method;
/// use attr_gradient::{NoiseTunnel, Saliency};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let x = Tensor::<2>::from_floats([[1.0, -2.0]], &Device::default());
/// let model = |x: Tensor<2>| (x * 3.0).sum_dim(1);
/// let smooth = NoiseTunnel::new(Saliency::new()).with_samples(10).with_seed(7);
/// let smooth = smooth.attribute(&model, &x, 0)?;
/// // A linear function's gradient is the same everywhere, noise or not.
/// assert_eq!(smooth.values()[0].as_ref().unwrap().to_vec()?, [3.0, 3.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct NoiseTunnel<M> {
    method: M,
    config: NoiseTunnelConfig,
}

impl<M> NoiseTunnel<M> {
    /// Creates the mean of `method` over five copies with unit noise.
    pub fn new(method: M) -> Self {
        Self {
            method,
            config: NoiseTunnelConfig::default(),
        }
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: NoiseTunnelConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the statistic taken over the noisy copies.
    pub fn with_kind(mut self, kind: NoiseTunnelKind) -> Self {
        self.config.nt_type = kind;
        self
    }

    /// Sets the number of noisy copies.
    pub fn with_samples(mut self, nt_samples: usize) -> Self {
        self.config.nt_samples = nt_samples;
        self
    }

    /// Sets the standard deviation of the noise: one for all inputs, or one per attributed input.
    pub fn with_stdevs(mut self, stdevs: impl Into<Vec<f64>>) -> Self {
        self.config.stdevs = stdevs.into();
        self
    }

    /// Sets the seed of the noise.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }
}

/// Returns the standard deviation for each input; zero for inputs without attribution.
pub(crate) fn deviations(stdevs: &[f64], inputs: &Values) -> Result<Vec<f64>, Error> {
    let bad = |expected| Error::Parameter {
        name: "stdevs",
        value: format!("{stdevs:?}"),
        expected,
    };
    if stdevs.iter().any(|s| !(*s >= 0.0 && s.is_finite())) {
        return Err(bad("each must be finite and at least 0"));
    }
    let count = inputs.values().len();
    let attributed: Vec<usize> = (0..count).filter(|&i| inputs.attributed(i)).collect();
    if stdevs.len() != 1 && stdevs.len() != attributed.len() {
        return Err(bad("give one for all inputs, or one per attributed input"));
    }
    let mut result = vec![0.0; count];
    for (n, &i) in attributed.iter().enumerate() {
        result[i] = stdevs[if stdevs.len() == 1 { 0 } else { n }];
    }
    Ok(result)
}

impl<M: Method> Method for NoiseTunnel<M> {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let columns = question.inputs().values().len();
        self.tunnel(question, columns, |noisy| {
            let found = self.method.explain(noisy)?;
            Ok(found.into_iter().map(|found| found.values).collect())
        })
    }

    fn baseline_use(&self) -> BaselineUse {
        self.method.baseline_use()
    }

    fn own_baselines(&self) -> Option<&Baselines> {
        self.method.own_baselines()
    }
}

impl<M: LayerMethod> LayerMethod for NoiseTunnel<M> {
    fn layers(&self) -> &[String] {
        self.method.layers()
    }

    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error> {
        let inputs = question.inputs();
        if (0..inputs.values().len()).all(|i| !inputs.attributed(i)) {
            return Err(Error::Method {
                method: "the noise tunnel",
                reason: "the inputs are integers, which take no noise; put it around the method, \
                         inside `at_layers`"
                    .into(),
            });
        }
        let found = self.tunnel(question, self.layers().len(), |noisy| {
            let found = self.method.explain_at(noisy)?.into_iter();
            let values = found.map(|layers| layers.into_iter().flat_map(|layer| layer.values));
            Ok(values.map(Iterator::collect).collect())
        })?;
        Ok(found.into_iter().map(Explanation::split).collect())
    }

    fn baseline_use(&self) -> BaselineUse {
        self.method.baseline_use()
    }
}

impl<M> NoiseTunnel<M> {
    /// Computes the statistic over what `inner` finds for all noisy copies, `[target][column]`.
    fn tunnel(
        &self,
        question: &Question<'_>,
        columns: usize,
        inner: impl Fn(&Question<'_>) -> Result<Vec<Vec<Option<Value>>>, Error>,
    ) -> Result<Vec<Explanation>, Error> {
        let n = self.config.nt_samples;
        let least = match self.config.nt_type {
            NoiseTunnelKind::VarGrad => 2,
            _ => 1,
        };
        if n < least || n > 1 << 20 {
            return Err(Error::Parameter {
                name: "nt_samples",
                value: n.to_string(),
                expected: "at least one is needed, two for vargrad, and at most 1048576 allowed",
            });
        }
        let inputs = question.inputs();
        let stdevs = deviations(&self.config.stdevs, inputs)?;
        let question = question.with_fixed_targets()?;
        let at_inputs = question.scores()?;

        // The method splits its own work to fit the budget.
        let rows = inputs.rows();
        let mut random = Random::new(self.config.seed);
        let mut moments = Moments::new(rows, n, question.targets().len(), columns);
        let mut shapes: Vec<Vec<usize>> = vec![Vec::new(); columns];
        question.for_items(rows * n, samples_of(rows, n), 1, |part| {
            let of: Vec<usize> = part.iter().map(|item| item.0).collect();
            let noisy = add_noise(&inputs.select(&of), &stdevs, &mut random)?;
            let explained = inner(&question.with_inputs(noisy).quiet())?;
            for (target, values) in explained.into_iter().enumerate() {
                for (column, value) in values.into_iter().enumerate() {
                    if let Some(value) = value {
                        shapes[column] = value.shape();
                        moments.add(target, column, value.matrix()?, part)?;
                    }
                }
            }
            Ok(())
        })?;
        let found = moments.finish().into_iter().zip(at_inputs);
        let found = found.map(|(moments, scores)| {
            let (mut values, mut errors) = (Vec::new(), Vec::new());
            for (moment, shape) in moments.into_iter().zip(&shapes) {
                let Some(moment) = moment else {
                    values.push(None);
                    errors.push(None);
                    continue;
                };
                let mut shape = shape.clone();
                shape[0] = rows;
                // Only a mean has a standard error.
                let mean = self.config.nt_type == NoiseTunnelKind::SmoothGrad;
                errors.push(widened(n).filter(|_| mean).map(|widened| {
                    let error = (moment.variance.clone() / (n - 1) as f64).sqrt() * widened;
                    Value::from_matrix(error, &shape)
                }));
                values.push(Some(Value::from_matrix(self.reduce(moment), &shape)));
            }
            let known = errors.iter().any(Option::is_some);
            Explanation::new(values, scores).with_standard_error(known.then_some(errors))
        });
        Ok(found.collect())
    }

    fn reduce(&self, Moment { mean, variance }: Moment) -> Tensor<2> {
        let n = self.config.nt_samples;
        match self.config.nt_type {
            NoiseTunnelKind::SmoothGrad => mean,
            NoiseTunnelKind::SmoothGradSq => mean.clone() * mean + variance,
            NoiseTunnelKind::VarGrad => variance * (n as f64 / (n - 1) as f64),
        }
    }
}

/// Adds noise to copies of the inputs.
///
/// It is drawn copy by copy and input by input, so that it does not depend on the chunks.
pub(crate) fn add_noise(
    copies: &Values,
    stdevs: &[f64],
    random: &mut Random,
) -> Result<Values, Error> {
    let mut noise: Vec<Vec<f32>> = vec![Vec::new(); stdevs.len()];
    for _ in 0..copies.rows() {
        for (i, value) in copies.values().iter().enumerate() {
            if copies.attributed(i) {
                let elements = value.shape()[1..].iter().product();
                noise[i].extend(random.normal(elements));
            }
        }
    }
    let mut noisy: Vec<Option<Value>> = Vec::with_capacity(stdevs.len());
    for (i, (value, noise)) in copies.values().iter().zip(noise).enumerate() {
        if !copies.attributed(i) {
            noisy.push(None);
            continue;
        }
        let noise = Value::from_data(TensorData::new(noise, value.shape()), &value.device());
        let noise = noise.matrix()?.cast(value.dtype());
        let sum = value.matrix()? + noise * stdevs[i];
        noisy.push(Some(Value::from_matrix(sum, &value.shape())));
    }
    Ok(copies.with(|i, _| noisy[i].clone()))
}
