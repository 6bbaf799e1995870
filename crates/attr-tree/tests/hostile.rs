//! What is no ensemble, and what cannot be explained.

use attr_tree::{Aggregate, Branch, Error, Node, Test, Tree, TreeEnsemble, TreeShap};

use crate::random::Draw;

fn branch(feature: usize, t: f32, pass: usize, fail: usize) -> Node {
    Node::Branch(Branch {
        feature,
        test: Test::LessOrEqual(t),
        missing_passes: false,
        pass,
        fail,
    })
}

fn leaf() -> Node {
    Node::Leaf(vec![(0, 1.0)])
}

fn refused(nodes: Vec<Node>) -> String {
    let good = Tree::new(vec![leaf()]);
    let error = TreeEnsemble::new(2, 1, vec![good, Tree::new(nodes)]).unwrap_err();
    let Error::Node { tree: 1, .. } = error else {
        panic!("{error:?}");
    };
    error.to_string()
}

#[test]
fn nodes_that_do_not_fit_are_refused() {
    let cases = [
        (
            vec![branch(2, 0.0, 1, 2), leaf(), leaf()],
            "node 0: it tests feature 2",
        ),
        (
            vec![branch(0, 0.0, 1, 3), leaf(), leaf()],
            "node 0: it leads to node 3",
        ),
        (
            vec![branch(0, f32::NAN, 1, 2), leaf(), leaf()],
            "compares with NaN",
        ),
        (
            vec![branch(0, 0.0, 1, 1), leaf()],
            "node 1: it is reached on two ways",
        ),
        (
            vec![branch(0, 0.0, 0, 1), leaf()],
            "node 0: it is reached on two ways",
        ),
        (
            vec![branch(0, 0.0, 1, 2), branch(1, 0.0, 3, 0), leaf(), leaf()],
            "node 0: it is reached on two ways",
        ),
        (
            vec![Node::Leaf(vec![(1, 1.0)])],
            "it adds to target 1, and there are 1",
        ),
        (vec![Node::Leaf(vec![(0, f64::NAN)])], "which is not finite"),
        (
            vec![Node::Leaf(vec![(0, f64::INFINITY)])],
            "which is not finite",
        ),
    ];
    for (nodes, expected) in cases {
        let found = refused(nodes);
        assert!(found.contains(expected), "{found:?} without {expected:?}");
    }
}

#[test]
fn ensembles_that_do_not_fit_are_refused() {
    let one = || vec![Tree::new(vec![leaf()])];
    assert_eq!(
        TreeEnsemble::new(0, 1, one()),
        Err(Error::Empty("features"))
    );
    assert_eq!(TreeEnsemble::new(1, 0, one()), Err(Error::Empty("targets")));
    assert_eq!(TreeEnsemble::new(1, 1, vec![]), Err(Error::Empty("trees")));
    let tree = |tree: Tree| TreeEnsemble::new(1, 1, vec![tree]);
    assert!(matches!(
        tree(Tree::default()),
        Err(Error::Tree { tree: 0, .. })
    ));
    let root = Tree {
        root: 1,
        ..Tree::new(vec![leaf()])
    };
    assert!(matches!(tree(root), Err(Error::Tree { .. })));
    for (cover, whole) in [
        (vec![1.0; 2], true),
        (vec![-1.0], false),
        (vec![f64::NAN], false),
    ] {
        let found = tree(Tree {
            cover,
            ..Tree::new(vec![leaf()])
        });
        assert_eq!(matches!(found, Err(Error::Tree { .. })), whole);
        assert_eq!(matches!(found, Err(Error::Node { .. })), !whole);
    }
    let good = || TreeEnsemble::new(2, 1, one()).unwrap();
    assert!(matches!(good().with_base(vec![]), Err(Error::Base(_))));
    assert!(matches!(
        good().with_base(vec![f64::NAN]),
        Err(Error::Base(_))
    ));
    for name in ["MIN", "MAX", "sum"] {
        assert_eq!(
            name.parse::<Aggregate>(),
            Err(Error::Aggregate(name.into()))
        );
    }
    assert_eq!("SUM".parse(), Ok(Aggregate::Sum));
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let nodes = vec![branch(0, 0.0, 1, 2), leaf(), leaf()];
    let ensemble = TreeEnsemble::new(2, 1, vec![Tree::new(nodes)]).unwrap();
    let rows = |what| Error::Rows {
        what,
        len: 3,
        features: 2,
    };
    assert_eq!(ensemble.predict(&[0.0; 3]), Err(rows("rows")));
    let found = TreeShap::interventional(ensemble.clone(), &[0.0; 3]);
    assert_eq!(found.unwrap_err(), rows("background rows"));
    let found = TreeShap::interventional(ensemble.clone(), &[]);
    assert_eq!(found.unwrap_err(), Error::Empty("background rows"));
    assert!(ensemble.clone().with_cover_of(&[]).is_err());
    let found = TreeShap::path_dependent(ensemble.clone());
    assert_eq!(found.unwrap_err(), Error::NoCover { tree: 0 });
    let shap = TreeShap::interventional(ensemble, &[0.0; 4]).unwrap();
    assert_eq!(shap.explain(&[0.0; 3]), Err(rows("rows")));
    assert_eq!(shap.interactions(&[0.0; 3]), Err(rows("rows")));
    assert_eq!(shap.explain(&[]), Ok(vec![]));
}

/// Each branch is the failing side of the one above.
fn deep(levels: usize, features: usize) -> Tree {
    let mut nodes = Vec::new();
    for level in 0..levels {
        nodes.push(branch(
            level % features,
            -(level as f32),
            2 * level + 1,
            2 * level + 2,
        ));
        nodes.push(leaf());
    }
    nodes.push(Node::Leaf(vec![(0, 2.0)]));
    Tree {
        cover: vec![1.0; nodes.len()],
        ..Tree::new(nodes)
    }
}

#[test]
fn deep_trees_predict_and_very_deep_ones_are_not_explained() {
    let ensemble = TreeEnsemble::new(2, 1, vec![deep(100_000, 2)]).unwrap();
    assert_eq!(
        ensemble.predict(&[1.0, 1.0, -9e9, 1.0]).unwrap(),
        [2.0, 1.0]
    );
    let counted = ensemble.clone().with_cover_of(&[1.0, 1.0]).unwrap();
    assert_eq!(counted.trees()[0].cover[200_000], 1.0);
    let many = |found| {
        matches!(
            found,
            Err(Error::TooLarge {
                tree: 0,
                most: 4096,
                ..
            })
        )
    };
    assert!(many(TreeShap::path_dependent(ensemble.clone())));
    assert!(many(TreeShap::interventional(ensemble, &[0.0; 2])));
    let ensemble = TreeEnsemble::new(2, 1, vec![deep(4096, 2)]).unwrap();
    let shap = TreeShap::path_dependent(ensemble).unwrap();
    let sum = shap.explain(&[1.0, 1.0]).unwrap().iter().sum::<f64>() + shap.expected()[0];
    assert!((sum - 2.0).abs() < 1e-12);
    let ensemble = TreeEnsemble::new(129, 1, vec![deep(129, 129)]).unwrap();
    let found = TreeShap::path_dependent(ensemble);
    assert!(matches!(found, Err(Error::TooLarge { most: 128, .. })));
}

#[test]
fn what_does_not_fit_into_memory_is_refused() {
    let ensemble = TreeEnsemble::new(2, usize::MAX / 16, vec![Tree::new(vec![leaf()])]).unwrap();
    assert_eq!(ensemble.predict(&[0.0; 2]), Err(Error::Memory));
    assert!(matches!(
        TreeShap::path_dependent(ensemble),
        Err(Error::Memory)
    ));
}

#[test]
fn nodes_that_nothing_leads_to_are_ignored() {
    let nodes = vec![leaf(), branch(0, 0.0, 0, 3), branch(0, 0.0, 2, 2), leaf()];
    let tree = Tree {
        root: 1,
        cover: vec![1.0; 4],
        nodes,
    };
    let ensemble = TreeEnsemble::new(2, 1, vec![tree]).unwrap();
    assert_eq!(
        TreeShap::path_dependent(ensemble)
            .unwrap()
            .explain(&[0.0; 2]),
        Ok(vec![0.0; 2])
    );
}

#[test]
fn nothing_panics_on_nonsense() {
    for seed in 0..3000 {
        let mut draw = Draw(seed);
        let count = draw.below(6);
        let nodes = (0..count).map(|_| {
            if draw.below(2) == 0 {
                return Node::Leaf(vec![(draw.below(2), draw.number())]);
            }
            branch(draw.below(3), draw.value(), draw.below(6), draw.below(6))
        });
        let nodes: Vec<Node> = nodes.collect();
        let cover = if draw.below(2) == 0 {
            vec![]
        } else {
            vec![draw.number(); count]
        };
        let tree = Tree {
            root: draw.below(3),
            nodes,
            cover,
        };
        if let Ok(ensemble) = TreeEnsemble::new(3, 2, vec![tree]) {
            let rows = [f32::INFINITY, f32::NAN, -0.0];
            let shap = TreeShap::interventional(ensemble, &rows).unwrap();
            assert!(
                shap.explain(&rows)
                    .unwrap()
                    .iter()
                    .all(|value| *value == 0.0)
            );
        }
    }
}
