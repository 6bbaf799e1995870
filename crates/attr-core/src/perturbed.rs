//! The model on perturbed copies of its inputs: what black-box methods stand on.

use std::ops::Range;

use burn::tensor::TensorData;

use crate::{Error, Kind, Model, Run, Target, Value, Values};

/// Which copies go through the model together: for each its row and the number of its
/// perturbation.
pub type Copy = (usize, usize);

/// Makes the inputs of some copies.
pub type Make<'a> = dyn Fn(&[Copy]) -> Result<Values, Error> + 'a;

/// A model, its inputs, and its scores there; evaluates perturbed copies of the rows, as many at
/// once as the memory budget allows.
///
/// A forward that gives one value for the whole batch is evaluated on all rows at a time, one
/// perturbation each; there is one result for all of them then.
pub struct Perturbed<'a> {
    model: &'a dyn Model,
    inputs: &'a Values,
    run: &'a Run<'a>,
    targets: Vec<Target>,
    scores: Vec<Vec<f32>>,
    at_once: usize,
    /// How many rows the model insists on.
    fixed: Option<usize>,
    /// Whether the budget decides how many go together.
    free: bool,
    whole: bool,
}

/// Copies that differ from their rows in windows of one input, each a range of its spatial
/// dimensions.
pub struct Windows<'a> {
    /// The input.
    pub input: usize,
    /// The number of the first window's perturbation; the others follow.
    pub first: usize,
    /// The windows.
    pub ranges: &'a [Vec<Range<usize>>],
}

impl<'a> Perturbed<'a> {
    /// Runs the model on the inputs. `perturbations_per_eval` perturbed copies of the batch go
    /// through it together, or as many rows as the budget allows.
    ///
    /// # Errors
    /// [`Error::Parameter`] for no perturbation at all, [`Error::WholeBatch`] for one value for the
    /// whole batch unless perturbations go one by one; the model's own, and the targets'.
    pub fn new(
        model: &'a dyn Model,
        inputs: &'a Values,
        targets: &[Target],
        perturbations_per_eval: Option<usize>,
        run: &'a Run<'a>,
    ) -> Result<Self, Error> {
        let rows = inputs.rows();
        let at_once = match perturbations_per_eval {
            Some(0) => {
                return Err(Error::Parameter {
                    name: "perturbations_per_eval",
                    value: "0".into(),
                    expected: "at least one is needed",
                });
            }
            Some(count) => count.saturating_mul(rows),
            None => run.rows_at_once(model, inputs),
        };
        let fixed = model.rows().filter(|&rows| rows > 0);
        let at_once = fixed.unwrap_or(at_once).max(1);
        let mut outputs = Vec::new();
        let mut whole = false;
        for start in (0..rows).step_by(at_once) {
            let own: Vec<usize> = (start..(start + at_once).min(rows)).collect();
            let chunk = inputs.select(&padded(&own, fixed));
            let output = float(model.forward(chunk.clone())?)?;
            if output.shape().first() == Some(&chunk.rows()) {
                // One value for one row may be one value for any number of rows.
                if start == 0 && rows > 1 && chunk.rows() == 1 && output.shape().len() == 1 {
                    let two = inputs.slice(0..2);
                    let output = float(model.forward(two.clone())?)?;
                    if output.shape().first() != Some(&2) {
                        return Err(whole_batch(&output, &two));
                    }
                }
                outputs.push(output.slice_rows(0..own.len()));
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
        let seen = match whole {
            true => inputs.slice(0..1).renumbered(),
            false => inputs.clone(),
        };
        let targets = targets.iter().map(|target| target.fix(&output));
        let targets: Vec<Target> = targets.collect::<Result<_, _>>()?;
        let scores = targets.iter().map(|target| target.scores(&output, &seen));
        Ok(Self {
            scores: scores.collect::<Result<_, _>>()?,
            model,
            inputs,
            run,
            targets,
            at_once,
            fixed,
            free: perturbations_per_eval.is_none(),
            whole,
        })
    }

    /// The inputs that are perturbed.
    pub fn inputs(&self) -> &'a Values {
        self.inputs
    }

    /// How many results there are: one per row, or one for the whole batch.
    pub fn rows(&self) -> usize {
        match self.whole {
            true => 1,
            false => self.inputs.rows(),
        }
    }

    /// Whether there is one result for the whole batch.
    pub fn whole_batch(&self) -> bool {
        self.whole
    }

    /// The model's output for each target at the unperturbed inputs: `[target][row]`.
    pub fn scores(&self) -> &[Vec<f32>] {
        &self.scores
    }

    /// The model's output for each target at some copies: `[target][copy]`.
    ///
    /// # Errors
    /// [`Error::WholeBatch`], the model's own, the targets', and those of `make`.
    pub fn evaluate(&self, copies: &[Copy], make: &Make<'_>) -> Result<Vec<Vec<f32>>, Error> {
        self.run.start(copies.len());
        let mut scores: Vec<Vec<f32>> = vec![Vec::with_capacity(copies.len()); self.targets.len()];
        let mut add = |scores_of: &dyn Fn(&Target) -> Result<Vec<f32>, Error>| {
            for (scores, target) in scores.iter_mut().zip(&self.targets) {
                scores.extend(scores_of(target)?);
            }
            Ok::<_, Error>(())
        };
        if self.whole {
            let first = self.inputs.slice(0..1).renumbered();
            for &(_, perturbation) in copies {
                let batch = (0..self.inputs.rows()).map(|row| (row, perturbation));
                let batch = make(&batch.collect::<Vec<_>>())?;
                let output = one_row(float(self.model.forward(batch)?)?);
                add(&|target| target.scores(&output, &first))?;
                self.run.advance(1);
            }
            return Ok(scores);
        }
        for part in copies.chunks(self.at_once) {
            let batch = make(&padded(part, self.fixed))?;
            let mut output = float(self.model.forward(batch.clone())?)?;
            if batch.rows() == 1 && output.shape().first() != Some(&1) {
                output = one_row(output);
            }
            if output.shape().first() != Some(&batch.rows()) {
                return Err(whole_batch(&output, &batch));
            }
            add(&|target| {
                let mut scores = target.scores(&output, &batch)?;
                scores.truncate(part.len());
                Ok(scores)
            })?;
            self.run.advance(part.len());
        }
        Ok(scores)
    }
}

impl Perturbed<'_> {
    /// The model's output for each target with each window changed in each row:
    /// `[target][window * rows + row]`. Where the model can, it evaluates only what a window
    /// reaches.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn evaluate_windows(
        &self,
        windows: &Windows<'_>,
        make: &Make<'_>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let &Windows {
            input,
            first,
            ranges,
        } = windows;
        let (rows, count) = (self.rows(), ranges.len());
        let dims = 0..ranges.first().map_or(0, Vec::len);
        let widest = |dim: usize| ranges.iter().map(|range| range[dim].len()).max();
        let size: Vec<usize> = dims.filter_map(widest).collect();
        let mut scores = vec![vec![0f32; rows * count]; self.targets.len()];
        let numbers: Vec<usize> = (0..count).collect();
        for row in 0..rows {
            let near = match self.free && !self.whole {
                true => {
                    let one = self.inputs.slice(row..row + 1);
                    self.model.near(&one, input, &size)?
                }
                false => None,
            };
            let Some(near) = near else {
                // One row is like the others in this.
                let copies = (0..count).flat_map(|k| (0..rows).map(move |row| (row, first + k)));
                return self.evaluate(&copies.collect::<Vec<_>>(), make);
            };
            if row == 0 {
                self.run.start(rows * count);
            }
            // Its own arithmetic differs by rounding: what a window changes is counted from there.
            let one = self.inputs.slice(row..row + 1);
            let known = float(near.output()?)?;
            let starts = self
                .targets
                .iter()
                .map(|target| target.scores(&known, &one));
            let starts: Vec<Vec<f32>> = starts.collect::<Result<_, _>>()?;
            for part in numbers.chunks(self.at_once) {
                let copies: Vec<Copy> = part.iter().map(|k| (row, first + k)).collect();
                let batch = make(&copies)?;
                let output = float(near.forward(&batch, &ranges[part[0]..part[0] + part.len()])?)?;
                for (t, target) in self.targets.iter().enumerate() {
                    let found = target.scores(&output, &batch)?;
                    for (k, score) in part.iter().zip(found) {
                        scores[t][k * rows + row] = self.scores[t][row] + (score - starts[t][0]);
                    }
                }
                self.run.advance(part.len());
            }
        }
        Ok(scores)
    }
}

/// Rows that go together, with the last repeated where the model insists on a number.
fn padded<T: Clone>(rows: &[T], fixed: Option<usize>) -> Vec<T> {
    let mut all = rows.to_vec();
    if let (Some(fixed), Some(last)) = (fixed, rows.last()) {
        all.resize(fixed.max(rows.len()), last.clone());
    }
    all
}

/// An output as floating point: labels count as numbers.
fn float(output: Value) -> Result<Value, Error> {
    if output.kind() == Kind::Float {
        return Ok(output);
    }
    let data = TensorData::new(output.to_vec()?, output.shape());
    Ok(Value::from_data(data, &output.device()))
}

/// An output for the whole batch, as that of one row.
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
