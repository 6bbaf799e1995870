//! Internal influence: the mean gradient at a layer along the path of integrated gradients.
//!
//! Leino, Sen, Datta, Fredrikson, Li, "Influence-Directed Explanations for Deep Convolutional
//! Networks", 2018 (<https://arxiv.org/abs/1802.03788>). Matches Captum's `InternalInfluence`.

use attr_core::walk::{GradientEverywhere, Keep, Walk};
use attr_core::{BaselineUse, Error, Explanation, LayerMethod, LayerNames, Question};
use serde::{Deserialize, Serialize};

use super::{explanations, names};
use crate::path::{Path, no_path};
use crate::quadrature::Quadrature;
use crate::rows::{Chunk, RowSums, samples_of};

/// Parameters of [`InternalInfluence`], under Captum's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct InternalInfluenceConfig {
    /// Number of samples on the path; default 50, as in Captum.
    pub n_steps: usize,
    /// The quadrature rule; default Gauss-Legendre, as in Captum.
    pub method: Quadrature,
}

impl Default for InternalInfluenceConfig {
    fn default() -> Self {
        Self {
            n_steps: 50,
            method: Quadrature::default(),
        }
    }
}

/// Computes `A = Σₖ wₖ ∂f/∂l(b + αₖ (x - b))` at each unit of a layer.
///
/// Shapes: the layers'. `n_steps` forward and backward passes per row and one forward pass for the
/// scores, for all layers together.
///
/// # Errors
/// The same as for [`Conductance`](crate::Conductance).
///
/// ```
/// use attr_core::{LayerMethod, Traced};
/// use attr_gradient::InternalInfluence;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Linear = LinearConfig::new(3, 4).init(&device);
/// let x = Tensor::<2>::ones([1, 3], &device);
/// let model = Traced::new(&net, |n: &Linear, x| (n.forward(x) * 2.0).sum_dim(1), &x)?;
/// let layer = model.layers()[0].name.clone();
/// let found = InternalInfluence::new([layer.clone()]).attribute(&model, &x, 0)?;
/// for value in found.value(&layer)?.to_vec()? {
///     assert!((value - 2.0).abs() < 1e-5); // the gradient, the same everywhere
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct InternalInfluence {
    layers: Vec<String>,
    config: InternalInfluenceConfig,
}

impl InternalInfluence {
    /// Creates the method with fifty Gauss-Legendre steps from a zero baseline, at these layers.
    pub fn new(layers: impl Into<LayerNames>) -> Self {
        Self {
            layers: layers.into().into_vec(),
            config: InternalInfluenceConfig::default(),
        }
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: InternalInfluenceConfig) -> Self {
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
}

impl LayerMethod for InternalInfluence {
    fn layers(&self) -> &[String] {
        &self.layers
    }

    fn explain_at(&self, question: &Question<'_>) -> Result<Vec<Vec<Explanation>>, Error> {
        let n = self.config.n_steps;
        let samples = self.config.method.samples(n)?;
        let question = question.with_fixed_targets()?;
        let path = Path::new(question.inputs(), question.baselines())?;
        if path.way.iter().all(Option::is_none) {
            return Err(no_path("internal influence"));
        }
        let rows = question.inputs().rows();
        let names = names(&self.layers);
        let at_inputs = question.scores()?;
        let plan = question
            .plan_at(&GradientEverywhere, &self.layers)?
            .to_layers(&self.layers)?;
        let mut sums = RowSums::new(rows, question.targets().len(), self.layers.len());
        let mut shapes: Vec<Vec<usize>> = Vec::new();
        question.for_items(rows * n, samples_of(rows, n), 1, |part| {
            let of: Vec<usize> = part.iter().map(|item| item.0).collect();
            let points = path.at(&of, |item| samples[part[item].1].0)?;
            let pass = question.pass(&points, None, &plan)?;
            let layers = self.layers.iter();
            shapes = layers
                .map(|layer| pass.shape(layer))
                .collect::<Result<_, _>>()?;
            let chunk = Chunk::new(&of, |item| samples[part[item].1].1);
            let chosen = question.chosen(&pass.output()?, &points)?;
            for (t, chosen) in chosen.into_iter().enumerate() {
                let walk = Walk::from_output(chosen.seed).keep(Keep::Layers(&names));
                let gradients = pass.walk(walk)?.reached(&self.layers)?;
                for (i, gradient) in gradients.into_iter().enumerate() {
                    sums.add(t, i, gradient.matrix()?, &chunk);
                }
            }
            Ok(())
        })?;
        let found = sums.finish().into_iter().zip(at_inputs);
        Ok(found
            .map(|(sums, scores)| explanations(sums, &shapes, rows, &scores))
            .collect())
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Reference
    }
}
