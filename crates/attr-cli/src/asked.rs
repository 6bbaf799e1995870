//! What the commands that propagate relevance share: parameters, model, inputs, target.

use attr_core::{Run, Target, Traced, Values};
use attr_lrp_crp::LrpConfig;

use crate::args::RelevanceArguments;
use crate::error::Error;
use crate::input::Inputs;
use crate::model::Opened;
use crate::parameters::{self, Given};
use crate::summary::predicted;
use crate::{memory, target};

/// The model, its inputs and the target, as the command line names them.
pub struct Asked {
    pub config: LrpConfig,
    pub opened: Opened,
    pub model: Traced,
    pub inputs: Inputs,
    pub target: Target,
}

impl Asked {
    /// Reads the parameters of LRP, the model and the inputs for a command, and runs the model once.
    pub fn new(command: &str, arguments: &RelevanceArguments) -> Result<Self, Error> {
        let config = config(command, &arguments.set)?;
        // Checked before any work.
        config.composite()?;
        let (opened, inputs, model) = Opened::with_inputs(&arguments.model)?;
        memory::check(arguments.memory, true, &model, &inputs.values)?;
        let run = Run::new().with_budget(memory::budget(arguments.memory, &model));
        let output = run.forward(&model, &inputs.values)?;
        let target = target::parse(arguments.target.as_deref(), &output.shape())?;
        // Said as the class that it is.
        let target = match (&target, predicted(&output)?) {
            (Target::Predicted, Some(classes)) => match classes[..] {
                [class] => Target::Class(class),
                _ => Target::Classes(classes),
            },
            _ => target,
        };
        Ok(Self {
            config,
            opened,
            model,
            inputs,
            target,
        })
    }

    /// The inputs' values.
    pub fn values(&self) -> &Values {
        &self.inputs.values
    }
}

/// Reads the parameters of LRP.
pub fn config(command: &str, set: &[String]) -> Result<LrpConfig, Error> {
    let mut given = Given::parse(set)?;
    let config: LrpConfig = given.config()?;
    given.finish(command, &parameters::of::<LrpConfig>())?;
    Ok(config)
}
