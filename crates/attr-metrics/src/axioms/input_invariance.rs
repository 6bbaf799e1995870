//! Input invariance: does a shift of the input that the model undoes leave the explanation alone?
//!
//! Kindermans et al., 2017 (<https://arxiv.org/abs/1711.00867>). Quantus: `InputInvariance`, which
//! leaves the first feature unshifted and undoes the shift in the first layer's bias; here the model
//! subtracts it from its inputs.

use attr_core::{Error, Kind};
use serde::{Deserialize, Serialize};

use crate::options::at_least;
use crate::{About, Case, Family, Measured, Metric, Needs};

/// Computes whether the explanation of `g(x + c)` is that of `f(x)`, where `g(x) = f(x - c)`: 1 if
/// all attributions agree within `atol + 1e-5 |a|`, else 0.
///
/// Gradients are invariant; what is multiplied by the input, or compared with a fixed baseline, is
/// not. Methods that share relevance in proportion, such as LRP, also share it with the shift.
///
/// # Errors
/// [`Error::NotTraced`] for a closure; [`Error::Method`] for given attributions;
/// [`Error::Parameter`] for a shift that is not finite, or a negative tolerance;
/// [`Error::NoGradient`] where no input is floating point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct InputInvariance {
    /// The shift, in units of the input; default -1, as in Quantus.
    pub input_shift: f64,
    /// The largest difference; default 1e-4, as in Quantus.
    pub atol: f64,
}

impl Default for InputInvariance {
    fn default() -> Self {
        Self {
            input_shift: -1.0,
            atol: 1e-4,
        }
    }
}

impl Metric for InputInvariance {
    fn about(&self) -> About {
        About {
            name: "input-invariance",
            summary: "whether a shift of the input that the model undoes changes nothing",
            paper: "https://arxiv.org/abs/1711.00867",
            higher_is_better: true,
            family: Family::Axioms,
            needs: Needs {
                method: true,
                traced: true,
                ..Needs::default()
            },
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        let shift = at_least(
            "input_shift",
            self.input_shift,
            f64::MIN,
            "it must be finite",
        )?;
        let atol = at_least("atol", self.atol, 0.0, "a tolerance is at least 0")?;
        let question = case.question();
        question.check_attributed()?;
        let inputs = question.inputs();
        // The model shifts all floating-point inputs back, constants included.
        let shifted = inputs.values().iter().map(|value| {
            let shifted = (value.kind() == Kind::Float).then(|| value.map(|x| x + shift));
            shifted.transpose()
        });
        let shifted = shifted.collect::<Result<Vec<_>, Error>>()?;
        let model = question.traced()?.with_shifted_inputs(shift);
        let other = case.explain_model(&model, inputs.with(|i, _| shifted[i].clone()))?;
        let mut same = vec![true; case.rows()];
        for (own, other) in case.attributions()?.iter().zip(&other) {
            let (Some(own), Some(other)) = (own, other) else {
                continue;
            };
            let (own, other) = (own.to_vec()?, other.to_vec()?);
            let width = own.len() / case.rows();
            for (at, (a, b)) in own.iter().zip(&other).enumerate() {
                let (a, b) = (f64::from(*a), f64::from(*b));
                same[at / width] &= (a - b).abs() <= atol + 1e-5 * b.abs();
            }
        }
        let values = same.into_iter().map(|same| f64::from(u8::from(same)));
        Ok(Measured::new(values.collect()))
    }
}
