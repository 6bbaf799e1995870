//! What can go wrong with an index.

use std::path::PathBuf;

/// Why an index could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model could not be searched.
    #[error(transparent)]
    Core(#[from] attr_core::Error),
    /// Tables that do not belong together.
    #[error("tables cannot be merged: {0}")]
    Merge(String),
    /// A batch that does not belong to a shard now.
    #[error("the batch cannot be added: {0}")]
    Batch(String),
    /// Concepts that have no samples in common.
    #[error("concepts cannot be compared: {0}")]
    Compare(String),
    /// Samples that cannot be sorted into groups.
    #[error("samples cannot be grouped: {0}")]
    Groups(String),
    /// Examples that give no direction.
    #[error("there is no direction: {0}")]
    Examples(String),
    /// What the folders of zennit-crp cannot hold.
    #[error("zennit-crp's folders cannot hold this: {0}")]
    Export(String),
    /// A table that cannot be written.
    #[error("a table cannot be written: {0}")]
    Encode(String),
    /// A file could not be read or written.
    #[error("{path} cannot be read or written: {source}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The folder is no index.
    #[error("{path}: {reason}", path = path.display())]
    NoIndex {
        /// The folder.
        path: PathBuf,
        /// What was found instead.
        reason: &'static str,
    },
    /// The index was made in another way.
    #[error(
        "{path}: this index is of another run: {what} is {there} there and {here} here; use \
         another folder",
        path = path.display()
    )]
    OtherRun {
        /// The folder.
        path: PathBuf,
        /// What differs.
        what: String,
        /// Its value in the index.
        there: String,
        /// Its value in this run.
        here: String,
    },
    /// There is no such shard.
    #[error("there is no shard {shard} of {shards}; shards are counted from 0")]
    Shard {
        /// The shard.
        shard: u64,
        /// The number of shards.
        shards: u64,
    },
    /// Another process writes the shard, or merges.
    #[error(
        "{path}: another process writes here; wait for it, or stop it. On a \
         network file system, a machine that was lost may hold its lock for some minutes",
        path = path.display()
    )]
    Busy {
        /// The shard's folder.
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
    /// A parameter is out of range.
    #[error("{name} = {value} is invalid; {expected}")]
    Parameter {
        /// Name of the parameter.
        name: &'static str,
        /// Value of the parameter.
        value: String,
        /// What a valid value is.
        expected: &'static str,
    },
    /// A URL names no place that this build can open.
    #[error(transparent)]
    Store(attr_store::Error),
}

impl From<attr_store::Error> for Error {
    fn from(error: attr_store::Error) -> Self {
        use attr_store::Error as Store;
        match error {
            Store::File { path, source } => Self::File { path, source },
            Store::Busy { path } => Self::Busy { path },
            Store::Damaged { path, reason } => Self::Damaged { path, reason },
            other => Self::Store(other),
        }
    }
}
