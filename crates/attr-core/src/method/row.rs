//! Results one row at a time: features with their names, values and errors, to sort and to print.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::explanation::Explanation;
use crate::{Error, Value};

/// The attribution of one row of the batch, feature by feature.
///
/// It prints as a table, one line per feature:
///
/// ```
/// use attr_core::{Feature, Row};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let feature = |value| Feature { value, ..Feature::default() };
/// let row = Row {
///     score: 2.5,
///     features: vec![feature(-0.25), feature(1.5)],
///     ..Row::default()
/// };
/// let table = row.named(&["age", "income"])?.sorted().to_string();
/// assert_eq!(table, "score 2.5\nincome  +1.5000\n   age  -0.2500");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// The model's output for the target.
    pub score: f32,
    /// The convergence delta, for methods that guarantee completeness.
    pub delta: Option<f32>,
    /// The coefficient of determination of the fitted simple model, for methods that fit one.
    pub r_squared: Option<f32>,
    /// The features: every element of every attributed input, in order.
    pub features: Vec<Feature>,
}

/// One feature of a [`Row`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Feature {
    /// Its name; empty until [`Row::named`] gives one.
    pub name: String,
    /// Which input it belongs to.
    pub input: usize,
    /// Its place in the input, without the batch dimension.
    pub index: Vec<usize>,
    /// Its attribution.
    pub value: f32,
    /// The standard error of the attribution, for methods that sample.
    pub standard_error: Option<f32>,
}

impl Row {
    /// Names the features, in order.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one name for each feature.
    pub fn named(mut self, names: &[impl AsRef<str>]) -> Result<Self, Error> {
        if names.len() != self.features.len() {
            return Err(Error::Shape {
                what: "the list of names".into(),
                got: vec![names.len()],
                expected: format!("[{}], one name for each feature,", self.features.len()),
            });
        }
        for (feature, name) in self.features.iter_mut().zip(names) {
            feature.name = name.as_ref().into();
        }
        Ok(self)
    }

    /// Sorts the features by the size of their values, largest first, regardless of sign.
    pub fn sorted(mut self) -> Self {
        let size = |feature: &Feature| feature.value.abs();
        self.features.sort_by(|a, b| size(b).total_cmp(&size(a)));
        self
    }

    /// Returns the `count` features with the largest values, regardless of sign.
    pub fn top(self, count: usize) -> Self {
        let mut row = self.sorted();
        row.features.truncate(count);
        row
    }

    /// Returns the rows of an explanation.
    pub(super) fn all(explanation: &Explanation) -> Result<Vec<Self>, Error> {
        let scores = explanation.scores.iter().enumerate();
        let at = |list: &Option<Vec<f32>>, r: usize| list.as_ref()?.get(r).copied();
        let mut rows: Vec<Self> = scores
            .map(|(r, &score)| Self {
                score,
                delta: at(&explanation.delta, r),
                r_squared: at(&explanation.r_squared, r),
                features: Vec::new(),
            })
            .collect();
        for (input, value) in explanation.values.iter().enumerate() {
            let Some(value) = value else { continue };
            let values = value.to_vec()?;
            let errors = explanation.standard_error.as_ref();
            let errors = errors.and_then(|errors| errors.get(input)?.as_ref());
            let errors = errors.map(Value::to_vec).transpose()?;
            let shape = &value.shape()[1..];
            let elements: usize = shape.iter().product();
            let count = rows.len();
            if value.rows() != 1 && value.rows() != count {
                return Err(Error::Internal(
                    "an attribution with other rows than its scores",
                ));
            }
            for (r, row) in rows.iter_mut().enumerate() {
                // A forward that gives one value for the batch has one row of attributions.
                let start = if value.rows() == 1 { 0 } else { r * elements };
                row.features.extend((0..elements).map(|e| Feature {
                    name: String::new(),
                    input,
                    index: index(e, shape),
                    value: values[start + e],
                    standard_error: errors.as_ref().map(|errors| errors[start + e]),
                }));
            }
        }
        Ok(rows)
    }
}

/// Returns the index of an element by its number in row-major order.
fn index(mut element: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (at, size) in index.iter_mut().zip(shape).rev() {
        *at = element % size;
        element /= size;
    }
    index
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "score {}", self.score)?;
        if let Some(delta) = self.delta {
            write!(f, ", delta {delta:.1e}")?;
        }
        if let Some(r_squared) = self.r_squared {
            write!(f, ", R² {r_squared:.3}")?;
        }
        let several = self.features.iter().any(|feature| feature.input != 0);
        let name = |feature: &Feature| {
            if !feature.name.is_empty() {
                feature.name.clone()
            } else if several {
                format!("input {} {:?}", feature.input, feature.index)
            } else {
                format!("{:?}", feature.index)
            }
        };
        let names: Vec<String> = self.features.iter().map(name).collect();
        let width = names.iter().map(|name| name.chars().count()).max();
        let width = width.unwrap_or(0);
        // Five digits of the largest value.
        let sizes = self.features.iter().map(|feature| feature.value.abs());
        let largest = sizes.filter(|size| size.is_finite()).fold(0.0, f32::max);
        let before = if largest > 0.0 {
            largest.log10().floor() as i32
        } else {
            0
        };
        let decimals = (4 - before).clamp(0, 12) as usize;
        for (feature, name) in self.features.iter().zip(&names) {
            // What rounds to zero has no sign.
            let shown = 0.5 * 10f32.powi(-(decimals as i32));
            let value = if feature.value.abs() < shown {
                0.0
            } else {
                feature.value
            };
            write!(f, "\n{name:>width$}  {value:+.decimals$}")?;
            match feature.standard_error {
                Some(error) if error > 0.0 && error < shown => write!(f, " ± {error:.1e}")?,
                Some(error) => write!(f, " ± {error:.decimals$}")?,
                None => {}
            }
        }
        Ok(())
    }
}
