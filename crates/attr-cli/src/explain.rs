//! `attrx explain`.

use std::ops::Range;
use std::time::Instant;

use attr_core::{
    Baseline, Baselines, Budget, Method, Model, Run, Target, Traced, Value, Values, Work,
};
use attr_onnx::Port;
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

    let names = names(arguments, &opened, &inputs.values);
    let attributed = names.iter().flatten().count();
    if let (Some(out), 2..) = (&arguments.out, attributed)
        && out.extension().is_some_and(|e| e == "npy")
    {
        return Err(Error::input(format!(
            "--out {}: {attributed} inputs get an attribution; write a .safetensors file",
            out.display()
        )));
    }

    let bar = Bar::new(arguments.model.quiet);
    let start = Instant::now();
    let mut whole_target = None;
    let mut parts = Vec::new();
    for rows in groups(&whole, &inputs.values)? {
        let part = Part::new(arguments, &opened, &whole, &inputs, &rows)?;
        let target = match whole_target.clone() {
            Some(target) => target,
            None => whole_target.insert(part.target(arguments)?).clone(),
        };
        parts.push(part.explain(
            arguments,
            entry,
            given.clone(),
            rows_of(&target, &rows),
            &bar,
        ));
    }
    bar.finish();
    let time = start.elapsed();
    let explained = Explained::join(parts.into_iter().collect::<Result<_, _>>()?)?;
    let target = whole_target.unwrap_or(Target::Predicted);

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
        attributions: named.collect(),
        layer: arguments.layer.clone(),
        neuron: arguments.neuron.clone(),
        work: explained.work,
        time,
    };
    write(arguments, &summary, &inputs)
}

/// Which rows go together: all of them, or as many as a model insists on.
fn groups(model: &Traced, inputs: &Values) -> Result<Vec<Range<usize>>, Error> {
    let total = inputs.rows();
    let rows = model.rows().unwrap_or(total);
    if rows == 0 || !total.is_multiple_of(rows) {
        return Err(Error::input(format!(
            "the model was exported for {rows} rows at a time, but {total} were given"
        )));
    }
    Ok((0..total)
        .step_by(rows)
        .map(|start| start..start + rows)
        .collect())
}

/// Of each input that gets an attribution, its name; of a layer, the layer's.
fn names(arguments: &ExplainArguments, opened: &Opened, inputs: &Values) -> Vec<Option<String>> {
    match &arguments.layer {
        Some(layer) => vec![Some(layer.clone())],
        None => {
            let ports = opened.ports().iter().enumerate();
            let name = |(i, port): (usize, &Port)| inputs.attributed(i).then(|| port.name.clone());
            ports.map(name).collect()
        }
    }
}

/// A target's share of some rows.
fn rows_of(target: &Target, rows: &Range<usize>) -> Target {
    match target {
        Target::Classes(classes) if rows.end <= classes.len() => {
            Target::Classes(classes[rows.clone()].to_vec())
        }
        Target::Indices(indices) if rows.end <= indices.len() => {
            Target::Indices(indices[rows.clone()].to_vec())
        }
        other => other.clone(),
    }
}

/// Activations of one row up to so many bytes need no word of the user's: 8 GiB.
const LARGEST_ROW: usize = 8 << 30;

/// Rows that are explained together: a model, its inputs, from where.
struct Part {
    model: Traced,
    inputs: Values,
    baselines: Option<Baselines>,
    /// The model's output, whatever is explained of it.
    output: Value,
}

impl Part {
    fn new(
        arguments: &ExplainArguments,
        opened: &Opened,
        whole: &Traced,
        all: &Inputs,
        rows: &Range<usize>,
    ) -> Result<Self, Error> {
        let values = all.values.values().iter();
        let part = values.map(|value| value.slice_rows(rows.clone()));
        let inputs = Values::new(part.collect(), all.explained.clone());
        let output = whole.forward(&inputs)?;
        let whole = match &arguments.neuron {
            Some(text) => whole.to_layer(target::neuron(text)?.0)?,
            None => whole.clone(),
        };
        let (ports, device) = (opened.ports(), &opened.device);
        let baselines = match arguments.baseline.is_empty() {
            true => None,
            false => {
                let texts = &arguments.baseline;
                let (explained, total) = (&all.explained, all.values.rows());
                Some(baseline::parse(
                    texts,
                    ports,
                    explained,
                    device,
                    rows.clone(),
                    total,
                )?)
            }
        };
        let Some(layer) = &arguments.layer else {
            return Ok(Self {
                model: whole,
                inputs,
                baselines,
                output,
            });
        };
        // As in Captum, what is absent is said of the inputs: the layer's baseline is its
        // activation there.
        let absent = baseline::absent(&baselines.unwrap_or_default(), &inputs, &all.explained)?;
        let at = |inputs: &Values| {
            whole
                .activations(inputs, &[&layer[..]])
                .map(|mut a| a.remove(0))
        };
        let activation = at(&inputs)?;
        let baseline = Baseline::Tensor(at(&absent)?);
        Ok(Self {
            model: whole.from_layer(layer, &inputs)?,
            inputs: Values::new(vec![activation], vec![true]),
            baselines: Some(baseline.into()),
            output,
        })
    }

    /// What the command line says is explained.
    fn target(&self, arguments: &ExplainArguments) -> Result<Target, Error> {
        match &arguments.neuron {
            Some(text) => Ok(target::neuron(text)?.1),
            None => target::parse(arguments.target.as_deref(), &self.output.shape()),
        }
    }

    fn explain(
        self,
        arguments: &ExplainArguments,
        entry: &Entry,
        given: Given,
        target: Target,
        bar: &Bar,
    ) -> Result<Explained, Error> {
        let needed = <Traced as Model>::bytes_per_row(&self.model, &self.inputs).unwrap_or(0);
        let limit = LARGEST_ROW.max(arguments.memory.saturating_mul(1 << 20));
        if needed > limit {
            return Err(Error::input(format!(
                "one row needs {} MiB of activations; where that much is there, allow it with \
                 --memory",
                needed >> 20
            )));
        }
        let baselines = self.baselines;
        let method = entry.build(given, &Setup { baselines })?;
        let budget = match self.model.rows() {
            Some(rows) => Budget::Rows(rows),
            None => Budget::Bytes(arguments.memory.max(1).saturating_mul(1 << 20)),
        };
        let run = Run::new().with_budget(budget).with_progress(bar);
        let attribution = method.attribute_with(&self.model, &self.inputs, target, &run)?;
        for value in attribution.values().iter().flatten() {
            if !value.is_finite()? {
                return Err(Error::input(format!(
                    "{} gives NaN or infinity: the model has no finite gradient at a point that it \
                     needs, such as a root or a logarithm of 0 at the baseline",
                    entry.name
                )));
            }
        }
        Ok(Explained {
            values: attribution.values().to_vec(),
            scores: attribution.scores().to_vec(),
            delta: attribution.delta().map(<[f32]>::to_vec),
            work: attribution.work(),
            output: self.output,
        })
    }
}

/// What was found, for some rows or for all.
struct Explained {
    values: Vec<Option<Value>>,
    scores: Vec<f32>,
    delta: Option<Vec<f32>>,
    work: Work,
    output: Value,
}

impl Explained {
    /// The rows of all parts, in order.
    fn join(mut parts: Vec<Self>) -> Result<Self, Error> {
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        let inputs = parts.first().map_or(0, |part| part.values.len());
        let values = (0..inputs).map(|i| {
            let rows: Option<Vec<Value>> =
                parts.iter().map(|part| part.values[i].clone()).collect();
            rows.map(Value::cat_rows).transpose()
        });
        let deltas: Option<Vec<Vec<f32>>> = parts.iter().map(|part| part.delta.clone()).collect();
        let mut work = Work::default();
        for part in &parts {
            work.forward_rows += part.work.forward_rows;
            work.backward_rows += part.work.backward_rows;
            work.passes += part.work.passes;
        }
        Ok(Self {
            values: values.collect::<Result<_, _>>()?,
            scores: parts.iter().flat_map(|part| part.scores.clone()).collect(),
            delta: deltas.map(|deltas| deltas.concat()),
            work,
            output: Value::cat_rows(parts.into_iter().map(|part| part.output).collect())?,
        })
    }
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
        Target::Weights(_) => vec![Json::Null; rows],
    })
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
