//! Which method explains the digits' network best? Six methods by eight metrics on held-out digits,
//! whether the metrics agree, and the window of occlusion, tuned by one of them.
//!
//! `cargo run --release --example evaluate`

use std::time::Instant;

use attr::gradient::{DeepLift, InputXGradient, IntegratedGradients, Saliency};
use attr::lrp::{Lrp, epsilon_plus_flat};
use attr::metrics::{
    Abpc, Deletion, Evaluation, FaithfulnessCorrelation, Halving, Infidelity, Insertion, Metric,
    RandomLogit, SensitivityMax, Sparseness,
};
use attr::perturbation::Occlusion;
use attr::{Method, Target, Traced};
use attr_examples::{DigitsNet, net_and_digits};
use burn::tensor::Device;

const DIGITS: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (net, digits) = net_and_digits(DIGITS, &Device::default())?;
    let model = Traced::new(&net, |net: &DigitsNet, x| net.forward(x), &digits)?;
    let occlusion = |side: usize| Occlusion::new([vec![1, side, side]]);

    let (saliency, product) = (Saliency::new(), InputXGradient::new());
    let (integrated, lift) = (IntegratedGradients::new().with_steps(32), DeepLift::new());
    let (windows, lrp) = (occlusion(3), Lrp::new(epsilon_plus_flat()));
    let methods: [(&str, &dyn Method); 6] = [
        ("saliency", &saliency),
        ("input x gradient", &product),
        ("integrated gradients", &integrated),
        ("DeepLIFT", &lift),
        ("occlusion 3x3", &windows),
        ("LRP", &lrp),
    ];
    // Methods have different units, so infidelity scales each to its smallest error.
    let infidelity = Infidelity {
        normalize: true,
        ..Infidelity::default()
    };
    let metrics: [&dyn Metric; 8] = [
        &infidelity,
        &SensitivityMax::default(),
        &FaithfulnessCorrelation::default(),
        &Deletion::default(),
        &Insertion::default(),
        &Abpc::default(),
        &Sparseness::default(),
        &RandomLogit::default(),
    ];
    let evaluation = Evaluation::new(&model, &digits, Target::Predicted);
    let start = Instant::now();
    let table = evaluation.compare(&methods, &metrics)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{table}\n{}", table.disagreement());
    println!("{DIGITS} digits in {seconds:.1} s\n");

    let sizes: Vec<(String, Occlusion)> = [1, 2, 3, 4, 5]
        .into_iter()
        .map(|side| (format!("{side}x{side}"), occlusion(side)))
        .collect();
    let candidates: Vec<(&str, &dyn Method)> = sizes
        .iter()
        .map(|(name, method)| (name.as_str(), method as &dyn Method))
        .collect();
    let tuned = evaluation.tune(&windows, &candidates, &Abpc::default(), &Halving::default())?;
    println!(
        "the best window of occlusion by ABPC is {}: {:.2}, where 3x3 has {:.2}",
        tuned.best,
        tuned.best_score.mean(),
        tuned.default_score.mean()
    );
    Ok(())
}
