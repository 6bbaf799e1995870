//! Parameters that several metrics share, and checks of them.

use attr_core::{Error, FeatureMask, Question, Value};
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Which definition of a metric is computed, where Quantus deviates from the paper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// The paper's.
    #[default]
    Paper,
    /// Quantus'.
    Quantus,
}

/// The order in which features are removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The most relevant first.
    #[default]
    Morf,
    /// The least relevant first.
    Lerf,
    /// A random order, the same for all rows.
    Random,
}

/// The largest count that a parameter may have: beyond it, nothing is gained and memory is lost.
const MOST: usize = 1 << 20;

/// Refuses a count of zero, or one too large to be meant.
pub(crate) fn positive(name: &'static str, value: usize) -> Result<usize, Error> {
    if (1..=MOST).contains(&value) {
        return Ok(value);
    }
    Err(Error::Parameter {
        name,
        value: value.to_string(),
        expected: "it must be at least 1 and at most 1048576",
    })
}

/// Refuses a number that is not finite, or below `least`.
pub(crate) fn at_least(
    name: &'static str,
    value: f64,
    least: f64,
    expected: &'static str,
) -> Result<f64, Error> {
    if value.is_finite() && value >= least {
        return Ok(value);
    }
    Err(Error::Parameter {
        name,
        value: value.to_string(),
        expected,
    })
}

/// Refuses a number that is not in `(0, 1]`.
pub(crate) fn share(name: &'static str, value: f64) -> Result<f64, Error> {
    if value > 0.0 && value <= 1.0 {
        return Ok(value);
    }
    Err(Error::Parameter {
        name,
        value: value.to_string(),
        expected: "it must be above 0 and at most 1",
    })
}

/// Returns where `features` are cut into groups of `step`: the ends of the groups. The last may be
/// smaller.
pub(crate) fn ends(features: usize, step: usize) -> Vec<usize> {
    let groups = features.div_ceil(step);
    (1..=groups)
        .map(|group| (group * step).min(features))
        .collect()
}

/// Returns features that are square patches of the explained inputs, all channels together. The
/// last patch of a row or column may be smaller. A patch is `size` long where the input has one
/// spatial dimension, `[batch, channels, length]`, or none, `[batch, features]`.
pub(crate) fn patches(question: &Question<'_>, size: usize) -> Result<FeatureMask, Error> {
    let inputs = question.inputs();
    let mut masks: Vec<Value> = Vec::new();
    let mut first = 0;
    for (i, value) in inputs.values().iter().enumerate() {
        if !inputs.explained(i) {
            continue;
        }
        let shape = value.shape();
        let spatial = if shape.len() > 2 { 2 } else { 1 };
        let sides = &shape[spatial..];
        let cells: Vec<usize> = sides.iter().map(|side| side.div_ceil(size)).collect();
        let count: usize = cells.iter().product();
        let elements: usize = shape[1..].iter().product();
        let numbers = (0..elements).map(|mut flat| {
            let (mut number, mut scale) = (0, 1);
            for (&side, &cells) in sides.iter().zip(&cells).rev() {
                number += scale * (flat % side / size);
                scale *= cells;
                flat /= side;
            }
            (first + number) as i64
        });
        let mut one = shape.clone();
        one[0] = 1;
        let data = TensorData::new(numbers.collect::<Vec<i64>>(), [elements]);
        let numbers = Tensor::<1, Int>::from_data(data, &value.device());
        masks.push(Value::from(numbers).reshape(&one));
        first += count;
    }
    Ok(FeatureMask::Each(masks))
}
