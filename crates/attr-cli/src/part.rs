//! Rows that are explained together, and what comes of them: all rows at once, unless the model
//! insists on its batch size.

use std::ops::Range;

use attr_core::{
    Baseline, Baselines, Budget, Method, Model, Run, Target, Traced, Value, Values, Work,
};

use crate::args::ExplainArguments;
use crate::error::Error;
use crate::input::Inputs;
use crate::methods::{Entry, Setup};
use crate::model::Opened;
use crate::parameters::Given;
use crate::progress::Bar;
use crate::{baseline, target};

/// Which rows go together: all of them, or as many as a model insists on.
pub fn groups(model: &Traced, inputs: &Values) -> Result<Vec<Range<usize>>, Error> {
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

/// A target's share of some rows.
pub fn rows_of(target: &Target, rows: &Range<usize>) -> Target {
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
pub struct Part {
    model: Traced,
    inputs: Values,
    baselines: Option<Baselines>,
    /// The model's output, whatever is explained of it.
    output: Value,
}

impl Part {
    /// Cuts the model as the command line asks and runs it on these rows.
    pub fn new(
        arguments: &ExplainArguments,
        opened: &Opened,
        whole: &Traced,
        all: &Inputs,
        rows: &Range<usize>,
    ) -> Result<Self, Error> {
        let values = all.values.values().iter();
        let part = values.map(|value| value.slice_rows(rows.clone()));
        let inputs = Values::new(part.collect(), all.explained.clone());
        // Before anything runs.
        let needed = <Traced as Model>::bytes_per_row(whole, &inputs).unwrap_or(0);
        if needed > LARGEST_ROW.max(arguments.memory.saturating_mul(1 << 20)) {
            return Err(Error::input(format!(
                "one row needs {} MiB of activations; where that much is there, allow it with \
                 --memory",
                needed >> 20
            )));
        }
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
        let absent = baselines.unwrap_or_default().absent(&inputs)?;
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
    pub fn target(&self, arguments: &ExplainArguments) -> Result<Target, Error> {
        match &arguments.neuron {
            Some(text) => Ok(target::neuron(text)?.1),
            None => target::parse(arguments.target.as_deref(), &self.output.shape()),
        }
    }

    /// Runs the method on these rows.
    pub fn explain(
        self,
        arguments: &ExplainArguments,
        entry: &Entry,
        given: Given,
        target: Target,
        bar: &Bar,
    ) -> Result<Explained, Error> {
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
pub struct Explained {
    pub values: Vec<Option<Value>>,
    pub scores: Vec<f32>,
    pub delta: Option<Vec<f32>>,
    pub work: Work,
    pub output: Value,
}

impl Explained {
    /// The rows of all parts, in order.
    pub fn join(mut parts: Vec<Self>) -> Result<Self, Error> {
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
