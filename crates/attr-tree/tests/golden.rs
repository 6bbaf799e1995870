//! Models of LightGBM, XGBoost and scikit-learn: the values of `shap.TreeExplainer`, written by
//! `tools/trees/trees.py`.

use attr_tree::{Aggregate, Branch, Node, Test, Tree, TreeEnsemble, TreeShap};
use serde::Deserialize;

use crate::random::error;

#[derive(Deserialize)]
struct Model {
    name: String,
    features: usize,
    targets: usize,
    average: bool,
    exact: bool,
    base: Vec<f64>,
    trees: Vec<Nodes>,
    rows: Vec<Option<f32>>,
    background: Vec<Option<f32>>,
    margins: Vec<f64>,
    path_dependent: Vec<f64>,
    expected: Vec<f64>,
    interactions: Option<Vec<f64>>,
    interventional: Option<Vec<f64>>,
    interventional_expected: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct Nodes {
    nodes: Vec<Entry>,
    cover: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Leaf {
        leaf: Vec<(usize, f64)>,
    },
    Branch {
        feature: usize,
        mode: String,
        threshold: Vec<f32>,
        missing: bool,
        pass: usize,
        fail: usize,
    },
}

fn node(entry: &Entry) -> Node {
    match entry {
        Entry::Leaf { leaf } => Node::Leaf(leaf.clone()),
        Entry::Branch {
            feature,
            mode,
            threshold,
            missing,
            pass,
            fail,
        } => Node::Branch(Branch {
            feature: *feature,
            test: match mode.as_str() {
                "<=" => Test::LessOrEqual(threshold[0]),
                "<" => Test::Less(threshold[0]),
                "member" => Test::Member(threshold.clone()),
                _ => panic!("{mode:?}"),
            },
            missing_passes: *missing,
            pass: *pass,
            fail: *fail,
        }),
    }
}

fn numbers(values: &[Option<f32>]) -> Vec<f32> {
    values
        .iter()
        .map(|value| value.unwrap_or(f32::NAN))
        .collect()
}

#[test]
fn values_are_those_of_shap() {
    let models: Vec<Model> = serde_json::from_str(include_str!("golden.json")).unwrap();
    assert_eq!(models.len(), 13);
    for model in models {
        let trees = model.trees.iter().map(|tree| Tree {
            nodes: tree.nodes.iter().map(node).collect(),
            root: 0,
            cover: tree.cover.clone(),
        });
        let ensemble = TreeEnsemble::new(model.features, model.targets, trees.collect()).unwrap();
        let mut ensemble = ensemble.with_base(model.base).unwrap();
        if model.average {
            ensemble = ensemble.with_aggregate(Aggregate::Average);
        }
        let (rows, background) = (numbers(&model.rows), numbers(&model.background));
        let shap = TreeShap::path_dependent(ensemble.clone()).unwrap();
        let mut errors = vec![
            (
                "margins",
                error(&ensemble.predict(&rows).unwrap(), &model.margins),
            ),
            ("expected", error(shap.expected(), &model.expected)),
            (
                "path-dependent",
                error(&shap.explain(&rows).unwrap(), &model.path_dependent),
            ),
        ];
        if let Some(expected) = &model.interactions {
            let count = expected.len() / (model.targets * model.features);
            let pairs = shap.interactions(&rows[..count]).unwrap();
            errors.push(("interactions", error(&pairs, expected)));
        }
        if let Some(expected) = &model.interventional {
            let shap = TreeShap::interventional(ensemble, &background).unwrap();
            let values = shap.explain(&rows).unwrap();
            errors.push(("interventional", error(&values, expected)));
            if let Some(mean) = &model.interventional_expected {
                errors.push(("mean", error(shap.expected(), mean)));
            }
        }
        println!("{}: {errors:?}", model.name);
        for (what, error) in errors {
            // shap's weights against background rows are of 32 bits.
            let exact = model.exact && what != "interventional";
            let limit = if exact { 1e-9 } else { 1e-5 };
            assert!(error < limit, "{}, {what}: {error}", model.name);
        }
    }
}
