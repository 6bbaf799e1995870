//! The path of the lasso from no features to least squares: where features enter and leave.
//!
//! Efron, Hastie, Johnstone, Tibshirani, "Least angle regression", 2004
//! (<https://doi.org/10.1214/009053604000000067>), with the modification that makes it the lasso's
//! path.

use nalgebra::{DMatrix, DVector};

/// Correlations and steps that differ by less than this fraction of the largest are equal.
const TINY: f64 = 1e-12;

/// Returns the features with non-zero coefficients at each knot of the path, from the first on.
pub(crate) fn path(x: &DMatrix<f64>, y: &DVector<f64>) -> Vec<Vec<usize>> {
    let columns = x.ncols();
    let mut coefficients = DVector::<f64>::zeros(columns);
    let mut active: Vec<usize> = Vec::new();
    let mut knots = Vec::new();
    let mut dropped: Option<(usize, f64)> = None;
    let mut dependent: Vec<usize> = Vec::new();
    // Each feature enters, and may leave and enter again. The bound only ends a loop that rounding
    // might keep alive.
    for _ in 0..8 * columns.min(x.nrows()) {
        let correlations = x.tr_mul(&(y - x * &coefficients));
        let largest = correlations.amax();
        let scale = y.norm() * x.norm();
        if largest <= TINY * scale {
            break;
        }
        if dropped.is_none() {
            let outside = (0..columns).filter(|j| !active.contains(j) && !dependent.contains(j));
            let next = outside.max_by(|&a, &b| {
                let size = |j: usize| correlations[j].abs();
                size(a).total_cmp(&size(b)).then(b.cmp(&a))
            });
            match next {
                Some(next) if correlations[next].abs() >= largest * (1.0 - 1e-9) => {
                    active.push(next);
                }
                _ if active.is_empty() => break,
                _ => {}
            }
        }
        // The direction in which all active correlations shrink equally.
        let chosen = x.select_columns(&active);
        let signs = DVector::from_fn(active.len(), |i, _| correlations[active[i]].signum());
        let Some(factor) = chosen.tr_mul(&chosen).cholesky() else {
            // The newest feature depends linearly on the others: the path goes on without it.
            dependent.extend(active.pop());
            continue;
        };
        let direction = factor.solve(&signs);
        let shrink = x.tr_mul(&(&chosen * &direction));
        // Until another correlation is as large, or nothing is left.
        let mut step = largest;
        for j in (0..columns).filter(|j| !active.contains(j) && !dependent.contains(j)) {
            for (sign, numerator, denominator) in [
                (1.0, largest - correlations[j], 1.0 - shrink[j]),
                (-1.0, largest + correlations[j], 1.0 + shrink[j]),
            ] {
                // A feature that just left may enter again, but not with its previous sign.
                if dropped == Some((j, sign)) {
                    continue;
                }
                let candidate = numerator / denominator;
                if denominator > TINY && candidate > TINY * largest && candidate < step {
                    step = candidate;
                }
            }
        }
        // Or until a coefficient crosses zero, which the lasso does not allow.
        dropped = None;
        for (i, &j) in active.iter().enumerate() {
            let candidate = -coefficients[j] / direction[i];
            if candidate > TINY * largest && candidate < step {
                step = candidate;
                dropped = Some((j, signs[i]));
            }
        }
        for (i, &j) in active.iter().enumerate() {
            coefficients[j] += step * direction[i];
        }
        if let Some((j, _)) = dropped {
            coefficients[j] = 0.0;
            active.retain(|&other| other != j);
        }
        knots.push((0..columns).filter(|&j| coefficients[j] != 0.0).collect());
    }
    knots
}
