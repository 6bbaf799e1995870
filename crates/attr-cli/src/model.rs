//! Opens and traces the model as requested on the command line.

use std::path::Path;

use attr_core::{Kind, Traced, Values};
use attr_data::{Array, Elements};
use attr_onnx::{Elements as Fixed, OnnxModel, Port};
use burn::tensor::Device;
use sha2::{Digest, Sha256};

use crate::args::ModelArguments;
use crate::error::Error;
use crate::input::{self, Inputs};

/// A model file and the device it runs on.
pub struct Opened {
    pub file: OnnxModel,
    pub device: Device,
    /// The constants that are left to be read with the inputs: those with rows.
    constants: Vec<String>,
}

impl Opened {
    /// Reads the file.
    pub fn new(arguments: &ModelArguments) -> Result<Self, Error> {
        let device = arguments.device.open()?;
        let mut file = OnnxModel::open(&arguments.model, &device)?;
        let batch_dims = batch_dims(&arguments.batch_dim, &file)?;
        let mut constants = Vec::new();
        for text in &arguments.constant {
            match setting(text, &arguments.constant, &batch_dims, &file)? {
                Some(Setting { name, array, dim }) => {
                    let elements = elements(&file, &name, array.elements)?;
                    file = file.with_constant(&name, &array.shape, elements, dim)?;
                }
                None => constants.push(text.clone()),
            }
        }
        if let Some((name, _)) = batch_dims
            .iter()
            .find(|(name, _)| file.inputs().iter().any(|port| port.name == *name))
        {
            return Err(Error::input(format!(
                "--batch-dim {name}: only of a --constant {name}=FILE"
            )));
        }
        Ok(Self {
            file,
            device,
            constants,
        })
    }

    /// Whether the command line names values for inputs with rows.
    pub fn has_inputs(&self, arguments: &ModelArguments) -> bool {
        !arguments.input.is_empty() || !self.constants.is_empty()
    }

    /// Refuses inputs beside a data set: settings and states alone have no rows.
    pub fn check_only_data(&self, arguments: &ModelArguments) -> Result<(), Error> {
        if !self.has_inputs(arguments) {
            return Ok(());
        }
        Err(Error::input(
            "--input and --constant: samples come from the data set; only settings and states, which have \
             no rows, may be given",
        ))
    }

    /// Returns the model's inputs.
    pub fn ports(&self) -> &[Port] {
        self.file.inputs()
    }

    /// Reads the file and the inputs that the command line names, and traces the model with them.
    pub fn with_inputs(arguments: &ModelArguments) -> Result<(Self, Inputs, Traced), Error> {
        let opened = Self::new(arguments)?;
        let inputs = opened.read(arguments)?;
        let traced = opened.trace(arguments, &inputs.values)?;
        Ok((opened, inputs, traced))
    }

    /// Reads the inputs that the command line names.
    pub fn read(&self, arguments: &ModelArguments) -> Result<Inputs, Error> {
        let arguments = ModelArguments {
            constant: self.constants.clone(),
            ..arguments.clone()
        };
        input::read(&arguments, self.ports(), &self.device)
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

/// A constant without rows.
struct Setting {
    name: String,
    array: Array,
    /// The dimension that is the batch, if it was given.
    dim: Option<usize>,
}

/// Reads a named constant, if it has no rows.
fn setting(
    text: &str,
    constants: &[String],
    batch_dims: &[(String, usize)],
    file: &OnnxModel,
) -> Result<Option<Setting>, Error> {
    let (Some(name), path) = input::name_and_file(text, file.inputs()) else {
        return Ok(None);
    };
    let path = Path::new(path);
    let Some(port) = file.inputs().iter().find(|port| port.name == name) else {
        return Ok(None);
    };
    if path.extension().is_none_or(|extension| extension != "npy") {
        return Ok(None);
    }
    let dim = batch_dims.iter().find(|(own, _)| own == name);
    let dim = dim.map(|(_, dim)| *dim);
    let array = input::array(path, port.kind, |_| Ok(()))?;
    // Those that have rows for certain.
    let is_constant = |port: &&Port| {
        let named = constants
            .iter()
            .map(|text| input::name_and_file(text, file.inputs()).0);
        named.flatten().any(|name| name == port.name)
    };
    let others: Vec<&Port> = file.inputs().iter().filter(|p| !is_constant(p)).collect();
    let name = name.to_string();
    let is_setting = dim.is_some() || port.is_setting(&array.shape, &others);
    Ok(is_setting.then_some(Setting { name, array, dim }))
}

/// The elements of an array as the model takes them.
fn elements(file: &OnnxModel, name: &str, elements: Elements) -> Result<Fixed, Error> {
    let port = file.inputs().iter().find(|port| port.name == name);
    let kind = port.map_or(Kind::Float, |port| port.kind);
    let ints = || {
        elements.to_ints().ok_or_else(|| {
            Error::input(format!(
                "input {name:?} takes integers, but the array holds fractions"
            ))
        })
    };
    Ok(match kind {
        Kind::Int => Fixed::Int(ints()?.to_vec()),
        Kind::Bool => Fixed::Bool(ints()?.iter().map(|&value| value != 0).collect()),
        Kind::Float => Fixed::Float(elements.into_floats()),
    })
}

/// Parses `--batch-dim`.
fn batch_dims(texts: &[String], file: &OnnxModel) -> Result<Vec<(String, usize)>, Error> {
    let parse = |text: &String| {
        let (name, dim) = text.rsplit_once('=')?;
        let known = file.inputs().iter().any(|port| port.name == name);
        Some((name.to_string(), dim.parse().ok().filter(|_| known)?))
    };
    let all = texts.iter().map(|text| {
        parse(text).ok_or_else(|| {
            Error::input(format!(
                "--batch-dim {text}: give an input and the number of its dimension, such as \
                 state=1; the inputs are {}",
                input::describe(file.inputs())
            ))
        })
    });
    all.collect()
}

/// The SHA-256 of a file, which may be larger than what should be held in memory.
pub fn hash(path: &Path) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    std::fs::File::open(path)
        .and_then(|mut file| std::io::copy(&mut file, &mut hasher))
        .map_err(|error| Error::input(format!("cannot read {}: {error}", path.display())))?;
    Ok(format!("{:x}", hasher.finalize()))
}

/// Texts of the form VALUE, FILE or NAME=FILE, with what files hold in place of where they lie.
pub fn contents<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<String, Error> {
    let mut all = Vec::new();
    for text in texts {
        let named = text
            .split_once('=')
            .filter(|(_, file)| Path::new(file).is_file());
        all.push(match named {
            _ if Path::new(text).is_file() => hash(Path::new(text))?,
            Some((name, file)) => format!("{name}={}", hash(Path::new(file))?),
            None => text.clone(),
        });
    }
    Ok(all.join(","))
}
