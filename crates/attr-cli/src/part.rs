//! Explains groups of rows and joins the results: all rows at once, unless the model has a fixed
//! batch size.

use std::ops::Range;
use std::path::Path;

use attr_core::{Explanation, Kind, LayerMethod, Method, Run, Target, Traced, Value, Values, Work};

use attr_gradient::Shift;

use crate::answers::Sweeps;
use crate::args::QuestionArguments;
use crate::error::Error;
use crate::input::Inputs;
use crate::methods::{Built, Entry, Needs, Setup};
use crate::model::Opened;
use crate::parameters::Given;
use crate::progress::Bar;
use crate::{baseline, input, mask, memory, shift, target};

/// Splits the rows into groups: one for all, or groups of a model's fixed batch size.
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

/// Returns the part of a target that belongs to some rows.
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

/// A group of rows to explain: the model, its inputs and the method's settings.
pub struct Part {
    model: Traced,
    inputs: Values,
    setup: Setup,
    /// The model's full output, regardless of the target.
    output: Value,
}

impl Part {
    /// Cuts the model as the command line requests and runs it on these rows.
    pub fn new(
        arguments: &QuestionArguments,
        needs: Needs,
        opened: &Opened,
        whole: &Traced,
        all: &Inputs,
        rows: &Range<usize>,
    ) -> Result<Self, Error> {
        let values = all.values.values().iter();
        let part = values.map(|value| value.slice_rows(rows.clone()));
        let inputs = Values::new(part.collect(), all.explained.clone());
        // Checked before anything runs.
        memory::check(arguments.memory, needs.gradients, whole, &inputs)?;
        let run = Run::new().with_budget(memory::budget(arguments.memory, whole));
        let output = run.forward(whole, &inputs)?;
        let neuron = arguments
            .neuron
            .as_deref()
            .map(target::neuron)
            .transpose()?;
        let image = |text: &&String| text.contains("blur:") || text.contains("inpaint");
        if let Some(text) = arguments.baseline.iter().find(image) {
            mask::channels_first(&format!("--baseline {text}"), &inputs)?;
        }
        let model = match &neuron {
            Some((layer, _)) if !needs.neuron => whole.to_layer(layer)?,
            _ => whole.clone(),
        };
        let baselines = if arguments.baseline.is_empty() {
            None
        } else {
            // The rows of a distribution are not those of the input.
            let total = if needs.distribution {
                usize::MAX
            } else {
                all.values.rows()
            };
            Some(baseline::parse(
                &arguments.baseline,
                opened.ports(),
                &all.explained,
                &opened.device,
                rows.clone(),
                (total, needs.averaged),
            )?)
        };
        let mask = mask::parse(
            &arguments.feature_mask,
            &mask::Explained {
                inputs: &inputs,
                rows,
                total: all.values.rows(),
                at_layers: !arguments.layer.is_empty(),
            },
        )?;
        let segments = match (&mask, needs.segments) {
            (Some(mask), true) => vec![mask::segments(mask, &inputs)?],
            _ => Vec::new(),
        };
        let training = arguments.training.as_deref();
        let training = training.map(table).transpose()?;
        let count = inputs.values().len();
        let setup = Setup {
            baselines,
            layers: arguments.layer.clone(),
            neuron: neuron.map(|(layer, unit)| (layer.to_string(), unit)),
            mask,
            segments,
            training: training.unwrap_or_default(),
            autoencoder: if needs.autoencoder {
                Some(shift::autoencoder(arguments, &opened.device, &inputs)?)
            } else {
                None
            },
            integers: (0..count).all(|i| !inputs.attributed(i)),
        };
        Ok(Self {
            model,
            inputs,
            setup,
            output,
        })
    }

    /// The model's output for these rows, whatever the target.
    pub fn output(&self) -> &Value {
        &self.output
    }

    /// Returns the target that the command line selects.
    pub fn target(&self, arguments: &QuestionArguments, needs: Needs) -> Result<Target, Error> {
        if let Some(classes) = &arguments.classes {
            return Ok(Target::Classes(classes.clone()));
        }
        match &arguments.neuron {
            Some(text) if !needs.neuron => Ok(target::neuron(text)?.1),
            _ => target::parse(arguments.target.as_deref(), &self.output.shape()),
        }
    }

    /// Builds a method for these rows.
    pub fn build(&self, entry: &Entry, given: Given) -> Result<Built, Error> {
        entry.build(given, &self.setup)
    }

    /// Runs the method on these rows.
    pub fn explain(
        &self,
        arguments: &QuestionArguments,
        (entry, needs): (&Entry, Needs),
        given: Given,
        target: Target,
        (bar, sweeps): (&Bar, Sweeps),
    ) -> Result<Explained, Error> {
        let method = entry.build(given, &self.setup)?;
        let budget = memory::budget(arguments.memory, &self.model);
        let run = Run::new().with_budget(budget).with_progress(bar);
        let explained = match method {
            Built::Inputs(method) => {
                let found = method.attribute_with(&self.model, &self.inputs, target, &run)?;
                Explained {
                    values: found.values().to_vec(),
                    scores: found.scores().to_vec(),
                    delta: found.delta().map(<[f32]>::to_vec),
                    errors: found.standard_error().map(<[_]>::to_vec),
                    r_squared: found.r_squared().map(<[f32]>::to_vec),
                    warnings: found.warnings().to_vec(),
                    at_layers: false,
                    work: found.work(),
                    output: self.output.clone(),
                    shifts: Vec::new(),
                }
            }
            Built::Shift(method) => {
                let found = method.shifts_with(&self.model, &self.inputs, target, &run)?;
                let (mut shifts, work) = found;
                let image = (0..self.inputs.values().len()).find(|&i| self.inputs.attributed(i));
                let mut values = vec![None; self.inputs.values().len()];
                let maps = shifts.iter().map(|shift| shift.heatmap.clone());
                values[image.unwrap_or(0)] = Some(Value::cat_rows(maps.collect())?);
                let scores = shifts.iter().map(|shift| shift.score).collect();
                shifts.truncate(match sweeps {
                    Sweeps::None => 0,
                    Sweeps::First => 1,
                    Sweeps::All => usize::MAX,
                });
                Explained {
                    values,
                    scores,
                    delta: None,
                    errors: None,
                    r_squared: None,
                    warnings: Vec::new(),
                    at_layers: false,
                    work,
                    output: self.output.clone(),
                    shifts,
                }
            }
            Built::Layers(method) => {
                let found = method.attribute_with(&self.model, &self.inputs, target, &run)?;
                let values = found.explanations().iter();
                let values =
                    values.map(|explanation| explanation.values.first().cloned().flatten());
                Explained {
                    values: values.collect(),
                    scores: found.scores().to_vec(),
                    delta: found.delta().map(<[f32]>::to_vec),
                    errors: errors(found.explanations()),
                    r_squared: found
                        .explanations()
                        .first()
                        .and_then(|e| e.r_squared.clone()),
                    warnings: found
                        .explanations()
                        .first()
                        .map_or_else(Vec::new, |e| e.warnings.clone()),
                    at_layers: true,
                    work: found.work(),
                    output: self.output.clone(),
                    shifts: Vec::new(),
                }
            }
        };
        for value in explained.values.iter().flatten() {
            if !value.is_finite()? {
                return Err(Error::input(format!(
                    "{} gives NaN or infinity: the model has no finite {} at a point used, such as \
                     a root or a logarithm of 0 at the baseline",
                    entry.name,
                    if needs.gradients {
                        "gradient"
                    } else {
                        "output"
                    },
                )));
            }
        }
        Ok(explained)
    }
}

/// Reads the rows of a table.
fn table(path: &Path) -> Result<Vec<Vec<f64>>, Error> {
    let array = input::array(path, Kind::Float, |_| Ok(()))?;
    let [_, columns] = array.shape[..] else {
        return Err(Error::input(format!(
            "--training {}: it has shape {:?}; give a shape [rows, features]",
            path.display(),
            array.shape
        )));
    };
    let values = array.elements.into_floats().into_iter();
    let values: Vec<f64> = values.map(f64::from).collect();
    Ok(values.chunks(columns.max(1)).map(<[f64]>::to_vec).collect())
}

/// The results for a group of rows or for all rows.
pub struct Explained {
    pub values: Vec<Option<Value>>,
    pub scores: Vec<f32>,
    pub delta: Option<Vec<f32>>,
    /// Standard errors, for methods that sample.
    pub errors: Option<Vec<Option<Value>>>,
    /// How well each row's surrogate model fits, for methods that fit one.
    pub r_squared: Option<Vec<f32>>,
    /// What a reader of the values must know.
    pub warnings: Vec<String>,
    /// Whether the values are for layers instead of inputs.
    pub at_layers: bool,
    pub work: Work,
    pub output: Value,
    /// The sweeps of latent shift that are to be written.
    pub shifts: Vec<Shift>,
}

impl Explained {
    /// Joins the rows of all parts, in order.
    pub fn join(mut parts: Vec<Self>) -> Result<Self, Error> {
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        let inputs = parts.first().map_or(0, |part| part.values.len());
        let join = |of: &dyn Fn(&Self) -> Option<&[Option<Value>]>| {
            let each = (0..inputs).map(|i| {
                let rows: Option<Vec<Value>> = parts.iter().map(|p| of(p)?[i].clone()).collect();
                rows.map(Value::cat_rows).transpose()
            });
            each.collect::<Result<Vec<Option<Value>>, _>>()
        };
        let values = join(&|part| Some(&part.values))?;
        let errors = join(&|part| part.errors.as_deref())?;
        let numbers = |of: &dyn Fn(&Self) -> Option<Vec<f32>>| {
            let each: Option<Vec<Vec<f32>>> = parts.iter().map(of).collect();
            each.map(|each| each.concat())
        };
        let delta = numbers(&|part| part.delta.clone());
        let r_squared = numbers(&|part| part.r_squared.clone());
        let mut warnings: Vec<String> = Vec::new();
        for warning in parts.iter().flat_map(|part| &part.warnings) {
            if !warnings.contains(warning) {
                warnings.push(warning.clone());
            }
        }
        let mut work = Work::default();
        for part in &parts {
            work.forward_rows += part.work.forward_rows;
            work.backward_rows += part.work.backward_rows;
            work.passes += part.work.passes;
        }
        Ok(Self {
            values,
            errors: errors.iter().any(Option::is_some).then_some(errors),
            scores: parts.iter().flat_map(|part| part.scores.clone()).collect(),
            delta,
            r_squared,
            warnings,
            at_layers: parts.first().is_some_and(|part| part.at_layers),
            work,
            shifts: parts
                .iter_mut()
                .flat_map(|part| part.shifts.drain(..))
                .collect(),
            output: Value::cat_rows(parts.into_iter().map(|part| part.output).collect())?,
        })
    }
}

/// Returns the standard errors at layers, if there are any.
fn errors(explanations: &[Explanation]) -> Option<Vec<Option<Value>>> {
    let each = explanations.iter();
    let each = each.map(|e| e.standard_error.as_ref()?.first()?.clone());
    let each: Vec<Option<Value>> = each.collect();
    each.iter().any(Option::is_some).then_some(each)
}
