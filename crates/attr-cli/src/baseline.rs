//! `--baseline`.

use std::ops::Range;
use std::path::Path;

use attr_core::{Baseline, Baselines, Kind, Value, Values};
use attr_onnx::Port;
use burn::tensor::Device;

use crate::error::Error;
use crate::input;
use crate::npy::{Array, Elements};

/// The inputs with what is absent in place of those that are explained. Integers such as tokens
/// have a baseline here, too: 0 unless another is given, as in Captum.
pub fn absent(baselines: &Baselines, inputs: &Values, explained: &[bool]) -> Result<Values, Error> {
    let floats = baselines.resolve(inputs)?;
    let count = inputs.values().len();
    let mut absent: Vec<Option<Value>> = Vec::with_capacity(count);
    for (i, value) in inputs.values().iter().enumerate() {
        if value.kind() == Kind::Float || !explained[i] {
            absent.push(floats[i].clone());
            continue;
        }
        let shape = value.shape();
        let filled = |number: f64| {
            let elements = Elements::Float(vec![number as f32; shape.iter().product()]);
            let shape = shape.clone();
            let name = format!("baseline of input {i}");
            input::upload(
                Array { shape, elements },
                &name,
                value.kind(),
                &value.device(),
            )
        };
        absent.push(Some(match baselines.get(i, count)? {
            Baseline::Scalar(number) => filled(*number)?,
            Baseline::Tensor(tensor) => {
                let repeated = tensor.rows() == 1 && tensor.shape()[1..] == shape[1..];
                match tensor.shape() == shape {
                    true => tensor.clone(),
                    false if repeated => tensor.select_rows(&vec![0; inputs.rows()]),
                    false => {
                        return Err(Error::input(format!(
                            "--baseline: shape {:?} does not fit input {i} of shape {shape:?}",
                            tensor.shape()
                        )));
                    }
                }
            }
            _ => filled(0.0)?,
        }));
    }
    Ok(inputs.with(|i, _| absent[i].clone()))
}

/// The baselines of a model's inputs, in its order; only those that are `explained` may be given
/// one. Of those that have `total` rows, one per row explained, only `rows` are taken.
pub fn parse(
    texts: &[String],
    ports: &[Port],
    explained: &[bool],
    device: &Device,
    rows: Range<usize>,
    total: usize,
) -> Result<Baselines, Error> {
    let mut all: Vec<Option<Baseline>> = vec![None; ports.len()];
    let mut common = None;
    for text in texts {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) if ports.iter().any(|port| port.name == name) => {
                (Some(name), value)
            }
            Some((name, _)) if !Path::new(text).exists() => {
                return Err(Error::input(format!(
                    "--baseline {text}: the model has no input {name:?}; its inputs are {}",
                    input::describe(ports)
                )));
            }
            _ => (None, text.as_str()),
        };
        let at = match name {
            Some(name) => ports.iter().position(|port| port.name == name),
            // A file fits one input; a number may be for all of them.
            None => (0..ports.len()).find(|&i| explained[i] && all[i].is_none()),
        };
        if at.is_some_and(|i| !explained[i]) {
            return Err(Error::input(format!(
                "--baseline {text}: that input is a constant and has no baseline"
            )));
        }
        let at = at.ok_or_else(|| {
            Error::input(format!(
                "--baseline {text}: there are more baselines than inputs"
            ))
        })?;
        match value.parse::<f64>() {
            Ok(number) if name.is_none() && texts.len() == 1 => common = Some(number),
            Ok(number) => all[at] = Some(Baseline::Scalar(number)),
            Err(_) => {
                let path = Path::new(value);
                if !path.exists() {
                    return Err(Error::input(format!(
                        "--baseline {value}: neither a number nor a file"
                    )));
                }
                let array = input::array(path)?;
                let value = input::upload(array, &ports[at].name, ports[at].kind, device)?;
                all[at] = Some(Baseline::Tensor(match value.rows() == total {
                    true => value.slice_rows(rows.clone()),
                    false => value,
                }));
            }
        }
    }
    if let Some(number) = common {
        return Ok(Baselines::from(number));
    }
    Ok(Baselines::each(
        all.into_iter().map(Option::unwrap_or_default).collect(),
    ))
}
