//! Cases that once went wrong, or nearly: each would be a silently wrong number or a panic.

use attr_core::walk::{GradientEverywhere, Walk};
use attr_core::{Constant, Error, Inputs, Method, Target, Traced, Value, tap};
use attr_gradient::{IntegratedGradients, NoiseTunnel, Saliency};
use attr_testkit::check::check_traced;
use attr_testkit::compare::assert_close;
use attr_testkit::device;
use attr_testkit::models::{FunctionalRelu, ResNet18, SmallCnn, input, seeded};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig, Relu};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Bool, DType, Int, Tensor, module};

#[test]
fn a_weight_that_the_model_computes_is_not_forgotten() {
    // The kernel comes from an input without attribution; only its shape would not do.
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
fn a_folded_layer_has_the_name_of_what_it_computes() {
    let model = seeded(ResNet18::new(10, &device()), 1);
    let x = input([2, 3, 32, 32], 2);
    let traced = Traced::new(&model, |m: &ResNet18, x| m.forward(x), &x).unwrap();
    let folded = traced.fold_batch_norm();
    for layer in ["bn1", "layer1.0.bn2", "layer2.0.downsample.bn"] {
        let got = folded.activations(&x, &[layer]).unwrap().remove(0);
        let expected = traced.activations(&x, &[layer]).unwrap().remove(0);
        assert_close(layer, &got, &expected, 1e-5);
    }
    // The convolution's own output is gone; its name means what the folded layer computes.
    let got = folded.activations(&x, &["conv1"]).unwrap().remove(0);
    let expected = traced.activations(&x, &["bn1"]).unwrap().remove(0);
    assert_close("conv1", &got, &expected, 1e-5);
}

#[test]
fn a_model_cannot_start_at_a_layer_that_leads_nowhere() {
    let x = input([2, 3, 4], 1);
    let forward = |_: &Relu, x: Tensor<3>| x.min_dim_with_indices(2).1;
    let traced = Traced::new(&Relu::new(), forward, &x).unwrap();
    let layer = traced.layers().remove(0).name;
    let cut = traced.from_layer(&layer, &x).map(|_| ());
    assert!(matches!(cut, Err(Error::Layer { .. })), "{cut:?}");
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
fn integers_and_truth_values_meet_those_that_the_forward_makes() {
    let tokens = Tensor::<2, Int>::from_ints([[3, 7, 1], [2, 0, 4]], &device());
    let mask = tokens.clone().equal_elem(0);
    check_traced(
        "given and created integers and masks",
        &Relu::new(),
        |_: &Relu, (x, tokens, mask): (Tensor<2>, Tensor<2, Int>, Tensor<2, Bool>)| {
            let positions = Tensor::<1, Int>::arange(0..3, &x.device()).unsqueeze::<2>();
            let shifted = (tokens + positions.clone()).float();
            let first = positions.equal(Tensor::from_ints([[0, 0, 0]], &x.device()));
            let rows = x.dims()[0];
            let hidden = mask.bool_or(first.expand([rows, 3]));
            let small = x.clone().lower_elem(0.5);
            (x * shifted).mask_fill(hidden.bool_and(small), 0.5)
        },
        &(input([2, 3], 1), tokens, mask),
    );
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
fn double_precision() {
    if !device().supports_dtype(DType::F64) {
        return;
    }
    let model = |x: Tensor<2>| x.powi_scalar(3).sum_dim(1);
    let x = input([2, 4], 1);
    let double = x.clone().cast(DType::F64);
    let ig = IntegratedGradients::new().with_steps(5).with_baseline(0.1);
    let smooth = NoiseTunnel::new(Saliency::new()).with_stdevs([0.1]);
    let methods: [&dyn Method; 2] = [&ig, &smooth];
    for method in methods {
        let explain = |x: &Tensor<2>| {
            let values = x.to_values();
            let erased = |x: attr_core::Values| model(x.values()[0].tensor::<2>().unwrap());
            let found = Method::attribute(&method, &erased, &values, 0).unwrap();
            found.values()[0].clone().unwrap()
        };
        let (got, expected) = (explain(&double), explain(&x));
        assert_eq!(got.dtype(), DType::F64);
        let difference = attr_testkit::compare::relative_difference(
            &got.to_vec().unwrap(),
            &expected.to_vec().unwrap(),
        );
        assert!(difference < 1e-5, "{difference}");
    }
    let single: Tensor<2> = input([1, 4], 2);
    let mixed = IntegratedGradients::new()
        .with_baseline(single)
        .attribute(&model, &double, 0);
    assert!(matches!(mixed.map(|_| ()), Err(Error::Unlike { .. })));
}

/// Ten thousand steps in sixteen bits: a sum taken in them would stand still after some thousand.
#[test]
fn half_precision_is_summed_in_single() {
    if !device().supports_dtype(DType::F16) {
        return;
    }
    let model = |x: attr_core::Values| {
        let x = x.values()[0].tensor::<2>().unwrap();
        (x.clone() * x).sum_dim(1)
    };
    let x = Tensor::<2>::from_floats([[1.0, 0.5, -0.75]], &device()).cast(DType::F16);
    let path = IntegratedGradients::new()
        .with_steps(10_000)
        .with_method(attr_gradient::Quadrature::RiemannMiddle);
    let found = Method::attribute(&path, &model, &x.to_values(), 0).unwrap();
    let value = found.values()[0].clone().unwrap();
    assert_eq!(value.dtype(), DType::F16);
    let squares = [1.0, 0.25, 0.5625];
    let difference = attr_testkit::compare::relative_difference(&value.to_vec().unwrap(), &squares);
    assert!(difference < 2e-3, "{difference}");
}

#[test]
fn direct_calls_check_what_methods_check() {
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let x = input([2, 4], 2);
    let traced = Traced::new(&model, |m: &FunctionalRelu, x| m.forward(x), &x).unwrap();
    let integers = Value::from(Tensor::<2, Int>::ones([2, 6], &device()));
    let wrong = traced
        .forward_with(&x, &[("hidden", integers.clone())], &[])
        .map(|_| ());
    assert!(matches!(wrong, Err(Error::Unlike { .. })), "{wrong:?}");
    let seed = Value::from(Tensor::<2, Int>::ones([2, 3], &device()));
    let plan = traced.plan(&GradientEverywhere, &x).unwrap();
    let pass = traced.pass(&x, &plan).unwrap();
    let wrong = pass.walk(Walk::from_output(seed)).map(|_| ());
    assert!(matches!(wrong, Err(Error::Unlike { .. })), "{wrong:?}");
    let forward = |_: &Relu, (l, r): (Tensor<2>, Tensor<2>)| l * r;
    let pair = (input([3, 4], 1), input([3, 4], 2));
    let traced = Traced::new(&Relu::new(), forward, &pair).unwrap();
    let uneven = (pair.0, input([1, 4], 2));
    assert!(matches!(traced.forward(&uneven), Err(Error::Shape { .. })));
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

#[test]
fn work_counts_every_forward_pass() {
    let model = seeded(SmallCnn::new(&device()), 1);
    let x = input([3, 1, 6, 6], 2);
    let traced = Traced::new(&model, |m: &SmallCnn, x| m.forward(x), &x).unwrap();
    let valid = model.valid();
    let closure = |x: Tensor<4>| valid.forward(x);
    let targets = [Target::Class(0), Target::Class(1)];
    let run = attr_core::Run::new();
    let work = |found: Vec<attr_core::Attribution<Tensor<4>>>| found[0].work();
    let shared = work(
        Saliency::new()
            .attribute_targets(&traced, &x, &targets, &run)
            .unwrap(),
    );
    assert_eq!((shared.forward_rows, shared.backward_rows), (3, 6));
    // Two rows are run twice to verify; then one pass for each target: an autodiff tape serves one
    // backward pass.
    let own = work(
        Saliency::new()
            .attribute_targets(&closure, &x, &targets, &run)
            .unwrap(),
    );
    assert_eq!((own.forward_rows, own.backward_rows), (2 * 2 + 2 * 3, 6));
}
