//! The walk back of the two methods that treat ReLUs specially.

use std::sync::Arc;

use attr_core::{
    Collected, Error, Explanation, Model, NodeView, Rule, Run, Target, Values, Walk, target_walks,
};

/// The walk back with `rule` at every ReLU, from each target to the inputs.
pub(crate) fn walk_relus(
    rule: Arc<dyn Rule>,
    model: &dyn Model,
    inputs: &Values,
    targets: &[Target],
    run: &Run<'_>,
) -> Result<Vec<Explanation>, Error> {
    let rules = |node: &NodeView<'_>| node.op().is_relu().then(|| rule.clone());
    let walk = Walk::new().with_rules(&rules);
    let (rows, at_once) = (inputs.rows(), run.rows_at_once(model, inputs));
    run.start(rows);
    let mut scores: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
    let mut collected = Collected::new(targets.len(), inputs.values().len());
    for start in (0..rows).step_by(at_once) {
        let chunk = inputs.slice(start..(start + at_once).min(rows));
        let (walks, chosen) = target_walks(model, &chunk, targets, &walk)?;
        for (t, walked) in walks.walked.into_iter().enumerate() {
            let mut values = walked.inputs;
            for (i, value) in values.iter_mut().enumerate() {
                match (chunk.attributed(i), &value) {
                    (true, None) => return Err(Error::NoGradient { input: i }),
                    (false, Some(_)) => *value = None,
                    _ => {}
                }
            }
            scores[t].extend(&chosen[t]);
            collected.push(t, values);
        }
        run.advance(chunk.rows());
    }
    collected.finish(scores)
}
