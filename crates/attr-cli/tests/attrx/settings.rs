//! `--constant` without rows: settings, and states whose batch is another dimension.

use super::index::json;
use super::{Bench, fails, root, succeeds};

fn model(name: &str) -> String {
    let folder = root().join("crates/attr-testkit/onnx/settings");
    folder.join(name).display().to_string()
}

#[test]
fn settings_and_states_are_given_once_for_all_rows() {
    let bench = Bench::new();
    let rows = (0..3 * 24).map(|i| (i as f32 * 0.7).sin()).collect();
    let input = bench.floats("x.npy", &[3, 24], rows);
    let rate = bench.array("sr.npy", &[], vec![8000i64]);
    let state = bench.floats("state.npy", &[2, 1, 5], vec![0.25; 10]);
    let model = model("voice.onnx");
    let (rate, state) = (format!("sr={rate}"), format!("state={state}"));
    let voice = ["--model", &model, "--constant", &rate, "--constant", &state];
    let out = bench.path("a.npy");
    let explain = |method: &str, input: &str, more: &[&str]| {
        let asked = [
            "explain", "--input", input, "--method", method, "--out", &out, "--json",
        ];
        json(&succeeds(&[&asked[..], &voice, more].concat()))
    };
    let found = explain("integrated-gradients", &input, &[]);
    assert_eq!(found["score"].as_array().unwrap().len(), 3);
    let (shape, all) = bench.read("a.npy");
    assert_eq!(shape, [3, 24]);
    // Each row is explained as it is alone, by gradients and without.
    for method in ["integrated-gradients", "kernel-shap"] {
        let many = explain(method, &input, &[]);
        let (_, together) = bench.read("a.npy");
        let second = together[24..48].to_vec();
        let alone = (24..48).map(|i| (i as f32 * 0.7).sin()).collect();
        let alone = bench.floats("one.npy", &[1, 24], alone);
        let one = explain(method, &alone, &[]);
        let score = |found: &serde_json::Value, row: usize| found["score"][row].as_f64().unwrap();
        assert!((score(&one, 0) - score(&many, 1)).abs() < 1e-6);
        if method == "integrated-gradients" {
            let (_, alone) = bench.read("a.npy");
            for (a, b) in alone.iter().zip(&second) {
                assert!((a - b).abs() < 1e-6, "{a} {b}");
            }
            assert_eq!(together, all);
        }
    }
    let layers = succeeds(&[&["layers"][..], &voice].concat());
    assert!(
        layers.contains("GRU") || layers.contains("Gemm"),
        "{layers}"
    );
    assert!(!layers.contains("input   sr"), "{layers}");
    // Without them, nothing can be run: nodes are listed all the same.
    let nodes = succeeds(&["layers", "--model", &model]);
    assert!(
        nodes.contains("GRU") && nodes.contains("Shapes are not known"),
        "{nodes}"
    );
    assert!(nodes.contains("--constant sr=FILE.npy"), "{nodes}");
    let nodes = json(&succeeds(&["layers", "--model", &model, "--json"]));
    assert!(
        nodes
            .as_array()
            .unwrap()
            .iter()
            .any(|node| node["operation"] == "GRU")
    );

    // A data set needs no more.
    let folder = bench.path("maps");
    let asked = [
        "explain", "--data", &input, "--method", "saliency", "--out", &folder,
    ];
    succeeds(&[&asked[..], &voice].concat());
    assert!(succeeds(&["merge", &folder]).contains("3 rows"));

    let flat = bench.floats("flat.npy", &[10], vec![0.25; 10]);
    let plain = [
        "explain", "--input", &input, "--method", "saliency", "--model", &model,
    ];
    for (more, expected) in [
        (vec!["--constant", &state], "the model also needs sr []"),
        (
            vec!["--constant", &format!("state={flat}")],
            "the model takes [2, batch, 5]",
        ),
        (
            [&voice[2..], &["--batch-dim", "volume=1"]].concat(),
            "give an input and the number of its dimension",
        ),
        (
            [&voice[2..], &["--batch-dim", "state=0"]].concat(),
            "must be 1",
        ),
        (
            [&voice[2..], &["--batch-dim", "x=0"]].concat(),
            "only of a --constant",
        ),
    ] {
        let error = fails(&[&plain[..], &more].concat());
        assert!(error.contains(expected), "{more:?}: {error}");
    }
}

#[test]
fn the_batch_of_a_fixed_state_can_be_named() {
    let bench = Bench::new();
    let rows = (0..36).map(|i| (i as f32 * 0.3).cos()).collect();
    let input = bench.floats("x.npy", &[3, 3, 4], rows);
    let state = bench.floats("state.npy", &[1, 1, 5], vec![0.5; 5]);
    let (h, c) = (format!("h={state}"), format!("c={state}"));
    let model = model("cell_fixed.onnx");
    let explain = [
        "explain",
        "--model",
        &model,
        "--input",
        &input,
        "--constant",
        &h,
        "--constant",
        &c,
        "--method",
        "saliency",
        "--target",
        "1",
        "--json",
    ];
    let dims = ["--batch-dim", "h=1", "--batch-dim", "c=1"];
    let found = json(&succeeds(&[&explain[..], &dims].concat()));
    assert_eq!(found["score"].as_array().unwrap().len(), 3);
}
