//! Compares with golden values: Captum 0.9.0 on three models, and our own on every device.

use attr_core::{Baseline, Baselines, Inputs, Method, Model, Target, Traced, Value, Values};
use attr_gradient::{InputXGradient, IntegratedGradients, Quadrature, Saliency};
use attr_testkit::compare::{assert_close, assert_close_slices};
use attr_testkit::device;
use attr_testkit::golden::{Array, Case};
use attr_testkit::models::{FunctionalRelu, SmallCnn, TwoInputs};
use burn::tensor::Tensor;

const RULES: [(Quadrature, &str); 5] = [
    (Quadrature::GaussLegendre, "gausslegendre"),
    (Quadrature::RiemannLeft, "riemann_left"),
    (Quadrature::RiemannRight, "riemann_right"),
    (Quadrature::RiemannMiddle, "riemann_middle"),
    (Quadrature::RiemannTrapezoid, "riemann_trapezoid"),
];

fn check(name: &str, case: &Case, model: &impl Model<Values>) {
    let inputs: Vec<Value> = case.inputs.iter().map(Array::value).collect();
    let attributed = vec![true; inputs.len()];
    let inputs = Values::new(inputs, attributed);
    let target = || Target::Classes(case.targets.clone());
    let baselines = case.baselines.iter().map(|b| Baseline::Tensor(b.value()));
    let baselines = Baselines::each(baselines.collect());
    for (rule, rule_name) in RULES {
        // Captum's trapezoid weights sum to (n-1)/n; ours to one.
        let n = case.n_steps as f32;
        let factor = match rule {
            Quadrature::RiemannTrapezoid => (n - 1.0) / n,
            _ => 1.0,
        };
        let ig = IntegratedGradients::new()
            .with_steps(case.n_steps)
            .with_method(rule)
            .with_baseline(baselines.clone());
        let got = ig.attribute(model, &inputs, target()).unwrap();
        for (i, expected) in case.attributions[rule_name].iter().enumerate() {
            let got: Vec<f32> = got.values()[i].as_ref().unwrap().to_vec().unwrap();
            let got: Vec<f32> = got.iter().map(|v| v * factor).collect();
            let what = format!("{name}, {rule_name}, input {i}");
            assert_close_slices(&what, &got, &expected.data, 1e-4);
        }
        if factor == 1.0 {
            // A delta is a small difference of large numbers: compare on the scale of the scores.
            let scale = got.scores().iter().fold(0f32, |m, s| m.max(s.abs()));
            for (got, expected) in got.delta().unwrap().iter().zip(&case.delta[rule_name]) {
                assert!(
                    (got - expected).abs() <= 1e-4 * scale.max(1.0),
                    "{name} {rule_name}"
                );
            }
        }
    }
    let saliency = Saliency::new().attribute(model, &inputs, target()).unwrap();
    let product = InputXGradient::new()
        .attribute(model, &inputs, target())
        .unwrap();
    for i in 0..case.inputs.len() {
        let (got, expected) = (
            saliency.values()[i].as_ref().unwrap(),
            case.saliency[i].value(),
        );
        assert_close(&format!("{name}, saliency"), got, &expected, 1e-4);
        let got = product.values()[i].as_ref().unwrap();
        let expected = case.input_x_gradient[i].value();
        assert_close(&format!("{name}, input x gradient"), got, &expected, 1e-4);
    }
}

/// Compares a case as a traced model and as a closure.
fn both<I: Inputs, M: burn::module::Module + 'static>(
    name: &str,
    case: &Case,
    module: &M,
    forward: fn(&M, I) -> Tensor<2>,
) {
    let inputs = case.inputs.iter().map(Array::value).collect::<Vec<_>>();
    let attributed = vec![true; inputs.len()];
    let example = I::from_values(Values::new(inputs, attributed)).unwrap();
    let traced = Traced::new(module, forward, &example).unwrap();
    check(&format!("{name}, traced"), case, &traced);
    let closure = |x: Values| forward(module, I::from_values(x).unwrap());
    check(&format!("{name}, closure"), case, &closure);
}

#[test]
fn captum_functional_relu() {
    let case = Case::load("functional_relu");
    let module = case.fill(FunctionalRelu::new(&device()));
    both("functional relu", &case, &module, |m, x: Tensor<2>| {
        m.forward(x)
    });
}

#[test]
fn captum_small_cnn() {
    use burn::module::Module;
    let case = Case::load("small_cnn");
    let module = case.fill(SmallCnn::new(&device())).valid();
    both("small cnn", &case, &module, |m, x: Tensor<4>| m.forward(x));
}

#[test]
fn captum_two_inputs() {
    let case = Case::load("two_inputs");
    let module = case.fill(TwoInputs::new(&device()));
    both(
        "two inputs",
        &case,
        &module,
        |m, (l, r): (Tensor<2>, Tensor<2>)| m.forward(l, r),
    );
}

#[test]
fn a_tolerance_is_kept() {
    let case = Case::load("functional_relu");
    let module = case.fill(FunctionalRelu::new(&device()));
    let x = case.inputs[0].value().tensor::<2>().unwrap();
    let traced = Traced::new(&module, |m: &FunctionalRelu, x| m.forward(x), &x).unwrap();
    let baseline = case.baselines[0].value().tensor::<2>().unwrap();
    for tolerance in [1e-2, 1e-3] {
        for rule in Quadrature::ALL {
            let ig = IntegratedGradients::new()
                .with_steps(4)
                .with_method(rule)
                .with_tolerance(tolerance);
            let ig = match rule {
                // First-order rules need more steps than the default allows.
                Quadrature::RiemannLeft | Quadrature::RiemannRight => ig.with_max_steps(1 << 14),
                _ => ig,
            };
            let got = ig
                .with_baseline(baseline.clone())
                .attribute(&traced, &x, Target::Classes(case.targets.clone()))
                .unwrap();
            let delta = got.delta().unwrap();
            let worst = delta.iter().fold(0f32, |m, d| m.max(d.abs()));
            assert!(f64::from(worst) <= tolerance, "{rule:?}: {delta:?}");
        }
    }
}
