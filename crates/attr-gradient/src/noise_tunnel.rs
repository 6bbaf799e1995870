//! Noise tunnel: statistics of an attribution over noisy copies of the input.
//!
//! SmoothGrad: Smilkov et al., 2017 (<https://arxiv.org/abs/1706.03825>). VarGrad: Adebayo et al.,
//! 2018 (<https://arxiv.org/abs/1810.03307>). SmoothGrad²: Hooker et al., 2019
//! (<https://arxiv.org/abs/1806.10758>). As Captum's `NoiseTunnel`, except that VarGrad is the
//! unbiased variance, and that noise comes from a seed.

use attr_core::{
    Error, Explanation, LayerMethod, Method, Model, Random, Rebase, Run, Target, Value, Values,
    fix_targets, scores,
};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::rows::{Moment, Moments};

/// What is taken over the noisy copies.
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
    /// What is taken over the noisy copies; the mean, as in Captum.
    pub nt_type: NoiseTunnelKind,
    /// Noisy copies of each row; 5, as in Captum.
    pub nt_samples: usize,
    /// Standard deviation of the noise, in units of the input: one for all inputs, or one for
    /// each that gets an attribution; 1, as in Captum.
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

/// Statistics of another method's attribution over `nt_samples` copies of the input with normal
/// noise, `a(x + ε)` with `ε ~ N(0, stdev²)`.
///
/// Around a [`LayerMethod`] the noise is on the inputs and the attribution at the layers. A mean
/// comes with its standard error.
///
/// Shapes: those of the method. `nt_samples` times the work of the method, and one forward pass.
/// The same seed gives the same noise whatever the device and the memory budget.
///
/// # Errors
/// [`Error::Parameter`] for no samples (VarGrad needs two), a negative deviation or a wrong number
/// of deviations; the method's own.
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
    /// The mean of `method` over five copies with unit noise.
    pub fn new(method: M) -> Self {
        Self::from_config(method, NoiseTunnelConfig::default())
    }

    /// `method` with all parameters given.
    pub fn from_config(method: M, config: NoiseTunnelConfig) -> Self {
        Self { method, config }
    }

    /// Sets what is taken over the noisy copies.
    pub fn with_kind(mut self, kind: NoiseTunnelKind) -> Self {
        self.config.nt_type = kind;
        self
    }

    /// Sets the number of noisy copies.
    pub fn with_samples(mut self, nt_samples: usize) -> Self {
        self.config.nt_samples = nt_samples;
        self
    }

    /// Sets the standard deviation of the noise, for all inputs or one each.
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

/// The deviation of each input, of those given; zero for those without attribution.
pub(crate) fn deviations(stdevs: &[f64], inputs: &Values) -> Result<Vec<f64>, Error> {
    let bad = |expected| Error::Parameter {
        name: "stdevs",
        value: format!("{stdevs:?}"),
        expected,
    };
    if stdevs.iter().any(|s| !(*s >= 0.0 && s.is_finite())) {
        return Err(bad("each must be a number of at least 0"));
    }
    let count = inputs.values().len();
    let attributed: Vec<usize> = (0..count).filter(|&i| inputs.attributed(i)).collect();
    if stdevs.len() != 1 && stdevs.len() != attributed.len() {
        return Err(bad(
            "give one for all inputs, or one for each that gets an attribution",
        ));
    }
    let mut result = vec![0.0; count];
    for (n, &i) in attributed.iter().enumerate() {
        result[i] = stdevs[if stdevs.len() == 1 { 0 } else { n }];
    }
    Ok(result)
}

impl<M: Method> Method for NoiseTunnel<M> {
    fn explain(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Explanation>, Error> {
        let columns = inputs.values().len();
        self.tunnel(
            model,
            inputs,
            targets,
            columns,
            run,
            &|noisy, targets, run| {
                let found = self.method.explain(model, noisy, targets, run)?;
                Ok(found.into_iter().map(|found| found.values).collect())
            },
        )
    }

    fn rebased(&self, map: &Rebase<'_>) -> Result<Option<Box<dyn Method>>, Error> {
        let Some(method) = self.method.rebased(map)? else {
            return Ok(None);
        };
        let config = self.config.clone();
        Ok(Some(Box::new(NoiseTunnel { method, config })))
    }
}

/// The noise is on the inputs, the attribution at the layers.
impl<M: LayerMethod> LayerMethod for NoiseTunnel<M> {
    fn layers(&self) -> &[String] {
        self.method.layers()
    }

    fn explain_layers(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        if (0..inputs.values().len()).all(|i| !inputs.attributed(i)) {
            return Err(Error::Method {
                method: "the noise tunnel",
                reason: "the inputs are integers, which take no noise; put it inside, around the \
                         method at the layer"
                    .into(),
            });
        }
        let columns = self.layers().len();
        let found = self.tunnel(
            model,
            inputs,
            targets,
            columns,
            run,
            &|noisy, targets, run| {
                let found = self.method.explain_layers(model, noisy, targets, run)?;
                let values = found.into_iter().map(|layers| {
                    let layers = layers.into_iter();
                    layers.flat_map(|layer| layer.values).collect()
                });
                Ok(values.collect())
            },
        )?;
        let each = found.into_iter().map(|whole| {
            let errors = whole.standard_error.unwrap_or_default().into_iter();
            let errors = errors.map(Some).chain(std::iter::repeat(None));
            let pairs = whole.values.into_iter().zip(errors);
            let layers = pairs.map(|(value, error)| Explanation {
                standard_error: error.map(|error| vec![error]),
                ..Explanation::new(vec![value], whole.scores.clone())
            });
            layers.collect()
        });
        Ok(each.collect())
    }
}

/// Explains noisy copies: per target, a value for each column.
type Inner<'a> =
    dyn Fn(&Values, &[Target], &Run<'_>) -> Result<Vec<Vec<Option<Value>>>, Error> + 'a;

impl<M> NoiseTunnel<M> {
    fn tunnel(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        columns: usize,
        run: &Run<'_>,
        inner: &Inner<'_>,
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
                expected: "at least one is needed, two for vargrad, and at most 1048576",
            });
        }
        let stdevs = deviations(&self.config.stdevs, inputs)?;
        let targets = fix_targets(model, inputs, targets, run)?;
        let at_inputs = scores(model, inputs, &targets, run)?;

        // Rows times copies are one list; the method cuts its own work to the budget.
        let rows = inputs.rows();
        let items: Vec<(usize, usize)> = (0..rows)
            .flat_map(|row| (0..n).map(move |copy| (row, copy)))
            .collect();
        let mut random = Random::new(self.config.seed);
        let mut moments = Moments::new(rows, n, targets.len(), columns);
        let mut shapes: Vec<Vec<usize>> = vec![Vec::new(); columns];
        run.start(items.len());
        for part in items.chunks(run.rows_at_once(model, inputs)) {
            let of: Vec<usize> = part.iter().map(|item| item.0).collect();
            let noisy = add_noise(&inputs.select(&of), &stdevs, &mut random)?;
            let explained = inner(&noisy, &targets, &run.quiet())?;
            for (target, values) in explained.into_iter().enumerate() {
                for (column, value) in values.into_iter().enumerate() {
                    if let Some(value) = value {
                        shapes[column] = value.shape();
                        moments.add(target, column, value.matrix()?, part)?;
                    }
                }
            }
            run.advance(part.len());
        }
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
                // Of a mean it is known how far off it may be.
                let error = n > 1 && self.config.nt_type == NoiseTunnelKind::SmoothGrad;
                errors.push(error.then(|| {
                    let error = (moment.variance.clone() / (n - 1) as f64).sqrt();
                    Value::from_matrix(error, &shape)
                }));
                values.push(Some(Value::from_matrix(self.reduce(moment), &shape)));
            }
            let known = errors.iter().any(Option::is_some);
            Explanation {
                standard_error: known.then_some(errors),
                ..Explanation::new(values, scores)
            }
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

/// Noise is drawn copy by copy and input by input, so that it does not depend on the chunks.
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
