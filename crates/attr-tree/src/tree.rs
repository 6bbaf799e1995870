//! Trees as their owner describes them: nodes that refer to each other by position.

/// One decision tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// Its nodes, in any order; those that the root does not lead to are ignored.
    pub nodes: Vec<Node>,
    /// The position of the first node (default: 0).
    pub root: usize,
    /// How many rows of the training data reached each node, or their weight: one number per node, or none
    /// at all. Path-dependent values need it; only the ratio of a branch's two sides counts.
    pub cover: Vec<f64>,
}

/// A node of a tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A row goes on at one of two nodes.
    Branch(Branch),
    /// A row ends here: targets and what is added to each of them. A leaf without any adds nothing, and a target
    /// that is named twice gets both.
    Leaf(Vec<(usize, f64)>),
}

/// Where a row goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// The feature that is tested.
    pub feature: usize,
    /// What its value is compared with.
    pub test: Test,
    /// Whether NaN passes, whatever the test says of it (ONNX: `nodes_missing_value_tracks_true`). NaN passes
    /// [`Test::NotEqual`] without, as it does in ONNX Runtime.
    pub missing_passes: bool,
    /// The position of the node where a row goes on that passes the test.
    pub pass: usize,
    /// The position of the node where all others go on.
    pub fail: usize,
}

/// What a value is compared with, in 32 bits. In the order of ONNX's `BRANCH_LEQ`, `BRANCH_LT`, `BRANCH_GTE`,
/// `BRANCH_GT`, `BRANCH_EQ`, `BRANCH_NEQ` and `BRANCH_MEMBER`.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// `x <= t`.
    LessOrEqual(f32),
    /// `x < t`.
    Less(f32),
    /// `x >= t`.
    GreaterOrEqual(f32),
    /// `x > t`.
    Greater(f32),
    /// `x == t`.
    Equal(f32),
    /// `x != t`.
    NotEqual(f32),
    /// `x` is one of these, in any order.
    Member(Vec<f32>),
}

impl Tree {
    /// A tree with its root at position 0 that does not know how many rows reached its nodes.
    pub fn new(nodes: Vec<Node>) -> Self {
        Self {
            nodes,
            ..Self::default()
        }
    }
}

impl Branch {
    /// Whether a row with this value of the feature passes.
    pub fn passes(&self, value: f32) -> bool {
        let passes = match &self.test {
            Test::LessOrEqual(t) => value <= *t,
            Test::Less(t) => value < *t,
            Test::GreaterOrEqual(t) => value >= *t,
            Test::Greater(t) => value > *t,
            Test::Equal(t) => value == *t,
            Test::NotEqual(t) => value != *t,
            Test::Member(all) => is_member(all, value),
        };
        passes || (self.missing_passes && value.is_nan())
    }
}

/// Whether a value is one of sorted values.
pub(crate) fn is_member(sorted: &[f32], value: f32) -> bool {
    let at = sorted.partition_point(|member| *member < value);
    sorted.get(at).is_some_and(|member| *member == value)
}

impl Test {
    /// The numbers that it compares with.
    pub(crate) fn numbers(&self) -> &[f32] {
        match self {
            Self::LessOrEqual(t) | Self::Less(t) | Self::GreaterOrEqual(t) => {
                std::slice::from_ref(t)
            }
            Self::Greater(t) | Self::Equal(t) | Self::NotEqual(t) => std::slice::from_ref(t),
            Self::Member(all) => all,
        }
    }
}
