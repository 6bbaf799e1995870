//! Exact Shapley values of tree ensembles, on plain slices.
#![doc = include_str!("../README.md")]
//!
//! ```text
//! tree.rs        trees as their owner describes them
//! ensemble.rs    an ensemble that was checked, and its predictions   <- start here
//! tree_shap.rs   TreeShap: values and interactions of rows, on all threads
//! paths.rs       a tree in the order of a walk
//! walk.rs        many rows down one tree, in groups (sorted.rs)
//! units.rs       the values of one leaf for one group
//! upward.rs      path-dependent values, faster: rows side by side, leaves put together
//! ```
#![forbid(unsafe_code)]

mod ensemble;
mod error;
mod paths;
mod sorted;
mod tree;
mod tree_shap;
mod units;
mod upward;
mod walk;

pub use ensemble::{Aggregate, TreeEnsemble};
pub use error::Error;
pub use tree::{Branch, Node, Test, Tree};
pub use tree_shap::TreeShap;

/// `len` zeros, or an error where there is no memory for them.
fn zeros<T: Clone + Default>(len: Option<usize>) -> Result<Vec<T>, Error> {
    let len = len.ok_or(Error::Memory)?;
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::Memory)?;
    values.resize(len, T::default());
    Ok(values)
}
