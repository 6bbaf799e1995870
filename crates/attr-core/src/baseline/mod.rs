//! What "absent" means: the reference that an input is compared with.
//!
//! ```text
//! mod.rs      Baseline, Baselines: what is absent, and the rows that this makes
//! absent.rs   rows that stand for an input
//! blur.rs     images without their detail
//! inpaint.rs  images whose parts are filled from around them
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
    /// Each row's own smallest value, everywhere in it.
    Min,
    /// Each row's own largest value, everywhere in it.
    Max,
    /// Rows to draw from, or to average over: any number of rows shaped like the input's.
    Distribution(Value),
    /// Each of these: methods that take a mean over a distribution take it over them. Black and
    /// white together, or [`Min`](Self::Min) and [`Max`](Self::Max), do not hide what has the
    /// baseline's colour.
    Several(Vec<Baseline>),
    /// The image `[batch, channels, ...]` blurred by a Gaussian of this deviation, in pixels.
    Blur(f64),
    /// What surrounds the absent part of the image `[batch, channels, height, width]`; for methods
    /// that perturb, zero where everything is absent.
    Inpaint,
}

/// The baselines of all inputs: one for all of them, or one each.
#[derive(Clone, Debug, Default)]
pub struct Baselines {
    each: Vec<Baseline>,
}

impl Baselines {
    /// A baseline for each input, in order; those without attribution included.
    pub fn each(baselines: Vec<Baseline>) -> Self {
        Self { each: baselines }
    }

    /// Baseline of input `i`, of `count`.
    ///
    /// # Errors
    /// [`Error::InputCount`] when there is neither one for all nor one each.
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

    /// The baseline of every attributed input, one row for each of its rows.
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

    /// The inputs with their baselines in their place, integers such as tokens included: token 0,
    /// unless a number or a tensor is given for them, as in Captum. Constants stay.
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
                            "input {i} holds integers such as tokens, and {other:?} is none; give a \
                             whole number or a tensor of integers"
                        ),
                    });
                }
            });
        }
        Ok(inputs.with(|i, _| absent[i].clone()))
    }

    /// Per attributed input, rows to draw baselines from: a distribution's or a tensor's rows, or
    /// one row of a number. With `tokens`, explained integers have rows, too.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); [`Error::Method`] for baselines that each row has its own of.
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
                            reason: "what is made of a row is its own; give rows to draw from"
                                .into(),
                        });
                    }
                };
                filled(&value.slice_rows(0..1), number, i).map(Some)
            })
            .collect()
    }

    /// Distributions, and several baselines for one input, taken apart: the baselines of each of
    /// their rows, which belong together where several inputs have a distribution. These baselines
    /// alone where there is none.
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

    /// What stands for each absent input, over the backgrounds that [`each_row`](Self::each_row)
    /// gives; rows of distributions are there once, whichever rows of the inputs they stand for.
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

    /// Several baselines for one input taken apart, which belong together where several inputs have
    /// them; distributions stay.
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
                reason: "at least one is needed, and as many for each input, since they belong \
                         together"
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

    /// How many rows the distributions have; none where there is no distribution.
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
                reason: "it needs rows, and as many for each input, since they belong together"
                    .into(),
            });
        }
        Ok(Some(count))
    }

    /// Per input, whether it is inpainted where it is absent; and the same with zeros instead.
    ///
    /// # Errors
    /// [`Error::Shape`] for inpainting of what is no image; as [`get`](Self::get).
    pub fn inpainting(&self, inputs: &Values) -> Result<(Vec<bool>, Baselines), Error> {
        let count = self.count(inputs);
        let values = inputs.values().iter().enumerate();
        let inpainted = values.map(|(i, value)| {
            let inpaint = inputs.explained(i) && matches!(self.get(i, count)?, Baseline::Inpaint);
            let image = inputs.attributed(i) && value.shape().len() == 4;
            if inpaint && !image {
                return Err(Error::Shape {
                    what: format!("input {i}, which is to be inpainted,"),
                    got: value.shape(),
                    expected: "an image [batch, channels, height, width] of floating point".into(),
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

    /// Of how many inputs there are baselines: constants that a cut model appends have none.
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
            reason:
                "inpainting needs something to surround what is absent; it serves methods that \
                     take parts of the input away"
                    .into(),
        }),
        Baseline::Distribution(_) | Baseline::Several(_) => Err(Error::Method {
            method: "this method",
            reason: "it needs one baseline per row, not several or a distribution".into(),
        }),
    }
}

/// One number everywhere, in the form of a value.
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
                    "input {i} holds integers such as tokens ({dtype:?}), and {number} is none of them"
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

/// A tensor's row for each row of the input: one for all, or one per caller's row.
fn tensor_rows(tensor: &Value, input: &Value, inputs: &Values, i: usize) -> Result<Value, Error> {
    let (origin, rows) = (inputs.origin(), inputs.caller_rows());
    if tensor.rows() != 1 && tensor.rows() != rows {
        let mut expected = input.shape();
        expected[0] = rows;
        return Err(Error::Shape {
            what: format!("the baseline of input {i}"),
            got: tensor.shape(),
            expected: format!("{expected:?}, or one row of it,"),
        });
    }
    fits(tensor, input, i, "")?;
    let tensor = like(tensor, input, i)?;
    Ok(match tensor.rows() {
        1 => tensor.select_rows(&vec![0; origin.len()]),
        _ => tensor.select_rows(origin),
    })
}

/// Refuses rows unlike the input's.
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

/// The tensor, if it has the input's type and device and is finite.
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
