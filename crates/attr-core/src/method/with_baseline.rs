//! A method with the caller's baselines.

use super::{BaselineUse, Method};
use crate::{Baselines, Error, Explanation, Question};

/// A method with baselines, which replace absent inputs.
///
/// The outermost baselines count: those of `IntegratedGradients::new().with_baseline(0.0)` are
/// replaced by a further `with_baseline(1.0)`, and so are those that a method such as XRAI chooses
/// for the method inside it.
#[derive(Clone, Debug)]
pub struct WithBaseline<M> {
    pub(crate) method: M,
    pub(crate) baselines: Baselines,
}

impl<M> WithBaseline<M> {
    /// Returns the method without the baselines.
    pub fn method(&self) -> &M {
        &self.method
    }

    /// Returns the baselines.
    pub fn baselines(&self) -> &Baselines {
        &self.baselines
    }
}

impl<M: Method> Method for WithBaseline<M> {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        refuse_unused(self.method.baseline_use())?;
        let question = question.with_own_baselines(&self.baselines);
        self.method.explain(&question)
    }

    fn baseline_use(&self) -> BaselineUse {
        self.method.baseline_use()
    }

    fn own_baselines(&self) -> Option<&Baselines> {
        Some(&self.baselines)
    }

    fn explain_layers(
        &self,
        question: &Question<'_>,
        layers: &[String],
    ) -> Result<Vec<Vec<Explanation>>, Error> {
        refuse_unused(self.method.baseline_use())?;
        let question = question.with_own_baselines(&self.baselines);
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
