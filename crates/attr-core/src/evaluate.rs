//! What method crates build on: outputs and gradients of many rows, within the memory budget.

use std::cell::Cell;

use crate::{Error, Explanation, Model, Run, Target, Value, Values, Walk, Walks};

/// Results that come in chunks of rows, per target and input.
pub struct Collected(Vec<Vec<Vec<Value>>>);

impl Collected {
    /// Nothing yet, for so many targets and inputs.
    pub fn new(targets: usize, inputs: usize) -> Self {
        Self(vec![vec![Vec::new(); inputs]; targets])
    }

    /// Appends a chunk: for one target, the rows of each input; none for inputs without
    /// attribution.
    pub fn push(&mut self, target: usize, chunk: Vec<Option<Value>>) {
        for (parts, value) in self.0[target].iter_mut().zip(chunk) {
            parts.extend(value);
        }
    }

    /// An explanation for each target, with its scores.
    ///
    /// # Errors
    /// None for chunks that agree in kind and shape.
    pub fn finish(self, scores: Vec<Vec<f32>>) -> Result<Vec<Explanation>, Error> {
        let explanations = self.0.into_iter().zip(scores);
        explanations
            .map(|(per_input, scores)| {
                let values = per_input.into_iter().map(|parts| match parts.is_empty() {
                    true => Ok(None),
                    false => Value::cat_rows(parts).map(Some),
                });
                Ok(Explanation::new(
                    values.collect::<Result<_, Error>>()?,
                    scores,
                ))
            })
            .collect()
    }
}

/// Gradients of each target for all rows, chunk by chunk within the budget.
///
/// Returns per target the gradient for each input and the scores.
///
/// # Errors
/// [`Error::NoGradient`] for an attributed input that nothing flows to, and the model's own.
pub fn gradients(
    model: &dyn Model,
    inputs: &Values,
    targets: &[Target],
    run: &Run<'_>,
) -> Result<Vec<Explanation>, Error> {
    let at_once = run.rows_at_once(model, inputs);
    let rows = inputs.rows();
    run.start(rows);
    let mut scores: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
    let mut collected = Collected::new(targets.len(), inputs.values().len());
    for start in (0..rows).step_by(at_once) {
        let chunk = inputs.slice(start..(start + at_once).min(rows));
        let (gradients, chosen) = target_gradients(model, &chunk, targets)?;
        for (t, per_input) in gradients.into_iter().enumerate() {
            scores[t].extend(&chosen[t]);
            collected.push(t, per_input);
        }
        run.advance(chunk.rows());
    }
    collected.finish(scores)
}

/// Gradients and scores of each target for rows that go through the model at once. Every
/// attributed input has a gradient, and no other.
///
/// # Errors
/// As [`gradients`].
#[allow(clippy::type_complexity)] // Two lists, each per target.
pub fn target_gradients(
    model: &dyn Model,
    inputs: &Values,
    targets: &[Target],
) -> Result<(Vec<Vec<Option<Value>>>, Vec<Vec<f32>>), Error> {
    if (0..inputs.values().len()).all(|i| !inputs.attributed(i)) {
        return Err(Error::NoGradient { input: 0 });
    }
    let scores = Cell::new(Vec::new());
    let gradients = model.gradients(inputs.clone(), &|output| {
        let chosen = targets.iter().map(|target| target.choose(output, inputs));
        let chosen: Vec<_> = chosen.collect::<Result<_, _>>()?;
        scores.set(chosen.iter().map(|c| c.scores.clone()).collect());
        Ok(chosen.into_iter().map(|c| c.seed).collect())
    })?;
    for per_input in &gradients.inputs {
        for (i, gradient) in per_input.iter().enumerate() {
            if inputs.attributed(i) && gradient.is_none() {
                return Err(Error::NoGradient { input: i });
            }
        }
    }
    Ok((gradients.inputs, scores.take()))
}

/// Walks back from each target for rows that go through the model at once; the scores of each
/// target come beside.
///
/// # Errors
/// [`Error::NotTraced`], the model's own, and the targets'.
pub fn target_walks(
    model: &dyn Model,
    inputs: &Values,
    targets: &[Target],
    walk: &Walk<'_>,
) -> Result<(Walks, Vec<Vec<f32>>), Error> {
    let scores = Cell::new(Vec::new());
    let walks = model.walk(
        inputs,
        &|output, _| {
            let chosen = targets.iter().map(|target| target.choose(output, inputs));
            let chosen: Vec<_> = chosen.collect::<Result<_, _>>()?;
            scores.set(chosen.iter().map(|c| c.scores.clone()).collect());
            Ok(chosen.into_iter().map(|c| c.seed).collect())
        },
        walk,
    )?;
    Ok((walks, scores.take()))
}

/// The model's output for each target and row: `[target][row]`, chunk by chunk within the budget.
///
/// # Errors
/// The model's own, and the targets'.
pub fn scores(
    model: &dyn Model,
    inputs: &Values,
    targets: &[Target],
    run: &Run<'_>,
) -> Result<Vec<Vec<f32>>, Error> {
    let at_once = run.rows_at_once(model, inputs);
    let rows = inputs.rows();
    let mut scores: Vec<Vec<f32>> = vec![Vec::with_capacity(rows); targets.len()];
    for start in (0..rows).step_by(at_once) {
        let chunk = inputs.slice(start..(start + at_once).min(rows));
        let output = model.forward(chunk.clone())?;
        for (scores, target) in scores.iter_mut().zip(targets) {
            scores.extend(target.scores(&output, &chunk)?);
        }
    }
    Ok(scores)
}

/// The activations of some layers for all rows, chunk by chunk within the budget.
///
/// # Errors
/// [`Error::NotTraced`], and the model's own.
pub fn activations(
    model: &dyn Model,
    inputs: &Values,
    layers: &[&str],
    run: &Run<'_>,
) -> Result<Vec<Value>, Error> {
    let at_once = run.rows_at_once(model, inputs);
    let rows = inputs.rows();
    let walk = Walk::new().to_layers(layers);
    let mut parts: Vec<Vec<Value>> = vec![Vec::new(); layers.len()];
    for start in (0..rows).step_by(at_once) {
        let chunk = inputs.slice(start..(start + at_once).min(rows));
        let walks = model.walk(&chunk, &|_, _| Ok(Vec::new()), &walk)?;
        for (parts, value) in parts.iter_mut().zip(walks.activations) {
            parts.push(value);
        }
    }
    parts.into_iter().map(Value::cat_rows).collect()
}

/// Targets with [`Target::Predicted`] replaced by what the model predicts for these inputs, for
/// methods that evaluate the model elsewhere than at the inputs.
///
/// # Errors
/// The model's own.
pub fn fix_targets(
    model: &dyn Model,
    inputs: &Values,
    targets: &[Target],
    run: &Run<'_>,
) -> Result<Vec<Target>, Error> {
    if !targets.iter().any(|t| matches!(t, Target::Predicted)) {
        return Ok(targets.to_vec());
    }
    if inputs.rows() != inputs.caller_rows() {
        return Err(Error::Internal(
            "targets were not fixed before rows were expanded",
        ));
    }
    let at_once = run.rows_at_once(model, inputs);
    let rows = inputs.rows();
    let outputs: Vec<Value> = (0..rows)
        .step_by(at_once)
        .map(|start| model.forward(inputs.slice(start..(start + at_once).min(rows))))
        .collect::<Result<_, _>>()?;
    let output = Value::cat_rows(outputs)?;
    targets.iter().map(|target| target.fix(&output)).collect()
}
