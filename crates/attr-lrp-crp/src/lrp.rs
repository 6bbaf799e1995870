//! LRP as a method.

use attr_core::build::Collected;
use attr_core::walk::{Composite, Keep, Walk};
use attr_core::{Error, Explanation, Kind, Method, Question, Value};

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
    composite: C,
    fold: bool,
}

impl<C: Composite> Lrp<C> {
    /// Creates the method from a composite, such as [`epsilon_plus_flat`](crate::epsilon_plus_flat).
    pub fn new(composite: C) -> Self {
        Self {
            composite,
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

/// Returns the relevance of each target at the output.
fn start(seed: &Value, output: &Value) -> Result<Value, Error> {
    seed.zip(output, |seed, output| seed * output)
}

/// Returns no relevance for an input that could get some.
fn nothing(input: &Value, number: usize) -> Result<Value, Error> {
    match input.kind() {
        Kind::Float => Ok(input.zeros_like()),
        _ => Err(Error::NoGradient { input: number }),
    }
}

impl<C: Composite> Method for Lrp<C> {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        self.canonized(question, |question| {
            question.check_attributed()?;
            let plan = question.plan(&self.composite)?;
            let mut collected = question.collect();
            question.for_rows(1, |rows| {
                let pass = question.pass(&rows, None, &plan)?;
                let output = pass.output()?;
                let chosen = question.chosen(&output, &rows)?;
                for (t, chosen) in chosen.into_iter().enumerate() {
                    let walk = Walk::from_output(start(&chosen.seed, &output)?);
                    let mut values = pass.walk(walk)?.inputs;
                    for (i, value) in values.iter_mut().enumerate() {
                        if !rows.attributed(i) {
                            *value = None;
                        } else if value.is_none() {
                            // Rules may stop all relevance on the way, as at a gate.
                            *value = Some(nothing(&rows.values()[i], i)?);
                        }
                    }
                    collected.push(t, values, &chosen.scores);
                }
                Ok(())
            })?;
            collected.finish()
        })
    }

    fn explain_layers(
        &self,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        self.canonized(question, |question| {
            let plan = question.plan(&self.composite)?.to_layers(layers)?;
            let names: Vec<&str> = layers.iter().map(String::as_str).collect();
            let mut collected = Collected::new(question.targets().len(), layers.len());
            question.for_rows(1, |rows| {
                let pass = question.pass(&rows, None, &plan)?;
                let output = pass.output()?;
                let chosen = question.chosen(&output, &rows)?;
                for (t, chosen) in chosen.into_iter().enumerate() {
                    let walk = Walk::from_output(start(&chosen.seed, &output)?);
                    let values = pass
                        .walk(walk.keep(Keep::Layers(&names)))?
                        .reached(layers)?;
                    collected.push(t, values.into_iter().map(Some).collect(), &chosen.scores);
                }
                Ok(())
            })?;
            let found = collected.finish()?.into_iter();
            Ok(found.map(Explanation::split).collect())
        })
    }
}
