//! Laws about two models or two features, which no data set can check: how far a method is from
//! each, for models that satisfy its condition.
//!
//! Sundararajan, Taly, Yan, 2017 (<https://arxiv.org/abs/1703.01365>). Each function returns the
//! largest difference, divided by the largest magnitude of the attributions compared; 0 where all
//! are zero. Quantus has none of them.

use attr_core::build::{Gradients, Seeds};
use attr_core::{Error, Inputs, Method, Model, Target, Traced, Value, Values};

/// Implementation invariance: two models that compute the same function have the same explanation.
///
/// # Errors
/// Those of the method; [`Error::Shape`] for attributions of different shapes.
///
/// ```
/// use attr_core::{Error, Explanation, Method, Question};
/// use attr_metrics::laws::implementation_invariance;
/// use burn::tensor::{Device, Tensor};
///
/// struct Gradient;
///
/// impl Method for Gradient {
///     fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
///         question.explained_by_gradients()
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let x = Tensor::<2>::from_floats([[1.0, 2.0]], &Device::default());
/// let square = |x: Tensor<2>| x.clone() * x;
/// let power = |x: Tensor<2>| x.powi_scalar(2);
/// assert!(implementation_invariance(&Gradient, &square, &power, &x, 1)? < 1e-6);
/// # Ok(())
/// # }
/// ```
pub fn implementation_invariance<I: Inputs>(
    method: &impl Method,
    model: &impl Model<I>,
    same: &impl Model<I>,
    inputs: &I,
    target: impl Into<Target>,
) -> Result<f64, Error> {
    let target = target.into();
    let a = flat(method.attribute(model, inputs, target.clone())?.values())?;
    let b = flat(method.attribute(same, inputs, target)?.values())?;
    difference(&a, &b)
}

/// Linearity: the explanation of `both = α f + β g` is `α` times that of `f` plus `β` times that of
/// `g`.
///
/// # Errors
/// Those of the method; [`Error::Shape`] for attributions of different shapes.
pub fn linearity<I: Inputs>(
    method: &impl Method,
    [f, g]: [&dyn Model<I>; 2],
    [alpha, beta]: [f64; 2],
    both: &impl Model<I>,
    inputs: &I,
    target: impl Into<Target>,
) -> Result<f64, Error> {
    let target = target.into();
    let of = |model: &dyn Model<I>| {
        let found = method.attribute(&Borrowed(model), inputs, target.clone())?;
        flat(found.values())
    };
    let (a, b) = (of(f)?, of(g)?);
    let sum = a.iter().zip(&b).map(|(a, b)| alpha * a + beta * b);
    let whole = flat(method.attribute(both, inputs, target.clone())?.values())?;
    difference(&whole, &sum.collect::<Vec<_>>())
}

/// Symmetry: two elements that the model treats alike, and that have the same value, have the same
/// relevance. `first` and `second` are positions in the flattened row of input `input`.
///
/// # Errors
/// Those of the method; [`Error::Shape`] for a position outside the input.
pub fn symmetry<I: Inputs>(
    method: &impl Method,
    model: &impl Model<I>,
    inputs: &I,
    target: impl Into<Target>,
    input: usize,
    [first, second]: [usize; 2],
) -> Result<f64, Error> {
    let found = method.attribute(model, inputs, target)?;
    let (a, b) = (
        element(found.values(), input, first)?,
        element(found.values(), input, second)?,
    );
    let most = flat(found.values())?
        .iter()
        .fold(0f64, |most, v| most.max(v.abs()));
    let pairs = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
    let largest = pairs.fold(0f64, f64::max);
    Ok(if most == 0.0 { 0.0 } else { largest / most })
}

/// Dummy: an element that the model does not read has no relevance. `position` is one in the
/// flattened row of input `input`.
///
/// # Errors
/// As [`symmetry`].
pub fn dummy<I: Inputs>(
    method: &impl Method,
    model: &impl Model<I>,
    inputs: &I,
    target: impl Into<Target>,
    input: usize,
    position: usize,
) -> Result<f64, Error> {
    let found = method.attribute(model, inputs, target)?;
    let own = element(found.values(), input, position)?;
    let most = flat(found.values())?
        .iter()
        .fold(0f64, |most, v| most.max(v.abs()));
    let largest = own.iter().fold(0f64, |most, v| most.max(v.abs()));
    Ok(if most == 0.0 { 0.0 } else { largest / most })
}

/// A borrowed model of any type.
struct Borrowed<'a, I>(&'a dyn Model<I>);

impl<I> Model<I> for Borrowed<'_, I> {
    fn forward(&self, inputs: Values) -> Result<Value, Error> {
        self.0.forward(inputs)
    }

    fn gradients(&self, inputs: Values, seeds: &Seeds<'_>) -> Result<Gradients, Error> {
        self.0.gradients(inputs, seeds)
    }

    fn verify(&self, inputs: &Values) -> Result<usize, Error> {
        self.0.verify(inputs)
    }

    fn traced(&self) -> Option<&Traced> {
        self.0.traced()
    }
}

fn flat(values: &[Option<Value>]) -> Result<Vec<f64>, Error> {
    let mut all = Vec::new();
    for value in values.iter().flatten() {
        all.extend(value.to_vec()?.into_iter().map(f64::from));
    }
    Ok(all)
}

/// Returns the attribution of one element in each row.
fn element(values: &[Option<Value>], input: usize, position: usize) -> Result<Vec<f64>, Error> {
    let value = values.get(input).and_then(Option::as_ref);
    let value = value.ok_or(Error::NoGradient { input })?;
    let data = value.to_vec()?;
    let width = data.len() / value.rows();
    if position >= width {
        return Err(Error::Shape {
            what: format!("a row of input {input}"),
            got: value.shape(),
            expected: format!("more than {position} elements"),
        });
    }
    let rows = data.chunks(width);
    Ok(rows.map(|row| f64::from(row[position])).collect())
}

fn difference(a: &[f64], b: &[f64]) -> Result<f64, Error> {
    if a.len() != b.len() {
        return Err(Error::Shape {
            what: "the second of two attributions".into(),
            got: vec![b.len()],
            expected: format!("{} elements, as the first has,", a.len()),
        });
    }
    let most = a.iter().chain(b).fold(0f64, |most, v| most.max(v.abs()));
    let largest = a
        .iter()
        .zip(b)
        .fold(0f64, |most, (a, b)| most.max((a - b).abs()));
    Ok(if most == 0.0 { 0.0 } else { largest / most })
}
