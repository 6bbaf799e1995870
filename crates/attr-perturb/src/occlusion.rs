//! Occlusion: how much the output changes when a window of the input is covered.
//!
//! Zeiler, Fergus, "Visualizing and understanding convolutional networks", 2013
//! (<https://arxiv.org/abs/1311.2901>). Follows Captum's `Occlusion`.

use attr_core::perturb::{Perturbation, Perturbed, Windows, inpainted, mixed};
use attr_core::{BaselineUse, Error, Explanation, Kind, Method, Question, Value, Values};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::setters::setters;
use std::ops::Range;

/// Parameters of [`Occlusion`], under Captum's names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct OcclusionConfig {
    /// Window size along each dimension except the batch, for each explained input.
    pub sliding_window_shapes: Vec<Vec<usize>>,
    /// How far the window moves along each dimension, for each explained input; 1 by default.
    pub strides: Vec<Vec<usize>>,
    /// Perturbed copies of the batch evaluated together; by default, as many as memory allows.
    pub perturbations_per_eval: Option<usize>,
}

/// Computes, for each element `e`,
/// `A_e = mean over the windows w that cover e of f(x) - f(x with w replaced by the baseline)`.
///
/// Along a dimension of length `D`, a window of length `W` with stride `S` has
/// `⌈(D - W) / S⌉ + 1` positions; the last is clipped at the edge. Inputs are covered one at a
/// time.
///
/// Shapes: the input's, `[batch, ...]`, in units of the output; `[1, ...]` where the forward gives
/// one value for the whole batch. One forward pass for the inputs and one per window and row. On a
/// traced model, only the part of each layer that a window can reach is evaluated, where that is
/// less than the whole; this takes one more pass per row.
///
/// # Errors
/// [`Error::Shape`] for a window that does not fit into the input, [`Error::Parameter`] for a
/// stride of 0 or one that leaves gaps between windows; [`Error::WholeBatch`].
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
}

impl Occlusion {
    /// Creates windows of these sizes, one for each explained input, without the batch dimension.
    /// They move by one and insert zeros.
    pub fn new(sliding_window_shapes: impl Into<Vec<Vec<usize>>>) -> Self {
        Self::default().with_config(OcclusionConfig {
            sliding_window_shapes: sliding_window_shapes.into(),
            ..OcclusionConfig::default()
        })
    }

    /// Sets all parameters, the windows' sizes among them.
    pub fn with_config(mut self, config: OcclusionConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets how far the window moves along each dimension, for each explained input.
    pub fn with_strides(mut self, strides: impl Into<Vec<Vec<usize>>>) -> Self {
        self.config.strides = strides.into();
        self
    }

    setters!(perturbations_per_eval);

    /// Returns the windows of each explained input.
    fn windows(&self, inputs: &Values) -> Result<Vec<Sliding>, Error> {
        let explained = (0..inputs.values().len()).filter(|&i| inputs.explained(i));
        let explained: Vec<usize> = explained.collect();
        let shapes = &self.config.sliding_window_shapes;
        let strides = &self.config.strides;
        if shapes.is_empty() {
            return Err(Error::Parameter {
                name: "sliding_window_shapes",
                value: "none".into(),
                expected: "give the window's size in each dimension but the batch, such as 1,3,3",
            });
        }
        for given in [shapes.len(), strides.len()] {
            // Without strides, windows move by one.
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
        let mut windows: Vec<Sliding> = Vec::with_capacity(explained.len());
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
                        "a size for each dimension except the batch, from 1 to {shape:?},"
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
            windows.push(Sliding {
                input: i,
                first: windows
                    .last()
                    .map_or(0, |before| before.first + before.count()),
                size: size.clone(),
                places,
            });
        }
        Ok(windows)
    }
}

/// The windows of one input, numbered with the last dimension fastest.
struct Sliding {
    input: usize,
    /// The number of the first window; windows of earlier inputs come before it.
    first: usize,
    size: Vec<usize>,
    /// The positions along each dimension except the batch.
    places: Vec<Vec<Range<usize>>>,
}

impl Sliding {
    fn count(&self) -> usize {
        self.places.iter().map(Vec::len).product()
    }

    /// Returns the ranges of a window, counted from this input's first.
    fn window(&self, mut number: usize) -> Vec<Range<usize>> {
        let mut ranges = Vec::with_capacity(self.places.len());
        for places in self.places.iter().rev() {
            ranges.push(places[number % places.len()].clone());
            number /= places.len();
        }
        ranges.reverse();
        ranges
    }
}

/// Returns the positions of a window along a dimension.
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
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let inputs = question.inputs();
        let windows = self.windows(inputs)?;
        let (inpaint, baselines) = question.baselines().inpainting(inputs)?;
        let absent = Absent {
            rows: baselines.absent(inputs)?,
            inpaint,
        };
        let per_eval = self.config.perturbations_per_eval;
        let perturbed = Perturbed::new(question, per_eval)?;
        let scores = perturbed.scores();
        let mut values: Vec<Vec<Option<Value>>> =
            vec![vec![None; inputs.values().len()]; scores.len()];
        for sliding in &windows {
            let mut shape = inputs.values()[sliding.input].shape();
            shape[0] = perturbed.rows();
            let mut means: Vec<Means> = vec![Means::new(&shape); scores.len()];
            let near = Windows {
                input: sliding.input,
                first: sliding.first,
                count: sliding.count(),
                // Channels are not spatial: which of them a window covers does not change its
                // reach.
                size: sliding.size.get(1..).unwrap_or_default(),
                place: &|number| sliding.window(number).into_iter().skip(1).collect(),
            };
            let make = |copies: &[Perturbation]| covered(inputs, &absent, sliding, copies);
            perturbed.evaluate_windows(&near, &make, &mut |target, number, row, covered| {
                let change = f64::from(scores[target][row]) - f64::from(covered);
                means[target].add(&sliding.window(number), row, change);
            })?;
            for (values, means) in values.iter_mut().zip(means) {
                values[sliding.input] = Some(means.finish(&inputs.values()[sliding.input]));
            }
        }
        let each = values.into_iter().zip(scores);
        let each = each.map(|(values, scores)| Explanation::new(values, scores.clone()));
        Ok(each.collect())
    }

    fn baseline_use(&self) -> BaselineUse {
        BaselineUse::Perturbation
    }
}

/// What replaces a window: baseline rows, or its surroundings.
struct Absent {
    rows: Values,
    inpaint: Vec<bool>,
}

/// Returns the rows of some copies with their windows covered.
fn covered(
    inputs: &Values,
    absent: &Absent,
    sliding: &Sliding,
    copies: &[Perturbation],
) -> Result<Values, Error> {
    let rows: Vec<usize> = copies.iter().map(|copy| copy.row).collect();
    let windows = copies.iter();
    let windows = windows.map(|copy| sliding.window(copy.number - sliding.first));
    let windows: Vec<Vec<Range<usize>>> = windows.collect();
    let here = inputs.select(&rows);
    let x = here.values()[sliding.input].clone();
    let shape = x.shape();
    // A window is a product of ranges: one row of ones and zeros per dimension.
    let mut inside = Tensor::<2>::ones([copies.len(), 1], &x.device());
    let mut elements = 1;
    for (dim, &length) in shape[1..].iter().enumerate() {
        let mut data = vec![0f32; copies.len() * length];
        for (line, window) in data.chunks_mut(length).zip(&windows) {
            line[window[dim].clone()].fill(1.0);
        }
        let data = TensorData::new(data, [copies.len(), length]);
        let line = Tensor::<2>::from_data(data, &x.device());
        elements *= length;
        let both = inside.unsqueeze_dim::<3>(2) * line.unsqueeze_dim::<3>(1);
        inside = both.reshape([copies.len(), elements]);
    }
    let seen = inside.neg() + 1.0;
    let changed = if absent.inpaint[sliding.input] {
        inpainted(&x, seen)?
    } else {
        let there = absent.rows.values()[sliding.input].select_rows(&rows);
        mixed(x, there, seen)?
    };
    Ok(here.with(|i, _| (i == sliding.input).then(|| changed.clone())))
}

/// Accumulates the mean change over the windows that cover each element.
#[derive(Clone)]
struct Means {
    shape: Vec<usize>,
    sums: Vec<f64>,
    /// How many windows cover each element of the first row.
    counts: Vec<u32>,
}

impl Means {
    fn new(shape: &[usize]) -> Self {
        let elements = shape[1..].iter().product();
        Self {
            shape: shape.to_vec(),
            sums: vec![0.0; shape[0] * elements],
            counts: vec![0; elements],
        }
    }

    fn add(&mut self, window: &[Range<usize>], row: usize, change: f64) {
        let start = row * self.counts.len();
        for line in lines(window, &self.shape[1..]) {
            for sum in &mut self.sums[start + line.start..start + line.end] {
                *sum += change;
            }
            if row == 0 {
                for count in &mut self.counts[line] {
                    *count += 1;
                }
            }
        }
    }

    /// Returns the means, in the input's type if that is floating point.
    fn finish(self, input: &Value) -> Value {
        let means = self.sums.iter().zip(self.counts.iter().cycle());
        let means = means.map(|(sum, &count)| (sum / f64::from(count)) as f32);
        let data = TensorData::new(means.collect::<Vec<_>>(), self.shape);
        let data = match input.kind() {
            Kind::Float => data.convert_dtype(input.dtype()),
            _ => data,
        };
        Value::from_data(data, &input.device())
    }
}

/// Returns the elements of a window as ranges of the flattened row.
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
