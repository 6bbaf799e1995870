//! The model on inputs of which features are present or absent.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Int, Tensor, TensorData};

use crate::baseline::Absent;
use crate::perturb::{Features, Perturbation, Perturbed, inpainted};
use crate::{Error, Explanation, FeatureMask, Kind, Question, Value, Values};

/// Writes the presence of each feature in a perturbation; zeros are there before.
pub type Present<'a> = dyn Fn(usize, &mut [f32]) + 'a;

/// Inputs with each feature present to some degree: `z ⊙ x + (1 - z) ⊙ b`, where `z` is 1 for what is
/// present, 0 for what is absent, and `b` stands for what is absent.
pub struct Blend {
    features: Features,
    /// Per input, rows that stand for what is absent, and whether the surroundings do instead.
    absent: Vec<Absent>,
    inpaint: Vec<bool>,
    indices: Vec<Indices>,
}

/// How presences become elements of an input.
enum Indices {
    /// It is not perturbed.
    Constant,
    /// Elements and features are the same, in order.
    Same,
    /// The feature of each element, `[elements]`, one mask for all rows.
    Shared(Tensor<1, Int>),
    /// The feature of each element, `[caller's rows, elements]`.
    PerRow(Value),
}

impl Blend {
    /// Features of these inputs, and the rows that stand for what is absent, one for each of theirs.
    ///
    /// # Errors
    /// [`Error::Method`] for inputs without anything to explain; as [`FeatureMask::resolve`].
    pub fn new(inputs: &Values, mask: &FeatureMask, absent: Values) -> Result<Self, Error> {
        let absent = absent.into_values().into_iter();
        Self::over(inputs, mask, absent.map(Absent::of_each_row).collect())
    }

    fn over(inputs: &Values, mask: &FeatureMask, absent: Vec<Absent>) -> Result<Self, Error> {
        let features = mask.resolve(inputs)?;
        if features.count() == 0 {
            return Err(Error::Method {
                method: "a perturbation",
                reason: "no input is explained: all are constants or truth values".into(),
            });
        }
        let all = features.numbers().iter().zip(inputs.values());
        let indices = all.map(|(numbers, input)| {
            let Some(numbers) = numbers else {
                return Indices::Constant;
            };
            let same = features.count() == numbers.elements;
            if same && numbers.ids.iter().copied().eq(0..numbers.elements) {
                return Indices::Same;
            }
            let ids: Vec<i64> = numbers.ids.iter().map(|&id| id as i64).collect();
            let (count, device) = (ids.len(), input.device());
            if numbers.shared() {
                return Indices::Shared(Tensor::from_data(TensorData::new(ids, [count]), &device));
            }
            let shape = [count / numbers.elements.max(1), numbers.elements];
            let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &device);
            Indices::PerRow(ids.into())
        });
        Ok(Self {
            indices: indices.collect(),
            inpaint: vec![false; inputs.values().len()],
            absent,
            features,
        })
    }

    /// Sets for each input whether what is absent is taken from what surrounds it.
    pub fn with_inpainting(mut self, inpaint: Vec<bool>) -> Self {
        self.inpaint = inpaint;
        self
    }

    /// What counts as a feature.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The rows of `inputs` at `rows`, blended with what is absent of the rows at `from`; `present`
    /// holds the presence of each feature in each of them.
    ///
    /// # Errors
    /// None for presences of as many rows.
    pub fn make(
        &self,
        inputs: &Values,
        rows: &[usize],
        from: &[usize],
        present: Vec<f32>,
    ) -> Result<Values, Error> {
        if present.len() != rows.len() * self.features.count() || from.len() != rows.len() {
            return Err(Error::Shape {
                what: "the presences of a blend".into(),
                got: vec![from.len(), present.len()],
                expected: format!("one for each of {} rows and features", rows.len()),
            });
        }
        let present = TensorData::new(present, [rows.len(), self.features.count()]);
        // Beyond the rows follow those of the next background.
        let count = inputs.rows();
        let mut results = Vec::with_capacity(self.indices.len());
        for (i, indices) in self.indices.iter().enumerate() {
            let input = &inputs.values()[i];
            let x = input.select_rows(rows);
            if let Indices::Constant = indices {
                results.push(x);
                continue;
            }
            let z = Tensor::<2>::from_data(present.clone(), &input.device());
            let z = match indices {
                Indices::Constant | Indices::Same => z,
                Indices::Shared(ids) => z.select(1, ids.clone()),
                Indices::PerRow(ids) => {
                    let of = rows.iter().map(|&row| inputs.origin()[row]);
                    let ids = ids.select_rows(&of.collect::<Vec<_>>());
                    z.gather(1, ids.int_tensor::<2>()?)
                }
            };
            results.push(if self.inpaint[i] {
                inpainted(&x, z)?
            } else {
                let absent = &self.absent[i];
                let places = from.iter().map(|&at| absent.place(at / count, at % count));
                let places: Vec<usize> = places.collect();
                mixed(x, absent.rows().select_rows(&places), z)?
            });
        }
        let explained = (0..results.len()).map(|i| inputs.explained(i)).collect();
        Ok(inputs.select(rows).replaced(results, explained))
    }
}

/// `z ⊙ x + (1 - z) ⊙ b` for presences `[rows, elements]`; of integers that which is nearer.
///
/// # Errors
/// [`Error::Shape`] for values of different shapes.
pub fn mixed(x: Value, absent: Value, z: Tensor<2>) -> Result<Value, Error> {
    let shape = x.shape();
    let [rows, elements] = z.dims();
    let fits = |value: &Value| {
        let shape = value.shape();
        shape.first() == Some(&rows) && shape.iter().product::<usize>() == rows * elements
    };
    if !fits(&x) || !fits(&absent) {
        return Err(Error::Shape {
            what: "what is blended".into(),
            got: if fits(&x) { absent.shape() } else { shape },
            expected: format!("{rows} rows of {elements} elements"),
        });
    }
    if x.kind() != Kind::Float {
        let x = x.reshape(&[rows, elements]).int_tensor::<2>()?;
        let absent = absent.reshape(&[rows, elements]).int_tensor::<2>()?;
        let mixed = absent.mask_where(z.greater_equal_elem(0.5), x);
        return Ok(Value::from(mixed).reshape(&shape));
    }
    let (all, none) = (
        z.clone().greater_equal_elem(1.0),
        z.clone().lower_equal_elem(0.0),
    );
    let z = z.cast(x.dtype());
    let (x, absent) = (x.matrix()?, absent.matrix()?);
    let part = x.clone() * z.clone() + absent.clone() * (z.neg() + 1.0);
    // An activation may be infinite where it is hidden, and infinity times zero is no number.
    let mixed = part.mask_where(all, x).mask_where(none, absent);
    Ok(Value::from_matrix(mixed, &shape))
}

/// A model on inputs of which features are present or absent, with its scores where all are
/// present.
///
/// Where a baseline is a distribution, results are means over its rows: what is absent is averaged
/// out.
pub struct Masked<'a> {
    perturbed: Perturbed<'a>,
    blend: Blend,
    backgrounds: usize,
}

impl<'a> Masked<'a> {
    /// Runs the model on the inputs as they are, and prepares their features and baselines.
    ///
    /// # Errors
    /// As [`Perturbed::new`], [`Blend::new`] and [`Baselines::absent`](crate::Baselines::absent);
    /// [`Error::Method`] for a mask per row where there is one result for all.
    pub fn new(
        question: &Question<'a>,
        mask: &FeatureMask,
        perturbations_per_eval: Option<usize>,
    ) -> Result<Self, Error> {
        let inputs = question.inputs();
        let (inpaint, baselines) = question.baselines().inpainting(inputs)?;
        let absent = baselines.backgrounds(inputs)?;
        let backgrounds = absent.first().map_or(1, Absent::backgrounds);
        let blend = Blend::over(inputs, mask, absent)?.with_inpainting(inpaint);
        let perturbed = Perturbed::new(question, perturbations_per_eval)?;
        if perturbed.whole_batch() && !blend.features.shared() {
            return Err(Error::Method {
                method: "a feature mask per row",
                reason: "the forward gives one value for the whole batch; give one mask for all \
                         rows"
                    .into(),
            });
        }
        Ok(Self {
            perturbed,
            blend,
            backgrounds,
        })
    }

    /// How many rows a distribution of baselines has: so many forward passes each perturbation
    /// takes.
    pub fn backgrounds(&self) -> usize {
        self.backgrounds
    }

    /// How many features there are.
    pub fn features(&self) -> usize {
        self.blend.features.count()
    }

    /// How many results there are: one per row, or one for the whole batch.
    pub fn rows(&self) -> usize {
        self.perturbed.rows()
    }

    /// Rows that have the same features, and these: one group unless each row has a mask of its own.
    pub fn groups(&self) -> Vec<(Vec<usize>, Vec<usize>)> {
        if self.blend.features.shared() {
            return vec![((0..self.rows()).collect(), (0..self.features()).collect())];
        }
        let mut groups: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for (row, &caller_row) in self.perturbed.inputs().origin().iter().enumerate() {
            let own = self.blend.features.row(caller_row).into_iter().flatten();
            let own: BTreeSet<usize> = own.flatten().copied().collect();
            groups
                .entry(own.into_iter().collect())
                .or_default()
                .push(row);
        }
        groups.into_iter().map(|(own, rows)| (rows, own)).collect()
    }

    /// The model's output for each target with everything present: `[target][row]`.
    pub fn scores(&self) -> &[Vec<f32>] {
        self.perturbed.scores()
    }

    /// The model's output for each target at `total` copies, `[target][copy]`; the number of a
    /// copy's perturbation is what `present` is asked about. Copies are made as they are needed.
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

    /// The same, handed to `take` in the order of the copies: the number of a target, and its output
    /// at the next copy.
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
        let inputs = self.perturbed.inputs();
        let backgrounds = self.backgrounds;
        let all = copies.into_iter().flat_map(|Perturbation { row, number }| {
            (0..backgrounds).map(move |background| Perturbation {
                row,
                number: number * backgrounds + background,
            })
        });
        let latest: RefCell<(usize, Vec<f32>)> = RefCell::default();
        let make = |copies: &[Perturbation]| {
            let mut presences = Vec::with_capacity(copies.len() * self.features());
            let mut latest = latest.borrow_mut();
            let (number, presence) = &mut *latest;
            for copy in copies {
                let k = copy.number / backgrounds;
                // Copies of one perturbation follow each other.
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
        };
        // Per target, the sum over the latest copy's backgrounds, and how many of them it has.
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

    /// The model's output for each target, row of `rows` and perturbation: `[target][row][number]`.
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

    /// The output with everything absent: `[target][row]`.
    ///
    /// # Errors
    /// As [`Perturbed::evaluate`].
    pub fn at_baseline(&self) -> Result<Vec<Vec<f64>>, Error> {
        let copies = (0..self.rows()).map(|row| Perturbation { row, number: 0 });
        self.at(self.rows(), copies, &|_, _| {})
    }

    /// Explanations of a number per feature, `[target][row][feature]`, with their standard errors
    /// where they are known.
    pub fn explanations(
        &self,
        values: &[Vec<Vec<f64>>],
        errors: Option<&[Vec<Vec<f64>>]>,
    ) -> Vec<Explanation> {
        let inputs = self.perturbed.inputs();
        let features = &self.blend.features;
        let each = values.iter().enumerate().map(|(t, values)| {
            Explanation::new(features.spread(inputs, values), self.scores()[t].clone())
                .with_standard_error(errors.map(|errors| features.spread(inputs, &errors[t])))
        });
        each.collect()
    }

    /// As [`explanations`](Self::explanations), for values that are to add up to the change of the
    /// output from `start` on, with how far off they are: a feature counts once, however many
    /// elements it has.
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
}

/// Of one row, the products of the input with itself, with its baseline, and of that with itself,
/// summed over each feature: distances of blends need no more.
pub struct Products {
    features: Vec<[f64; 3]>,
}

impl Products {
    /// For an input and its blend with the baseline, where `present` is 0 or 1 for each of `features`:
    /// the square of the input's length, the product of the two, the square of the blend's length.
    pub fn blended(&self, features: &[usize], present: &[f64]) -> [f64; 3] {
        let mut sums = [0f64; 3];
        let own = features
            .iter()
            .filter_map(|&feature| self.features.get(feature));
        for ([xx, xb, bb], present) in own.zip(present) {
            let absent = 1.0 - present;
            sums[0] += xx;
            sums[1] += present * xx + absent * xb;
            sums[2] += present * xx + absent * bb;
        }
        sums
    }
}

impl Masked<'_> {
    /// Whether a perturbed input is `z ⊙ x + (1 - z) ⊙ b`: not where it holds integers, whose numbers are
    /// mere names, nor where the surroundings fill what is absent.
    pub fn is_linear(&self) -> bool {
        let inputs = self.perturbed.inputs();
        let mut explained = (0..inputs.values().len()).filter(|&i| inputs.explained(i));
        explained.all(|i| inputs.attributed(i) && !self.blend.inpaint[i])
    }

    /// For each result, what distances of its blends need; of a distribution of baselines, the mean;
    /// of a whole batch, the sum over its rows.
    ///
    /// # Errors
    /// [`Error::Device`] when reading from the device fails.
    pub fn products(&self) -> Result<Vec<Products>, Error> {
        let inputs = self.perturbed.inputs();
        let mut all = vec![vec![[0f64; 3]; self.features()]; self.rows()];
        let (rows, results) = (inputs.rows(), self.rows());
        for (i, input) in inputs.values().iter().enumerate() {
            if self.blend.features.numbers()[i].is_none() {
                continue;
            }
            let absent = &self.blend.absent[i];
            let (x, b) = (input.to_vec()?, absent.rows().to_vec()?);
            let elements = x.len() / rows;
            let part = |at: usize| at * elements..(at + 1) * elements;
            let share = 1.0 / self.backgrounds as f64;
            for background in 0..self.backgrounds {
                for (row, x) in x.chunks(elements).enumerate() {
                    let ids = self.blend.features.row(inputs.origin()[row]);
                    let ids = ids[i].unwrap_or_default();
                    let products = &mut all[row.min(results - 1)];
                    let b = &b[part(absent.place(background, row))];
                    for ((&id, &x), &b) in ids.iter().zip(x).zip(b) {
                        let (x, b) = (f64::from(x), f64::from(b));
                        for (sum, product) in products[id].iter_mut().zip([x * x, x * b, b * b]) {
                            *sum += share * product;
                        }
                    }
                }
            }
        }
        Ok(all
            .into_iter()
            .map(|features| Products { features })
            .collect())
    }
}
