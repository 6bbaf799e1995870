//! `attrx evaluate --data`: methods judged on a data set.

use attr_metrics::Metric;
use serde::{Deserialize, Serialize};

use super::work::{self, Numbered, Ready, Work};
use super::{Command, Parts, check_rows, content};
use crate::answers::Asked;
use crate::args::EvaluateArguments;
use crate::error::Error;
use crate::evaluate::{About, Compared, Prepared, compare};
use crate::ground::Ground;
use crate::model::contents;
use crate::shard;

/// What is known of a part.
#[derive(Serialize, Deserialize)]
pub struct Evaluated {
    pub samples: Vec<Named>,
    pub about: About,
    /// None if all samples were skipped.
    pub compared: Option<Compared>,
}

/// A sample, by its name.
#[derive(Serialize, Deserialize)]
pub struct Named {
    pub sample: u64,
    pub name: String,
}

/// Evaluates a shard.
pub fn run(arguments: &EvaluateArguments, prepared: Prepared) -> Result<(), Error> {
    let (parts_arguments, ground) = (&arguments.parts, &arguments.ground);
    let model = &ground.model;
    let out = arguments.out.as_deref();
    let out = out.ok_or_else(|| Error::input("--data takes --out, a folder"))?;
    let refused = [
        ("--attributions", arguments.attributions.is_some()),
        ("--masks", ground.masks.is_some()),
        ("--csv", arguments.csv.is_some()),
        ("--image", arguments.image.is_some()),
    ];
    if let Some((flag, _)) = refused.iter().find(|(_, given)| *given) {
        return Err(Error::input(format!(
            "{flag}: not with --data; tables are those of `attrx merge`"
        )));
    }
    let shard = shard::parse(&parts_arguments.shard)?;
    let mut read = ground.read_files();
    read.extend(parts_arguments.data.as_deref());
    read.push(out);
    work::check_json(arguments.json.as_deref(), &read)?;
    check_rows("--baseline", &ground.baseline)?;
    check_rows("--feature-mask", &ground.feature_mask)?;
    let ready = Ready::new(parts_arguments, model, ground.target.as_deref())?;
    let more = [
        ("methods", arguments.methods.clone().unwrap_or_default()),
        ("metrics", prepared.names()),
        ("target", contents(&ground.target)?),
        ("layer", ground.layer.join(",")),
        ("baseline", contents(&ground.baseline)?),
        ("feature_mask", contents(&ground.feature_mask)?),
        ("training", content(ground.training.as_ref())?),
        ("metric_set", ground.metric_set.join(",")),
        ("set", arguments.set.join(",")),
        ("seed", format!("{:?}", ground.seed)),
    ];
    let run = ready.run(Command::Evaluate, (parts_arguments, model), more)?;
    let parts = Parts::create(out, &run)?;
    let mut evaluate = Evaluate {
        arguments,
        metrics: prepared.metrics,
        asked: prepared.asked,
        ready: &ready,
        about: About {
            model: model.model.display().to_string(),
            device: model.device.to_string(),
            target: ground.target.clone().unwrap_or_else(|| "predicted".into()),
        },
        samples: Vec::new(),
        compared: None,
    };
    let summary = work::run(&parts, shard, &ready, model.quiet, &mut evaluate)?;
    summary.say(arguments.json.as_deref(), model.quiet)
}

/// Scores, until they are written.
struct Evaluate<'a> {
    arguments: &'a EvaluateArguments,
    metrics: Vec<Box<dyn Metric>>,
    asked: Vec<Asked>,
    ready: &'a Ready,
    about: About,
    samples: Vec<Named>,
    compared: Option<Compared>,
}

impl Work for Evaluate<'_> {
    type Content = Evaluated;

    fn add(&mut self, rows: Vec<Numbered>) -> Result<(), Error> {
        let mut arguments = self.arguments.ground.clone();
        let classes;
        (arguments.target, classes) = self.ready.targets.of(&rows);
        // Progress is that of the shard.
        arguments.model.quiet = true;
        let samples = rows.iter().map(|row| Named {
            sample: row.number,
            name: row.name.clone(),
        });
        self.samples.extend(samples);
        let inputs = self.ready.inputs(rows)?;
        let (opened, model) = (&self.ready.opened, &self.ready.model);
        let gradients = self.asked.iter().any(|one| one.needs.gradients);
        let ground = Ground::of(&arguments, (opened, model), &inputs, classes, gradients)?;
        let usual = self.arguments.metrics.is_none();
        let more = compare(
            &ground,
            &arguments,
            (&self.asked, None),
            (&self.metrics, usual),
        )?;
        match &mut self.compared {
            Some(compared) => compared.append(more),
            None => {
                self.compared = Some(more);
                Ok(())
            }
        }
    }

    fn take(&mut self) -> Result<(Option<Vec<u8>>, Evaluated), Error> {
        let found = Evaluated {
            samples: std::mem::take(&mut self.samples),
            about: self.about.clone(),
            compared: self.compared.take(),
        };
        Ok((None, found))
    }
}
