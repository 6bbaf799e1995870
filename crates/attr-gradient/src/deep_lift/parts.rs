//! Helpers of the rules: differences between the two passes, and safe quotients.

use attr_core::walk::NodeView;
use attr_core::{Error, Kind, Value};
use burn::tensor::activation::relu;
use burn::tensor::{Bool, DType, Tensor};

/// Returns what arrives at the first output, as `[rows, elements]`.
pub(super) fn arriving_matrix(arriving: &[Option<Value>]) -> Result<Option<Tensor<2>>, Error> {
    match arriving.first() {
        Some(Some(value)) => value.matrix().map(Some),
        _ => Ok(None),
    }
}

/// Returns the operands and outputs of the reference pass.
pub(super) fn reference<'a>(node: &'a NodeView<'_>) -> Result<(&'a [Value], &'a [Value]), Error> {
    node.reference()
        .ok_or(Error::Internal("DeepLIFT without a reference"))
}

/// Returns `a - b`, as `[rows, elements]`.
pub(super) fn difference(a: &Value, b: &Value) -> Result<Tensor<2>, Error> {
    Ok(a.matrix()? - b.matrix()?)
}

/// Returns the point between two values, `b + α (a - b)`; integers and booleans stay those of `a`.
pub(super) fn between(a: &Value, b: &Value, alpha: f64) -> Result<Value, Error> {
    if a.kind() != Kind::Float {
        return Ok(a.clone());
    }
    let point = b.matrix()? + difference(a, b)? * alpha;
    Ok(Value::from_matrix(point, &a.shape()))
}

/// Marks where a difference counts as zero. A difference of exactly 0 always does, even if `eps` is
/// 0, or 0 in half precision.
pub(super) fn unchanged(change: &Tensor<2>, eps: f64) -> Tensor<2, Bool> {
    let least = f64::from(f32::MIN_POSITIVE);
    match change.dtype() {
        DType::F32 | DType::F64 => change.clone().abs().lower_elem(eps.max(least)),
        _ => {
            let still = change.clone().equal_elem(0.0);
            change.clone().abs().lower_elem(eps).bool_or(still)
        }
    }
}

/// Returns a denominator with ones where it is not used.
pub(super) fn safe(denominator: Tensor<2>, unused: &Tensor<2, Bool>) -> Tensor<2> {
    denominator.mask_fill(unused.clone(), 1.0)
}

/// The larger of two finite numbers that are not negative, up to rounding. Burn's own selects each by a
/// mask, which takes several times as long on the CPU.
pub(super) fn larger<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    a.clone() + relu(b - a)
}
