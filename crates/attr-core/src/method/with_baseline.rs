//! A method with baselines of the caller's.

use super::{BaselineUse, Method};
use crate::{Baselines, Error, Explanation, Question};

/// A method with what stands for absent inputs.
#[derive(Clone, Debug)]
pub struct WithBaseline<M> {
    pub(crate) method: M,
    pub(crate) baselines: Baselines,
}

impl<M> WithBaseline<M> {
    /// The method without the baselines.
    pub fn method(&self) -> &M {
        &self.method
    }
}

impl<M: Method> Method for WithBaseline<M> {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        refuse_unused(self.method.baseline_use())?;
        if question.baselines_are_activations() {
            // Made of these at a layer.
            return self.method.explain(question);
        }
        let question = question.with_baselines(self.baselines.clone());
        self.method.explain(&question)
    }

    fn baseline_use(&self) -> BaselineUse {
        self.method.baseline_use()
    }

    fn own_baselines(&self) -> Option<&Baselines> {
        self.method.own_baselines().or(Some(&self.baselines))
    }

    fn explain_layers(
        &self,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        refuse_unused(self.method.baseline_use())?;
        let question = question.with_baselines(self.baselines.clone());
        self.method.explain_layers(&question, layers)
    }
}

pub(crate) fn refuse_unused(used: BaselineUse) -> Result<(), Error> {
    if used == BaselineUse::None {
        return Err(Error::Method {
            method: "a baseline",
            reason: "the method compares nothing with a baseline; leave it out".into(),
        });
    }
    Ok(())
}
