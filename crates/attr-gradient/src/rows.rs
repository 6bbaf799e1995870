//! Samples of rows, summed into the rows they belong to.

use attr_core::Error;
use burn::tensor::{Tensor, TensorData};

/// Weighted sums over samples, per target, column (an input or a layer) and row.
///
/// Samples come in chunks, in the order of their rows; one product adds a chunk.
pub(crate) struct RowSums {
    rows: usize,
    sums: Vec<Vec<Option<Tensor<2>>>>,
}

/// The samples of one chunk: for each its row, in order, and its weight there.
pub(crate) struct Chunk {
    first: usize,
    last: usize,
    weights: TensorData,
}

impl Chunk {
    pub fn new(rows: &[usize], weight: impl Fn(usize) -> f64) -> Result<Self, Error> {
        let (Some(&first), Some(&last)) = (rows.first(), rows.last()) else {
            return Err(Error::Internal("a chunk without samples"));
        };
        let mut weights = vec![0f32; (last - first + 1) * rows.len()];
        for (i, row) in rows.iter().enumerate() {
            weights[(row - first) * rows.len() + i] = weight(i) as f32;
        }
        Ok(Self {
            first,
            last,
            weights: TensorData::new(weights, [last - first + 1, rows.len()]),
        })
    }
}

impl RowSums {
    pub fn new(rows: usize, targets: usize, columns: usize) -> Self {
        Self {
            rows,
            sums: vec![vec![None; columns]; targets],
        }
    }

    /// Adds the samples of a chunk, `[samples, elements]`.
    pub fn add(&mut self, target: usize, column: usize, samples: Tensor<2>, chunk: &Chunk) {
        let [_, elements] = samples.dims();
        let weights = Tensor::<2>::from_data(chunk.weights.clone(), &samples.device());
        let part = weights.cast(samples.dtype()).matmul(samples);
        let sum = &mut self.sums[target][column];
        let whole = match sum.take() {
            Some(whole) => whole,
            None => part
                .zeros_like()
                .slice([0..1, 0..elements])
                .repeat_dim(0, self.rows),
        };
        let range = [chunk.first..chunk.last + 1, 0..elements];
        let part = whole.clone().slice(range.clone()) + part;
        *sum = Some(whole.slice_assign(range, part));
    }

    /// The sums, `[target][column]` as `[rows, elements]`; none where nothing was added.
    pub fn finish(self) -> Vec<Vec<Option<Tensor<2>>>> {
        self.sums
    }
}

/// `[rows, elements]` summed over each row, on the host.
pub(crate) fn row_sums(matrix: Tensor<2>) -> Result<Vec<f32>, Error> {
    attr_core::Value::from(matrix.sum_dim(1)).to_vec()
}
