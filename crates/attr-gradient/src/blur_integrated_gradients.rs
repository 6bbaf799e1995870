//! Blur integrated gradients: integrated gradients along a path from a blurred to the sharp image.
//!
//! Xu, Venugopalan, Sundararajan, "Attribution in Scale and Space", 2020
//! (<https://arxiv.org/abs/2004.03383>). Matches `BlurIG` of PAIR's saliency library.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use attr_core::perturb::{LONGEST_BLUR, gaussian, separable};
use attr_core::{Error, Explanation, Method, Question, Value, Values};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::rows::{Chunk, RowSums, complete, samples_of};

/// Parameters of [`BlurIntegratedGradients`], under PAIR's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BlurIntegratedGradientsConfig {
    /// Standard deviation of the strongest blur, in pixels; default 50, as in PAIR's library.
    pub max_sigma: f64,
    /// Number of steps on the path; default 100, as in PAIR's library.
    pub steps: usize,
    /// Step of the finite difference that gives the blur's derivative; default 0.01, as in PAIR's
    /// library.
    pub grad_step: f64,
    /// Whether the squared deviation grows in even steps, rather than the deviation itself; default
    /// false, as in PAIR's library.
    pub sqrt: bool,
}

impl Default for BlurIntegratedGradientsConfig {
    fn default() -> Self {
        Self {
            max_sigma: 50.0,
            steps: 100,
            grad_step: 0.01,
            sqrt: false,
        }
    }
}

/// Computes `A = -Σₖ (σₖ₊₁ - σₖ) ∂L(x, σₖ)/∂σ ⊙ ∇f(L(x, σₖ))`, where `L(x, σ)` is the image blurred
/// by a Gaussian of deviation `σ`.
///
/// No baseline is needed, and the path adds detail rather than brightness. The image is padded with
/// 0; kernels end at four deviations. The convergence delta is
/// `Σ A - (f(x) - f(L(x, max_sigma)))`.
///
/// Shapes: the input's, `[batch, channels, ...]` with one to three spatial dimensions. `steps`
/// forward and backward passes per row, and two forward passes for the delta.
///
/// # Errors
/// [`Error::Parameter`] for parameters out of range; [`Error::Shape`] for an input that is not an
/// image.
///
/// ```
/// use attr_core::Method;
/// use attr_gradient::BlurIntegratedGradients;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let image = Tensor::<4>::ones([1, 1, 8, 8], &Device::default());
/// let model = |x: Tensor<4>| x.powi_scalar(2).flatten::<2>(1, 3).sum_dim(1);
/// let blur = BlurIntegratedGradients::new().with_max_sigma(4.0).with_steps(200);
/// let found = blur.attribute(&model, &image, 0)?;
/// assert!(found.delta().unwrap()[0].abs() < 1.0); // of about 60
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct BlurIntegratedGradients {
    config: BlurIntegratedGradientsConfig,
}

impl BlurIntegratedGradients {
    /// Creates the method with a hundred steps from a blur of fifty pixels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: BlurIntegratedGradientsConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the strongest blur.
    pub fn with_max_sigma(mut self, max_sigma: f64) -> Self {
        self.config.max_sigma = max_sigma;
        self
    }

    /// Sets the number of steps.
    pub fn with_steps(mut self, steps: usize) -> Self {
        self.config.steps = steps;
        self
    }

    /// Sets the step of the finite difference that gives the blur's derivative.
    pub fn with_grad_step(mut self, grad_step: f64) -> Self {
        self.config.grad_step = grad_step;
        self
    }

    /// Sets whether the squared deviation grows in even steps.
    pub fn with_sqrt(mut self, sqrt: bool) -> Self {
        self.config.sqrt = sqrt;
        self
    }

    pub(crate) fn check(&self, inputs: &Values) -> Result<(), Error> {
        let config = &self.config;
        let bad = |name, value: f64| Error::Parameter {
            name,
            value: value.to_string(),
            expected: "it must be positive, and at most 100000",
        };
        for (name, value) in [
            ("max_sigma", config.max_sigma),
            ("grad_step", config.grad_step),
        ] {
            if !(value > 0.0 && value <= 1e5) {
                return Err(bad(name, value));
            }
        }
        if config.steps == 0 || config.steps > 1 << 16 {
            return Err(Error::Parameter {
                name: "steps",
                value: config.steps.to_string(),
                expected: "at least one is needed and at most 65536 are allowed",
            });
        }
        for (i, value) in inputs.values().iter().enumerate() {
            let shape = value.shape();
            if inputs.attributed(i) && !(3..=5).contains(&shape.len()) {
                return Err(Error::Shape {
                    what: format!("input {i}"),
                    got: shape,
                    expected: "an image to blur, [batch, channels, ...],".into(),
                });
            }
            if inputs.attributed(i) && shape[2..].iter().any(|&length| length > LONGEST_BLUR) {
                return Err(Error::Shape {
                    what: format!("input {i}"),
                    got: shape,
                    expected: format!("an image of at most {LONGEST_BLUR} pixels a side"),
                });
            }
        }
        Ok(())
    }

    /// Returns the deviations on the path, from zero to the strongest.
    pub(crate) fn sigmas(&self) -> Vec<f64> {
        let (steps, most) = (self.config.steps, self.config.max_sigma);
        let even = (0..=steps).map(|i| i as f64 * most / steps as f64);
        if self.config.sqrt {
            even.map(f64::sqrt).collect()
        } else {
            even.collect()
        }
    }
}

/// Blurs each row of the inputs by its own deviation.
pub(crate) fn blurred(inputs: &Values, sigmas: &[f64]) -> Result<Values, Error> {
    let mut results: Vec<Option<Value>> = Vec::with_capacity(inputs.values().len());
    for (i, value) in inputs.values().iter().enumerate() {
        let blurred = inputs.attributed(i).then(|| blur(value, sigmas));
        results.push(blurred.transpose()?);
    }
    Ok(inputs.with(|i, _| results[i].clone()))
}

/// Blurs each row of a value by its own deviation.
///
/// A Gaussian blur is linear and separable: one matrix per spatial dimension. Rows with the same
/// deviation are blurred together.
fn blur(value: &Value, sigmas: &[f64]) -> Result<Value, Error> {
    by_sigma(value, sigmas, |rows, sigma| {
        separable(rows, |_, length| gaussian(sigma, length))
    })
}

/// Computes how the blurred image changes when the deviation of each row grows by `step`.
///
/// Subtracting the images would cancel most digits, so the kernels are subtracted, dimension by
/// dimension: `K'₁K'₂ - K₁K₂ = (K'₁ - K₁) K'₂ + K₁ (K'₂ - K₂)`.
fn blur_difference(value: &Value, sigmas: &[f64], step: f64) -> Result<Value, Error> {
    by_sigma(value, sigmas, |rows, sigma| {
        let mut sum: Option<Tensor<2>> = None;
        for changed in 2..rows.shape().len() {
            let part = separable(rows, |dim, length| match dim.cmp(&changed) {
                Ordering::Less => gaussian(sigma, length),
                Ordering::Greater => gaussian(sigma + step, length),
                Ordering::Equal => {
                    let after = gaussian(sigma + step, length).into_iter();
                    let pairs = after.zip(gaussian(sigma, length));
                    pairs.map(|(after, before)| after - before).collect()
                }
            })?;
            let part = part.matrix()?;
            sum = Some(match sum {
                Some(sum) => sum + part,
                None => part,
            });
        }
        let sum = sum.ok_or(Error::Internal("an image without dimensions"))?;
        Ok(Value::from_matrix(sum, &rows.shape()))
    })
}

/// Applies `f` to the rows of each deviation and restores their order.
fn by_sigma(
    value: &Value,
    sigmas: &[f64],
    f: impl Fn(&Value, f64) -> Result<Value, Error>,
) -> Result<Value, Error> {
    let mut groups: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (row, sigma) in sigmas.iter().enumerate() {
        groups.entry(sigma.to_bits()).or_default().push(row);
    }
    let mut parts = Vec::with_capacity(groups.len());
    let mut place = vec![0; sigmas.len()];
    let mut next = 0;
    for (bits, rows) in groups {
        parts.push(f(&value.select_rows(&rows), f64::from_bits(bits))?);
        for row in rows {
            place[row] = next;
            next += 1;
        }
    }
    Ok(Value::cat_rows(parts)?.select_rows(&place))
}

impl Method for BlurIntegratedGradients {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let inputs = question.inputs();
        self.check(inputs)?;
        let (rows, steps) = (inputs.rows(), self.config.steps);
        let sigmas = self.sigmas();
        let question = question.with_fixed_targets()?;
        let at_inputs = question.scores()?;
        let faintest = blurred(inputs, &vec![sigmas[steps]; rows])?;
        let at_faintest = question.scores_of(&faintest)?;
        let mut sums = RowSums::new(rows, question.targets().len(), inputs.values().len());
        question.for_items(rows * steps, samples_of(rows, steps), 1, |part| {
            let of: Vec<usize> = part.iter().map(|item| item.0).collect();
            let here: Vec<f64> = part.iter().map(|item| sigmas[item.1]).collect();
            let copies = inputs.select(&of);
            let points = blurred(&copies, &here)?;
            let gradients = question.gradients(&points)?.gradients;
            let width = |item: usize| sigmas[part[item].1 + 1] - sigmas[part[item].1];
            let chunk = Chunk::new(&of, |item| -width(item) / self.config.grad_step);
            for (i, copy) in copies.values().iter().enumerate() {
                if !inputs.attributed(i) {
                    continue;
                }
                let change = blur_difference(copy, &here, self.config.grad_step)?.matrix()?;
                for (t, gradients) in gradients.iter().enumerate() {
                    if let Some(gradient) = &gradients[i] {
                        sums.add(t, i, gradient.matrix()? * change.clone(), &chunk);
                    }
                }
            }
            Ok(())
        })?;
        complete(sums, inputs, at_inputs, at_faintest)
    }
}
