//! Any bytes are read as a model and traced, or refused: no panic, no runaway memory.
//!
//! `cargo xtask fuzz` runs this on the committed models and hostile files.

#![no_main]

use std::path::Path;

use attr_core::{Kind, Value, Values};
use attr_onnx::{OnnxModel, Port, PortDim};
use burn::tensor::{Bool, Device, Int, Tensor};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let device = Device::flex();
    let Ok(model) = OnnxModel::from_bytes(bytes.to_vec(), Path::new("."), &device) else {
        return;
    };
    let values: Option<Vec<Value>> = model.inputs().iter().map(|p| ones(p, &device)).collect();
    let Some(values) = values.filter(|values| !values.is_empty()) else {
        return;
    };
    let attributed = vec![true; values.len()];
    let inputs = Values::new(values, attributed);
    if let Ok(traced) = model.trace(&inputs, None) {
        for layer in traced.layers() {
            assert!(!layer.name.is_empty());
        }
    }
});

/// An input as the file declares it; none when it would be large.
fn ones(port: &Port, device: &Device) -> Option<Value> {
    let dims = port.shape.as_deref().unwrap_or_default();
    let sizes = dims.iter().map(|dim| match dim {
        PortDim::Fixed(size) => *size,
        PortDim::Free(_) => 2,
    });
    let shape: Vec<usize> = sizes.collect();
    let length = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    if length > 1 << 16 || shape.is_empty() {
        return None;
    }
    let flat: Value = match port.kind {
        Kind::Float => Tensor::<1>::ones([length], device).into(),
        Kind::Int => Tensor::<1, Int>::ones([length], device).into(),
        Kind::Bool => Tensor::<1, Bool>::full([length], true, device).into(),
    };
    Some(flat.reshape(&shape))
}
