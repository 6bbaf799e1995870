//! What every attribution method is, and what it returns.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;

use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};

use crate::{
    Baselines, Cut, Error, Gradients, Inputs, Model, Near, Run, Seeds, Target, Value, Values, Walk,
    WalkSeeds, Walks,
};

/// An attribution method: says how much each element of the input contributed to a target.
///
/// One method is required; [`attribute`](Self::attribute) and its relatives are what users call.
pub trait Method: Send + Sync {
    /// Explains each of several targets; inputs and targets have been checked, and inputs carry
    /// the model's own constants.
    ///
    /// # Errors
    /// Whatever the model or the method's parameters give rise to.
    fn explain(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Explanation>, Error>;

    /// The same method with its baselines replaced by what `map` makes of them; none for a method
    /// without baselines. This is how baselines that are said of the inputs follow a method to a
    /// layer.
    ///
    /// # Errors
    /// Whatever `map` reports.
    fn rebased(&self, map: &Rebase<'_>) -> Result<Option<Box<dyn Method>>, Error> {
        let _ = map;
        Ok(None)
    }

    /// The attribution of `target` to `inputs`, with default memory budget and no progress.
    ///
    /// # Errors
    /// [`Error`] says which value was wrong and what would be right.
    fn attribute<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
    ) -> Result<Attribution<I>, Error>
    where
        Self: Sized,
    {
        self.attribute_with(model, inputs, target, &Run::new())
    }

    /// As [`attribute`](Self::attribute), with a memory budget and progress.
    ///
    /// # Errors
    /// As [`attribute`](Self::attribute).
    fn attribute_with<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
        run: &Run<'_>,
    ) -> Result<Attribution<I>, Error>
    where
        Self: Sized,
    {
        let all = self.attribute_targets(model, inputs, &[target.into()], run)?;
        let mut all = all.into_iter();
        all.next()
            .ok_or(Error::Internal("a method returned nothing"))
    }

    /// One attribution for each of several targets, over shared forward passes.
    ///
    /// # Errors
    /// As [`attribute`](Self::attribute).
    fn attribute_targets<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Attribution<I>>, Error>
    where
        Self: Sized,
    {
        let (values, count) = prepare(model, inputs, targets)?;
        let counted = Counted::new(model);
        let explanations = self.explain(&counted, &values, targets, run)?;
        let work = counted.work();
        explanations
            .into_iter()
            .zip(targets)
            .map(|(mut explanation, target)| {
                explanation.values.truncate(count);
                if let Some(errors) = &mut explanation.standard_error {
                    errors.truncate(count);
                }
                Ok(Attribution {
                    typed: I::attributions(explanation.values.clone())?,
                    target: target.to_string(),
                    explanation,
                    work,
                })
            })
            .collect()
    }
}

impl<T: Method + ?Sized> Method for &T {
    fn explain(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Explanation>, Error> {
        (**self).explain(model, inputs, targets, run)
    }

    fn rebased(&self, map: &Rebase<'_>) -> Result<Option<Box<dyn Method>>, Error> {
        (**self).rebased(map)
    }
}

impl<T: Method + ?Sized> Method for Box<T> {
    fn explain(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Explanation>, Error> {
        (**self).explain(model, inputs, targets, run)
    }

    fn rebased(&self, map: &Rebase<'_>) -> Result<Option<Box<dyn Method>>, Error> {
        (**self).rebased(map)
    }
}

/// Makes other baselines of a method's own.
pub type Rebase<'a> = dyn Fn(&Baselines) -> Result<Baselines, Error> + 'a;

/// A model without the types of its inputs, for work on it that is no [`Method`].
pub fn untyped<I: Inputs, M: Model<I>>(model: &M) -> impl Model + use<'_, I, M> {
    Counted::new(model)
}

/// Inputs as methods take them, checked, with the model's constants; and how many the caller gave.
///
/// # Errors
/// [`Error::EmptyBatch`], [`Error::Shape`] and [`Error::NonFinite`] for inputs that nothing can
/// explain; [`Error::TargetRows`] for targets of another number of rows.
pub fn prepare<I: Inputs>(
    model: &impl Model<I>,
    inputs: &I,
    targets: &[Target],
) -> Result<(Values, usize), Error> {
    let given = inputs.to_values();
    // Whatever rows these are of, they are the caller's.
    let given = given
        .with(|_, value| Some(value.clone().detached()))
        .renumbered();
    given.check()?;
    for target in targets {
        target.check(given.rows())?;
    }
    let count = given.values().len();
    Ok((given.with_constants(model.constants())?, count))
}

/// What a method computes for one target.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Per input, values shaped like it; none for inputs without attribution.
    pub values: Vec<Option<Value>>,
    /// Per row, the model's output for the target.
    pub scores: Vec<f32>,
    /// Per row, the convergence delta, for methods that promise completeness.
    pub delta: Option<Vec<f32>>,
    /// Like `values`, how far off they may be: the standard error of a mean over samples, for
    /// methods that sample.
    pub standard_error: Option<Vec<Option<Value>>>,
    /// Per row, how well a simple model fits around the input, for methods that fit one: the
    /// coefficient of determination.
    pub r_squared: Option<Vec<f32>>,
}

impl Explanation {
    /// Values and scores, with no promise of completeness.
    pub fn new(values: Vec<Option<Value>>, scores: Vec<f32>) -> Self {
        Self {
            values,
            scores,
            delta: None,
            standard_error: None,
            r_squared: None,
        }
    }
}

/// Model evaluations, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Rows that went through the model forwards.
    pub forward_rows: usize,
    /// Rows for which gradients were computed, counted once per target.
    pub backward_rows: usize,
    /// Forward passes, each of many rows.
    pub passes: usize,
}

/// How much each element of the inputs `I` contributed to a target.
#[derive(Clone, Debug)]
pub struct Attribution<I: Inputs> {
    typed: I::Attributions,
    explanation: Explanation,
    target: String,
    work: Work,
}

impl<I: Inputs> Attribution<I> {
    /// The attributions, shaped like the inputs: a tensor for a tensor, a tuple for a tuple.
    pub fn attribution(&self) -> I::Attributions
    where
        I::Attributions: Clone,
    {
        self.typed.clone()
    }

    /// The attributions without their types, one entry per input.
    pub fn values(&self) -> &[Option<Value>] {
        &self.explanation.values
    }

    /// What was explained: the model's output for the target, per row.
    pub fn scores(&self) -> &[f32] {
        &self.explanation.scores
    }

    /// The convergence delta per row, `sum(attribution) - (f(x) - f(baseline))`, for methods that
    /// promise completeness. Where a feature has several elements, it counts once.
    pub fn delta(&self) -> Option<&[f32]> {
        self.explanation.delta.as_deref()
    }

    /// For methods that sample, the standard error of each value, one entry per input.
    pub fn standard_error(&self) -> Option<&[Option<Value>]> {
        self.explanation.standard_error.as_deref()
    }

    /// For methods that fit a simple model around each row, how well it fits: the coefficient of
    /// determination, 1 at best.
    pub fn r_squared(&self) -> Option<&[f32]> {
        self.explanation.r_squared.as_deref()
    }

    /// Model evaluations it took, shared by all targets of one call.
    pub fn work(&self) -> Work {
        self.work
    }

    /// The same as plain data, for storage.
    ///
    /// # Errors
    /// [`Error::Device`] when reading from the device fails.
    pub fn to_record(&self) -> Result<AttributionRecord, Error> {
        let values = self.explanation.values.iter();
        Ok(AttributionRecord {
            target: self.target.clone(),
            values: values
                .map(|value| value.as_ref().map(Value::to_data).transpose())
                .collect::<Result<_, _>>()?,
            scores: self.explanation.scores.clone(),
            delta: self.explanation.delta.clone(),
            work: self.work,
        })
    }
}

/// An attribution on the host, for storage and exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttributionRecord {
    /// The target, as text.
    pub target: String,
    /// Per input, its attribution.
    pub values: Vec<Option<TensorData>>,
    /// Per row, the model's output for the target.
    pub scores: Vec<f32>,
    /// Per row, the convergence delta.
    pub delta: Option<Vec<f32>>,
    /// Model evaluations it took.
    pub work: Work,
}

/// A model without its input type, counting its evaluations and verified before its first
/// gradient.
pub(crate) struct Counted<'a, I, M> {
    model: &'a M,
    work: Rc<Cell<Work>>,
    verified: Cell<bool>,
    inputs: PhantomData<fn(I)>,
}

impl<'a, I: Inputs, M: Model<I>> Counted<'a, I, M> {
    pub fn new(model: &'a M) -> Self {
        Self {
            model,
            work: Rc::default(),
            verified: Cell::new(false),
            inputs: PhantomData,
        }
    }

    /// What has been counted so far.
    pub fn work(&self) -> Work {
        self.work.get()
    }
}

impl Work {
    fn count(&mut self, rows: usize, forward_passes: usize, backward_passes: usize) {
        self.forward_rows += rows * forward_passes;
        self.backward_rows += rows * backward_passes;
        self.passes += forward_passes;
    }
}

fn count(work: &Cell<Work>, rows: usize, forward_passes: usize, backward_passes: usize) {
    let mut counted = work.get();
    counted.count(rows, forward_passes, backward_passes);
    work.set(counted);
}

impl<I: Inputs, M: Model<I>> Model for Counted<'_, I, M> {
    fn forward(&self, inputs: Values) -> Result<Value, Error> {
        count(&self.work, inputs.rows(), 1, 0);
        self.model.forward(inputs)
    }

    fn gradients(&self, inputs: Values, seeds: &Seeds<'_>) -> Result<Gradients, Error> {
        let rows = inputs.rows();
        if !self.verified.replace(true) {
            count(&self.work, rows, self.model.verify(&inputs)?, 0);
        }
        let gradients = self.model.gradients(inputs, seeds)?;
        let (forwards, backwards) = (gradients.forward_passes, gradients.inputs.len());
        count(&self.work, rows, forwards, backwards);
        Ok(gradients)
    }

    fn walk(
        &self,
        inputs: &Values,
        seeds: &WalkSeeds<'_>,
        walk: &Walk<'_>,
    ) -> Result<Walks, Error> {
        let walks = self.model.walk(inputs, seeds, walk)?;
        let forwards = 1 + usize::from(walks.reference.is_some());
        count(&self.work, inputs.rows(), forwards, walks.walked.len());
        Ok(walks)
    }

    fn cut(&self, layers: &[&str], inputs: &Values) -> Result<Cut<'_>, Error> {
        let cut = self.model.cut(layers, inputs)?;
        count(&self.work, inputs.rows(), 1, 0);
        Ok(Cut {
            model: Box::new(CountedCut {
                model: cut.model,
                work: self.work.clone(),
            }),
            inputs: cut.inputs,
        })
    }

    fn constants(&self) -> &[Value] {
        self.model.constants()
    }

    fn near(
        &self,
        row: &Values,
        input: usize,
        size: &[usize],
    ) -> Result<Option<Box<dyn Near + '_>>, Error> {
        let near = self.model.near(row, input, size)?;
        Ok(near.map(|near| {
            count(&self.work, row.rows(), 1, 0);
            let work = self.work.clone();
            Box::new(CountedNear { near, work }) as Box<dyn Near>
        }))
    }

    fn rows(&self) -> Option<usize> {
        self.model.rows()
    }

    fn bytes_per_row(&self, inputs: &Values) -> Option<usize> {
        self.model.bytes_per_row(inputs)
    }
}

struct CountedNear<'a> {
    near: Box<dyn Near + 'a>,
    work: Rc<Cell<Work>>,
}

impl Near for CountedNear<'_> {
    fn output(&self) -> Result<Value, Error> {
        self.near.output()
    }

    fn forward(&self, rows: &Values, windows: &[Vec<Range<usize>>]) -> Result<Value, Error> {
        count(&self.work, rows.rows(), 1, 0);
        self.near.forward(rows, windows)
    }
}

/// The rest of a counted model: only traced models are cut, and those need no verification.
struct CountedCut<'a> {
    model: Box<dyn Model + 'a>,
    work: Rc<Cell<Work>>,
}

impl Model for CountedCut<'_> {
    fn forward(&self, inputs: Values) -> Result<Value, Error> {
        count(&self.work, inputs.rows(), 1, 0);
        self.model.forward(inputs)
    }

    fn gradients(&self, inputs: Values, seeds: &Seeds<'_>) -> Result<Gradients, Error> {
        let rows = inputs.rows();
        let gradients = self.model.gradients(inputs, seeds)?;
        let (forwards, backwards) = (gradients.forward_passes, gradients.inputs.len());
        count(&self.work, rows, forwards, backwards);
        Ok(gradients)
    }

    fn walk(
        &self,
        inputs: &Values,
        seeds: &WalkSeeds<'_>,
        walk: &Walk<'_>,
    ) -> Result<Walks, Error> {
        let walks = self.model.walk(inputs, seeds, walk)?;
        let forwards = 1 + usize::from(walks.reference.is_some());
        count(&self.work, inputs.rows(), forwards, walks.walked.len());
        Ok(walks)
    }

    fn near(
        &self,
        row: &Values,
        input: usize,
        size: &[usize],
    ) -> Result<Option<Box<dyn Near + '_>>, Error> {
        let near = self.model.near(row, input, size)?;
        Ok(near.map(|near| {
            count(&self.work, row.rows(), 1, 0);
            let work = self.work.clone();
            Box::new(CountedNear { near, work }) as Box<dyn Near>
        }))
    }

    fn rows(&self) -> Option<usize> {
        self.model.rows()
    }

    fn bytes_per_row(&self, inputs: &Values) -> Option<usize> {
        self.model.bytes_per_row(inputs)
    }
}
