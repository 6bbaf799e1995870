//! Shapley values of an ensemble.

use std::sync::Arc;

use rayon::prelude::*;

use crate::ensemble::TreeEnsemble;
use crate::paths::Paths;
use crate::tree::Node;
use crate::units::Weights;
use crate::walk::{Absent, Columns, Layout, walk};
use crate::{Error, zeros};

/// Trees whose values are added up before those of others: what is added to what does not depend on the
/// number of threads.
const TREES: usize = 16;

/// The most rows that go down a tree together, and the fewest that are worth it.
const ROWS: (usize, usize) = (512, 32);

/// Values that one task works on at most; 16 MB.
const VALUES: usize = 1 << 21;

/// Exact Shapley values of a tree ensemble (TreeSHAP): how much each feature of a row adds to each output.
///
/// A coalition of features has the value `v(S)` that the ensemble gives on average if features outside of `S`
/// are replaced ([`TreeShap::interventional`], [`TreeShap::path_dependent`]), and
///
/// `φ_i = Σ_{S without i} |S|! (F - |S| - 1)! / F! (v(S with i) - v(S))`.
///
/// Values of a row and the expected value add up to its prediction. Results do not depend on the number of
/// threads, nor on the other rows.
///
/// Lundberg et al., 2018, <https://arxiv.org/abs/1802.03888>, and 2020,
/// <https://arxiv.org/abs/1905.04610>.
#[derive(Clone, Debug)]
pub struct TreeShap {
    ensemble: Arc<TreeEnsemble>,
    paths: Vec<Paths>,
    absent: Absent,
    expected: Vec<f64>,
}

impl TreeShap {
    /// Replaces absent features by those of background rows, `[rows, features]`, each in turn: `v(S)` is the mean
    /// prediction, `E_b f(x_S, b_rest)` ("interventional", shap's default with a background).
    ///
    /// # Errors
    /// [`Error::Rows`] if the numbers are not whole rows, [`Error::Empty`] for none; [`Error::TooLarge`] for a tree
    /// of more than 4096 levels or with more than 128 features on one path.
    pub fn interventional(
        ensemble: impl Into<Arc<TreeEnsemble>>,
        background: &[f32],
    ) -> Result<Self, Error> {
        let ensemble = ensemble.into();
        let count = ensemble.rows("background rows", background)?;
        if count == 0 {
            return Err(Error::Empty("background rows"));
        }
        u32::try_from(count).map_err(|_| Error::Memory)?;
        let paths = paths(&ensemble)?;
        let mut expected: Vec<f64> = zeros(Some(ensemble.targets()))?;
        for outputs in ensemble
            .predict(background)?
            .chunks_exact(ensemble.targets())
        {
            for (expected, output) in expected.iter_mut().zip(outputs) {
                *expected += output / count as f64;
            }
        }
        let absent = Absent::Background {
            rows: Columns::new(background, ensemble.features())?,
            weights: Weights::new(),
        };
        Ok(Self {
            ensemble,
            paths,
            absent,
            expected,
        })
    }

    /// Follows both sides of a branch that tests an absent feature, with the fractions of training rows that
    /// went there, which are those of the cover ("tree_path_dependent", shap's default without a background). A
    /// branch that no row reached counts half for each side.
    ///
    /// # Errors
    /// [`Error::NoCover`] for a tree with branches and without a [cover](crate::Tree::cover), see
    /// [`TreeEnsemble::with_cover_of`]; [`Error::TooLarge`] for a tree of more than 4096 levels or with more than
    /// 128 features on one path.
    pub fn path_dependent(ensemble: impl Into<Arc<TreeEnsemble>>) -> Result<Self, Error> {
        let ensemble = ensemble.into();
        for (at, tree) in ensemble.trees().iter().enumerate() {
            let branches = matches!(tree.nodes[tree.root], Node::Branch(_));
            if branches && tree.cover.is_empty() {
                return Err(Error::NoCover { tree: at });
            }
        }
        let paths = paths(&ensemble)?;
        let mut expected: Vec<f64> = zeros(Some(ensemble.targets()))?;
        for (tree, paths) in ensemble.trees().iter().zip(&paths) {
            // The fraction of rows that reach each level of the current path.
            let mut reach = vec![1.0; paths.depth + 1];
            for place in &paths.places {
                if place.depth > 0 {
                    reach[place.depth] = reach[place.depth - 1] * place.part;
                }
                if let Node::Leaf(weights) = &tree.nodes[place.node] {
                    for &(target, weight) in weights {
                        expected[target] += weight * reach[place.depth];
                    }
                }
            }
        }
        for (target, expected) in expected.iter_mut().enumerate() {
            *expected = *expected * ensemble.scale() + ensemble.base(target);
        }
        Ok(Self {
            ensemble,
            paths,
            absent: Absent::Cover,
            expected,
        })
    }

    /// The expected value of each target: `v` of no feature.
    pub fn expected(&self) -> &[f64] {
        &self.expected
    }

    /// The ensemble that is explained.
    pub fn ensemble(&self) -> &TreeEnsemble {
        &self.ensemble
    }

    /// The Shapley values `[rows, targets, features]` of rows `[rows, features]`.
    ///
    /// # Errors
    /// [`Error::Rows`] if the numbers are not whole rows, [`Error::Memory`] for more values than fit.
    pub fn explain(&self, rows: &[f32]) -> Result<Vec<f64>, Error> {
        self.run(rows, false)
    }

    /// The interactions `[rows, targets, features, features]` of rows `[rows, features]`, for either kind of
    /// absent features: for `i != j` half of the pair's Shapley interaction index,
    ///
    /// `φ_ij = 1/2 Σ_{S without i, j} |S|! (F - |S| - 2)! / (F - 1)! (v(S, i, j) - v(S, i) - v(S, j) + v(S))`,
    ///
    /// and on the diagonal what remains, so that lines add up to [`TreeShap::explain`] (as in shap; Lundberg et
    /// al., 2018).
    ///
    /// # Errors
    /// As [`TreeShap::explain`].
    pub fn interactions(&self, rows: &[f32]) -> Result<Vec<f64>, Error> {
        self.run(rows, true)
    }

    fn run(&self, rows: &[f32], pairs: bool) -> Result<Vec<f64>, Error> {
        let ensemble = &self.ensemble;
        let layout = Layout {
            features: ensemble.features(),
            targets: ensemble.targets(),
            scale: ensemble.scale(),
            pairs,
        };
        let count = ensemble.rows("rows", rows)?;
        let width = layout
            .width()
            .and_then(|width| width.checked_mul(layout.targets));
        let width = width.ok_or(Error::Memory)?;
        let mut out: Vec<f64> = zeros(count.checked_mul(width))?;
        if count == 0 {
            return Ok(out);
        }
        let threads = rayon::current_num_threads();
        // Levels of a walk have all its rows, as values have.
        let depth = self
            .paths
            .iter()
            .map(|paths| paths.depth)
            .max()
            .unwrap_or(0);
        let most = (VALUES / width.max(depth + 1)).clamp(1, ROWS.0);
        let block = count.div_ceil(threads).max(ROWS.1).min(most);
        let trees: Vec<_> = ensemble.trees().iter().zip(&self.paths).collect();
        let blocks = out.par_chunks_mut(block * width);
        let rows = rows.par_chunks(block * layout.features);
        blocks.zip(rows).try_for_each(|(out, rows)| {
            let columns = Columns::new(rows, layout.features)?;
            let len = out.len();
            let some = |trees: &[_]| -> Result<Vec<f64>, Error> {
                let mut values = zeros(Some(len))?;
                for &(tree, paths) in trees {
                    walk(tree, paths, &self.absent, &columns, layout, &mut values);
                }
                Ok(values)
            };
            // As many at a time as there are threads: memory does not grow with the number of trees.
            for trees in trees.chunks(TREES * threads) {
                let parts = trees.par_chunks(TREES).map(some);
                let parts: Vec<Vec<f64>> = parts.collect::<Result<_, _>>()?;
                for part in parts {
                    for (value, part) in out.iter_mut().zip(part) {
                        *value += part;
                    }
                }
            }
            Ok(())
        })?;
        Ok(out)
    }
}

/// The paths of all trees.
fn paths(ensemble: &TreeEnsemble) -> Result<Vec<Paths>, Error> {
    let trees = ensemble.trees().par_iter().enumerate();
    trees.map(|(at, tree)| Paths::new(at, tree)).collect()
}
