//! Tensors whose rank and element kind are known only at run time.
//!
//! Models, graphs and methods exchange [`Value`]s, so nothing here is generic over ranks. Users
//! see ordinary Burn tensors; [`crate::Inputs`] converts at the boundary. For arithmetic, take
//! [`Value::matrix`], compute with Burn, and restore the shape with [`Value::from_matrix`].
//!
//! ```text
//! mod.rs     Value: a tensor whose rank and kind are known only at run time
//! values.rs  Values: a model's inputs; rows and where they came from
//! inputs.rs  tensors and tuples of tensors as a model's inputs
//! ```

mod inputs;
mod values;

use std::cell::Cell;
use std::ops::Range;

use burn::backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::backend::{DeviceOps, Dispatch, DispatchDevice, DispatchTensor, Scalar, TensorMetadata};
use burn::tensor::kind::Basic;
use burn::tensor::{Bool, DType, Device, Int, Shape, Slice, Tensor, TensorData};

use crate::Error;

pub use inputs::{Constant, Input, Inputs};
pub use values::Values;

thread_local! {
    static READS: Cell<usize> = const { Cell::new(0) };
}

/// The kind of a value's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Floating point.
    Float,
    /// Integers, signed or not.
    Int,
    /// Booleans.
    Bool,
}

impl From<DType> for Kind {
    fn from(dtype: DType) -> Self {
        if dtype.is_bool() {
            Self::Bool
        } else if dtype.is_int() || dtype.is_uint() {
            Self::Int
        } else {
            Self::Float
        }
    }
}

/// A tensor of any rank and kind on any device. Clones share memory.
#[derive(Clone, Debug)]
pub struct Value(DispatchTensor);

/// Calls the float, integer or boolean form of a Burn operation that exists for all three.
macro_rules! by_kind {
    ($value:expr, $float:ident, $int:ident, $bool:ident $(, $argument:expr)*) => {{
        let value = $value;
        let kind = value.kind();
        let tensor = value.into_dispatch();
        $crate::Value::from_dispatch(match kind {
            $crate::Kind::Float => burn::backend::Dispatch::$float(tensor $(, $argument)*),
            $crate::Kind::Int => burn::backend::Dispatch::$int(tensor $(, $argument)*),
            $crate::Kind::Bool => burn::backend::Dispatch::$bool(tensor $(, $argument)*),
        })
    }};
}
pub(crate) use by_kind;

impl Value {
    pub(crate) fn from_dispatch(tensor: DispatchTensor) -> Self {
        Self(tensor)
    }

    /// The tensor of Burn.
    #[cfg(all(feature = "flex", not(feature = "burn-kernels")))]
    pub(crate) fn dispatch(&self) -> &DispatchTensor {
        &self.0
    }

    pub(crate) fn into_dispatch(self) -> DispatchTensor {
        self.0
    }

    /// Returns the sizes of all dimensions.
    pub fn shape(&self) -> Vec<usize> {
        self.0.shape().to_vec()
    }

    /// Returns the length of dimension 0, the batch; a scalar counts as one row.
    pub fn rows(&self) -> usize {
        self.0.shape().first().copied().unwrap_or(1)
    }

    /// Returns the kind of the elements.
    pub fn kind(&self) -> Kind {
        self.dtype().into()
    }

    /// Returns the exact element type.
    pub fn dtype(&self) -> DType {
        self.0.dtype()
    }

    /// Returns the device that the value lives on.
    pub fn device(&self) -> Device {
        Device::new(self.0.device())
    }

    /// Returns the value as a float tensor of rank `D`.
    ///
    /// # Errors
    /// [`Error::Rank`] when the rank differs, [`Error::ElementKind`] when it is not floating point.
    pub fn tensor<const D: usize>(&self) -> Result<Tensor<D>, Error> {
        self.typed(Kind::Float)
    }

    /// Returns the value as an integer tensor of rank `D`.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub fn int_tensor<const D: usize>(&self) -> Result<Tensor<D, Int>, Error> {
        self.typed(Kind::Int)
    }

    /// Returns the value as a boolean tensor of rank `D`.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub fn bool_tensor<const D: usize>(&self) -> Result<Tensor<D, Bool>, Error> {
        self.typed(Kind::Bool)
    }

    fn typed<const D: usize, K: Basic>(&self, kind: Kind) -> Result<Tensor<D, K>, Error> {
        if self.kind() != kind {
            return Err(Error::ElementKind {
                expected: kind,
                got: self.kind(),
            });
        }
        let rank = self.0.shape().num_dims();
        if rank != D {
            return Err(Error::Rank {
                expected: D,
                got: rank,
            });
        }
        Ok(Tensor::from_dispatch(self.0.clone()))
    }

    /// Returns a float value as `[rows, everything else]`, for arithmetic with Burn.
    ///
    /// # Errors
    /// [`Error::ElementKind`] when it is not floating point.
    pub fn matrix(&self) -> Result<Tensor<2>, Error> {
        let rows = self.rows();
        let columns = self.0.shape().num_elements().checked_div(rows).unwrap_or(0);
        self.clone().reshape(&[rows, columns]).tensor::<2>()
    }

    /// Undoes [`matrix`](Self::matrix): reshapes a matrix with as many elements to `shape`.
    pub fn from_matrix(matrix: Tensor<2>, shape: &[usize]) -> Self {
        Self::from(matrix).reshape(shape)
    }

    /// Applies `f` to the elements, given as [`matrix`](Self::matrix), and keeps the shape.
    ///
    /// # Errors
    /// [`Error::ElementKind`] when it is not floating point; [`Error::Shape`] when `f` returns a
    /// different number of elements.
    pub fn map(&self, f: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Result<Self, Error> {
        self.shaped(f(self.matrix()?))
    }

    /// Applies `f` to the elements of two values of the same shape, and keeps that shape.
    ///
    /// # Errors
    /// As [`map`](Self::map); [`Error::Shape`] when the shapes differ.
    pub fn zip(
        &self,
        other: &Value,
        f: impl FnOnce(Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Result<Self, Error> {
        if self.shape() != other.shape() {
            return Err(Error::Shape {
                what: "the second of two values".into(),
                got: other.shape(),
                expected: format!("{:?}, as the first has,", self.shape()),
            });
        }
        self.shaped(f(self.matrix()?, other.matrix()?))
    }

    /// Reshapes a matrix to this value's shape.
    fn shaped(&self, matrix: Tensor<2>) -> Result<Self, Error> {
        let (shape, got) = (self.shape(), matrix.dims());
        if got.iter().product::<usize>() != shape.iter().product::<usize>() {
            return Err(Error::Shape {
                what: "the computed value".into(),
                got: got.to_vec(),
                expected: format!("as many elements as {shape:?}"),
            });
        }
        Ok(Self::from_matrix(matrix, &shape))
    }

    /// Adds values of one shape.
    ///
    /// # Errors
    /// The error of the first term that is one; [`Error::Shape`] if the shapes differ;
    /// [`Error::Internal`] without terms.
    pub fn sum(terms: impl IntoIterator<Item = Result<Self, Error>>) -> Result<Self, Error> {
        let mut terms = terms.into_iter();
        let first = terms.next().ok_or(Error::Internal("a sum of no terms"))?;
        terms.try_fold(first?, |sum, term| sum.zip(&term?, |sum, term| sum + term))
    }

    /// Multiplies by a mask of the same rank, whose dimensions of size 1 are broadcast.
    pub(crate) fn times(self, mask: &Value, what: &str) -> Result<Self, Error> {
        let (shape, own) = (self.shape(), mask.shape());
        let fits = |(size, own): (&usize, &usize)| own == size || *own == 1;
        if shape.len() != own.len() || !shape.iter().zip(&own).all(fits) {
            return Err(Error::Shape {
                what: what.into(),
                got: own,
                expected: format!("{shape:?}, with any size replaced by 1,"),
            });
        }
        let product = Dispatch::float_mul(self.into_dispatch(), mask.clone().into_dispatch());
        Ok(Self(product))
    }

    /// Returns the same elements in another shape with as many elements.
    pub fn reshape(self, shape: &[usize]) -> Self {
        if self.shape() == shape {
            return self;
        }
        let shape = Shape::from(shape.to_vec());
        by_kind!(self, float_reshape, int_reshape, bool_reshape, shape)
    }

    /// Returns a range of rows.
    pub fn slice_rows(&self, rows: Range<usize>) -> Self {
        if rows == (0..self.rows()) {
            return self.clone();
        }
        let slice = [Slice::new(rows.start as isize, Some(rows.end as isize), 1)];
        by_kind!(self.clone(), float_slice, int_slice, bool_slice, &slice)
    }

    /// Returns the rows at `indices`, in that order. Repeats are allowed; each index must be below
    /// [`rows`](Self::rows).
    pub fn select_rows(&self, indices: &[usize]) -> Self {
        if indices.iter().copied().eq(0..self.rows()) {
            return self.clone();
        }
        let data: Vec<i64> = indices.iter().map(|&i| i as i64).collect();
        let data = TensorData::new(data, [indices.len()]);
        let indices = Tensor::<1, Int>::from_data(data, &self.device()).into_dispatch();
        self.clone().select(0, indices)
    }

    /// Returns the slices at `indices` along a dimension; each index must be below its length.
    pub(crate) fn select_along(&self, dim: usize, indices: &[usize]) -> Self {
        let mut shape = self.shape();
        if shape[dim] == 1 {
            // A view, which takes no memory.
            shape[dim] = indices.len();
            let shape = Shape::from(shape);
            return by_kind!(self.clone(), float_expand, int_expand, bool_expand, shape);
        }
        let data: Vec<i64> = indices.iter().map(|&i| i as i64).collect();
        let data = TensorData::new(data, [indices.len()]);
        let indices = Tensor::<1, Int>::from_data(data, &self.device()).into_dispatch();
        self.clone().select(dim, indices)
    }

    /// Selects whole slices along a dimension.
    pub(crate) fn select(self, dim: usize, indices: DispatchTensor) -> Self {
        let (kind, settings) = (self.kind(), self.0.device().defaults());
        let tensor = self.into_dispatch();
        Self(match kind {
            Kind::Float => Dispatch::float_select(tensor, dim, indices),
            Kind::Int => Dispatch::int_select(tensor, dim, indices),
            // On some backends, Burn's own selection of booleans returns integers.
            Kind::Bool => {
                let numbers = Dispatch::bool_into_int(tensor, settings.int_dtype);
                let numbers = Dispatch::int_select(numbers, dim, indices);
                Dispatch::int_not_equal_elem(numbers, Scalar::Int(0), settings.bool_dtype)
            }
        })
    }

    /// Concatenates values along dimension 0; element types and the other dimensions must agree.
    pub fn cat_rows(mut values: Vec<Value>) -> Result<Self, Error> {
        let Some(first) = values.first() else {
            return Err(Error::Internal("no values to join"));
        };
        if values.len() == 1 {
            return Ok(values.remove(0));
        }
        let (shape, dtype) = (first.shape(), first.dtype());
        for other in &values {
            let own = other.shape();
            if own.len() != shape.len() || own[1..] != shape[1..] || other.dtype() != dtype {
                return Err(Error::Shape {
                    what: "one of the values to concatenate".into(),
                    got: own,
                    expected: format!("rows like those of {shape:?}, of the same type,"),
                });
            }
        }
        let kind = first.kind();
        let tensors = values.into_iter().map(Value::into_dispatch).collect();
        Ok(Self(match kind {
            Kind::Float => Dispatch::float_cat(tensors, 0),
            Kind::Int => Dispatch::int_cat(tensors, 0),
            Kind::Bool => Dispatch::bool_cat(tensors, 0),
        }))
    }

    /// Returns zeros with this value's shape and type.
    pub fn zeros_like(&self) -> Self {
        let (shape, device) = (self.0.shape(), self.0.device());
        Self(match self.kind() {
            Kind::Float => Dispatch::float_zeros(shape, &device, self.dtype().into()),
            Kind::Int => Dispatch::int_zeros(shape, &device, self.dtype().into()),
            Kind::Bool => Dispatch::bool_zeros(shape, &device, self.dtype().into()),
        })
    }

    /// Returns zeros of a shape without taking memory, for uses that need only the shape.
    pub(crate) fn shape_of(shape: &[usize], dtype: DType, device: &DispatchDevice) -> Self {
        let (shape, one) = (
            Shape::from(shape.to_vec()),
            Shape::from(vec![1; shape.len()]),
        );
        let zero = Self(match Kind::from(dtype) {
            Kind::Float => Dispatch::float_zeros(one, device, dtype.into()),
            Kind::Int => Dispatch::int_zeros(one, device, dtype.into()),
            Kind::Bool => Dispatch::bool_zeros(one, device, dtype.into()),
        });
        by_kind!(zero, float_expand, int_expand, bool_expand, shape)
    }

    /// Copies all elements to the host in row-major order; booleans become 0 and 1.
    ///
    /// # Errors
    /// [`Error::Device`] when reading from the device fails.
    pub fn to_vec(&self) -> Result<Vec<f32>, Error> {
        let data = self.to_data()?;
        // The usual type need not be converted, which takes far longer than a copy.
        if data.dtype() != DType::F32 {
            return Ok(data.iter::<f32>().collect());
        }
        let numbers = data.try_into_vec::<f32>();
        numbers.map_err(|error| Error::Device(format!("{error:?}")))
    }

    /// Copies the elements to the host, with their shape and type.
    ///
    /// # Errors
    /// [`Error::Device`] when reading from the device fails.
    pub fn to_data(&self) -> Result<TensorData, Error> {
        READS.set(READS.get() + 1);
        // The rank parameter does not matter for reading.
        let tensor = self.0.clone();
        let data = match self.kind() {
            Kind::Float => Tensor::<1>::from_dispatch(tensor).try_into_data(),
            Kind::Int => Tensor::<1, Int>::from_dispatch(tensor).try_into_data(),
            Kind::Bool => Tensor::<1, Bool>::from_dispatch(tensor).try_into_data(),
        };
        data.map_err(|error| Error::Device(error.to_string()))
    }

    /// How many values this thread has read on the host so far. Each time it waits until the device
    /// has computed everything before.
    pub fn host_reads() -> usize {
        READS.get()
    }

    /// Creates a value on `device` from host data.
    pub fn from_data(data: TensorData, device: &Device) -> Self {
        let device = device.as_dispatch();
        Self(match Kind::from(data.dtype()) {
            Kind::Float => Dispatch::float_from_data(data, device),
            Kind::Int => Dispatch::int_from_data(data, device),
            Kind::Bool => Dispatch::bool_from_data(data, device),
        })
    }

    /// Returns the value without gradient tracking, if it has this type and lives on this device.
    pub(crate) fn checked(
        self,
        what: String,
        dtype: DType,
        device: &DispatchDevice,
    ) -> Result<Self, Error> {
        let value = self.detached();
        let (got, expected) = (value.device(), Device::new(device.clone()).inner());
        if value.dtype() != dtype || got != expected {
            return Err(Error::Unlike {
                what,
                got: format!("{:?} on {got:?}", value.dtype()),
                expected: format!("{dtype:?} on {expected:?}"),
            });
        }
        Ok(value)
    }

    /// Whether the value lies in the memory of the processor.
    pub(crate) fn is_on_cpu(&self) -> bool {
        is_cpu(self.device().inner().as_dispatch())
    }

    /// Returns the value without gradient tracking.
    pub fn detached(self) -> Self {
        use burn::backend::AutodiffBackend;
        if !self.device().is_autodiff() {
            return self;
        }
        by_kind!(self, inner, int_inner, bool_inner)
    }

    /// Returns whether every element is finite; integers and booleans always are. Reads only one
    /// number from the device.
    pub fn is_finite(&self) -> Result<bool, Error> {
        if self.kind() != Kind::Float || self.0.shape().num_elements() == 0 {
            return Ok(true);
        }
        // x - x is 0 for finite x and NaN otherwise, so one sum is enough; unlike a sum of the
        // values themselves, it cannot overflow.
        let x = self.0.clone();
        let sum = Dispatch::float_sum(Dispatch::float_sub(x.clone(), x));
        Ok(Self(sum).to_vec()?.iter().all(|s| *s == 0.0))
    }
}

/// Whether a device is the processor.
pub(crate) fn is_cpu(device: &DispatchDevice) -> bool {
    match device {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => true,
        #[cfg(feature = "ndarray")]
        DispatchDevice::NdArray(_) => true,
        _ => false,
    }
}

impl<const D: usize, K: Basic> From<Tensor<D, K>> for Value {
    fn from(tensor: Tensor<D, K>) -> Self {
        Self(tensor.into_dispatch())
    }
}
