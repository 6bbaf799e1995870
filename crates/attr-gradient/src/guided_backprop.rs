//! Guided backpropagation: the gradient, with ReLUs that pass back only positive values.
//!
//! Springenberg, Dosovitskiy, Brox, Riedmiller, "Striving for Simplicity", 2014
//! (<https://arxiv.org/abs/1412.6806>). Matches Captum's `GuidedBackprop`, except that every ReLU
//! in the graph is handled. Captum sees only modules and gives the plain gradient for a functional
//! ReLU.

use std::sync::Arc;

use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{ByRules, Error, Explanation, Method, Question, Value};
use serde::{Deserialize, Serialize};

use crate::relu::at_relus;

/// Computes the gradient with `R_in = 1[x > 0] ⊙ 1[R_out > 0] ⊙ R_out` at every ReLU.
///
/// Shapes: the input's, `[batch, ...]`. One forward and one backward pass per row. For a model
/// without ReLUs, the result is its gradient.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::NoGradient`] for an input that gets no gradient.
///
/// ```
/// use attr_core::{Method, Traced};
/// use attr_gradient::GuidedBackprop;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Linear = LinearConfig::new(3, 2).init(&device);
/// let x = Tensor::<2>::ones([1, 3], &device);
/// let model = Traced::new(&net, |n: &Linear, x| activation::relu(n.forward(x)), &x)?;
/// let guided = GuidedBackprop::new().attribute(&model, &x, 1)?;
/// assert_eq!(guided.attribution().dims(), [1, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GuidedBackprop {}

impl GuidedBackprop {
    /// Creates the method, which has no parameters.
    pub fn new() -> Self {
        Self::default()
    }
}

struct Guided;

impl Rule for Guided {
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        let mut shares = node.pull_back_here(arriving)?;
        for share in shares.iter_mut().flatten() {
            *share = share.map(|share| share.clamp_min(0.0))?;
        }
        Ok(shares.into())
    }
}

impl Method for GuidedBackprop {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        ByRules::new(at_relus(Arc::new(Guided))).explain(question)
    }
}
