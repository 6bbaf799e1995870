//! A folder in which a file appears whole or not at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::Error;

/// How the names of files begin that are being written.
pub const TEMPORARY: &str = ".attr-";
/// The file that the only writer of a folder holds.
const LOCK: &str = "lock";

/// A folder of small files.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// Files by their names.
pub type Files = BTreeMap<String, Written>;

/// What a file holds that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub bytes: u64,
    pub sha256: String,
}

impl Folder {
    /// Opens a folder, which is created if it is missing.
    pub fn create(path: PathBuf) -> Result<Self, Error> {
        std::fs::create_dir_all(&path).map_err(|source| failed(&path, source))?;
        Ok(Self(path))
    }

    /// A folder that may not exist.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn child(&self, name: &str) -> Self {
        Self(self.0.join(name))
    }

    /// The names of all files and folders in it, in order; none if it does not exist.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let entries = match std::fs::read_dir(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| failed(&self.0, source))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| failed(&self.0, source))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Writes a file under a temporary name, then gives it its own, in place of an older one.
    pub fn put(&self, name: &str, content: &[u8]) -> Result<Written, Error> {
        let path = self.0.join(name);
        let written = self.temporary(content)?;
        let renamed = written.persist(&path);
        renamed.map_err(|error| failed(&path, error.error))?;
        Ok(Written {
            bytes: content.len() as u64,
            sha256: sha256(content),
        })
    }

    /// As [`put`](Self::put), unless there is a file of this name; returns whether there was none.
    pub fn put_first(&self, name: &str, content: &[u8]) -> Result<bool, Error> {
        let path = self.0.join(name);
        match self.temporary(content)?.persist_noclobber(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(&path, error.error)),
        }
    }

    fn temporary(&self, content: &[u8]) -> Result<NamedTempFile, Error> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let write = || {
            let mut file = builder.tempfile_in(&self.0)?;
            file.write_all(content)?;
            // A power failure after the rename must not leave an empty file.
            file.as_file().sync_all()?;
            Ok(file)
        };
        write().map_err(|source| failed(&self.0, source))
    }

    /// A file's content; `None` if there is no such file.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.0.join(name);
        match std::fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed(&path, source)),
        }
    }

    /// The content of a file, which must be what was written.
    pub fn get_written(&self, name: &str, written: &Written) -> Result<Vec<u8>, Error> {
        let content = self.get(name)?;
        let content = content.ok_or_else(|| self.damaged(name, "it is missing"))?;
        if sha256(&content) == written.sha256 {
            return Ok(content);
        }
        Err(self.damaged(name, "its content is not what was written"))
    }

    /// Checks that a file is as long as what was written.
    pub fn check_size(&self, name: &str, written: &Written) -> Result<(), Error> {
        match std::fs::metadata(self.0.join(name)) {
            Ok(found) if found.len() == written.bytes => Ok(()),
            Ok(_) => Err(self.damaged(name, "its length is not that of what was written")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(self.damaged(name, "it is missing"))
            }
            Err(source) => Err(failed(&self.0.join(name), source)),
        }
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.0.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(&path, error)),
            _ => Ok(()),
        }
    }

    /// Makes sure that new names of files survive a power failure, before old files are removed.
    pub fn sync(&self) -> Result<(), Error> {
        #[cfg(unix)]
        File::open(&self.0)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| failed(&self.0, source))?;
        Ok(())
    }

    /// Writes a value as JSON.
    pub fn put_json(&self, name: &str, value: &impl Serialize) -> Result<Written, Error> {
        self.put(name, &json(value)?)
    }

    /// Reads a value from JSON; `None` if there is no such file.
    pub fn get_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(content) = self.get(name)? else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&content);
        let value = value.map_err(|error| self.damaged(name, &error.to_string()))?;
        Ok(Some(value))
    }

    /// Makes sure that no other process writes here, until the file that is returned is dropped or
    /// the process ends.
    pub fn lock(&self) -> Result<File, Error> {
        let path = self.0.join(LOCK);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|source| failed(&path, source))?;
        match file.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => Err(Error::Busy {
                path: self.0.clone(),
            }),
            // Some network file systems have no locks; there, a scheduler must not start a shard twice.
            Err(std::fs::TryLockError::Error(error))
                if !matches!(error.kind(), ErrorKind::Unsupported) =>
            {
                Err(failed(&path, error))
            }
            Err(std::fs::TryLockError::Error(_)) | Ok(()) => Ok(file),
        }
    }

    /// An error of one of its files.
    pub fn damaged(&self, name: &str, reason: &str) -> Error {
        Error::Damaged {
            path: self.0.join(name),
            reason: reason.into(),
        }
    }
}

/// JSON that a person can read, too.
pub fn json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(unwritable)?;
    Ok((text + "\n").into_bytes())
}

/// The error for plain data that JSON cannot hold.
pub fn unwritable(_: serde_json::Error) -> Error {
    attr_core::Error::Internal("plain data that is no JSON").into()
}

/// A SHA-256 in hexadecimal digits.
pub fn sha256(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::File {
        path: path.into(),
        source,
    }
}
