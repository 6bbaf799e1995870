//! What a metric judges: a method, a closure, or attributions that were computed before.

use std::marker::PhantomData;

use attr_core::{Attribution, Error, Explanation, Inputs, Method, Output, Question, Value};
use burn::tensor::Tensor;

/// Where the attributions that a metric judges come from.
///
/// Created from a reference to any [`Method`], from [`Given`] attributions, or from a closure by
/// [`explained_by`].
#[derive(Clone)]
pub enum Explainer<'a> {
    /// A method, which can explain other inputs and other models, too.
    Method(&'a dyn Method),
    /// Attributions of the rows that are judged; metrics that explain again refuse them.
    Given(Given),
}

impl<'a, M: Method> From<&'a M> for Explainer<'a> {
    fn from(method: &'a M) -> Self {
        Self::Method(method)
    }
}

impl From<Given> for Explainer<'_> {
    fn from(given: Given) -> Self {
        Self::Given(given)
    }
}

/// Attributions that were computed before, one for each of the model's inputs, shaped like it;
/// `None` for inputs without attribution.
///
/// ```
/// use attr_metrics::{Given, Metric, Sparseness};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let x = Tensor::<2>::from_floats([[1.0, 2.0, 3.0, 4.0]], &Device::default());
/// let attributions = Tensor::<2>::from_floats([[0.0, 0.0, 0.0, 5.0]], &Device::default());
/// let model = |x: Tensor<2>| x.sum_dim(1);
/// let score = Sparseness::default().evaluate(&model, &x, 0, Given::from(attributions))?;
/// assert_eq!(score.values, [0.75]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Given(Vec<Option<Value>>);

impl Given {
    /// Creates attributions for several inputs.
    pub fn new(values: Vec<Option<Value>>) -> Self {
        Self(values)
    }

    /// Returns the attributions, if they are shaped like the inputs and finite.
    pub(crate) fn checked(&self, question: &Question<'_>) -> Result<Vec<Option<Value>>, Error> {
        let inputs = question.inputs();
        let mut checked = vec![None; inputs.values().len()];
        if self.0.len() > checked.len() {
            return Err(Error::InputCount {
                expected: checked.len(),
                got: self.0.len(),
            });
        }
        for (i, value) in self.0.iter().enumerate() {
            let Some(value) = value.clone() else { continue };
            let mut expected = inputs.values()[i].shape();
            expected[0] = inputs.caller_rows();
            if value.shape() != expected {
                return Err(Error::Shape {
                    what: format!("the attribution of input {i}"),
                    got: value.shape(),
                    expected: format!("{expected:?}, as the input has,"),
                });
            }
            checked[i] = Some(value.detached().select_rows(inputs.origin()));
        }
        Ok(checked)
    }
}

impl<I: Inputs> From<&Attribution<I>> for Given {
    fn from(attribution: &Attribution<I>) -> Self {
        Self(attribution.values().to_vec())
    }
}

impl From<Value> for Given {
    fn from(value: Value) -> Self {
        Self(vec![Some(value)])
    }
}

impl<const D: usize> From<Tensor<D>> for Given {
    fn from(tensor: Tensor<D>) -> Self {
        Value::from(tensor).into()
    }
}

/// A closure as a method; [`explained_by`] creates it.
pub struct ByFunction<I, F> {
    function: F,
    inputs: PhantomData<fn(I)>,
}

/// Turns a closure into a [`Method`]. The closure takes inputs, and the index of the caller's row that
/// each of them was made from, and returns an attribution shaped like the first explained input.
///
/// Metrics call it with perturbed copies of rows, in any number and order.
///
/// ```
/// use attr_metrics::{Metric, SensitivityMax, explained_by};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let x = Tensor::<2>::from_floats([[1.0, 2.0]], &Device::default());
/// let model = |x: Tensor<2>| x.sum_dim(1);
/// // The same explanation everywhere: nothing is more robust.
/// let constant = explained_by(|x: Tensor<2>, _rows: &[usize]| x.ones_like());
/// let score = SensitivityMax::default().evaluate(&model, &x, 0, &constant)?;
/// assert_eq!(score.values, [0.0]);
/// # Ok(())
/// # }
/// ```
pub fn explained_by<I, O, F>(function: F) -> ByFunction<I, F>
where
    I: Inputs,
    O: Output,
    F: Fn(I, &[usize]) -> O + Send + Sync,
{
    ByFunction {
        function,
        inputs: PhantomData,
    }
}

impl<I, O, F> Method for ByFunction<I, F>
where
    I: Inputs,
    O: Output,
    F: Fn(I, &[usize]) -> O + Send + Sync,
{
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let inputs = question.inputs();
        let found = (self.function)(I::from_values(inputs.clone())?, inputs.origin());
        let mut values = vec![None; inputs.values().len()];
        values[inputs.first_explained()] = Some(found.into_output()?.detached());
        let scores = question.quiet().scores()?;
        let each = scores.into_iter();
        Ok(each
            .map(|scores| Explanation::new(values.clone(), scores))
            .collect())
    }
}
