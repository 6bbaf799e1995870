//! Tests element types: double and half precision, integers, booleans.

use attr_core::{Error, Inputs, Method};
use attr_gradient::{IntegratedGradients, NoiseTunnel, Saliency};
use attr_testkit::check::check_traced;
use attr_testkit::device;
use attr_testkit::models::input;
use burn::nn::Relu;
use burn::tensor::{Bool, DType, Int, Tensor};

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

/// Ten thousand steps: a sum in 16 bits would stop growing after a few thousand.
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
