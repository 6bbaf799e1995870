//! The rows that are judged, and what all metrics and methods share about them: their features, and
//! the model's outputs where features are absent.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use attr_core::build::Random;
use attr_core::perturb::{Features, Masked, Perturbation};
use attr_core::{Error, FeatureMask, Kind, Question, Value, Values};

/// Marks the features of one copy of a row that are absent, given the row and the number of the
/// copy.
pub type Absent<'a> = dyn Fn(usize, usize, &mut [bool]) + 'a;

/// Results under a name that says what was computed.
type Results = HashMap<String, Rc<Vec<Vec<f64>>>>;

/// The rows.
pub(crate) struct Rows<'a> {
    /// The question whose baselines replace absent features, with a fixed target.
    pub question: Question<'a>,
    /// The question that methods are asked, without those baselines.
    pub asked: Question<'a>,
    /// The model's output for the target at each row.
    pub scores: Vec<f32>,
    /// The ground truth of each explained input.
    masks: Vec<Value>,
    results: RefCell<Results>,
    groupings: RefCell<HashMap<String, Rc<Grouping>>>,
}

/// The elements of the rows grouped into features of one kind.
pub(crate) struct Grouping {
    pub mask: FeatureMask,
    pub features: Features,
    /// Which features of each row lie in the ground truth, if that is known.
    pub inside: Option<Vec<Vec<bool>>>,
    /// Random bits of each feature; those of a set of features are combined.
    bits: Vec<u128>,
    /// The model's output at a row whose absent features have these bits.
    known: RefCell<HashMap<(usize, u128), f64>>,
}

/// How many outputs each grouping remembers: about 50 MiB.
const REMEMBERED: usize = 1 << 19;

/// How many copies are looked up at once, so that their number costs no memory.
const AT_ONCE: usize = 1 << 16;

impl<'a> Rows<'a> {
    /// Runs the model on the rows. `masks` holds the ground truth of each explained input.
    pub fn new(
        question: &Question<'a>,
        asked: &Question<'a>,
        masks: &[Value],
    ) -> Result<Self, Error> {
        let scores = asked.quiet().scores()?.into_iter().next();
        Ok(Self {
            question: question.clone(),
            asked: asked.clone(),
            scores: scores.ok_or(Error::Internal("a question without a target"))?,
            masks: masks.to_vec(),
            results: RefCell::default(),
            groupings: RefCell::default(),
        })
    }

    /// Returns some of the rows, which share nothing with these.
    pub fn select(&self, indices: &[usize]) -> Result<Self, Error> {
        let inputs = self.question.inputs().select(indices);
        let question = self.question.with_inputs(inputs.clone());
        Self::new(&question, &self.asked.with_inputs(inputs), &self.masks)
    }

    /// Returns one of the rows with the features that a mask gives it.
    pub fn alone(&self, row: usize, mask: &FeatureMask) -> Result<(Self, Rc<Grouping>), Error> {
        let one = self.select(&[row])?;
        let origin = self.question.inputs().origin()[row];
        let grouping = one.grouping("attr:own", || {
            Ok(match mask {
                FeatureMask::Each(masks) => {
                    let own = masks.iter().map(|mask| match mask.rows() {
                        1 => mask.clone(),
                        _ => mask.select_rows(&[origin]),
                    });
                    FeatureMask::Each(own.collect())
                }
                other => other.clone(),
            })
        })?;
        Ok((one, grouping))
    }

    /// Returns the features of a mask. They are resolved once for each `name`.
    pub fn grouping(
        &self,
        name: &str,
        mask: impl FnOnce() -> Result<FeatureMask, Error>,
    ) -> Result<Rc<Grouping>, Error> {
        if let Some(known) = self.groupings.borrow().get(name) {
            return Ok(known.clone());
        }
        let mask = mask()?;
        let inputs = self.question.inputs();
        let features = mask.resolve(inputs)?;
        if features.count() == 0 {
            return Err(Error::Method {
                method: "a metric",
                reason: "no input is explained: all are constants or booleans".into(),
            });
        }
        let inside = match &self.masks[..] {
            [] => None,
            masks => Some(truth(masks, inputs, &features)?),
        };
        let mut random = Random::new(0);
        let bits = (0..features.count())
            .map(|_| u128::from(random.bits()) << 64 | u128::from(random.bits()));
        let scores = self.scores.iter().enumerate();
        let known = scores.map(|(row, &score)| ((row, 0), f64::from(score)));
        let grouping = Rc::new(Grouping {
            bits: bits.collect(),
            known: RefCell::new(known.collect()),
            mask,
            features,
            inside,
        });
        let mut groupings = self.groupings.borrow_mut();
        groupings.insert(name.into(), grouping.clone());
        Ok(grouping)
    }

    pub fn count(&self) -> usize {
        self.question.inputs().rows()
    }

    fn masked(&self, grouping: &Grouping) -> Result<Masked<'a>, Error> {
        let masked = Masked::known(&self.question, &grouping.mask, vec![self.scores.clone()])?;
        if masked.backgrounds() != 1 {
            return Err(Error::Method {
                method: "a distribution of baselines",
                reason:
                    "metrics replace an absent feature by one value; give one baseline row for \
                         all rows, or one for each"
                        .into(),
            });
        }
        Ok(masked)
    }

    /// Computes the model's output at `copies` copies of each row with some features absent,
    /// `[row][copy]`. A set of absent features is evaluated once, whoever asks.
    pub fn outputs(
        &self,
        grouping: &Grouping,
        copies: usize,
        absent: &Absent<'_>,
    ) -> Result<Vec<Vec<f64>>, Error> {
        let mut found = vec![vec![f64::NAN; copies]; self.count()];
        let block = (AT_ONCE / copies.max(1)).max(1);
        for start in (0..self.count()).step_by(block) {
            let end = (start + block).min(self.count());
            self.outputs_of(grouping, start, &mut found[start..end], absent)?;
        }
        Ok(found)
    }

    /// As [`outputs`](Self::outputs), for the rows from `start` on.
    fn outputs_of(
        &self,
        grouping: &Grouping,
        start: usize,
        found: &mut [Vec<f64>],
        absent: &Absent<'_>,
    ) -> Result<(), Error> {
        let mut marks = vec![false; grouping.features.count()];
        // Sets to evaluate, with the copies that have them.
        let mut missing: Vec<((usize, u128), Vec<usize>)> = Vec::new();
        let mut places: HashMap<(usize, u128), usize> = HashMap::new();
        for (row, found) in (start..).zip(found.iter_mut()) {
            for (copy, found) in found.iter_mut().enumerate() {
                marks.fill(false);
                absent(row, copy, &mut marks);
                let key = (row, grouping.key(&marks));
                if let Some(&output) = grouping.known.borrow().get(&key) {
                    *found = output;
                    continue;
                }
                let place = *places.entry(key).or_insert(missing.len());
                if place == missing.len() {
                    missing.push((key, Vec::new()));
                }
                missing[place].1.push(copy);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let copies = missing.iter().enumerate();
        let copies = copies.map(|(number, ((row, _), _))| Perturbation { row: *row, number });
        let marks = RefCell::new(marks);
        let present = |number: usize, present: &mut [f32]| {
            let ((row, _), copies) = &missing[number];
            let mut marks = marks.borrow_mut();
            marks.fill(false);
            absent(*row, copies[0], &mut marks);
            for (present, &absent) in present.iter_mut().zip(marks.iter()) {
                *present = f32::from(u8::from(!absent));
            }
        };
        let outputs = self.masked(grouping)?.at(missing.len(), copies, &present)?;
        let mut known = grouping.known.borrow_mut();
        for ((key, copies), &output) in missing.iter().zip(&outputs[0]) {
            for &copy in copies {
                found[key.0 - start][copy] = output;
            }
            if known.len() < REMEMBERED {
                known.insert(*key, output);
            }
        }
        Ok(())
    }

    /// Computes the model's output at each row with each feature present to some degree, which
    /// `present` writes for a row.
    pub fn blended(
        &self,
        grouping: &Grouping,
        present: &dyn Fn(usize, &mut [f32]),
    ) -> Result<Vec<f64>, Error> {
        let rows = (0..self.count()).map(|row| Perturbation { row, number: row });
        let masked = self.masked(grouping)?;
        let mut outputs = masked.at(self.count(), rows, &present)?;
        Ok(outputs.remove(0))
    }

    /// Returns what `compute` computes, remembered under a name that says everything it depends on.
    pub fn remember(
        &self,
        name: String,
        compute: impl FnOnce() -> Result<Vec<Vec<f64>>, Error>,
    ) -> Result<Rc<Vec<Vec<f64>>>, Error> {
        if let Some(known) = self.results.borrow().get(&name) {
            return Ok(known.clone());
        }
        let found = Rc::new(compute()?);
        self.results.borrow_mut().insert(name, found.clone());
        Ok(found)
    }

    /// Sums the values, or magnitudes, of each feature's elements, `[row][feature]`; `values` has
    /// one value for each input.
    pub fn by_feature(
        &self,
        grouping: &Grouping,
        values: &[Option<Value>],
        abs: bool,
    ) -> Result<Vec<Vec<f64>>, Error> {
        by_feature(values, abs, self.question.inputs(), &grouping.features)
    }
}

impl Grouping {
    /// Returns whether some rows have more features than others, as superpixels of several images
    /// do.
    pub fn is_ragged(&self, rows: &Rows<'_>) -> bool {
        let count = self.features.count();
        let most = |&row: &usize| {
            let numbers = self.features.row(row).into_iter().flatten().flatten();
            numbers.filter(|&&number| number < count).max().copied()
        };
        let mut all = rows.question.inputs().origin().iter().map(most);
        let first = all.next();
        !self.features.shared() && all.any(|most| Some(most) != first)
    }

    fn key(&self, absent: &[bool]) -> u128 {
        let bits = self.bits.iter().zip(absent);
        bits.fold(
            0,
            |key, (bits, &absent)| if absent { key ^ bits } else { key },
        )
    }
}

/// Sums the values, or magnitudes, of each feature's elements, `[row][feature]`.
fn by_feature(
    values: &[Option<Value>],
    abs: bool,
    inputs: &Values,
    features: &Features,
) -> Result<Vec<Vec<f64>>, Error> {
    let count = features.count();
    let mut sums = vec![vec![0f64; count]; inputs.rows()];
    for (i, value) in values.iter().enumerate() {
        let Some(value) = value else { continue };
        let data = value.to_vec()?;
        let width = (data.len() / inputs.rows()).max(1);
        for ((sums, data), &row) in sums.iter_mut().zip(data.chunks(width)).zip(inputs.origin()) {
            let Some(numbers) = features.row(row).get(i).copied().flatten() else {
                continue;
            };
            for (&feature, &value) in numbers.iter().zip(data) {
                if feature < count {
                    sums[feature] += f64::from(if abs { value.abs() } else { value });
                }
            }
        }
    }
    Ok(sums)
}

/// Returns which features of each row lie in the ground truth: those with an element inside.
fn truth(masks: &[Value], inputs: &Values, features: &Features) -> Result<Vec<Vec<bool>>, Error> {
    let explained = (0..inputs.values().len()).filter(|&i| inputs.explained(i));
    let explained: Vec<usize> = explained.collect();
    if masks.len() > explained.len() {
        return Err(Error::InputCount {
            expected: explained.len(),
            got: masks.len(),
        });
    }
    let mut whole: Vec<Option<Value>> = vec![None; inputs.values().len()];
    for (mask, &i) in masks.iter().zip(&explained) {
        whole[i] = Some(spread(mask, inputs, i)?);
    }
    let sums = by_feature(&whole, false, inputs, features)?;
    let rows = sums.into_iter();
    Ok(rows
        .map(|row| row.into_iter().map(|sum| sum > 0.0).collect())
        .collect())
}

/// Returns the mask of each row, zeros and ones, shaped like the input. Dimensions of the mask that are 1 are
/// repeated.
fn spread(mask: &Value, inputs: &Values, i: usize) -> Result<Value, Error> {
    let own = mask.shape();
    let mut shape = inputs.values()[i].shape();
    let fits = |(size, own): (&usize, &usize)| own == size || *own == 1;
    let rows_fit = own.first() == Some(&inputs.caller_rows());
    if shape.len() != own.len() || !rows_fit || !shape.iter().zip(&own).skip(1).all(fits) {
        shape[0] = inputs.caller_rows();
        return Err(Error::Shape {
            what: format!("the ground-truth mask of input {i}"),
            got: own,
            expected: format!("{shape:?}, where all but the first size may be 1,"),
        });
    }
    let mask = mask.select_rows(inputs.origin());
    let own = mask.shape();
    let data = mask.to_vec()?;
    if mask.kind() == Kind::Float && data.iter().any(|value| !value.is_finite()) {
        return Err(Error::NonFinite {
            what: format!("the ground-truth mask of input {i}"),
        });
    }
    let total: usize = shape.iter().product();
    let spread = (0..total).map(|flat| {
        let (mut rest, mut at, mut scale) = (flat, 0, 1);
        for (&size, &own) in shape.iter().zip(&own).rev() {
            at += scale * if own == 1 { 0 } else { rest % size };
            scale *= own;
            rest /= size;
        }
        f32::from(u8::from(data[at] != 0.0))
    });
    let data = burn::tensor::TensorData::new(spread.collect::<Vec<f32>>(), shape);
    Ok(Value::from_data(data, &inputs.values()[i].device()))
}
