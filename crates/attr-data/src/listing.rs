//! What the formats share: names, files of many samples, fingerprints, whole files.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::iter;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

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
    folder: PathBuf,
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
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
            shards: Vec::new(),
        }
    }

    /// Adds a file; `list` returns the number of samples of the open file, given its path and size,
    /// and anything else.
    pub fn push<T>(
        &mut self,
        name: &str,
        fingerprint: &mut Fingerprint,
        list: impl FnOnce(&Path, &File, u64) -> Result<(u64, T), Error>,
    ) -> Result<T, Error> {
        let path = self.folder.join(name);
        let (file, size) = open(&path)?;
        let (count, found) = list(&path, &file, size)?;
        fingerprint.text(name);
        fingerprint.number(size);
        self.shards.push(Shard {
            name: name.into(),
            size,
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

    /// Opens a file, which must have the size it had; returns the size, too.
    pub fn open(&self, shard: usize) -> Result<(File, u64), Error> {
        let path = self.path(shard);
        let (file, size) = open(&path)?;
        if size != self.shards[shard].size {
            return Err(Error::Changed { path });
        }
        Ok((file, size))
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

/// Opens a file and returns its size.
pub fn open(path: &Path) -> Result<(File, u64), Error> {
    let about = fs::metadata(path).map_err(Error::read(path))?;
    // Opening a pipe would wait.
    if !about.is_file() {
        return Err(Error::read(path)(io::Error::other("it is not a file")));
    }
    let file = File::open(path).map_err(Error::read(path))?;
    Ok((file, about.len()))
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

/// Returns the content of a file, which is one image or array.
pub fn content(path: &Path) -> Content {
    whole(path).unwrap_or_else(Content::Unreadable)
}

fn whole(path: &Path) -> Result<Content, String> {
    let unreadable = |error: io::Error| format!("it cannot be read: {error}");
    let (file, size) = open(path).map_err(|error| match error {
        Error::Read { source, .. } => unreadable(source),
        other => other.to_string(),
    })?;
    if size > LARGEST {
        return Err(too_large(size));
    }
    if extension(path) == "npy" {
        return npy::array(BufReader::new(file), size).map(Content::Array);
    }
    let mut bytes = Vec::with_capacity(size as usize);
    let read = file.take(LARGEST).read_to_end(&mut bytes);
    read.map_err(unreadable)?;
    Ok(Content::Encoded(bytes))
}
