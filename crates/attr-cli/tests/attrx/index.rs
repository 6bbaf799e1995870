//! `attrx crp index`, `merge`, `status`, `show` and `export`: shards, restarts, and what goes wrong.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{Bench, asset, attrx, fails, root, succeeds};

const TABLES: [&str; 4] = ["references", "statistics", "samples", "skipped"];

pub fn scene(name: &str) -> String {
    root()
        .join("assets/scenes")
        .join(name)
        .display()
        .to_string()
}

/// The arguments that index the committed scenes.
pub fn scenes() -> Vec<String> {
    let files = [
        scene("scenes.onnx"),
        scene("images.npy"),
        scene("labels.npy"),
    ];
    let flags = ["--model", "--data", "--labels"];
    let mut arguments = vec!["crp".to_string(), "index".into()];
    for (flag, file) in flags.into_iter().zip(files) {
        arguments.extend([flag.into(), file]);
    }
    arguments
}

pub fn strings<'a>(first: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    first
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect()
}

/// The content of the merged tables.
fn tables(index: &str) -> Vec<Vec<u8>> {
    let read = |table| std::fs::read(format!("{index}/{table}.parquet")).unwrap();
    TABLES.into_iter().map(read).collect()
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn shards_are_measured_merged_shown_and_exported() {
    let bench = Bench::new();
    let (one, three) = (bench.path("one"), bench.path("three"));
    let scenes = scenes();
    let layers = ["--layers", "conv2,log*", "--batch-size", "8", "--out"];
    let index = |more: &[&str]| succeeds(&strings(&scenes, &[&layers[..], more].concat()));
    let said = index(&[&one]);
    assert!(
        said.starts_with("shard 0 of 1 is done: 64 samples; 64 in "),
        "{said}"
    );
    assert_eq!(succeeds(&["crp", "merge", &one]), "merged all 1 shards\n");

    for shard in ["2/3", "0/3"] {
        index(&[&three, "--shard", shard]);
    }
    assert!(index(&[&three, "--shard", "2/3"]).contains("nothing was left to do"));
    let said = succeeds(&["crp", "merge", &three]);
    assert!(said.starts_with("merged 2 of 3 shards"), "{said}");
    let status = json(&succeeds(&["crp", "status", &three, "--json"]));
    assert_eq!(
        (status["complete"].as_bool(), &status["shards"][1]["state"]),
        (Some(false), &"missing".into())
    );
    // The number of a job array's task.
    let mut command = Command::new(env!("CARGO_BIN_EXE_attrx"));
    command
        .args(strings(&scenes, &layers))
        .args([&three, "--shard", "/3", "--json"]);
    let output = command.env("SLURM_ARRAY_TASK_ID", "1").output().unwrap();
    let summary = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(
        (&summary["shard"], &summary["skipped"]),
        (&1.into(), &0.into())
    );
    succeeds(&["crp", "merge", &three]);
    assert!(tables(&one) == tables(&three));
    let status = succeeds(&["crp", "status", &three]);
    assert!(status.ends_with("3 of 3 shards are merged\n"), "{status}");

    let show = ["crp", "show", &three, "--layer", "conv2", "--top", "3"];
    let concepts = json(&succeeds(
        &[&show[..], &["--concept", "5,7", "--json"]].concat(),
    ));
    assert_eq!(concepts.as_array().unwrap().len(), 2);
    let first = &concepts[0]["references"];
    assert_eq!(first.as_array().unwrap().len(), 3);
    assert!(first[0]["score"].as_f64() >= first[1]["score"].as_f64());
    assert_eq!(first[0]["label"], first[0]["target"]);
    let sample = first[0]["sample"].as_u64().unwrap();
    assert_eq!(first[0]["name"], format!("images.npy#{sample}"));
    let of_class = [
        "--concept",
        "5",
        "--target",
        "4",
        "--mode",
        "activation",
        "--json",
    ];
    let of_class = json(&succeeds(&[&show[..], &of_class].concat()));
    assert_eq!(of_class[0]["references"][2]["target"], 4);
    let picture = bench.path("a.png");
    let (model, data, labels) = (
        scene("scenes.onnx"),
        scene("images.npy"),
        scene("labels.npy"),
    );
    let draw = [
        "--concepts",
        "2",
        "--model",
        &model,
        "--data",
        &data,
        "--labels",
        &labels,
    ];
    for view in ["opaque", "crop", "heatmap", "sample"] {
        let view = [
            "--view",
            view,
            "--image",
            &picture,
            "--quiet",
            "--receptive-field",
        ];
        assert_eq!(succeeds(&[&show[..], &draw, &view].concat()), "");
        let image = std::fs::read(&picture).unwrap();
        assert_eq!(&image[1..4], b"PNG");
        std::fs::remove_file(&picture).unwrap();
    }
    let folder = bench.path("crp");
    succeeds(&["crp", "export", &three, "--out", &folder]);
    for file in [
        "RelMax_sum_normed/conv2_data.npy",
        "ActStats_sum_normed/logits/5_rf.npy",
    ] {
        assert!(std::path::Path::new(&folder).join(file).is_file(), "{file}");
    }

    for (arguments, expected) in [
        (
            vec!["crp", "show", &three, "--layer", "conv9"],
            "conv2, logits",
        ),
        (
            vec!["crp", "show", &three, "--layer", "conv2", "--concept", "32"],
            "32 channels",
        ),
        (
            vec!["crp", "show", &three, "--layer", "conv2", "--target", "9"],
            "0, 1, 2, 3, 4, 5",
        ),
        (
            [
                &show[..],
                &draw[..4],
                &["--data", &labels, "--image", &picture],
            ]
            .concat(),
            "other data",
        ),
        ([&show[..], &["--image", &picture]].concat(), "--model"),
        (vec!["crp", "merge", &folder], "no run.json"),
        (vec!["crp", "status", "nowhere"], "no run.json"),
    ] {
        let error = fails(&arguments);
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    // Another run does not touch the index.
    let before = tables(&three);
    for (more, expected) in [
        (["--shard", "0/4"], "shards is 3 there and 4 here"),
        (["--set", "epsilon=1"], "lrp is"),
        (["--targets", "predicted"], "targets is \"labels\" there"),
        (["--sample-size", "3"], "sample_size is 40 there"),
    ] {
        let arguments = strings(&scenes, &[&layers[..], &[&three], &more].concat());
        let error = fails(&arguments);
        assert!(error.contains(expected), "{more:?}: {error}");
    }
    assert!(tables(&three) == before);
}

#[test]
fn samples_that_cannot_be_read_are_skipped_and_listed() {
    let bench = Bench::new();
    let folder = std::path::PathBuf::from(bench.path("photos"));
    for name in ["b", "a"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        std::fs::copy(asset("seven.png"), folder.join(name).join("1.png")).unwrap();
    }
    std::fs::write(folder.join("b/0.png"), "no image").unwrap();
    std::fs::write(folder.join("a/2.jpg"), "").unwrap();
    let index = bench.path("index");
    let photos = folder.display().to_string();
    let model = asset("digits.onnx");
    let arguments = [
        "crp", "index", "--model", &model, "--data", &photos, "--layers", "conv?",
    ];
    let said = succeeds(&[&arguments[..], &["--out", &index]].concat());
    assert!(
        said.starts_with("shard 0 of 1 is done: 2 samples, 2 skipped"),
        "{said}"
    );
    succeeds(&["crp", "merge", &index]);
    let rows = attr_index::Index::open(&index).unwrap();
    let skipped = rows.skipped().unwrap();
    let names: Vec<&str> = skipped.iter().map(|one| &one.name[..]).collect();
    assert_eq!(names, ["a/2.jpg", "b/0.png"]);
    assert!(skipped.iter().all(|one| !one.reason.is_empty()));
    let labels: Vec<_> = rows
        .samples()
        .unwrap()
        .iter()
        .map(|one| one.label)
        .collect();
    assert_eq!(labels, [Some(0), Some(1)]);

    for name in ["a/1.png", "b/1.png"] {
        std::fs::write(folder.join(name), "broken").unwrap();
    }
    let other = bench.path("other");
    let error = fails(&[&arguments[..], &["--out", &other]].concat());
    assert!(error.contains("no sample can be read"), "{error}");
    assert!(!std::path::Path::new(&other).exists());
}

#[test]
fn bad_arguments_leave_nothing_behind() {
    let bench = Bench::new();
    let index = bench.path("index");
    let empty = bench.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let (model, images) = (scene("scenes.onnx"), scene("images.npy"));
    let base = ["crp", "index", "--model", &model, "--out", &index];
    let file = bench.floats("small.npy", &[2, 3], vec![0.0; 6]);
    for (more, expected) in [
        (vec!["--data", &empty, "--layers", "conv2"], "no samples"),
        (vec!["--data", "nowhere", "--layers", "conv2"], "nowhere"),
        (
            vec!["--data", "http://host/photos", "--layers", "conv2"],
            "s3://BUCKET/PREFIX",
        ),
        (
            vec!["--data", &file, "--layers", "conv2"],
            "no sample can be read",
        ),
        (vec!["--data", &images, "--layers", "conv9"], "no layer"),
        (vec!["--data", &images, "--layers", "["], "--layers ["),
        (
            vec!["--data", &images, "--layers", "conv2", "--shard", "3"],
            "I/N",
        ),
        (
            vec!["--data", &images, "--layers", "conv2", "--shard", "3/3"],
            "from 0 to 2",
        ),
        (
            vec![
                "--data",
                &images,
                "--layers",
                "conv2",
                "--sample-size",
                "10000000",
            ],
            "32 channels may take",
        ),
        (
            vec![
                "--data",
                &images,
                "--layers",
                "conv2",
                "--targets",
                "labels",
            ],
            "--labels",
        ),
        (
            vec!["--data", &images, "--layers", "conv2", "--targets", "6"],
            "below 6",
        ),
        (
            vec!["--data", &images, "--layers", "conv2", "--batch-size", "0"],
            "batch = 0",
        ),
        (
            vec!["--data", &images, "--layers", "conv2", "--sample-size", "0"],
            "sample_size = 0",
        ),
        (
            vec!["--data", &images, "--layers", "conv2", "--labels", &file],
            "small.npy",
        ),
        (
            vec!["--data", &images, "--layers", "conv2", "--input", &images],
            "--input",
        ),
    ] {
        let error = fails(&[&base[..], &more].concat());
        assert!(error.contains(expected), "{more:?}: {error}");
        assert!(!std::path::Path::new(&index).exists(), "{more:?}");
    }
    // Folders that cannot be an index.
    std::fs::write(bench.path("empty/photo.jpg"), "x").unwrap();
    let more = ["--data", &images[..], "--layers", "conv2", "--out", &empty];
    let error = fails(&[&base[..4], &more].concat());
    assert!(error.contains("other files"), "{error}");
    let more = ["--data", &images[..], "--layers", "conv2", "--out", &file];
    let output = attrx(&[&base[..4], &more].concat());
    assert_eq!(output.status.code(), Some(1));
}

/// A list of many samples for the digits network, and the arguments that index it.
fn many(bench: &Bench, count: usize) -> Vec<String> {
    let line = |number: usize| format!("{}\t{}\n", asset("seven.png"), number % 10);
    let list = bench.path("list.txt");
    std::fs::write(&list, (0..count).map(line).collect::<String>()).unwrap();
    let model = asset("digits.onnx");
    let arguments = [
        "crp", "index", "--model", &model, "--data", &list, "--layers", "conv*",
    ];
    let more = [
        "--batch-size",
        "8",
        "--checkpoint",
        "16",
        "--quiet",
        "--out",
    ];
    arguments
        .iter()
        .chain(&more)
        .map(ToString::to_string)
        .collect()
}

#[test]
fn killed_at_any_moment_a_shard_goes_on_and_counts_no_sample_twice() {
    let bench = Bench::new();
    let arguments = many(&bench, 600);
    let (whole, killed) = (bench.path("whole"), bench.path("killed"));
    succeeds(&strings(&arguments, &[&whole]));
    succeeds(&["crp", "merge", &whole]);
    let state = std::path::Path::new(&killed).join("shards/00000-of-00001/shard.json");
    let (mut done, mut interrupted) = (0, 0);
    for round in 0..10_u64 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attrx"));
        command
            .args(strings(&arguments, &[&killed]))
            .stderr(Stdio::piped());
        let before = std::fs::read(&state).ok();
        let mut child = command.spawn().unwrap();
        // At any moment after a checkpoint.
        while std::fs::read(&state).ok() == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(round * 2711 % 9000));
        let _ = child.kill();
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&stderr);
        assert!(status.success() || status.code().is_none(), "{errors}");
        let status = json(&succeeds(&["crp", "status", &killed, "--json"]));
        let shard = &status["shards"][0];
        let now = match shard["state"].as_str().unwrap() {
            "partial" => shard["done"].as_u64().unwrap(),
            "done" => 600,
            other => panic!("{other}"),
        };
        assert!(now > done || now == 600, "{now} after {done}");
        interrupted += u32::from(now < 600);
        done = now;
    }
    assert!(interrupted > 0, "it was too fast to be interrupted");
    succeeds(&strings(&arguments, &[&killed]));
    succeeds(&["crp", "merge", &killed]);
    assert!(tables(&killed) == tables(&whole));
}

#[test]
#[cfg(unix)]
fn a_full_disk_ends_a_shard_with_a_message_and_nothing_is_lost() {
    let bench = Bench::new();
    let arguments = many(&bench, 1000);
    let (whole, full) = (bench.path("whole"), bench.path("disk"));
    succeeds(&strings(&arguments, &[&whole]));
    succeeds(&["crp", "merge", &whole]);
    // Stopped after a checkpoint.
    let state = std::path::Path::new(&full).join("shards/00000-of-00001/shard.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_attrx"));
    let mut child = command.args(strings(&arguments, &[&full])).spawn().unwrap();
    while !state.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let status = || json(&succeeds(&["crp", "status", &full, "--json"]))["shards"][0].clone();
    let before = status();
    assert_eq!(before["state"], "partial", "{before}");

    // No file may grow beyond this, as on a disk that is full.
    let script = "ulimit -f 16; trap '' XFSZ; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_attrx")]);
    let output = command
        .args(strings(&arguments, &[&full]))
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains("disk/shards/00000-of-00001"), "{errors}");
    assert_eq!(status(), before, "nothing is lost");
    succeeds(&strings(&arguments, &[&full]));
    succeeds(&["crp", "merge", &full]);
    assert!(tables(&full) == tables(&whole));
}

#[test]
fn of_two_writers_of_a_shard_the_second_is_refused() {
    let bench = Bench::new();
    let arguments = many(&bench, 5000);
    let index = bench.path("index");
    let mut command = Command::new(env!("CARGO_BIN_EXE_attrx"));
    let mut first = command
        .args(strings(&arguments, &[&index]))
        .spawn()
        .unwrap();
    let state = std::path::Path::new(&index).join("shards/00000-of-00001/shard.json");
    while !state.exists() {
        assert!(
            first.try_wait().unwrap().is_none(),
            "it has not written anything"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    let second = attrx(&strings(&arguments, &[&index]));
    first.kill().unwrap();
    first.wait().unwrap();
    let errors = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{errors}");
    assert!(errors.contains("another process writes here"), "{errors}");
}

#[test]
fn a_concept_is_removed_from_a_model() {
    let bench = Bench::new();
    let (model, images) = (scene("scenes.onnx"), scene("images.npy"));
    let dark = bench.floats("dark.npy", &[2, 3, 32, 32], vec![0.1; 2 * 3072]);
    let direction = bench.path("light.json");
    let find = [
        "crp",
        "direction",
        "--model",
        &model,
        "--with",
        &images,
        "--without",
        &dark,
    ];
    let to = ["--layer", "conv1", "--out", &direction];
    let said = succeeds(&[&find[..], &to].concat());
    assert!(
        said.starts_with("conv1: 64 examples with the concept, mean component +"),
        "{said}"
    );
    let found = json(&std::fs::read_to_string(&direction).unwrap());
    assert_eq!(found["direction"].as_array().unwrap().len(), 16);

    let changed = bench.path("changed.onnx");
    let remove = [
        "crp",
        "remove",
        "--model",
        &model,
        "--direction",
        &direction,
    ];
    let said = succeeds(&[&remove[..], &["--out", &changed]].concat());
    assert!(
        said.starts_with("conv1: the component along the direction is "),
        "{said}"
    );
    assert!(succeeds(&["layers", "--model", &changed]).contains("conv1_removal"));
    // Examples differed on average in this direction alone, and do so no longer.
    let again = bench.path("again.json");
    let rest = [
        "--with",
        &images,
        "--without",
        &dark,
        "--layer",
        "conv1_removal",
        "--out",
        &again,
    ];
    succeeds(&[&["crp", "direction", "--model", &changed][..], &rest].concat());
    let left = json(&std::fs::read_to_string(&again).unwrap());
    let difference =
        |of: &Value| (of["with"].as_f64().unwrap() - of["without"].as_f64().unwrap()).abs();
    assert!(difference(&left) < 1e-5 * difference(&found), "{left}");

    let text = bench.path("text.json");
    std::fs::write(&text, "{}").unwrap();
    let broken = [
        "crp",
        "remove",
        "--model",
        &model,
        "--direction",
        &text,
        "--out",
        &changed,
    ];
    assert!(fails(&broken).contains("missing field"));
    let unknown = [&find[..], &["--layer", "conv9", "--out", &direction]].concat();
    assert!(fails(&unknown).contains("conv9"));
    let same = [
        "crp",
        "direction",
        "--model",
        &model,
        "--with",
        &dark,
        "--without",
        &dark,
    ];
    let same = [&same[..], &["--layer", "conv1", "--out", &direction]].concat();
    assert!(fails(&same).contains("do not differ"));
    let over = [
        "crp",
        "remove",
        "--model",
        &model,
        "--direction",
        &direction,
        "--out",
        &model,
    ];
    assert!(fails(&over).contains("overwrite"));
}

#[test]
fn concepts_of_two_layers_are_compared() {
    let bench = Bench::new();
    let (with, without) = (bench.path("with"), bench.path("without"));
    let scenes = scenes();
    let layers = ["--layers", "conv2,logits", "--quiet", "--out"];
    succeeds(&strings(
        &scenes,
        &[&layers[..], &[&with, "--vectors"]].concat(),
    ));
    succeeds(&strings(&scenes, &[&layers[..], &[&without]].concat()));
    let compare = ["crp", "compare", &with, &with, "--layer"];
    let same = json(&succeeds(&[&compare[..], &["logits", "--json"]].concat()));
    assert_eq!(same["samples"], 64);
    for (number, pair) in same["concepts"].as_array().unwrap().iter().enumerate() {
        assert_eq!(
            (&pair["concept"], &pair["other"]),
            (&number.into(), &number.into())
        );
        assert!(pair["similarity"].as_f64().unwrap() > 0.999_999);
    }
    let other = ["conv2", "--other-layer", "logits", "--mode", "relevance"];
    let said = succeeds(&[&compare[..], &other].concat());
    assert_eq!(said.lines().count(), 33, "{said}");
    for (arguments, expected) in [
        ([&compare[..], &["conv9"]].concat(), "conv2, logits"),
        (
            vec!["crp", "compare", &with, &without, "--layer", "conv2"],
            "--vectors",
        ),
    ] {
        let error = fails(&arguments);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_report_shows_concepts_with_their_references() {
    let bench = Bench::new();
    let index = bench.path("index");
    let layers = ["--layers", "conv2,relu2", "--quiet", "--out", &index];
    succeeds(&strings(&scenes(), &layers));
    succeeds(&["crp", "merge", &index, "--quiet"]);
    let (model, data, labels) = (
        scene("scenes.onnx"),
        scene("images.npy"),
        scene("labels.npy"),
    );
    let pixels = (0..2 * 3 * 32 * 32).map(|i| (i % 97) as f32 / 97.0);
    let input = bench.floats("two.npy", &[2, 3, 32, 32], pixels.collect());
    let html = bench.path("why.html");
    let report = [
        "report", "--model", &model, "--input", &input, "--method", "lrp", "--top", "2", "--out",
        &html,
    ];
    let concepts = ["--index", &index, "--data", &data, "--data-labels", &labels];
    let few = ["--concepts", "2", "--references", "3"];
    succeeds(&[&report[..], &concepts, &few].concat());
    let page = std::fs::read_to_string(&html).unwrap();
    let held = page.split("id=\"data\">").nth(1).unwrap();
    let held = json(held.split("</script>").next().unwrap());
    let references = held["references"].as_object().unwrap();
    for sample in held["samples"].as_array().unwrap() {
        let shown = sample["attributions"].as_array().unwrap();
        // Of two classes, lrp and two concepts each.
        assert_eq!(shown.len(), 6);
        let of_index: Vec<&Value> = shown
            .iter()
            .filter(|one| !one["references"].is_null())
            .collect();
        assert_eq!(of_index.len(), 4);
        for one in of_index {
            // The last layer of the index.
            let method = one["method"].as_str().unwrap();
            assert!(
                method.starts_with("concept ") && method.contains(" of relu2 ("),
                "{method}"
            );
            let pictures = &references[one["references"].as_str().unwrap()];
            assert_eq!(pictures.as_array().unwrap().len(), 3);
            assert_eq!(one["shape"], json("[32, 32]"));
        }
    }
    for (more, expected) in [
        (vec!["--index", &index], "--data"),
        (
            [&concepts[..], &["--concept-layer", "conv9"]].concat(),
            "conv2, relu2",
        ),
        (
            vec!["--index", &index, "--data", &labels],
            "made from other data",
        ),
    ] {
        let error = fails(&[&report[..], &more].concat());
        assert!(error.contains(expected), "{more:?}: {error}");
    }
}

/// No one may write to `/sys`, not even root.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_nobody_may_write_to_is_named() {
    let (model, data) = (scene("scenes.onnx"), scene("images.npy"));
    let shared = ["--model", &model, "--data", &data, "--out", "/sys/attr"];
    for command in [
        &["crp", "index", "--layers", "conv2"][..],
        &["explain", "--method", "saliency"],
        &["evaluate", "--methods", "saliency"],
    ] {
        let output = attrx(&[command, &shared].concat());
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.starts_with("error: /sys/attr cannot be read or written: "),
            "{errors}"
        );
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert_eq!(output.stdout, b"");
    }
}
