//! Guided integrated gradients: integrated gradients along a path that moves the features with the
//! smallest gradients first.
//!
//! Kapishnikov, Venugopalan, Avci, Wedin, Terry, Bolukbasi, "Guided Integrated Gradients: an
//! Adaptive Path Method for Removing Noise", 2021 (<https://arxiv.org/abs/2106.09788>). Matches
//! `GuidedIG` of PAIR's saliency library.

use attr_core::{BaselineUse, Error, Explanation, Method, Question, Target, Value, Values};
use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};

/// Parameters of [`GuidedIntegratedGradients`], under PAIR's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct GuidedIntegratedGradientsConfig {
    /// Number of steps on the path; default 200, as in PAIR's library.
    pub x_steps: usize,
    /// The fraction of features that move at once, those with the smallest gradients; default 0.25,
    /// as in PAIR's library.
    pub fraction: f64,
    /// How far the path may deviate from the straight path, as a fraction of its length; default
    /// 0.02, as in PAIR's library.
    pub max_dist: f64,
}

impl Default for GuidedIntegratedGradientsConfig {
    fn default() -> Self {
        Self {
            x_steps: 200,
            fraction: 0.25,
            max_dist: 0.02,
        }
    }
}

/// Computes `A = Σ ∇f(xₖ) ⊙ (xₖ₊₁ - xₖ)` along a path that adapts to the gradients.
///
/// Each step moves the features that the output depends on least, while the path stays within
/// `max_dist` of the straight path. High gradients, which make integrated gradients noisy, are
/// passed late and in large strides. The convergence delta is `Σ A - (f(x) - f(b))`. Several inputs
/// count as one list of features.
///
/// Shapes: the input's, `[batch, ...]`. `x_steps` forward and backward passes per row and target,
/// since each target has its own path. Steps run one after the other, with all rows together.
///
/// # Errors
/// [`Error::Parameter`] for parameters out of range; [`Error::Shape`] for a baseline that does not
/// fit.
///
/// ```
/// use attr_core::Method;
/// use attr_gradient::GuidedIntegratedGradients;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let x = Tensor::<2>::from_floats([[1.0, -2.0]], &Device::default());
/// let model = |x: Tensor<2>| x.powi_scalar(3).sum_dim(1);
/// let found = GuidedIntegratedGradients::new().attribute(&model, &x, 0)?;
/// assert!(found.delta().unwrap()[0].abs() < 0.2); // of -7: 200 steps of a first-order rule
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct GuidedIntegratedGradients {
    config: GuidedIntegratedGradientsConfig,
}

impl GuidedIntegratedGradients {
    /// Creates the method with two hundred steps from a zero baseline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: GuidedIntegratedGradientsConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the number of steps.
    pub fn with_steps(mut self, x_steps: usize) -> Self {
        self.config.x_steps = x_steps;
        self
    }

    /// Sets the fraction of features that move at once.
    pub fn with_fraction(mut self, fraction: f64) -> Self {
        self.config.fraction = fraction;
        self
    }

    /// Sets how far the path may deviate from the straight path.
    pub fn with_max_dist(mut self, max_dist: f64) -> Self {
        self.config.max_dist = max_dist;
        self
    }

    fn check(&self) -> Result<(), Error> {
        let config = &self.config;
        if config.x_steps == 0 || config.x_steps > 1 << 16 {
            return Err(Error::Parameter {
                name: "x_steps",
                value: config.x_steps.to_string(),
                expected: "at least one is needed and at most 65536 are allowed",
            });
        }
        if !(config.fraction > 0.0 && config.fraction <= 1.0) {
            return Err(Error::Parameter {
                name: "fraction",
                value: config.fraction.to_string(),
                expected: "it must be above 0 and at most 1",
            });
        }
        if !(config.max_dist >= 0.0 && config.max_dist <= 1.0) {
            return Err(Error::Parameter {
                name: "max_dist",
                value: config.max_dist.to_string(),
                expected: "it must be between 0 and 1",
            });
        }
        Ok(())
    }

    /// Follows the path of one target and passes each step of each row to `seen`, as
    /// `(row, gradient, score, change)`.
    pub(crate) fn follow(
        &self,
        question: &Question<'_>,
        target: &Target,
        seen: &mut Seen<'_>,
    ) -> Result<(), Error> {
        self.check()?;
        let question = question.with_targets(vec![target.clone()]);
        let inputs = question.inputs();
        let features = Features::new(inputs);
        let ends = features.read(inputs)?;
        let baselines = question.baselines().resolve(inputs)?;
        let starts = features.read(&inputs.with(|i, _| baselines[i].clone()))?;
        let mut rows: Vec<Row> = ends
            .into_iter()
            .zip(starts)
            .map(|(end, start)| Row::new(start, end))
            .collect();
        let (count, steps) = (rows.len(), self.config.x_steps);
        let items = (0..steps).flat_map(|step| (0..count).map(move |row| (step, row)));
        // A row's next step depends on its last, so no chunk holds a row twice.
        let at_once = question.items_at_once(1).min(count);
        question.for_chunks(steps * count, items, at_once, |chunk| {
            let here: Vec<usize> = chunk.iter().map(|item| item.1).collect();
            let points = here.iter().map(|&row| &rows[row].x);
            let points = features.write(&inputs.select(&here), points)?;
            let found = question.gradients(&points)?;
            let gradients = found.gradients.into_iter().next().unwrap_or_default();
            let gradients = features.read_all(&gradients, here.len())?;
            let all = chunk.iter().zip(&gradients).zip(&found.scores[0]);
            for ((&(step, row), gradient), score) in all {
                let change = rows[row].step(step, gradient, &self.config);
                seen(row, gradient, *score, &change);
            }
            Ok(())
        })
    }
}

/// Receives each step: the row, its gradient and score before the step, and how it moved.
pub(crate) type Seen<'a> = dyn FnMut(usize, &[f64], f32, &[f64]) + 'a;

/// All attributed elements of a row as one list.
pub(crate) struct Features {
    /// Per input, the number of elements in a row; none for inputs without attribution.
    sizes: Vec<Option<usize>>,
}

impl Features {
    pub fn new(inputs: &Values) -> Self {
        let sizes = inputs.values().iter().enumerate();
        let sizes = sizes.map(|(i, value)| {
            let elements = value.shape()[1..].iter().product();
            inputs.attributed(i).then_some(elements)
        });
        Self {
            sizes: sizes.collect(),
        }
    }

    /// Returns the features of each row.
    pub fn read(&self, inputs: &Values) -> Result<Vec<Vec<f64>>, Error> {
        let values: Vec<Option<Value>> = inputs.values().iter().cloned().map(Some).collect();
        self.read_all(&values, inputs.rows())
    }

    pub fn read_all(&self, values: &[Option<Value>], rows: usize) -> Result<Vec<Vec<f64>>, Error> {
        let mut features = vec![Vec::new(); rows];
        for (value, size) in values.iter().zip(&self.sizes) {
            let (Some(value), Some(size)) = (value, size) else {
                continue;
            };
            let numbers = value.to_data()?.iter::<f64>().collect::<Vec<f64>>();
            for (row, part) in features.iter_mut().zip(numbers.chunks((*size).max(1))) {
                row.extend(part);
            }
        }
        Ok(features)
    }

    /// Returns the inputs with their features replaced by these.
    pub fn write<'a>(
        &self,
        inputs: &Values,
        features: impl Iterator<Item = &'a Vec<f64>> + Clone,
    ) -> Result<Values, Error> {
        let mut start = 0;
        let mut written: Vec<Option<Value>> = Vec::with_capacity(self.sizes.len());
        for (value, size) in inputs.values().iter().zip(&self.sizes) {
            let Some(size) = size else {
                written.push(None);
                continue;
            };
            let rows = features.clone().map(|row| &row[start..start + size]);
            let data: Vec<f64> = rows.flatten().copied().collect();
            let data = TensorData::new(data, value.shape()).convert_dtype(value.dtype());
            written.push(Some(Value::from_data(data, &value.device())));
            start += size;
        }
        Ok(inputs.with(|i, _| written[i].clone()))
    }
}

/// A row's position on its path.
struct Row {
    start: Vec<f64>,
    end: Vec<f64>,
    x: Vec<f64>,
    /// The path's length, as a sum of magnitudes.
    length: f64,
}

impl Row {
    fn new(start: Vec<f64>, end: Vec<f64>) -> Self {
        let length = distance(&start, &end);
        Self {
            x: start.clone(),
            start,
            end,
            length,
        }
    }

    /// Moves the row until the remaining path is as long as on the straight path after this step.
    /// Returns how the row moved.
    fn step(
        &mut self,
        step: usize,
        gradient: &[f64],
        config: &GuidedIntegratedGradientsConfig,
    ) -> Vec<f64> {
        let before = self.x.clone();
        let moved = |x: &[f64]| x.iter().zip(&before).map(|(x, b)| x - b).collect();
        if self.length == 0.0 {
            return moved(&self.x);
        }
        let alpha = (step + 1) as f64 / config.x_steps as f64;
        let least = (alpha - config.max_dist).max(0.0);
        let most = (alpha + config.max_dist).min(1.0);
        let rest = self.length * (1.0 - alpha);
        let at = |i: usize, alpha: f64| self.start[i] + (self.end[i] - self.start[i]) * alpha;
        let limit: Vec<f64> = (0..self.x.len()).map(|i| at(i, most)).collect();
        // Features that lag too far behind catch up.
        for i in 0..self.x.len() {
            let way = self.end[i] - self.start[i];
            if way != 0.0 && (self.x[i] - self.start[i]) / way < least {
                self.x[i] = at(i, least);
            }
        }
        // Each round moves the features with the smallest gradients to the limit. The last round
        // moves its features only as far as needed.
        let mut steepness: Vec<f64> = gradient.iter().map(|g| g.abs()).collect();
        for _ in 0..=self.x.len() {
            let current = distance(&self.x, &self.end);
            if (rest - current).abs() <= 1e-9 * rest.abs().max(current.abs()).max(1.0) {
                break;
            }
            for i in 0..self.x.len() {
                if self.x[i] == limit[i] {
                    steepness[i] = f64::INFINITY;
                }
            }
            let mut sorted = steepness.clone();
            let rank = ((sorted.len() - 1) as f64 * config.fraction) as usize;
            let (_, threshold, _) = sorted.select_nth_unstable_by(rank, f64::total_cmp);
            let threshold = *threshold;
            let movable: Vec<usize> = (0..self.x.len())
                .filter(|&i| steepness[i] <= threshold && steepness[i] != f64::INFINITY)
                .collect();
            if movable.is_empty() {
                break; // Gradients are infinite or NaN.
            }
            let possible: f64 = movable.iter().map(|&i| (self.x[i] - limit[i]).abs()).sum();
            let part = if possible > 0.0 {
                (current - rest) / possible
            } else {
                f64::INFINITY
            };
            for &i in &movable {
                self.x[i] = if part > 1.0 {
                    limit[i]
                } else {
                    self.x[i] + (limit[i] - self.x[i]) * part
                };
            }
            if part <= 1.0 {
                break;
            }
        }
        moved(&self.x)
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum()
}

impl Method for GuidedIntegratedGradients {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        self.check()?;
        let question = question.with_fixed_targets()?;
        let inputs = question.inputs();
        let features = Features::new(inputs);
        let baselines = question.baselines().resolve(inputs)?;
        let absent = inputs.with(|i, _| baselines[i].clone());
        let at_inputs = question.scores()?;
        let at_baselines = question.scores_of(&absent)?;
        let count = features.sizes.iter().flatten().sum();
        let mut found = Vec::with_capacity(question.targets().len());
        for (t, target) in question.targets().iter().enumerate() {
            let mut sums = vec![vec![0f64; count]; inputs.rows()];
            self.follow(&question, target, &mut |row, gradient, _, change| {
                for ((sum, gradient), change) in sums[row].iter_mut().zip(gradient).zip(change) {
                    *sum += gradient * change;
                }
            })?;
            let ends = at_inputs[t].iter().zip(&at_baselines[t]);
            let delta = sums.iter().zip(ends).map(|(sums, (x, b))| {
                let total: f64 = sums.iter().sum();
                total as f32 - (x - b)
            });
            let delta: Vec<f32> = delta.collect();
            let explanation = features.explanation(inputs, &sums, at_inputs[t].clone())?;
            found.push(explanation.with_delta(delta));
        }
        Ok(found)
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Reference
    }
}

impl Features {
    /// Builds an explanation from the attributions of each row's features.
    pub fn explanation(
        &self,
        inputs: &Values,
        features: &[Vec<f64>],
        scores: Vec<f32>,
    ) -> Result<Explanation, Error> {
        let written = self.write(inputs, features.iter())?;
        let values = written.into_values().into_iter().zip(&self.sizes);
        let values = values.map(|(value, size)| size.map(|_| value));
        Ok(Explanation::new(values.collect(), scores))
    }
}
