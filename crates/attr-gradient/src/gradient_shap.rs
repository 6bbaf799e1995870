//! GradientSHAP, or expected gradients: the gradient at random points between random baselines and
//! the input.
//!
//! Lundberg, Lee, 2017 (<https://arxiv.org/abs/1705.07874>); Erion, Janizek, Sturmfels, Lundberg,
//! Lee, "Improving performance of deep learning models with axiomatic attribution priors and
//! expected gradients", 2019 (<https://arxiv.org/abs/1906.10670>). Matches Captum's `GradientShap`;
//! draws are seeded, and the mean comes with its standard error.

use std::collections::HashMap;

use attr_core::build::{Random, on_the_rest};
use attr_core::perturb::widened;
use attr_core::walk::{GradientEverywhere, Keep, Plan, Walk};
use attr_core::{BaselineUse, Error, Explanation, Method, Question, Value, Values};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::layer::names;
use crate::path::{no_path, take};
use crate::rows::{Moment, Moments, row_sums, samples_of};

/// Parameters of [`GradientShap`], under Captum's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct GradientShapConfig {
    /// Number of random points per row; default 5, as in Captum.
    pub n_samples: usize,
    /// Standard deviation of the noise on the input (local smoothing), in units of the input: one
    /// for all inputs, or one per attributed input; default 0, as in Captum.
    pub stdevs: Vec<f64>,
    /// Whether gradients are multiplied by `x - b`; default true, as in Captum.
    pub multiply_by_inputs: bool,
    /// Seed of the random draws.
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

/// Computes `A = E[(x' - b) ⊙ ∇f(b + α (x' - b))]` over baselines `b` drawn from a distribution,
/// `α ~ U(0, 1)` and `x' = x + N(0, stdev²)`.
///
/// The expectation equals integrated gradients averaged over the baselines. The baselines of
/// several inputs are drawn independently, but share `α`. The convergence delta is
/// `Σ A - mean(f(x') - f(b))` over the draws.
///
/// Shapes: the input's, `[batch, ...]`. `n_samples` forward and backward passes per row. The delta
/// takes one forward pass per drawn baseline and one for the input (one per sample with smoothing).
///
/// # Errors
/// [`Error::Parameter`] for no samples or a negative deviation; [`Error::Shape`] for baselines that
/// do not fit; [`Error::Method`] for inputs of integers.
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
/// let shap = GradientShap::new().with_samples(20).with_baseline(Baseline::Distribution(known.into()));
/// let found = shap.attribute(&model, &x, 0)?;
/// assert!(found.delta().unwrap()[0].abs() < 1e-5); // exact for a linear model
/// assert!(found.standard_error().is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GradientShap {
    config: GradientShapConfig,
}

impl GradientShap {
    /// Creates the method with five samples.
    ///
    /// Baselines are drawn from those given: a
    /// [`Baseline::Distribution`](attr_core::Baseline::Distribution), one per input, or a number.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: GradientShapConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the number of samples.
    pub fn with_samples(mut self, n_samples: usize) -> Self {
        self.config.n_samples = n_samples;
        self
    }

    /// Sets the standard deviation of the noise: one for all inputs, or one per attributed input.
    pub fn with_stdevs(mut self, stdevs: impl Into<Vec<f64>>) -> Self {
        self.config.stdevs = stdevs.into();
        self
    }

    /// Sets whether gradients are multiplied by `x - b`.
    pub fn with_multiply_by_inputs(mut self, multiply: bool) -> Self {
        self.config.multiply_by_inputs = multiply;
        self
    }

    /// Sets the seed of the random draws.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }
}

/// A sample: its row and its number there, a baseline row for each input, and its position `alpha`
/// between baseline and input.
struct Draw {
    item: (usize, usize),
    picks: Vec<usize>,
    alpha: f64,
}

impl Draw {
    /// What decides its baseline.
    fn baseline(&self) -> (usize, Vec<usize>) {
        (self.item.0, self.picks.clone())
    }
}

impl GradientShap {
    /// Iterates over all draws, row by row and sample by sample.
    fn draws(
        &self,
        rows: usize,
        pools: &[Option<Value>],
        mut random: Random,
    ) -> impl Iterator<Item = Draw> {
        let lengths: Vec<Option<usize>> = pools
            .iter()
            .map(|pool| pool.as_ref().map(Value::rows))
            .collect();
        samples_of(rows, self.config.n_samples).map(move |item| {
            let pick = |length: &Option<usize>| length.map_or(0, |length| random.index(length));
            Draw {
                item,
                picks: lengths.iter().map(pick).collect(),
                alpha: random.uniform(),
            }
        })
    }

    fn explain_rows(
        &self,
        question: &Question<'_>,
        layers: Option<&[String]>,
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        let n = self.config.n_samples;
        if n == 0 || n > 1 << 20 {
            return Err(Error::Parameter {
                name: "n_samples",
                value: n.to_string(),
                expected: "at least one is needed and at most 1048576 are allowed",
            });
        }
        let inputs = question.inputs();
        let stdevs = crate::noise_tunnel::deviations(&self.config.stdevs, inputs)?;
        let noise = stdevs.iter().any(|s| *s > 0.0);
        let pools = question.baselines().pools(inputs, false)?;
        if pools.iter().all(Option::is_none) {
            return Err(no_path("GradientSHAP"));
        }
        let question = question.with_fixed_targets()?;
        let (rows, targets) = (inputs.rows(), question.targets().len());
        let draws = self.draws(rows, &pools, Random::new(self.config.seed));
        // A stream of its own: a row's noise depends on the rows before it alone.
        let mut random = Random::stream(self.config.seed, 1);
        let names = names(layers.unwrap_or_default());
        let complete = self.config.multiply_by_inputs;
        let plan = match layers {
            Some(layers) => {
                let plan = question.plan_at(&GradientEverywhere, layers)?;
                Some(plan.to_layers(layers)?)
            }
            None => None,
        };
        let ends = Ends {
            question: &question,
            layers: layers.unwrap_or_default(),
            plan: plan.as_ref(),
        };
        let at_inputs = question.scores()?;
        let input_ends = match layers {
            Some(layers) if complete && !noise => question.activations(layers)?,
            _ => Vec::new(),
        };

        let columns = layers.map_or(inputs.values().len(), <[String]>::len);
        let mut moments = Moments::new(rows, n, targets, columns);
        let mut shapes: Vec<Vec<usize>> = vec![Vec::new(); columns];
        let mut changes = vec![vec![0f32; rows]; targets];
        let mut before = Before::default();
        question.for_items(rows * n, draws, 1, |part| {
            let of: Vec<usize> = part.iter().map(|draw| draw.item.0).collect();
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
            let found: Vec<Vec<Option<Value>>> = match (layers, &plan) {
                (Some(layers), Some(plan)) => {
                    let pass = question.pass(&points, None, plan)?;
                    let chosen = question.chosen(&pass.output()?, &points)?.into_iter();
                    let walked = chosen.map(|chosen| {
                        let walk = Walk::from_output(chosen.seed).keep(Keep::Layers(&names));
                        let found = pass.walk(walk)?.reached(layers)?;
                        Ok(found.into_iter().map(Some).collect())
                    });
                    walked.collect::<Result<_, Error>>()?
                }
                _ => question.gradients(&points)?.gradients,
            };
            if complete {
                // With one baseline for each row, those of the chunk before often serve again.
                let known = |draw: &Draw| before.numbers.contains_key(&draw.baseline());
                if !part.iter().all(known) {
                    before = ends.before(part, inputs, &pools)?;
                }
                let which = part.iter().map(|draw| before.numbers[&draw.baseline()]);
                let which: Vec<usize> = which.collect();
                let (after, activations_after) = if noise {
                    ends.of(&here)?
                } else {
                    (Vec::new(), Vec::new())
                };
                for (t, changes) in changes.iter_mut().enumerate() {
                    for (i, &row) in of.iter().enumerate() {
                        let after = if noise {
                            after[t][i]
                        } else {
                            at_inputs[t][row]
                        };
                        changes[row] += (after - before.scores[t][which[i]]) / n as f32;
                    }
                }
                if layers.is_some() {
                    let mut between = Vec::with_capacity(columns);
                    for (i, before) in before.activations.iter().enumerate() {
                        let after = if noise {
                            activations_after[i].matrix()?
                        } else {
                            take(&input_ends[i].matrix()?, &of)
                        };
                        between.push(Some(after - take(&before.matrix()?, &which)));
                    }
                    ways = between;
                }
            }
            let items: Vec<(usize, usize)> = part.iter().map(|draw| draw.item).collect();
            for (t, found) in found.into_iter().enumerate() {
                for (column, gradient) in found.into_iter().enumerate() {
                    let Some(gradient) = gradient else { continue };
                    let mut value = gradient.matrix()?;
                    if let (true, Some(way)) = (complete, &ways[column]) {
                        value = value * way.clone();
                    }
                    shapes[column] = gradient.shape();
                    moments.add(t, column, value, &items)?;
                }
            }
            Ok(())
        })?;

        let results = moments.finish().into_iter().zip(at_inputs).zip(changes);
        let widened = widened(n);
        results
            .map(|((moments, scores), changes)| {
                let mut values = Vec::with_capacity(columns);
                let mut errors = Vec::with_capacity(columns);
                let mut sums: Vec<Vec<f32>> = Vec::with_capacity(columns);
                for (moment, shape) in moments.into_iter().zip(&shapes) {
                    let Some(Moment { mean, variance }) = moment else {
                        values.push(None);
                        errors.push(None);
                        sums.push(Vec::new());
                        continue;
                    };
                    let mut shape = shape.clone();
                    shape[0] = rows;
                    sums.push(row_sums(mean.clone())?);
                    values.push(Some(Value::from_matrix(mean, &shape)));
                    errors.push(widened.map(|widened| {
                        let error = (variance / (n - 1) as f64).sqrt() * widened;
                        Value::from_matrix(error, &shape)
                    }));
                }
                let delta = |sums: &[Vec<f32>]| -> Option<Vec<f32>> {
                    let rows = changes.iter().enumerate();
                    let deltas = rows.map(|(row, change)| {
                        sums.iter().filter_map(|s| s.get(row)).sum::<f32>() - change
                    });
                    complete.then(|| deltas.collect())
                };
                if layers.is_some() {
                    let each = values.into_iter().zip(errors).zip(&sums);
                    let each = each.map(|((value, error), sum)| {
                        Explanation::new(vec![value], scores.clone())
                            .with_delta(delta(std::slice::from_ref(sum)))
                            .with_standard_error(error.map(|error| vec![Some(error)]))
                    });
                    return Ok(each.collect());
                }
                let whole = Explanation::new(values, scores)
                    .with_delta(delta(&sums))
                    .with_standard_error(widened.map(|_| errors));
                Ok(vec![whole])
            })
            .collect()
    }
}

/// What the model computes at the baselines of some draws.
#[derive(Default)]
struct Before {
    /// For each row and its picks, the number of its baseline.
    numbers: HashMap<(usize, Vec<usize>), usize>,
    scores: Vec<Vec<f32>>,
    activations: Vec<Value>,
}

/// Evaluates the ends of paths: the targets' scores and, if there are any, the layers' activations.
struct Ends<'a> {
    question: &'a Question<'a>,
    layers: &'a [String],
    plan: Option<&'a Plan>,
}

impl Ends<'_> {
    /// Evaluates the baselines of some draws, each once per row that drew it.
    fn before(
        &self,
        part: &[Draw],
        inputs: &Values,
        pools: &[Option<Value>],
    ) -> Result<Before, Error> {
        let mut numbers = HashMap::new();
        let mut firsts: Vec<&Draw> = Vec::new();
        for draw in part {
            numbers.entry(draw.baseline()).or_insert_with(|| {
                firsts.push(draw);
                firsts.len() - 1
            });
        }
        let of: Vec<usize> = firsts.iter().map(|draw| draw.item.0).collect();
        let baselines = inputs.select(&of).with(|i, _| {
            let picks: Vec<usize> = firsts.iter().map(|draw| draw.picks[i]).collect();
            Some(pools[i].as_ref()?.select_rows(&picks))
        });
        let (scores, activations) = self.of(&baselines)?;
        Ok(Before {
            numbers,
            scores,
            activations,
        })
    }

    /// Returns scores, `[target][row]`, and activations from one forward pass.
    fn of(&self, values: &Values) -> Result<(Vec<Vec<f32>>, Vec<Value>), Error> {
        let (output, activations) = match self.plan {
            None => (self.question.forward(values)?, Vec::new()),
            Some(plan) => {
                let pass = self.question.pass(values, None, plan)?;
                let layers = self.layers.iter().map(|layer| pass.activation(layer));
                (pass.output()?, layers.collect::<Result<_, _>>()?)
            }
        };
        let chosen = self.question.chosen(&output, values)?.into_iter();
        Ok((chosen.map(|chosen| chosen.scores).collect(), activations))
    }
}

impl Method for GradientShap {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let found = self.explain_rows(question, None)?;
        Ok(found.into_iter().flatten().collect())
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Distribution
    }

    /// Computes the gradient at each layer times the difference of the activations at the ends.
    ///
    /// The random points lie between *inputs*, as in Captum's `LayerGradientShap`, or between
    /// *activations* if the inputs are integers.
    fn explain_layers(
        &self,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        let inputs = question.inputs();
        if (0..inputs.values().len()).all(|i| !inputs.attributed(i)) {
            // There are no points between tokens, but there are between their activations.
            return on_the_rest(self, question, layers);
        }
        self.explain_rows(question, Some(layers))
    }
}
