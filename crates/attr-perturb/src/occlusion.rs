//! Occlusion: how much the output changes when a window of the input is covered.
//!
//! Zeiler, Fergus, "Visualizing and understanding convolutional networks", 2013
//! (<https://arxiv.org/abs/1311.2901>). As Captum's `Occlusion`.

use attr_core::{
    Baselines, Copy, Error, Explanation, Kind, Method, Model, Perturbed, Run, Target, Value,
    Values, Windows, inpainted, mixed,
};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Parameters of [`Occlusion`], under Captum's names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct OcclusionConfig {
    /// The window, its size along each dimension but the batch: one for each explained input.
    pub sliding_window_shapes: Vec<Vec<usize>>,
    /// How far the window moves along each dimension, for each explained input; 1 unless given.
    pub strides: Vec<Vec<usize>>,
    /// Perturbed copies of the batch that go through the model together; as many as memory allows
    /// unless given.
    pub perturbations_per_eval: Option<usize>,
}

/// `A_e = mean over the windows w that cover e of f(x) - f(x with w replaced by the baseline)`.
///
/// Along a dimension of length `D` a window of length `W` with stride `S` has
/// `⌈(D - W) / S⌉ + 1` places; the last is clipped at the edge. Inputs are covered one at a time.
///
/// Shapes: the input's, `[batch, ...]`, in units of the output; `[1, ...]` where the forward gives
/// one value for the whole batch. One forward pass for the inputs and one per window and row. On a
/// traced model windows are evaluated on that part of each layer which they can reach, where that
/// is less than the whole; that takes one more pass per row.
///
/// # Errors
/// [`Error::Shape`] for a window that does not fit into the input, [`Error::Parameter`] for a stride
/// of 0 or one that leaves gaps between windows; [`Error::WholeBatch`].
///
/// ```
/// use attr_core::Method;
/// use attr_perturb::Occlusion;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[1.0, 2.0, 3.0]], &device);
/// let model = |x: Tensor<2>| x.sum_dim(1);
/// let found = Occlusion::new([vec![2]]).attribute(&model, &x, 0)?;
/// assert_eq!(found.attribution().into_data().try_to_vec::<f32>().unwrap(), [3.0, 4.0, 5.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Occlusion {
    config: OcclusionConfig,
    baselines: Baselines,
}

impl From<OcclusionConfig> for Occlusion {
    fn from(config: OcclusionConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }
}

impl Occlusion {
    /// Windows of these sizes, one for each explained input and without the batch, that move by one
    /// and put zeros.
    pub fn new(sliding_window_shapes: impl Into<Vec<Vec<usize>>>) -> Self {
        OcclusionConfig {
            sliding_window_shapes: sliding_window_shapes.into(),
            ..OcclusionConfig::default()
        }
        .into()
    }

    /// Sets how far the window moves along each dimension, for each explained input.
    pub fn with_strides(mut self, strides: impl Into<Vec<Vec<usize>>>) -> Self {
        self.config.strides = strides.into();
        self
    }

    /// Sets what is put in the window; zero unless set, as in Captum.
    pub fn with_baseline(mut self, baselines: impl Into<Baselines>) -> Self {
        self.baselines = baselines.into();
        self
    }

    crate::setters::per_eval!();

    /// All windows, input by input, the last dimension fastest.
    fn windows(&self, inputs: &Values) -> Result<Vec<Window>, Error> {
        let explained = (0..inputs.values().len()).filter(|&i| inputs.explained(i));
        let explained: Vec<usize> = explained.collect();
        let shapes = &self.config.sliding_window_shapes;
        let strides = &self.config.strides;
        if shapes.is_empty() {
            return Err(Error::Parameter {
                name: "sliding_window_shapes",
                value: "none".into(),
                expected: "give the window's size along each dimension but the batch, such as 1,3,3",
            });
        }
        for given in [shapes.len(), strides.len()] {
            // No stride at all is one everywhere.
            let none = given == 0 && strides.is_empty();
            if given != explained.len() && !none {
                return Err(Error::Method {
                    method: "occlusion",
                    reason: format!(
                        "{given} windows or strides are given for {} explained inputs; give one \
                         each",
                        explained.len()
                    ),
                });
            }
        }
        let mut windows = Vec::new();
        for (n, &i) in explained.iter().enumerate() {
            let shape = inputs.values()[i].shape();
            let shape = &shape[1..];
            let size = &shapes[n];
            let fits = size.len() == shape.len() && size.iter().zip(shape).all(|(w, d)| w <= d);
            if !fits || size.contains(&0) {
                return Err(Error::Shape {
                    what: format!("the sliding window of input {i}"),
                    got: size.clone(),
                    expected: format!(
                        "a size for each dimension but the batch, from 1 to those of {shape:?},"
                    ),
                });
            }
            let stride = strides.get(n).cloned().unwrap_or(vec![1; shape.len()]);
            if stride.len() != shape.len() {
                return Err(Error::Shape {
                    what: format!("the stride of input {i}"),
                    got: stride,
                    expected: format!("a number for each dimension of {shape:?}"),
                });
            }
            let sides = size.iter().zip(shape).zip(&stride);
            let sides = sides.map(|((&size, &length), &stride)| places(size, length, stride));
            let places: Vec<Vec<Range<usize>>> = sides.collect::<Result<_, _>>()?;
            let count: usize = places.iter().map(Vec::len).product();
            windows.extend((0..count).map(|mut number| {
                let mut ranges = Vec::with_capacity(places.len());
                for places in places.iter().rev() {
                    ranges.push(places[number % places.len()].clone());
                    number /= places.len();
                }
                ranges.reverse();
                Window { input: i, ranges }
            }));
        }
        Ok(windows)
    }
}

/// Where a window lies: in which input, and in which range of each dimension but the batch.
struct Window {
    input: usize,
    ranges: Vec<Range<usize>>,
}

/// The places of a window along a dimension.
fn places(size: usize, length: usize, stride: usize) -> Result<Vec<Range<usize>>, Error> {
    if stride == 0 || (stride > size && size < length) {
        return Err(Error::Parameter {
            name: "strides",
            value: stride.to_string(),
            expected: "a window moves by at least 1 and at most its own size, or elements between \
                       windows would never be covered",
        });
    }
    let count = (length - size).div_ceil(stride) + 1;
    let place = |i: usize| i * stride..(i * stride + size).min(length);
    Ok((0..count).map(place).collect())
}

impl Method for Occlusion {
    fn explain(
        &self,
        model: &dyn Model,
        inputs: &Values,
        targets: &[Target],
        run: &Run<'_>,
    ) -> Result<Vec<Explanation>, Error> {
        let windows = self.windows(inputs)?;
        let (inpaint, baselines) = self.baselines.inpainting(inputs)?;
        let absent = Absent {
            rows: baselines.absent(inputs)?,
            inpaint,
        };
        let per_eval = self.config.perturbations_per_eval;
        let perturbed = Perturbed::new(model, inputs, targets, per_eval, run)?;
        let rows = perturbed.rows();
        let mut found: Vec<Vec<f32>> = vec![Vec::new(); targets.len()];
        let mut first = 0;
        for own in windows.chunk_by(|a, b| a.input == b.input) {
            // Channels are not in space: a window reaches the same places in whichever they are.
            let spatial = own.iter();
            let spatial = spatial.map(|w| w.ranges.iter().skip(1).cloned().collect());
            let spatial: Vec<Vec<Range<usize>>> = spatial.collect();
            let near = Windows {
                input: own[0].input,
                first,
                ranges: &spatial,
            };
            let make = |copies: &[Copy]| covered(inputs, &absent, &windows, copies);
            let scores = perturbed.evaluate_windows(&near, &make)?;
            for (found, scores) in found.iter_mut().zip(scores) {
                found.extend(scores);
            }
            first += own.len();
        }
        let each = found.into_iter().zip(perturbed.scores());
        let each = each.map(|(found, scores)| {
            let changes = found.chunks(rows).map(|found| {
                let pairs = found.iter().zip(scores);
                pairs.map(|(&covered, &score)| f64::from(score) - f64::from(covered))
            });
            let changes: Vec<Vec<f64>> = changes.map(Iterator::collect).collect();
            let values = means(inputs, &windows, &changes, rows);
            Explanation::new(values, scores.clone())
        });
        Ok(each.collect())
    }
}

/// What windows are covered with: rows, or the surroundings.
struct Absent {
    rows: Values,
    inpaint: Vec<bool>,
}

/// The rows of some copies with their windows covered.
fn covered(
    inputs: &Values,
    absent: &Absent,
    windows: &[Window],
    copies: &[Copy],
) -> Result<Values, Error> {
    let rows: Vec<usize> = copies.iter().map(|copy| copy.0).collect();
    let here = inputs.select(&rows);
    let there = absent.rows.select(&rows);
    let mut results: Vec<Option<Value>> = vec![None; inputs.values().len()];
    for (i, result) in results.iter_mut().enumerate() {
        if !copies.iter().any(|copy| windows[copy.1].input == i) {
            continue;
        }
        let shape = here.values()[i].shape();
        let device = here.values()[i].device();
        // A window is a product of ranges: one row of ones and zeros per dimension.
        let ones = copies
            .iter()
            .map(|copy| f32::from(windows[copy.1].input == i));
        let ones = TensorData::new(ones.collect::<Vec<_>>(), [copies.len(), 1]);
        let mut inside = Tensor::<2>::from_data(ones, &device);
        let mut elements = 1;
        for (dim, &length) in shape[1..].iter().enumerate() {
            let mut data = vec![0f32; copies.len() * length];
            for (line, copy) in data.chunks_mut(length).zip(copies) {
                let window = &windows[copy.1];
                if window.input == i {
                    line[window.ranges[dim].clone()].fill(1.0);
                }
            }
            let data = TensorData::new(data, [copies.len(), length]);
            let line = Tensor::<2>::from_data(data, &device);
            elements *= length;
            let both = inside.unsqueeze_dim::<3>(2) * line.unsqueeze_dim::<3>(1);
            inside = both.reshape([copies.len(), elements]);
        }
        let x = here.values()[i].clone();
        let seen = inside.neg() + 1.0;
        *result = Some(match absent.inpaint[i] {
            true => inpainted(&x, seen)?,
            false => mixed(x, there.values()[i].clone(), seen)?,
        });
    }
    Ok(here.with(|i, _| results[i].clone()))
}

/// The mean change of the windows that cover each element, `changes[window][row]`.
fn means(
    inputs: &Values,
    windows: &[Window],
    changes: &[Vec<f64>],
    rows: usize,
) -> Vec<Option<Value>> {
    let all = inputs.values().iter().enumerate().map(|(i, input)| {
        if !inputs.explained(i) {
            return None;
        }
        let mut shape = input.shape();
        shape[0] = rows;
        let elements: usize = shape[1..].iter().product();
        let mut sums = vec![0f64; rows * elements];
        let mut counts = vec![0u32; elements];
        for (window, changes) in windows.iter().zip(changes) {
            if window.input != i {
                continue;
            }
            for line in lines(&window.ranges, &shape[1..]) {
                for count in &mut counts[line.clone()] {
                    *count += 1;
                }
                for (sums, change) in sums.chunks_mut(elements).zip(changes) {
                    for sum in &mut sums[line.clone()] {
                        *sum += change;
                    }
                }
            }
        }
        let means = sums.iter().zip(counts.iter().cycle());
        let means = means.map(|(sum, &count)| (sum / f64::from(count)) as f32);
        let data = TensorData::new(means.collect::<Vec<_>>(), shape);
        let data = match input.kind() {
            Kind::Float => data.convert_dtype(input.dtype()),
            _ => data,
        };
        Some(Value::from_data(data, &input.device()))
    });
    all.collect()
}

/// The elements of a window as ranges of the flattened row.
fn lines(ranges: &[Range<usize>], shape: &[usize]) -> Vec<Range<usize>> {
    let Some((last, outer)) = ranges.split_last() else {
        // A row of one number.
        return vec![0..1; 1];
    };
    let mut starts = vec![0];
    for (range, &length) in outer.iter().zip(shape) {
        let inner = starts.iter();
        starts = inner
            .flat_map(|start| range.clone().map(move |at| start * length + at))
            .collect();
    }
    let width = shape.last().copied().unwrap_or(1);
    let line = |start: usize| start * width + last.start..start * width + last.end;
    starts.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_window_is_clipped() {
        assert_eq!(places(3, 8, 2).unwrap(), [0..3, 2..5, 4..7, 6..8]);
        assert_eq!(places(3, 3, 5).unwrap(), vec![0..3; 1]);
        assert_eq!(places(2, 5, 2).unwrap(), [0..2, 2..4, 4..5]);
        assert!(places(2, 5, 3).is_err());
        assert!(places(2, 5, 0).is_err());
    }

    #[test]
    fn lines_of_a_window() {
        let window = [1..2, 0..2, 1..3];
        assert_eq!(lines(&window, &[2, 3, 4]), [13..15, 17..19]);
    }
}
