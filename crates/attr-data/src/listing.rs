//! What the formats share: names, files of many samples, fingerprints, whole files.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{BufReader, Read};
use std::iter;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use attr_store::{File, Folder};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::npy;
use crate::sample::{Content, Stream};

/// The maximum size of a sample's file or entry, in bytes.
pub const LARGEST: u64 = 1 << 30;

/// Why a sample of `size` bytes is not read.
pub fn too_large(size: u64) -> String {
    format!("it has {size} bytes, but at most {LARGEST} are read")
}

/// Many names in one text.
#[derive(Default)]
pub struct Names {
    text: String,
    ends: Vec<usize>,
}

impl Names {
    pub fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    pub fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    pub fn get(&self, number: u64) -> &str {
        let at = number as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[at]]
    }
}

/// Files that hold many samples each, in order.
pub struct Shards {
    folder: Folder,
    shards: Vec<Shard>,
}

struct Shard {
    name: String,
    size: u64,
    /// The number of samples in this file and those before it.
    end: u64,
}

impl Shards {
    /// Begins with the folder of the files.
    pub fn new(folder: &Folder) -> Self {
        Self {
            folder: folder.clone(),
            shards: Vec::new(),
        }
    }

    /// Adds a file; `list` returns the number of samples of the open file, given its path, and
    /// anything else.
    pub fn push<T>(
        &mut self,
        name: &str,
        fingerprint: &mut Fingerprint,
        list: impl FnOnce(&Path, &File) -> Result<(u64, T), Error>,
    ) -> Result<T, Error> {
        let path = self.folder.join(name);
        let file = self.folder.open(name)?;
        let (count, found) = list(&path, &file)?;
        fingerprint.text(name);
        fingerprint.number(file.size());
        self.shards.push(Shard {
            name: name.into(),
            size: file.size(),
            end: self.len().saturating_add(count),
        });
        Ok(found)
    }

    pub fn len(&self) -> u64 {
        self.shards.last().map_or(0, |shard| shard.end)
    }

    pub fn name(&self, shard: usize) -> &str {
        &self.shards[shard].name
    }

    pub fn path(&self, shard: usize) -> PathBuf {
        self.folder.join(self.name(shard))
    }

    /// Opens a file, which must have the size it had.
    pub fn open(&self, shard: usize) -> Result<File, Error> {
        let file = self.folder.open(self.name(shard))?;
        if file.size() != self.shards[shard].size {
            return Err(Error::Changed {
                path: self.path(shard),
            });
        }
        Ok(file)
    }

    /// Streams a range of samples; `read` streams rows of one file.
    pub fn stream<'a>(
        &'a self,
        range: Range<u64>,
        read: impl Fn(usize, Range<u64>) -> Result<Stream<'a>, Error> + Send + 'a,
    ) -> Stream<'a> {
        let first = self.shards.partition_point(|s| s.end <= range.start);
        let parts = (first..self.shards.len()).map(move |shard| {
            let before = shard.checked_sub(1);
            let start = before.map_or(0, |before| self.shards[before].end);
            let end = range.end.min(self.shards[shard].end);
            let rows = range.start.saturating_sub(start)..end.saturating_sub(start);
            (shard, rows)
        });
        let parts = parts.filter(|(_, rows)| !rows.is_empty());
        Box::new(parts.flat_map(move |(shard, rows)| {
            read(shard, rows).unwrap_or_else(|error| Box::new(iter::once(Err(error))))
        }))
    }
}

/// Gathers what tells one data set from another.
pub struct Fingerprint(Sha256);

impl Fingerprint {
    pub fn new() -> Self {
        Self(Sha256::new_with_prefix("attr-data 1"))
    }

    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text);
    }

    pub fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    pub fn finish(self) -> String {
        format!("{:x}", self.0.finalize())
    }
}

/// Calls a decoder, of which not only errors but also panics tell that a file is damaged.
pub fn guarded<T, E: Display>(call: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    let result = result.map_err(|_| "its decoder panicked")?;
    result.map_err(|error| error.to_string())
}

/// Returns the extension in lower case, or an empty one.
pub fn extension(path: &Path) -> String {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.unwrap_or_default().to_ascii_lowercase()
}

/// Tells whether an extension in lower case is that of an image.
pub fn is_image(extension: &str) -> bool {
    ["png", "jpg", "jpeg"].contains(&extension)
}

/// The largest label; the next number stands for none in a `u32`.
pub const LARGEST_LABEL: u32 = u32::MAX - 1;

/// Returns a number as a label.
pub fn label(value: i128) -> Result<u32, String> {
    let label = u32::try_from(value).ok();
    let label = label.filter(|&label| label <= LARGEST_LABEL);
    label.ok_or_else(|| format!("its label {value} is not from 0 to {LARGEST_LABEL}"))
}

/// Streams files, of which each is one image or array.
pub fn contents<'a>(
    folder: &'a Folder,
    names: impl Iterator<Item = &'a str> + Clone + Send + 'a,
) -> impl Iterator<Item = Content> + Send + 'a {
    let files = folder.open_each(names.clone());
    files.zip(names).map(|(file, name)| {
        let content = file.map_err(unreadable).and_then(|file| whole(file, name));
        content.unwrap_or_else(Content::Unreadable)
    })
}

fn unreadable(error: attr_store::Error) -> String {
    match error {
        attr_store::Error::File { source, .. } => format!("it cannot be read: {source}"),
        other => other.to_string(),
    }
}

fn whole(file: File, name: &str) -> Result<Content, String> {
    let size = file.size();
    if size > LARGEST {
        return Err(too_large(size));
    }
    if extension(Path::new(name)) == "npy" {
        return npy::array(BufReader::new(file), size).map(Content::Array);
    }
    let mut bytes = Vec::with_capacity(size as usize);
    let read = file.take(LARGEST).read_to_end(&mut bytes);
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    Ok(Content::Encoded(bytes))
}
