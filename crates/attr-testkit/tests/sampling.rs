//! Checks methods that sample: they are right on average, their standard errors are honest, and no
//! perturbation is evaluated twice.

use std::cell::RefCell;
use std::collections::HashSet;

use attr_core::{Attribution, Baseline, Inputs, Method, Value, Values};
use attr_perturb::{
    FeatureAblation, FeaturePermutation, HsicAttribution, Occlusion, PartitionShap,
    PermutationShap, Rise, ShapleyValueSampling, ShapleyValues, SobolAttribution, SobolOrder,
};
use attr_surrogate::{
    Design, DistanceMode, InterpretableModel, KernelShap, Lime, LimeTabular, LinearRegression,
};
use attr_testkit::compare::assert_close_slices;
use attr_testkit::device;
use attr_testkit::models::input;
use burn::tensor::{Tensor, TensorData};

pub(crate) const SEEDS: u64 = 200;

fn tensor<const D: usize>(shape: [usize; D], numbers: Vec<f32>) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), &device())
}

fn values(value: &Option<Value>) -> Vec<f32> {
    value.as_ref().unwrap().to_vec().unwrap()
}

pub(crate) fn attributed<I: Inputs>(found: &Attribution<I>) -> Vec<f32> {
    values(&found.values()[0])
}

pub(crate) fn errors<I: Inputs>(found: &Attribution<I>) -> Vec<f32> {
    values(&found.standard_error().unwrap()[0])
}

/// All features interact.
pub(crate) fn curved(x: Tensor<2>) -> Tensor<2> {
    let count = x.dims()[1];
    let weigh = |scale: f32, shift: f32| {
        let weights = (0..count).map(|i| (i as f32 * scale + shift).sin());
        let weights = tensor([1, count], weights.collect());
        (x.clone() * weights).sum_dim(1)
    };
    let product = x.clone().narrow(1, 0, 3).prod_dim(1);
    weigh(2.0, 0.5).tanh() + weigh(3.0, 1.0).powi_scalar(2) * 0.2 + product
}

/// Values and their standard errors.
type Sampled = (Vec<f32>, Vec<f32>);

/// Explains with many seeds. The mean must be within three of its standard errors of `exact`, plus
/// `bias` standard errors of one explanation; each value must deviate as its standard error says.
#[track_caller]
fn right_and_honest(name: &str, exact: &[f64], bias: f64, explain: impl Fn(u64) -> Sampled) {
    let n = SEEDS as f64;
    let all: Vec<Sampled> = (0..SEEDS).map(explain).collect();
    for (i, exact) in exact.iter().enumerate() {
        let what = format!("{name}, feature {i}");
        let mean = |of: &dyn Fn(&Sampled) -> f64| all.iter().map(of).sum::<f64>() / n;
        let average = mean(&|found| f64::from(found.0[i]));
        let spread = mean(&|found| (f64::from(found.0[i]) - average).powi(2));
        let deviation = (spread * n / (n - 1.0)).sqrt();
        let off = (average - exact) / deviation;
        assert!(
            off.abs() < 3.0 / n.sqrt() + bias,
            "{what}: {average} is {off} deviations from {exact}"
        );
        let reported = mean(&|found| f64::from(found.1[i]).powi(2)).sqrt();
        let ratio = deviation / reported;
        assert!(
            (0.8..1.25).contains(&ratio),
            "{what}: deviation {deviation}, reported {reported}"
        );
    }
}

#[test]
fn shapley_values_by_sampling() {
    type Make = fn(u64) -> Box<dyn Method>;
    // A regression on n draws is off by O(1 / n): over 5000 seeds by up to 0.14 standard errors of
    // one explanation with 200 coalitions, 0.23 with 100.
    let methods: [(&str, usize, f64, Make); 3] = [
        ("permutations", 7, 0.0, |seed| {
            Box::new(ShapleyValueSampling::new().with_seed(seed))
        }),
        ("antithetic pairs", 7, 0.0, |seed| {
            Box::new(PermutationShap::new().with_permutations(20).with_seed(seed))
        }),
        ("kernel", 10, 0.2, |seed| {
            Box::new(KernelShap::new().with_samples(200).with_seed(seed))
        }),
    ];
    for (name, features, bias, method) in methods {
        let x = input([1, features], 1) * 2.0;
        let exact = ShapleyValues::new().attribute(&curved, &x, 0).unwrap();
        let exact: Vec<f64> = attributed(&exact).into_iter().map(f64::from).collect();
        right_and_honest(name, &exact, bias, |seed| {
            let found = method(seed).attribute(&curved, &x, 0).unwrap();
            (attributed(&found), errors(&found))
        });
    }
}

/// How often the exact value lies within 1.96 standard errors, over seeds and features; and how
/// many seeds give no standard errors.
pub(crate) fn covered(
    exact: &[f64],
    explain: impl Fn(u64) -> (Vec<f32>, Option<Vec<f32>>),
) -> (f64, u64) {
    let (mut within, mut all, mut silent) = (0, 0, 0);
    for seed in 0..SEEDS {
        let (values, errors) = explain(seed);
        let Some(errors) = errors else {
            silent += 1;
            continue;
        };
        for ((value, error), exact) in values.iter().zip(errors).zip(exact) {
            all += 1;
            let off = (f64::from(*value) - exact).abs();
            within += usize::from(off <= 1.96 * f64::from(error) + 1e-6 * exact.abs());
        }
    }
    (f64::from(within as u32) / f64::from(all as u32), silent)
}

#[test]
fn intervals_of_kernel_shap_hold_what_they_promise() {
    // From two samples per feature to twenty. Where a value follows from one pair of coalitions
    // alone there are no errors, but a warning.
    for (features, samples) in [
        (6, 14),
        (6, 18),
        (6, 40),
        (10, 26),
        (10, 40),
        (10, 100),
        (10, 200),
        (14, 40),
        (14, 60),
    ] {
        let x = input([1, features], 1) * 2.0;
        let exact = ShapleyValues::new().attribute(&curved, &x, 0).unwrap();
        let exact: Vec<f64> = attributed(&exact).into_iter().map(f64::from).collect();
        let (share, silent) = covered(&exact, |seed| {
            let shap = KernelShap::new().with_samples(samples).with_seed(seed);
            let found = shap.attribute(&curved, &x, 0).unwrap();
            let errors = found.standard_error().is_some().then(|| errors(&found));
            assert_eq!(errors.is_none(), !found.warnings().is_empty());
            (attributed(&found), errors)
        });
        assert!(
            silent == SEEDS || (0.9..0.99).contains(&share),
            "{features} features, {samples} samples: {share:.3} covered, {silent} without errors"
        );
    }
}

#[test]
fn masks_of_rise() {
    // Two by two cells, each of one by two pixels.
    let (height, width, s, p) = (2, 4, 2, 0.4);
    let x = input([1, 1, height, width], 2);
    let model = |x: Tensor<4>| curved(x.flatten::<2>(1, 3));
    // A pixel's weight for each cell: a line of cells is enlarged by one cell.
    let share = |pixel: usize, side: usize, cell: usize| {
        let place = (pixel as f64 + 0.5) * s as f64 / ((s + 1) * (side / s)) as f64 - 0.5;
        let place = place.clamp(0.0, (s - 1) as f64);
        (1.0 - (place - cell as f64).abs()).max(0.0)
    };
    let mut masks: Vec<(f64, Vec<f64>)> = Vec::new();
    for cells in 0..1 << (s * s) {
        for shifts in 0..(height / s) * (width / s) {
            let (down, right) = (shifts / (width / s), shifts % (width / s));
            let seen = (cells as u32).count_ones() as i32;
            let chance = f64::powi(p, seen) * f64::powi(1.0 - p, (s * s) as i32 - seen);
            let chance = chance / ((height / s) * (width / s)) as f64;
            let pixel = |at: usize| {
                let (row, column) = (at / width + down, at % width + right);
                let seen = (0..s * s).filter(|cell| cells >> cell & 1 == 1);
                seen.map(|c| share(row, height, c / s) * share(column, width, c % s))
                    .sum()
            };
            masks.push((chance, (0..height * width).map(pixel).collect()));
        }
    }
    let pixels = height * width;
    let numbers = masks.iter().flat_map(|(_, mask)| mask);
    let numbers = numbers.map(|&seen| seen as f32).collect();
    let batch = tensor([masks.len(), 1, height, width], numbers);
    let outputs = Value::from(model(batch * x.clone())).to_vec().unwrap();
    let mut exact = vec![0f64; pixels];
    for ((chance, mask), output) in masks.iter().zip(outputs) {
        for (exact, seen) in exact.iter_mut().zip(mask) {
            *exact += chance * f64::from(output) * seen / p;
        }
    }
    right_and_honest("rise", &exact, 0.0, |seed| {
        let rise = Rise::new().with_masks(100).with_cells(s);
        let rise = rise.with_probability(p).with_seed(seed);
        let found = rise.attribute(&model, &x, 0).unwrap();
        (attributed(&found), errors(&found))
    });
}

#[test]
fn least_squares_of_lime() {
    let n = 6;
    let (x, b) = (input([1, n], 3) * 2.0, input([1, n], 4));
    let own = Value::from(x.clone()).to_vec().unwrap();
    let absent = Value::from(b.clone()).to_vec().unwrap();
    let samples = (0..1 << n).map(|z: usize| (0..n).map(move |i| z >> i & 1));
    let samples: Vec<Vec<usize>> = samples.map(Iterator::collect).collect();
    let point = |z: &Vec<usize>| -> Vec<f32> {
        let features = z.iter().enumerate();
        features.map(|(i, &z)| [absent[i], own[i]][z]).collect()
    };
    let points: Vec<Vec<f32>> = samples.iter().map(point).collect();
    let labels = Value::from(curved(tensor([1 << n, n], points.concat())));
    let labels = labels.to_vec().unwrap().into_iter().map(f64::from);
    let labels: Vec<f64> = labels.collect();
    let design = samples.concat().into_iter().map(|z| z as f64);
    let design = Design::new(n, design.collect()).unwrap();
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    for (mode, width) in [(DistanceMode::Cosine, 0.7), (DistanceMode::Euclidean, 2.0)] {
        let weight = |point: &Vec<f32>| {
            let (aa, ab, bb) = (dot(&own, &own), dot(&own, point), dot(point, point));
            let distance = match mode {
                DistanceMode::Cosine => 1.0 - ab / (aa * bb).sqrt(),
                DistanceMode::Euclidean => (aa - 2.0 * ab + bb).max(0.0).sqrt(),
            };
            (-0.5 * (distance / width).powi(2)).exp()
        };
        let weights: Vec<f64> = points.iter().map(weight).collect();
        let exact = LinearRegression::default().fit(&design, &labels, &weights);
        let exact = exact.unwrap().coefficients;
        right_and_honest(&format!("{mode:?}"), &exact, 0.0, |seed| {
            let lime = Lime::new()
                .with_samples(500)
                .with_seed(seed)
                .with_distance_mode(mode)
                .with_kernel_width(width)
                .with_interpretable_model(LinearRegression::default())
                .with_baseline(b.clone());
            let found = lime.attribute(&curved, &x, 0).unwrap();
            (attributed(&found), errors(&found))
        });
    }
}

#[test]
fn a_tolerance_ends_each_row() {
    let x = Tensor::cat(vec![input([1, 12], 5) * 0.2, input([1, 12], 6) * 2.0], 0);
    let most = 400;
    let sampling = ShapleyValueSampling::new().with_samples(most).with_seed(3);
    let explain = |m: &dyn Method, x: &Tensor<2>| Method::attribute(&m, &curved, x, 0).unwrap();
    let whole = explain(&sampling, &x);
    let tolerance = 0.05;
    let enough = sampling.clone().with_tolerance(tolerance);
    let found = explain(&enough, &x);
    assert!(errors(&found).iter().all(|&e| f64::from(e) <= tolerance));
    let rows = |found: &Attribution<Tensor<2>>| found.work().forward_rows;
    assert!(rows(&found) < rows(&whole) / 2);
    let each = [0, 1].map(|row| explain(&enough, &x.clone().narrow(0, row, 1)));
    assert!(rows(&each[0]) < rows(&each[1]));
    assert_eq!(rows(&found), rows(&each[0]) + rows(&each[1]));
    let alone = [attributed(&each[0]), attributed(&each[1])].concat();
    assert_close_slices("alone", &attributed(&found), &alone, 1e-6);
    let never = explain(&sampling.clone().with_tolerance(1e-30), &x);
    assert_eq!(rows(&never), rows(&whole));
    assert_close_slices("never", &attributed(&never), &attributed(&whole), 1e-6);
    assert_close_slices("never", &errors(&never), &errors(&whole), 1e-4);
    // Antithetic pairs also stop at the tolerance.
    let pairs = PermutationShap::new().with_permutations(most);
    let found = explain(&pairs.clone().with_tolerance(tolerance), &x);
    assert!(errors(&found).iter().all(|&e| f64::from(e) <= tolerance));
    assert!(rows(&found) < rows(&explain(&pairs, &x)));
}

#[test]
fn shares_of_the_variance() {
    let a = [3.0, -1.0, 2.0, 0.0, 0.5];
    let squares: f32 = a.iter().map(|a| a * a).sum();
    let expected: Vec<f32> = a.iter().map(|a| a * a / squares).collect();
    let x = tensor([1, 5], a.to_vec());
    let model = |x: Tensor<2>| x.sum_dim(1);
    for order in [SobolOrder::Total, SobolOrder::First] {
        for seed in [0, 1, 2] {
            let sobol = SobolAttribution::new().with_design(1024).with_order(order);
            let found = sobol.with_seed(seed).attribute(&model, &x, 0).unwrap();
            let differences = attributed(&found).into_iter().zip(&expected);
            let largest = differences.fold(0f32, |m, (got, e)| m.max((got - e).abs()));
            assert!(largest < 0.01, "{order:?}, seed {seed}: {largest}");
        }
    }
}

#[test]
fn dependence_is_that_of_what_matters() {
    let x = tensor([1, 5], vec![3.0, 1.0, 2.0, 4.0, 1.0]);
    // The last two columns have no effect; the first two have an effect only together.
    let model = |x: Tensor<2>| {
        let product = x.clone().narrow(1, 0, 1) * x.clone().narrow(1, 1, 1);
        product + x.narrow(1, 2, 1)
    };
    for seed in [0, 1, 2] {
        let hsic = HsicAttribution::new().with_seed(seed);
        let found = attributed(&hsic.attribute(&model, &x, 0).unwrap());
        let (relevant, irrelevant) = found.split_at(3);
        let most = irrelevant.iter().fold(0f32, |m, &v| m.max(v));
        assert!(relevant.iter().all(|&v| v > 10.0 * most), "{found:?}");
    }
}

/// The expected number of forward passes.
enum Passes {
    Exactly(usize),
    AtMost(usize),
}

/// A name, inputs, a method, its forward passes, and whether its points are all different.
type Case = (&'static str, Values, Box<dyn Method>, Passes, bool);

#[test]
fn each_perturbation_is_evaluated_once() {
    use Passes::{AtMost, Exactly};
    let rows = 2;
    // Without zeros, so that each coalition is a different point.
    let table = |features: usize| Values::new(vec![input([rows, features], 7).into()], vec![true]);
    let image = || Values::new(vec![input([rows, 2, 4, 4], 8).into()], vec![true]);
    let lime = || Lime::new().with_samples(40);
    let sobol = || SobolAttribution::new().with_design(16);
    let training: Vec<Vec<f64>> = (0..9).map(|i| vec![f64::from(i); 5]).collect();
    let distribution = Baseline::Distribution(input([3, 5], 9).into());
    let cases: Vec<Case> = vec![
        (
            "exact Shapley values",
            table(6),
            Box::new(ShapleyValues::new()),
            Exactly(64),
            true,
        ),
        (
            "all coalitions",
            table(6),
            Box::new(KernelShap::new().with_samples(64)),
            Exactly(64),
            true,
        ),
        (
            "more than all coalitions",
            table(3),
            Box::new(KernelShap::new().with_samples(1000)),
            Exactly(8),
            true,
        ),
        (
            "some coalitions",
            table(9),
            Box::new(KernelShap::new().with_samples(101)),
            Exactly(101),
            true,
        ),
        (
            "permutations of few features",
            table(3),
            Box::new(ShapleyValueSampling::new().with_samples(1000)),
            Exactly(8),
            true,
        ),
        (
            "permutations of many features",
            table(9),
            Box::new(ShapleyValueSampling::new().with_samples(10)),
            AtMost(2 + 10 * 8),
            true,
        ),
        (
            "pairs of permutations",
            table(9),
            Box::new(PermutationShap::new().with_permutations(5)),
            AtMost(2 + 2 * 5 * 8),
            true,
        ),
        (
            "a whole partition",
            table(4),
            Box::new(PartitionShap::new()),
            AtMost(16),
            true,
        ),
        (
            "part of a partition",
            table(9),
            Box::new(PartitionShap::new().with_max_evals(25)),
            AtMost(25),
            true,
        ),
        (
            "ablation",
            table(5),
            Box::new(FeatureAblation::new()),
            Exactly(1 + 5),
            true,
        ),
        (
            "ablation to a distribution",
            table(5),
            Box::new(FeatureAblation::new().with_baseline(distribution)),
            Exactly(1 + 3 * 5),
            true,
        ),
        (
            "permutation",
            table(5),
            Box::new(FeaturePermutation::new()),
            Exactly(1 + 5),
            true,
        ),
        // Two channels, two by three positions.
        (
            "occlusion",
            image(),
            Box::new(Occlusion::new([vec![1, 3, 2]]).with_strides([vec![1, 1, 1]])),
            Exactly(1 + 2 * 2 * 3),
            true,
        ),
        (
            "rise",
            image(),
            Box::new(Rise::new().with_masks(30)),
            Exactly(1 + 30),
            false,
        ),
        (
            "total indices",
            table(5),
            Box::new(sobol()),
            Exactly(1 + 16 * 6),
            false,
        ),
        (
            "first indices",
            table(5),
            Box::new(sobol().with_order(SobolOrder::First)),
            Exactly(1 + 16 * 7),
            false,
        ),
        (
            "dependence",
            table(5),
            Box::new(HsicAttribution::new().with_design(30)),
            Exactly(1 + 30),
            false,
        ),
        ("lime", table(5), Box::new(lime()), Exactly(1 + 40), false),
        (
            "lime for tables",
            table(5),
            Box::new(LimeTabular::new(training).with_samples(30)),
            Exactly(1 + 30),
            false,
        ),
    ];
    for (name, x, method, expected, distinct) in cases {
        let seen: RefCell<Vec<Vec<u32>>> = RefCell::default();
        let model = |x: Values| {
            let matrix = x.values()[0].matrix().unwrap();
            let columns = matrix.dims()[1];
            let numbers = Value::from(matrix.clone()).to_vec().unwrap();
            let points = numbers.chunks(columns);
            // Zeros of either sign are equal.
            let points = points.map(|p| p.iter().map(|x| (x + 0.0).to_bits()).collect());
            seen.borrow_mut().extend(points);
            curved(matrix)
        };
        let found = method.attribute(&model, &x, 0).unwrap();
        let work = found.work().forward_rows;
        match expected {
            Exactly(passes) => assert_eq!(work, rows * passes, "{name}"),
            AtMost(passes) => assert!(work <= rows * passes, "{name}: {work}"),
        }
        let seen = seen.into_inner();
        assert_eq!(seen.len(), work, "{name}: rows are counted");
        if distinct {
            let different: HashSet<&Vec<u32>> = seen.iter().collect();
            // Both rows share one baseline, unless the method has none.
            let empty = seen.iter().any(|p| p.iter().all(|&x| x == 0));
            let shared = if empty { rows - 1 } else { 0 };
            assert_eq!(different.len(), work - shared, "{name}");
        }
    }
}
