//! Rules that average a varying derivative along the straight line from reference to input.

use attr_core::walk::{NodeView, Rule, Shares};
use attr_core::{Error, Kind, Value};
use burn::tensor::Tensor;

use super::parts::{between, difference, reference};
use crate::Quadrature;
use crate::rows::row_sums;

/// The derivative at the midpoint of the line, which is exact for products of two operands.
pub(super) struct Midpoint;

impl Rule for Midpoint {
    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        let (before, _) = reference(node)?;
        let pairs = node.operands().iter().zip(before);
        let middle = pairs.map(|(x, r)| between(x, r, 0.5));
        let middle: Vec<Value> = middle.collect::<Result<_, _>>()?;
        Ok(node.pull_back(&middle, arriving, node.wanted())?.into())
    }
}

/// The derivative averaged by Gauss-Legendre quadrature, with as many points as the sum needs.
///
/// `f(x) - f(r) = ∫ ∇f(r + α (x - r)) · (x - r) dα` holds for any operation that is differentiable
/// almost everywhere, so this rule serves operations without one in closed form.
pub(super) struct Average;

/// The initial and the maximum number of points.
const POINTS: (usize, usize) = (8, 128);
/// The error of a row's sum, relative to its magnitude, above which more points are taken.
const TOLERANCE: f64 = 1e-5;

impl Rule for Average {
    /// The number of points depends on sums that are read on the host.
    fn reads_values(&self) -> bool {
        true
    }

    fn backward(&self, node: &NodeView<'_>, arriving: Vec<Option<Value>>) -> Result<Shares, Error> {
        let (before, after) = reference(node)?;
        let operands = node.operands();
        // All operands that change count in the sum, even those that get no share.
        let moving: Vec<bool> = (0..operands.len())
            .map(|i| node.info().varies(i) && operands[i].kind() == Kind::Float)
            .collect();
        if !moving.contains(&true) {
            return Ok(node.nothing());
        }
        // Sums are per row if dimension 0 is the same everywhere, otherwise over everything.
        let rows = node.outputs()[0].rows();
        let by_row = operands
            .iter()
            .zip(&moving)
            .all(|(x, m)| !m || x.rows() == rows);
        let totals = |value: Tensor<2>| -> Result<Vec<f64>, Error> {
            let sums = row_sums(value)?.into_iter().map(f64::from);
            Ok(if by_row {
                sums.collect()
            } else {
                vec![sums.sum()]
            })
        };
        let mut explained: Vec<f64> = Vec::new();
        let mut scale: Vec<f64> = Vec::new();
        for (i, value) in arriving.iter().enumerate() {
            let Some(value) = value else { continue };
            let change = value.matrix()? * difference(&node.outputs()[i], &after[i])?;
            add(&mut explained, totals(change.clone())?);
            add(&mut scale, totals(change.abs())?);
        }
        let mut sums = refined(&explained, &scale, |points| {
            let mut sums: Vec<Option<Value>> = vec![None; operands.len()];
            for (alpha, weight) in Quadrature::GaussLegendre.samples(points)? {
                let mut here = operands.to_vec();
                for i in (0..operands.len()).filter(|&i| moving[i]) {
                    here[i] = between(&operands[i], &before[i], alpha)?;
                }
                let shares = node.pull_back(&here, arriving.clone(), &moving)?;
                for (sum, share) in sums.iter_mut().zip(shares) {
                    let Some(share) = share else { continue };
                    let part = share.matrix()? * weight;
                    let whole = match sum.take() {
                        Some(sum) => Value::matrix(&sum)? + part,
                        None => part,
                    };
                    *sum = Some(Value::from_matrix(whole, &share.shape()));
                }
            }
            let mut found: Vec<f64> = Vec::new();
            for (i, sum) in sums.iter().enumerate() {
                if let Some(sum) = sum {
                    let change = difference(&operands[i], &before[i])?;
                    add(&mut found, totals(sum.matrix()? * change)?);
                }
            }
            Ok((sums, found))
        })?;
        for (sum, wanted) in sums.iter_mut().zip(node.wanted()) {
            if !wanted {
                *sum = None;
            }
        }
        Ok(sums.into())
    }
}

/// Doubles the points of `estimate` until its totals match `explained` or no longer change, and
/// returns its last result.
///
/// Contributions through indices or booleans are lost, however many points there are.
fn refined<T>(
    explained: &[f64],
    scale: &[f64],
    mut estimate: impl FnMut(usize) -> Result<(T, Vec<f64>), Error>,
) -> Result<T, Error> {
    let agree = |a: &[f64], b: &[f64]| {
        let mut rows = a.iter().zip(b).zip(scale);
        a.len() == b.len() && rows.all(|((a, b), scale)| (a - b).abs() <= TOLERANCE * scale)
    };
    let mut points = POINTS.0;
    let mut latest: Vec<f64> = Vec::new();
    loop {
        let (value, mut found) = estimate(points)?;
        found.resize(explained.len(), 0.0);
        if agree(&found, explained) || agree(&found, &latest) || points >= POINTS.1 {
            return Ok(value);
        }
        latest = found;
        points *= 2;
    }
}

/// Adds to totals, which may still be empty.
fn add(totals: &mut Vec<f64>, more: Vec<f64>) {
    totals.resize(more.len(), 0.0);
    for (total, more) in totals.iter_mut().zip(more) {
        *total += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_doubled_while_that_changes_something() {
        let taken = |found: fn(usize) -> f64| {
            let mut taken = Vec::new();
            let latest = refined(&[1.0], &[1.0], |points| {
                taken.push(points);
                Ok((points, vec![found(points)]))
            });
            assert_eq!(latest.ok(), taken.last().copied());
            taken
        };
        assert_eq!(taken(|_| 1.0), [8], "all is explained");
        assert_eq!(taken(|_| 0.25), [8, 16], "what is missing stays missing");
        let slowly = taken(|points| 1.0 - 1.0 / points as f64);
        assert_eq!(slowly, [8, 16, 32, 64, 128]);
    }
}
