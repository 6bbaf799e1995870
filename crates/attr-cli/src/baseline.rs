//! Parses `--baseline`.

use std::ops::Range;
use std::path::Path;

use attr_core::{Baseline, Baselines};
use attr_onnx::Port;
use burn::tensor::Device;

use crate::error::Error;
use crate::input;

/// Returns the baselines of a model's inputs, in the model's order; only `explained` inputs may
/// have one. A baseline with `total` rows, one per input row, is cut to `rows`.
pub fn parse(
    texts: &[String],
    ports: &[Port],
    explained: &[bool],
    device: &Device,
    rows: Range<usize>,
    (total, averaged): (usize, bool),
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
            // A file is for one input; a number may be for all of them.
            None => (0..ports.len()).find(|&i| explained[i] && all[i].is_none()),
        };
        if at.is_some_and(|i| !explained[i]) {
            return Err(Error::input(format!(
                "--baseline {text}: that input is a constant and takes no baseline"
            )));
        }
        if at.is_some_and(|i| all[i].is_some()) {
            return Err(Error::input(format!(
                "--baseline {text}: that input already has one; use NAME= for each"
            )));
        }
        let at = at.ok_or_else(|| {
            Error::input(format!(
                "--baseline {text}: there are more baselines than inputs"
            ))
        })?;
        match value.parse::<f64>() {
            Ok(number) if name.is_none() && texts.len() == 1 => {
                common = Some(Baseline::Scalar(number))
            }
            Ok(number) => all[at] = Some(Baseline::Scalar(number)),
            Err(_) if named(value)?.is_some() => match named(value)? {
                Some(one) if name.is_none() && texts.len() == 1 => common = Some(one),
                one => all[at] = one,
            },
            Err(_) => {
                let path = Path::new(value);
                if !path.exists() {
                    return Err(Error::input(format!(
                        "--baseline {value}: neither a number nor a file, nor min, max, blur:SIGMA \
                         or inpaint"
                    )));
                }
                let array = input::array(path, ports[at].kind, |_| Ok(()))?;
                let value = input::upload(array, &ports[at].name, ports[at].kind, device)?;
                all[at] = Some(match value.rows() {
                    own if own == total => Baseline::Tensor(value.slice_rows(rows.clone())),
                    2.. if averaged => Baseline::Distribution(value),
                    _ => Baseline::Tensor(value),
                });
            }
        }
    }
    if let Some(one) = common {
        return Ok(Baselines::from(one));
    }
    Ok(Baselines::each(
        all.into_iter().map(Option::unwrap_or_default).collect(),
    ))
}

/// Parses a named baseline.
fn named(text: &str) -> Result<Option<Baseline>, Error> {
    let sigma = text.strip_prefix("blur:");
    Ok(match (text, sigma) {
        ("min", _) => Some(Baseline::Min),
        ("max", _) => Some(Baseline::Max),
        ("inpaint", _) => Some(Baseline::Inpaint),
        (_, Some(sigma)) => match sigma.parse() {
            Ok(sigma) => Some(Baseline::Blur(sigma)),
            Err(_) => {
                return Err(Error::input(format!(
                    "--baseline {text}: give the standard deviation in pixels, such as blur:5"
                )));
            }
        },
        _ => None,
    })
}
