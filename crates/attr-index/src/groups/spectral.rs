//! Spectral clustering of a graph of neighbors.

use nalgebra::{DMatrix, SymmetricEigen};

use super::{check_finite, distance};
use crate::Error;

/// The most rows: the whole spectrum of 4,096 takes about a minute.
const MOST_ROWS: usize = 4096;

/// Rows in the space of a graph's slowest vibrations.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// The smallest eigenvalues of the graph's Laplacian, in order.
    pub eigenvalues: Vec<f64>,
    /// Their eigenvectors, `[rows, eigenvalues]`.
    pub vectors: DMatrix<f64>,
}

impl Embedding {
    /// Joins each row with its nearest neighbors and takes the spectrum of the normalised Laplacian
    /// `I - D^-½ W D^-½`, with `W = (A + Aᵀ)/2` of the neighbors `A` and their sums `D`.
    pub fn of(rows: &DMatrix<f64>, n_neighbors: usize, n_eigval: usize) -> Result<Self, Error> {
        check_finite(rows)?;
        let samples = rows.nrows();
        if !(3..=MOST_ROWS).contains(&samples) {
            return Err(Error::Groups(format!(
                "there are {samples} samples, and clustering takes 3 to {MOST_ROWS}; choose one \
                 class, or fewer samples"
            )));
        }
        if n_neighbors + 1 >= samples {
            return Err(Error::Groups(format!(
                "each of {samples} samples would be joined with all others; n_neighbors must be at \
                 most {}, and should be far fewer",
                samples - 2
            )));
        }
        let mut graph = DMatrix::zeros(samples, samples);
        for (row, neighbors) in neighbors(rows, n_neighbors).into_iter().enumerate() {
            for other in neighbors {
                graph[(row, other)] += 0.5;
                graph[(other, row)] += 0.5;
            }
        }
        let scales = graph.row_sum().map(|degree: f64| degree.sqrt().recip());
        for ((row, column), value) in indexed(&mut graph) {
            *value *= scales[row] * scales[column];
        }
        let spectrum = SymmetricEigen::new(graph);
        let mut order: Vec<usize> = (0..samples).collect();
        let value = |at: usize| spectrum.eigenvalues[at];
        order.sort_by(|&a, &b| value(b).total_cmp(&value(a)));
        order.truncate(n_eigval.clamp(1, samples));
        Ok(Self {
            eigenvalues: order.iter().map(|&at| 1.0 - value(at)).collect(),
            vectors: spectrum.eigenvectors.select_columns(&order),
        })
    }

    /// The number of groups that the spectrum suggests: where the largest gap between neighboring
    /// eigenvalues is, of at least two groups and at most half as many as rows.
    pub fn suggested(&self) -> Result<usize, Error> {
        let most = (self.vectors.nrows() / 2).max(2);
        let gaps = self.eigenvalues.windows(2).enumerate().take(most).skip(1);
        let gaps = gaps.map(|(at, pair)| (at + 1, pair[1] - pair[0]));
        let largest = gaps.rev().max_by(|a, b| a.1.total_cmp(&b.1));
        // Less is rounding.
        let largest = largest.filter(|(_, gap)| *gap > 1e-9);
        let groups = largest.map(|(groups, _)| groups);
        groups.ok_or_else(|| {
            Error::Groups("eigenvalues have no gap that suggests groups; give n_clusters".into())
        })
    }

    /// Rows with as many coordinates as groups, of length 1.
    pub fn coordinates(&self, groups: usize) -> DMatrix<f64> {
        let mut rows = self
            .vectors
            .columns(0, groups.min(self.vectors.ncols()))
            .into_owned();
        for mut row in rows.row_iter_mut() {
            let length = row.norm();
            if length > 0.0 {
                row /= length;
            }
        }
        rows
    }
}

/// The nearest other rows of each row; of equally near ones, the first.
fn neighbors(rows: &DMatrix<f64>, count: usize) -> Vec<Vec<usize>> {
    let points = rows.transpose();
    let samples = rows.nrows();
    let each = (0..samples).map(|row| {
        let own = points.column(row);
        let others = (0..samples).filter(|&other| other != row);
        let mut others: Vec<(f64, usize)> = others
            .map(|other| (distance(own.iter(), points.column(other).iter()), other))
            .collect();
        others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        others
            .into_iter()
            .take(count)
            .map(|(_, other)| other)
            .collect()
    });
    each.collect()
}

fn indexed(matrix: &mut DMatrix<f64>) -> impl Iterator<Item = ((usize, usize), &mut f64)> {
    let rows = matrix.nrows();
    let all = matrix.iter_mut().enumerate();
    all.map(move |(at, value)| ((at % rows, at / rows), value))
}
