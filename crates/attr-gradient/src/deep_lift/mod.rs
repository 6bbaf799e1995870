//! DeepLIFT: the output's difference from a reference, distributed over the inputs by multipliers
//! that are propagated back layer by layer.
//!
//! Shrikumar, Greenside, Kundaje, "Learning Important Features Through Propagating Activation
//! Differences", 2017 (<https://arxiv.org/abs/1704.02685>). Matches Captum's `DeepLift` where
//! Captum is exact; the crate's documentation lists where it is not.
//!
//! ```text
//! rules.rs          which rule serves which node
//! elementwise.rs    rescale rule, quotients         selection.rs      maxima, masks
//! normalisation.rs  softmax, layer normalisation    average.rs        products, everything else
//! reveal_cancel.rs  the RevealCancel rule           parts.rs          differences and quotients
//! ```

mod average;
mod elementwise;
mod normalisation;
mod parts;
mod reveal_cancel;
mod rules;
mod selection;

use std::sync::Arc;

use attr_core::build::Collected;
use attr_core::walk::{Composite, Keep, NodeInfo, Pass, Plan, Rule, Walk};
use attr_core::{BaselineUse, Error, Explanation, Method, Question, Target, Value, Values};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::Quadrature;
use crate::layer::unreached;
use crate::rows::row_sums;

/// How DeepLIFT handles nonlinearities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeepLiftRule {
    /// The multiplier is the quotient of the differences, `Δout / Δin`.
    #[default]
    Rescale,
    /// Positive and negative contributions have separate multipliers at nonlinearities that follow
    /// a linear or convolution layer (fold BatchNorm first); `rescale` elsewhere.
    RevealCancel,
}

/// Parameters of [`DeepLift`], under Captum's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct DeepLiftConfig {
    /// Whether multipliers are multiplied by `x - b`; default true, as in Captum. If false, the
    /// result is the multipliers, without a convergence delta.
    pub multiply_by_inputs: bool,
    /// Differences below this count as zero, and the derivative replaces the quotient; default
    /// 1e-10, as in Captum.
    pub eps: f64,
    /// How nonlinearities are handled; default the rescale rule, as in Captum.
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

/// Computes `A = (x - b) ⊙ m` with multipliers `m` such that `Σ m_in Δin = m_out Δout` at every
/// operation.
///
/// Summation to delta, `Σ A = f(x) - f(b)`, holds on any traced graph. A linear operation's
/// multiplier is its derivative, an elementwise function's is `Δout / Δin`. Products and quotients
/// use the midpoint rule; maxima, softmax and layer normalisation have rules of their own. Any
/// other operation uses its derivative averaged along the straight line from reference to input.
/// Nothing falls back to a plain gradient. Contributions through integers or booleans, such as
/// indices computed from the input, are lost, and the convergence delta shows it.
///
/// Shapes: the input's, `[batch, ...]`. Two forward passes and one backward pass per row.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::Shape`] for a baseline that does not fit;
/// [`Error::Parameter`] for an `eps` that is not between 0 and 1.
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeepLift {
    config: DeepLiftConfig,
}

impl DeepLift {
    /// Creates the method with the rescale rule and a zero baseline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: DeepLiftConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets whether multipliers are multiplied by `x - b`.
    pub fn with_multiply_by_inputs(mut self, multiply: bool) -> Self {
        self.config.multiply_by_inputs = multiply;
        self
    }

    /// Sets how nonlinearities are handled.
    pub fn with_rule(mut self, rule: DeepLiftRule) -> Self {
        self.config.rule = rule;
        self
    }

    /// Sets the difference below which the derivative replaces the quotient.
    pub fn with_eps(mut self, eps: f64) -> Self {
        self.config.eps = eps;
        self
    }
}

impl Method for DeepLift {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let found = self.explain_rows(question, None)?;
        Ok(found.into_iter().flatten().collect())
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Reference
    }

    /// Computes the difference of each layer's activation times its multiplier.
    ///
    /// Token inputs are compared with token 0 unless a baseline is given.
    fn explain_layers(
        &self,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        self.explain_rows(question, Some(layers))
    }
}

impl DeepLift {
    fn explain_rows(
        &self,
        question: &Question<'_>,
        layers: Option<&[String]>,
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        let question = question.with_fixed_targets()?;
        let (inputs, targets) = (question.inputs(), question.targets().len());
        let pairs = Pairs::new(&self.config, &question, layers)?;
        let columns = layers.map_or(inputs.values().len(), <[String]>::len);
        let mut collected = Collected::new(targets, columns);
        let mut deltas: Vec<Vec<Vec<f32>>> = vec![Vec::new(); targets];
        // Each row is evaluated together with its reference row.
        question.for_rows(2, |chunk| {
            let reference = if layers.is_some() {
                question.baselines().absent(&chunk)?
            } else {
                let baselines = question.baselines().resolve(&chunk)?;
                chunk.with(|i, _| baselines[i].clone())
            };
            let found = pairs.walk(&question, &chunk, &reference)?;
            for (t, found) in found.into_iter().enumerate() {
                let values = found.values.into_iter().map(|pair| {
                    let (matrix, shape) = pair?;
                    Some(Value::from_matrix(matrix, &shape))
                });
                collected.push(t, values.collect(), &found.scores);
                deltas[t].resize(found.deltas.len(), Vec::new());
                for (all, here) in deltas[t].iter_mut().zip(found.deltas) {
                    all.extend(here);
                }
            }
            Ok(())
        })?;
        let explanations = collected.finish()?;
        let split = explanations
            .into_iter()
            .zip(deltas)
            .map(|(whole, deltas)| self.config.split(whole, deltas, layers.is_some()));
        Ok(split.collect())
    }
}

/// The results of DeepLIFT for pairs of an input row and a reference row.
pub(crate) struct Found {
    /// Per input or layer, `[pairs, elements]` and its shape.
    pub values: Vec<Option<(Tensor<2>, Vec<usize>)>>,
    pub scores: Vec<f32>,
    /// One list for all inputs, or one for each layer.
    pub deltas: Vec<Vec<f32>>,
}

/// A value in the input's forward pass and in the reference's.
type Ends = (Value, Value);

impl DeepLiftConfig {
    /// Returns one explanation of all inputs, or one for each layer.
    pub(crate) fn split(
        &self,
        whole: Explanation,
        deltas: Vec<Vec<f32>>,
        layers: bool,
    ) -> Vec<Explanation> {
        let delta = |delta: Vec<f32>| self.multiply_by_inputs.then_some(delta);
        if !layers {
            return vec![whole.with_delta(deltas.into_iter().next().and_then(delta))];
        }
        let each = whole.split().into_iter().zip(deltas);
        each.map(|(layer, one)| layer.with_delta(delta(one)))
            .collect()
    }
}

/// Runs DeepLIFT on pairs of an input row and a reference row.
pub(crate) struct Pairs<'a> {
    multiply_by_inputs: bool,
    layers: Option<&'a [String]>,
    plan: Plan,
}

impl<'a> Pairs<'a> {
    /// Chooses the rule of each node, for backward passes to the inputs or to some layers.
    pub fn new(
        config: &DeepLiftConfig,
        question: &Question<'_>,
        layers: Option<&'a [String]>,
    ) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&config.eps) {
            return Err(Error::Parameter {
                name: "eps",
                value: format!("{:?}", config.eps),
                expected: "it must be from 0 to 1",
            });
        }
        if layers.is_none() {
            question.check_attributed()?;
        }
        // RevealCancel splits what reaches a nonlinearity by its sign, which folding would change.
        let plan = match config.rule {
            DeepLiftRule::Rescale => question.plan_at(config, layers.unwrap_or_default())?,
            DeepLiftRule::RevealCancel => question.plan(config)?,
        };
        Ok(Self {
            multiply_by_inputs: config.multiply_by_inputs,
            layers,
            plan: match layers {
                Some(layers) => plan.to_layers(layers)?,
                None => plan,
            },
        })
    }

    /// Runs each target's backward pass for some rows and their references.
    pub fn walk(
        &self,
        question: &Question<'_>,
        inputs: &Values,
        reference: &Values,
    ) -> Result<Vec<Found>, Error> {
        let pass = question.pass(inputs, Some(reference), &self.plan)?;
        let output = pass.output()?;
        let before = pass.reference_output()?;
        let before = before.ok_or(Error::Internal("DeepLIFT without a reference"))?;
        let names: Vec<&str> = self
            .layers
            .unwrap_or_default()
            .iter()
            .map(|l| &l[..])
            .collect();
        let ends = self.ends(&pass, inputs, reference)?;
        let targets = question.targets().iter();
        let found = targets.map(|target| {
            let chosen = target.choose(&output, inputs)?;
            let at_reference = target.choose(&before, reference)?.scores;
            let seed = match target {
                Target::Function(_) => average_seed(target, &output, &before, inputs)?,
                _ => chosen.seed,
            };
            let walked = pass.walk(Walk::from_output(seed).keep(Keep::Layers(&names)))?;
            let multipliers = match self.layers {
                Some(_) => walked.layers,
                None => walked.inputs,
            };
            let change = chosen.scores.iter().zip(&at_reference);
            let change: Vec<f32> = change.map(|(x, b)| x - b).collect();
            self.found(multipliers, &ends, chosen.scores, &change)
        });
        found.collect()
    }

    /// Returns input and reference values of what is explained; none for inputs that are not.
    fn ends(
        &self,
        pass: &Pass,
        inputs: &Values,
        reference: &Values,
    ) -> Result<Vec<Option<Ends>>, Error> {
        if let Some(layers) = self.layers {
            let ends = layers.iter().map(|layer| {
                let before = pass.reference_activation(layer)?;
                let before = before.ok_or(Error::Internal("DeepLIFT without a reference"))?;
                Ok(Some((pass.activation(layer)?, before)))
            });
            return ends.collect();
        }
        let pairs = inputs.values().iter().zip(reference.values()).enumerate();
        let ends = pairs.map(|(i, (x, b))| inputs.attributed(i).then(|| (x.clone(), b.clone())));
        Ok(ends.collect())
    }

    fn found(
        &self,
        multipliers: Vec<Option<Value>>,
        ends: &[Option<Ends>],
        scores: Vec<f32>,
        change: &[f32],
    ) -> Result<Found, Error> {
        let mut values = Vec::with_capacity(ends.len());
        let mut sums: Vec<Vec<f32>> = Vec::new();
        for (i, (multiplier, ends)) in multipliers.into_iter().zip(ends).enumerate() {
            let Some((x, b)) = ends else {
                values.push(None);
                continue;
            };
            let multiplier = multiplier.ok_or_else(|| match self.layers {
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
        let deltas = if self.layers.is_some() {
            let off = |sum: &Vec<f32>| sum.iter().zip(change).map(|(s, c)| s - c).collect();
            sums.iter().map(off).collect()
        } else {
            let rows = change.iter().enumerate();
            let off = rows.map(|(row, c)| sums.iter().map(|s| s[row]).sum::<f32>() - c);
            vec![off.collect()]
        };
        Ok(Found {
            values,
            scores,
            deltas,
        })
    }
}

/// Returns the averaged derivative of a target function, as for one more operation on the output.
fn average_seed(
    target: &Target,
    output: &Value,
    before: &Value,
    inputs: &Values,
) -> Result<Value, Error> {
    let mut sum: Option<Tensor<2>> = None;
    for (alpha, weight) in Quadrature::GaussLegendre.samples(32)? {
        let point = parts::between(output, before, alpha)?;
        let part = target.choose(&point, inputs)?.seed.matrix()? * weight;
        sum = Some(match sum {
            Some(sum) => sum + part,
            None => part,
        });
    }
    let sum = sum.ok_or(Error::Internal("a quadrature without samples"))?;
    Ok(Value::from_matrix(sum, &output.shape()))
}

impl Composite for DeepLiftConfig {
    fn name(&self) -> String {
        match self.rule {
            DeepLiftRule::Rescale => "DeepLIFT, rescale".into(),
            DeepLiftRule::RevealCancel => "DeepLIFT, RevealCancel".into(),
        }
    }

    fn rule(&self, node: &NodeInfo<'_>) -> Result<Option<Arc<dyn Rule>>, Error> {
        if self.rule == DeepLiftRule::RevealCancel
            && let Some(rule) = reveal_cancel::choose(node, self.eps)
        {
            return Ok(Some(rule));
        }
        Ok(rules::choose(node, self.eps))
    }
}
