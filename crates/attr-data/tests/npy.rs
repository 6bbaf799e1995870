//! The rows of a `.npy` file.

use std::fs;

use attr_data::{Content, Elements, Error};
use npyz::half::f16;

use crate::support::{Folder, assert_ranges, npy, open, ordered_npy, raw_npy, refused, samples};

/// Returns the shape and elements of each row.
fn rows(bytes: Vec<u8>) -> Vec<(Vec<usize>, Elements)> {
    let folder = Folder::new(&[("x.npy", bytes)]);
    let data = open(folder.join("x.npy"));
    assert_ranges(&data);
    let rows = samples(&data, 0..data.len()).into_iter().enumerate();
    let rows = rows.map(|(row, sample)| {
        assert_eq!(sample.name, format!("x.npy#{row}"));
        assert_eq!(sample.label, None);
        match sample.content {
            Content::Array(array) => (array.shape, array.elements),
            other => panic!("{other:?}"),
        }
    });
    rows.collect()
}

#[test]
fn rows_are_samples() {
    let values: Vec<f32> = (0..24).map(|v| v as f32).collect();
    let found = rows(npy(&[4, 2, 3], &values));
    assert_eq!(found.len(), 4);
    for (row, (shape, elements)) in found.into_iter().enumerate() {
        assert_eq!(shape, [2, 3]);
        assert_eq!(elements, Elements::Float(values[row * 6..][..6].to_vec()));
    }
}

#[test]
fn every_type_is_read() {
    let floats = [1.5f32, -2.0];
    let expected = floats.map(|v| (vec![], Elements::Float(vec![v])));
    assert_eq!(rows(npy(&[2], &floats)), expected);
    assert_eq!(rows(npy(&[2], &floats.map(f64::from))), expected);
    assert_eq!(rows(npy(&[2], &floats.map(f16::from_f32))), expected);
    let big = "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }\n";
    let bytes = floats.map(f32::to_be_bytes).concat();
    assert_eq!(rows(raw_npy(big, &bytes)), expected);

    let expected = [3i64, 100].map(|v| (vec![], Elements::Int(vec![v])));
    assert_eq!(rows(npy(&[2], &[3i8, 100])), expected);
    assert_eq!(rows(npy(&[2], &[3i16, 100])), expected);
    assert_eq!(rows(npy(&[2], &[3i32, 100])), expected);
    assert_eq!(rows(npy(&[2], &[3i64, 100])), expected);
    assert_eq!(rows(npy(&[2], &[3u8, 100])), expected);
    assert_eq!(rows(npy(&[2], &[3u16, 100])), expected);
    assert_eq!(rows(npy(&[2], &[3u32, 100])), expected);
    assert_eq!(rows(npy(&[2], &[3u64, 100])), expected);

    let expected = [(vec![2], Elements::Bool(vec![true, false]))];
    assert_eq!(rows(npy(&[1, 2], &[true, false])), expected);
}

#[test]
fn a_row_with_an_invalid_value_is_unreadable() {
    let header = "{'descr': '|b1', 'fortran_order': False, 'shape': (3, 2), }\n";
    let folder = Folder::new(&[("x.npy", raw_npy(header, &[0, 1, 0, 7, 1, 1]))]);
    let samples = samples(&open(folder.join("x.npy")), 0..3);
    assert!(matches!(&samples[0].content, Content::Array(_)));
    assert!(matches!(&samples[1].content, Content::Unreadable(reason) if reason.contains('7')));
    assert!(matches!(&samples[2].content, Content::Array(_)));
    let folder = Folder::new(&[("x.npy", npy(&[2], &[u64::MAX, 1]))]);
    let samples = crate::support::samples(&open(folder.join("x.npy")), 0..2);
    assert!(matches!(&samples[0].content, Content::Unreadable(_)));
}

#[test]
fn unusable_arrays_are_refused() {
    let header = |descr: &str, shape: &str| {
        raw_npy(
            &format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"),
            &[0; 64],
        )
    };
    let cases = [
        (header("'<f4'", "(5, 4)"), "has only"),
        (header("'<f4'", "(18446744073709551615,)"), "has only"),
        (
            header("'<f4'", "(4294967296, 4294967296, 4294967296)"),
            // The product overflows, which may show first.
            "x.npy: ",
        ),
        (header("'<f4'", "(18446744073709551615, 0)"), "has only"),
        (
            header("'<f4'", "(1000000000000000, 0)"),
            "elements are needed",
        ),
        (header("'<f4'", "()"), "a single number"),
        (header("'<U4'", "(2,)"), "not supported"),
        (header("'|O'", "(2,)"), "not supported"),
        (header("'<c8'", "(2,)"), "not supported"),
        (header("[('a', '<f4')]", "(2,)"), "not supported"),
        (header("[[[[[['a']]]]]]", "(2,)"), "nested"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "a header of"),
        (b"\x93NUMPY".to_vec(), "not a .npy array"),
        (b"P5 something else entirely".to_vec(), "not a .npy array"),
        (Vec::new(), "not a .npy array"),
    ];
    for (bytes, expected) in cases {
        let folder = Folder::new(&[("x.npy", bytes)]);
        let error = refused(folder.join("x.npy"));
        assert!(matches!(&error, Error::Npy { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let fortran = ordered_npy(npyz::Order::Fortran, &[2, 2], &[1.0f32, 2.0, 3.0, 4.0]);
    let folder = Folder::new(&[("x.npy", fortran), ("none.npy", npy::<f32>(&[0, 3], &[]))]);
    assert!(matches!(
        refused(folder.join("x.npy")),
        Error::Fortran { .. }
    ));
    assert!(matches!(
        refused(folder.join("none.npy")),
        Error::Empty { .. }
    ));
}

#[test]
fn a_file_that_changes_is_an_error() {
    let bytes = npy(&[3, 2], &[1.0f32; 6]);
    let folder = Folder::new(&[("x.npy", &bytes)]);
    let data = open(folder.join("x.npy"));
    folder.write("x.npy", &bytes[..bytes.len() - 4]);
    let mut stream = data.samples(0..3);
    assert!(matches!(stream.next(), Some(Err(Error::Changed { .. }))));
    assert!(stream.next().is_none());
    fs::remove_file(folder.join("x.npy")).unwrap();
    assert!(matches!(
        data.samples(1..2).next(),
        Some(Err(Error::Read { .. }))
    ));
}
