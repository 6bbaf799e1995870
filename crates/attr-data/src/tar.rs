//! WebDataset archives: tar files whose adjacent entries of one name make a sample.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use ::tar::Archive;
use attr_store::{File, Folder};

use crate::error::Error;
use crate::listing::{self, Fingerprint, LARGEST, Shards, is_image, too_large};
use crate::npy;
use crate::sample::{Content, Format, Raw, Stream};

/// The size to which headers and entries are rounded up, in bytes.
const BLOCK: u64 = 512;

/// The maximum size of what describes an entry, in bytes.
const LONGEST_HEADER: u64 = 1 << 20;

/// The maximum size of a label, in bytes.
const LONGEST_LABEL: u64 = 64;

/// Archives and where their samples start.
pub struct Tars {
    shards: Shards,
    /// For each archive, where the headers of each sample start.
    starts: Vec<Vec<u64>>,
    labels: bool,
}

/// The entries of one sample.
struct Group {
    name: Vec<u8>,
    image: Option<Part>,
    array: Option<Part>,
    label: Option<Part>,
    /// Where the next header starts.
    end: u64,
}

/// Where an entry's content lies.
#[derive(Clone, Copy)]
struct Part {
    start: u64,
    size: u64,
}

impl Tars {
    /// Scans the headers of archives.
    pub fn open(
        folder: &Folder,
        names: &[String],
        fingerprint: &mut Fingerprint,
    ) -> Result<Self, Error> {
        let mut tars = Self {
            shards: Shards::new(folder),
            starts: Vec::new(),
            labels: false,
        };
        for name in names {
            let starts = tars.shards.push(name, fingerprint, |path, file| {
                let (mut starts, mut at) = (Vec::new(), 0);
                while let Some(group) = group(path, file, at)? {
                    tars.labels |= group.label.is_some();
                    starts.push(at);
                    at = group.end;
                }
                starts.shrink_to_fit();
                Ok((starts.len() as u64, starts))
            })?;
            tars.starts.push(starts);
        }
        Ok(tars)
    }
}

/// Reads the headers of the sample that starts at `start` in an archive.
fn group(path: &Path, file: &File, start: u64) -> Result<Option<Group>, Error> {
    let group = headers(file.clone(), start);
    group.map_err(|error| Error::Tar {
        path: path.into(),
        reason: error.to_string(),
    })
}

fn headers(mut file: File, start: u64) -> io::Result<Option<Group>> {
    let size = file.size();
    file.seek(SeekFrom::Start(start))?;
    let mut archive = Archive::new(Headers {
        file,
        start,
        read: 0,
    });
    let mut group: Option<Group> = None;
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = entry.path_bytes();
        let shown = String::from_utf8_lossy(&path);
        let part = Part {
            start: start + entry.raw_file_position(),
            size: entry.size(),
        };
        if size
            .checked_sub(part.start)
            .is_none_or(|rest| part.size > rest)
        {
            let declared = part.size;
            return Err(io::Error::other(format!(
                "its entry {shown:?} of {declared} bytes goes beyond the end of the file"
            )));
        }
        let kind = entry.header().entry_type();
        if kind.is_gnu_sparse() {
            return Err(io::Error::other(format!(
                "its entry {shown:?} is sparse; pack it without --sparse"
            )));
        }
        let end = part.start + part.size.next_multiple_of(BLOCK);
        let named = split(&path).filter(|_| !kind.is_dir() && !kind.is_pax_global_extensions());
        let Some((name, extension)) = named else {
            // An entry that belongs to no sample.
            if let Some(group) = &mut group {
                group.end = end;
            }
            continue;
        };
        if group.as_ref().is_some_and(|group| group.name != name) {
            break;
        }
        let group = group.get_or_insert_with(|| Group {
            name: name.into(),
            image: None,
            array: None,
            label: None,
            end,
        });
        group.end = end;
        // A link has no content of its own.
        if !kind.is_file() {
            continue;
        }
        let extension = extension.to_ascii_lowercase();
        match extension.as_slice() {
            b"cls" => group.label = group.label.or(Some(part)),
            b"npy" => group.array = group.array.or(Some(part)),
            other if str::from_utf8(other).is_ok_and(is_image) => {
                group.image = group.image.or(Some(part));
            }
            _ => {}
        }
    }
    Ok(group)
}

/// Splits a path at the first dot of the file name; hidden files and those without a dot belong to
/// no sample.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let file = path.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
    let dot = path[file..].iter().position(|&b| b == b'.')?;
    (dot > 0).then(|| (&path[..file + dot], &path[file + dot + 1..]))
}

/// An archive from one of its headers on, of which no header may be long.
struct Headers {
    file: File,
    start: u64,
    /// The number of bytes read since the last jump.
    read: u64,
}

impl Read for Headers {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.read += read as u64;
        if self.read > LONGEST_HEADER {
            return Err(io::Error::other("a header of it is too long"));
        }
        Ok(read)
    }
}

impl Seek for Headers {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.read = 0;
        let to = match to {
            SeekFrom::Start(at) => SeekFrom::Start(self.start.saturating_add(at)),
            other => other,
        };
        let at = self.file.seek(to)?.checked_sub(self.start);
        at.ok_or_else(|| io::Error::other("a jump to before its start"))
    }
}

impl Part {
    fn read(self, file: &File) -> io::Result<Vec<u8>> {
        let mut file = file.clone();
        file.seek(SeekFrom::Start(self.start))?;
        let mut bytes = vec![0; self.size as usize];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl Group {
    fn content(&self, file: &File) -> io::Result<Content> {
        let Some(part) = self.image.or(self.array) else {
            let reason = "no image or array in its entries; a .png, .jpg, .jpeg or .npy is needed";
            return Ok(Content::Unreadable(reason.into()));
        };
        if part.size > LARGEST {
            return Ok(Content::Unreadable(too_large(part.size)));
        }
        let bytes = part.read(file)?;
        if self.image.is_some() {
            return Ok(Content::Encoded(bytes));
        }
        let array = npy::array(&bytes[..], part.size);
        Ok(array.map_or_else(Content::Unreadable, Content::Array))
    }

    fn label(&self, file: &File) -> io::Result<Result<Option<usize>, String>> {
        let Some(part) = self.label else {
            return Ok(Ok(None));
        };
        if part.size > LONGEST_LABEL {
            return Ok(Err(format!("its label has {} bytes", part.size)));
        }
        let bytes = part.read(file)?;
        let text = String::from_utf8_lossy(&bytes);
        let number = text.trim().parse();
        let number = number.map_err(|_| format!("its label {text:?} is not an integer"));
        let label = number.and_then(listing::label);
        Ok(label.map(|label| Some(label as usize)))
    }
}

impl Format for Tars {
    fn kind(&self) -> &'static str {
        "WebDataset"
    }

    fn len(&self) -> u64 {
        self.shards.len()
    }

    fn has_labels(&self) -> bool {
        self.labels
    }

    fn stream(&self, range: Range<u64>) -> Stream<'_> {
        self.shards.stream(range, move |shard, rows| {
            let file = self.shards.open(shard)?;
            let path = self.shards.path(shard);
            Ok(Box::new(rows.map(move |row| {
                let start = self.starts[shard][row as usize];
                let group = group(&path, &file, start)?;
                let group = group.ok_or_else(|| Error::Changed { path: path.clone() })?;
                Ok(Raw {
                    label: group.label(&file).map_err(Error::read(&path))?,
                    content: group.content(&file).map_err(Error::read(&path))?,
                    name: String::from_utf8_lossy(&group.name).into_owned(),
                })
            })))
        })
    }
}
