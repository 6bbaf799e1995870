//! The backward pass of guided backpropagation and deconvolution, with a special rule at ReLUs.

use std::sync::Arc;

use attr_core::walk::{NodeInfo, Rule, Walk};
use attr_core::{Error, Explanation, Question};

/// Runs the backward pass with `rule` at every ReLU, from each target to the inputs.
pub(crate) fn walk_relus(
    rule: Arc<dyn Rule>,
    question: &Question<'_>,
) -> Result<Vec<Explanation>, Error> {
    question.check_attributed()?;
    let at_relus = |node: &NodeInfo<'_>| Ok(node.op().is_relu().then(|| rule.clone()));
    let plan = question.plan(&at_relus)?;
    let mut collected = question.collect();
    question.for_rows(1, |rows| {
        let pass = question.pass(&rows, None, &plan)?;
        let chosen = question.chosen(&pass.output()?, &rows)?;
        for (t, chosen) in chosen.into_iter().enumerate() {
            let mut values = pass.walk(Walk::from_output(chosen.seed))?.inputs;
            for (i, value) in values.iter_mut().enumerate() {
                if !rows.attributed(i) {
                    *value = None;
                } else if value.is_none() {
                    return Err(Error::NoGradient { input: i });
                }
            }
            collected.push(t, values, &chosen.scores);
        }
        Ok(())
    })?;
    collected.finish()
}
