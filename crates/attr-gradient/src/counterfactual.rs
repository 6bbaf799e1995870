//! Counterfactuals in input space: the nearest input with another output.
//!
//! Wachter, Mittelstadt, Russell, "Counterfactual Explanations without Opening the Black Box", 2017
//! (<https://arxiv.org/abs/1711.00399>).

use attr_core::build::ask;
use attr_core::{Error, Explanation, Inputs, Method, Model, Question, Run, Target, Value, Values};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Parameters of [`Counterfactual`] as plain data. Names and defaults are those of
/// `latentshift.cf.Wachter`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CounterfactualConfig {
    /// The output that the counterfactual should have; default 0.
    pub target_output: f64,
    /// Weight of the distance from the input; default 1.
    pub lambda: f64,
    /// Learning rate; default 0.005.
    pub lr: f64,
    /// Number of steps; default 100.
    pub max_iter: usize,
    /// The optimiser; default `adam`, with its usual moments.
    pub optimizer: CounterfactualOptimizer,
}

impl Default for CounterfactualConfig {
    fn default() -> Self {
        Self {
            target_output: 0.0,
            lambda: 1.0,
            lr: 0.005,
            max_iter: 100,
            optimizer: CounterfactualOptimizer::Adam,
        }
    }
}

/// How [`Counterfactual`] goes downhill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CounterfactualOptimizer {
    /// Adam with moments 0.9 and 0.999.
    #[default]
    Adam,
    /// Plain gradient descent.
    Sgd,
}

/// Moves the input towards another output, and shows what moved: `|x' - x|`, where `x'` is what
/// `max_iter` steps make of `min (f(x') - target_output)² + λ ‖x' - x‖₂`, starting at `x`.
///
/// [`counterfactuals`](Self::counterfactuals) returns `x'` itself. In input space, a small change
/// that nobody sees can be enough; [`LatentShift`](crate::LatentShift) stays among images instead.
///
/// Shapes: the input's, `[batch, ...]`. One forward and one backward pass per step, all rows as one
/// batch. The distance spans all explained inputs.
///
/// # Errors
/// [`Error::Parameter`] for a negative weight, a learning rate that is not above 0, or no step.
///
/// ```
/// use attr_core::Method;
/// use attr_gradient::Counterfactual;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let x = Tensor::<2>::from_floats([[1.0, 2.0]], &Device::default());
/// // Only the first feature matters, so only it moves.
/// let model = |x: Tensor<2>| x.narrow(1, 0, 1);
/// let moved = Counterfactual::new(0.0).attribute(&model, &x, 0)?.attribution();
/// let moved: Vec<f32> = moved.into_data().iter().collect();
/// assert!(moved[0] > 0.1 && moved[1] == 0.0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Counterfactual {
    config: CounterfactualConfig,
}

impl Counterfactual {
    /// Creates the method for an output that the counterfactual should have.
    pub fn new(target_output: f64) -> Self {
        let config = CounterfactualConfig {
            target_output,
            ..CounterfactualConfig::default()
        };
        Self { config }
    }

    /// Sets all parameters at once, the output too.
    pub fn with_config(mut self, config: CounterfactualConfig) -> Self {
        self.config = config;
        self
    }

    /// Returns the counterfactual inputs, one value per input; `None` for inputs that are not
    /// explained.
    ///
    /// # Errors
    /// As [`attribute`](Method::attribute).
    pub fn counterfactuals<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
    ) -> Result<Vec<Option<Value>>, Error> {
        let targets = [target.into()];
        ask(model, inputs, &targets, &Run::new(), |question, given| {
            let mut all = question.collect();
            self.each(question, |t, moved, scores| {
                all.push(t, moved, scores);
                Ok(())
            })?;
            let found = all.finish()?.into_iter().next();
            let mut values = found.map(|found| found.values).unwrap_or_default();
            values.truncate(given);
            Ok(values)
        })
    }

    fn check(&self) -> Result<(), Error> {
        let c = &self.config;
        let checks = [
            (
                "lambda",
                c.lambda,
                c.lambda >= 0.0,
                "it must not be negative",
            ),
            ("lr", c.lr, c.lr > 0.0, "it must be above 0"),
            (
                "max_iter",
                c.max_iter as f64,
                c.max_iter > 0,
                "it must be at least 1",
            ),
            (
                "target_output",
                c.target_output,
                c.target_output.is_finite(),
                "it must be finite",
            ),
        ];
        for (name, value, fits, expected) in checks {
            if !fits || !value.is_finite() {
                return Err(Error::Parameter {
                    name,
                    value: value.to_string(),
                    expected,
                });
            }
        }
        Ok(())
    }

    /// Gives the moved inputs of some rows, for each target, with the scores of the rows themselves.
    fn each(
        &self,
        question: &Question<'_>,
        mut found: impl FnMut(usize, Vec<Option<Value>>, &[f32]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.check()?;
        question.check_attributed()?;
        let question = question.with_fixed_targets()?;
        let (count, at_once) = (question.inputs().rows(), question.items_at_once(1));
        let question = question.announce(count * question.targets().len() * self.config.max_iter);
        for start in (0..count).step_by(at_once) {
            let rows = question.inputs().slice(start..count.min(start + at_once));
            for (t, target) in question.targets().iter().enumerate() {
                let one = question.with_targets(vec![target.clone()]);
                let (moved, scores) = self.moved(&one, &rows)?;
                found(t, moved, &scores)?;
            }
        }
        Ok(())
    }

    /// Returns what the rows become, and the scores of the rows themselves.
    fn moved(
        &self,
        question: &Question<'_>,
        rows: &Values,
    ) -> Result<(Vec<Option<Value>>, Vec<f32>), Error> {
        let config = &self.config;
        let mut steps: Vec<Option<Descent>> = (0..rows.values().len())
            .map(|i| {
                let start = rows.attributed(i).then(|| rows.values()[i].matrix());
                Ok(start.transpose()?.map(Descent::from))
            })
            .collect::<Result<_, Error>>()?;
        let shaped = |steps: &[Option<Descent>], i: usize| {
            let at = steps[i].as_ref()?.at.clone();
            Some(Value::from_matrix(at, &rows.values()[i].shape()))
        };
        let mut first = None;
        let (each, mut iteration) = (rows.rows(), 0);
        let evaluations = config.max_iter * each;
        question.for_chunks(evaluations, 0..evaluations, each, |_| {
            iteration += 1;
            let here = rows.with(|i, _| shaped(&steps, i));
            let mut gradients = question.gradients(&here)?;
            let scores = gradients.scores.remove(0);
            let distance = steps.iter().flatten().map(Descent::squared_distance);
            let distance = distance.reduce(|sum, part| sum + part);
            let distance = distance.ok_or(Error::NoGradient { input: 0 })?.sqrt();
            // The gradient of the norm at 0 is 0.
            let nowhere = distance.clone().equal_elem(0.0);
            let pull = (distance.recip() * config.lambda).mask_fill(nowhere, 0.0);
            let push: Vec<f32> = scores
                .iter()
                .map(|&score| 2.0 * (f64::from(score) - config.target_output))
                .map(|push| push as f32)
                .collect();
            for (i, step) in steps.iter_mut().enumerate() {
                let Some(step) = step else { continue };
                let gradient = gradients.gradients[0][i].take();
                let gradient = gradient.ok_or(Error::NoGradient { input: i })?.matrix()?;
                let push = Tensor::<1>::from_floats(&push[..], &gradient.device());
                let push = push.cast(gradient.dtype()).unsqueeze_dim(1);
                let slope = gradient * push + step.offset() * pull.clone();
                step.descend(slope, config, iteration);
            }
            first.get_or_insert(scores);
            Ok(())
        })?;
        let moved = (0..steps.len()).map(|i| shaped(&steps, i)).collect();
        Ok((moved, first.unwrap_or_default()))
    }
}

impl Method for Counterfactual {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let mut all = question.collect();
        let mut start = 0;
        let targets = question.targets().len();
        self.each(question, |t, moved, scores| {
            let end = start + scores.len();
            let rows = question.inputs().slice(start..end);
            let values = moved.into_iter().enumerate().map(|(i, moved)| {
                let own = &rows.values()[i];
                moved
                    .map(|moved| moved.zip(own, |a, b| (a - b).abs()))
                    .transpose()
            });
            all.push(t, values.collect::<Result<_, _>>()?, scores);
            if t + 1 == targets {
                start = end;
            }
            Ok(())
        })?;
        all.finish()
    }
}

/// One input on its way, `[rows, elements]`, with Adam's moments.
struct Descent {
    start: Tensor<2>,
    at: Tensor<2>,
    first: Tensor<2>,
    second: Tensor<2>,
}

impl From<Tensor<2>> for Descent {
    fn from(start: Tensor<2>) -> Self {
        Self {
            at: start.clone(),
            first: start.zeros_like(),
            second: start.zeros_like(),
            start,
        }
    }
}

impl Descent {
    fn offset(&self) -> Tensor<2> {
        self.at.clone() - self.start.clone()
    }

    fn squared_distance(&self) -> Tensor<2> {
        let offset = self.offset();
        (offset.clone() * offset).sum_dim(1)
    }

    fn descend(&mut self, slope: Tensor<2>, config: &CounterfactualConfig, iteration: usize) {
        let at = self.at.clone();
        self.at = match config.optimizer {
            CounterfactualOptimizer::Sgd => at - slope * config.lr,
            CounterfactualOptimizer::Adam => {
                let (b1, b2) = (0.9f64, 0.999f64);
                let corrected = |beta: f64| 1.0 - beta.powi(iteration as i32);
                self.first = self.first.clone() * b1 + slope.clone() * (1.0 - b1);
                self.second = self.second.clone() * b2 + slope.clone() * slope * (1.0 - b2);
                let spread = (self.second.clone() / corrected(b2)).sqrt() + 1e-8;
                at - self.first.clone() / spread * (config.lr / corrected(b1))
            }
        };
    }
}
