//! LIME in its general form: every part is a trait that a closure satisfies.
//!
//! Follows Captum's `LimeBase`. Ribeiro, Singh, Guestrin, 2016
//! (<https://arxiv.org/abs/1602.04938>).

use std::cell::RefCell;

use attr_core::build::{Random, ask};
use attr_core::perturb::{Perturbation, Perturbed};
use attr_core::{Error, Inputs, Model, Run, Target, Values};

use crate::interpretable::{Design, Fit, InterpretableModel};
use crate::kernel;

/// Draws samples in interpretable space: one number per feature.
pub trait SampleFeatures: Send + Sync {
    /// Draws a sample for a row of the inputs.
    ///
    /// # Errors
    /// Any error that makes the row unusable.
    fn sample(&self, original: &Values, random: &mut Random) -> Result<Vec<f64>, Error>;
}

impl<F> SampleFeatures for F
where
    F: Fn(&Values, &mut Random) -> Result<Vec<f64>, Error> + Send + Sync,
{
    fn sample(&self, original: &Values, random: &mut Random) -> Result<Vec<f64>, Error> {
        self(original, random)
    }
}

/// Draws samples as inputs of the model.
pub trait SampleInputs: Send + Sync {
    /// Draws a sample, one row, for a row of the inputs.
    ///
    /// # Errors
    /// Any error that makes the row unusable.
    fn sample(&self, original: &Values, random: &mut Random) -> Result<Values, Error>;
}

impl<F> SampleInputs for F
where
    F: Fn(&Values, &mut Random) -> Result<Values, Error> + Send + Sync,
{
    fn sample(&self, original: &Values, random: &mut Random) -> Result<Values, Error> {
        self(original, random)
    }
}

/// Maps samples in interpretable space to inputs.
pub trait FromInterpretable: Send + Sync {
    /// Returns the input, one row, that a sample represents.
    ///
    /// # Errors
    /// Any error that makes the sample unusable.
    fn input(&self, sample: &[f64], original: &Values) -> Result<Values, Error>;
}

impl<F> FromInterpretable for F
where
    F: Fn(&[f64], &Values) -> Result<Values, Error> + Send + Sync,
{
    fn input(&self, sample: &[f64], original: &Values) -> Result<Values, Error> {
        self(sample, original)
    }
}

/// Maps inputs to interpretable space.
pub trait ToInterpretable: Send + Sync {
    /// Returns the features of a sample, which is one row.
    ///
    /// # Errors
    /// Any error that makes the sample unusable.
    fn features(&self, sample: &Values, original: &Values) -> Result<Vec<f64>, Error>;
}

impl<F> ToInterpretable for F
where
    F: Fn(&Values, &Values) -> Result<Vec<f64>, Error> + Send + Sync,
{
    fn features(&self, sample: &Values, original: &Values) -> Result<Vec<f64>, Error> {
        self(sample, original)
    }
}

/// Computes the weight of a sample.
pub trait Similarity: Send + Sync {
    /// Returns the non-negative weight of a sample, given as an input and in interpretable space.
    ///
    /// # Errors
    /// Any error that makes the sample unusable.
    fn similarity(&self, original: &Values, sample: &Values, z: &[f64]) -> Result<f64, Error>;
}

impl<F> Similarity for F
where
    F: Fn(&Values, &Values, &[f64]) -> Result<f64, Error> + Send + Sync,
{
    fn similarity(&self, original: &Values, sample: &Values, z: &[f64]) -> Result<f64, Error> {
        self(original, sample, z)
    }
}

/// The space where samples are drawn, with the map to the other space.
enum Space {
    Interpretable(Box<dyn SampleFeatures>, Box<dyn FromInterpretable>),
    Input(Box<dyn SampleInputs>, Box<dyn ToInterpretable>),
}

/// Fits an interpretable model to the model's outputs on samples around each row.
///
/// The labels are the outputs for the target; [`Target::function`] turns an output into any label,
/// such as whether a class is predicted. All rows share the draws of one seed.
///
/// `1 + n_samples` forward passes per row.
///
/// # Errors
/// [`Error::Parameter`] for no samples, [`Error::Shape`] for samples of different lengths, and
/// those of the parts.
///
/// ```
/// use attr_core::build::Random;
/// use attr_core::{Error, Values};
/// use attr_surrogate::{LimeBase, LinearRegression};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), Error> {
/// let device = Device::default();
/// let x = Tensor::<2>::from_floats([[2.0, 3.0]], &device);
/// let model = |x: Tensor<2>| x.clone().narrow(1, 0, 1) * 2.0 - x.narrow(1, 1, 1);
/// // Samples nearby, in the input's own space.
/// let sample = |x: &Values, random: &mut Random| -> Result<Values, Error> {
///     let x = x.values()[0].tensor::<2>()?;
///     let noise: Vec<f32> = random.normal(2).collect();
///     let noise = Tensor::<1>::from_floats(&noise[..], &x.device()).reshape([1, 2]);
///     Ok(Values::new(vec![(x + noise).into()], vec![true]))
/// };
/// let features = |sample: &Values, _: &Values| -> Result<Vec<f64>, Error> {
///     Ok(sample.values()[0].to_vec()?.into_iter().map(f64::from).collect())
/// };
/// let alike = |_: &Values, _: &Values, _: &[f64]| Ok(1.0);
/// let lime = LimeBase::in_input_space(sample, features, alike, LinearRegression::default());
/// let fit = &lime.fit(&model, &x, 0)?[0];
/// assert!((fit.coefficients[0] - 2.0).abs() < 1e-4 && (fit.coefficients[1] + 1.0).abs() < 1e-4);
/// # Ok(())
/// # }
/// ```
pub struct LimeBase {
    space: Space,
    similarity: Box<dyn Similarity>,
    model: Box<dyn InterpretableModel>,
    n_samples: usize,
    seed: u64,
}

/// The samples drawn around a row so far.
struct Drawn {
    random: Random,
    columns: Option<usize>,
    features: Vec<f64>,
    weights: Vec<f64>,
}

impl LimeBase {
    /// Creates a method that draws samples in interpretable space: 50, as in Captum.
    pub fn in_interpretable_space(
        sample: impl SampleFeatures + 'static,
        from_interpretable: impl FromInterpretable + 'static,
        similarity: impl Similarity + 'static,
        model: impl InterpretableModel + 'static,
    ) -> Self {
        let space = Space::Interpretable(Box::new(sample), Box::new(from_interpretable));
        Self::new(space, Box::new(similarity), Box::new(model))
    }

    /// Creates a method that draws samples as inputs of the model: 50, as in Captum.
    pub fn in_input_space(
        sample: impl SampleInputs + 'static,
        to_interpretable: impl ToInterpretable + 'static,
        similarity: impl Similarity + 'static,
        model: impl InterpretableModel + 'static,
    ) -> Self {
        let space = Space::Input(Box::new(sample), Box::new(to_interpretable));
        Self::new(space, Box::new(similarity), Box::new(model))
    }

    fn new(
        space: Space,
        similarity: Box<dyn Similarity>,
        model: Box<dyn InterpretableModel>,
    ) -> Self {
        Self {
            space,
            similarity,
            model,
            n_samples: 50,
            seed: 0,
        }
    }

    /// Sets the number of samples.
    pub fn with_samples(mut self, n_samples: usize) -> Self {
        self.n_samples = n_samples;
        self
    }

    /// Sets the seed of the samples.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Fits the model around each row, with the default memory budget and no progress.
    ///
    /// # Errors
    /// Those of [`LimeBase`].
    pub fn fit<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
    ) -> Result<Vec<Fit>, Error> {
        self.fit_with(model, inputs, target, &Run::new())
    }

    /// Works like [`fit`](Self::fit), with a memory budget and progress.
    ///
    /// # Errors
    /// Those of [`LimeBase`].
    pub fn fit_with<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
        run: &Run<'_>,
    ) -> Result<Vec<Fit>, Error> {
        kernel::check_samples("n_samples", self.n_samples, 1)?;
        ask(model, inputs, &[target.into()], run, |question, _| {
            let perturbed = Perturbed::new(question, None)?;
            let rows = 0..question.inputs().rows();
            rows.map(|row| self.fit_one(&perturbed, row)).collect()
        })
    }

    /// Fits the model around a row. Samples are drawn as the model evaluates them.
    fn fit_one(&self, perturbed: &Perturbed<'_>, row: usize) -> Result<Fit, Error> {
        let original = perturbed.inputs().slice(row..row + 1);
        let drawn = RefCell::new(Drawn {
            random: Random::new(self.seed),
            columns: None,
            features: Vec::new(),
            weights: Vec::with_capacity(self.n_samples),
        });
        let copies = (0..self.n_samples).map(|number| Perturbation { row, number });
        let mut labels = perturbed.evaluate(self.n_samples, copies, &|copies| {
            let mut drawn = drawn.borrow_mut();
            let samples = copies.iter().map(|_| self.draw(&original, &mut drawn));
            Values::cat(samples.collect::<Result<_, _>>()?)
        })?;
        let labels = labels.swap_remove(0);
        let labels: Vec<f64> = labels.into_iter().map(f64::from).collect();
        let drawn = drawn.into_inner();
        let design = Design::new(drawn.columns.unwrap_or(0), drawn.features)?;
        self.model.fit(&design, &labels, &drawn.weights)
    }

    /// Draws the next sample as an input of the model; its features and weight are recorded.
    fn draw(&self, original: &Values, drawn: &mut Drawn) -> Result<Values, Error> {
        let (sample, z) = self.both(original, &mut drawn.random)?;
        let expected = *drawn.columns.get_or_insert(z.len());
        if z.len() != expected || sample.rows() != 1 {
            return Err(Error::Shape {
                what: "a sample of LIME".into(),
                got: vec![sample.rows(), z.len()],
                expected: format!("one row with {expected} features"),
            });
        }
        let weight = self.similarity.similarity(original, &sample, &z)?;
        drawn.weights.push(weight);
        drawn.features.extend(z);
        // A sample represents the row it was drawn around.
        let explained = (0..sample.values().len()).map(|i| sample.explained(i));
        let explained = explained.collect();
        Ok(original.replaced(sample.into_values(), explained))
    }

    /// Draws a sample in both spaces.
    fn both(&self, original: &Values, random: &mut Random) -> Result<(Values, Vec<f64>), Error> {
        match &self.space {
            Space::Interpretable(sampler, from) => {
                let z = sampler.sample(original, random)?;
                Ok((from.input(&z, original)?, z))
            }
            Space::Input(sampler, to) => {
                let sample = sampler.sample(original, random)?;
                let z = to.features(&sample, original)?;
                Ok((sample, z))
            }
        }
    }
}
