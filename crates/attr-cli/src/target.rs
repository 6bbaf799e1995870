//! Parses `--target` and `--neuron`.

use std::path::Path;

use attr_core::{Kind, Target};
use attr_data::Array;

use crate::error::Error;
use crate::input;

/// Parses a target for an output of this shape.
pub fn parse(text: Option<&str>, output: &[usize]) -> Result<Target, Error> {
    let single = output[1.min(output.len())..].iter().product::<usize>() == 1;
    let Some(text) = text else {
        return Ok(if single {
            Target::Single
        } else {
            Target::Predicted
        });
    };
    if text == "predicted" {
        return Ok(Target::Predicted);
    }
    if text.ends_with(".npy") {
        return from_array(
            &input::array(Path::new(text), Kind::Int, |_| Ok(()))?,
            text,
            output.len(),
        );
    }
    let index = index(text).ok_or_else(|| {
        Error::input(format!(
            "--target {text}: give a class, `predicted`, an index such as 4,0,2, or a .npy of \
             integers; the output has shape {output:?}, where dimension 0 is the rows"
        ))
    })?;
    Ok(match index[..] {
        [0] if output.len() == 1 => Target::Single,
        [class] if output.len() == 2 => Target::Class(class),
        _ => Target::Index(index),
    })
}

/// Reads one class or one index per row.
fn from_array(array: &Array, text: &str, rank: usize) -> Result<Target, Error> {
    let bad = |why: &str| Error::input(format!("--target {text}: {why}"));
    let numbers = array.elements.to_ints();
    let numbers = numbers.ok_or_else(|| bad("it holds fractions, not integers"))?;
    let numbers: Option<Vec<usize>> = numbers.iter().map(|&n| usize::try_from(n).ok()).collect();
    let numbers = numbers.ok_or_else(|| bad("it holds a negative index"))?;
    match (&array.shape[..], rank) {
        ([_], 0..=2) | ([_, 1], 0..=2) => Ok(Target::Classes(numbers)),
        ([_], _) => Ok(Target::Indices(
            numbers.into_iter().map(|n| vec![n]).collect(),
        )),
        ([_, width], _) if *width > 0 => Ok(Target::Indices(
            numbers
                .chunks_exact(*width)
                .map(<[usize]>::to_vec)
                .collect(),
        )),
        (shape, _) => Err(bad(&format!(
            "it has shape {shape:?}; give one class (or one index) per row"
        ))),
    }
}

/// Parses `i,j,...`.
fn index(text: &str) -> Option<Vec<usize>> {
    text.split(',')
        .map(|part| part.trim().parse().ok())
        .collect()
}

/// Parses `LAYER:i,j,k`; the layer's name may contain colons.
pub fn neuron(text: &str) -> Result<(&str, Target), Error> {
    let parts = text
        .rsplit_once(':')
        .and_then(|(layer, unit)| Some((layer, index(unit)?)));
    match parts {
        Some((layer, unit)) if !layer.is_empty() => Ok((layer, Target::unit(unit))),
        _ => Err(Error::input(format!(
            "--neuron {text}: give a layer and the index of one of its units, such as \
             conv2:3,0,0"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let shown = |text, output: &[usize]| parse(text, output).map(|t| t.to_string());
        assert_eq!(shown(Some("3"), &[2, 5]).unwrap(), "3");
        assert_eq!(shown(Some("3,1"), &[2, 5, 4]).unwrap(), "[3, 1]");
        assert_eq!(shown(Some("predicted"), &[2, 5]).unwrap(), "predicted");
        assert_eq!(shown(None, &[2, 5]).unwrap(), "predicted");
        assert_eq!(shown(None, &[2, 1]).unwrap(), "single");
        assert_eq!(shown(None, &[2]).unwrap(), "single");
        for bad in ["-1", "x", "1,", ""] {
            assert_eq!(parse(Some(bad), &[2, 5]).unwrap_err().status(), 2, "{bad}");
        }
    }

    #[test]
    fn neurons() {
        let (layer, unit) = neuron("/a:b/Conv:1,2").unwrap();
        assert_eq!(
            (layer, unit.to_string()),
            ("/a:b/Conv", "[1, 2]".to_string())
        );
        for bad in ["conv", "conv:", ":1", "conv:x"] {
            assert!(neuron(bad).is_err(), "{bad}");
        }
    }
}
