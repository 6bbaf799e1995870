//! Means and spreads of the strengths of concepts, exact in any order.

use std::collections::BTreeMap;

use crate::strengths::Key;
use crate::{Error, Mode, Strengths};

/// How strong a concept is in some samples, summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistic {
    /// The number of samples; one that was explained for several classes counts for each.
    pub count: u64,
    /// The sum of its strengths.
    pub sum: f64,
    /// The sum of their squares.
    pub sum_of_squares: f64,
    /// The largest of them.
    pub largest: f32,
}

impl Statistic {
    /// The mean strength.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// The standard deviation of the strengths, over `count`.
    pub fn standard_deviation(&self) -> f64 {
        let mean = self.mean();
        (self.sum_of_squares / self.count as f64 - mean * mean)
            .max(0.0)
            .sqrt()
    }
}

/// For each concept of some layers, its [`Statistic`]: over the samples of all classes together, and
/// of each class.
///
/// Sums are exact until they are read, and then rounded once: neither the order of samples nor how
/// they are split into parts changes a bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    each_target: bool,
    totals: BTreeMap<Key, Vec<Total>>,
}

impl Statistics {
    /// Creates empty statistics, over all classes and over each.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether there are sums over each class, too. Call it before adding samples.
    pub fn with_each_target(mut self, each_target: bool) -> Self {
        self.each_target = each_target;
        self
    }

    /// Adds samples. Those whose strength is NaN or infinite are left out.
    pub fn add(&mut self, strengths: &Strengths) {
        for layer in &strengths.layers {
            for (&target, (scores, _)) in strengths.targets.iter().zip(layer.rows()) {
                for key in Key::of(layer, target, self.each_target) {
                    let totals = self.totals.entry(key).or_default();
                    totals.resize(totals.len().max(layer.concepts), Total::default());
                    for (total, &score) in totals.iter_mut().zip(scores) {
                        if score.is_finite() {
                            total.add(score);
                        }
                    }
                }
            }
        }
    }

    /// Adds the samples of other statistics. Unlike with [`References`](crate::References), a sample
    /// that is in both counts twice.
    ///
    /// # Errors
    /// [`Error::Merge`] for those with another number of concepts in a layer; these then stay as they
    /// are.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        for (key, totals) in &other.totals {
            if let Some(own) = self.totals.get(key)
                && own.len() != totals.len()
            {
                return Err(Error::Merge(format!(
                    "layer {:?} has {} concepts in some statistics and {} in others; they are not \
                     of the same model",
                    key.layer,
                    own.len(),
                    totals.len()
                )));
            }
        }
        for (key, totals) in &other.totals {
            let own = self.totals.entry(key.clone()).or_default();
            own.resize(totals.len(), Total::default());
            own.iter_mut()
                .zip(totals)
                .for_each(|(own, other)| own.merge(other));
        }
        Ok(())
    }

    /// The statistic of a concept over all samples; none for a concept without samples.
    pub fn of(&self, layer: &str, mode: Mode, concept: usize) -> Option<Statistic> {
        self.statistic(layer, mode, None, concept)
    }

    /// As [`of`](Self::of), over the samples of one class.
    pub fn of_target(
        &self,
        layer: &str,
        mode: Mode,
        concept: usize,
        target: usize,
    ) -> Option<Statistic> {
        self.statistic(layer, mode, Some(target), concept)
    }

    fn statistic(
        &self,
        layer: &str,
        mode: Mode,
        class: Option<usize>,
        concept: usize,
    ) -> Option<Statistic> {
        let key = Key {
            layer: layer.into(),
            mode,
            class,
        };
        let total = self.totals.get(&key)?.get(concept)?;
        total.read()
    }

    /// Every total with the concept that it is of, in order.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (&Key, usize, &Total)> + Clone {
        self.totals.iter().flat_map(|(key, totals)| {
            let totals = totals.iter().enumerate();
            totals.map(move |(concept, total)| (key, concept, total))
        })
    }

    /// Adds the total of the next concept of a list; returns whether it was the next.
    pub(crate) fn push(&mut self, key: &Key, concept: usize, total: Total) -> bool {
        let totals = self.totals.entry(key.clone()).or_default();
        let next = totals.len() == concept;
        if next {
            totals.push(total);
        }
        next
    }
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            each_target: true,
            totals: BTreeMap::new(),
        }
    }
}

/// A statistic whose sums are exact.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Total {
    pub count: u64,
    pub sum: ExactSum,
    pub sum_of_squares: ExactSum,
    pub largest: f32,
}

impl Total {
    fn add(&mut self, score: f32) {
        // Of 0 and -0, too, it is the same one in any order.
        if self.count == 0 || score.total_cmp(&self.largest).is_gt() {
            self.largest = score;
        }
        self.count += 1;
        let score = f64::from(score);
        self.sum.add(score);
        // Exact: the square of 24 bits has 48.
        self.sum_of_squares.add(score * score);
    }

    fn merge(&mut self, other: &Self) {
        let larger = other.largest.total_cmp(&self.largest).is_gt();
        if self.count == 0 || (other.count > 0 && larger) {
            self.largest = other.largest;
        }
        self.count += other.count;
        for (own, other) in [
            (&mut self.sum, &other.sum),
            (&mut self.sum_of_squares, &other.sum_of_squares),
        ] {
            other.parts.iter().for_each(|&part| own.add(part));
        }
    }

    pub fn read(&self) -> Option<Statistic> {
        (self.count > 0).then(|| Statistic {
            count: self.count,
            sum: self.sum.rounded(),
            sum_of_squares: self.sum_of_squares.rounded(),
            largest: self.largest,
        })
    }
}

/// A sum without rounding errors: numbers of growing size that do not overlap and add up to it
/// (Shewchuk, 1997, <https://doi.org/10.1007/PL00009321>).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ExactSum {
    pub parts: Vec<f64>,
}

impl ExactSum {
    pub fn add(&mut self, number: f64) {
        let mut rest = number;
        let mut kept = 0;
        for at in 0..self.parts.len() {
            let part = self.parts[at];
            let (large, small) = if rest.abs() < part.abs() {
                (part, rest)
            } else {
                (rest, part)
            };
            let sum = large + small;
            let error = small - (sum - large);
            if error != 0.0 {
                self.parts[kept] = error;
                kept += 1;
            }
            rest = sum;
        }
        self.parts.truncate(kept);
        if rest != 0.0 {
            self.parts.push(rest);
        }
    }

    /// The double that is nearest to the sum; of two as near, the even one.
    pub fn rounded(&self) -> f64 {
        let mut parts = self.parts.iter().rev().copied();
        let Some(mut sum) = parts.next() else {
            return 0.0;
        };
        while let Some(part) = parts.next() {
            let before = sum;
            sum += part;
            let error = part - (sum - before);
            if error == 0.0 {
                continue;
            }
            // Half a unit was rounded to even: the next part says whether it was more than half.
            if let Some(next) = parts.next()
                && (next < 0.0) == (error < 0.0)
            {
                let twice = 2.0 * error;
                let other = sum + twice;
                if other - sum == twice {
                    sum = other;
                }
            }
            break;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(numbers: impl IntoIterator<Item = f64>) -> ExactSum {
        let mut sum = ExactSum::default();
        numbers.into_iter().for_each(|number| sum.add(number));
        sum
    }

    #[test]
    fn sums_are_rounded_once() {
        let tiny = 2f64.powi(-53);
        for (numbers, expected) in [
            (vec![], 0.0),
            (vec![0.1; 10], 1.0),
            (vec![1e100, 1.0, -1e100], 1.0),
            (vec![1.0, tiny], 1.0),
            (vec![1.0, tiny, 2f64.powi(-106)], 1.0 + 2.0 * tiny),
            (vec![1.0 + 2.0 * tiny, tiny], 1.0 + 4.0 * tiny),
            (
                vec![1.0 + 2.0 * tiny, tiny, -2f64.powi(-106)],
                1.0 + 2.0 * tiny,
            ),
            (vec![-1.0, -tiny, -2f64.powi(-106)], -1.0 - 2.0 * tiny),
            (vec![3.0, -3.0], 0.0),
        ] {
            assert_eq!(
                exact(numbers.iter().copied()).rounded(),
                expected,
                "{numbers:?}"
            );
            assert_eq!(exact(numbers.into_iter().rev()).rounded(), expected);
        }
    }

    #[test]
    fn neither_order_nor_parts_change_a_sum() {
        let number = |i: i32| f64::from((i * 7919 % 1013) as f32 * 1.7f32.powi(i % 97 - 48));
        let numbers: Vec<f64> = (-500..500).map(number).collect();
        let whole = exact(numbers.iter().copied()).rounded();
        assert_eq!(exact(numbers.iter().rev().copied()).rounded(), whole);
        for size in [1, 7, 333] {
            let parts = numbers.chunks(size).map(|part| exact(part.iter().copied()));
            let joined = exact(parts.flat_map(|part| part.parts)).rounded();
            assert_eq!(joined, whole, "parts of {size}");
        }
    }
}
