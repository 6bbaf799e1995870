//! Opens and traces the model as requested on the command line.

use std::path::Path;

use attr_core::{Traced, Values};
use attr_onnx::{OnnxModel, Port};
use burn::tensor::Device;
use sha2::{Digest, Sha256};

use crate::args::ModelArguments;
use crate::error::Error;
use crate::input::{self, Inputs};

/// A model file and the device it runs on.
pub struct Opened {
    pub file: OnnxModel,
    pub device: Device,
}

impl Opened {
    /// Reads the file.
    pub fn new(arguments: &ModelArguments) -> Result<Self, Error> {
        let device = arguments.device.open()?;
        let file = OnnxModel::open(&arguments.model, &device)?;
        Ok(Self { file, device })
    }

    /// Returns the model's inputs.
    pub fn ports(&self) -> &[Port] {
        self.file.inputs()
    }

    /// Reads the inputs that the command line names.
    pub fn read(&self, arguments: &ModelArguments) -> Result<Inputs, Error> {
        input::read(arguments, self.ports(), &self.device)
    }

    /// Traces the model, without its final softmax or sigmoid if `--logits` is given.
    pub fn trace(&self, arguments: &ModelArguments, inputs: &Values) -> Result<Traced, Error> {
        let traced = self.file.trace(inputs, arguments.output.as_deref())?;
        Ok(if arguments.logits {
            traced.logits()
        } else {
            traced
        })
    }
}

/// The SHA-256 of a file, which may be larger than what should be held in memory.
pub fn hash(path: &Path) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    std::fs::File::open(path)
        .and_then(|mut file| std::io::copy(&mut file, &mut hasher))
        .map_err(|error| Error::input(format!("cannot read {}: {error}", path.display())))?;
    Ok(format!("{:x}", hasher.finalize()))
}
