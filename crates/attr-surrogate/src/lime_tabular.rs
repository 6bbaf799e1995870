//! LIME's own tabular explainer: samples from bins of the training set.
//!
//! Ribeiro, Singh, Guestrin, "Why should I trust you?", 2016 (<https://arxiv.org/abs/1602.04938>).
//! Follows `LimeTabularExplainer` of the `lime` package; draws come from a seed.

use attr_core::build::Random;
use attr_core::perturb::{Perturbation, Perturbed};
use attr_core::{Error, Explanation, Method, Question, Value, Values};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::column::Column;
use crate::interpretable::{Design, Fit, InterpretableModel, Ridge};
use crate::kernel;
use crate::lime::spread;
use crate::selection::{FeatureSelection, select_features};
use crate::tabular::{Discretization, Discretizer};

/// Parameters of [`LimeTabular`], under the `lime` package's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LimeTabularConfig {
    /// Number of samples around each row, including the row itself; 5000, as in `lime`.
    pub num_samples: usize,
    /// Largest number of features to use; 10, as in `lime`.
    pub num_features: usize,
    /// How the features are selected.
    pub feature_selection: FeatureSelection,
    /// How features are divided into bins.
    pub discretizer: Discretizer,
    /// Columns that hold categories; each category is a bin of its own.
    pub categorical_features: Vec<usize>,
    /// Width of the distance kernel; by default, 3/4 of the square root of the number of features,
    /// as in `lime`.
    pub kernel_width: Option<f64>,
    /// Without bins: whether samples lie around the row instead of the training set's mean.
    pub sample_around_instance: bool,
    /// Penalty of the ridge regression; 1, as in `lime`.
    pub alpha: f64,
    /// Seed of the samples.
    pub seed: u64,
    /// Samples of all rows evaluated together; by default, as many as memory allows.
    pub perturbations_per_eval: Option<usize>,
}

impl Default for LimeTabularConfig {
    fn default() -> Self {
        Self {
            num_samples: 5000,
            num_features: 10,
            feature_selection: FeatureSelection::Auto,
            discretizer: Discretizer::default(),
            categorical_features: Vec::new(),
            kernel_width: None,
            sample_around_instance: false,
            alpha: 1.0,
            seed: 0,
            perturbations_per_eval: None,
        }
    }
}

/// Computes the coefficients of `argmin Σ_k w_k (f(x_k) - c₀ - c·z_k)² + alpha ‖c‖²` over samples
/// `x_k` drawn like the training set.
///
/// With bins, a feature falls into each bin as often as in the training set. Its value there is
/// normal, with the bin's mean and standard deviation; `z_k` says which features are in the same
/// bin as the row's. Without bins, samples are normal with the training set's standard deviations,
/// and `z_k` are standardised values. The first sample is the row itself. A sample has weight
/// `√exp(-d² / kernel_width²)`, where `d` is the distance between its `z_k` and the row's.
///
/// A coefficient is the change of the output when the feature is in the row's bin; without bins,
/// the change per standard deviation of the feature.
///
/// Shapes: input and attribution `[batch, features]`, in units of the output. `1 + num_samples`
/// forward passes per row. Coefficients come with R² and standard errors.
///
/// # Errors
/// [`Error::Shape`] for an input that is not a table or a training set with other columns;
/// [`Error::Parameter`] for no samples or features; [`Error::Method`] for categorical columns that
/// do not exist.
///
/// ```
/// use attr_core::Method;
/// use attr_surrogate::LimeTabular;
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let training: Vec<Vec<f64>> = (0..100).map(|i| vec![i as f64, (i * 37 % 100) as f64]).collect();
/// let x = Tensor::<2>::from_floats([[90.0, 10.0]], &device);
/// // Only the first column matters.
/// let model = |x: Tensor<2>| x.narrow(1, 0, 1).greater_elem(75.0).float();
/// let found = LimeTabular::new(training).with_samples(1000).attribute(&model, &x, 0)?;
/// let values = found.attribution().into_data().try_to_vec::<f32>().unwrap();
/// assert!(values[0] > 0.9 && values[1].abs() < 0.1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LimeTabular {
    config: LimeTabularConfig,
    training: Vec<Vec<f64>>,
}

impl LimeTabular {
    /// Creates the method with quartiles of a training set, given as its rows.
    pub fn new(training: impl Into<Vec<Vec<f64>>>) -> Self {
        Self {
            config: LimeTabularConfig::default(),
            training: training.into(),
        }
    }

    /// Creates the method with quartiles of a training set `[rows, features]`.
    ///
    /// # Errors
    /// [`Error::Device`] when reading from the device fails.
    pub fn from_tensor(training: &Tensor<2>) -> Result<Self, Error> {
        let columns = training.dims()[1].max(1);
        let values = Value::from(training.clone()).to_vec()?;
        let values: Vec<f64> = values.into_iter().map(f64::from).collect();
        let rows: Vec<Vec<f64>> = values.chunks(columns).map(<[f64]>::to_vec).collect();
        Ok(Self::new(rows))
    }

    /// Sets all parameters.
    pub fn with_config(mut self, config: LimeTabularConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the number of samples.
    pub fn with_samples(mut self, num_samples: usize) -> Self {
        self.config.num_samples = num_samples;
        self
    }

    /// Sets how features are selected, and the largest number of them.
    pub fn with_feature_selection(mut self, selection: FeatureSelection, count: usize) -> Self {
        self.config.feature_selection = selection;
        self.config.num_features = count;
        self
    }

    /// Sets how features are divided into bins.
    pub fn with_discretizer(mut self, discretizer: Discretizer) -> Self {
        self.config.discretizer = discretizer;
        self
    }

    /// Sets which columns hold categories.
    pub fn with_categorical_features(mut self, columns: impl Into<Vec<usize>>) -> Self {
        self.config.categorical_features = columns.into();
        self
    }

    /// Sets the width of the distance kernel.
    pub fn with_kernel_width(mut self, kernel_width: f64) -> Self {
        self.config.kernel_width = Some(kernel_width);
        self
    }

    /// Sets, for a method without bins, whether samples lie around the row.
    pub fn with_sample_around_instance(mut self, around: bool) -> Self {
        self.config.sample_around_instance = around;
        self
    }

    /// Sets the penalty of the ridge regression.
    pub fn with_alpha(mut self, alpha: f64) -> Self {
        self.config.alpha = alpha;
        self
    }

    /// Sets the seed of the samples.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    /// Sets how many samples of all rows are evaluated together, instead of as many as the memory
    /// budget allows.
    pub fn with_perturbations_per_eval(mut self, count: usize) -> Self {
        self.config.perturbations_per_eval = Some(count);
        self
    }

    /// Returns what each coefficient says of its feature, per row, as `lime` prints it:
    /// `2.00 < income <= 3.50` for a bin, `city = 3` for a category, and the name alone without
    /// bins.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one name for each feature; those of [`LimeTabular`] for
    /// inputs and training sets that do not fit.
    pub fn conditions(
        &self,
        x: &Tensor<2>,
        names: &[impl AsRef<str>],
    ) -> Result<Vec<Vec<String>>, Error> {
        let x = Value::from(x.clone());
        let columns = self.columns(&Values::new(vec![x.clone()], vec![true]))?;
        if names.len() != columns.len() {
            return Err(Error::Shape {
                what: "the list of names".into(),
                got: vec![names.len()],
                expected: format!("[{}], one name for each feature,", columns.len()),
            });
        }
        let values = x.to_vec()?;
        let rows = values.chunks(columns.len().max(1)).map(|row| {
            let each = columns.iter().zip(names).zip(row);
            each.map(|((column, name), value)| column.condition(name.as_ref(), f64::from(*value)))
                .collect()
        });
        Ok(rows.collect())
    }

    fn columns(&self, inputs: &Values) -> Result<Vec<Column>, Error> {
        let config = &self.config;
        kernel::check_samples("num_samples", config.num_samples, 2)?;
        if config.num_features == 0 {
            return Err(Error::Parameter {
                name: "num_features",
                value: "0".into(),
                expected: "at least one feature must be selected",
            });
        }
        let shape = inputs.values()[0].shape();
        if inputs.values().len() != 1 || shape.len() != 2 || !inputs.attributed(0) {
            return Err(Error::Shape {
                what: "input 0".into(),
                got: shape,
                expected: "one table of floating-point numbers, [batch, features],".into(),
            });
        }
        let features = shape[1];
        let unlike = self.training.iter().find(|row| row.len() != features);
        if self.training.is_empty() || unlike.is_some() {
            return Err(Error::Shape {
                what: "the training set".into(),
                got: vec![self.training.len(), unlike.map_or(0, Vec::len)],
                expected: format!("rows of {features} features, at least one,"),
            });
        }
        if let Some(column) = config.categorical_features.iter().find(|c| **c >= features) {
            return Err(Error::Method {
                method: "LIME for tables",
                reason: format!("categorical column {column} does not exist; there are {features}"),
            });
        }
        let column = |feature: usize| {
            let values: Vec<f64> = self.training.iter().map(|row| row[feature]).collect();
            if config.categorical_features.contains(&feature) {
                return Column::categories(&values);
            }
            match config.discretizer {
                Discretizer::None => {
                    let whole = Discretization::new(&values, Discretizer::None)?;
                    Ok(Column::Numbers {
                        mean: whole.bins[0].mean,
                        // The deviation of equal numbers may be a rounding error.
                        std: if whole.bins[0].std > 1e-12 * whole.bins[0].mean.abs() {
                            whole.bins[0].std
                        } else {
                            1.0
                        },
                    })
                }
                bins => Ok(Column::Bins(Discretization::new(&values, bins)?)),
            }
        };
        (0..features).map(column).collect()
    }
}

/// The samples around a row: as inputs, row by row, and in interpretable space.
struct Neighbourhood {
    points: Vec<f32>,
    design: Design,
    weights: Vec<f64>,
    own: Vec<f64>,
}

impl LimeTabular {
    fn neighbourhood(&self, columns: &[Column], row: &[f32]) -> Result<Neighbourhood, Error> {
        let (count, features) = (self.config.num_samples, columns.len());
        let width = self.config.kernel_width;
        let width = width.unwrap_or(0.75 * (features as f64).sqrt());
        kernel::check(width)?;
        let own = columns.iter().zip(row);
        let own: Vec<f64> = own.map(|(column, &x)| column.own(f64::from(x))).collect();
        let mut points = row.to_vec();
        let mut samples = own.clone();
        let mut random = Random::new(self.config.seed);
        for _ in 1..count {
            for (column, &x) in columns.iter().zip(row) {
                let around = self.config.sample_around_instance;
                let (value, sample) = column.draw(f64::from(x), around, &mut random);
                points.push(value as f32);
                samples.push(sample);
            }
        }
        let design = Design::new(features, samples)?;
        let weight = |k: usize| {
            let pairs = design.row(k).iter().zip(&own);
            let squares: f64 = pairs.map(|(a, b)| (a - b).powi(2)).sum();
            (-squares / (width * width)).exp().sqrt()
        };
        Ok(Neighbourhood {
            weights: (0..count).map(weight).collect(),
            points,
            design,
            own,
        })
    }

    fn fit(&self, around: &Neighbourhood, labels: &[f64]) -> Result<Fit, Error> {
        let Neighbourhood {
            design,
            weights,
            own,
            ..
        } = around;
        let (selection, count) = (self.config.feature_selection, self.config.num_features);
        let mut chosen = select_features(selection, count, own, (design, labels, weights))?;
        if chosen.is_empty() {
            chosen = (0..design.columns()).collect();
        }
        let ridge = Ridge {
            alpha: self.config.alpha,
            ..Ridge::default()
        };
        let fit = ridge.fit(&design.with_columns(&chosen), labels, weights)?;
        Ok(spread(&fit, &chosen, design.columns()))
    }
}

impl Method for LimeTabular {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let inputs = question.inputs();
        let columns = self.columns(inputs)?;
        let (count, features) = (self.config.num_samples, columns.len());
        let per_eval = self.config.perturbations_per_eval;
        let perturbed = Perturbed::new(question, per_eval)?;
        if perturbed.whole_batch() {
            return Err(Error::Method {
                method: "LIME for tables",
                reason: "the forward gives one value for the whole batch".into(),
            });
        }
        let input = &inputs.values()[0];
        let rows = input.to_vec()?;
        kernel::check_size(count, features)?;
        let mut fits: Vec<Vec<Fit>> =
            vec![Vec::with_capacity(inputs.rows()); question.targets().len()];
        for (row, own) in rows.chunks(features).enumerate() {
            let around = self.neighbourhood(&columns, own)?;
            let copies = (0..count).map(|number| Perturbation { row, number });
            let outputs = perturbed.evaluate(count, copies, &|copies| {
                let points = copies.iter().flat_map(|copy| {
                    let from = copy.number * features;
                    around.points[from..from + features].iter().copied()
                });
                let points =
                    TensorData::new(points.collect::<Vec<f32>>(), [copies.len(), features]);
                let points = Value::from_data(points.convert_dtype(input.dtype()), &input.device());
                let of: Vec<usize> = copies.iter().map(|copy| copy.row).collect();
                Ok(inputs
                    .select(&of)
                    .with(|i, _| (i == 0).then(|| points.clone())))
            })?;
            for (fits, labels) in fits.iter_mut().zip(outputs) {
                let labels: Vec<f64> = labels.into_iter().map(f64::from).collect();
                fits.push(self.fit(&around, &labels)?);
            }
        }
        let each = fits.iter().zip(perturbed.scores()).map(|(fits, scores)| {
            let table = |of: &dyn Fn(&Fit) -> Option<Vec<f64>>| {
                let all: Option<Vec<Vec<f64>>> = fits.iter().map(of).collect();
                let all: Vec<f32> = all?.concat().into_iter().map(|v| v as f32).collect();
                let data = TensorData::new(all, input.shape()).convert_dtype(input.dtype());
                Some(Value::from_data(data, &input.device()))
            };
            let values = table(&|fit| Some(fit.coefficients.clone()));
            let errors = table(&|fit| fit.standard_errors.clone());
            let r_squared: Vec<f32> = fits.iter().map(|fit| fit.r_squared as f32).collect();
            Explanation::new(vec![values], scores.clone())
                .with_standard_error(errors.map(|errors| vec![Some(errors)]))
                .with_r_squared(r_squared)
        });
        Ok(each.collect())
    }
}
