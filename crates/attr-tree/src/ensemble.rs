//! An ensemble of trees that was checked, and what it predicts.

use rayon::prelude::*;

use crate::tree::{Node, Test, Tree};
use crate::{Error, zeros};

/// Rows that are worth a task.
const ROWS: usize = 64;

/// Trees whose leaves add up to the outputs of a model:
///
/// `f_t(x) = base_t + Σ_trees w_t(leaf of x)`, with the mean in place of the sum for [`Aggregate::Average`].
///
/// Outputs are what is added up: margins or log-odds, before any function that turns them into
/// probabilities. Values are compared in 32 bits, as ONNX Runtime does with inputs of 32 bits, and added up in
/// 64 bits. A model that compares in 64 bits (LightGBM, scikit-learn) decides alike for rows of 32 bits if each
/// `t` of `x <= t` is rounded down to 32 bits, not to the nearest number.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeEnsemble {
    features: usize,
    targets: usize,
    trees: Vec<Tree>,
    /// One per target, or none where all are zero.
    base: Vec<f64>,
    aggregate: Aggregate,
}

/// How the trees' outputs become those of the ensemble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aggregate {
    /// Their sum; the default, as in ONNX.
    #[default]
    Sum,
    /// Their mean.
    Average,
}

impl std::str::FromStr for Aggregate {
    type Err = Error;

    /// Reads ONNX's names.
    ///
    /// # Errors
    /// [`Error::Aggregate`] for all but `SUM` and `AVERAGE`: Shapley values of a smallest or largest tree do
    /// not follow from those of the trees.
    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "SUM" => Ok(Self::Sum),
            "AVERAGE" => Ok(Self::Average),
            _ => Err(Error::Aggregate(name.into())),
        }
    }
}

impl TreeEnsemble {
    /// Checks trees that read rows of `features` numbers and add to `targets` outputs.
    ///
    /// # Errors
    /// [`Error::Empty`] without trees, features or targets; [`Error::Node`] for a feature, target or node that
    /// does not exist, a node that is reached on two ways, such as in a cycle, a NaN to compare with, and
    /// weights that are not finite; [`Error::Tree`] for a root that does not exist and a wrong cover.
    pub fn new(features: usize, targets: usize, mut trees: Vec<Tree>) -> Result<Self, Error> {
        for (what, count) in [
            ("features", features),
            ("targets", targets),
            ("trees", trees.len()),
        ] {
            if count == 0 {
                return Err(Error::Empty(what));
            }
        }
        for (at, tree) in trees.iter_mut().enumerate() {
            check(at, tree, features, targets)?;
        }
        Ok(Self {
            features,
            targets,
            trees,
            base: Vec::new(),
            aggregate: Aggregate::default(),
        })
    }

    /// Sets what is added to each target (default: nothing).
    ///
    /// # Errors
    /// [`Error::Base`] if there are not as many as targets, or one is not finite.
    pub fn with_base(mut self, base: Vec<f64>) -> Result<Self, Error> {
        if base.len() != self.targets {
            let (found, targets) = (base.len(), self.targets);
            return Err(Error::Base(format!(
                "there are {found} for {targets} targets"
            )));
        }
        if let Some(at) = base.iter().position(|value| !value.is_finite()) {
            let value = base[at];
            return Err(Error::Base(format!(
                "that of target {at} is {value}, which is not finite"
            )));
        }
        self.base = base;
        Ok(self)
    }

    /// Sets how the trees' outputs are put together (default: their sum).
    pub fn with_aggregate(mut self, aggregate: Aggregate) -> Self {
        self.aggregate = aggregate;
        self
    }

    /// Replaces the cover of all nodes by how many of these rows, `[rows, features]`, reach them.
    ///
    /// # Errors
    /// [`Error::Rows`] if the numbers are not whole rows, [`Error::Empty`] for none.
    pub fn with_cover_of(mut self, rows: &[f32]) -> Result<Self, Error> {
        let count = self.rows("rows that are counted", rows)?;
        if count == 0 {
            return Err(Error::Empty("rows that are counted"));
        }
        let features = self.features;
        self.trees.par_iter_mut().for_each(|tree| {
            let mut cover = vec![0.0; tree.nodes.len()];
            for row in rows.chunks_exact(features) {
                follow(tree, row, |node| cover[node] += 1.0);
            }
            tree.cover = cover;
        });
        Ok(self)
    }

    /// The number of features of a row.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The number of outputs.
    pub fn targets(&self) -> usize {
        self.targets
    }

    /// The trees. Numbers of [`Test::Member`] are sorted.
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// How the trees' outputs are put together.
    pub fn aggregate(&self) -> Aggregate {
        self.aggregate
    }

    /// What is added to a target.
    pub fn base(&self, target: usize) -> f64 {
        self.base.get(target).copied().unwrap_or(0.0)
    }

    /// What the weights of leaves are multiplied by.
    pub(crate) fn scale(&self) -> f64 {
        if self.aggregate == Aggregate::Average {
            1.0 / self.trees.len() as f64
        } else {
            1.0
        }
    }

    /// The outputs `[rows, targets]` for rows `[rows, features]`.
    ///
    /// # Errors
    /// [`Error::Rows`] if the numbers are not whole rows, [`Error::Memory`] for more outputs than fit.
    pub fn predict(&self, rows: &[f32]) -> Result<Vec<f64>, Error> {
        let count = self.rows("rows", rows)?;
        let mut outputs: Vec<f64> = zeros(count.checked_mul(self.targets))?;
        let blocks = outputs.par_chunks_mut(ROWS.saturating_mul(self.targets));
        let rows = rows.par_chunks(ROWS.saturating_mul(self.features));
        let scale = self.scale();
        blocks.zip(rows).for_each(|(outputs, rows)| {
            // Each tree stays in the cache for all rows of a block.
            for tree in &self.trees {
                let outputs = outputs.chunks_exact_mut(self.targets);
                for (outputs, row) in outputs.zip(rows.chunks_exact(self.features)) {
                    for &(target, weight) in follow(tree, row, |_| {}) {
                        outputs[target] += weight;
                    }
                }
            }
            for outputs in outputs.chunks_exact_mut(self.targets) {
                for (target, output) in outputs.iter_mut().enumerate() {
                    *output = *output * scale + self.base(target);
                }
            }
        });
        Ok(outputs)
    }

    /// How many rows these numbers are.
    pub(crate) fn rows(&self, what: &'static str, rows: &[f32]) -> Result<usize, Error> {
        if !rows.len().is_multiple_of(self.features) {
            return Err(Error::Rows {
                what,
                len: rows.len(),
                features: self.features,
            });
        }
        Ok(rows.len() / self.features)
    }
}

/// Follows a row from the root to its leaf, and returns what the leaf adds.
fn follow<'a>(tree: &'a Tree, row: &[f32], mut visit: impl FnMut(usize)) -> &'a [(usize, f64)] {
    let mut at = tree.root;
    loop {
        visit(at);
        match &tree.nodes[at] {
            Node::Leaf(weights) => return weights,
            Node::Branch(branch) if branch.passes(row[branch.feature]) => at = branch.pass,
            Node::Branch(branch) => at = branch.fail,
        }
    }
}

/// Checks one tree, and sorts what values are compared with.
fn check(at: usize, tree: &mut Tree, features: usize, targets: usize) -> Result<(), Error> {
    let nodes = tree.nodes.len();
    let wrong = |reason: String| Error::Tree { tree: at, reason };
    if tree.root >= nodes {
        let root = tree.root;
        return Err(wrong(format!(
            "its root is node {root}, and it has {nodes} nodes"
        )));
    }
    if !tree.cover.is_empty() && tree.cover.len() != nodes {
        let found = tree.cover.len();
        return Err(wrong(format!(
            "its cover has {found} numbers for {nodes} nodes"
        )));
    }
    for (node, test) in tree.nodes.iter_mut().enumerate() {
        check_node(test, nodes, features, targets).map_err(|reason| Error::Node {
            tree: at,
            node,
            reason,
        })?;
    }
    for (node, cover) in tree.cover.iter().enumerate() {
        if !(cover.is_finite() && *cover >= 0.0) {
            let reason = format!("its cover is {cover}; it must be finite and not negative");
            return Err(Error::Node {
                tree: at,
                node,
                reason,
            });
        }
    }
    // Each node is reached on one way: no cycles.
    let mut reached = vec![false; nodes];
    let mut open = vec![tree.root];
    while let Some(node) = open.pop() {
        if std::mem::replace(&mut reached[node], true) {
            let reason =
                "it is reached on two ways, or in a cycle; each node has one parent at most";
            return Err(Error::Node {
                tree: at,
                node,
                reason: reason.into(),
            });
        }
        if let Node::Branch(branch) = &tree.nodes[node] {
            open.extend([branch.pass, branch.fail]);
        }
    }
    Ok(())
}

/// What is wrong with a node by itself.
fn check_node(
    node: &mut Node,
    nodes: usize,
    features: usize,
    targets: usize,
) -> Result<(), String> {
    match node {
        Node::Branch(branch) => {
            let (feature, pass, fail) = (branch.feature, branch.pass, branch.fail);
            if feature >= features {
                return Err(format!(
                    "it tests feature {feature}, and rows have {features}"
                ));
            }
            for to in [pass, fail] {
                if to >= nodes {
                    return Err(format!("it leads to node {to}, and the tree has {nodes}"));
                }
            }
            if branch.test.numbers().iter().any(|number| number.is_nan()) {
                return Err("it compares with NaN; say where NaN goes by `missing_passes`".into());
            }
            if let Test::Member(all) = &mut branch.test {
                all.sort_unstable_by(f32::total_cmp);
            }
        }
        Node::Leaf(weights) => {
            for &(target, weight) in weights.iter() {
                if target >= targets {
                    return Err(format!(
                        "it adds to target {target}, and there are {targets}"
                    ));
                }
                if !weight.is_finite() {
                    return Err(format!(
                        "it adds {weight} to target {target}, which is not finite"
                    ));
                }
            }
        }
    }
    Ok(())
}
