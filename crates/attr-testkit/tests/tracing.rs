//! Tracing: a traced model computes what the module's inference computes, forwards and backwards.

use attr_core::{Error, Gradients, Inputs, Model, Target, Traced, Value};
use attr_testkit::compare::assert_close;
use attr_testkit::device;
use attr_testkit::models::{
    FunctionalRelu, LstmClassifier, ResNet18, Reused, SmallCnn, TokenClassifier, TwoInputs, input,
    seeded,
};
use burn::module::Module;
use burn::tensor::{Int, Tensor};

fn class_gradient<I: Inputs>(model: &impl Model<I>, inputs: &I, class: usize) -> Gradients {
    let values = inputs.to_values();
    model
        .gradients(values.clone(), &|output| {
            Ok(vec![Target::Class(class).choose(output, &values)?.seed])
        })
        .expect("the model has gradients")
}

/// Forward against the module's inference forward, gradients against Burn's autodiff.
fn check<I: Inputs, M: Module + 'static>(
    module: &M,
    forward: fn(&M, I) -> Tensor<2>,
    inputs: &I,
) -> Traced {
    let traced = Traced::new(module, forward, inputs).expect("the model traces");
    let frozen = module.valid();
    let expected: Value = forward(&frozen, inputs.clone()).into();
    let got = traced.forward(inputs).expect("the model replays");
    assert_close("forward", &got, &expected, 1e-6);

    let closure = move |x: I| forward(&frozen, x);
    let expected = class_gradient(&closure, inputs, 1);
    let got = class_gradient(&traced, inputs, 1);
    for (got, expected) in got.inputs[0].iter().zip(&expected.inputs[0]) {
        let (got, expected) = (got.as_ref().unwrap(), expected.as_ref().unwrap());
        assert_close("gradient", got, expected, 1e-5);
    }
    // Nothing was moved to the capture device, and no statistic was lost.
    let after: Value = forward(module, inputs.clone()).into();
    let again = traced.forward(inputs).expect("the model replays");
    assert_close("the original model after tracing", &again, &after, 1e-6);
    traced
}

#[test]
fn resnet18() {
    let model = seeded(ResNet18::new(10, &device()), 1);
    let traced = check(&model, |m, x| m.forward(x), &input([2, 3, 64, 64], 2));
    let x = input([2, 3, 64, 64], 2);
    for layer in traced.layers(&x).unwrap() {
        println!("{layer}");
    }
}

#[test]
fn functional_relu() {
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let x = input([3, 4], 2);
    let traced = check(&model, |m, x| m.forward(x), &x);
    for layer in traced.layers(&x).unwrap() {
        println!("{layer}");
    }
}

#[test]
fn reused_module() {
    let model = seeded(Reused::new(&device()), 1);
    let x = input([3, 4], 2);
    let traced = check(&model, |m, x| m.forward(x), &x);
    for layer in traced.layers(&x).unwrap() {
        println!("{layer}");
    }
}

#[test]
fn lstm() {
    let model = seeded(LstmClassifier::new(&device()), 1);
    let x = input([3, 4, 5], 2);
    let traced = check(&model, |m, x| m.forward(x), &x);
    for layer in traced.layers(&x).unwrap() {
        println!("{layer}");
    }
}

#[test]
fn two_inputs() {
    let model = seeded(TwoInputs::new(&device()), 1);
    let x = (input([3, 3], 2), input([3, 5], 3));
    let traced = check(
        &model,
        |m, x: (Tensor<2>, Tensor<2>)| m.forward(x.0, x.1),
        &x,
    );
    for layer in traced.layers(&x).unwrap() {
        println!("{layer}");
    }
}

#[test]
fn small_cnn() {
    let model = seeded(SmallCnn::new(&device()), 1);
    let x = input([3, 1, 6, 6], 2);
    let traced = check(&model, |m, x| m.forward(x), &x);
    for layer in traced.layers(&x).unwrap() {
        println!("{layer}");
    }
}

#[test]
fn transformer() {
    let model = seeded(TokenClassifier::new(&device()), 1);
    let tokens = Tensor::<2, Int>::from_ints([[3, 7, 1, 0], [2, 19, 0, 0]], &device());
    let traced = Traced::new(&model, |m: &TokenClassifier, x| m.forward(x), &tokens).unwrap();
    for layer in traced.layers(&tokens).unwrap() {
        println!("{layer}");
    }
}
