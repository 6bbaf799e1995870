//! Deconvolution: the gradient, with ReLUs that pass back only positive values, regardless of
//! their forward input.
//!
//! Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", 2013
//! (<https://arxiv.org/abs/1311.2901>). Matches Captum's `Deconvolution`, except that every ReLU in
//! the graph is handled. Captum sees only modules and gives the plain gradient for a functional
//! ReLU.

use std::sync::Arc;

use attr_core::walk::{NodeInfo, NodeView, Reads, Rule, Shares};
use attr_core::{ByRules, Error, Explanation, Method, Question, Value};
use serde::{Deserialize, Serialize};

use crate::relu::at_relus;

/// Computes the gradient with `R_in = 1[R_out > 0] ⊙ R_out` at every ReLU.
///
/// Shapes: the input's, `[batch, ...]`. One forward and one backward pass per row. For a model
/// without ReLUs, the result is its gradient.
///
/// # Errors
/// The same as for [`GuidedBackprop`](crate::GuidedBackprop).
///
/// ```
/// use attr_core::{Method, Traced};
/// use attr_gradient::Deconvolution;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Linear = LinearConfig::new(3, 2).init(&device);
/// let x = Tensor::<2>::ones([1, 3], &device);
/// let model = Traced::new(&net, |n: &Linear, x| activation::relu(n.forward(x)), &x)?;
/// let found = Deconvolution::new().attribute(&model, &x, 1)?;
/// assert_eq!(found.attribution().dims(), [1, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Deconvolution {}

impl Deconvolution {
    /// Creates the method, which has no parameters.
    pub fn new() -> Self {
        Self::default()
    }
}

struct Positive;

impl Rule for Positive {
    fn reads(&self, _: &NodeInfo<'_>) -> Reads {
        Reads::NOTHING
    }

    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        match arriving.into_iter().next().flatten() {
            Some(value) => Ok(node.only_first(value.map(|share| share.clamp_min(0.0))?)),
            None => Ok(node.nothing()),
        }
    }
}

impl Method for Deconvolution {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        ByRules::new(at_relus(Arc::new(Positive))).explain(question)
    }
}
