//! Times black-box methods against Captum's, in one run on the same networks and inputs.
//!
//! `cargo xtask bench` prints medians and their ratios: KernelSHAP, exact and sampled Shapley values
//! on a tabular network, occlusion on ResNet-18 at 224x224. `tools/bench/captum_peer.py` runs
//! Captum's side in the Python that `ATTR_PEER_PYTHON` names, at the best `perturbations_per_eval`
//! for each case. Without it, only attr's own times are printed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use attr_core::{FeatureMask, Method, Target, Traced, Value};
use attr_perturb::{FeatureAblation, Occlusion, ShapleyValueSampling, ShapleyValues};
use attr_surrogate::{KernelShap, Lime};
use attr_testkit::device;
use attr_testkit::models::{ResNet18, input, seeded};
use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::relu};
use npyz::WriterBuilder;
use serde_json::{Value as Json, json};

/// 30 features, two hidden layers of 64, two classes.
#[derive(Module, Debug)]
struct Tabular {
    layer0: Linear,
    layer1: Linear,
    layer2: Linear,
}

impl Tabular {
    fn new(device: &Device) -> Self {
        Self {
            layer0: LinearConfig::new(30, 64).init(device),
            layer1: LinearConfig::new(64, 64).init(device),
            layer2: LinearConfig::new(64, 2).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = relu(self.layer0.forward(x));
        self.layer2.forward(relu(self.layer1.forward(x)))
    }
}

/// Captum in a separate process.
struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start(folder: &Path, extra: &[&str]) -> Option<Self> {
        let python = std::env::var_os("ATTR_PEER_PYTHON")?;
        let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this");
        let script = Path::new(&package).join("../../tools/bench/captum_peer.py");
        // `drop` waits for it.
        #[allow(clippy::zombie_processes)]
        let mut child = Command::new(python)
            .arg(script)
            .arg(folder)
            .args(extra)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer starts");
        let requests = child.stdin.take().expect("it is piped");
        let mut answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut ready = String::new();
        answers.read_line(&mut ready).expect("the peer answers");
        println!("peer: {}", ready.trim());
        Some(Self {
            child,
            requests,
            answers,
        })
    }

    /// Returns the milliseconds that one run of a case took, and its first results.
    fn run(&mut self, case: &Json) -> (f64, Vec<f64>) {
        writeln!(self.requests, "{case}").expect("the peer listens");
        self.requests.flush().expect("the peer listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the peer answers");
        let answer: Json = serde_json::from_str(&line).expect("the peer answers in JSON");
        let first = answer["first"].as_array().expect("numbers").iter();
        let first = first.filter_map(Json::as_f64).collect();
        (answer["seconds"].as_f64().expect("a time") * 1e3, first)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may already have ended.
        let _ = writeln!(self.requests, "quit");
        let _ = self.child.wait();
    }
}

/// Writes parameters and inputs for the peer.
struct Export<'a> {
    folder: &'a Path,
    prefix: &'a str,
    path: Vec<String>,
}

impl ModuleVisitor for Export<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = format!("{}{}", self.prefix, torch_name(&self.path.join(".")));
        let mut value = Value::from(param.val());
        // PyTorch stores a linear layer's weights transposed.
        if name.ends_with("fc.weight") {
            value = Value::from(value.tensor::<2>().expect("a matrix").transpose());
        }
        save(&self.folder.join(format!("{name}.npy")), &value);
    }
}

/// Returns the name of a parameter in torchvision's ResNet-18.
fn torch_name(path: &str) -> String {
    path.replace("gamma", "weight")
        .replace("beta", "bias")
        .replace("downsample.conv", "downsample.0")
        .replace("downsample.bn", "downsample.1")
}

fn save(path: &Path, value: &Value) {
    let data = value.to_vec().expect("it can be read");
    let shape: Vec<u64> = value.shape().into_iter().map(|size| size as u64).collect();
    let file = std::fs::File::create(path).expect("the folder is there");
    let mut writer = npyz::WriteOptions::<f32>::new()
        .default_dtype()
        .shape(&shape)
        .writer(std::io::BufWriter::new(file))
        .begin_nd()
        .expect("it can be written");
    writer.extend(data).expect("it can be written");
    writer.finish().expect("it can be written");
}

/// Runs both sides in turn and prints medians and the median of the ratios.
fn compare(
    name: &str,
    runs: usize,
    ours: &dyn Fn() -> Vec<f32>,
    peer: &mut Option<Peer>,
    case: &Json,
) {
    let (mut own, mut ratios, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=runs {
        let start = Instant::now();
        let values = ours();
        let time = start.elapsed().as_secs_f64() * 1e3;
        let other = peer.as_mut().map(|peer| peer.run(case));
        if run == 0 {
            if let Some((_, first)) = &other {
                let pairs = first.iter().zip(&values);
                let largest = pairs
                    .map(|(a, b)| (a - f64::from(*b)).abs())
                    .fold(0.0, f64::max);
                println!("{name}: largest difference of the first values {largest:.1e}");
            }
            if runs > 0 {
                continue;
            }
        }
        own.push(time);
        if let Some((other, _)) = other {
            theirs.push(other);
            ratios.push(other / time);
        }
    }
    let beside = if ratios.is_empty() {
        String::new()
    } else {
        format!(
            "   Captum {:>10.2} ms   {:>7.1} times as fast",
            median(theirs),
            median(ratios)
        )
    };
    println!("{name:<46} attr {:>9.2} ms{beside}", median(own));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn values(found: &[Option<Value>]) -> Vec<f32> {
    let first = found[0].as_ref().expect("an attribution");
    first.to_vec().expect("it can be read")
}

fn main() {
    let device = device();
    let folder = std::env::temp_dir().join(format!("attr-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the peer");

    let network = seeded(Tabular::new(&device), 3);
    let x = input([1, 30], 4);
    for (i, layer) in [&network.layer0, &network.layer1, &network.layer2]
        .into_iter()
        .enumerate()
    {
        save(
            &folder.join(format!("tabular_w{i}.npy")),
            &layer.weight.val().into(),
        );
        let bias = layer.bias.as_ref().expect("a bias").val();
        save(&folder.join(format!("tabular_b{i}.npy")), &bias.into());
    }
    save(&folder.join("tabular_x.npy"), &x.clone().into());
    let resnet = seeded(ResNet18::new(1000, &device), 1).valid();
    resnet.visit(&mut Export {
        folder: &folder,
        prefix: "resnet.",
        path: Vec::new(),
    });
    let image = input([1, 3, 224, 224], 2);
    save(&folder.join("image_x.npy"), &image.clone().into());

    let model = Traced::new(&network, |m: &Tabular, x| m.forward(x), &x).expect("it traces");
    let mut peer = Peer::start(&folder, &[]);
    let groups = |count: usize| -> FeatureMask {
        let ids: Vec<i64> = (0..30).map(|i| (i * count / 30) as i64).collect();
        Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 30]), &device).into()
    };
    let explain = |method: &dyn Method| {
        let found = Method::attribute(&method, &model, &x, Target::Class(0));
        values(found.expect("it is explained").values())
    };
    let kernel = KernelShap::new().with_samples(2000);
    compare(
        "KernelSHAP, 30 features, 2000 samples",
        15,
        &|| explain(&kernel),
        &mut peer,
        &json!({"case": "kernel_shap", "n_samples": 2000, "perturbations_per_eval": 750}),
    );
    let sampling = ShapleyValueSampling::new().with_samples(25);
    compare(
        "Shapley sampling, 30 features, 25 orders",
        15,
        &|| explain(&sampling),
        &mut peer,
        &json!({"case": "shapley_value_sampling", "n_samples": 25, "perturbations_per_eval": 30}),
    );
    for features in [6, 7] {
        let exact = ShapleyValues::new().with_feature_mask(groups(features));
        compare(
            &format!("exact Shapley, {features} features"),
            if features == 6 { 7 } else { 1 },
            &|| explain(&exact),
            &mut peer,
            &json!({"case": "shapley_values", "features": features,
                    "perturbations_per_eval": features}),
        );
    }
    let exact = ShapleyValues::new().with_feature_mask(groups(12));
    compare(
        "exact Shapley, 12 features; Captum 500 orders",
        7,
        &|| explain(&exact),
        &mut peer,
        &json!({"case": "shapley_value_sampling", "features": 12, "n_samples": 500,
                "perturbations_per_eval": 12}),
    );
    println!("  (Captum's exact values take 12! = 479,001,600 orders)");
    let ablation = FeatureAblation::new();
    compare(
        "feature ablation, 30 features",
        31,
        &|| explain(&ablation),
        &mut peer,
        &json!({"case": "feature_ablation", "perturbations_per_eval": 30}),
    );
    let lime = Lime::new();
    compare(
        "LIME, 30 features, 25 samples",
        15,
        &|| explain(&lime),
        &mut peer,
        &json!({"case": "lime", "perturbations_per_eval": 25}),
    );
    let windows = Occlusion::new([vec![3]]);
    compare(
        "occlusion, 30 features, 28 windows",
        31,
        &|| explain(&windows),
        &mut peer,
        &json!({"case": "occlusion_tabular", "perturbations_per_eval": 28}),
    );

    let model = Traced::new(&resnet, |m: &ResNet18, x| m.forward(x), &image).expect("it traces");
    let windows = Occlusion::new([vec![3, 15, 15]]).with_strides([vec![3, 8, 8]]);
    let occlude = |occlusion: &Occlusion| {
        let found = occlusion
            .attribute(&model, &image, 281)
            .expect("it is explained");
        values(found.values())
    };
    let case = |count: usize| json!({"case": "occlusion_resnet", "target": 281, "perturbations_per_eval": count});
    compare(
        "occlusion, ResNet-18, 784 windows",
        1,
        &|| occlude(&windows),
        &mut peer,
        &case(4),
    );
    drop(peer);
    let mut peer = Peer::start(&folder, &["--channels-last"]);
    if peer.is_some() {
        compare(
            "the same, Captum channels last",
            1,
            &|| occlude(&windows),
            &mut peer,
            &case(16),
        );
    }
    drop(peer);
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}
