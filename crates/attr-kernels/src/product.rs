//! Products of matrices.

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
