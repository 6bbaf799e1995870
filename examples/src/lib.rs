//! The digits network and its data, shared by the programs that train and explain it.

mod data;
mod net;
mod onnx;

pub use data::Digits;
pub use net::DigitsNet;

use std::path::PathBuf;

/// Returns the path of a file of `assets/digits` in the checkout that cargo runs in.
///
/// The compiled-in path may be another checkout's, since checkouts may share a target directory.
pub fn asset(name: &str) -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR");
    let package = here.map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.join("../assets/digits").join(name)
}

/// The README's example, so that it is tested.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
