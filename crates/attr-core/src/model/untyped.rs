//! A model as methods see it: without the static types of its inputs.

use crate::build::{Gradients, Seeds};
use crate::{Error, Inputs, Model, Traced, Value, Values};

/// A model without the static types of its inputs.
pub(crate) struct Untyped<'a, I, M> {
    model: &'a M,
    inputs: std::marker::PhantomData<fn(I)>,
}

impl<'a, I: Inputs, M: Model<I>> Untyped<'a, I, M> {
    pub fn new(model: &'a M) -> Self {
        Self {
            model,
            inputs: std::marker::PhantomData,
        }
    }
}

impl<I: Inputs, M: Model<I>> Model for Untyped<'_, I, M> {
    fn forward(&self, inputs: Values) -> Result<Value, Error> {
        self.model.forward(inputs)
    }

    fn gradients(&self, inputs: Values, seeds: &Seeds<'_>) -> Result<Gradients, Error> {
        self.model.gradients(inputs, seeds)
    }

    fn verify(&self, inputs: &Values) -> Result<usize, Error> {
        self.model.verify(inputs)
    }

    fn traced(&self) -> Option<&Traced> {
        self.model.traced()
    }
}
