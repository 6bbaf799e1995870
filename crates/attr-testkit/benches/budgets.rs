//! Times methods with the default memory budget against fixed ones, in one run.
//!
//! More memory is not faster on a CPU: what no longer fits the caches is slower than smaller chunks.
//! `cargo xtask bench` prints medians, and the ratio of each budget's time to that of 8 MiB.

use std::time::Instant;

use attr_core::{Budget, FeatureMask, Method, Run, Traced};
use attr_gradient::{GradientShap, IntegratedGradients};
use attr_perturb::{FeatureAblation, Occlusion, Rise, ShapleyValueSampling};
use attr_surrogate::{KernelShap, Lime};
use attr_testkit::device;
use attr_testkit::models::{ResNet18, input, seeded};
use burn::module::Module;
use burn::tensor::Tensor;

const RUNS: usize = 5;

/// The budget that the others are compared with comes first.
const BUDGETS: [(&str, Budget); 4] = [
    ("8 MiB", Budget::Bytes(8 << 20)),
    ("default", Budget::Auto),
    ("128 MiB", Budget::Bytes(128 << 20)),
    ("1 GiB", Budget::Bytes(1 << 30)),
];

fn main() {
    let network = seeded(ResNet18::new(1000, &device()), 1).valid();
    let x: Tensor<4> = input([1, 3, 224, 224], 2);
    let model = Traced::new(&network, |m: &ResNet18, x| m.forward(x), &x).expect("it traces");
    let cells = || FeatureMask::Grid(vec![7, 7]);
    let methods: Vec<(&str, Box<dyn Method>)> = vec![
        (
            "occlusion",
            Box::new(Occlusion::new([vec![3, 32, 32]]).with_strides([vec![3, 32, 32]])),
        ),
        (
            "feature ablation",
            Box::new(FeatureAblation::new().with_feature_mask(cells())),
        ),
        (
            "Shapley value sampling",
            Box::new(
                ShapleyValueSampling::new()
                    .with_samples(1)
                    .with_feature_mask(cells()),
            ),
        ),
        (
            "KernelSHAP",
            Box::new(
                KernelShap::new()
                    .with_samples(60)
                    .with_feature_mask(cells()),
            ),
        ),
        (
            "LIME",
            Box::new(Lime::new().with_samples(60).with_feature_mask(cells())),
        ),
        ("RISE", Box::new(Rise::new().with_masks(60))),
        (
            "integrated gradients",
            Box::new(IntegratedGradients::new().with_steps(30)),
        ),
        (
            "gradient SHAP",
            Box::new(GradientShap::new().with_samples(30)),
        ),
    ];
    println!("ResNet-18, 224x224; medians of {RUNS}, over the time with 8 MiB");
    for (name, method) in methods {
        let mut times = vec![Vec::new(); BUDGETS.len()];
        for run in 0..=RUNS {
            for ((_, budget), times) in BUDGETS.iter().zip(&mut times) {
                let run_with = Run::new().with_budget(*budget);
                let start = Instant::now();
                let found = Method::attribute_with(&method, &model, &x, 281, &run_with);
                let found = found.expect("it explains");
                assert_eq!(found.scores().len(), 1);
                if run > 0 {
                    times.push(start.elapsed().as_secs_f64());
                }
            }
        }
        let each = BUDGETS.iter().zip(&times).map(|((budget, _), own)| {
            // Run by run, so that a change in the machine's speed cancels.
            let ratios = own.iter().zip(&times[0]).map(|(own, first)| own / first);
            format!("{budget} {:.2}", median(ratios))
        });
        let each: Vec<String> = each.collect();
        let first = median(times[0].iter().copied());
        println!("  {name:<24} {first:>7.3} s   {}", each.join(", "));
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
