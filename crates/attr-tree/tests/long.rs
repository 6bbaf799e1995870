//! Paths of many features: values against exact sums over coalitions by their size.

use attr_tree::{Branch, Node, Test, Tree, TreeEnsemble, TreeShap};

use crate::random::{Draw, error};

/// A chain of branches `x_i <= 0`, each with a leaf for those that fail.
fn chain(features: &[usize], draw: &mut Draw) -> Tree {
    let mut tree = Tree::default();
    for (level, &feature) in features.iter().enumerate() {
        tree.nodes.push(Node::Branch(Branch {
            feature,
            test: Test::LessOrEqual(0.0),
            missing_passes: false,
            pass: 2 * level + 2,
            fail: 2 * level + 1,
        }));
        tree.nodes.push(Node::Leaf(vec![(0, draw.number())]));
    }
    tree.nodes.push(Node::Leaf(vec![(0, 1.0)]));
    let mut rows = 1e6;
    tree.cover.push(rows);
    for _ in features {
        let fraction = 0.05 + 0.9 * draw.number().abs();
        tree.cover.push(rows * (1.0 - fraction));
        rows *= fraction;
        tree.cover.push(rows);
    }
    tree
}

/// A leaf's weight, and the features of its path with what they are multiplied by if present and if not.
type Leaf = (f64, Vec<(usize, f64, f64)>);

/// Values by the sum over all sizes of coalitions: coefficients of `Π (o_k s + z_k)` are what coalitions of each
/// size give together.
fn by_size(leaves: &[Leaf], features: usize) -> Vec<f64> {
    let mut values = vec![0.0; features];
    for (weight, path) in leaves {
        for (at, &(feature, o, z)) in path.iter().enumerate() {
            let mut sums = vec![1.0];
            for (_, &(_, o, z)) in path.iter().enumerate().filter(|(other, _)| *other != at) {
                let mut next = vec![0.0; sums.len() + 1];
                for (size, sum) in sums.iter().enumerate() {
                    next[size] += sum * z;
                    next[size + 1] += sum * o;
                }
                sums = next;
            }
            // |S|! (d - |S| - 1)! / d!, from the last one.
            let d = path.len();
            let mut share = 1.0 / d as f64;
            for (size, sum) in sums.iter().enumerate() {
                values[feature] += weight * (o - z) * share * sum;
                share *= (size + 1) as f64 / (d - size - 1).max(1) as f64;
            }
        }
    }
    values
}

/// The paths of a chain: what a row and what the others say of each feature.
fn paths(tree: &Tree, row: &[f32], other: Option<&[f32]>) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    let mut path: Vec<(usize, f64, f64)> = Vec::new();
    let mut at = 0;
    while let Node::Branch(branch) = &tree.nodes[at] {
        let one = |passes: bool| if passes { 1.0 } else { 0.0 };
        let with = |side: bool| {
            let o = one(branch.passes(row[branch.feature]) == side);
            let z = match other {
                Some(other) => one(branch.passes(other[branch.feature]) == side),
                None => {
                    let part = if side { branch.pass } else { branch.fail };
                    tree.cover[part] / (tree.cover[branch.pass] + tree.cover[branch.fail])
                }
            };
            let mut path = path.clone();
            let known = path.iter_mut().find(|known| known.0 == branch.feature);
            match known {
                Some(known) => (known.1, known.2) = (known.1 * o, known.2 * z),
                None => path.push((branch.feature, o, z)),
            }
            path
        };
        if let Node::Leaf(weights) = &tree.nodes[branch.fail] {
            leaves.push((weights[0].1, with(false)));
        }
        path = with(true);
        at = branch.pass;
    }
    leaves.push((1.0, path));
    leaves
}

fn relative(got: &[f64], expected: &[f64]) -> f64 {
    let largest = expected
        .iter()
        .fold(0.0_f64, |most, value| most.max(value.abs()));
    error(got, expected) / largest
}

#[test]
fn paths_of_many_features_stay_exact() {
    for features in [1, 2, 31, 40, 64, 65, 127, 128] {
        let mut draw = Draw(features as u64);
        let order: Vec<usize> = (0..features).collect();
        let tree = chain(&order, &mut draw);
        let ensemble = TreeEnsemble::new(features, 1, vec![tree.clone()]).unwrap();
        // All pass, or nearly all: the last leaf counts.
        let mut row = vec![-1.0; features];
        for _ in 0..3 {
            let shap = TreeShap::path_dependent(ensemble.clone()).unwrap();
            let expected = by_size(&paths(&tree, &row, None), features);
            let values = shap.explain(&row).unwrap();
            assert!(relative(&values, &expected) < 1e-12, "{features}");
            let sum = shap.expected()[0] + values.iter().sum::<f64>();
            assert!((sum - ensemble.predict(&row).unwrap()[0]).abs() < 1e-12);
            let lines = shap.interactions(&row).unwrap();
            let lines = lines.chunks_exact(features).map(|line| line.iter().sum());
            assert!(relative(&lines.collect::<Vec<f64>>(), &values) < 1e-10);

            let other: Vec<f32> = (0..features).map(|_| draw.number() as f32 - 0.5).collect();
            let shap = TreeShap::interventional(ensemble.clone(), &other).unwrap();
            let expected = by_size(&paths(&tree, &row, Some(&other)), features);
            let values = shap.explain(&row).unwrap();
            assert!(error(&values, &expected) < 1e-12, "{features}");
            row[draw.below(features)] = 1.0;
        }
    }
}

#[test]
fn features_that_come_up_again_are_one() {
    let mut draw = Draw(5);
    let order: Vec<usize> = (0..300).map(|_| draw.below(9)).collect();
    let tree = chain(&order, &mut draw);
    let ensemble = TreeEnsemble::new(9, 1, vec![tree.clone()]).unwrap();
    let shap = TreeShap::path_dependent(ensemble).unwrap();
    for failed in [9, 4] {
        let row: Vec<f32> = (0..9)
            .map(|at| if at == failed { 1.0 } else { -1.0 })
            .collect();
        let expected = by_size(&paths(&tree, &row, None), 9);
        assert!(relative(&shap.explain(&row).unwrap(), &expected) < 1e-12);
    }
}
