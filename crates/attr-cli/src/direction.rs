//! Runs `attrx crp direction` and `attrx crp remove`: a concept's direction, and the model without it.

use std::path::Path;

use attr_core::Values;
use attr_data::{Batch, read_ahead};
use attr_index::{ConceptDirection, DirectionSearch};
use attr_onnx::DirectionRemoval;

use crate::args::{DataArguments, DirectionArguments, RemoveArguments};
use crate::data::{Row, Source};
use crate::error::Error;
use crate::model::Opened;
use crate::output::{self, Outputs};
use crate::{json, memory, print};

/// How many samples are read and run together.
const BATCH: u64 = 8;

/// Finds the direction of a concept.
pub fn find(arguments: &DirectionArguments) -> Result<(), Error> {
    let model = &arguments.model;
    let read = [&model.model, &arguments.with, &arguments.without];
    let read = read.map(|path| path.as_path());
    output::check(&[("--out", &arguments.out, &["json"])], &read)?;
    let opened = Opened::new(model)?;
    opened.check_only_data(model)?;
    let mut search = DirectionSearch::new(&arguments.layer);
    let mut counts = Vec::new();
    for (path, has_concept) in [(&arguments.with, true), (&arguments.without, false)] {
        let data = DataArguments {
            data: path.clone(),
            labels: None,
            image_column: arguments.image_column.clone(),
            label_column: "label".into(),
        };
        let source = Source::open(&data, model, opened.ports())?;
        counts.push(add(arguments, &opened, &source, &mut search, has_concept)?);
    }
    let found = search.find()?;
    let mut outputs = Outputs::default();
    outputs.add(&arguments.out, json::content(&found)?);
    outputs.write()?;
    if model.quiet {
        return Ok(());
    }
    print(&format!(
        "{}: {} examples with the concept, mean component {:+.6}; {} without it, {:+.6}\n",
        found.layer, counts[0], found.with, counts[1], found.without
    ))
}

/// Adds the samples of one data set; returns how many.
fn add(
    arguments: &DirectionArguments,
    opened: &Opened,
    source: &Source,
    search: &mut DirectionSearch,
    has_concept: bool,
) -> Result<u64, Error> {
    let example = source.example()?.array;
    let example = Values::new(
        vec![source.upload(vec![example], &opened.device)?],
        vec![true],
    );
    let model = opened.trace(&arguments.model, &example)?;
    memory::check(None, false, &model, &example)?;
    let samples = source.data.len();
    let batches = (0..samples.div_ceil(BATCH)).map(|i| i * BATCH..((i + 1) * BATCH).min(samples));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let prepare = |sample: &attr_data::Sample| source.row(sample);
    let mut count = 0;
    read_ahead(
        &source.data,
        batches,
        threads,
        prepare,
        |batch: Batch<Row>| {
            if let Some(one) = batch.skipped.first() {
                return Err(Error::input(format!("{}: {}", one.name, one.reason)));
            }
            let arrays: Vec<_> = batch.rows.into_iter().map(|row| row.item.array).collect();
            count += arrays.len() as u64;
            let value = source.upload(arrays, &opened.device)?;
            let values = Values::new(vec![value], vec![true]);
            Ok(search.add(&model, &values, has_concept)?)
        },
    )?;
    Ok(count)
}

/// Writes the model without a concept.
pub fn remove(arguments: &RemoveArguments) -> Result<(), Error> {
    let read = [arguments.model.as_path(), arguments.direction.as_path()];
    output::check(&[("--out", &arguments.out, &["onnx"])], &read)?;
    let found = direction(&arguments.direction)?;
    let removal = DirectionRemoval {
        layer: found.layer.clone(),
        rank: found.rank,
        channel_dim: found.channel_dim,
        to: arguments.to.unwrap_or(found.without),
        direction: found.direction,
    };
    let mut outputs = Outputs::default();
    outputs.add(&arguments.out, removal.apply(&arguments.model)?);
    outputs.write()?;
    if arguments.quiet {
        return Ok(());
    }
    print(&format!(
        "{}: the component along the direction is {:+.6} everywhere\n",
        found.layer, removal.to
    ))
}

/// Reads a direction.
fn direction(path: &Path) -> Result<ConceptDirection, Error> {
    let bad = |error: String| Error::input(format!("--direction {}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| bad(error.to_string()))
}
