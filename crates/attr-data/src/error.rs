//! The errors of listing and streaming a data set.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a data set could not be opened or read on.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Path of the file or folder.
        path: PathBuf,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The path is of no known format.
    #[error(
        "{path} is no data set; a folder of .png, .jpg or .jpeg images, a .npy array, .tar or \
         .parquet files (one or a folder of them), or a .txt list of paths is needed"
    )]
    Unknown {
        /// The path.
        path: PathBuf,
    },
    /// There are no samples.
    #[error(
        "{path} has no samples; a folder needs .png, .jpg or .jpeg images at any depth, or .tar or \
         .parquet files directly in it; a file needs at least one sample"
    )]
    Empty {
        /// Path of the data set.
        path: PathBuf,
    },
    /// A tar archive is compressed.
    #[error("{path} is compressed; unpack it to a .tar first, because samples are read by seeking")]
    Compressed {
        /// Path of the archive.
        path: PathBuf,
    },
    /// A folder holds files of more than one format.
    #[error("{path} holds {found}; a folder of one kind is needed")]
    Mixed {
        /// Path of the folder.
        path: PathBuf,
        /// What the folder holds.
        found: String,
    },
    /// A folder has images both with and without a class.
    #[error(
        "{path} has images directly in it, such as {direct}, and in sub-folders, such as {nested}; \
         either all images lie in a sub-folder that names their class, or none does"
    )]
    Levels {
        /// Path of the folder.
        path: PathBuf,
        /// An image directly in the folder.
        direct: String,
        /// An image in a sub-folder.
        nested: String,
    },
    /// The name of a file is not Unicode.
    #[error("the name of {path} is not UTF-8; rename it")]
    Name {
        /// Path of the file.
        path: PathBuf,
    },
    /// A line of a list is invalid.
    #[error(
        "{path}, line {line}: {reason}; a path to an image or .npy file is needed, with a tab and \
         a label from 0 if there is one"
    )]
    Line {
        /// Path of the list.
        path: PathBuf,
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// A file is no usable array.
    #[error("{path}: {reason}")]
    Npy {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An array is stored in column-major order.
    #[error(
        "{path} is in Fortran order, so its rows do not lie together; save it in C order \
         (numpy.ascontiguousarray)"
    )]
    Fortran {
        /// Path of the file.
        path: PathBuf,
    },
    /// A tar archive is damaged.
    #[error("{path} is no intact tar archive: {reason}")]
    Tar {
        /// Path of the archive.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A Parquet file is damaged.
    #[error("{path} is no readable Parquet file: {reason}")]
    Parquet {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A Parquet file lacks a column, or its type is wrong.
    #[error("{path}: column {column:?} is {found}; {expected}")]
    Column {
        /// Path of the file.
        path: PathBuf,
        /// Name of the column.
        column: String,
        /// What the column is.
        found: String,
        /// What is needed.
        expected: &'static str,
    },
    /// The number of labels does not fit the number of samples.
    #[error("{path} has shape {shape:?}, but one label for each of {samples} samples is needed")]
    Labels {
        /// Path of the labels.
        path: PathBuf,
        /// Shape of the labels.
        shape: Vec<u64>,
        /// Number of samples.
        samples: u64,
    },
    /// A label is negative or too large.
    #[error("{path}: label {value} of sample {number} is invalid; labels are from 0 to 4294967294")]
    Label {
        /// Path of the labels.
        path: PathBuf,
        /// Number of the sample.
        number: u64,
        /// The label.
        value: i64,
    },
    /// A file is not what it was when the data set was opened.
    #[error("{path} has changed since the data set was opened; open it again")]
    Changed {
        /// Path of the file.
        path: PathBuf,
    },
    /// A URL names no place that this build can open.
    #[error(transparent)]
    Store(attr_store::Error),
}

impl From<attr_store::Error> for Error {
    fn from(error: attr_store::Error) -> Self {
        match error {
            attr_store::Error::File { path, source } => Self::Read { path, source },
            other => Self::Store(other),
        }
    }
}

impl Error {
    /// Returns what wraps a failure to read `path`.
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Read {
            path: path.into(),
            source,
        }
    }
}

/// The message: it is what `main` prints when it returns the error.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
