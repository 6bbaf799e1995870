//! Runs `attrx explain`.

use std::path::Path;

use attr_core::Value;
use attr_viz::{Bars, Beeswarm};

use crate::answers::{self, Answer, Answers, Asked, Sweeps};
use crate::args::ExplainArguments;
use crate::error::Error;
use crate::json;
use crate::output::{self, Outputs};
use crate::parts;
use crate::picture::{self, Drawn};
use crate::print;
use crate::shift;
use crate::summary::{Summary, predicted};

/// Explains a prediction and writes the requested outputs.
pub fn run(arguments: &ExplainArguments) -> Result<(), Error> {
    if arguments.parts.data.is_some() {
        return parts::explain(arguments);
    }
    // Check everything that can be checked before doing any work.
    let mut asked = answers::asked(&arguments.question)?;
    for one in &mut asked {
        one.repeat = arguments.repeat.map_or(0, |repeat| repeat as usize);
    }
    check_gives(arguments, &asked)?;
    check_outputs(arguments)?;
    let sweeps = match (&arguments.sweep, &arguments.video) {
        (Some(_), _) => Sweeps::All,
        (None, Some(_)) => Sweeps::First,
        (None, None) => Sweeps::None,
    };
    let several = asked.len() > 1;
    let ready = |attributions: usize| one_file(arguments, attributions.max(asked.len()));
    let mut found = answers::answer(&asked, &arguments.question, sweeps, ready)?;
    let answers = found.answers.drain(..).collect::<Result<Vec<_>, _>>()?;
    if several {
        write_several(arguments, &answers, &found)
    } else {
        write(arguments, &answers[0], &found)
    }
}

/// Refuses an array file for several attributions.
fn one_file(arguments: &ExplainArguments, attributions: usize) -> Result<(), Error> {
    let files = [
        ("--out", &arguments.out),
        ("--standard-error", &arguments.standard_error),
    ];
    for (flag, out) in files
        .into_iter()
        .filter_map(|(flag, out)| Some((flag, out.as_ref()?)))
    {
        if attributions < 2 || out.extension().is_none_or(|e| e != "npy") {
            continue;
        }
        return Err(Error::input(format!(
            "{flag} {}: .npy holds one attribution, not {attributions}; write a .safetensors file",
            out.display()
        )));
    }
    Ok(())
}

/// Refuses outputs that the methods do not give.
fn check_gives(arguments: &ExplainArguments, asked: &[Asked]) -> Result<(), Error> {
    let [one] = asked else {
        let single = [
            ("--delta", &arguments.delta),
            ("--standard-error", &arguments.standard_error),
            ("--video", &arguments.video),
            ("--sweep", &arguments.sweep),
        ];
        return match single.iter().find(|(_, path)| path.is_some()) {
            Some((flag, _)) => Err(Error::input(format!("{flag}: give one --method for it"))),
            None => Ok(()),
        };
    };
    let (entry, needs) = (one.entry, one.needs);
    for (flag, file) in [("--video", &arguments.video), ("--sweep", &arguments.sweep)] {
        if file.is_some() && !needs.autoencoder {
            return Err(Error::input(format!(
                "{flag}: the method {} has no use for it",
                entry.name
            )));
        }
    }
    let gives = [
        (
            "--delta",
            arguments.delta.is_some(),
            needs.delta,
            "convergence delta",
        ),
        (
            "--standard-error",
            arguments.standard_error.is_some(),
            needs.errors,
            "standard errors",
        ),
    ];
    for (flag, wanted, given, what) in gives {
        if wanted && !given {
            return Err(Error::input(format!(
                "{flag}: the method {} has no {what}",
                entry.name
            )));
        }
    }
    Ok(())
}

fn check_outputs(arguments: &ExplainArguments) -> Result<(), Error> {
    let mut paths = Vec::new();
    if let Some(out) = &arguments.out {
        paths.push(("--out", out.as_path(), &["npy", "safetensors"][..]));
    }
    if let Some(delta) = &arguments.delta {
        paths.push(("--delta", delta.as_path(), &["npy"][..]));
    }
    if let Some(errors) = &arguments.standard_error {
        paths.push((
            "--standard-error",
            errors.as_path(),
            &["npy", "safetensors"][..],
        ));
    }
    if let Some(image) = &arguments.image {
        paths.push(("--image", image.as_path(), &["png", "svg"][..]));
    }
    if let Some(video) = &arguments.video {
        let extensions = &["gif", "png", "apng", "mp4"][..];
        paths.push(("--video", video.as_path(), extensions));
    }
    if let Some(sweep) = &arguments.sweep {
        paths.push(("--sweep", sweep.as_path(), &["safetensors"][..]));
    }
    if let Some(json) = arguments
        .json
        .as_ref()
        .filter(|json| json.as_os_str() != "-")
    {
        paths.push(("--json", json.as_path(), &[][..]));
    }
    output::check(&paths, &arguments.question.read_files())
}

fn write(arguments: &ExplainArguments, answer: &Answer, found: &Answers) -> Result<(), Error> {
    let (summary, shifts) = (&answer.summary, &answer.shifts);
    let mut outputs = Outputs::default();
    // What could not be computed; the rest is written all the same.
    let mut missing = None;
    if let Some(path) = &arguments.out {
        outputs.add(path, encoded(&summary.attributions, path)?);
    }
    if let Some(path) = &arguments.standard_error {
        if summary.errors.is_empty() {
            missing = Some(Error::input(format!(
                "--standard-error: {} drew too few samples; all other results were written",
                summary.method
            )));
        } else {
            outputs.add(path, encoded(&summary.errors, path)?);
        }
    }
    if let Some(path) = &arguments.delta {
        match &summary.delta {
            Some(delta) => outputs.add(path, crate::npy::encode(&[delta.len()], delta)?),
            None => {
                missing = Some(Error::input(format!(
                    "--delta: with these parameters, {} has no convergence delta; all other \
                     results were written",
                    summary.method
                )));
            }
        }
    }
    if let Some(path) = &arguments.image {
        outputs.add(path, image(&[answer], found, path)?);
    }
    if let (Some(path), Some(first)) = (&arguments.video, shifts.first()) {
        outputs.add(path, shift::video(first, path)?);
    }
    if let Some(path) = &arguments.sweep {
        outputs.add(path, shift::sweep(shifts)?);
    }
    let to_stdout = arguments
        .json
        .as_ref()
        .is_some_and(|path| path.as_os_str() == "-");
    if let Some(path) = arguments.json.as_ref().filter(|_| !to_stdout) {
        outputs.add(path, summary.as_json(|report| json::content(report))?);
    }
    outputs.write()?;
    if to_stdout {
        summary.as_json(|report| json::print(report))?;
    } else if !arguments.question.model.quiet {
        print(&summary.to_text()?)?;
    }
    missing.map_or(Ok(()), Err)
}

/// Encodes values in the path's file format; several become one file with an entry for each.
fn encoded(values: &[(String, Value)], path: &Path) -> Result<Vec<u8>, Error> {
    let named: Vec<(&str, &Value)> = values
        .iter()
        .map(|(name, value)| (&name[..], value))
        .collect();
    match (
        &named[..],
        path.extension().is_some_and(|e| e == "safetensors"),
    ) {
        ([(_, value)], false) => output::npy(value),
        _ => output::safetensors(&named),
    }
}

/// Writes what several methods found: one entry, column or summary for each.
fn write_several(
    arguments: &ExplainArguments,
    answers: &[Answer],
    found: &Answers,
) -> Result<(), Error> {
    let mut outputs = Outputs::default();
    let answers: Vec<&Answer> = answers.iter().collect();
    if let Some(path) = &arguments.out {
        let named = answers.iter().flat_map(|answer| {
            let all = &answer.summary.attributions;
            all.iter().map(|(name, value)| {
                let method = answer.summary.method;
                let name = match all.len() {
                    1 => method.to_string(),
                    _ => format!("{method}.{name}"),
                };
                (name, value.clone())
            })
        });
        outputs.add(path, encoded(&named.collect::<Vec<_>>(), path)?);
    }
    if let Some(path) = &arguments.image {
        outputs.add(path, image(&answers, found, path)?);
    }
    let summaries = answers.iter().map(|answer| {
        let summary = answer.summary.as_json(|report| json::content(report))?;
        serde_json::from_slice(&summary).map_err(|error| Error::other(error.to_string()))
    });
    let summaries = summaries.collect::<Result<Vec<serde_json::Value>, _>>()?;
    let to_stdout = arguments
        .json
        .as_ref()
        .is_some_and(|path| path.as_os_str() == "-");
    if let Some(path) = arguments.json.as_ref().filter(|_| !to_stdout) {
        outputs.add(path, json::content(&summaries)?);
    }
    outputs.write()?;
    if to_stdout {
        return json::print(&summaries);
    }
    if !arguments.question.model.quiet {
        for answer in &answers {
            print(&answer.summary.to_text()?)?;
        }
    }
    Ok(())
}

/// Draws the first attribution of each method.
fn image(answers: &[&Answer], found: &Answers, path: &Path) -> Result<Vec<u8>, Error> {
    if let [answer] = answers
        && let Some(chart) = table(&answer.summary)?
    {
        return chart.encode(path);
    }
    let mut columns = Vec::with_capacity(answers.len());
    for answer in answers {
        let Some((_, attribution)) = answer.summary.attributions.first() else {
            return Err(Error::input("--image: no input gets an attribution"));
        };
        columns.push((answer.summary.title(0), attribution));
    }
    let columns: Vec<(&str, &Value)> = columns.iter().map(|(name, v)| (&name[..], *v)).collect();
    let (summary, values) = (&answers[0].summary, &found.inputs.values);
    let first = values.first_explained();
    let predicted = predicted(&summary.output)?;
    let labels = summary.scores.iter().enumerate().map(|(row, score)| {
        let predicted = predicted.as_ref().and_then(|p| p.get(row));
        let predicted = predicted.map_or(String::new(), |&class| {
            format!("predicted {}\n", found.names.class(class))
        });
        let target = summary.target_of(row);
        format!("{predicted}target {target}\nscore {score:.3}")
    });
    let panel = picture::panel(&Drawn {
        columns: &columns,
        labels: &labels.collect::<Vec<_>>(),
        input: &values.values()[first],
        picture: found.inputs.pictures[first].as_ref(),
    })?;
    picture::encode(&panel, path)
}

/// The chart of a table: bars for one row, a beeswarm for several. `None` for what is no table.
fn table(summary: &Summary<'_>) -> Result<Option<Chart>, Error> {
    let Some(first) = summary.row(0)? else {
        return Ok(None);
    };
    let title = format!("{} of {}", summary.method, summary.target_of(0));
    if summary.scores.len() == 1 {
        let title = format!("{title}, score {:.3}", summary.scores[0]);
        let bars = Bars::new(&first).with_most(BARS).with_title(title);
        return Ok(Some(Chart::Bars(bars)));
    }
    let (Some(input), Some((_, value))) = (&summary.input, summary.attributions.first()) else {
        return Ok(None);
    };
    let columns = input.shape()[1];
    let names = (0..columns).map(|i| {
        let name = summary.names.feature(i);
        name.map_or(format!("feature {i}"), str::to_string)
    });
    let (values, input) = (value.to_vec()?, input.to_vec()?);
    let rows = values.chunks(columns).zip(input.chunks(columns));
    let swarm = Beeswarm::new(&names.collect::<Vec<_>>(), rows)?;
    let title = format!("{} of {} rows", summary.method, summary.scores.len());
    Ok(Some(Chart::Beeswarm(swarm.with_title(title))))
}

/// How many features of a row are drawn; the others become one bar.
const BARS: usize = 20;

enum Chart {
    Bars(Bars),
    Beeswarm(Beeswarm),
}

impl Chart {
    fn encode(&self, path: &Path) -> Result<Vec<u8>, Error> {
        match self {
            Self::Bars(bars) => picture::encode(bars, path),
            Self::Beeswarm(swarm) => picture::encode(swarm, path),
        }
    }
}
