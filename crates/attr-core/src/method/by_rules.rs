//! A composite of rules as a method: what its walk brings back from a target.

use std::fmt;
use std::sync::Arc;

use super::Method;
use crate::build::Collected;
use crate::walk::{Composite, Keep, Walk};
use crate::{Error, Explanation, Kind, Question, Value};

/// Walks back from each target by the rules of a composite, and returns what arrives at the inputs
/// or, [at layers](crate::Method::at_layers), at the layers.
///
/// The walk starts with 1 at the target's output, or [with the output
/// itself](Self::from_scores). This makes a rule of your own a method, with targets, memory budget
/// and layers.
///
/// Shapes: the input's, `[batch, ...]`; at a layer, its activation's. One forward and one backward
/// pass per row and target.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::NoGradient`] for an input that nothing arrives at,
/// such as tokens; [`Error::Layer`] for a layer that nothing arrives at; those of the rules.
///
/// ```
/// use std::sync::Arc;
///
/// use attr_core::walk::{NodeInfo, NodeView, Rule, Shares};
/// use attr_core::{ByRules, Error, Method, Traced, Value};
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation};
///
/// /// Passes on what arrives, whatever the ReLU did.
/// struct PassThrough;
///
/// impl Rule for PassThrough {
///     fn backward(&self, _: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
///         Ok(arriving.into())
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let device = Device::default();
/// let net: Linear = LinearConfig::new(3, 2).init(&device);
/// let x = Tensor::<2>::ones([1, 3], &device);
/// let model = Traced::new(&net, |net: &Linear, x| activation::relu(net.forward(x)), &x)?;
///
/// let method = ByRules::new(|node: &NodeInfo<'_>| -> Result<Option<Arc<dyn Rule>>, Error> {
///     Ok(node.op().is_relu().then(|| Arc::new(PassThrough) as Arc<dyn Rule>))
/// });
/// assert_eq!(method.attribute(&model, &x, 1)?.attribution().dims(), [1, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ByRules<C> {
    composite: C,
    start: Start,
}

/// What a walk starts with.
#[derive(Clone)]
enum Start {
    /// The target's seed: 1 at a class.
    Seed,
    /// A function of the target's seed and the output.
    Function(Arc<Relevance>),
}

type Relevance = dyn Fn(&Value, &Value) -> Result<Value, Error> + Send + Sync;

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seed => "Seed",
            Self::Function(_) => "Function",
        })
    }
}

impl<C: Composite> ByRules<C> {
    /// Creates the method from a composite, which may be a closure.
    pub fn new(composite: C) -> Self {
        Self {
            composite,
            start: Start::Seed,
        }
    }

    /// The composite.
    pub fn composite(&self) -> &C {
        &self.composite
    }

    /// Starts each walk with the output where the target is: with a class's score, as LRP does. An
    /// input to which rules pass nothing then gets zeros instead of an error, unless it holds
    /// integers.
    pub fn from_scores(self) -> Self {
        self.starting_with(|seed, output| seed.zip(output, |seed, output| seed * output))
    }

    /// Starts each walk with what a function makes of the target's seed (1 at a class, 0 elsewhere)
    /// and of the output; all three have the output's shape, `[batch, ...]`. Inputs to which rules
    /// pass nothing get zeros, as with [`from_scores`](Self::from_scores).
    pub fn starting_with(
        mut self,
        relevance: impl Fn(&Value, &Value) -> Result<Value, Error> + Send + Sync + 'static,
    ) -> Self {
        self.start = Start::Function(Arc::new(relevance));
        self
    }

    /// Returns what a walk starts with.
    ///
    /// # Errors
    /// Those of the function given to [`starting_with`](Self::starting_with).
    pub fn start(&self, seed: Value, output: &Value) -> Result<Value, Error> {
        match &self.start {
            Start::Seed => Ok(seed),
            Start::Function(relevance) => relevance(&seed, output),
        }
    }
}

impl<C: Composite> Method for ByRules<C> {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        question.check_attributed()?;
        let plan = question.plan(&self.composite)?;
        let mut collected = question.collect();
        question.for_rows(1, |rows| {
            let pass = question.pass(&rows, None, &plan)?;
            let output = pass.output()?;
            let chosen = question.chosen(&output, &rows)?;
            for (t, chosen) in chosen.into_iter().enumerate() {
                let walk = Walk::from_output(self.start(chosen.seed, &output)?);
                let mut values = pass.walk(walk)?.inputs;
                for (i, value) in values.iter_mut().enumerate() {
                    let input = &rows.values()[i];
                    if !rows.attributed(i) {
                        *value = None;
                    } else if value.is_none() {
                        let zero = matches!(self.start, Start::Function(_));
                        if !zero || input.kind() != Kind::Float {
                            return Err(Error::NoGradient { input: i });
                        }
                        *value = Some(input.zeros_like());
                    }
                }
                collected.push(t, values, &chosen.scores);
            }
            Ok(())
        })?;
        collected.finish()
    }

    fn explain_layers(
        &self,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        let plan = question.plan(&self.composite)?.to_layers(layers)?;
        let names: Vec<&str> = layers.iter().map(String::as_str).collect();
        let mut collected = Collected::new(question.targets().len(), layers.len());
        question.for_rows(1, |rows| {
            let pass = question.pass(&rows, None, &plan)?;
            let output = pass.output()?;
            let chosen = question.chosen(&output, &rows)?;
            for (t, chosen) in chosen.into_iter().enumerate() {
                let walk = Walk::from_output(self.start(chosen.seed, &output)?);
                let values = pass
                    .walk(walk.keep(Keep::Layers(&names)))?
                    .reached(layers)?;
                let values = values.into_iter().map(Some).collect();
                collected.push(t, values, &chosen.scores);
            }
            Ok(())
        })?;
        let found = collected.finish()?.into_iter();
        Ok(found.map(Explanation::split).collect())
    }
}
