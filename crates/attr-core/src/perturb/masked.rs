//! The model on inputs whose features are present or absent.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::{Blend, Perturbation, Perturbed, Products, Windows};
use crate::baseline::Absent;
use crate::{Error, Explanation, FeatureMask, Question, Values};

/// Writes the presence of each feature in a perturbation into a slice of zeros.
pub type Present<'a> = dyn Fn(usize, &mut [f32]) + 'a;

/// Marks every feature but one as present.
pub fn without(feature: usize, present: &mut [f32]) {
    present.fill(1.0);
    present[feature] = 0.0;
}

/// A model on inputs whose features are present or absent, with its scores where all are present.
///
/// If a baseline is a distribution, results are means over its rows.
pub struct Masked<'a> {
    perturbed: Perturbed<'a>,
    blend: Blend,
    backgrounds: usize,
}

impl<'a> Masked<'a> {
    /// Runs the model on the unperturbed inputs, and prepares their features and baselines.
    ///
    /// # Errors
    /// As [`Perturbed::new`], [`Blend::new`] and [`Baselines::absent`](crate::Baselines::absent);
    /// [`Error::Method`] for a mask per row if there is one result for the whole batch.
    pub fn new(
        question: &Question<'a>,
        mask: &FeatureMask,
        perturbations_per_eval: Option<usize>,
    ) -> Result<Self, Error> {
        let (blend, backgrounds) = blend(question, mask)?;
        let perturbed = Perturbed::new(question, perturbations_per_eval)?;
        if perturbed.whole_batch() && !blend.features().shared() {
            return Err(Error::Method {
                method: "a feature mask per row",
                reason:
                    "the forward function returns one value for the whole batch; give one mask \
                         for all rows"
                        .into(),
            });
        }
        Ok(Self {
            perturbed,
            blend,
            backgrounds,
        })
    }

    /// Creates the same as [`new`](Self::new) without running the model, for rows whose `scores` are
    /// known: `[target][row]`. The targets must be fixed.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn known(
        question: &Question<'a>,
        mask: &FeatureMask,
        scores: Vec<Vec<f32>>,
    ) -> Result<Self, Error> {
        let (blend, backgrounds) = blend(question, mask)?;
        Ok(Self {
            perturbed: Perturbed::known(question, scores),
            blend,
            backgrounds,
        })
    }

    /// Announces the evaluation of up to `copies`, in as many parts as it takes.
    pub fn announce(&mut self, copies: usize) {
        self.perturbed.announce(copies * self.backgrounds);
    }

    /// Returns how many rows a distribution of baselines has; each perturbation is evaluated once
    /// for each.
    pub fn backgrounds(&self) -> usize {
        self.backgrounds
    }

    /// Returns how many features there are.
    pub fn features(&self) -> usize {
        self.blend.features().count()
    }

    /// Returns how many results there are: one per row, or one for the whole batch.
    pub fn rows(&self) -> usize {
        self.perturbed.rows()
    }

    /// Returns groups of rows with the same features, each with those features; one group unless
    /// each row has its own mask.
    pub fn groups(&self) -> Vec<(Vec<usize>, Vec<usize>)> {
        if self.blend.features().shared() {
            return vec![((0..self.rows()).collect(), (0..self.features()).collect())];
        }
        let mut groups: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for (row, &caller_row) in self.perturbed.inputs().origin().iter().enumerate() {
            let own = self.blend.features().row(caller_row).into_iter().flatten();
            let own = own.flatten().filter(|&&id| id < self.features());
            let own: BTreeSet<usize> = own.copied().collect();
            groups
                .entry(own.into_iter().collect())
                .or_default()
                .push(row);
        }
        groups.into_iter().map(|(own, rows)| (rows, own)).collect()
    }

    /// Returns the model's output for each target with all features present: `[target][row]`.
    pub fn scores(&self) -> &[Vec<f32>] {
        self.perturbed.scores()
    }

    /// Computes the model's output for each target at `total` copies, `[target][copy]`. `present`
    /// is called with the number of a copy's perturbation. Copies are made as they are needed.
    ///
    /// # Errors
    /// As [`Perturbed::evaluate`].
    pub fn at(
        &self,
        total: usize,
        copies: impl IntoIterator<Item = Perturbation>,
        present: &Present<'_>,
    ) -> Result<Vec<Vec<f64>>, Error> {
        let mut found: Vec<Vec<f64>> = vec![Vec::with_capacity(total); self.scores().len()];
        self.at_each(total, copies, present, &mut |target, mean| {
            found[target].push(mean);
        })?;
        Ok(found)
    }

    /// As [`at`](Self::at), but calls `take` in the order of the copies, with the index of a target
    /// and its output at the next copy.
    ///
    /// # Errors
    /// As [`Perturbed::evaluate`].
    pub fn at_each(
        &self,
        total: usize,
        copies: impl IntoIterator<Item = Perturbation>,
        present: &Present<'_>,
        take: &mut dyn FnMut(usize, f64),
    ) -> Result<(), Error> {
        let backgrounds = self.backgrounds;
        let all = copies.into_iter().flat_map(|Perturbation { row, number }| {
            (0..backgrounds).map(move |background| Perturbation {
                row,
                number: number * backgrounds + background,
            })
        });
        let make = self.make(present);
        // Per target, the sum over the current copy's backgrounds, and how many are summed so far.
        let mut sums = vec![(0f64, 0); self.scores().len()];
        self.perturbed
            .evaluate_each(total * backgrounds, all, &make, &mut |target, scores| {
                let (sum, count) = &mut sums[target];
                for score in scores {
                    *sum += f64::from(*score) / backgrounds as f64;
                    *count += 1;
                    if *count == backgrounds {
                        take(target, *sum);
                        (*sum, *count) = (0.0, 0);
                    }
                }
            })
    }

    /// Returns what makes the inputs of copies, whose numbers count perturbations times backgrounds.
    fn make<'s>(
        &'s self,
        present: &'s Present<'_>,
    ) -> impl Fn(&[Perturbation]) -> Result<Values, Error> + 's {
        let inputs = self.perturbed.inputs();
        let backgrounds = self.backgrounds;
        let latest: RefCell<(usize, Vec<f32>)> = RefCell::default();
        move |copies| {
            let mut presences = Vec::with_capacity(copies.len() * self.features());
            let mut latest = latest.borrow_mut();
            let (number, presence) = &mut *latest;
            for copy in copies {
                let k = copy.number / backgrounds;
                // Copies of the same perturbation are adjacent.
                if presence.is_empty() || *number != k {
                    presence.clear();
                    presence.resize(self.features(), 0.0);
                    present(k, presence);
                    *number = k;
                }
                presences.extend_from_slice(presence);
            }
            let rows: Vec<usize> = copies.iter().map(|copy| copy.row).collect();
            let from = copies.iter();
            let from = from.map(|copy| copy.number % backgrounds * inputs.rows() + copy.row);
            self.blend
                .make(inputs, &rows, &from.collect::<Vec<_>>(), presences)
        }
    }

    /// Computes the model's output for each target and row with each feature absent in turn:
    /// `[target][row][feature]`. Where possible, only the part of the model that the box around a
    /// feature affects is evaluated.
    ///
    /// # Errors
    /// As [`Perturbed::evaluate`].
    pub fn without_each(&self) -> Result<Vec<Vec<Vec<f64>>>, Error> {
        let (rows, features) = (self.rows(), self.features());
        let boxes = self.blend.features().boxes(self.perturbed.inputs());
        let Some((input, boxes)) = boxes.filter(|_| self.backgrounds == 1) else {
            let rows: Vec<usize> = (0..rows).collect();
            return self.evaluate(&rows, features, &without);
        };
        let dims = 0..boxes.first().map_or(0, Vec::len);
        let largest = |dim: usize| boxes.iter().map(|one| one[dim].len()).max();
        let size: Vec<usize> = dims.filter_map(largest).collect();
        let windows = Windows {
            input,
            first: 0,
            count: features,
            size: &size,
            place: &|feature| boxes[feature].clone(),
        };
        let mut found = vec![vec![vec![0f64; features]; rows]; self.scores().len()];
        let make = self.make(&without);
        self.perturbed
            .evaluate_windows(&windows, &make, &mut |target, feature, row, score| {
                found[target][row][feature] = f64::from(score);
            })?;
        Ok(found)
    }

    /// Computes the model's output for each target, row of `rows` and perturbation:
    /// `[target][row][number]`.
    ///
    /// # Errors
    /// As [`Perturbed::evaluate`].
    pub fn evaluate(
        &self,
        rows: &[usize],
        count: usize,
        present: &Present<'_>,
    ) -> Result<Vec<Vec<Vec<f64>>>, Error> {
        let copies =
            (0..count).flat_map(|number| rows.iter().map(move |&row| Perturbation { row, number }));
        let mut found = vec![vec![vec![0f64; count]; rows.len()]; self.scores().len()];
        let mut next = vec![0; found.len()];
        self.at_each(count * rows.len(), copies, present, &mut |target, mean| {
            let at = next[target];
            found[target][at % rows.len()][at / rows.len()] = mean;
            next[target] += 1;
        })?;
        Ok(found)
    }

    /// Computes the output with all features absent: `[target][row]`.
    ///
    /// # Errors
    /// As [`Perturbed::evaluate`].
    pub fn at_baseline(&self) -> Result<Vec<Vec<f64>>, Error> {
        let copies = (0..self.rows()).map(|row| Perturbation { row, number: 0 });
        self.at(self.rows(), copies, &|_, _| {})
    }

    /// Creates explanations from a number per feature, `[target][row][feature]`, with standard
    /// errors where these are known.
    pub fn explanations(
        &self,
        values: &[Vec<Vec<f64>>],
        errors: Option<&[Vec<Vec<f64>>]>,
    ) -> Vec<Explanation> {
        let inputs = self.perturbed.inputs();
        let features = self.blend.features();
        let each = values.iter().enumerate().map(|(t, values)| {
            Explanation::new(features.spread(inputs, values), self.scores()[t].clone())
                .with_standard_error(errors.map(|errors| features.spread(inputs, &errors[t])))
        });
        each.collect()
    }

    /// As [`explanations`](Self::explanations), with a convergence delta: how far the values are
    /// from adding up to the output's change since `start`. Each feature counts once, regardless of
    /// how many elements it has.
    pub fn complete(
        &self,
        values: &[Vec<Vec<f64>>],
        errors: Option<&[Vec<Vec<f64>>]>,
        start: &[Vec<f64>],
    ) -> Vec<Explanation> {
        let mut all = self.explanations(values, errors);
        for (t, explanation) in all.iter_mut().enumerate() {
            let rows = values[t].iter().zip(&explanation.scores).zip(&start[t]);
            let delta = rows.map(|((values, &end), start)| {
                (values.iter().sum::<f64>() - (f64::from(end) - start)) as f32
            });
            explanation.delta = Some(delta.collect());
        }
        all
    }

    /// Returns whether every perturbed input is `z ⊙ x + (1 - z) ⊙ b`: not for integers, whose
    /// values are only labels, nor where absent features are inpainted.
    pub fn is_linear(&self) -> bool {
        let inputs = self.perturbed.inputs();
        let mut explained = (0..inputs.values().len()).filter(|&i| inputs.explained(i));
        explained.all(|i| inputs.attributed(i) && !self.blend.inpaint[i])
    }

    /// Returns, for each result, the products that distances between its blends need: the mean over
    /// a distribution of baselines, and the sum over the rows of a whole batch.
    ///
    /// # Errors
    /// [`Error::Device`] when reading from the device fails.
    pub fn products(&self) -> Result<Vec<Products>, Error> {
        let inputs = self.perturbed.inputs();
        Products::of(inputs, &self.blend, self.rows(), self.backgrounds)
    }
}

/// Prepares the features and baselines of a question's inputs; also returns how many rows a
/// distribution of baselines has.
fn blend(question: &Question<'_>, mask: &FeatureMask) -> Result<(Blend, usize), Error> {
    let inputs = question.inputs();
    let (inpaint, baselines) = question.baselines().inpainting(inputs)?;
    let absent = baselines.backgrounds(inputs)?;
    let backgrounds = absent.first().map_or(1, Absent::backgrounds);
    let blend = Blend::over(inputs, mask, absent)?.with_inpainting(inpaint);
    Ok((blend, backgrounds))
}
