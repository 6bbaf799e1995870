//! A data set: what is at a path, listed, and its samples.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use attr_store::Folder;

use crate::error::Error;
use crate::folder::{Found, is_compressed};
use crate::list::List;
use crate::listing::{Fingerprint, extension};
use crate::npy::{self, Rows};
use crate::parquet::{self, Parquets};
use crate::sample::{Content, Format, Raw, Sample, Stream};
use crate::tar::Tars;

/// How to open a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The path or URL of a `.npy` file of integers, one label per sample, instead of the data set's own
    /// labels.
    pub labels: Option<PathBuf>,
    /// The column of images in Parquet files.
    pub image_column: String,
    /// The column of labels in Parquet files; `label` may be missing, any other must be there.
    pub label_column: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            labels: None,
            image_column: "image".into(),
            label_column: parquet::LABEL.into(),
        }
    }
}

/// Numbered samples on disk or in an object store.
///
/// Opening lists the samples; their content is read when it is streamed. Every process that opens
/// the same files gives the samples the same numbers.
pub struct DataSet {
    path: PathBuf,
    format: Box<dyn Format>,
    /// Labels that override those of the format.
    labels: Option<Vec<u32>>,
    fingerprint: String,
}

impl DataSet {
    /// Lists the data set at a path or URL; its format is told by the path.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self, Error> {
        Self::open_at(&Folder::at(path)?, options)
    }

    /// Lists the data set at a place, which may be that of a file.
    pub fn open_at(place: &Folder, options: &Options) -> Result<Self, Error> {
        let path = place.path();
        let mut fingerprint = Fingerprint::new();
        let format = if place.is_folder()? {
            of_folder(place, options, &mut fingerprint)?
        } else {
            of_file(place, options, &mut fingerprint)?
        };
        if format.len() == 0 {
            return Err(Error::Empty { path: path.into() });
        }
        fingerprint.text(format.kind());
        let labels = options.labels.as_ref();
        let labels = labels.map(|labels| npy::labels(labels, format.len()));
        let labels = labels.transpose()?;
        for &label in labels.iter().flatten() {
            fingerprint.number(label.into());
        }
        Ok(Self {
            path: path.into(),
            format,
            labels,
            fingerprint: fingerprint.finish(),
        })
    }

    /// Returns the number of samples, which is at least 1.
    pub fn len(&self) -> u64 {
        self.format.len()
    }

    /// Tells whether there are no samples, which is never so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells whether samples have labels; single ones may lack theirs.
    pub fn has_labels(&self) -> bool {
        self.labels.is_some() || self.format.has_labels()
    }

    /// Returns the names of an image folder's classes, of which a label is the position; else none.
    pub fn classes(&self) -> &[String] {
        self.format.classes()
    }

    /// Returns a SHA-256, in hexadecimal, that is the same for the same listing.
    ///
    /// It covers the format, the names and sizes of files relative to the data set, the names of
    /// Parquet columns, and labels from a file or list. It covers neither where the data set lies nor
    /// the content of its files.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Streams the samples of a range, in order; numbers beyond the last sample are left out.
    pub fn samples(&self, range: Range<u64>) -> Samples<'_> {
        let end = range.end.min(self.len());
        Samples {
            data: self,
            range: range.start.min(end)..end,
            stream: None,
        }
    }
}

impl fmt::Debug for DataSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataSet")
            .field("path", &self.path)
            .field("format", &self.format.kind())
            .field("len", &self.len())
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Lists a folder, which must be of one kind.
fn of_folder(
    folder: &Folder,
    options: &Options,
    fingerprint: &mut Fingerprint,
) -> Result<Box<dyn Format>, Error> {
    let found = Found::list(folder, fingerprint)?;
    let kinds = [
        found.images.len() > 0,
        !found.tars.is_empty() || !found.compressed.is_empty(),
        !found.parquets.is_empty(),
    ];
    if kinds.iter().filter(|&&kind| kind).count() > 1 {
        return Err(Error::Mixed {
            path: folder.path().into(),
            found: found.describe(),
        });
    }
    if let Some(name) = found.compressed.first() {
        return Err(Error::Compressed {
            path: folder.join(name),
        });
    }
    if !found.tars.is_empty() {
        return Ok(Box::new(Tars::open(folder, &found.tars, fingerprint)?));
    }
    if !found.parquets.is_empty() {
        let names = &found.parquets;
        return Ok(Box::new(parquets(folder, names, options, fingerprint)?));
    }
    Ok(Box::new(found.images.checked()?))
}

/// Lists the samples of one file.
fn of_file(
    file: &Folder,
    options: &Options,
    fingerprint: &mut Fingerprint,
) -> Result<Box<dyn Format>, Error> {
    let path = file.path();
    let named = file.split();
    let (folder, name) = named.ok_or_else(|| Error::Name { path: path.into() })?;
    let (folder, names) = (&folder, [name.clone()]);
    Ok(match extension(Path::new(&name)).as_str() {
        _ if is_compressed(&name) => return Err(Error::Compressed { path: path.into() }),
        "npy" => Box::new(Rows::open(folder, &name, fingerprint)?),
        "tar" => Box::new(Tars::open(folder, &names, fingerprint)?),
        "parquet" => Box::new(parquets(folder, &names, options, fingerprint)?),
        "txt" => Box::new(List::open(folder, &name, fingerprint)?),
        _ => return Err(Error::Unknown { path: path.into() }),
    })
}

fn parquets(
    folder: &Folder,
    names: &[String],
    options: &Options,
    fingerprint: &mut Fingerprint,
) -> Result<Parquets, Error> {
    let (image, label) = (&options.image_column, &options.label_column);
    Parquets::open(folder, names, image, label, fingerprint)
}

/// Samples in the order of their numbers.
///
/// An error means that the data set itself broke, for example because a file was removed; no
/// samples follow it. A single sample that cannot be read is [`Content::Unreadable`].
pub struct Samples<'a> {
    data: &'a DataSet,
    /// The numbers that are left.
    range: Range<u64>,
    stream: Option<Stream<'a>>,
}

impl<'a> Samples<'a> {
    /// Returns the number of the next sample.
    pub(crate) fn number(&self) -> u64 {
        self.range.start
    }

    fn read(&mut self) -> Result<Raw, Error> {
        let stream = self.stream.take();
        let stream = stream.unwrap_or_else(|| self.data.format.stream(self.range.clone()));
        let raw = self.stream.insert(stream).next();
        raw.unwrap_or_else(|| {
            Err(Error::Changed {
                path: self.data.path.clone(),
            })
        })
    }
}

impl Iterator for Samples<'_> {
    type Item = Result<Sample, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.range.is_empty() {
            return None;
        }
        let number = self.range.start;
        let raw = match self.read() {
            Ok(raw) => raw,
            Err(error) => {
                self.range.start = self.range.end;
                return Some(Err(error));
            }
        };
        self.range.start += 1;
        let label = match &self.data.labels {
            Some(labels) => Ok(labels.get(number as usize).map(|&label| label as usize)),
            None => raw.label,
        };
        let (label, content) = match label {
            Ok(label) => (label, raw.content),
            Err(reason) => (None, Content::Unreadable(reason)),
        };
        Some(Ok(Sample {
            number,
            name: raw.name,
            label,
            content,
        }))
    }
}
