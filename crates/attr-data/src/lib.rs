//! Data sets of images or arrays as numbered samples, listed once and then streamed.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod ahead;
mod data_set;
mod error;
mod folder;
mod list;
mod listing;
mod npy;
mod parquet;
mod sample;
mod tar;

pub use attr_store;

pub use ahead::{Batch, Row, Skipped, read_ahead};
pub use data_set::{DataSet, Options, Samples};
pub use error::Error;
pub use sample::{Array, Content, Elements, Sample};
