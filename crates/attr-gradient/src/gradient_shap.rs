//! GradientSHAP, or expected gradients: the gradient at random points between random baselines and
//! the input.
//!
//! Lundberg, Lee, 2017 (<https://arxiv.org/abs/1705.07874>); Erion, Janizek, Sturmfels, Lundberg,
//! Lee, "Improving performance of deep learning models with axiomatic attribution priors and
//! expected gradients", 2019 (<https://arxiv.org/abs/1906.10670>). As Captum's `GradientShap`;
//! draws come from a seed, and the mean comes with its standard error.

use attr_core::{
    Baselines, Error, Explanation, LayerMethod, Method, Model, Random, Rebase, Run, Target, Value,
    Values, Walk, activations, fix_targets, scores, target_gradients, target_walks,
};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::deep_lift::unreached;
use crate::path::take;
use crate::rows::{Chunk, RowSums, row_sums};

/// Parameters of [`GradientShap`], under Captum's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct GradientShapConfig {
    /// Random points for each row; 5, as in Captum.
    pub n_samples: usize,
    /// Standard deviation of noise on the input (local smoothing), in units of the input: one for
    /// all inputs, or one for each that gets an attribution; 0, as in Captum.
    pub stdevs: Vec<f64>,
    /// Whether gradients are multiplied by `x - b`; true, as in Captum.
    pub multiply_by_inputs: bool,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for GradientShapConfig {
    fn default() -> Self {
        Self {
            n_samples: 5,
            stdevs: vec![0.0],
            multiply_by_inputs: true,
            seed: 0,
        }
    }
}

/// `A = E[(x' - b) ⊙ ∇f(b + α (x' - b))]` over baselines `b` drawn from a distribution,
/// `α ~ U(0, 1)` and `x' = x + N(0, stdev²)`.
///
/// Its expectation is integrated gradients averaged over the baselines. Baselines of several
/// inputs are drawn independently; they share `α`. The convergence delta is
/// `Σ A - mean(f(x') - f(b))` over the draws.
///
/// Shapes: the input's, `[batch, ...]`. `n_samples` forward and backward passes per row; for the
/// delta one forward pass per drawn baseline and one for the input.
///
/// # Errors
/// [`Error::Parameter`] for no samples or a negative deviation; [`Error::Shape`] for baselines that
/// do not fit.
///
/// ```
/// use attr_core::{Baseline, Method};
/// use attr_gradient::GradientShap;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[1.0, -2.0]], &device);
/// let known = Tensor::<2>::from_floats([[0.0, 0.0], [0.0, 1.0]], &device);
/// let model = |x: Tensor<2>| (x * 3.0).sum_dim(1);
/// let shap = GradientShap::new(Baseline::Distribution(known.into())).with_samples(20);
/// let found = shap.attribute(&model, &x, 0)?;
/// assert!(found.delta().unwrap()[0].abs() < 1e-5); // exact for a linear model
/// assert!(found.standard_error().is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GradientShap {
    config: GradientShapConfig,
    baselines: Baselines,
}

impl GradientShap {
    /// Five samples, with baselines drawn from these: a
    /// [`Baseline::Distribution`](attr_core::Baseline::Distribution), one for each input, a number.
    pub fn new(baselines: impl Into<Baselines>) -> Self {
        Self::from_config(GradientShapConfig::default(), baselines)
    }

    /// With all parameters given.
    pub fn from_config(config: GradientShapConfig, baselines: impl Into<Baselines>) -> Self {
        Self {
            config,
            baselines: baselines.into(),
        }
    }

    /// Sets the number of samples.
    pub fn with_samples(mut self, n_samples: usize) -> Self {
        self.config.n_samples = n_samples;
        self
    }

    /// Sets the deviation of the noise on the input, for all inputs or one each.
    pub fn with_stdevs(mut self, stdevs: impl Into<Vec<f64>>) -> Self {
        self.config.stdevs = stdevs.into();
        self
    }

    /// Sets whether gradients are multiplied by `x - b`.
    pub fn with_multiply_by_inputs(mut self, multiply: bool) -> Self {
        self.config.multiply_by_inputs = multiply;
        self
    }

    /// Sets the seed of the draws.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    /// The same at some layers: the gradient there, at random points between *inputs*, times the
    /// difference of the activations at the ends. As Captum's `LayerGradientShap`.
    pub fn at_layers<S: Into<String>>(
        self,
        layers: impl IntoIterator<Item = S>,
    ) -> GradientShapLayers {
        GradientShapLayers {
            method: self,
            layers: layers.into_iter().map(Into::into).collect(),
        }
    }
}

/// Where a sample lies: its row, a baseline row for each input, and how far from there.
struct Draw {
    row: usize,
    picks: Vec<usize>,
    alpha: f64,
    /// Which of the distinct baselines.
    baseline: usize,
}

impl GradientShap {
    /// All draws, row by row and sample by sample, and the distinct baselines among them.
    fn draw(
        &self,
        rows: usize,
        pools: &[Option<Value>],
        random: &mut Random,
    ) -> (Vec<Draw>, Vec<(usize, Vec<usize>)>) {
        let mut draws: Vec<Draw> = Vec::with_capacity(rows * self.config.n_samples);
        let mut distinct: Vec<(usize, Vec<usize>)> = Vec::new();
        for row in 0..rows {
            let first = distinct.len();
            for _ in 0..self.config.n_samples {
                let pick = |pool: &Option<Value>| match pool {
                    Some(pool) => random.index(pool.rows()),
                    None => 0,
                };
                let picks: Vec<usize> = pools.iter().map(pick).collect();
                let known = distinct[first..]
                    .iter()
                    .position(|(_, known)| *known == picks);
                let baseline = match known {
                    Some(known) => first + known,
                    None => {
                        distinct.push((row, picks.clone()));
                        distinct.len() - 1
                    }
                };
                let alpha = random.uniform();
                draws.push(Draw {
                    row,
                    picks,
                    alpha,
                    baseline,
                });
            }
        }
        (draws, distinct)
    }

    fn explain_rows(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        layers: Option<&[String]>,
        run: &Run<'_>,
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        let n = self.config.n_samples;
        if n == 0 || n > 1 << 20 {
            return Err(Error::Parameter {
                name: "n_samples",
                value: n.to_string(),
                expected: "at least one is needed, and at most 1048576",
            });
        }
        let stdevs = crate::noise_tunnel::deviations(&self.config.stdevs, inputs)?;
        let noise = stdevs.iter().any(|s| *s > 0.0);
        let pools = self.baselines.pools(inputs)?;
        if pools.iter().all(Option::is_none) {
            return Err(Error::NoGradient { input: 0 });
        }
        let targets = fix_targets(model, inputs, targets, run)?;
        let mut random = Random::new(self.config.seed);
        let (draws, distinct) = self.draw(inputs.rows(), &pools, &mut random);

        let names: Vec<&str> = layers.unwrap_or_default().iter().map(|l| &l[..]).collect();
        let of: Vec<usize> = distinct.iter().map(|(row, _)| *row).collect();
        let at_baselines = inputs.select(&of);
        let at_baselines = at_baselines.with(|i, _| {
            let picks: Vec<usize> = distinct.iter().map(|(_, picks)| picks[i]).collect();
            Some(pools[i].as_ref()?.select_rows(&picks))
        });
        let ends = |values: &Values| match layers {
            Some(_) => activations(model, values, &names, run),
            None => Ok(Vec::new()),
        };
        let complete = self.config.multiply_by_inputs;
        let at_inputs = scores(model, inputs, &targets, run)?;
        let (baseline_scores, baseline_ends) = match complete {
            true => (
                scores(model, &at_baselines, &targets, run)?,
                ends(&at_baselines)?,
            ),
            false => (Vec::new(), Vec::new()),
        };
        let input_ends = match complete && !noise {
            true => ends(inputs)?,
            false => Vec::new(),
        };

        let columns = layers.map_or(inputs.values().len(), <[String]>::len);
        // Behind each column of values, one of squares.
        let mut sums = RowSums::new(inputs.rows(), targets.len(), 2 * columns);
        let mut shapes: Vec<Vec<usize>> = vec![Vec::new(); columns];
        let mut changes = vec![vec![0f32; inputs.rows()]; targets.len()];
        let walk = Walk::new().to_layers(&names);
        run.start(draws.len());
        for part in draws.chunks(run.rows_at_once(model, inputs)) {
            let of: Vec<usize> = part.iter().map(|draw| draw.row).collect();
            let mut here = inputs.select(&of);
            if noise {
                here = crate::noise_tunnel::add_noise(&here, &stdevs, &mut random)?;
            }
            let mut ways: Vec<Option<Tensor<2>>> = Vec::with_capacity(pools.len());
            let mut points: Vec<Option<Value>> = Vec::with_capacity(pools.len());
            for (i, (x, pool)) in here.values().iter().zip(&pools).enumerate() {
                let Some(pool) = pool else {
                    ways.push(None);
                    points.push(None);
                    continue;
                };
                let picks: Vec<usize> = part.iter().map(|draw| draw.picks[i]).collect();
                let baseline = pool.select_rows(&picks).matrix()?;
                let way = x.matrix()? - baseline.clone();
                let alphas: Vec<f32> = part.iter().map(|draw| draw.alpha as f32).collect();
                let alphas = TensorData::new(alphas, [part.len(), 1]);
                let alphas = Tensor::<2>::from_data(alphas, &way.device()).cast(way.dtype());
                let point = baseline + way.clone() * alphas;
                points.push(Some(Value::from_matrix(point, &x.shape())));
                ways.push(Some(way));
            }
            let points = here.with(|i, _| points[i].clone());
            let found: Vec<Vec<Option<Value>>> = match layers {
                Some(layers) => {
                    let (walks, _) = target_walks(model, &points, &targets, &walk)?;
                    let walked = walks.walked.into_iter().map(|walked| walked.layers);
                    let walked: Vec<Vec<Option<Value>>> = walked.collect();
                    for (i, layer) in layers.iter().enumerate() {
                        if walked.iter().any(|walked| walked[i].is_none()) {
                            return Err(unreached(layer));
                        }
                    }
                    walked
                }
                None => target_gradients(model, &points, &targets)?.0,
            };
            if complete && layers.is_some() {
                let picked: Vec<usize> = part.iter().map(|draw| draw.baseline).collect();
                let noisy = if noise { ends(&here)? } else { Vec::new() };
                ways = Vec::with_capacity(columns);
                for (i, end) in baseline_ends.iter().enumerate() {
                    let before = take(&end.matrix()?, &picked);
                    let after = match noise {
                        true => noisy[i].matrix()?,
                        false => take(&input_ends[i].matrix()?, &of),
                    };
                    ways.push(Some(after - before));
                }
            }
            if complete {
                let here = match noise {
                    true => scores(model, &here, &targets, &run.quiet())?,
                    false => Vec::new(),
                };
                for (t, changes) in changes.iter_mut().enumerate() {
                    for (item, draw) in part.iter().enumerate() {
                        let after = match noise {
                            true => here[t][item],
                            false => at_inputs[t][draw.row],
                        };
                        changes[draw.row] += (after - baseline_scores[t][draw.baseline]) / n as f32;
                    }
                }
            }
            let chunk = Chunk::new(&of, |_| 1.0 / n as f64)?;
            for (t, found) in found.into_iter().enumerate() {
                for (column, gradient) in found.into_iter().enumerate() {
                    let Some(gradient) = gradient else { continue };
                    let mut value = gradient.matrix()?;
                    if let (true, Some(way)) = (complete, &ways[column]) {
                        value = value * way.clone();
                    }
                    shapes[column] = gradient.shape();
                    sums.add(t, columns + column, value.clone().powi_scalar(2), &chunk);
                    sums.add(t, column, value, &chunk);
                }
            }
            run.advance(part.len());
        }

        let results = sums.finish().into_iter().zip(at_inputs).zip(changes);
        results
            .map(|((mut means, scores), changes)| {
                let squares = means.split_off(columns);
                let mut explanations = Vec::with_capacity(columns);
                for ((mean, square), shape) in means.into_iter().zip(squares).zip(&shapes) {
                    let (Some(mean), Some(square)) = (mean, square) else {
                        explanations.push((None, None, Vec::new()));
                        continue;
                    };
                    let mut shape = shape.clone();
                    shape[0] = inputs.rows();
                    let error = (n > 1).then(|| {
                        // `Σ (a - mean)² / (n - 1)`, over `n`.
                        let variance = (square - mean.clone().powi_scalar(2)).clamp_min(0.0);
                        let error = (variance / (n - 1) as f64).sqrt();
                        Value::from_matrix(error, &shape)
                    });
                    let sum = row_sums(mean.clone())?;
                    explanations.push((Some(Value::from_matrix(mean, &shape)), error, sum));
                }
                let delta = |sums: &[&Vec<f32>]| -> Option<Vec<f32>> {
                    let rows = changes.iter().enumerate();
                    let deltas = rows.map(|(row, change)| {
                        sums.iter().filter_map(|s| s.get(row)).sum::<f32>() - change
                    });
                    complete.then(|| deltas.collect())
                };
                if layers.is_some() {
                    let each = explanations
                        .into_iter()
                        .map(|(value, error, sum)| Explanation {
                            delta: delta(&[&sum]),
                            standard_error: error.map(|error| vec![Some(error)]),
                            ..Explanation::new(vec![value], scores.clone())
                        });
                    return Ok(each.collect());
                }
                let sums: Vec<&Vec<f32>> = explanations.iter().map(|(_, _, sum)| sum).collect();
                let delta = delta(&sums);
                let (values, errors): (Vec<_>, Vec<_>) =
                    explanations.into_iter().map(|(v, e, _)| (v, e)).unzip();
                Ok(vec![Explanation {
                    delta,
                    standard_error: (n > 1).then_some(errors),
                    ..Explanation::new(values, scores)
                }])
            })
            .collect()
    }
}

impl Method for GradientShap {
    fn explain(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Explanation>, Error> {
        let found = self.explain_rows(model, inputs, targets, None, run)?;
        Ok(found.into_iter().flatten().collect())
    }

    fn rebased(&self, map: &Rebase<'_>) -> Result<Option<Box<dyn Method>>, Error> {
        let mut method = self.clone();
        method.baselines = map(&self.baselines)?;
        Ok(Some(Box::new(method)))
    }
}

/// [`GradientShap`] at some layers.
#[derive(Clone, Debug)]
pub struct GradientShapLayers {
    method: GradientShap,
    layers: Vec<String>,
}

impl LayerMethod for GradientShapLayers {
    fn layers(&self) -> &[String] {
        &self.layers
    }

    fn explain_layers(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        let layers = Some(&self.layers[..]);
        self.method
            .explain_rows(model, inputs, targets, layers, run)
    }
}
