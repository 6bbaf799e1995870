//! What the rules are made of: differences between the two passes, and quotients that are safe.

use attr_core::walk::NodeView;
use attr_core::{Error, Kind, Value};
use burn::tensor::{Bool, Tensor};

/// What arrives at the first output, as `[rows, elements]`.
pub(super) fn arriving_matrix(arriving: &[Option<Value>]) -> Result<Option<Tensor<2>>, Error> {
    match arriving.first() {
        Some(Some(value)) => value.matrix().map(Some),
        _ => Ok(None),
    }
}

/// The operands and outputs of the reference pass.
pub(super) fn reference<'a>(node: &'a NodeView<'_>) -> Result<(&'a [Value], &'a [Value]), Error> {
    node.reference()
        .ok_or(Error::Internal("DeepLIFT without a reference"))
}

/// `a - b`, as `[rows, elements]`.
pub(super) fn difference(a: &Value, b: &Value) -> Result<Tensor<2>, Error> {
    Ok(a.matrix()? - b.matrix()?)
}

/// The point between two values, `b + α (a - b)`; integers and truth values stay those of `a`.
pub(super) fn between(a: &Value, b: &Value, alpha: f64) -> Result<Value, Error> {
    if a.kind() != Kind::Float {
        return Ok(a.clone());
    }
    let point = b.matrix()? + difference(a, b)? * alpha;
    Ok(Value::from_matrix(point, &a.shape()))
}

/// Where a difference counts as none; also where `eps` is 0, or 0 in half precision.
pub(super) fn unchanged(change: &Tensor<2>, eps: f64) -> Tensor<2, Bool> {
    let still = change.clone().equal_elem(0.0);
    change.clone().abs().lower_elem(eps).bool_or(still)
}

/// A denominator with ones where it is not used.
pub(super) fn safe(denominator: Tensor<2>, unused: &Tensor<2, Bool>) -> Tensor<2> {
    denominator.mask_fill(unused.clone(), 1.0)
}
