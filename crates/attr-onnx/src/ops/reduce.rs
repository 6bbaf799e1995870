//! The reduction operators.

use attr_core::Kind;
use attr_core::op::{Binary, Reduce, Unary};

use super::Operator;
use crate::call::{Call, Outcome};
use crate::item::{Item, axis};

pub(crate) fn find(op: &str) -> Option<Operator> {
    Some(match op {
        "ReduceMean" => |c| reduce(c, |c, x, dims| c.reduce_dims(Reduce::Mean, x, dims)),
        "ReduceSum" => |c| reduce(c, |c, x, dims| c.reduce_dims(Reduce::Sum, x, dims)),
        "ReduceMax" => |c| reduce(c, |c, x, dims| c.reduce_dims(Reduce::Max, x, dims)),
        "ReduceMin" => |c| reduce(c, |c, x, dims| c.reduce_dims(Reduce::Min, x, dims)),
        "ReduceProd" => |c| reduce(c, |c, x, dims| c.reduce_dims(Reduce::Prod, x, dims)),
        "ReduceL1" => |c| {
            reduce(c, |c, x, dims| {
                c.reduce_dims(Reduce::Sum, &c.unary(Unary::Abs, x)?, dims)
            })
        },
        "ReduceL2" => |c| {
            reduce(c, |c, x, dims| {
                let squares = c.reduce_dims(Reduce::Sum, &c.mul(x, x)?, dims)?;
                c.unary(Unary::Sqrt, &squares)
            })
        },
        "ReduceSumSquare" => |c| {
            reduce(c, |c, x, dims| {
                c.reduce_dims(Reduce::Sum, &c.mul(x, x)?, dims)
            })
        },
        "ReduceLogSum" => |c| {
            reduce(c, |c, x, dims| {
                c.unary(Unary::Log, &c.reduce_dims(Reduce::Sum, x, dims)?)
            })
        },
        "ReduceLogSumExp" => |c| {
            reduce(c, |c, x, dims| {
                // Shifted by the maximum, so that nothing overflows.
                let largest = c.reduce_dims(Reduce::Max, x, dims)?;
                let powers = c.unary(Unary::Exp, &c.sub(x, &largest)?)?;
                let sum = c.unary(Unary::Log, &c.reduce_dims(Reduce::Sum, &powers, dims)?)?;
                c.add(&sum, &largest)
            })
        },
        "ArgMax" => |c| extreme_place(c, Reduce::ArgMax),
        "ArgMin" => |c| extreme_place(c, Reduce::ArgMin),
        _ => return None,
    })
}

fn reduce(c: &Call<'_>, f: fn(&Call<'_>, &Item, &[usize]) -> Result<Item, String>) -> Outcome {
    let x = c.input(0)?;
    if x.kind == Kind::Bool {
        return Err("reductions of booleans are not supported".into());
    }
    let axes = c.axes(1, x.rank())?.filter(|axes| !axes.is_empty());
    let dims = match axes {
        Some(axes) => axes,
        None if c.flag("noop_with_empty_axes", false) => Vec::new(),
        None => (0..x.rank()).collect(),
    };
    let reduced = f(c, x, &dims)?;
    if c.flag("keepdims", true) {
        return Ok(vec![reduced]);
    }
    let kept = (0..x.rank())
        .filter(|d| !dims.contains(d))
        .map(|d| x.shape[d]);
    Ok(vec![c.reshape(&reduced, &kept.collect::<Vec<_>>())?])
}

fn extreme_place(c: &Call<'_>, f: Reduce) -> Outcome {
    let x = c.input(0)?;
    let dim = axis(c.int("axis", 0), x.rank())?;
    if x.kind == Kind::Bool {
        return Err("booleans have no order".into());
    }
    let mut place = if c.flag("select_last_index", false) {
        // The first in reversed order is the last.
        let place = c.reduce(f, &c.flip(x, dim)?, dim)?;
        let last = crate::host::Host::int(x.shape[dim] as i64 - 1);
        let back = c.unary(Unary::Neg, &place)?;
        c.binary(Binary::Add, &back, &last.into())?
    } else {
        c.reduce(f, x, dim)?
    };
    if !c.flag("keepdims", true) {
        let mut shape = x.shape.clone();
        shape.remove(dim);
        place = c.reshape(&place, &shape)?;
    }
    Ok(vec![place])
}
