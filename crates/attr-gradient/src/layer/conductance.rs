//! Conductance: the part of integrated gradients that flows through each unit of a layer.
//!
//! Dhamdhere, Sundararajan, Yan, "How Important Is a Neuron?", 2018
//! (<https://arxiv.org/abs/1805.12233>); Shrikumar, Su, Kundaje, "Computationally Efficient
//! Measures of Internal Neuron Importance", 2018 (<https://arxiv.org/abs/1807.09946>). Matches
//! Captum's `LayerConductance`.

use attr_core::walk::{GradientEverywhere, Keep, Plan, Walk};
use attr_core::{
    BaselineUse, Error, Explanation, LayerMethod, LayerNames, Question, Value, Values,
};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{explanations, names};
use crate::path::{Path, no_path, take};
use crate::quadrature::Quadrature;
use crate::rows::{Chunk, RowSums, row_sums, samples_of};

/// Parameters of [`Conductance`], under Captum's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ConductanceConfig {
    /// Number of intervals on the path; default 50, as in Captum.
    pub n_steps: usize,
    /// The rule whose `n_steps + 1` positions are the ends of the intervals; default
    /// Gauss-Legendre, as in Captum. Its weights are not used.
    pub method: Quadrature,
}

impl Default for ConductanceConfig {
    fn default() -> Self {
        Self {
            n_steps: 50,
            method: Quadrature::default(),
        }
    }
}

/// Computes `A = Σₖ ∂f/∂l(xₖ) ⊙ (l(xₖ₊₁) - l(xₖ))` at each unit of a layer, along
/// `xₖ = b + αₖ (x - b)`.
///
/// If all paths through the model pass the layer, the sum is `f(x) - f(b)` up to the convergence
/// delta, `Σ A - (f(x) - f(b))` per row.
///
/// Shapes: the layers'. `n_steps` forward and backward passes per row, one more forward pass for
/// the last position and two for the delta, for all layers together.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::UnknownLayer`]; [`Error::Parameter`] for no steps;
/// [`Error::Method`] for inputs of integers, between which there is no path.
///
/// ```
/// use attr_core::{LayerMethod, LayerNames, Traced};
/// use attr_gradient::Conductance;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Linear = LinearConfig::new(3, 4).init(&device);
/// let x = Tensor::<2>::ones([1, 3], &device);
/// let model = Traced::new(&net, |n: &Linear, x| n.forward(x).tanh().sum_dim(1), &x)?;
/// let layers: LayerNames = model.layers().into_iter().map(|layer| layer.name).collect();
/// let found = Conductance::new(layers).attribute(&model, &x, 0)?;
/// assert_eq!(found.explanations().len(), 3);
/// assert_eq!(found.work().backward_rows, 50); // not 3 x 50
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Conductance {
    layers: Vec<String>,
    config: ConductanceConfig,
}

impl Conductance {
    /// Creates the method with fifty intervals from a zero baseline, at these layers.
    pub fn new(layers: impl Into<LayerNames>) -> Self {
        Self {
            layers: layers.into().into_vec(),
            config: ConductanceConfig::default(),
        }
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: ConductanceConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the number of intervals.
    pub fn with_steps(mut self, n_steps: usize) -> Self {
        self.config.n_steps = n_steps;
        self
    }

    /// Sets the rule that gives the positions.
    pub fn with_method(mut self, method: Quadrature) -> Self {
        self.config.method = method;
        self
    }
}

/// A sample whose successor is in the next chunk, with its gradients `[target][layer]` and its
/// activations `[layer]`.
struct Pending {
    row: usize,
    gradients: Vec<Vec<Tensor<2>>>,
    activations: Vec<Tensor<2>>,
}

/// What the model computes at the ends of the paths.
struct Ends {
    at_inputs: Vec<Vec<f32>>,
    at_baselines: Vec<Vec<f32>>,
    /// The activations at the last position, `[layer]`.
    last: Vec<Tensor<2>>,
}

impl Conductance {
    /// Evaluates inputs, baselines and the last positions together.
    fn ends(
        &self,
        question: &Question<'_>,
        path: &Path,
        last: f64,
        plan: &Plan,
    ) -> Result<Ends, Error> {
        let rows = question.inputs().rows();
        let all = path.all_rows();
        let points = vec![
            question.inputs().clone(),
            path.at(&all, |_| 0.0)?,
            path.at(&all, |_| last)?,
        ];
        let mut scores = vec![Vec::with_capacity(3 * rows); question.targets().len()];
        let mut activations: Vec<Vec<Value>> = vec![Vec::new(); self.layers.len()];
        let points = question.quiet().with_inputs(Values::cat(points)?);
        points.for_rows(1, |chunk| {
            let pass = question.pass(&chunk, None, plan)?;
            let output = pass.output()?;
            for (scores, target) in scores.iter_mut().zip(question.targets()) {
                scores.extend(target.scores(&output, &chunk)?);
            }
            for (parts, layer) in activations.iter_mut().zip(&self.layers) {
                parts.push(pass.activation(layer)?);
            }
            Ok(())
        })?;
        let at = |which: usize| {
            let of_target = |scores: &Vec<f32>| scores[which * rows..][..rows].to_vec();
            scores.iter().map(of_target).collect()
        };
        let last = activations.into_iter().map(|parts| {
            let all = Value::cat_rows(parts)?;
            all.slice_rows(2 * rows..3 * rows).matrix()
        });
        Ok(Ends {
            at_inputs: at(0),
            at_baselines: at(1),
            last: last.collect::<Result<_, _>>()?,
        })
    }
}

impl LayerMethod for Conductance {
    fn layers(&self) -> &[String] {
        &self.layers
    }

    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error> {
        let n = self.config.n_steps;
        if n == 0 {
            return Err(crate::quadrature::steps(n, "at least one step is needed"));
        }
        let positions = self.config.method.samples(n + 1)?;
        let question = question.with_fixed_targets()?;
        let path = Path::new(question.inputs(), question.baselines())?;
        if path.way.iter().all(Option::is_none) {
            return Err(no_path("conductance"));
        }
        let rows = question.inputs().rows();
        let names = names(&self.layers);
        let plan = question
            .plan_at(&GradientEverywhere, &self.layers)?
            .to_layers(&self.layers)?;
        let Ends {
            at_inputs,
            at_baselines,
            last,
        } = self.ends(&question, &path, positions[n].0, &plan)?;
        let mut sums = RowSums::new(rows, question.targets().len(), names.len());
        let mut shapes: Vec<Vec<usize>> = Vec::new();
        let mut pending: Option<Pending> = None;
        question.for_items(rows * n, samples_of(rows, n), 1, |part| {
            let of: Vec<usize> = part.iter().map(|item| item.0).collect();
            let points = path.at(&of, |item| positions[part[item].1].0)?;
            let pass = question.pass(&points, None, &plan)?;
            let layers = self.layers.iter();
            shapes = layers
                .map(|layer| pass.shape(layer))
                .collect::<Result<_, _>>()?;
            let here = self
                .layers
                .iter()
                .map(|layer| pass.activation(layer)?.matrix());
            let here: Vec<Tensor<2>> = here.collect::<Result<_, _>>()?;
            let chosen = question.chosen(&pass.output()?, &points)?;
            let gradients = chosen.into_iter().map(|chosen| {
                let walk = Walk::from_output(chosen.seed).keep(Keep::Layers(&names));
                let found = pass.walk(walk)?.reached(&self.layers)?;
                found.iter().map(Value::matrix).collect()
            });
            let gradients: Vec<Vec<Tensor<2>>> = gradients.collect::<Result<_, Error>>()?;

            if let Some(before) = pending.take() {
                let chunk = Chunk::new(&[before.row], |_| 1.0);
                for (t, of_target) in before.gradients.into_iter().enumerate() {
                    for (i, gradient) in of_target.into_iter().enumerate() {
                        let change = take(&here[i], &[0]) - before.activations[i].clone();
                        sums.add(t, i, gradient * change, &chunk);
                    }
                }
            }
            // A row's last sample is followed by the end of the path. Otherwise the chunk's last
            // sample waits for the next chunk.
            let (row, step) = part[part.len() - 1];
            let complete = if step + 1 == n {
                part.len()
            } else {
                part.len() - 1
            };
            if complete < part.len() {
                let only = [complete];
                pending = Some(Pending {
                    row,
                    gradients: gradients
                        .iter()
                        .map(|layers| layers.iter().map(|g| take(g, &only)).collect())
                        .collect(),
                    activations: here.iter().map(|a| take(a, &only)).collect(),
                });
            }
            if complete > 0 {
                let chunk = Chunk::new(&of[..complete], |_| 1.0);
                let samples: Vec<usize> = (0..complete).collect();
                // Indices of the successors in the chunk's samples followed by the path's ends.
                let next = |item: usize| {
                    if part[item].1 + 1 == n {
                        part.len() + part[item].0
                    } else {
                        item + 1
                    }
                };
                let next: Vec<usize> = samples.iter().map(|&item| next(item)).collect();
                for (i, here) in here.iter().enumerate() {
                    let all = Tensor::cat(vec![here.clone(), last[i].clone()], 0);
                    let change = take(&all, &next) - take(here, &samples);
                    for (t, gradients) in gradients.iter().enumerate() {
                        let product = take(&gradients[i], &samples) * change.clone();
                        sums.add(t, i, product, &chunk);
                    }
                }
            }
            Ok(())
        })?;

        let found = sums.finish().into_iter().zip(at_inputs).zip(at_baselines);
        let explained = found.map(|((sums, at_inputs), at_baselines)| {
            let mut explained = explanations(sums, &shapes, rows, &at_inputs);
            for explanation in &mut explained {
                let Some(Some(value)) = explanation.values.first() else {
                    continue;
                };
                let totals = row_sums(value.matrix()?)?.into_iter();
                let ends = at_inputs.iter().zip(&at_baselines);
                let delta = totals.zip(ends).map(|(total, (x, b))| total - (x - b));
                explanation.delta = Some(delta.collect());
            }
            Ok(explained)
        });
        explained.collect()
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Reference
    }
}
