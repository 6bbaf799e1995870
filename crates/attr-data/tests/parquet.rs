//! Parquet files in the layout of Hugging Face.

use std::sync::Arc;

use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, Int8Array, Int64Array, LargeBinaryArray,
    PrimitiveArray, RecordBatch, StringArray, StructArray, UInt64Array,
};
use arrow_schema::{DataType, Field};
use attr_data::{Content, DataSet, Error, Options};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::support::{Folder, assert_ranges, open, refused, shown};

/// Returns a file of one column per name, with row groups of `group` rows.
fn file(columns: Vec<(&str, ArrayRef)>, group: usize, compression: Compression) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_compression(compression)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// Returns a column of images, of which each has bytes and a path, or not.
fn images(bytes: Vec<Option<&[u8]>>, paths: Vec<Option<&str>>) -> ArrayRef {
    let bytes = (
        Arc::new(Field::new("bytes", DataType::Binary, true)),
        Arc::new(BinaryArray::from(bytes)) as ArrayRef,
    );
    let paths = (
        Arc::new(Field::new("path", DataType::Utf8, true)),
        Arc::new(StringArray::from(paths)) as ArrayRef,
    );
    Arc::new(StructArray::from(vec![bytes, paths]))
}

/// Returns a file of rows whose bytes are their numbers.
pub fn numbered(from: usize, to: usize, group: usize) -> Vec<u8> {
    let texts: Vec<String> = (from..to).map(|n| n.to_string()).collect();
    let bytes = texts.iter().map(|text| Some(text.as_bytes())).collect();
    let images = images(bytes, vec![None; to - from]);
    let labels: Int64Array = (from..to).map(|n| Some(n as i64 % 7)).collect();
    let columns = vec![
        ("id", Arc::new(StringArray::from(texts.clone())) as ArrayRef),
        ("label", Arc::new(labels)),
        ("image", images),
    ];
    file(columns, group, Compression::SNAPPY)
}

#[test]
fn rows_of_files_are_samples() {
    let files = [
        ("b.parquet", numbered(150, 160, 3)),
        ("a.parquet", numbered(0, 150, 100)),
        ("c.parquet", numbered(160, 160, 3)),
        ("d.parquet", numbered(160, 161, 3)),
    ];
    let folder = Folder::new(&files);
    let data = open(folder.path());
    assert!(data.has_labels());
    assert_eq!(data.len(), 161);
    for (number, (name, label, text)) in shown(&data).into_iter().enumerate() {
        let expected = match number {
            0..150 => format!("a.parquet#{number}"),
            150..160 => format!("b.parquet#{}", number - 150),
            _ => format!("d.parquet#{}", number - 160),
        };
        assert_eq!(
            (name, label, text),
            (expected, Some(number % 7), number.to_string())
        );
    }
    assert_ranges(&data);
    let same = Folder::new(&files);
    assert_eq!(open(same.path()).fingerprint(), data.fingerprint());
    same.write("e.parquet", numbered(0, 2, 2));
    assert_ne!(open(same.path()).fingerprint(), data.fingerprint());
}

#[test]
fn names_are_paths_and_nulls_are_unreadable() {
    let bytes: Vec<Option<&[u8]>> = vec![Some(b"one"), None, None, Some(b"four"), Some(b"five")];
    let paths = vec![Some("1.png"), Some("2.png"), None, Some(""), None];
    let labels: Vec<Option<i8>> = vec![Some(0), Some(1), None, None, Some(-1)];
    let columns = vec![
        ("image", images(bytes, paths)),
        ("label", Arc::new(Int8Array::from(labels)) as ArrayRef),
    ];
    let folder = Folder::new(&[("x.parquet", file(columns, 2, Compression::UNCOMPRESSED))]);
    let data = open(folder.join("x.parquet"));
    let expected = [
        ("1.png", Some(0), "one"),
        (
            "2.png",
            Some(1),
            "unreadable: its image has a path, but no bytes",
        ),
        ("x.parquet#2", None, "unreadable: its image is null"),
        ("x.parquet#3", None, "four"),
        ("x.parquet#4", None, "five"),
    ];
    let expected = expected.map(|(name, label, text)| (name.into(), label, text.into()));
    assert_eq!(shown(&data), expected);
    assert_ranges(&data);
}

#[test]
fn plain_columns_of_any_name_are_read() {
    let values: Vec<Option<&[u8]>> = vec![Some(b"one"), None, Some(b"three")];
    let columns: [ArrayRef; 3] = [
        Arc::new(BinaryArray::from(values.clone())),
        Arc::new(LargeBinaryArray::from(values.clone())),
        Arc::new(BinaryViewArray::from(values)),
    ];
    let labels: ArrayRef = Arc::new(UInt64Array::from(vec![3, u64::MAX, 1]));
    for column in columns {
        let columns = vec![("picture", column), ("class", labels.clone())];
        let bytes = file(columns, 100, Compression::ZSTD(Default::default()));
        let folder = Folder::new(&[("x.parquet", bytes)]);
        let mut options = Options {
            image_column: "picture".into(),
            ..Options::default()
        };
        let path = folder.join("x.parquet");
        let unlabelled = DataSet::open(&path, &options).unwrap();
        assert!(!unlabelled.has_labels());
        assert_eq!(
            shown(&unlabelled)[2],
            ("x.parquet#2".into(), None, "three".into())
        );
        options.label_column = "class".into();
        let data = DataSet::open(&path, &options).unwrap();
        assert!(data.has_labels());
        assert_ne!(data.fingerprint(), unlabelled.fingerprint());
        let found = shown(&data);
        assert_eq!(found[0], ("x.parquet#0".into(), Some(3), "one".into()));
        assert!(found[1].2.contains("18446744073709551615 is not from 0"));
        // A column that was asked for must be there, and have the right type.
        let wrong = [
            ("picture", "clas"),
            ("picture", "picture"),
            ("class", "class"),
            ("x", "class"),
        ];
        for (image, label) in wrong {
            let options = Options {
                image_column: image.into(),
                label_column: label.into(),
                ..Options::default()
            };
            let error = DataSet::open(&path, &options).unwrap_err();
            assert!(matches!(error, Error::Column { .. }), "{error}");
        }
        let message = refused(&path).to_string();
        assert!(
            message.contains("column \"image\" is missing; binary or struct<"),
            "{message}"
        );
    }
}

#[test]
fn null_structs_are_unreadable() {
    let image = images(vec![Some(b"one"), Some(b"two")], vec![Some("1"), Some("2")]);
    let image = image
        .as_any()
        .downcast_ref::<StructArray>()
        .unwrap()
        .clone();
    let (fields, columns, _) = image.into_parts();
    let nulls = Int64Array::from(vec![None, Some(1)]).nulls().cloned();
    let image = StructArray::new(fields, columns, nulls);
    let bytes = file(vec![("image", Arc::new(image))], 10, Compression::SNAPPY);
    let folder = Folder::new(&[("x.parquet", bytes)]);
    let expected = [
        (
            "x.parquet#0".into(),
            None,
            "unreadable: its image is null".into(),
        ),
        ("2".into(), None, "two".into()),
    ];
    assert_eq!(shown(&open(folder.join("x.parquet"))), expected);
}

#[test]
fn large_rows_are_read() {
    // Three rows are more than a batch has bytes.
    let large = vec![b'x'; 1 << 25];
    let bytes: Vec<Option<&[u8]>> = vec![Some(&large), Some(b"small"), Some(&large), Some(&large)];
    let column: ArrayRef = Arc::new(BinaryArray::from(bytes));
    let bytes = file(
        vec![("image", column)],
        100,
        Compression::ZSTD(Default::default()),
    );
    let folder = Folder::new(&[("x.parquet", bytes)]);
    let data = open(folder.join("x.parquet"));
    let sizes = data
        .samples(0..4)
        .map(|sample| match sample.unwrap().content {
            Content::Encoded(bytes) => bytes.len(),
            other => panic!("{other:?}"),
        });
    assert_eq!(sizes.collect::<Vec<_>>(), [1 << 25, 5, 1 << 25, 1 << 25]);
}

#[test]
fn files_without_rows_are_refused() {
    let column: ArrayRef = Arc::new(PrimitiveArray::<Int64Type>::from(vec![1]));
    let folder = Folder::new(&[
        ("short.parquet", b"PAR1".to_vec()),
        ("other.parquet", vec![b'x'; 1000]),
        (
            "type.parquet",
            file(vec![("image", column)], 1, Compression::SNAPPY),
        ),
        ("empty.parquet", numbered(0, 0, 1)),
    ]);
    assert!(matches!(
        refused(folder.join("short.parquet")),
        Error::Parquet { .. }
    ));
    assert!(matches!(
        refused(folder.join("other.parquet")),
        Error::Parquet { .. }
    ));
    assert!(matches!(
        refused(folder.join("type.parquet")),
        Error::Column { .. }
    ));
    assert!(matches!(
        refused(folder.join("empty.parquet")),
        Error::Empty { .. }
    ));
}

/// Every byte of a small file is damaged in turn: that is an error or other samples, and no panic.
#[test]
fn damaged_files_do_no_harm() {
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY] {
        let text = "ab".repeat(20);
        let images = images(
            vec![Some(text.as_bytes()), Some(b"x"), None],
            vec![Some("a"), None, None],
        );
        let labels: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(2)]));
        let bytes = file(vec![("image", images), ("label", labels)], 2, compression);
        let folder = Folder::empty();
        let mut errors = 0;
        for at in 0..bytes.len() {
            for flip in [1, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let path = folder.write("x.parquet", damaged);
                let Ok(data) = DataSet::open(path, &Options::default()) else {
                    errors += 1;
                    continue;
                };
                errors += data.samples(0..10).filter(Result::is_err).count();
                errors += data.samples(2..3).filter(Result::is_err).count();
            }
        }
        assert!(errors > 100, "{errors}");
    }
}
