//! Sums, means and variances of samples, accumulated per row.

use attr_core::{Error, Explanation, Value, Values};
use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor, TensorData};

use crate::path::take;

/// Weighted sums over samples, per target, column (an input or a layer) and row.
///
/// Each sample is added only to its own row, so an infinity in one row leaves the others finite.
/// Half-precision values are summed in 32 bits.
pub(crate) struct RowSums {
    rows: usize,
    sums: Vec<Vec<Option<Tensor<2>>>>,
    /// Per column, the element type of the summed values.
    types: Vec<Option<DType>>,
}

/// The row and weight of each sample in one chunk.
pub(crate) struct Chunk {
    rows: Vec<usize>,
    weights: Vec<f32>,
}

impl Chunk {
    pub fn new(rows: &[usize], weight: impl Fn(usize) -> f64) -> Self {
        Self {
            weights: (0..rows.len()).map(|i| weight(i) as f32).collect(),
            rows: rows.to_vec(),
        }
    }

    /// Multiplies each sample, `[samples, elements]`, by its weight.
    fn weighted(&self, samples: Tensor<2>) -> Tensor<2> {
        let weights = TensorData::new(self.weights.clone(), [self.rows.len(), 1]);
        let weights = Tensor::<2>::from_data(weights, &samples.device()).cast(samples.dtype());
        samples * weights
    }

    /// The weighted sum over all samples, `[1, elements]`.
    fn sum(&self, samples: Tensor<2>) -> Tensor<2> {
        match self.weights.first() {
            Some(&first) if self.weights.iter().all(|&weight| weight == first) => {
                samples.sum_dim(0) * first
            }
            _ => self.weighted(samples).sum_dim(0),
        }
    }
}

/// Iterates over all samples of all rows as `(row, number of the sample)`, row by row.
pub(crate) fn samples_of(rows: usize, samples: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |row| (0..samples).map(move |sample| (row, sample)))
}

impl RowSums {
    pub fn new(rows: usize, targets: usize, columns: usize) -> Self {
        Self {
            rows,
            sums: vec![vec![None; columns]; targets],
            types: vec![None; columns],
        }
    }

    /// Adds the samples of a chunk, `[samples, elements]`.
    pub fn add(&mut self, target: usize, column: usize, samples: Tensor<2>, chunk: &Chunk) {
        let [_, elements] = samples.dims();
        self.types[column].get_or_insert(samples.dtype());
        let samples = widened(samples);
        let sum = &mut self.sums[target][column];
        if self.rows == 1 {
            let part = chunk.sum(samples);
            *sum = Some(match sum.take() {
                Some(whole) => whole + part,
                None => part,
            });
            return;
        }
        let whole = match sum.take() {
            Some(whole) => whole,
            None => samples
                .zeros_like()
                .slice([0..1, 0..elements])
                .repeat_dim(0, self.rows),
        };
        let rows: Vec<i64> = chunk.rows.iter().map(|&row| row as i64).collect();
        let rows = TensorData::new(rows, [chunk.rows.len()]);
        let rows = Tensor::<1, Int>::from_data(rows, &samples.device());
        let weighted = chunk.weighted(samples);
        *sum = Some(whole.select_assign(0, rows, weighted, IndexingUpdateOp::Add));
    }

    /// The sum so far, `[rows, elements]`.
    fn get(&self, target: usize, column: usize) -> Option<&Tensor<2>> {
        self.sums[target][column].as_ref()
    }

    /// The sums, `[target][column]` as `[rows, elements]`; none where nothing was added.
    pub fn finish(self) -> Vec<Vec<Option<Tensor<2>>>> {
        let narrowed = |columns: Vec<Option<Tensor<2>>>| {
            let columns = columns.into_iter().zip(&self.types);
            let columns = columns.map(|(sum, dtype)| Some(sum?.cast((*dtype)?)));
            columns.collect()
        };
        self.sums.into_iter().map(narrowed).collect()
    }
}

/// Means and variances over the samples of each row.
///
/// All rows have equally many samples, added in order. Both statistics are computed relative to the
/// row's first sample to avoid cancellation.
pub(crate) struct Moments {
    samples: usize,
    firsts: RowSums,
    means: RowSums,
    squares: RowSums,
    types: Vec<Option<DType>>,
}

/// A mean over samples, and the mean square of their distances from it.
pub(crate) struct Moment {
    pub mean: Tensor<2>,
    pub variance: Tensor<2>,
}

impl Moments {
    pub fn new(rows: usize, samples: usize, targets: usize, columns: usize) -> Self {
        let sums = || RowSums::new(rows, targets, columns);
        Self {
            samples,
            firsts: sums(),
            means: sums(),
            squares: sums(),
            types: vec![None; columns],
        }
    }

    /// Adds samples, `[items, elements]`; each item is `(row, number of the sample)`.
    pub fn add(
        &mut self,
        target: usize,
        column: usize,
        values: Tensor<2>,
        items: &[(usize, usize)],
    ) -> Result<(), Error> {
        // A single value for all samples would be counted once per sample.
        if values.dims()[0] != items.len() {
            return Err(Error::WholeBatch {
                output: values.dims().to_vec(),
                rows: items.len(),
            });
        }
        self.types[column].get_or_insert(values.dtype());
        let values = widened(values);
        let rows: Vec<usize> = items.iter().map(|item| item.0).collect();
        let first: Vec<usize> = (0..items.len()).filter(|&i| items[i].1 == 0).collect();
        if !first.is_empty() {
            let of: Vec<usize> = first.iter().map(|&i| rows[i]).collect();
            let chunk = Chunk::new(&of, |_| 1.0);
            self.firsts
                .add(target, column, take(&values, &first), &chunk);
        }
        let firsts = self.firsts.get(target, column);
        let firsts = firsts.ok_or(Error::Internal("samples out of order"))?;
        let distance = match self.firsts.rows {
            1 => values - firsts.clone(),
            _ => values - take(firsts, &rows),
        };
        let chunk = Chunk::new(&rows, |_| 1.0 / self.samples as f64);
        let squares = distance.clone() * distance.clone();
        self.squares.add(target, column, squares, &chunk);
        self.means.add(target, column, distance, &chunk);
        Ok(())
    }

    /// `[target][column]`; none where nothing was added.
    pub fn finish(self) -> Vec<Vec<Option<Moment>>> {
        let triples = self.firsts.sums.into_iter().zip(self.means.sums);
        let triples = triples.zip(self.squares.sums);
        triples
            .map(|((firsts, means), squares)| {
                let columns = firsts.into_iter().zip(means).zip(squares);
                let columns = columns.zip(&self.types);
                let moments = columns.map(|(((first, mean), square), dtype)| {
                    let (first, mean, square, dtype) = (first?, mean?, square?, (*dtype)?);
                    let variance = (square - mean.clone() * mean.clone()).clamp_min(0.0);
                    Some(Moment {
                        mean: (first + mean).cast(dtype),
                        variance: variance.cast(dtype),
                    })
                });
                moments.collect()
            })
            .collect()
    }
}

/// Casts half precision to 32 bits.
fn widened(samples: Tensor<2>) -> Tensor<2> {
    match samples.dtype() {
        DType::F16 | DType::BF16 => samples.cast(DType::F32),
        _ => samples,
    }
}

/// Sums `[rows, elements]` over each row and returns the sums on the host.
pub(crate) fn row_sums(matrix: Tensor<2>) -> Result<Vec<f32>, Error> {
    Value::from(matrix.sum_dim(1)).to_vec()
}

/// Turns sums into explanations with their convergence delta: the total of the sums minus the
/// change of the output between the path's ends.
pub(crate) fn complete(
    sums: RowSums,
    inputs: &Values,
    at_inputs: Vec<Vec<f32>>,
    at_start: Vec<Vec<f32>>,
) -> Result<Vec<Explanation>, Error> {
    let found = sums.finish().into_iter().zip(at_inputs).zip(at_start);
    found
        .map(|((sums, at_inputs), at_start)| {
            let ends = at_inputs.iter().zip(&at_start);
            let mut delta: Vec<f32> = ends.map(|(x, b)| b - x).collect();
            for sum in sums.iter().flatten() {
                for (delta, total) in delta.iter_mut().zip(row_sums(sum.clone())?) {
                    *delta += total;
                }
            }
            let pairs = sums.into_iter().zip(inputs.values());
            let values = pairs.map(|(sum, x)| Some(Value::from_matrix(sum?, &x.shape())));
            Ok(Explanation::new(values.collect(), at_inputs).with_delta(delta))
        })
        .collect()
}
