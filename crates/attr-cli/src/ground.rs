//! What `attrx evaluate` and `attrx tune` judge explanations on: the model, its inputs, the target,
//! baselines, features and masks.

use std::path::Path;

use attr_core::{Baselines, FeatureMask, Kind, Method, Run, Target, Traced, Value};
use attr_gradient::AtInput;
use attr_metrics::Evaluation;
use burn::tensor::TensorData;

use crate::answers::{Asked, last_spatial};
use crate::args::{GroundArguments, QuestionArguments};
use crate::error::Error;
use crate::input::{self, Inputs};
use crate::methods::{self, Built, LayerUse};
use crate::model::Opened;
use crate::part::Part;
use crate::progress::Bar;
use crate::{baseline, mask, memory, target};

/// Refuses methods that need what only `attrx explain` takes.
pub fn check_methods(names: &str, set: &[String]) -> Result<(), Error> {
    for name in names.split(',').map(str::trim) {
        let entry = methods::find(name)?;
        if entry.needs.neuron || entry.needs.autoencoder {
            return Err(Error::input(format!(
                "{name} cannot be asked here; run `attrx explain`, and evaluate its --out with \
                 --attributions"
            )));
        }
        let window = set
            .iter()
            .any(|text| text.contains("sliding_window_shapes"));
        if entry.name == "occlusion" && !window {
            return Err(Error::input(
                "occlusion needs --set occlusion.sliding_window_shapes=..., such as 3,5,5 for \
                 windows of 5 by 5 pixels with three channels",
            ));
        }
    }
    Ok(())
}

/// The rows on which explanations are judged.
pub struct Ground<'a> {
    opened: &'a Opened,
    pub inputs: &'a Inputs,
    pub model: &'a Traced,
    pub target: Target,
    /// How many classes the output has; 0 where it is no list of classes.
    classes: usize,
    baselines: Option<Baselines>,
    features: Option<FeatureMask>,
    masks: Option<Value>,
}

impl<'a> Ground<'a> {
    /// Reads the files and runs the model once on its inputs. `classes` are targets in place of those
    /// of the arguments; `gradients` says whether the model will run backwards, too.
    pub fn of(
        arguments: &GroundArguments,
        (opened, model): (&'a Opened, &'a Traced),
        inputs: &'a Inputs,
        classes: Option<Vec<usize>>,
        gradients: bool,
    ) -> Result<Self, Error> {
        memory::check(arguments.memory, gradients, model, &inputs.values)?;
        let run = Run::new().with_budget(memory::budget(arguments.memory, model));
        let output = run.forward(model, &inputs.values)?;
        let target = match classes {
            Some(classes) => Target::Classes(classes),
            None => target::parse(arguments.target.as_deref(), &output.shape())?,
        };
        let classes = match output.shape()[..] {
            [_, classes] => classes,
            _ => 0,
        };
        let rows = 0..inputs.values.rows();
        let baselines = if arguments.baseline.is_empty() {
            None
        } else {
            Some(baseline::parse(
                &arguments.baseline,
                opened.ports(),
                &inputs.explained,
                &opened.device,
                rows.clone(),
                (rows.end, false),
            )?)
        };
        let explained = mask::Explained {
            inputs: &inputs.values,
            rows: &rows,
            total: rows.end,
            at_layers: false,
        };
        let features = mask::parse(&arguments.feature_mask, &explained)?;
        let masks = arguments.masks.as_deref();
        let masks = masks.map(|path| read_masks(path, inputs)).transpose()?;
        Ok(Self {
            opened,
            inputs,
            model,
            target,
            classes,
            baselines,
            features,
            masks,
        })
    }

    /// The evaluation of explanations of all rows, with progress on `bar`.
    pub fn evaluation<'b>(
        &'b self,
        memory: Option<usize>,
        bar: &'b Bar,
    ) -> Evaluation<'b, attr_core::Values, Traced> {
        let run = Run::new()
            .with_budget(memory::budget(memory, self.model))
            .with_progress(bar);
        let mut evaluation =
            Evaluation::new(self.model, &self.inputs.values, self.target.clone()).with_run(run);
        if let Some(baselines) = &self.baselines {
            evaluation = evaluation.with_baseline(baselines.clone());
        }
        if let Some(features) = &self.features {
            evaluation = evaluation.with_features(features.clone());
        }
        if let Some(masks) = &self.masks {
            evaluation = evaluation.with_masks(masks.clone());
        }
        evaluation
    }

    /// Says why one of the usual metrics cannot be measured here, if so.
    pub fn lacks(&self, metric: &str) -> Option<&'static str> {
        let values = &self.inputs.values;
        let continuous = (0..values.values().len()).any(|i| values.attributed(i));
        let inpainted = self.baselines.as_ref();
        let inpainted = inpainted.is_some_and(|baselines| baselines.absent(values).is_err());
        match metric {
            "infidelity" | "sensitivity-max" if !continuous => Some("no input is floating point"),
            "infidelity" if inpainted => Some("the baseline depends on what is absent"),
            "random-logit" if self.classes < 2 => Some("the model has no other class"),
            "random-logit"
                if !matches!(
                    self.target,
                    Target::Class(_) | Target::Classes(_) | Target::Predicted
                ) =>
            {
                Some("the target is no class")
            }
            _ => None,
        }
    }

    /// Builds a method that explains the input. What is found at a layer is resized to it.
    pub fn method(&self, asked: &Asked) -> Result<Box<dyn Method>, Error> {
        let mut own: QuestionArguments = asked.arguments.clone();
        if own.layer.is_empty() && asked.needs.layer == LayerUse::Spatial {
            own.layer = vec![last_spatial(self.model)?];
        }
        let rows = 0..self.inputs.values.rows();
        let part = Part::new(
            &own,
            asked.needs,
            self.opened,
            self.model,
            self.inputs,
            &rows,
        )?;
        Ok(match part.build(asked.entry, asked.given.clone())? {
            Built::Inputs(method) => method,
            Built::Layers(method) => Box::new(AtInput::new(method)),
            Built::Shift(method) => Box::new(method),
        })
    }
}

/// Reads ground-truth masks of the first explained input, with or without channels.
fn read_masks(path: &Path, inputs: &Inputs) -> Result<Value, Error> {
    let array = input::array(path, Kind::Float, |_| Ok(()))?;
    let values = &inputs.values;
    let input = &values.values()[values.first_explained()];
    let (shape, mut own) = (input.shape(), array.shape.clone());
    if own.len() + 1 == shape.len() && shape.len() > 2 {
        own.insert(1, 1);
    }
    let fits = own.len() == shape.len()
        && own
            .iter()
            .zip(&shape)
            .enumerate()
            .all(|(dim, (own, size))| own == size || (dim > 0 && *own == 1));
    if !fits {
        return Err(Error::input(format!(
            "--masks {} has shape {:?}, but the input has {shape:?}; give one mask per row, with \
             the channels of an image or without them",
            path.display(),
            array.shape
        )));
    }
    let data = TensorData::new(array.elements.into_floats(), own);
    Ok(Value::from_data(data, &input.device()))
}
