//! Neuron conductance: the part of integrated gradients that flows through one neuron.
//!
//! Dhamdhere, Sundararajan, Yan, "How Important Is a Neuron?", 2018
//! (<https://arxiv.org/abs/1805.12233>). Matches Captum's `NeuronConductance`, except that
//! trapezoid weights sum to one and that several neurons give the sum of their conductances.

use attr_core::walk::{Around, GradientEverywhere, Keep, Walk};
use attr_core::{BaselineUse, Error, Explanation, Method, Question, Target, Value};
use serde::{Deserialize, Serialize};

use super::unreached;
use crate::path::{Path, no_path, take};
use crate::quadrature::Quadrature;
use crate::rows::{Chunk, RowSums, samples_of};

/// Parameters of [`NeuronConductance`], under Captum's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct NeuronConductanceConfig {
    /// Number of samples on the path; default 50, as in Captum.
    pub n_steps: usize,
    /// The quadrature rule; default the trapezoid rule, as in Captum.
    pub method: Quadrature,
    /// Whether the integral is multiplied by `x - b`; default true, as in Captum.
    pub multiply_by_inputs: bool,
}

impl Default for NeuronConductanceConfig {
    fn default() -> Self {
        Self {
            n_steps: 50,
            method: Quadrature::RiemannTrapezoid,
            multiply_by_inputs: true,
        }
    }
}

/// Computes `A = (x - b) ⊙ Σₖ wₖ ∂f/∂n(xₖ) ∂n/∂x(xₖ)`, each input's contribution to the output
/// through the neurons `n` of a layer.
///
/// Shapes: the input's, `[batch, ...]`. `n_steps` forward and backward passes per row, and one
/// forward pass for the scores. At the layer, the backward pass goes through the neurons only.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::UnknownLayer`]; the `Target*` errors for a
/// selection that does not fit the layer; [`Error::Method`] for a selection that is not made of
/// neurons.
///
/// ```
/// use attr_core::{Method, Target, Traced};
/// use attr_gradient::NeuronConductance;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Linear = LinearConfig::new(3, 4).init(&device);
/// let x = Tensor::<2>::ones([1, 3], &device);
/// let model = Traced::new(&net, |n: &Linear, x| n.forward(x).tanh().sum_dim(1), &x)?;
/// let layer = model.layers()[0].name.clone();
/// let found = NeuronConductance::new(layer, Target::unit([2])).attribute(&model, &x, 0)?;
/// assert_eq!(found.attribution().dims(), [1, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct NeuronConductance {
    layer: String,
    neurons: Target,
    config: NeuronConductanceConfig,
}

impl NeuronConductance {
    /// Creates the method with fifty steps from a zero baseline, through these neurons of the
    /// layer: [`Target::unit`] for one, [`Target::Region`] for a slice.
    pub fn new(layer: impl Into<String>, neurons: impl Into<Target>) -> Self {
        Self {
            layer: layer.into(),
            neurons: neurons.into(),
            config: NeuronConductanceConfig::default(),
        }
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: NeuronConductanceConfig) -> Self {
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
}

impl Method for NeuronConductance {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        if matches!(self.neurons, Target::Predicted | Target::Function(_)) {
            return Err(Error::Method {
                method: "neuron conductance",
                reason: "select neurons by index, region or weights".into(),
            });
        }
        let n = self.config.n_steps;
        let samples = self.config.method.samples(n)?;
        let question = question.with_fixed_targets()?;
        let inputs = question.inputs();
        let path = Path::new(inputs, question.baselines())?;
        if path.way.iter().all(Option::is_none) {
            return Err(no_path("neuron conductance"));
        }
        let rows = inputs.rows();
        let at_inputs = question.scores()?;
        let layer = &self.layer[..];
        let plan = question
            .plan_at(&GradientEverywhere, &[layer])?
            .recording(&[layer])?;
        let mut sums = RowSums::new(rows, question.targets().len(), path.way.len());
        question.for_items(rows * n, samples_of(rows, n), 1, |part| {
            let of: Vec<usize> = part.iter().map(|item| item.0).collect();
            let points = path.at(&of, |item| samples[part[item].1].0)?;
            let pass = question.pass(&points, None, &plan)?;
            // The selection is 1 at the neurons and 0 elsewhere, regardless of the activation.
            let neurons = self.neurons.choose(&pass.activation(layer)?, &points)?.seed;
            let chunk = Chunk::new(&of, |item| samples[part[item].1].1);
            let chosen = question.chosen(&pass.output()?, &points)?;
            for (t, chosen) in chosen.into_iter().enumerate() {
                let walk = Walk::from_output(chosen.seed)
                    .gate(layer, neurons.clone(), Around::Drop)
                    .keep(Keep::Layers(std::slice::from_ref(&layer)));
                let walked = pass.walk(walk)?;
                if walked.layers[0].is_none() {
                    return Err(unreached(layer));
                }
                for (i, gradient) in walked.inputs.into_iter().enumerate() {
                    let (true, Some(way)) = (inputs.attributed(i), &path.way[i]) else {
                        continue;
                    };
                    // An input that does not lead to the layer contributes nothing through it.
                    let gradient = match gradient {
                        Some(gradient) => gradient.matrix()?,
                        None => take(&way.zeros_like(), &vec![0; of.len()]),
                    };
                    sums.add(t, i, gradient, &chunk);
                }
            }
            Ok(())
        })?;
        let found = sums.finish().into_iter().zip(at_inputs);
        let explained = found.map(|(sums, scores)| {
            let columns = sums.into_iter().zip(&path.way).zip(inputs.values());
            let values = columns.map(|((sum, way), input)| {
                let (Some(mut sum), Some(way)) = (sum, way) else {
                    return None;
                };
                if self.config.multiply_by_inputs {
                    sum = sum * way.clone();
                }
                Some(Value::from_matrix(sum, &input.shape()))
            });
            Explanation::new(values.collect(), scores)
        });
        Ok(explained.collect())
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Reference
    }
}
