//! Which concepts of two layers, of one model or two, are strong in the same samples.

use crate::Error;
use crate::vectors::ConceptVectors;

/// How similar the concepts of two layers are: Pearson's correlation of their strengths over the samples
/// that were measured for both.
///
/// `r = Σ(a - ā)(b - b̄) / √(Σ(a - ā)² Σ(b - b̄)²)`, from 1 for concepts that rise and fall together to -1.
/// Where a concept is equally strong in all samples, there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct ConceptSimilarity {
    samples: u64,
    others: usize,
    /// `[concepts, others]`; NaN where there is none.
    values: Vec<f64>,
}

impl ConceptSimilarity {
    /// Compares two layers by their concept vectors, as [`Index::vectors`](crate::Index::vectors) reads
    /// them: in the order of sample numbers, which must mean the same samples in both.
    ///
    /// # Errors
    /// [`Error::Compare`] without vectors of both, without common samples, or if samples are not in order,
    /// such as those that were explained for several classes; those of reading.
    pub fn of(
        own: impl Iterator<Item = Result<ConceptVectors, Error>>,
        other: impl Iterator<Item = Result<ConceptVectors, Error>>,
    ) -> Result<Self, Error> {
        let (mut own, mut other) = (Vectors::new(own), Vectors::new(other));
        let mut sums = Sums::default();
        let (mut a, mut b) = (own.next()?, other.next()?);
        while let (Some(left), Some(right)) = (&a, &b) {
            match left.0.cmp(&right.0) {
                std::cmp::Ordering::Less => a = own.next()?,
                std::cmp::Ordering::Greater => b = other.next()?,
                std::cmp::Ordering::Equal => {
                    sums.add(&left.1, &right.1)?;
                    (a, b) = (own.next()?, other.next()?);
                }
            }
        }
        if sums.count == 0 {
            return Err(Error::Compare(
                "both indexes must hold vectors (--vectors) of the layers, of common samples"
                    .into(),
            ));
        }
        Ok(sums.correlations())
    }

    /// The number of samples that were measured for both.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The number of concepts of the first layer.
    pub fn concepts(&self) -> usize {
        self.values.len() / self.others.max(1)
    }

    /// The similarity of a concept of the first layer and one of the second; none for a concept without
    /// a spread, or that a layer does not have.
    pub fn at(&self, concept: usize, other: usize) -> Option<f64> {
        if other >= self.others {
            return None;
        }
        let value = self.values.get(concept * self.others + other).copied();
        value.filter(|value| value.is_finite())
    }

    /// The concept of the second layer that is most similar to one of the first.
    pub fn best(&self, concept: usize) -> Option<(usize, f64)> {
        let all = (0..self.others).filter_map(|other| Some((other, self.at(concept, other)?)));
        // Of equals, the first.
        all.rev().max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// The vectors of a layer, sample by sample.
struct Vectors<I> {
    files: I,
    file: Option<(ConceptVectors, usize)>,
    last: Option<u64>,
}

impl<I: Iterator<Item = Result<ConceptVectors, Error>>> Vectors<I> {
    fn new(files: I) -> Self {
        Self {
            files,
            file: None,
            last: None,
        }
    }

    fn next(&mut self) -> Result<Option<(u64, Vec<f64>)>, Error> {
        loop {
            if let Some((vectors, row)) = &mut self.file
                && let Some(&sample) = vectors.samples.get(*row)
            {
                if self.last.is_some_and(|last| last >= sample) {
                    return Err(Error::Compare(format!(
                        "sample {sample} of layer {:?} is there more than once, or out of order",
                        vectors.layer
                    )));
                }
                self.last = Some(sample);
                let values = &vectors.values[*row * vectors.concepts..][..vectors.concepts];
                let values = values.iter().map(|value| value.to_f64()).collect();
                *row += 1;
                return Ok(Some((sample, values)));
            }
            match self.files.next().transpose()? {
                None => return Ok(None),
                Some(vectors) => self.file = Some((vectors, 0)),
            }
        }
    }
}

#[derive(Default)]
struct Sums {
    count: u64,
    own: Vec<f64>,
    own_squares: Vec<f64>,
    other: Vec<f64>,
    other_squares: Vec<f64>,
    products: Vec<f64>,
}

impl Sums {
    fn add(&mut self, own: &[f64], other: &[f64]) -> Result<(), Error> {
        if self.count == 0 {
            self.own = vec![0.0; own.len()];
            self.own_squares = self.own.clone();
            self.other = vec![0.0; other.len()];
            self.other_squares = self.other.clone();
            self.products = vec![0.0; own.len() * other.len()];
        }
        if (self.own.len(), self.other.len()) != (own.len(), other.len()) {
            return Err(Error::Compare(
                "a layer has vectors of several lengths".into(),
            ));
        }
        self.count += 1;
        for (sums, squares, values) in [
            (&mut self.own, &mut self.own_squares, own),
            (&mut self.other, &mut self.other_squares, other),
        ] {
            for ((sum, square), value) in sums.iter_mut().zip(squares).zip(values) {
                *sum += value;
                *square += value * value;
            }
        }
        for (row, a) in self.products.chunks_exact_mut(other.len().max(1)).zip(own) {
            row.iter_mut().zip(other).for_each(|(sum, b)| *sum += a * b);
        }
        Ok(())
    }

    fn correlations(&self) -> ConceptSimilarity {
        let count = self.count as f64;
        let spread = |sum: &f64, square: &f64| {
            let spread = square - sum * sum / count;
            // What is left of equal values is rounding.
            (spread > square * 1e-12).then(|| spread.sqrt())
        };
        let spreads = |sums: &[f64], squares: &[f64]| -> Vec<f64> {
            let each = sums
                .iter()
                .zip(squares)
                .map(|(sum, square)| spread(sum, square));
            each.map(|spread| spread.unwrap_or(f64::NAN)).collect()
        };
        let own = spreads(&self.own, &self.own_squares);
        let other = spreads(&self.other, &self.other_squares);
        let mut values = Vec::with_capacity(self.products.len());
        let rows = self.products.chunks_exact(other.len().max(1));
        for ((row, sum), spread) in rows.zip(&self.own).zip(&own) {
            let columns = row.iter().zip(&self.other).zip(&other);
            values.extend(columns.map(|((product, other), other_spread)| {
                ((product - sum * other / count) / (spread * other_spread)).clamp(-1.0, 1.0)
            }));
        }
        ConceptSimilarity {
            samples: self.count,
            others: other.len(),
            values,
        }
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::Mode;

    fn vectors(samples: &[u64], rows: &[&[f32]]) -> Result<ConceptVectors, Error> {
        Ok(ConceptVectors {
            layer: "conv".into(),
            mode: Mode::Activation,
            concepts: rows[0].len(),
            samples: samples.to_vec(),
            targets: vec![0; samples.len()],
            values: rows
                .iter()
                .flat_map(|row| row.iter().map(|&v| f16::from_f32(v)))
                .collect(),
        })
    }

    #[test]
    fn concepts_are_compared_over_common_samples() {
        let own = [
            vectors(&[0, 1], &[&[1.0, 5.0], &[2.0, 5.0]]),
            vectors(&[4, 9], &[&[4.0, 5.0], &[100.0, 5.0]]),
        ];
        let other = [vectors(
            &[0, 1, 3, 4],
            &[
                &[-1.0, 2.0, 0.0],
                &[-2.0, 4.0, 0.0],
                &[7.0, 7.0, 7.0],
                &[-4.0, 8.0, 1.0],
            ],
        )];
        let found = ConceptSimilarity::of(own.into_iter(), other.into_iter()).unwrap();
        assert_eq!((found.samples(), found.concepts()), (3, 2));
        assert!((found.at(0, 0).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(found.best(0).unwrap().0, 1);
        // Of 1, 2, 4 and 0, 0, 1: 5/3 over the root of 14/3 and 2/3.
        let expected = 5.0 / 3.0 / (14.0_f64 / 3.0 * 2.0 / 3.0).sqrt();
        assert!((found.at(0, 2).unwrap() - expected).abs() < 1e-12);
        assert_eq!((found.best(1), found.at(0, 3)), (None, None));
    }

    #[test]
    fn vectors_that_cannot_be_compared_are_refused() {
        let none = || std::iter::empty();
        let some = |samples: &[u64]| std::iter::once(vectors(samples, &[&[1.0], &[2.0]]));
        let refused =
            |found: Result<ConceptSimilarity, Error>| matches!(found, Err(Error::Compare(_)));
        assert!(refused(ConceptSimilarity::of(none(), some(&[0, 1]))));
        assert!(refused(ConceptSimilarity::of(some(&[0, 1]), some(&[2, 3]))));
        assert!(refused(ConceptSimilarity::of(some(&[1, 1]), some(&[1, 2]))));
    }
}
