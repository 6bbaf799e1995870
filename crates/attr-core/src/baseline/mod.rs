//! Baselines: the reference values that an input is compared with or replaced by.
//!
//! ```text
//! mod.rs      Baseline, Baselines: the kinds of baselines, and their rows
//! absent.rs   rows that replace an absent input
//! blur.rs     blurred images
//! inpaint.rs  images with parts filled from their surroundings
//! ```

mod absent;
mod blur;
mod inpaint;

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::{Dispatch, Scalar};
use burn::tensor::{Int, Shape, Tensor, TensorData};

use crate::{Error, Kind, Value, Values};

pub(crate) use absent::Absent;
use blur::blurred;
pub use blur::{LONGEST_BLUR, gaussian, separable};
pub use inpaint::inpainted;

/// The reference value of one input.
#[derive(Clone, Debug, Default)]
pub enum Baseline {
    /// Zero everywhere, Captum's default.
    #[default]
    Zero,
    /// One number everywhere.
    Scalar(f64),
    /// A tensor shaped like the input, with one row for all or one per row.
    Tensor(Value),
    /// The smallest value of each row, at all its elements.
    Min,
    /// The largest value of each row, at all its elements.
    Max,
    /// Rows to draw from or to average over: any number of rows shaped like the input's.
    Distribution(Value),
    /// Several baselines; methods that average over a distribution average over them. With black
    /// and white together, or [`Min`](Self::Min) and [`Max`](Self::Max), features that have the
    /// colour of one baseline still count.
    Several(Vec<Baseline>),
    /// The image `[batch, channels, ...]` blurred by a Gaussian with this standard deviation in
    /// pixels.
    Blur(f64),
    /// The surroundings of the absent part of an image `[batch, channels, height, width]`, for
    /// perturbation methods; zero where everything is absent.
    Inpaint,
}

/// The baselines of all inputs: one for all of them, or one for each.
#[derive(Clone, Debug, Default)]
pub struct Baselines {
    each: Vec<Baseline>,
}

impl Baselines {
    /// Sets a baseline for each input, in order, including inputs without attribution.
    pub fn each(baselines: Vec<Baseline>) -> Self {
        Self { each: baselines }
    }

    /// Returns the baseline of input `i` of `count`.
    ///
    /// # Errors
    /// [`Error::InputCount`] when there is neither one baseline for all inputs nor one for each.
    pub fn get(&self, i: usize, count: usize) -> Result<&Baseline, Error> {
        match &self.each[..] {
            [] => Ok(&Baseline::Zero),
            [one] if !matches!(one, Baseline::Tensor(_) | Baseline::Distribution(_)) => Ok(one),
            all if all.len() == count && i < count => Ok(&all[i]),
            all => Err(Error::InputCount {
                expected: count,
                got: all.len(),
            }),
        }
    }

    /// Returns the baseline of every attributed input, one row for each of its rows.
    ///
    /// # Errors
    /// [`Error::Shape`] for a tensor that does not fit its input, [`Error::NonFinite`] for NaN,
    /// [`Error::Method`] for a distribution where a single baseline is needed.
    pub fn resolve(&self, inputs: &Values) -> Result<Vec<Option<Value>>, Error> {
        let count = self.count(inputs);
        let values = inputs.values().iter().enumerate();
        values
            .map(|(i, value)| {
                if !inputs.attributed(i) {
                    return Ok(None);
                }
                one(self.get(i, count)?, value, inputs, i).map(Some)
            })
            .collect()
    }

    /// Replaces the inputs by their baselines. Integers such as tokens become token 0, unless a
    /// number or a tensor is given for them, as in Captum. Constants are kept.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn absent(&self, inputs: &Values) -> Result<Values, Error> {
        let floats = self.resolve(inputs)?;
        let count = self.count(inputs);
        let mut absent = floats;
        for (i, value) in inputs.values().iter().enumerate() {
            if value.kind() != Kind::Int || !inputs.explained(i) {
                continue;
            }
            absent[i] = Some(match self.get(i, count)? {
                Baseline::Zero => value.zeros_like(),
                Baseline::Scalar(number) => filled(value, *number, i)?,
                Baseline::Tensor(tensor) => tensor_rows(tensor, value, inputs, i)?,
                other => {
                    return Err(Error::Method {
                        method: "a baseline of integers",
                        reason: format!(
                            "input {i} holds integers such as tokens, and {other:?} is not an \
                             integer baseline; give a whole number or a tensor of integers"
                        ),
                    });
                }
            });
        }
        Ok(inputs.with(|i, _| absent[i].clone()))
    }

    /// Returns, per attributed input, the rows to draw baselines from: the rows of a distribution
    /// or a tensor, or one row filled with a number. With `tokens`, also for explained integers.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); [`Error::Method`] for baselines computed from each row.
    pub fn pools(&self, inputs: &Values, tokens: bool) -> Result<Vec<Option<Value>>, Error> {
        let count = self.count(inputs);
        let values = inputs.values().iter().enumerate();
        values
            .map(|(i, value)| {
                let token = tokens && value.kind() == Kind::Int && inputs.explained(i);
                if !inputs.attributed(i) && !token {
                    return Ok(None);
                }
                let number = match self.get(i, count)? {
                    Baseline::Tensor(rows) | Baseline::Distribution(rows) => {
                        fits(rows, value, i, "any number of rows of")?;
                        return like(rows, value, i).map(Some);
                    }
                    Baseline::Zero => 0.0,
                    Baseline::Scalar(number) => *number,
                    Baseline::Min
                    | Baseline::Max
                    | Baseline::Blur(_)
                    | Baseline::Inpaint
                    | Baseline::Several(_) => {
                        return Err(Error::Method {
                            method: "a distribution of baselines",
                            reason: "this baseline depends on each row; give rows to draw from"
                                .into(),
                        });
                    }
                };
                filled(&value.slice_rows(0..1), number, i).map(Some)
            })
            .collect()
    }

    /// Splits distributions, and several baselines for one input, into single baselines, one set
    /// per row or choice. If several inputs have a distribution, their k-th rows belong together.
    /// Returns only these baselines if there is nothing to split.
    ///
    /// # Errors
    /// [`Error::Method`] for distributions of different lengths, or without rows.
    pub fn each_row(&self) -> Result<Vec<Baselines>, Error> {
        let mut all = Vec::new();
        for choice in self.choices()? {
            let Some(count) = choice.drawn()? else {
                all.push(choice);
                continue;
            };
            all.extend((0..count).map(|row| {
                let each = choice.each.iter().map(|one| match one {
                    Baseline::Distribution(rows) => Baseline::Tensor(rows.slice_rows(row..row + 1)),
                    other => other.clone(),
                });
                Self::each(each.collect())
            }));
        }
        Ok(all)
    }

    /// Returns the rows that replace each absent input, over the backgrounds that
    /// [`each_row`](Self::each_row) returns. Each row of a distribution is stored only once, for
    /// all rows of the inputs.
    ///
    /// # Errors
    /// As [`absent`](Self::absent) and [`each_row`](Self::each_row).
    pub(crate) fn backgrounds(&self, inputs: &Values) -> Result<Vec<Absent>, Error> {
        let mut blocks: Vec<Vec<Value>> = vec![Vec::new(); inputs.values().len()];
        let mut places: Vec<Vec<(usize, bool)>> = vec![Vec::new(); blocks.len()];
        let mut firsts = vec![0; blocks.len()];
        for choice in self.choices()? {
            let count = choice.drawn()?.unwrap_or(1);
            let own = choice.each.iter().map(|one| match one {
                Baseline::Distribution(_) => Baseline::Zero,
                other => other.clone(),
            });
            let own = Self::each(own.collect()).absent(inputs)?;
            let given = choice.count(inputs);
            for (i, mut block) in own.into_values().into_iter().enumerate() {
                let first = firsts[i];
                let given = inputs.explained(i).then(|| choice.get(i, given));
                if let Some(Baseline::Distribution(rows)) = given.transpose()? {
                    let input = &inputs.values()[i];
                    fits(rows, input, i, "any number of rows of")?;
                    block = like(rows, input, i)?;
                    places[i].extend((first..first + count).map(|row| (row, false)));
                } else {
                    places[i].extend(std::iter::repeat_n((first, true), count));
                }
                firsts[i] += block.rows();
                blocks[i].push(block);
            }
        }
        let all = blocks.into_iter().zip(places);
        let all = all.map(|(blocks, places)| {
            let rows = Value::cat_rows(blocks)?;
            Ok(Absent { rows, places })
        });
        all.collect()
    }

    /// Splits several baselines for one input into single ones, which belong together where several
    /// inputs have them. Distributions are kept.
    fn choices(&self) -> Result<Vec<Baselines>, Error> {
        let mut counts = self.each.iter().filter_map(|one| match one {
            Baseline::Several(several) => Some(several.len()),
            _ => None,
        });
        let Some(count) = counts.next() else {
            return Ok(vec![self.clone()]);
        };
        if count == 0 || counts.any(|other| other != count) {
            return Err(Error::Method {
                method: "several baselines",
                reason: "at least one is needed, and the same number for each input, since they \
                         belong together"
                    .into(),
            });
        }
        let choice = |k: usize| {
            let each = self.each.iter().map(|one| match one {
                Baseline::Several(several) => several[k].clone(),
                other => other.clone(),
            });
            Self::each(each.collect()).choices()
        };
        let all: Vec<Vec<Baselines>> = (0..count).map(choice).collect::<Result<_, _>>()?;
        Ok(all.concat())
    }

    /// Returns how many rows the distributions have; `None` if there is no distribution.
    fn drawn(&self) -> Result<Option<usize>, Error> {
        let mut lengths = self.each.iter().filter_map(|one| match one {
            Baseline::Distribution(rows) => Some(rows.rows()),
            _ => None,
        });
        let Some(count) = lengths.next() else {
            return Ok(None);
        };
        if count == 0 || lengths.any(|length| length != count) {
            return Err(Error::Method {
                method: "a distribution of baselines",
                reason: "it needs rows, and the same number for each input, since they belong \
                         together"
                    .into(),
            });
        }
        Ok(Some(count))
    }

    /// Returns, per input, whether it is inpainted where it is absent, and these baselines with
    /// zeros instead of inpainting.
    ///
    /// # Errors
    /// [`Error::Shape`] for inpainting an input that is not an image; as [`get`](Self::get).
    pub fn inpainting(&self, inputs: &Values) -> Result<(Vec<bool>, Baselines), Error> {
        let count = self.count(inputs);
        let values = inputs.values().iter().enumerate();
        let inpainted = values.map(|(i, value)| {
            let inpaint = inputs.explained(i) && matches!(self.get(i, count)?, Baseline::Inpaint);
            let image = inputs.attributed(i) && value.shape().len() == 4;
            if inpaint && !image {
                return Err(Error::Shape {
                    what: format!("input {i}, which should be inpainted,"),
                    got: value.shape(),
                    expected: "a floating-point image [batch, channels, height, width]".into(),
                });
            }
            Ok(inpaint)
        });
        let plain = self.each.iter().map(|one| match one {
            Baseline::Inpaint => Baseline::Zero,
            other => other.clone(),
        });
        let plain = Self {
            each: plain.collect(),
        };
        Ok((inpainted.collect::<Result<_, _>>()?, plain))
    }

    /// Returns how many inputs have baselines; constants appended for a cut model have none.
    fn count(&self, inputs: &Values) -> usize {
        let count = inputs.values().len();
        let given = (0..count).rev().find(|&i| inputs.explained(i));
        if self.each.len() < count {
            self.each.len().max(given.map_or(0, |i| i + 1))
        } else {
            count
        }
    }
}

fn one(baseline: &Baseline, input: &Value, inputs: &Values, i: usize) -> Result<Value, Error> {
    let shape = input.shape();
    match baseline {
        Baseline::Zero => Ok(input.zeros_like()),
        Baseline::Scalar(number) => filled(input, *number, i),
        Baseline::Min | Baseline::Max => {
            let matrix = input.matrix()?;
            let [rows, elements] = matrix.dims();
            let one = match baseline {
                Baseline::Min => matrix.min_dim(1),
                _ => matrix.max_dim(1),
            };
            Ok(Value::from_matrix(one.expand([rows, elements]), &shape))
        }
        Baseline::Tensor(tensor) => tensor_rows(tensor, input, inputs, i),
        Baseline::Blur(sigma) => blurred(input, *sigma, i),
        Baseline::Inpaint => Err(Error::Method {
            method: "this method",
            reason: "inpainting needs surroundings of the absent part; use it with methods that \
                     remove parts of the input"
                .into(),
        }),
        Baseline::Distribution(_) | Baseline::Several(_) => Err(Error::Method {
            method: "this method",
            reason: "it needs one baseline per row, not several or a distribution".into(),
        }),
    }
}

/// Returns a value filled with one number, with the shape and type of `value`.
fn filled(value: &Value, number: f64, i: usize) -> Result<Value, Error> {
    if !number.is_finite() {
        return Err(Error::NonFinite {
            what: format!("the baseline of input {i}"),
        });
    }
    let dtype = value.dtype();
    if value.kind() == Kind::Int {
        let most = 2f64.powi(8 * dtype.size() as i32 - i32::from(dtype.is_int()));
        let least = if dtype.is_int() { -most } else { 0.0 };
        if number.fract() != 0.0 || number < least || number >= most {
            return Err(Error::Method {
                method: "a baseline of integers",
                reason: format!(
                    "input {i} holds integers such as tokens ({dtype:?}), and {number} is not one"
                ),
            });
        }
    }
    let rounded = TensorData::new(vec![number], [1]).convert_dtype(dtype);
    if !rounded.iter::<f64>().all(f64::is_finite) {
        return Err(Error::NonFinite {
            what: format!("the baseline of input {i}, {number} as {dtype:?},"),
        });
    }
    let (shape, device) = (Shape::from(value.shape()), value.device());
    let device = device.as_dispatch();
    Ok(Value::from_dispatch(if value.kind() == Kind::Int {
        let number = if dtype.is_int() {
            Scalar::Int(number as i64)
        } else {
            Scalar::UInt(number as u64)
        };
        Dispatch::int_full(shape, number, device, dtype.into())
    } else {
        Dispatch::float_full(shape, Scalar::Float(number), device, dtype.into())
    }))
}

/// Returns a tensor's row for each row of the input: one for all, or one per caller's row.
fn tensor_rows(tensor: &Value, input: &Value, inputs: &Values, i: usize) -> Result<Value, Error> {
    let (origin, rows) = (inputs.origin(), inputs.caller_rows());
    if tensor.rows() != 1 && tensor.rows() != rows {
        let mut expected = input.shape();
        expected[0] = rows;
        return Err(Error::Shape {
            what: format!("the baseline of input {i}"),
            got: tensor.shape(),
            expected: format!(
                "{expected:?}, or one row of it (`with_background` takes data to average over),"
            ),
        });
    }
    fits(tensor, input, i, "")?;
    let tensor = like(tensor, input, i)?;
    Ok(match tensor.rows() {
        1 => tensor.select_rows(&vec![0; origin.len()]),
        _ => tensor.select_rows(origin),
    })
}

/// Refuses rows that are not shaped like the input's.
fn fits(rows: &Value, input: &Value, i: usize, how_many: &str) -> Result<(), Error> {
    let (shape, given) = (input.shape(), rows.shape());
    if given.len() == shape.len() && given[1..] == shape[1..] && given[0] > 0 {
        return Ok(());
    }
    Err(Error::Shape {
        what: format!("the baseline of input {i}"),
        got: given,
        expected: format!("{how_many} {shape:?}, or one row of it,")
            .trim_start()
            .into(),
    })
}

/// Returns the tensor if it has the input's type and device and is finite.
fn like(tensor: &Value, input: &Value, i: usize) -> Result<Value, Error> {
    let device = input.device();
    let what = format!("the baseline of input {i}");
    let tensor = tensor
        .clone()
        .checked(what.clone(), input.dtype(), device.as_dispatch())?;
    if tensor.is_finite()? {
        Ok(tensor)
    } else {
        Err(Error::NonFinite { what })
    }
}

impl From<Baseline> for Baselines {
    fn from(baseline: Baseline) -> Self {
        Self::each(vec![baseline])
    }
}

impl From<Vec<Baseline>> for Baselines {
    fn from(baselines: Vec<Baseline>) -> Self {
        Self::each(baselines)
    }
}

impl<const D: usize> From<Tensor<D, Int>> for Baselines {
    fn from(tokens: Tensor<D, Int>) -> Self {
        Baseline::Tensor(tokens.into()).into()
    }
}

impl From<f64> for Baselines {
    fn from(value: f64) -> Self {
        Baseline::Scalar(value).into()
    }
}

impl<const D: usize> From<Tensor<D>> for Baselines {
    fn from(tensor: Tensor<D>) -> Self {
        Baseline::Tensor(tensor.into()).into()
    }
}

impl From<f64> for Baseline {
    fn from(value: f64) -> Self {
        Self::Scalar(value)
    }
}

impl<const D: usize> From<Tensor<D, Int>> for Baseline {
    fn from(tokens: Tensor<D, Int>) -> Self {
        Baseline::Tensor(tokens.into())
    }
}

impl<const D: usize> From<Tensor<D>> for Baseline {
    fn from(tensor: Tensor<D>) -> Self {
        Baseline::Tensor(tensor.into())
    }
}
