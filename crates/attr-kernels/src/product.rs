//! Products of matrices.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use rayon::prelude::*;
use rten_gemm::{
    BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmUninitOptions, PackedBMatrix,
};
use rten_tensor::NdTensorView;
use rten_tensor::prelude::*;

use crate::memory::filled;

/// A matrix `[rows, columns]` in memory.
#[derive(Clone, Copy)]
pub struct Matrix<'a>(NdTensorView<'a, f32, 2>);

impl<'a> Matrix<'a> {
    /// Views numbers as a matrix; strides are distances between neighbours down a column and along a
    /// row. `None` if it reaches beyond the numbers.
    pub fn new(numbers: &'a [f32], shape: [usize; 2], strides: [usize; 2]) -> Option<Self> {
        let view = NdTensorView::from_slice_with_strides(shape, numbers, strides);
        view.ok().map(Self)
    }

    /// Views numbers that lie row by row.
    pub fn of_rows(numbers: &'a [f32], columns: usize) -> Option<Self> {
        let rows = numbers.len().checked_div(columns)?;
        Self::new(numbers, [rows, columns], [columns, 1])
    }

    pub fn shape(&self) -> [usize; 2] {
        self.0.shape()
    }

    pub fn transposed(self) -> Self {
        Self(self.0.transposed())
    }

    /// The numbers, if they are one row without gaps.
    fn only_row(self) -> Option<&'a [f32]> {
        self.rows().filter(|_| self.shape()[0] == 1)
    }

    /// The numbers, if they lie row by row without gaps.
    fn rows(self) -> Option<&'a [f32]> {
        self.0.data()
    }
}

/// A right factor in the form that products want.
pub struct PackedMatrix(PackedBMatrix<f32>);

impl PackedMatrix {
    pub fn new(matrix: Matrix<'_>) -> Self {
        Self(GemmExecutor::<f32>::new().prepack_b(matrix.0))
    }
}

/// The right factor of a product.
#[derive(Clone, Copy)]
pub enum Right<'a> {
    Plain(Matrix<'a>),
    Packed(&'a PackedMatrix),
}

impl<'a> Right<'a> {
    fn input(self) -> GemmInputB<'a, f32> {
        match self {
            Self::Plain(matrix) => GemmInputB::Unpacked(matrix.0),
            Self::Packed(matrix) => GemmInputB::Packed(&matrix.0),
        }
    }
}

/// Returns the product, row by row, with a number added to each column.
///
/// # Panics
/// If the sizes do not fit each other.
pub fn product(left: Matrix<'_>, right: Right<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    if let (Some(row), Right::Plain(right)) = (left.only_row(), right)
        && let Some(rows) = right.rows()
    {
        return row_product(row, rows, right.shape()[1], bias);
    }
    let (left, right) = (GemmInputA::Unpacked(left.0), right.input());
    let options = GemmUninitOptions {
        bias: bias.map(BiasVector::Row),
        ..Default::default()
    };
    let run = |out: &mut _| {
        let done = GemmExecutor::new().gemm_uninit(out, left, right, options);
        assert!(done.is_ok(), "the sizes of a product fit");
    };
    // SAFETY: the product has been written, or this panicked.
    unsafe { filled(left.rows() * right.cols(), run) }
}

/// Terms that `rten-gemm` adds up before it adds the sum to the result.
const DEPTH: usize = 256;

/// Columns at least of a part that a thread computes.
const COLUMNS: usize = 512;

/// The product of one row and a matrix that lies row by row.
///
/// `rten-gemm` adds the terms of a single row in another order than those of several. Here they have
/// the same order, so that a row gives the same numbers alone and among others; a matrix in another
/// layout, such as the transposed weight of a gradient, is left to `rten-gemm`.
fn row_product(left: &[f32], right: &[f32], columns: usize, bias: Option<&[f32]>) -> Vec<f32> {
    assert_eq!(
        left.len() * columns,
        right.len(),
        "the sizes of a product fit"
    );
    let mut out = match bias {
        Some(bias) => bias.to_vec(),
        None => vec![0.0; columns],
    };
    assert_eq!(out.len(), columns, "the sizes of a product fit");
    if columns < 2 * COLUMNS {
        row_columns(left, right, columns, &mut out);
        return out;
    }
    let part = columns.div_ceil(rayon::current_num_threads()).max(COLUMNS);
    let parts = out.par_chunks_mut(part).enumerate();
    parts.for_each(|(i, out)| row_columns(left, &right[i * part..], columns, out));
    out
}

/// Adds the first columns of a product with rows that are `stride` numbers apart to `out`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn row_columns(left: &[f32], right: &[f32], stride: usize, out: &mut [f32]) {
    // Without an instruction for it, a fused addition is a call of a function.
    const FUSED: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    let add = |x: f32, y: f32, sum: f32| {
        if FUSED {
            x.mul_add(y, sum)
        } else {
            x * y + sum
        }
    };
    for start in (0..out.len()).step_by(COLUMNS) {
        let len = COLUMNS.min(out.len() - start);
        let out = &mut out[start..start + len];
        let mut sums = [0.0; COLUMNS];
        let sums = &mut sums[..len];
        for (block, left) in left.chunks(DEPTH).enumerate() {
            let first = block * DEPTH * stride + start;
            sums.fill(0.0);
            let quads = left.chunks_exact(4);
            let rest = left.len() - quads.remainder().len();
            for (quad, factors) in quads.enumerate() {
                let row = |k: usize| &right[first + (4 * quad + k) * stride..][..len];
                let (a, b, c, d) = (row(0), row(1), row(2), row(3));
                for j in 0..len {
                    let sum = add(factors[0], a[j], sums[j]);
                    let sum = add(factors[1], b[j], sum);
                    let sum = add(factors[2], c[j], sum);
                    sums[j] = add(factors[3], d[j], sum);
                }
            }
            for k in rest..left.len() {
                let row = &right[first + k * stride..][..len];
                for j in 0..len {
                    sums[j] = add(left[k], row[j], sums[j]);
                }
            }
            for j in 0..len {
                out[j] += sums[j];
            }
        }
    }
}

/// Returns the products of pairs of matrices, which all have the same sizes, one after the other.
///
/// # Panics
/// If the sizes do not fit each other.
pub fn products(left: &[Matrix<'_>], right: &[Matrix<'_>]) -> Vec<f32> {
    let lefts: Vec<_> = left.iter().map(|one| GemmInputA::Unpacked(one.0)).collect();
    let rights: Vec<_> = right
        .iter()
        .map(|one| GemmInputB::Unpacked(one.0))
        .collect();
    let (Some(first), Some(second)) = (lefts.first(), rights.first()) else {
        return Vec::new();
    };
    let alike = |(one, other): (&GemmInputA<f32>, &GemmInputB<f32>)| {
        (one.rows(), one.cols()) == (first.rows(), first.cols())
            && (other.rows(), other.cols()) == (second.rows(), second.cols())
    };
    assert!(
        lefts.iter().zip(&rights).all(alike),
        "pairs of the same sizes"
    );
    let run = |out: &mut _| {
        let options = GemmUninitOptions::default();
        let done = GemmExecutor::new().batched_gemm_uninit(out, &lefts, &rights, options);
        assert!(done.is_ok(), "the sizes of products fit");
    };
    // SAFETY: the products have been written, or this panicked.
    unsafe { filled(lefts.len() * first.rows() * second.cols(), run) }
}
