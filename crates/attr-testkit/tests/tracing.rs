//! Tests tracing of whole models, and its pitfalls.

use attr_core::{Constant, Error, Method, Model, Target, Traced, Value, tap};
use attr_gradient::Saliency;
use attr_testkit::check::{check_traced, gradient_tolerance};
use attr_testkit::compare::assert_close;
use attr_testkit::device;
use attr_testkit::models::{
    FunctionalRelu, LstmClassifier, ResNet18, Reused, SmallCnn, TokenClassifier, TwoInputs, input,
    seeded,
};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig, Relu};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Int, Tensor, module};

fn names(traced: &Traced) -> Vec<String> {
    let layers = traced.layers();
    layers.into_iter().map(|layer| layer.name).collect()
}

#[test]
fn resnet18() {
    let model = seeded(ResNet18::new(10, &device()), 1);
    let x = input([2, 3, 64, 64], 2);
    let traced = check_traced("resnet18", &model, |m, x| m.forward(x), &x);
    let names = names(&traced);
    for name in [
        "conv1",
        "bn1.relu",
        "bn1.max_pool2d",
        "layer1.0.bn1.relu",
        "layer1.0.bn2.add",
        "layer2.0.downsample.conv",
        "layer4.1.conv2",
        "fc",
    ] {
        assert!(
            names.contains(&name.to_string()),
            "{name} is missing in {names:#?}"
        );
    }
    let parameters: usize = traced.layers().iter().map(|l| l.parameters).sum();
    assert_eq!(parameters, model.num_params());
}

#[test]
fn transformer_over_tokens() {
    let model = seeded(TokenClassifier::new(&device()), 1);
    let tokens = Tensor::<2, Int>::from_ints([[3, 7, 1, 0], [2, 19, 0, 0]], &device());
    let traced = check_traced(
        "transformer",
        &model,
        |m: &TokenClassifier, x: Tensor<2, Int>| m.forward(x),
        &tokens,
    );
    // Tokens have no gradient; their embedding has.
    let cut = traced.from_layer("embedding", &tokens).unwrap();
    let embedded = model.embed(tokens.clone());
    let got = Saliency::new()
        .with_abs(false)
        .attribute(&cut, &embedded, 1)
        .unwrap();
    let frozen = model.valid();
    let held = tokens.clone();
    let rest = move |x: Tensor<3>| frozen.forward_embedded(x, held.clone());
    let expected = Saliency::new()
        .with_abs(false)
        .attribute(&rest, &embedded, 1)
        .unwrap();
    let (got, expected) = (got.attribution().into(), expected.attribution().into());
    let tolerance = gradient_tolerance(&traced);
    assert_close("gradient at the embedding", &got, &expected, tolerance);
}

/// A linear layer treats a vector as one row; the product must stay a matrix product.
#[test]
fn a_linear_layer_on_a_vector() {
    let layer: Linear = seeded(LinearConfig::new(3, 2).init(&device()), 1);
    let x = Tensor::<1>::from_floats([1.0, -2.0, 3.0], &device());
    let traced = Traced::new(&layer, |m: &Linear, x: Tensor<1>| m.forward(x), &x).unwrap();
    let got = traced.forward(&x).unwrap();
    assert_close("a vector", &got, &layer.forward(x).into(), 1e-6);
}

#[test]
fn lstm() {
    let model = seeded(LstmClassifier::new(&device()), 1);
    let x = input([3, 4, 5], 2);
    let traced = check_traced("lstm", &model, |m: &LstmClassifier, x| m.forward(x), &x);
    let names = names(&traced);
    assert!(names.contains(&"lstm.input_gate.input_transform".to_string()));
    assert!(names.contains(&"lstm.input_gate.input_transform#4".to_string()));
}

#[test]
fn functional_relu_and_a_tap() {
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let x = input([3, 4], 2);
    let traced = check_traced("relu", &model, |m: &FunctionalRelu, x| m.forward(x), &x);
    assert_eq!(names(&traced), ["first", "hidden", "second"]);
}

#[test]
fn reused_module() {
    let model = seeded(Reused::new(&device()), 1);
    let x = input([3, 4], 2);
    let traced = check_traced("reused", &model, |m: &Reused, x| m.forward(x), &x);
    assert_eq!(
        names(&traced),
        ["layer", "layer.relu", "layer#2", "layer#2.relu", "layer#3"]
    );
}

#[test]
fn two_inputs() {
    let model = seeded(TwoInputs::new(&device()), 1);
    let x = (input([3, 3], 2), input([3, 5], 3));
    check_traced(
        "two inputs",
        &model,
        |m: &TwoInputs, (l, r): (Tensor<2>, Tensor<2>)| m.forward(l, r),
        &x,
    );
}

#[test]
fn tracing_leaves_running_statistics_and_weights_where_they_are() {
    let model = seeded(SmallCnn::new(&device()), 1);
    let x = input([3, 1, 6, 6], 2);
    let before: Value = model.forward(x.clone()).into();
    let clone = model.clone();
    let traced = Traced::new(&model, |m: &SmallCnn, x| m.forward(x), &x).unwrap();
    for (what, module) in [("the original", &model), ("its clone", &clone)] {
        let after: Value = module.forward(x.clone()).into();
        assert_close(what, &after, &before, 0.0);
    }
    drop(model);
    assert_close(
        "the traced model alone",
        &traced.forward(&x).unwrap(),
        &before,
        1e-6,
    );
}

#[test]
fn a_model_in_training_mode_is_refused_as_a_closure_and_explained_when_traced() {
    let model = seeded(SmallCnn::new(&device()), 1).train();
    let x = input([3, 1, 6, 6], 2);
    let training = |x: Tensor<4>| model.forward(x);
    let error = Saliency::new().attribute(&training, &x, 0).unwrap_err();
    assert!(matches!(error, Error::TrainingMode { .. }), "{error}");

    let model = seeded(SmallCnn::new(&device()), 1).train();
    let valid = model.valid();
    let inference = |x: Tensor<4>| valid.forward(x);
    let expected = Saliency::new().attribute(&inference, &x, 0).unwrap();
    let traced = Traced::new(&model, |m: &SmallCnn, x| m.forward(x), &x).unwrap();
    let got = Saliency::new().attribute(&traced, &x, 0).unwrap();
    let (got, expected) = (got.attribution().into(), expected.attribution().into());
    assert_close("saliency", &got, &expected, 1e-5);
}

#[test]
fn a_new_shape_is_traced_once_a_new_batch_size_never() {
    let model = seeded(LstmClassifier::new(&device()), 1);
    let forward = |m: &LstmClassifier, x: Tensor<3>| m.forward(x);
    let traced = Traced::new(&model, forward, &input([2, 4, 5], 2)).unwrap();
    for (rows, time, traces) in [
        (2, 4, 1),
        (1, 4, 1),
        (7, 4, 1),
        (2, 6, 2),
        (3, 6, 2),
        (2, 4, 2),
    ] {
        let x = input([rows, time, 5], 3);
        let expected: Value = model.forward(x.clone()).into();
        assert_close("forward", &traced.forward(&x).unwrap(), &expected, 1e-6);
        assert_eq!(traced.traces(), traces, "{rows} rows of {time} steps");
    }
}

#[test]
fn a_model_that_counts_its_rows_is_traced_for_each_batch_size() {
    // The batch size enters as a number, so no single graph serves all batch sizes.
    let forward = |m: &FunctionalRelu, x: Tensor<2>| {
        let rows = x.dims()[0] as f32;
        m.forward(x) / rows.sqrt()
    };
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let traced = Traced::new(&model, forward, &input([2, 4], 2)).unwrap();
    for (rows, traces) in [(2, 1), (3, 2), (2, 2)] {
        let x = input([rows, 4], 3);
        let expected: Value = forward(&model, x.clone()).into();
        assert_close("forward", &traced.forward(&x).unwrap(), &expected, 1e-6);
        assert_eq!(traced.traces(), traces);
    }
}

#[test]
fn several_targets_share_one_forward_pass() {
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let x = input([3, 4], 2);
    let traced = Traced::new(&model, |m: &FunctionalRelu, x| m.forward(x), &x).unwrap();
    let targets: Vec<Target> = (0..3).map(Target::Class).collect();
    let run = attr_core::Run::new();
    let all = Saliency::new()
        .attribute_targets(&traced, &x, &targets, &run)
        .unwrap();
    assert_eq!(all[0].work().forward_rows, 3);
    assert_eq!(all[0].work().backward_rows, 9);
    let frozen = model.valid();
    let closure = move |x: Tensor<2>| frozen.forward(x);
    for (class, got) in all.iter().enumerate() {
        let expected = Saliency::new().attribute(&closure, &x, class).unwrap();
        let (got, expected) = (got.attribution().into(), expected.attribution().into());
        assert_close("saliency", &got, &expected, 1e-5);
    }
}

#[test]
fn outputs_of_any_rank_have_targets() {
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let x = input([4, 4], 2);
    // [batch, 3] as [batch, 1, 3]: index [0, 2] is class 2.
    let forward = |m: &FunctionalRelu, x: Tensor<2>| m.forward(x).unsqueeze_dim::<3>(1);
    let traced = Traced::new(&model, forward, &x).unwrap();
    let flat = Traced::new(&model, |m: &FunctionalRelu, x| m.forward(x), &x).unwrap();
    let cases = [
        (Target::Index(vec![0, 2]), Target::Class(2)),
        (
            Target::Indices(vec![vec![0, 0], vec![0, 1], vec![0, 2], vec![0, 0]]),
            Target::Classes(vec![0, 1, 2, 0]),
        ),
    ];
    for (deep, shallow) in cases {
        let got = Saliency::new().attribute(&traced, &x, deep).unwrap();
        let expected = Saliency::new().attribute(&flat, &x, shallow).unwrap();
        let (scores, expected_scores) = (got.scores().to_vec(), expected.scores().to_vec());
        assert_eq!(scores, expected_scores);
        let (got, expected) = (got.attribution().into(), expected.attribution().into());
        assert_close("saliency", &got, &expected, 1e-6);
    }
    let output = Model::<Tensor<2>>::forward(&flat, attr_core::Inputs::to_values(&x)).unwrap();
    let predicted = Saliency::new()
        .attribute(&flat, &x, Target::Predicted)
        .unwrap();
    for (row, score) in output.to_vec().unwrap().chunks(3).zip(predicted.scores()) {
        assert_eq!(*score, row.iter().copied().fold(f32::MIN, f32::max));
    }
}

#[test]
fn sizes_that_follow_the_batch_in_a_curve_are_not_taken_for_a_line() {
    // All pairs of rows: two recordings cannot tell rows squared from a line.
    let forward = |m: &FunctionalRelu, x: Tensor<2>| {
        let rows = x.dims()[0];
        let hidden = m.forward(x);
        let left = hidden.clone().unsqueeze_dim::<3>(0).expand([rows, rows, 3]);
        let right = hidden.unsqueeze_dim::<3>(1).expand([rows, rows, 3]);
        let pairs = (left - right).powi_scalar(2).reshape([rows * rows, 3]);
        pairs.reshape([rows, rows * 3]).sum_dim(1)
    };
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let traced = Traced::new(&model, forward, &input([2, 4], 2)).unwrap();
    for rows in [2, 3, 4, 6] {
        let x = input([rows, 4], 3);
        let expected: Value = forward(&model, x.clone()).into();
        assert_close("all pairs", &traced.forward(&x).unwrap(), &expected, 1e-6);
    }
}

#[test]
fn a_weight_that_the_model_computes_is_not_forgotten() {
    // The kernel comes from an input without attribution; recording only its shape is not enough.
    let inputs = (input([2, 3, 5, 5], 1), Constant(input([2, 4], 2)));
    let hyper = seeded(LinearConfig::new(4, 54).init(&device()), 3);
    check_traced(
        "a computed kernel",
        &hyper,
        |m: &Linear, (x, style): (Tensor<4>, Constant<Tensor<2>>)| {
            let kernel = m.forward(style.0.mean_dim(0)).reshape([2, 3, 3, 3]);
            module::conv2d(x, kernel, None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1)).tanh()
        },
        &inputs,
    );
}

#[test]
fn products_that_look_like_linear_layers() {
    let layer = seeded(LinearConfig::new(4, 5).init(&device()), 1);
    check_traced(
        "one layer over groups of features",
        &layer,
        |m: &Linear, x: Tensor<2>| {
            let rows = x.dims()[0];
            m.forward(x.reshape([rows * 3, 4]))
                .reshape([rows, 15])
                .tanh()
        },
        &input([2, 12], 2),
    );
    check_traced(
        "a bias of one element",
        &Relu::new(),
        |_: &Relu, x: Tensor<2>| {
            let weight = Tensor::<2>::ones([4, 3], &x.device()) * 0.5;
            x.clone().matmul(weight) + Tensor::<2>::ones([1, 1], &x.device())
        },
        &input([2, 4], 2),
    );
    check_traced(
        "integers",
        &Relu::new(),
        |_: &Relu, x: Tensor<2>| {
            let weight = Tensor::<2, Int>::ones([4, 3], &x.device());
            (x * 10.0).int().float().int().matmul(weight)
        },
        &input([2, 4], 2),
    );
}

#[test]
fn a_tap_on_a_product_stays_a_layer() {
    let x = input([2, 4], 2);
    let forward = |_: &Relu, x: Tensor<2>| {
        let weight = Tensor::<2>::ones([4, 3], &x.device()) * 0.5;
        let bias = Tensor::<1>::ones([3], &x.device()).unsqueeze::<2>();
        tap("before the bias", x.matmul(weight)) + bias
    };
    let traced = Traced::new(&Relu::new(), forward, &x).unwrap();
    let found = traced
        .activations(&x, &["before the bias"])
        .unwrap()
        .remove(0);
    let weight = Tensor::<2>::ones([4, 3], &device()) * 0.5;
    assert_close("the product", &found, &x.matmul(weight).into(), 1e-6);
}

#[test]
fn inputs_that_track_gradients_are_taken_for_what_they_hold() {
    let x = input([2, 4], 1);
    let tracked = Tensor::<2>::from_inner(x.clone()).require_grad();
    let model = |x: Tensor<2>| x.powi_scalar(2).sum_dim(1);
    let expected = Saliency::new().attribute(&model, &x, 0).unwrap();
    let got = Saliency::new().attribute(&model, &tracked, 0).unwrap();
    let (got, expected) = (got.attribution().into(), expected.attribution().into());
    assert_close("saliency", &got, &expected, 0.0);
    let weights = Tensor::<2>::from_inner(input([1, 1], 3)).require_grad();
    assert!(
        Saliency::new()
            .attribute(&model, &x, Target::weights(weights))
            .is_ok()
    );
}

#[test]
fn a_trace_inside_a_trace_is_refused_not_waited_for() {
    let x = input([2, 4], 2);
    let inner = |_: &Relu, x: Tensor<2>| x.tanh();
    let outer = move |_: &Relu, x: Tensor<2>| {
        let other = input([5, 4], 1);
        match Traced::new(&Relu::new(), inner, &other) {
            Err(Error::Trace(_)) => x,
            other => panic!("expected a refusal, got {:?}", other.map(|_| ())),
        }
    };
    assert!(Traced::new(&Relu::new(), outer, &x).is_ok());
}

#[test]
fn a_model_that_branches_on_its_batch_size_is_right_at_the_example() {
    let forward = |_: &Relu, x: Tensor<2>| match x.dims()[0] {
        1 => x.tanh(),
        _ => x.exp(),
    };
    let one = input([1, 4], 1);
    let traced = Traced::new(&Relu::new(), forward, &one).unwrap();
    let expected: Value = one.clone().tanh().into();
    for rows in [1, 2, 1] {
        let x = input([rows, 4], 1);
        let got = traced.forward(&x).unwrap();
        if rows == 1 {
            assert_close("one row", &got, &expected, 1e-6);
        } else {
            assert_close("two rows", &got, &x.exp().into(), 1e-6);
        }
    }
}
