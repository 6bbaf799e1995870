//! `attrx crp index`: measures one shard of a data set.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use attr_core::walk::GradientEverywhere;
use attr_core::{Progress, Run, Target, Traced, Values};
use attr_data::{Batch, read_ahead};
use attr_index::{
    Index, MaxTarget, Reference, ReferenceSearch, RunInfo, Sample, ShardStatus, ShardWriter,
    Skipped,
};
use attr_lrp_crp::channel_dim;
use glob::Pattern;
use serde::Serialize;

use crate::args::{IndexArguments, Reduction};
use crate::data::{Row, Source};
use crate::error::Error;
use crate::model::Opened;
use crate::progress::Bar;
use crate::{asked, json, memory, model, print, shard};

/// What a shard holds, as JSON.
#[derive(Serialize)]
struct Summary {
    shard: u64,
    shards: u64,
    samples: u64,
    /// By this process, with those that it skipped.
    measured: u64,
    skipped: u64,
    time: f64,
}

/// Measures the shard that the arguments name.
pub fn run(arguments: &IndexArguments) -> Result<(), Error> {
    let (shard, shards) = shard::parse(&arguments.shard)?;
    let config = asked::config("crp index", &arguments.set)?;
    let composite = config.composite()?;
    let opened = Opened::new(&arguments.model)?;
    opened.check_only_data(&arguments.model)?;
    let source = Source::open(&arguments.data, &arguments.model, opened.ports())?;
    let example = source.example()?.array;
    let shape = example.shape.clone();
    let example = Values::new(
        vec![source.upload(vec![example], &opened.device)?],
        vec![true],
    );
    let model = opened.trace(&arguments.model, &example)?;
    memory::check(arguments.memory, true, &model, &example)?;
    let layers = layers(&arguments.layers, &model)?;
    let output = Run::new().forward(&model, &example)?.shape();
    let [_, classes] = output[..] else {
        return Err(Error::input(format!(
            "the model's output has shape {output:?}, where [batch, classes] is needed"
        )));
    };
    let targets = Targets::parse(
        arguments.targets.as_deref(),
        source.data.has_labels(),
        classes,
    )?;

    check_tables(arguments, &model, &example, &layers, classes)?;

    let search = ReferenceSearch::new(composite, layers)
        .with_max_target(match arguments.max_target {
            Reduction::Sum => MaxTarget::Sum,
            Reduction::Max => MaxTarget::Max,
        })
        .with_abs_norm(arguments.abs_norm);
    let description = RunInfo {
        shards,
        batch: arguments.batch_size,
        sample_size: arguments.sample_size,
        each_target: arguments.each_target,
        vectors: arguments.vectors,
        settings: settings(arguments, &config, &targets)?,
        ..RunInfo::new(
            &search,
            model::hash(&arguments.model.model)?,
            source.data.fingerprint(),
            source.data.len(),
        )
    };
    let index = Index::create(&arguments.out, &description)?;
    let started = Instant::now();
    let (mut measured, status) = (0, index.shard_status(shard)?);
    let status = match taken_up(&index, shard, arguments.wait)? {
        None => status,
        Some(writer) => {
            let writer = writer.with_checkpoint(arguments.checkpoint);
            let bar = Bar::new(arguments.model.quiet);
            let remaining = writer.remaining();
            measured = remaining.end - remaining.start;
            bar.start(measured as usize);
            let work = Work {
                arguments,
                source: &source,
                shape,
                opened: &opened,
                model: &model,
                search: &search,
                targets,
            };
            let status = work.measure(writer, &bar)?;
            bar.finish();
            status
        }
    };
    let ShardStatus::Done { samples, skipped } = status else {
        return Err(Error::other(
            "another process has just finished this shard; run it again",
        ));
    };
    let summary = Summary {
        shard,
        shards,
        samples,
        measured,
        skipped,
        time: started.elapsed().as_secs_f64(),
    };
    if arguments.json {
        return json::print(&summary);
    }
    if arguments.model.quiet {
        return Ok(());
    }
    print(&said(&summary))
}

/// Takes up a shard, after waiting for another process that writes it.
fn taken_up(index: &Index, shard: u64, wait: u64) -> Result<Option<ShardWriter>, Error> {
    let begun = Instant::now();
    loop {
        match index.shard(shard) {
            Err(attr_index::Error::Busy { .. }) if begun.elapsed().as_secs() < wait => {
                std::thread::sleep(Duration::from_millis(500));
            }
            other => return Ok(other?),
        }
    }
}

/// What is printed about a shard.
fn said(summary: &Summary) -> String {
    let Summary {
        shard,
        shards,
        samples,
        measured,
        skipped,
        time,
    } = summary;
    let skipped = match skipped {
        0 => String::new(),
        n => format!(", {n} skipped (skipped.parquet says why, once shards are merged)"),
    };
    let rate = *measured as f64 / time.max(1e-9);
    let work = match measured {
        0 => "nothing was left to do".into(),
        n => format!("{n} in {time:.1} s, {rate:.1} per second"),
    };
    format!("shard {shard} of {shards} is done: {samples} samples{skipped}; {work}\n")
}

/// What measuring takes.
struct Work<'a, C> {
    arguments: &'a IndexArguments,
    source: &'a Source,
    /// That of a row.
    shape: Vec<usize>,
    opened: &'a Opened,
    model: &'a Traced,
    search: &'a ReferenceSearch<C>,
    targets: Targets,
}

impl<C: attr_core::walk::Composite> Work<'_, C> {
    /// Measures what is left of a shard.
    fn measure(&self, mut writer: ShardWriter, bar: &Bar) -> Result<ShardStatus, Error> {
        let batches = writer.batches();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let prepare = |sample: &attr_data::Sample| self.prepare(sample);
        let budget = memory::budget(self.arguments.memory, self.model);
        let data = &self.source.data;
        read_ahead(data, batches, threads, prepare, |batch: Batch<Row>| {
            let skipped = batch.skipped.into_iter().map(|one| Skipped {
                number: one.number,
                name: one.name,
                reason: one.reason,
            });
            let skipped: Vec<Skipped> = skipped.collect();
            let (mut arrays, mut samples) = (Vec::new(), Vec::new());
            for row in batch.rows {
                arrays.push(row.item.array);
                samples.push(Sample {
                    number: row.number,
                    name: row.name,
                    label: row.label,
                });
            }
            let strengths = if arrays.is_empty() {
                None
            } else {
                let value = self.source.upload(arrays, &self.opened.device)?;
                let values = Values::new(vec![value], vec![true]);
                let numbers: Vec<u64> = samples.iter().map(|sample| sample.number).collect();
                let labels = samples
                    .iter()
                    .map(|sample| sample.label.unwrap_or_default());
                let target = match self.targets {
                    Targets::Labels(_) => Target::Classes(labels.collect()),
                    Targets::Predicted => Target::Predicted,
                    Targets::Class(class) => Target::Class(class),
                };
                let run = Run::new().with_budget(budget);
                Some(
                    self.search
                        .measure_with(self.model, &values, &numbers, target, &run)?,
                )
            };
            bar.advance((batch.range.end - batch.range.start) as usize);
            writer.add(batch.range, strengths.as_ref(), samples, skipped)?;
            Ok::<(), Error>(())
        })?;
        Ok(writer.finish()?)
    }

    /// Turns a sample into a row with a class, or says why it is left out.
    fn prepare(&self, sample: &attr_data::Sample) -> Result<Row, String> {
        let classes = match self.targets {
            Targets::Labels(classes) => Some(classes),
            Targets::Predicted | Targets::Class(_) => None,
        };
        self.source.fitting(sample, &self.shape, classes)
    }
}

/// The class that each sample is explained for.
enum Targets {
    /// Its label, of this many classes.
    Labels(usize),
    Predicted,
    Class(usize),
}

impl Targets {
    fn parse(text: Option<&str>, has_labels: bool, classes: usize) -> Result<Self, Error> {
        match text {
            None if has_labels => Ok(Self::Labels(classes)),
            None | Some("predicted") => Ok(Self::Predicted),
            Some("labels") if has_labels => Ok(Self::Labels(classes)),
            Some("labels") => Err(Error::input(
                "--targets labels: the data set has no labels; give them with --labels, or use \
                 --targets predicted",
            )),
            Some(text) => {
                let class = text.parse().ok().filter(|class| *class < classes);
                class.map(Self::Class).ok_or_else(|| {
                    Error::input(format!(
                        "--targets {text}: give labels, predicted, or a class below {classes}"
                    ))
                })
            }
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Labels(_) => "labels".into(),
            Self::Predicted => "predicted".into(),
            Self::Class(class) => class.to_string(),
        }
    }
}

/// Refuses tables that would take more memory than allowed.
fn check_tables(
    arguments: &IndexArguments,
    model: &Traced,
    example: &Values,
    layers: &[String],
    classes: usize,
) -> Result<(), Error> {
    let names: Vec<&str> = layers.iter().map(String::as_str).collect();
    let plan = model.plan(&GradientEverywhere, example)?;
    let mut concepts = 0;
    for (name, value) in names.iter().zip(model.activations(example, &names)?) {
        let shape = value.shape();
        let dim = channel_dim(plan.node(name)?, shape.len());
        concepts += shape.get(dim).copied().unwrap_or(1);
    }
    let lists = if arguments.each_target {
        1 + classes
    } else {
        1
    };
    // Both modes; a list has room for the next power of two.
    let size = arguments.sample_size.checked_next_power_of_two();
    let each = size_of::<Reference>() as f64 * size.unwrap_or(usize::MAX) as f64;
    let allowed = arguments.table_memory;
    let needed = ((2 * concepts * lists) as f64 * each / f64::from(1 << 20)).ceil();
    if needed <= allowed as f64 {
        return Ok(());
    }
    Err(Error::input(format!(
        "the tables of {concepts} channels may take {needed} MiB, more than the {allowed} MiB allowed; \
         use --each-target false, fewer --layers or a smaller --sample-size, or allow it with --table-memory \
         {needed}"
    )))
}

/// What decides the results beside what every index has.
fn settings(
    arguments: &IndexArguments,
    config: &attr_lrp_crp::LrpConfig,
    targets: &Targets,
) -> Result<BTreeMap<String, String>, Error> {
    let model = &arguments.model;
    let numbers = |numbers: &[f32]| {
        numbers
            .iter()
            .map(f32::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    let config = serde_json::to_string(config);
    let config = config.map_err(|error| Error::other(error.to_string()))?;
    let named = [
        ("lrp", config),
        ("targets", targets.describe()),
        ("image_column", arguments.data.image_column.clone()),
        ("label_column", arguments.data.label_column.clone()),
        ("output", model.output.clone().unwrap_or_default()),
        ("logits", model.logits.to_string()),
        ("size", model.size.clone().unwrap_or_default()),
        ("mean", numbers(&model.mean)),
        ("std", numbers(&model.std)),
        ("constants", model::contents(&model.constant)?),
    ];
    Ok(named
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect())
}

/// The model's layers that patterns name, in the model's order.
fn layers(patterns: &[String], model: &Traced) -> Result<Vec<String>, Error> {
    let all: Vec<String> = model
        .layers()
        .iter()
        .map(|layer| layer.name.clone())
        .collect();
    let mut chosen = vec![false; all.len()];
    for text in patterns {
        let pattern = Pattern::new(text)
            .map_err(|error| Error::input(format!("--layers {text}: {error}")))?;
        // A name may hold characters that mean something in a pattern.
        let fits = |name: &String| name == text || pattern.matches(name);
        let mut found = false;
        for (name, chosen) in all.iter().zip(&mut chosen) {
            if fits(name) {
                (*chosen, found) = (true, true);
            }
        }
        if !found {
            return Err(Error::input(format!(
                "--layers {text}: no layer has such a name; `attrx layers` lists them"
            )));
        }
    }
    let chosen = all.into_iter().zip(chosen).filter(|(_, chosen)| *chosen);
    Ok(chosen.map(|(name, _)| name).collect())
}
