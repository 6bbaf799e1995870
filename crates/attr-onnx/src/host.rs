//! Tensors on the host, for shape arithmetic and for constants before they are uploaded.
//!
//! Exporters compute shapes with tensors (`Shape`, `Gather`, `Concat`, `Reshape`). Values that do
//! not depend on the values of any input are computed here during tracing, so they do not appear in
//! the traced graph.

use attr_core::Kind;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use ndarray::{ArrayD, Axis, IxDyn, Slice};

/// The maximum number of elements of a tensor on the host: 16 Mi.
pub(crate) const LIMIT: usize = 1 << 24;

/// A tensor with known values. All float types are held as `f32`, all integers as `i64`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Host {
    Float(ArrayD<f32>),
    Int(ArrayD<i64>),
    Bool(ArrayD<bool>),
}

/// Evaluates an expression on the array inside and wraps it in a [`Host`] of the same kind.
macro_rules! each {
    ($host:expr, $a:ident => $result:expr) => {
        match $host {
            $crate::host::Host::Float($a) => $crate::host::Host::Float($result),
            $crate::host::Host::Int($a) => $crate::host::Host::Int($result),
            $crate::host::Host::Bool($a) => $crate::host::Host::Bool($result),
        }
    };
}

/// Returns the number of elements of a shape, or an error if it exceeds `limit`.
pub(crate) fn count(shape: &[usize], limit: usize) -> Result<usize, String> {
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    match count {
        Some(count) if count <= limit => Ok(count),
        _ => Err(format!(
            "a tensor of shape {shape:?} has more than {limit} elements, the most supported"
        )),
    }
}

impl Host {
    /// Creates a list of integers.
    pub fn ints(values: Vec<i64>) -> Self {
        Self::Int(ArrayD::from_shape_vec(IxDyn(&[values.len()]), values).unwrap_or_default())
    }

    /// Creates a scalar float.
    pub fn float(value: f32) -> Self {
        Self::Float(ArrayD::from_elem(IxDyn(&[]), value))
    }

    /// Creates a scalar integer.
    pub fn int(value: i64) -> Self {
        Self::Int(ArrayD::from_elem(IxDyn(&[]), value))
    }

    /// Creates floats of the given shape.
    pub fn floats(shape: &[usize], values: Vec<f32>) -> Result<Self, String> {
        let array = ArrayD::from_shape_vec(IxDyn(shape), values);
        array.map(Self::Float).map_err(|error| error.to_string())
    }

    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Float(a) => a.shape(),
            Self::Int(a) => a.shape(),
            Self::Bool(a) => a.shape(),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Float(_) => Kind::Float,
            Self::Int(_) => Kind::Int,
            Self::Bool(_) => Kind::Bool,
        }
    }

    /// Returns the elements as integers, in row-major order; floats are truncated.
    pub fn to_ints(&self) -> Vec<i64> {
        match self {
            Self::Float(a) => a.iter().map(|&v| v as i64).collect(),
            Self::Int(a) => a.iter().copied().collect(),
            Self::Bool(a) => a.iter().map(|&v| i64::from(v)).collect(),
        }
    }

    /// Returns the elements as floats, in row-major order.
    pub fn to_floats(&self) -> Vec<f32> {
        match self {
            Self::Float(a) => a.iter().copied().collect(),
            Self::Int(a) => a.iter().map(|&v| v as f32).collect(),
            Self::Bool(a) => a.iter().map(|&v| f32::from(u8::from(v))).collect(),
        }
    }

    /// Uploads the tensor to a device; a scalar gets shape `[1]`.
    pub fn upload(&self, device: &Device) -> attr_core::Value {
        let shape = self.shape().to_vec();
        let length = [shape.iter().product::<usize>()];
        let value: attr_core::Value = match self {
            Self::Float(_) => {
                let data = TensorData::new(self.to_floats(), length);
                Tensor::<1>::from_data(data, device).into()
            }
            Self::Int(_) => {
                let data = TensorData::new(self.to_ints(), length);
                Tensor::<1, Int>::from_data(data, device).into()
            }
            Self::Bool(a) => {
                let data = TensorData::new(a.iter().copied().collect::<Vec<_>>(), length);
                Tensor::<1, Bool>::from_data(data, device).into()
            }
        };
        if shape.is_empty() {
            value
        } else {
            value.reshape(&shape)
        }
    }

    /// Reshapes to a shape with the same number of elements.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self, String> {
        fn inner<T: Clone>(a: &ArrayD<T>, shape: &[usize]) -> Result<ArrayD<T>, String> {
            ArrayD::from_shape_vec(IxDyn(shape), a.iter().cloned().collect())
                .map_err(|_| format!("shape {:?} cannot be reshaped to {shape:?}", a.shape()))
        }
        Ok(each!(self, a => inner(a, shape)?))
    }

    /// Reorders the dimensions; `axes` is a permutation.
    pub fn permute(&self, axes: &[usize]) -> Self {
        each!(self, a => a.clone().permuted_axes(IxDyn(axes)))
    }

    /// Broadcasts to a shape.
    pub fn expand(&self, shape: &[usize]) -> Result<Self, String> {
        fn inner<T: Clone>(a: &ArrayD<T>, shape: &[usize]) -> Result<ArrayD<T>, String> {
            let view = a.broadcast(IxDyn(shape));
            let view = view
                .ok_or_else(|| format!("shape {:?} cannot be broadcast to {shape:?}", a.shape()))?;
            Ok(view.to_owned())
        }
        count(shape, LIMIT)?;
        Ok(each!(self, a => inner(a, shape)?))
    }

    /// Takes `start..end` by a positive `step` along a dimension, within bounds.
    pub fn slice(&self, dim: usize, start: usize, end: usize, step: usize) -> Self {
        let slice = Slice::new(start as isize, Some(end as isize), step as isize);
        each!(self, a => a.slice_axis(Axis(dim), slice).to_owned())
    }

    /// Reverses one dimension.
    pub fn flip(&self, dim: usize) -> Self {
        let slice = Slice::new(0, None, -1);
        each!(self, a => a.slice_axis(Axis(dim), slice).to_owned())
    }

    /// Selects whole slices along a dimension, at indices within bounds.
    pub fn select(&self, dim: usize, indices: &[usize]) -> Result<Self, String> {
        let mut shape = self.shape().to_vec();
        shape[dim] = indices.len();
        count(&shape, LIMIT)?;
        Ok(each!(self, a => a.select(Axis(dim), indices)))
    }

    /// Concatenates tensors of one kind along a dimension.
    pub fn cat(parts: &[&Host], dim: usize) -> Result<Self, String> {
        macro_rules! join {
            ($kind:ident) => {{
                let views: Vec<_> = parts
                    .iter()
                    .filter_map(|part| match part {
                        Host::$kind(a) => Some(a.view()),
                        _ => None,
                    })
                    .collect();
                let joined = ndarray::concatenate(Axis(dim), &views);
                Ok(Host::$kind(joined.map_err(|_| {
                    let shapes: Vec<_> = parts.iter().map(|part| part.shape()).collect();
                    format!("shapes {shapes:?} cannot be concatenated along dimension {dim}")
                })?))
            }};
        }
        match parts.first().map(|part| part.kind()) {
            Some(Kind::Float) => join!(Float),
            Some(Kind::Int) => join!(Int),
            Some(Kind::Bool) => join!(Bool),
            None => Err("it has nothing to concatenate".into()),
        }
    }

    /// Converts the elements to another kind.
    pub fn cast(&self, kind: Kind) -> Self {
        match (self, kind) {
            (Self::Float(a), Kind::Int) => Self::Int(a.mapv(|v| v as i64)),
            (Self::Float(a), Kind::Bool) => Self::Bool(a.mapv(|v| v != 0.0)),
            (Self::Int(a), Kind::Float) => Self::Float(a.mapv(|v| v as f32)),
            (Self::Int(a), Kind::Bool) => Self::Bool(a.mapv(|v| v != 0)),
            (Self::Bool(a), Kind::Float) => Self::Float(a.mapv(|v| f32::from(u8::from(v)))),
            (Self::Bool(a), Kind::Int) => Self::Int(a.mapv(i64::from)),
            _ => self.clone(),
        }
    }
}
