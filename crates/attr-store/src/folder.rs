//! A folder in which a file appears whole or not at all.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::guard::{Guard, Held};
use crate::{Error, File, local, url};
#[cfg(feature = "remote")]
use {crate::remote::Prefix, object_store::ObjectStore, std::sync::Arc};

/// A folder of this machine, or what lies below a prefix in an object store.
#[derive(Clone, Debug)]
pub struct Folder(Place);

#[derive(Clone, Debug)]
pub(crate) enum Place {
    Local(PathBuf),
    #[cfg(feature = "remote")]
    Remote(Prefix),
}

/// Files by their names.
pub type Files = BTreeMap<String, Written>;

/// What a file holds that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

impl Written {
    pub(crate) fn of(content: &[u8]) -> Self {
        Self {
            bytes: content.len() as u64,
            sha256: sha256(content),
        }
    }
}

impl Folder {
    /// Opens the folder at a path or URL, which is created if it is missing.
    ///
    /// # Errors
    /// Those of [`at`](Self::at) and [`ensure`](Self::ensure).
    pub fn create(path: impl AsRef<Path>) -> Result<Self, Error> {
        let folder = Self::at(path)?;
        folder.ensure()?;
        Ok(folder)
    }

    /// The folder at a path or URL, which may not exist.
    ///
    /// # Errors
    /// [`Error::Scheme`], [`Error::Feature`] and [`Error::Url`] for a URL that this build cannot open.
    pub fn at(path: impl AsRef<Path>) -> Result<Self, Error> {
        url::place(path.as_ref()).map(Self)
    }

    /// What lies below a prefix in a store that the caller has made.
    #[cfg(feature = "remote")]
    pub fn from_object_store(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        let root = store.to_string();
        Self(Place::Remote(Prefix::new(store, &root, prefix)))
    }

    /// Its path or URL.
    pub fn path(&self) -> &Path {
        match &self.0 {
            Place::Local(path) => path,
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => prefix.shown(),
        }
    }

    /// Its path, if it is one of this machine.
    pub fn local(&self) -> Option<&Path> {
        match &self.0 {
            Place::Local(path) => Some(path),
            #[cfg(feature = "remote")]
            Place::Remote(_) => None,
        }
    }

    /// The path or URL of a file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        match &self.0 {
            Place::Local(path) => path.join(name),
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => prefix.join(name),
        }
    }

    /// A folder in it.
    pub fn child(&self, name: &str) -> Self {
        Self(match &self.0 {
            Place::Local(path) => Place::Local(path.join(name)),
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => Place::Remote(prefix.child(name)),
        })
    }

    /// The folder around it and its own name there; `None` if it has no name, or none in Unicode.
    pub fn split(&self) -> Option<(Self, String)> {
        match &self.0 {
            Place::Local(path) => {
                let name = path.file_name()?.to_str()?;
                let parent = path.parent().unwrap_or(Path::new(""));
                Some((Self(Place::Local(parent.into())), name.into()))
            }
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => {
                let (parent, name) = prefix.split()?;
                Some((Self(Place::Remote(parent)), name))
            }
        }
    }

    /// Whether it is a folder and not a file.
    ///
    /// # Errors
    /// [`Error::File`], if there is nothing, too.
    pub fn is_folder(&self) -> Result<bool, Error> {
        match &self.0 {
            Place::Local(path) => {
                let about = std::fs::metadata(path).map_err(Error::file(path))?;
                Ok(about.is_dir())
            }
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => prefix.is_folder(),
        }
    }

    /// Creates it if it is missing; an object store needs no folders.
    ///
    /// # Errors
    /// [`Error::File`]. The same for the functions below.
    pub fn ensure(&self) -> Result<(), Error> {
        match &self.0 {
            Place::Local(path) => std::fs::create_dir_all(path).map_err(Error::file(path)),
            #[cfg(feature = "remote")]
            Place::Remote(_) => Ok(()),
        }
    }

    /// The names of all files and folders in it, in order; none if it does not exist.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let mut names = match &self.0 {
            Place::Local(path) => local::names(path)?,
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => prefix.names()?,
        };
        names.sort_unstable();
        Ok(names)
    }

    /// All files at any depth, with their sizes in bytes, in the order of their names, which have `/`
    /// between folders. `None` for a local folder: whether links are followed is the caller's choice.
    pub fn files(&self) -> Result<Option<Vec<(String, u64)>>, Error> {
        match &self.0 {
            Place::Local(_) => Ok(None),
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => prefix.files().map(Some),
        }
    }

    /// Writes a file whole, in place of an older one.
    ///
    /// In a local folder, it is written under a temporary name first; in an object store, by one request.
    pub fn put(&self, name: &str, content: &[u8]) -> Result<Written, Error> {
        match &self.0 {
            Place::Local(path) => local::put(path, name, content)?,
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => prefix.put(name, content)?,
        }
        Ok(Written::of(content))
    }

    /// As [`put`](Self::put), unless there is a file of this name; returns whether there was none.
    pub fn put_first(&self, name: &str, content: &[u8]) -> Result<bool, Error> {
        match &self.0 {
            Place::Local(path) => local::put_first(path, name, content),
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => prefix.put_first(name, content),
        }
    }

    /// A file's content; `None` if there is no such file.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        match &self.0 {
            Place::Local(path) => local::get(&path.join(name)),
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => prefix.get(name),
        }
    }

    /// The content of a file, which must be what was written.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not; [`Error::File`].
    pub fn get_written(&self, name: &str, written: &Written) -> Result<Vec<u8>, Error> {
        let content = self.get(name)?;
        let content = content.ok_or_else(|| self.damaged(name, "it is missing"))?;
        if sha256(&content) == written.sha256 {
            return Ok(content);
        }
        Err(self.damaged(name, "its content is not what was written"))
    }

    /// The size of a file in bytes; `None` if there is no such file.
    pub fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        match &self.0 {
            Place::Local(path) => local::size(&path.join(name)),
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => prefix.size(name),
        }
    }

    /// The size of each of many files, or `None` for one that does not exist. A local file that cannot
    /// be looked at counts as one that does not exist.
    ///
    /// A store is asked for several at a time.
    pub fn sizes<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Option<u64>>, Error> {
        match &self.0 {
            Place::Local(path) => {
                let size = |name| std::fs::metadata(path.join(name)).ok();
                Ok(names.map(|name| Some(size(name)?.len())).collect())
            }
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => prefix.sizes(names),
        }
    }

    /// Checks that a file is as long as what was written.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not; [`Error::File`].
    pub fn check_size(&self, name: &str, written: &Written) -> Result<(), Error> {
        match self.size(name)? {
            Some(size) if size == written.bytes => Ok(()),
            Some(_) => Err(self.damaged(name, "its length is not that of what was written")),
            None => Err(self.damaged(name, "it is missing")),
        }
    }

    /// Opens a file to read it.
    pub fn open(&self, name: &str) -> Result<File, Error> {
        match &self.0 {
            Place::Local(path) => File::local(&path.join(name)),
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => prefix.open(name).map(File::remote),
        }
    }

    /// Opens many files, one after the other.
    ///
    /// Those of a store are asked for 16 at a time: each request takes long, but they do not wait for each
    /// other.
    pub fn open_each<'a>(
        &'a self,
        names: impl Iterator<Item = &'a str> + Send + 'a,
    ) -> Box<dyn Iterator<Item = Result<File, Error>> + Send + 'a> {
        match &self.0 {
            Place::Local(_) => Box::new(names.map(|name| self.open(name))),
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => Box::new(
                prefix
                    .open_each(names)
                    .map(|object| object.map(File::remote)),
            ),
        }
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        match &self.0 {
            Place::Local(path) => local::remove(&path.join(name)),
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => prefix.remove(name),
        }
    }

    /// Makes sure that new names of files survive a power failure, before old files are removed. What an
    /// object store has confirmed survives anyway.
    pub fn sync(&self) -> Result<(), Error> {
        match &self.0 {
            Place::Local(path) => local::sync(path),
            #[cfg(feature = "remote")]
            Place::Remote(_) => Ok(()),
        }
    }

    /// Writes a value as JSON that a person can read, too.
    pub fn put_json(&self, name: &str, value: &impl Serialize) -> Result<Written, Error> {
        let content = json(value).map_err(Error::file(&self.join(name)))?;
        self.put(name, &content)
    }

    /// As [`put_json`](Self::put_json), unless there is a file of this name; returns whether there was
    /// none.
    pub fn put_json_first(&self, name: &str, value: &impl Serialize) -> Result<bool, Error> {
        let content = json(value).map_err(Error::file(&self.join(name)))?;
        self.put_first(name, &content)
    }

    /// Reads a value from JSON; `None` if there is no such file.
    ///
    /// # Errors
    /// [`Error::Damaged`] for anything else than such a value; [`Error::File`].
    pub fn get_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(content) = self.get(name)? else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&content);
        let value = value.map_err(|error| self.damaged(name, &error.to_string()))?;
        Ok(Some(value))
    }

    /// Takes the right to replace a file that names the others, until the guard is dropped or the
    /// process ends. Read the file after this, not before.
    ///
    /// # Errors
    /// [`Error::Busy`] while another process has it, if the folder has locks; [`Error::File`].
    pub fn lock(&self, name: &str) -> Result<Guard, Error> {
        let held = match &self.0 {
            Place::Local(path) => Held::Lock {
                _file: local::lock(path)?,
            },
            #[cfg(feature = "remote")]
            Place::Remote(prefix) => Held::Version {
                seen: prefix.version(name)?,
                prefix: prefix.clone(),
            },
        };
        Ok(Guard::new(self, name, held))
    }

    /// An error of one of its files.
    pub fn damaged(&self, name: &str, reason: &str) -> Error {
        Error::Damaged {
            path: self.join(name),
            reason: reason.into(),
        }
    }
}

/// JSON that a person can read, too.
pub(crate) fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let text = serde_json::to_string_pretty(value)?;
    Ok((text + "\n").into_bytes())
}

/// A SHA-256 in hexadecimal digits.
pub fn sha256(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}
