//! Files in a folder or an object store, each written whole or not at all.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod file;
mod folder;
mod guard;
mod local;
#[cfg(feature = "remote")]
mod object;
#[cfg(feature = "remote")]
mod remote;
#[cfg(feature = "remote")]
mod request;
mod url;

pub use error::Error;
pub use file::File;
pub use folder::{Files, Folder, Written, sha256};
pub use guard::Guard;
pub use local::TEMPORARY;
#[cfg(feature = "remote")]
pub use object_store;
