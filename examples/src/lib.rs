//! The digits network and its data, shared by the programs that train and explain it.

mod data;
mod net;

pub use data::Digits;
pub use net::DigitsNet;

use std::path::PathBuf;

/// A file of `assets/digits`.
pub fn asset(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/digits")).join(name)
}

/// The README's example, so that it is tested.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
