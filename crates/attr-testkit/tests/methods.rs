//! What every method must keep: shapes, seeds, budgets, batches, devices.

use attr_core::{Attribution, Budget, Inputs, Method, Model, Run, Target, Traced, Value};
use attr_gradient::{
    InputXGradient, IntegratedGradients, NoiseTunnel, NoiseTunnelKind, Quadrature, Saliency,
};
use attr_testkit::compare::{assert_close, assert_close_slices};
use attr_testkit::device;
use attr_testkit::golden;
use attr_testkit::models::{SmallCnn, TwoInputs, input, seeded};
use burn::module::Module;
use burn::tensor::Tensor;
use std::cell::RefCell;
use std::collections::BTreeMap;

fn methods() -> Vec<(&'static str, Box<dyn Method>)> {
    let noisy = |kind| {
        NoiseTunnel::new(Saliency::new().with_abs(false))
            .with_kind(kind)
            .with_samples(7)
            .with_stdevs([0.2])
            .with_seed(5)
    };
    let noisy_ig = NoiseTunnel::new(IntegratedGradients::new().with_steps(6))
        .with_samples(3)
        .with_stdevs([0.1])
        .with_seed(6);
    let trapezoid = IntegratedGradients::new()
        .with_steps(9)
        .with_method(Quadrature::RiemannTrapezoid)
        .with_baseline(0.3);
    vec![
        ("saliency", Box::new(Saliency::new())),
        ("input x gradient", Box::new(InputXGradient::new())),
        (
            "integrated gradients",
            Box::new(IntegratedGradients::new().with_steps(11)),
        ),
        ("integrated gradients, trapezoid", Box::new(trapezoid)),
        ("smoothgrad", Box::new(noisy(NoiseTunnelKind::SmoothGrad))),
        (
            "smoothgrad_sq",
            Box::new(noisy(NoiseTunnelKind::SmoothGradSq)),
        ),
        ("vargrad", Box::new(noisy(NoiseTunnelKind::VarGrad))),
        ("smoothgrad of integrated gradients", Box::new(noisy_ig)),
    ]
}

fn cnn() -> (Traced, Tensor<4>) {
    let model = seeded(SmallCnn::new(&device()), 1);
    let x = input([3, 1, 6, 6], 2);
    let traced = Traced::new(&model, |m: &SmallCnn, x| m.forward(x), &x).unwrap();
    (traced, x)
}

fn value<I: Inputs>(attribution: &Attribution<I>, i: usize) -> Value {
    attribution.values()[i].clone().unwrap()
}

#[test]
fn the_budget_changes_nothing() {
    let (model, x) = cnn();
    for (name, method) in methods() {
        let with = |budget| {
            let run = Run::new().with_budget(budget);
            let found = method
                .attribute_with(&model, &x, Target::Predicted, &run)
                .unwrap();
            (value(&found, 0), found.scores().to_vec())
        };
        let (expected, scores) = with(Budget::Rows(1000));
        assert_eq!(expected.shape(), [3, 1, 6, 6], "{name}");
        for budget in [
            Budget::Rows(1),
            Budget::Rows(2),
            Budget::Rows(0),
            Budget::Bytes(1),
        ] {
            let (got, got_scores) = with(budget);
            assert_close(&format!("{name}, {budget:?}"), &got, &expected, 1e-5);
            assert_close_slices(name, &got_scores, &scores, 1e-5);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_result_and_another_does_not() {
    let (model, x) = cnn();
    for (name, method) in methods() {
        let run = || value(&method.attribute(&model, &x, 1).unwrap(), 0);
        assert_close(name, &run(), &run(), 0.0);
    }
    let smooth = |seed| {
        let smooth = NoiseTunnel::new(Saliency::new()).with_seed(seed);
        value(&smooth.attribute(&model, &x, 1).unwrap(), 0)
            .to_vec()
            .unwrap()
    };
    assert_ne!(smooth(1), smooth(2));
}

#[test]
fn methods_without_noise_explain_each_row_as_if_it_were_alone() {
    let (model, x) = cnn();
    for (name, method) in methods() {
        if name.contains("grad") && !name.contains("gradient") || name.contains("smooth") {
            continue; // Noise belongs to a row's place in the batch.
        }
        let whole = value(&method.attribute(&model, &x, vec![0, 1, 2]).unwrap(), 0);
        for row in 0..3 {
            let one = x.clone().narrow(0, row, 1);
            let alone = value(&method.attribute(&model, &one, row).unwrap(), 0);
            assert_close(name, &alone, &whole.slice_rows(row..row + 1), 1e-5);
        }
    }
}

#[test]
fn a_traced_model_and_a_closure_agree() {
    let module = seeded(TwoInputs::new(&device()), 1);
    let forward = |m: &TwoInputs, (l, r): (Tensor<2>, Tensor<2>)| m.forward(l, r);
    let x = (input([3, 3], 2), input([3, 5], 3));
    let traced = Traced::new(&module, forward, &x).unwrap();
    let frozen = module.valid();
    let closure = |x: (Tensor<2>, Tensor<2>)| forward(&frozen, x);
    for (name, method) in methods() {
        let expected = method.attribute(&closure, &x, Target::Predicted).unwrap();
        let got = method.attribute(&traced, &x, Target::Predicted).unwrap();
        for i in 0..2 {
            assert_close(name, &value(&got, i), &value(&expected, i), 1e-4);
        }
        let (left, right) = got.attribution();
        assert_eq!((left.dims(), right.dims()), ([3, 3], [3, 5]), "{name}");
    }
}

#[test]
fn a_feature_without_influence_gets_nothing() {
    // Only the first two features matter.
    let model = |x: Tensor<2>| {
        let used = x.narrow(1, 0, 2);
        (used.clone() * used).sum_dim(1)
    };
    let x = input([2, 4], 3);
    for (name, method) in methods() {
        let got = value(&method.attribute(&model, &x, 0).unwrap(), 0)
            .to_vec()
            .unwrap();
        for row in got.chunks(4) {
            assert_eq!(row[2..], [0.0, 0.0], "{name}");
            assert!(row[0] != 0.0, "{name}");
        }
    }
}

#[test]
fn symmetric_features_get_the_same() {
    let model = |x: Tensor<2>| x.clone().sum_dim(1).powi_scalar(3);
    let x = Tensor::<2>::from_floats([[0.5, 0.5, -0.2]], &device());
    for (name, method) in methods() {
        if name.contains("smooth") || name.contains("vargrad") {
            continue; // Their noise differs between the features.
        }
        let got = value(&method.attribute(&model, &x, 0).unwrap(), 0)
            .to_vec()
            .unwrap();
        assert!((got[0] - got[1]).abs() < 1e-6, "{name}: {got:?}");
    }
}

#[test]
fn attributions_are_linear_in_the_target() {
    let (model, x) = cnn();
    let weights = Tensor::<2>::from_floats([[2.0, -1.0, 0.5]], &device());
    for (name, method) in methods() {
        if ["saliency", "smoothgrad_sq", "vargrad"].contains(&name) {
            continue; // Absolute values and squares are not linear.
        }
        let whole = method
            .attribute(&model, &x, Target::weights(weights.clone()))
            .unwrap();
        let parts: Vec<Tensor<4>> = (0..3)
            .map(|class| {
                let part = method.attribute(&model, &x, class).unwrap();
                value(&part, 0).tensor::<4>().unwrap()
            })
            .collect();
        let sum = parts[0].clone() * 2.0 - parts[1].clone() + parts[2].clone() * 0.5;
        assert_close(name, &value(&whole, 0), &sum.into(), 1e-4);
    }
}

#[test]
fn integrated_gradients_are_complete() {
    let (model, x) = cnn();
    let ig = IntegratedGradients::new()
        .with_steps(400)
        .with_method(Quadrature::RiemannMiddle);
    let baseline = input([3, 1, 6, 6], 8);
    let ig = ig
        .with_baseline(baseline.clone())
        .attribute(&model, &x, 2)
        .unwrap();
    let at = |x: &Tensor<4>| {
        let output = Model::<Tensor<4>>::forward(&model, x.to_values()).unwrap();
        output.tensor::<2>().unwrap().slice([0..3, 2..3])
    };
    let difference: Value = (at(&x) - at(&baseline)).into();
    let sums: Value = ig.attribution().flatten::<2>(1, 3).sum_dim(1).into();
    assert_close("sum of attributions", &sums, &difference, 1e-2);
    let delta: Value = (sums.tensor::<2>().unwrap() - difference.tensor::<2>().unwrap()).into();
    for (got, expected) in ig.delta().unwrap().iter().zip(delta.to_vec().unwrap()) {
        assert!((got - expected).abs() < 1e-6, "{got} {expected}");
    }
}

#[test]
fn noise_statistics_of_a_quadratic_are_known() {
    // The gradient of x² is 2x: under noise its mean is 2x, its variance 4 stdev².
    let model = |x: Tensor<2>| x.powi_scalar(2).sum_dim(1);
    let x = Tensor::<2>::full([1, 2000], 0.7, &device());
    let mean = |kind, stdev| {
        let method = NoiseTunnel::new(Saliency::new().with_abs(false));
        let method = method.with_kind(kind).with_samples(20).with_stdevs([stdev]);
        let found = method.attribute(&model, &x, 0).unwrap().attribution();
        Value::from(found.mean()).to_vec().unwrap()[0]
    };
    let near = |got: f32, expected: f32| (got - expected).abs() < 0.03 * expected;
    assert!(near(mean(NoiseTunnelKind::SmoothGrad, 0.5), 1.4));
    assert!(near(
        mean(NoiseTunnelKind::SmoothGradSq, 0.5),
        1.4 * 1.4 + 1.0
    ));
    assert!(near(mean(NoiseTunnelKind::VarGrad, 0.5), 1.0), "unbiased");
    assert!(
        mean(NoiseTunnelKind::VarGrad, 0.0) < 1e-12,
        "no cancellation"
    );
}

#[test]
fn deviations_per_input() {
    let model =
        |(l, r): (Tensor<2>, Tensor<2>)| l.powi_scalar(3).sum_dim(1) + r.powi_scalar(3).sum_dim(1);
    let x = (input([2, 3], 1), input([2, 5], 2));
    let exact = Saliency::new().attribute(&model, &x, 0).unwrap();
    let tunnel = NoiseTunnel::new(Saliency::new()).with_stdevs([0.0, 0.5]);
    let noisy = tunnel.attribute(&model, &x, 0).unwrap();
    assert_close(
        "the quiet input",
        &value(&noisy, 0),
        &value(&exact, 0),
        1e-6,
    );
    assert_ne!(
        value(&noisy, 1).to_vec().unwrap(),
        value(&exact, 1).to_vec().unwrap()
    );
}

#[test]
fn progress_counts_what_was_announced() {
    #[derive(Default)]
    struct Count(RefCell<(usize, usize)>);
    impl attr_core::Progress for Count {
        fn start(&self, rows: usize) {
            self.0.borrow_mut().0 += rows;
        }
        fn advance(&self, rows: usize) {
            self.0.borrow_mut().1 += rows;
        }
    }
    let (model, x) = cnn();
    for (name, method) in methods() {
        let count = Count::default();
        let run = Run::new()
            .with_progress(&count)
            .with_budget(Budget::Rows(4));
        method.attribute_with(&model, &x, 1, &run).unwrap();
        let (announced, done) = *count.0.borrow();
        assert!(
            announced > 0 && announced == done,
            "{name}: {announced} {done}"
        );
    }
}

#[test]
fn results_and_configurations_are_data() {
    let (model, x) = cnn();
    let found = IntegratedGradients::new()
        .with_steps(4)
        .attribute(&model, &x, 1)
        .unwrap();
    let record = found.to_record().unwrap();
    let text = serde_json::to_string(&record).unwrap();
    let back: attr_core::AttributionRecord = serde_json::from_str(&text).unwrap();
    assert_eq!(back, record);
    let config: attr_gradient::IntegratedGradientsConfig =
        serde_json::from_str(r#"{"n_steps": 7, "method": "riemann_right"}"#).unwrap();
    assert_eq!(
        (config.n_steps, config.method),
        (7, Quadrature::RiemannRight)
    );
    assert!(config.multiply_by_inputs);
    let config: attr_gradient::NoiseTunnelConfig =
        serde_json::from_str(r#"{"nt_type": "smoothgrad_sq", "stdevs": [0.1]}"#).unwrap();
    assert_eq!(
        (config.nt_type, config.nt_samples),
        (NoiseTunnelKind::SmoothGradSq, 5)
    );
}

/// Every device gives the numbers that flex gave when they were recorded: the same seed, the same
/// attribution, everywhere and for good. `ATTR_BLESS=1` on flex records anew.
#[test]
fn every_device_gives_the_recorded_numbers() {
    let (model, x) = cnn();
    let mut found: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for (name, method) in methods() {
        let run = Run::new().with_budget(Budget::Rows(1000));
        let attribution = method
            .attribute_with(&model, &x, Target::Predicted, &run)
            .unwrap();
        found.insert(name.into(), value(&attribution, 0).to_vec().unwrap());
    }
    let path = golden::path("methods.json");
    if std::env::var_os("ATTR_BLESS").is_some() {
        let text = serde_json::to_string(&found).unwrap() + "\n";
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).expect("recorded numbers");
    let expected: BTreeMap<String, Vec<f32>> = serde_json::from_str(&text).unwrap();
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (name, expected) in &expected {
        assert_close_slices(name, &found[name], expected, 1e-4);
    }
}
