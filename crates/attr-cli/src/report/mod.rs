//! Runs `attrx report`.
//!
//! ```text
//! mod.rs       what a report holds, of every method
//! concepts.rs  --index: concepts with their reference samples
//! ```

mod concepts;

use std::path::Path;

use attr_core::walk::Ledger;
use attr_core::{Kind, Target, Value};
use attr_lrp_crp::LrpConfig;
use attr_metrics::{Evaluation, Given, Metric, Score};
use attr_viz::{Map, Picture, Report, Sample, Shown};

use self::concepts::{Concepts, Found};
use crate::answers::{self, Answer, Answers, Asked, Sweeps};
use crate::args::ReportArguments;
use crate::error::Error;
use crate::names::Names;
use crate::output::{self, Outputs};
use crate::summary::{Summary, predicted};
use crate::{metrics, model, picture, print};

/// How many predictions are listed for a sample.
const PREDICTIONS: usize = 5;

/// Explains by several methods and writes the report.
pub fn run(arguments: &ReportArguments) -> Result<(), Error> {
    let question = &arguments.question;
    let asked = answers::asked(question)?;
    let measures = measures(arguments)?;
    let read = [question.model.model.as_path()];
    output::check(&[("--out", &arguments.out, &["html"])], &read)?;
    let concepts = Concepts::open(arguments)?;
    let first = answers::answer(&asked, question, Sweeps::None, |_| Ok(()))?;
    if let Some(failed) = all_failed(&first) {
        return Err(failed);
    }
    let mut found = vec![first];
    for rank in 1..arguments.top.unwrap_or(1) {
        let classes = ranked(&found[0], rank)?;
        let mut next = asked.clone();
        next.iter_mut()
            .for_each(|one| one.arguments.classes = Some(classes.clone()));
        found.push(answers::answer(&next, question, Sweeps::None, |_| Ok(()))?);
    }
    let concepts = concepts.map(|concepts| concepts.of(&found)).transpose()?;
    let report = report(arguments, &asked, &found, (&measures, concepts))?;
    let html = report.to_html()?;
    let size = html.len();
    let mut outputs = Outputs::default();
    outputs.add(&arguments.out, html.into_bytes());
    outputs.write()?;
    if !question.model.quiet {
        let rows = found[0].inputs.values.rows();
        print(&format!(
            "wrote {} ({:.1} MB): {}, {}\n",
            arguments.out.display(),
            size as f64 / 1e6,
            counted(rows, "sample"),
            counted(asked.len(), "method")
        ))?;
    }
    Ok(())
}

/// The metrics that judge the attributions: those that need nothing else.
fn measures(arguments: &ReportArguments) -> Result<Vec<Box<dyn Metric>>, Error> {
    let Some(names) = &arguments.metrics else {
        return Ok(Vec::new());
    };
    let measures = metrics::build(names, &[], arguments.question.seed)?;
    for metric in &measures {
        let about = metric.about();
        if about.needs.masks || about.needs.method {
            return Err(Error::input(format!(
                "--metrics: {} needs more than attributions; `attrx evaluate` has it",
                about.name
            )));
        }
    }
    Ok(measures)
}

/// Judges each method's attributions of the input, `[method][metric]`; nothing for what was found at
/// layers, failed, or has a target that is no class.
fn judged(found: &Answers, measures: &[Box<dyn Metric>]) -> Result<Vec<Vec<Score>>, Error> {
    let values = &found.inputs.values;
    let count = values.values().len();
    let first = values.first_explained();
    let each = found.answers.iter().map(|answer| {
        let Ok(answer) = answer else {
            return Ok(Vec::new());
        };
        let summary = &answer.summary;
        let class = |target: &serde_json::Value| usize::try_from(target.as_u64()?).ok();
        let classes: Option<Vec<usize>> = summary.targets.iter().map(class).collect();
        let (Some(classes), [(_, attribution)]) = (classes, &summary.attributions[..]) else {
            return Ok(Vec::new());
        };
        let fits = attribution.shape() == values.values()[first].shape();
        if !fits || summary.output.shape().len() != 2 {
            return Ok(Vec::new());
        }
        let mut given = vec![None; count];
        given[first] = Some(attribution.clone());
        let given = Given::new(given);
        let evaluation = Evaluation::new(&found.model, values, Target::Classes(classes));
        let scores = measures.iter();
        let scores = scores.map(|metric| Ok(evaluation.measure(&**metric, given.clone())?));
        scores.collect()
    });
    each.collect()
}

/// The class of each row that only `rank` others surpass.
fn ranked(found: &Answers, rank: usize) -> Result<Vec<usize>, Error> {
    let some = found.answers.iter().flatten().next();
    let output = some.map(|answer| &answer.summary.output);
    let (Some(output), Some(_)) = (output, output.map(predicted).transpose()?.flatten()) else {
        return Err(Error::input(
            "--top: the model's output is no list of classes",
        ));
    };
    let classes = output.shape()[1];
    if rank >= classes {
        return Err(Error::input(format!(
            "--top: there are only {classes} classes"
        )));
    }
    let scores = output.to_vec()?;
    let each = scores.chunks_exact(classes).map(|row| {
        let mut order: Vec<usize> = (0..classes).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        order[rank]
    });
    Ok(each.collect())
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// The first error, if no method has a result.
fn all_failed(found: &Answers) -> Option<Error> {
    if found.answers.iter().any(Result::is_ok) {
        return None;
    }
    let first = found
        .answers
        .iter()
        .find_map(|answer| answer.as_ref().err());
    first.map(|error| Error::input(error.to_string()))
}

fn report(
    arguments: &ReportArguments,
    asked: &[Asked],
    found: &[Answers],
    (measures, concepts): (&[Box<dyn Metric>], Option<Found>),
) -> Result<Report, Error> {
    let first = &found[0];
    let scores = found.iter().map(|found| judged(found, measures));
    let scores: Vec<Vec<Vec<Score>>> = scores.collect::<Result<_, _>>()?;
    let question = &arguments.question;
    let path = &question.model.model;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let title = arguments.title.clone().unwrap_or_else(|| name.to_string());
    let hash = model::hash(path)?;
    let command: Vec<String> = std::env::args()
        .skip(1)
        .map(|word| shown_word(&word))
        .collect();
    let mut report = Report::new(title)
        .with_limit(arguments.limit.saturating_mul(1_000_000))
        .with_fact("model", name)
        .with_fact("model SHA-256", hash)
        .with_fact("attrx", env!("CARGO_PKG_VERSION"))
        .with_fact("device", question.model.device.to_string())
        .with_fact("command", format!("attrx {}", command.join(" ")));
    for (one, answer) in asked.iter().zip(&first.answers) {
        if let Ok(answer) = answer {
            let summary = &answer.summary;
            let fact = format!(
                "{} in {:.3} s, {} evaluations",
                summary.parameters,
                summary.time.as_secs_f64(),
                summary.work.forward_rows
            );
            report = report.with_fact(one.entry.name, fact);
        }
    }
    let ledgers: Vec<Vec<_>> = found
        .iter()
        .map(|found| ledgers(asked, found))
        .collect::<Result<_, _>>()?;
    for layer in first.model.layers() {
        let sizes = layer
            .output_shape
            .trim_matches(['[', ']'])
            .split(", ")
            .skip(1);
        let shape = sizes.filter_map(|size| size.parse().ok()).collect();
        let share = share(&ledgers[0], &layer.name);
        report = report.with_layer(layer.name, layer.operation, shape, share);
    }
    let concepts = concepts.unwrap_or_default();
    for (name, drawings) in &concepts.references {
        report = report.with_references(name, drawings)?;
    }
    let file = question.model.input.first();
    for row in 0..first.inputs.values.rows() {
        let mut sample = sample(file, asked, (found, &scores), row)?;
        for shown in concepts.shown.get(row).into_iter().flatten() {
            sample = sample.with(shown.clone());
        }
        report.add(sample);
    }
    for (row, target, ledger) in ledgers.into_iter().flatten() {
        report = report.with_ledger(sample_name(file, first, row), target, ledger);
    }
    Ok(report)
}

/// The part of the first target's score that arrives at a layer as relevance, on average over rows.
fn share(ledgers: &[(usize, String, Ledger)], layer: &str) -> Option<f64> {
    let arrived = ledgers.iter().filter_map(|(_, _, ledger)| {
        let entry = ledger.entries.iter().find(|entry| entry.layer == layer)?;
        Some(entry.received / ledger.started)
    });
    let arrived: Vec<f64> = arrived.filter(|share| share.is_finite()).collect();
    let count = arrived.len();
    (count > 0).then(|| arrived.iter().sum::<f64>() / count as f64)
}

/// A word of the command line: files without their folders, which are nobody else's business, and
/// quoted where a shell needs it.
fn shown_word(word: &str) -> String {
    let (flag, value) = match word.split_once('=') {
        Some((flag, value)) => (format!("{flag}="), value),
        None => (String::new(), word),
    };
    let path = Path::new(value);
    let folder = path.parent().is_some_and(|folder| folder.is_dir());
    let value = match path.file_name() {
        Some(name) if folder => name.to_string_lossy(),
        _ => value.into(),
    };
    let plain = |c: char| c.is_alphanumeric() || "-_.,:=/+@%".contains(c);
    if value.chars().all(plain) {
        format!("{flag}{value}")
    } else {
        format!("{flag}'{}'", value.replace('\'', "'\\''"))
    }
}

/// Where the relevance of each row's target went, if LRP is among the methods.
fn ledgers(asked: &[Asked], found: &Answers) -> Result<Vec<(usize, String, Ledger)>, Error> {
    let mut all = asked.iter().zip(&found.answers);
    let lrp = all.find(|(one, _)| one.entry.name == "lrp");
    let Some((one, Ok(answer))) = lrp else {
        return Ok(Vec::new());
    };
    let summary = &answer.summary;
    let class = |target: &serde_json::Value| usize::try_from(target.as_u64()?).ok();
    let classes: Option<Vec<usize>> = summary.targets.iter().map(class).collect();
    let (Some(classes), 2) = (classes, summary.output.shape().len()) else {
        return Ok(Vec::new());
    };
    let lrp = one.given.clone().config::<LrpConfig>()?.build()?;
    let ledgers = lrp.ledgers(&found.model, &found.inputs.values, classes)?;
    let rows = ledgers.into_iter().enumerate();
    Ok(rows
        .map(|(row, ledger)| (row, summary.target_of(row), ledger))
        .collect())
}

fn sample_name(file: Option<&String>, found: &Answers, row: usize) -> String {
    let file = file.map_or("input", |file| {
        file.rsplit(['/', '=']).next().unwrap_or(file)
    });
    match found.inputs.values.rows() {
        1 => file.to_string(),
        _ => format!("{file}, row {row}"),
    }
}

/// The name, input, predictions and attributions of a row.
fn sample(
    file: Option<&String>,
    asked: &[Asked],
    (all, scores): (&[Answers], &[Vec<Vec<Score>>]),
    row: usize,
) -> Result<Sample, Error> {
    let found = &all[0];
    let values = &found.inputs.values;
    let first = values.first_explained();
    let input = &values.values()[first];
    let name = sample_name(file, found, row);
    let given = found.inputs.pictures[first].as_ref();
    let (turned, _) = picture::channels_first(input)?;
    let image = picture::original(given, &turned, row, input.shape().len() == 4)?;
    let mut sample = match &image {
        Some(image) => Sample::image(name, image)?,
        None => plain(name, input, row, &found.names)?,
    };
    let some = found.answers.iter().flatten().next();
    if let Some(answer) = some {
        sample = sample.with_predictions(predictions(&answer.summary, row)?);
    }
    for (found, scores) in all.iter().zip(scores) {
        let some = found.answers.iter().flatten().next();
        for ((one, answer), scores) in asked.iter().zip(&found.answers).zip(scores) {
            match answer {
                Ok(answer) => {
                    for mut shown in shown(one, answer, row, image.as_ref())? {
                        // A row for which a metric is not defined has no number to show.
                        for score in scores.iter().filter(|score| !score.values[row].is_nan()) {
                            let (value, higher) = (score.values[row], score.higher_is_better);
                            shown = shown.with_metric(&score.metric, value, higher);
                        }
                        sample = sample.with(shown);
                    }
                }
                Err(error) => {
                    let target = some.map(|answer| answer.summary.target_of(row));
                    let target = target.unwrap_or_else(|| "target".into());
                    sample = sample.with(Shown::error(one.entry.name, target, error.to_string()));
                }
            }
        }
    }
    Ok(sample)
}

/// A sample that is no image: a table's row, tokens, or a time series.
fn plain(name: String, input: &Value, row: usize, names: &Names) -> Result<Sample, Error> {
    let own = input.slice_rows(row..row + 1);
    let numbers = own.to_vec()?;
    Ok(match (input.kind(), &input.shape()[1..]) {
        (Kind::Int, _) => Sample::text(name, numbers.iter().map(|v| v.to_string())),
        (_, &[channels, length]) if channels * length > 0 => {
            let all = numbers.chunks(length).enumerate();
            Sample::series(name, all.map(|(i, c)| (format!("channel {i}"), c.to_vec())))
        }
        _ => {
            let features = numbers.iter().enumerate().map(|(i, value)| {
                let name = names.feature(i);
                let name = name.map_or(format!("feature {i}"), str::to_string);
                (name, value.to_string())
            });
            Sample::table(name, features)
        }
    })
}

fn predictions(summary: &Summary<'_>, row: usize) -> Result<Vec<(String, f32)>, Error> {
    let output = &summary.output;
    if predicted(output)?.is_none() {
        return Ok(Vec::new());
    }
    let scores = output.slice_rows(row..row + 1).to_vec()?;
    let mut ranked: Vec<(usize, f32)> = scores.into_iter().enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(PREDICTIONS);
    Ok(ranked
        .into_iter()
        .map(|(class, score)| (summary.names.class(class), score))
        .collect())
}

/// The attributions of one method for a row: one, or one for each layer.
fn shown(
    asked: &Asked,
    answer: &Answer,
    row: usize,
    image: Option<&Picture>,
) -> Result<Vec<Shown>, Error> {
    let summary = &answer.summary;
    let target = answer.summary.target_of(row);
    let regions = asked.needs.mask && !asked.arguments.feature_mask.is_empty();
    let map = if regions {
        Map::from_regions
    } else {
        Map::from_value
    };
    let mut all = Vec::new();
    for (i, (_, value)) in summary.attributions.iter().enumerate() {
        let (turned, _) = picture::channels_first(value)?;
        let numbers = || value.slice_rows(row..row + 1).to_vec();
        let name = summary.title(i);
        let method = &name[..];
        let mut shown = match (image, &value.shape()[1..]) {
            (Some(_), shape) if shape.len() >= 2 => match map(&turned, row) {
                Ok(map) => Shown::map(method, &target, &map),
                Err(error) => Shown::error(method, &target, error.to_string()),
            },
            (Some(_), _) => {
                let why = "This layer has no height and width to show over the image.";
                Shown::error(method, &target, why)
            }
            (None, &[channels, length]) if channels * length > 0 => {
                Shown::series(method, &target, channels, numbers()?)
            }
            _ => Shown::values(method, &target, numbers()?),
        };
        if regions {
            shown = shown.of_regions();
        }
        // Several rows go through the model together; none has a time of its own.
        if summary.scores.len() == 1 {
            shown = shown
                .with_seconds(summary.time.as_secs_f64())
                .with_evaluations(summary.work.forward_rows);
        }
        if let Some(delta) = summary.delta.as_ref().and_then(|delta| delta.get(row)) {
            shown = shown.with_delta(*delta);
        }
        all.push(shown);
    }
    Ok(all)
}
