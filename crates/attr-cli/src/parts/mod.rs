//! Results of a whole data set, in a folder of parts that any number of processes write.
//!
//! ```text
//! mod.rs       the folder: what a run is, which parts are done
//! work.rs      goes through a shard's samples, batch by batch
//! explain.rs   explain --data
//! evaluate.rs  evaluate --data
//! merge.rs     merge
//! ```

mod evaluate;
mod explain;
mod merge;
mod work;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use attr_data::Skipped;
use attr_store::{Files, Folder, Written};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

pub use evaluate::run as evaluate;
pub use explain::run as explain;
pub use merge::run as merge;

use crate::args::ModelArguments;
use crate::error::Error;
use crate::model::contents;
use crate::{input, model};

/// The file that says what a folder's parts are of.
const RUN: &str = "run.json";

/// What all parts of a folder have in common: `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub command: Command,
    pub version: String,
    /// The SHA-256 of the model's file.
    pub model: String,
    /// What identifies the data set.
    pub data: String,
    pub samples: u64,
    /// How many samples make a part.
    pub part: u64,
    /// How many are explained together.
    pub batch: u64,
    /// Whatever else decides the results.
    pub settings: BTreeMap<String, String>,
}

/// Which command writes the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Explain,
    Evaluate,
}

/// A folder of parts.
///
/// ```text
/// run.json               what its parts are of (Run)
/// parts/00000003.json    samples 3 * part and on: what was found, and which files belong to it
/// parts/00000003.1f0c9a27.safetensors
/// ```
///
/// A part's JSON is written last and whole. Parts hold the same samples however many shards there are, and
/// of two processes that write the same part, either result is whole: nothing needs a lock.
pub struct Parts {
    folder: Folder,
    pub run: Run,
}

/// What is known of some samples.
#[derive(Serialize, Deserialize)]
pub struct Part<T> {
    /// The SHA-256 of the run.
    run: String,
    pub skipped: Vec<Left>,
    /// The files that belong to it.
    pub files: Files,
    pub content: T,
}

/// A sample that was left out.
#[derive(Serialize, Deserialize)]
pub struct Left {
    sample: u64,
    name: String,
    reason: String,
}

impl From<Skipped> for Left {
    fn from(skipped: Skipped) -> Self {
        Self {
            sample: skipped.number,
            name: skipped.name,
            reason: skipped.reason,
        }
    }
}

impl Run {
    /// The part of `run.json` that does not differ between commands.
    pub fn new(
        command: Command,
        path: &Path,
        data: &attr_data::DataSet,
        (part, batch): (u64, u64),
        settings: BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        for (flag, number) in [("--checkpoint", part), ("--batch-size", batch)] {
            if number == 0 {
                return Err(Error::input(format!("{flag} 0: at least 1 is needed")));
            }
        }
        Ok(Self {
            command,
            version: env!("CARGO_PKG_VERSION").into(),
            model: model::hash(path)?,
            data: data.fingerprint().into(),
            samples: data.len(),
            part,
            batch,
            settings,
        })
    }

    /// Refuses another run.
    fn check_same(&self, there: &Self, path: &Path) -> Result<(), Error> {
        if self == there {
            return Ok(());
        }
        let values = |run: &Self| -> Result<BTreeMap<String, String>, Error> {
            let value = serde_json::to_value(run).map_err(|e| Error::other(e.to_string()))?;
            let entries = value.as_object().into_iter().flatten();
            let entries = entries.filter(|(name, _)| *name != "settings");
            let mut all: BTreeMap<String, String> = entries
                .map(|(name, value)| (name.clone(), value.to_string()))
                .collect();
            all.extend(run.settings.clone());
            Ok(all)
        };
        let (own, other) = (values(self)?, values(there)?);
        let mut names = own.keys().chain(other.keys());
        let differs = names.find(|name| own.get(*name) != other.get(*name));
        let name = differs.map_or("", String::as_str);
        let flag = match name {
            "part" => "--checkpoint",
            "batch" => "--batch-size",
            name => name,
        };
        let shown = |values: &BTreeMap<String, String>| match values.get(name).map(String::as_str) {
            None | Some("") => "nothing".to_string(),
            Some(value) => value.to_string(),
        };
        Err(Error::input(format!(
            "--out {}: its parts are of another run: {flag} is {} there and {} here; use another \
             folder",
            path.display(),
            shown(&other),
            shown(&own)
        )))
    }
}

impl Parts {
    /// Creates a folder of parts, or joins one of the same run.
    pub fn create(path: &Path, run: &Run) -> Result<Self, Error> {
        let folder = Folder::create(path)?;
        if folder.get(RUN)?.is_none() {
            let names = folder.names()?;
            // Another process may be writing its `run.json`, or have just written it.
            let other = names
                .iter()
                .any(|name| !name.starts_with('.') && name != RUN);
            if other && folder.get(RUN)?.is_none() {
                return Err(Error::input(format!(
                    "--out {}: the folder holds other files; give an empty one or a new name",
                    path.display()
                )));
            }
            folder.put_json_first(RUN, run)?;
        }
        let parts = Self::open(path)?;
        run.check_same(&parts.run, path)?;
        Ok(parts)
    }

    /// Opens a folder of parts.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let folder = Folder::at(path)?;
        let run = match folder.get_json::<Run>(RUN) {
            // That of an index, for example.
            Err(attr_store::Error::Damaged { .. }) => None,
            found => found?,
        };
        let run = run.filter(|run| run.part > 0 && run.batch > 0);
        let run = run.ok_or_else(|| {
            Error::input(format!(
                "{}: there is no run.json of explanations or evaluations here; give a folder that \
                 `attrx explain --data` or `attrx evaluate --data` writes to",
                path.display()
            ))
        })?;
        Ok(Self { folder, run })
    }

    fn parts(&self) -> Folder {
        self.folder.child("parts")
    }

    /// The folder's path, if it is one of this machine.
    pub fn local(&self) -> Option<PathBuf> {
        self.folder.local().map(Path::to_path_buf)
    }

    /// The SHA-256 of the run.
    fn hash(&self) -> Result<String, Error> {
        let text = serde_json::to_vec(&self.run).map_err(|e| Error::other(e.to_string()))?;
        Ok(attr_store::sha256(&text))
    }

    /// How many parts there are.
    pub fn count(&self) -> u64 {
        self.run.samples.div_ceil(self.run.part)
    }

    /// The parts of a shard.
    pub fn of_shard(&self, (shard, shards): (u64, u64)) -> Range<u64> {
        let first = |shard: u64| {
            let part = u128::from(self.count()) * u128::from(shard) / u128::from(shards);
            part as u64
        };
        first(shard)..first(shard + 1)
    }

    /// The samples of a part.
    pub fn samples(&self, part: u64) -> Range<u64> {
        let first = part * self.run.part;
        first..first.saturating_add(self.run.part).min(self.run.samples)
    }

    /// The batches of a part.
    pub fn batches(&self, part: u64) -> impl Iterator<Item = Range<u64>> + use<> {
        let Range { start, end } = self.samples(part);
        let batch = self.run.batch;
        let count = (end - start).div_ceil(batch);
        (0..count).map(move |i| {
            let first = start + i * batch;
            first..first.saturating_add(batch).min(end)
        })
    }

    /// What is known of a part; none before it is done, or if it is damaged.
    pub fn get<T: DeserializeOwned>(&self, part: u64) -> Result<Option<Part<T>>, Error> {
        let found: Option<Part<T>> = match self.parts().get_json(&name(part, "json")) {
            Err(attr_store::Error::Damaged { .. }) => None,
            found => found?,
        };
        let hash = self.hash()?;
        Ok(found.filter(|found| found.run == hash))
    }

    /// Whether a part is done, and its files hold what was written.
    pub fn is_done(&self, part: u64) -> Result<bool, Error> {
        let Some(found) = self.get::<IgnoredAny>(part)? else {
            return Ok(false);
        };
        for (name, written) in &found.files {
            match self.parts().get_written(name, written) {
                Err(attr_store::Error::Damaged { .. }) => return Ok(false),
                other => drop(other?),
            }
        }
        Ok(true)
    }

    /// Writes a part: arrays, if there are any, and what is known of it.
    pub fn put<T: Serialize>(
        &self,
        part: u64,
        arrays: Option<Vec<u8>>,
        skipped: Vec<Left>,
        content: T,
    ) -> Result<(), Error> {
        let folder = self.parts();
        folder.ensure()?;
        let mut files = Files::new();
        if let Some(arrays) = arrays {
            // Named by its content: a process that writes the same part and rounds in another way leaves
            // alone what this one describes.
            let hash = attr_store::sha256(&arrays);
            let name = name(part, &format!("{}.safetensors", &hash[..8]));
            files.insert(name.clone(), folder.put(&name, &arrays)?);
        }
        let part_of = Part {
            run: self.hash()?,
            skipped,
            files,
            content,
        };
        folder.put_json(&name(part, "json"), &part_of)?;
        Ok(())
    }

    /// Removes files of parts that none of their descriptions names: what interrupted processes have left.
    pub fn clean(&self) -> Result<(), Error> {
        let mut known = std::collections::BTreeSet::new();
        for part in 0..self.count() {
            known.insert(name(part, "json"));
            if let Some(found) = self.get::<IgnoredAny>(part)? {
                known.extend(found.files.into_keys());
            }
        }
        for name in self.parts().names()? {
            if !known.contains(&name) {
                self.parts().remove(&name)?;
            }
        }
        Ok(())
    }

    /// The content of a part's file, which must be what was written.
    pub fn file(&self, name: &str, written: &Written) -> Result<Vec<u8>, Error> {
        Ok(self.parts().get_written(name, written)?)
    }
}

fn name(part: u64, extension: &str) -> String {
    format!("{part:08}.{extension}")
}

/// What decides the results of any command: how the model is run and how samples are read.
fn settings(
    model: &ModelArguments,
    columns: [&String; 2],
    more: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<BTreeMap<String, String>, Error> {
    let [image_column, label_column] = columns;
    let named = [
        ("image_column", image_column.clone()),
        ("label_column", label_column.clone()),
        ("output", model.output.clone().unwrap_or_default()),
        ("logits", model.logits.to_string()),
        ("size", model.size.clone().unwrap_or_default()),
        ("mean", format!("{:?}", model.mean)),
        ("std", format!("{:?}", model.std)),
        ("constants", contents(&model.constant)?),
        // Its last digits may differ on another.
        ("device", model.device.to_string()),
    ];
    let all = named.into_iter().chain(more);
    let all = all.map(|(name, value)| (name.to_string(), value));
    Ok(all.collect())
}

/// What a file holds, if there is one.
fn content(path: Option<&PathBuf>) -> Result<String, Error> {
    let hash = path.map(|path| model::hash(path)).transpose()?;
    Ok(hash.unwrap_or_default())
}

/// Refuses arrays with a row for each row of an input: rows of a batch are not those of the data set.
fn check_rows<'a>(flag: &str, texts: impl IntoIterator<Item = &'a String>) -> Result<(), Error> {
    for text in texts {
        let file = match text.split_once('=') {
            Some((_, file)) if !Path::new(text).is_file() => file,
            _ => text,
        };
        if !file.ends_with(".npy") {
            continue;
        }
        input::array(
            Path::new(file),
            attr_core::Kind::Float,
            |shape| match shape {
                [1, ..] => Ok(()),
                _ => Err(format!(
                    "{flag}: it has shape {shape:?}; with --data, give one row for all samples"
                )),
            },
        )?;
    }
    Ok(())
}
