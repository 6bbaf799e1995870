//! Small trees that look random.

use attr_tree::{Branch, Node, Test, Tree, TreeEnsemble};

/// Draws numbers (SplitMix64).
pub struct Draw(pub u64);

impl Draw {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as usize % end
    }

    /// From -1 to 1.
    pub fn number(&mut self) -> f64 {
        self.below(1 << 30) as f64 / f64::from(1 << 29) - 1.0
    }

    /// One of a few values that trees compare with, or NaN.
    pub fn value(&mut self) -> f32 {
        if self.below(8) == 0 {
            return f32::NAN;
        }
        self.below(5) as f32 - 2.0
    }

    pub fn rows(&mut self, rows: usize, features: usize) -> Vec<f32> {
        (0..rows * features).map(|_| self.value()).collect()
    }

    fn test(&mut self) -> Test {
        let t = self.below(5) as f32 - 2.0;
        match self.below(7) {
            0 => Test::LessOrEqual(t),
            1 => Test::Less(t),
            2 => Test::GreaterOrEqual(t),
            3 => Test::Greater(t),
            4 => Test::Equal(t),
            5 => Test::NotEqual(t),
            _ => Test::Member(vec![t, 2.0, -1.0]),
        }
    }

    /// A tree in which features come up again and some leaves are empty or add to several targets.
    pub fn tree(&mut self, features: usize, targets: usize, levels: usize) -> Tree {
        let mut tree = Tree::default();
        self.grow(&mut tree, features, targets, levels);
        tree.cover = tree.nodes.iter().map(|_| self.below(20) as f64).collect();
        tree
    }

    fn grow(&mut self, tree: &mut Tree, features: usize, targets: usize, levels: usize) -> usize {
        let at = tree.nodes.len();
        let count = self.below(3);
        let leaf = (0..count).map(|_| (self.below(targets), self.number()));
        let leaf = leaf.collect();
        tree.nodes.push(Node::Leaf(leaf));
        if levels > 0 && (tree.nodes.len() < 3 || self.below(6) > 0) {
            let pass = self.grow(tree, features, targets, levels - 1);
            let fail = self.grow(tree, features, targets, levels - 1);
            tree.nodes[at] = Node::Branch(Branch {
                feature: self.below(features),
                test: self.test(),
                missing_passes: self.below(2) == 0,
                pass,
                fail,
            });
        }
        at
    }

    pub fn ensemble(&mut self, features: usize, targets: usize, trees: usize) -> TreeEnsemble {
        let trees = (0..trees)
            .map(|_| self.tree(features, targets, 5))
            .collect();
        let base = (0..targets).map(|_| self.number()).collect();
        let ensemble = TreeEnsemble::new(features, targets, trees).unwrap();
        ensemble.with_base(base).unwrap()
    }
}

/// The largest difference.
pub fn error(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let pairs = got.iter().zip(expected);
    pairs.fold(0.0, |most, (a, b)| {
        let difference = (a - b).abs();
        assert!(!difference.is_nan());
        most.max(difference)
    })
}
