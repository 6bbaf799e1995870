//! What a model takes: one tensor, or a tuple of tensors.

use std::ops::Range;

use burn::tensor::{Bool, Int, Tensor};

use crate::{Error, Kind, Value};

/// A model's inputs with run-time ranks, one [`Value`] each; dimension 0 of every one is the batch.
///
/// Rows may be repeats or perturbations of a caller's rows: [`origin`](Self::origin) tells which.
/// Per-row targets and baselines are looked up through it, so a method that expands rows (steps,
/// samples) expands nothing else.
#[derive(Clone, Debug)]
pub struct Values {
    values: Vec<Value>,
    attributed: Vec<bool>,
    origin: Vec<usize>,
    caller_rows: usize,
}

impl Values {
    /// Inputs, and which of them get an attribution (the floating-point ones among them do).
    pub fn new(values: Vec<Value>, attributed: Vec<bool>) -> Self {
        let caller_rows = values.first().map_or(0, Value::rows);
        Self {
            values,
            attributed,
            origin: (0..caller_rows).collect(),
            caller_rows,
        }
    }

    /// The tensors.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The tensors, taken out.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// For each row, the caller's row it stands for.
    pub fn origin(&self) -> &[usize] {
        &self.origin
    }

    /// How many rows the caller gave: what per-row targets and baselines count.
    pub fn caller_rows(&self) -> usize {
        self.caller_rows
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.origin.len()
    }

    /// Whether input `i` gets an attribution: it was not marked constant and is floating point.
    pub fn attributed(&self, i: usize) -> bool {
        self.attributed.get(i).copied().unwrap_or(false) && self.values[i].kind() == Kind::Float
    }

    /// The rows at `indices`, repeats allowed.
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            values: self.values.iter().map(|v| v.select_rows(indices)).collect(),
            attributed: self.attributed.clone(),
            origin: indices.iter().map(|&i| self.origin[i]).collect(),
            caller_rows: self.caller_rows,
        }
    }

    /// Some rows in order.
    pub fn slice(&self, rows: Range<usize>) -> Self {
        Self {
            values: self
                .values
                .iter()
                .map(|v| v.slice_rows(rows.clone()))
                .collect(),
            attributed: self.attributed.clone(),
            origin: self.origin[rows].to_vec(),
            caller_rows: self.caller_rows,
        }
    }

    /// The same rows with other values, one per input; none keeps an input.
    pub fn with(&self, replace: impl Fn(usize, &Value) -> Option<Value>) -> Self {
        let values = self.values.iter().enumerate();
        Self {
            values: values
                .map(|(i, v)| replace(i, v).unwrap_or_else(|| v.clone()))
                .collect(),
            attributed: self.attributed.clone(),
            origin: self.origin.clone(),
            caller_rows: self.caller_rows,
        }
    }

    /// These and further inputs that get no attribution.
    pub(crate) fn with_constants(mut self, constants: &[Value]) -> Result<Self, Error> {
        for constant in constants {
            if constant.rows() != self.rows() {
                return Err(Error::Shape {
                    what: "the activation to start from".into(),
                    got: self.values[0].shape(),
                    expected: format!(
                        "{} rows, as the inputs given to `from_layer` have,",
                        constant.rows()
                    ),
                });
            }
            self.values.push(constant.clone());
            self.attributed.push(false);
        }
        Ok(self)
    }

    /// Refuses what no method can explain: no inputs, no rows, rows that disagree, NaN.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Some(first) = self.values.first() else {
            return Err(Error::InputCount {
                expected: 1,
                got: 0,
            });
        };
        for (i, value) in self.values.iter().enumerate() {
            let shape = value.shape();
            if shape.is_empty() || shape.contains(&0) {
                return Err(Error::EmptyBatch { input: i, shape });
            }
            if value.rows() != first.rows() {
                return Err(Error::Shape {
                    what: format!("input {i}"),
                    got: shape,
                    expected: format!("{} rows, as input 0 has,", first.rows()),
                });
            }
            if !value.is_finite()? {
                return Err(Error::NonFinite {
                    what: format!("input {i}"),
                });
            }
        }
        Ok(())
    }
}

/// What a model takes: a tensor of any rank and kind, a [`Constant`], a tuple of these, or
/// [`Values`] where ranks are known at run time only.
pub trait Inputs: Clone + 'static {
    /// What an attribution of these inputs looks like: a tensor for each float tensor, `()` for
    /// each input that gets none.
    type Attributions;

    /// The inputs without their types.
    fn to_values(&self) -> Values;

    /// The inputs with their types.
    ///
    /// # Errors
    /// [`Error::InputCount`], [`Error::Rank`], [`Error::ElementKind`] when they do not fit.
    fn from_values(values: Values) -> Result<Self, Error>;

    /// Attributions, one entry per input, with their types.
    ///
    /// # Errors
    /// As [`from_values`](Self::from_values); [`Error::NoGradient`] when one is missing.
    fn attributions(values: Vec<Option<Value>>) -> Result<Self::Attributions, Error>;
}

/// One of a model's inputs.
pub trait Input: Clone + 'static {
    /// What its attribution looks like.
    type Attribution;
    /// Whether it gets one, if it is floating point.
    const ATTRIBUTED: bool;

    /// The input without its type.
    fn to_value(&self) -> Value;

    /// The input with its type.
    ///
    /// # Errors
    /// [`Error::Rank`] or [`Error::ElementKind`].
    fn from_value(value: &Value) -> Result<Self, Error>;

    /// Its attribution with its type; `index` is its place among the inputs.
    ///
    /// # Errors
    /// As [`from_value`](Self::from_value); [`Error::NoGradient`] when it is missing.
    fn attribution(value: Option<Value>, index: usize) -> Result<Self::Attribution, Error>;
}

impl<const D: usize> Input for Tensor<D> {
    type Attribution = Tensor<D>;
    const ATTRIBUTED: bool = true;

    fn to_value(&self) -> Value {
        self.clone().into()
    }

    fn from_value(value: &Value) -> Result<Self, Error> {
        value.tensor()
    }

    fn attribution(value: Option<Value>, index: usize) -> Result<Tensor<D>, Error> {
        value.ok_or(Error::NoGradient { input: index })?.tensor()
    }
}

impl<const D: usize> Input for Tensor<D, Int> {
    type Attribution = ();
    const ATTRIBUTED: bool = false;

    fn to_value(&self) -> Value {
        self.clone().into()
    }

    fn from_value(value: &Value) -> Result<Self, Error> {
        value.int_tensor()
    }

    fn attribution(_: Option<Value>, _: usize) -> Result<(), Error> {
        Ok(())
    }
}

impl<const D: usize> Input for Tensor<D, Bool> {
    type Attribution = ();
    const ATTRIBUTED: bool = false;

    fn to_value(&self) -> Value {
        self.clone().into()
    }

    fn from_value(value: &Value) -> Result<Self, Error> {
        value.bool_tensor()
    }

    fn attribution(_: Option<Value>, _: usize) -> Result<(), Error> {
        Ok(())
    }
}

/// A float input that the model needs but that gets no attribution.
#[derive(Clone, Debug)]
pub struct Constant<T>(pub T);

impl<T: Input> Input for Constant<T> {
    type Attribution = ();
    const ATTRIBUTED: bool = false;

    fn to_value(&self) -> Value {
        self.0.to_value()
    }

    fn from_value(value: &Value) -> Result<Self, Error> {
        T::from_value(value).map(Constant)
    }

    fn attribution(_: Option<Value>, _: usize) -> Result<(), Error> {
        Ok(())
    }
}

fn count<T>(values: &[T], expected: usize) -> Result<(), Error> {
    match values.len() == expected {
        true => Ok(()),
        false => Err(Error::InputCount {
            expected,
            got: values.len(),
        }),
    }
}

/// A single input is a model's inputs by itself.
macro_rules! single {
    () => {
        fn to_values(&self) -> Values {
            Values::new(vec![self.to_value()], vec![Self::ATTRIBUTED])
        }

        fn from_values(values: Values) -> Result<Self, Error> {
            count(values.values(), 1)?;
            Self::from_value(&values.values()[0])
        }

        fn attributions(mut values: Vec<Option<Value>>) -> Result<Self::Attributions, Error> {
            count(&values, 1)?;
            Self::attribution(values.remove(0), 0)
        }
    };
}

impl<const D: usize> Inputs for Tensor<D> {
    type Attributions = Tensor<D>;
    single!();
}

impl<const D: usize> Inputs for Tensor<D, Int> {
    type Attributions = ();
    single!();
}

impl<const D: usize> Inputs for Tensor<D, Bool> {
    type Attributions = ();
    single!();
}

impl Inputs for Values {
    type Attributions = Vec<Option<Value>>;

    fn to_values(&self) -> Values {
        self.clone()
    }

    fn from_values(values: Values) -> Result<Self, Error> {
        Ok(values)
    }

    fn attributions(values: Vec<Option<Value>>) -> Result<Self::Attributions, Error> {
        Ok(values)
    }
}

/// A tuple of inputs.
macro_rules! tuple {
    ($n:literal: $($t:ident $i:tt),+) => {
        impl<$($t: Input),+> Inputs for ($($t,)+) {
            type Attributions = ($($t::Attribution,)+);

            fn to_values(&self) -> Values {
                Values::new(vec![$(self.$i.to_value()),+], vec![$($t::ATTRIBUTED),+])
            }

            fn from_values(values: Values) -> Result<Self, Error> {
                count(values.values(), $n)?;
                Ok(($($t::from_value(&values.values()[$i])?,)+))
            }

            fn attributions(values: Vec<Option<Value>>) -> Result<Self::Attributions, Error> {
                count(&values, $n)?;
                Ok(($($t::attribution(values[$i].clone(), $i)?,)+))
            }
        }
    };
}

tuple!(1: A 0);
tuple!(2: A 0, B 1);
tuple!(3: A 0, B 1, C 2);
tuple!(4: A 0, B 1, C 2, D 3);
tuple!(5: A 0, B 1, C 2, D 3, E 4);
tuple!(6: A 0, B 1, C 2, D 3, E 4, F 5);
