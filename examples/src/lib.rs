//! The networks of the examples and their data, shared by the programs that train and explain them:
//! handwritten digits, and generated [`scenes`].

mod autoencoder;
mod data;
mod net;
mod onnx;
pub mod scenes;

pub use autoencoder::DigitsAutoencoder;
pub use data::Digits;
pub use net::DigitsNet;

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};

/// Returns the path of a file of `assets/digits` in the checkout that cargo runs in.
pub fn asset(name: &str) -> PathBuf {
    assets().join("digits").join(name)
}

/// Returns the folder `assets` of the checkout that cargo runs in.
///
/// The compiled-in path may be another checkout's, since checkouts may share a target directory.
fn assets() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR");
    let package = here.map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.join("../assets")
}

/// Returns the trained network and the first `count` held-out digits, `[count, 1, 8, 8]`.
pub fn net_and_digits(
    count: usize,
    device: &Device,
) -> Result<(DigitsNet, Tensor<4>), Box<dyn std::error::Error>> {
    let (_, held_out) = Digits::load()?.split();
    let (digits, _) = held_out.batch(&Vec::from_iter(0..count), device);
    Ok((DigitsNet::trained(device)?, digits))
}

/// The README's example, so that it is tested.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
