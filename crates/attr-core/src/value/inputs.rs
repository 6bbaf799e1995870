//! A model's inputs: one tensor, or a tuple of tensors.

use burn::tensor::{Bool, Int, Tensor};

use crate::{Error, Value, Values};

/// A model's inputs: a tensor of any rank and kind, a [`Constant`], a tuple of these, or
/// [`Values`] where ranks are known only at run time.
pub trait Inputs: Clone + 'static {
    /// The type of an attribution of these inputs: a tensor for each float tensor, `()` for each
    /// input that gets none.
    type Attributions;

    /// Returns the inputs without their static types.
    fn to_values(&self) -> Values;

    /// Restores the inputs' static types.
    ///
    /// # Errors
    /// [`Error::InputCount`], [`Error::Rank`], [`Error::ElementKind`] when they do not fit.
    fn from_values(values: Values) -> Result<Self, Error>;

    /// Restores the static types of attributions, given one entry per input.
    ///
    /// # Errors
    /// As [`from_values`](Self::from_values); [`Error::NoGradient`] when one is missing.
    fn attributions(values: Vec<Option<Value>>) -> Result<Self::Attributions, Error>;
}

/// One of a model's inputs.
pub trait Input: Clone + 'static {
    /// The type of the input's attribution.
    type Attribution;
    /// Whether the input gets an attribution, if it is floating point.
    const ATTRIBUTED: bool;

    /// Returns the input without its static type.
    fn to_value(&self) -> Value;

    /// Restores the input's static type.
    ///
    /// # Errors
    /// [`Error::Rank`] or [`Error::ElementKind`].
    fn from_value(value: &Value) -> Result<Self, Error>;

    /// Restores the attribution's static type; `index` is the input's position.
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

/// Integers such as tokens: perturbation methods give them an attribution, gradient methods do not.
impl<const D: usize> Input for Tensor<D, Int> {
    type Attribution = Option<Tensor<D>>;
    const ATTRIBUTED: bool = true;

    fn to_value(&self) -> Value {
        self.clone().into()
    }

    fn from_value(value: &Value) -> Result<Self, Error> {
        value.int_tensor()
    }

    fn attribution(value: Option<Value>, _: usize) -> Result<Option<Tensor<D>>, Error> {
        value.map(|value| value.tensor()).transpose()
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

/// An input that the model needs but that gets no attribution.
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
    if values.len() == expected {
        Ok(())
    } else {
        Err(Error::InputCount {
            expected,
            got: values.len(),
        })
    }
}

/// Implements [`Inputs`] for a single input.
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
    type Attributions = Option<Tensor<D>>;
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

/// Implements [`Inputs`] for a tuple of inputs.
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
