//! Models, comparisons and the device under test, shared by attr's own tests and benchmarks.
//!
//! Not published. The tests in `tests/` run on the device that `ATTR_DEVICE` names (default:
//! `flex`), so the same suite checks every backend.

pub mod check;
pub mod compare;
pub mod golden;
pub mod models;

use burn::tensor::Device;

/// Returns the device under test: `ATTR_DEVICE` is `flex`, `ndarray`, `wgpu` or `cuda`.
///
/// # Panics
/// When the named backend was not compiled in: no other backend may be tested in its place.
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
