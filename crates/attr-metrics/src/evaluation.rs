//! Evaluation: a model, rows and a target, and how explanations of them are judged.

use std::rc::Rc;

use attr_core::build::ask;
use attr_core::{Baselines, Error, FeatureMask, Inputs, Model, Run, Target, Value, Values, Work};

use crate::rows::{Grouping, Rows};
use crate::{Case, Explainer, Metric, Score};

/// The rows on which explanations are judged: a model, its inputs, the target that is explained, and
/// what replaces absent features.
///
/// ```
/// use attr_core::FeatureMask;
/// use attr_metrics::{Evaluation, Given, PointingGame};
/// use burn::tensor::{Device, Int, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let image = Tensor::<4>::ones([1, 3, 2, 2], &device);
/// let object = Tensor::<4, Int>::from_ints([[[[0, 0], [0, 1]]]], &device);
/// let heat = Tensor::<4>::from_floats([[[[0.1, 0.2], [0.3, 0.9]]]], &device);
/// let model = |x: Tensor<4>| x.flatten::<2>(1, 3).sum_dim(1);
///
/// let evaluation = Evaluation::new(&model, &image, 0)
///     .with_baseline(0.5)
///     .with_features(FeatureMask::Pixels)
///     .with_masks(object);
/// let score = evaluation.measure(&PointingGame::default(), Given::from(heat.repeat_dim(1, 3)))?;
/// assert_eq!(score.values, [1.0]);
/// # Ok(())
/// # }
/// ```
pub struct Evaluation<'e, I, M> {
    model: &'e M,
    inputs: &'e I,
    target: Target,
    baselines: Option<Baselines>,
    features: Option<FeatureMask>,
    masks: Vec<Value>,
    run: Run<'e>,
}

impl<'e, I: Inputs, M: Model<I>> Evaluation<'e, I, M> {
    /// Creates an evaluation with zero as baseline, one feature for each pixel of an image (each
    /// element of other inputs), no ground truth, and the default memory budget.
    pub fn new(model: &'e M, inputs: &'e I, target: impl Into<Target>) -> Self {
        Self {
            model,
            inputs,
            target: target.into(),
            baselines: None,
            features: None,
            masks: Vec::new(),
            run: Run::new(),
        }
    }

    /// Sets what replaces absent features; default zero. It does not change the baseline of the
    /// methods that are judged.
    pub fn with_baseline(mut self, baselines: impl Into<Baselines>) -> Self {
        self.baselines = Some(baselines.into());
        self
    }

    /// Sets which elements form a feature: features are removed, ranked and counted as a whole, and
    /// a feature's relevance is the sum of its elements'. By default, each pixel with all its
    /// channels where the first explained input is `[batch, channels, height, width]`, and each
    /// element otherwise.
    pub fn with_features(mut self, features: impl Into<FeatureMask>) -> Self {
        self.features = Some(features.into());
        self
    }

    /// Sets the ground truth of the first explained input: not zero where it matters. Shaped like
    /// the input, where all sizes but the first may be 1: `[batch, 1, height, width]` for images.
    pub fn with_masks(self, masks: impl Into<Value>) -> Self {
        self.with_masks_each(vec![masks.into()])
    }

    /// Sets the ground truth of each explained input.
    pub fn with_masks_each(mut self, masks: Vec<Value>) -> Self {
        self.masks = masks;
        self
    }

    /// Sets the memory budget and the receiver of progress reports.
    pub fn with_run(mut self, run: Run<'e>) -> Self {
        self.run = run;
        self
    }

    /// Judges one explainer by one metric.
    ///
    /// # Errors
    /// As [`Metric::measure`]; as every method for inputs and targets that do not fit the model.
    pub fn measure<'a>(
        &self,
        metric: &dyn Metric,
        explainer: impl Into<Explainer<'a>>,
    ) -> Result<Score, Error> {
        let explainer = explainer.into();
        self.with_rows(|rows| {
            let scores = self.scores(rows, &[explainer], &[metric], &mut |_, _| {})?;
            let score = scores.into_iter().flatten().next();
            score.ok_or(Error::Internal("a metric returned nothing"))
        })
    }

    /// Returns the features of rows.
    fn grouping(&self, rows: &Rows<'_>) -> Result<Rc<Grouping>, Error> {
        rows.grouping("attr:own", || {
            let given = self.features.clone();
            Ok(given.unwrap_or_else(|| usual(rows.question.inputs())))
        })
    }

    /// Judges explainers by metrics, `[explainer][metric]`, and calls `scored` with the number of the
    /// explainer and each score as soon as it is known.
    ///
    /// Rows with different numbers of features, such as superpixels of several images, are judged one
    /// by one.
    pub(crate) fn scores(
        &self,
        rows: &Rows<'_>,
        explainers: &[Explainer<'_>],
        metrics: &[&dyn Metric],
        scored: &mut dyn FnMut(usize, &Score),
    ) -> Result<Vec<Vec<Score>>, Error> {
        let grouping = self.grouping(rows)?;
        if !grouping.is_ragged(rows) {
            return scores(rows, &grouping, explainers, metrics, scored);
        }
        let mut all: Vec<Vec<Score>> = Vec::new();
        for row in 0..rows.count() {
            let (one, own) = rows.alone(row, &grouping.mask)?;
            let found = scores(&one, &own, explainers, metrics, &mut |_, _| {})?;
            if row == 0 {
                all = found;
                continue;
            }
            let pairs = all.iter_mut().flatten().zip(found.into_iter().flatten());
            pairs.for_each(|(score, more)| score.append(more));
        }
        for (explainer, scores) in all.iter().enumerate() {
            scores.iter().for_each(|score| scored(explainer, score));
        }
        Ok(all)
    }

    /// Passes the rows, with everything that cases about them share, to `judge`.
    pub(crate) fn with_rows<T>(
        &self,
        judge: impl FnOnce(&Rows<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let targets = [self.target.clone()];
        ask(
            self.model,
            self.inputs,
            &targets,
            &self.run,
            |question, _| {
                let asked = question.with_fixed_targets()?;
                let question = match &self.baselines {
                    Some(baselines) => asked.with_baselines(baselines.clone()),
                    None => asked.clone(),
                };
                let rows = Rows::new(&question, &asked, &self.masks)?;
                judge(&rows)
            },
        )
    }
}

/// Returns the usual features: pixels where the first explained input is an image, elements
/// otherwise.
fn usual(inputs: &Values) -> FeatureMask {
    match inputs.values()[inputs.first_explained()].shape().len() {
        4 => FeatureMask::Pixels,
        _ => FeatureMask::Elements,
    }
}

/// Judges explainers by metrics over rows with the same features.
fn scores(
    rows: &Rows<'_>,
    grouping: &Rc<Grouping>,
    explainers: &[Explainer<'_>],
    metrics: &[&dyn Metric],
    scored: &mut dyn FnMut(usize, &Score),
) -> Result<Vec<Vec<Score>>, Error> {
    let each = explainers.iter().enumerate().map(|(number, explainer)| {
        let case = Case::new(rows, grouping.clone(), explainer);
        let scores = metrics.iter().map(|metric| {
            let score = score(*metric, &case)?;
            scored(number, &score);
            Ok(score)
        });
        scores.collect()
    });
    each.collect()
}

/// Measures one case by one metric.
fn score(metric: &dyn Metric, case: &Case<'_>) -> Result<Score, Error> {
    let about = metric.about();
    let before = case.question().work();
    let measured = metric.measure(case)?;
    let after = case.question().work();
    if measured.values.len() != case.rows() {
        return Err(Error::Shape {
            what: format!("the result of {}", about.name),
            got: vec![measured.values.len()],
            expected: format!("one value for each of {} rows", case.rows()),
        });
    }
    Ok(Score {
        metric: about.name.into(),
        higher_is_better: about.higher_is_better,
        values: measured.values,
        standard_errors: measured.standard_errors,
        curves: measured.curves,
        work: Work {
            forward_rows: after.forward_rows - before.forward_rows,
            backward_rows: after.backward_rows - before.backward_rows,
            passes: after.passes - before.passes,
        },
    })
}
