//! A file that is open for reading.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "remote")]
use crate::object::Object;
use crate::{Error, Folder};

/// A file of this machine or of an object store. Clones have positions of their own.
#[derive(Clone, Debug)]
pub struct File {
    content: Content,
    size: u64,
    position: u64,
}

#[derive(Clone, Debug)]
enum Content {
    Local(Arc<fs::File>),
    #[cfg(feature = "remote")]
    Remote(Arc<Object>),
}

impl File {
    /// Opens the file at a path or URL.
    ///
    /// # Errors
    /// [`Error::File`], for a folder or a pipe, too; [`Error::Scheme`], [`Error::Feature`] and
    /// [`Error::Url`] for a URL that this build cannot open.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let folder = Folder::at(path)?;
        if folder.local().is_some() {
            return Self::local(path);
        }
        let nameless = || Error::file(path)(io::Error::other("it is not a file"));
        let (folder, name) = folder.split().ok_or_else(nameless)?;
        folder.open(&name)
    }

    pub(crate) fn local(path: &Path) -> Result<Self, Error> {
        let about = fs::metadata(path).map_err(Error::file(path))?;
        // Opening a pipe would wait.
        if !about.is_file() {
            return Err(Error::file(path)(io::Error::other("it is not a file")));
        }
        let file = fs::File::open(path).map_err(Error::file(path))?;
        Ok(Self {
            content: Content::Local(Arc::new(file)),
            size: about.len(),
            position: 0,
        })
    }

    #[cfg(feature = "remote")]
    pub(crate) fn remote(object: Object) -> Self {
        Self {
            size: object.size(),
            content: Content::Remote(Arc::new(object)),
            position: 0,
        }
    }

    /// Its size in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Read for File {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = match &self.content {
            Content::Local(file) => read_at(file, into, self.position)?,
            #[cfg(feature = "remote")]
            Content::Remote(object) => object.read_at(into, self.position)?,
        };
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(unix)]
fn read_at(file: &fs::File, into: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, into, at)
}

#[cfg(windows)]
fn read_at(file: &fs::File, into: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, into, at)
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "a jump to before its start");
        self.position = position.ok_or_else(before)?;
        Ok(self.position)
    }
}
