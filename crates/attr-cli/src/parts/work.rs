//! Goes through the samples of a shard, and writes its parts.

use std::path::Path;
use std::time::Instant;

use attr_core::{Progress, Value, Values};
use attr_data::{Batch, Sample, read_ahead};
use serde::Serialize;
use serde::de::IgnoredAny;

use super::{Command, Left, Parts, Run, settings};
use crate::args::{DataArguments, ModelArguments, PartsArguments};
use crate::data::{Row, Source};
use crate::error::Error;
use crate::input::Inputs;
use crate::model::Opened;
use crate::progress::Bar;
use crate::{input, json, output, print};

/// A row of a data set.
pub type Numbered = attr_data::Row<Row>;

/// What is done with samples.
pub trait Work {
    /// What is known of a part, as JSON.
    type Content: Serialize;

    /// Adds a batch of rows.
    fn add(&mut self, rows: Vec<Numbered>) -> Result<(), Error>;

    /// Returns what the rows since the last call have given: arrays, and what else is known.
    fn take(&mut self) -> Result<(Option<Vec<u8>>, Self::Content), Error>;
}

/// What a shard holds, as JSON.
#[derive(Serialize)]
pub struct Summary {
    shard: u64,
    shards: u64,
    samples: u64,
    /// By this process, with those that it skipped.
    measured: u64,
    skipped: u64,
    time: f64,
}

/// Refuses a file for the summary that would overwrite what is read, or lie among the parts.
pub fn check_json(json: Option<&Path>, read: &[&Path]) -> Result<(), Error> {
    match json.filter(|path| path.as_os_str() != "-") {
        Some(path) => output::check(&[("--json", path, &[])], read),
        None => Ok(()),
    }
}

/// Does what is left of a shard.
pub fn run(
    parts: &Parts,
    shard: (u64, u64),
    ready: &Ready,
    quiet: bool,
    work: &mut impl Work,
) -> Result<Summary, Error> {
    let started = Instant::now();
    let mut open = Vec::new();
    for part in parts.of_shard(shard) {
        if !parts.is_done(part)? {
            open.push(part);
        }
    }
    let lengths = open.iter().map(|&part| {
        let samples = parts.samples(part);
        samples.end - samples.start
    });
    let measured: u64 = lengths.sum();
    let bar = Bar::new(quiet);
    bar.start(measured as usize);
    let batches = open.iter().flat_map(|&part| parts.batches(part));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut remaining = open.iter();
    let mut current = remaining.next();
    let mut skipped: Vec<Left> = Vec::new();
    let fits = |sample: &Sample| ready.fits(sample);
    let data = &ready.source.data;
    read_ahead(data, batches, threads, fits, |batch: Batch<Row>| {
        let range = batch.range;
        skipped.extend(batch.skipped.into_iter().map(Left::from));
        if !batch.rows.is_empty() {
            work.add(batch.rows)?;
        }
        bar.advance((range.end - range.start) as usize);
        if let Some(&part) = current.filter(|&&part| parts.samples(part).end == range.end) {
            let (arrays, content) = work.take()?;
            parts.put(part, arrays, std::mem::take(&mut skipped), content)?;
            current = remaining.next();
        }
        Ok::<(), Error>(())
    })?;
    bar.finish();
    let (mut samples, mut left) = (0, 0);
    for part in parts.of_shard(shard) {
        let range = parts.samples(part);
        samples += range.end - range.start;
        let found = parts.get::<IgnoredAny>(part)?;
        left += found.map_or(0, |found| found.skipped.len() as u64);
    }
    Ok(Summary {
        shard: shard.0,
        shards: shard.1,
        samples: samples - left,
        measured,
        skipped: left,
        time: started.elapsed().as_secs_f64(),
    })
}

impl Summary {
    /// Prints it, or writes it as JSON.
    pub fn say(&self, json: Option<&Path>, quiet: bool) -> Result<(), Error> {
        match json {
            Some(path) if path.as_os_str() == "-" => return json::print(self),
            Some(path) => {
                let mut outputs = output::Outputs::default();
                outputs.add(path, json::content(self)?);
                outputs.write()?;
            }
            None => {}
        }
        if quiet {
            return Ok(());
        }
        let skipped = match self.skipped {
            0 => String::new(),
            n => format!(", {n} skipped (`attrx merge` says why)"),
        };
        let work = match self.measured {
            0 => "nothing was left to do".into(),
            n => {
                let rate = n as f64 / self.time.max(1e-9);
                format!("{n} in {:.1} s, {rate:.1} per second", self.time)
            }
        };
        print(&format!(
            "shard {} of {} is done: {} samples{skipped}; {work}\n",
            self.shard, self.shards, self.samples
        ))
    }
}

/// The class that each sample is explained for.
pub enum Targets {
    /// Its label.
    Labels,
    /// That of a file, for each sample.
    Each(Vec<usize>),
    /// As without a data set.
    Given(Option<String>),
}

impl Targets {
    /// Parses `--target`.
    pub fn parse(text: Option<&str>, data: &attr_data::DataSet) -> Result<Self, Error> {
        match text {
            Some("labels") if !data.has_labels() => Err(Error::input(
                "--target labels: the data set has no labels; give a .npy with a class for each \
                 sample, or `predicted`",
            )),
            Some("labels") => Ok(Self::Labels),
            Some(path) if path.ends_with(".npy") => {
                let count = data.len() as usize;
                let array = input::array(path.as_ref(), attr_core::Kind::Int, |shape| {
                    let fits = shape == [count];
                    fits.then_some(()).ok_or_else(|| {
                        format!("it has shape {shape:?}, but there are {count} samples")
                    })
                })?;
                let classes = array.elements.to_ints().unwrap_or_default();
                let classes = classes.iter().map(|&class| usize::try_from(class));
                let classes = classes.collect::<Result<_, _>>().map_err(|_| {
                    Error::input(format!("--target {path}: it holds a negative class"))
                })?;
                Ok(Self::Each(classes))
            }
            text => Ok(Self::Given(text.map(String::from))),
        }
    }

    /// The text and the classes of some rows.
    pub fn of(&self, rows: &[Numbered]) -> (Option<String>, Option<Vec<usize>>) {
        match self {
            Self::Given(text) => (text.clone(), None),
            Self::Labels => {
                let labels = rows.iter().map(|row| row.label.unwrap_or_default());
                (None, Some(labels.collect()))
            }
            Self::Each(classes) => {
                let own = rows.iter().map(|row| classes[row.number as usize]);
                (None, Some(own.collect()))
            }
        }
    }
}

/// A data set, the model that was traced with its first sample, and a row's shape.
pub struct Ready {
    pub opened: Opened,
    pub source: Source,
    pub model: attr_core::Traced,
    pub shape: Vec<usize>,
    pub targets: Targets,
    /// Labels and classes of a file must be below this number.
    pub classes: Option<usize>,
}

impl Ready {
    /// Opens the model and the data set.
    pub fn new(
        arguments: &PartsArguments,
        model: &ModelArguments,
        target: Option<&str>,
    ) -> Result<Self, Error> {
        let data = arguments.data.clone();
        let data = DataArguments {
            data: data.ok_or_else(|| Error::input("--data is missing"))?,
            labels: None,
            image_column: arguments.image_column.clone(),
            label_column: arguments.label_column.clone(),
        };
        let opened = Opened::new(model)?;
        opened.check_only_data(model)?;
        let source = Source::open(&data, model, opened.ports())?;
        let targets = Targets::parse(target, &source.data)?;
        let example = source.example()?.array;
        let shape = example.shape.clone();
        let example = source.upload(vec![example], &opened.device)?;
        let example = Values::new(vec![example], vec![true]);
        let traced = opened.trace(model, &example)?;
        let classes = match targets {
            Targets::Labels | Targets::Each(_) => {
                let output = attr_core::Run::new().forward(&traced, &example)?.shape();
                let [_, classes] = output[..] else {
                    return Err(Error::input(format!(
                        "--target: the output has shape {output:?}, where [batch, classes] is \
                         needed"
                    )));
                };
                Some(classes)
            }
            Targets::Given(_) => None,
        };
        Ok(Self {
            opened,
            source,
            model: traced,
            shape,
            targets,
            classes,
        })
    }

    /// Describes what decides the results.
    pub fn run(
        &self,
        command: Command,
        (arguments, model): (&PartsArguments, &ModelArguments),
        more: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Run, Error> {
        let columns = [&arguments.image_column, &arguments.label_column];
        Run::new(
            command,
            &model.model,
            &self.source.data,
            (arguments.checkpoint, arguments.batch_size),
            settings(model, columns, more)?,
        )
    }

    /// Turns a sample into a row, or says why it is left out.
    pub fn fits(&self, sample: &Sample) -> Result<Row, String> {
        let labelled = self
            .classes
            .filter(|_| matches!(self.targets, Targets::Labels));
        let row = self.source.fitting(sample, &self.shape, labelled)?;
        match (&self.targets, self.classes) {
            (Targets::Each(each), Some(classes)) => {
                let class = each[sample.number as usize];
                let fits = class < classes;
                fits.then_some(row).ok_or_else(|| {
                    format!("its target is {class}, and the model has {classes} classes")
                })
            }
            _ => Ok(row),
        }
    }

    /// Rows as the model's inputs.
    pub fn inputs(&self, rows: Vec<Numbered>) -> Result<Inputs, Error> {
        let arrays = rows.into_iter().map(|row| row.item.array).collect();
        let value: Value = self.source.upload(arrays, &self.opened.device)?;
        Ok(Inputs {
            values: Values::new(vec![value], vec![true]),
            explained: vec![true],
            pictures: vec![None],
        })
    }
}
