//! The trait of methods that fit a model around each row.

use attr_core::build::ask;
use attr_core::{Error, Inputs, Method, Model, Question, Run, Target, WithBaseline};

use crate::interpretable::Fit;

/// A method that fits a simple model around each row. An attribution writes a feature's coefficient
/// to all its elements; [`fit`](Self::fit) returns the fits themselves, with one coefficient per
/// feature: Captum's `return_input_shape=False`.
pub trait FitMethod: Method {
    /// Returns the fits for a question, `[target][row]`.
    ///
    /// # Errors
    /// Those of [`Method::explain`].
    fn fits(&self, question: &Question<'_>) -> Result<Vec<Vec<Fit>>, Error>;

    /// Fits the model around each row, with the default memory budget and no progress.
    ///
    /// # Errors
    /// Those of [`Method::attribute`].
    fn fit<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
    ) -> Result<Vec<Fit>, Error>
    where
        Self: Sized,
    {
        self.fit_with(model, inputs, target, &Run::new())
    }

    /// Works like [`fit`](Self::fit), with a memory budget and progress.
    ///
    /// # Errors
    /// Those of [`Method::attribute`].
    fn fit_with<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
        run: &Run<'_>,
    ) -> Result<Vec<Fit>, Error>
    where
        Self: Sized,
    {
        ask(model, inputs, &[target.into()], run, |question, _| {
            Ok(self.fits(question)?.swap_remove(0))
        })
    }
}

impl<M: FitMethod> FitMethod for WithBaseline<M> {
    fn fits(&self, question: &Question<'_>) -> Result<Vec<Vec<Fit>>, Error> {
        self.method()
            .fits(&question.with_own_baselines(self.baselines()))
    }
}
