//! A question for a method: a model, its inputs, their baselines, the targets and run settings.
//!
//! ```text
//! mod.rs        Question: what it holds, and how it evaluates the model
//! chunks.rs     work in chunks that fit the memory budget
//! inside.rs     plans, passes and activations of a model that is a graph
//! collected.rs  results collected from chunks
//! run.rs        Run: budget, progress, cancellation
//! target.rs     Target: the output value to explain
//! ```

mod chunks;
mod collected;
mod inside;
mod run;
mod target;

use std::cell::Cell;
use std::rc::Rc;

use crate::method::Counter;
use crate::{Baselines, Error, Explanation, Model, Value, Values, Work};

pub use collected::Collected;
pub use run::{Budget, Progress, Run};
pub use target::{Chosen, Target, TargetFunction};

/// The question that a method answers: how much did each element of these inputs contribute to
/// these targets of this model?
///
/// A method evaluates the model through its question, which counts the work, respects the memory
/// budget, reports progress and checks for cancellation. Where a model requires a fixed number of
/// rows, smaller batches are padded here; a method sees only its own rows.
#[derive(Clone)]
pub struct Question<'a> {
    model: &'a dyn Model,
    inputs: Values,
    targets: Vec<Target>,
    baselines: Baselines,
    /// Whether the baselines are the caller's, or activations that follow from them.
    given: bool,
    run: Run<'a>,
    work: Counter,
    verified: Rc<Cell<bool>>,
    /// Whether a model with tracked parameters was seen to be in inference mode.
    inferring: Rc<Cell<bool>>,
}

/// Gradients and scores of each target, for rows that went through the model together.
pub struct TargetGradients {
    /// `[target][input]`; `Some` for exactly the attributed inputs.
    pub gradients: Vec<Vec<Option<Value>>>,
    /// `[target][row]`.
    pub scores: Vec<Vec<f32>>,
}

impl<'a> Question<'a> {
    /// Creates a question about inputs that have been checked and include the model's constants.
    pub(crate) fn new(
        model: &'a dyn Model,
        inputs: Values,
        targets: &[Target],
        run: &Run<'a>,
    ) -> Self {
        Self {
            model,
            inputs,
            targets: targets.to_vec(),
            baselines: Baselines::default(),
            given: false,
            run: *run,
            work: Counter::default(),
            verified: Rc::default(),
            inferring: Rc::default(),
        }
    }

    /// Returns the inputs to explain.
    pub fn inputs(&self) -> &Values {
        &self.inputs
    }

    /// Returns the targets to explain.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Returns the baselines, which replace absent inputs; zeros unless the caller gave others.
    pub fn baselines(&self) -> &Baselines {
        &self.baselines
    }

    /// Returns the work counted so far, here and in all questions derived from this one.
    pub fn work(&self) -> Work {
        self.work.get()
    }

    /// Returns the same question about other inputs.
    pub fn with_inputs(&self, inputs: Values) -> Self {
        Self {
            inputs,
            ..self.clone()
        }
    }

    /// Returns the same question about other targets.
    pub fn with_targets(&self, targets: Vec<Target>) -> Self {
        Self {
            targets,
            ..self.clone()
        }
    }

    /// Returns the same question with these baselines, which override those of an inner method.
    pub fn with_baselines(&self, baselines: Baselines) -> Self {
        Self {
            baselines,
            given: true,
            ..self.clone()
        }
    }

    /// Returns the same question with a method's own baselines, unless an outer method gave others.
    pub fn with_own_baselines(&self, baselines: &Baselines) -> Self {
        if self.given {
            return self.clone();
        }
        self.with_baselines(baselines.clone())
    }

    /// Announces work of up to `rows` model evaluations, and returns the same question for its
    /// parts: they advance the work without announcing their own.
    pub fn announce(&self, rows: usize) -> Self {
        Self {
            run: self.run.announce(rows),
            ..self.clone()
        }
    }

    /// Returns the same question without progress reports, for work inside other work.
    pub fn quiet(&self) -> Self {
        Self {
            run: self.run.quiet(),
            ..self.clone()
        }
    }

    /// Returns the same question with [`Target::Predicted`] replaced by the classes that the model
    /// predicts for the inputs, for methods that evaluate the model at other points.
    ///
    /// # Errors
    /// The model's own.
    pub fn with_fixed_targets(&self) -> Result<Self, Error> {
        if !self.targets.iter().any(|t| matches!(t, Target::Predicted)) {
            return Ok(self.clone());
        }
        if self.inputs.rows() != self.inputs.caller_rows() {
            return Err(Error::Internal(
                "targets were not fixed before rows were expanded",
            ));
        }
        let mut outputs = Vec::new();
        self.quiet().for_rows(1, |rows| {
            outputs.push(self.forward(&rows)?);
            Ok(())
        })?;
        let output = Value::cat_rows(outputs)?;
        let targets = self.targets.iter().map(|target| target.fixed(&output));
        Ok(self.with_targets(targets.collect::<Result<_, _>>()?))
    }

    /// Computes the model's output for some rows.
    ///
    /// # Errors
    /// The model's own.
    pub fn forward(&self, rows: &Values) -> Result<Value, Error> {
        self.count(rows.rows(), 1, 0);
        let Some(padded) = self.padded(rows) else {
            let output = self.model.forward(rows.clone())?;
            if !output.device().is_autodiff() {
                return Ok(output);
            }
            // The inputs are not tracked, so parameters are, as those of a model in training are.
            if !self.inferring.replace(true) {
                self.check_inference(rows, &output)?;
            }
            return Ok(output.detached());
        };
        let output = self.model.forward(padded.clone())?;
        Ok(own(output, rows, &padded))
    }

    /// Refuses a model in training mode: its output changes from one pass to the next, or with the
    /// other rows of the batch.
    fn check_inference(&self, rows: &Values, output: &Value) -> Result<(), Error> {
        let one = rows.slice(0..1);
        let other = one.with(|i, value| one.attributed(i).then(|| value.zeros_like()));
        let both = Values::cat(vec![one.clone(), other])?;
        self.count(1, 2, 0);
        self.count(2, 1, 0);
        let first = self.model.forward(one.clone())?.detached();
        let again = self.model.forward(one)?.detached();
        let beside = self.model.forward(both)?.detached();
        let mut others = vec![again];
        for (value, count) in [(beside, 2), (output.clone().detached(), rows.rows())] {
            if value.rows() == count && first.rows() == 1 {
                others.push(value.slice_rows(0..1));
            }
        }
        let first = first.to_vec()?;
        let largest = first.iter().fold(0f32, |m, v| m.max(v.abs()));
        for other in others {
            let pairs = first.iter().zip(other.to_vec()?);
            let difference = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            if difference > 1e-4 * largest.max(1e-3) {
                return Err(Error::TrainingMode { difference });
            }
        }
        Ok(())
    }

    /// Refuses inputs none of which has a gradient, such as tokens alone.
    ///
    /// # Errors
    /// [`Error::NoGradient`].
    pub fn check_attributed(&self) -> Result<(), Error> {
        let inputs = &self.inputs;
        if (0..inputs.values().len()).any(|i| inputs.attributed(i)) {
            return Ok(());
        }
        Err(Error::NoGradient { input: 0 })
    }

    /// Computes gradients and scores of each target for some rows.
    ///
    /// # Errors
    /// [`Error::NoGradient`] for an attributed input that no gradient reaches; the model's own, and
    /// the targets'.
    pub fn gradients(&self, rows: &Values) -> Result<TargetGradients, Error> {
        self.check_attributed()?;
        let padded = self.padded(rows);
        let all = padded.as_ref().unwrap_or(rows);
        if !self.verified.replace(true) {
            // Two rows show the same difference as a whole batch.
            let few = all.slice(0..all.rows().min(self.bound().unwrap_or(2)));
            let passes = self.model.verify(&few)?;
            self.count(few.rows(), passes, 0);
        }
        let scores = Cell::new(Vec::new());
        let found = self.model.gradients(all.clone(), &|output| {
            let chosen = self.chosen(output, all)?;
            scores.set(chosen.iter().map(|c| c.scores.clone()).collect());
            Ok(chosen.into_iter().map(|c| c.seed).collect())
        })?;
        self.count(rows.rows(), found.forward_passes, found.inputs.len());
        let mut scores: Vec<Vec<f32>> = scores.take();
        let mut gradients = found.inputs;
        for per_input in &mut gradients {
            for (i, gradient) in per_input.iter_mut().enumerate() {
                if rows.attributed(i) && gradient.is_none() {
                    return Err(Error::NoGradient { input: i });
                }
                if padded.is_some() {
                    *gradient = gradient.take().map(|value| own(value, rows, all));
                }
            }
        }
        scores.iter_mut().for_each(|s| s.truncate(rows.rows()));
        Ok(TargetGradients { gradients, scores })
    }

    /// Applies each target to an output: its scores, and the seed of the backward pass.
    ///
    /// # Errors
    /// The targets' own.
    pub fn chosen(&self, output: &Value, rows: &Values) -> Result<Vec<Chosen>, Error> {
        let chosen = self
            .targets
            .iter()
            .map(|target| target.choose(output, rows));
        chosen.collect()
    }

    /// Computes the model's output for each target and row of the inputs, `[target][row]`.
    ///
    /// # Errors
    /// The model's own, and the targets'.
    pub fn scores(&self) -> Result<Vec<Vec<f32>>, Error> {
        self.scores_of(&self.inputs)
    }

    /// As [`scores`](Self::scores), for other rows.
    ///
    /// # Errors
    /// As [`scores`](Self::scores).
    pub fn scores_of(&self, rows: &Values) -> Result<Vec<Vec<f32>>, Error> {
        let mut scores: Vec<Vec<f32>> = vec![Vec::with_capacity(rows.rows()); self.targets.len()];
        self.quiet()
            .with_inputs(rows.clone())
            .for_rows(1, |chunk| {
                let output = self.forward(&chunk)?;
                for (scores, target) in scores.iter_mut().zip(&self.targets) {
                    scores.extend(target.scores(&output, &chunk)?);
                }
                Ok(())
            })?;
        Ok(scores)
    }

    /// Returns the same question about another model and its inputs, with a shared work count.
    pub fn about<'b>(&self, model: &'b dyn Model, inputs: Values) -> Question<'b>
    where
        'a: 'b,
    {
        Question {
            model,
            inputs,
            targets: self.targets.clone(),
            baselines: self.baselines.clone(),
            given: self.given,
            run: self.run,
            work: self.work.clone(),
            verified: Rc::default(),
            inferring: Rc::default(),
        }
    }

    /// Computes the gradients of each target for all rows, with their scores.
    ///
    /// # Errors
    /// As [`gradients`](Self::gradients).
    pub fn explained_by_gradients(&self) -> Result<Vec<Explanation>, Error> {
        let mut rows = self.collect();
        self.for_rows(1, |chunk| {
            let found = self.gradients(&chunk)?;
            for (t, values) in found.gradients.into_iter().enumerate() {
                rows.push(t, values, &found.scores[t]);
            }
            Ok(())
        })?;
        rows.finish()
    }

    /// Creates an empty [`Collected`] for results that arrive in chunks of rows, one value per
    /// input.
    pub fn collect(&self) -> Collected {
        Collected::new(self.targets.len(), self.inputs.values().len())
    }

    pub(crate) fn count(&self, rows: usize, forward_passes: usize, backward_passes: usize) {
        self.work.count(rows, forward_passes, backward_passes);
    }

    /// Pads the rows by repeating the last one, where the model requires more.
    fn padded(&self, rows: &Values) -> Option<Values> {
        let (count, bound) = (rows.rows(), self.bound()?);
        if count == 0 || count >= bound {
            return None;
        }
        let rows_of = |row: usize| row.min(count - 1);
        Some(rows.select(&(0..bound).map(rows_of).collect::<Vec<_>>()))
    }
}

/// Returns the rows of a value that are not padding.
fn own(value: Value, rows: &Values, padded: &Values) -> Value {
    if value.rows() == padded.rows() && !value.shape().is_empty() {
        value.slice_rows(0..rows.rows())
    } else {
        value
    }
}
