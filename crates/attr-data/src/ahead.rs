//! Reading ahead: samples are read and prepared while earlier ones are in use.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::data_set::DataSet;
use crate::error::Error;
use crate::sample::{Content, Sample};

/// The number of batches read ahead of the one in use.
const AHEAD: usize = 2;

/// The samples of a range after preparation.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<T> {
    /// The numbers of its samples; those beyond the last sample are left out.
    pub range: Range<u64>,
    /// The samples, in the order of their numbers.
    pub rows: Vec<Row<T>>,
    /// The samples that could not be read or prepared, in the order of their numbers.
    pub skipped: Vec<Skipped>,
}

/// A sample after preparation.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<T> {
    /// Its number.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// Its label, if it has one.
    pub label: Option<usize>,
    /// What it was prepared to.
    pub item: T,
}

/// A sample that could not be read or prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its number.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// Why it was skipped.
    pub reason: String,
}

/// What became of a sample, or why reading ended.
type Outcome<T> = Result<Result<Row<T>, Skipped>, Error>;

/// A batch whose samples arrive in any order.
struct Pending<T> {
    range: Range<u64>,
    outcomes: Receiver<Outcome<T>>,
}

/// A sample to prepare, and where to send it.
struct Task<T> {
    sample: Sample,
    to: Sender<Outcome<T>>,
}

/// Reads the samples of each range in turn, prepares them, and gives them to `each`.
///
/// One thread reads, and `threads` others prepare, for example decode, while `each` runs on the
/// calling thread. It gets one batch for each range, in order. At most 2 batches wait for it, so that
/// memory is bounded by the size of the ranges. Samples that cannot be read, or for which `prepare`
/// returns a reason, are among those that were skipped.
///
/// The first error of `each` or of the data set ends everything; batches before a broken one are
/// given to `each`. A panic of `prepare` or `each` ends everything, too, and then panics here.
/// Ranges that follow one another without a gap are read as one stream, which is faster.
pub fn read_ahead<T: Send, E: From<Error>>(
    data: &DataSet,
    ranges: impl Iterator<Item = Range<u64>> + Send,
    threads: usize,
    prepare: impl Fn(&Sample) -> Result<T, String> + Sync,
    mut each: impl FnMut(Batch<T>) -> Result<(), E>,
) -> Result<(), E> {
    let threads = threads.max(1);
    let stopped = AtomicBool::new(false);
    let (prepare, stopped) = (&prepare, &stopped);
    thread::scope(|scope| {
        let (batches, pending) = sync_channel(AHEAD);
        let (tasks, queue) = sync_channel(2 * threads);
        // Once all that prepare have ended, even by a panic, the queue is gone and reading ends.
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            scope.spawn(move || work(&queue, prepare, stopped));
        }
        drop(queue);
        scope.spawn(move || read(data, ranges, &batches, &tasks, stopped));
        let _stop = Stop(stopped);
        for batch in pending {
            match gather(batch)? {
                Some(batch) => each(batch)?,
                // A thread panicked, and so does the scope.
                None => break,
            }
        }
        Ok(())
    })
}

/// Tells the other threads to stop when it is dropped, be it by an error or a panic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads samples until the ranges end, nobody waits for a batch, or the data set breaks.
fn read<T>(
    data: &DataSet,
    ranges: impl Iterator<Item = Range<u64>>,
    batches: &SyncSender<Pending<T>>,
    tasks: &SyncSender<Task<T>>,
    stopped: &AtomicBool,
) {
    let mut samples = data.samples(0..data.len());
    for range in ranges {
        let end = range.end.min(data.len());
        let range = range.start.min(end)..end;
        let (to, outcomes) = channel();
        let pending = Pending {
            range: range.clone(),
            outcomes,
        };
        if batches.send(pending).is_err() {
            return;
        }
        if samples.number() != range.start {
            samples = data.samples(range.start..data.len());
        }
        for sample in samples.by_ref().take((end - range.start) as usize) {
            let sample = match sample {
                Ok(sample) => sample,
                Err(error) => {
                    // It may be that nobody waits for it.
                    let _ = to.send(Err(error));
                    return;
                }
            };
            let to = to.clone();
            if stopped.load(Ordering::Relaxed) || tasks.send(Task { sample, to }).is_err() {
                return;
            }
        }
    }
}

/// Prepares samples until there are no more.
fn work<T>(
    queue: &Mutex<Receiver<Task<T>>>,
    prepare: &impl Fn(&Sample) -> Result<T, String>,
    stopped: &AtomicBool,
) {
    loop {
        let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Task { sample, to }) = task else {
            return;
        };
        if stopped.load(Ordering::Relaxed) {
            continue;
        }
        let item = match &sample.content {
            Content::Unreadable(reason) => Err(reason.clone()),
            _ => prepare(&sample),
        };
        let Sample {
            number,
            name,
            label,
            ..
        } = sample;
        let outcome = match item {
            Ok(item) => Ok(Row {
                number,
                name,
                label,
                item,
            }),
            Err(reason) => Err(Skipped {
                number,
                name,
                reason,
            }),
        };
        // It may be that nobody waits for it.
        let _ = to.send(Ok(outcome));
    }
}

/// Waits for a batch's samples; returns none if one never arrives.
fn gather<T>(pending: Pending<T>) -> Result<Option<Batch<T>>, Error> {
    let Pending { range, outcomes } = pending;
    let (mut rows, mut skipped) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome? {
            Ok(row) => rows.push(row),
            Err(sample) => skipped.push(sample),
        }
    }
    if (rows.len() + skipped.len()) as u64 != range.end - range.start {
        return Ok(None);
    }
    rows.sort_unstable_by_key(|row| row.number);
    skipped.sort_unstable_by_key(|sample| sample.number);
    Ok(Some(Batch {
        range,
        rows,
        skipped,
    }))
}
