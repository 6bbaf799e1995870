//! Latent shift: images between less and more of a prediction, by an autoencoder.
//!
//! Cohen et al., "Gifsplanation via Latent Shift: A Simple Autoencoder Approach to Counterfactual
//! Generation for Chest X-rays", 2021 (<https://arxiv.org/abs/2102.09475>).
//!
//! ```text
//! mod.rs     LatentShift: the method
//! config.rs  its parameters
//! search.rs  the search for the range of lambda
//! ```

mod config;
mod search;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use attr_core::build::{Gradients, Seeds, ask};
use attr_core::{
    Error, Explanation, Inputs, Method, Model, Question, Run, Target, Traced, Value, Values, Work,
};
use burn::tensor::Tensor;

pub use config::{LatentShiftConfig, ShiftHeatmap, ShiftSearch};
pub use search::{Searched, Stop};

/// Shifts an image's code along the gradient of the prediction, and shows where the decoded image
/// changes.
///
/// With an encoder `E`, a decoder `D` and the model `f`: `z = E(x)`, `x_λ = D(z + λ ∂f(D(z))/∂z)`.
/// The range of `λ` is [searched](LatentShiftConfig), starting at 0 and with growing steps, until
/// the prediction has changed enough or the image too much; then images at evenly spaced `λ` are
/// compared ([`ShiftHeatmap`]). All rows are searched as one batch.
///
/// Shapes: the image's, `[batch, channels, height, width]`, or whatever the decoder returns. A
/// model's other inputs ride along; exactly one input is explained. Predictions are sigmoids of the
/// target's output unless [`apply_sigmoid`](LatentShiftConfig::apply_sigmoid) is off. Work: one
/// backward pass, up to some 30 forward passes for the search, one for each image of the sweep.
///
/// [`shifts`](Self::shifts) returns the images, for a video, with their lambdas and predictions.
///
/// Where the authors' implementation searches to the left only, [`ShiftSearch`] also goes right.
///
/// # Errors
/// [`Error::Parameter`] for parameters that make no sweep; [`Error::Shape`] when the decoder does
/// not return images shaped like the input; [`Error::Method`] for several explained inputs, or none.
///
/// ```
/// use attr_core::Method;
/// use attr_gradient::LatentShift;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let image = Tensor::<4>::ones([1, 1, 2, 2], &Device::default());
/// let encode = |x: Tensor<4>| x.flatten::<2>(1, 3);
/// let decode = |z: Tensor<2>| z.reshape([-1, 1, 2, 2]);
/// let model = |x: Tensor<4>| x.flatten::<2>(1, 3).narrow(1, 0, 2);
///
/// let shift = LatentShift::new(encode, decode).with_range(-5.0, 5.0);
/// let map = shift.attribute(&model, &image, 1)?.attribution();
/// // Only the second pixel matters to the second output.
/// let changed: Vec<bool> = map.into_data().iter::<f32>().map(|v| v > 0.0).collect();
/// assert_eq!(changed, [false, true, false, false]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LatentShift {
    encoder: Arc<dyn Model + Send + Sync>,
    decoder: Arc<dyn Model + Send + Sync>,
    config: LatentShiftConfig,
}

impl fmt::Debug for LatentShift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = f.debug_struct("LatentShift");
        parts.field("config", &self.config).finish_non_exhaustive()
    }
}

/// The sweep of one row: images from the left to the right end of the range.
#[derive(Clone, Debug)]
pub struct Shift {
    /// The images, `[steps, channels, height, width]`.
    pub images: Value,
    /// The lambda of each image.
    pub lambdas: Vec<f64>,
    /// The prediction for each image.
    pub predictions: Vec<f32>,
    /// The heat map, `[1, channels, height, width]`.
    pub heatmap: Value,
    /// What the search evaluated, in order; empty for a given range.
    pub searched: Vec<Searched>,
    /// The model's output for the target, for the image itself.
    pub score: f32,
}

impl LatentShift {
    /// Creates the method for an autoencoder: a function from images to codes, and one from codes
    /// to images; dimension 0 is the batch. For traced models, see [`traced`](Self::traced).
    pub fn new<I: Inputs + 'static, J: Inputs + 'static>(
        encoder: impl Model<I> + Send + Sync + 'static,
        decoder: impl Model<J> + Send + Sync + 'static,
    ) -> Self {
        Self {
            encoder: Arc::new(Part(encoder, PhantomData)),
            decoder: Arc::new(Part(decoder, PhantomData)),
            config: LatentShiftConfig::default(),
        }
    }

    /// Creates the method for a traced autoencoder, such as two ONNX files.
    pub fn traced(encoder: Traced, decoder: Traced) -> Self {
        Self::new::<Values, Values>(encoder, decoder)
    }

    /// Sets all parameters at once.
    pub fn with_config(mut self, config: LatentShiftConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the range of lambda, instead of a search for it.
    pub fn with_range(mut self, left: f64, right: f64) -> Self {
        self.config.fix_range = Some([left, right]);
        self
    }

    /// Sets the direction of the search.
    pub fn with_search(mut self, search: ShiftSearch) -> Self {
        self.config.search = search;
        self
    }

    /// Sets by which part of its magnitude the image may change before the search stops.
    pub fn with_max_change(mut self, pixel_diff_pct: f64) -> Self {
        self.config.search_max_pixel_diff_pct = pixel_diff_pct;
        self
    }

    /// Sets the number of images in the sweep.
    pub fn with_steps(mut self, steps: usize) -> Self {
        self.config.lambda_sweep_steps = steps;
        self
    }

    /// Sets how images become a heat map.
    pub fn with_heatmap(mut self, heatmap: ShiftHeatmap) -> Self {
        self.config.heatmap_method = heatmap;
        self
    }

    /// Takes the model's output as the prediction, without a sigmoid.
    pub fn without_sigmoid(mut self) -> Self {
        self.config.apply_sigmoid = false;
        self
    }

    /// Returns the sweep of each row, with its images.
    ///
    /// # Errors
    /// As [`attribute`](Method::attribute).
    pub fn shifts<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
    ) -> Result<Vec<Shift>, Error> {
        Ok(self.shifts_with(model, inputs, target, &Run::new())?.0)
    }

    /// As [`shifts`](Self::shifts), with a memory budget and progress reports; also returns how
    /// often the model was evaluated.
    ///
    /// # Errors
    /// As [`attribute`](Method::attribute).
    pub fn shifts_with<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
        run: &Run<'_>,
    ) -> Result<(Vec<Shift>, Work), Error> {
        ask(model, inputs, &[target.into()], run, |question, _| {
            let mut shifts = Vec::with_capacity(question.inputs().rows());
            self.each_shift(question, |_, shift| shifts.push(shift))?;
            Ok((shifts, question.work()))
        })
    }

    /// Gives the sweep of every target and row to `found`, targets in order for every row.
    fn each_shift(
        &self,
        question: &Question<'_>,
        mut found: impl FnMut(usize, Shift),
    ) -> Result<(), Error> {
        self.config.check()?;
        let image = explained(question.inputs())?;
        let question = question.with_fixed_targets()?;
        let mut verified = false;
        question.for_rows(self.config.lambda_sweep_steps, |rows| {
            let codes = self.encoder.forward(image_of(&rows, image))?;
            let codes = codes.detached();
            if !verified {
                self.decoder.verify(&code(codes.clone()))?;
                verified = true;
            }
            let shown = Sweeper {
                method: self,
                question: &question,
                rows: &rows,
                image,
                reconstruction: self.decode(&rows, image, codes.clone())?,
                codes,
            };
            for (t, direction) in shown.directions()?.into_iter().enumerate() {
                let target = question.targets()[t].clone();
                let question = question.with_targets(vec![target]);
                for shift in shown.of_target(&question, &direction)? {
                    found(t, shift);
                }
            }
            Ok(())
        })
    }

    /// Returns decoded images, which must be shaped like the input.
    fn decode(&self, rows: &Values, image: usize, codes: Value) -> Result<Value, Error> {
        let count = codes.rows();
        let decoded = self.decoder.forward(code(codes))?.detached();
        let mut expected = rows.values()[image].shape();
        expected[0] = count;
        if decoded.shape() != expected {
            return Err(Error::Shape {
                what: "the decoder's output".into(),
                got: decoded.shape(),
                expected: format!("{expected:?}, as the input has,"),
            });
        }
        Ok(decoded)
    }
}

impl Method for LatentShift {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let image = explained(question.inputs())?;
        let mut collected = question.collect();
        self.each_shift(question, |t, shift| {
            let mut values = vec![None; question.inputs().values().len()];
            values[image] = Some(shift.heatmap);
            collected.push(t, values, &[shift.score]);
        })?;
        collected.finish()
    }
}

/// What is known of some rows before a target is chosen.
struct Sweeper<'a> {
    method: &'a LatentShift,
    question: &'a Question<'a>,
    rows: &'a Values,
    image: usize,
    codes: Value,
    reconstruction: Value,
}

/// The gradients of one target's predictions in the latent space.
struct Direction {
    values: Value,
    /// The prediction for each reconstruction.
    predictions: Vec<f32>,
}

impl Sweeper<'_> {
    /// Returns the direction of every target.
    fn directions(&self) -> Result<Vec<Direction>, Error> {
        let rows = self.with_images(self.rows, &self.reconstruction);
        let found = self.question.gradients(&rows)?;
        let mut seeds = Vec::with_capacity(found.gradients.len());
        let mut predictions = Vec::with_capacity(found.gradients.len());
        for (mut gradients, scores) in found.gradients.into_iter().zip(found.scores) {
            let gradient = gradients[self.image].take();
            let gradient = gradient.ok_or(Error::NoGradient { input: self.image })?;
            let predicted: Vec<f32> = scores.iter().map(|&s| self.prediction(s)).collect();
            seeds.push(if self.method.config.apply_sigmoid {
                let slopes = predicted.iter().map(|p| p * (1.0 - p)).collect::<Vec<_>>();
                scaled(&gradient, &slopes)?
            } else {
                gradient
            });
            predictions.push(predicted);
        }
        let decoder = &self.method.decoder;
        let pulled = decoder.gradients(code(self.codes.clone()), &|_| Ok(seeds.clone()))?;
        let pulled = pulled.inputs.into_iter().zip(predictions);
        let each = pulled.map(|(mut values, predictions)| {
            let value = values.drain(..).next().flatten();
            Ok(Direction {
                values: value.ok_or(Error::NoGradient { input: self.image })?,
                predictions,
            })
        });
        each.collect()
    }

    /// Returns the sweeps of all rows for the question's only target.
    fn of_target(
        &self,
        question: &Question<'_>,
        direction: &Direction,
    ) -> Result<Vec<Shift>, Error> {
        let config = &self.method.config;
        let (ranges, mut searched) = match config.fix_range {
            Some(range) => {
                let count = self.rows.rows();
                (vec![range; count], vec![Vec::new(); count])
            }
            None => search::ranges(self, question, direction)?,
        };
        let scores = question.scores_of(self.rows)?.remove(0);
        let mut shifts = Vec::with_capacity(ranges.len());
        for (row, [left, right]) in ranges.into_iter().enumerate() {
            let steps = config.lambda_sweep_steps;
            let at = |i: usize| left + (right - left) * i as f64 / (steps - 1) as f64;
            let lambdas: Vec<f64> = (0..steps).map(at).collect();
            let points: Vec<(usize, f64)> = lambdas.iter().map(|&l| (row, l)).collect();
            let (images, predictions) = self.evaluate(question, direction, &points)?;
            let first = self.reconstruction.slice_rows(row..row + 1);
            shifts.push(Shift {
                heatmap: heatmap(config.heatmap_method, &images, &first)?,
                images,
                lambdas,
                predictions,
                searched: std::mem::take(&mut searched[row]),
                score: scores[row],
            });
        }
        Ok(shifts)
    }

    /// Returns the images and predictions at some rows and lambdas.
    fn evaluate(
        &self,
        question: &Question<'_>,
        direction: &Direction,
        points: &[(usize, f64)],
    ) -> Result<(Value, Vec<f32>), Error> {
        let (mut images, mut predictions) = (Vec::new(), Vec::with_capacity(points.len()));
        let all = points.iter().copied();
        question.quiet().for_items(points.len(), all, 1, |points| {
            let rows: Vec<usize> = points.iter().map(|point| point.0).collect();
            let lambdas: Vec<f32> = points.iter().map(|point| point.1 as f32).collect();
            let step = scaled(&direction.values.select_rows(&rows), &lambdas)?;
            let codes = self.codes.select_rows(&rows);
            let codes = codes.zip(&step, |code, step| code + step)?;
            let inputs = self.rows.select(&rows);
            let decoded = self.method.decode(&inputs, self.image, codes)?;
            let inputs = self.with_images(&inputs, &decoded);
            let output = question.forward(&inputs)?;
            let chosen = question.chosen(&output, &inputs)?;
            let scores = chosen.iter().flat_map(|chosen| &chosen.scores);
            predictions.extend(scores.map(|&score| self.prediction(score)));
            images.push(decoded);
            Ok(())
        })?;
        Ok((Value::cat_rows(images)?, predictions))
    }

    fn with_images(&self, rows: &Values, images: &Value) -> Values {
        rows.with(|i, _| (i == self.image).then(|| images.clone()))
    }

    fn prediction(&self, score: f32) -> f32 {
        if self.method.config.apply_sigmoid {
            1.0 / (1.0 + (-score).exp())
        } else {
            score
        }
    }
}

/// Returns the only input that is explained.
fn explained(inputs: &Values) -> Result<usize, Error> {
    let all: Vec<usize> = (0..inputs.values().len())
        .filter(|&i| inputs.attributed(i))
        .collect();
    match all[..] {
        [only] => Ok(only),
        _ => Err(Error::Method {
            method: "latent shift",
            reason: format!(
                "it explains one input, the image that the encoder takes, not {}; mark the others \
                 as constant",
                all.len()
            ),
        }),
    }
}

fn image_of(rows: &Values, image: usize) -> Values {
    Values::new(vec![rows.values()[image].clone()], vec![true])
}

fn code(codes: Value) -> Values {
    Values::new(vec![codes], vec![true])
}

/// Multiplies every row by its factor.
fn scaled(value: &Value, factors: &[f32]) -> Result<Value, Error> {
    value.map(|rows| {
        let factors = Tensor::<1>::from_floats(factors, &rows.device()).cast(rows.dtype());
        rows * factors.unsqueeze_dim(1)
    })
}

/// Reduces the images of a sweep to `[1, ...]`.
fn heatmap(method: ShiftHeatmap, images: &Value, first: &Value) -> Result<Value, Error> {
    let steps = images.rows();
    let all = images.matrix()?;
    let moved = || -> Result<Tensor<2>, Error> { Ok((all.clone() - first.matrix()?).abs()) };
    let map = match method {
        ShiftHeatmap::Int => {
            let before = all.clone().narrow(0, 0, steps - 1);
            let after = all.clone().narrow(0, 1, steps - 1);
            (before - after).abs().mean_dim(0)
        }
        ShiftHeatmap::Mean => moved()?.mean_dim(0),
        ShiftHeatmap::Max => moved()?.max_dim(0),
        ShiftHeatmap::Mm => {
            let ends = (all.clone().narrow(0, 0, 1), all.narrow(0, steps - 1, 1));
            (ends.0 - ends.1).abs()
        }
    };
    Ok(Value::from_matrix(map, &first.shape()))
}

/// Half of an autoencoder, without the static types of its inputs.
struct Part<I, M>(M, PhantomData<fn(I)>);

impl<I: Inputs, M: Model<I>> Model for Part<I, M> {
    fn forward(&self, inputs: Values) -> Result<Value, Error> {
        self.0.forward(inputs)
    }

    fn gradients(&self, inputs: Values, seeds: &Seeds<'_>) -> Result<Gradients, Error> {
        self.0.gradients(inputs, seeds)
    }

    fn verify(&self, inputs: &Values) -> Result<usize, Error> {
        self.0.verify(inputs)
    }

    fn traced(&self) -> Option<&Traced> {
        self.0.traced()
    }
}
