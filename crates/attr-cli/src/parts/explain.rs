//! `attrx explain --data`: attributions of a data set.

use std::collections::BTreeSet;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::work::{self, Numbered, Ready, Work};
use super::{Command, Parts, check_rows, content};
use crate::answers::{self, Asked};
use crate::args::ExplainArguments;
use crate::error::Error;
use crate::model::contents;
use crate::names::Names;
use crate::shard;
use crate::summary::predicted;

/// What is known of a part.
#[derive(Serialize, Deserialize)]
pub struct Explained {
    pub rows: Vec<Row>,
    /// The name and the shape of a row of each attribution; those of no rows are not known.
    pub attributions: Vec<(String, Vec<usize>)>,
    /// What a reader must know, of some batch.
    pub warnings: BTreeSet<String>,
}

/// What is known of a row.
#[derive(Serialize, Deserialize)]
pub struct Row {
    pub sample: u64,
    pub name: String,
    pub label: Option<usize>,
    /// The class with the largest output, if the output is one of classes.
    pub prediction: Option<usize>,
    pub target: Json,
    pub score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r_squared: Option<f32>,
}

/// Explains a shard.
pub fn run(arguments: &ExplainArguments) -> Result<(), Error> {
    let question = &arguments.question;
    let (parts_arguments, model) = (&arguments.parts, &question.model);
    let out = arguments.out.as_deref();
    let out = out.ok_or_else(|| Error::input("--data takes --out, a folder"))?;
    let refused = [
        ("--delta", arguments.delta.is_some()),
        ("--standard-error", arguments.standard_error.is_some()),
        ("--image", arguments.image.is_some()),
        ("--video", arguments.video.is_some()),
        ("--sweep", arguments.sweep.is_some()),
        ("--repeat", arguments.repeat.is_some()),
        ("--features", question.features.is_some()),
    ];
    if let Some((flag, _)) = refused.iter().find(|(_, given)| *given) {
        return Err(Error::input(format!("{flag}: not with --data")));
    }
    if question.labels.is_some() {
        return Err(Error::input(
            "--labels names classes; --target FILE.npy gives the class of each sample",
        ));
    }
    let asked = answers::asked(question)?;
    let [asked] = &asked[..] else {
        return Err(Error::input("--data: give one --method"));
    };
    let shard = shard::parse(&parts_arguments.shard)?;
    let mut read = question.read_files();
    read.extend(parts_arguments.data.as_deref());
    read.push(out);
    work::check_json(arguments.json.as_deref(), &read)?;
    // Rows of a distribution are not those of inputs.
    if !asked.needs.distribution {
        check_rows("--baseline", &question.baseline)?;
    }
    check_rows("--feature-mask", &question.feature_mask)?;
    let ready = Ready::new(parts_arguments, model, question.target.as_deref())?;
    let more = [
        ("method", question.method.clone()),
        ("target", contents(&question.target)?),
        ("layer", question.layer.join(",")),
        ("neuron", question.neuron.clone().unwrap_or_default()),
        ("baseline", contents(&question.baseline)?),
        ("feature_mask", contents(&question.feature_mask)?),
        ("training", content(question.training.as_ref())?),
        ("encoder", content(question.encoder.as_ref())?),
        ("decoder", content(question.decoder.as_ref())?),
        ("parameters", asked.given.used().to_string()),
    ];
    let run = ready.run(Command::Explain, (parts_arguments, model), more)?;
    let parts = Parts::create(out, &run)?;
    let mut explain = Explain {
        asked,
        ready: &ready,
        rows: Vec::new(),
        attributions: Vec::new(),
        warnings: BTreeSet::new(),
    };
    let summary = work::run(&parts, shard, &ready, model.quiet, &mut explain)?;
    summary.say(arguments.json.as_deref(), model.quiet)
}

/// Rows and their attributions, until they are written.
struct Explain<'a> {
    asked: &'a Asked,
    ready: &'a Ready,
    rows: Vec<Row>,
    attributions: Vec<Attribution>,
    warnings: BTreeSet<String>,
}

struct Attribution {
    name: String,
    /// That of a row.
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Work for Explain<'_> {
    type Content = Explained;

    fn add(&mut self, rows: Vec<Numbered>) -> Result<(), Error> {
        let mut asked = self.asked.clone();
        (asked.arguments.target, asked.arguments.classes) = self.ready.targets.of(&rows);
        // Progress is that of the shard.
        asked.arguments.model.quiet = true;
        let known: Vec<_> = rows
            .iter()
            .map(|row| (row.number, row.name.clone(), row.label))
            .collect();
        let inputs = self.ready.inputs(rows)?;
        let (opened, model) = (&self.ready.opened, &self.ready.model);
        let found = answers::of_inputs(&asked, (opened, model, &inputs), &Names::default())?;
        let summary = found.summary;
        self.warnings.extend(summary.warnings.iter().cloned());
        let predicted = predicted(&summary.output)?;
        for (at, (sample, name, label)) in known.into_iter().enumerate() {
            let number = |all: &Option<Vec<f32>>| all.as_ref().and_then(|all| all.get(at).copied());
            self.rows.push(Row {
                sample,
                name,
                label,
                prediction: predicted.as_ref().and_then(|all| all.get(at).copied()),
                target: summary.targets.get(at).cloned().unwrap_or(Json::Null),
                score: summary.scores.get(at).copied().unwrap_or_default(),
                delta: number(&summary.delta),
                r_squared: number(&summary.r_squared),
            });
        }
        for (at, (name, value)) in summary.attributions.iter().enumerate() {
            let shape = value.shape().split_off(1);
            if self.attributions.len() == at {
                self.attributions.push(Attribution {
                    name: name.clone(),
                    shape: shape.clone(),
                    values: Vec::new(),
                });
            }
            let own = &mut self.attributions[at];
            if own.shape != shape {
                return Err(Error::input(format!(
                    "the attribution of {name} has shape {shape:?} in some rows and {:?} in others",
                    own.shape
                )));
            }
            own.values.extend(value.to_vec()?);
        }
        Ok(())
    }

    fn take(&mut self) -> Result<(Option<Vec<u8>>, Explained), Error> {
        let attributions = std::mem::take(&mut self.attributions);
        let rows = std::mem::take(&mut self.rows);
        let failed = |error: safetensors::SafeTensorError| {
            Error::other(format!("cannot encode the attributions: {error}"))
        };
        let bytes = attributions.iter().map(|one| {
            let values = one.values.iter();
            values.flat_map(|value| value.to_le_bytes()).collect()
        });
        let bytes: Vec<Vec<u8>> = bytes.collect();
        let mut views = Vec::new();
        for (at, (one, bytes)) in attributions.iter().zip(&bytes).enumerate() {
            let shape = [&[rows.len()], &one.shape[..]].concat();
            let view = TensorView::new(Dtype::F32, shape, bytes).map_err(failed)?;
            views.push((at.to_string(), view));
        }
        let arrays = if views.is_empty() {
            None
        } else {
            Some(safetensors::serialize(views, None).map_err(failed)?)
        };
        let attributions = attributions.into_iter().map(|one| (one.name, one.shape));
        let content = Explained {
            rows,
            attributions: attributions.collect(),
            warnings: std::mem::take(&mut self.warnings),
        };
        Ok((arrays, content))
    }
}
