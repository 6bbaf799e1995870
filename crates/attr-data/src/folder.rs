//! Folders of images, one sample per file, and what else a folder holds.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use attr_store::Folder;

use crate::error::Error;
use crate::listing::{Fingerprint, Names, contents, extension, is_image};
use crate::sample::{Format, Raw, Stream};

/// What a folder holds, by kind.
pub struct Found {
    /// Images at any depth.
    pub images: Images,
    /// The names of the `.tar` files directly in it.
    pub tars: Vec<String>,
    /// The names of the `.parquet` files directly in it.
    pub parquets: Vec<String>,
    /// The names of compressed `.tar` files directly in it.
    pub compressed: Vec<String>,
}

/// The images of a folder.
pub struct Images {
    folder: Folder,
    /// Their paths, in order.
    names: Names,
    /// The names of the classes, in order.
    classes: Vec<String>,
    /// The number of samples up to the end of a class's, and its label, in the order of the paths.
    runs: Vec<(u64, usize)>,
    /// An image directly in the folder.
    direct: Option<String>,
}

/// What a folder has in it.
struct Entry {
    /// Its name, with a slash at the end if it is a folder: sorted so, paths are in order.
    name: String,
    /// The folder's path without links, or none for a file.
    folder: Option<PathBuf>,
}

impl Found {
    /// Lists a folder; the names and sizes of images are added to the fingerprint.
    pub fn list(folder: &Folder, fingerprint: &mut Fingerprint) -> Result<Self, Error> {
        let mut found = Self {
            images: Images {
                folder: folder.clone(),
                names: Names::default(),
                classes: Vec::new(),
                runs: Vec::new(),
                direct: None,
            },
            tars: Vec::new(),
            parquets: Vec::new(),
            compressed: Vec::new(),
        };
        if let Some(path) = folder.local() {
            let real = fs::canonicalize(path).map_err(Error::read(path))?;
            found.walk(path, "", real, &mut Vec::new(), fingerprint)?;
        }
        // One request lists many files of a store, whatever folders they are in.
        for (name, size) in folder.files()?.unwrap_or_default() {
            if !name.split('/').any(|part| part.starts_with('.')) {
                found.add(name, |_| size, fingerprint);
            }
        }
        found.images.sort_classes();
        Ok(found)
    }

    /// Adds the files of a local folder and its sub-folders; `real` is its path without links, `above`
    /// are those of the folders around it.
    fn walk(
        &mut self,
        path: &Path,
        prefix: &str,
        real: PathBuf,
        above: &mut Vec<PathBuf>,
        fingerprint: &mut Fingerprint,
    ) -> Result<(), Error> {
        // A link to a folder around it would never end.
        if above.contains(&real) {
            return Ok(());
        }
        let entries = match prefix {
            "" => entries(path, &real)?,
            _ => entries(&path.join(prefix), &real)?,
        };
        above.push(real);
        for entry in entries {
            let name = format!("{prefix}{}", entry.name);
            if let Some(folder) = entry.folder {
                self.walk(path, &name, folder, above, fingerprint)?;
            } else {
                let size = |name: &str| fs::metadata(path.join(name)).map(|about| about.len());
                self.add(name, |name| size(name).unwrap_or(u64::MAX), fingerprint);
            }
        }
        above.pop();
        Ok(())
    }

    /// Adds a file by its path in the folder; paths come in order.
    fn add(&mut self, name: String, size: impl FnOnce(&str) -> u64, fingerprint: &mut Fingerprint) {
        let (class, extension) = (name.split_once('/'), extension(Path::new(&name)));
        match (class, &*extension) {
            (None, "tar") => self.tars.push(name),
            (None, "parquet") => self.parquets.push(name),
            (None, _) if is_compressed(&name) => self.compressed.push(name),
            (_, extension) if is_image(extension) => {
                fingerprint.text(&name);
                fingerprint.number(size(&name));
                self.images.add(&name);
            }
            _ => {}
        }
    }

    /// Tells what kinds there are, for an error.
    pub fn describe(&self) -> String {
        let kinds = [
            (self.images.len(), "images"),
            (self.tars.len() as u64, ".tar files"),
            (self.parquets.len() as u64, ".parquet files"),
            (self.compressed.len() as u64, "compressed .tar files"),
        ];
        let kinds = kinds.iter().filter(|(count, _)| *count > 0);
        let kinds: Vec<String> = kinds.map(|(n, kind)| format!("{kind} ({n})")).collect();
        kinds.join(" and ")
    }
}

/// Tells whether a name is that of a compressed tar archive.
pub fn is_compressed(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let compressed = [".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"];
    compressed.iter().any(|end| name.ends_with(end))
}

/// Returns what is in a folder, sorted, without hidden files and what is neither file nor folder.
fn entries(path: &Path, real: &Path) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(Error::read(path))? {
        let entry = entry.map_err(Error::read(path))?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let at = entry.path();
        let mut kind = entry.file_type().map_err(Error::read(&at))?;
        let linked = kind.is_symlink();
        if linked {
            match fs::metadata(&at) {
                Ok(target) => kind = target.file_type(),
                // A link to nothing counts as a file, which then is unreadable.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::read(&at)(error)),
            }
        }
        if !(kind.is_dir() || kind.is_file() || kind.is_symlink()) {
            continue;
        }
        let named = name.to_str();
        let mut name = named
            .ok_or_else(|| Error::Name { path: at.clone() })?
            .to_string();
        let folder = if !kind.is_dir() {
            None
        } else if linked {
            Some(fs::canonicalize(&at).map_err(Error::read(&at))?)
        } else {
            Some(real.join(&name))
        };
        if folder.is_some() {
            name.push('/');
        }
        entries.push(Entry { name, folder });
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

impl Images {
    fn add(&mut self, name: &str) {
        self.names.push(name);
        let Some((class, _)) = name.split_once('/') else {
            self.direct.get_or_insert_with(|| name.into());
            return;
        };
        if self.classes.last().is_none_or(|last| last != class) {
            self.runs.push((0, self.classes.len()));
            self.classes.push(class.into());
        }
        if let Some(run) = self.runs.last_mut() {
            run.0 = self.names.len();
        }
    }

    /// Sorts the classes by name: by path, `a-b/` comes before `a/`.
    fn sort_classes(&mut self) {
        let mut order: Vec<usize> = (0..self.classes.len()).collect();
        order.sort_unstable_by_key(|&at| &self.classes[at]);
        for (label, &at) in order.iter().enumerate() {
            self.runs[at].1 = label;
        }
        self.classes.sort_unstable();
    }

    /// Refuses a folder with images both directly in it and in sub-folders.
    pub fn checked(self) -> Result<Self, Error> {
        let mut names = (0..self.len()).map(|number| self.names.get(number));
        let nested = names.find(|name| name.contains('/')).map(String::from);
        if let (Some(direct), Some(nested)) = (&self.direct, nested) {
            return Err(Error::Levels {
                path: self.folder.path().into(),
                direct: direct.clone(),
                nested,
            });
        }
        Ok(self)
    }
}

impl Format for Images {
    fn kind(&self) -> &'static str {
        "image folder"
    }

    fn len(&self) -> u64 {
        self.names.len()
    }

    fn has_labels(&self) -> bool {
        !self.classes.is_empty()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn stream(&self, range: Range<u64>) -> Stream<'_> {
        let names = range.clone().map(|number| self.names.get(number));
        let contents = contents(&self.folder, names.clone());
        Box::new(
            range
                .zip(names)
                .zip(contents)
                .map(|((number, name), content)| {
                    let run = self.runs.partition_point(|&(end, _)| end <= number);
                    Ok(Raw {
                        name: name.into(),
                        label: Ok(self.runs.get(run).map(|&(_, label)| label)),
                        content,
                    })
                }),
        )
    }
}
