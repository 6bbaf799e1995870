//! Runs `attrx tune`.

use std::path::Path;

use attr_core::{Kind, Method, Traced};
use attr_metrics::{Halving, Tuned};
use serde_json::json;

use crate::answers::{self, Asked};
use crate::args::TuneArguments;
use crate::error::Error;
use crate::ground::{self, Ground};
use crate::layout;
use crate::model::Opened;
use crate::output::{self, Outputs};
use crate::progress::Bar;
use crate::{json, metrics, print};

/// A parameter and the values to try.
struct Varied {
    key: String,
    values: Vec<String>,
}

/// What the method as it is is called.
const DEFAULT: &str = "default";

/// The most combinations that are tried.
const MOST: usize = 256;

/// Tunes a method and writes what was found.
pub fn run(arguments: &TuneArguments) -> Result<(), Error> {
    let measure = metrics::build(
        &arguments.metric,
        &arguments.ground.metric_set,
        arguments.ground.seed,
    )?;
    let [measure] = &measure[..] else {
        return Err(Error::input("--metric: give one metric"));
    };
    if measure.about().needs.masks && arguments.ground.masks.is_none() {
        return Err(Error::input(format!(
            "{} needs --masks, a .npy of ground truth",
            measure.about().name
        )));
    }
    if arguments.method != "occlusion" {
        ground::check_methods(&arguments.method, &arguments.set)?;
    }
    let default = asked(arguments, &[])?;
    if let Some(path) = arguments
        .json
        .as_deref()
        .filter(|path| *path != Path::new("-"))
    {
        output::check(&[("--json", path, &[])], &arguments.ground.read_files())?;
    }
    let model = &arguments.ground.model;
    let (opened, inputs, traced) = Opened::with_inputs(model)?;
    let gradients = default.needs.gradients;
    let ground = Ground::of(
        &arguments.ground,
        (&opened, &traced),
        &inputs,
        None,
        gradients,
    )?;
    let varied = match &arguments.vary[..] {
        [] => usual(&arguments.method, &ground)?,
        texts => texts
            .iter()
            .map(|text| parse(text))
            .collect::<Result<_, _>>()?,
    };
    let combinations = combinations(&varied)?;
    let mut candidates: Vec<(String, Box<dyn Method>)> = Vec::new();
    if has_default(arguments, &varied) {
        candidates.push((DEFAULT.into(), ground.method(&default)?));
    }
    for combination in &combinations {
        let name: Vec<String> = combination
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let method = ground.method(&asked(arguments, combination)?)?;
        candidates.push((name.join(" "), method));
    }
    let bar = Bar::new(arguments.ground.model.quiet);
    let evaluation = ground.evaluation(arguments.ground.memory, &bar);
    let halving = Halving {
        held_out: arguments.held_out,
        seed: arguments.ground.seed.unwrap_or(0),
        ..Halving::default()
    };
    let all: Vec<(&str, &dyn Method)> = candidates
        .iter()
        .map(|(name, method)| (name.as_str(), &**method))
        .collect();
    let tuned = evaluation.tune(all[0].1, &all, &**measure, &halving);
    bar.finish();
    write(arguments, all[0].0, &tuned?)
}

/// Whether the method can be used as it is: not occlusion without a window. Then the first
/// combination takes its place.
fn has_default(arguments: &TuneArguments, varied: &[Varied]) -> bool {
    const WINDOW: &str = "sliding_window_shapes";
    let set = arguments.set.iter().any(|text| text.contains(WINDOW));
    arguments.method != "occlusion" || set || !varied.iter().any(|one| one.key == WINDOW)
}

/// The method with some parameters.
fn asked(arguments: &TuneArguments, varied: &[(&str, &str)]) -> Result<Asked, Error> {
    let mut question = arguments.ground.question(&arguments.method, &arguments.set);
    for (key, value) in varied {
        if *key == "baseline" {
            question.baseline = vec![(*value).to_string()];
        } else {
            question.set.push(format!("{key}={value}"));
        }
    }
    let bad = |error: Error| {
        let parts: Vec<String> = varied
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        match parts[..] {
            [] => error,
            _ => Error::input(format!("--vary {}: {error}", parts.join(" "))),
        }
    };
    let mut asked = answers::asked_with(&question, true).map_err(bad)?;
    let uses = asked.first().is_some_and(|one| one.needs.baseline);
    if varied.iter().any(|(key, _)| *key == "baseline") && !uses {
        return Err(Error::input(format!(
            "--vary baseline: the method {} has no baseline",
            arguments.method
        )));
    }
    if asked.len() != 1 {
        return Err(Error::input("--method: give one method"));
    }
    Ok(asked.remove(0))
}

fn parse(text: &str) -> Result<Varied, Error> {
    let bad = || {
        Error::input(format!(
            "--vary {text}: give KEY=VALUE|VALUE, with values to try"
        ))
    };
    let (key, values) = text.split_once('=').ok_or_else(bad)?;
    let values: Vec<String> = values
        .split('|')
        .map(|value| value.trim().to_string())
        .collect();
    if key.trim().is_empty() || values.iter().any(String::is_empty) {
        return Err(bad());
    }
    Ok(Varied {
        key: key.trim().into(),
        values,
    })
}

/// Returns all combinations of the values.
fn combinations(varied: &[Varied]) -> Result<Vec<Vec<(&str, &str)>>, Error> {
    let mut all: Vec<Vec<(&str, &str)>> = vec![Vec::new()];
    for Varied { key, values } in varied {
        if all.len() * values.len() > MOST {
            return Err(Error::input(format!(
                "--vary: there are more than {MOST} combinations; try fewer values at once"
            )));
        }
        let longer = all.iter().flat_map(|start| {
            values.iter().map(move |value| {
                let mut combination = start.clone();
                combination.push((key.as_str(), value.as_str()));
                combination
            })
        });
        all = longer.collect();
    }
    Ok(all)
}

/// What is usually tuned for a method.
fn usual(method: &str, ground: &Ground<'_>) -> Result<Vec<Varied>, Error> {
    let values = &ground.inputs.values;
    let input = &values.values()[values.first_explained()];
    let shape = input.shape();
    let varied = |key: &str, values: Vec<String>| Varied {
        key: key.into(),
        values,
    };
    match method {
        "occlusion" if shape.len() == 4 => {
            let sides = [2, 3, 5, 8, 12, 16, 32];
            let least = shape[2].min(shape[3]);
            let sides = sides.iter().filter(|&&side| side * 2 <= least);
            let windows = sides.map(|side| format!("{},{side},{side}", shape[1]));
            let windows: Vec<String> = windows.collect();
            if windows.is_empty() {
                return Err(Error::input(
                    "occlusion: the image is too small for the usual windows; name some with \
                     --vary 'sliding_window_shapes=1,1,1|1,2,2'",
                ));
            }
            Ok(vec![varied("sliding_window_shapes", windows)])
        }
        "integrated-gradients" => {
            let mut baselines = vec!["0", "min", "max"];
            if shape.len() == 4 && input.kind() == Kind::Float {
                baselines.extend(["blur:2", "blur:5"]);
            }
            let baselines = baselines.into_iter().map(String::from);
            Ok(vec![varied("baseline", baselines.collect())])
        }
        "lrp" => Ok(vec![varied("layer_gammas", gammas(ground.model)?)]),
        _ => Err(Error::input(format!(
            "{method} has no usual values to try; name a parameter with --vary KEY=VALUE|VALUE"
        ))),
    }
}

/// Gammas layer by layer: the same in all linear layers, and larger in the first than in the last
/// ones, where relevance of either sign should stay apart.
fn gammas(model: &Traced) -> Result<Vec<String>, Error> {
    let layers = model.layers().into_iter();
    let layers: Vec<String> = layers
        .filter(|layer| layer.linear)
        .map(|layer| layer.name)
        .collect();
    let count = layers.len();
    if count == 0 {
        return Err(Error::input("lrp: the model has no linear layers"));
    }
    let text = |gamma: &dyn Fn(usize) -> f64| {
        let each = layers.iter().enumerate();
        let each = each.map(|(i, layer)| format!("{layer}:{}", gamma(i)));
        each.collect::<Vec<_>>().join(",")
    };
    let mut all: Vec<String> = Vec::new();
    for top in [0.0, 0.1, 0.25, 0.5, 1.0] {
        all.push(text(&|_| top));
        if top > 0.0 && count > 1 {
            for part in [1, 2] {
                all.push(text(&|i| if i * 3 < count * part { top } else { 0.0 }));
            }
        }
    }
    all.dedup();
    Ok(all)
}

/// Whether the difference exceeds the standard errors.
fn is_clear(tuned: &Tuned) -> bool {
    let error = |score: &attr_metrics::Score| score.standard_error().unwrap_or(f64::INFINITY);
    let (best, default) = (&tuned.best_score, &tuned.default_score);
    (best.mean() - default.mean()).abs() > error(best).hypot(error(default))
}

fn write(arguments: &TuneArguments, default: &str, tuned: &Tuned) -> Result<(), Error> {
    let report = json!({
        "method": arguments.method,
        "metric": tuned.best_score.metric,
        "default": default,
        "best": tuned.best,
        "is_better": tuned.is_better(),
        "held_out": {
            "rows": tuned.best_score.values.len(),
            "best": tuned.best_score.mean(),
            "best_standard_error": tuned.best_score.standard_error(),
            "default": tuned.default_score.mean(),
            "default_standard_error": tuned.default_score.standard_error(),
        },
        "rounds": tuned.rounds,
    });
    match arguments.json.as_deref() {
        Some(path) if path == Path::new("-") => return json::print(&report),
        Some(path) => {
            let mut outputs = Outputs::default();
            outputs.add(path, json::content(&report)?);
            outputs.write()?;
        }
        None => {}
    }
    if arguments.ground.model.quiet {
        return Ok(());
    }
    let mut text = String::new();
    for round in &tuned.rounds {
        text.push_str(&format!("on {} rows:\n", round.rows));
        let lines = round.candidates.iter();
        let lines = lines.map(|(name, mean)| vec![format!("  {mean:.4}"), name.clone()]);
        text.push_str(&layout::table(&lines.collect::<Vec<_>>(), &[0]));
    }
    let better = if tuned.best_score.higher_is_better {
        "higher"
    } else {
        "lower"
    };
    let error = |score: &attr_metrics::Score| {
        let error = score.standard_error();
        error.map_or(String::new(), |error| format!(" ± {error:.4}"))
    };
    text.push_str(&format!(
        "\n{} on {} rows held out ({better} is better; ± standard error):\n  {}: {:.4}{}\n  {default}: {:.4}{}\n{}\n",
        tuned.best_score.metric,
        tuned.best_score.values.len(),
        tuned.best,
        tuned.best_score.mean(),
        error(&tuned.best_score),
        tuned.default_score.mean(),
        error(&tuned.default_score),
        if tuned.best == default || !tuned.is_better() {
            format!("keep {default}")
        } else if !is_clear(tuned) {
            format!("{} is better by less than the errors: more rows would tell", tuned.best)
        } else {
            format!("use {}", tuned.best)
        }
    ));
    print(&text)
}
