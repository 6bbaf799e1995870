//! Gaussian mixtures, by expectation maximization.

use nalgebra::{DMatrix, RowDVector};

use super::check_finite;
use super::kmeans::Groups;
use crate::Error;

/// What the covariances of a mixture's components may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Covariance {
    /// Any.
    #[default]
    Full,
    /// Diagonal: all concepts independent of each other. It takes fewer samples.
    Diagonal,
}

/// How a mixture is fitted.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    pub components: usize,
    pub covariance: Covariance,
    pub reg_covar: f64,
    pub tol: f64,
    pub max_iter: usize,
    pub n_init: usize,
    pub seed: u64,
}

/// A mixture of normal distributions.
///
/// Densities in hundreds of dimensions are far beyond the range of `f64`: everything here is a
/// logarithm, and sums are formed after the largest was taken out.
#[derive(Clone, Debug)]
pub struct Mixture {
    components: Vec<Component>,
}

#[derive(Clone, Debug)]
struct Component {
    weight: f64,
    mean: RowDVector<f64>,
    spread: Spread,
}

/// A covariance `C`, as what densities need.
#[derive(Clone, Debug)]
enum Spread {
    /// The transposed inverse of its Cholesky factor, `[features, features]`.
    Full(DMatrix<f64>),
    /// The inverses of standard deviations, `[1, features]`.
    Diagonal(RowDVector<f64>),
}

impl Mixture {
    /// Fits a mixture to rows: the most likely of several starts, each from the groups of k-means.
    pub fn fit(rows: &DMatrix<f64>, how: &Fit) -> Result<Self, Error> {
        check_finite(rows)?;
        let mut best: Option<(f64, Self)> = None;
        for start in 0..how.n_init.max(1) as u64 {
            let groups = Groups::of(rows, how.components, 1, how.seed.wrapping_add(start))?;
            let mut shares = DMatrix::zeros(rows.nrows(), groups.count());
            for (row, &label) in groups.labels.iter().enumerate() {
                shares[(row, label)] = 1.0;
            }
            let mut mixture = Self::maximized(rows, &shares, how)?;
            let mut likelihood = f64::NEG_INFINITY;
            for _ in 0..how.max_iter {
                let (mean, shares) = mixture.expected(rows);
                let gained = mean - likelihood;
                likelihood = mean;
                mixture = Self::maximized(rows, &shares, how)?;
                if gained.abs() < how.tol {
                    break;
                }
            }
            if best.as_ref().is_none_or(|(most, _)| likelihood > *most) {
                best = Some((likelihood, mixture));
            }
        }
        let best = best.map(|(_, mixture)| mixture);
        best.ok_or_else(|| Error::Groups("a mixture needs a start".into()))
    }

    /// The components that are most likely if each row belongs to them by these shares,
    /// `[rows, components]`.
    fn maximized(rows: &DMatrix<f64>, shares: &DMatrix<f64>, how: &Fit) -> Result<Self, Error> {
        let components = shares.column_iter().map(|share| {
            let count = share.sum() + 10.0 * f64::EPSILON;
            let mean = (share.transpose() * rows) / count;
            let mut centered = rows.clone();
            centered.row_iter_mut().for_each(|mut row| row -= &mean);
            let spread = match how.covariance {
                Covariance::Full => {
                    let mut weighted = centered.clone();
                    for mut column in weighted.column_iter_mut() {
                        column.component_mul_assign(&share);
                    }
                    let mut covariance = weighted.tr_mul(&centered) / count;
                    for at in 0..rows.ncols() {
                        covariance[(at, at)] += how.reg_covar;
                    }
                    Spread::full(covariance)?
                }
                Covariance::Diagonal => {
                    let variances = centered.column_iter().map(|column| {
                        let squares = column.component_mul(&column);
                        squares.dot(&share) / count + how.reg_covar
                    });
                    let variances = RowDVector::from_iterator(rows.ncols(), variances);
                    if !variances.iter().all(|&variance| variance > 0.0) {
                        return Err(no_spread());
                    }
                    Spread::Diagonal(variances.map(|variance| variance.sqrt().recip()))
                }
            };
            Ok(Component {
                weight: count / rows.nrows() as f64,
                mean,
                spread,
            })
        });
        let components = components.collect::<Result<_, Error>>()?;
        Ok(Self { components })
    }

    /// The mean log-likelihood of rows, and the shares by which they belong to components.
    fn expected(&self, rows: &DMatrix<f64>) -> (f64, DMatrix<f64>) {
        let mut shares = self.log_densities(rows);
        let mut sum = 0.0;
        for mut row in shares.row_iter_mut() {
            let all = log_sum(row.iter());
            sum += all;
            row.apply(|value| *value = (*value - all).exp());
        }
        (sum / rows.nrows() as f64, shares)
    }

    /// The logarithm of each component's weighted density, `[rows, components]`.
    fn log_densities(&self, rows: &DMatrix<f64>) -> DMatrix<f64> {
        let columns: Vec<_> = self
            .components
            .iter()
            .map(|component| {
                let mut centered = rows.clone();
                centered
                    .row_iter_mut()
                    .for_each(|mut row| row -= &component.mean);
                let (scaled, log_det) = component.spread.scale(centered);
                let dims = rows.ncols() as f64;
                let constant = component.weight.ln() + log_det
                    - 0.5 * dims * (2.0 * std::f64::consts::PI).ln();
                let squares = scaled.component_mul(&scaled).column_sum();
                squares.map(|square| constant - 0.5 * square)
            })
            .collect();
        DMatrix::from_columns(&columns)
    }

    /// The logarithm of the density at each row.
    pub fn log_likelihoods(&self, rows: &DMatrix<f64>) -> Vec<f64> {
        let densities = self.log_densities(rows);
        let each = densities.row_iter();
        each.map(|row| log_sum(row.iter())).collect()
    }

    /// The component to which each row most likely belongs.
    pub fn members(&self, rows: &DMatrix<f64>) -> Vec<usize> {
        let densities = self.log_densities(rows);
        let each = densities.row_iter();
        each.map(|row| row.transpose().argmax().0).collect()
    }

    /// The weight and mean of each component.
    pub fn components(&self) -> impl Iterator<Item = (f64, &RowDVector<f64>)> {
        self.components.iter().map(|one| (one.weight, &one.mean))
    }
}

impl Spread {
    fn full(covariance: DMatrix<f64>) -> Result<Self, Error> {
        let dims = covariance.nrows();
        let factor = covariance.cholesky().ok_or_else(no_spread)?.unpack();
        let inverse = factor.solve_lower_triangular(&DMatrix::identity(dims, dims));
        Ok(Self::Full(inverse.ok_or_else(no_spread)?.transpose()))
    }

    /// Divides rows by the spread; also returns the logarithm of the density's factor `1/√|C|`.
    fn scale(&self, mut centered: DMatrix<f64>) -> (DMatrix<f64>, f64) {
        match self {
            Self::Full(inverse) => {
                let log_det = inverse.diagonal().iter().map(|value| value.ln()).sum();
                (centered * inverse, log_det)
            }
            Self::Diagonal(inverse) => {
                for (mut column, inverse) in centered.column_iter_mut().zip(inverse.iter()) {
                    column *= *inverse;
                }
                (centered, inverse.iter().map(|value| value.ln()).sum())
            }
        }
    }
}

/// The logarithm of a sum, from the logarithms of its terms.
fn log_sum<'a>(terms: impl Iterator<Item = &'a f64>) -> f64 {
    let terms: Vec<f64> = terms.copied().collect();
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + terms
        .iter()
        .map(|term| (term - most).exp())
        .sum::<f64>()
        .ln()
}

fn no_spread() -> Error {
    Error::Groups(
        "a covariance is singular; raise reg_covar, or ask for fewer prototypes or a diagonal \
         covariance"
            .into(),
    )
}
