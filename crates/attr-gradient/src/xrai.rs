//! XRAI: regions of an image, ranked by the attribution they hold.
//!
//! Kapishnikov, Bolukbasi, Viégas, Terry, "XRAI: Better Attributions Through Regions", 2019
//! (<https://arxiv.org/abs/1906.02825>). Matches `XRAI` of PAIR's saliency library on given
//! segments.

use attr_core::{
    Baseline, BaselineUse, Baselines, Error, Explanation, Kind, Method, Question, Value, Values,
    WithBaseline,
};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::IntegratedGradients;

/// How XRAI grows regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum XraiAlgorithm {
    /// Repeatedly adds the segment whose new pixels have the highest mean.
    #[default]
    Full,
    /// Adds the segments in descending order of their mean.
    Fast,
}

/// Parameters of [`Xrai`], under PAIR's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct XraiConfig {
    /// How regions are grown; default the full algorithm, as in PAIR's library.
    pub algorithm: XraiAlgorithm,
    /// The covered fraction of the image at which the full algorithm stops; default 1, as in PAIR's
    /// library.
    pub area_threshold: f64,
    /// The number of new pixels that a segment must add; default 50, as in PAIR's library, which
    /// suits photographs.
    pub min_pixel_diff: usize,
}

impl Default for XraiConfig {
    fn default() -> Self {
        Self {
            algorithm: XraiAlgorithm::default(),
            area_threshold: 1.0,
            min_pixel_diff: 50,
        }
    }
}

/// Gives each pixel the mean attribution of the region that added it.
///
/// Regions grow by the segment with the highest mean. The attribution comes from another method; at
/// each pixel it is the largest over the channels. The default is integrated gradients with a
/// hundred steps (as in PAIR's library, but Gauss-Legendre), averaged over each row's darkest and
/// brightest value as baselines. Pixels in no segment get their own mean.
///
/// The user gives the segments, from any segmentation and at any number of scales, as integers
/// `[batch or 1, 1, height, width]`. Equal integers form one segment; negative ones belong to none.
/// Segments of several maps may overlap. The paper uses six scales of Felzenszwalb's method.
///
/// Shapes: `[batch, 1, ...]` with the input's spatial dimensions. The work is that of the method.
///
/// # Errors
/// [`Error::Shape`] or [`Error::ElementKind`] for segments that do not fit; [`Error::Method`]
/// unless exactly one input is explained and is an image; the errors of the method.
///
/// ```
/// use attr_core::Method;
/// use attr_gradient::Xrai;
/// use burn::tensor::{Device, Int, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let image = Tensor::<4>::from_floats([[[[3.0, 2.0], [0.0, 1.0]]]], &device);
/// let halves = Tensor::<4, Int>::from_ints([[[[0, 0], [1, 1]]]], &device);
/// let model = |x: Tensor<4>| x.flatten::<2>(1, 3).sum_dim(1);
/// let xrai = Xrai::new([halves.into()]).with_min_pixel_diff(1);
/// let found = xrai.attribute(&model, &image, 0)?.attribution();
/// let rows = found.reshape([2, 2]).max_dim(1);
/// assert!(rows.clone().narrow(0, 0, 1).greater(rows.narrow(0, 1, 1)).all().into_scalar::<bool>());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Xrai<M = WithBaseline<IntegratedGradients>> {
    method: M,
    segments: Vec<Value>,
    config: XraiConfig,
}

impl Xrai {
    /// Creates XRAI over these segments, with integrated gradients from each row's smallest and
    /// largest value.
    pub fn new(segments: impl IntoIterator<Item = Value>) -> Self {
        let method = IntegratedGradients::new()
            .with_steps(100)
            .with_baseline(Baseline::Several(vec![Baseline::Min, Baseline::Max]));
        Self::of(method, segments)
    }
}

impl<M: Method> Xrai<M> {
    /// Creates XRAI over these segments, with the attribution of `method`.
    pub fn of(method: M, segments: impl IntoIterator<Item = Value>) -> Self {
        Self {
            method,
            segments: segments.into_iter().collect(),
            config: XraiConfig::default(),
        }
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: XraiConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets how regions are grown.
    pub fn with_algorithm(mut self, algorithm: XraiAlgorithm) -> Self {
        self.config.algorithm = algorithm;
        self
    }

    /// Sets the covered fraction of the image at which the full algorithm stops.
    pub fn with_area_threshold(mut self, area_threshold: f64) -> Self {
        self.config.area_threshold = area_threshold;
        self
    }

    /// Sets the number of new pixels that a segment must add.
    pub fn with_min_pixel_diff(mut self, pixels: usize) -> Self {
        self.config.min_pixel_diff = pixels;
        self
    }

    /// Returns each row's segments as lists of pixels.
    fn segments(&self, inputs: &Values, shape: &[usize]) -> Result<Vec<Vec<Vec<usize>>>, Error> {
        let positions: usize = shape[2..].iter().product();
        let mut segments = vec![Vec::new(); inputs.rows()];
        for map in &self.segments {
            let given = map.shape();
            if map.kind() != Kind::Int {
                return Err(Error::ElementKind {
                    expected: Kind::Int,
                    got: map.kind(),
                });
            }
            let rows = given.first().copied().unwrap_or(0);
            let fits = given.len() == shape.len() && given[1] == 1 && given[2..] == shape[2..];
            if !fits || (rows != 1 && rows != inputs.caller_rows()) {
                let mut expected = shape.to_vec();
                expected[1] = 1;
                return Err(Error::Shape {
                    what: "a map of segments".into(),
                    got: given,
                    expected: format!("{expected:?}, or one row of it,"),
                });
            }
            let labels: Vec<i64> = map.to_data()?.iter::<i64>().collect();
            for (row, segments) in segments.iter_mut().enumerate() {
                let from = if rows == 1 { 0 } else { inputs.origin()[row] };
                let labels = &labels[from * positions..(from + 1) * positions];
                let mut here: Vec<(i64, Vec<usize>)> = Vec::new();
                let labelled = labels.iter().copied().zip(0..positions);
                let mut sorted: Vec<(i64, usize)> =
                    labelled.filter(|(label, _)| *label >= 0).collect();
                sorted.sort_unstable();
                for (label, pixel) in sorted {
                    match here.last_mut() {
                        Some((last, pixels)) if *last == label => pixels.push(pixel),
                        _ => here.push((label, vec![pixel])),
                    }
                }
                segments.extend(here.into_iter().map(|(_, pixels)| pixels));
            }
        }
        Ok(segments)
    }
}

impl XraiConfig {
    /// Computes the map of one row.
    fn grow(&self, attribution: &[f32], segments: &[Vec<usize>]) -> Vec<f32> {
        let mut map: Vec<Option<f64>> = vec![None; attribution.len()];
        let mean = |pixels: &[usize]| {
            let sum: f64 = pixels.iter().map(|&p| f64::from(attribution[p])).sum();
            sum / pixels.len().max(1) as f64
        };
        let least = self.min_pixel_diff.max(1);
        let fresh = |map: &[Option<f64>], pixels: &[usize]| -> Vec<usize> {
            let fresh = pixels.iter().filter(|&&p| map[p].is_none());
            fresh.copied().collect()
        };
        match self.algorithm {
            XraiAlgorithm::Fast => {
                let mut order: Vec<(f64, &Vec<usize>)> = segments
                    .iter()
                    .map(|pixels| (mean(pixels), pixels))
                    .collect();
                order.sort_by(|a, b| b.0.total_cmp(&a.0));
                for (_, pixels) in order {
                    let new = fresh(&map, pixels);
                    if new.len() >= least {
                        let gain = mean(&new);
                        new.into_iter().for_each(|p| map[p] = Some(gain));
                    }
                }
            }
            XraiAlgorithm::Full => {
                let mut rest: Vec<&Vec<usize>> = segments.iter().collect();
                let mut covered = 0;
                while covered as f64 <= self.area_threshold * attribution.len() as f64 {
                    rest.retain(|pixels| fresh(&map, pixels).len() >= least);
                    let gains = rest.iter().map(|pixels| mean(&fresh(&map, pixels)));
                    // Ties go to the first.
                    let best = gains
                        .enumerate()
                        .reduce(|best, next| if next.1 > best.1 { next } else { best });
                    let Some((best, gain)) = best else { break };
                    let new = fresh(&map, rest.remove(best));
                    covered += new.len();
                    new.into_iter().for_each(|p| map[p] = Some(gain));
                }
            }
        }
        let left: Vec<usize> = (0..map.len()).filter(|&p| map[p].is_none()).collect();
        let own = mean(&left);
        map.into_iter()
            .map(|value| value.unwrap_or(own) as f32)
            .collect()
    }
}

impl<M: Method> Method for Xrai<M> {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let inputs = question.inputs();
        let explained = (0..inputs.values().len()).filter(|&i| inputs.attributed(i));
        let explained: Vec<usize> = explained.collect();
        let image = match explained[..] {
            [image] if inputs.values()[image].shape().len() > 2 => image,
            _ => {
                return Err(Error::Method {
                    method: "XRAI",
                    reason: "it explains one image [batch, channels, ...]; make the other inputs \
                             constant"
                        .into(),
                });
            }
        };
        let area = self.config.area_threshold;
        if !(area > 0.0 && area <= 1.0) {
            return Err(Error::Parameter {
                name: "area_threshold",
                value: area.to_string(),
                expected: "it must be above 0 and at most 1",
            });
        }
        let mut shape = inputs.values()[image].shape();
        let (rows, channels) = (shape[0], shape[1]);
        let segments = self.segments(inputs, &shape)?;
        let positions: usize = shape[2..].iter().product();
        let mut found = self.method.explain(question)?;
        for found in &mut found {
            let value = found.values[image].take();
            let value = value.ok_or(Error::NoGradient { input: image })?;
            let (dtype, device) = (value.dtype(), value.device());
            let blocks = value.reshape(&[rows, channels, positions]).tensor::<3>()?;
            let strongest = Value::from(blocks.max_dim(1)).to_vec()?;
            let each = strongest.chunks(positions).zip(&segments);
            let maps: Vec<f32> = each
                .flat_map(|(row, segments)| self.config.grow(row, segments))
                .collect();
            let maps = TensorData::new(maps, [rows, positions]).convert_dtype(dtype);
            shape[1] = 1;
            let maps = Tensor::<2>::from_data(maps, &device);
            *found = Explanation::new(
                vec![None; inputs.values().len()],
                std::mem::take(&mut found.scores),
            );
            found.values[image] = Some(Value::from_matrix(maps, &shape));
        }
        Ok(found)
    }

    fn baseline_use(&self) -> BaselineUse {
        self.method.baseline_use()
    }

    fn own_baselines(&self) -> Option<&Baselines> {
        self.method.own_baselines()
    }
}
