//! Tuning: which of several methods, or parameters of one, is best by a metric.
//!
//! Successive halving: Jamieson, Talwalkar, 2016 (<https://arxiv.org/abs/1502.07943>).

use attr_core::build::Random;
use attr_core::{Error, Inputs, Method, Model};
use serde::{Deserialize, Serialize};

use crate::options::positive;
use crate::rows::Rows;
use crate::{Evaluation, Explainer, Metric, Score};

/// How candidates are tuned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Halving {
    /// The share of rows that are held out, to compare the winner with the default; default one half.
    pub held_out: f64,
    /// Rows of the first round; each later one has as many as all before; default 4.
    pub first_rows: usize,
    /// Seed of the order of the rows.
    pub seed: u64,
}

impl Default for Halving {
    fn default() -> Self {
        Self {
            held_out: 0.5,
            first_rows: 4,
            seed: 0,
        }
    }
}

/// One round of tuning.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Round {
    /// How many rows the candidates have been judged on so far.
    pub rows: usize,
    /// The candidates of the round and their means over these rows, the best first.
    pub candidates: Vec<(String, f64)>,
}

/// What tuning found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuned {
    /// The best candidate.
    pub best: String,
    /// Its score on the rows held out, which it was not chosen by.
    pub best_score: Score,
    /// The score of the default on the same rows.
    pub default_score: Score,
    /// The rounds, each with the better half of the candidates before.
    pub rounds: Vec<Round>,
}

impl Tuned {
    /// Returns whether the best candidate has a better mean than the default on the rows held out,
    /// by however little: compare the scores' standard errors.
    pub fn is_better(&self) -> bool {
        let (best, default) = (self.best_score.mean(), self.default_score.mean());
        if default.is_nan() {
            return !best.is_nan();
        }
        if self.best_score.higher_is_better {
            best > default
        } else {
            best < default
        }
    }
}

impl<I: Inputs, M: Model<I>> Evaluation<'_, I, M> {
    /// Finds the best of some candidates by a metric: all of them on a few rows, the better half on
    /// twice as many, and so on, until one is left or all rows were used. The winner and `default`
    /// are then compared on rows held out. Candidates share the model's evaluations.
    ///
    /// Rows are taken in random order. A candidate for which the metric is not defined on any row
    /// loses.
    ///
    /// ```
    /// use attr_core::{Error, Explanation, Method, Question};
    /// use attr_metrics::{Deletion, Evaluation, Halving, RandomMap};
    /// use burn::tensor::{Device, Tensor};
    ///
    /// struct Gradient;
    ///
    /// impl Method for Gradient {
    ///     fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
    ///         question.explained_by_gradients()
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Error> {
    /// let x = Tensor::<2>::random([16, 4], burn::tensor::Distribution::Default, &Device::default());
    /// let model = |x: Tensor<2>| (x * 2.0).powi_scalar(2).sum_dim(1);
    /// let candidates: [(&str, &dyn Method); 2] =
    ///     [("random", &RandomMap::new(0)), ("gradient", &Gradient)];
    /// let tuned = Evaluation::new(&model, &x, 0).tune(
    ///     &RandomMap::new(1),
    ///     &candidates,
    ///     &Deletion::default(),
    ///     &Halving::default(),
    /// )?;
    /// assert_eq!(tuned.best, "gradient");
    /// assert!(tuned.is_better());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Parameter`] without candidates, for fewer than two rows, or for a share of rows held
    /// out that is not above 0 and below 1; as [`measure`](Self::measure).
    pub fn tune(
        &self,
        default: &dyn Method,
        candidates: &[(&str, &dyn Method)],
        metric: &dyn Metric,
        halving: &Halving,
    ) -> Result<Tuned, Error> {
        positive("candidates", candidates.len())?;
        let first = positive("first_rows", halving.first_rows)?;
        if !(halving.held_out > 0.0 && halving.held_out < 1.0) {
            return Err(Error::Parameter {
                name: "held_out",
                value: halving.held_out.to_string(),
                expected: "it must be above 0 and below 1",
            });
        }
        self.with_rows(|rows| {
            let count = rows.count();
            if count < 2 {
                return Err(Error::Parameter {
                    name: "rows",
                    value: count.to_string(),
                    expected: "tuning needs at least two: one to tune on, one to hold out",
                });
            }
            let order = Random::new(halving.seed).permutation(count);
            let out = ((count as f64 * halving.held_out).round() as usize).clamp(1, count - 1);
            let (held_out, mut left) = order.split_at(out);
            let mut running: Vec<(usize, Vec<f64>)> =
                (0..candidates.len()).map(|i| (i, Vec::new())).collect();
            let mut rounds: Vec<Round> = Vec::new();
            let mut take = first;
            loop {
                let (now, rest) = left.split_at(take.min(left.len()));
                left = rest;
                self.on_rows(rows, now, |case_of| {
                    for (candidate, values) in &mut running {
                        let method = candidates[*candidate].1;
                        values.extend(case_of(&Explainer::Method(method), metric)?.values);
                    }
                    Ok(())
                })?;
                let higher = metric.about().higher_is_better;
                running.sort_by(|a, b| better(&a.1, &b.1, higher));
                let seen = running[0].1.len();
                rounds.push(Round {
                    rows: seen,
                    candidates: running
                        .iter()
                        .map(|(i, values)| {
                            (candidates[*i].0.into(), crate::statistics::mean(values))
                        })
                        .collect(),
                });
                running.truncate(running.len().div_ceil(2));
                if running.len() == 1 || left.is_empty() {
                    break;
                }
                take = seen;
            }
            let (name, best) = candidates[running[0].0];
            let mut scores = Vec::new();
            self.on_rows(rows, held_out, |score_of| {
                for method in [best, default] {
                    scores.push(score_of(&Explainer::Method(method), metric)?);
                }
                Ok(())
            })?;
            let mut scores = scores.into_iter();
            match (scores.next(), scores.next()) {
                (Some(best_score), Some(default_score)) => Ok(Tuned {
                    best: name.into(),
                    best_score,
                    default_score,
                    rounds,
                }),
                _ => Err(Error::Internal("a score is missing")),
            }
        })
    }

    /// Lets `judge` score explainers on some of the rows.
    fn on_rows(
        &self,
        rows: &Rows<'_>,
        indices: &[usize],
        judge: impl FnOnce(
            &dyn Fn(&Explainer<'_>, &dyn Metric) -> Result<Score, Error>,
        ) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let some = rows.select(indices)?;
        judge(&|explainer, metric| {
            let scores = self.scores(
                &some,
                std::slice::from_ref(explainer),
                &[metric],
                &mut |_, _| {},
            )?;
            let score = scores.into_iter().flatten().next();
            score.ok_or(Error::Internal("a metric returned nothing"))
        })
    }
}

/// Orders candidates by their means, the better first. One without a mean comes last.
fn better(a: &[f64], b: &[f64], higher: bool) -> std::cmp::Ordering {
    let key = |values: &[f64]| {
        let mean = crate::statistics::mean(values);
        match (mean.is_nan(), higher) {
            (true, _) => f64::INFINITY,
            (false, true) => -mean,
            (false, false) => mean,
        }
    };
    key(a).total_cmp(&key(b))
}
