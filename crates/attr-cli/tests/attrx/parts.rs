//! `attrx explain --data`, `evaluate --data` and `merge`: shards, restarts, and what goes wrong.

use std::path::Path;

use serde_json::Value;

use super::index::{json, scene, strings};
use super::{Bench, asset, fails, succeeds};

/// Asks about the committed scenes, whose classes are in a file.
fn scenes(command: &str) -> Vec<String> {
    let files = [
        ("--model", scene("scenes.onnx")),
        ("--data", scene("images.npy")),
        ("--target", scene("labels.npy")),
    ];
    let mut arguments = vec![
        command.to_string(),
        "--batch-size=8".into(),
        "--checkpoint=16".into(),
    ];
    for (flag, file) in files {
        arguments.extend([flag.into(), file]);
    }
    arguments
}

fn read(folder: &str, name: &str) -> Vec<u8> {
    std::fs::read(Path::new(folder).join(name)).unwrap()
}

#[test]
fn explanations_do_not_depend_on_shards() {
    let bench = Bench::new();
    let (one, three) = (bench.path("one"), bench.path("three"));
    let scenes = scenes("explain");
    let explain =
        |more: &[&str]| succeeds(&strings(&scenes, &[&["--method", "lrp"], more].concat()));
    let said = explain(&["--out", &one]);
    assert!(
        said.starts_with("shard 0 of 1 is done: 64 samples; 64 in "),
        "{said}"
    );
    for shard in ["2/3", "0/3"] {
        explain(&["--out", &three, "--shard", shard]);
    }
    assert_eq!(
        succeeds(&["merge", &one]),
        format!("merged all 4 parts\n64 rows, in {one}\n")
    );
    let said = succeeds(&["merge", &three]);
    assert!(
        said.starts_with("merged 3 of 4 parts; 1 are missing, such as that of sample 16"),
        "{said}"
    );
    // A damaged file is made anew, and nothing else.
    let parts = std::fs::read_dir(Path::new(&three).join("parts")).unwrap();
    let arrays = parts.map(|entry| entry.unwrap().path()).find(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("00000003.") && name.ends_with(".safetensors")
    });
    std::fs::write(arrays.unwrap(), "x").unwrap();
    explain(&["--out", &three, "--shard", "1/3"]);
    let again = json(&explain(&["--out", &three, "--shard", "2/3", "--json"]));
    assert_eq!(
        (&again["measured"], &again["samples"]),
        (&16.into(), &32.into())
    );
    let merged = json(&succeeds(&["merge", &three, "--json"]));
    assert_eq!(merged["missing"], Value::Array(Vec::new()));
    for name in [
        "attributions.npy",
        "rows.jsonl",
        "skipped.jsonl",
        "merged.json",
    ] {
        assert!(read(&one, name) == read(&three, name), "{name}");
    }

    // What an interrupted process has left goes.
    let left = Path::new(&three).join("parts/.attr-left");
    std::fs::write(&left, "half").unwrap();
    succeeds(&["merge", &three, "--quiet"]);
    assert!(!left.exists());

    // The same as of all rows at once.
    let (out, summary) = (bench.path("all.npy"), bench.path("all.json"));
    let (model, images, labels) = (
        scene("scenes.onnx"),
        scene("images.npy"),
        scene("labels.npy"),
    );
    succeeds(&[
        "explain", "--model", &model, "--input", &images, "--target", &labels, "--method", "lrp",
        "--out", &out, "--json", &summary, "--quiet",
    ]);
    let (merged, all) = (bench.read("one/attributions.npy"), bench.read("all.npy"));
    assert_eq!(merged.0, all.0);
    let largest = all.1.iter().fold(0f32, |most, value| most.max(value.abs()));
    for (a, b) in merged.1.iter().zip(&all.1) {
        assert!((a - b).abs() <= 1e-5 * largest, "{a} {b}");
    }
    let summary = json(&std::fs::read_to_string(&summary).unwrap());
    let rows = String::from_utf8(read(&one, "rows.jsonl")).unwrap();
    assert_eq!(rows.lines().count(), 64);
    for (at, row) in rows.lines().enumerate() {
        let row = json(row);
        assert_eq!(
            (&row["sample"], &row["name"]),
            (&at.into(), &format!("images.npy#{at}").into())
        );
        for key in ["target", "prediction"] {
            assert_eq!(row[key], summary[key][at], "{key}");
        }
    }

    // Another run does not touch the parts.
    for (more, expected) in [
        (&["--set", "epsilon=1"][..], "parameters is"),
        (
            &["--layer", "conv2"],
            "layer is nothing there and conv2 here",
        ),
        (&["--logits"], "logits is false there and true here"),
    ] {
        let own = ["--method", "lrp", "--out", &one];
        let error = fails(&strings(&scenes, &[&own[..], more].concat()));
        assert!(error.contains(expected), "{more:?}: {error}");
    }
}

#[test]
fn samples_without_a_class_or_an_image_are_left_out() {
    let bench = Bench::new();
    let folder = bench.path("photos");
    for class in ["0", "1"] {
        let class = Path::new(&folder).join(class);
        std::fs::create_dir_all(&class).unwrap();
        std::fs::copy(asset("seven.png"), class.join("b.png")).unwrap();
    }
    std::fs::write(Path::new(&folder).join("0/a.png"), "no image").unwrap();
    let (model, out) = (asset("digits.onnx"), bench.path("out"));
    let explain = [
        "explain", "--model", &model, "--data", &folder, "--method", "gradcam",
    ];
    let shared = ["--target", "labels", "--checkpoint", "1", "--out", &out];
    let said = succeeds(&[&explain[..], &shared].concat());
    assert!(said.contains("2 samples, 1 skipped"), "{said}");
    let merged = json(&succeeds(&["merge", &out, "--json"]));
    assert_eq!(
        (&merged["rows"], &merged["skipped"]),
        (&2.into(), &1.into())
    );
    let skipped = json(&String::from_utf8(read(&out, "skipped.jsonl")).unwrap());
    assert_eq!(
        (&skipped["sample"], &skipped["name"]),
        (&0.into(), &"0/a.png".into())
    );
    // One line for each row, with its label.
    let rows = String::from_utf8(read(&out, "rows.jsonl")).unwrap();
    let targets: Vec<Value> = rows
        .lines()
        .map(|row| json(row)["target"].clone())
        .collect();
    assert_eq!(targets, [0, 1]);
}

#[test]
fn evaluations_do_not_depend_on_shards() {
    let bench = Bench::new();
    let (one, two) = (bench.path("one"), bench.path("two"));
    let scenes = scenes("evaluate");
    let asked = [
        "--methods",
        "saliency,lrp",
        "--metrics",
        "sparseness,random-logit",
    ];
    let evaluate = |more: &[&str]| succeeds(&strings(&scenes, &[&asked[..], more].concat()));
    evaluate(&["--out", &one]);
    evaluate(&["--out", &two, "--shard", "1/2"]);
    let said = succeeds(&["merge", &two]);
    assert!(said.starts_with("merged 2 of 4 parts"), "{said}");
    evaluate(&["--out", &two, "--shard", "0/2"]);
    let (csv, image) = (bench.path("a.csv"), bench.path("a.png"));
    let table = succeeds(&["merge", &two, "--csv", &csv, "--image", &image]);
    assert!(
        table.starts_with("merged all 4 parts; 64 rows\n\nmethod "),
        "{table}"
    );
    assert_eq!(table, succeeds(&["merge", &one]));
    assert!(std::fs::metadata(&image).unwrap().len() > 1000);

    let all = bench.path("all.csv");
    let (model, images, labels) = (
        scene("scenes.onnx"),
        scene("images.npy"),
        scene("labels.npy"),
    );
    let whole = [
        "evaluate", "--model", &model, "--input", &images, "--target", &labels,
    ];
    succeeds(&[&whole[..], &asked, &["--csv", &all, "--quiet"]].concat());
    // `random` draws anew for each batch.
    let lines = |path: &str| -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("random,"));
        lines
            .map(|line| line.split(',').map(String::from).collect())
            .collect()
    };
    for (a, b) in lines(&csv).iter().zip(lines(&all)) {
        assert_eq!(a[..2], b[..2]);
        let numbers = |cells: &[String]| cells[2].parse::<f64>().ok();
        if let (Some(a), Some(b)) = (numbers(a), numbers(&b)) {
            assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a} {b}");
        }
    }
}

#[test]
fn what_cannot_be_divided_is_refused() {
    let bench = Bench::new();
    let (out, file) = (bench.path("out"), bench.path("a.npy"));
    let other = bench.path("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(Path::new(&other).join("a"), "").unwrap();
    let images = scene("images.npy");
    let short = bench.array("short.npy", &[3], vec![0i64, 1, 2]);
    let scenes = scenes("explain");
    let lrp = ["--method", "lrp"];
    for (more, expected) in [
        (vec![], "--out"),
        (vec!["--out", &other], "holds other files"),
        (
            vec!["--out", &out, "--image", "a.png"],
            "--image: not with --data",
        ),
        (vec!["--out", &out, "--shard", "3/3"], "counted from 0 to 2"),
        (vec!["--out", &out, "--input", &images], "--input"),
        (
            vec!["--out", &out, "--delta", &file],
            "--delta: not with --data",
        ),
    ] {
        let error = fails(&strings(&scenes, &[&lrp[..], &more].concat()));
        assert!(error.contains(expected), "{more:?}: {error}");
    }
    let model = scene("scenes.onnx");
    let data = [
        "explain", "--model", &model, "--data", &images, "--method", "lrp", "--out", &out,
    ];
    for (more, expected) in [
        (["--target", "labels"], "the data set has no labels"),
        (["--target", &short], "there are 64 samples"),
        (
            ["--checkpoint", "0"],
            "--checkpoint 0: at least 1 is needed",
        ),
    ] {
        let error = fails(&[&data[..], &more].concat());
        assert!(error.contains(expected), "{more:?}: {error}");
    }
    succeeds(&strings(&scenes, &[&lrp[..], &["--out", &out]].concat()));
    std::fs::remove_dir_all(Path::new(&out).join("parts")).unwrap();
    for (arguments, expected) in [
        (vec!["merge", &other], "no run.json"),
        (vec!["merge", "nowhere"], "no run.json"),
        (vec!["merge", &out], "no part is done"),
        (
            vec![
                "evaluate",
                "--model",
                &model,
                "--input",
                &images,
                "--methods",
                "lrp",
                "--out",
                &out,
            ],
            "--data",
        ),
    ] {
        let error = fails(&arguments);
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn what_is_read_and_what_was_found_is_not_overwritten() {
    let bench = Bench::new();
    let (model, data, out) = (
        bench.path("net.onnx"),
        bench.path("data.npy"),
        bench.path("out"),
    );
    std::fs::copy(scene("scenes.onnx"), &model).unwrap();
    std::fs::copy(scene("images.npy"), &data).unwrap();
    let size = |path: &str| std::fs::metadata(path).unwrap().len();
    let before = [size(&model), size(&data)];
    let shared = ["--model", &model, "--data", &data, "--out", &out];
    let explain = [&["explain", "--method", "saliency"], &shared[..]].concat();
    let evaluate = [&["evaluate", "--methods", "saliency"], &shared[..]].concat();
    let inside = format!("{out}/parts/00000000.json");
    succeeds(&explain);
    for command in [&explain, &evaluate] {
        for file in [&model, &data, &inside] {
            fails(&[&command[..], &["--json", file]].concat());
        }
    }
    for name in ["run.json", "parts/00000000.json", "attributions.npy"] {
        fails(&["merge", &out, "--json", &format!("{out}/{name}")]);
    }
    assert_eq!([size(&model), size(&data)], before);
    assert!(succeeds(&["merge", &out]).starts_with("merged all 1 parts\n64 rows"));
}

#[test]
fn rows_of_a_batch_are_not_those_of_the_data() {
    let bench = Bench::new();
    let images = bench.floats("few.npy", &[12, 3, 32, 32], vec![0.5; 12 * 3 * 1024]);
    let bases = bench.floats("bases.npy", &[8, 3, 32, 32], vec![0.0; 8 * 3 * 1024]);
    let (model, out) = (scene("scenes.onnx"), bench.path("out"));
    let asked = [
        "explain",
        "--model",
        &model,
        "--data",
        &images,
        "--batch-size",
        "8",
        "--method",
        "integrated-gradients",
        "--out",
        &out,
    ];
    let error = fails(&[&asked[..], &["--baseline", &bases]].concat());
    assert!(error.contains("give one row for all samples"), "{error}");
    // A class that the model does not have, and a sample that is no number, are left out by name.
    let mut values = vec![0.5f32; 12 * 3 * 1024];
    values[5 * 3 * 1024] = f32::NAN;
    let images = bench.floats("few.npy", &[12, 3, 32, 32], values);
    let classes = bench.array(
        "classes.npy",
        &[12],
        vec![0i64, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4],
    );
    let asked = [
        "explain",
        "--model",
        &model,
        "--data",
        &images,
        "--method",
        "lrp",
        "--out",
        &out,
        "--target",
        &classes,
        "--set",
        "epsilon=1000",
    ];
    succeeds(&asked);
    let merged = json(&succeeds(&["merge", &out, "--json"]));
    assert_eq!(
        (&merged["rows"], &merged["skipped"]),
        (&10.into(), &2.into())
    );
    let warning = merged["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("of a row's score reaches the input"),
        "{warning}"
    );
    let skipped = String::from_utf8(read(&out, "skipped.jsonl")).unwrap();
    let skipped: Vec<Value> = skipped.lines().map(json).collect();
    assert_eq!(skipped[0]["reason"], "it holds NaN or infinity");
    assert_eq!(
        skipped[1]["reason"],
        "its target is 6, and the model has 6 classes"
    );
    let rows = String::from_utf8(read(&out, "rows.jsonl")).unwrap();
    for row in rows.lines().map(json) {
        let sample = row["sample"].as_u64().unwrap();
        let class = [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4][sample as usize];
        assert_eq!(row["target"], class);
    }

    let scores = bench.path("scores");
    let asked = [
        "evaluate",
        "--model",
        &model,
        "--data",
        &images,
        "--methods",
        "lrp",
        "--metrics",
        "sparseness",
        "--out",
        &scores,
    ];
    succeeds(&asked);
    let merged = json(&succeeds(&["merge", &scores, "--json"]));
    assert_eq!(merged["skipped"][0]["sample"], 5);
    assert_eq!(merged["samples"].as_array().unwrap().len(), 11);
    assert_eq!(merged["missing"], json("[]"));
}
