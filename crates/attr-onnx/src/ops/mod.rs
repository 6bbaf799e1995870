//! The operators, by family. Names and semantics are those of ONNX:
//! <https://onnx.ai/onnx/operators/>.

mod conv;
mod einsum;
mod elementwise;
mod index;
mod linear;
mod ml;
mod norm;
mod pool;
mod recurrent;
mod reduce;
mod resize;
mod shape;

use crate::call::{Call, Outcome};

/// A function that runs a node of one operator.
pub(crate) type Operator = fn(&Call<'_>) -> Outcome;

/// Returns the implementation of an operator, if there is one. The runner handles `If` itself.
pub(crate) fn find(domain: &str, op: &str) -> Option<Operator> {
    match domain {
        "" => elementwise::find(op)
            .or_else(|| shape::find(op))
            .or_else(|| index::find(op))
            .or_else(|| linear::find(op))
            .or_else(|| conv::find(op))
            .or_else(|| pool::find(op))
            .or_else(|| norm::find(op))
            .or_else(|| reduce::find(op))
            .or_else(|| resize::find(op))
            .or_else(|| recurrent::find(op))
            .or_else(|| einsum::find(op)),
        "ai.onnx.ml" => ml::find(op),
        _ => None,
    }
}
