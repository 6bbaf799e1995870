//! A question: a model, its inputs, their baselines, the targets, and how the work is carried out.

use std::cell::Cell;
use std::rc::Rc;

use crate::build::Chosen;
use crate::graph::NearRow;
use crate::walk::{Composite, Pass, Plan};
use crate::{
    Baselines, Budget, Error, Explanation, Inputs, Model, Run, Target, Traced, Value, Values, Work,
};

/// What a method is asked: how much did each element of these inputs contribute to these targets of
/// this model?
///
/// A method evaluates the model through its question, which counts the work, keeps to the memory
/// budget, reports progress and notices cancellation. Where a model insists on a number of rows,
/// fewer are padded here; a method sees only its own.
#[derive(Clone)]
pub struct Question<'a> {
    model: &'a dyn Model,
    inputs: Values,
    targets: Vec<Target>,
    baselines: Baselines,
    activations: bool,
    run: Run<'a>,
    work: Rc<Cell<Work>>,
    verified: Rc<Cell<bool>>,
}

/// Gradients and scores of each target for rows that went through the model together.
pub struct TargetGradients {
    /// `[target][input]`; one for every attributed input, and for no other.
    pub gradients: Vec<Vec<Option<Value>>>,
    /// `[target][row]`.
    pub scores: Vec<Vec<f32>>,
}

impl<'a> Question<'a> {
    /// A question about inputs that have been checked and carry the model's own constants.
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
            activations: false,
            run: *run,
            work: Rc::default(),
            verified: Rc::default(),
        }
    }

    /// The inputs to explain.
    pub fn inputs(&self) -> &Values {
        &self.inputs
    }

    /// What to explain.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// What stands for absent inputs; zeros unless the caller gave something.
    pub fn baselines(&self) -> &Baselines {
        &self.baselines
    }

    /// The work counted so far, here and in all questions made of this one.
    pub fn work(&self) -> Work {
        self.work.get()
    }

    /// The same question about other inputs.
    pub fn with_inputs(&self, inputs: Values) -> Self {
        Self {
            inputs,
            ..self.clone()
        }
    }

    /// The same question about other targets.
    pub fn with_targets(&self, targets: Vec<Target>) -> Self {
        Self {
            targets,
            ..self.clone()
        }
    }

    /// The same question with other baselines.
    pub fn with_baselines(&self, baselines: Baselines) -> Self {
        Self {
            baselines,
            ..self.clone()
        }
    }

    /// The same question at a layer, where the baselines are activations, whatever baselines of
    /// the inputs a method inside another was given.
    pub(crate) fn with_activations(&self, baselines: Baselines) -> Self {
        Self {
            activations: true,
            ..self.with_baselines(baselines)
        }
    }

    pub(crate) fn baselines_are_activations(&self) -> bool {
        self.activations
    }

    /// The same question without reports of progress, for work inside other work.
    pub fn quiet(&self) -> Self {
        Self {
            run: self.run.quiet(),
            ..self.clone()
        }
    }

    /// The same question with [`Target::Predicted`] replaced by what the model predicts for the
    /// inputs, for methods that evaluate the model elsewhere than at the inputs.
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
        let targets = self.targets.iter().map(|target| target.fix(&output));
        Ok(self.with_targets(targets.collect::<Result<_, _>>()?))
    }

    /// How many items go through the model at once, when each is `rows_each` rows that go together:
    /// as many as the budget allows, or as the model insists on.
    pub fn items_at_once(&self, rows_each: usize) -> usize {
        match self.bound() {
            Some(rows) => rows,
            None => (self.run.rows_at_once(self.model, &self.inputs) / rows_each.max(1)).max(1),
        }
    }

    /// The number of rows that the model insists on.
    pub fn bound(&self) -> Option<usize> {
        let rows = self.model.traced()?.rows();
        rows.filter(|&rows| rows > 0)
    }

    /// Whether the caller bounds the number of rows that go at once.
    pub fn budget(&self) -> Budget {
        self.run.budget()
    }

    /// Does the work of `total` items, as many at once as [`items_at_once`](Self::items_at_once)
    /// says, and reports progress. Items are taken as they are needed, so their number costs no
    /// memory.
    ///
    /// # Errors
    /// [`Error::Cancelled`], and those of `f`.
    pub fn for_items<T>(
        &self,
        total: usize,
        items: impl IntoIterator<Item = T>,
        rows_each: usize,
        f: impl FnMut(&[T]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.for_chunks(total, items, self.items_at_once(rows_each), f)
    }

    /// The same with `at_once` items at a time.
    ///
    /// # Errors
    /// As [`for_items`](Self::for_items).
    pub fn for_chunks<T>(
        &self,
        total: usize,
        items: impl IntoIterator<Item = T>,
        at_once: usize,
        mut f: impl FnMut(&[T]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.run.start(total);
        let mut items = items.into_iter();
        loop {
            let chunk: Vec<T> = items.by_ref().take(at_once.max(1)).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            if self.run.cancelled() {
                return Err(Error::Cancelled);
            }
            f(&chunk)?;
            self.run.advance(chunk.len());
        }
    }

    /// Does work on the rows of the inputs, in order, as many at once as fit when `rows_each` rows
    /// of the model go together.
    ///
    /// # Errors
    /// As [`for_items`](Self::for_items).
    pub fn for_rows(
        &self,
        rows_each: usize,
        mut f: impl FnMut(Values) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let rows = self.inputs.rows();
        self.for_items(rows, 0..rows, rows_each, |chunk| {
            f(self.inputs.slice(chunk[0]..chunk[0] + chunk.len()))
        })
    }

    /// The model's output for some rows.
    ///
    /// # Errors
    /// The model's own.
    pub fn forward(&self, rows: &Values) -> Result<Value, Error> {
        self.count(rows.rows(), 1, 0);
        let Some(padded) = self.padded(rows) else {
            return self.model.forward(rows.clone());
        };
        let output = self.model.forward(padded.clone())?;
        Ok(own(output, rows, &padded))
    }

    /// Gradients and scores of each target for some rows.
    ///
    /// # Errors
    /// [`Error::NoGradient`] for an attributed input that nothing flows to; the model's own, and the
    /// targets'.
    pub fn gradients(&self, rows: &Values) -> Result<TargetGradients, Error> {
        if (0..rows.values().len()).all(|i| !rows.attributed(i)) {
            return Err(Error::NoGradient { input: 0 });
        }
        let padded = self.padded(rows);
        let all = padded.as_ref().unwrap_or(rows);
        if !self.verified.replace(true) {
            // Two rows show what a whole batch would.
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

    /// What each target makes of an output: its scores, and what to walk back from.
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

    /// The model's output for each target and row of the inputs, `[target][row]`.
    ///
    /// # Errors
    /// The model's own, and the targets'.
    pub fn scores(&self) -> Result<Vec<Vec<f32>>, Error> {
        self.scores_of(&self.inputs)
    }

    /// The same for other rows.
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

    /// The model as a graph.
    ///
    /// # Errors
    /// [`Error::NotTraced`] for a model that has none, such as a closure.
    pub fn traced(&self) -> Result<&'a Traced, Error> {
        self.model.traced().ok_or(Error::NotTraced)
    }

    /// The rules of a composite for the model on such inputs.
    ///
    /// # Errors
    /// [`Error::NotTraced`]; as [`Traced::plan`].
    pub fn plan(&self, composite: &dyn Composite) -> Result<Plan, Error> {
        let traced = self.traced()?;
        // A graph bound to its rows is the one for that many.
        match self.padded(&self.inputs) {
            Some(padded) => traced.plan(composite, &padded),
            None => {
                let rows = self.bound().unwrap_or(1).min(self.inputs.rows());
                traced.plan(composite, &self.inputs.slice(0..rows))
            }
        }
    }

    /// One forward pass over some rows, with a reference where one is given.
    ///
    /// # Errors
    /// [`Error::NotTraced`]; as [`Traced::pass`].
    pub fn pass(
        &self,
        rows: &Values,
        reference: Option<&Values>,
        plan: &Plan,
    ) -> Result<Pass, Error> {
        let traced = self.traced()?;
        let work = self.work.clone();
        let Some(padded) = self.padded(rows) else {
            return traced.run_pass(rows, reference, plan, work);
        };
        let reference = reference.and_then(|reference| self.padded(reference));
        let pass = traced.run_pass(&padded, reference.as_ref(), plan, work)?;
        Ok(pass.padded_from(rows.rows()))
    }

    /// The activations of some layers for all rows of the inputs.
    ///
    /// # Errors
    /// [`Error::NotTraced`], [`Error::UnknownLayer`], and the model's own.
    pub fn activations<S: AsRef<str>>(&self, layers: &[S]) -> Result<Vec<Value>, Error> {
        let names: Vec<&str> = layers.iter().map(AsRef::as_ref).collect();
        let traced = self.traced()?;
        let mut parts: Vec<Vec<Value>> = vec![Vec::new(); layers.len()];
        self.quiet().for_rows(1, |rows| {
            self.count(rows.rows(), 1, 0);
            let padded = self.padded(&rows);
            let all = padded.as_ref().unwrap_or(&rows);
            let found = traced.activations(all, &names)?;
            for (parts, value) in parts.iter_mut().zip(found) {
                parts.push(own(value, &rows, all));
            }
            Ok(())
        })?;
        parts.into_iter().map(Value::cat_rows).collect()
    }

    /// The model from the outputs of `layers` on, and what it takes for all rows of the inputs.
    ///
    /// # Errors
    /// [`Error::NotTraced`]; as [`Traced::cut`].
    pub fn cut<S: AsRef<str>>(&self, layers: &[S]) -> Result<(Traced, Values), Error> {
        let names: Vec<&str> = layers.iter().map(AsRef::as_ref).collect();
        let traced = self.traced()?;
        let mut rest = None;
        let mut parts = Vec::new();
        self.quiet().for_rows(1, |rows| {
            self.count(rows.rows(), 1, 0);
            let padded = self.padded(&rows);
            let (model, values) = traced.cut(&names, padded.as_ref().unwrap_or(&rows))?;
            parts.push(values.slice(0..rows.rows()));
            rest.get_or_insert(model);
            Ok(())
        })?;
        let rest = rest.ok_or(Error::Internal("a model was not cut"))?;
        Ok((rest, Values::cat(parts)?))
    }

    /// The same question about another model and its inputs, counting the same work.
    pub fn about<'b>(&self, model: &'b dyn Model, inputs: Values) -> Question<'b>
    where
        'a: 'b,
    {
        Question {
            model,
            inputs,
            targets: self.targets.clone(),
            baselines: self.baselines.clone(),
            activations: self.activations,
            run: self.run,
            work: self.work.clone(),
            verified: Rc::default(),
        }
    }

    /// Gradients of each target for all rows, with their scores.
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

    /// A place for results that come row by row, one value for each input.
    pub fn collect(&self) -> Collected {
        Collected::new(self.targets.len(), self.inputs.values().len())
    }

    pub(crate) fn near(
        &self,
        row: &Values,
        input: usize,
        size: &[usize],
    ) -> Result<Option<NearRow>, Error> {
        let Some(traced) = self.model.traced() else {
            return Ok(None);
        };
        let near = traced.near(row, input, size)?;
        if near.is_some() {
            self.count(row.rows(), 1, 0);
        }
        Ok(near)
    }

    pub(crate) fn count(&self, rows: usize, forward_passes: usize, backward_passes: usize) {
        let mut work = self.work.get();
        work.count(rows, forward_passes, backward_passes);
        self.work.set(work);
    }

    /// The rows with the last repeated, where the model insists on more.
    fn padded(&self, rows: &Values) -> Option<Values> {
        let (count, bound) = (rows.rows(), self.bound()?);
        if count == 0 || count >= bound {
            return None;
        }
        let rows_of = |row: usize| row.min(count - 1);
        Some(rows.select(&(0..bound).map(rows_of).collect::<Vec<_>>()))
    }
}

/// The rows of a value that are not padding.
fn own(value: Value, rows: &Values, padded: &Values) -> Value {
    if value.rows() == padded.rows() && !value.shape().is_empty() {
        value.slice_rows(0..rows.rows())
    } else {
        value
    }
}

/// Results that come in chunks of rows, for each target.
pub struct Collected {
    /// `[target][input][chunk]`.
    values: Vec<Vec<Vec<Value>>>,
    scores: Vec<Vec<f32>>,
}

impl Collected {
    /// Nothing yet, for so many targets and values.
    pub fn new(targets: usize, values: usize) -> Self {
        Self {
            values: vec![vec![Vec::new(); values]; targets],
            scores: vec![Vec::new(); targets],
        }
    }

    /// Appends a chunk for one target: the rows of each value, none for what gets no attribution,
    /// and their scores.
    pub fn push(&mut self, target: usize, chunk: Vec<Option<Value>>, scores: &[f32]) {
        let Some(values) = self.values.get_mut(target) else {
            return;
        };
        for (parts, value) in values.iter_mut().zip(chunk) {
            parts.extend(value);
        }
        self.scores[target].extend(scores);
    }

    /// An explanation for each target.
    ///
    /// # Errors
    /// [`Error::Shape`] for chunks that disagree in kind or shape.
    pub fn finish(self) -> Result<Vec<Explanation>, Error> {
        let each = self.values.into_iter().zip(self.scores);
        each.map(|(per_input, scores)| {
            let values = per_input.into_iter().map(|parts| {
                if parts.is_empty() {
                    Ok(None)
                } else {
                    Value::cat_rows(parts).map(Some)
                }
            });
            Ok(Explanation::new(
                values.collect::<Result<_, Error>>()?,
                scores,
            ))
        })
        .collect()
    }
}

/// A model without the types of its inputs.
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

    fn gradients(
        &self,
        inputs: Values,
        seeds: &crate::build::Seeds<'_>,
    ) -> Result<crate::build::Gradients, Error> {
        self.model.gradients(inputs, seeds)
    }

    fn verify(&self, inputs: &Values) -> Result<usize, Error> {
        self.model.verify(inputs)
    }

    fn traced(&self) -> Option<&Traced> {
        self.model.traced()
    }
}
