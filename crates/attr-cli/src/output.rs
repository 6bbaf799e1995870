//! Writes output files to temporary files and moves them into place once all are complete.

use std::io::Write;
use std::path::{Path, PathBuf};

use attr_core::Value;
use tempfile::{Builder, NamedTempFile};

use crate::error::Error;
use crate::npy;

/// Files to be written together.
#[derive(Default)]
pub struct Outputs(Vec<(PathBuf, Vec<u8>)>);

impl Outputs {
    /// Adds a file.
    pub fn add(&mut self, path: &Path, content: Vec<u8>) {
        self.0.push((path.to_path_buf(), content));
    }

    /// Writes all files under temporary names, then renames them: none appears unless all could be
    /// written in full.
    pub fn write(self) -> Result<(), Error> {
        let mut written = Vec::with_capacity(self.0.len());
        for (path, content) in &self.0 {
            let failed =
                |e: std::io::Error| Error::other(format!("cannot write {}: {e}", path.display()));
            if is_special(path) {
                std::fs::write(path, content).map_err(failed)?;
                continue;
            }
            let path = followed(path);
            let mut file = temporary(&path).map_err(failed)?;
            file.write_all(content).map_err(failed)?;
            written.push((file, path));
        }
        let mut replaced: Vec<Replaced> = Vec::new();
        for (file, path) in written {
            // A second name keeps the old file until all new ones are in place.
            let link = |name: &Path| std::fs::hard_link(&path, name);
            let old = if path.exists() {
                let link = named(&mut Builder::new()).make_in(folder(&path), link);
                link.map_or(Old::Lost, Old::Kept)
            } else {
                Old::None
            };
            if let Err(failed) = file.persist(&path) {
                restore(replaced);
                return Err(Error::other(format!(
                    "cannot write {}: {}",
                    path.display(),
                    failed.error
                )));
            }
            replaced.push(Replaced { path, old });
        }
        Ok(())
    }
}

/// A file that has been written, and what was there before.
struct Replaced {
    path: PathBuf,
    old: Old,
}

/// What a new file has replaced.
enum Old {
    None,
    /// A file, which still has a second name.
    Kept(NamedTempFile<()>),
    /// A file, on a system without second names.
    Lost,
}

/// Puts old files back in place of new ones, as far as the system allows.
fn restore(replaced: Vec<Replaced>) {
    for Replaced { path, old } in replaced {
        match old {
            Old::None => drop(std::fs::remove_file(&path)),
            Old::Kept(old) => drop(old.persist(&path)),
            // The new content is better than none.
            Old::Lost => {}
        }
    }
}

/// Sets the start of temporary names.
fn named<'a, 'b>(builder: &'a mut Builder<'b, 'b>) -> &'a mut Builder<'b, 'b> {
    builder.prefix(".attrx-")
}

/// Creates the temporary file that will become `path`, with the mode of the file that it replaces.
pub fn temporary(path: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    named(&mut builder);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let present = std::fs::metadata(path).map(|metadata| metadata.permissions());
        builder.permissions(present.unwrap_or(PermissionsExt::from_mode(0o666)));
    }
    builder.tempfile_in(folder(path))
}

/// Returns the file that a path stands for: links are followed, and the folder is spelled in full.
fn followed(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    match (folder(path).canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_path_buf(),
    }
}

/// Returns whether a path is a device, pipe or similar, which must not be replaced by a file.
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Rejects paths that cannot be written, or would overwrite each other or one of the files `read`,
/// before any work is done.
pub fn check(paths: &[(&str, &Path, &[&str])], read: &[&Path]) -> Result<(), Error> {
    let read: Vec<PathBuf> = read.iter().flat_map(|path| path.canonicalize()).collect();
    for (i, (flag, path, extensions)) in paths.iter().enumerate() {
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        if !is_special(path) && !extensions.contains(&extension) && !extensions.is_empty() {
            return Err(Error::input(format!(
                "{flag} {}: the name must end in .{}",
                path.display(),
                extensions.join(" or .")
            )));
        }
        if path.is_dir() || !folder(path).is_dir() {
            let why = if path.is_dir() {
                "it is a folder"
            } else {
                "its folder does not exist"
            };
            return Err(Error::input(format!("{flag} {}: {why}", path.display())));
        }
        if is_special(path) {
            continue;
        }
        let file = followed(path);
        let mut earlier = paths[..i].iter();
        if let Some((other, _, _)) = earlier.find(|(_, earlier, _)| followed(earlier) == file) {
            return Err(Error::input(format!(
                "{flag} and {other} both name {}",
                path.display()
            )));
        }
        if read.contains(&file) {
            return Err(Error::input(format!(
                "{flag} {}: it would overwrite a file that is read",
                path.display()
            )));
        }
        if read.iter().any(|folder| file.starts_with(folder)) {
            return Err(Error::input(format!(
                "{flag} {}: its folder is read, or holds other results; write elsewhere",
                path.display()
            )));
        }
        temporary(&file).map_err(|error| {
            Error::input(format!("{flag} {}: cannot write: {error}", path.display()))
        })?;
    }
    Ok(())
}

/// Returns the content of a `.npy` file.
pub fn npy(value: &Value) -> Result<Vec<u8>, Error> {
    npy::encode(&value.shape(), &value.to_vec()?)
}

/// Returns the content of a `.safetensors` file: float32 arrays by name.
pub fn safetensors(values: &[(&str, &Value)]) -> Result<Vec<u8>, Error> {
    let failed = |error: safetensors::SafeTensorError| {
        Error::other(format!("cannot encode the attributions: {error}"))
    };
    let mut data: Vec<Vec<u8>> = Vec::with_capacity(values.len());
    for (_, value) in values {
        data.push(
            value
                .to_vec()?
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect(),
        );
    }
    let views = values.iter().zip(&data).map(|((name, value), data)| {
        let dtype = safetensors::Dtype::F32;
        Ok((
            *name,
            safetensors::tensor::TensorView::new(dtype, value.shape(), data)?,
        ))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(failed)?;
    safetensors::serialize(views, None).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_outputs_are_replaced_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("old.npy"), "old").unwrap();
        std::fs::create_dir(at("in the way")).unwrap();
        let mut outputs = Outputs::default();
        for name in ["old.npy", "new.npy", "in the way"] {
            outputs.add(&at(name), b"content".to_vec());
        }
        let error = outputs.write().unwrap_err();
        assert!(error.to_string().contains("in the way"), "{error}");
        assert_eq!(std::fs::read(at("old.npy")).unwrap(), b"old");
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 2, "the new file and temporary ones are gone");
    }
}
