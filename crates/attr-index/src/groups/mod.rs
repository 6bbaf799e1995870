//! Statistics that sort samples into groups.
//!
//! ```text
//! kmeans.rs   k-means, the best of several starts
//! mixture.rs  Gaussian mixtures, by expectation maximization
//! spectral.rs spectral clustering of a graph of neighbors
//! ```

pub mod kmeans;
pub mod mixture;
pub mod spectral;

use nalgebra::DMatrix;

use crate::Error;

/// The squared distance of two points.
pub fn distance<'a>(
    a: impl IntoIterator<Item = &'a f64>,
    b: impl IntoIterator<Item = &'a f64>,
) -> f64 {
    let pairs = a.into_iter().zip(b);
    pairs.map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Refuses rows that hold NaN or infinity.
pub fn check_finite(rows: &DMatrix<f64>) -> Result<(), Error> {
    match rows.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::Groups(format!(
            "row {} holds {}, and only finite numbers can be compared",
            at % rows.nrows(),
            rows[at]
        ))),
    }
}
