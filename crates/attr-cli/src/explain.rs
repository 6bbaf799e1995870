//! Runs `attrx explain`.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use attr_core::{Target, Value, Values};
use attr_gradient::Shift;
use attr_onnx::Port;
use serde_json::{Value as Json, json};

use crate::args::ExplainArguments;
use crate::error::Error;
use crate::input::Inputs;
use crate::json;
use crate::methods::{self, Entry, LayerUse, Needs, Setup};
use crate::model::Opened;
use crate::output::{self, Outputs};
use crate::parameters::Given;
use crate::part::{Explained, Part, groups, rows_of};
use crate::picture::{self, Drawn};
use crate::print;
use crate::progress::Bar;
use crate::shift;
use crate::summary::{Summary, predicted};

/// Explains a prediction and writes the requested outputs.
pub fn run(arguments: &ExplainArguments) -> Result<(), Error> {
    // Check everything that can be checked before doing any work.
    let entry = methods::find(&arguments.method)?;
    let (given, needs) = given(arguments, entry)?;
    entry.build(
        given.clone(),
        &Setup {
            layers: arguments.layer.clone(),
            neuron: needs.neuron.then(|| (String::new(), Target::Single)),
            ..Setup::default()
        },
    )?;
    check_outputs(arguments)?;

    let verbose = |text: String| {
        if arguments.model.verbose {
            // The result matters more than a step that cannot be reported.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    };
    let opened = Opened::new(&arguments.model)?;
    verbose(format!("read {}", arguments.model.model.display()));
    let inputs = opened.read(&arguments.model)?;
    let start = Instant::now();
    let whole = opened.trace(&arguments.model, &inputs.values)?;
    let seconds = start.elapsed().as_secs_f64();
    verbose(format!(
        "traced {} layers in {seconds:.3} s",
        whole.layers().len()
    ));

    // Guided Grad-CAM takes a layer but explains the input: its file is checked again below.
    let attributed = match arguments.layer.len() {
        0 => names(&opened, &inputs.values, needs)
            .iter()
            .flatten()
            .count(),
        layers => layers,
    };
    let files = [
        ("--out", &arguments.out),
        ("--standard-error", &arguments.standard_error),
    ];
    for (flag, out) in files
        .into_iter()
        .filter_map(|(flag, out)| Some((flag, out.as_ref()?)))
    {
        if attributed < 2 || out.extension().is_none_or(|e| e != "npy") {
            continue;
        }
        return Err(Error::input(format!(
            "{flag} {}: .npy holds one attribution, not {attributed}; write a .safetensors file",
            out.display()
        )));
    }

    let bar = Bar::new(arguments.model.quiet);
    let start = Instant::now();
    let mut whole_target = None;
    let mut parts = Vec::new();
    for rows in groups(&whole, &inputs.values)? {
        let part = Part::new(arguments, needs, &opened, &whole, &inputs, &rows)?;
        let target = match whole_target.clone() {
            Some(target) => target,
            None => {
                let target = part.target(arguments, needs)?;
                check_rows(&target, inputs.values.rows())?;
                whole_target.insert(target).clone()
            }
        };
        parts.push(part.explain(
            arguments,
            (entry, needs),
            given.clone(),
            rows_of(&target, &rows),
            &bar,
        ));
    }
    bar.finish();
    let time = start.elapsed();
    let explained = Explained::join(parts.into_iter().collect::<Result<_, _>>()?)?;
    let target = whole_target.unwrap_or(Target::Predicted);

    let names: Vec<Option<String>> = if explained.at_layers {
        arguments.layer.iter().cloned().map(Some).collect()
    } else {
        names(&opened, &inputs.values, needs)
    };
    let errors = explained.errors.unwrap_or_default().into_iter();
    let errors = errors.zip(names.clone());
    let values = explained.values.into_iter().zip(names);
    let named = values.filter_map(|(value, name)| Some((name?, value?)));
    let summary = Summary {
        model: arguments.model.model.display().to_string(),
        method: entry.name,
        parameters: given.used(),
        device: arguments.model.device.to_string(),
        output_name: opened
            .file
            .output(arguments.model.output.as_deref())?
            .name
            .clone(),
        targets: targets(&target, &explained.output, explained.scores.len())?,
        output: explained.output,
        target: target.to_string(),
        scores: explained.scores,
        delta: explained.delta,
        r_squared: explained.r_squared,
        warnings: explained.warnings,
        errors: errors
            .filter_map(|(value, name)| Some((name?, value?)))
            .collect(),
        attributions: named.collect(),
        layers: arguments.layer.clone(),
        neuron: arguments.neuron.clone(),
        work: explained.work,
        time,
    };
    write(arguments, &summary, &inputs, &explained.shifts)
}

/// Refuses a target for each row unless there are as many as rows.
fn check_rows(target: &Target, rows: usize) -> Result<(), Error> {
    let given = match target {
        Target::Classes(classes) => classes.len(),
        Target::Indices(indices) => indices.len(),
        _ => rows,
    };
    if given == rows {
        return Ok(());
    }
    Err(attr_core::Error::TargetRows {
        expected: rows,
        got: given,
    }
    .into())
}

/// Returns each input's name, or none if it gets no attribution: integers have no gradient.
fn names(opened: &Opened, inputs: &Values, needs: Needs) -> Vec<Option<String>> {
    let ports = opened.ports().iter().enumerate();
    let name = |(i, port): (usize, &Port)| {
        let gets_one = if needs.gradients {
            inputs.attributed(i)
        } else {
            inputs.explained(i)
        };
        gets_one.then(|| port.name.clone())
    };
    ports.map(name).collect()
}

/// Checks the method-specific flags; returns the parameters (with the seed, if used) and the
/// method's needs.
fn given(arguments: &ExplainArguments, entry: &Entry) -> Result<(Given, Needs), Error> {
    let mut given = Given::parse(&arguments.set)?;
    let needs = entry.needs(&given)?;
    let refuse = |flag: &str| {
        Err(Error::input(format!(
            "{flag}: the method {} has no use for it",
            entry.name
        )))
    };
    let lacks =
        |flag: &str, what: &str| Err(Error::input(format!("{} needs {flag}, {what}", entry.name)));
    if !needs.baseline && !arguments.baseline.is_empty() {
        return refuse("--baseline");
    }
    match (needs.mask, arguments.feature_mask.is_empty()) {
        (false, false) => return refuse("--feature-mask"),
        (true, true) if needs.segments => {
            return lacks(
                "--feature-mask",
                "such as slic:50, or a .npy with a segment number for each pixel",
            );
        }
        _ => {}
    }
    match (needs.training, &arguments.training) {
        (false, Some(_)) => return refuse("--training"),
        (true, None) => return lacks("--training", "a .npy of rows like those of the input"),
        _ => {}
    }
    let files = [
        ("--encoder", &arguments.encoder),
        ("--decoder", &arguments.decoder),
        ("--video", &arguments.video),
        ("--sweep", &arguments.sweep),
    ];
    for (i, (flag, file)) in files.into_iter().enumerate() {
        match (needs.autoencoder, file) {
            (false, Some(_)) => return refuse(flag),
            (true, None) if i < 2 => return lacks(flag, "half of an autoencoder, as ONNX"),
            _ => {}
        }
    }
    match (needs.layer, arguments.layer.is_empty()) {
        (LayerUse::Refused, false) => {
            return Err(Error::input(format!(
                "--layer: {} explains the input only",
                entry.name
            )));
        }
        (LayerUse::Required, true) => {
            return lacks("--layer", "a layer name from `attrx layers`");
        }
        _ => {}
    }
    match (needs.neuron, &arguments.neuron, &arguments.target) {
        (true, None, _) => return lacks("--neuron", "such as conv2:3,0,0"),
        (false, Some(_), Some(_)) => {
            return Err(Error::input(
                "--neuron already sets the target; leave out --target",
            ));
        }
        _ => {}
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
    if let (true, Some(seed)) = (needs.seed, arguments.seed) {
        given.default("seed", seed);
    }
    Ok((given, needs))
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
        paths.push(("--image", image.as_path(), &["png"][..]));
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
    let model = &arguments.model;
    let texts = [
        &model.input,
        &model.constant,
        &arguments.baseline,
        &arguments.feature_mask,
    ];
    let texts = texts.into_iter().flatten().chain(&arguments.target);
    // NAME=FILE, or a file alone, whose name may have an equals sign.
    let files = texts.flat_map(|text| [Some(&text[..]), text.split_once('=').map(|pair| pair.1)]);
    let read = files
        .flatten()
        .map(Path::new)
        .chain([model.model.as_path()]);
    let others = [&arguments.training, &arguments.encoder, &arguments.decoder];
    let read: Vec<&Path> = read
        .chain(others.into_iter().flatten().map(|p| &**p))
        .collect();
    output::check(&paths, &read)
}

/// Returns the index explained in each row, or null for a weighted sum.
fn targets(target: &Target, output: &Value, rows: usize) -> Result<Vec<Json>, Error> {
    Ok(match target {
        Target::Class(class) => vec![json!(class); rows],
        Target::Classes(classes) => classes.iter().map(|class| json!(class)).collect(),
        Target::Index(index) => vec![json!(index); rows],
        Target::Indices(indices) => indices.iter().map(|index| json!(index)).collect(),
        Target::Predicted => {
            let classes = predicted(output)?.unwrap_or_else(|| vec![0; rows]);
            classes.into_iter().map(|class| json!(class)).collect()
        }
        Target::Single => vec![json!(0); rows],
        Target::Region(_) | Target::Function(_) | Target::Weights(_) => vec![Json::Null; rows],
    })
}

fn write(
    arguments: &ExplainArguments,
    summary: &Summary<'_>,
    inputs: &Inputs,
    shifts: &[Shift],
) -> Result<(), Error> {
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
        outputs.add(path, image(summary, inputs)?);
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
    } else if !arguments.model.quiet {
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

/// Draws the first attribution.
fn image(summary: &Summary<'_>, inputs: &Inputs) -> Result<Vec<u8>, Error> {
    let Some((_, attribution)) = summary.attributions.first() else {
        return Err(Error::input("--image: no input gets an attribution"));
    };
    let values = &inputs.values;
    let first = (0..values.values().len())
        .find(|&i| values.explained(i))
        .unwrap_or(0);
    let predicted = predicted(&summary.output)?;
    let labels = summary.scores.iter().enumerate().map(|(row, score)| {
        let target = match summary.targets.get(row) {
            Some(target) if !target.is_null() => target.to_string(),
            _ => summary.target.clone(),
        };
        let predicted = predicted.as_ref().and_then(|p| p.get(row));
        let predicted = predicted.map_or(String::new(), |p| format!("predicted {p}\n"));
        format!("{predicted}target {target}\nscore {score:.3}")
    });
    picture::draw(&Drawn {
        method: summary.method,
        labels: &labels.collect::<Vec<_>>(),
        attribution,
        input: &values.values()[first],
        picture: inputs.pictures[first].as_ref(),
    })
}
