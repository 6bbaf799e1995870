//! Case: what a metric sees of the rows, the model and the explainer that it judges.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use attr_core::perturb::{MakeRows, Perturbation};
use attr_core::{Error, FeatureMask, Method, Model, Question, Target, Traced, Value, Values};

use crate::robustness::Neighbour;
use crate::rows::{Absent, Grouping, Rows};
use crate::{Explainer, statistics};

/// Receives perturbed copies of rows, and the model's output there.
pub type TakeOutput<'t> = dyn FnMut(&[Perturbation], &Values, Value) -> Result<(), Error> + 't;

/// Receives perturbed copies of rows, and their attributions.
pub type TakeExplained<'t> =
    dyn FnMut(&[Perturbation], &Values, &[Option<Value>]) -> Result<(), Error> + 't;

/// The explanation of some rows by one explainer.
///
/// A metric reaches the model and the method only through it: here evaluations are batched, counted,
/// and shared with other metrics and explainers.
pub struct Case<'a> {
    rows: &'a Rows<'a>,
    grouping: Rc<Grouping>,
    explainer: &'a Explainer<'a>,
    /// Shared by cases that differ in their features only.
    found: Rc<Found>,
    relevance: OnceCell<Vec<Vec<f64>>>,
}

/// What is known of an explainer.
#[derive(Default)]
struct Found {
    attributions: OnceCell<Vec<Option<Value>>>,
    neighbours: RefCell<HashMap<String, Rc<Vec<Vec<Neighbour>>>>>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(
        rows: &'a Rows<'a>,
        grouping: Rc<Grouping>,
        explainer: &'a Explainer<'a>,
    ) -> Self {
        Self {
            rows,
            grouping,
            explainer,
            found: Rc::default(),
            relevance: OnceCell::new(),
        }
    }

    /// Returns the same case with features of another kind; `name` says which. Names that start with
    /// `attr:` are this crate's.
    ///
    /// # Errors
    /// Those of `mask`; [`Error::FeatureMask`] and [`Error::Shape`] for a mask that does not fit.
    pub fn with_features(
        &self,
        name: &str,
        mask: impl FnOnce() -> Result<FeatureMask, Error>,
    ) -> Result<Case<'a>, Error> {
        Ok(Self {
            rows: self.rows,
            grouping: self.rows.grouping(name, mask)?,
            explainer: self.explainer,
            found: self.found.clone(),
            relevance: OnceCell::new(),
        })
    }

    /// Returns how many rows are judged.
    pub fn rows(&self) -> usize {
        self.rows.count()
    }

    /// Returns how many features a row has.
    pub fn features(&self) -> usize {
        self.grouping.features.count()
    }

    /// Returns how many features lie in a line of pixels: the last size of an image whose features
    /// are its pixels. All features, where they are not pixels.
    pub(crate) fn width(&self) -> usize {
        let inputs = self.question().inputs();
        let shape = inputs.values()[inputs.first_explained()].shape();
        let pixels: usize = shape[2.min(shape.len())..].iter().product();
        if shape.len() == 4 && self.features() == pixels {
            shape[3]
        } else {
            self.features()
        }
    }

    /// Returns the feature of each element of an input in a row; empty for an input that is not
    /// explained. Elements that are never changed have the number [`features`](Self::features).
    pub fn numbers(&self, row: usize, input: usize) -> &[usize] {
        let origin = self.question().inputs().origin()[row];
        let inputs = self.grouping.features.row(origin);
        inputs.get(input).copied().flatten().unwrap_or_default()
    }

    /// Returns how many elements each feature of a row has.
    pub fn sizes(&self, row: usize) -> Vec<usize> {
        let mut sizes = vec![0; self.features() + 1];
        for input in 0..self.question().inputs().values().len() {
            for &feature in self.numbers(row, input) {
                sizes[feature] += 1;
            }
        }
        sizes.truncate(self.features());
        sizes
    }

    /// Returns the question about the rows, with one fixed target and the baselines that replace
    /// absent features.
    pub fn question(&self) -> &Question<'a> {
        &self.rows.question
    }

    /// Returns the target.
    pub fn target(&self) -> &Target {
        &self.rows.question.targets()[0]
    }

    /// Returns the class that is explained in each row, for metrics of classifiers.
    ///
    /// # Errors
    /// [`Error::Method`] for a target that is not a class.
    pub fn classes(&self) -> Result<Vec<usize>, Error> {
        match self.target() {
            Target::Class(class) => Ok(vec![*class; self.rows()]),
            Target::Classes(classes) => {
                let origin = self.question().inputs().origin().iter();
                Ok(origin.map(|&row| classes[row]).collect())
            }
            other => Err(Error::Method {
                method: "a metric of predicted classes",
                reason: format!(
                    "the target is {other}; explain a class of an output [batch, classes]"
                ),
            }),
        }
    }

    /// Returns the class that the model predicts for each row.
    ///
    /// # Errors
    /// [`Error::TargetShape`] for a model whose output is not `[batch, classes]`; the model's own.
    pub fn predicted(&self) -> Result<Vec<usize>, Error> {
        let found = self.remember("attr:predicted classes".into(), || {
            let mut classes = Vec::new();
            self.question().quiet().for_rows(1, |rows| {
                classes.extend(predicted(&self.question().forward(&rows)?)?);
                Ok(())
            })?;
            Ok(vec![
                classes.into_iter().map(|class| class as f64).collect(),
            ])
        })?;
        Ok(found[0].iter().map(|&class| class as usize).collect())
    }

    /// Returns the model's output for the target at each row.
    pub fn scores(&self) -> Vec<f64> {
        self.rows.scores.iter().map(|&s| f64::from(s)).collect()
    }

    /// Returns the attributions, one for each input.
    ///
    /// # Errors
    /// Those of the method; [`Error::NonFinite`] for NaN or infinity; [`Error::Shape`] for given
    /// attributions that are not shaped like the inputs.
    pub fn attributions(&self) -> Result<&[Option<Value>], Error> {
        if let Some(known) = self.found.attributions.get() {
            return Ok(known);
        }
        let found = match self.explainer {
            Explainer::Method(method) => explain(*method, &self.rows.asked)?,
            Explainer::Given(given) => given.checked(&self.rows.asked)?,
        };
        check_finite(&found)?;
        Ok(self.found.attributions.get_or_init(|| found))
    }

    /// Returns the relevance of each feature of each row, `[row][feature]`: the sum of its elements'
    /// attributions.
    ///
    /// # Errors
    /// As [`attributions`](Self::attributions).
    pub fn relevance(&self) -> Result<&[Vec<f64>], Error> {
        if let Some(known) = self.relevance.get() {
            return Ok(known);
        }
        let found = self.by_feature(self.attributions()?, false)?;
        Ok(self.relevance.get_or_init(|| found))
    }

    /// Returns the relevance of each feature, or the sum of its elements' magnitudes.
    ///
    /// # Errors
    /// As [`attributions`](Self::attributions).
    pub fn relevance_or_magnitude(&self, abs: bool) -> Result<Vec<Vec<f64>>, Error> {
        if abs {
            self.by_feature(self.attributions()?, true)
        } else {
            Ok(self.relevance()?.to_vec())
        }
    }

    /// Returns the features of each row in order of relevance, the largest first.
    ///
    /// # Errors
    /// As [`attributions`](Self::attributions).
    pub fn most_relevant_first(&self, abs: bool) -> Result<Vec<Vec<usize>>, Error> {
        let relevance = self.relevance_or_magnitude(abs)?;
        let rows = relevance.iter();
        Ok(rows.map(|row| statistics::descending(row)).collect())
    }

    /// Returns which features of each row lie in the ground truth: those with an element inside.
    ///
    /// # Errors
    /// [`Error::Method`] where no masks were given.
    pub fn masks(&self) -> Result<&[Vec<bool>], Error> {
        self.grouping
            .inside
            .as_deref()
            .ok_or_else(|| Error::Method {
                method: "a metric of localisation",
                reason: "it compares with ground-truth masks; give them with `with_masks`".into(),
            })
    }

    /// Computes the model's output for the target at `copies` copies of each row with some features
    /// replaced by the baseline, `[row][copy]`. What was evaluated before, by whichever metric or
    /// explainer, is not evaluated again.
    ///
    /// # Errors
    /// The model's own, and [`Error::Cancelled`].
    pub fn outputs(&self, copies: usize, absent: &Absent<'_>) -> Result<Vec<Vec<f64>>, Error> {
        self.rows.outputs(&self.grouping, copies, absent)
    }

    /// Computes the model's output at each row with the first `ends[k]` features of the row's
    /// `order` absent, or all others absent where `inserted`: `[row][k]`.
    ///
    /// # Errors
    /// As [`outputs`](Self::outputs).
    pub fn curve(
        &self,
        order: &[Vec<usize>],
        ends: &[usize],
        inserted: bool,
    ) -> Result<Vec<Vec<f64>>, Error> {
        self.outputs(ends.len(), &|row, copy, absent| {
            absent.fill(inserted);
            for &feature in &order[row][..ends[copy]] {
                absent[feature] = !inserted;
            }
        })
    }

    /// Computes the model's output at each row, with each feature present to a degree from 0 to 1,
    /// which `present` writes for a row.
    ///
    /// # Errors
    /// As [`outputs`](Self::outputs).
    pub fn blended(&self, present: &dyn Fn(usize, &mut [f32])) -> Result<Vec<f64>, Error> {
        self.rows.blended(&self.grouping, present)
    }

    /// Returns what `compute` computes from the model alone, remembered for other explainers under a
    /// name that says everything it depends on. Names that start with `attr:` are this crate's.
    ///
    /// # Errors
    /// Those of `compute`.
    pub fn remember(
        &self,
        name: String,
        compute: impl FnOnce() -> Result<Vec<Vec<f64>>, Error>,
    ) -> Result<Rc<Vec<Vec<f64>>>, Error> {
        self.rows.remember(name, compute)
    }

    /// Runs the model on `copies` perturbed copies of each row, in chunks that fit the memory
    /// budget, and passes the outputs of each chunk to `take`. Copies of one row follow each other.
    ///
    /// # Errors
    /// As [`outputs`](Self::outputs), and those of `make` and `take`.
    pub fn at_copies(
        &self,
        copies: usize,
        make: &MakeRows<'_>,
        take: &mut TakeOutput<'_>,
    ) -> Result<(), Error> {
        let question = self.question();
        let total = copies * self.rows();
        question.for_items(total, each_copy(self.rows(), copies), 1, |part| {
            let values = make(part)?;
            let output = question.forward(&values)?;
            if output.shape().first() != Some(&part.len()) {
                return Err(Error::WholeBatch {
                    output: output.shape(),
                    rows: part.len(),
                });
            }
            take(part, &values, output)
        })
    }

    /// Computes the model's output for the target at perturbed copies of each row, `[row][copy]`.
    ///
    /// # Errors
    /// As [`at_copies`](Self::at_copies).
    pub fn scores_at_copies(
        &self,
        copies: usize,
        make: &MakeRows<'_>,
    ) -> Result<Vec<Vec<f64>>, Error> {
        let mut scores = vec![vec![0.0; copies]; self.rows()];
        self.at_copies(copies, make, &mut |part, values, output| {
            let found = self.target().scores(&output, values)?;
            for (copy, score) in part.iter().zip(found) {
                scores[copy.row][copy.number] = f64::from(score);
            }
            Ok(())
        })?;
        Ok(scores)
    }

    /// Returns the method, for metrics that explain other inputs, targets or models.
    ///
    /// # Errors
    /// [`Error::Method`] for given attributions.
    pub fn method(&self) -> Result<&'a dyn Method, Error> {
        match self.explainer {
            Explainer::Method(method) => Ok(*method),
            Explainer::Given(_) => Err(Error::Method {
                method: "a metric that explains again",
                reason: "attributions were given; give the method that made them, or a closure by \
                         `explained_by`"
                    .into(),
            }),
        }
    }

    /// Explains `copies` perturbed copies of each row, and passes the copies and their attributions
    /// to `take`, one chunk after another. Copies of one row follow each other.
    ///
    /// # Errors
    /// As [`method`](Self::method); those of the method, of `make` and of `take`.
    pub fn explain_copies(
        &self,
        copies: usize,
        make: &MakeRows<'_>,
        take: &mut TakeExplained<'_>,
    ) -> Result<(), Error> {
        let method = self.method()?;
        let asked = &self.rows.asked;
        let total = copies * self.rows();
        let at_once = self.question().items_at_once(1).saturating_mul(4);
        asked.for_chunks(total, each_copy(self.rows(), copies), at_once, |part| {
            let values = make(part)?;
            let found = explain(method, &asked.with_inputs(values.clone()).quiet())?;
            take(part, &values, &found)
        })
    }

    /// Explains other classes of the rows, one for each.
    ///
    /// # Errors
    /// As [`method`](Self::method); those of the method.
    pub fn explain_classes(&self, classes: &[usize]) -> Result<Vec<Option<Value>>, Error> {
        let inputs = self.question().inputs();
        // A target has a class for each of the caller's rows.
        let mut all = vec![0; inputs.caller_rows()];
        for (&row, &class) in inputs.origin().iter().zip(classes) {
            all[row] = class;
        }
        let asked = self.rows.asked.with_targets(vec![Target::Classes(all)]);
        explain(self.method()?, &asked)
    }

    /// Explains rows of another model with the same inputs, such as this one with other parameters.
    ///
    /// # Errors
    /// As [`method`](Self::method); those of the method and of that model.
    pub fn explain_model(
        &self,
        model: &Traced,
        inputs: Values,
    ) -> Result<Vec<Option<Value>>, Error> {
        let model: &dyn Model = model;
        explain(self.method()?, &self.rows.asked.about(model, inputs))
    }

    /// Sums attributions, or their magnitudes, over the elements of each feature, `[row][feature]`.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn by_feature(
        &self,
        attributions: &[Option<Value>],
        abs: bool,
    ) -> Result<Vec<Vec<f64>>, Error> {
        self.rows.by_feature(&self.grouping, attributions, abs)
    }

    /// Returns neighbours of each row that were found under this name, or finds them.
    pub(crate) fn neighbours(
        &self,
        name: String,
        find: impl FnOnce() -> Result<Vec<Vec<Neighbour>>, Error>,
    ) -> Result<Rc<Vec<Vec<Neighbour>>>, Error> {
        if let Some(known) = self.found.neighbours.borrow().get(&name) {
            return Ok(known.clone());
        }
        let found = Rc::new(find()?);
        let mut known = self.found.neighbours.borrow_mut();
        known.insert(name, found.clone());
        Ok(found)
    }
}

/// Returns a method's attributions of all rows for the first target.
fn explain(method: &dyn Method, question: &Question<'_>) -> Result<Vec<Option<Value>>, Error> {
    let found = method.explain(question)?.into_iter().next();
    let found = found.ok_or(Error::Internal("a method returned nothing"))?;
    let (inputs, mut values) = (question.inputs(), found.values);
    values.resize(inputs.values().len(), None);
    for (i, (value, input)) in values.iter().zip(inputs.values()).enumerate() {
        if let Some(value) = value
            && value.shape() != input.shape()
        {
            return Err(Error::Shape {
                what: format!("the method's attribution of input {i}"),
                got: value.shape(),
                expected: format!("{:?}, as the input has,", input.shape()),
            });
        }
    }
    check_finite(&values)?;
    Ok(values)
}

/// Refuses attributions with NaN or infinity.
fn check_finite(attributions: &[Option<Value>]) -> Result<(), Error> {
    for (i, value) in attributions.iter().enumerate() {
        if let Some(value) = value
            && !value.is_finite()?
        {
            return Err(Error::NonFinite {
                what: format!("the attribution of input {i}"),
            });
        }
    }
    Ok(())
}

fn each_copy(rows: usize, copies: usize) -> impl Iterator<Item = Perturbation> {
    (0..rows).flat_map(move |row| (0..copies).map(move |number| Perturbation { row, number }))
}

/// Returns the class with the largest output in each row.
pub(crate) fn predicted(output: &Value) -> Result<Vec<usize>, Error> {
    match Target::Predicted.fixed(output)? {
        Target::Classes(classes) => Ok(classes),
        _ => Err(Error::Internal("a prediction is not a class")),
    }
}
