//! `attrx explain`.

use std::time::Instant;

use attr_core::{Baseline, Baselines, Budget, Method, Run, Target, Traced, Value, Values};
use serde_json::{Value as Json, json};

use crate::args::ExplainArguments;
use crate::error::Error;
use crate::input::Inputs;
use crate::methods::{self, Entry, Setup};
use crate::model::Opened;
use crate::output::{self, Outputs};
use crate::parameters::Given;
use crate::picture::{self, Drawn};
use crate::progress::Bar;
use crate::summary::{Summary, predicted};
use crate::{baseline, print, target};

/// Explains a prediction and writes what was asked for.
pub fn run(arguments: &ExplainArguments) -> Result<(), Error> {
    // Everything that can be refused before the work is refused before the work.
    let entry = methods::find(&arguments.method)?;
    let given = given(arguments, entry)?;
    entry.build(given.clone(), &Setup::default())?;
    check_outputs(arguments)?;

    let verbose = |text: String| {
        if arguments.model.verbose {
            eprintln!("{text}");
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

    let task = Task::new(arguments, &opened, whole, &inputs)?;
    let attributed = task.names.iter().flatten().count();
    if let (Some(out), 2..) = (&arguments.out, attributed)
        && out.extension().is_some_and(|e| e == "npy")
    {
        return Err(Error::input(format!(
            "--out {}: {attributed} inputs get an attribution; write a .safetensors file",
            out.display()
        )));
    }
    let setup = Setup {
        baselines: task.baselines.clone(),
    };
    let method = entry.build(given.clone(), &setup)?;

    let budget = match task.model.rows() {
        // A model that insists on its batch size is explained that many rows at a time.
        Some(rows) => Budget::Rows(rows),
        None => Budget::Bytes(arguments.memory.max(1).saturating_mul(1 << 20)),
    };
    let bar = Bar::new(arguments.model.quiet);
    let work = Run::new().with_budget(budget).with_progress(&bar);
    let start = Instant::now();
    let attribution = method.attribute_with(&task.model, &task.inputs, task.target.clone(), &work);
    bar.finish();
    let attribution = attribution?;
    let time = start.elapsed();

    let values = attribution.values().iter().zip(&task.names);
    let named = values.filter_map(|(value, name)| Some((name.clone()?, value.clone()?)));
    let summary = Summary {
        model: arguments.model.model.display().to_string(),
        method: entry.name,
        parameters: effective(entry, arguments)?,
        device: arguments.model.device.to_string(),
        output_name: opened
            .file
            .output(arguments.model.output.as_deref())?
            .name
            .clone(),
        targets: targets(&task)?,
        output: task.output,
        target: task.target.to_string(),
        scores: attribution.scores().to_vec(),
        delta: attribution.delta().map(<[f32]>::to_vec),
        attributions: named.collect(),
        layer: arguments.layer.clone(),
        neuron: arguments.neuron.clone(),
        work: attribution.work(),
        time,
    };
    write(arguments, &summary, &inputs)
}

/// What is explained: a model, its inputs, a target.
struct Task {
    model: Traced,
    inputs: Values,
    /// Of each input that gets an attribution, its name.
    names: Vec<Option<String>>,
    target: Target,
    baselines: Option<Baselines>,
    /// The output whose target is explained: the model's, or that of the neuron's layer.
    output: Value,
}

impl Task {
    fn new(
        arguments: &ExplainArguments,
        opened: &Opened,
        whole: Traced,
        inputs: &Inputs,
    ) -> Result<Self, Error> {
        let values = &inputs.values;
        let (whole, unit) = match &arguments.neuron {
            Some(text) => {
                let (layer, unit) = target::neuron(text)?;
                (whole.to_layer(layer)?, Some(unit))
            }
            None => (whole, None),
        };
        let output = forward(&whole, values)?;
        let target = match unit {
            Some(unit) => unit,
            None => target::parse(arguments.target.as_deref(), &output.shape())?,
        };
        let baselines = match arguments.baseline.is_empty() {
            true => None,
            false => Some(baseline::parse(
                &arguments.baseline,
                opened.ports(),
                &opened.device,
            )?),
        };
        let Some(layer) = &arguments.layer else {
            let ports = opened.ports().iter().enumerate();
            let names = ports.map(|(i, port)| values.attributed(i).then(|| port.name.clone()));
            return Ok(Self {
                names: names.collect(),
                model: whole,
                inputs: values.clone(),
                target,
                baselines,
                output,
            });
        };
        // As in Captum, what is absent is said of the inputs: the layer's baseline is its
        // activation there.
        let resolved = baselines.clone().unwrap_or_default().resolve(values)?;
        let absent = values.with(|i, _| resolved[i].clone());
        let at = |inputs: &Values| {
            whole
                .activations(inputs, &[&layer[..]])
                .map(|mut a| a.remove(0))
        };
        let activation = at(values)?;
        let baseline = Baseline::Tensor(at(&absent)?);
        Ok(Self {
            model: whole.from_layer(layer, values)?,
            inputs: Values::new(vec![activation], vec![true]),
            names: vec![Some(layer.clone())],
            target,
            baselines: Some(baseline.into()),
            output,
        })
    }
}

/// The output for all rows, as many at a time as the model takes.
fn forward(model: &Traced, inputs: &Values) -> Result<Value, Error> {
    let Some(at_once) = model.rows() else {
        return Ok(model.forward(inputs)?);
    };
    let starts = (0..inputs.rows()).step_by(at_once.max(1));
    let parts = starts.map(|start| {
        let part = inputs.slice(start..(start + at_once).min(inputs.rows()));
        model.forward(&part)
    });
    Ok(Value::cat_rows(parts.collect::<Result<_, _>>()?)?)
}

/// The parameters given, with the seed where the method has one, after a check of the flags that
/// not every method has.
fn given(arguments: &ExplainArguments, entry: &Entry) -> Result<Given, Error> {
    let mut given = Given::parse(&arguments.set)?;
    let needs = entry.needs;
    let refuse = |flag: &str| {
        Err(Error::input(format!(
            "{flag}: {} has no use for it",
            entry.name
        )))
    };
    if !needs.baseline && !arguments.baseline.is_empty() {
        return refuse("--baseline");
    }
    if arguments.feature_mask.is_some() {
        return refuse("--feature-mask");
    }
    if needs.inputs && arguments.layer.is_some() {
        return Err(Error::input(format!(
            "--layer: {} changes the model's input, so it explains the input only",
            entry.name
        )));
    }
    if let Some(seed) = arguments.seed {
        given.default("seed", seed);
    }
    Ok(given)
}

fn check_outputs(arguments: &ExplainArguments) -> Result<(), Error> {
    let mut paths = Vec::new();
    if let Some(out) = &arguments.out {
        paths.push(("--out", out.as_path(), &["npy", "safetensors"][..]));
    }
    if let Some(delta) = &arguments.delta {
        paths.push(("--delta", delta.as_path(), &["npy"][..]));
    }
    if let Some(image) = &arguments.image {
        paths.push(("--image", image.as_path(), &["png"][..]));
    }
    if let Some(json) = arguments
        .json
        .as_ref()
        .filter(|json| json.as_os_str() != "-")
    {
        paths.push(("--json", json.as_path(), &[][..]));
    }
    output::check(&paths)
}

/// The index that was explained in each row; null where it is a weighted sum.
fn targets(task: &Task) -> Result<Vec<Json>, Error> {
    let rows = task.inputs.rows();
    Ok(match &task.target {
        Target::Class(class) => vec![json!(class); rows],
        Target::Classes(classes) => classes.iter().map(|class| json!(class)).collect(),
        Target::Index(index) => vec![json!(index); rows],
        Target::Indices(indices) => indices.iter().map(|index| json!(index)).collect(),
        Target::Predicted => {
            let classes = predicted(&task.output)?.unwrap_or_else(|| vec![0; rows]);
            classes.into_iter().map(|class| json!(class)).collect()
        }
        Target::Single => vec![json!(0); rows],
        Target::Weights(_) => vec![Json::Null; rows],
    })
}

/// The method's parameters as they were used.
fn effective(entry: &Entry, arguments: &ExplainArguments) -> Result<Json, Error> {
    let mut all: serde_json::Map<String, Json> = (entry.parameters)()
        .into_iter()
        .map(|p| (p.name, p.default))
        .collect();
    if let (Some(seed), true) = (arguments.seed, all.contains_key("seed")) {
        all.insert("seed".into(), json!(seed));
    }
    for (key, value) in Given::parse(&arguments.set)?.texts() {
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        all.insert(key.into(), value);
    }
    Ok(Json::Object(all))
}

fn write(
    arguments: &ExplainArguments,
    summary: &Summary<'_>,
    inputs: &Inputs,
) -> Result<(), Error> {
    let mut outputs = Outputs::default();
    if let Some(path) = &arguments.out {
        let named = summary.attributions.iter();
        let named: Vec<(&str, &Value)> = named.map(|(name, value)| (&name[..], value)).collect();
        let content = match (
            &named[..],
            path.extension().is_some_and(|e| e == "safetensors"),
        ) {
            ([(_, value)], false) => output::npy(value)?,
            _ => output::safetensors(&named)?,
        };
        outputs.add(path, content);
    }
    if let Some(path) = &arguments.delta {
        let delta = summary.delta.as_ref().ok_or_else(|| {
            Error::input(format!(
                "--delta: {} promises no sum, so it has no convergence delta",
                summary.method
            ))
        })?;
        outputs.add(path, crate::npy::encode(&[delta.len()], delta)?);
    }
    if let Some(path) = &arguments.image {
        outputs.add(path, image(summary, inputs)?);
    }
    let json = match &arguments.json {
        Some(path) => {
            let text = serde_json::to_string_pretty(&summary.to_json()?);
            Some((path, text.map_err(|e| Error::other(e.to_string()))? + "\n"))
        }
        None => None,
    };
    let to_stdout = |(path, _): &&(&std::path::PathBuf, String)| path.as_os_str() == "-";
    if let Some((path, text)) = json.as_ref().filter(|json| !to_stdout(json)) {
        outputs.add(path, text.clone().into_bytes());
    }
    outputs.write()?;
    match json.as_ref().filter(to_stdout) {
        Some((_, text)) => print(text),
        None if arguments.model.quiet => Ok(()),
        None => print(&summary.to_text()?),
    }
}

/// The picture of the first attribution.
fn image(summary: &Summary<'_>, inputs: &Inputs) -> Result<Vec<u8>, Error> {
    let Some((_, attribution)) = summary.attributions.first() else {
        return Err(Error::input("--image: no input gets an attribution"));
    };
    let values = &inputs.values;
    let first = (0..values.values().len())
        .find(|&i| values.attributed(i))
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
