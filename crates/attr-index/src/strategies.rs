//! The strategies by which a model predicts a class, as groups of explanations.

use nalgebra::DMatrix;

use crate::Error;
use crate::groups::kmeans::Groups;
use crate::groups::spectral::Embedding;

/// Groups explanations of many samples, so that an unexpected strategy of the model, such as looking at a
/// watermark, shows as a group of its own (SpRAy, Lapuschkin et al., 2019,
/// <https://doi.org/10.1038/s41467-019-08987-4>).
///
/// Explanations of one class, as rows of numbers (heat maps of one size, or concept vectors), are joined
/// to a graph of nearest neighbors, whose normalised Laplacian `I - D^-½ W D^-½` is decomposed. Each group
/// that hardly touches the others has an eigenvalue near 0: the largest gap, after the `k`-th eigenvalue,
/// suggests `k` groups. With few neighbors in few dimensions, the forms of groups make gaps, too; look at
/// the eigenvalues, or set the number. Rows are then sorted by k-means on the first `k` eigenvectors, scaled to length 1.
///
/// The graph and its Laplacian are those of CoRelAy, the authors' program. Its default is k-means with two
/// groups on all 32 eigenvectors; this takes as many eigenvectors as groups, as von Luxburg's tutorial and
/// scikit-learn do.
#[derive(Clone, Debug)]
pub struct StrategySearch {
    n_neighbors: usize,
    n_eigval: usize,
    n_clusters: Option<usize>,
    n_init: usize,
    seed: u64,
}

impl Default for StrategySearch {
    fn default() -> Self {
        Self::new()
    }
}

impl StrategySearch {
    /// Creates a search with 10 neighbors and 32 eigenvalues, for as many groups as the largest gap between
    /// eigenvalues suggests.
    pub fn new() -> Self {
        Self {
            n_neighbors: 10,
            n_eigval: 32,
            n_clusters: None,
            n_init: 10,
            seed: 0,
        }
    }

    /// Sets the number of neighbors that each row is joined with, from 1.
    pub fn with_n_neighbors(mut self, n_neighbors: usize) -> Self {
        self.n_neighbors = n_neighbors;
        self
    }

    /// Sets how many eigenvalues are looked at, which is the most groups that can be suggested.
    pub fn with_n_eigval(mut self, n_eigval: usize) -> Self {
        self.n_eigval = n_eigval;
        self
    }

    /// Sets the number of groups, from 2, in place of that which the spectrum suggests.
    pub fn with_n_clusters(mut self, n_clusters: usize) -> Self {
        self.n_clusters = Some(n_clusters);
        self
    }

    /// Sets how often k-means starts; the best result is taken (default: 10).
    pub fn with_n_init(mut self, n_init: usize) -> Self {
        self.n_init = n_init;
        self
    }

    /// Sets the seed of k-means (default: 0).
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Groups rows, `[rows, features]`. The distance of all pairs and the whole spectrum are computed: time
    /// grows with the third power of the number of rows.
    ///
    /// # Errors
    /// [`Error::Parameter`] for fewer than 2 groups, no neighbors, or more groups than eigenvalues or rows;
    /// [`Error::Groups`] for fewer than 3 rows or more than 4,096, rows of no length, as many neighbors as
    /// other rows, NaN or infinity, and eigenvalues without a gap.
    pub fn find(&self, rows: &[f32], features: usize) -> Result<Strategies, Error> {
        self.check()?;
        if features == 0 || !rows.len().is_multiple_of(features) {
            return Err(Error::Groups(format!(
                "{} numbers are no rows of {features}",
                rows.len()
            )));
        }
        let values = rows.iter().copied().map(f64::from);
        let rows = DMatrix::from_row_iterator(rows.len() / features, features, values);
        let embedding = Embedding::of(&rows, self.n_neighbors, self.n_eigval)?;
        let count = match self.n_clusters {
            Some(count) if count > rows.nrows() => {
                return Err(Error::Parameter {
                    name: "n_clusters",
                    value: count.to_string(),
                    expected: "at most as many as rows",
                });
            }
            Some(count) => count,
            None => embedding.suggested()?,
        };
        let coordinates = embedding.coordinates(count);
        let groups = Groups::of(&coordinates, count, self.n_init, self.seed)?;
        let members = (0..groups.count()).map(|group| groups.members(&coordinates, group));
        Ok(Strategies {
            members: members.collect(),
            labels: groups.labels,
            eigenvalues: embedding.eigenvalues,
            embedding: embedding.vectors,
        })
    }

    fn check(&self) -> Result<(), Error> {
        let clusters = self.n_clusters.unwrap_or(2);
        let checks = [
            ("n_neighbors", self.n_neighbors, 1, "at least 1"),
            ("n_eigval", self.n_eigval, 3, "at least 3"),
            ("n_clusters", clusters, 2, "at least 2"),
        ];
        for (name, value, least, expected) in checks {
            if value < least {
                return Err(Error::Parameter {
                    name,
                    value: value.to_string(),
                    expected,
                });
            }
        }
        if clusters > self.n_eigval {
            return Err(Error::Parameter {
                name: "n_clusters",
                value: clusters.to_string(),
                expected: "at most n_eigval",
            });
        }
        Ok(())
    }
}

/// Explanations in groups.
#[derive(Clone, Debug)]
pub struct Strategies {
    labels: Vec<usize>,
    members: Vec<Vec<usize>>,
    eigenvalues: Vec<f64>,
    embedding: DMatrix<f64>,
}

impl Strategies {
    /// The group of each row. The largest group is 0.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The rows of each group, the most central first.
    pub fn members(&self) -> &[Vec<usize>] {
        &self.members
    }

    /// The smallest eigenvalues of the Laplacian, in order.
    pub fn eigenvalues(&self) -> &[f64] {
        &self.eigenvalues
    }

    /// A row's coordinates along the eigenvectors of these eigenvalues, as for a scatter plot.
    pub fn embedding(&self, row: usize) -> Vec<f64> {
        let rows = self.embedding.row_iter().nth(row);
        rows.map(|row| row.iter().copied().collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points on rings around the origin, which no straight line separates, in mixed order.
    fn rings(sizes: &[usize]) -> (Vec<f32>, Vec<usize>) {
        let mut points = Vec::new();
        for (ring, &size) in sizes.iter().enumerate() {
            for at in 0..size {
                let angle = at as f32 / size as f32 * std::f32::consts::TAU;
                let radius = 1.0 + 3.0 * ring as f32;
                points.push((
                    at * 7 % 11,
                    ring,
                    [angle.cos() * radius, angle.sin() * radius],
                ));
            }
        }
        points.sort_by_key(|point| point.0);
        let rows = points.iter().flat_map(|point| point.2).collect();
        (rows, points.iter().map(|point| point.1).collect())
    }

    #[test]
    fn groups_that_do_not_touch_are_found_whatever_their_form() {
        for sizes in [&[60, 40][..], &[50, 40, 30]] {
            let (rows, rings) = rings(sizes);
            let search = StrategySearch::new().with_n_neighbors(4);
            let found = search.with_n_clusters(sizes.len()).find(&rows, 2).unwrap();
            // The rings are sorted by size, as groups are.
            assert_eq!(found.labels(), rings, "{sizes:?}");
            let members: Vec<usize> = found.members().iter().map(Vec::len).collect();
            assert_eq!(members, sizes);
            let eigenvalues = found.eigenvalues();
            let (groups, rest) = eigenvalues.split_at(sizes.len());
            assert!(groups.iter().all(|value| value.abs() < 1e-9) && rest[0] > 1e-3);
            assert_eq!(found.embedding(0).len(), 32);
        }
    }

    #[test]
    fn the_spectrum_suggests_the_number_of_groups() {
        // Scattered, but always the same, around one point for each group.
        let scattered = |at: usize| (at * 7919 % 1009) as f32 / 1009.0;
        for groups in 2..6 {
            let rows: Vec<f32> = (0..groups * 30)
                .flat_map(|at| {
                    let far = (at % groups) as f32 * 10.0;
                    [far + scattered(at), scattered(at * at)]
                })
                .collect();
            let search = StrategySearch::new().with_n_neighbors(15);
            let found = search.find(&rows, 2).unwrap();
            assert_eq!(found.members().len(), groups);
            assert!((0..groups * 30).all(|at| found.labels()[at] == found.labels()[at % groups]));
        }
    }

    #[test]
    fn what_cannot_be_grouped_is_refused() {
        let search = StrategySearch::new;
        let (rows, _) = rings(&[5]);
        let parameter =
            |search: StrategySearch| matches!(search.find(&rows, 2), Err(Error::Parameter { .. }));
        assert!(parameter(search().with_n_clusters(1)));
        assert!(parameter(search().with_n_clusters(40)));
        assert!(parameter(search().with_n_neighbors(0)));
        let groups = |rows: &[f32], features: usize| {
            matches!(search().find(rows, features), Err(Error::Groups(_)))
        };
        assert!(groups(&[1.0, 2.0], 1));
        assert!(groups(&rows, 0) && groups(&rows, 3));
        assert!(groups(&[1.0, 2.0, f32::NAN, 4.0], 1));
        // Each row would be joined with all others: there is nothing to find.
        assert!(groups(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1));
        let more = search().with_n_neighbors(2).with_n_clusters(7);
        assert!(matches!(
            more.find(&[1.0; 6], 1),
            Err(Error::Parameter { .. })
        ));
        // Equal rows are no error.
        let equal = search().with_n_neighbors(2).with_n_clusters(2);
        assert_eq!(equal.find(&[1.0; 6], 1).unwrap().labels().len(), 6);
    }
}
