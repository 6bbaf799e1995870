//! How time and memory grow with steps, samples, rows and features, and whether memory budgets hold.
//!
//! `cargo xtask bench` runs it. Given a folder, it draws `time.png` and `memory.png` there.

#[path = "host/mod.rs"]
mod host;

use std::path::PathBuf;
use std::time::Instant;

use attr_core::{Budget, FeatureMask, Method, Run, Traced};
use attr_gradient::{IntegratedGradients, Saliency};
use attr_lrp_crp::{Condition, Crp, epsilon_plus};
use attr_perturb::FeatureAblation;
use attr_surrogate::KernelShap;
use attr_testkit::device;
use attr_testkit::models::{ResNet18, input, seeded};
use attr_viz::{Curve, Curves, Figure};
use burn::module::Module;
use burn::tensor::Tensor;

use host::{at_rest, grown};

/// Height and width of the images.
const SIDE: usize = 112;
const TARGET: usize = 281;
/// How many times as much as in the first run.
const FACTORS: [usize; 4] = [1, 2, 4, 8];
const RUNS: usize = 3;
const BUDGETS: [usize; 3] = [128, 512, 2048];
/// Mebibytes beyond a budget that pass: what does not grow with the work.
const BEYOND: f64 = 64.0;

struct Bench {
    model: Traced,
    x: Tensor<4>,
}

impl Bench {
    fn explain(&self, method: &dyn Method, x: &Tensor<4>, budget: Budget) {
        let run = Run::new().with_budget(budget);
        let found = Method::attribute_with(&method, &self.model, x, TARGET, &run);
        assert_eq!(found.expect("it explains").scores().len(), x.dims()[0]);
    }

    fn integrated_gradients(&self, steps: usize, budget: Budget) {
        self.explain(
            &IntegratedGradients::new().with_steps(steps),
            &self.x,
            budget,
        );
    }

    fn kernel_shap(&self, samples: usize, budget: Budget) {
        let shap = KernelShap::new().with_samples(samples);
        let shap = shap.with_feature_mask(FeatureMask::Grid(vec![7, 7]));
        self.explain(&shap, &self.x, budget);
    }

    fn saliency(&self, rows: usize) {
        let x = self.x.clone().repeat_dim(0, rows);
        self.explain(&Saliency::new(), &x, Budget::Auto);
    }

    fn ablation(&self, cells: usize) {
        let mask = FeatureMask::Grid(vec![7, cells / 7]);
        let ablation = FeatureAblation::new().with_feature_mask(mask);
        self.explain(&ablation, &self.x, Budget::Auto);
    }

    fn concepts(&self, count: usize, budget: Budget) {
        let conditions = (0..count).map(|concept| Condition::at("layer3.1.conv1", concept));
        let crp = Crp::new(epsilon_plus()).with_conditions(conditions);
        let run = Run::new().with_budget(budget);
        let found = crp.attribute_with(&self.model, &self.x, TARGET, &run);
        assert_eq!(found.expect("it explains").maps().len(), count);
    }
}

/// Work that grows with a number.
type Work<'a> = Box<dyn Fn(usize) + 'a>;

/// Work within a budget.
type Bounded<'a> = Box<dyn Fn(Budget) + 'a>;

fn growth(bench: &Bench, folder: Option<&PathBuf>) {
    let all: [(&str, usize, Work<'_>); 4] = [
        (
            "steps of integrated gradients",
            25,
            Box::new(|n| bench.integrated_gradients(n, Budget::Auto)),
        ),
        (
            "samples of KernelSHAP",
            125,
            Box::new(|n| bench.kernel_shap(n, Budget::Auto)),
        ),
        ("rows of saliency", 8, Box::new(|n| bench.saliency(n))),
        ("features of ablation", 49, Box::new(|n| bench.ablation(n))),
    ];
    let linear = FACTORS.map(|factor| (factor as f64, factor as f64));
    let mut time = Curves::new("times as many", "times as long")
        .with_curve(Curve::new("linear", linear.to_vec()));
    let mut memory = Curves::new("times as many", "MiB");
    for (name, first, work) in all {
        let (mut times, mut mebibytes) = (Vec::new(), Vec::new());
        for factor in FACTORS {
            let runs = (0..RUNS).map(|_| {
                let ((), mib) = grown(|| work(first * factor));
                let start = Instant::now();
                work(first * factor);
                (start.elapsed().as_secs_f64(), mib.unwrap_or(f64::NAN))
            });
            let mut runs: Vec<(f64, f64)> = runs.collect();
            runs.sort_by(|a, b| a.0.total_cmp(&b.0));
            times.push(runs[RUNS / 2].0);
            mebibytes.push(runs.iter().map(|run| run.1).fold(0.0, f64::max));
        }
        let ratios: Vec<f64> = times.iter().map(|time| time / times[0]).collect();
        let list = |values: &[f64], digits: usize| {
            let each = values.iter().map(|value| format!("{value:.digits$}"));
            each.collect::<Vec<_>>().join(", ")
        };
        println!(
            "  {first} {name}, times {FACTORS:?}: {} times as long, {} MiB more",
            list(&ratios, 2),
            list(&mebibytes, 0)
        );
        let points = |values: &[f64]| {
            let factors = FACTORS.iter().map(|&factor| factor as f64);
            factors.zip(values.iter().copied()).collect::<Vec<_>>()
        };
        time = time.with_curve(Curve::new(name, points(&ratios)));
        memory = memory.with_curve(Curve::new(name, points(&mebibytes)));
    }
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).expect("a folder for pictures");
        time.save(folder.join("time.png")).expect("it is written");
        memory
            .save(folder.join("memory.png"))
            .expect("it is written");
    }
}

fn budgets(bench: &Bench) {
    let all: [(&str, Bounded<'_>); 3] = [
        (
            "integrated gradients, 200 steps",
            Box::new(|budget| bench.integrated_gradients(200, budget)),
        ),
        (
            "KernelSHAP, 5000 samples",
            Box::new(|budget| bench.kernel_shap(5000, budget)),
        ),
        (
            "CRP, 64 conditions",
            Box::new(|budget| bench.concepts(64, budget)),
        ),
    ];
    for (name, work) in all {
        let each = BUDGETS.map(|budget| {
            let ((), mib) = grown(|| work(Budget::Bytes(budget << 20)));
            let Some(mib) = mib else {
                return format!("? of {budget}");
            };
            assert!(
                mib <= budget as f64 + BEYOND,
                "{name}: {mib:.0} of {budget} MiB"
            );
            format!("{mib:.0} of {budget}")
        });
        println!("  {name}: {} MiB", each.join(", "));
    }
}

fn main() {
    let folder = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with("--"));
    let folder = folder.map(PathBuf::from);
    let network = seeded(ResNet18::new(1000, &device()), 1).valid();
    let x: Tensor<4> = input([1, 3, SIDE, SIDE], 2);
    let weights = 4.0 * network.num_params() as f64 / f64::from(1 << 20);
    let model = Traced::new(&network, |m: &ResNet18, x| m.forward(x), &x).expect("it traces");
    let bench = Bench { model, x };
    // Weights are prepared at their first use, for both directions and the signs of rules.
    let before = at_rest();
    bench.integrated_gradients(2, Budget::Auto);
    let gradients = at_rest();
    bench.concepts(1, Budget::Auto);
    let relevance = at_rest();
    let difference = |a: Option<f64>, b: Option<f64>| a.zip(b).map_or(f64::NAN, |(a, b)| a - b);
    println!("ResNet-18, {SIDE}x{SIDE}: {weights:.0} MiB of weights");
    println!(
        "  prepared for gradients {:.0} MiB, for CRP {:.0} MiB more",
        difference(gradients, before),
        difference(relevance, gradients)
    );
    growth(&bench, folder.as_ref());
    budgets(&bench);
}
