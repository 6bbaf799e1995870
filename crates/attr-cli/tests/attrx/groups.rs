//! `attrx crp prototypes`, `outliers`, `strategies` and `split`.

use serde_json::Value;

use super::index::{json, scene, scenes, strings};
use super::{Bench, fails, succeeds};

/// An index of the committed scenes with their vectors.
fn index(bench: &Bench, name: &str, more: &[&str]) -> String {
    let path = bench.path(name);
    let layers = ["--layers", "relu2", "--quiet", "--out", &path];
    succeeds(&strings(&scenes(), &[&layers[..], more].concat()));
    succeeds(&["crp", "merge", &path, "--quiet"]);
    path
}

fn numbers(value: &Value) -> Vec<u64> {
    let all = value.as_array().unwrap().iter();
    all.map(|number| number.as_u64().unwrap()).collect()
}

#[test]
fn samples_are_sorted_by_how_they_are_predicted() {
    let bench = Bench::new();
    let index = index(&bench, "index", &["--vectors"]);
    let (model, data, labels) = (
        scene("scenes.onnx"),
        scene("images.npy"),
        scene("labels.npy"),
    );
    let picture = bench.path("a.png");
    let files = ["--model", &model, "--data", &data, "--labels", &labels];
    let drawn = [&files[..], &["--image", &picture, "--quiet"]].concat();
    let written = |arguments: &[&str]| {
        let _ = std::fs::remove_file(&picture);
        assert_eq!(succeeds(&[arguments, &drawn].concat()), "");
        assert!(std::fs::metadata(&picture).unwrap().len() > 1000);
    };

    let prototypes = [
        "crp",
        "prototypes",
        &index,
        "--layer",
        "relu2",
        "--prototypes",
        "2",
    ];
    let found = json(&succeeds(&[&prototypes[..], &["--json"]].concat()));
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 12);
    let mut samples: Vec<u64> = found
        .iter()
        .flat_map(|one| numbers(&one["samples"]))
        .collect();
    samples.sort_unstable();
    assert_eq!(samples, Vec::from_iter(0..64));
    let weights = found[..2].iter().map(|one| one["weight"].as_f64().unwrap());
    assert!((weights.sum::<f64>() - 1.0).abs() < 1e-9);
    assert_eq!(found[0]["concepts"].as_array().unwrap().len(), 3);
    written(&[&prototypes[..], &["--target", "2"]].concat());

    let outliers = [
        "crp", "outliers", &index, &index, "--layer", "relu2", "--top", "5",
    ];
    let found = json(&succeeds(&[&outliers[..], &["--json"]].concat()));
    let found = found.as_array().unwrap();
    assert_eq!((found.len(), &found[0]["quantile"]), (5, &0.0.into()));
    assert_eq!(found[0]["name"], Value::Null);
    let named = [&outliers[..], &["--data", &data, "--labels", &labels]].concat();
    let named = succeeds(&named);
    assert!(named.contains("images.npy#"), "{named}");
    written(&outliers);

    let strategies = [
        "crp",
        "strategies",
        &index,
        "--layer",
        "relu2",
        "--n-clusters",
        "3",
    ];
    let found = json(&succeeds(&[&strategies[..], &["--json"]].concat()));
    let groups = found["groups"].as_array().unwrap();
    assert_eq!((groups.len(), &found["samples"]), (3, &64.into()));
    let sizes: Vec<usize> = groups
        .iter()
        .map(|one| numbers(&one["samples"]).len())
        .collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes.iter().sum::<usize>() == 64);
    written(&strategies);

    let split = [
        "crp",
        "split",
        &index,
        "--layer",
        "relu2",
        "--concept",
        "5",
        "--lower",
        "relu1",
    ];
    let found = json(&succeeds(&[&split[..], &files, &["--json"]].concat()));
    let parts = found["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2);
    let circuit = parts[0]["circuit"].as_array().unwrap().iter();
    assert!(
        circuit
            .map(|share| share.as_f64().unwrap().abs())
            .sum::<f64>()
            <= 1.0 + 1e-6
    );
    written(&[&split[..], &["--set", "composite=epsilon", "--parts", "3"]].concat());
}

#[test]
fn heat_maps_are_grouped() {
    let bench = Bench::new();
    // Left, right and both, each with a place of its own and in two classes.
    let side = 8;
    let mut maps = vec![0f32; 60 * side * side];
    for row in 0..60 {
        let at = |y: usize, x: usize| row * side * side + y * side + x;
        if row % 3 != 1 {
            maps[at(row / 3 % 4, 1)] = 1.0;
        }
        if row % 3 != 0 {
            maps[at(row / 3 % 4, 6)] = 1.0;
        }
    }
    let classes: Vec<i64> = (0..60).map(|row| row % 2).collect();
    let file = bench.floats("maps.npy", &[60, 1, 8, 8], maps);
    let labels = bench.array("labels.npy", &[60], classes);
    let picture = bench.path("groups.png");
    let found = succeeds(&[
        "crp",
        "strategies",
        "--attributions",
        &file,
        "--side",
        "2",
        "--n-clusters",
        "3",
        "--image",
        &picture,
        "--json",
    ]);
    let found = json(&found);
    for group in found["groups"].as_array().unwrap() {
        let samples = numbers(&group["samples"]);
        assert_eq!(samples.len(), 20);
        assert!(samples.iter().all(|sample| sample % 3 == samples[0] % 3));
    }
    assert!(std::fs::metadata(&picture).unwrap().len() > 1000);
    let class = ["--labels", &labels, "--target", "1", "--json"];
    let of_class = ["crp", "strategies", "--attributions", &file];
    let of_class = json(&succeeds(&[&of_class[..], &class].concat()));
    assert_eq!(of_class["samples"], 30);
}

#[test]
fn what_cannot_be_sorted_is_refused() {
    let bench = Bench::new();
    let plain = index(&bench, "plain", &[]);
    let vectors = index(&bench, "vectors", &["--vectors"]);
    let negative = bench.array("negative.npy", &[6], vec![0i64, 1, -1, 0, 1, -1]);
    let other = index(
        &bench,
        "other",
        &["--vectors", "--set", "composite=epsilon"],
    );
    let flat = bench.floats("flat.npy", &[6, 2], vec![0.5; 12]);
    for (arguments, reason) in [
        (
            vec!["crp", "prototypes", &plain, "--layer", "relu2"],
            "there are no concept vectors (--vectors) of this layer",
        ),
        (
            vec!["crp", "prototypes", &vectors, "--layer", "relu9"],
            "has the layers relu2",
        ),
        (
            vec![
                "crp",
                "prototypes",
                &vectors,
                "--layer",
                "relu2",
                "--target",
                "9",
            ],
            "there are samples of the classes 0, 1, 2, 3, 4, 5",
        ),
        (
            vec![
                "crp",
                "prototypes",
                &vectors,
                "--layer",
                "relu2",
                "--reg-covar",
                "0",
            ],
            "raise reg_covar",
        ),
        (
            vec!["crp", "outliers", &vectors, &plain, "--layer", "relu2"],
            "there are no concept vectors of these samples",
        ),
        (
            vec!["crp", "strategies", &plain, "--layer", "relu2"],
            "make it with --vectors",
        ),
        (vec!["crp", "strategies"], "--attributions"),
        (
            vec![
                "crp",
                "strategies",
                "--attributions",
                &flat,
                "--labels",
                &negative,
                "--target",
                "0",
            ],
            "it holds a negative class",
        ),
        (
            vec![
                "crp",
                "strategies",
                &vectors,
                "--layer",
                "relu2",
                "--target",
                "2",
            ],
            "each of 11 samples would be joined with all others",
        ),
        (
            vec![
                "crp",
                "strategies",
                &vectors,
                "--layer",
                "relu2",
                "--n-clusters",
                "1000000000",
                "--n-eigval",
                "1000000000",
            ],
            "at most as many as rows",
        ),
        (
            vec!["crp", "outliers", &vectors, &other, "--layer", "relu2"],
            "the indexes were made in different ways: lrp is",
        ),
        (
            vec!["crp", "prototypes", &flat, "--layer", "relu2"],
            "no run.json",
        ),
        (
            vec![
                "crp",
                "strategies",
                "--attributions",
                &flat,
                "--target",
                "1",
            ],
            "--target takes --labels",
        ),
        (
            vec![
                "crp",
                "strategies",
                "--attributions",
                &flat,
                "--image",
                "a.png",
                "--n-neighbors",
                "2",
                "--n-clusters",
                "2",
            ],
            "no heat maps",
        ),
        (
            vec![
                "crp",
                "split",
                &plain,
                "--layer",
                "relu2",
                "--concept",
                "5",
                "--lower",
                "relu1",
            ],
            "give the index's --model and --data",
        ),
        (
            vec![
                "crp",
                "split",
                &plain,
                "--layer",
                "relu2",
                "--concept",
                "99",
                "--lower",
                "relu1",
            ],
            "has 32 channels, counted from 0",
        ),
    ] {
        let said = fails(&arguments);
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
}
