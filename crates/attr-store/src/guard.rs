//! What the only writer of a folder holds.

use std::fs;

use serde::Serialize;

use crate::Error;
use crate::folder::{Folder, Written, json};

/// The right to replace one file of a folder, which names its others.
///
/// In a local folder, it is a lock: there is one at most. An object store has no locks. There, it
/// remembers which version of the file it has seen, and replaces no other: of two writers, the second
/// gets [`Error::Busy`].
#[derive(Debug)]
pub struct Guard {
    folder: Folder,
    name: String,
    held: Held,
}

#[derive(Debug)]
pub(crate) enum Held {
    Lock {
        /// Held until it is dropped.
        _file: fs::File,
    },
    #[cfg(feature = "remote")]
    Version {
        prefix: crate::remote::Prefix,
        /// The version of the file that was seen last; `None` if there was none.
        seen: Option<object_store::UpdateVersion>,
    },
}

impl Guard {
    pub(crate) fn new(folder: &Folder, name: &str, held: Held) -> Self {
        Self {
            folder: folder.clone(),
            name: name.into(),
            held,
        }
    }

    /// Whether nobody else writes in the folder as long as this exists.
    pub fn is_exclusive(&self) -> bool {
        match self.held {
            Held::Lock { .. } => true,
            #[cfg(feature = "remote")]
            Held::Version { .. } => false,
        }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process has replaced it meanwhile; [`Error::File`].
    pub fn put(&mut self, content: &[u8]) -> Result<Written, Error> {
        match &mut self.held {
            Held::Lock { .. } => self.folder.put(&self.name, content),
            #[cfg(feature = "remote")]
            Held::Version { prefix, seen } => {
                *seen = Some(prefix.put_version(&self.name, content, seen.clone())?);
                Ok(Written::of(content))
            }
        }
    }

    /// Replaces the file by a value as JSON; errors are those of [`put`](Self::put).
    pub fn put_json(&mut self, value: &impl Serialize) -> Result<Written, Error> {
        let content = json(value).map_err(Error::file(&self.folder.join(&self.name)))?;
        self.put(&content)
    }
}
