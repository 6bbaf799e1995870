//! Exact Shapley values of tree ensembles, on plain slices.
#![doc = include_str!("../README.md")]
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
