//! An index in a folder or an object store: its shards, how they are merged, and what it tells.

use std::path::{Path, PathBuf};

use attr_store::{Files, Folder, TEMPORARY, sha256};
use serde::{Deserialize, Serialize};

use crate::samples::{Sample, Samples, Skipped};
use crate::shard::{ShardWriter, vectors_file};
use crate::state::{STATE, State, Stored, Tables};
use crate::table::{self, Rows};
use crate::vectors::ConceptVectors;
use crate::{Error, Mode, References, RunInfo, Statistics};

/// The file that says what the index is made from.
const RUN: &str = "run.json";
/// The file that says which shards were merged.
const MERGED: &str = "merged.json";

/// An index in a folder or an object store.
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
/// Processes that write different shards need no contact; each file appears whole or not at all. Two
/// that take up the same shard are kept apart by a lock, if the file system has any. An object store has
/// none: there, the second of them fails when it writes `shard.json`, and nothing is counted twice.
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
    /// A file is not what was written; running the shard again makes it anew. Of vectors, only the length
    /// is looked at; [`Index::shard`] checks their content, too.
    Damaged {
        /// Which file, and what is wrong with it.
        reason: String,
    },
}

impl ShardStatus {
    pub(crate) fn of(state: &State) -> Self {
        if state.done() {
            Self::Done {
                samples: state.end - state.first - state.skipped,
                skipped: state.skipped,
            }
        } else {
            Self::Partial {
                done: state.next - state.first,
                samples: state.end - state.first,
            }
        }
    }
}

/// Which shards are in the merged tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Merged {
    run: String,
    shards: Vec<u64>,
    files: Files,
}

impl Index {
    /// Creates an index at a path or URL, or joins one of the same run: any number of processes may do so at once.
    ///
    /// # Errors
    /// [`Error::OtherRun`] for a folder with an index of another run; [`Error::NoIndex`] for one with
    /// other files; [`Error::Parameter`] for a run without samples, shards or batches; [`Error::File`].
    pub fn create(path: impl Into<PathBuf>, run: &RunInfo) -> Result<Self, Error> {
        Self::create_in(Folder::at(path.into())?, run)
    }

    /// As [`create`](Self::create), in a folder that is known already.
    pub fn create_in(folder: Folder, run: &RunInfo) -> Result<Self, Error> {
        run.check()?;
        folder.ensure()?;
        if folder.get(RUN)?.is_none() {
            let names = folder.names()?;
            // Another process may be writing its `run.json`, or have just written it.
            let other = names
                .iter()
                .any(|name| !name.starts_with('.') && name != RUN);
            if other && folder.get(RUN)?.is_none() {
                return Err(Error::NoIndex {
                    path: folder.path().into(),
                    reason: "the folder holds other files, but no run.json; give an empty one or a new name",
                });
            }
            folder.put_json_first(RUN, run)?;
        }
        let index = Self::open_in(folder)?;
        run.check_same(&index.run, index.path())?;
        Ok(index)
    }

    /// Opens the index at a path or URL.
    ///
    /// # Errors
    /// [`Error::NoIndex`] for a folder without `run.json`; [`Error::Damaged`]; [`Error::File`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::open_in(Folder::at(path.into())?)
    }

    /// As [`open`](Self::open), in a folder that is known already.
    pub fn open_in(folder: Folder) -> Result<Self, Error> {
        let Some(content) = folder.get(RUN)? else {
            return Err(Error::NoIndex {
                path: folder.path().into(),
                reason: "there is no run.json here; give the folder of an index",
            });
        };
        let run = serde_json::from_slice(&content);
        let run: RunInfo = run.map_err(|error| folder.damaged(RUN, &error.to_string()))?;
        let checked = run.check();
        checked.map_err(|error| folder.damaged(RUN, &error.to_string()))?;
        let hash = sha256(&content);
        Ok(Self { folder, run, hash })
    }

    /// The path or URL of the folder.
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
    /// [`Error::Shard`]; [`Error::Busy`] while another process writes it; [`Error::OtherRun`] for one of
    /// another run; [`Error::File`]. Files that are not what was written are made anew.
    pub fn shard(&self, shard: u64) -> Result<Option<ShardWriter>, Error> {
        self.run.samples_of(shard)?;
        ShardWriter::open(&self.shard_folder(shard), &self.run, &self.hash, shard)
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

    /// How far a shard is and, if it is done, what it has written.
    fn look(&self, shard: u64) -> Result<(ShardStatus, Option<State>), Error> {
        let folder = self.shard_folder(shard);
        let look = || match State::load(&folder, &self.run, &self.hash, shard)? {
            Stored::Nothing => Ok((ShardStatus::Missing, None)),
            Stored::Foreign(_) => Ok((ShardStatus::Foreign, None)),
            Stored::State(state) => {
                state.verify(&folder, false)?;
                let status = ShardStatus::of(&state);
                Ok((status, Some(state).filter(State::done)))
            }
        };
        loop {
            let before = folder.get(STATE)?;
            match look() {
                // The process that writes the shard may have replaced its files meanwhile.
                Err(Error::Damaged { .. } | Error::File { .. }) if folder.get(STATE)? != before => {
                }
                Err(error @ Error::Damaged { .. }) => {
                    let reason = error.to_string();
                    return Ok((ShardStatus::Damaged { reason }, None));
                }
                other => return other,
            }
        }
    }

    /// Merges the shards that are done into the index's tables, and returns how far each shard is. The
    /// tables do not depend on the number of shards, nor on the order in which they were written.
    /// Merging again, after more shards are done, replaces the tables.
    ///
    /// # Errors
    /// [`Error::Merge`] when no shard is done; [`Error::Busy`] while another process merges;
    /// [`Error::File`].
    pub fn merge(&self) -> Result<Vec<ShardStatus>, Error> {
        let mut guard = self.folder.lock(MERGED)?;
        let mut merged = Merged {
            run: self.hash.clone(),
            shards: Vec::new(),
            files: Files::new(),
        };
        let mut all = Tables::new(&self.run);
        let mut found = Vec::new();
        for shard in 0..self.run.shards {
            let (mut status, state) = self.look(shard)?;
            if let Some(state) = state {
                match state.read(&self.shard_folder(shard), &self.run) {
                    Ok(tables) => {
                        all.merge(tables)?;
                        merged.shards.push(shard);
                    }
                    Err(error @ Error::Damaged { .. }) => {
                        let reason = error.to_string();
                        status = ShardStatus::Damaged { reason };
                    }
                    Err(error) => return Err(error),
                }
            }
            found.push(status);
        }
        if merged.shards.is_empty() {
            return Err(Error::Merge("no shard is done".into()));
        }
        for (table, content) in all.encode(false)? {
            let name = format!("{table}.parquet");
            let written = self.folder.put(&name, &content)?;
            merged.files.insert(name, written);
        }
        guard.put_json(&merged)?;
        // What an interrupted merge has left.
        for name in self.folder.names()? {
            if name.starts_with(TEMPORARY) {
                self.folder.remove(&name)?;
            }
        }
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
        let again = |name: &str, reason: &str| {
            let reason = format!("{reason}; merge the shards again");
            self.folder.damaged(name, &reason)
        };
        if merged.run != self.hash {
            return Err(again(MERGED, "it is of another run").into());
        }
        let name = format!("{table}.parquet");
        let written = merged.files.get(&name);
        let written = written.ok_or_else(|| again(MERGED, "it does not name all tables"))?;
        let content = match self.folder.get_written(&name, written) {
            Err(attr_store::Error::Damaged { reason, .. }) => {
                return Err(again(&name, &reason).into());
            }
            other => other?,
        };
        Rows::decode(&self.folder.join(&name), content)
    }

    /// The samples in which each concept is strongest.
    ///
    /// # Errors
    /// [`Error::NoIndex`] before shards were merged; [`Error::Damaged`]; [`Error::File`]. The same for
    /// the functions below.
    pub fn references(&self) -> Result<References, Error> {
        let tables = Tables {
            statistics: self.statistics()?,
            ..Tables::new(&self.run)
        };
        Ok(tables
            .with_references(&self.rows("references")?)?
            .references)
    }

    /// How strong each concept is, summed up.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        let statistics = table::decode_statistics(&self.rows("statistics")?, false)?;
        Ok(statistics.with_each_target(self.run.each_target))
    }

    /// The samples that are references of any concept, in the order of their numbers.
    pub fn samples(&self) -> Result<Vec<Sample>, Error> {
        Ok(Samples::decode(&self.rows("samples")?)?.into_vec())
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
        let start = number.map(|number| format!("{}-", vectors_file(number, mode)));
        let files = (0..self.run.shards).flat_map(move |shard| {
            let folder = self.shard_folder(shard);
            let state = match State::load(&folder, &self.run, &self.hash, shard) {
                Ok(Stored::State(state)) => Some(state).filter(State::done),
                Ok(_) => None,
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
            let rows = Rows::decode(&folder.join(&name), content)?;
            ConceptVectors::decode(&rows, &layer, mode)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::MaxTarget;
    use crate::strengths::{LayerStrengths, Strengths};

    fn run(samples: u64, shards: u64) -> RunInfo {
        RunInfo {
            version: String::new(),
            model: String::new(),
            data: String::new(),
            samples,
            shards,
            batch: 2,
            layers: vec!["conv".into()],
            max_target: MaxTarget::Sum,
            abs_norm: true,
            sample_size: 3,
            each_target: true,
            vectors: false,
            settings: BTreeMap::new(),
        }
    }

    fn strengths(samples: [u64; 2], scores: [f32; 6]) -> Strengths {
        let layers = Mode::ALL.map(|mode| LayerStrengths {
            layer: "conv".into(),
            mode,
            concepts: 3,
            scores: scores.to_vec(),
            neurons: vec![0; 6],
        });
        Strengths {
            samples: samples.to_vec(),
            targets: vec![4, 4],
            layers: layers.to_vec(),
        }
    }

    /// Adds the next batch, whose strengths are the numbers of its samples.
    #[cfg(feature = "remote")]
    fn add(writer: &mut ShardWriter) -> Result<(), Error> {
        let Some(batch) = writer.batches().next() else {
            return Ok(());
        };
        let (first, second) = (batch.start as f32, batch.start as f32 + 1.0);
        let scores = [first, first, first, second, second, second];
        let found = strengths([batch.start, batch.start + 1], scores);
        writer.add(batch, Some(&found), [], [])
    }

    #[cfg(feature = "remote")]
    fn fill(index: &Index) {
        for shard in 0..index.run().shards {
            let Some(mut writer) = index.shard(shard).unwrap() else {
                continue;
            };
            while !writer.remaining().is_empty() {
                add(&mut writer).unwrap();
            }
            writer.finish().unwrap();
        }
        index.merge().unwrap();
    }

    #[cfg(feature = "remote")]
    #[test]
    fn an_index_in_a_store_is_that_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let local = Index::create(folder.path(), &run(8, 2)).unwrap();
        fill(&local);
        let store = attr_store::object_store::memory::InMemory::new();
        let store = Folder::from_object_store(std::sync::Arc::new(store), "some/index");
        let index = Index::create_in(store.clone(), &run(8, 2)).unwrap();
        assert!(matches!(index.references(), Err(Error::NoIndex { .. })));
        fill(&index);
        for table in ["references", "statistics", "samples", "skipped"] {
            let name = format!("{table}.parquet");
            assert_eq!(store.get(&name).unwrap(), local.folder.get(&name).unwrap());
        }
        let index = Index::open_in(store).unwrap();
        assert_eq!(index.merged().unwrap(), [0, 1]);
        assert!(index.shard(0).unwrap().is_none());
        let other = Index::create_in(index.folder.clone(), &run(10, 2));
        assert!(matches!(other, Err(Error::OtherRun { .. })));
    }

    #[cfg(feature = "remote")]
    #[test]
    fn the_second_writer_of_a_shard_in_a_store_fails() {
        let store = attr_store::object_store::memory::InMemory::new();
        let store = Folder::from_object_store(std::sync::Arc::new(store), "");
        let index = Index::create_in(store, &run(8, 1)).unwrap();
        let writer = || index.shard(0).unwrap().unwrap().with_checkpoint(2);
        // Both begin; then both go on from a checkpoint; then one comes while the other writes.
        for checkpoint in [0, 2, 4] {
            let (mut first, mut second) = (writer(), writer());
            assert_eq!(first.remaining(), checkpoint..8);
            add(&mut first).unwrap();
            assert!(matches!(add(&mut second), Err(Error::Busy { .. })));
            // It stays so.
            let failed = add(&mut second);
            assert!(matches!(failed, Err(Error::Busy { .. })));
            let third = writer();
            assert_eq!(third.remaining(), checkpoint + 2..8);
        }
        let mut last = writer();
        add(&mut last).unwrap();
        // What an interrupted process has left is removed at the end.
        let folder = index.shard_folder(0);
        folder.put("samples-000000000005.parquet", b"left").unwrap();
        last.finish().unwrap();
        assert_eq!(folder.names().unwrap().len(), 5);
        index.merge().unwrap();
        let statistics = index.statistics().unwrap();
        let found = statistics.of("conv", Mode::Activation, 0).unwrap();
        assert_eq!((found.count, found.mean()), (8, 3.5));
    }

    #[test]
    fn concepts_that_no_sample_shows_are_concepts() {
        let folder = tempfile::tempdir().unwrap();
        let scores = [0.25, f32::NAN, f32::NAN, f32::INFINITY, 0.5, f32::NAN];
        let strengths = strengths([0, 1], scores);
        let index = Index::create(folder.path(), &run(2, 1)).unwrap();
        let mut writer = index.shard(0).unwrap().unwrap();
        writer.add(0..2, Some(&strengths), [], []).unwrap();
        assert!(matches!(
            writer.finish(),
            Ok(ShardStatus::Done {
                samples: 2,
                skipped: 0
            })
        ));
        index.merge().unwrap();
        let found = index.references().unwrap();
        assert_eq!(found.concepts("conv"), 3);
        let strongest = |concept| found.of("conv", Mode::Relevance, concept);
        assert_eq!(strongest(0).len(), 1);
        assert_eq!(strongest(1)[0].sample, 1);
        assert!(strongest(2).is_empty());
        let statistics = index.statistics().unwrap();
        assert_eq!(
            statistics
                .of_target("conv", Mode::Activation, 1, 4)
                .unwrap()
                .count,
            1
        );
        assert!(statistics.of("conv", Mode::Activation, 2).is_none());
    }
}
