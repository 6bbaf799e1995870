//! k-means, the best of several starts.

use nalgebra::{DMatrix, RowDVector};
use smartcore::cluster::kmeans::{KMeans, KMeansParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;

use super::{check_finite, distance};
use crate::Error;

/// The most iterations of a start (scikit-learn's number).
const MOST_ITERATIONS: usize = 300;

/// Rows in groups, the largest group first, none of them empty.
#[derive(Clone, Debug)]
pub struct Groups {
    /// The group of each row.
    pub labels: Vec<usize>,
    /// The means, `[groups, features]`.
    pub centroids: DMatrix<f64>,
}

impl Groups {
    /// Sorts rows into at most `count` groups: fewer if there are fewer different rows.
    pub fn of(rows: &DMatrix<f64>, count: usize, n_init: usize, seed: u64) -> Result<Self, Error> {
        check_finite(rows)?;
        let count = count.min(rows.nrows());
        if count < 2 {
            return Ok(Self::from_labels(rows, vec![0; rows.nrows()]));
        }
        let failed = |error: String| Error::Groups(error);
        let (samples, features) = rows.shape();
        let points = DenseMatrix::new(samples, features, rows.as_slice().to_vec(), true);
        let points = points.map_err(|error| failed(error.to_string()))?;
        let mut best: Option<(f64, Self)> = None;
        for start in 0..n_init.max(1) as u64 {
            let parameters = KMeansParameters {
                k: count,
                max_iter: MOST_ITERATIONS,
                seed: Some(seed.wrapping_add(start)),
            };
            let found = KMeans::<f64, u32, _, Vec<u32>>::fit(&points, parameters)
                .and_then(|found| found.predict(&points));
            let labels = found.map_err(|error| failed(error.to_string()))?;
            let labels = labels.into_iter().map(|label| label as usize).collect();
            let found = Self::from_labels(rows, labels);
            let inertia = found.inertia(rows);
            if best.as_ref().is_none_or(|(least, _)| inertia < *least) {
                best = Some((inertia, found));
            }
        }
        let best = best.map(|(_, found)| found);
        best.ok_or_else(|| failed("k-means needs a start".into()))
    }

    /// The groups that labels make, renumbered.
    fn from_labels(rows: &DMatrix<f64>, labels: Vec<usize>) -> Self {
        let groups = labels.iter().max().map_or(0, |most| most + 1);
        let mut sizes = vec![0usize; groups];
        labels.iter().for_each(|&label| sizes[label] += 1);
        let first = |group: usize| labels.iter().position(|&label| label == group);
        let mut order: Vec<usize> = (0..groups).filter(|&group| sizes[group] > 0).collect();
        order.sort_by_key(|&group| (std::cmp::Reverse(sizes[group]), first(group)));
        let mut numbers = vec![0; groups];
        for (number, &group) in order.iter().enumerate() {
            numbers[group] = number;
        }
        let labels: Vec<usize> = labels.into_iter().map(|label| numbers[label]).collect();
        let mut centroids = DMatrix::zeros(order.len(), rows.ncols());
        for (row, &label) in rows.row_iter().zip(&labels) {
            let mut centroid = centroids.row_mut(label);
            centroid += row;
        }
        for (mut centroid, &group) in centroids.row_iter_mut().zip(&order) {
            centroid /= sizes[group] as f64;
        }
        Self { labels, centroids }
    }

    /// The number of groups.
    pub fn count(&self) -> usize {
        self.centroids.nrows()
    }

    /// The rows of a group, those nearest to its mean first.
    pub fn members(&self, rows: &DMatrix<f64>, group: usize) -> Vec<usize> {
        let own = (0..rows.nrows()).filter(|&row| self.labels[row] == group);
        nearest_first(rows, own, &self.centroids.row(group).into_owned())
    }

    fn inertia(&self, rows: &DMatrix<f64>) -> f64 {
        let each = rows.row_iter().zip(&self.labels);
        each.map(|(row, &label)| distance(row.iter(), self.centroids.row(label).iter()))
            .sum()
    }
}

/// Sorts rows by their distance from a point.
pub fn nearest_first(
    rows: &DMatrix<f64>,
    chosen: impl Iterator<Item = usize>,
    point: &RowDVector<f64>,
) -> Vec<usize> {
    let with_distance = chosen.map(|row| (distance(rows.row(row).iter(), point.iter()), row));
    let mut sorted: Vec<(f64, usize)> = with_distance.collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    sorted.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_sorted_by_size_and_never_empty() {
        let rows = DMatrix::from_column_slice(5, 1, &[9.0, 1.0, 1.5, 10.0, 2.0]);
        let found = Groups::of(&rows, 2, 3, 0).unwrap();
        assert_eq!(found.labels, [1, 0, 0, 1, 0]);
        assert_eq!(found.centroids.as_slice(), [1.5, 9.5]);
        assert_eq!(found.members(&rows, 0), [2, 1, 4]);
        for count in [1, 2, 3, 7] {
            let equal = DMatrix::from_element(4, 2, 3.0);
            let found = Groups::of(&equal, count, 2, 0).unwrap();
            assert_eq!((found.count(), found.labels), (1, vec![0; 4]), "{count}");
        }
        let few = Groups::of(&rows, 9, 2, 0).unwrap();
        assert!((1..=5).contains(&few.count()));
        let nan = DMatrix::from_column_slice(2, 1, &[1.0, f64::NAN]);
        assert!(matches!(Groups::of(&nan, 2, 1, 0), Err(Error::Groups(_))));
    }
}
