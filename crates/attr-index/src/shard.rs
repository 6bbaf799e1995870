//! One shard of an index while it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::folder::{Files, Folder, LOCK, TEMPORARY};
use crate::samples::{Sample, Samples, Skipped};
use crate::table::{self, Rows};
use crate::vectors::ConceptVectors;
use crate::{Error, References, RunInfo, Statistics, Strengths};

/// The file that says how far a shard is and which files belong to it. It is written last: a shard is
/// always what this file says.
pub(crate) const STATE: &str = "shard.json";

/// How far a shard is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The SHA-256 of `run.json`.
    pub run: String,
    /// The first sample of the shard, the first that is not done, and the first behind the shard.
    pub first: u64,
    pub next: u64,
    pub end: u64,
    /// How many samples were left out.
    pub skipped: u64,
    pub files: Files,
}

impl State {
    pub fn done(&self) -> bool {
        self.next == self.end
    }

    /// The file of a table.
    pub fn file(&self, table: &str) -> String {
        format!("{table}-{:012}.parquet", self.next)
    }

    /// Reads a table.
    pub fn rows(&self, folder: &Folder, table: &str) -> Result<Rows, Error> {
        let name = self.file(table);
        let written = self.files.get(&name);
        let written =
            written.ok_or_else(|| folder.damaged(STATE, &format!("it does not name {name}")))?;
        Rows::decode(
            &folder.path().join(&name),
            folder.get_written(&name, written)?,
        )
    }

    /// Reads all tables but vectors, of which only the length is checked.
    pub fn read(&self, folder: &Folder, run: &RunInfo) -> Result<Tables, Error> {
        for (name, written) in &self.files {
            folder.check_size(name, written)?;
        }
        let mut tables = Tables::new(run);
        let references = self.rows(folder, "references")?;
        table::decode_references(&references, &mut tables.references)?;
        tables.statistics = table::decode_statistics(&self.rows(folder, "statistics")?, true)?
            .with_each_target(run.each_target);
        // Concepts without any reference have no row there.
        for (key, concept, _) in tables.statistics.totals() {
            tables.references.reserve(key, concept + 1);
        }
        tables.samples = Samples::decode(&self.rows(folder, "samples")?)?;
        tables.skipped = Skipped::decode(&self.rows(folder, "skipped")?)?;
        Ok(tables)
    }
}

/// What is known of some samples of the data set.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    pub references: References,
    pub statistics: Statistics,
    /// Those that are references.
    pub samples: Samples,
    pub skipped: Vec<Skipped>,
}

impl Tables {
    pub fn new(run: &RunInfo) -> Self {
        let references = References::new().with_sample_size(run.sample_size);
        Self {
            references: references.with_each_target(run.each_target),
            statistics: Statistics::new().with_each_target(run.each_target),
            samples: Samples::default(),
            skipped: Vec::new(),
        }
    }

    /// Adds those of other samples.
    pub fn merge(&mut self, other: Self) -> Result<(), Error> {
        self.references.merge(other.references)?;
        self.statistics.merge(&other.statistics)?;
        self.samples.0.extend(other.samples.0);
        self.skipped.extend(other.skipped);
        Ok(())
    }

    /// Forgets the samples that are no references.
    fn tidy(&mut self) {
        let lists = self.references.lists();
        let kept: BTreeSet<u64> = lists
            .flat_map(|(_, _, list)| list.iter().map(|one| one.sample))
            .collect();
        self.samples.0.retain(|number, _| kept.contains(number));
    }

    /// The content of each file.
    pub fn encode(&mut self, exact: bool) -> Result<[(&'static str, Vec<u8>); 4], Error> {
        self.tidy();
        self.skipped.sort_unstable_by_key(|one| one.sample);
        let tables = || {
            Ok([
                ("references", table::encode_references(&self.references)?),
                (
                    "statistics",
                    table::encode_statistics(&self.statistics, exact)?,
                ),
                ("samples", self.samples.encode()?),
                ("skipped", Skipped::encode(&self.skipped)?),
            ])
        };
        tables().map_err(Error::Merge)
    }
}

/// Writes one shard of an index, batch by batch.
///
/// Every [`checkpoint`](Self::with_checkpoint) samples, what was found is written, so that a process
/// that is stopped goes on from there when it is started again.
#[derive(Debug)]
pub struct ShardWriter {
    folder: Folder,
    batch: u64,
    checkpoint: u64,
    state: State,
    tables: Tables,
    /// Since the last checkpoint, if asked for.
    vectors: Option<BTreeMap<String, ConceptVectors>>,
    written_at: u64,
    _lock: File,
}

impl ShardWriter {
    /// Takes up a shard; `None` if it is finished.
    pub(crate) fn open(
        folder: Folder,
        run: &RunInfo,
        hash: &str,
        samples: Range<u64>,
    ) -> Result<Option<Self>, Error> {
        let folder = Folder::create(folder.path().into())?;
        let lock = folder.lock()?;
        let found: Option<State> = folder.get_json(STATE).or_else(|error| match error {
            Error::Damaged { .. } => Ok(None),
            error => Err(error),
        })?;
        if let Some(state) = &found
            && state.run != hash
        {
            return Err(folder.damaged(STATE, "it is of another run; move this folder away"));
        }
        // Damaged files are made again.
        let found = found.and_then(|state| Some((state.read(&folder, run).ok()?, state)));
        let (tables, state) = found.unwrap_or_else(|| {
            let state = State {
                run: hash.into(),
                first: samples.start,
                next: samples.start,
                end: samples.end,
                skipped: 0,
                files: Files::new(),
            };
            (Tables::new(run), state)
        });
        // What an interrupted process has left.
        for name in folder.names()? {
            let own = name.starts_with(TEMPORARY) || name.ends_with(".parquet");
            if own && !state.files.contains_key(&name) {
                folder.remove(&name)?;
            }
        }
        if state.done() && !state.files.is_empty() {
            folder.remove(LOCK)?;
            return Ok(None);
        }
        Ok(Some(Self {
            folder,
            batch: run.batch,
            checkpoint: 500,
            written_at: state.next,
            state,
            tables,
            vectors: run.vectors.then(BTreeMap::new),
            _lock: lock,
        }))
    }

    /// Sets after how many samples what was found is written; default 500, as in zennit-crp.
    pub fn with_checkpoint(mut self, samples: u64) -> Self {
        self.checkpoint = samples.max(1);
        self
    }

    /// The samples of the shard.
    pub fn samples(&self) -> Range<u64> {
        self.state.first..self.state.end
    }

    /// The samples of each batch that is left.
    pub fn batches(&self) -> impl Iterator<Item = Range<u64>> + Send + use<> {
        let (batch, end) = (self.batch, self.state.end);
        let mut next = self.state.next;
        std::iter::from_fn(move || {
            let first = next;
            next = first.saturating_add(batch).min(end);
            (first < end).then_some(first..next)
        })
    }

    /// Adds the next batch: what was measured, if anything was, who its samples are, and those that
    /// were left out. Batches must come in order.
    ///
    /// # Errors
    /// [`Error::Merge`] for another batch than the next one, or one whose samples are not its own;
    /// [`Error::File`] when a checkpoint cannot be written.
    pub fn add(
        &mut self,
        batch: Range<u64>,
        strengths: Option<&Strengths>,
        samples: impl IntoIterator<Item = Sample>,
        skipped: impl IntoIterator<Item = Skipped>,
    ) -> Result<(), Error> {
        if self.batches().next() != Some(batch.clone()) {
            return Err(Error::Merge(format!(
                "samples {batch:?} are not the next batch of this shard"
            )));
        }
        if let Some(strengths) = strengths {
            if let Some(other) = strengths
                .samples()
                .iter()
                .find(|sample| !batch.contains(sample))
            {
                return Err(Error::Merge(format!(
                    "sample {other} is not in the batch {batch:?}"
                )));
            }
            self.tables.references.add(strengths);
            self.tables.statistics.add(strengths);
            if let Some(vectors) = &mut self.vectors {
                for (number, layer) in strengths.layers().iter().enumerate() {
                    let table = format!("vectors-{:03}-{}", number / 2, layer.mode().name());
                    let own = vectors
                        .entry(table)
                        .or_insert_with(|| ConceptVectors::new(layer));
                    own.add(strengths.samples(), strengths.targets(), layer)?;
                }
            }
        }
        let samples = samples.into_iter().map(|sample| (sample.number, sample));
        self.tables.samples.0.extend(samples);
        for one in skipped {
            self.state.skipped += 1;
            self.tables.skipped.push(one);
        }
        self.state.next = batch.end;
        if self.state.done() || self.state.next - self.written_at >= self.checkpoint {
            self.write()?;
        }
        Ok(())
    }

    /// Writes an empty shard; any other is written with its last batch.
    ///
    /// # Errors
    /// [`Error::Merge`] while batches are missing; [`Error::File`].
    pub fn finish(mut self) -> Result<(), Error> {
        if !self.state.done() {
            return Err(Error::Merge(format!(
                "samples {:?} of this shard are missing",
                self.state.next..self.state.end
            )));
        }
        if self.state.files.is_empty() {
            self.write()?;
        }
        Ok(())
    }

    /// Writes what was found so far.
    fn write(&mut self) -> Result<(), Error> {
        let before = self.state.files.clone();
        let mut files = before.clone();
        files.retain(|name, _| name.starts_with("vectors-"));
        for (table, vectors) in self.vectors.iter_mut().flat_map(std::mem::take) {
            let name = self.state.file(&table);
            let content = vectors.encode().map_err(Error::Merge)?;
            files.insert(name.clone(), self.folder.put(&name, &content)?);
        }
        for (table, content) in self.tables.encode(true)? {
            let name = self.state.file(table);
            files.insert(name.clone(), self.folder.put(&name, &content)?);
        }
        self.state.files = files;
        self.folder.put_json(STATE, &self.state)?;
        for old in before
            .keys()
            .filter(|name| !self.state.files.contains_key(*name))
        {
            self.folder.remove(old)?;
        }
        self.written_at = self.state.next;
        if self.state.done() {
            self.folder.remove(LOCK)?;
        }
        Ok(())
    }
}
