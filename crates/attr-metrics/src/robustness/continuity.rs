//! Continuity: how much the explanation changes while an image is shifted to the side.
//!
//! Montavon, Samek, Müller, 2018 (<https://arxiv.org/abs/1706.07979>). Quantus: `Continuity`, which
//! divides all rows of a batch by the largest value among them, twice; here each by its own.

use attr_core::perturb::Perturbation;
use attr_core::{Error, Value, Values};
use serde::{Deserialize, Serialize};

use crate::options::positive;
use crate::{About, Case, Family, Measured, Metric, Needs, statistics};

/// Computes `max ‖a(x) - a(x')‖₁ / ‖x - x'‖₂` over shifts `x'` of the first explained input along
/// its last dimension. The baseline enters at the border.
///
/// A length of `W` is shifted by `s - W, 2s - W, ...` with `s = (2W + 1) / nr_steps`, rounded down,
/// as in Quantus: from nearly the whole length to the left to the whole length to the right.
///
/// Undefined (NaN) where no shift changes the input.
///
/// # Errors
/// [`Error::Method`] for given attributions, and for inputs without space, `[batch, features]`;
/// [`Error::Parameter`] for no steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Continuity {
    /// Number of shifts; default 28, as in Quantus; at most `2W + 1`.
    pub nr_steps: usize,
    /// Whether explanations are divided by their largest magnitude; default true, as in Quantus.
    pub normalise: bool,
    /// Whether magnitudes are compared; default true, as in Quantus.
    pub abs: bool,
}

impl Default for Continuity {
    fn default() -> Self {
        Self {
            nr_steps: 28,
            normalise: true,
            abs: true,
        }
    }
}

impl Metric for Continuity {
    fn about(&self) -> About {
        About {
            name: "continuity",
            summary: "the largest change of the explanation per distance while an image is shifted",
            paper: "https://arxiv.org/abs/1706.07979",
            higher_is_better: false,
            family: Family::Robustness,
            needs: Needs {
                method: true,
                ..Needs::default()
            },
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let question = case.question();
        let inputs = question.inputs();
        let image = case.question().inputs().first_explained();
        let shape = inputs.values()[image].shape();
        if !inputs.attributed(image) || shape.len() < 3 {
            return Err(Error::Method {
                method: "continuity",
                reason: format!(
                    "it shifts images or signals, but the input has shape {shape:?}; it needs \
                     channels and space"
                ),
            });
        }
        let width = shape[shape.len() - 1];
        let possible = 2 * width + 1;
        let steps = positive("nr_steps", self.nr_steps)?.min(possible);
        let stride = possible / steps;
        let shift = |step: usize| ((step + 1) * stride) as isize - width as isize;
        let absent = question.baselines().absent(inputs)?;
        let own = self.comparable(case.attributions()?, image)?;
        let own_pixels = rows_of(&inputs.values()[image])?;
        let mut values = vec![f64::NAN; case.rows()];
        let make = |part: &[Perturbation]| -> Result<Values, Error> {
            let rows: Vec<usize> = part.iter().map(|copy| copy.row).collect();
            let copies = inputs.select(&rows);
            let fill = absent.select(&rows).values()[image].to_vec()?;
            let value = &copies.values()[image];
            let old = value.to_vec()?;
            let mut new = fill;
            let elements = old.len() / part.len();
            for (at, new) in new.iter_mut().enumerate() {
                let by = shift(part[at / elements].number);
                let from = (at % width) as isize - by;
                if (0..width as isize).contains(&from) {
                    *new = old[(at as isize - by) as usize];
                }
            }
            let data = burn::tensor::TensorData::new(new, value.shape());
            let shifted = Value::from_data(data.convert_dtype(value.dtype()), &value.device());
            Ok(copies.with(|i, _| (i == image).then(|| shifted.clone())))
        };
        case.explain_copies(steps, &make, &mut |part, copies, attributions| {
            let explained = self.comparable(attributions, image)?;
            let pixels = rows_of(&copies.values()[image])?;
            for (k, copy) in part.iter().enumerate() {
                let pairs = own_pixels[copy.row].iter().zip(&pixels[k]);
                let squares = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
                let distance = squares.sum::<f64>().sqrt();
                if distance == 0.0 {
                    continue;
                }
                let pairs = own[copy.row].iter().zip(&explained[k]);
                let change: f64 = pairs.map(|(a, b)| (a - b).abs()).sum();
                values[copy.row] = statistics::largest([values[copy.row], change / distance]);
            }
            Ok(())
        })?;
        Ok(Measured::new(values))
    }
}

impl Continuity {
    /// Returns explanations of the image as they are compared.
    fn comparable(
        &self,
        attributions: &[Option<Value>],
        image: usize,
    ) -> Result<Vec<Vec<f64>>, Error> {
        let value = attributions.get(image).and_then(Option::as_ref);
        let value = value.ok_or(Error::NoGradient { input: image })?;
        let rows = rows_of(value)?.into_iter().map(|row| {
            let mut row: Vec<f64> = row.into_iter().map(f64::from).collect();
            if self.normalise {
                row = statistics::normalised(&row);
            }
            if self.abs {
                row.iter_mut().for_each(|a| *a = a.abs());
            }
            row
        });
        Ok(rows.collect())
    }
}

fn rows_of(value: &Value) -> Result<Vec<Vec<f32>>, Error> {
    let data = value.to_vec()?;
    let width = (data.len() / value.rows()).max(1);
    Ok(data.chunks(width).map(<[f32]>::to_vec).collect())
}
