//! An index in a folder: its shards, how they are merged, and what it tells.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::folder::{self, Files, Folder, sha256};
use crate::samples::{Sample, Samples, Skipped};
use crate::shard::{STATE, ShardWriter, State, Tables};
use crate::table::{self, Rows};
use crate::vectors::ConceptVectors;
use crate::{Error, Mode, References, RunInfo, Statistics};

/// The file that says what the index is made from.
const RUN: &str = "run.json";
/// The file that says which shards were merged.
const MERGED: &str = "merged.json";

/// An index in a folder.
///
/// ```text
/// run.json                         what it is made from, and how (RunInfo)
/// shards/00003-of-00016/           one folder for each shard, written by one process
///     shard.json                   how far it is, and which of these files belong to it
///     references-N.parquet  statistics-N.parquet  samples-N.parquet  skipped-N.parquet
///     vectors-LAYER-MODE-N.parquet
/// merged.json                      which shards are in the tables below
/// references.parquet  statistics.parquet  samples.parquet  skipped.parquet
/// ```
///
/// Processes that write different shards need no contact; each file appears whole or not at all.
#[derive(Clone, Debug)]
pub struct Index {
    folder: Folder,
    run: RunInfo,
    /// The SHA-256 of `run.json`.
    hash: String,
}

/// How far a shard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum ShardStatus {
    /// All its samples were measured, or skipped.
    Done {
        /// The number of samples that were measured.
        samples: u64,
        /// The number of those that were left out.
        skipped: u64,
    },
    /// It was begun.
    Partial {
        /// The number of samples that are done.
        done: u64,
        /// The number of its samples.
        samples: u64,
    },
    /// Nothing of it was written.
    Missing,
    /// It is of another run: another model, other data or settings.
    Foreign,
    /// A file is not what was written; running the shard again makes it anew.
    Damaged {
        /// Which file, and what is wrong with it.
        reason: String,
    },
}

/// Which shards are in the merged tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Merged {
    run: String,
    shards: Vec<u64>,
    files: Files,
}

impl Index {
    /// Creates an index, or joins one of the same run: any number of processes may do so at once.
    ///
    /// # Errors
    /// [`Error::OtherRun`] for a folder with an index of another run; [`Error::NoIndex`] for one with
    /// other files; [`Error::Parameter`] for a run without samples, shards or batches; [`Error::File`].
    pub fn create(path: impl Into<PathBuf>, run: &RunInfo) -> Result<Self, Error> {
        run.check()?;
        let path = path.into();
        let folder = Folder::create(path.clone())?;
        if folder.get(RUN)?.is_none() {
            let names = folder.names()?;
            // Another process may be writing its `run.json`, or have just written it.
            let other = names
                .iter()
                .any(|name| !name.starts_with('.') && name != RUN);
            if other && folder.get(RUN)?.is_none() {
                return Err(Error::NoIndex {
                    path,
                    reason: "the folder holds other files, but no run.json; give an empty one or a new name",
                });
            }
            folder.put_first(RUN, &folder::json(run)?)?;
        }
        let index = Self::open(path.clone())?;
        run.check_same(&index.run, &path)?;
        Ok(index)
    }

    /// Opens an index.
    ///
    /// # Errors
    /// [`Error::NoIndex`] for a folder without `run.json`; [`Error::Damaged`]; [`Error::File`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let folder = Folder::at(path.into());
        let Some(content) = folder.get(RUN)? else {
            return Err(Error::NoIndex {
                path: folder.path().into(),
                reason: "there is no run.json here; give the folder of an index",
            });
        };
        let run = serde_json::from_slice(&content);
        let run: RunInfo = run.map_err(|error| folder.damaged(RUN, &error.to_string()))?;
        run.check()?;
        let hash = sha256(&content);
        Ok(Self { folder, run, hash })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What it is made from, and how.
    pub fn run(&self) -> &RunInfo {
        &self.run
    }

    /// Takes up a shard, at its last checkpoint if it was begun; `None` if it is finished. Shards are
    /// counted from 0.
    ///
    /// # Errors
    /// [`Error::Shard`]; [`Error::Busy`] while another process writes it; [`Error::Damaged`] for one of
    /// another run; [`Error::File`].
    pub fn shard(&self, shard: u64) -> Result<Option<ShardWriter>, Error> {
        let samples = self.run.samples_of(shard)?;
        ShardWriter::open(self.shard_folder(shard), &self.run, &self.hash, samples)
    }

    fn shard_folder(&self, shard: u64) -> Folder {
        let name = format!("{shard:05}-of-{:05}", self.run.shards);
        self.folder.child("shards").child(&name)
    }

    /// How far each shard is.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn status(&self) -> Result<Vec<ShardStatus>, Error> {
        let shards = 0..self.run.shards;
        shards.map(|shard| self.shard_status(shard)).collect()
    }

    /// How far one shard is.
    ///
    /// # Errors
    /// [`Error::Shard`]; [`Error::File`].
    pub fn shard_status(&self, shard: u64) -> Result<ShardStatus, Error> {
        self.run.samples_of(shard)?;
        Ok(self.look(shard)?.0)
    }

    /// How far a shard is and, if it is done, what it tells.
    fn look(&self, shard: u64) -> Result<(ShardStatus, Option<(State, Tables)>), Error> {
        let folder = self.shard_folder(shard);
        let read = || {
            let Some(state) = folder.get_json::<State>(STATE)? else {
                return Ok((ShardStatus::Missing, None));
            };
            if state.run != self.hash {
                return Ok((ShardStatus::Foreign, None));
            }
            let tables = state.read(&folder, &self.run)?;
            if !state.done() {
                let status = ShardStatus::Partial {
                    done: state.next - state.first,
                    samples: state.end - state.first,
                };
                return Ok((status, None));
            }
            let status = ShardStatus::Done {
                samples: state.end - state.first - state.skipped,
                skipped: state.skipped,
            };
            Ok((status, Some((state, tables))))
        };
        match read() {
            Err(error @ Error::Damaged { .. }) => {
                let reason = error.to_string();
                Ok((ShardStatus::Damaged { reason }, None))
            }
            other => other,
        }
    }

    /// Merges the shards that are done into the index's tables, and returns how far each shard is. The
    /// tables do not depend on the number of shards, nor on the order in which they were written.
    /// Merging again, after more shards are done, replaces the tables.
    ///
    /// # Errors
    /// [`Error::Merge`] when no shard is done; [`Error::File`].
    pub fn merge(&self) -> Result<Vec<ShardStatus>, Error> {
        let mut merged = Merged {
            run: self.hash.clone(),
            shards: Vec::new(),
            files: Files::new(),
        };
        let mut all = Tables::new(&self.run);
        let mut found = Vec::new();
        for shard in 0..self.run.shards {
            let (status, tables) = self.look(shard)?;
            found.push(status);
            if let Some((_, tables)) = tables {
                all.merge(tables)?;
                merged.shards.push(shard);
            }
        }
        if merged.shards.is_empty() {
            return Err(Error::Merge("no shard is done".into()));
        }
        for (table, content) in all.encode(false)? {
            let name = format!("{table}.parquet");
            merged
                .files
                .insert(name.clone(), self.folder.put(&name, &content)?);
        }
        self.folder.put_json(MERGED, &merged)?;
        Ok(found)
    }

    /// The shards that the merged tables hold; none before the first merge.
    ///
    /// # Errors
    /// [`Error::Damaged`]; [`Error::File`].
    pub fn merged(&self) -> Result<Vec<u64>, Error> {
        let merged = self.folder.get_json::<Merged>(MERGED)?;
        Ok(merged.map(|merged| merged.shards).unwrap_or_default())
    }

    /// Reads a merged table.
    fn rows(&self, table: &str) -> Result<Rows, Error> {
        let Some(merged) = self.folder.get_json::<Merged>(MERGED)? else {
            return Err(Error::NoIndex {
                path: self.path().into(),
                reason: "its shards were not merged; merge them",
            });
        };
        let name = format!("{table}.parquet");
        let written = merged.files.get(&name).filter(|_| merged.run == self.hash);
        let written = written.ok_or_else(|| {
            self.folder
                .damaged(MERGED, "it is of another run; merge again")
        })?;
        let content = self.folder.get_written(&name, written)?;
        Rows::decode(&self.path().join(&name), content)
    }

    /// The samples in which each concept is strongest.
    ///
    /// # Errors
    /// [`Error::NoIndex`] before shards were merged; [`Error::Damaged`]; [`Error::File`]. The same for
    /// the functions below.
    pub fn references(&self) -> Result<References, Error> {
        let mut tables = Tables::new(&self.run);
        table::decode_references(&self.rows("references")?, &mut tables.references)?;
        Ok(tables.references)
    }

    /// How strong each concept is, summed up.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        table::decode_statistics(&self.rows("statistics")?, false)
    }

    /// The samples that are references of any concept, in the order of their numbers.
    pub fn samples(&self) -> Result<Vec<Sample>, Error> {
        let samples = Samples::decode(&self.rows("samples")?)?;
        Ok(samples.0.into_values().collect())
    }

    /// The samples that were left out.
    pub fn skipped(&self) -> Result<Vec<Skipped>, Error> {
        Skipped::decode(&self.rows("skipped")?)
    }

    /// The concept vectors of a layer, file by file, of the shards that are done; none for an index
    /// without vectors, or without this layer.
    pub fn vectors(
        &self,
        layer: &str,
        mode: Mode,
    ) -> impl Iterator<Item = Result<ConceptVectors, Error>> {
        let number = self.run.layers.iter().position(|own| own == layer);
        let start = number.map(|number| format!("vectors-{number:03}-{}-", mode.name()));
        let files = (0..self.run.shards).flat_map(move |shard| {
            let folder = self.shard_folder(shard);
            let state = match folder.get_json::<State>(STATE) {
                Ok(state) => state.filter(|state| state.done() && state.run == self.hash),
                Err(error) => return vec![Err(error)],
            };
            let files = state.map(|state| state.files).unwrap_or_default();
            let own = |name: &String| start.as_ref().is_some_and(|start| name.starts_with(start));
            let files = files.into_iter().filter(|(name, _)| own(name));
            files
                .map(|(name, written)| Ok((folder.clone(), name, written)))
                .collect()
        });
        let layer = layer.to_string();
        files.map(move |file| {
            let (folder, name, written) = file?;
            let content = folder.get_written(&name, &written)?;
            let rows = Rows::decode(&folder.path().join(&name), content)?;
            ConceptVectors::decode(&rows, &layer, mode)
        })
    }
}
