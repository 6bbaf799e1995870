//! Products of matrices against plain loops.

use attr_kernels::{Matrix, PackedMatrix, Right, product, products};

use super::{error, numbers};

/// Row-major factors of sizes `[rows, inner]` and `[inner, columns]`, and their product.
fn case([rows, inner, columns]: [usize; 3], seed: u32) -> (Vec<f32>, Vec<f32>, Vec<f64>) {
    let (left, right) = (
        numbers(rows * inner, seed),
        numbers(inner * columns, seed + 1),
    );
    let at = |i: usize, j: usize| {
        let terms =
            (0..inner).map(|k| f64::from(left[i * inner + k]) * f64::from(right[k * columns + j]));
        terms.sum::<f64>()
    };
    let expected = (0..rows * columns)
        .map(|place| at(place / columns, place % columns))
        .collect();
    (left, right, expected)
}

#[test]
fn a_right_factor_may_be_plain_packed_or_transposed() {
    for sizes in [[1, 30, 64], [1, 10, 512], [7, 33, 5], [70, 300, 140]] {
        let [_, inner, columns] = sizes;
        let (left, right, mut expected) = case(sizes, 1);
        let bias = numbers(columns, 3);
        for (i, expected) in expected.iter_mut().enumerate() {
            *expected += f64::from(bias[i % columns]);
        }
        let left = Matrix::of_rows(&left, inner).unwrap();
        let plain = Matrix::of_rows(&right, columns).unwrap();
        // The same numbers, column by column.
        let across: Vec<f32> = (0..inner * columns)
            .map(|at| right[at % inner * columns + at / inner])
            .collect();
        let across = Matrix::of_rows(&across, inner).unwrap().transposed();
        assert_eq!(across.shape(), [inner, columns]);
        let packed = [plain, across].map(PackedMatrix::new);
        let [first, second] = &packed;
        for right in [
            Right::Plain(plain),
            Right::Plain(across),
            Right::Packed(first),
            Right::Packed(second),
        ] {
            let found = product(left, right, Some(&bias));
            assert!(error(&found, &expected) < 1e-5, "{sizes:?}");
        }
    }
}

#[test]
fn a_row_gives_the_same_numbers_alone_and_among_others() {
    for [inner, columns] in [[30, 64], [7, 3], [600, 1100], [258, 10]] {
        let (left, right, _) = case([3, inner, columns], 1);
        let bias = numbers(columns, 3);
        let all = Matrix::of_rows(&right, columns).unwrap();
        let of = |left| {
            let left = Matrix::of_rows(left, inner).unwrap();
            product(left, Right::Plain(all), Some(&bias))
        };
        let (together, alone) = (of(&left), of(&left[inner..2 * inner]));
        assert_eq!(together[columns..2 * columns], alone, "{inner} x {columns}");
    }
}

#[test]
fn pairs_of_matrices_are_multiplied_one_by_one() {
    let sizes = [9, 20, 11];
    let cases = [1, 5, 9].map(|seed| case(sizes, seed));
    let lefts = cases
        .iter()
        .map(|(left, _, _)| Matrix::of_rows(left, sizes[1]).unwrap());
    let rights = cases
        .iter()
        .map(|(_, right, _)| Matrix::of_rows(right, sizes[2]).unwrap());
    let found = products(&lefts.collect::<Vec<_>>(), &rights.collect::<Vec<_>>());
    let expected: Vec<f64> = cases.iter().flat_map(|one| one.2.clone()).collect();
    assert!(error(&found, &expected) < 1e-5);
    assert!(products(&[], &[]).is_empty());
}

#[test]
fn a_matrix_beyond_its_numbers_is_refused() {
    assert!(Matrix::new(&[0.0; 6], [2, 3], [3, 1]).is_some());
    assert!(Matrix::new(&[0.0; 6], [2, 3], [4, 1]).is_none());
    assert!(Matrix::of_rows(&[0.0; 6], 0).is_none());
}
