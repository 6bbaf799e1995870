//! The samples of a data set in which the concepts of a network are strongest.
#![doc = include_str!("../README.md")]

mod references;
mod search;

pub use references::{Mode, Reference, References};
pub use search::{MaxTarget, ReferenceSearch};
