//! Folders of this machine.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::Error;

/// How the names of files begin that are being written.
pub const TEMPORARY: &str = ".attr-";
/// The file that the only writer of a folder holds.
const LOCK: &str = "lock";

/// The names of all files and folders; none if the folder does not exist.
pub fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file(folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::file(folder))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Writes a file under a temporary name, then gives it its own, in place of an older one.
pub fn put(folder: &Path, name: &str, content: &[u8]) -> Result<(), Error> {
    let path = folder.join(name);
    let renamed = temporary(folder, content)?.persist(&path);
    renamed.map_err(|error| Error::file(&path)(error.error))?;
    Ok(())
}

/// As [`put`], unless there is a file of this name; returns whether there was none.
pub fn put_first(folder: &Path, name: &str, content: &[u8]) -> Result<bool, Error> {
    let path = folder.join(name);
    match temporary(folder, content)?.persist_noclobber(&path) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::file(&path)(error.error)),
    }
}

fn temporary(folder: &Path, content: &[u8]) -> Result<NamedTempFile, Error> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let write = || {
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(content)?;
        // A power failure after the rename must not leave an empty file.
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(Error::file(folder))
}

/// A file's content; `None` if there is no such file.
pub fn get(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(Error::file(path)(source)),
    }
}

/// The size of a file in bytes; `None` if there is no such file.
pub fn size(path: &Path) -> Result<Option<u64>, Error> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::file(path)(source)),
    }
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file(path)(error)),
        _ => Ok(()),
    }
}

/// Makes sure that new names of files survive a power failure.
pub fn sync(folder: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::file(folder))?;
    Ok(())
}

/// Makes sure that no other process writes here, until the file that is returned is dropped or the
/// process ends.
pub fn lock(folder: &Path) -> Result<fs::File, Error> {
    let path = folder.join(LOCK);
    let file = fs::File::options().create(true).append(true).open(&path);
    let file = file.map_err(Error::file(&path))?;
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(Error::Busy {
            path: folder.into(),
        }),
        // Some network file systems have no locks; there, a scheduler must not start a shard twice.
        Err(fs::TryLockError::Error(error)) if !matches!(error.kind(), ErrorKind::Unsupported) => {
            Err(Error::file(&path)(error))
        }
        Err(fs::TryLockError::Error(_)) | Ok(()) => Ok(file),
    }
}
