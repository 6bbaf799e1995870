//! The devices that a model can run on.

use burn::tensor::Device;
use clap::ValueEnum;

use crate::error::Error;

/// A device, named after its cargo feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceName {
    /// The CPU.
    Flex,
    /// The CPU, with Burn's older backend.
    Ndarray,
    /// A GPU through WebGPU.
    Wgpu,
    /// An NVIDIA GPU.
    Cuda,
}

impl Default for DeviceName {
    /// The first device that this program was built with.
    fn default() -> Self {
        if cfg!(feature = "flex") {
            Self::Flex
        } else if cfg!(feature = "ndarray") {
            Self::Ndarray
        } else if cfg!(feature = "wgpu") {
            Self::Wgpu
        } else if cfg!(feature = "cuda") {
            Self::Cuda
        } else {
            Self::Flex
        }
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        })
    }
}

impl DeviceName {
    /// Opens the device.
    // Burn deprecates ndarray; attr supports it as long as Burn has it.
    #[allow(deprecated, unreachable_patterns)]
    pub fn open(self) -> Result<Device, Error> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            Self::Ndarray => Ok(Device::ndarray()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(0)),
            missing => Err(Error::input(format!(
                "this attrx was built without {missing}; build it with `--features {missing}`"
            ))),
        }
    }
}
