//! What attr's own tests and benchmarks share: models, comparisons, the device under test.
//!
//! Not published. The tests in `tests/` run on the device that `ATTR_DEVICE` names (`flex` unless
//! set), so the same suite checks every backend.

pub mod check;
pub mod compare;
pub mod golden;
pub mod models;

use burn::tensor::Device;

/// The device under test: `ATTR_DEVICE` is `flex`, `ndarray`, `wgpu` or `cuda`.
///
/// # Panics
/// When the named backend was not compiled in, which must not pass for a tested one.
// Burn deprecates ndarray; attr supports it as long as Burn has it.
#[allow(deprecated)]
pub fn device() -> Device {
    let name = std::env::var("ATTR_DEVICE").unwrap_or_else(|_| "flex".into());
    match &name[..] {
        #[cfg(feature = "flex")]
        "flex" => Device::flex(),
        #[cfg(feature = "ndarray")]
        "ndarray" => Device::ndarray(),
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "cuda")]
        "cuda" => Device::cuda(0),
        other => panic!("ATTR_DEVICE={other} needs `--features {other}`"),
    }
}
