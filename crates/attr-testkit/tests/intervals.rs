//! Checks that intervals of 1.96 standard errors hold the exact value in about 95 % of all runs.
//!
//! Draws and statistics are the host's, the same on every device, so one device is enough.

use attr_core::{Attribution, Inputs, Method};
use attr_gradient::GradientShap;
use attr_perturb::{PermutationShap, Rise, ShapleyValueSampling, ShapleyValues};
use attr_surrogate::{Lime, LinearRegression};
use attr_testkit::models::input;
use burn::tensor::Tensor;

use crate::perturbations::{numbers, repeated};
use crate::sampling::{SEEDS, attributed, covered, curved, errors};

/// Fewer draws than this have no standard errors: contributions are not normally distributed, and
/// the spread of so few says too little.
const FEWEST: usize = 5;

/// Explains with many seeds, of which 0 is left to the caller. A share of intervals between `least`
/// and 99 % must hold the exact value; without `least`, there must be no intervals.
#[track_caller]
fn hold<I: Inputs>(
    name: &str,
    exact: &[f32],
    least: Option<f64>,
    explain: impl Fn(u64) -> Attribution<I>,
) {
    let exact: Vec<f64> = exact.iter().copied().map(f64::from).collect();
    let (share, silent) = covered(&exact, |seed| {
        let found = explain(seed + 1);
        let errors = found.standard_error().is_some().then(|| errors(&found));
        (attributed(&found), errors)
    });
    let right = match least {
        Some(least) => (least..0.99).contains(&share),
        None => silent == SEEDS,
    };
    assert!(right, "{name}: {share:.3} covered, {silent} without errors");
}

/// Checks the means of 2 to 20 draws.
fn means_hold<I: Inputs>(
    name: &str,
    exact: &[f32],
    explain: impl Fn(u64, usize) -> Attribution<I>,
) {
    for draws in [2, 4, 5, 8, 10, 20] {
        let least = (draws >= FEWEST).then_some(0.88);
        hold(&format!("{name}, {draws} draws"), exact, least, |seed| {
            explain(seed, draws)
        });
    }
}

#[test]
fn of_permutations() {
    let x = input([1, 10], 1) * 2.0;
    let exact = ShapleyValues::new().attribute(&curved, &x, 0).unwrap();
    let exact = attributed(&exact);
    means_hold("permutations", &exact, |seed, draws| {
        let method = ShapleyValueSampling::new().with_samples(draws);
        method.with_seed(seed).attribute(&curved, &x, 0).unwrap()
    });
    means_hold("antithetic pairs", &exact, |seed, draws| {
        let method = PermutationShap::new().with_permutations(draws);
        method.with_seed(seed).attribute(&curved, &x, 0).unwrap()
    });
}

#[test]
fn of_masks_and_random_baselines() {
    let x = input([1, 1, 2, 3], 1) * 2.0;
    let model = |x: Tensor<4>| curved(x.flatten::<2>(1, 3));
    let rise = |seed, draws| {
        let rise = Rise::new().with_masks(draws).with_cells(2);
        rise.with_seed(seed).attribute(&model, &x, 0).unwrap()
    };
    let expected = |seed, draws| {
        let method = GradientShap::new().with_samples(draws).with_seed(seed);
        let method = method.with_background(input::<4>([20, 1, 2, 3], 5));
        method.attribute(&model, &x, 0).unwrap()
    };
    // The means of very many draws stand for the exact values.
    means_hold("rise", &attributed(&rise(0, 40_000)), rise);
    means_hold("gradient shap", &attributed(&expected(0, 40_000)), expected);
}

#[test]
fn of_permutations_of_a_data_set() {
    let exact = numbers(&repeated(1, 2000).values()[0]);
    let exact: Vec<f64> = exact[..2].iter().copied().map(f64::from).collect();
    let (share, _) = covered(&exact, |seed| {
        let found = repeated(seed + 2, 6);
        let errors = found.standard_error().map(|errors| numbers(&errors[0]));
        (numbers(&found.values()[0]), errors)
    });
    assert!((0.9..0.99).contains(&share), "{share} covered");
}

#[test]
fn of_lime() {
    // From two samples per feature to twenty.
    for (features, samples) in [
        (6, 12),
        (6, 18),
        (6, 30),
        (6, 60),
        (6, 120),
        (10, 20),
        (10, 30),
        (10, 50),
        (10, 100),
        (10, 200),
    ] {
        let x = input([1, features], 3) * 2.0;
        let lime = |seed, samples| {
            let lime = Lime::new().with_samples(samples).with_seed(seed);
            let lime = lime.with_interpretable_model(LinearRegression::default());
            lime.attribute(&curved, &x, 0).unwrap()
        };
        let exact = attributed(&lime(0, 100_000));
        let name = format!("{features} features, {samples} samples");
        hold(&name, &exact, Some(0.9), |seed| lime(seed, samples));
    }
}
