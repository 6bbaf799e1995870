//! Tests the correct result for each known defect of Captum 0.9.0. The table in attr-gradient's
//! README lists them; Captum's own numbers are in `golden/captum`.

use attr_core::{Budget, Error, LayerMethod, Method, Model, Run, Target, Traced, Value};
use attr_gradient::{
    Deconvolution, DeepLift, GradCam, GradientShap, GradientXActivation, GuidedBackprop,
    NeuronConductance, Saliency,
};
use attr_testkit::compare::{assert_close, assert_close_slices};
use attr_testkit::device;
use attr_testkit::golden::path;
use attr_testkit::models::{Cnn, FunctionalRelu, Reused, SmallCnn, input, seeded};
use burn::module::Param;
use burn::tensor::{Tensor, activation};

type Function = fn(Tensor<2>) -> Tensor<2>;

fn traced(f: Function, x: &Tensor<2>) -> Traced {
    let nothing = Param::from_tensor(Tensor::<1>::zeros([1], &device()));
    Traced::new(&nothing, move |_, x| f(x), x).unwrap()
}

fn worst(delta: &[f32]) -> f32 {
    delta.iter().fold(0f32, |m, d| m.max(d.abs()))
}

/// Returns the largest delta of Captum's DeepLIFT in a golden file.
fn captums_delta(model: &str) -> f32 {
    let text = std::fs::read_to_string(path("captum").join(format!("{model}.json"))).unwrap();
    let case: serde_json::Value = serde_json::from_str(&text).unwrap();
    let results = case["results"].as_array().unwrap();
    let found = results
        .iter()
        .find(|found| found["method"] == "DeepLift")
        .unwrap();
    let deltas = found["delta"].as_array().unwrap().iter();
    deltas.fold(0.0, |m, d| m.max(d.as_f64().unwrap().abs() as f32))
}

#[test]
fn deep_lift_needs_rules_for_what_captum_has_none_for() {
    // Pooling behind ReLU, products, LSTM cells, attention: `tests/captum.rs` holds ours to 1e-3
    // of the score on the same models.
    for model in ["cnn", "conv1d", "two_inputs", "lstm", "vit"] {
        assert!(
            captums_delta(model) > 0.2,
            "{model}: Captum has become right"
        );
    }
    for model in ["mlp", "residual"] {
        assert!(captums_delta(model) < 1e-5, "{model}");
    }
}

#[test]
fn deep_lift_through_softmax_does_not_see_the_other_rows() {
    let x = input([4, 5], 1);
    let model = traced(|x| activation::softmax(x * 4.0, 1), &x);
    let method = DeepLift::new().with_baseline(0.3);
    let whole = method.attribute(&model, &x, 2).unwrap();
    assert!(worst(whole.delta().unwrap()) < 1e-6);
    for row in 0..4 {
        let alone = method
            .attribute(&model, &x.clone().narrow(0, row, 1), 2)
            .unwrap();
        let of_batch = whole.attribution().narrow(0, row, 1);
        assert_close("a row", &alone.attribution().into(), &of_batch.into(), 1e-6);
    }
}

#[test]
fn deep_lift_through_pooling_takes_each_rows_own_derivative() {
    // Where input and reference share their largest element, the derivative of the row is used.
    let module = seeded(Cnn::new(&device()), 2);
    let x = input([3, 1, 8, 8], 3);
    let model = Traced::new(&module, |m: &Cnn, x: Tensor<4>| m.forward(x), &x).unwrap();
    let mut still = x.clone().narrow(2, 0, 4);
    still = Tensor::cat(vec![still, x.clone().narrow(2, 4, 4) * 0.5], 2);
    let multipliers = |x: &Tensor<4>, b: &Tensor<4>| {
        let method = DeepLift::new().with_multiply_by_inputs(false);
        let found = method
            .with_baseline(b.clone())
            .attribute(&model, x, 1)
            .unwrap();
        found.attribution()
    };
    let whole = multipliers(&x, &still);
    for row in 0..3 {
        let one = |x: &Tensor<4>| x.clone().narrow(0, row, 1);
        let alone = multipliers(&one(&x), &one(&still));
        assert_close("a row", &alone.into(), &one(&whole).into(), 1e-5);
    }
    // Without any change, multipliers are the gradient.
    let gradient = Saliency::new()
        .with_abs(false)
        .attribute(&model, &x, 1)
        .unwrap();
    let unchanged = multipliers(&x, &x);
    assert_close(
        "gradient",
        &unchanged.into(),
        &gradient.attribution().into(),
        1e-5,
    );
}

#[test]
fn modules_used_again_and_functions_are_nodes_like_others() {
    let module = seeded(Reused::new(&device()), 4);
    let (x, b) = (input([3, 4], 5), input([3, 4], 6));
    let model = Traced::new(&module, |m: &Reused, x: Tensor<2>| m.forward(x), &x).unwrap();
    let lift = DeepLift::new()
        .with_baseline(b)
        .attribute(&model, &x, 1)
        .unwrap();
    assert!(worst(lift.delta().unwrap()) < 1e-5);
    assert!(worst(lift.scores()) > 1e-3);

    // By hand: guided backpropagation and deconvolution through functional ReLUs.
    let module = seeded(FunctionalRelu::new(&device()), 1);
    let forward = |m: &FunctionalRelu, x: Tensor<2>| m.forward(x);
    let model = Traced::new(&module, forward, &x).unwrap();
    let plain = Saliency::new()
        .with_abs(false)
        .attribute(&model, &x, 1)
        .unwrap();
    let guided = GuidedBackprop::new().attribute(&model, &x, 1).unwrap();
    let deconvolved = Deconvolution::new().attribute(&model, &x, 1).unwrap();
    let at = |layer: &str| {
        let method = GradientXActivation::new([layer]).with_multiply_by_inputs(false);
        let found = method.attribute(&model, &x, 1).unwrap();
        found.tensor::<2>(layer).unwrap()
    };
    // "hidden" is the ReLU's output, "first" its input.
    let arriving = at("hidden").clamp_min(0.0);
    let mask = at("first").not_equal_elem(0.0);
    let weights = |gradient: Tensor<2>| {
        let unit = model.to_layer("first").unwrap();
        let back = Saliency::new().with_abs(false);
        let found = back
            .attribute(&unit, &x, Target::weights(gradient))
            .unwrap();
        Value::from(found.attribution())
    };
    let masked = arriving
        .clone()
        .zeros_like()
        .mask_where(mask, arriving.clone());
    assert_close(
        "guided",
        &guided.attribution().into(),
        &weights(masked),
        1e-5,
    );
    assert_close(
        "deconvolution",
        &deconvolved.attribution().into(),
        &weights(arriving),
        1e-5,
    );
    let differ = |a: Tensor<2>| {
        Value::from((a - plain.attribution()).abs().max())
            .to_vec()
            .unwrap()
    };
    assert!(differ(guided.attribution())[0] > 1e-3, "the plain gradient");
    assert!(
        differ(deconvolved.attribution())[0] > 1e-3,
        "the plain gradient"
    );
}

#[test]
fn any_layer_is_a_layer() {
    let module = seeded(Cnn::new(&device()), 2);
    let x = input([2, 1, 8, 8], 3);
    let model = Traced::new(&module, |m: &Cnn, x: Tensor<4>| m.forward(x), &x).unwrap();
    let layers: Vec<String> = model.layers().into_iter().map(|layer| layer.name).collect();
    let pools = layers.iter().any(|layer| layer.contains("pool"));
    let relus = layers.iter().any(|layer| layer.contains("relu"));
    assert!(pools && relus, "{layers:?}");
    // The network is a chain, so the sum holds at every layer of it: ReLUs and pooling included.
    let method = DeepLift::new().with_baseline(0.4).at_layers(layers);
    let found = method.attribute(&model, &x, 1).unwrap();
    let scale = worst(found.scores());
    for (layer, explanation) in found.layers().iter().zip(found.explanations()) {
        let delta = worst(explanation.delta.as_ref().unwrap());
        assert!(delta < 1e-5 * scale.max(1.0), "{layer}: {delta}");
    }
}

#[test]
fn a_layer_that_the_target_does_not_depend_on_is_named() {
    use attr_core::tap;
    let x = input([2, 4], 1);
    let model = traced(
        |x| {
            let left = tap("left", x.clone().narrow(1, 0, 2) * 2.0);
            let right = tap("right", x.narrow(1, 2, 2).powi_scalar(2));
            Tensor::cat(vec![left, right], 1)
        },
        &x,
    );
    // A layer in the graph that this target does not depend on gets zeros.
    let method = GradientXActivation::new(["left", "right"]);
    let found = method.attribute(&model, &x, 0).unwrap();
    let right = found.value("right").unwrap().to_vec().unwrap();
    assert_eq!(right, [0.0; 4]);
    assert!(found.value("left").unwrap().to_vec().unwrap()[0] != 0.0);
    let part = model.to_layer("left").unwrap();
    let refused = GradCam::new(["right"]).attribute(&part, &x, 0);
    assert!(
        matches!(refused, Err(Error::UnknownLayer { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_slice_of_neurons_is_the_sum_of_its_neurons() {
    let module = seeded(SmallCnn::new(&device()), 2);
    let x = input([2, 1, 6, 6], 3);
    let model = Traced::new(&module, |m: &SmallCnn, x: Tensor<4>| m.forward(x), &x).unwrap();
    let through = |neurons: Target| {
        let method = NeuronConductance::new("conv", neurons).with_steps(8);
        method.attribute(&model, &x, 1).unwrap().attribution()
    };
    let slice = through(Target::Region(vec![1..2, 2..4, 3..4]));
    let sum = through(Target::unit([1, 2, 3])) + through(Target::unit([1, 3, 3]));
    assert_close("slice", &slice.into(), &sum.into(), 1e-5);
    let refused = NeuronConductance::new("conv", Target::unit([4, 0, 0])).attribute(&model, &x, 1);
    assert!(
        matches!(refused, Err(Error::TargetOutOfRange { .. })),
        "{refused:?}"
    );
}

#[test]
fn samples_stay_within_the_budget() {
    use std::cell::Cell;
    struct Watched {
        most: Cell<usize>,
    }
    impl Model<Tensor<2>> for Watched {
        fn forward(&self, inputs: attr_core::Values) -> Result<Value, Error> {
            self.most.set(self.most.get().max(inputs.rows()));
            let x = inputs.values()[0].tensor::<2>()?;
            Ok((x.clone() * x).sum_dim(1).into())
        }
    }
    let watched = Watched { most: Cell::new(0) };
    let x = input([3, 4], 1);
    let run = Run::new().with_budget(Budget::Rows(7));
    let shap = GradientShap::new().with_samples(50).with_baseline(0.0);
    let found = shap.attribute_with(&watched, &x, 0, &run).unwrap();
    assert_eq!(watched.most.get(), 7);
    assert_close_slices(
        "scores",
        found.scores(),
        &{
            let squares = (x.clone() * x).sum_dim(1);
            Value::from(squares).to_vec().unwrap()
        },
        1e-6,
    );
}

#[test]
fn several_targets_share_the_forward_pass() {
    let x = input([4, 5], 1);
    let model = traced(|x| activation::softmax(x * 4.0, 1), &x);
    let targets: Vec<Target> = (0..5).map(Target::Class).collect();
    let method = DeepLift::new().with_baseline(0.3);
    let all = method
        .attribute_targets(&model, &x, &targets, &Run::new())
        .unwrap();
    assert_eq!(all[0].work().forward_rows, 8);
    for (class, found) in all.iter().enumerate() {
        let alone = method.attribute(&model, &x, class).unwrap();
        assert_close(
            "one of several",
            &found.attribution().into(),
            &alone.attribution().into(),
            1e-6,
        );
    }
}
