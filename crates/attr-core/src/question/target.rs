//! The target of an explanation: which number of each row's output is explained.

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use burn::backend::{AutodiffBackend, Dispatch};
use burn::tensor::{Int, Tensor, TensorData};

use crate::graph::{backward, leaf, panic_message};
use crate::{Error, Kind, Value, Values};

/// Selects the number in each row's output that is explained.
#[derive(Clone, Debug)]
pub enum Target {
    /// The same class for all rows, for outputs `[batch, classes]`.
    Class(usize),
    /// A class for each row, for outputs `[batch, classes]`.
    Classes(Vec<usize>),
    /// The same position for all rows, without the batch dimension, for outputs of any rank.
    Index(Vec<usize>),
    /// A position for each row.
    Indices(Vec<Vec<usize>>),
    /// The class with the largest output in each row, for outputs `[batch, classes]`.
    Predicted,
    /// The only number in each row, for outputs `[batch]`, `[batch, 1]`, ...
    Single,
    /// The sum over a region of each row's output: a range for each dimension after the batch.
    Region(Vec<Range<usize>>),
    /// Any differentiable function of the output, one number per row.
    Function(TargetFunction),
    /// A weighted sum of the output; weights are shaped like the output, or have one row for all.
    Weights(Value),
}

impl Target {
    /// Targets one unit of a layer, for a model cut by [`to_layer`](crate::Traced::to_layer).
    pub fn unit(index: impl Into<Vec<usize>>) -> Self {
        Self::Index(index.into())
    }

    /// Targets a differentiable function of the output, `[batch, ...]` to `[batch]`: a difference
    /// of logits, a loss, the mean activation of a channel.
    pub fn function<const D: usize>(
        function: impl Fn(Tensor<D>) -> Tensor<1> + Send + Sync + 'static,
    ) -> Self {
        Self::Function(TargetFunction(Arc::new(move |output| {
            let output = output.tensor::<D>()?;
            let call = || Value::from(function(output));
            catch_unwind(AssertUnwindSafe(call)).map_err(|panic| Error::ForwardPanicked {
                message: panic_message(panic.as_ref()),
            })
        })))
    }

    /// Targets a weighted sum of the output.
    pub fn weights(weights: impl Into<Value>) -> Self {
        Self::Weights(weights.into())
    }
}

/// A function from a model's output to one number per row.
#[derive(Clone)]
pub struct TargetFunction(Arc<Scoring>);

type Scoring = dyn Fn(&Value) -> Result<Value, Error> + Send + Sync;

impl fmt::Debug for TargetFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TargetFunction")
    }
}

impl From<usize> for Target {
    fn from(class: usize) -> Self {
        Self::Class(class)
    }
}

impl From<Vec<usize>> for Target {
    fn from(classes: Vec<usize>) -> Self {
        Self::Classes(classes)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(class) => write!(f, "{class}"),
            Self::Classes(classes) => write!(f, "{classes:?}"),
            Self::Index(index) => write!(f, "{index:?}"),
            Self::Indices(indices) => write!(f, "{indices:?}"),
            Self::Predicted => f.write_str("predicted"),
            Self::Single => f.write_str("single"),
            Self::Region(ranges) => {
                let ranges: Vec<String> = ranges.iter().map(|r| format!("{r:?}")).collect();
                f.write_str(&ranges.join(","))
            }
            Self::Function(_) => f.write_str("function"),
            Self::Weights(weights) => write!(f, "weights {:?}", weights.shape()),
        }
    }
}

/// The result of applying a target to an output.
pub struct Chosen {
    /// The weight of each number of the output, shaped like the output.
    pub seed: Value,
    /// Per row, `sum(seed * output)`.
    pub scores: Vec<f32>,
}

impl Target {
    /// Applies the target to each row of `output`, the model's output for `inputs`.
    ///
    /// # Errors
    /// The `Target*` errors, and [`Error::NonFinite`] when a selected number is NaN or infinite.
    pub fn choose(&self, output: &Value, inputs: &Values) -> Result<Chosen, Error> {
        let (origin, rows) = (inputs.origin(), inputs.caller_rows());
        self.fits(output, origin.len())?;
        let chosen = match self {
            Self::Weights(weights) => self.weighted(weights, output, origin, rows)?,
            Self::Region(ranges) => {
                let weights = self.region(ranges, output)?;
                self.weighted(&weights, output, origin, rows)?
            }
            Self::Function(function) => self.differentiated(function, output)?,
            _ => {
                let flat = self.positions(output, origin, rows)?;
                one_hot(&flat, output)?
            }
        };
        self.finite(&chosen.scores)?;
        Ok(chosen)
    }

    /// Returns only the scores of [`choose`](Self::choose). Here the function of
    /// [`Target::Function`] need not be differentiable.
    ///
    /// # Errors
    /// As [`choose`](Self::choose).
    pub fn scores(&self, output: &Value, inputs: &Values) -> Result<Vec<f32>, Error> {
        let (origin, rows) = (inputs.origin(), inputs.caller_rows());
        self.fits(output, origin.len())?;
        let scores = match self {
            Self::Weights(_) | Self::Region(_) => return Ok(self.choose(output, inputs)?.scores),
            Self::Function(function) => self.valued(function, output)?.detached(),
            _ => picked(&self.positions(output, origin, rows)?, &output.matrix()?).into(),
        };
        let scores = scores.to_vec()?;
        self.finite(&scores)?;
        Ok(scores)
    }

    /// Refuses an output that is not floating point or does not have one row per input row.
    fn fits(&self, output: &Value, rows: usize) -> Result<(), Error> {
        let shape = output.shape();
        if output.kind() == Kind::Float && shape.first() == Some(&rows) {
            Ok(())
        } else {
            Err(self.unfit(
                &shape,
                "the output must be floating point, one row per input",
            ))
        }
    }

    fn finite(&self, scores: &[f32]) -> Result<(), Error> {
        if scores.iter().all(|s| s.is_finite()) {
            Ok(())
        } else {
            Err(Error::NonFinite {
                what: format!("the model's output for target {self}"),
            })
        }
    }

    /// Evaluates a function on an output.
    fn valued(&self, function: &TargetFunction, output: &Value) -> Result<Value, Error> {
        let scores = (function.0)(output)?;
        if scores.shape() == [output.rows()] {
            Ok(scores)
        } else {
            Err(self.unfit(
                &scores.shape(),
                "the function must return one number per row",
            ))
        }
    }

    /// Returns the target for other rows; `rows` are indices into the rows that this target was
    /// given for.
    pub fn select(&self, rows: &[usize]) -> Target {
        let classes = |classes: &[usize]| rows.iter().map(|&row| classes[row]).collect();
        match self {
            Self::Classes(all) if rows.iter().all(|&row| row < all.len()) => {
                Self::Classes(classes(all))
            }
            Self::Indices(all) if rows.iter().all(|&row| row < all.len()) => {
                Self::Indices(rows.iter().map(|&row| all[row].clone()).collect())
            }
            Self::Weights(weights) if weights.rows() != 1 => {
                Self::Weights(weights.select_rows(rows))
            }
            other => other.clone(),
        }
    }

    /// Refuses a target whose number of rows does not fit `rows`.
    pub(crate) fn check(&self, rows: usize) -> Result<(), Error> {
        let got = match self {
            Self::Classes(classes) => classes.len(),
            Self::Indices(indices) => indices.len(),
            Self::Weights(weights) if weights.rows() != 1 => weights.rows(),
            _ => return Ok(()),
        };
        if got == rows {
            Ok(())
        } else {
            Err(Error::TargetRows {
                expected: rows,
                got,
            })
        }
    }

    /// Replaces [`Target::Predicted`] by the classes that `output` predicts; other targets stay.
    ///
    /// # Errors
    /// [`Error::TargetShape`] for an output that is not `[batch, classes]`, [`Error::NonFinite`] for
    /// one with NaN.
    pub fn fixed(&self, output: &Value) -> Result<Target, Error> {
        match self {
            Self::Predicted => Ok(Self::Classes(self.predicted(output)?)),
            other => Ok(other.clone()),
        }
    }

    fn unfit(&self, output: &[usize], needs: &str) -> Error {
        Error::TargetShape {
            target: self.to_string(),
            output: output.to_vec(),
            needs: needs.into(),
        }
    }

    fn predicted(&self, output: &Value) -> Result<Vec<usize>, Error> {
        let shape = output.shape();
        let [_, classes] = shape[..] else {
            return Err(self.unfit(&shape, "`predicted` needs [batch, classes]; give an index"));
        };
        if classes == 0 {
            return Err(self.unfit(&shape, "there are no classes to choose from"));
        }
        let data = output.to_vec()?;
        data.chunks(classes)
            .map(|row| {
                if row.iter().any(|v| v.is_nan()) {
                    return Err(Error::NonFinite {
                        what: "the model's output".into(),
                    });
                }
                // The first of several equal maxima, as argmax returns everywhere.
                let largest = row
                    .iter()
                    .enumerate()
                    .rev()
                    .max_by(|a, b| a.1.total_cmp(b.1));
                largest
                    .map(|(i, _)| i)
                    .ok_or(Error::Internal("a row has no classes"))
            })
            .collect()
    }

    /// Returns, per row, the position of its number in the flattened row.
    fn positions(
        &self,
        output: &Value,
        origin: &[usize],
        rows: usize,
    ) -> Result<Vec<usize>, Error> {
        self.check(rows)?;
        let shape = output.shape();
        let inner = &shape[1..];
        let class = |class: usize| match inner {
            [classes] if class < *classes => Ok(class),
            [_] => Err(Error::TargetOutOfRange {
                target: class.to_string(),
                output: shape.clone(),
            }),
            [] => Err(self.unfit(&shape, "one number per row needs `Target::Single`")),
            _ => Err(self.unfit(&shape, "give an index for each dimension after the batch")),
        };
        let index = |index: &[usize]| {
            if index.len() != inner.len() {
                return Err(self.unfit(&shape, "give an index for each dimension after the batch"));
            }
            if index.iter().zip(inner).any(|(i, size)| i >= size) {
                return Err(Error::TargetOutOfRange {
                    target: format!("{index:?}"),
                    output: shape.clone(),
                });
            }
            Ok(index
                .iter()
                .zip(inner)
                .fold(0, |flat, (i, size)| flat * size + i))
        };
        match self {
            Self::Class(c) => Ok(vec![class(*c)?; origin.len()]),
            Self::Classes(classes) => origin.iter().map(|&row| class(classes[row])).collect(),
            Self::Index(i) => Ok(vec![index(i)?; origin.len()]),
            Self::Indices(indices) => origin.iter().map(|&row| index(&indices[row])).collect(),
            Self::Predicted => self.predicted(output),
            Self::Single if inner.iter().product::<usize>() == 1 => Ok(vec![0; origin.len()]),
            Self::Single => Err(self.unfit(&shape, "the output has several numbers per row")),
            Self::Weights(_) | Self::Region(_) | Self::Function(_) => {
                Err(Error::Internal("this target has no position"))
            }
        }
    }

    /// Returns one row of weights: ones in the region, zeros elsewhere.
    fn region(&self, ranges: &[Range<usize>], output: &Value) -> Result<Value, Error> {
        let shape = output.shape();
        let inner = &shape[1..];
        if ranges.len() != inner.len() || ranges.iter().any(Range::is_empty) {
            return Err(self.unfit(&shape, "give a range for each dimension after the batch"));
        }
        if ranges.iter().zip(inner).any(|(r, &size)| r.end > size) {
            return Err(Error::TargetOutOfRange {
                target: self.to_string(),
                output: shape,
            });
        }
        let weights: Vec<f32> = (0..inner.iter().product())
            .map(|mut flat: usize| {
                let inside = ranges.iter().zip(inner).rev().all(|(range, &size)| {
                    let at = flat % size;
                    flat /= size;
                    range.contains(&at)
                });
                f32::from(inside)
            })
            .collect();
        let shape = [&[1], inner].concat();
        let weights = TensorData::new(weights, shape).convert_dtype(output.dtype());
        Ok(Value::from_data(weights, &output.device()))
    }

    /// Computes a function's values and its derivative at the output.
    fn differentiated(&self, function: &TargetFunction, output: &Value) -> Result<Chosen, Error> {
        let tracked = leaf(output.clone());
        let scores = self.valued(function, &tracked)?;
        let plain = scores.clone().detached().to_vec()?;
        let unfit = || {
            self.unfit(
                &output.shape(),
                "the function does not depend on the output",
            )
        };
        if !scores.device().is_autodiff() {
            return Err(unfit());
        }
        let sum = scores.tensor::<1>()?.sum();
        let mut tape = backward(sum.into_dispatch())?;
        let gradient = Dispatch::grad_remove(&tracked.into_dispatch(), &mut tape);
        Ok(Chosen {
            seed: gradient.map(Value::from_dispatch).ok_or_else(unfit)?,
            scores: plain,
        })
    }

    fn weighted(
        &self,
        weights: &Value,
        output: &Value,
        origin: &[usize],
        rows: usize,
    ) -> Result<Chosen, Error> {
        self.check(rows)?;
        let (shape, given) = (output.shape(), weights.shape());
        if given.len() != shape.len() || given[1..] != shape[1..] {
            return Err(self.unfit(&shape, "weights must be shaped like the output"));
        }
        let (dtype, device) = (output.dtype(), output.device());
        let what = "the target's weights".to_string();
        let weights = weights.clone().checked(what, dtype, device.as_dispatch())?;
        if !weights.is_finite()? {
            return Err(Error::NonFinite {
                what: "the target's weights".into(),
            });
        }
        let seed = match weights.rows() {
            1 => weights.select_rows(&vec![0; origin.len()]),
            _ => weights.select_rows(origin),
        };
        let scores = Value::from((output.matrix()? * seed.matrix()?).sum_dim(1)).to_vec()?;
        Ok(Chosen { seed, scores })
    }
}

/// Returns one flat position per row, as indices for a gather.
fn one_each(positions: &[usize], matrix: &Tensor<2>) -> Tensor<2, Int> {
    let data: Vec<i64> = positions.iter().map(|&p| p as i64).collect();
    let shape = [positions.len(), 1];
    Tensor::from_data(TensorData::new(data, shape), &matrix.device())
}

/// Returns the number at one flat position per row.
fn picked(positions: &[usize], matrix: &Tensor<2>) -> Tensor<2> {
    let first = positions.first().copied().unwrap_or(0);
    if positions.iter().all(|&position| position == first) {
        matrix.clone().narrow(1, first, 1)
    } else {
        matrix.clone().gather(1, one_each(positions, matrix))
    }
}

/// Returns a seed with a one at one flat position per row, and the output there.
fn one_hot(positions: &[usize], output: &Value) -> Result<Chosen, Error> {
    let matrix = output.matrix()?;
    let indices = one_each(positions, &matrix);
    let scores = matrix.clone().gather(1, indices.clone());
    let ones = scores.ones_like();
    let update = burn::tensor::IndexingUpdateOp::Add;
    let seed = matrix.zeros_like().scatter(1, indices, ones, update);
    Ok(Chosen {
        seed: Value::from_matrix(seed, &output.shape()),
        scores: Value::from(scores).to_vec()?,
    })
}
