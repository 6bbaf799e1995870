//! The program as scripts meet it: flags, files, exit statuses, one line for an error.

#[path = "attrx/evaluation.rs"]
mod evaluation;
#[path = "attrx/groups.rs"]
mod groups;
#[path = "attrx/index.rs"]
mod index;
#[path = "attrx/parts.rs"]
mod parts;
#[path = "attrx/settings.rs"]
mod settings;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use npyz::WriterBuilder;
use serde_json::Value;

/// A folder for one test, with what it needs beside the committed files.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Writes an array of floats.
    fn floats(&self, name: &str, shape: &[u64], values: Vec<f32>) -> String {
        self.array(name, shape, values)
    }

    fn array<T: npyz::AutoSerialize>(&self, name: &str, shape: &[u64], values: Vec<T>) -> String {
        let path = self.path(name);
        let file = std::fs::File::create(&path).unwrap();
        let options = npyz::WriteOptions::new().default_dtype().shape(shape);
        let mut writer = options.writer(file).begin_nd().unwrap();
        writer.extend(values).unwrap();
        writer.finish().unwrap();
        path
    }

    /// Reads an array of floats with its shape.
    fn read(&self, name: &str) -> (Vec<u64>, Vec<f32>) {
        let file = std::fs::File::open(self.path(name)).unwrap();
        let array = npyz::NpyFile::new(file).unwrap();
        (array.shape().to_vec(), array.into_vec::<f32>().unwrap())
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Writes a compressed archive.
fn archive(path: &str, entries: &[(&str, &[u8])]) {
    let mut writer = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, data) in entries {
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(*name, options).unwrap();
        std::io::Write::write_all(&mut writer, data).unwrap();
    }
    writer.finish().unwrap();
}

fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the test");
    Path::new(&here).join("../..")
}

fn asset(name: &str) -> String {
    root()
        .join("assets/digits")
        .join(name)
        .display()
        .to_string()
}

fn exported(name: &str) -> String {
    let folder = root().join("crates/attr-testkit/onnx/models");
    folder.join(name).display().to_string()
}

fn attrx(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_attrx"))
        .args(arguments)
        .output()
        .unwrap()
}

/// Standard output of a run that succeeds without a word on standard error.
#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let output = attrx(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), &errors[..]),
        (Some(0), ""),
        "{arguments:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The one line that a run with bad input leaves on standard error, with exit status 2.
#[track_caller]
fn fails(arguments: &[&str]) -> String {
    let output = attrx(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
    assert_eq!(output.stdout, b"", "{arguments:?}");
    assert_eq!(errors.lines().count(), 1, "{arguments:?}: {errors}");
    assert!(errors.starts_with("error: "), "{errors}");
    errors
}

/// `explain` of the digits network on the committed seven.
fn explain_seven<'a>(more: &[&'a str]) -> Vec<&'a str> {
    static FILES: std::sync::OnceLock<[String; 2]> = std::sync::OnceLock::new();
    let [model, image] = FILES.get_or_init(|| [asset("digits.onnx"), asset("seven.png")]);
    let mut arguments = vec!["explain", "--model", &model[..], "--input", &image[..]];
    arguments.extend(more);
    arguments
}

#[test]
fn a_digit_is_explained_in_every_form() {
    let bench = Bench::new();
    let (out, delta) = (bench.path("a.npy"), bench.path("d.npy"));
    let (image, json) = (bench.path("p.png"), bench.path("s.json"));
    let files = [
        "--out", &out, "--delta", &delta, "--image", &image, "--json", &json,
    ];
    let method = ["--method", "integrated-gradients", "--target", "predicted"];
    let text = succeeds(&explain_seven(&[&method[..], &files[..]].concat()));
    assert!(text.contains("predicted 7, target 7"), "{text}");
    assert_eq!(bench.files(), ["a.npy", "d.npy", "p.png", "s.json"]);

    let (shape, values) = bench.read("a.npy");
    assert_eq!(shape, [1, 1, 8, 8]);
    let (shape, delta) = bench.read("d.npy");
    assert_eq!(shape, [1]);
    let summary: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(summary["prediction"], serde_json::json!([7]));
    assert_eq!(summary["target"], serde_json::json!([7]));
    assert_eq!(summary["evaluations"], 53);
    assert!(summary["time"].as_f64().unwrap() > 0.0);
    // Completeness, against a zero image.
    let zero = bench.floats("zero.npy", &[1, 1, 8, 8], vec![0.0; 64]);
    let model = asset("digits.onnx");
    let base = [
        "explain", "--model", &model, "--input", &zero, "--target", "7",
    ];
    let base = succeeds(&[&base[..], &["--method", "saliency", "--json"]].concat());
    let base: Value = serde_json::from_str(&base).unwrap();
    let difference = summary["score"][0].as_f64().unwrap() - base["score"][0].as_f64().unwrap();
    let sum: f64 = values.iter().map(|v| f64::from(*v)).sum();
    assert!(
        (sum - difference - f64::from(delta[0])).abs() < 1e-4,
        "{sum} {difference} {delta:?}"
    );
}

#[test]
fn repeated_runs_are_timed() {
    let saliency = ["--method", "saliency", "--target", "7", "--json"];
    let once: Value = serde_json::from_str(&succeeds(&explain_seven(&saliency))).unwrap();
    assert!(once.get("times").is_none());
    let repeat = [&saliency[..], &["--repeat", "4"]].concat();
    let summary: Value = serde_json::from_str(&succeeds(&explain_seven(&repeat))).unwrap();
    let times = summary["times"].as_array().unwrap().iter();
    let mut times: Vec<f64> = times.map(|time| time.as_f64().unwrap()).collect();
    times.sort_by(f64::total_cmp);
    let median = (times[1] + times[2]) / 2.0;
    assert_eq!(times.len(), 4);
    assert!(
        (summary["time"].as_f64().unwrap() - median).abs() < 1e-8,
        "{summary}"
    );
    for field in ["attributions", "score", "evaluations"] {
        assert_eq!(summary[field], once[field]);
    }
    let none = [&saliency[..], &["--repeat", "0"]].concat();
    assert!(fails(&explain_seven(&none)).contains("--repeat"));
}

#[test]
fn quiet_says_nothing_and_json_alone_goes_to_standard_output() {
    assert_eq!(
        succeeds(&explain_seven(&["--method", "saliency", "--quiet"])),
        ""
    );
    let text = succeeds(&explain_seven(&["--method", "saliency", "--json"]));
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["method"], "saliency");
    assert_eq!(summary["delta"], Value::Null);
    assert_eq!(summary["output"]["shape"], serde_json::json!([1, 10]));
}

#[test]
fn layers_and_units() {
    let bench = Bench::new();
    let out = bench.path("a.npy");
    let saliency = ["--method", "saliency", "--out", &out];
    succeeds(&explain_seven(
        &[&saliency[..], &["--layer", "pool"]].concat(),
    ));
    assert_eq!(bench.read("a.npy").0, [1, 32, 4, 4]);
    succeeds(&explain_seven(
        &[&saliency[..], &["--neuron", "conv1:3,2,2"]].concat(),
    ));
    let (shape, values) = bench.read("a.npy");
    assert_eq!(shape, [1, 1, 8, 8]);
    // A 3x3 convolution sees nine pixels.
    assert_eq!(values.iter().filter(|v| **v != 0.0).count(), 9);
    let both = ["--layer", "relu1", "--neuron", "conv2:3,2,2"];
    succeeds(&explain_seven(&[&saliency[..], &both[..]].concat()));
    assert_eq!(bench.read("a.npy").0, [1, 16, 8, 8]);

    let error = fails(&explain_seven(
        &[&saliency[..], &["--layer", "pol"]].concat(),
    ));
    assert!(
        error.contains("nearest") && error.contains("\"pool\""),
        "{error}"
    );
    let error = fails(&explain_seven(
        &[&saliency[..], &["--neuron", "conv1:99,0,0"]].concat(),
    ));
    assert!(error.contains("out of range"), "{error}");
}

/// Every method, with what it says it needs, explains the digit.
#[test]
fn every_method_explains_the_digit() {
    let bench = Bench::new();
    let out = bench.path("a.npy");
    let mask = bench.array("mask.npy", &[8, 8], (0..64i64).map(|i| i / 16).collect());
    let listed: Value = serde_json::from_str(&succeeds(&["methods", "--json"])).unwrap();
    let listed = listed.as_array().unwrap();
    assert!(listed.len() >= 45, "{}", listed.len());
    let digits = bench.floats(
        "digits.npy",
        &[2, 1, 8, 8],
        (0..128).map(|i| (i * i % 17) as f32).collect(),
    );
    let model = asset("digits.onnx");
    let (encoder, decoder) = (asset("encoder.onnx"), asset("decoder.onnx"));
    for method in listed {
        let name = method["name"].as_str().unwrap();
        if name == "lime-tabular" {
            continue; // It explains tables.
        }
        let needs = |what: &str| method["needs"].as_array().unwrap().contains(&what.into());
        let mut more = vec!["--method", name, "--out", &out, "--target", "7", "--json"];
        if needs("layer") {
            more.extend(["--layer", "relu2"]);
        }
        if needs("neuron") {
            more.extend(["--neuron", "conv2:5,4,4"]);
        }
        if needs("feature mask") {
            more.extend(["--feature-mask", &mask]);
        }
        if needs("autoencoder") {
            more.extend(["--encoder", &encoder, "--decoder", &decoder]);
        }
        if name == "occlusion" {
            more.extend(["--set", "sliding_window_shapes=1,3,3"]);
        }
        // A permutation needs several rows.
        let text = if name == "feature-permutation" {
            let both = ["explain", "--model", &model, "--input", &digits];
            succeeds(&[&both[..], &more].concat())
        } else {
            succeeds(&explain_seven(&more))
        };
        let summary: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(summary["method"], name);
        let gives = |what: &str| method["gives"].as_array().unwrap().contains(&what.into());
        assert_eq!(
            gives("convergence delta"),
            !summary["delta"].is_null(),
            "{name}"
        );
        let errors = !summary["largest_standard_error"].is_null();
        assert_eq!(gives("standard errors"), errors, "{name}");
        let (shape, values) = bench.read("a.npy");
        assert_eq!(
            shape[0],
            if name == "feature-permutation" { 2 } else { 1 },
            "{name}"
        );
        assert!(values.iter().all(|v| v.is_finite()), "{name}");
        assert!(values.iter().any(|v| *v != 0.0), "{name} found nothing");
    }
}

#[test]
fn a_latent_shift_writes_its_video_and_its_sweep() {
    let bench = Bench::new();
    let [encoder, decoder] = ["encoder.onnx", "decoder.onnx"].map(asset);
    let [gif, apng, sweep] = ["shift.gif", "shift.png", "sweep.safetensors"].map(|f| bench.path(f));
    let shift = |more: &[&str]| {
        let both = [
            "--method",
            "latent-shift",
            "--encoder",
            &encoder,
            "--decoder",
            &decoder,
        ];
        [&explain_seven(&both)[..], more].concat().join("\n")
    };
    let run = |more: &[&str]| {
        let arguments = shift(more);
        succeeds(&arguments.lines().collect::<Vec<_>>())
    };
    let raw = [
        "--target",
        "1",
        "--set",
        "apply_sigmoid=false",
        "--set",
        "fix_range=0,12",
    ];
    run(&[&raw[..], &["--video", &gif, "--sweep", &sweep]].concat());
    run(&[&raw[..], &["--video", &apng]].concat());
    assert_eq!(
        bench.files(),
        ["shift.gif", "shift.png", "sweep.safetensors"]
    );
    assert!(std::fs::read(&gif).unwrap().starts_with(b"GIF89a"));
    let apng = std::fs::read(&apng).unwrap();
    assert!(
        apng.windows(4).any(|part| part == b"acTL"),
        "it is animated"
    );
    let sweep = std::fs::read(&sweep).unwrap();
    let sweep = safetensors::SafeTensors::deserialize(&sweep).unwrap();
    assert_eq!(sweep.tensor("images").unwrap().shape(), [1, 10, 1, 8, 8]);
    let floats = |name: &str| -> Vec<f32> {
        let bytes = sweep.tensor(name).unwrap().data().as_chunks::<4>().0;
        bytes.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    assert_eq!(floats("lambdas")[9], 12.0);
    let predictions = floats("predictions");
    assert!(predictions[9] > predictions[0] + 1.0, "{predictions:?}");

    let refused = |more: &[&str], expected: &str| {
        let arguments = shift(more);
        let error = fails(&arguments.lines().collect::<Vec<_>>());
        assert!(error.contains(expected), "{error}");
    };
    refused(&["--set", "fix_range=3,1"], "the smaller one first");
    refused(&["--set", "lambda_sweep_steps=1"], "at least 2");
    refused(&["--video", "shift.avi"], "must end in .gif or .png");
    let error = fails(&explain_seven(&[
        "--method",
        "latent-shift",
        "--decoder",
        &decoder,
    ]));
    assert!(error.contains("needs --encoder"), "{error}");
    let error = fails(&explain_seven(&[
        "--method",
        "saliency",
        "--decoder",
        &decoder,
    ]));
    assert!(error.contains("no use for it"), "{error}");
    let twice = [
        "--method",
        "latent-shift",
        "--encoder",
        &encoder,
        "--decoder",
        &encoder,
    ];
    let error = fails(&explain_seven(&twice));
    assert!(
        error.contains("--decoder") && error.contains("has shape"),
        "{error}"
    );
}

#[test]
fn several_methods_are_asked_at_once() {
    let bench = Bench::new();
    let [out, image] = ["m.safetensors", "m.png"].map(|f| bench.path(f));
    let named = ["--method", "saliency,gradcam,integrated-gradients,lime"];
    let set = [
        "--set",
        "n_steps=7",
        "--set",
        "lime.n_samples=64",
        "--feature-mask",
        "grid:2x2",
    ];
    let files = ["--out", &out, "--image", &image, "--json"];
    let text = succeeds(&explain_seven(&[&named[..], &set, &files].concat()));
    let all: Value = serde_json::from_str(&text).unwrap();
    let all = all.as_array().unwrap();
    let methods: Vec<&str> = all
        .iter()
        .map(|one| one["method"].as_str().unwrap())
        .collect();
    assert_eq!(
        methods,
        ["saliency", "gradcam", "integrated-gradients", "lime"]
    );
    assert_eq!(
        all[1]["layer"], "relu3",
        "the last layer with height and width"
    );
    assert_eq!(all[2]["parameters"]["n_steps"], 7);
    assert_eq!(all[3]["parameters"]["n_samples"], 64);
    let file = std::fs::read(&out).unwrap();
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    assert_eq!(file.tensor("saliency").unwrap().shape(), [1, 1, 8, 8]);
    assert_eq!(file.tensor("gradcam").unwrap().shape(), [1, 1, 4, 4]);
    assert_eq!(file.len(), 4);
    let drawn = std::fs::read(&image).unwrap();
    assert!(drawn.starts_with(b"\x89PNG"));

    let refused = |more: &[&str], expected: &str| {
        let error = fails(&explain_seven(more));
        assert!(error.contains(expected), "{error}");
    };
    refused(&["--method", "saliency,saliency"], "named twice");
    refused(&["--method", "saliency,nothing"], "there is no method");
    let two = ["--method", "saliency,lrp"];
    refused(
        &[&two[..], &["--set", "n_steps=3"]].concat(),
        "none of these methods",
    );
    refused(
        &[&two[..], &["--delta", "d.npy"]].concat(),
        "give one --method",
    );
    refused(
        &[&two[..], &["--out", "m.npy"]].concat(),
        "write a .safetensors file",
    );
}

#[test]
fn classes_and_features_have_names() {
    let bench = Bench::new();
    let write = |name: &str, text: &str| {
        std::fs::write(bench.path(name), text).unwrap();
        bench.path(name)
    };
    let labels = write("labels.txt", "low\nmedium\nhigh\nnone\n");
    let lines = write(
        "features.txt",
        "age\nincome\nrooms\ndistance\nyear\ngarden\n",
    );
    let csv = write(
        "data.csv",
        "\u{feff}age,\"income, net\",rooms,distance,year,garden\n1,2,3,4,5,6\n",
    );
    let model = exported("mlp_bn_dynamo17.onnx");
    let one = bench.floats("one.npy", &[1, 6], (0..6).map(|i| i as f32).collect());
    let many = bench.floats(
        "many.npy",
        &[9, 6],
        (0..54).map(|i| (i as f32).sin()).collect(),
    );
    let ask = |input: &str, more: &[&str]| {
        let common = [
            "explain", "--model", &model, "--input", input, "--target", "2",
        ];
        let method = ["--method", "integrated-gradients"];
        let all = [&common[..], &method, more].concat();
        all.iter().map(|word| word.to_string()).collect::<Vec<_>>()
    };
    let words = |arguments: &[String]| {
        arguments
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let run = |input: &str, more: &[&str]| {
        let arguments = words(&ask(input, more));
        succeeds(&arguments.lines().collect::<Vec<_>>())
    };
    let chart = bench.path("bars.svg");
    let named = ["--labels", &labels, "--features", &csv, "--image", &chart];
    let text = run(&one, &named);
    assert!(
        text.contains("target 2 high") && text.contains("income, net = 1"),
        "{text}"
    );
    let chart = std::fs::read_to_string(&chart).unwrap();
    assert!(chart.contains("income, net = 1") && chart.contains("of 2 high"));
    let swarm = bench.path("swarm.svg");
    run(&many, &["--features", &lines, "--image", &swarm]);
    let swarm = std::fs::read_to_string(&swarm).unwrap();
    assert!(swarm.contains("garden") && swarm.contains("9 rows"));
    let json = run(&one, &["--labels", &labels, "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["target_names"], serde_json::json!(["high"]));

    let refused = |more: &[&str], expected: &str| {
        let arguments = words(&ask(&one, more));
        let error = fails(&arguments.lines().collect::<Vec<_>>());
        assert!(error.contains(expected), "{error}");
    };
    refused(&["--labels", &lines], "6 names for 4 classes in the output");
    refused(&["--features", &labels], "4 names for 6 features in a row");
    refused(&["--labels", "missing.txt"], "cannot read missing.txt");
    refused(&["--labels", &one], "it is not UTF-8 text");
}

#[test]
fn a_report_is_one_file() {
    let bench = Bench::new();
    let html = bench.path("why.html");
    let ask = |more: &[&str]| {
        let mut arguments = explain_seven(&["--out", &html]);
        arguments[0] = "report";
        [&arguments[..], more].concat().join("\n")
    };
    let run = |more: &[&str]| {
        let arguments = ask(more);
        succeeds(&arguments.lines().collect::<Vec<_>>())
    };
    let title = ["--title", "</title><script>alert(1)</script>"];
    let said = run(&[&["--method", "saliency,gradcam"][..], &title].concat());
    assert!(said.contains("1 sample, 2 methods"), "{said}");
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("gradcam at relu3"));
    assert!(page.contains("--input seven.png --out why.html"));
    let folder = std::path::Path::new(&html)
        .parent()
        .unwrap()
        .display()
        .to_string();
    assert!(
        !page.contains(&folder),
        "folders are nobody else's business"
    );
    assert!(!page.contains("<script>alert"), "text stays text");
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "no network"
    );
    let metrics = ["--metrics", "deletion,sparseness"];
    run(&[&["--method", "lrp,saliency", "--top", "3"][..], &metrics].concat());
    let page = std::fs::read_to_string(&html).unwrap();
    let data = page.split("id=\"data\">").nth(1).unwrap();
    let data: Value = serde_json::from_str(data.split("</script>").next().unwrap()).unwrap();
    let shown = data["samples"][0]["attributions"].as_array().unwrap();
    let targets: Vec<&str> = shown
        .iter()
        .map(|one| one["target"].as_str().unwrap())
        .collect();
    assert_eq!((targets[0], targets.len()), ("7", 6));
    for one in shown {
        let names: Vec<&Value> = one["metrics"].as_array().unwrap().iter().collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
    assert!(targets[2] != "7" && targets[2] == targets[3] && targets[4] != targets[2]);
    assert_eq!(data["ledger"].as_array().unwrap().len(), 3);
    let layers = data["model"].as_array().unwrap().iter();
    let shares: Vec<f64> = layers
        .filter_map(|layer| layer["relevance"].as_f64())
        .collect();
    assert!(shares.len() > 5 && shares.iter().all(|share| (0.5..=1.01).contains(share)));
    let again = ask(&["--method", "saliency", "--metrics", "sensitivity-max"]);
    let error = fails(&again.lines().collect::<Vec<_>>());
    assert!(error.contains("`attrx evaluate` has it"), "{error}");
    let many = ask(&["--method", "saliency", "--top", "11"]);
    let error = fails(&many.lines().collect::<Vec<_>>());
    assert!(error.contains("only 10 classes"), "{error}");
    // A method that fails is said in the report, unless all of them do.
    run(&["--method", "saliency,feature-permutation"]);
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("feature-permutation") && page.contains("\"error\":\""));
    let alone = ask(&["--method", "feature-permutation"]);
    fails(&alone.lines().collect::<Vec<_>>());
    // Rows of tables and tokens have their own form.
    let table = bench.floats("t.npy", &[3, 6], (0..18).map(|i| i as f32 / 7.0).collect());
    let model = exported("mlp_bn_dynamo17.onnx");
    let rows = [
        "report", "--model", &model, "--input", &table, "--out", &html,
    ];
    let said = succeeds(&[&rows[..], &["--method", "saliency,lime"]].concat());
    assert!(said.contains("3 samples, 2 methods"), "{said}");
    let limit = ask(&["--method", "saliency", "--limit", "0"]);
    succeeds(&limit.lines().collect::<Vec<_>>());
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("1 of 1 samples"));
}

#[test]
fn features_and_baselines_by_name() {
    let bench = Bench::new();
    let (out, error) = (bench.path("a.npy"), bench.path("e.npy"));
    let files = ["--out", &out[..], "--standard-error", &error];
    for features in ["slic:12", "grid:4x4", "pixels"] {
        for baseline in ["0.5", "min", "max", "blur:1.5", "inpaint"] {
            let method = [
                "--method",
                "kernel-shap",
                "--set",
                "n_samples=250",
                "--json",
            ];
            let more = ["--feature-mask", features, "--baseline", baseline];
            let text = succeeds(&explain_seven(&[&method[..], &more, &files].concat()));
            let summary: Value = serde_json::from_str(&text).unwrap();
            assert!(summary["r_squared"][0].as_f64().unwrap() <= 1.0);
            assert!(summary["delta"][0].as_f64().unwrap().abs() < 1e-5);
            let (_, values) = bench.read("a.npy");
            let (shape, errors) = bench.read("e.npy");
            assert_eq!(shape, [1, 1, 8, 8]);
            assert!(values.iter().any(|v| *v != 0.0), "{features} {baseline}");
            assert!(errors.iter().all(|e| *e >= 0.0), "{features} {baseline}");
        }
    }
    let few = ["--method", "kernel-shap", "--set", "n_samples=20"];
    let pixels = ["--feature-mask", "pixels"];
    let text = succeeds(&explain_seven(&[&few[..], &pixels].concat()));
    assert!(
        text.contains("warning: 20 coalitions do not determine 64"),
        "{text}"
    );
    let text = succeeds(&explain_seven(&[&few[..], &pixels, &["--json"]].concat()));
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        summary["warnings"].as_array().map(Vec::len),
        Some(1),
        "{text}"
    );
    let cells = bench.array("m.npy", &[8, 8], (0..64i64).map(|i| i / 8 / 4).collect());
    let twice = ["--feature-mask", &cells, "--feature-mask", "pixels"];
    let gaps = bench.array("g.npy", &[8, 8], vec![3i64; 64]);
    let short = bench.array("s.npy", &[4], vec![0i64; 4]);
    let ablation = ["--method", "feature-ablation"];
    let cases: &[(&[&str], &str)] = &[
        (&["--feature-mask", "slic:many"], "slic:50"),
        (&["--feature-mask", "slic:0"], "n_segments = 0"),
        (&["--feature-mask", "grid:9x9"], "at most as many cells"),
        (&["--feature-mask", "grid:x"], "grid:7x7"),
        (&["--feature-mask", "squares"], "neither a file"),
        (&["--feature-mask", &gaps], "without gaps"),
        (&["--feature-mask", &short], "has shape [4]"),
        (&twice, "for 1 explained inputs"),
        (&["--baseline", "blur:x"], "blur:5"),
        (&["--baseline", "blur:-1"], "sigma = -1"),
        (&["--set", "perturbations_per_eval=0"], "at least one"),
        (&["--training", &cells], "has no use for it"),
    ];
    for (more, message) in cases {
        let errors = fails(&explain_seven(&[&ablation[..], more].concat()));
        assert!(errors.contains(message), "{more:?}: {errors}");
    }
    let windows = ["--method", "occlusion", "--set"];
    for (shape, message) in [
        ("sliding_window_shapes=1,9,3", "[1, 9, 3]"),
        ("sliding_window_shapes=1,x", "whole numbers"),
    ] {
        let errors = fails(&explain_seven(&[&windows[..], &[shape]].concat()));
        assert!(errors.contains(message), "{shape}: {errors}");
    }
}

#[test]
fn tables_and_tokens_are_explained_without_gradients() {
    let bench = Bench::new();
    let out = bench.path("a.npy");
    let table = exported("sklearn_mlp.onnx");
    let layers: Value =
        serde_json::from_str(&succeeds(&["layers", "--model", &table, "--json"])).unwrap();
    assert!(!layers.as_array().unwrap().is_empty());
    let columns = 64;
    let x = bench.floats("x.npy", &[2, columns], vec![0.4; 2 * columns as usize]);
    let rows = (0..40 * columns).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0);
    let training = bench.floats("t.npy", &[40, columns], rows.collect());
    let explain = ["explain", "--model", &table, "--input", &x, "--out", &out];
    let more = ["--method", "lime-tabular", "--training", &training];
    succeeds(&[&explain[..], &more].concat());
    let (shape, values) = bench.read("a.npy");
    assert_eq!(shape, [2, columns]);
    assert!(values.iter().any(|v| *v != 0.0));
    let errors = fails(&[&explain[..], &["--method", "lime-tabular"]].concat());
    assert!(errors.contains("needs --training"), "{errors}");

    let model = exported("gpt_tiny_dynamo18.onnx");
    let ids = bench.array("ids.npy", &[2, 6], (0..12i64).map(|i| i % 7).collect());
    let explain = ["explain", "--model", &model, "--input", &ids, "--out", &out];
    for method in ["feature-ablation", "shapley-values", "lime"] {
        let more = ["--method", method, "--target", "5,1", "--baseline", "3"];
        succeeds(&[&explain[..], &more].concat());
        let (shape, values) = bench.read("a.npy");
        assert_eq!(shape, [2, 6], "{method}");
        assert!(values.iter().any(|v| *v != 0.0), "{method}");
    }
}

#[test]
fn several_layers_and_what_they_take() {
    let bench = Bench::new();
    let out = bench.path("a.safetensors");
    let layers = [
        "--layer",
        "relu1",
        "--layer",
        "pool@input",
        "--layer",
        "conv3",
    ];
    let cam = ["--method", "gradcam", "--out", &out, "--json"];
    let text = succeeds(&explain_seven(&[&cam[..], &layers[..]].concat()));
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        summary["layer"],
        serde_json::json!(["relu1", "pool@input", "conv3"])
    );
    let found = summary["attributions"].as_array().unwrap();
    let shapes: Vec<&Value> = found.iter().map(|found| &found["shape"]).collect();
    let expected = [[1, 1, 8, 8], [1, 1, 8, 8], [1, 1, 4, 4]];
    assert_eq!(
        shapes,
        expected
            .map(|s| serde_json::json!(s))
            .iter()
            .collect::<Vec<_>>()
    );
    assert!(Path::new(&out).exists());

    // What a layer takes is what the one before gives.
    let of = |layer: &str| {
        let out = bench.path("b.npy");
        let more = [
            "--method",
            "layer-activation",
            "--layer",
            layer,
            "--out",
            &out,
        ];
        succeeds(&explain_seven(&more));
        bench.read("b.npy")
    };
    assert_eq!(of("pool@input"), of("relu2"));
    let size = ["--set", "interpolate_mode=bilinear", "--layer", "conv3"];
    let text = succeeds(&explain_seven(&[&cam[..], &size[..]].concat()));
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        summary["attributions"][0]["shape"],
        serde_json::json!([1, 1, 8, 8])
    );
}

/// Noise is on the input, wherever the attribution is; on an embedding where the input is tokens.
#[test]
fn noise_before_a_layer_and_on_an_embedding() {
    let bench = Bench::new();
    let out = bench.path("a.npy");
    let noisy = [
        "--method",
        "noise-tunnel",
        "--set",
        "stdevs=0.1",
        "--seed",
        "3",
        "--out",
        &out,
    ];
    for of in [
        "of=saliency",
        "of=deeplift",
        "of=gradcam",
        "of=layer-conductance",
    ] {
        let more = ["--set", of, "--layer", "relu2"];
        succeeds(&explain_seven(&[&noisy[..], &more[..]].concat()));
        assert_eq!(bench.read("a.npy").0[2..], [8, 8], "{of}");
    }
    let model = exported("gpt_tiny_dynamo18.onnx");
    let tokens = bench.array("ids.npy", &[1, 6], vec![1i64, 2, 3, 4, 5, 6]);
    let base = [
        "explain", "--model", &model, "--input", &tokens, "--target", "5,3",
    ];
    let layers = ["layers", "--model", &model, "--input", &tokens, "--json"];
    let layers: Value = serde_json::from_str(&succeeds(&layers)).unwrap();
    let mut layers = layers.as_array().unwrap().iter();
    let embedding = layers.find(|l| l["operation"] == "Embedding").unwrap()["name"].as_str();
    let at = ["--layer", embedding.unwrap()];
    for method in [
        "integrated-gradients",
        "deeplift",
        "layer-gradient-x-activation",
    ] {
        let more = ["--method", method, "--out", &out];
        succeeds(&[&base[..], &at[..], &more[..]].concat());
        assert_eq!(bench.read("a.npy").0[..2], [1, 6], "{method}");
    }
    succeeds(&[&base[..], &at[..], &noisy[..]].concat());
    assert!(bench.read("a.npy").1.iter().any(|v| *v != 0.0));
}

#[test]
fn a_distribution_of_baselines_has_any_number_of_rows() {
    let bench = Bench::new();
    let known = (0..256).map(|i| (i % 7) as f32 / 7.0).collect();
    let known = bench.floats("known.npy", &[4, 1, 8, 8], known);
    for method in ["deeplift-shap", "gradient-shap"] {
        let more = [
            "--method",
            method,
            "--baseline",
            &known,
            "--json",
            "--target",
            "7",
        ];
        let summary: Value = serde_json::from_str(&succeeds(&explain_seven(&more))).unwrap();
        let delta = summary["delta"][0].as_f64().unwrap();
        let limit = if method == "deeplift-shap" {
            1e-4
        } else {
            10.0
        };
        assert!(delta.abs() < limit, "{method}: {delta}");
    }
    // A method of one baseline refuses it.
    let more = ["--method", "deeplift", "--baseline", &known];
    let error = fails(&explain_seven(&more));
    assert!(error.contains("or one row of it"), "{error}");
}

/// The baseline of a layer is its activation at the baseline of the input, as in Captum.
#[test]
fn a_layers_baseline_is_said_of_the_input() {
    let bench = Bench::new();
    let (out, delta) = (bench.path("a.npy"), bench.path("d.npy"));
    let of = [
        "--method",
        "integrated-gradients",
        "--target",
        "3",
        "--set",
        "n_steps=200",
    ];
    let written = [
        "--out",
        &out,
        "--delta",
        &delta,
        "--baseline",
        "0.5",
        "--json",
    ];
    let sum = |layer: &[&str]| {
        let text = succeeds(&explain_seven(&[&of[..], &written[..], layer].concat()));
        let summary: Value = serde_json::from_str(&text).unwrap();
        summary["attributions"][0]["sum"][0].as_f64().unwrap()
            - summary["delta"][0].as_f64().unwrap()
    };
    // Whatever the layer, the sum is the difference of the scores at input and baseline.
    let (at_input, at_layer) = (sum(&[]), sum(&["--layer", "relu1"]));
    assert!(
        (at_input - at_layer).abs() < 1e-3 * at_input.abs(),
        "{at_input} {at_layer}"
    );
}

#[test]
fn targets_per_row_and_indices() {
    let bench = Bench::new();
    let rows = bench.floats(
        "x.npy",
        &[3, 1, 8, 8],
        (0..192).map(|i| i as f32 / 192.0).collect(),
    );
    let classes = bench.array("t.npy", &[3], vec![1i64, 9, 4]);
    let model = asset("digits.onnx");
    let base = [
        "explain", "--model", &model, "--input", &rows, "--method", "saliency",
    ];
    let text = succeeds(&[&base[..], &["--target", &classes, "--json"]].concat());
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["target"], serde_json::json!([1, 9, 4]));
    let output = summary["output"]["values"].as_array().unwrap();
    for (row, class) in [1, 9, 4].into_iter().enumerate() {
        assert_eq!(summary["score"][row], output[row * 10 + class]);
    }
    let short = bench.array("short.npy", &[2], vec![1i64, 9]);
    let bad = [
        ("10", "out of range"),
        ("-1", "give a class"),
        ("1,2", "index"),
        (&short, "2 targets were given for 3 rows"),
        (&rows, "fractions"),
    ];
    for (target, expected) in bad {
        let error = fails(&[&base[..], &["--target", target]].concat());
        assert!(error.contains(expected), "{error}");
    }
    let model = exported("gpt_tiny_dynamo18.onnx");
    let tokens = bench.array("ids.npy", &[1, 6], vec![1i64, 2, 3, 4, 5, 6]);
    let layers = ["layers", "--model", &model, "--input", &tokens, "--json"];
    let layers: Value = serde_json::from_str(&succeeds(&layers)).unwrap();
    let embedding = layers
        .as_array()
        .unwrap()
        .iter()
        .find(|l| l["operation"] == "Embedding");
    let embedding = embedding.unwrap()["name"].as_str().unwrap();
    let out = bench.path("a.npy");
    let base = [
        "explain", "--model", &model, "--input", &tokens, "--method", "saliency",
    ];
    let at = ["--layer", embedding, "--target", "5,3", "--out", &out];
    succeeds(&[&base[..], &at[..]].concat());
    assert_eq!(bench.read("a.npy").0[..2], [1, 6]);
    let error = fails(&[&base[..], &["--target", "5,3"]].concat());
    assert!(error.contains("no gradient"), "{error}");
    let unknown = bench.array("ids.npy", &[1, 6], vec![1i64, 2, 3, 4, 5, 1 << 20]);
    let base = [
        "explain", "--model", &model, "--input", &unknown, "--method", "saliency",
    ];
    fails(&[&base[..], &at[..]].concat());
}

#[test]
fn several_inputs_and_outputs() {
    let bench = Bench::new();
    let model = exported("two_inputs_legacy13.onnx");
    let layers = succeeds(&["layers", "--model", &model]);
    let width = |name: &str| -> u64 {
        let line = layers
            .lines()
            .find(|line| line.starts_with(&format!("input   {name} ")))
            .unwrap();
        let size = line.split([',', ']']).nth(1).unwrap().trim();
        size.parse().unwrap()
    };
    let (l, r) = (width("left"), width("right"));
    let left = bench.floats(
        "l.npy",
        &[2, l],
        (0..2 * l).map(|i| i as f32 * 0.1).collect(),
    );
    let right = bench.floats(
        "r.npy",
        &[2, r],
        (0..2 * r).map(|i| 1.0 - i as f32 * 0.1).collect(),
    );
    let (left, right) = (format!("left={left}"), format!("right={right}"));
    let base = [
        "explain", "--model", &model, "--method", "saliency", "--target", "0",
    ];
    let (tensors, array) = (bench.path("a.safetensors"), bench.path("a.npy"));
    let both = ["--input", &right, "--input", &left, "--output", "b"];
    succeeds(&[&base[..], &both[..], &["--out", &tensors]].concat());
    let bytes = std::fs::read(&tensors).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("left").unwrap().shape(), [2, l as usize]);
    assert_eq!(file.tensor("right").unwrap().shape(), [2, r as usize]);
    let error = fails(&[&base[..], &both[..], &["--out", &array]].concat());
    assert!(error.contains(".safetensors"), "{error}");
    // A constant input leaves one attribution.
    let one = ["--input", &left, "--constant", &right, "--out", &array];
    succeeds(&[&base[..], &one[..]].concat());
    assert_eq!(bench.read("a.npy").0, [2, l]);

    let error = fails(&[&base[..], &["--input", &left]].concat());
    assert!(error.contains("also needs right"), "{error}");
    let error = fails(&[&base[..], &both[..4], &["--output", "c"]].concat());
    assert!(
        error.contains("no output \"c\"") && error.contains("\"a\""),
        "{error}"
    );
    let error = fails(&[&base[..], &both[..4], &["--input", &left]].concat());
    assert!(error.contains("given twice"), "{error}");
}

#[test]
fn a_fixed_batch_is_explained_row_by_row_alike() {
    let bench = Bench::new();
    let rows: Vec<f32> = (0..2 * 3 * 256)
        .map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0)
        .collect();
    for model in [
        "resnet_tiny_fixed_legacy17.onnx",
        "vit_tiny_fixed_legacy17.onnx",
    ] {
        let model = exported(model);
        let layers = succeeds(&["layers", "--model", &model]);
        let shape = layers.split(['[', ']']).nth(1).unwrap();
        let shape: Vec<u64> = shape.split(", ").map(|d| d.parse().unwrap()).collect();
        let size: u64 = shape[1..].iter().product();
        let part = |from: u64, to: u64| rows[(from * size) as usize..(to * size) as usize].to_vec();
        let shaped = |name: &str, from: u64, to: u64| {
            let shape = [&[to - from], &shape[1..]].concat();
            bench.floats(name, &shape, part(from, to))
        };
        let inputs = [
            shaped("0.npy", 0, 1),
            shaped("1.npy", 1, 2),
            shaped("both.npy", 0, 2),
        ];
        let explained = inputs.map(|input| {
            let out = bench.path("a.npy");
            let of = [
                "--method",
                "integrated-gradients",
                "--target",
                "1",
                "--out",
                &out,
            ];
            succeeds(&[&["explain", "--model", &model, "--input", &input], &of[..]].concat());
            bench.read("a.npy").1
        });
        let singles = [&explained[0][..], &explained[1][..]].concat();
        let scale = singles.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (single, both) in singles.iter().zip(&explained[2]) {
            assert!(
                (single - both).abs() < 1e-4 * scale,
                "{model}: {single} {both}"
            );
        }
    }
}

/// This file's mask reads row 0 by number: rows are explained one at a time.
#[test]
fn rows_that_cannot_go_together_go_one_by_one() {
    let bench = Bench::new();
    let model = exported("bert_tiny_fixed_legacy17.onnx");
    let layers: Value =
        serde_json::from_str(&succeeds(&["layers", "--model", &model, "--json"])).unwrap();
    let embedding = layers
        .as_array()
        .unwrap()
        .iter()
        .find(|l| l["operation"] == "Embedding");
    let embedding = embedding.unwrap()["name"].as_str().unwrap();
    let explained = |name: &str, rows: std::ops::Range<i64>| {
        let count = (rows.end - rows.start) as u64;
        let of = |name: &str, f: &dyn Fn(i64, i64) -> i64| {
            let values = rows.clone().flat_map(|row| (0..7).map(move |i| (row, i)));
            bench.array(
                name,
                &[count, 7],
                values.map(|(row, i)| f(row, i)).collect::<Vec<i64>>(),
            )
        };
        let ids = of("ids.npy", &|row, i| 1 + row * 7 + i);
        let mask = of("mask.npy", &|row, i| i64::from(i < 7 - 2 * row));
        let types = of("types.npy", &|_, i| i64::from(i > 3));
        let mask = format!("attention_mask={mask}");
        let types = format!("token_type_ids={types}");
        let out = bench.path(name);
        let inputs = ["--input", &ids, "--constant", &mask, "--constant", &types];
        let of = [
            "--method",
            "integrated-gradients",
            "--layer",
            embedding,
            "--out",
            &out,
        ];
        let base = ["explain", "--model", &model, "--target", "1"];
        succeeds(&[&base[..], &inputs[..], &of[..]].concat());
        bench.read(name)
    };
    let singles = [explained("0.npy", 0..1).1, explained("1.npy", 1..2).1].concat();
    let (shape, both) = explained("both.npy", 0..2);
    assert_eq!(shape[..2], [2, 7]);
    assert_eq!(singles, both);
    assert!(both.iter().any(|v| *v != 0.0));
}

#[test]
fn seeds_decide_the_noise() {
    let bench = Bench::new();
    let out = bench.path("a.npy");
    let run = |seed: &str| {
        let noisy = ["--method", "noise-tunnel", "--set", "of=input-x-gradient"];
        let more = ["--set", "stdevs=0.3", "--seed", seed, "--out", &out];
        succeeds(&explain_seven(&[&noisy[..], &more[..]].concat()));
        bench.read("a.npy").1
    };
    let (first, again, other) = (run("7"), run("7"), run("8"));
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn methods_are_listed_from_the_code() {
    let methods: Value = serde_json::from_str(&succeeds(&["methods", "--json"])).unwrap();
    let methods = methods.as_array().unwrap();
    let named = |name: &str| methods.iter().find(|m| m["name"] == name).unwrap();
    let parameters = named("integrated-gradients")["parameters"]
        .as_array()
        .unwrap();
    let steps = parameters.iter().find(|p| p["name"] == "n_steps").unwrap();
    assert_eq!(
        (&steps["default"], &steps["type"]),
        (&50.into(), &"integer".into())
    );
    for method in methods {
        for key in ["name", "crate", "summary", "needs", "paper", "parameters"] {
            assert!(!method[key].is_null(), "{key} of {method}");
        }
    }
    assert!(succeeds(&["methods", "noise-tunnel"]).contains("--set nt_samples=5"));
    assert!(fails(&["methods", "nothing"]).contains("there is no method"));
}

#[test]
fn relevance_is_planned_and_propagated() {
    let model = asset("digits.onnx");
    let plan = ["lrp", "plan", "--model", &model];
    let text = succeeds(&[&plan[..], &["--set", "composite=epsilon_plus"]].concat());
    assert!(
        text.lines().next().unwrap().ends_with("epsilon_plus"),
        "{text}"
    );
    let listed: Value =
        serde_json::from_str(&succeeds(&[&plan[..], &["--json"]].concat())).unwrap();
    assert_eq!(listed[0]["rule"], "Flat");
    for (set, expected) in [
        ("composite=best", "epsilon_plus_flat"),
        ("composite=epsilon_gamma_box", "low = none"),
        ("gamma=-1", "gamma = -1"),
        ("gamma=0.5", "only the composites epsilon_gamma_box"),
        ("lambda=1", "it has composite"),
    ] {
        let error = fails(&[&plan[..], &["--set", set]].concat());
        assert!(error.contains(expected), "{set}: {error}");
    }
    let inverted = [
        "composite=epsilon_gamma_box",
        "--set",
        "low=1",
        "--set",
        "high=0",
    ];
    let error = fails(&[&plan[..], &["--set"], &inverted].concat());
    assert!(error.contains("smaller than high"), "{error}");
    let keras = exported("keras_cnn.onnx");
    let error = fails(&["lrp", "plan", "--model", &keras]);
    assert!(error.contains("with --logits"), "{error}");
    let lrp = ["--method", "lrp", "--set", "zero_bias=true", "--json"];
    let summary: Value = serde_json::from_str(&succeeds(&explain_seven(&lrp))).unwrap();
    let sum = summary["attributions"][0]["sum"][0].as_f64().unwrap();
    let score = summary["score"][0].as_f64().unwrap();
    assert!((sum - score).abs() < 1e-3 * score.abs(), "{sum} of {score}");
    // A softmax has no rule, unless it is left out.
    let bert = exported("vit_tiny_legacy14.onnx");
    let error = fails(&["lrp", "plan", "--model", &bert]);
    assert!(error.contains("--set composite=auto"), "{error}");
}

#[test]
fn a_check_says_where_relevance_goes() {
    let (model, seven) = (asset("digits.onnx"), asset("seven.png"));
    let check = ["lrp", "check", "--model", &model, "--input", &seven];
    let text = succeeds(&check);
    for expected in [
        "epsilon_plus_flat: 1 Epsilon",
        "row 0: score 9.8",
        "+ bias",
        "suggestion",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let set = ["--set", "composite=epsilon_alpha2_beta1", "--json"];
    let report: Value = serde_json::from_str(&succeeds(&[&check[..], &set].concat())).unwrap();
    let row = &report["rows"][0];
    let number = |key: &str| row[key].as_f64().unwrap();
    let arrived = number("arrived") + number("bias") + number("stabilizer") + number("stopped");
    assert!((number("started") - arrived).abs() < 1e-4, "{row}");
    assert!(number("error") < 1e-5);
    let suggestion = report["suggestion"]["set"].as_array().unwrap();
    assert!(
        !suggestion.is_empty() && report["rules"]["AlphaBeta"] == 3,
        "{report}"
    );

    // Tokens: relevance arrives at their embeddings.
    let bert = exported("bert_tiny_legacy14.onnx");
    let bench = Bench::new();
    let tokens = bench.array("tokens.npy", &[1, 7], vec![1i64, 5, 3, 2, 4, 6, 7]);
    let ones = bench.array("ones.npy", &[1, 7], vec![1i64; 7]);
    let ids = format!("input_ids={tokens}");
    let mask = format!("attention_mask={ones}");
    let zeros = bench.array("zeros.npy", &[1, 7], vec![0i64; 7]);
    let types = format!("token_type_ids={zeros}");
    let auto = ["--set", "composite=auto", "--target", "0"];
    let check = [
        "lrp",
        "check",
        "--model",
        &bert,
        "--input",
        &ids,
        "--constant",
        &mask,
        "--constant",
        &types,
    ];
    let text = succeeds(&[&check[..], &auto].concat());
    assert!(text.contains("auto: attnlrp (attention)"), "{text}");
    assert!(text.contains("= embeddings "), "{text}");
    let error = fails(&[&check[..], &["--set", "composite=best"]].concat());
    assert!(error.contains("it takes one of"), "{error}");
}

#[test]
fn concepts_are_conditions_rankings_and_graphs() {
    let (model, seven) = (asset("digits.onnx"), asset("seven.png"));
    let bench = Bench::new();
    let crp = |command: &'static str| ["crp", command, "--model", &model, "--input", &seven];
    let (out, image, kept) = (
        bench.path("m.npy"),
        bench.path("m.png"),
        bench.path("r.safetensors"),
    );
    let more = [
        "--condition",
        "relu3=3",
        "--condition",
        "relu3=20,0;relu1=4",
        "--condition",
        "relu3=",
        "--record",
        "relu1",
        "--record-out",
        &kept,
        "--out",
        &out,
        "--image",
        &image,
    ];
    let text = succeeds(&[&crp("explain")[..], &more].concat());
    assert!(text.contains("relu3=20,0;relu1=4"), "{text}");
    let (shape, maps) = bench.read("m.npy");
    assert_eq!(shape, [3, 1, 8, 8]);
    assert!(maps[..64].iter().any(|v| *v != 0.0));
    assert!(
        maps[128..].iter().all(|v| *v == 0.0),
        "nothing passes an empty condition"
    );
    assert_eq!(bench.files(), ["m.npy", "m.png", "r.safetensors"]);
    // Without a condition: that of the method lrp.
    let plain = ["--out", &out, "--sum-channels", "--quiet"];
    succeeds(&[&crp("explain")[..], &plain].concat());
    let (shape, whole) = bench.read("m.npy");
    assert_eq!(shape, [1, 8, 8]);
    let lrp = ["--method", "lrp", "--out", &out];
    succeeds(&explain_seven(&lrp));
    assert_eq!(bench.read("m.npy").1, whole);
    // From the start layer's activation; a neuron.
    let start = [
        "--start-layer",
        "relu3",
        "--condition",
        "relu3=3:2:1",
        "--out",
        &out,
    ];
    succeeds(&[&crp("explain")[..], &start].concat());

    let top = [
        "--layer",
        "relu3",
        "--top",
        "2",
        "--receptive-fields",
        "--json",
    ];
    let ranked: Value =
        serde_json::from_str(&succeeds(&[&crp("concepts")[..], &top].concat())).unwrap();
    let concepts = ranked[0]["concepts"].as_array().unwrap();
    assert_eq!(concepts.len(), 2);
    assert_eq!(concepts[0]["receptive_field"].as_array().unwrap().len(), 3);
    let under = ["--layer", "relu1", "--condition", "relu3=3"];
    assert!(succeeds(&[&crp("concepts")[..], &under].concat()).contains("share"));

    let dot = bench.path("g.dot");
    let graph = [
        "--layer", "relu3", "--layer", "relu1", "--top", "2", "--dot", &dot,
    ];
    let text = succeeds(&[&crp("graph")[..], &graph].concat());
    assert!(text.contains("contributes to"), "{text}");
    assert!(
        std::fs::read_to_string(&dot)
            .unwrap()
            .starts_with("digraph")
    );

    for (condition, expected) in [
        ("relu3=99", "no channel 99"),
        ("relu9=1", "nearest names"),
        ("relu3=1;", "between semicolons"),
        ("relu3", "it has no ="),
        ("relu3=a", "neither a channel nor a neuron"),
    ] {
        let error = fails(&[&crp("explain")[..], &["--condition", condition]].concat());
        assert!(error.contains(expected), "{expected:?} in {error:?}");
    }
}

#[test]
fn help_and_completions() {
    for command in ["explain", "layers", "methods", "completions"] {
        let help = succeeds(&[command, "--help"]);
        assert!(
            help.contains("attrx ") && help.contains("xample:"),
            "{help}"
        );
    }
    for command in [
        ["lrp", "plan"],
        ["lrp", "check"],
        ["crp", "explain"],
        ["crp", "concepts"],
        ["crp", "graph"],
    ] {
        let help = succeeds(&[&command[..], &["--help"]].concat());
        assert!(help.contains("xample:") && help.contains("--set"), "{help}");
    }
    assert!(succeeds(&["completions", "bash"]).contains("--method"));
    assert!(succeeds(&["--version"]).starts_with("attrx "));
}

#[test]
fn bad_usage_is_refused_before_any_work() {
    let bench = Bench::new();
    let folder = bench.path("");
    let (missing, text) = (bench.path("no/a.npy"), bench.path("a.txt"));
    let npy = bench.path("a.npy");
    // The same file and the model itself, spelled otherwise.
    let again = bench.path("./a.npy");
    let model = asset("../digits/digits.onnx");
    let cases: &[(&[&str], &str)] = &[
        (&["--method", "salience"], "nearest are saliency"),
        (
            &["--method", "saliency", "--set", "abz=1"],
            "did you mean abs?",
        ),
        (
            &["--method", "saliency", "--baseline", "1"],
            "has no use for it",
        ),
        (
            &["--method", "saliency", "--feature-mask", "m.npy"],
            "has no use for it",
        ),
        (
            &["--method", "saliency", "--out", &missing],
            "folder does not exist",
        ),
        (
            &["--method", "saliency", "--out", &text],
            "must end in .npy or .safetensors",
        ),
        (
            &["--method", "idgi", "--out", &npy, "--delta", &npy],
            "both name",
        ),
        (
            &["--method", "idgi", "--out", &npy, "--delta", &again],
            "both name",
        ),
        (
            &["--method", "saliency", "--standard-error", &npy],
            "saliency has no standard errors",
        ),
        (
            &["--method", "saliency", "--json", &model],
            "it would overwrite a file that is read",
        ),
        (
            &["--method", "integrated-gradients", "--set", "tolerance=nan"],
            "it takes a number or none",
        ),
        (
            &[
                "--method",
                "integrated-gradients",
                "--set",
                "tolerance=-inf",
            ],
            "it takes a number or none",
        ),
        (
            &["--method", "deeplift", "--set", "eps=1e300"],
            "eps = 1e300",
        ),
        (
            &["--method", "saliency", "--json", &folder],
            "it is a folder",
        ),
        (
            &["--method", "saliency", "--delta", &npy],
            "no convergence delta",
        ),
        (
            &["--method", "saliency", "--device", "abacus"],
            "invalid value 'abacus'",
        ),
        (&["--method", "saliency", "--size", "0"], "--size 0"),
        (
            &["--method", "saliency", "--size", "9x9"],
            "[batch, 1, 8, 8]",
        ),
        (&["--method", "saliency", "--std", "0"], "--std"),
        (&["--method", "saliency", "--mean", "1,2"], "1 channels"),
        (
            &["--method", "blur-integrated-gradients", "--layer", "pool"],
            "explains the input only",
        ),
        (
            &["--method", "internal-influence"],
            "internal-influence needs --layer",
        ),
        (
            &["--method", "guided-gradcam", "--layer", "a", "--layer", "b"],
            "needs one --layer",
        ),
        (
            &["--method", "noise-tunnel", "--set", "of=internal-influence"],
            "needs --layer",
        ),
        (&["--method", "neuron-conductance"], "needs --neuron"),
        (&["--method", "xrai"], "needs --feature-mask"),
        (
            &[
                "--method",
                "saliency",
                "--neuron",
                "pool:0,0,0",
                "--target",
                "1",
            ],
            "leave out --target",
        ),
        (
            &[
                "--method", "gradcam", "--layer", "relu1", "--layer", "relu2", "--out", &npy,
            ],
            "write a .safetensors",
        ),
        (
            &[
                "--method",
                "gradcam",
                "--layer",
                "relu1",
                "--set",
                "interpolate_mode=cubic",
            ],
            "nearest, bilinear, bicubic",
        ),
        (
            &["--method", "integrated-gradients", "--baseline", "many"],
            "neither a number nor a file",
        ),
        (
            &[
                "--method",
                "integrated-gradients",
                "--set",
                "n_steps=1000000000000",
            ],
            "at most 65536",
        ),
        (
            &[
                "--method",
                "noise-tunnel",
                "--set",
                "nt_samples=1000000000000",
            ],
            "at most 1048576",
        ),
        (
            &["--method", "integrated-gradients", "--set", "n_steps=0"],
            "n_steps = 0",
        ),
        (&["--method"], "value is required"),
        (&["--unknown"], "unexpected argument '--unknown'"),
    ];
    for (more, expected) in cases {
        let error = fails(&explain_seven(more));
        assert!(error.contains(expected), "{more:?}: {error}");
    }
    assert_eq!(bench.files(), [""; 0], "something was written");
}

#[cfg(unix)]
#[test]
fn a_replaced_file_keeps_its_mode_and_its_links() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let (file, link) = (bench.path("secret.json"), bench.path("link.json"));
    std::fs::write(&file, "before").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    succeeds(&explain_seven(&["--method", "saliency", "--json", &link]));
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(std::fs::read_to_string(&file).unwrap().starts_with('{'));
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(bench.files(), ["link.json", "secret.json"]);
}

/// The start of a colour picture of 16384 x 16384 pixels.
const HUGE_PNG: &[u8] =
    b"\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x40\
          \x00\x00\x00\x40\x00\x08\x02\x00\x00\x00\x26\xaa\x87\xd3\x00\x00\x00\x08\x49\
          \x44\x41\x54\x78\x9c\x03\x00\x00\x00\x00\x01\x48\x06\x89\xd2\x00\x00\x00\x00\
          \x49\x45\x4e\x44\xae\x42\x60\x82";

#[test]
fn bad_files_are_refused() {
    let bench = Bench::new();
    let model = asset("digits.onnx");
    let broken = bench.path("broken.npy");
    std::fs::write(&broken, b"\x93NUMPY\x01\x00").unwrap();
    let png = bench.path("broken.png");
    std::fs::write(&png, b"not an image").unwrap();
    let flat = bench.floats("flat.npy", &[64], vec![0.0; 64]);
    let header = bench.path("header.npy");
    std::fs::write(&header, b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}").unwrap();
    let nan = bench.floats("nan.npy", &[1, 1, 8, 8], vec![f32::NAN; 64]);
    let none = bench.floats("none.npy", &[0, 1, 8, 8], Vec::new());
    let missing = bench.path("missing.npy");
    // 64 levels of brackets, each of which doubles the time of a naive parser.
    let nested = bench.path("nested.npy");
    let header_text = format!("{}{}", "[".repeat(64), "]".repeat(64));
    let start = [&b"\x93NUMPY\x01\x00\x80\x00"[..], header_text.as_bytes()].concat();
    std::fs::write(&nested, start).unwrap();
    // A header alone, of a picture that would take gigabytes.
    let huge = bench.path("huge.png");
    std::fs::write(&huge, HUGE_PNG).unwrap();
    // Shapes that fit only the file: the data is not read.
    let other = bench.path("other.npy");
    let text = format!(
        "{{'descr': '|u1', 'fortran_order': False, 'shape': ({}, 8), }}",
        1u64 << 29
    );
    let length = (text.len() as u16).to_le_bytes();
    std::fs::write(
        &other,
        [&b"\x93NUMPY\x01\x00"[..], &length, text.as_bytes()].concat(),
    )
    .unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&other)
        .unwrap();
    file.set_len(1 << 32 | 1 << 10).unwrap();
    // Many arrays, each small once packed.
    let bomb = bench.path("bomb.npz");
    let zeros = vec![0u8; 90 << 20];
    archive(
        &bomb,
        &["a.npy", "b.npy", "c.npy"].map(|name| (name, &zeros[..])),
    );
    // An archive whose directory has another checksum than the array.
    let changed = bench.path("changed.npz");
    let whole = std::fs::read(bench.floats("x.npy", &[1, 1, 8, 8], vec![0.5; 64])).unwrap();
    archive(&changed, &[("x.npy", &whole)]);
    let mut archive = std::fs::read(&changed).unwrap();
    let directory = archive.windows(4).position(|four| four == b"PK\x01\x02");
    archive[directory.unwrap() + 16] ^= 1;
    std::fs::write(&changed, archive).unwrap();
    let cases = [
        (&nested, "nested too deeply"),
        (&huge, "16384 x 16384 pixels"),
        (&changed, "checksum"),
        (&other, "[batch, 1, 8, 8]"),
        (&bomb, "it would grow"),
        (&broken, "not a .npy array"),
        (&header, "a header of 4294967295 bytes"),
        (&png, "not a PNG or JPEG image"),
        (&flat, "[batch, 1, 8, 8]"),
        (&nan, "NaN"),
        (&none, "no rows"),
        (&missing, "cannot read"),
    ];
    for (input, expected) in cases {
        let error = fails(&[
            "explain", "--model", &model, "--input", input, "--method", "saliency",
        ]);
        assert!(error.contains(expected), "{input}: {error}");
    }
    #[cfg(unix)]
    {
        // Weights in a pipe that nobody writes into.
        let model = bench.path("mlp_external.onnx");
        std::fs::copy(exported("mlp_external.onnx"), &model).unwrap();
        let pipe = Command::new("mkfifo").arg(format!("{model}.data")).status();
        assert!(pipe.unwrap().success());
        let error = fails(&["layers", "--model", &model]);
        assert!(error.contains("is not a file"), "{error}");
    }
    let folder = root().join("crates/attr-testkit/onnx/hostile");
    let mut tried = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|e| e == "onnx") {
            fails(&["layers", "--model", &file.display().to_string()]);
            tried += 1;
        }
    }
    assert!(tried >= 25, "only {tried} hostile files");
}

#[test]
fn targets_that_are_too_many_are_refused() {
    let bench = Bench::new();
    let targets = bench.array("t.npy", &[2], vec![7i64, 1]);
    let error = fails(&explain_seven(&[
        "--method", "saliency", "--target", &targets,
    ]));
    assert!(error.contains("2 targets were given for 1 rows"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_is_found_first_and_reports_are_no_results() {
    // Nobody can write here, not even the superuser.
    let error = fails(&explain_seven(&[
        "--method",
        "saliency",
        "--out",
        "/proc/a.npy",
    ]));
    assert!(error.contains("--out /proc/a.npy: cannot write"), "{error}");
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_attrx"))
        .args(explain_seven(&["--method", "saliency", "--verbose"]))
        .stderr(full)
        .output()
        .unwrap();
    assert!(run.status.success());
    assert!(String::from_utf8_lossy(&run.stdout).contains("score"));
}

#[test]
fn what_cannot_be_computed_does_not_lose_the_rest() {
    let bench = Bench::new();
    let (out, delta) = (bench.path("out.npy"), bench.path("delta.npy"));
    let without = [
        "--set",
        "multiply_by_inputs=false",
        "--out",
        &out,
        "--delta",
        &delta,
    ];
    let method = ["--method", "integrated-gradients"];
    let run = attrx(&explain_seven(&[&method[..], &without].concat()));
    assert_eq!(run.status.code(), Some(2));
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(error.contains("all other results were written"), "{error}");
    assert_eq!(bench.files(), ["out.npy"]);
}

#[test]
fn numbers_that_the_device_does_not_hold_are_named() {
    let bench = Bench::new();
    let large = bench.array("large.npy", &[1, 1, 8, 8], vec![3_000_000_000i64; 64]);
    let ablation = ["--method", "feature-ablation", "--feature-mask", &large];
    let error = fails(&explain_seven(&ablation));
    assert!(error.contains("holds 3000000000"), "{error}");
    let tokens = bench.array("tokens.npy", &[1, 6], vec![3_000_000_000i64; 6]);
    let model = exported("gpt_tiny_legacy13.onnx");
    let error = fails(&[
        "explain", "--model", &model, "--input", &tokens, "--target", "0,0", "--method", "lime",
    ]);
    assert!(error.contains("holds 3000000000"), "{error}");
}

#[test]
fn an_incomplete_map_says_why() {
    let bench = Bench::new();
    let image = bench.floats("x.npy", &[1, 3, 12, 12], vec![0.5; 432]);
    let model = exported("efficientnet_tiny_legacy13.onnx");
    let text = succeeds(&[
        "explain", "--model", &model, "--input", &image, "--method", "fullgrad",
    ]);
    assert!(
        text.contains("warning: the gradients and biases do not add up"),
        "{text}"
    );
}

/// Files that ask for more than the budget are refused before they take it: with 768 MiB of address
/// space, they would otherwise fail for lack of memory.
#[cfg(target_os = "linux")]
#[test]
fn greedy_models_are_refused_before_they_take_memory() {
    let bench = Bench::new();
    let rows = bench.floats("rows.npy", &[2, 4], vec![0.5; 8]);
    let batch = bench.floats("batch.npy", &[1 << 16, 4, 1], vec![0.5; 1 << 18]);
    let image = bench.floats("image.npy", &[1, 4, 8, 8], vec![0.5; 256]);
    let point = bench.floats("point.npy", &[1, 1, 1, 1], vec![0.5]);
    let sequence = bench.floats("long.npy", &[1, 20_000, 1], vec![0.5; 20_000]);
    let cases = [
        ("wide_integers", &rows, "it computes with 1099511627776"),
        ("tiled_rows", &rows, "allow it with --memory"),
        (
            "bound_batch",
            &batch,
            "the 65536 rows that the model takes need about",
        ),
        ("many_constants", &rows, "too many constants"),
        ("padded_convolution", &image, "allow it with --memory"),
        ("shared_average", &point, "allow it with --memory"),
        ("long_sequence", &sequence, "more than 16384 steps"),
        ("loud_names", &rows, r"Foo\u{1b}[31m"),
    ];
    let folder = root().join("crates/attr-testkit/onnx/greedy");
    for (name, input, expected) in cases {
        let model = folder.join(name).with_extension("onnx");
        let model = model.display().to_string();
        for method in ["saliency", "feature-ablation"] {
            let error = limited_fails(&[
                "explain", "--model", &model, "--input", input, "--target", "0", "--method", method,
            ]);
            assert!(error.contains(expected), "{name}: {error}");
            assert!(error.len() < 2000, "{name}: {} bytes", error.len());
        }
    }
}

/// Of a large file beside the model, only what the model names is read.
#[cfg(target_os = "linux")]
#[test]
fn only_named_weights_are_read() {
    let bench = Bench::new();
    let model = bench.path("mlp_external.onnx");
    std::fs::copy(exported("mlp_external.onnx"), &model).unwrap();
    let data = format!("{model}.data");
    std::fs::copy(exported("mlp_external.onnx.data"), &data).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&data).unwrap();
    file.set_len(16 << 30).unwrap();
    let run = limited(&["layers", "--model", &model]);
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

/// Four times the steps take about four times as long to trace.
#[test]
fn long_sequences_are_traced_in_linear_time() {
    let bench = Bench::new();
    let model = root().join("crates/attr-testkit/onnx/greedy/long_sequence.onnx");
    let model = model.display().to_string();
    let seconds = |steps: usize| {
        let rows = bench.floats("steps.npy", &[1, steps as u64, 1], vec![0.5; steps]);
        let once = |_| {
            let start = std::time::Instant::now();
            succeeds(&["layers", "--model", &model, "--input", &rows, "--json"]);
            start.elapsed().as_secs_f64()
        };
        (0..3).map(once).fold(f64::MAX, f64::min)
    };
    let (short, long) = (seconds(3_000), seconds(12_000));
    assert!(long < 9.0 * short, "{short} s, then {long} s");
}

/// Memory that the system refuses is one line, too.
#[cfg(target_os = "linux")]
#[test]
fn refused_memory_is_one_line() {
    let bench = Bench::new();
    let rows = bench.floats("rows.npy", &[2, 4], vec![0.5; 8]);
    let model = root().join("crates/attr-testkit/onnx/greedy/tiled_rows.onnx");
    let model = model.display().to_string();
    let run = limited(&[
        "explain", "--model", &model, "--input", &rows, "--target", "0", "--method", "saliency",
        "--memory", "1000000",
    ]);
    let error = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{error}");
    assert!(
        error.starts_with("error: the system has no memory left"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
}

/// The first pass is as long as the others: all rows at once would take a gigabyte.
#[cfg(target_os = "linux")]
#[test]
fn many_rows_are_evaluated_within_the_budget() {
    let bench = Bench::new();
    let rows = 1 << 16;
    let many = bench.floats("many.npy", &[rows, 1, 8, 8], vec![0.5; rows as usize * 64]);
    let out = bench.path("out.npy");
    let model = asset("digits.onnx");
    let saliency = [
        "--method", "saliency", "--memory", "64", "--out", &out, "--quiet",
    ];
    let done = limited(
        &[
            &["explain", "--model", &model, "--input", &many],
            &saliency[..],
        ]
        .concat(),
    );
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_eq!(bench.read("out.npy").0, [rows, 1, 8, 8]);
}

/// Runs the program with 768 MiB of address space.
#[cfg(target_os = "linux")]
fn limited(arguments: &[&str]) -> Output {
    Command::new("sh")
        .args(["-c", "ulimit -v 786432; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_attrx"))
        .args(arguments)
        .output()
        .unwrap()
}

#[cfg(target_os = "linux")]
#[track_caller]
fn limited_fails(arguments: &[&str]) -> String {
    let done = limited(arguments);
    let error = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(2), "{error}");
    error
}
