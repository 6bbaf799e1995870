//! Tests edge cases of formulas: infinities beside numbers, inputs that do not change, tiny and
//! huge gradients, empty lists and layers named twice.

use attr_core::{
    Baseline, Baselines, Budget, Inputs, LayerMethod, Method, Run, Traced, Value, Values,
};
use attr_gradient::{
    DeepLift, DeepLiftRule, GradientShap, GuidedIntegratedGradients, Idgi, IntegratedGradients,
    NoiseTunnel, Quadrature, Saliency,
};
use attr_testkit::compare::{assert_close, assert_close_slices};
use attr_testkit::device;
use attr_testkit::models::{FunctionalRelu, input, seeded};
use burn::module::Param;
use burn::tensor::{Tensor, activation};

fn traced(f: fn(Tensor<2>) -> Tensor<2>, x: &Tensor<2>) -> Traced {
    let nothing = Param::from_tensor(Tensor::<1>::zeros([1], &device()));
    Traced::new(&nothing, move |_, x| f(x), x).unwrap()
}

fn numbers(value: &Option<Value>) -> Vec<f32> {
    value.as_ref().unwrap().to_vec().unwrap()
}

#[test]
fn an_infinite_gradient_stays_in_its_row() {
    // The root has an infinite gradient at 0, where the first row's path begins.
    let model = |x: Tensor<2>| x.sqrt().sum_dim(1);
    let x = Tensor::<2>::from_floats([[4.0], [4.0]], &device());
    let baseline = Tensor::<2>::from_floats([[0.0], [1.0]], &device());
    let ig = IntegratedGradients::new()
        .with_method(Quadrature::RiemannTrapezoid)
        .with_steps(100)
        .with_baseline(baseline);
    for rows in [1, 7, 1000] {
        let run = Run::new().with_budget(Budget::Rows(rows));
        let found = ig.attribute_with(&model, &x, 0, &run).unwrap();
        let found = numbers(&found.values()[0]);
        // The first row's result depends on the device's root; the second row's is a number.
        assert!((found[1] - 1.0).abs() < 1e-3, "{rows}: {found:?}");
    }
}

#[test]
fn nothing_that_changes_gets_nothing() {
    let x = Tensor::<2>::from_floats([[0.0, 4.0], [1.0, 0.0]], &device());
    let model = traced(|x| x.sqrt(), &x);
    let found = DeepLift::new().attribute(&model, &x, 0).unwrap();
    assert_close_slices(
        "root",
        &numbers(&found.values()[0]),
        &[0.0, 0.0, 1.0, 0.0],
        1e-6,
    );
    let model = traced(activation::relu, &x);
    let found = DeepLift::new()
        .with_eps(0.0)
        .attribute(&model, &x, 0)
        .unwrap();
    assert_close_slices(
        "relu",
        &numbers(&found.values()[0]),
        &[0.0, 0.0, 1.0, 0.0],
        1e-6,
    );
}

#[test]
fn reveal_cancel_keeps_its_sum_at_every_layer() {
    let module = seeded(FunctionalRelu::new(&device()), 3);
    let (x, b) = (input([4, 4], 4), input([4, 4], 5));
    let model = Traced::new(&module, |m: &FunctionalRelu, x: Tensor<2>| m.forward(x), &x).unwrap();
    let layers = model.layers().into_iter().map(|layer| layer.name);
    let layers: Vec<String> = layers.collect();
    let method = DeepLift::new()
        .with_rule(DeepLiftRule::RevealCancel)
        .with_baseline(b);
    let found = method.at_layers(layers).attribute(&model, &x, 1).unwrap();
    for (layer, found) in found.layers().iter().zip(found.explanations()) {
        let delta = found.delta.as_ref().unwrap();
        assert!(delta.iter().all(|d| d.abs() < 1e-5), "{layer}: {delta:?}");
    }
}

#[test]
fn a_row_is_not_judged_by_its_neighbours() {
    // One row is a million times the other: its rounding must not hide the other's error.
    let x = Tensor::<2>::from_floats(
        [[300.0, 200.0, 150.0, 130.0], [0.3, 2.0, -1.5, 0.7]],
        &device(),
    );
    let model = traced(|x| x.clone().sin() * 1e-3 + x.cumprod(1), &x);
    let method = DeepLift::new().with_baseline(0.1);
    let both = method.attribute(&model, &x, 3).unwrap().attribution();
    let alone = method
        .attribute(&model, &x.clone().narrow(0, 1, 1), 3)
        .unwrap();
    assert!(
        alone.delta().unwrap()[0].abs() < 1e-5,
        "{:?}",
        alone.delta()
    );
    let second: Value = both.narrow(0, 1, 1).into();
    assert_close("second row", &second, &alone.attribution().into(), 1e-4);
}

#[test]
fn gradients_of_any_size_square_relative_to_each_other() {
    let x = Tensor::<2>::from_floats([[1.0, 2.0]], &device());
    for factor in [1e-25, 1e25] {
        let model = move |x: Tensor<2>| {
            (x * Tensor::from_floats([[1.0, 3.0]], &device())).sum_dim(1) * factor
        };
        let found = Idgi::new().attribute(&model, &x, 0).unwrap();
        let found: Vec<f32> = numbers(&found.values()[0])
            .iter()
            .map(|v| (f64::from(*v) / factor) as f32)
            .collect();
        // 7 divided in the ratio 1² to 3².
        assert_close_slices("idgi", &found, &[0.7, 6.3], 1e-3);
    }
}

#[test]
fn errors_of_means_do_not_cancel() {
    let model = |x: Tensor<2>| (x * 3.0).sum_dim(1);
    let x = Tensor::<2>::full([1, 2], 1000.0, &device());
    let shap = GradientShap::new()
        .with_samples(50)
        .with_baseline(0.0)
        .attribute(&model, &x, 0)
        .unwrap();
    let errors = numbers(&shap.standard_error().unwrap()[0]);
    assert!(
        errors.iter().all(|e| *e < 1e-3),
        "all samples are 3000: {errors:?}"
    );
    let tunnel = NoiseTunnel::new(Saliency::new()).with_samples(9);
    let found = tunnel.attribute(&model, &x, 0).unwrap();
    assert_eq!(numbers(&found.standard_error().unwrap()[0]), [0.0, 0.0]);
}

#[test]
fn part_of_other_inputs_are_inputs() {
    let model = |x: Values| {
        let x = x.values()[0].tensor::<2>().unwrap();
        x.clone() * x
    };
    let x = input([5, 3], 1).to_values();
    let part = x.slice(1..3);
    let ig = IntegratedGradients::new().with_baseline(Baselines::each(vec![Baseline::Zero]));
    let whole = ig.attribute(&model, &x, vec![0, 1, 2, 0, 1]).unwrap();
    let of_part = ig.attribute(&model, &part, vec![1, 2]).unwrap();
    let expected = whole.values()[0].as_ref().unwrap().slice_rows(1..3);
    assert_close(
        "part",
        of_part.values()[0].as_ref().unwrap(),
        &expected,
        1e-6,
    );
}

#[test]
fn a_path_without_gradients_ends() {
    // At the baseline all gradients are infinite, so no feature is to move first.
    let model = |x: Tensor<2>| x.sqrt().sum_dim(1);
    let x = Tensor::<2>::full([1, 2000], 4.0, &device());
    let guided = GuidedIntegratedGradients::new().with_steps(4);
    let found = guided.attribute(&model, &x, 0).unwrap();
    assert_eq!(found.attribution().dims(), [1, 2000]);
}
