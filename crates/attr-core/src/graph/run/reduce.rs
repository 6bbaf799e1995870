//! Runs reductions, running reductions and orderings.

use burn::backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::backend::{DeviceSettings, Dispatch, DispatchTensor, TensorMetadata};

use super::elementwise::undefined;
use crate::graph::op::{Cumulative, Op, Reduce};
use crate::{Error, Kind, Value};

type B = Dispatch;

pub(crate) fn reduce(
    f: Reduce,
    x: DispatchTensor,
    dim: Option<usize>,
    s: &DeviceSettings,
) -> Result<DispatchTensor, Error> {
    let (b, i) = (s.bool_dtype, s.int_dtype);
    Ok(match (Kind::from(x.dtype()), f, dim) {
        (Kind::Float, Reduce::All, None) => B::float_all(x, b),
        (Kind::Float, Reduce::All, Some(d)) => B::float_all_dim(x, d, b),
        (Kind::Float, Reduce::Any, None) => B::float_any(x, b),
        (Kind::Float, Reduce::Any, Some(d)) => B::float_any_dim(x, d, b),
        (Kind::Float, Reduce::ArgMax, Some(d)) => B::float_argmax(x, d, i),
        (Kind::Float, Reduce::ArgMin, Some(d)) => B::float_argmin(x, d, i),
        (Kind::Float, Reduce::Max, None) => B::float_max(x),
        (Kind::Float, Reduce::Max, Some(d)) => B::float_max_dim(x, d),
        (Kind::Float, Reduce::MaxAbs, None) => B::float_max_abs(x),
        (Kind::Float, Reduce::MaxAbs, Some(d)) => B::float_max_abs_dim(x, d),
        (Kind::Float, Reduce::Mean, None) => B::float_mean(x),
        (Kind::Float, Reduce::Mean, Some(d)) => B::float_mean_dim(x, d),
        (Kind::Float, Reduce::Min, None) => B::float_min(x),
        (Kind::Float, Reduce::Min, Some(d)) => B::float_min_dim(x, d),
        (Kind::Float, Reduce::Prod, None) => B::float_prod(x),
        (Kind::Float, Reduce::Prod, Some(d)) => B::float_prod_dim(x, d),
        (Kind::Float, Reduce::Sum, None) => B::float_sum(x),
        (Kind::Float, Reduce::Sum, Some(d)) => B::float_sum_dim(x, d),
        (Kind::Int, Reduce::All, None) => B::int_all(x, b),
        (Kind::Int, Reduce::All, Some(d)) => B::int_all_dim(x, d, b),
        (Kind::Int, Reduce::Any, None) => B::int_any(x, b),
        (Kind::Int, Reduce::Any, Some(d)) => B::int_any_dim(x, d, b),
        (Kind::Int, Reduce::ArgMax, Some(d)) => B::int_argmax(x, d),
        (Kind::Int, Reduce::ArgMin, Some(d)) => B::int_argmin(x, d),
        (Kind::Int, Reduce::Max, None) => B::int_max(x),
        (Kind::Int, Reduce::Max, Some(d)) => B::int_max_dim(x, d),
        (Kind::Int, Reduce::MaxAbs, None) => B::int_max_abs(x),
        (Kind::Int, Reduce::MaxAbs, Some(d)) => B::int_max_abs_dim(x, d),
        (Kind::Int, Reduce::Mean, None) => B::int_mean(x),
        (Kind::Int, Reduce::Mean, Some(d)) => B::int_mean_dim(x, d),
        (Kind::Int, Reduce::Min, None) => B::int_min(x),
        (Kind::Int, Reduce::Min, Some(d)) => B::int_min_dim(x, d),
        (Kind::Int, Reduce::Prod, None) => B::int_prod(x),
        (Kind::Int, Reduce::Prod, Some(d)) => B::int_prod_dim(x, d),
        (Kind::Int, Reduce::Sum, None) => B::int_sum(x),
        (Kind::Int, Reduce::Sum, Some(d)) => B::int_sum_dim(x, d),
        (Kind::Bool, Reduce::All, None) => B::bool_all(x),
        (Kind::Bool, Reduce::All, Some(d)) => B::bool_all_dim(x, d),
        (Kind::Bool, Reduce::Any, None) => B::bool_any(x),
        (Kind::Bool, Reduce::Any, Some(d)) => B::bool_any_dim(x, d),
        (kind, f, _) => return Err(undefined(f, kind)),
    })
}

pub(crate) fn cumulative(f: Cumulative, x: DispatchTensor, dim: usize) -> DispatchTensor {
    match (Kind::from(x.dtype()), f) {
        (Kind::Int, Cumulative::Sum) => B::int_cumsum(x, dim),
        (Kind::Int, Cumulative::Prod) => B::int_cumprod(x, dim),
        (Kind::Int, Cumulative::Min) => B::int_cummin(x, dim),
        (Kind::Int, Cumulative::Max) => B::int_cummax(x, dim),
        (_, Cumulative::Sum) => B::float_cumsum(x, dim),
        (_, Cumulative::Prod) => B::float_cumprod(x, dim),
        (_, Cumulative::Min) => B::float_cummin(x, dim),
        (_, Cumulative::Max) => B::float_cummax(x, dim),
    }
}

/// Runs operations that order values; outputs are values, positions, or both.
pub(crate) fn ordered(op: &Op, x: DispatchTensor, s: &DeviceSettings) -> Result<Vec<Value>, Error> {
    let int = Kind::from(x.dtype()) == Kind::Int;
    let i = s.int_dtype;
    let (pair, values, indices) = match op {
        Op::ExtremeWithIndices { dim, smallest } => {
            let pair = match (int, smallest) {
                (true, true) => B::int_min_dim_with_indices(x, *dim),
                (true, false) => B::int_max_dim_with_indices(x, *dim),
                (false, true) => B::float_min_dim_with_indices(x, *dim, i),
                (false, false) => B::float_max_dim_with_indices(x, *dim, i),
            };
            (pair, true, true)
        }
        Op::TopK {
            dim,
            k,
            values,
            indices,
        } => {
            let pair = if int {
                B::int_topk_with_indices(x, *dim, *k)
            } else {
                B::float_topk_with_indices(x, *dim, *k, i)
            };
            (pair, *values, *indices)
        }
        Op::Sort {
            dim,
            descending,
            values,
            indices,
        } => {
            let pair = if int {
                B::int_sort_with_indices(x, *dim, *descending)
            } else {
                B::float_sort_with_indices(x, *dim, *descending, i)
            };
            (pair, *values, *indices)
        }
        _ => return Err(Error::Internal("not an ordering operation")),
    };
    let mut outputs = Vec::new();
    if values {
        outputs.push(Value::from_dispatch(pair.0));
    }
    if indices {
        outputs.push(Value::from_dispatch(pair.1));
    }
    Ok(outputs)
}
