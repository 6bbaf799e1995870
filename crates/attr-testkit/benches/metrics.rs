//! Times metrics against Captum's and Quantus', in one run on the same networks, inputs and
//! attributions; then a table of methods by metrics, which neither has.
//!
//! `cargo xtask bench` prints medians and their ratios for 64 rows of a small CNN, and for two images
//! of ResNet-18 at 224x224. `tools/bench/quantus_peer.py` runs the other side in the Python that
//! `ATTR_PEER_PYTHON` names: Captum at its best `max_examples_per_batch`, Quantus with all rows in
//! one batch. Without it, only attr's own times are printed. BatchNorm is folded on both sides.
//!
//! Quantus has no deletion: it is compared with `PixelFlipping` in as many steps, which is the same
//! curve without its first point. Of metrics that draw random numbers, means over rows are compared.

mod peer;

use std::time::Instant;

use attr_core::{FeatureMask, Method, Target, Traced};
use attr_gradient::{DeepLift, InputXGradient, IntegratedGradients, Saliency};
use attr_lrp_crp::{Lrp, epsilon_plus};
use attr_metrics::{
    Abpc, Deletion, Evaluation, Explainer, FaithfulnessCorrelation, Given, Infidelity,
    InfidelityPerturbation, Insertion, Metric, PixelFlipping, RandomLogit, Road, Score,
    SensitivityMax, Sparseness,
};
use attr_perturb::Occlusion;
use attr_testkit::device;
use attr_testkit::models::{ResNet18, input, seeded};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData, activation::relu};
use serde_json::json;

use peer::{Export, Peer, compare, median, save};

/// The network of the digits examples.
#[derive(Module, Debug)]
struct SmallCnn {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    conv3: Conv2d,
    bn3: BatchNorm,
    pool: MaxPool2d,
    fc: Linear,
}

impl SmallCnn {
    fn new(device: &Device) -> Self {
        let conv = |inputs, outputs| {
            Conv2dConfig::new([inputs, outputs], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device)
        };
        Self {
            conv1: conv(1, 16),
            bn1: BatchNormConfig::new(16).init(device),
            conv2: conv(16, 32),
            bn2: BatchNormConfig::new(32).init(device),
            conv3: conv(32, 32),
            bn3: BatchNormConfig::new(32).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            fc: LinearConfig::new(32 * 4 * 4, 10).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.bn1.forward(self.conv1.forward(x)));
        let x = self
            .pool
            .forward(relu(self.bn2.forward(self.conv2.forward(x))));
        let x = relu(self.bn3.forward(self.conv3.forward(x)));
        self.fc.forward(x.flatten(1, 3))
    }
}

/// One model with what both sides are given about it.
struct Subject {
    name: &'static str,
    model: Traced,
    x: Tensor<4>,
    /// The predicted class of each row.
    classes: Vec<usize>,
    /// Input x gradient.
    attributions: Given,
}

impl Subject {
    /// Explains the predicted class of each row, and writes all but the model for the peer.
    fn new(folder: &std::path::Path, name: &'static str, model: Traced, x: Tensor<4>) -> Self {
        let output = model.forward(&x).expect("it runs").to_vec();
        let output = output.expect("it can be read");
        let rows = output.chunks(output.len() / x.dims()[0]);
        let largest = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        let classes: Vec<usize> = rows.map(|row| largest(row).expect("classes")).collect();
        let found = InputXGradient::new().attribute(&model, &x, classes.clone());
        let found = found.expect("it is explained");
        let attributions = found.values()[0].as_ref().expect("an attribution");
        save(&folder.join(format!("{name}_a.npy")), attributions);
        save(&folder.join(format!("{name}_x.npy")), &x.clone().into());
        let numbers: Vec<f32> = classes.iter().map(|&class| class as f32).collect();
        let numbers = TensorData::new(numbers, [classes.len()]);
        let numbers = Tensor::<1>::from_data(numbers, &x.device());
        save(&folder.join(format!("{name}_y.npy")), &numbers.into());
        Self {
            name,
            attributions: Given::from(&found),
            model,
            x,
            classes,
        }
    }

    fn evaluation(&self) -> Evaluation<'_, Tensor<4>, Traced> {
        Evaluation::new(&self.model, &self.x, Target::Classes(self.classes.clone()))
    }

    fn score<'a>(&self, metric: &dyn Metric, explainer: impl Into<Explainer<'a>>) -> Score {
        let score = self.evaluation().measure(metric, explainer);
        score.expect("it can be measured")
    }

    /// Measures the same features as Quantus: each element is one.
    fn score_elements(&self, metric: &dyn Metric) -> Score {
        let evaluation = self.evaluation().with_features(FeatureMask::Elements);
        let score = evaluation.measure(metric, self.attributions.clone());
        score.expect("it can be measured")
    }
}

/// How each side runs the metrics on one model.
struct Settings {
    runs: usize,
    /// Whether runs are so short that each needs another one before.
    warm: bool,
    /// Rows that Captum takes at once, of infidelity and of sensitivity.
    at_once: [usize; 2],
    /// Steps of deletion and of pixel flipping.
    steps: [usize; 2],
}

fn mean(score: &Score) -> Vec<f32> {
    vec![score.mean() as f32]
}

/// The points of each curve after the first `skipped`.
fn points(score: &Score, skipped: usize) -> Vec<f32> {
    let curves = score.curves.as_ref().expect("a metric with a curve");
    let points = curves.iter().flat_map(|curve| &curve[skipped..]);
    points.map(|&point| point as f32).collect()
}

/// Times infidelity on one model.
fn infidelity(subject: &Subject, settings: &Settings, peer: &mut Option<Peer>) {
    let (name, at_once) = (subject.name, settings.at_once[0]);
    let noisy = Infidelity {
        perturbation: InfidelityPerturbation::NoisyBaseline,
        ..Infidelity::default()
    };
    compare(
        &format!("{name}: infidelity, 10 perturbations"),
        settings.runs,
        &|| mean(&subject.score(&noisy, subject.attributions.clone())),
        peer,
        &json!({"case": "infidelity", "model": name, "at_once": at_once,
                "warm": settings.warm}),
    );
}

/// Times the sensitivity of saliency on one model.
fn sensitivity(subject: &Subject, settings: &Settings, peer: &mut Option<Peer>) {
    let (name, at_once) = (subject.name, settings.at_once[1]);
    compare(
        &format!("{name}: sensitivity-max, 10 samples"),
        settings.runs,
        &|| mean(&subject.score(&SensitivityMax::default(), &Saliency::new())),
        peer,
        &json!({"case": "sensitivity_max", "model": name, "at_once": at_once,
                "warm": settings.warm}),
    );
}

/// Times the metrics that remove features step by step on one model.
fn curves(subject: &Subject, settings: &Settings, peer: &mut Option<Peer>) {
    let name = subject.name;
    let elements = subject.x.dims()[1..].iter().product::<usize>();
    let [steps, flips] = settings.steps;
    let flipping = |features_in_step: usize| {
        json!({"case": "pixel_flipping", "model": name, "features_in_step": features_in_step,
               "warm": settings.warm})
    };
    let deletion = Deletion {
        steps,
        ..Deletion::default()
    };
    compare(
        &format!("{name}: deletion, {steps} steps"),
        settings.runs,
        &|| points(&subject.score_elements(&deletion), 1),
        peer,
        &flipping(elements / steps),
    );
    let features_in_step = elements / flips;
    let pixel_flipping = PixelFlipping {
        features_in_step,
        ..PixelFlipping::default()
    };
    compare(
        &format!("{name}: pixel flipping, {flips} steps"),
        settings.runs,
        &|| points(&subject.score_elements(&pixel_flipping), 0),
        peer,
        &flipping(features_in_step),
    );
}

/// Times ROAD on one model.
fn road(subject: &Subject, percentages: &[f64], runs: usize, peer: &mut Option<Peer>) {
    let metric = Road {
        percentages: percentages.to_vec(),
        ..Road::default()
    };
    let name = subject.name;
    compare(
        &format!("{name}: ROAD, {} percentages", percentages.len()),
        runs,
        &|| mean(&subject.score(&metric, subject.attributions.clone())),
        peer,
        &json!({"case": "road", "model": name, "percentages": percentages}),
    );
}

/// Times a table of six methods by eight metrics with default parameters.
fn table(subject: &Subject) {
    let methods: [(&str, Box<dyn Method>); 6] = [
        ("saliency", Box::new(Saliency::new())),
        ("input x gradient", Box::new(InputXGradient::new())),
        (
            "integrated gradients",
            Box::new(IntegratedGradients::new().with_steps(32)),
        ),
        ("DeepLIFT", Box::new(DeepLift::new())),
        (
            "occlusion",
            Box::new(Occlusion::new([vec![1, 3, 3]]).with_strides([vec![1, 2, 2]])),
        ),
        ("LRP", Box::new(Lrp::new(epsilon_plus()))),
    ];
    let metrics: [Box<dyn Metric>; 8] = [
        Box::new(Infidelity::default()),
        Box::new(SensitivityMax::default()),
        Box::new(FaithfulnessCorrelation::default()),
        Box::new(Deletion::default()),
        Box::new(Insertion::default()),
        Box::new(Abpc::default()),
        Box::new(Sparseness::default()),
        Box::new(RandomLogit::default()),
    ];
    let methods: Vec<(&str, &dyn Method)> = methods
        .iter()
        .map(|(name, method)| (*name, &**method))
        .collect();
    let metrics: Vec<&dyn Metric> = metrics.iter().map(|metric| &**metric).collect();
    let runs = (0..=7).map(|_| {
        let start = Instant::now();
        let table = subject.evaluation().compare(&methods, &metrics);
        table.expect("it compares");
        start.elapsed().as_secs_f64() * 1e3
    });
    // The first run warms up.
    let all = median(runs.skip(1).collect());
    println!(
        "{}: {} methods and two references by {} metrics, {} rows: attr {all:.0} ms",
        subject.name,
        methods.len(),
        metrics.len(),
        subject.classes.len()
    );
}

fn main() {
    let device = device();
    let folder = std::env::temp_dir().join(format!("attr-metrics-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the peer");
    let small = seeded(SmallCnn::new(&device), 5).valid();
    small.visit(&mut Export::new(&folder, "small."));
    let resnet = seeded(ResNet18::new(1000, &device), 1).valid();
    resnet.visit(&mut Export::new(&folder, "resnet."));

    let subject = |name, model: Result<Traced, attr_core::Error>, x: &Tensor<4>| {
        let model = model.expect("it traces").fold_batch_norm();
        Subject::new(&folder, name, model, x.clone())
    };
    let x = input([64, 1, 8, 8], 6);
    let small = Traced::new(&small, |m: &SmallCnn, x| m.forward(x), &x);
    let small = subject("small", small, &x);
    let x = input([2, 3, 224, 224], 2);
    let coloured = Traced::new(&resnet, |m: &ResNet18, x| m.forward(x), &x);
    let coloured = subject("resnet", coloured, &x);
    // Quantus' ROAD fails on three channels.
    let x = input([2, 1, 224, 224], 3);
    let repeated = |m: &ResNet18, x: Tensor<4>| m.forward(x.repeat_dim(1, 3));
    let grey = subject("grey", Traced::new(&resnet, repeated, &x), &x);

    let mut peer = Peer::start("quantus_peer.py", "ATTR_PEER_PYTHON", &folder, &[]);
    let settings = Settings {
        runs: 15,
        warm: true,
        at_once: [640, 320],
        steps: [8, 64],
    };
    infidelity(&small, &settings, &mut peer);
    sensitivity(&small, &settings, &mut peer);
    curves(&small, &settings, &mut peer);
    let default = Road::default().percentages;
    road(&small, &default, 7, &mut peer);
    table(&small);
    let settings = Settings {
        runs: 3,
        warm: false,
        at_once: [20, 20],
        steps: [12, 48],
    };
    infidelity(&coloured, &settings, &mut peer);
    sensitivity(&coloured, &settings, &mut peer);
    curves(&coloured, &settings, &mut peer);
    let some = [10.0, 30.0, 50.0, 70.0, 90.0];
    road(&grey, &some, 1, &mut peer);
    drop(peer);
    let channels_last = ["--channels-last"];
    let mut peer = Peer::start(
        "quantus_peer.py",
        "ATTR_PEER_PYTHON",
        &folder,
        &channels_last,
    );
    if peer.is_some() {
        println!("the same, the peer's model in channels-last memory:");
        // Captum's sensitivity fails on gradients in this order.
        infidelity(&coloured, &settings, &mut peer);
        curves(&coloured, &settings, &mut peer);
    }
    drop(peer);
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}
