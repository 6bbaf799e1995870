//! Writes files that appear whole or not at all.

use std::path::Path;

use crate::Error;

pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    let beside = path.with_file_name(name);
    let written = std::fs::write(&beside, content).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|source| {
        // Nothing is left of a file that cannot be completed.
        let _ = std::fs::remove_file(&beside);
        Error::Write {
            path: path.to_path_buf(),
            source,
        }
    })
}
