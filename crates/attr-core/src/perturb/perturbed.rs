//! The model on perturbed copies of its inputs, the basis of black-box methods.

use std::ops::Range;

use burn::tensor::TensorData;

use crate::{Error, Kind, Question, Value, Values};

/// One perturbed copy of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Perturbation {
    /// The row.
    pub row: usize,
    /// The number of the perturbation.
    pub number: usize,
}

/// Creates the inputs for some perturbed copies.
pub type MakeRows<'a> = dyn Fn(&[Perturbation]) -> Result<Values, Error> + 'a;

/// A model, its inputs and its scores there; evaluates perturbed copies of the rows, as many at
/// once as the memory budget allows.
///
/// A forward function that returns one value for the whole batch is evaluated on all rows at once,
/// one perturbation at a time. There is then one result for the whole batch.
pub struct Perturbed<'a> {
    question: Question<'a>,
    scores: Vec<Vec<f32>>,
    at_once: usize,
    /// The fixed number of rows that the model requires, if any.
    bound: Option<usize>,
    /// Whether the budget decides how many rows are evaluated at once.
    free: bool,
    whole: bool,
}

/// Copies that differ from their rows in windows of one input.
pub struct Windows<'a> {
    /// The input.
    pub input: usize,
    /// The number of the first window's perturbation; the others follow.
    pub first: usize,
    /// How many windows there are.
    pub count: usize,
    /// The size of the largest window along each spatial dimension.
    pub size: &'a [usize],
    /// Returns the place of a window: a range for each spatial dimension.
    pub place: &'a dyn Fn(usize) -> Vec<Range<usize>>,
}

/// Receives the output at a window: the indices of target, window and row, and the output.
pub type TakeWindow<'a> = dyn FnMut(usize, usize, usize, f32) + 'a;

impl<'a> Perturbed<'a> {
    /// Runs the model on the inputs. Later, `perturbations_per_eval` perturbed copies of the batch
    /// go through it together; if `None`, as many rows as the budget allows.
    ///
    /// # Errors
    /// [`Error::Parameter`] for zero perturbations per evaluation; [`Error::WholeBatch`] for one
    /// value for the whole batch, unless perturbations are evaluated one by one; the model's own,
    /// and the targets'.
    pub fn new(
        question: &Question<'a>,
        perturbations_per_eval: Option<usize>,
    ) -> Result<Self, Error> {
        let inputs = question.inputs();
        let rows = inputs.rows();
        let at_once = match perturbations_per_eval {
            Some(0) => {
                return Err(Error::Parameter {
                    name: "perturbations_per_eval",
                    value: "0".into(),
                    expected: "it must be at least one",
                });
            }
            Some(count) => count.saturating_mul(rows),
            None => question.items_at_once(1),
        };
        let bound = question.bound();
        let at_once = bound.unwrap_or(at_once).max(1);
        let mut outputs = Vec::new();
        let mut whole = false;
        for start in (0..rows).step_by(at_once) {
            let chunk = inputs.slice(start..(start + at_once).min(rows));
            let output = float(question.forward(&chunk)?)?;
            if output.shape().first() == Some(&chunk.rows()) {
                // One value for one row may mean one value for any number of rows.
                if start == 0 && rows > 1 && chunk.rows() == 1 && output.shape().len() == 1 {
                    let two = inputs.slice(0..2);
                    let output = float(question.forward(&two)?)?;
                    if output.shape().first() != Some(&2) {
                        return Err(whole_batch(&output, &two));
                    }
                }
                outputs.push(output);
                continue;
            }
            let together = chunk.rows() == rows;
            whole = rows > 1;
            if whole && !(together && perturbations_per_eval == Some(1)) {
                return Err(whole_batch(&output, &chunk));
            }
            outputs.push(one_row(output));
        }
        let output = Value::cat_rows(outputs)?;
        let seen = if whole {
            inputs.slice(0..1).renumbered()
        } else {
            inputs.clone()
        };
        let targets = question
            .targets()
            .iter()
            .map(|target| target.fixed(&output));
        let question = question.with_targets(targets.collect::<Result<_, _>>()?);
        let scores = question.targets().iter();
        let scores = scores.map(|target| target.scores(&output, &seen));
        Ok(Self {
            scores: scores.collect::<Result<_, _>>()?,
            question,
            at_once,
            bound,
            free: perturbations_per_eval.is_none(),
            whole,
        })
    }

    /// Creates the same as [`new`](Self::new) without running the model, for rows whose `scores` are
    /// known: `[target][row]`. The targets must be fixed.
    pub fn known(question: &Question<'a>, scores: Vec<Vec<f32>>) -> Self {
        let bound = question.bound();
        Self {
            question: question.clone(),
            scores,
            at_once: bound.unwrap_or(question.items_at_once(1)).max(1),
            bound,
            free: true,
            whole: false,
        }
    }

    /// Returns the inputs that are perturbed.
    pub fn inputs(&self) -> &Values {
        self.question.inputs()
    }

    /// Returns how many results there are: one per row, or one for the whole batch.
    pub fn rows(&self) -> usize {
        if self.whole { 1 } else { self.inputs().rows() }
    }

    /// Returns whether there is one result for the whole batch.
    pub fn whole_batch(&self) -> bool {
        self.whole
    }

    /// Returns the model's output for each target at the unperturbed inputs: `[target][row]`.
    pub fn scores(&self) -> &[Vec<f32>] {
        &self.scores
    }

    /// Computes the model's output for each target at `total` perturbed copies: `[target][copy]`.
    ///
    /// # Errors
    /// [`Error::WholeBatch`], [`Error::Cancelled`], the model's own, the targets', and those of
    /// `make`.
    pub fn evaluate(
        &self,
        total: usize,
        copies: impl IntoIterator<Item = Perturbation>,
        make: &MakeRows<'_>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let mut scores: Vec<Vec<f32>> = vec![Vec::with_capacity(total); self.scores.len()];
        self.evaluate_each(total, copies, make, &mut |target, found| {
            scores[target].extend(found);
        })?;
        Ok(scores)
    }

    /// As [`evaluate`](Self::evaluate), but calls `take` in order, with the index of a target and
    /// its scores at the next copies. Copies are made lazily, so memory does not grow with their
    /// number.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn evaluate_each(
        &self,
        total: usize,
        copies: impl IntoIterator<Item = Perturbation>,
        make: &MakeRows<'_>,
        take: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        let targets = self.question.targets();
        if self.whole {
            let first = self.inputs().slice(0..1).renumbered();
            return self.question.for_chunks(total, copies, 1, |copy| {
                let number = copy[0].number;
                let batch = (0..self.inputs().rows()).map(|row| Perturbation { row, number });
                let batch = make(&batch.collect::<Vec<_>>())?;
                let output = one_row(float(self.question.forward(&batch)?)?);
                for (t, target) in targets.iter().enumerate() {
                    take(t, &target.scores(&output, &first)?);
                }
                Ok(())
            });
        }
        self.question
            .for_chunks(total, copies, self.at_once, |part| {
                let batch = make(part)?;
                let mut output = float(self.question.forward(&batch)?)?;
                if batch.rows() == 1 && output.shape().first() != Some(&1) {
                    output = one_row(output);
                }
                if output.shape().first() != Some(&batch.rows()) {
                    return Err(whole_batch(&output, &batch));
                }
                for (t, target) in targets.iter().enumerate() {
                    take(t, &target.scores(&output, &batch)?);
                }
                Ok(())
            })
    }

    /// Announces the evaluation of up to `copies`, in as many parts as it takes.
    pub fn announce(&mut self, copies: usize) {
        self.question = self.question.announce(copies);
    }

    /// Computes the model's output for each target with each window changed in each row, and passes
    /// it to `take`, for each row in the order of the windows. Where possible, only the part of the
    /// model that a window affects is evaluated.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn evaluate_windows(
        &self,
        windows: &Windows<'_>,
        make: &MakeRows<'_>,
        take: &mut TakeWindow<'_>,
    ) -> Result<(), Error> {
        let (first, count) = (windows.first, windows.count);
        let targets = self.question.targets();
        for row in 0..self.rows() {
            let one = self.inputs().slice(row..row + 1);
            let near = if self.free && !self.whole && self.bound.is_none() {
                self.question.near(&one, windows.input, windows.size)?
            } else {
                None
            };
            let Some(near) = near else {
                // If one row has no cheaper pass, neither do the others.
                let left = self.rows() - row;
                let copies = (first..first + count).flat_map(|number| {
                    let rows = row..self.rows();
                    rows.map(move |row| Perturbation { row, number })
                });
                let mut next = vec![0; targets.len()];
                return self.evaluate_each(left * count, copies, make, &mut |target, scores| {
                    for &score in scores {
                        let at = next[target];
                        take(target, at / left, row + at % left, score);
                        next[target] += 1;
                    }
                });
            };
            // This pass rounds differently, so changes are measured against its own output.
            let known = float(near.output()?)?;
            let starts = targets.iter().map(|target| target.scores(&known, &one));
            let starts: Vec<Vec<f32>> = starts.collect::<Result<_, _>>()?;
            self.question
                .for_chunks(count, 0..count, self.at_once, |part| {
                    let copies = part.iter().map(|k| Perturbation {
                        row,
                        number: first + k,
                    });
                    let batch = make(&copies.collect::<Vec<_>>())?;
                    let here: Vec<_> = part.iter().map(|&k| (windows.place)(k)).collect();
                    self.question.count(part.len(), 1, 0);
                    let output = float(near.forward(&batch, &here)?)?;
                    for (t, target) in targets.iter().enumerate() {
                        let found = target.scores(&output, &batch)?;
                        for (&k, score) in part.iter().zip(found) {
                            let change = score - starts[t][0];
                            take(t, k, row, self.scores[t][row] + change);
                        }
                    }
                    Ok(())
                })?;
        }
        Ok(())
    }
}

/// Converts an output to floating point; labels become numbers.
fn float(output: Value) -> Result<Value, Error> {
    if output.kind() == Kind::Float {
        return Ok(output);
    }
    let data = TensorData::new(output.to_vec()?, output.shape());
    Ok(Value::from_data(data, &output.device()))
}

/// Reshapes an output for the whole batch to that of one row.
fn one_row(output: Value) -> Value {
    let shape = output.shape();
    match shape[..] {
        [1, _, ..] => output,
        _ => output.reshape(&match shape[..] {
            [] | [1] => vec![1],
            _ => [&[1], &shape[..]].concat(),
        }),
    }
}

fn whole_batch(output: &Value, inputs: &Values) -> Error {
    Error::WholeBatch {
        output: output.shape(),
        rows: inputs.rows(),
    }
}
