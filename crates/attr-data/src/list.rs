//! Lists of paths to images and arrays, one per line, with labels.

use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;

use attr_store::{File, Folder};

use crate::error::Error;
use crate::listing::{self, Fingerprint, LARGEST_LABEL, Names, contents, extension, is_image};
use crate::sample::{Format, Raw, Stream};

/// Stands for no label.
const NONE: u32 = LARGEST_LABEL + 1;

/// The files of a list.
pub struct List {
    folder: Folder,
    names: Names,
    /// One label per file, or `NONE`; empty if no line has a label.
    labels: Vec<u32>,
}

impl List {
    /// Reads a list; its files are relative to `folder`.
    pub fn open(folder: &Folder, name: &str, fingerprint: &mut Fingerprint) -> Result<Self, Error> {
        let mut list = Self {
            folder: folder.clone(),
            names: Names::default(),
            labels: Vec::new(),
        };
        list.read(&folder.join(name), folder.open(name)?)?;
        let names = || (0..list.names.len()).map(|number| list.names.get(number));
        let sizes = folder.sizes(names())?;
        for (number, (name, size)) in names().zip(sizes).enumerate() {
            fingerprint.text(name);
            fingerprint.number(size.unwrap_or(u64::MAX));
            let label = list.labels.get(number).copied();
            fingerprint.number(label.unwrap_or(NONE).into());
        }
        Ok(list)
    }

    fn read(&mut self, path: &Path, file: File) -> Result<(), Error> {
        let mut reader = BufReader::new(file);
        let mut bytes = Vec::new();
        for line in 1.. {
            bytes.clear();
            let read = reader.read_until(b'\n', &mut bytes);
            if read.map_err(Error::read(path))? == 0 {
                break;
            }
            let wrong = |reason: String| Error::Line {
                path: path.into(),
                line,
                reason,
            };
            let text = str::from_utf8(&bytes).map_err(|_| wrong("it is not UTF-8".into()))?;
            let text = text.trim_end_matches(['\r', '\n']);
            if text.trim().is_empty() {
                continue;
            }
            let (name, label) = entry(text).map_err(wrong)?;
            if label != NONE && self.labels.is_empty() {
                self.labels = vec![NONE; self.names.len() as usize];
            }
            self.names.push(name);
            if label != NONE || !self.labels.is_empty() {
                self.labels.push(label);
            }
        }
        Ok(())
    }
}

/// Splits a line into the path and the label.
fn entry(text: &str) -> Result<(&str, u32), String> {
    let (name, label) = match text.split_once('\t') {
        Some((name, text)) => {
            let number = text.trim().parse();
            let number = number.map_err(|_| format!("its label {text:?} is not an integer"))?;
            (name, listing::label(number)?)
        }
        None => (text, NONE),
    };
    let extension = extension(Path::new(name));
    if !is_image(&extension) && extension != "npy" {
        return Err(format!("{name:?} is no .png, .jpg, .jpeg or .npy file"));
    }
    Ok((name, label))
}

impl Format for List {
    fn kind(&self) -> &'static str {
        "list"
    }

    fn len(&self) -> u64 {
        self.names.len()
    }

    fn has_labels(&self) -> bool {
        !self.labels.is_empty()
    }

    fn stream(&self, range: Range<u64>) -> Stream<'_> {
        let names = range.clone().map(|number| self.names.get(number));
        let contents = contents(&self.folder, names.clone());
        Box::new(
            range
                .zip(names)
                .zip(contents)
                .map(|((number, name), content)| {
                    let label = self.labels.get(number as usize);
                    let label = label.filter(|&&label| label != NONE);
                    Ok(Raw {
                        name: name.into(),
                        label: Ok(label.map(|&label| label as usize)),
                        content,
                    })
                }),
        )
    }
}
