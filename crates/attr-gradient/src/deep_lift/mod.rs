//! DeepLIFT: the difference of the output from that for a reference input, shared among the inputs
//! by multipliers that are handed back layer by layer.
//!
//! Shrikumar, Greenside, Kundaje, "Learning Important Features Through Propagating Activation
//! Differences", 2017 (<https://arxiv.org/abs/1704.02685>). As Captum's `DeepLift` where that one
//! is exact; the crate's documentation lists where it is not.
//!
//! ```text
//! rules.rs          which rule serves which node
//! elementwise.rs    rescale rule, quotients         selection.rs      maxima, masks
//! normalisation.rs  softmax, layer normalisation    average.rs        products, everything else
//! reveal_cancel.rs  the RevealCancel rule
//! ```

mod average;
mod elementwise;
mod normalisation;
mod reveal_cancel;
mod rules;
mod selection;

use std::cell::RefCell;
use std::sync::Arc;

use attr_core::{
    Baselines, Collected, Error, Explanation, Method, Model, NodeView, Rebase, Rule, Run, Target,
    Value, Values, Walk, fix_targets,
};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::Quadrature;
use crate::layer::{ByRows, LayersOf, owned};
use crate::rows::row_sums;

/// How DeepLIFT passes nonlinearities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeepLiftRule {
    /// In proportion to the differences, `Δout / Δin`.
    #[default]
    Rescale,
    /// Positive and negative contributions apart, at nonlinearities that follow a linear or
    /// convolution layer (fold BatchNorm first); `rescale` elsewhere.
    RevealCancel,
}

/// Parameters of [`DeepLift`], under Captum's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct DeepLiftConfig {
    /// Whether multipliers are multiplied by `x - b`; true, as in Captum. Without it the
    /// multipliers are the result, and there is no convergence delta.
    pub multiply_by_inputs: bool,
    /// Differences below this count as none, and the derivative takes the place of a quotient;
    /// 1e-10, as in Captum.
    pub eps: f64,
    /// How nonlinearities are passed; the rescale rule, as in Captum.
    pub rule: DeepLiftRule,
}

impl Default for DeepLiftConfig {
    fn default() -> Self {
        Self {
            multiply_by_inputs: true,
            eps: 1e-10,
            rule: DeepLiftRule::default(),
        }
    }
}

/// `A = (x - b) ⊙ m` with multipliers `m` such that `Σ m_in Δin = m_out Δout` at every operation.
///
/// Summation to delta, `Σ A = f(x) - f(b)`, holds on any traced graph. Linear operations have
/// their derivative as multiplier, elementwise functions `Δout / Δin`, products and quotients the
/// midpoint rule, maxima, softmax and layer normalisation rules of their own; any other operation
/// has the average of its derivative along the straight line from reference to input. Nothing
/// falls back to a plain gradient. What flows through integers or truth values, such as indices
/// computed from the input, is lost, and the convergence delta shows it.
///
/// Shapes: the input's, `[batch, ...]`. Two forward passes and one backward pass per row.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::Shape`] for a baseline that does not fit;
/// [`Error::Parameter`] for an `eps` that is negative.
///
/// ```
/// use attr_core::{Method, Traced};
/// use attr_gradient::DeepLift;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Linear = LinearConfig::new(3, 2).init(&device);
/// let x = Tensor::<2>::from_floats([[1.0, -2.0, 0.5]], &device);
/// let forward = |n: &Linear, x| activation::softmax(activation::relu(n.forward(x)), 1);
/// let model = Traced::new(&net, forward, &x)?;
/// let found = DeepLift::new().with_baseline(0.1).attribute(&model, &x, 1)?;
/// assert!(found.delta().unwrap()[0].abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct DeepLift {
    config: DeepLiftConfig,
    baselines: Baselines,
}

impl From<DeepLiftConfig> for DeepLift {
    fn from(config: DeepLiftConfig) -> Self {
        Self {
            config,
            baselines: Baselines::default(),
        }
    }
}

impl DeepLift {
    /// The rescale rule, from a zero baseline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether multipliers are multiplied by `x - b`.
    pub fn with_multiply_by_inputs(mut self, multiply: bool) -> Self {
        self.config.multiply_by_inputs = multiply;
        self
    }

    /// Sets how nonlinearities are passed.
    pub fn with_rule(mut self, rule: DeepLiftRule) -> Self {
        self.config.rule = rule;
        self
    }

    /// Sets the difference below which a derivative takes the place of a quotient.
    pub fn with_eps(mut self, eps: f64) -> Self {
        self.config.eps = eps;
        self
    }

    /// Sets the baseline: a number, a tensor with one row or one per input row, or
    /// [`Baselines::each`] for several inputs.
    pub fn with_baseline(mut self, baselines: impl Into<Baselines>) -> Self {
        self.baselines = baselines.into();
        self
    }

    /// The same at some layers: the difference of each layer's activation, times its multiplier.
    /// Token inputs are compared with token 0 unless a baseline is given.
    pub fn at_layers<S: Into<String>>(self, layers: impl IntoIterator<Item = S>) -> DeepLiftLayers {
        LayersOf {
            method: self,
            layers: owned(layers),
        }
    }
}

impl ByRows for DeepLift {
    fn explain_rows(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        layers: Option<&[String]>,
        run: &Run<'_>,
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        let targets = fix_targets(model, inputs, targets, run)?;
        // A pass for the reference goes along.
        let at_once = (run.rows_at_once(model, inputs) / 2).max(1);
        let rows = inputs.rows();
        let columns = layers.map_or(inputs.values().len(), <[String]>::len);
        let mut collected = Collected::new(targets.len(), columns);
        let mut scores: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
        let mut deltas: Vec<Vec<Vec<f32>>> = vec![Vec::new(); targets.len()];
        run.start(rows);
        for start in (0..rows).step_by(at_once) {
            let chunk = inputs.slice(start..(start + at_once).min(rows));
            let reference = match layers {
                Some(_) => self.baselines.absent(&chunk)?,
                None => {
                    let baselines = self.baselines.resolve(&chunk)?;
                    chunk.with(|i, _| baselines[i].clone())
                }
            };
            let found = self
                .config
                .pairs(model, &chunk, &reference, &targets, layers)?;
            for (t, found) in found.into_iter().enumerate() {
                let values = found.values.into_iter().map(|pair| {
                    let (matrix, shape) = pair?;
                    Some(Value::from_matrix(matrix, &shape))
                });
                collected.push(t, values.collect());
                scores[t].extend(found.scores);
                deltas[t].resize(found.deltas.len(), Vec::new());
                for (all, here) in deltas[t].iter_mut().zip(found.deltas) {
                    all.extend(here);
                }
            }
            run.advance(chunk.rows());
        }
        let explanations = collected.finish(scores)?;
        let split = explanations
            .into_iter()
            .zip(deltas)
            .map(|(whole, deltas)| self.config.split(whole, deltas, layers.is_some()));
        Ok(split.collect())
    }
}

/// DeepLIFT of pairs of rows: an input row and a reference row each.
pub(crate) struct Pairs {
    /// Per input or layer, `[pairs, elements]` and the shape.
    pub values: Vec<Option<(Tensor<2>, Vec<usize>)>>,
    pub scores: Vec<f32>,
    /// One list for all inputs, or one for each layer.
    pub deltas: Vec<Vec<f32>>,
}

/// A value in the forward pass and in that of the reference.
type Ends<'a> = (&'a Value, &'a Value);

impl DeepLiftConfig {
    /// One explanation of all inputs, or one for each layer.
    pub(crate) fn split(
        &self,
        whole: Explanation,
        deltas: Vec<Vec<f32>>,
        layers: bool,
    ) -> Vec<Explanation> {
        let delta = |delta: Vec<f32>| self.multiply_by_inputs.then_some(delta);
        if !layers {
            return vec![Explanation {
                delta: deltas.into_iter().next().and_then(delta),
                ..whole
            }];
        }
        let each = whole.values.into_iter().zip(deltas);
        each.map(|(value, one)| Explanation {
            delta: delta(one),
            ..Explanation::new(vec![value], whole.scores.clone())
        })
        .collect()
    }

    /// Walks back over rows and their references, once for each target.
    pub(crate) fn pairs(
        &self,
        model: &dyn Model,
        inputs: &Values,
        reference: &Values,
        targets: &[Target],
        layers: Option<&[String]>,
    ) -> Result<Vec<Pairs>, Error> {
        if self.eps.is_nan() || self.eps < 0.0 {
            return Err(Error::Parameter {
                name: "eps",
                value: self.eps.to_string(),
                expected: "it must not be negative",
            });
        }
        let pending = Arc::new(reveal_cancel::Pending::default());
        let failed = RefCell::new(None);
        let rules = |node: &NodeView<'_>| -> Option<Arc<dyn Rule>> {
            if self.rule == DeepLiftRule::RevealCancel {
                match reveal_cancel::choose(node, self.eps, &pending) {
                    Ok(Some(rule)) => return Some(rule),
                    Ok(None) => {}
                    Err(error) => {
                        failed.replace(Some(error));
                    }
                }
            }
            rules::choose(node, self.eps)
        };
        let names: Vec<&str> = layers.unwrap_or_default().iter().map(|l| &l[..]).collect();
        let walk = Walk::new().with_rules(&rules).with_reference(reference);
        let walk = match layers {
            Some(_) => walk.to_layers(&names),
            None => walk,
        };
        let ends = RefCell::new(Vec::new());
        let walks = model.walk(
            inputs,
            &|output, before| {
                let before = before.ok_or(Error::Internal("DeepLIFT without a reference"))?;
                let mut seeds = Vec::with_capacity(targets.len());
                for target in targets {
                    let chosen = target.choose(output, inputs)?;
                    let at_reference = target.choose(before, reference)?.scores;
                    seeds.push(match target {
                        Target::Function(_) => average_seed(target, output, before, inputs)?,
                        _ => chosen.seed,
                    });
                    ends.borrow_mut().push((chosen.scores, at_reference));
                }
                Ok(seeds)
            },
            &walk,
        )?;
        if let Some(error) = failed.into_inner() {
            return Err(error);
        }
        let walked = walks.walked.into_iter().zip(ends.into_inner());
        walked
            .map(|(walked, (scores, at_reference))| {
                let (multipliers, ends): (_, Vec<Option<Ends<'_>>>) = match layers {
                    Some(_) => {
                        let here = walks.activations.iter().zip(&walks.reference_activations);
                        (walked.layers, here.map(Some).collect())
                    }
                    None => {
                        let pairs = inputs.values().iter().zip(reference.values()).enumerate();
                        let pairs = pairs.map(|(i, pair)| inputs.attributed(i).then_some(pair));
                        (walked.inputs, pairs.collect())
                    }
                };
                let change: Vec<f32> = scores
                    .iter()
                    .zip(&at_reference)
                    .map(|(x, b)| x - b)
                    .collect();
                let mut values = Vec::with_capacity(ends.len());
                let mut sums: Vec<Vec<f32>> = Vec::new();
                for (i, (multiplier, ends)) in multipliers.into_iter().zip(ends).enumerate() {
                    let Some((x, b)) = ends else {
                        values.push(None);
                        continue;
                    };
                    let multiplier = multiplier.ok_or_else(|| match layers {
                        Some(layers) => unreached(&layers[i]),
                        None => Error::NoGradient { input: i },
                    })?;
                    let matrix = multiplier.matrix()?;
                    let product = matrix.clone() * (x.matrix()? - b.matrix()?);
                    sums.push(row_sums(product.clone())?);
                    let matrix = if self.multiply_by_inputs {
                        product
                    } else {
                        matrix
                    };
                    values.push(Some((matrix, x.shape())));
                }
                let deltas = match layers {
                    Some(_) => sums
                        .iter()
                        .map(|sum| sum.iter().zip(&change).map(|(s, c)| s - c).collect())
                        .collect(),
                    None => {
                        let rows = change.iter().enumerate();
                        vec![
                            rows.map(|(row, c)| sums.iter().map(|s| s[row]).sum::<f32>() - c)
                                .collect(),
                        ]
                    }
                };
                Ok(Pairs {
                    values,
                    scores,
                    deltas,
                })
            })
            .collect()
    }
}

/// The output does not depend on this layer.
pub(crate) fn unreached(layer: &str) -> Error {
    Error::Layer {
        name: layer.into(),
        reason: "nothing flows from the target to it".into(),
    }
}

/// A function of the output is one more operation: the average of its derivative.
fn average_seed(
    target: &Target,
    output: &Value,
    before: &Value,
    inputs: &Values,
) -> Result<Value, Error> {
    let mut sum: Option<Tensor<2>> = None;
    for (alpha, weight) in Quadrature::GaussLegendre.samples(32)? {
        let point = rules::between(output, before, alpha)?;
        let part = target.choose(&point, inputs)?.seed.matrix()? * weight;
        sum = Some(match sum {
            Some(sum) => sum + part,
            None => part,
        });
    }
    let sum = sum.ok_or(Error::Internal("a quadrature without samples"))?;
    Ok(Value::from_matrix(sum, &output.shape()))
}

impl Method for DeepLift {
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

/// [`DeepLift`] at some layers.
pub type DeepLiftLayers = LayersOf<DeepLift>;
