//! One shard of an index while it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use attr_store::{Files, Folder, Guard, TEMPORARY};

use crate::index::ShardStatus;
use crate::samples::{Sample, Skipped};
use crate::state::{STATE, State, Stored, Tables};
use crate::vectors::ConceptVectors;
use crate::{Error, Mode, RunInfo, Strengths};

/// Writes one shard of an index, batch by batch.
///
/// Every [`checkpoint`](Self::with_checkpoint) samples, what was found is written, so that a process
/// that is stopped goes on from there when it is started again.
#[derive(Debug)]
pub struct ShardWriter {
    folder: Folder,
    run: RunInfo,
    checkpoint: u64,
    /// How far it is; on disk, it is what was written last.
    state: State,
    tables: Tables,
    /// Since the last checkpoint, by the start of a file's name.
    vectors: BTreeMap<String, ConceptVectors>,
    written_at: Option<u64>,
    /// The right to write the state, held as long as this writes.
    guard: Guard,
}

impl ShardWriter {
    /// Takes up a shard; `None` if it is finished.
    pub(crate) fn open(
        folder: &Folder,
        run: &RunInfo,
        hash: &str,
        shard: u64,
    ) -> Result<Option<Self>, Error> {
        let samples = run.samples_of(shard)?;
        let folder = folder.clone();
        folder.ensure()?;
        let guard = folder.lock(STATE)?;
        let read = || match State::load(&folder, run, hash, shard)? {
            Stored::Nothing => Ok(None),
            Stored::Foreign(there) => Err(Error::OtherRun {
                path: folder.path().into(),
                what: "the SHA-256 of run.json".into(),
                there,
                here: hash.into(),
            }),
            Stored::State(state) => {
                state.verify(&folder, true)?;
                Ok(Some((state.read(&folder, run)?, state)))
            }
        };
        let found = match read() {
            // It is made anew. What cannot be read is not touched.
            Err(Error::Damaged { .. }) => None,
            other => other?,
        };
        let written_at = found.as_ref().map(|(_, state)| state.next);
        let anew = || (Tables::new(run), State::new(hash, samples));
        let (tables, state) = found.unwrap_or_else(anew);
        // Without a lock, another process may just have written what its state does not name yet.
        if guard.is_exclusive() {
            clean(&folder, &state.files)?;
        }
        if state.done() && written_at.is_some() {
            return Ok(None);
        }
        Ok(Some(Self {
            folder,
            run: run.clone(),
            checkpoint: 500,
            state,
            tables,
            vectors: BTreeMap::new(),
            written_at,
            guard,
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

    /// The samples that are left.
    pub fn remaining(&self) -> Range<u64> {
        self.state.next..self.state.end
    }

    /// The samples of each batch that is left.
    pub fn batches(&self) -> impl Iterator<Item = Range<u64>> + Send + use<> {
        let (batch, Range { start, end }) = (self.run.batch, self.remaining());
        let mut next = start;
        std::iter::from_fn(move || {
            let first = next;
            next = first.saturating_add(batch).min(end);
            (first < end).then_some(first..next)
        })
    }

    /// Adds the next batch: what was measured, if anything was, who its samples are, and those that
    /// were left out. Every sample of the batch was either measured or left out; names may be missing.
    ///
    /// # Errors
    /// [`Error::Batch`] for another batch than the next one, other samples than its own, or other layers
    /// than the run's; [`Error::Parameter`] for strengths that 16 bits cannot hold, if vectors are kept.
    /// Nothing is added then. [`Error::File`] when a checkpoint cannot be written; [`Error::Busy`] when
    /// another process has written one, which only happens where there are no locks: drop this then.
    pub fn add(
        &mut self,
        batch: Range<u64>,
        strengths: Option<&Strengths>,
        samples: impl IntoIterator<Item = Sample>,
        skipped: impl IntoIterator<Item = Skipped>,
    ) -> Result<(), Error> {
        let samples: Vec<Sample> = samples.into_iter().collect();
        let skipped: Vec<Skipped> = skipped.into_iter().collect();
        self.check(&batch, strengths, &samples, &skipped)?;
        if let Some(strengths) = strengths.filter(|_| self.run.vectors) {
            for (number, layer) in strengths.layers().iter().enumerate() {
                let start = vectors_file(number / Mode::ALL.len(), layer.mode());
                let own = self.vectors.entry(start);
                let own = own.or_insert_with(|| ConceptVectors::of_layer(layer));
                own.add(strengths.samples(), strengths.targets(), layer);
            }
        }
        self.state.skipped += skipped.len() as u64;
        self.tables.add(strengths, samples, skipped);
        self.state.next = batch.end;
        let since = self.state.next - self.written_at.unwrap_or(self.state.first);
        if self.state.done() || since >= self.checkpoint {
            self.write()?;
        }
        Ok(())
    }

    /// Refuses what does not belong to the next batch.
    fn check(
        &self,
        batch: &Range<u64>,
        strengths: Option<&Strengths>,
        samples: &[Sample],
        skipped: &[Skipped],
    ) -> Result<(), Error> {
        let refused = |reason: String| Err(Error::Batch(reason));
        match self.batches().next() {
            Some(next) if next == *batch => {}
            Some(next) => return refused(format!("samples {batch:?} instead of {next:?}")),
            None => return refused(format!("samples {batch:?}, and the shard is done")),
        }
        let measured = strengths.map_or(&[][..], Strengths::samples);
        let left_out = skipped.iter().map(|one| one.number);
        let mut all: BTreeSet<u64> = measured.iter().copied().collect();
        if let Some(twice) = left_out.clone().find(|&number| !all.insert(number)) {
            return refused(format!(
                "sample {twice} was left out, and is there once more"
            ));
        }
        let named = samples.iter().map(|sample| sample.number);
        if let Some(other) = all
            .iter()
            .copied()
            .chain(named)
            .find(|number| !batch.contains(number))
        {
            return refused(format!("sample {other} is not one of {batch:?}"));
        }
        if let Some(missing) = batch.clone().find(|number| !all.contains(number)) {
            return refused(format!(
                "sample {missing} was neither measured nor left out"
            ));
        }
        let Some(strengths) = strengths else {
            return Ok(());
        };
        let layers = self.run.layers.iter();
        let expected = layers.flat_map(|layer| Mode::ALL.map(|mode| (&layer[..], mode)));
        let found = strengths
            .layers()
            .iter()
            .map(|one| (one.layer(), one.mode()));
        if !expected.eq(found) {
            return refused(format!(
                "the layers that were measured are not those of the run, {}, in this order",
                self.run.layers.join(", ")
            ));
        }
        if self.run.vectors {
            strengths
                .layers()
                .iter()
                .try_for_each(ConceptVectors::check)?;
        }
        Ok(())
    }

    /// Finishes the shard, and says what it holds.
    ///
    /// # Errors
    /// [`Error::Batch`] while batches are missing; [`Error::File`] and [`Error::Busy`] as for
    /// [`add`](Self::add).
    pub fn finish(mut self) -> Result<ShardStatus, Error> {
        if !self.state.done() {
            return Err(Error::Batch(format!(
                "samples {:?} are missing at the end of the shard",
                self.remaining()
            )));
        }
        // Its last batch could not be written, or it has none.
        if self.written_at != Some(self.state.end) {
            self.write()?;
        }
        // Now no other process can write the shard any more.
        if !self.guard.is_exclusive() {
            clean(&self.folder, &self.state.files)?;
        }
        Ok(ShardStatus::of(&self.state))
    }

    /// Writes what was found so far. Should it fail, what was written before is still there, and
    /// nothing that was found is forgotten.
    fn write(&mut self) -> Result<(), Error> {
        let before = std::mem::take(&mut self.state.files);
        let written = self.write_files(&before);
        if written.is_err() {
            self.state.files = before;
            return written;
        }
        self.vectors.clear();
        self.written_at = Some(self.state.next);
        for old in before.keys() {
            if !self.state.files.contains_key(old) {
                self.folder.remove(old)?;
            }
        }
        Ok(())
    }

    fn write_files(&mut self, before: &Files) -> Result<(), Error> {
        let vectors = before
            .iter()
            .filter(|(name, _)| name.starts_with("vectors-"));
        let mut files: Files = vectors
            .map(|(name, written)| (name.clone(), written.clone()))
            .collect();
        for (start, vectors) in &self.vectors {
            let name = self.state.file(start);
            let written = self.folder.put(&name, &vectors.encode()?)?;
            files.insert(name, written);
        }
        for (table, content) in self.tables.encode(true)? {
            let name = self.state.file(table);
            let written = self.folder.put(&name, &content)?;
            files.insert(name, written);
        }
        self.state.files = files;
        self.guard.put_json(&self.state)?;
        Ok(self.folder.sync()?)
    }
}

/// Removes what an interrupted process has left.
fn clean(folder: &Folder, files: &Files) -> Result<(), Error> {
    for name in folder.names()? {
        let own = name.starts_with(TEMPORARY) || name.ends_with(".parquet");
        if own && !files.contains_key(&name) {
            folder.remove(&name)?;
        }
    }
    Ok(())
}

/// The start of the names of files with the concept vectors of a layer, by its number in the run.
pub(crate) fn vectors_file(layer: usize, mode: Mode) -> String {
    format!("vectors-{layer:03}-{}", mode.name())
}
