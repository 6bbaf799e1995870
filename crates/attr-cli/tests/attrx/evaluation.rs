//! `attrx evaluate`, `attrx tune` and `attrx metrics`.

use serde_json::Value;

use super::{Bench, exported, fails, root, succeeds};

fn scenes(name: &str) -> String {
    let folder = root().join("assets/scenes");
    folder.join(name).display().to_string()
}

/// Images of the scenes, the first `rows` of them.
fn few(bench: &Bench, rows: u64) -> [String; 3] {
    let file = std::fs::File::open(scenes("images.npy")).unwrap();
    let images = npyz::NpyFile::new(file).unwrap().into_vec::<f32>().unwrap();
    let file = std::fs::File::open(scenes("masks.npy")).unwrap();
    let masks = npyz::NpyFile::new(file).unwrap().into_vec::<u8>().unwrap();
    let (pixels, count) = (32 * 32, rows as usize);
    [
        bench.floats(
            "x.npy",
            &[rows, 3, 32, 32],
            images[..count * 3 * pixels].to_vec(),
        ),
        bench.array("m.npy", &[rows, 32, 32], masks[..count * pixels].to_vec()),
        bench.path("scores.json"),
    ]
}

fn json(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn methods_are_judged_by_metrics() {
    let bench = Bench::new();
    let [x, masks, out] = few(&bench, 6);
    let (csv, image) = (bench.path("scores.csv"), bench.path("scores.png"));
    let model = scenes("scenes.onnx");
    let text = succeeds(&[
        "evaluate",
        "--model",
        &model,
        "--input",
        &x,
        "--masks",
        &masks,
        "--methods",
        "saliency,gradcam,feature-ablation",
        "--feature-mask",
        "grid:4x4",
        "--metrics",
        "infidelity,deletion,sensitivity-max,pointing-game",
        "--metric-set",
        "deletion.steps=4",
        "--metric-set",
        "n_perturb_samples=3",
        "--set",
        "saliency.abs=false",
        "--baseline",
        "0.4",
        "--json",
        &out,
        "--csv",
        &csv,
        "--image",
        &image,
    ]);
    let first: Vec<&str> = text.lines().next().unwrap().split("  ").collect();
    assert_eq!(first[0], "method");
    for word in [
        "infidelity ↓",
        "pointing-game ↑",
        "mean rank",
        "random",
        "edge-detector",
    ] {
        assert!(text.contains(word), "{text}");
    }
    assert!(text.contains("Kendall's W"), "{text}");
    let found = json(&out);
    let results = found["results"].as_array().unwrap();
    assert_eq!(results.len(), 5 * 4);
    for result in results {
        let values = result["values"].as_array().unwrap();
        assert_eq!(values.len(), 6);
        let numbers: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        assert!((result["mean"].as_f64().unwrap() - mean).abs() < 1e-9);
        assert!(result["standard_error"].is_number(), "{result}");
        assert!(result["time"].as_f64().unwrap() >= 0.0);
        assert!(result["evaluations"].is_u64());
        let higher = result["metric"] == "pointing-game";
        assert_eq!(result["higher_is_better"], higher, "{result}");
    }
    let deletion = results.iter().find(|r| r["metric"] == "deletion").unwrap();
    assert_eq!(deletion["curves"][0].as_array().unwrap().len(), 5);
    assert_eq!(found["rows"], 6);
    assert!(found["disagreement"]["concordance"].is_number());
    let lines = std::fs::read_to_string(&csv).unwrap();
    assert_eq!(lines.lines().count(), 1 + 5 * 4);
    assert!(lines.starts_with("method,metric,mean,"), "{lines}");
    assert!(std::fs::read(&image).unwrap().starts_with(b"\x89PNG"));

    // The same again, on standard output.
    let again = succeeds(&[
        "evaluate",
        "--model",
        &model,
        "--input",
        &x,
        "--method",
        "saliency",
        "--metric",
        "sparseness",
        "--json",
    ]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["results"][0]["metric"], "sparseness");
}

#[test]
fn given_attributions_are_judged() {
    let bench = Bench::new();
    let [x, masks, out] = few(&bench, 4);
    let (model, attributions) = (scenes("scenes.onnx"), bench.path("a.npy"));
    let by = ["--model", &model, "--input", &x];
    succeeds(
        &[
            &[
                "explain",
                "-q",
                "--method",
                "input-x-gradient",
                "--out",
                &attributions,
            ],
            &by[..],
        ]
        .concat(),
    );
    let metrics = [
        "--metrics",
        "abpc,sparseness,auc",
        "--masks",
        &masks,
        "-q",
        "--json",
        &out,
    ];
    let given = ["evaluate", "--attributions", &attributions];
    succeeds(&[&given[..], &by, &metrics].concat());
    let given_scores = json(&out);
    let method = ["evaluate", "--methods", "input-x-gradient"];
    succeeds(&[&method[..], &by, &metrics].concat());
    let method_scores = json(&out);
    for i in 0..3 {
        let [a, b] =
            [&given_scores, &method_scores].map(|found| found["results"][i]["mean"].as_f64());
        assert!((a.unwrap() - b.unwrap()).abs() < 1e-5, "{a:?} {b:?}");
    }
    assert_eq!(given_scores["results"][0]["method"], "attributions");

    let again = [&given[..], &by, &["--metrics", "sensitivity-max"]].concat();
    assert!(fails(&again).contains("needs --methods"));
    // Without names, what needs a method is left out.
    let usual = succeeds(&[&given[..], &by].concat());
    assert!(
        usual.contains("infidelity") && !usual.contains("random-logit"),
        "{usual}"
    );
    let small = bench.floats("small.npy", &[4, 3, 8, 8], vec![1.0; 4 * 3 * 64]);
    let wrong = [&["evaluate", "--attributions", &small][..], &by].concat();
    assert!(fails(&wrong).contains("[4, 3, 8, 8]"));
}

#[test]
fn tables_of_numbers_have_no_edges() {
    let bench = Bench::new();
    let x = bench.floats(
        "x.npy",
        &[5, 64],
        (0..320).map(|i| (i as f32 * 0.7).sin()).collect(),
    );
    let model = exported("sklearn_mlp.onnx");
    let text = succeeds(&[
        "evaluate",
        "--model",
        &model,
        "--input",
        &x,
        "--methods",
        "feature-ablation",
        "--metrics",
        "completeness,faithfulness-estimate",
    ]);
    assert!(
        text.contains("random") && !text.contains("edge-detector"),
        "{text}"
    );
}

#[test]
fn parameters_are_tuned_on_rows_that_do_not_judge_them() {
    let bench = Bench::new();
    let [x, _, out] = few(&bench, 12);
    let model = scenes("scenes.onnx");
    let text = succeeds(&[
        "tune",
        "--model",
        &model,
        "--input",
        &x,
        "--method",
        "occlusion",
        "--metric",
        "abpc",
        "--set",
        "strides=3,8,8",
        "--vary",
        "sliding_window_shapes=3,8,8|3,16,16",
        "--vary",
        "baseline=0|0.5",
        "--json",
        &out,
    ]);
    assert!(
        text.contains("rows held out (higher is better; ± standard error)"),
        "{text}"
    );
    let found = json(&out);
    let rounds = found["rounds"].as_array().unwrap();
    // Occlusion has no default window: the first combination is what the others are compared with.
    assert_eq!(rounds[0]["candidates"].as_array().unwrap().len(), 4);
    assert_eq!(found["default"], "sliding_window_shapes=3,8,8 baseline=0");
    assert_eq!(found["held_out"]["rows"], 6);
    assert!(found["held_out"]["default"].is_number());

    let tune = [
        "tune", "--model", &model, "--input", &x, "--metric", "deletion",
    ];
    let lrp = succeeds(&[&tune[..], &["--method", "lrp"]].concat());
    assert!(lrp.contains("layer_gammas=conv1:0"), "{lrp}");
    for (more, expected) in [
        (&["--method", "saliency"][..], "has no usual values"),
        (
            &["--method", "saliency", "--vary", "abs=perhaps"],
            "--vary abs=perhaps: --set abs=perhaps",
        ),
        (
            &["--method", "saliency", "--vary", "abs"],
            "give KEY=VALUE|VALUE",
        ),
        (
            &["--method", "saliency", "--vary", "baseline=0"],
            "has no baseline",
        ),
        (&["--method", "saliency,lrp"], "give one method"),
        (
            &[
                "--method",
                "saliency",
                "--vary",
                "abs=true",
                "--held-out",
                "1",
            ],
            "held_out",
        ),
        (
            &["--method", "lrp", "--vary", "layer_gammas=conv1"],
            "write LAYER:GAMMA",
        ),
    ] {
        let error = fails(&[&tune[..], more].concat());
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn bad_questions_are_refused() {
    let bench = Bench::new();
    let [x, _, _] = few(&bench, 2);
    let model = scenes("scenes.onnx");
    let base = ["evaluate", "--model", &model, "--input", &x];
    let saliency = ["--methods", "saliency"];
    for (more, expected) in [
        (&[][..], "--methods"),
        (&["--methods", "salience"], "the nearest are saliency"),
        (
            &["--methods", "saliency", "--metrics", "deletions"],
            "the nearest are deletion",
        ),
        (
            &["--methods", "saliency", "--metrics", "auc"],
            "auc needs --masks",
        ),
        (
            &["--methods", "saliency", "--metrics", "deletion,deletion"],
            "named twice",
        ),
        (
            &["--methods", "saliency", "--metric-set", "road.noise=1"],
            "METRIC.KEY=VALUE",
        ),
        (
            &[
                "--methods",
                "saliency",
                "--metrics",
                "road",
                "--metric-set",
                "noise=-1",
            ],
            "noise",
        ),
        (
            &["--methods", "saliency", "--image", "scores.txt"],
            "must end in .png or .svg",
        ),
        (&["--methods", "gradcam", "--layer", "conv9"], "conv9"),
    ] {
        let error = fails(&[&base[..], more].concat());
        assert!(error.contains(expected), "{error}");
    }
    let masks = bench.floats("masks.npy", &[2, 5, 5], vec![1.0; 50]);
    let error = fails(&[&base[..], &saliency, &["--masks", &masks]].concat());
    assert!(
        error.contains("[2, 5, 5]") && error.contains("[2, 3, 32, 32]"),
        "{error}"
    );
}

#[test]
fn metrics_are_listed_from_the_code() {
    let listed: Value = serde_json::from_str(&succeeds(&["metrics", "--json"])).unwrap();
    let listed = listed.as_array().unwrap();
    assert!(listed.len() >= 45, "{}", listed.len());
    for metric in listed {
        for field in ["name", "family", "summary", "paper"] {
            assert!(!metric[field].as_str().unwrap().is_empty(), "{metric}");
        }
        assert!(metric["higher_is_better"].is_boolean(), "{metric}");
    }
    let one = succeeds(&["metrics", "max-sensitivity"]);
    assert!(
        one.contains("sensitivity-max (robustness, lower is better)"),
        "{one}"
    );
    assert!(one.contains("--metric-set perturb_radius=0.02"), "{one}");
    assert!(fails(&["metrics", "delition"]).contains("the nearest are deletion"));
}
