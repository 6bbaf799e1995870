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

use std::path::Path;
use std::time::{Duration, Instant};

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
use attr_testkit::models::{DigitsCnn, ResNet18, input, seeded};
use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use serde_json::{Value as Json, json};

use peer::{Export, Peer, Times, asked, ratio, record, save};

/// One model with what both sides are given about it.
struct Subject {
    name: &'static str,
    title: &'static str,
    model: Traced,
    x: Tensor<4>,
    /// The predicted class of each row.
    classes: Vec<usize>,
    /// Input x gradient.
    attributions: Given,
}

impl Subject {
    /// Explains the predicted class of each row, and writes all but the model for the peer.
    fn new(folder: &Path, [name, title]: [&'static str; 2], model: Traced, x: Tensor<4>) -> Self {
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
            title,
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
    /// For how many milliseconds each side runs before a run that counts.
    warm: u64,
    /// Rows that Captum takes at once, of infidelity and of sensitivity.
    at_once: [usize; 2],
    /// Steps of deletion and of pixel flipping.
    steps: [usize; 2],
    /// Whether the peer's convolutions use PyTorch's other order of memory.
    channels_last: bool,
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

/// Runs both sides in turn, unless others were asked for, and prints medians and the median of the
/// ratios.
///
/// If a case has `warm`, each side runs for so many milliseconds before every time that counts: threads
/// of the other side that still look for work, and caches that it has filled, would slow down a short
/// run.
fn compare(
    subject: &Subject,
    metric: &str,
    settings: &Settings,
    ours: &dyn Fn() -> Vec<f32>,
    peer: &mut Option<Peer>,
    case: &Json,
) {
    let model = format!("metrics, {}", subject.title);
    let setting = if settings.channels_last {
        "the peer with channels last"
    } else {
        ""
    };
    let mut case = case.clone();
    case["channels_last"] = settings.channels_last.into();
    let mut title = format!("{model}, {metric}");
    if !setting.is_empty() {
        title += &format!(", {setting}");
    }
    if !asked(&title) {
        return;
    }
    let (mut own, mut theirs) = (Times::default(), Times::default());
    let mut difference = None;
    for run in 0..=settings.runs {
        let warm = Duration::from_millis(case["warm"].as_u64().unwrap_or(0));
        let before = Instant::now();
        while before.elapsed() < warm {
            ours();
        }
        let start = Instant::now();
        let values = ours();
        let time = start.elapsed().as_secs_f64() * 1e3;
        let other = peer.as_mut().map(|peer| peer.run(&case).expect("it runs"));
        if run == 0 {
            if let Some((_, answer)) = &other {
                let first = answer["first"].as_array().expect("numbers").iter();
                let pairs = first.filter_map(Json::as_f64).zip(&values);
                let each = pairs.map(|(a, b)| (a - f64::from(*b)).abs());
                difference = Some(each.fold(0.0, f64::max));
            }
            if settings.runs > 0 {
                continue;
            }
        }
        own.0.push(time);
        theirs.0.extend(other.map(|(time, _)| time));
    }
    let ratio = ratio(&own, &theirs);
    print!("{title}: attr {:.2} ms", own.median());
    if let (Some(ratio), Some(difference)) = (ratio, difference) {
        print!(
            ", peer {:.2} ms, {ratio:.1} times as fast; largest difference of the first values \
             {difference:.1e}",
            theirs.median()
        );
    }
    println!();
    let library = match case["case"].as_str() {
        Some("infidelity" | "sensitivity_max") => "Captum",
        _ => "Quantus",
    };
    record(&json!({"row": {
        "model": model, "method": metric, "setting": setting, "peer": library,
        "ours_ms": own.to_json(), "peer_best_ms": theirs.to_json(),
        "ratio": ratio,
    }}));
}

/// Times infidelity on one model.
fn infidelity(subject: &Subject, settings: &Settings, peer: &mut Option<Peer>) {
    let (name, at_once) = (subject.name, settings.at_once[0]);
    let noisy = Infidelity {
        perturbation: InfidelityPerturbation::NoisyBaseline,
        ..Infidelity::default()
    };
    compare(
        subject,
        "infidelity, 10 perturbations",
        settings,
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
        subject,
        "sensitivity-max, 10 samples",
        settings,
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
        subject,
        &format!("deletion, {steps} steps"),
        settings,
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
        subject,
        &format!("pixel flipping, {flips} steps"),
        settings,
        &|| points(&subject.score_elements(&pixel_flipping), 0),
        peer,
        &flipping(features_in_step),
    );
}

/// Times ROAD on one model.
fn road(subject: &Subject, percentages: &[f64], settings: &Settings, peer: &mut Option<Peer>) {
    let metric = Road {
        percentages: percentages.to_vec(),
        ..Road::default()
    };
    let name = subject.name;
    compare(
        subject,
        &format!("ROAD, {} percentages", percentages.len()),
        settings,
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
    let all = Times(runs.skip(1).collect()).median();
    println!(
        "{}: {} methods and two references by {} metrics, {} rows: attr {all:.0} ms",
        subject.title,
        methods.len(),
        metrics.len(),
        subject.classes.len()
    );
}

fn main() {
    let device = device();
    let folder = std::env::temp_dir().join(format!("attr-metrics-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the peer");
    let small = seeded(DigitsCnn::new(&device), 5).valid();
    small.visit(&mut Export::new(&folder, "small."));
    let resnet = seeded(ResNet18::new(1000, &device), 1).valid();
    resnet.visit(&mut Export::new(&folder, "resnet."));

    let subject = |names, model: Result<Traced, attr_core::Error>, x: &Tensor<4>| {
        let model = model.expect("it traces").fold_batch_norm();
        Subject::new(&folder, names, model, x.clone())
    };
    let x = input([64, 1, 8, 8], 6);
    let small = Traced::new(&small, |m: &DigitsCnn, x| m.forward(x), &x);
    let small = subject(["small", "digits CNN, 64 rows"], small, &x);
    let x = input([2, 3, 224, 224], 2);
    let coloured = Traced::new(&resnet, |m: &ResNet18, x| m.forward(x), &x);
    let coloured = subject(["resnet", "ResNet-18, 2 rows"], coloured, &x);
    // Quantus' ROAD fails on three channels.
    let x = input([2, 1, 224, 224], 3);
    let repeated = |m: &ResNet18, x: Tensor<4>| m.forward(x.repeat_dim(1, 3));
    let grey = subject(
        ["grey", "grey ResNet-18, 2 rows"],
        Traced::new(&resnet, repeated, &x),
        &x,
    );

    let mut peer = Peer::start("quantus_peer.py", "ATTR_PEER_PYTHON", &folder);
    let settings = Settings {
        runs: 15,
        warm: 30,
        at_once: [640, 320],
        steps: [8, 64],
        channels_last: false,
    };
    infidelity(&small, &settings, &mut peer);
    sensitivity(&small, &settings, &mut peer);
    curves(&small, &settings, &mut peer);
    let default = Road::default().percentages;
    let fewer = Settings {
        runs: 7,
        ..settings
    };
    road(&small, &default, &fewer, &mut peer);
    if asked("metrics, table") {
        table(&small);
    }
    let settings = Settings {
        runs: 3,
        warm: 0,
        at_once: [20, 20],
        steps: [12, 48],
        channels_last: false,
    };
    infidelity(&coloured, &settings, &mut peer);
    sensitivity(&coloured, &settings, &mut peer);
    curves(&coloured, &settings, &mut peer);
    let some = [10.0, 30.0, 50.0, 70.0, 90.0];
    let once = Settings {
        runs: 1,
        ..settings
    };
    road(&grey, &some, &once, &mut peer);
    if peer.is_some() {
        let settings = Settings {
            channels_last: true,
            ..settings
        };
        // Captum's sensitivity fails on gradients in this order.
        infidelity(&coloured, &settings, &mut peer);
        curves(&coloured, &settings, &mut peer);
    }
    drop(peer);
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}
