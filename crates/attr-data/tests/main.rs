//! Tests of every format and of reading ahead.

mod ahead;
mod folder;
mod list;
mod npy;
mod parquet;
#[cfg(feature = "remote")]
mod remote;
mod support;
mod tar;
