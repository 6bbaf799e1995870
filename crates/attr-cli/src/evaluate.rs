//! Runs `attrx evaluate`.

use std::path::Path;
use std::time::{Duration, Instant};

use attr_core::{Kind, Method, Value};
use attr_metrics::{Comparison, Explainer, Given, Metric};
use attr_viz::Table;
use serde_json::{Value as Json, json};

use crate::answers;
use crate::args::EvaluateArguments;
use crate::error::Error;
use crate::ground::{self, Ground};
use crate::input;
use crate::output::{self, Outputs};
use crate::progress::Bar;
use crate::{json, metrics, picture, print};

/// What stands below the table.
const LEGEND: &str = "↑ higher and ↓ lower is better; ± 95 % confidence interval; * best of the \
                      metric; - not defined\n";

/// The name of given attributions in the table.
const GIVEN: &str = "attributions";

/// Judges explanations and writes the requested outputs.
pub fn run(arguments: &EvaluateArguments) -> Result<(), Error> {
    // Check everything that can be checked before doing any work.
    let set = match &arguments.metrics {
        Some(_) => arguments.ground.metric_set.clone(),
        None => metrics::usual_set(&arguments.ground.metric_set),
    };
    let mut measures = metrics::build(&named(arguments), &set, arguments.ground.seed)?;
    check_needs(arguments, &measures)?;
    check_outputs(arguments)?;
    let asked = match &arguments.methods {
        Some(methods) => {
            ground::check_methods(methods, &arguments.set)?;
            let question = arguments.ground.question(methods, &arguments.set);
            answers::asked_with(&question, true)?
        }
        None => Vec::new(),
    };
    if asked.is_empty() && !arguments.set.is_empty() {
        return Err(Error::input("--set: --attributions have no parameters"));
    }
    let gradients = asked.iter().any(|one| one.needs.gradients);
    let ground = Ground::new(&arguments.ground, gradients)?;
    // Only metrics that nobody asked for by name are left out.
    let mut left_out: Vec<String> = Vec::new();
    if arguments.metrics.is_none() {
        measures.retain(|metric| {
            let name = metric.about().name;
            let lacks = ground.lacks(name);
            left_out.extend(lacks.map(|why| format!("{name} is left out: {why}\n")));
            lacks.is_none()
        });
    }
    let built = asked
        .iter()
        .map(|one| Ok((one.entry.name, ground.method(one)?)));
    let built: Vec<(&str, Box<dyn Method>)> = built.collect::<Result<_, Error>>()?;
    let mut explainers: Vec<(&str, Explainer<'_>)> = built
        .iter()
        .map(|(name, method)| (*name, Explainer::Method(&**method)))
        .collect();
    if let Some(path) = &arguments.attributions {
        explainers.push((GIVEN, given(path, &ground)?.into()));
    }

    let bar = Bar::new(arguments.ground.model.quiet);
    let evaluation = ground.evaluation(arguments.ground.memory, &bar);
    let measures: Vec<&dyn Metric> = measures.iter().map(|metric| &**metric).collect();
    let mut times: Vec<Duration> = Vec::new();
    let mut last = Instant::now();
    let compared = evaluation.compare_each(&explainers, &measures, &mut |_, _| {
        times.push(last.elapsed());
        last = Instant::now();
    });
    bar.finish();
    write(arguments, &ground, &compared?, &times, &left_out.concat())
}

/// The metrics to measure.
fn named(arguments: &EvaluateArguments) -> String {
    if let Some(metrics) = &arguments.metrics {
        return metrics.clone();
    }
    let mut names: Vec<&str> = metrics::USUAL.split(',').collect();
    if arguments.ground.masks.is_some() {
        names.extend(metrics::USUAL_WITH_MASKS.split(','));
    }
    if arguments.attributions.is_some() {
        let explains = |name: &str| metrics::find(name).is_ok_and(|m| (m.about)().needs.method);
        names.retain(|name| !explains(name));
    }
    names.join(",")
}

/// Refuses metrics that cannot be measured with what is given.
fn check_needs(arguments: &EvaluateArguments, measures: &[Box<dyn Metric>]) -> Result<(), Error> {
    for metric in measures {
        let about = metric.about();
        if about.needs.masks && arguments.ground.masks.is_none() {
            return Err(Error::input(format!(
                "{} needs --masks, a .npy of ground truth",
                about.name
            )));
        }
        if about.needs.method && arguments.attributions.is_some() {
            return Err(Error::input(format!(
                "{} explains other inputs, targets or models, so it needs --methods in place of \
                 --attributions",
                about.name
            )));
        }
    }
    Ok(())
}

fn check_outputs(arguments: &EvaluateArguments) -> Result<(), Error> {
    let mut paths: Vec<(&str, &Path, &[&str])> = Vec::new();
    if let Some(path) = arguments
        .json
        .as_deref()
        .filter(|path| *path != Path::new("-"))
    {
        paths.push(("--json", path, &[]));
    }
    if let Some(path) = &arguments.csv {
        paths.push(("--csv", path, &["csv"]));
    }
    if let Some(path) = &arguments.image {
        paths.push(("--image", path, &["png", "svg"]));
    }
    let mut read = arguments.ground.read_files();
    read.extend(arguments.attributions.as_deref());
    output::check(&paths, &read)
}

/// Reads attributions of the first explained input.
fn given(path: &Path, ground: &Ground) -> Result<Given, Error> {
    let values = &ground.inputs.values;
    let count = values.values().len();
    let first = values.first_explained();
    let input = &values.values()[first];
    let array = input::array(path, Kind::Float, |shape| {
        if shape == input.shape() {
            return Ok(());
        }
        Err(format!(
            "it has shape {shape:?}, but attributions of the input have {:?}",
            input.shape()
        ))
    })?;
    let value = input::upload(array, "--attributions", Kind::Float, &input.device())?;
    let mut all: Vec<Option<Value>> = vec![None; count];
    all[first] = Some(value);
    Ok(Given::new(all))
}

fn write(
    arguments: &EvaluateArguments,
    ground: &Ground,
    compared: &Comparison,
    times: &[Duration],
    left_out: &str,
) -> Result<(), Error> {
    let mut outputs = Outputs::default();
    let to_stdout = arguments.json.as_deref() == Some(Path::new("-"));
    let report = as_json(arguments, ground, compared, times);
    if let Some(path) = arguments.json.as_deref().filter(|_| !to_stdout) {
        outputs.add(path, json::content(&report)?);
    }
    if let Some(path) = &arguments.csv {
        outputs.add(path, compared.to_csv().into_bytes());
    }
    if let Some(path) = &arguments.image {
        outputs.add(path, picture::encode(&table(compared)?, path)?);
    }
    outputs.write()?;
    if to_stdout {
        return json::print(&report);
    }
    if arguments.ground.model.quiet {
        return Ok(());
    }
    let flags = compared.flags().into_iter();
    let flags: String = flags.map(|flag| format!("{flag}\n")).collect();
    print(&format!(
        "{compared}{LEGEND}\n{left_out}{flags}{}",
        compared.disagreement()
    ))
}

fn as_json(
    arguments: &EvaluateArguments,
    ground: &Ground,
    compared: &Comparison,
    times: &[Duration],
) -> Json {
    let ranks = compared.ranks();
    let mut times = times.iter();
    let mut results: Vec<Json> = Vec::new();
    for (i, method) in compared.methods.iter().enumerate() {
        for (j, score) in compared.scores[i].iter().enumerate() {
            results.push(json!({
                "method": method,
                "metric": score.metric,
                "values": score.values,
                "mean": score.mean(),
                "standard_error": score.standard_error(),
                "interval": Comparison::interval(score),
                "rank": ranks[i][j],
                "higher_is_better": score.higher_is_better,
                "undefined": score.undefined(),
                "standard_errors": score.standard_errors,
                "curves": score.curves,
                "evaluations": score.work.forward_rows,
                "work": score.work,
                "time": times.next().map(Duration::as_secs_f64),
            }));
        }
    }
    let disagreement = compared.disagreement();
    let ranked = compared.methods.iter().zip(compared.mean_ranks());
    let ranked = ranked.map(|(method, rank)| json!({ "method": method, "mean_rank": rank }));
    json!({
        "model": arguments.ground.model.model.display().to_string(),
        "device": arguments.ground.model.device.to_string(),
        "target": ground.target.to_string(),
        "rows": ground.inputs.values.rows(),
        "results": results,
        "ranking": ranked.collect::<Vec<Json>>(),
        "flags": compared.flags(),
        "disagreement": {
            "concordance": disagreement.concordance,
            "families": disagreement.families.iter()
                .map(|(family, w)| json!({ "family": family, "concordance": w }))
                .collect::<Vec<Json>>(),
            "spread": disagreement.spread.iter()
                .map(|(method, best, worst)| json!({ "method": method, "best": best, "worst": worst }))
                .collect::<Vec<Json>>(),
            "pairs": disagreement.pairs.iter()
                .map(|(a, b, rho)| json!({ "metrics": [a, b], "rank_correlation": rho }))
                .collect::<Vec<Json>>(),
        },
    })
}

/// The table as a figure.
fn table(compared: &Comparison) -> Result<Table, Error> {
    let heads = compared.metrics.iter().map(|metric| {
        let arrow = if metric.higher_is_better {
            "↑"
        } else {
            "↓"
        };
        format!("{} {arrow}", metric.name)
    });
    let mut table = Table::new(heads.chain(["mean rank".into()]));
    let ranks = compared.ranks();
    for (i, (method, rank)) in compared
        .methods
        .iter()
        .zip(compared.mean_ranks())
        .enumerate()
    {
        let cells = compared.scores[i].iter().zip(&ranks[i]);
        let cells = cells.map(|(score, rank)| (Comparison::cell(score), *rank));
        let last = if rank.is_nan() {
            "-".into()
        } else {
            format!("{rank:.1}")
        };
        table.push(method, cells.chain([(last, None)]))?;
    }
    Ok(table)
}
