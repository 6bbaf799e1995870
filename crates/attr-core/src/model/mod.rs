//! Models that can be explained: anything with a forward function.
//!
//! ```text
//! mod.rs         Model: one required method; closures; gradients by autodiff
//! by_rows.rs     functions of plain slices
//! traced.rs      Traced: a model as a graph; cuts, replays, plans, passes
//! rows_apart.rs  whether a traced model keeps the rows of a batch apart
//! side_by_side.rs  parts of a batch on threads of their own
//! graphs.rs      the graph used for given inputs
//! memory.rs      how much memory its values take
//! layer.rs       the summary of a layer, and layer names
//! parameters.rs  parameters, read and replaced
//! untyped.rs     a model as methods see it
//! ```

mod by_rows;
mod graphs;
mod layer;
mod memory;
mod parameters;
mod rows_apart;
mod side_by_side;
mod traced;
mod untyped;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::backend::ops::FloatTensorOps;
use burn::backend::{AutodiffBackend, Dispatch};
use burn::tensor::Tensor;
use burn::tensor::kind::Basic;

use crate::graph::{backward, leaf};
use crate::{Error, Inputs, Kind, Value, Values};

pub use by_rows::by_rows;
pub(crate) use graphs::{check_devices, check_shapes};
pub use layer::Layer;
pub use memory::Memory;
pub use parameters::LayerParameters;
pub use traced::Traced;
pub(crate) use untyped::Untyped;

/// Computes the seeds of the backward passes from a model's output: for each target, one weight
/// tensor shaped like the output.
pub type Seeds<'a> = dyn Fn(&Value) -> Result<Vec<Value>, Error> + 'a;

/// An output and, for each seed, the gradient of `sum(seed * output)` with respect to each input.
pub struct Gradients {
    /// The model's output.
    pub output: Value,
    /// How many forward passes were needed.
    pub forward_passes: usize,
    /// Per seed, per input; `None` for inputs that get no attribution or that no gradient reaches.
    pub inputs: Vec<Vec<Option<Value>>>,
}

/// A model over inputs `I`, with one required method.
///
/// Implemented for [`Traced`] and for every closure from inputs to a tensor, or to a `Result` of
/// one. A closure gets its gradients from Burn's autodiff, a traced model from a backward walk over
/// its graph. `I` only says which inputs fit; the methods take them without static types.
///
/// ```
/// use attr_core::Model;
/// use burn::tensor::Tensor;
///
/// fn accepts(_: &impl Model<Tensor<2>>) {}
/// accepts(&|x: Tensor<2>| x.sum_dim(1));
/// ```
pub trait Model<I = Values> {
    /// Computes the output for some rows; its dimension 0 is the batch.
    ///
    /// # Errors
    /// Any error that the model reports for these inputs.
    fn forward(&self, inputs: Values) -> Result<Value, Error>;

    /// Computes the output and the gradients for each seed; seeds share the forward pass where
    /// possible.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and [`Error::NoGradient`].
    fn gradients(&self, inputs: Values, seeds: &Seeds<'_>) -> Result<Gradients, Error> {
        autodiff(&|inputs| self.forward(inputs), inputs, seeds)
    }

    /// Checks that gradients are those of the function that [`forward`](Self::forward) computes.
    /// Called once per explanation, before gradients are used. Returns the number of forward passes
    /// that the check took.
    ///
    /// # Errors
    /// [`Error::TrainingMode`] when a BatchNorm or Dropout behaves differently under autodiff.
    fn verify(&self, inputs: &Values) -> Result<usize, Error> {
        let plain = self.forward(inputs.clone())?;
        let (_, tracked) = track(&|inputs| self.forward(inputs), inputs)?;
        let (plain, tracked) = (plain.to_vec()?, tracked.detached().to_vec()?);
        let largest = plain.iter().fold(0f32, |m, v| m.max(v.abs()));
        let difference = plain
            .iter()
            .zip(&tracked)
            .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        // Kernels may round differently under autodiff; dropout and batch statistics change the
        // output far more.
        if plain.len() != tracked.len() || difference > 1e-4 * largest.max(1e-3) {
            return Err(Error::TrainingMode { difference });
        }
        Ok(2)
    }

    /// Returns the model as a graph, for methods that look inside; `None` for a model without a
    /// graph, such as a closure.
    fn traced(&self) -> Option<&Traced> {
        None
    }
}

/// The return type of a forward function: a tensor, a [`Value`], or a `Result` of either.
pub trait Output {
    /// Returns the output without its static type.
    ///
    /// # Errors
    /// [`Error::ForwardFailed`] when the forward function returned an error.
    fn into_output(self) -> Result<Value, Error>;
}

impl<const D: usize, K: Basic> Output for Tensor<D, K> {
    fn into_output(self) -> Result<Value, Error> {
        Ok(self.into())
    }
}

impl Output for Value {
    fn into_output(self) -> Result<Value, Error> {
        Ok(self)
    }
}

impl<T: Output, E: fmt::Display> Output for Result<T, E> {
    fn into_output(self) -> Result<Value, Error> {
        match self {
            Ok(output) => output.into_output(),
            Err(error) => Err(Error::ForwardFailed {
                message: error.to_string(),
            }),
        }
    }
}

impl<F, I, O> Model<I> for F
where
    F: Fn(I) -> O,
    I: Inputs,
    O: Output,
{
    fn forward(&self, inputs: Values) -> Result<Value, Error> {
        let inputs = I::from_values(inputs)?;
        let run = || self(inputs).into_output();
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            Err(Error::ForwardPanicked {
                message: crate::graph::panic_message(panic.as_ref()),
            })
        })
    }
}

type Forward<'a> = dyn Fn(Values) -> Result<Value, Error> + 'a;

/// Runs a model with its attributed inputs as leaves of an autodiff tape.
fn track(forward: &Forward<'_>, inputs: &Values) -> Result<(Vec<Value>, Value), Error> {
    let tracked = inputs.with(|i, value| inputs.attributed(i).then(|| leaf(value.clone())));
    let leaves = tracked.values().to_vec();
    let output = forward(tracked)?;
    Ok((leaves, output))
}

/// Computes gradients with Burn's autodiff. A tape allows only one backward pass, so each seed
/// needs its own forward pass.
fn autodiff(forward: &Forward<'_>, inputs: Values, seeds: &Seeds<'_>) -> Result<Gradients, Error> {
    let mut result = Vec::new();
    loop {
        let (leaves, output) = track(forward, &inputs)?;
        let first = (0..leaves.len()).find(|&i| inputs.attributed(i));
        if first.is_none() || output.kind() != Kind::Float || !output.device().is_autodiff() {
            return Err(Error::NoGradient {
                input: first.unwrap_or(0),
            });
        }
        let plain = output.clone().detached();
        let seeds = seeds(&plain)?;
        let Some(seed) = seeds.get(result.len()) else {
            return Ok(Gradients {
                output: plain,
                forward_passes: result.len() + 1,
                inputs: result,
            });
        };
        let seed = Dispatch::from_inner(seed.clone().detached().into_dispatch());
        let product = Dispatch::float_mul(output.into_dispatch(), seed);
        let mut tape = backward(Dispatch::float_sum(product))?;
        let per_input: Vec<Option<Value>> = leaves
            .into_iter()
            .enumerate()
            .map(|(i, leaf)| {
                let leaf = inputs.attributed(i).then(|| leaf.into_dispatch())?;
                Dispatch::grad_remove(&leaf, &mut tape).map(Value::from_dispatch)
            })
            .collect();
        if per_input.iter().all(Option::is_none) {
            return Err(Error::NoGradient {
                input: first.unwrap_or(0),
            });
        }
        result.push(per_input);
        if result.len() == seeds.len() {
            return Ok(Gradients {
                output: plain,
                forward_passes: result.len(),
                inputs: result,
            });
        }
    }
}
