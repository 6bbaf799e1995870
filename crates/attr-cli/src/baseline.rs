//! `--baseline`.

use std::ops::Range;
use std::path::Path;

use attr_core::{Baseline, Baselines};
use attr_onnx::Port;
use burn::tensor::Device;

use crate::error::Error;
use crate::input;

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
