//! What "absent" means: the reference that an input is compared with.

use burn::tensor::Tensor;

use crate::{Error, Value, Values};

/// The reference value of one input.
#[derive(Clone, Debug, Default)]
pub enum Baseline {
    /// Zero everywhere, Captum's default.
    #[default]
    Zero,
    /// One number everywhere.
    Scalar(f64),
    /// A tensor shaped like the input, with one row for all or one per row.
    Tensor(Value),
    /// Rows to draw from: any number of rows shaped like the input's.
    Distribution(Value),
}

/// The baselines of all inputs: one for all of them, or one each.
#[derive(Clone, Debug, Default)]
pub struct Baselines(Vec<Baseline>);

impl Baselines {
    /// A baseline for each input, in order; those without attribution included.
    pub fn each(baselines: Vec<Baseline>) -> Self {
        Self(baselines)
    }

    /// Baseline of input `i`, of `count`.
    ///
    /// # Errors
    /// [`Error::InputCount`] when there is neither one for all nor one each.
    pub fn get(&self, i: usize, count: usize) -> Result<&Baseline, Error> {
        match &self.0[..] {
            [] => Ok(&Baseline::Zero),
            [one @ (Baseline::Zero | Baseline::Scalar(_))] => Ok(one),
            all if all.len() == count => Ok(&all[i]),
            all => Err(Error::InputCount {
                expected: count,
                got: all.len(),
            }),
        }
    }

    /// The baseline of every attributed input, one row for each of its rows.
    ///
    /// # Errors
    /// [`Error::Shape`] for a tensor that does not fit its input, [`Error::NonFinite`] for NaN,
    /// [`Error::Method`] for a distribution where a single baseline is needed.
    pub fn resolve(&self, inputs: &Values) -> Result<Vec<Option<Value>>, Error> {
        let count = inputs.values().len();
        // Constants that a cut model appends have no baseline of their own.
        let given = (0..count)
            .rev()
            .find(|&i| inputs.attributed(i))
            .map_or(0, |i| i + 1);
        let count = if self.0.len() < count {
            self.0.len().max(given)
        } else {
            count
        };
        let values = inputs.values().iter().enumerate();
        values
            .map(|(i, value)| {
                if !inputs.attributed(i) {
                    return Ok(None);
                }
                let baseline = self.get(i, count)?;
                one(baseline, value, inputs, i).map(Some)
            })
            .collect()
    }
}

fn one(baseline: &Baseline, input: &Value, inputs: &Values, i: usize) -> Result<Value, Error> {
    let (origin, rows) = (inputs.origin(), inputs.caller_rows());
    let tensor = match baseline {
        Baseline::Zero => return Ok(input.zeros_like()),
        Baseline::Scalar(value) => {
            if !value.is_finite() {
                return Err(Error::NonFinite {
                    what: format!("the baseline of input {i}"),
                });
            }
            let filled = input.matrix()?.full_like(*value);
            return Ok(Value::from_matrix(filled, &input.shape()));
        }
        Baseline::Tensor(tensor) => tensor,
        Baseline::Distribution(_) => {
            return Err(Error::Method {
                method: "this method",
                reason: "it needs one baseline per row, not a distribution".into(),
            });
        }
    };
    let (shape, given) = (input.shape(), tensor.shape());
    let fits = given.len() == shape.len() && given[1..] == shape[1..];
    if !fits || (tensor.rows() != 1 && tensor.rows() != rows) {
        let mut expected = shape;
        expected[0] = rows;
        return Err(Error::Shape {
            what: format!("the baseline of input {i}"),
            got: given,
            expected: format!("{expected:?}, or one row of it,"),
        });
    }
    let device = input.device();
    let what = format!("the baseline of input {i}");
    let tensor = tensor
        .clone()
        .checked(what, input.dtype(), device.as_dispatch())?;
    if !tensor.is_finite()? {
        return Err(Error::NonFinite {
            what: format!("the baseline of input {i}"),
        });
    }
    Ok(match tensor.rows() {
        1 => tensor.select_rows(&vec![0; origin.len()]),
        _ => tensor.select_rows(origin),
    })
}

impl From<Baseline> for Baselines {
    fn from(baseline: Baseline) -> Self {
        Self(vec![baseline])
    }
}

impl From<f64> for Baselines {
    fn from(value: f64) -> Self {
        Baseline::Scalar(value).into()
    }
}

impl<const D: usize> From<Tensor<D>> for Baselines {
    fn from(tensor: Tensor<D>) -> Self {
        Baseline::Tensor(tensor.into()).into()
    }
}

impl<const D: usize> From<Tensor<D>> for Baseline {
    fn from(tensor: Tensor<D>) -> Self {
        Baseline::Tensor(tensor.into())
    }
}
