//! What can go wrong with trees.

/// Why an ensemble could not be made, or not be explained.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something that must not be empty is.
    #[error("there are no {0}; it takes at least one")]
    Empty(&'static str),
    /// A tree that is none.
    #[error("tree {tree}: {reason}")]
    Tree {
        /// Its position in the ensemble.
        tree: usize,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A node that does not fit into its tree.
    #[error("tree {tree}, node {node}: {reason}")]
    Node {
        /// The position of the tree in the ensemble.
        tree: usize,
        /// The position of the node in the tree.
        node: usize,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// Base values that do not fit the targets.
    #[error("base values: {0}")]
    Base(String),
    /// Trees that are put together in a way that has no exact Shapley values from the trees' own.
    #[error(
        "trees are put together by {0:?}: Shapley values of an ensemble are sums of those of its trees \
         for SUM and AVERAGE alone"
    )]
    Aggregate(String),
    /// Numbers that are not whole rows.
    #[error("{what} hold {len} numbers: rows have {features} each")]
    Rows {
        /// Which rows.
        what: &'static str,
        /// How many numbers were given.
        len: usize,
        /// How many numbers a row has.
        features: usize,
    },
    /// The number of rows that reach a node is not known.
    #[error(
        "tree {tree} does not say how many rows reached its nodes, which path-dependent values take: \
         count those of a data set, or explain against background rows"
    )]
    NoCover {
        /// The position of the tree in the ensemble.
        tree: usize,
    },
    /// A tree that is too large to be explained.
    #[error("tree {tree} has {found} {what}; at most {most} can be explained")]
    TooLarge {
        /// The position of the tree in the ensemble.
        tree: usize,
        /// What there are too many of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// The result does not fit into memory.
    #[error("the result does not fit into memory; explain fewer rows at a time")]
    Memory,
}
