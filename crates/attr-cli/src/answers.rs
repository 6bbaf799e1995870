//! Answers the question of the command line by one or several methods, for `attrx explain` and
//! `attrx report`.

use std::io::Write;
use std::time::{Duration, Instant};

use attr_core::{Target, Traced, Value, Values};
use attr_gradient::Shift;
use attr_onnx::Port;
use serde_json::{Value as Json, json};

use crate::args::QuestionArguments;
use crate::error::Error;
use crate::input::Inputs;
use crate::methods::{self, Entry, LayerUse, Needs, Setup};
use crate::model::Opened;
use crate::names::Names;
use crate::parameters::Given;
use crate::part::{Explained, Part, groups, rows_of};
use crate::progress::Bar;
use crate::summary::{Summary, predicted};

/// A method of the command line, with the flags that it has a use for.
#[derive(Clone)]
pub struct Asked {
    pub entry: &'static Entry,
    pub arguments: QuestionArguments,
    pub given: Given,
    pub needs: Needs,
    /// How often the method is run again to take its time.
    pub repeat: usize,
}

/// Returns the methods that the command line names, and checks all that can be checked before any
/// work.
pub fn asked(arguments: &QuestionArguments) -> Result<Vec<Asked>, Error> {
    let several = arguments.method.contains(',');
    asked_with(arguments, several)
}

/// As [`asked`]; with `ignore`, each method ignores the flags that it has no use for.
pub fn asked_with(arguments: &QuestionArguments, ignore: bool) -> Result<Vec<Asked>, Error> {
    let names: Vec<&str> = arguments.method.split(',').map(str::trim).collect();
    let entries = names.iter().map(|name| methods::find(name));
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    if let Some(i) = (1..names.len()).find(|&i| names[..i].contains(&names[i])) {
        return Err(Error::input(format!(
            "the method {} is named twice",
            names[i]
        )));
    }
    let sets = divided(&entries, &arguments.set)?;
    let all = entries.into_iter().zip(sets).map(|(entry, set)| {
        let mut own = arguments.clone();
        own.set = set;
        if ignore {
            leave_out(&mut own, entry)?;
        }
        let (given, needs) = given(&own, entry)?;
        let layers = if own.layer.is_empty() && needs.layer == LayerUse::Spatial {
            vec![String::new()]
        } else {
            own.layer.clone()
        };
        entry.build(
            given.clone(),
            &Setup {
                layers,
                neuron: needs.neuron.then(|| (String::new(), Target::Single)),
                ..Setup::default()
            },
        )?;
        Ok(Asked {
            entry,
            arguments: own,
            given,
            needs,
            repeat: 0,
        })
    });
    all.collect()
}

/// Leaves out what one of several methods has no use for.
fn leave_out(arguments: &mut QuestionArguments, entry: &Entry) -> Result<(), Error> {
    let needs = entry.needs(&Given::parse(&arguments.set)?)?;
    if !needs.baseline {
        arguments.baseline.clear();
    }
    if !needs.mask {
        arguments.feature_mask.clear();
    }
    if !needs.training {
        arguments.training = None;
    }
    if !needs.autoencoder {
        (arguments.encoder, arguments.decoder) = (None, None);
    }
    if !matches!(needs.layer, LayerUse::Required | LayerUse::Spatial) {
        arguments.layer.clear();
    }
    Ok(())
}

/// Divides the parameters among several methods: METHOD.KEY=VALUE goes to one, KEY=VALUE to all that
/// have it.
fn divided(entries: &[&'static Entry], set: &[String]) -> Result<Vec<Vec<String>>, Error> {
    if let [entry] = entries {
        // What it does not know, it says itself.
        let prefix = format!("{}.", entry.name);
        let own = set.iter();
        let own = own.map(|text| text.strip_prefix(&prefix).unwrap_or(text).to_string());
        return Ok(vec![own.collect()]);
    }
    let mut sets = vec![Vec::new(); entries.len()];
    for text in set {
        let key = text.split('=').next().unwrap_or_default().trim();
        let mut taken = false;
        for (entry, own) in entries.iter().zip(&mut sets) {
            let known = |key: &str| (entry.parameters)().iter().any(|p| p.name == key);
            if let Some(rest) = text.strip_prefix(&format!("{}.", entry.name)) {
                own.push(rest.to_string());
                taken = true;
            } else if known(key) {
                own.push(text.clone());
                taken = true;
            }
        }
        if !taken {
            return Err(Error::input(format!(
                "--set {text}: none of these methods has such a parameter"
            )));
        }
    }
    Ok(sets)
}

/// What the methods found.
pub struct Answers {
    pub inputs: Inputs,
    pub model: Traced,
    pub names: Names,
    /// One for each method, in order.
    pub answers: Vec<Result<Answer, Error>>,
}

/// What one method found.
pub struct Answer {
    pub summary: Summary<'static>,
    /// The sweeps of latent shift, if they are wanted.
    pub shifts: Vec<Shift>,
}

/// Which sweeps of latent shift are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweeps {
    None,
    First,
    All,
}

/// Runs the methods. `ready` checks, once the model is traced, whether what they return can be
/// written; it is told how many attributions each method returns.
pub fn answer(
    asked: &[Asked],
    arguments: &QuestionArguments,
    sweeps: Sweeps,
    ready: impl Fn(usize) -> Result<(), Error>,
) -> Result<Answers, Error> {
    let verbose = |text: String| {
        if arguments.model.verbose {
            // The result matters more than a step that cannot be reported.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    };
    let names_given = Names::read(arguments)?;
    let opened = Opened::new(&arguments.model)?;
    verbose(format!("read {}", arguments.model.model.display()));
    let inputs = opened.read(&arguments.model)?;
    names_given.check_features(explained_input(&inputs))?;
    let start = Instant::now();
    let whole = opened.trace(&arguments.model, &inputs.values)?;
    let seconds = start.elapsed().as_secs_f64();
    verbose(format!(
        "traced {} layers in {seconds:.3} s",
        whole.layers().len()
    ));
    for one in asked {
        // Guided Grad-CAM takes a layer but explains the input: its file is checked again later.
        ready(match one.arguments.layer.len() {
            0 => names(&opened, &inputs.values, one.needs)
                .iter()
                .flatten()
                .count(),
            layers => layers,
        })?;
    }
    let answers = asked.iter().map(|one| {
        let mut own = one.arguments.clone();
        if own.layer.is_empty() && one.needs.layer == LayerUse::Spatial {
            own.layer = vec![last_spatial(&whole)?];
        }
        one_answer(
            one,
            &own,
            (&opened, &whole, &inputs),
            (sweeps, &names_given),
        )
    });
    let answers = answers.collect();
    Ok(Answers {
        inputs,
        model: whole,
        names: names_given,
        answers,
    })
}

/// The first input that is explained.
fn explained_input(inputs: &Inputs) -> &Value {
    let values = &inputs.values;
    &values.values()[values.first_explained()]
}

/// The last layer whose output has channels, height and width: where class activation maps look.
pub fn last_spatial(model: &Traced) -> Result<String, Error> {
    let spatial = |shape: &str| {
        let sizes: Vec<&str> = shape.trim_matches(['[', ']']).split(", ").collect();
        let [_, _, height, width] = sizes[..] else {
            return false;
        };
        [height, width].iter().any(|size| *size != "1")
    };
    let layers = model.layers();
    let found = layers
        .iter()
        .rev()
        .find(|layer| spatial(&layer.output_shape));
    let found = found.ok_or_else(|| {
        Error::input("this method needs --layer: no layer of this model has height and width")
    })?;
    Ok(found.name.clone())
}

/// Runs one method on inputs of a model that is traced already.
pub fn of_inputs(
    asked: &Asked,
    (opened, whole, inputs): (&Opened, &Traced, &Inputs),
    names: &Names,
) -> Result<Answer, Error> {
    let mut own = asked.arguments.clone();
    if own.layer.is_empty() && asked.needs.layer == LayerUse::Spatial {
        own.layer = vec![last_spatial(whole)?];
    }
    one_answer(asked, &own, (opened, whole, inputs), (Sweeps::None, names))
}

fn one_answer(
    asked: &Asked,
    arguments: &QuestionArguments,
    (opened, whole, inputs): (&Opened, &Traced, &Inputs),
    (sweeps, given_names): (Sweeps, &Names),
) -> Result<Answer, Error> {
    let (entry, needs, given) = (asked.entry, asked.needs, &asked.given);
    let explain = |part: &Part, target: &Target, shown: (&Bar, Sweeps)| {
        let needs = (entry, needs);
        part.explain(arguments, needs, given.clone(), target.clone(), shown)
    };
    let bar = Bar::new(arguments.model.quiet);
    let start = Instant::now();
    let mut whole_target = None;
    let (mut parts, mut done) = (Vec::new(), Vec::new());
    for rows in groups(whole, &inputs.values)? {
        let part = Part::new(arguments, needs, opened, whole, inputs, &rows)?;
        given_names.check_labels(part.output())?;
        let target = match whole_target.clone() {
            Some(target) => target,
            None => {
                let target = part.target(arguments, needs)?;
                check_rows(&target, inputs.values.rows())?;
                whole_target.insert(target).clone()
            }
        };
        let target = rows_of(&target, &rows);
        parts.push(explain(&part, &target, (&bar, sweeps)));
        if asked.repeat > 0 {
            done.push((part, target));
        }
    }
    bar.finish();
    let mut time = start.elapsed();
    let explained = Explained::join(parts.into_iter().collect::<Result<_, _>>()?)?;
    // The run above has traced the model and prepared its weights.
    let mut times = Vec::with_capacity(asked.repeat);
    for _ in 0..asked.repeat {
        let (quiet, start) = (Bar::new(true), Instant::now());
        for (part, target) in &done {
            explain(part, target, (&quiet, Sweeps::None))?;
        }
        times.push(start.elapsed());
    }
    time = median(&times).unwrap_or(time);
    let target = whole_target.unwrap_or(Target::Predicted);
    let first = explained_input(inputs);

    let names: Vec<Option<String>> = if explained.at_layers {
        arguments.layer.iter().cloned().map(Some).collect()
    } else {
        names(opened, &inputs.values, needs)
    };
    let mut warnings = explained.warnings;
    if entry.name == "lrp" && !explained.at_layers {
        warnings.extend(lost(&explained.values, &explained.scores)?);
    }
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
        warnings,
        errors: errors
            .filter_map(|(value, name)| Some((name?, value?)))
            .collect(),
        attributions: named.collect(),
        layers: arguments.layer.clone(),
        names: given_names.clone(),
        input: (first.shape().len() == 2).then(|| first.clone()),
        neuron: arguments.neuron.clone(),
        work: explained.work,
        time,
        times,
    };
    Ok(Answer {
        summary,
        shifts: explained.shifts,
    })
}

/// The median of some times.
fn median(times: &[Duration]) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some((*lower + *upper) / 2)
}

/// Says which rows lose nearly all relevance on its way: their maps look no worse for it.
fn lost(values: &[Option<Value>], scores: &[f32]) -> Result<Option<String>, Error> {
    let mut arrived = vec![0f64; scores.len()];
    for value in values.iter().flatten() {
        let numbers = value.to_vec()?;
        let each = (numbers.len() / scores.len().max(1)).max(1);
        for (sum, row) in arrived.iter_mut().zip(numbers.chunks(each)) {
            *sum += row.iter().map(|v| f64::from(*v)).sum::<f64>();
        }
    }
    let shares = arrived
        .iter()
        .zip(scores)
        .map(|(sum, score)| sum / f64::from(*score));
    let least = shares
        .filter(|share| share.is_finite())
        .fold(1f64, |least, share| {
            if share.abs() < least.abs() {
                share
            } else {
                least
            }
        });
    Ok((least.abs() < 0.1).then(|| {
        format!(
            "only {:.2} % of a row's score reaches the input as relevance; `attrx lrp check` says \
             where the rest goes",
            100.0 * least
        )
    }))
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
fn given(arguments: &QuestionArguments, entry: &Entry) -> Result<(Given, Needs), Error> {
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
    ];
    for (flag, file) in files {
        match (needs.autoencoder, file) {
            (false, Some(_)) => return refuse(flag),
            (true, None) => return lacks(flag, "half of an autoencoder, as ONNX"),
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
    if let (true, Some(seed)) = (needs.seed, arguments.seed) {
        given.default("seed", seed);
    }
    Ok((given, needs))
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
