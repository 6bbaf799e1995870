//! What can go wrong with files in a folder or an object store.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path} cannot be read or written: {source}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system or the store says.
        source: io::Error,
    },
    /// Another process writes here.
    #[error(
        "{path}: another process writes here; wait for it, or stop it. On a \
         network file system, a machine that was lost may hold its lock for some minutes",
        path = path.display()
    )]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A file does not hold what was written.
    #[error("{path}: {reason}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The scheme of a URL is not known.
    #[error(
        "{url}: URLs of object stores are s3://BUCKET/PREFIX, gs://BUCKET/PREFIX and \
         az://CONTAINER/PREFIX"
    )]
    Scheme {
        /// The URL.
        url: String,
    },
    /// The scheme of a URL is known, but not to this build.
    #[error("{url} needs attr built with the feature `{feature}`")]
    Feature {
        /// The URL.
        url: String,
        /// The name of the feature.
        feature: String,
    },
    /// A URL names no place in a store, or the store cannot be reached with these settings.
    #[error("{url}: {reason}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// Returns what wraps a failure to read or write `path`.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::File {
            path: path.into(),
            source,
        }
    }
}
