//! Ablation and permutation over a data set that does not fit in memory.
//!
//! Measures how much a metric of the whole data set drops when a feature is ablated or permuted, in
//! one pass over batches. Follows Captum's `DataLoaderAttribution`, which passes over the data once
//! per feature unless `perturbations_per_pass` says otherwise.

use std::cell::RefCell;

use attr_core::build::{Random, ask};
use attr_core::perturb::{Blend, Features, Perturbation, widened};
use attr_core::{Baselines, Error, Inputs, Model, Question, Run, Value, Values};

use crate::{FeatureAblation, FeaturePermutation};

/// Reduces the outputs of all batches to one number: each batch is added to a state, and the last
/// state gives the number. `L` is a batch's extra data, such as labels. The module
/// [`scores`](crate::scores) has ready ones.
///
/// ```
/// use attr_core::Value;
/// use attr_perturb::Reduction;
///
/// // The largest output of all rows; no labels are needed.
/// let largest = Reduction::new(
///     f32::MIN,
///     |largest: f32, output: &Value, _: &()| {
///         Ok(output.to_vec()?.into_iter().fold(largest, f32::max))
///     },
///     f64::from,
/// );
/// # let _ = largest;
/// ```
pub struct Reduction<S, L, A, F> {
    /// The state before the first batch.
    pub start: S,
    /// Adds a batch, given the state so far, the batch's output and its extra data.
    pub add: A,
    /// Computes the metric from the last state.
    pub finish: F,
    labels: std::marker::PhantomData<fn(&L)>,
}

impl<S, L, A, F> Reduction<S, L, A, F>
where
    S: Clone,
    A: Fn(S, &Value, &L) -> Result<S, Error>,
    F: Fn(S) -> f64,
{
    /// Creates a reduction from its three parts.
    pub fn new(start: S, add: A, finish: F) -> Self {
        Self {
            start,
            add,
            finish,
            labels: std::marker::PhantomData,
        }
    }
}

/// How a feature is changed.
enum Change {
    Ablate(FeatureAblation),
    Permute(FeaturePermutation),
}

/// Computes `A_i = m(f(X)) - m(f(X with feature i ablated or permuted))` for a metric `m` of a
/// whole data set, in one pass over its batches. Only one batch is in memory at a time.
///
/// Permutations stay within a batch, so batches should be large and shuffled.
///
/// Shapes: one row of the inputs, `[1, ...]`, in units of the metric. One forward pass per row, and
/// one per feature and row.
///
/// # Errors
/// [`Error::Method`] for no batches, or for permuting a batch of one row; [`Error::Shape`] for rows
/// unlike those of the first batch; those of [`FeatureAblation`] and [`FeaturePermutation`].
///
/// ```
/// use attr_core::Error;
/// use attr_perturb::{FeaturePermutation, OverData, scores};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), Error> {
/// let device = Device::default();
/// let model = |x: Tensor<2>| x.sum_dim(1);
/// let batch = |a: f32, b: f32| Tensor::<2>::from_floats([[a, b], [b, a]], &device);
/// // Inputs with labels, batch by batch.
/// let batches = vec![(batch(1.0, 2.0), vec![3.0, 3.0]), (batch(0.0, 5.0), vec![5.0, 5.0])];
/// let method = OverData::permutation(FeaturePermutation::new()).with_repeats(5);
/// let found = method.attribute(&model, batches, &scores::mean_absolute_error())?;
/// assert_eq!(found.metric(), 0.0);
/// // With two rows, each permutation swaps them: the error grows by 1, or by 5.
/// assert_eq!(found.values()[0].as_ref().unwrap().to_vec()?, [-3.0, -3.0]);
/// assert!(found.standard_error().is_some());
/// # Ok(())
/// # }
/// ```
pub struct OverData {
    change: Change,
    baselines: Option<Baselines>,
    repeats: usize,
}

/// What each feature contributes to a metric of a data set.
#[derive(Clone, Debug)]
pub struct DataAttribution {
    values: Vec<Option<Value>>,
    standard_error: Option<Vec<Option<Value>>>,
    metric: f64,
    rows: usize,
}

impl DataAttribution {
    /// Returns, for each input, values shaped like one of its rows; `None` for inputs without
    /// attribution.
    pub fn values(&self) -> &[Option<Value>] {
        &self.values
    }

    /// Returns the standard errors of the values over repeated permutations, shaped like them;
    /// `None` for fewer than five repeats, whose spread says too little.
    pub fn standard_error(&self) -> Option<&[Option<Value>]> {
        self.standard_error.as_deref()
    }

    /// Returns the metric of the unchanged data set.
    pub fn metric(&self) -> f64 {
        self.metric
    }

    /// Returns the number of rows in the data set.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// The state after some batches: the features, and a reduction's state for the unchanged data
/// followed by one for each feature.
struct Pass<S> {
    first: Values,
    features: Features,
    /// How many inputs the caller gave; a cut model has more.
    given: usize,
    states: Vec<Option<S>>,
}

impl OverData {
    /// Ablates each feature over the whole data set: it becomes zero unless a baseline is set.
    pub fn ablation(method: FeatureAblation) -> Self {
        Self {
            change: Change::Ablate(method),
            baselines: None,
            repeats: 1,
        }
    }

    /// Permutes each feature within each batch.
    pub fn permutation(method: FeaturePermutation) -> Self {
        Self {
            change: Change::Permute(method),
            baselines: None,
            repeats: 1,
        }
    }

    /// Sets the baseline of ablated features, with one row for all; a permutation takes none.
    pub fn with_baseline(mut self, baselines: impl Into<Baselines>) -> Self {
        self.baselines = Some(baselines.into());
        self
    }

    /// Sets how often each feature is permuted anew; the values are means over the repeats. The
    /// default is 1; scikit-learn's `permutation_importance` takes 5.
    pub fn with_repeats(mut self, repeats: usize) -> Self {
        self.repeats = repeats;
        self
    }

    /// Computes the attribution, reading the batches one by one, with the default memory budget and
    /// no progress.
    ///
    /// # Errors
    /// Those of [`OverData`], and those of the reduction.
    pub fn attribute<I: Inputs, L, S, A, F>(
        &self,
        model: &impl Model<I>,
        batches: impl IntoIterator<Item = (I, L)>,
        reduction: &Reduction<S, L, A, F>,
    ) -> Result<DataAttribution, Error>
    where
        S: Clone,
        A: Fn(S, &Value, &L) -> Result<S, Error>,
        F: Fn(S) -> f64,
    {
        self.attribute_with(model, batches, reduction, &Run::new())
    }

    /// Works like [`attribute`](Self::attribute), with a memory budget and progress.
    ///
    /// # Errors
    /// Those of [`attribute`](Self::attribute).
    pub fn attribute_with<I: Inputs, L, S, A, F>(
        &self,
        model: &impl Model<I>,
        batches: impl IntoIterator<Item = (I, L)>,
        reduction: &Reduction<S, L, A, F>,
        run: &Run<'_>,
    ) -> Result<DataAttribution, Error>
    where
        S: Clone,
        A: Fn(S, &Value, &L) -> Result<S, Error>,
        F: Fn(S) -> f64,
    {
        self.check_repeats()?;
        let mut random = Random::new(match &self.change {
            Change::Ablate(_) => 0,
            Change::Permute(method) => method.seed(),
        });
        let mut pass: Option<Pass<S>> = None;
        let mut rows = 0;
        for (inputs, labels) in batches {
            ask(model, &inputs, &[], run, |question, given| {
                let blend = self.blend(question.inputs())?;
                let pass = pass.get_or_insert_with(|| Pass {
                    first: question.inputs().slice(0..1).renumbered(),
                    features: blend.features().clone(),
                    given,
                    states: vec![
                        Some(reduction.start.clone());
                        blend.features().count() * self.repeats + 1
                    ],
                });
                alike(question.inputs(), &pass.first)?;
                rows += question.inputs().rows();
                self.outputs(question, &blend, &mut random, &mut |k, output| {
                    let state = pass.states[k].take();
                    let state = state.ok_or(Error::Internal("a state was lost"))?;
                    pass.states[k] = Some((reduction.add)(state, &output, &labels)?);
                    Ok(())
                })
            })?;
        }
        let pass = pass.ok_or(Error::Method {
            method: "an attribution over a data set",
            reason: "there are no batches".into(),
        })?;
        let mut metrics = pass.states.into_iter().flatten().map(&reduction.finish);
        let metric = metrics.next().unwrap_or_default();
        let changes: Vec<f64> = metrics.map(|changed| metric - changed).collect();
        let (means, errors) = over_repeats(&changes, pass.features.count());
        let spread = |numbers: Vec<f64>| {
            let mut values = pass.features.spread(&pass.first, &[numbers]);
            values.truncate(pass.given);
            values
        };
        Ok(DataAttribution {
            values: spread(means),
            standard_error: errors.map(spread),
            metric,
            rows,
        })
    }

    fn check_repeats(&self) -> Result<(), Error> {
        let differ = match &self.change {
            Change::Ablate(_) => false,
            Change::Permute(method) => method.draws(),
        };
        if self.repeats == 1 || (self.repeats > 1 && differ) {
            return Ok(());
        }
        Err(Error::Parameter {
            name: "repeats",
            value: self.repeats.to_string(),
            expected: "at least 1; more than 1 only for permutations that are drawn",
        })
    }

    /// Passes the outputs for a batch to `take`: number 0 is the unchanged batch, and each following
    /// number has the next feature changed, repeat by repeat.
    fn outputs(
        &self,
        question: &Question<'_>,
        blend: &Blend,
        random: &mut Random,
        take: &mut dyn FnMut(usize, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let batch = question.inputs().rows();
        let orders = match &self.change {
            Change::Ablate(_) => None,
            Change::Permute(method) => Some(RefCell::new(method.orders(batch, random)?)),
        };
        // The row whose values replace a changed feature.
        let from = |copy: &Perturbation| match (&orders, copy.number) {
            (Some(orders), 1..) => orders.borrow_mut().of(copy.number - 1)[copy.row],
            _ => copy.row,
        };
        let at_once = question.items_at_once(1);
        let total = blend.features().count() * self.repeats + 1;
        let numbers = 0..total;
        question.for_chunks(total, numbers, at_once / batch, |numbers| {
            let copies = numbers
                .iter()
                .flat_map(|&number| (0..batch).map(move |row| Perturbation { row, number }));
            let copies: Vec<Perturbation> = copies.collect();
            let parts = copies.chunks(at_once);
            let parts = parts.map(|part| forward(question, blend, part, &from));
            let output = Value::cat_rows(parts.collect::<Result<_, _>>()?)?;
            for (place, &number) in numbers.iter().enumerate() {
                take(
                    number,
                    output.slice_rows(place * batch..(place + 1) * batch),
                )?;
            }
            Ok(())
        })
    }

    /// Returns the features of a batch and the rows that replace changed features.
    fn blend(&self, inputs: &Values) -> Result<Blend, Error> {
        let blend = match &self.change {
            Change::Ablate(method) => {
                let baselines = self.baselines.clone().unwrap_or_default();
                let (inpaint, baselines) = baselines.inpainting(inputs)?;
                let absent = baselines.absent(inputs)?;
                Blend::new(inputs, method.mask(), absent)?.with_inpainting(inpaint)
            }
            Change::Permute(_) if self.baselines.is_some() => {
                return Err(Error::Method {
                    method: "a baseline",
                    reason: "a permuted feature takes another row's value; leave it out".into(),
                });
            }
            Change::Permute(method) => Blend::new(inputs, method.mask(), inputs.clone())?,
        };
        if !blend.features().shared() {
            return Err(Error::Method {
                method: "an attribution over a data set",
                reason: "give one feature mask for all rows".into(),
            });
        }
        Ok(blend)
    }
}

/// Returns the output for some rows of a batch, each with its own feature changed.
fn forward(
    question: &Question<'_>,
    blend: &Blend,
    copies: &[Perturbation],
    from: &dyn Fn(&Perturbation) -> usize,
) -> Result<Value, Error> {
    let count = blend.features().count();
    let mut present = vec![1f32; copies.len() * count];
    for (present, copy) in present.chunks_mut(count).zip(copies) {
        if let Some(change) = copy.number.checked_sub(1) {
            present[change % count] = 0.0;
        }
    }
    let from: Vec<usize> = copies.iter().map(from).collect();
    let rows: Vec<usize> = copies.iter().map(|copy| copy.row).collect();
    let output = question.forward(&blend.make(question.inputs(), &rows, &from, present)?)?;
    if output.shape().first() != Some(&rows.len()) {
        return Err(Error::Method {
            method: "an attribution over a data set",
            reason: format!(
                "the output has shape {:?} for {} rows; return an output for each row, and compute \
                 the metric in the reduction",
                output.shape(),
                rows.len()
            ),
        });
    }
    Ok(output)
}

/// Returns the mean of each feature's changes over all repeats, and its standard error.
fn over_repeats(changes: &[f64], features: usize) -> (Vec<f64>, Option<Vec<f64>>) {
    let repeats = changes.len() / features;
    let of = |feature: usize| changes.iter().skip(feature).step_by(features);
    let mean = |feature: usize| of(feature).sum::<f64>() / repeats as f64;
    let means: Vec<f64> = (0..features).map(mean).collect();
    let errors = widened(repeats).map(|widened| {
        let error = |feature: usize| {
            let squares = of(feature).map(|change| (change - means[feature]).powi(2));
            let variance = squares.sum::<f64>() / (repeats - 1) as f64;
            (variance / repeats as f64).sqrt() * widened
        };
        (0..features).map(error).collect()
    });
    (means, errors)
}

/// Rejects a batch whose rows are unlike those of the first.
fn alike(inputs: &Values, first: &Values) -> Result<(), Error> {
    let explained = |values: &Values| -> Vec<bool> {
        let count = values.values().len();
        (0..count).map(|i| values.explained(i)).collect()
    };
    if explained(inputs) != explained(first) {
        return Err(Error::InputCount {
            expected: first.values().len(),
            got: inputs.values().len(),
        });
    }
    let pairs = inputs.values().iter().zip(first.values()).enumerate();
    for (i, (value, first)) in pairs {
        let (shape, expected) = (value.shape(), first.shape());
        if shape[1..] != expected[1..] {
            return Err(Error::Shape {
                what: format!("input {i} of a batch"),
                got: shape,
                expected: format!("rows like those of the first batch, {expected:?},"),
            });
        }
    }
    Ok(())
}
