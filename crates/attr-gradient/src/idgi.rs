//! IDGI: each path step's change of the output, distributed by the squared gradients.
//!
//! Yang, Wang, Bilgic, "IDGI: A Framework to Eliminate Explanation Noise from Integrated
//! Gradients", 2023 (<https://arxiv.org/abs/2303.14242>).

use attr_core::build::TargetGradients;
use attr_core::{BaselineUse, Error, Explanation, Method, Question, Value, Values};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::blur_integrated_gradients::blurred;
use crate::guided_integrated_gradients::Features;
use crate::path::{Path, take};
use crate::rows::{Chunk, RowSums, complete, samples_of};
use crate::{BlurIntegratedGradients, GuidedIntegratedGradients};

/// The path along which [`Idgi`] looks at gradients.
#[derive(Clone, Debug)]
pub enum IdgiPath {
    /// The straight path from the baseline, as in integrated gradients, in even steps.
    Straight {
        /// The number of steps.
        n_steps: usize,
    },
    /// The path of [`BlurIntegratedGradients`], from a blurred image.
    Blur(BlurIntegratedGradients),
    /// The path of [`GuidedIntegratedGradients`], from the baseline.
    Guided(GuidedIntegratedGradients),
}

/// Parameters of [`Idgi`] as plain data: a path and its number of steps.
///
/// The path's other parameters have their default values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct IdgiConfig {
    /// The path; default straight, as in integrated gradients.
    pub path: IdgiPathKind,
    /// Number of steps on the path; default 50.
    pub n_steps: usize,
}

/// The kind of an [`IdgiPath`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum IdgiPathKind {
    /// The straight path from the baseline.
    #[default]
    Straight,
    /// The path from a blurred image.
    Blur,
    /// The path of guided integrated gradients.
    Guided,
}

impl Default for IdgiConfig {
    fn default() -> Self {
        Self {
            path: IdgiPathKind::default(),
            n_steps: 50,
        }
    }
}

/// Computes `A = Σₖ gₖ² (f(xₖ₊₁) - f(xₖ)) / Σ gₖ²` with `gₖ = ∇f(xₖ)`.
///
/// Only the part of a step in the gradient's direction changes the output; the rest is noise and is
/// left out. The sum is `f(x) - f(b)` exactly. The convergence delta is rounding error, or comes
/// from steps where the gradient is 0 but the output still changes.
///
/// Shapes: the input's, `[batch, ...]`. One forward and one backward pass per step and row, and two
/// forward passes. The guided path needs all of them once per target.
///
/// # Errors
/// Those of the path.
///
/// ```
/// use attr_core::Method;
/// use attr_gradient::Idgi;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let x = Tensor::<2>::from_floats([[1.0, -2.0]], &Device::default());
/// let model = |x: Tensor<2>| x.powi_scalar(3).sum_dim(1);
/// let found = Idgi::new().with_baseline(0.5).attribute(&model, &x, 0)?;
/// assert!(found.delta().unwrap()[0].abs() < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Idgi {
    path: IdgiPath,
}

impl Default for Idgi {
    fn default() -> Self {
        Self::along(IdgiPath::Straight { n_steps: 50 })
    }
}

impl Idgi {
    /// Creates the method with fifty steps of the straight path from a zero baseline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the kind of path and its number of steps.
    pub fn with_config(self, config: IdgiConfig) -> Self {
        let n_steps = config.n_steps;
        Self::along(match config.path {
            IdgiPathKind::Straight => IdgiPath::Straight { n_steps },
            IdgiPathKind::Blur => {
                IdgiPath::Blur(BlurIntegratedGradients::new().with_steps(n_steps))
            }
            IdgiPathKind::Guided => {
                IdgiPath::Guided(GuidedIntegratedGradients::new().with_steps(n_steps))
            }
        })
    }

    /// Creates the method along a path.
    ///
    /// The straight and the guided path start at the baseline; the path from a blurred image has
    /// none.
    pub fn along(path: IdgiPath) -> Self {
        Self { path }
    }
}

/// A step whose change of the output is known only once the next step has been evaluated.
struct Pending {
    row: usize,
    /// Per target, the score before the step and, per input, the normalised squared gradients.
    before: Vec<(f32, Vec<Option<Tensor<2>>>)>,
}

/// The points of a path that does not depend on the model.
trait Points {
    fn at(&self, rows: &[usize], steps: &[usize]) -> Result<Values, Error>;
}

struct Straight {
    path: Path,
    n_steps: usize,
}

impl Points for Straight {
    fn at(&self, rows: &[usize], steps: &[usize]) -> Result<Values, Error> {
        self.path
            .at(rows, |item| steps[item] as f64 / self.n_steps as f64)
    }
}

struct Blurred<'a> {
    inputs: &'a Values,
    /// From the strongest to zero.
    sigmas: Vec<f64>,
}

impl Points for Blurred<'_> {
    fn at(&self, rows: &[usize], steps: &[usize]) -> Result<Values, Error> {
        let sigmas: Vec<f64> = steps.iter().map(|&step| self.sigmas[step]).collect();
        blurred(&self.inputs.select(rows), &sigmas)
    }
}

impl Method for Idgi {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let question = question.with_fixed_targets()?;
        let inputs = question.inputs();
        match &self.path {
            IdgiPath::Straight { n_steps } => {
                crate::Quadrature::RiemannLeft.samples(*n_steps)?;
                let path = Path::new(inputs, question.baselines())?;
                let points = Straight {
                    path,
                    n_steps: *n_steps,
                };
                along(&points, *n_steps, &question)
            }
            IdgiPath::Blur(blur) => {
                blur.check(inputs)?;
                let mut sigmas = blur.sigmas();
                sigmas.reverse();
                let steps = sigmas.len() - 1;
                along(&Blurred { inputs, sigmas }, steps, &question)
            }
            IdgiPath::Guided(guided) => along_guided(guided, &question),
        }
    }

    fn baseline_use(&self) -> BaselineUse {
        match self.path {
            IdgiPath::Blur(_) => BaselineUse::None,
            _ => BaselineUse::Reference,
        }
    }
}

/// Computes IDGI along a path of known points.
fn along(
    points: &dyn Points,
    steps: usize,
    question: &Question<'_>,
) -> Result<Vec<Explanation>, Error> {
    let inputs = question.inputs();
    let rows = inputs.rows();
    let at_inputs = question.scores()?;
    let all: Vec<usize> = (0..rows).collect();
    let at_start = question.scores_of(&points.at(&all, &vec![0; rows])?)?;
    let mut sums = RowSums::new(rows, question.targets().len(), inputs.values().len());
    let mut pending: Option<Pending> = None;
    question.for_items(rows * steps, samples_of(rows, steps), 1, |part| {
        let (of, at): (Vec<usize>, Vec<usize>) = part.iter().copied().unzip();
        let TargetGradients {
            gradients,
            scores: found,
        } = question.gradients(&points.at(&of, &at)?)?;
        if let Some(before) = pending.take() {
            for (t, (score, squares)) in before.before.into_iter().enumerate() {
                let chunk = Chunk::new(&[before.row], |_| f64::from(found[t][0] - score));
                for (i, squares) in squares.into_iter().enumerate() {
                    if let Some(squares) = squares {
                        sums.add(t, i, squares, &chunk);
                    }
                }
            }
        }
        let (row, step) = part[part.len() - 1];
        let last_waits = step + 1 < steps;
        let mut waiting = Vec::new();
        for (t, gradients) in gradients.into_iter().enumerate() {
            let squares = relative_squares(gradients)?;
            let change = |item: usize| {
                let next = if part[item].1 + 1 == steps {
                    at_inputs[t][part[item].0]
                } else if item + 1 == part.len() {
                    // The last step waits for the next chunk and counts 0 until then.
                    found[t][item]
                } else {
                    found[t][item + 1]
                };
                f64::from(next - found[t][item])
            };
            let chunk = Chunk::new(&of, change);
            for (i, squares) in squares.iter().enumerate() {
                if let Some(squares) = squares {
                    sums.add(t, i, squares.clone(), &chunk);
                }
            }
            if last_waits {
                let last = [part.len() - 1];
                let last = squares.iter().map(|s| s.as_ref().map(|s| take(s, &last)));
                waiting.push((found[t][part.len() - 1], last.collect()));
            }
        }
        if last_waits {
            pending = Some(Pending {
                row,
                before: waiting,
            });
        }
        Ok(())
    })?;
    complete(sums, inputs, at_inputs, at_start)
}

/// Returns `g² / Σ g²`, with the sum over all inputs of a row; zeros if all gradients are zero.
///
/// Gradients are first divided by the row's largest, so that no square under- or overflows.
fn relative_squares(gradients: Vec<Option<Value>>) -> Result<Vec<Option<Tensor<2>>>, Error> {
    let gradients = gradients.into_iter();
    let gradients = gradients.map(|gradient| gradient.map(|g| g.matrix()).transpose());
    let gradients: Vec<Option<Tensor<2>>> = gradients.collect::<Result<_, _>>()?;
    let largest = gradients
        .iter()
        .flatten()
        .map(|g| g.clone().abs().max_dim(1));
    let largest = largest.reduce(|a, b| Tensor::cat(vec![a, b], 1).max_dim(1));
    let largest = largest.ok_or(Error::NoGradient { input: 0 })?;
    let flat = largest.clone().equal_elem(0.0);
    let largest = largest.mask_fill(flat.clone(), 1.0);
    let squares: Vec<Option<Tensor<2>>> = gradients
        .into_iter()
        .map(|gradient| Some((gradient? / largest.clone()).powi_scalar(2)))
        .collect();
    let totals = squares
        .iter()
        .flatten()
        .map(|square| square.clone().sum_dim(1));
    let total = totals.reduce(|a, b| a + b);
    let total = total.ok_or(Error::NoGradient { input: 0 })?;
    let total = total.mask_fill(flat, 1.0);
    let squares = squares.into_iter();
    Ok(squares
        .map(|square| square.map(|square| square / total.clone()))
        .collect())
}

fn along_guided(
    guided: &GuidedIntegratedGradients,
    question: &Question<'_>,
) -> Result<Vec<Explanation>, Error> {
    let inputs = question.inputs();
    let features = Features::new(inputs);
    let at_inputs = question.scores()?;
    let mut found = Vec::with_capacity(question.targets().len());
    for (t, target) in question.targets().iter().enumerate() {
        let rows = inputs.rows();
        // Per row, the last step's normalised squared gradients and the score before it; and the
        // first score.
        let mut last: Vec<Option<(Vec<f64>, f32)>> = vec![None; rows];
        let mut first = vec![None; rows];
        let mut sums: Vec<Vec<f64>> = vec![Vec::new(); rows];
        let add = |sums: &mut Vec<f64>, (squares, before): (Vec<f64>, f32), after: f32| {
            sums.resize(squares.len(), 0.0);
            for (sum, square) in sums.iter_mut().zip(squares) {
                *sum += square * f64::from(after - before);
            }
        };
        guided.follow(question, target, &mut |row, gradient, score, _| {
            if let Some(before) = last[row].take() {
                add(&mut sums[row], before, score);
            }
            first[row].get_or_insert(score);
            let total: f64 = gradient.iter().map(|g| g * g).sum();
            let total = if total == 0.0 { 1.0 } else { total };
            let squares = gradient.iter().map(|g| g * g / total).collect();
            last[row] = Some((squares, score));
        })?;
        let mut delta = Vec::with_capacity(rows);
        for row in 0..rows {
            let end = at_inputs[t][row];
            if let Some(before) = last[row].take() {
                add(&mut sums[row], before, end);
            }
            let total: f64 = sums[row].iter().sum();
            delta.push(total as f32 - (end - first[row].unwrap_or(end)));
        }
        let explanation = features.explanation(inputs, &sums, at_inputs[t].clone())?;
        found.push(explanation.with_delta(delta));
    }
    Ok(found)
}
