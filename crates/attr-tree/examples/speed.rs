//! Times values of the model that `tools/trees/speed.py` writes.

use std::time::Instant;

use attr_tree::{Branch, Node, Test, Tree, TreeEnsemble, TreeShap};

fn main() {
    let text = std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap();
    let model: serde_json::Value = serde_json::from_str(&text).unwrap();
    let features = model["features"].as_u64().unwrap() as usize;
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or(f64::NAN) as f32;
    let rows =
        |name: &str| -> Vec<f32> { model[name].as_array().unwrap().iter().map(number).collect() };
    let node = |node: &serde_json::Value| match node.get("leaf") {
        Some(leaf) => Node::Leaf(vec![(0, leaf[0][1].as_f64().unwrap())]),
        None => Node::Branch(Branch {
            feature: node["feature"].as_u64().unwrap() as usize,
            test: Test::LessOrEqual(number(&node["threshold"][0])),
            missing_passes: node["missing"].as_bool().unwrap(),
            pass: node["pass"].as_u64().unwrap() as usize,
            fail: node["fail"].as_u64().unwrap() as usize,
        }),
    };
    let trees = model["trees"].as_array().unwrap().iter().map(|tree| Tree {
        nodes: tree["nodes"].as_array().unwrap().iter().map(node).collect(),
        root: 0,
        cover: tree["cover"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c.as_f64().unwrap())
            .collect(),
    });
    let ensemble = TreeEnsemble::new(features, 1, trees.collect()).unwrap();
    let (rows, background) = (rows("rows"), rows("background"));
    let time = |what: &str, run: &dyn Fn() -> Vec<f64>| {
        let mut best = f64::INFINITY;
        let mut sum = 0.0;
        for _ in 0..3 {
            let start = Instant::now();
            sum = run().iter().sum();
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("attr {what}: {:.1} ms (sum {sum:.9})", best * 1e3);
    };
    time("predict", &|| ensemble.predict(&rows).unwrap());
    let one = &rows[..features];
    let shap = TreeShap::path_dependent(ensemble.clone()).unwrap();
    time("path-dependent", &|| shap.explain(&rows).unwrap());
    time("path-dependent, one row", &|| shap.explain(one).unwrap());
    time("path-dependent pairs, 100 rows", &|| {
        shap.interactions(&rows[..100 * features]).unwrap()
    });
    let shap = TreeShap::interventional(ensemble.clone(), &background).unwrap();
    time("interventional", &|| shap.explain(&rows).unwrap());
    time("interventional, one row", &|| shap.explain(one).unwrap());
}
