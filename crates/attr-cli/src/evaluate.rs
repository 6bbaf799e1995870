//! Runs `attrx evaluate`.

use std::path::Path;
use std::time::Instant;

use attr_core::{Kind, Method, Value};
use attr_metrics::{Comparison, Explainer, Given, Metric};
use attr_viz::Table;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::answers::{self, Asked};
use crate::args::{EvaluateArguments, GroundArguments};
use crate::error::Error;
use crate::ground::{self, Ground};
use crate::input;
use crate::model::Opened;
use crate::output::{self, Outputs};
use crate::progress::Bar;
use crate::{json, metrics, parts, picture, print};

/// What stands below the table.
const LEGEND: &str = "↑ higher and ↓ lower is better; ± 95 % confidence interval; * best of the \
                      metric; - not defined\n";

/// The name of given attributions in the table.
const GIVEN: &str = "attributions";

/// What is measured, and the methods that are judged.
pub struct Prepared {
    pub metrics: Vec<Box<dyn Metric>>,
    pub asked: Vec<Asked>,
}

impl Prepared {
    /// The names of the metrics.
    pub fn names(&self) -> String {
        let names = self.metrics.iter().map(|metric| metric.about().name);
        names.collect::<Vec<_>>().join(",")
    }
}

/// What scores are of.
#[derive(Clone, Serialize, Deserialize)]
pub struct About {
    pub model: String,
    pub device: String,
    pub target: String,
}

/// Scores and what belongs to them.
#[derive(Serialize, Deserialize)]
pub struct Compared {
    pub comparison: Comparison,
    /// In seconds, of each method by each metric.
    pub times: Vec<f64>,
    /// What was left out, and why.
    pub left_out: String,
}

impl Compared {
    /// Appends the scores of further rows.
    pub fn append(&mut self, more: Self) -> Result<(), Error> {
        self.comparison.append(more.comparison)?;
        let times = self.times.iter_mut().zip(more.times);
        times.for_each(|(sum, time)| *sum += time);
        Ok(())
    }
}

/// What to write.
pub struct Wanted<'a> {
    pub json: Option<&'a Path>,
    pub csv: Option<&'a Path>,
    pub image: Option<&'a Path>,
    pub quiet: bool,
}

/// Judges explanations and writes the requested outputs.
pub fn run(arguments: &EvaluateArguments) -> Result<(), Error> {
    // Check everything that can be checked before doing any work.
    let prepared = prepare(arguments)?;
    let wanted = Wanted {
        json: arguments.json.as_deref(),
        csv: arguments.csv.as_deref(),
        image: arguments.image.as_deref(),
        quiet: arguments.ground.model.quiet,
    };
    let mut read = arguments.ground.read_files();
    read.extend(arguments.attributions.as_deref());
    wanted.check(&read)?;
    if arguments.parts.data.is_some() {
        return parts::evaluate(arguments, prepared);
    }
    if arguments.out.is_some() {
        return Err(Error::input("--out: only with --data"));
    }
    let model = &arguments.ground.model;
    let (opened, inputs, traced) = Opened::with_inputs(model)?;
    let gradients = prepared.asked.iter().any(|one| one.needs.gradients);
    let ground = Ground::of(
        &arguments.ground,
        (&opened, &traced),
        &inputs,
        None,
        gradients,
    )?;
    let given = arguments.attributions.as_deref();
    let given = given.map(|path| self::given(path, &ground)).transpose()?;
    let compared = compare(
        &ground,
        &arguments.ground,
        (&prepared.asked, given),
        (&prepared.metrics, arguments.metrics.is_none()),
    )?;
    let about = About {
        model: model.model.display().to_string(),
        device: model.device.to_string(),
        target: ground.target.to_string(),
    };
    let rows = json!({ "rows": ground.inputs.values.rows() });
    wanted.write(&about, &rows, &compared)
}

/// Builds metrics and methods.
fn prepare(arguments: &EvaluateArguments) -> Result<Prepared, Error> {
    let set = match &arguments.metrics {
        Some(_) => arguments.ground.metric_set.clone(),
        None => metrics::usual_set(&arguments.ground.metric_set),
    };
    let metrics = metrics::build(&named(arguments), &set, arguments.ground.seed)?;
    check_needs(arguments, &metrics)?;
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
    Ok(Prepared { metrics, asked })
}

/// Judges methods, or given attributions, by metrics; of the `usual` ones, those that can be measured.
pub fn compare(
    ground: &Ground<'_>,
    arguments: &GroundArguments,
    (asked, given): (&[Asked], Option<Given>),
    (metrics, usual): (&[Box<dyn Metric>], bool),
) -> Result<Compared, Error> {
    let mut metrics: Vec<&dyn Metric> = metrics.iter().map(|metric| &**metric).collect();
    // Only metrics that nobody asked for by name are left out.
    let mut left_out: Vec<String> = Vec::new();
    if usual {
        metrics.retain(|metric| {
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
    explainers.extend(given.map(|given| (GIVEN, given.into())));

    let bar = Bar::new(arguments.model.quiet);
    let evaluation = ground.evaluation(arguments.memory, &bar);
    let mut times: Vec<f64> = Vec::new();
    let mut last = Instant::now();
    let comparison = evaluation.compare_each(&explainers, &metrics, &mut |_, _| {
        times.push(last.elapsed().as_secs_f64());
        last = Instant::now();
    });
    bar.finish();
    Ok(Compared {
        comparison: comparison?,
        times,
        left_out: left_out.concat(),
    })
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

/// Reads attributions of the first explained input.
fn given(path: &Path, ground: &Ground<'_>) -> Result<Given, Error> {
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

impl Wanted<'_> {
    /// Refuses names of files that cannot be written.
    pub fn check(&self, read: &[&Path]) -> Result<(), Error> {
        let mut paths: Vec<(&str, &Path, &[&str])> = Vec::new();
        if let Some(path) = self.json.filter(|path| *path != Path::new("-")) {
            paths.push(("--json", path, &[]));
        }
        if let Some(path) = self.csv {
            paths.push(("--csv", path, &["csv"]));
        }
        if let Some(path) = self.image {
            paths.push(("--image", path, &["png", "svg"]));
        }
        output::check(&paths, read)
    }

    /// Writes and prints scores; `rows` says in JSON of which rows they are.
    pub fn write(
        &self,
        about: &About,
        rows: &impl Serialize,
        compared: &Compared,
    ) -> Result<(), Error> {
        let comparison = &compared.comparison;
        let mut outputs = Outputs::default();
        let to_stdout = self.json == Some(Path::new("-"));
        let mut report = as_json(about, comparison, &compared.times);
        let rows = serde_json::to_value(rows).map_err(|error| Error::other(error.to_string()))?;
        if let (Some(report), Json::Object(rows)) = (report.as_object_mut(), rows) {
            report.extend(rows);
        }
        if let Some(path) = self.json.filter(|_| !to_stdout) {
            outputs.add(path, json::content(&report)?);
        }
        if let Some(path) = self.csv {
            outputs.add(path, comparison.to_csv().into_bytes());
        }
        if let Some(path) = self.image {
            outputs.add(path, picture::encode(&table(comparison)?, path)?);
        }
        outputs.write()?;
        if to_stdout {
            return json::print(&report);
        }
        if self.quiet {
            return Ok(());
        }
        let flags = comparison.flags().into_iter();
        let flags: String = flags.map(|flag| format!("{flag}\n")).collect();
        print(&format!(
            "{comparison}{LEGEND}\n{}{flags}{}",
            compared.left_out,
            comparison.disagreement()
        ))
    }
}

fn as_json(about: &About, compared: &Comparison, times: &[f64]) -> Json {
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
                "time": times.next(),
            }));
        }
    }
    let disagreement = compared.disagreement();
    let ranked = compared.methods.iter().zip(compared.mean_ranks());
    let ranked = ranked.map(|(method, rank)| json!({ "method": method, "mean_rank": rank }));
    json!({
        "model": about.model,
        "device": about.device,
        "target": about.target,
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
