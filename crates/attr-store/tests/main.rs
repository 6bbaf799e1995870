//! Tests of folders on disk and in memory, which must behave alike, and of what only stores do.

mod folder;
#[cfg(feature = "remote")]
mod remote;
