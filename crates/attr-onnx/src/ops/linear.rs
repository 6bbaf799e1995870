//! The matrix product operators.

use attr_core::Kind;
use attr_core::op::{Binary, Op};

use super::Operator;
use crate::call::{Call, Outcome};
use crate::item::{Item, broadcast};

pub(crate) fn find(op: &str) -> Option<Operator> {
    Some(match op {
        "MatMul" => matmul,
        "Gemm" => gemm,
        _ => return None,
    })
}

/// Multiplies like numpy: a vector on the left is a row, one on the right is a column.
fn matmul(c: &Call<'_>) -> Outcome {
    let (a, b) = (c.input(0)?, c.input(1)?);
    let row = |x: &Item| c.reshape(x, &[1, x.elements()]);
    let column = |x: &Item| c.reshape(x, &[x.elements(), 1]);
    let left = if a.rank() == 1 { row(a)? } else { a.clone() };
    let right = if b.rank() == 1 { column(b)? } else { b.clone() };
    let product = c.matmul(&left, &right)?;
    let mut shape = product.shape.clone();
    if b.rank() == 1 {
        shape.pop();
    }
    if a.rank() == 1 && !shape.is_empty() {
        let at = shape.len() - if b.rank() == 1 { 1 } else { 2 };
        shape.remove(at);
    }
    Ok(vec![c.reshape(&product, &shape)?])
}

/// Computes `alpha * A' B' + beta * C`, as `Op::Linear` if B and C are constant.
fn gemm(c: &Call<'_>) -> Outcome {
    let (mut a, mut b) = (c.input(0)?.clone(), c.input(1)?.clone());
    if a.rank() != 2 || b.rank() != 2 {
        return Err(format!(
            "shapes {:?} and {:?} are not matrices",
            a.shape, b.shape
        ));
    }
    if c.flag("transA", false) {
        a = c.transpose(&a)?;
    }
    if c.flag("transB", false) {
        b = c.transpose(&b)?;
    }
    let scaled = |x: &Item, by: f64| match by == 1.0 {
        true => Ok(x.clone()),
        false if x.kind == Kind::Float => c.with_number(Binary::Mul, x, by),
        false => Err("a scaled product of integers is not supported".to_string()),
    };
    // The factor is applied to a constant side, so that the layer remains one operation.
    let alpha = c.float("alpha", 1.0);
    if b.active {
        a = scaled(&a, alpha)?
    } else {
        b = scaled(&b, alpha)?
    }
    let Some(bias) = c.optional(2) else {
        return Ok(vec![c.matmul(&a, &b)?]);
    };
    let bias = scaled(bias, c.float("beta", 1.0))?;
    let (inner, outer) = (a.shape[1], b.shape[1]);
    let per_column = broadcast(&bias.shape, &[1, outer])? == [1, outer];
    if a.active && !b.active && !bias.active && per_column && inner == b.shape[0] {
        let vector = if bias.shape == [outer] {
            bias.clone()
        } else {
            c.reshape(&c.expand(&bias, &[1, outer])?, &[outer])?
        };
        if a.kind == Kind::Float && bias.kind == Kind::Float && b.kind == Kind::Float {
            return Ok(vec![c.record(Op::Linear, &[&a, &b, &vector])?]);
        }
    }
    let product = c.matmul(&a, &b)?;
    let sum = c.add(&product, &bias)?;
    if sum.shape == product.shape {
        Ok(vec![sum])
    } else {
        Err(format!(
            "C of shape {:?} does not fit a product of shape {:?}",
            bias.shape, product.shape
        ))
    }
}
