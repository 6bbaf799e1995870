//! Integrated gradients: `A = (x - b) ⊙ ∫₀¹ ∇f(b + α (x - b)) dα`.
//!
//! Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", 2017
//! (<https://arxiv.org/abs/1703.01365>). Matches Captum's `IntegratedGradients`, except that
//! trapezoid weights sum to one and that steps can be refined until the convergence delta is
//! within a tolerance.

use attr_core::{BaselineUse, Baselines, Error, Explanation, Method, Question, Value};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::path::{Path, take};
use crate::quadrature::{Quadrature, steps};
use crate::rows::{Chunk, RowSums, samples_of};

/// Parameters of [`IntegratedGradients`], under Captum's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct IntegratedGradientsConfig {
    /// Number of samples on the path; default 50, as in Captum. With a tolerance, the initial
    /// number.
    pub n_steps: usize,
    /// The quadrature rule; default Gauss-Legendre, as in Captum.
    pub method: Quadrature,
    /// Whether the integral is multiplied by `x - b`; default true, as in Captum. If false, the
    /// result is a mean gradient and has no convergence delta.
    pub multiply_by_inputs: bool,
    /// Doubles a row's steps until `|delta|` is at most this value; none uses `n_steps` as given.
    pub tolerance: Option<f64>,
    /// The maximum number of steps when a tolerance is set; default 4096.
    pub max_steps: usize,
}

impl Default for IntegratedGradientsConfig {
    fn default() -> Self {
        Self {
            n_steps: 50,
            method: Quadrature::default(),
            multiply_by_inputs: true,
            tolerance: None,
            max_steps: 4096,
        }
    }
}

/// Computes `A = (x - b) ⊙ Σₖ wₖ ∇f(b + αₖ (x - b))` with the samples `αₖ`, `wₖ` of a quadrature.
///
/// Completeness: `Σ A = f(x) - f(b)` up to the convergence delta, which the result reports per row
/// as `Σ A - (f(x) - f(b))`.
///
/// With a distribution of baselines, or [`Baseline::Several`](attr_core::Baseline::Several), the
/// result is the mean over them. Black and white together do not hide features that have the
/// baseline's colour.
///
/// Shapes: the input's, `[batch, ...]`. `n_steps` forward and backward passes per row, plus two
/// forward passes for the delta.
///
/// # Errors
/// [`Error::Parameter`] for no steps or a tolerance that is not positive, [`Error::Shape`] for a
/// baseline that does not fit, [`Error::NotConverged`] if `max_steps` do not reach the tolerance.
///
/// ```
/// use attr_core::Method;
/// use attr_gradient::IntegratedGradients;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let x = Tensor::<2>::from_floats([[1.0, -2.0]], &Device::default());
/// let model = |x: Tensor<2>| x.powi_scalar(3).sum_dim(1);
/// let ig = IntegratedGradients::new().with_steps(20).attribute(&model, &x, 0)?;
/// let values = ig.values()[0].as_ref().unwrap().to_vec()?;
/// assert!((values[0] - 1.0).abs() < 1e-4 && (values[1] + 8.0).abs() < 1e-4); // x³ each
/// assert!(ig.delta().unwrap()[0].abs() < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntegratedGradients {
    config: IntegratedGradientsConfig,
}

impl IntegratedGradients {
    /// Creates the method with fifty Gauss-Legendre steps from a zero baseline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: IntegratedGradientsConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the number of steps.
    pub fn with_steps(mut self, n_steps: usize) -> Self {
        self.config.n_steps = n_steps;
        self
    }

    /// Sets the quadrature rule.
    pub fn with_method(mut self, method: Quadrature) -> Self {
        self.config.method = method;
        self
    }

    /// Sets whether the integral is multiplied by `x - b`.
    pub fn with_multiply_by_inputs(mut self, multiply: bool) -> Self {
        self.config.multiply_by_inputs = multiply;
        self
    }

    /// Refines the steps of each row until its `|delta|` is at most `tolerance`, in units of the
    /// model's output.
    pub fn with_tolerance(mut self, tolerance: f64) -> Self {
        self.config.tolerance = Some(tolerance);
        self
    }

    /// Sets the maximum number of steps when a tolerance is set.
    pub fn with_max_steps(mut self, max_steps: usize) -> Self {
        self.config.max_steps = max_steps;
        self
    }
}

impl Method for IntegratedGradients {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        self.check()?;
        let question = question.with_fixed_targets()?;
        let at_inputs = question.scores()?;
        let each = question.baselines().each_row()?;
        let found = each
            .iter()
            .map(|baselines| self.between(&question, baselines, &at_inputs));
        mean(found.collect::<Result<_, _>>()?)
    }

    /// A distribution or several baselines give the mean over them.
    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Reference
    }
}

/// Averages explanations of the same targets over baselines, `[baseline][target]`.
fn mean(mut all: Vec<Vec<Explanation>>) -> Result<Vec<Explanation>, Error> {
    if all.len() == 1 {
        return Ok(all.remove(0));
    }
    let weight = 1.0 / all.len() as f64;
    let mut all = all.into_iter();
    let mut sums = all.next().ok_or(Error::Internal("no baselines"))?;
    for other in all {
        for (sum, other) in sums.iter_mut().zip(other) {
            for (sum, value) in sum.values.iter_mut().zip(other.values) {
                if let (Some(sum), Some(value)) = (sum, value) {
                    *sum = sum.zip(&value, |sum, value| sum + value)?;
                }
            }
            for (sum, delta) in sum
                .delta
                .iter_mut()
                .flatten()
                .zip(other.delta.iter().flatten())
            {
                *sum += delta;
            }
        }
    }
    for sum in &mut sums {
        for value in sum.values.iter_mut().flatten() {
            *value = value.map(|sum| sum * weight)?;
        }
        for delta in sum.delta.iter_mut().flatten() {
            *delta *= weight as f32;
        }
    }
    Ok(sums)
}

type Integral = Vec<Option<Tensor<2>>>;

impl IntegratedGradients {
    /// Computes the attribution from one baseline.
    fn between(
        &self,
        question: &Question<'_>,
        baselines: &Baselines,
        at_inputs: &[Vec<f32>],
    ) -> Result<Vec<Explanation>, Error> {
        let inputs = question.inputs();
        let path = Path::new(inputs, baselines)?;
        let at_baselines = question.scores_of(&path.at(&path.all_rows(), |_| 0.0)?)?;

        let mut integrals = self.integrate(question, &path, self.config.n_steps)?;
        let mut deltas = self.deltas(&path, &integrals, at_inputs, &at_baselines)?;
        if let Some(tolerance) = self.config.tolerance {
            let mut n = self.config.n_steps;
            let over = |deltas: &[Vec<f32>], row: usize| {
                // A delta that is NaN has not converged.
                let off = |delta: f64| delta.is_nan() || delta > tolerance;
                deltas.iter().any(|d| off(f64::from(d[row].abs())))
            };
            loop {
                let pending: Vec<usize> = (0..inputs.rows())
                    .filter(|&row| over(&deltas, row))
                    .collect();
                if pending.is_empty() {
                    break;
                }
                if n >= self.config.max_steps {
                    let largest = deltas.iter().flatten().fold(0f32, |m, d| m.max(d.abs()));
                    return Err(Error::NotConverged {
                        delta: largest,
                        steps: n,
                        tolerance,
                    });
                }
                n = (2 * n).min(self.config.max_steps);
                let part = path.select(&pending);
                let refined = self.integrate(question, &part, n)?;
                for (whole, part) in integrals.iter_mut().zip(refined) {
                    for (whole, part) in whole.iter_mut().zip(part) {
                        if let (Some(whole), Some(part)) = (whole, part) {
                            *whole = replace_rows(whole, part, &pending);
                        }
                    }
                }
                deltas = self.deltas(&path, &integrals, at_inputs, &at_baselines)?;
            }
        }

        let results = integrals
            .into_iter()
            .zip(at_inputs.iter().cloned())
            .zip(deltas);
        results
            .map(|((integral, scores), delta)| {
                let values = integral.into_iter().enumerate().map(|(i, integral)| {
                    let Some(mut matrix) = integral else {
                        return Ok(None);
                    };
                    if let (true, Some(way)) = (self.config.multiply_by_inputs, &path.way[i]) {
                        matrix = matrix * way.clone();
                    }
                    let shape = inputs.values()[i].shape();
                    Ok(Some(Value::from_matrix(matrix, &shape)))
                });
                let values = values.collect::<Result<_, Error>>()?;
                let delta = self.config.multiply_by_inputs.then_some(delta);
                Ok(Explanation::new(values, scores).with_delta(delta))
            })
            .collect()
    }

    fn check(&self) -> Result<(), Error> {
        self.config.method.samples(self.config.n_steps)?;
        let Some(tolerance) = self.config.tolerance else {
            return Ok(());
        };
        if !(tolerance > 0.0 && tolerance.is_finite()) {
            return Err(Error::Parameter {
                name: "tolerance",
                value: tolerance.to_string(),
                expected: "it must be positive and finite",
            });
        }
        self.config.method.samples(self.config.max_steps)?;
        if self.config.n_steps > self.config.max_steps {
            return Err(steps(
                self.config.n_steps,
                "it must not exceed `max_steps` when a tolerance is set",
            ));
        }
        Ok(())
    }

    /// `Σₖ wₖ ∇f(b + αₖ (x - b))` per target and input, as `[rows, elements]`.
    ///
    /// All pairs of row and step form one flat list of work, split to fit the memory budget.
    fn integrate(
        &self,
        question: &Question<'_>,
        path: &Path,
        n: usize,
    ) -> Result<Vec<Integral>, Error> {
        let samples = self.config.method.samples(n)?;
        let rows = path.inputs.rows();
        let mut sums = RowSums::new(rows, question.targets().len(), path.way.len());
        question.for_items(rows * n, samples_of(rows, n), 1, |part| {
            let of: Vec<usize> = part.iter().map(|item| item.0).collect();
            let points = path.at(&of, |item| samples[part[item].1].0)?;
            let found = question.gradients(&points)?;
            let chunk = Chunk::new(&of, |item| samples[part[item].1].1);
            for (t, gradients) in found.gradients.into_iter().enumerate() {
                for (i, gradient) in gradients.into_iter().enumerate() {
                    if let Some(gradient) = gradient {
                        sums.add(t, i, gradient.matrix()?, &chunk);
                    }
                }
            }
            Ok(())
        })?;
        Ok(sums.finish())
    }

    /// `Σ (x - b) ⊙ integral - (f(x) - f(b))`, per target and row.
    fn deltas(
        &self,
        path: &Path,
        integrals: &[Integral],
        at_inputs: &[Vec<f32>],
        at_baselines: &[Vec<f32>],
    ) -> Result<Vec<Vec<f32>>, Error> {
        let mut deltas = Vec::with_capacity(integrals.len());
        for (t, integral) in integrals.iter().enumerate() {
            let differences = at_inputs[t].iter().zip(&at_baselines[t]);
            let mut delta: Vec<f32> = differences.map(|(x, b)| b - x).collect();
            for (way, integral) in path.way.iter().zip(integral) {
                if let (Some(way), Some(integral)) = (way, integral) {
                    let sums = (way.clone() * integral.clone()).sum_dim(1);
                    for (delta, sum) in delta.iter_mut().zip(Value::from(sums).to_vec()?) {
                        *delta += sum;
                    }
                }
            }
            deltas.push(delta);
        }
        Ok(deltas)
    }
}

/// Returns `whole` with the given rows replaced by those of `part`, in order.
fn replace_rows(whole: &Tensor<2>, part: Tensor<2>, rows: &[usize]) -> Tensor<2> {
    let count = whole.dims()[0];
    let mut from: Vec<usize> = (0..count).collect();
    for (i, &row) in rows.iter().enumerate() {
        from[row] = count + i;
    }
    take(&Tensor::cat(vec![whole.clone(), part], 0), &from)
}
