//! A recorded operation lowered to an [`Op`].

use burn::backend::ir::{InterpolateModeIr, TensorIr};

use crate::graph::op::{Interpolation, Op};

/// One recorded operation as an [`Op`]; tensors are still Burn's descriptions.
pub(super) struct Lowered {
    pub op: Op,
    pub operands: Vec<TensorIr>,
    pub outputs: Vec<TensorIr>,
}

pub(super) fn node<const I: usize, const O: usize>(
    op: Op,
    operands: [&TensorIr; I],
    outputs: [&TensorIr; O],
) -> Lowered {
    Lowered {
        op,
        operands: operands.into_iter().cloned().collect(),
        outputs: outputs.into_iter().cloned().collect(),
    }
}

pub(super) fn with_optional(mut lowered: Lowered, optional: &Option<TensorIr>) -> Lowered {
    lowered.operands.extend(optional.clone());
    lowered
}

pub(super) fn interpolation(mode: &InterpolateModeIr) -> Interpolation {
    match mode {
        InterpolateModeIr::Nearest => Interpolation::Nearest,
        InterpolateModeIr::NearestExact => Interpolation::NearestExact,
        InterpolateModeIr::Bilinear => Interpolation::Bilinear,
        InterpolateModeIr::Bicubic => Interpolation::Bicubic,
        InterpolateModeIr::Lanczos3 => Interpolation::Lanczos3,
    }
}
