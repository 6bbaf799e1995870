//! Compares surrogate models and Shapley values with scikit-learn, lime and shap, and every form of
//! LIME with its definition.

use std::collections::HashMap;
use std::fs::read_to_string;
use std::sync::{Arc, Mutex};

use attr_core::build::Random;
use attr_core::{
    Baseline, Baselines, Error, FeatureMask, Inputs, Method, Run, Target, Value, Values,
};
use attr_perturb::{FeatureAblation, Hierarchy, PartitionShap, PermutationShap, ShapleyValues};
use attr_surrogate::{
    Design, Discretization, Discretizer, DistanceMode, FeatureSelection, Fit, FitMethod,
    InterpretableModel, KernelShap, Lasso, Lime, LimeBase, LimeTabular, LimeTabularConfig,
    LinearRegression, Ridge, Slic, select_features, superpixels,
};
use attr_testkit::compare::assert_close_slices;
use attr_testkit::device;
use attr_testkit::golden::{fill, path};
use attr_testkit::models::{Mlp, input};
use burn::tensor::{Int, Tensor, TensorData};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::captum::Case;

/// A matrix in double precision.
#[derive(Deserialize)]
struct Table {
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Table {
    fn design(&self) -> Design {
        Design::new(self.shape[1], self.data.clone()).unwrap()
    }

    fn column(&self, column: usize) -> Vec<f64> {
        let rows = self.data.chunks(self.shape[1]);
        rows.map(|row| row[column]).collect()
    }

    fn numbers(&self) -> Vec<f32> {
        self.data.iter().map(|&x| x as f32).collect()
    }

    fn value(&self) -> Value {
        let data = TensorData::new(self.numbers(), self.shape.clone());
        Value::from_data(data, &device())
    }
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_str(&read_to_string(path(name)).unwrap()).unwrap()
}

/// Asserts closeness relative to the largest expected magnitude, or to one if all are smaller.
#[track_caller]
fn close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1f64, |m, v| m.max(v.abs()));
    let fits = |(g, e): (&f64, &f64)| (g - e).abs() <= tolerance * scale;
    let all = got.iter().zip(expected).all(fits);
    assert!(all, "{what}:\n got      {got:?}\n expected {expected:?}");
}

#[track_caller]
fn same_fit(what: &str, got: &Fit, expected: &Fit, tolerance: f64) {
    let numbers = |fit: &Fit| [&fit.coefficients[..], &[fit.intercept, fit.r_squared]].concat();
    close(what, &numbers(got), &numbers(expected), tolerance);
}

fn tensor<const D: usize>(shape: [usize; D], numbers: Vec<f32>) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), &device())
}

fn values(value: &Option<Value>) -> Vec<f32> {
    value.as_ref().unwrap().to_vec().unwrap()
}

// Regressions.

#[derive(Deserialize)]
struct Regressions {
    problems: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    name: String,
    x: Table,
    y: Vec<f64>,
    weights: Vec<f64>,
    fits: Vec<Regression>,
}

#[derive(Deserialize)]
struct Regression {
    model: String,
    alpha: Option<f64>,
    fit_intercept: bool,
    coefficients: Vec<f64>,
    intercept: f64,
    r2: f64,
}

impl Regression {
    fn model(&self) -> Box<dyn InterpretableModel> {
        let alpha = self.alpha.unwrap_or_default();
        let fit_intercept = self.fit_intercept;
        match &self.model[..] {
            "linear" => Box::new(LinearRegression { fit_intercept }),
            "ridge" => Box::new(Ridge {
                alpha,
                fit_intercept,
            }),
            "lasso" => Box::new(Lasso {
                alpha,
                fit_intercept,
            }),
            other => panic!("{other} is unknown"),
        }
    }
}

#[test]
fn regressions_of_scikit_learn() {
    let golden: Regressions = read("regression.json");
    let mut compared = 0;
    for problem in &golden.problems {
        for found in &problem.fits {
            let what = format!("{}: {} {:?}", problem.name, found.model, found.alpha);
            let fit = found.model();
            let fit = fit.fit(&problem.x.design(), &problem.y, &problem.weights);
            let expected = Fit {
                coefficients: found.coefficients.clone(),
                intercept: found.intercept,
                r_squared: found.r2,
                standard_errors: None,
            };
            same_fit(&what, &fit.unwrap(), &expected, 1e-6);
            compared += 1;
        }
    }
    assert_eq!(compared, 36);
}

/// Computes the inverse of a matrix by elimination.
fn inverse(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = matrix.len();
    let unit = |i: usize| (0..n).map(move |j| f64::from(i == j));
    let mut rows: Vec<Vec<f64>> = matrix
        .iter()
        .enumerate()
        .map(|(i, row)| row.iter().copied().chain(unit(i)).collect())
        .collect();
    for i in 0..n {
        let largest = (i..n).max_by(|&a, &b| rows[a][i].abs().total_cmp(&rows[b][i].abs()));
        rows.swap(i, largest.unwrap());
        let pivot = rows[i].clone();
        for (j, row) in rows.iter_mut().enumerate() {
            let factor = if j == i {
                1.0 - 1.0 / pivot[i]
            } else {
                row[i] / pivot[i]
            };
            for (x, p) in row.iter_mut().zip(&pivot) {
                *x -= factor * p;
            }
        }
    }
    rows.into_iter().map(|row| row[n..].to_vec()).collect()
}

/// MacKinnon and White's sandwich estimator with residuals over `1 - h` (HC3), for the whole design
/// with its intercept.
fn robust(problem: &Problem, fit: &Fit, penalty: f64) -> Vec<f64> {
    let x = problem.x.design();
    let free = |&j: &usize| fit.coefficients[j] != 0.0;
    let columns: Vec<usize> = (0..x.columns()).filter(free).collect();
    let p = columns.len() + 1;
    let rows = (0..x.rows()).map(|i| {
        let row = columns.iter().map(|&j| x.row(i)[j]);
        row.chain([1.0]).collect()
    });
    let rows: Vec<Vec<f64>> = rows.collect();
    let moments = |weight: &dyn Fn(usize) -> f64| -> Vec<Vec<f64>> {
        let of = |a: usize, b: usize| (0..rows.len()).map(move |i| (i, a, b));
        let cell = |a, b| {
            of(a, b)
                .map(|(i, a, b)| weight(i) * rows[i][a] * rows[i][b])
                .sum()
        };
        (0..p)
            .map(|a| (0..p).map(|b| cell(a, b)).collect())
            .collect()
    };
    let weights = &problem.weights;
    let mut bread = moments(&|i| weights[i]);
    for (j, row) in bread.iter_mut().enumerate().take(p - 1) {
        row[j] += penalty;
    }
    let bread = inverse(&bread);
    let residual = |i: usize| {
        let products = x.row(i).iter().zip(&fit.coefficients);
        problem.y[i] - fit.intercept - products.map(|(x, c)| x * c).sum::<f64>()
    };
    let leverage = |i: usize| -> f64 {
        let pairs = (0..p).flat_map(|a| (0..p).map(move |b| (a, b)));
        let products = pairs.map(|(a, b)| rows[i][a] * bread[a][b] * rows[i][b]);
        weights[i] * products.sum::<f64>()
    };
    let filling = moments(&|i| (weights[i] * residual(i) / (1.0 - leverage(i))).powi(2));
    let mut errors = vec![0.0; x.columns()];
    for (place, &column) in columns.iter().enumerate() {
        let line = &bread[place];
        let pairs = (0..p).flat_map(|a| (0..p).map(move |b| (a, b)));
        let variance: f64 = pairs.map(|(a, b)| line[a] * filling[a][b] * line[b]).sum();
        errors[column] = variance.sqrt();
    }
    errors
}

#[test]
fn standard_errors_are_robust() {
    let golden: Regressions = read("regression.json");
    for name in ["real some zero", "binary positive"] {
        let problem = golden.problems.iter().find(|p| p.name == name).unwrap();
        let linear = LinearRegression::default();
        let ridge = Ridge::default();
        let lasso = Lasso {
            alpha: 0.1,
            ..Lasso::default()
        };
        let models: [(&str, &dyn InterpretableModel, f64); 3] = [
            ("linear", &linear, 0.0),
            ("ridge", &ridge, 1.0),
            ("lasso", &lasso, 0.0),
        ];
        for (model, by, penalty) in models {
            let fit = by.fit(&problem.x.design(), &problem.y, &problem.weights);
            let fit = fit.unwrap();
            let expected = robust(problem, &fit, penalty);
            let got = fit.standard_errors.unwrap();
            close(&format!("{name}: {model}"), &got, &expected, 1e-9);
        }
    }
    let few = Design::new(2, vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0]).unwrap();
    let fit = LinearRegression::default().fit(&few, &[1.0, 2.0, 4.0], &[1.0; 3]);
    assert_eq!(fit.unwrap().standard_errors, None);
}

// LIME's parts.

#[derive(Deserialize)]
struct Limes {
    problems: Vec<Neighbourhood>,
    discretizers: Discretizers,
}

#[derive(Deserialize)]
struct Neighbourhood {
    name: String,
    distance: DistanceMode,
    kernel_width: f64,
    data: Table,
    labels: Vec<f64>,
    weights: Vec<f64>,
    fits: Vec<Selected>,
}

#[derive(Deserialize)]
struct Selected {
    feature_selection: FeatureSelection,
    num_features: usize,
    selected: Vec<usize>,
    features: Vec<usize>,
    coefficients: Vec<f64>,
    intercept: f64,
    score: f64,
}

#[derive(Deserialize)]
struct Discretizers {
    data: Table,
    probes: Table,
    kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Discretizer,
    features: Vec<Bins>,
    bins: Table,
}

#[derive(Deserialize)]
struct Bins {
    edges: Vec<f64>,
    means: Vec<f64>,
    stds: Vec<f64>,
    mins: Vec<f64>,
    maxs: Vec<f64>,
    frequencies: Vec<f64>,
}

#[test]
fn features_are_selected_as_by_lime() {
    let golden: Limes = read("lime.json");
    for problem in &golden.problems {
        let data = problem.data.design();
        let samples = (&data, &problem.labels[..], &problem.weights[..]);
        for found in &problem.fits {
            let (selection, count) = (found.feature_selection, found.num_features);
            let what = format!("{}: {selection:?} {count}", problem.name);
            let chosen = select_features(selection, count, data.row(0), samples).unwrap();
            assert_eq!(chosen, found.selected, "{what}");
            let part = data.with_columns(&found.features);
            let fit = Ridge::default().fit(&part, &problem.labels, &problem.weights);
            let expected = Fit {
                coefficients: found.coefficients.clone(),
                intercept: found.intercept,
                r_squared: found.score,
                standard_errors: None,
            };
            same_fit(&what, &fit.unwrap(), &expected, 1e-6);
        }
        assert_eq!(problem.fits.len(), 10);
    }
}

/// Samples and their weights.
type Seen = Arc<Mutex<Option<(Design, Vec<f64>)>>>;

/// Creates a least-squares model that keeps the samples and weights it is given.
fn spy() -> (impl InterpretableModel + 'static, Seen) {
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    let model = move |design: &Design, labels: &[f64], weights: &[f64]| {
        *keep.lock().unwrap() = Some((design.clone(), weights.to_vec()));
        LinearRegression::default().fit(design, labels, weights)
    };
    (model, seen)
}

#[test]
fn kernel_weights_of_lime() {
    let golden: Limes = read("lime.json");
    for problem in &golden.problems {
        let columns = problem.data.shape[1];
        let (model, seen) = spy();
        let lime = Lime::new()
            .with_samples(400)
            .with_distance_mode(problem.distance)
            .with_kernel_width(problem.kernel_width)
            .with_interpretable_model(model);
        let ones = Tensor::<2>::ones([1, columns], &device());
        lime.fit(&|x: Tensor<2>| x.sum_dim(1), &ones, 0).unwrap();
        let (design, weights) = seen.lock().unwrap().take().unwrap();
        // A weight depends on how many features are present.
        let kept = |row: &[f64]| row.iter().sum::<f64>() as usize;
        let rows = problem.data.data.chunks(columns).map(kept);
        let known: HashMap<usize, f64> = rows.zip(problem.weights.iter().copied()).collect();
        let mut compared = 0;
        for (k, weight) in weights.iter().enumerate() {
            if let Some(expected) = known.get(&kept(design.row(k))) {
                close(&problem.name, &[*weight], &[*expected], 1e-6);
                compared += 1;
            }
        }
        assert!(compared > 300, "{}: {compared}", problem.name);
    }
}

#[test]
fn bins_of_lime() {
    let Discretizers {
        data,
        probes,
        kinds,
    } = read::<Limes>("lime.json").discretizers;
    for Kind {
        kind,
        features,
        bins,
    } in kinds
    {
        for (feature, expected) in features.iter().enumerate() {
            let found = Discretization::new(&data.column(feature), kind).unwrap();
            // lime adds a little to each deviation.
            let stds: Vec<f64> = expected.stds.iter().map(|std| std - 1e-11).collect();
            let field = |of: fn(&attr_surrogate::Bin) -> f64| -> Vec<f64> {
                found.bins.iter().map(of).collect()
            };
            for (name, got, expected) in [
                ("edges", found.edges.clone(), &expected.edges),
                ("means", field(|bin| bin.mean), &expected.means),
                ("stds", field(|bin| bin.std), &stds),
                ("mins", field(|bin| bin.min), &expected.mins),
                ("maxs", field(|bin| bin.max), &expected.maxs),
                (
                    "frequencies",
                    field(|bin| bin.frequency),
                    &expected.frequencies,
                ),
            ] {
                let what = format!("{kind:?}, feature {feature}: {name}");
                close(&what, &got, expected, 1e-12);
            }
            let got = probes.column(feature);
            let got: Vec<f64> = got.iter().map(|&x| found.bin(x) as f64).collect();
            assert_eq!(got, bins.column(feature), "{kind:?}, feature {feature}");
        }
    }
}

// Shapley values.

#[derive(Deserialize)]
struct Shap {
    backgrounds: HashMap<String, Table>,
    results: Vec<Explained>,
}

#[derive(Deserialize)]
struct Explained {
    method: String,
    background: String,
    linkage: Option<Vec<[usize; 2]>>,
    expected_value: Vec<f64>,
    values: Vec<Table>,
}

#[test]
fn explainers_of_shap() {
    let golden: Shap = read("shap.json");
    let case = Case::load("mlp");
    let module = fill(Mlp::new(&device()), &case.parameters);
    let model = |x: Tensor<2>| module.forward(x);
    let x = Tensor::<2>::from_values(case.inputs()).unwrap();
    let classes = [Target::Class(0), Target::Class(1), Target::Class(2)];
    for found in &golden.results {
        let background = &golden.backgrounds[&found.background];
        let rows = background.value();
        let mut baselines = vec![Baseline::Distribution(rows.clone())];
        if background.shape[0] == 1 {
            baselines.push(Baseline::Tensor(rows));
        }
        for baseline in baselines.into_iter().map(Baselines::from) {
            let methods: Vec<Box<dyn Method>> = match &found.linkage {
                None => vec![
                    Box::new(ShapleyValues::new().with_baseline(baseline.clone())),
                    Box::new(
                        KernelShap::new()
                            .with_samples(64)
                            .with_baseline(baseline.clone()),
                    ),
                ],
                Some(linkage) => vec![Box::new(
                    PartitionShap::new()
                        .with_max_evals(10_000)
                        .with_hierarchy(Hierarchy::new(6, linkage.clone()).unwrap())
                        .with_baseline(baseline.clone()),
                )],
            };
            for (m, method) in methods.iter().enumerate() {
                let all = method.attribute_targets(&model, &x, &classes, &Run::new());
                let all = all.unwrap();
                let got: Vec<f32> = all.iter().flat_map(|a| values(&a.values()[0])).collect();
                let expected: Vec<f32> = found.values.iter().flat_map(Table::numbers).collect();
                let what = format!("{}, {}, method {m}", found.method, found.background);
                assert_close_slices(&what, &got, &expected, 1e-5);
                for (found, start) in all.iter().zip(&found.expected_value) {
                    let sums = values(&found.values()[0]);
                    for (row, end) in sums.chunks(6).zip(found.scores()) {
                        let got = end - row.iter().sum::<f32>();
                        assert_close_slices(&what, &[got], &[*start as f32], 1e-5);
                    }
                    let delta = found.delta().unwrap().iter();
                    assert!(delta.fold(0f32, |m, d| m.max(d.abs())) < 1e-6, "{what}");
                }
            }
        }
    }
    assert_eq!(golden.results.len(), 12);
}

#[test]
fn one_antithetic_pair_is_exact_for_pairs_of_features() {
    let n = 6;
    let single: Vec<f32> = (0..n).map(|i| i as f32 / 2.0 - 1.0).collect();
    let pair = |i: usize, j: usize| {
        if i < j {
            ((i * 5 + j * 3) % 7) as f32 / 3.0 - 1.0
        } else {
            0.0
        }
    };
    let pairs: Vec<f32> = (0..n * n).map(|k| pair(k / n, k % n)).collect();
    let x = input([2, n], 5);
    let (a, b) = (tensor([1, n], single.clone()), tensor([n, n], pairs));
    let model = |x: Tensor<2>| (x.clone() * a.clone() + x.clone().matmul(b.clone()) * x).sum_dim(1);
    let rows = Value::from(x.clone()).to_vec().unwrap();
    // Each of two features gets half of their interaction.
    let expected = rows.chunks(n).flat_map(|x| {
        let single = &single;
        (0..n).map(move |i| {
            let shared = (0..n).map(|j| (pair(i, j) + pair(j, i)) * x[j] / 2.0);
            x[i] * (single[i] + shared.sum::<f32>())
        })
    });
    let expected: Vec<f32> = expected.collect();
    for seed in 0..5 {
        let one = PermutationShap::new().with_permutations(1).with_seed(seed);
        let found = one.attribute(&model, &x, 0).unwrap();
        let what = format!("seed {seed}");
        assert_close_slices(&what, &values(&found.values()[0]), &expected, 1e-5);
        assert!(found.standard_error().is_none(), "{what}");
    }
}

#[test]
fn a_single_feature_takes_all() {
    let x = tensor([2, 1], vec![2.0, -1.0]);
    let model = |x: Tensor<2>| x.powi_scalar(2) + 1.0;
    let methods: [(&str, Box<dyn Method>); 4] = [
        ("exact", Box::new(ShapleyValues::new())),
        ("kernel", Box::new(KernelShap::new())),
        ("permutation", Box::new(PermutationShap::new())),
        ("partition", Box::new(PartitionShap::new())),
    ];
    for (name, method) in methods {
        let found = method.attribute(&model, &x, 0).unwrap();
        assert_close_slices(name, &values(&found.values()[0]), &[4.0, 1.0], 1e-6);
        assert_eq!(found.delta().unwrap(), [0.0, 0.0], "{name}");
    }
}

// LIME.

/// Two outputs, neither linear.
fn curved(x: Tensor<2>) -> Tensor<2> {
    let square = x.clone().powi_scalar(2).sum_dim(1);
    let product = x.clone().narrow(1, 0, 1) * x.clone().narrow(1, 2, 1);
    Tensor::cat(
        vec![square + product.clone(), x.sum_dim(1).sin() - product],
        1,
    )
}

/// Returns one output of `curved` for some rows.
fn labels(rows: &[Vec<f32>], class: usize) -> Vec<f64> {
    let output = curved(tensor([rows.len(), rows[0].len()], rows.concat()));
    let output = output.narrow(1, class, 1).into_data();
    output.iter::<f64>().collect()
}

fn rows(x: &Tensor<2>) -> Vec<Vec<f32>> {
    let data = Value::from(x.clone()).to_vec().unwrap();
    data.chunks(x.dims()[1]).map(<[f32]>::to_vec).collect()
}

fn one_row(row: Vec<f32>) -> Values {
    Values::new(vec![tensor([1, row.len()], row).into()], vec![true])
}

fn doubles(row: &[f32]) -> Vec<f64> {
    row.iter().map(|&x| f64::from(x)).collect()
}

#[test]
fn samples_drawn_in_interpretable_space() {
    let x = input([2, 4], 3);
    let draw = |random: &mut Random| (0..4).map(|_| random.uniform().round()).collect();
    let point = |z: &[f64], x: &[f32]| -> Vec<f32> {
        z.iter().zip(x).map(|(&z, x)| z as f32 * x + 0.25).collect()
    };
    let weigh = |z: &[f64]| (z.iter().sum::<f64>() - 4.0).exp();
    let lime = LimeBase::in_interpretable_space(
        move |_: &Values, random: &mut Random| -> Result<Vec<f64>, Error> { Ok(draw(random)) },
        move |z: &[f64], original: &Values| -> Result<Values, Error> {
            Ok(one_row(point(z, &original.values()[0].to_vec()?)))
        },
        move |_: &Values, _: &Values, z: &[f64]| -> Result<f64, Error> { Ok(weigh(z)) },
        Ridge::default(),
    );
    let lime = lime.with_samples(30).with_seed(9);
    let found = lime.fit(&curved, &x, Target::Classes(vec![1, 0])).unwrap();
    for ((fit, row), class) in found.iter().zip(rows(&x)).zip([1, 0]) {
        let mut random = Random::new(9);
        let z: Vec<Vec<f64>> = (0..30).map(|_| draw(&mut random)).collect();
        let points: Vec<Vec<f32>> = z.iter().map(|z| point(z, &row)).collect();
        let weights: Vec<f64> = z.iter().map(|z| weigh(z)).collect();
        let design = Design::new(4, z.concat()).unwrap();
        let expected = Ridge::default().fit(&design, &labels(&points, class), &weights);
        same_fit("interpretable", fit, &expected.unwrap(), 1e-6);
    }
}

#[test]
fn samples_drawn_as_inputs() {
    let x = input([2, 3], 4);
    let draw = |x: &[f32], random: &mut Random| -> Vec<f32> {
        let noise: Vec<f32> = random.normal(3).collect();
        x.iter().zip(noise).map(|(x, n)| x + n).collect()
    };
    let features = |sample: &[f32]| vec![f64::from(sample[0] * sample[1]), f64::from(sample[2])];
    let weigh = |x: &[f32], sample: &[f32]| {
        let pairs = x.iter().zip(sample);
        f64::from(-pairs.map(|(a, b)| (a - b).powi(2)).sum::<f32>()).exp()
    };
    let lime = LimeBase::in_input_space(
        move |original: &Values, random: &mut Random| -> Result<Values, Error> {
            Ok(one_row(draw(&original.values()[0].to_vec()?, random)))
        },
        move |sample: &Values, _: &Values| -> Result<Vec<f64>, Error> {
            Ok(features(&sample.values()[0].to_vec()?))
        },
        move |original: &Values, sample: &Values, z: &[f64]| -> Result<f64, Error> {
            let sample = sample.values()[0].to_vec()?;
            assert_eq!(z, features(&sample));
            Ok(weigh(&original.values()[0].to_vec()?, &sample))
        },
        LinearRegression::default(),
    );
    let lime = lime.with_samples(25).with_seed(2);
    let found = lime.fit(&curved, &x, 0).unwrap();
    for (fit, row) in found.iter().zip(rows(&x)) {
        let mut random = Random::new(2);
        let points: Vec<Vec<f32>> = (0..25).map(|_| draw(&row, &mut random)).collect();
        let weights: Vec<f64> = points.iter().map(|point| weigh(&row, point)).collect();
        let z: Vec<Vec<f64>> = points.iter().map(|point| features(point)).collect();
        let design = Design::new(2, z.concat()).unwrap();
        let expected = LinearRegression::default().fit(&design, &labels(&points, 0), &weights);
        same_fit("input", fit, &expected.unwrap(), 1e-6);
    }
}

#[test]
fn kernel_shap_is_lime_over_all_coalitions() {
    let n = 5;
    let x = input([1, n], 6);
    let next = Mutex::new(0);
    let lime = LimeBase::in_interpretable_space(
        move |_: &Values, _: &mut Random| -> Result<Vec<f64>, Error> {
            let mut next = next.lock().unwrap();
            *next += 1;
            let coalition = *next - 1;
            Ok((0..n).map(|i| f64::from(coalition >> i & 1)).collect())
        },
        |z: &[f64], original: &Values| -> Result<Values, Error> {
            let x = original.values()[0].to_vec()?;
            let present = z.iter().zip(x).map(|(&z, x)| z as f32 * x);
            Ok(one_row(present.collect()))
        },
        move |_: &Values, _: &Values, z: &[f64]| -> Result<f64, Error> {
            let size = z.iter().sum::<f64>() as usize;
            if size == 0 || size == n {
                return Ok(1e6);
            }
            let ways = [1, 5, 10, 10, 5, 1][size];
            Ok((n - 1) as f64 / (ways * size * (n - size)) as f64)
        },
        LinearRegression::default(),
    );
    let lime = lime.with_samples(1 << n);
    for class in [0, 1] {
        let fit = lime.fit(&curved, &x, class).unwrap().remove(0);
        let shap = KernelShap::new().with_samples(1 << n);
        let expected = shap.attribute(&curved, &x, class).unwrap();
        let got: Vec<f32> = fit.coefficients.iter().map(|&c| c as f32).collect();
        let expected = values(&expected.values()[0]);
        assert_close_slices(&format!("class {class}"), &got, &expected, 1e-3);
        let whole = shap.fit(&curved, &x, class).unwrap().remove(0);
        close("fit", &whole.coefficients, &doubles(&expected), 1e-6);
        close("nothing", &[fit.intercept], &[whole.intercept], 1e-3);
    }
}

/// Draws which features are present in each sample.
fn presences(seed: u64, samples: usize, features: usize) -> Vec<Vec<f64>> {
    let mut random = Random::new(seed);
    let mut sample = || {
        let present = (0..features).map(|_| f64::from(random.uniform() < 0.5));
        present.collect()
    };
    (0..samples).map(|_| sample()).collect()
}

/// Captum's exponential kernel.
fn weights(points: &[Vec<f64>], x: &[f64], mode: DistanceMode, width: f64) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let weight = |point: &Vec<f64>| {
        let distance = match mode {
            // A zero vector counts as orthogonal to everything.
            DistanceMode::Cosine => match (dot(point, point) * dot(x, x)).sqrt() {
                0.0 => 1.0,
                lengths => 1.0 - dot(point, x) / lengths,
            },
            DistanceMode::Euclidean => {
                let squares = point.iter().zip(x).map(|(a, b)| (a - b).powi(2));
                squares.sum::<f64>().sqrt()
            }
        };
        (-0.5 * (distance / width).powi(2)).exp()
    };
    points.iter().map(weight).collect()
}

/// Computes LIME's fit from its samples.
fn lasso(
    samples: &[Vec<f64>],
    labels: &[f64],
    weights: &[f64],
    (selection, count): (FeatureSelection, usize),
) -> Fit {
    let features = samples[0].len();
    let design = Design::new(features, samples.concat()).unwrap();
    let present = vec![1.0; features];
    let chosen = select_features(selection, count, &present, (&design, labels, weights)).unwrap();
    let lasso = Lasso {
        alpha: 0.01,
        ..Lasso::default()
    };
    let fit = lasso.fit(&design.with_columns(&chosen), labels, weights);
    let fit = fit.unwrap();
    let mut coefficients = vec![0.0; features];
    for (&feature, &coefficient) in chosen.iter().zip(&fit.coefficients) {
        coefficients[feature] = coefficient;
    }
    Fit {
        coefficients,
        ..fit
    }
}

#[test]
fn lime_is_its_definition() {
    let (x, b) = (input([2, 6], 7), input([2, 6], 8) * 0.5);
    let one = [[0, 0, 1, 2, 2, 3], [0, 0, 1, 2, 2, 3]];
    let each = [[0, 0, 1, 2, 2, 3], [3, 2, 2, 1, 0, 0]];
    let all = (FeatureSelection::None, 10);
    let two = (FeatureSelection::HighestWeights, 2);
    let (cosine, euclidean) = (DistanceMode::Cosine, DistanceMode::Euclidean);
    for (mask, mode, width, selected) in [
        (one, cosine, 0.5, all),
        (one, euclidean, 0.75, all),
        (each, cosine, 1.0, two),
        (each, euclidean, 1.5, (FeatureSelection::LassoPath, 3)),
    ] {
        let what = format!("{mask:?}, {mode:?}, {selected:?}");
        let ids = Tensor::<2, Int>::from_ints(mask, &device());
        let lime = Lime::new()
            .with_samples(60)
            .with_seed(11)
            .with_distance_mode(mode)
            .with_kernel_width(width)
            .with_feature_selection(selected.0, selected.1)
            .with_feature_mask(ids)
            .with_baseline(b.clone());
        let fits = lime.fit(&curved, &x, 1).unwrap();
        let found = lime.attribute(&curved, &x, 1).unwrap();
        let spread = values(&found.values()[0]);
        for (row, fit) in fits.iter().enumerate() {
            let (x, b) = (&rows(&x)[row], &rows(&b)[row]);
            let samples = presences(11, 60, 4);
            let point = |z: &Vec<f64>| -> Vec<f32> {
                let pairs = mask[row].iter().zip(x.iter().zip(b));
                pairs
                    .map(|(&id, (x, b))| if z[id as usize] == 1.0 { *x } else { *b })
                    .collect()
            };
            let points: Vec<Vec<f32>> = samples.iter().map(point).collect();
            let exact: Vec<Vec<f64>> = points.iter().map(|p| doubles(p)).collect();
            let near = weights(&exact, &doubles(x), mode, width);
            let expected = lasso(&samples, &labels(&points, 1), &near, selected);
            same_fit(&what, fit, &expected, 1e-6);
            let places = mask[row]
                .iter()
                .map(|&id| expected.coefficients[id as usize]);
            let places: Vec<f64> = places.collect();
            close(&what, &doubles(&spread[row * 6..][..6]), &places, 1e-6);
            let r_squared = f64::from(found.r_squared().unwrap()[row]);
            close(&what, &[r_squared], &[expected.r_squared], 1e-6);
        }
    }
}

#[test]
fn tokens_are_as_far_as_they_are_absent() {
    let x = [3, 1, 4, 1, 5];
    let tokens = Tensor::<2, Int>::from_ints([x], &device());
    let model = |x: Tensor<2, Int>| curved(x.float() * 0.25);
    for (mode, width) in [(DistanceMode::Cosine, 0.25), (DistanceMode::Euclidean, 1.0)] {
        let lime = Lime::new()
            .with_samples(40)
            .with_distance_mode(mode)
            .with_kernel_width(width)
            .with_baseline(7.0);
        let fit = lime.fit(&model, &tokens, 0).unwrap().remove(0);
        let samples = presences(0, 40, 5);
        let token = |(&z, &x): (&f64, &i32)| 0.25 * if z == 1.0 { x as f32 } else { 7.0 };
        let points = samples
            .iter()
            .map(|z| z.iter().zip(&x).map(token).collect());
        let points: Vec<Vec<f32>> = points.collect();
        let near = weights(&samples, &[1.0; 5], mode, width);
        let all = (FeatureSelection::None, 10);
        let expected = lasso(&samples, &labels(&points, 0), &near, all);
        same_fit(&format!("{mode:?}"), &fit, &expected, 1e-6);
    }
}

#[test]
fn lime_for_tables_is_its_definition() {
    // Two columns of numbers, one of categories with shares 1/4, 1/2, 1/4.
    let category = |i: usize| [1.0, 2.0, 2.0, 5.0][i % 4];
    let training = (0..40).map(|i| {
        let (a, b) = (i as f64 / 10.0, (i * 7 % 40) as f64 - 20.0);
        vec![a, category(i), b]
    });
    let training: Vec<Vec<f64>> = training.collect();
    let column = |feature: usize| -> Vec<f64> { training.iter().map(|r| r[feature]).collect() };
    let moments = |feature: usize| {
        let values = column(feature);
        let mean = values.iter().sum::<f64>() / 40.0;
        let squares = values.iter().map(|v| (v - mean).powi(2));
        (mean, (squares.sum::<f64>() / 40.0).sqrt())
    };
    let x = tensor([2, 3], vec![1.5, 2.0, 3.0, 0.5, 5.0, -10.0]);
    for (around, kernel_width) in [(false, None), (true, Some(2.0))] {
        let config = LimeTabularConfig {
            num_samples: 50,
            feature_selection: FeatureSelection::None,
            discretizer: Discretizer::None,
            categorical_features: vec![1],
            kernel_width,
            sample_around_instance: around,
            seed: 21,
            ..LimeTabularConfig::default()
        };
        let lime = LimeTabular::new(training.clone()).with_config(config);
        let found = lime.attribute(&curved, &x, 0).unwrap();
        let width = kernel_width.unwrap_or(0.75 * 3f64.sqrt());
        for (row, x) in rows(&x).iter().enumerate() {
            let mut random = Random::new(21);
            let scaled = |feature: usize, value: f64| {
                let (mean, std) = moments(feature);
                (value - mean) / std
            };
            let own: Vec<f64> = doubles(x);
            let own = vec![scaled(0, own[0]), 1.0, scaled(2, own[2])];
            let (mut points, mut samples) = (vec![x.clone()], vec![own.clone()]);
            for _ in 1..50 {
                let (mut point, mut sample) = (Vec::new(), Vec::new());
                for (feature, &x) in x.iter().enumerate() {
                    let value = if feature == 1 {
                        let at = random.uniform();
                        let value =
                            [1.0, 2.0, 5.0][usize::from(at >= 0.25) + usize::from(at >= 0.75)];
                        sample.push(f64::from(value == f64::from(x)));
                        value
                    } else {
                        let (mean, std) = moments(feature);
                        let noise = f64::from(random.normal(1).next().unwrap());
                        let value = if around { f64::from(x) } else { mean } + std * noise;
                        sample.push(scaled(feature, value));
                        value
                    };
                    point.push(value as f32);
                }
                points.push(point);
                samples.push(sample);
            }
            // lime's kernel is the square root of another kernel, which makes it Captum's.
            let near = weights(&samples, &own, DistanceMode::Euclidean, width);
            let design = Design::new(3, samples.concat()).unwrap();
            let expected = Ridge::default().fit(&design, &labels(&points, 0), &near);
            let expected = expected.unwrap();
            let got = doubles(&values(&found.values()[0])[row * 3..][..3]);
            close("coefficients", &got, &expected.coefficients, 1e-6);
            let r_squared = f64::from(found.r_squared().unwrap()[row]);
            close("share", &[r_squared], &[expected.r_squared], 1e-6);
        }
    }
}

// Superpixels.

/// Returns the mask's labels, row by row and channel by channel.
fn segments(mask: &FeatureMask, [rows, channels, height, width]: [usize; 4]) -> Vec<Vec<i64>> {
    let FeatureMask::Each(masks) = mask else {
        panic!("{mask:?} is no tensor");
    };
    assert_eq!(masks[0].shape(), [rows, channels, height, width]);
    let ids = masks[0].to_data().unwrap();
    let ids: Vec<i64> = ids.iter::<i64>().collect();
    ids.chunks(height * width).map(<[i64]>::to_vec).collect()
}

#[test]
fn superpixels_keep_to_edges() {
    for (shape, n_segments) in [
        ([1, 1, 8, 8], 4),
        ([1, 1, 8, 8], 8),
        ([2, 3, 16, 16], 8),
        ([2, 3, 16, 16], 12),
        ([2, 3, 16, 16], 16),
    ] {
        let [rows, channels, height, width] = shape;
        // Bright on the right in the first row, below in the second.
        let bright = |row: usize, pixel: usize| match row {
            0 => pixel % width >= width / 2,
            _ => pixel / width >= height / 4,
        };
        let pixels = (0..rows * channels * height * width).map(|i| {
            let (image, pixel) = (i / (height * width), i % (height * width));
            f32::from(bright(image / channels, pixel))
        });
        let image = tensor(shape, pixels.collect());
        let slic = Slic {
            n_segments,
            ..Slic::default()
        };
        let what = format!("{shape:?}, {n_segments} segments");
        let mask = superpixels(&image.clone().into(), &slic).unwrap();
        let labels = segments(&mask, shape);
        for (row, channels) in labels.chunks(channels).enumerate() {
            assert!(channels.iter().all(|c| c == &channels[0]), "{what}");
            let most = channels[0].iter().max().unwrap();
            assert!(*most >= 1, "{what}: one segment");
            for label in 0..=*most {
                let all = channels[0].iter().enumerate();
                let own = all.filter(|(_, l)| **l == label).map(|(pixel, _)| pixel);
                let sides: Vec<bool> = own.map(|pixel| bright(row, pixel)).collect();
                let bright = sides.iter().filter(|&&bright| bright).count();
                assert!(!sides.is_empty(), "{what}: {label} of row {row} is missing");
                assert!(
                    bright == 0 || bright == sides.len(),
                    "{what}: {label} of row {row} has {bright} bright pixels of {}",
                    sides.len()
                );
            }
        }
        // The cells of a fine grid follow both edges without being told.
        let fine = n_segments > 8;
        assert!(rows == 1 || fine || labels[0] != labels[channels], "{what}");
        let ablation = FeatureAblation::new().with_feature_mask(mask);
        let sum = |x: Tensor<4>| x.flatten::<2>(1, 3).sum_dim(1);
        let found = ablation.attribute(&sum, &image, 0).unwrap();
        let found = values(&found.values()[0]);
        for (found, labels) in found.chunks(height * width).zip(&labels) {
            let mut of: HashMap<i64, f32> = HashMap::new();
            for (label, value) in labels.iter().zip(found) {
                assert_eq!(of.entry(*label).or_insert(*value), value, "{what}");
            }
        }
    }
}

#[test]
fn small_images_have_superpixels() {
    for shape in [[1, 1, 8, 8], [1, 3, 4, 4], [1, 1, 1, 1], [1, 2, 1, 5]] {
        let pixels = shape.iter().product::<usize>();
        let image = tensor(shape, (0..pixels).map(|i| i as f32).collect());
        let mask = superpixels(&image.into(), &Slic::default());
        let mask = mask.unwrap_or_else(|error| panic!("{shape:?}: {error}"));
        let labels = segments(&mask, shape);
        assert!(
            labels.iter().flatten().any(|&label| label == 0),
            "{shape:?}"
        );
    }
}

#[test]
fn labels_that_are_constant_up_to_rounding() {
    let constant = |x: Tensor<2>| x.zeros_like().sum_dim(1) + 0.4;
    let x = input([1, 4], 7);
    for seed in 0..10 {
        let lime = Lime::new()
            .with_seed(seed)
            .attribute(&constant, &x, 0)
            .unwrap();
        assert_eq!(lime.r_squared().unwrap(), [1.0], "seed {seed}");
    }
    let hinge = |x: Tensor<2>| (x.sum_dim(1) - 3.5).clamp_min(0.0) + 0.1;
    let ones = Tensor::<2>::ones([1, 4], &device());
    let kernel = KernelShap::new().attribute(&hinge, &ones, 0).unwrap();
    assert_eq!(kernel.r_squared().unwrap(), [0.0]);
}

#[test]
fn standard_errors_need_more_pairs_than_directions() {
    let model = |x: Tensor<2>| x.clone().powi_scalar(3).sum_dim(1) * x.sum_dim(1);
    for (features, samples, known) in [(20, 25, false), (3, 4, false), (10, 60, true), (3, 8, true)]
    {
        let x = input([1, features], 8);
        let kernel = KernelShap::new().with_samples(samples);
        let found = kernel.attribute(&model, &x, 0).unwrap();
        assert_eq!(
            found.standard_error().is_some(),
            known,
            "{features} {samples}"
        );
    }
}

#[test]
fn the_lasso_path_after_a_feature_went_out() {
    let rows: [[f64; 4]; 7] = [
        [-2.0, 1.0, 0.0, -1.0],
        [1.0, 2.0, 2.0, 0.0],
        [1.0, -1.0, -2.0, 2.0],
        [0.0, 0.0, 0.0, -1.0],
        [1.0, -1.0, -2.0, 2.0],
        [1.0, 2.0, 2.0, 1.0],
        [2.0, -1.0, -2.0, 1.0],
    ];
    let labels = [1.0, -2.0, 3.0, -1.0, 3.0, 0.0, -2.0];
    let select = |design: &Design, count| {
        let all = vec![1.0; design.columns()];
        let weights = [1.0; 7];
        let path = FeatureSelection::LassoPath;
        select_features(path, count, &all, (design, &labels, &weights)).unwrap()
    };
    let design = Design::new(4, rows.concat()).unwrap();
    // As scikit-learn's lars_path.
    assert_eq!(select(&design, 3), [0, 1, 3]);
    // A duplicate column does not end the path.
    let twice: Vec<f64> = rows.iter().flat_map(|r| [r[2], r[0], r[2], r[3]]).collect();
    assert_eq!(select(&Design::new(4, twice).unwrap(), 4).len(), 3);
}

#[test]
fn interpretable_models_that_do_not_fit_the_samples() {
    let short = |_: &Design, _: &[f64], _: &[f64]| {
        Ok(Fit {
            coefficients: vec![1.0],
            intercept: 0.0,
            r_squared: 1.0,
            standard_errors: None,
        })
    };
    let x = input([1, 3], 9);
    let sum = |x: Tensor<2>| x.sum_dim(1);
    let refused = Lime::new()
        .with_interpretable_model(short)
        .attribute(&sum, &x, 0);
    assert!(matches!(refused, Err(Error::Shape { .. })));
    let design = Design::new(2, vec![0.0, 1.0, 1.0, 0.0]).unwrap();
    let none = LinearRegression::default().fit(&design.with_columns(&[]), &[1.0, 3.0], &[1.0; 2]);
    assert_eq!(none.unwrap().intercept, 2.0);
    let path = FeatureSelection::LassoPath;
    let refused = select_features(path, 1, &[1.0; 2], (&design, &[1.0], &[1.0; 2]));
    assert!(matches!(refused, Err(Error::Shape { .. })));
}
