//! Checks that wrong input to black-box methods gives an error that names the wrong value, and
//! never a panic.

use std::fmt;

use attr_core::build::Random;
use attr_core::{
    Baseline, Baselines, Constant, Error, FeatureMask, Inputs, Kind, Method, Model, Target, Value,
    Values,
};
use attr_perturb::{
    FeatureAblation, FeaturePermutation, Hierarchy, HsicAttribution, HsicAttributionConfig,
    Occlusion, OverData, PartitionShap, PermutationShap, Reduction, Rise, ShapleyValueSampling,
    ShapleyValues, SobolAttribution, SobolAttributionConfig,
};
use attr_surrogate::{
    Design, Discretization, Discretizer, DistanceMode, FeatureSelection, InterpretableModel,
    KernelShap, Lasso, Lime, LimeBase, LimeConfig, LimeTabular, LimeTabularConfig,
    LinearRegression, Ridge, Slic, Surrogate, superpixels,
};
use attr_testkit::compare::assert_close_slices;
use attr_testkit::device;
use attr_testkit::models::input;
use burn::tensor::{Int, Tensor, TensorData};

/// Asserts that each error has the given kind and contains the given words.
macro_rules! refused {
    ($($what:expr, $error:expr => $kind:pat, $words:expr;)+) => {$(
        let (what, error) = ($what, $error);
        assert!(matches!(error, $kind), "{what}: {error}");
        let text = error.to_string();
        assert!(text.contains($words), "{what}: {text:?} does not say {:?}", $words);
    )+};
}

#[track_caller]
fn failure<T>(what: impl fmt::Display, result: Result<T, Error>) -> Error {
    match result {
        Ok(_) => panic!("{what} is accepted"),
        Err(error) => error,
    }
}

#[track_caller]
fn refuse<I: Inputs>(method: impl Method, model: &impl Model<I>, x: &I) -> Error {
    failure(
        "what should be refused",
        method.attribute(model, x, Target::Single),
    )
}

fn sum(x: Tensor<2>) -> Tensor<2> {
    x.sum_dim(1)
}

/// Returns the method's error for a sum of columns as the model and a table of two rows.
#[track_caller]
fn refuse_table(method: impl Method) -> Error {
    refuse(method, &sum, &table())
}

/// Two rows of three features.
fn table() -> Tensor<2> {
    Tensor::from_floats([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]], &device())
}

fn image() -> Tensor<3> {
    table().unsqueeze_dim(1)
}

fn integers<const D: usize>(shape: [usize; D], numbers: &[i64]) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(numbers.to_vec(), shape), &device())
}

fn training() -> Vec<Vec<f64>> {
    let row = |i: usize| (0..3).map(|j| ((i * 7 + j * 3) % 10) as f64).collect();
    (0..20).map(row).collect()
}

type Boxed = Box<dyn Method>;

/// Every method that needs only an input; Rise needs an image.
fn all() -> Vec<(&'static str, Boxed, Values)> {
    let x = || table().to_values();
    let tabular = LimeTabular::new(training()).with_samples(20);
    vec![
        ("ablation", Box::new(FeatureAblation::new()), x()),
        ("permutation", Box::new(FeaturePermutation::new()), x()),
        ("occlusion", Box::new(Occlusion::new([vec![1]])), x()),
        ("Shapley values", Box::new(ShapleyValues::new()), x()),
        ("sampling", Box::new(ShapleyValueSampling::new()), x()),
        ("pairs", Box::new(PermutationShap::new()), x()),
        ("partition", Box::new(PartitionShap::new()), x()),
        ("sobol", Box::new(SobolAttribution::new()), x()),
        (
            "hsic",
            Box::new(HsicAttribution::new().with_design(20)),
            x(),
        ),
        (
            "rise",
            Box::new(Rise::new().with_masks(20)),
            image().to_values(),
        ),
        ("lime", Box::new(Lime::new()), x()),
        ("kernel", Box::new(KernelShap::new()), x()),
        ("tabular", Box::new(tabular), x()),
    ]
}

/// Creates a method with the given setting.
type With<T> = fn(T) -> Boxed;

fn with_mask() -> [(&'static str, With<FeatureMask>); 10] {
    [
        ("ablation", |m| {
            Box::new(FeatureAblation::new().with_feature_mask(m))
        }),
        ("permutation", |m| {
            Box::new(FeaturePermutation::new().with_feature_mask(m))
        }),
        ("Shapley values", |m| {
            Box::new(ShapleyValues::new().with_feature_mask(m))
        }),
        ("sampling", |m| {
            Box::new(ShapleyValueSampling::new().with_feature_mask(m))
        }),
        ("pairs", |m| {
            Box::new(PermutationShap::new().with_feature_mask(m))
        }),
        ("partition", |m| {
            Box::new(PartitionShap::new().with_feature_mask(m))
        }),
        ("sobol", |m| {
            Box::new(SobolAttribution::new().with_feature_mask(m))
        }),
        ("hsic", |m| {
            Box::new(HsicAttribution::new().with_feature_mask(m))
        }),
        ("lime", |m| Box::new(Lime::new().with_feature_mask(m))),
        ("kernel", |m| {
            Box::new(KernelShap::new().with_feature_mask(m))
        }),
    ]
}

fn with_baseline() -> [(&'static str, With<Baselines>); 10] {
    [
        ("ablation", |b| {
            Box::new(FeatureAblation::new().with_baseline(b))
        }),
        ("occlusion", |b| {
            Box::new(Occlusion::new([vec![1]]).with_baseline(b))
        }),
        ("Shapley values", |b| {
            Box::new(ShapleyValues::new().with_baseline(b))
        }),
        ("sampling", |b| {
            Box::new(ShapleyValueSampling::new().with_baseline(b))
        }),
        ("pairs", |b| {
            Box::new(PermutationShap::new().with_baseline(b))
        }),
        ("partition", |b| {
            Box::new(PartitionShap::new().with_baseline(b))
        }),
        ("sobol", |b| {
            Box::new(SobolAttribution::new().with_baseline(b))
        }),
        ("hsic", |b| {
            Box::new(HsicAttribution::new().with_baseline(b))
        }),
        ("lime", |b| Box::new(Lime::new().with_baseline(b))),
        ("kernel", |b| Box::new(KernelShap::new().with_baseline(b))),
    ]
}

fn with_perturbations_per_eval() -> [(&'static str, With<usize>); 13] {
    [
        ("ablation", |n| {
            Box::new(FeatureAblation::new().with_perturbations_per_eval(n))
        }),
        ("occlusion", |n| {
            Box::new(Occlusion::new([vec![2]]).with_perturbations_per_eval(n))
        }),
        ("Shapley values", |n| {
            Box::new(ShapleyValues::new().with_perturbations_per_eval(n))
        }),
        ("sampling", |n| {
            Box::new(ShapleyValueSampling::new().with_perturbations_per_eval(n))
        }),
        ("pairs", |n| {
            Box::new(PermutationShap::new().with_perturbations_per_eval(n))
        }),
        ("partition", |n| {
            Box::new(PartitionShap::new().with_perturbations_per_eval(n))
        }),
        ("kernel", |n| {
            Box::new(KernelShap::new().with_perturbations_per_eval(n))
        }),
        // The results of the following methods are not sums over rows.
        ("permutation", |n| {
            Box::new(FeaturePermutation::new().with_perturbations_per_eval(n))
        }),
        ("sobol", |n| {
            Box::new(SobolAttribution::new().with_perturbations_per_eval(n))
        }),
        ("hsic", |n| {
            Box::new(HsicAttribution::new().with_perturbations_per_eval(n))
        }),
        ("lime", |n| {
            Box::new(Lime::new().with_perturbations_per_eval(n))
        }),
        ("tabular", |n| {
            let config = LimeTabularConfig {
                perturbations_per_eval: Some(n),
                ..LimeTabularConfig::default()
            };
            Box::new(LimeTabular::new(training()).with_config(config))
        }),
        ("rise", |n| {
            Box::new(Rise::new().with_perturbations_per_eval(n))
        }),
    ]
}

#[test]
fn masks() {
    let mask = |row: [i64; 3]| FeatureMask::from(integers([1, 3], &row));
    let rows = |rows: usize| FeatureMask::from(integers([rows, 3], &vec![0; 3 * rows]));
    let floats = FeatureMask::from(Value::from(Tensor::<2>::zeros([1, 3], &device())));
    let two = Value::from(integers([1, 3], &[0, 1, 2]));
    for (name, method) in with_mask() {
        let error = |mask: FeatureMask| refuse_table(method(mask));
        refused! {
            name, error(mask([0, 2, 2])) => Error::FeatureMask { number: 1, .. }, "feature 1:";
            name, error(mask([1, 2, 3])) => Error::FeatureMask { number: 0, .. }, "feature 0:";
            name, error(mask([0, 1, 1 << 30])) =>
                Error::FeatureMask { number: 2, .. }, "feature 2:";
            name, error(mask([-1, -2, -1])) => Error::FeatureMask { .. }, "no feature is left";
            name, error(integers([1, 2], &[0, 1]).into()) => Error::Shape { .. }, "[1, 2]";
            name, error(integers([3], &[0, 1, 2]).into()) => Error::Shape { .. }, "[3]";
            name, error(integers([1, 1, 3], &[0, 1, 2]).into()) => Error::Shape { .. }, "[1, 1, 3]";
            name, error(rows(3)) => Error::Shape { .. }, "[3, 3]";
            name, error(floats.clone()) =>
                Error::ElementKind { expected: Kind::Int, got: Kind::Float }, "Float";
            name, error(vec![two.clone(), two.clone()].into()) =>
                Error::InputCount { expected: 1, got: 2 }, "2 inputs";
            name, error(FeatureMask::Grid(vec![4])) => Error::Shape { .. }, "[4]";
            name, error(FeatureMask::Grid(vec![0])) => Error::Shape { .. }, "[0]";
            name, error(FeatureMask::Grid(vec![1, 1])) => Error::Shape { .. }, "[1, 1]";
        }
        let nothing = (Constant(table()),);
        let model = |x: (Constant<Tensor<2>>,)| sum(x.0.0);
        let error = refuse(method(FeatureMask::Elements), &model, &nothing);
        refused! { name, error => Error::Method { .. }, "no input is explained"; }
    }
}

#[test]
fn windows() {
    let occlusion = |window: &[usize]| Occlusion::new([window.to_vec()]);
    let strides = |strides: &[usize]| occlusion(&[2]).with_strides([strides.to_vec()]);
    let pair = (table(), table());
    let both = |x: (Tensor<2>, Tensor<2>)| sum(x.0 + x.1);
    refused! {
        "too large", refuse_table(occlusion(&[4])) => Error::Shape { .. }, "[4]";
        "of another rank", refuse_table(occlusion(&[1, 3])) => Error::Shape { .. }, "[1, 3]";
        "of no rank", refuse_table(occlusion(&[])) => Error::Shape { .. }, "[]";
        "empty", refuse_table(occlusion(&[0])) => Error::Shape { .. }, "[0]";
        "no step", refuse_table(strides(&[0])) =>
            Error::Parameter { name: "strides", .. }, "strides = 0";
        "gaps", refuse_table(strides(&[3])) =>
            Error::Parameter { name: "strides", .. }, "strides = 3";
        "step of another rank", refuse_table(strides(&[1, 1])) => Error::Shape { .. }, "[1, 1]";
        "no window", refuse_table(Occlusion::new([])) =>
            Error::Parameter { name: "sliding_window_shapes", .. }, "sliding_window_shapes = none";
        "one window for two", refuse(occlusion(&[1]), &both, &pair) =>
            Error::Method { .. }, "1 windows";
        "one step for two",
            refuse(Occlusion::new([vec![1], vec![1]]).with_strides([vec![1]]), &both, &pair) =>
            Error::Method { .. }, "1 windows or strides";
    }
}

#[test]
fn numbers_of_samples() {
    let tabular = || LimeTabular::new(training());
    let config = |grid_size| SobolAttributionConfig {
        grid_size,
        ..SobolAttributionConfig::default()
    };
    let hsic_config = |grid_size| HsicAttributionConfig {
        grid_size,
        ..HsicAttributionConfig::default()
    };
    let cases: Vec<(Boxed, &str)> = vec![
        (
            Box::new(ShapleyValueSampling::new().with_samples(0)),
            "n_samples = 0",
        ),
        (
            Box::new(ShapleyValueSampling::new().with_samples(1 << 25)),
            "n_samples = 33554432",
        ),
        (
            Box::new(PermutationShap::new().with_permutations(0)),
            "npermutations = 0",
        ),
        (
            Box::new(PartitionShap::new().with_max_evals(0)),
            "max_evals = 0",
        ),
        (
            Box::new(PartitionShap::new().with_max_evals(1)),
            "max_evals = 1",
        ),
        (Box::new(Rise::new().with_masks(0)), "N = 0"),
        (Box::new(Rise::new().with_cells(0)), "s = 0"),
        (Box::new(Rise::new().with_probability(0.0)), "p1 = 0"),
        (Box::new(Rise::new().with_probability(1.0)), "p1 = 1"),
        (Box::new(Rise::new().with_probability(f64::NAN)), "p1 = NaN"),
        (
            Box::new(SobolAttribution::new().with_design(0)),
            "nb_design = 0",
        ),
        (
            Box::new(SobolAttribution::new().with_design(1)),
            "nb_design = 1",
        ),
        (
            Box::new(SobolAttribution::new().with_config(config(0))),
            "grid_size = 0",
        ),
        (
            Box::new(HsicAttribution::new().with_design(0)),
            "nb_design = 0",
        ),
        (
            Box::new(HsicAttribution::new().with_design(1)),
            "nb_design = 1",
        ),
        (
            Box::new(HsicAttribution::new().with_config(hsic_config(0))),
            "grid_size = 0",
        ),
        (Box::new(Lime::new().with_samples(0)), "n_samples = 0"),
        (
            Box::new(Lime::new().with_feature_selection(FeatureSelection::Auto, 0)),
            "num_features = 0",
        ),
        (Box::new(KernelShap::new().with_samples(0)), "n_samples = 0"),
        (Box::new(KernelShap::new().with_samples(2)), "n_samples = 2"),
        (Box::new(tabular().with_samples(0)), "num_samples = 0"),
        (Box::new(tabular().with_samples(1)), "num_samples = 1"),
        (
            Box::new(tabular().with_feature_selection(FeatureSelection::Auto, 0)),
            "num_features = 0",
        ),
    ];
    let failures: Vec<String> = cases
        .into_iter()
        .filter_map(|(method, words)| {
            let of_image = |x: Tensor<3>| x.flatten::<2>(1, 2).sum_dim(1);
            let of_images = ["N", "s", "p1", "grid_size"].contains(&words.split(' ').next()?);
            let error = if of_images {
                refuse(method, &of_image, &image())
            } else {
                refuse_table(method)
            };
            let fits =
                matches!(error, Error::Parameter { .. }) && error.to_string().contains(words);
            (!fits).then(|| format!("{words}: {error}"))
        })
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn tolerances() {
    for tolerance in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let words = format!("tolerance = {tolerance}");
        let sampling = ShapleyValueSampling::new().with_tolerance(tolerance);
        let pairs = PermutationShap::new().with_tolerance(tolerance);
        refused! {
            "sampling", refuse_table(sampling) =>
                Error::Parameter { name: "tolerance", .. }, &words;
            "pairs", refuse_table(pairs) => Error::Parameter { name: "tolerance", .. }, &words;
        }
    }
}

#[test]
fn no_perturbation_at_once() {
    for (name, method) in with_perturbations_per_eval() {
        let of_any = |x: Values| sum(x.values()[0].matrix().unwrap());
        let x = match name {
            "rise" => image().to_values(),
            _ => table().to_values(),
        };
        refused! {
            name, refuse(method(0), &of_any, &x) =>
                Error::Parameter { name: "perturbations_per_eval", .. },
                "perturbations_per_eval = 0";
        }
    }
}

/// One value for the whole batch.
fn total(x: Values) -> Tensor<1> {
    let x = x.values()[0].matrix().unwrap();
    (x.clone().prod_dim(1) + x.powi_scalar(2).sum_dim(1)).sum()
}

#[test]
fn one_value_for_the_whole_batch() {
    let x = Tensor::<2>::from_floats([[1.0, -2.0, 0.5], [0.25, 3.0, 1.5]], &device());
    let each = |x: Tensor<2>| x.clone().prod_dim(1) + x.powi_scalar(2).sum_dim(1);
    let values = |value: &Option<Value>| value.as_ref().unwrap().to_vec().unwrap();
    for (name, method) in &with_perturbations_per_eval()[..7] {
        let by_row = method(16).attribute(&each, &x, 0).unwrap();
        let by_row = values(&by_row.values()[0]);
        let expected: Vec<f32> = (0..3).map(|i| by_row[i] + by_row[3 + i]).collect();
        let found = method(1)
            .attribute(&total, &x.to_values(), Target::Single)
            .unwrap();
        let found = found.values()[0].as_ref().unwrap();
        assert_eq!(found.shape(), [1, 3], "{name}");
        assert_close_slices(name, &found.to_vec().unwrap(), &expected, 1e-5);
        // A single row is not a batch.
        let one = x.clone().narrow(0, 0, 1).to_values();
        let found = method(1).attribute(&total, &one, Target::Single).unwrap();
        assert_close_slices(name, &values(&found.values()[0]), &by_row[..3], 1e-5);
    }
    for (name, method) in with_perturbations_per_eval() {
        if !["rise", "tabular"].contains(&name) {
            refused! {
                name, refuse(method(2), &total, &x.to_values()) =>
                    Error::WholeBatch { rows: 2, .. }, "output of shape [1] for 2 rows";
            }
        }
    }
    for (name, method, x) in all() {
        refused! {
            name, refuse(&method, &total, &x) => Error::WholeBatch { rows: 2, .. },
                "`perturbations_per_eval` = 1";
        }
        if name == "permutation" {
            continue;
        }
        let error = refuse(&method, &total, &x.slice(0..1).renumbered());
        let Error::WholeBatch { rows, .. } = error else {
            panic!("{name}, one row: {error}");
        };
        assert!(error.to_string().contains(&format!("[1] for {rows} rows")));
    }
    let per_row = FeatureMask::from(integers([2, 3], &[0, 0, 1, 1, 0, 0]));
    let masked = FeatureAblation::new().with_perturbations_per_eval(1);
    let tabular = LimeTabularConfig {
        perturbations_per_eval: Some(1),
        ..LimeTabularConfig::default()
    };
    let tabular = LimeTabular::new(training()).with_config(tabular);
    refused! {
        "mask per row", refuse(masked.with_feature_mask(per_row), &total, &x.to_values()) =>
            Error::Method { .. }, "one mask for all rows";
        "tabular", refuse(tabular, &total, &x.to_values()) => Error::Method { .. }, "whole batch";
    }
}

#[test]
fn outputs_that_are_no_numbers() {
    let range = |x: &Values| {
        let x = x.values()[0].matrix().unwrap();
        x.clone().max_dim(1) - x.min_dim(1)
    };
    // At the input, whose columns are equal, or at any other point.
    let at_input_nan = move |x: Values| (range(&x) - 0.1).sqrt();
    let at_input_infinite = move |x: Values| range(&x).recip();
    let elsewhere_nan = move |x: Values| (range(&x).neg() + 0.1).sqrt();
    let elsewhere_infinite = move |x: Values| range(&x).lower_elem(0.1).float().recip();
    for (name, method, x) in all() {
        refused! {
            name, refuse(&method, &at_input_nan, &x) =>
                Error::NonFinite { .. }, "output for target single";
            name, refuse(&method, &at_input_infinite, &x) =>
                Error::NonFinite { .. }, "target single";
            name, refuse(&method, &elsewhere_nan, &x) => Error::NonFinite { .. }, "target single";
            name, refuse(&method, &elsewhere_infinite, &x) =>
                Error::NonFinite { .. }, "target single";
        }
    }
}

#[test]
fn baselines() {
    let with = |row: [f32; 3]| Tensor::<2>::from_floats([row], &device());
    let numbers = with([0.0; 3]);
    for (name, method) in with_baseline() {
        let error = |baselines: Baselines| refuse_table(method(baselines));
        for bad in [f32::NAN, f32::INFINITY] {
            let row = with([0.0, bad, 0.0]);
            refused! {
                name, error(f64::from(bad).into()) =>
                    Error::NonFinite { .. }, "baseline of input 0";
                name, error(row.clone().into()) => Error::NonFinite { .. }, "baseline of input 0";
            }
            if name != "occlusion" {
                let rows = Tensor::cat(vec![numbers.clone(), row], 0);
                let rows = Baseline::Distribution(rows.into());
                refused! {
                    name, error(rows.into()) => Error::NonFinite { .. }, "baseline of input 0";
                }
            }
        }
        let three = Tensor::cat(vec![numbers.clone(); 3], 0);
        refused! {
            name, error(Tensor::<2>::zeros([1, 2], &device()).into()) =>
                Error::Shape { .. }, "[1, 2]";
            name, error(three.into()) => Error::Shape { .. }, "[3, 3]";
        }
    }
    let rows = Baselines::from(Baseline::Distribution(numbers.into()));
    let occlusion = Occlusion::new([vec![1]]).with_baseline(rows);
    refused! { "occlusion", refuse_table(occlusion) => Error::Method { .. }, "not several or a distribution"; }
}

#[test]
fn features() {
    let wide = |columns: usize| input([1, columns], 1);
    let one_row = table().narrow(0, 0, 1);
    let order = |order: &[usize]| FeaturePermutation::new().with_permutation(order);
    let hierarchy = Hierarchy::new(4, vec![[0, 1], [2, 3], [4, 5]]).unwrap();
    let hierarchy = PartitionShap::new().with_hierarchy(hierarchy);
    let joined = |joins: &[[usize; 2]]| failure("a tree", Hierarchy::new(3, joins.to_vec()));
    refused! {
        "too many", refuse(ShapleyValues::new(), &sum, &wide(21)) =>
            Error::Method { .. }, "21 features";
        "too many", refuse(KernelShap::new(), &sum, &wide(4097)) =>
            Error::Method { .. }, "4097 features";
        "one row", refuse(FeaturePermutation::new(), &sum, &one_row) =>
            Error::Method { .. }, "single row";
        "twice", refuse_table(order(&[0, 0])) => Error::Method { .. }, "[0, 0]";
        "beyond", refuse_table(order(&[0, 2])) => Error::Method { .. }, "[0, 2]";
        "too short", refuse_table(order(&[0])) => Error::Method { .. }, "[0]";
        "too long", refuse_table(order(&[0, 1, 2])) => Error::Method { .. }, "[0, 1, 2]";
        "of others", refuse_table(hierarchy) => Error::Method { .. }, "4 features, but there are 3";
        "too few joins", joined(&[[0, 1]]) => Error::Method { .. }, "1 joins";
        "joined twice", joined(&[[0, 1], [1, 2]]) => Error::Method { .. }, "node 1";
        "not there yet", joined(&[[0, 4], [3, 2]]) => Error::Method { .. }, "node 4";
    }
    assert!(
        ShapleyValues::new()
            .with_feature_mask(FeatureMask::Grid(vec![5]))
            .attribute(&sum, &wide(21), 0)
            .is_ok()
    );
}

#[test]
fn kernels_and_penalties() {
    let tabular = |kernel_width, alpha| {
        let config = LimeTabularConfig {
            kernel_width,
            alpha,
            num_samples: 20,
            ..LimeTabularConfig::default()
        };
        LimeTabular::new(training()).with_config(config)
    };
    let design = Design::new(1, vec![0.0, 1.0, 2.0]).unwrap();
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let words = format!("kernel_width = {bad}");
        refused! {
            "lime", refuse_table(Lime::new().with_kernel_width(bad)) =>
                Error::Parameter { .. }, &words;
            "tabular", refuse_table(tabular(Some(bad), 1.0)) => Error::Parameter { .. }, &words;
        }
        if bad == 0.0 {
            continue;
        }
        let words = format!("alpha = {bad}");
        let config = LimeConfig {
            interpretable_model: Surrogate::Ridge,
            alpha: bad,
            ..LimeConfig::default()
        };
        let lasso = Lasso {
            alpha: bad,
            ..Lasso::default()
        };
        let ridge = Ridge {
            alpha: bad,
            ..Ridge::default()
        };
        let fit = |model: &dyn InterpretableModel| {
            failure("a penalty", model.fit(&design, &[1.0; 3], &[1.0; 3]))
        };
        refused! {
            "lasso", fit(&lasso) => Error::Parameter { name: "alpha", .. }, &words;
            "ridge", fit(&ridge) => Error::Parameter { name: "alpha", .. }, &words;
            "lime", refuse_table(Lime::new().with_alpha(bad)) => Error::Parameter { .. }, &words;
            "lime with ridge", refuse_table(Lime::new().with_config(config)) => Error::Parameter { .. }, &words;
            "tabular", refuse_table(tabular(None, bad)) => Error::Parameter { .. }, &words;
        }
    }
}

#[test]
fn samples_that_cannot_be_fitted() {
    let design = Design::new(2, vec![0.0, 1.0, 1.0, 0.0, 1.0, 1.0]).unwrap();
    let models: [&dyn InterpretableModel; 3] = [
        &LinearRegression::default(),
        &Ridge::default(),
        &Lasso::default(),
    ];
    for model in models {
        let fit =
            |labels: &[f64], weights: &[f64]| failure("a fit", model.fit(&design, labels, weights));
        let ones = [1.0; 3];
        refused! {
            "all 0", fit(&ones, &[0.0; 3]) => Error::Method { .. }, "weight 0";
            "negative", fit(&ones, &[1.0, -1.0, 1.0]) => Error::Method { .. }, "negative";
            "no number", fit(&ones, &[1.0, f64::NAN, 1.0]) => Error::Method { .. }, "not finite";
            "label", fit(&[1.0, f64::NAN, 1.0], &ones) => Error::NonFinite { .. }, "sample";
            "labels", fit(&[1.0; 2], &ones) => Error::Shape { .. }, "[2, 3]";
            "weights", fit(&ones, &[1.0; 4]) => Error::Shape { .. }, "[3, 4]";
        }
    }
    let wide = Tensor::<2>::ones([2, 30], &device());
    let far = Lime::new()
        .with_distance_mode(DistanceMode::Euclidean)
        .with_kernel_width(1e-3);
    let selected = |selection| far.clone().with_feature_selection(selection, 3);
    refused! {
        "no columns", failure("a design", Design::new(0, vec![])) => Error::Shape { .. }, "[0]";
        "a part of a row", failure("a design", Design::new(2, vec![0.0; 3])) =>
            Error::Shape { .. }, "[3]";
        "far", refuse(far.clone(), &sum, &wide) => Error::Method { .. }, "kernel width";
        "forward", refuse(selected(FeatureSelection::ForwardSelection), &sum, &wide) =>
            Error::Method { .. }, "kernel width";
        "highest", refuse(selected(FeatureSelection::HighestWeights), &sum, &wide) =>
            Error::Method { .. }, "kernel width";
        "path", refuse(selected(FeatureSelection::LassoPath), &sum, &wide) =>
            Error::Method { .. }, "kernel width";
    }
}

#[test]
fn samples_of_ones_own() {
    type Drawn = Result<Values, Error>;
    let lime = |rows: usize, lengths: &'static [usize], weight: f64| {
        let sample = move |x: &Values, _: &mut Random| -> Drawn { Ok(x.select(&vec![0; rows])) };
        let calls = std::sync::Mutex::new(0);
        let features = move |_: &Values, _: &Values| -> Result<Vec<f64>, Error> {
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            Ok(vec![1.0; lengths[*calls % lengths.len()]])
        };
        let alike = move |_: &Values, _: &Values, _: &[f64]| -> Result<f64, Error> { Ok(weight) };
        LimeBase::in_input_space(sample, features, alike, LinearRegression::default())
    };
    let error = |lime: LimeBase| failure("a sample", lime.fit(&sum, &table(), 0));
    let log = |x: Tensor<2>| sum(x.neg().log());
    let rows = table().to_values();
    refused! {
        "none", error(lime(1, &[2], 1.0).with_samples(0)) =>
            Error::Parameter { name: "n_samples", .. }, "n_samples = 0";
        "two rows", error(lime(2, &[2], 1.0)) => Error::Shape { .. }, "[2, 2]";
        "no features", error(lime(1, &[0], 1.0)) => Error::Shape { .. }, "interpretable space";
        "lengths", error(lime(1, &[2, 3], 1.0)) => Error::Shape { .. }, "[1, 2]";
        "weight", error(lime(1, &[2], f64::NAN)) => Error::Method { .. }, "not finite";
        "weight", error(lime(1, &[2], -1.0)) => Error::Method { .. }, "negative";
        "one value", failure("a sum", lime(1, &[2], 1.0).fit(&total, &rows, Target::Single)) =>
            Error::WholeBatch { rows: 2, .. }, "shape [1]";
        "output", failure("a label", lime(1, &[2], 1.0).fit(&log, &table(), Target::Single)) =>
            Error::NonFinite { .. }, "target single";
    }
}

#[test]
fn tables() {
    let tabular = |training: Vec<Vec<f64>>| LimeTabular::new(training).with_samples(20);
    let categories = |columns: &[usize]| tabular(training()).with_categorical_features(columns);
    let mut uneven = training();
    uneven[4].pop();
    let mut holes = training();
    holes[4][1] = f64::NAN;
    let of_image = |x: Tensor<3>| x.flatten::<2>(1, 2).sum_dim(1);
    let of_tokens = |x: Tensor<2, Int>| sum(x.float());
    let both = |x: (Tensor<2>, Tensor<2>)| sum(x.0 + x.1);
    let bins = |values: &[f64]| {
        let bins = Discretization::new(values, Discretizer::Quartile);
        failure("a column", bins)
    };
    let rise = || Rise::new().with_masks(5);
    refused! {
        "nothing", refuse_table(tabular(Vec::new())) => Error::Shape { .. }, "training set";
        "other columns", refuse_table(tabular(vec![vec![0.0; 4]; 3])) =>
            Error::Shape { .. }, "[3, 4]";
        "uneven rows", refuse_table(tabular(uneven)) => Error::Shape { .. }, "[20, 2]";
        "no number", refuse_table(tabular(holes.clone())) =>
            Error::NonFinite { .. }, "training set";
        "no number", refuse_table(tabular(holes).with_discretizer(Discretizer::None)) =>
            Error::NonFinite { .. }, "training set";
        "no such column", refuse_table(categories(&[0, 3])) => Error::Method { .. }, "column 3";
        "an image", refuse(tabular(training()), &of_image, &image()) =>
            Error::Shape { .. }, "[2, 1, 3]";
        "tokens", refuse(tabular(training()), &of_tokens, &table().int()) =>
            Error::Shape { .. }, "[2, 3]";
        "two tables", refuse(tabular(training()), &both, &(table(), table())) =>
            Error::Shape { .. }, "one table";
        "no values", bins(&[]) => Error::Method { .. }, "no training values";
        "infinity", bins(&[1.0, f64::INFINITY]) => Error::NonFinite { .. }, "training set";
        "rise on a table", refuse(rise(), &sum, &table()) => Error::Shape { .. }, "[2, 3]";
        "rise on tokens", refuse(rise(), &of_tokens, &table().int()) =>
            Error::Shape { .. }, "[2, 3]";
    }
}

#[test]
fn data_sets() {
    let mean = Reduction::new(
        (0.0, 0),
        |(sum, count), output: &Value, _: &()| {
            let output = output.to_vec()?;
            Ok((
                sum + f64::from(output.iter().sum::<f32>()),
                count + output.len(),
            ))
        },
        |(sum, count): (f64, usize)| sum / count as f64,
    );
    let broken = Reduction::new(
        0.0,
        |_, _: &Value, _: &()| Err(Error::Internal("the reduction")),
        |sum: f64| sum,
    );
    let ablation = || OverData::ablation(FeatureAblation::new());
    let permutation = || OverData::permutation(FeaturePermutation::new());
    let over = |over: OverData, batches: Vec<Tensor<2>>| {
        let batches = batches.into_iter().map(|x| (x, ()));
        failure("a data set", over.attribute(&sum, batches, &mean))
    };
    let wide = Tensor::<2>::ones([2, 4], &device());
    let one_row = table().narrow(0, 0, 1);
    let gap = FeatureAblation::new().with_feature_mask(integers([1, 3], &[0, 2, 2]));
    let per_row = integers([2, 3], &[0, 0, 1, 1, 0, 0]);
    let per_row = FeatureAblation::new().with_feature_mask(per_row);
    let nan = ablation().with_baseline(f64::NAN);
    let unused = permutation().with_baseline(0.0);
    let single = |x: Tensor<2>| x.sum();
    refused! {
        "no batches", over(ablation(), vec![]) => Error::Method { .. }, "no batches";
        "no batches", over(permutation(), vec![]) => Error::Method { .. }, "no batches";
        "one row", over(permutation(), vec![table(), one_row]) =>
            Error::Method { .. }, "single row";
        "other rows", over(ablation(), vec![table(), wide.clone()]) =>
            Error::Shape { .. }, "[2, 4]";
        "other rows", over(permutation(), vec![table(), wide]) => Error::Shape { .. }, "[2, 4]";
        "mask", over(OverData::ablation(gap), vec![table()]) =>
            Error::FeatureMask { .. }, "feature 1:";
        "mask per row", over(OverData::ablation(per_row), vec![table()]) =>
            Error::Method { .. }, "one feature mask";
        "baseline", over(nan, vec![table()]) => Error::NonFinite { .. }, "baseline";
        "no use for it", over(unused, vec![table()]) => Error::Method { .. }, "leave it out";
        "inputs", over(ablation(), vec![table() * f32::NAN]) => Error::NonFinite { .. }, "input 0";
        "one value", failure("a sum", ablation().attribute(&single, [(table(), ())], &mean)) =>
            Error::Method { .. }, "each row";
        "reduction", failure("a sum", ablation().attribute(&sum, [(table(), ())], &broken)) =>
            Error::Internal(_), "the reduction";
    }
}

#[test]
fn segments() {
    let image = Value::from(input([1, 3, 8, 8], 1));
    let flat = Value::from(input([3, 8, 8], 1));
    let slic = Slic::default();
    let with = |change: fn(&mut Slic)| {
        let mut slic = slic;
        change(&mut slic);
        failure("a parameter", superpixels(&image, &slic))
    };
    refused! {
        "segments", with(|slic| slic.n_segments = 0) =>
            Error::Parameter { .. }, "n_segments = 0";
        "compactness", with(|slic| slic.compactness = 0) =>
            Error::Parameter { .. }, "compactness = 0";
        "compactness", with(|slic| slic.compactness = 21) =>
            Error::Parameter { .. }, "compactness = 21";
        "rounds", with(|slic| slic.max_num_iter = 0) =>
            Error::Parameter { .. }, "max_num_iter = 0";
        "rank", failure("three dimensions", superpixels(&flat, &slic)) =>
            Error::Shape { .. }, "[3, 8, 8]";
    }
}
