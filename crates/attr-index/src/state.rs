//! What a shard has on disk: how far it is, and the tables of what it has found so far.

use std::collections::BTreeSet;
use std::ops::Range;

use attr_store::{Files, Folder};
use serde::{Deserialize, Serialize};

use crate::samples::{Sample, Samples, Skipped};
use crate::table::{self, Rows};
use crate::{Error, References, RunInfo, Statistics, Strengths};

/// The file that says how far a shard is and which files belong to it. It is written last: a shard is
/// always what this file says.
pub const STATE: &str = "shard.json";

/// The tables of a shard, and of an index.
const TABLES: [&str; 4] = ["references", "statistics", "samples", "skipped"];

/// How far a shard is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
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

/// What a shard's folder says.
pub enum Stored {
    Nothing,
    /// It is of another run, whose `run.json` has this SHA-256.
    Foreign(String),
    State(State),
}

impl State {
    /// A shard of which nothing is done.
    pub fn new(run: &str, samples: Range<u64>) -> Self {
        Self {
            run: run.into(),
            first: samples.start,
            next: samples.start,
            end: samples.end,
            skipped: 0,
            files: Files::new(),
        }
    }

    /// Reads `shard.json`, which may say anything.
    pub fn load(folder: &Folder, run: &RunInfo, hash: &str, shard: u64) -> Result<Stored, Error> {
        let Some(state) = folder.get_json::<Self>(STATE)? else {
            return Ok(Stored::Nothing);
        };
        if state.run != hash {
            return Ok(Stored::Foreign(state.run));
        }
        let damaged = |reason: &str| Err(folder.damaged(STATE, reason).into());
        let samples = run.samples_of(shard)?;
        if samples != (state.first..state.end) {
            return damaged(&format!(
                "it is of samples {:?}, and this shard has {samples:?}",
                state.first..state.end
            ));
        }
        let whole = state.next == state.end || state.next % run.batch == 0;
        if !(state.first..=state.end).contains(&state.next) || !whole {
            return damaged(&format!("no batch begins at sample {}", state.next));
        }
        if state.skipped > state.next - state.first {
            return damaged(&format!(
                "it skips {} samples, more than there are",
                state.skipped
            ));
        }
        if let Some(name) = state.files.keys().find(|name| !is_table(name)) {
            return damaged(&format!("{name:?} is not the name of a table"));
        }
        for table in TABLES {
            if !state.files.contains_key(&state.file(table)) {
                return damaged(&format!("it does not name {}", state.file(table)));
            }
        }
        Ok(Stored::State(state))
    }

    pub fn done(&self) -> bool {
        self.next == self.end
    }

    /// The file of a table.
    pub fn file(&self, table: &str) -> String {
        format!("{table}-{:012}.parquet", self.next)
    }

    /// Checks that files are what was written. Of vectors, which may be large, only the length is
    /// compared, unless `whole` is set.
    pub fn verify(&self, folder: &Folder, whole: bool) -> Result<(), Error> {
        for (name, written) in &self.files {
            if whole || !name.starts_with("vectors-") {
                folder.get_written(name, written)?;
            } else {
                folder.check_size(name, written)?;
            }
        }
        Ok(())
    }

    fn rows(&self, folder: &Folder, table: &str) -> Result<Rows, Error> {
        let name = self.file(table);
        let written = self.files.get(&name);
        let written = written.ok_or_else(|| folder.damaged(&name, "it is not named"))?;
        let content = folder.get_written(&name, written)?;
        Rows::decode(&folder.join(&name), content)
    }

    /// Reads all tables.
    pub fn read(&self, folder: &Folder, run: &RunInfo) -> Result<Tables, Error> {
        let read = |table: &str| self.rows(folder, table);
        let tables = Tables {
            statistics: table::decode_statistics(&read("statistics")?, true)?
                .with_each_target(run.each_target),
            samples: Samples::decode(&read("samples")?)?,
            skipped: Skipped::decode(&read("skipped")?)?,
            ..Tables::new(run)
        };
        if tables.skipped.len() as u64 != self.skipped {
            let reason = "it skips another number of samples than are listed";
            return Err(folder.damaged(STATE, reason).into());
        }
        tables.with_references(&read("references")?)
    }
}

/// Whether a file is one that a shard writes; nothing else may be read or removed.
fn is_table(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let kinds = TABLES.iter().chain(&["vectors"]);
    let known = kinds
        .map(|kind| format!("{kind}-"))
        .any(|start| name.starts_with(&start));
    known
        && name
            .strip_suffix(".parquet")
            .is_some_and(|stem| stem.chars().all(plain))
}

/// What is known of some samples of the data set.
#[derive(Clone, Debug)]
pub struct Tables {
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

    /// Reads references of the concepts that there are statistics of: those that no sample shows have
    /// no row of their own.
    pub fn with_references(mut self, rows: &Rows) -> Result<Self, Error> {
        for (key, concept, _) in self.statistics.totals() {
            self.references.reserve(key, concept + 1);
        }
        table::decode_references(rows, &mut self.references)?;
        Ok(self)
    }

    /// Adds samples.
    pub fn add(
        &mut self,
        strengths: Option<&Strengths>,
        samples: Vec<Sample>,
        skipped: Vec<Skipped>,
    ) {
        if let Some(strengths) = strengths {
            self.references.add(strengths);
            self.statistics.add(strengths);
        }
        self.samples.extend(samples);
        self.skipped.extend(skipped);
    }

    /// Adds those of other samples.
    pub fn merge(&mut self, other: Self) -> Result<(), Error> {
        self.references.merge(other.references)?;
        self.statistics.merge(&other.statistics)?;
        self.samples.extend(other.samples.into_vec());
        self.skipped.extend(other.skipped);
        Ok(())
    }

    /// Forgets the samples that are no references.
    fn tidy(&mut self) {
        let lists = self.references.lists();
        let numbers = lists.flat_map(|(_, _, list)| list.iter().map(|one| one.sample));
        let kept: BTreeSet<u64> = numbers.collect();
        self.samples.retain(&kept);
    }

    /// The content of each file; with `exact` sums, to go on adding.
    pub fn encode(&mut self, exact: bool) -> Result<[(&'static str, Vec<u8>); 4], Error> {
        self.tidy();
        self.skipped.sort_unstable_by_key(|one| one.number);
        let contents = [
            table::encode_references(&self.references)?,
            table::encode_statistics(&self.statistics, exact)?,
            self.samples.encode()?,
            Skipped::encode(&self.skipped)?,
        ];
        let mut contents = contents.into_iter();
        Ok(TABLES.map(|table| (table, contents.next().unwrap_or_default())))
    }
}
