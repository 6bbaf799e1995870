//! Files for tests, and short ways to look at samples.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use attr_data::{Content, DataSet, Error, Options, Sample};
use npyz::WriterBuilder;
use tempfile::TempDir;

/// A folder that is removed at the end.
pub struct Folder(TempDir);

impl Folder {
    /// Returns a folder with files of the given content.
    pub fn new<B: AsRef<[u8]>>(files: &[(&str, B)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, bytes) in files {
            folder.write(name, bytes);
        }
        folder
    }

    pub fn empty() -> Self {
        Self::new::<&str>(&[])
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

pub fn open(path: impl AsRef<Path>) -> DataSet {
    DataSet::open(path, &Options::default()).unwrap()
}

/// Returns the error of opening.
pub fn refused(path: impl AsRef<Path>) -> Error {
    DataSet::open(path, &Options::default()).unwrap_err()
}

pub fn samples(data: &DataSet, range: Range<u64>) -> Vec<Sample> {
    data.samples(range).map(Result::unwrap).collect()
}

/// Returns every sample as its name, its label, and its bytes as text.
pub fn shown(data: &DataSet) -> Vec<(String, Option<usize>, String)> {
    let samples = samples(data, 0..u64::MAX);
    let numbers: Vec<u64> = samples.iter().map(|sample| sample.number).collect();
    assert_eq!(numbers, Vec::from_iter(0..data.len()));
    let shown = samples.into_iter().map(|sample| {
        let content = match sample.content {
            Content::Encoded(bytes) => String::from_utf8(bytes).unwrap(),
            Content::Array(array) => format!("{:?} {:?}", array.shape, array.elements),
            Content::Unreadable(reason) => format!("unreadable: {reason}"),
        };
        (sample.name, sample.label, content)
    });
    shown.collect()
}

/// Asserts that every range gives the same samples as a stream of all of them.
pub fn assert_ranges(data: &DataSet) {
    let all = samples(data, 0..data.len());
    assert_eq!(all.len() as u64, data.len());
    for start in 0..=data.len() {
        for end in [start, start + 1, start + 3, data.len(), data.len() + 5] {
            let expected = all.iter().filter(|s| (start..end).contains(&s.number));
            let expected: Vec<Sample> = expected.cloned().collect();
            assert_eq!(samples(data, start..end), expected, "{start}..{end}");
        }
    }
}

/// Returns a `.npy` file.
pub fn npy<T: npyz::AutoSerialize>(shape: &[u64], values: &[T]) -> Vec<u8> {
    ordered_npy(npyz::Order::C, shape, values)
}

pub fn ordered_npy<T: npyz::AutoSerialize>(
    order: npyz::Order,
    shape: &[u64],
    values: &[T],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut writer = options.order(order).writer(&mut bytes).begin_nd().unwrap();
    for value in values {
        writer.push(value).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

/// Returns a `.npy` file with a header of choice.
pub fn raw_npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}
