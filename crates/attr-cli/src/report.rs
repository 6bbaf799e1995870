//! Runs `attrx report`.

use attr_core::{Kind, Value};
use attr_viz::{Map, Picture, Report, Sample, Shown};
use sha2::{Digest, Sha256};

use crate::answers::{self, Answer, Answers, Asked, Sweeps};
use crate::args::ReportArguments;
use crate::error::Error;
use crate::names::Names;
use crate::output::{self, Outputs};
use crate::picture;
use crate::print;
use crate::summary::{Summary, predicted};

/// How many predictions are listed for a sample.
const PREDICTIONS: usize = 5;

/// Explains by several methods and writes the report.
pub fn run(arguments: &ReportArguments) -> Result<(), Error> {
    let question = &arguments.question;
    let asked = answers::asked(question)?;
    let read = [question.model.model.as_path()];
    output::check(&[("--out", &arguments.out, &["html"])], &read)?;
    let found = answers::answer(&asked, question, Sweeps::None, |_| Ok(()))?;
    if let Some(failed) = all_failed(&found) {
        return Err(failed);
    }
    let report = report(arguments, &asked, &found)?;
    let html = report.to_html()?;
    let size = html.len();
    let mut outputs = Outputs::default();
    outputs.add(&arguments.out, html.into_bytes());
    outputs.write()?;
    if !question.model.quiet {
        let rows = found.inputs.values.rows();
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

fn report(arguments: &ReportArguments, asked: &[Asked], found: &Answers) -> Result<Report, Error> {
    let question = &arguments.question;
    let path = &question.model.model;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let title = arguments.title.clone().unwrap_or_else(|| name.to_string());
    let content = std::fs::read(path)
        .map_err(|error| Error::input(format!("cannot read {}: {error}", path.display())))?;
    let hash: String = Sha256::digest(&content)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let command: Vec<String> = std::env::args().skip(1).collect();
    let mut report = Report::new(title)
        .with_limit(arguments.limit.saturating_mul(1_000_000))
        .with_fact("model", name)
        .with_fact("model SHA-256", hash)
        .with_fact("attrx", env!("CARGO_PKG_VERSION"))
        .with_fact("device", question.model.device.to_string())
        .with_fact("command", format!("attrx {}", command.join(" ")));
    for (one, answer) in asked.iter().zip(&found.answers) {
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
    for layer in found.model.layers() {
        let sizes = layer
            .output_shape
            .trim_matches(['[', ']'])
            .split(", ")
            .skip(1);
        let shape = sizes.filter_map(|size| size.parse().ok()).collect();
        report = report.with_layer(layer.name, layer.operation, shape, None);
    }
    let rows = found.inputs.values.rows();
    for row in 0..rows {
        report.add(sample(question.model.input.first(), asked, found, row)?);
    }
    Ok(report)
}

/// The name, input, predictions and attributions of a row.
fn sample(
    file: Option<&String>,
    asked: &[Asked],
    found: &Answers,
    row: usize,
) -> Result<Sample, Error> {
    let values = &found.inputs.values;
    let first = (0..values.values().len())
        .find(|&i| values.explained(i))
        .unwrap_or(0);
    let input = &values.values()[first];
    let file = file.map_or("input", |file| {
        file.rsplit(['/', '=']).next().unwrap_or(file)
    });
    let name = match values.rows() {
        1 => file.to_string(),
        _ => format!("{file}, row {row}"),
    };
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
    for (one, answer) in asked.iter().zip(&found.answers) {
        let method = one.entry.name;
        match answer {
            Ok(answer) => {
                for shown in shown(one, answer, row, image.as_ref())? {
                    sample = sample.with(shown);
                }
            }
            Err(error) => {
                let target = some.map_or("target".into(), |answer| answer.summary.target_of(row));
                sample = sample.with(Shown::error(method, target, error.to_string()));
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
