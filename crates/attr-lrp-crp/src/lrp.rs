//! LRP as a method.

use attr_core::walk::Composite;
use attr_core::{ByRules, Error, Explanation, Method, Question};

/// Propagates the target's score back to the input, by the rules of a composite.
///
/// The relevance at the output is the output where the target is, and 0 elsewhere, as in zennit: for
/// a class, its score. Rules that conserve relevance make the values sum to it, up to what biases
/// and stabilisers take.
///
/// BatchNorms are folded into the layer before them first, which zennit leaves to canonizers;
/// [`without_folding`](Self::without_folding) turns that off. Models need no other preparation: rules
/// belong to the operations that the model runs, in the order in which they run.
///
/// Shapes: the input's, `[batch, ...]`; at a layer, its activation's. One forward pass per row, with
/// what rules add to it, and one walk back per row and target.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::Rule`] for a layer without a sensible rule, such as a
/// softmax, and for a rule that does not fit its layer; [`Error::NoGradient`] for tokens.
///
/// ```
/// use attr_core::{Method, Traced};
/// use attr_lrp_crp::{Lrp, epsilon_plus_flat};
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let net: Linear = LinearConfig::new(3, 2).with_bias(false).init(&device);
/// let x = Tensor::<2>::ones([1, 3], &device);
/// let model = Traced::new(&net, |n: &Linear, x| activation::relu(n.forward(x)), &x)?;
/// let found = Lrp::new(epsilon_plus_flat()).attribute(&model, &x, 1)?;
/// let sum: f32 = found.attribution().clone().sum().into_scalar();
/// assert!((sum - found.scores()[0]).abs() < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lrp<C> {
    rules: ByRules<C>,
    fold: bool,
}

impl<C: Composite> Lrp<C> {
    /// Creates the method from a composite, such as [`epsilon_plus_flat`](crate::epsilon_plus_flat).
    pub fn new(composite: C) -> Self {
        Self {
            rules: ByRules::new(composite).from_scores(),
            fold: true,
        }
    }

    /// Leaves BatchNorms as layers of their own.
    pub fn without_folding(mut self) -> Self {
        self.fold = false;
        self
    }

    /// Answers a question about the model with its BatchNorms folded, unless that is turned off.
    fn canonized<T>(
        &self,
        question: &Question<'_>,
        answer: impl FnOnce(&Question<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if !self.fold {
            return answer(question);
        }
        let folded = question.traced()?.fold_batch_norm();
        answer(&question.about(&folded, question.inputs().clone()))
    }
}

impl<C: Composite> Method for Lrp<C> {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        self.canonized(question, |question| self.rules.explain(question))
    }

    fn explain_layers(
        &self,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        self.canonized(question, |question| {
            self.rules.explain_layers(question, layers)
        })
    }
}
