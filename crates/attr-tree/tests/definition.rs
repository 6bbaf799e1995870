//! Shapley values by their definition: all coalitions of features.

use attr_tree::{Aggregate, Branch, Node, Test, Tree, TreeEnsemble, TreeShap};

use crate::random::{Draw, error};

const FEATURES: usize = 6;
const TARGETS: usize = 3;

/// The mean prediction where absent features are those of background rows, by target.
fn with_background(
    ensemble: &TreeEnsemble,
    row: &[f32],
    background: &[f32],
    present: usize,
) -> Vec<f64> {
    let mixed = background.chunks_exact(FEATURES).flat_map(|other| {
        (0..FEATURES).map(move |at| {
            if present >> at & 1 == 1 {
                row[at]
            } else {
                other[at]
            }
        })
    });
    let mixed: Vec<f32> = mixed.collect();
    let outputs = ensemble.predict(&mixed).unwrap();
    let count = (background.len() / FEATURES) as f64;
    let mean = |target| outputs.iter().skip(target).step_by(TARGETS).sum::<f64>() / count;
    (0..TARGETS).map(mean).collect()
}

/// The prediction where branches on absent features go both ways, by target.
fn with_cover(ensemble: &TreeEnsemble, row: &[f32], present: usize) -> Vec<f64> {
    let mut outputs = [0.0; TARGETS];
    for tree in ensemble.trees() {
        let mut open = vec![(tree.root, 1.0)];
        while let Some((at, part)) = open.pop() {
            match &tree.nodes[at] {
                Node::Leaf(weights) => {
                    for (target, weight) in weights {
                        outputs[*target] += part * weight;
                    }
                }
                Node::Branch(branch) if present >> branch.feature & 1 == 1 => {
                    let passes = branch.passes(row[branch.feature]);
                    open.push((if passes { branch.pass } else { branch.fail }, part));
                }
                Node::Branch(branch) => {
                    let (pass, fail) = (tree.cover[branch.pass], tree.cover[branch.fail]);
                    let both = pass + fail;
                    let fraction = if both > 0.0 { pass / both } else { 0.5 };
                    open.push((branch.pass, part * fraction));
                    open.push((branch.fail, part * (1.0 - fraction)));
                }
            }
        }
    }
    let mean = ensemble.aggregate() == Aggregate::Average;
    let scale = if mean {
        1.0 / ensemble.trees().len() as f64
    } else {
        1.0
    };
    let outputs = outputs.iter().enumerate();
    outputs
        .map(|(target, output)| output * scale + ensemble.base(target))
        .collect()
}

fn factorial(n: usize) -> f64 {
    (1..=n).map(|i| i as f64).product()
}

/// Values and interactions `[targets, features (, features)]` from those of all coalitions.
fn by_definition(coalitions: &[Vec<f64>]) -> (Vec<f64>, Vec<f64>) {
    let (f, all) = (FEATURES, 0..1usize << FEATURES);
    let mut values = vec![0.0; TARGETS * f];
    let mut pairs = vec![0.0; TARGETS * f * f];
    for target in 0..TARGETS {
        let v = |set: usize| coalitions[set][target];
        for i in 0..f {
            for set in all.clone().filter(|set| set >> i & 1 == 0) {
                let size = set.count_ones() as usize;
                let weight = factorial(size) * factorial(f - size - 1) / factorial(f);
                values[target * f + i] += weight * (v(set | 1 << i) - v(set));
            }
            for j in (0..f).filter(|j| *j != i) {
                let both = 1 << i | 1 << j;
                for set in all.clone().filter(|set| set & both == 0) {
                    let size = set.count_ones() as usize;
                    let weight = factorial(size) * factorial(f - size - 2) / factorial(f - 1);
                    let change = v(set | both) - v(set | 1 << i) - v(set | 1 << j) + v(set);
                    pairs[(target * f + i) * f + j] += weight * change / 2.0;
                }
            }
        }
        for i in 0..f {
            let line = (target * f + i) * f;
            let others: f64 = pairs[line..line + f].iter().sum();
            pairs[line + i] = values[target * f + i] - others;
        }
    }
    (values, pairs)
}

fn check(shap: &TreeShap, rows: &[f32], value: impl Fn(&[f32], usize) -> Vec<f64>) {
    let values = shap.explain(rows).unwrap();
    let pairs = shap.interactions(rows).unwrap();
    let outputs = shap.ensemble().predict(rows).unwrap();
    let (width, square) = (TARGETS * FEATURES, TARGETS * FEATURES * FEATURES);
    for (at, row) in rows.chunks_exact(FEATURES).enumerate() {
        let coalitions: Vec<_> = (0..1 << FEATURES).map(|set| value(row, set)).collect();
        assert!(error(shap.expected(), &coalitions[0]) < 1e-12);
        let (expected, expected_pairs) = by_definition(&coalitions);
        let values = &values[at * width..(at + 1) * width];
        assert!(error(values, &expected) < 1e-12);
        let pairs = &pairs[at * square..(at + 1) * square];
        assert!(error(pairs, &expected_pairs) < 1e-12);
        // Lines of interactions add up to values, and those to the prediction.
        let lines: Vec<f64> = pairs
            .chunks_exact(FEATURES)
            .map(|line| line.iter().sum())
            .collect();
        assert!(error(&lines, values) < 1e-12);
        let sums = values.chunks_exact(FEATURES).zip(shap.expected());
        let sums: Vec<f64> = sums
            .map(|(values, e)| e + values.iter().sum::<f64>())
            .collect();
        assert!(error(&sums, &outputs[at * TARGETS..(at + 1) * TARGETS]) < 1e-12);
    }
}

#[test]
fn values_against_background_rows_are_those_of_the_definition() {
    for seed in 0..60 {
        let mut draw = Draw(seed);
        let mut ensemble = draw.ensemble(FEATURES, TARGETS, 3);
        if seed % 2 == 0 {
            ensemble = ensemble.with_aggregate(Aggregate::Average);
        }
        let background = draw.rows(1 + seed as usize % 7, FEATURES);
        let rows = draw.rows(4, FEATURES);
        let shap = TreeShap::interventional(ensemble.clone(), &background).unwrap();
        check(&shap, &rows, |row, set| {
            with_background(&ensemble, row, &background, set)
        });
    }
}

#[test]
fn path_dependent_values_are_those_of_the_definition() {
    for seed in 0..60 {
        let mut draw = Draw(1000 + seed);
        let mut ensemble = draw.ensemble(FEATURES, TARGETS, 3);
        if seed % 2 == 0 {
            ensemble = ensemble.with_aggregate(Aggregate::Average);
        }
        let rows = draw.rows(4, FEATURES);
        let shap = TreeShap::path_dependent(ensemble.clone()).unwrap();
        check(&shap, &rows, |row, set| with_cover(&ensemble, row, set));
    }
}

#[test]
fn features_that_no_tree_tests_get_nothing() {
    let mut draw = Draw(7);
    // Trees of six features in rows of eight.
    let trees = draw.ensemble(FEATURES, 1, 4).trees().to_vec();
    let ensemble = TreeEnsemble::new(8, 1, trees).unwrap();
    let rows = draw.rows(5, 8);
    let background = draw.rows(5, 8);
    for shap in [
        TreeShap::path_dependent(ensemble.clone()).unwrap(),
        TreeShap::interventional(ensemble, &background).unwrap(),
    ] {
        for values in shap.explain(&rows).unwrap().chunks_exact(8) {
            assert_eq!(values[6..], [0.0, 0.0]);
        }
        for lines in shap.interactions(&rows).unwrap().chunks_exact(8 * 8) {
            assert!(lines[6 * 8..].iter().all(|value| *value == 0.0));
        }
    }
}

#[test]
fn results_do_not_depend_on_threads_or_other_rows() {
    let mut draw = Draw(3);
    let ensemble = draw.ensemble(FEATURES, TARGETS, 50);
    let rows = draw.rows(200, FEATURES);
    let background = draw.rows(30, FEATURES);
    for shap in [
        TreeShap::path_dependent(ensemble.clone()).unwrap(),
        TreeShap::interventional(ensemble, &background).unwrap(),
    ] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                (
                    shap.explain(&rows).unwrap(),
                    shap.interactions(&rows).unwrap(),
                )
            })
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(7));
        for (at, row) in rows.chunks_exact(FEATURES).enumerate().step_by(17) {
            let width = TARGETS * FEATURES;
            let alone = shap.explain(row).unwrap();
            assert_eq!(alone, one.0[at * width..(at + 1) * width]);
        }
    }
}

#[test]
fn features_that_do_the_same_get_the_same() {
    // x_0 or x_1 above 0: by one tree that asks for x_0 first, and one that asks for x_1.
    let branch = |feature, pass, fail| {
        Node::Branch(Branch {
            feature,
            test: Test::Greater(0.0),
            missing_passes: false,
            pass,
            fail,
        })
    };
    let tree = |first, second| {
        let leaf = |weight| Node::Leaf(vec![(0, weight)]);
        let (yes, no) = (leaf(1.0), leaf(0.0));
        let nodes = vec![
            branch(first, 1, 2),
            yes.clone(),
            branch(second, 3, 4),
            yes,
            no,
        ];
        let cover = vec![9.0, 3.0, 6.0, 2.0, 4.0];
        Tree {
            nodes,
            root: 0,
            cover,
        }
    };
    let ensemble = TreeEnsemble::new(2, 1, vec![tree(0, 1), tree(1, 0)]).unwrap();
    let background = [-1.0, 1.0, 1.0, -1.0, -1.0, -1.0];
    for shap in [
        TreeShap::path_dependent(ensemble.clone()).unwrap(),
        TreeShap::interventional(ensemble, &background).unwrap(),
    ] {
        let values = shap.explain(&[1.0, 1.0, -1.0, -1.0]).unwrap();
        for values in values.chunks_exact(2) {
            assert!((values[0] - values[1]).abs() < 1e-15 && values[0] != 0.0);
        }
    }
}
