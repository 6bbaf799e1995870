//! Batches that are long enough to run in parts: the parts must not show in any result.

use attr_core::walk::in_pieces;
use attr_core::{Method, Model, Target, Traced, Value};
use attr_gradient::Saliency;
use attr_testkit::compare::assert_close_slices as assert_close;
use attr_testkit::device;
use attr_testkit::models::{DigitsCnn, ResNet18, input, seeded};
use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation};

/// Rows that together take more memory than any threshold.
fn rows() -> Tensor<2> {
    input([6, 40_000], 1)
}

fn numbers(value: &Value) -> Vec<f32> {
    value.to_vec().expect("it can be read")
}

/// A function of all rows, in a form that can be traced.
type Function = fn(Tensor<2>) -> Tensor<2>;

#[test]
fn functions_of_other_rows_are_computed_whole() {
    let mixing: [(&str, Function); 10] = [
        ("a softmax over the rows", |x| activation::softmax(x, 0)),
        ("the rows' mean", |x| x.clone() - x.mean_dim(0)),
        ("reversed rows", |x| x.flip([0])),
        ("a running sum", |x| x.cumsum(0)),
        ("a product with the other rows", |x| {
            x.clone().matmul(x.transpose())
        }),
        ("sorted rows", |x| x.sort(0)),
        ("shifted rows", |x| {
            Tensor::cat(vec![x.clone().narrow(0, 1, 5), x.narrow(0, 0, 1)], 0)
        }),
        ("rows in other columns", |x| {
            x.reshape([40_000, -1]).transpose().slice([0..6, 0..100])
        }),
        ("the sum of everything", |x| {
            x.clone() * x.sum().reshape([1, 1])
        }),
        ("padded rows", |x| {
            x.pad([(1, 1), (0, 0)], burn::tensor::ops::PadMode::Constant(2.0))
                .narrow(0, 0, 6)
        }),
    ];
    let (x, device) = (rows(), device());
    let nothing = Param::from_tensor(Tensor::<1>::zeros([1], &device));
    for (name, f) in mixing {
        let model = Traced::new(&nothing, move |_: &Param<Tensor<1>>, x| f(x), &x).expect(name);
        let expected = numbers(&f(x.clone()).into());
        let got = numbers(&model.forward(&x).expect(name));
        assert_close(name, &got, &expected, 1e-6);
        // The gradient of a weighted sum of everything.
        let weights = input::<2>(f(x.clone()).dims(), 2);
        let values = attr_core::Inputs::to_values(&x);
        let seeds = |_: &Value| Ok(vec![Value::from(weights.clone())]);
        let found = Model::<Tensor<2>>::gradients(&model, values, &seeds).expect(name);
        let leaf = x.clone().autodiff().require_grad();
        let total = (f(leaf.clone()) * weights.clone().autodiff()).sum();
        let expected = leaf.grad(&total.backward()).expect("a gradient");
        let got = found.inputs[0][0].as_ref().expect("a gradient");
        let expected = numbers(&expected.into());
        assert_close(
            &format!("gradient of {name}"),
            &numbers(got),
            &expected,
            1e-4,
        );
    }
}

#[test]
fn rows_of_networks_are_as_if_alone() {
    let device = device();
    let digits = seeded(DigitsCnn::new(&device), 1).valid();
    let images = input([37, 1, 8, 8], 2);
    let digits = Traced::new(&digits, |m: &DigitsCnn, x| m.forward(x), &images).expect("it traces");
    alone(&digits, &images);
    let resnet = seeded(ResNet18::new(10, &device), 1).valid();
    let images = input([3, 3, 64, 64], 2);
    let resnet = Traced::new(&resnet, |m: &ResNet18, x| m.forward(x), &images).expect("it traces");
    alone(&resnet, &images);
}

/// Compares the outputs and gradients of a batch with those of each row.
fn alone(model: &Traced, images: &Tensor<4>) {
    let explain = |x: &Tensor<4>| {
        let found = Saliency::new().attribute(model, x, Target::Class(3));
        let found = found.expect("it is explained");
        numbers(found.values()[0].as_ref().expect("a gradient"))
    };
    let together = (
        numbers(&model.forward(images).expect("it runs")),
        explain(images),
    );
    let rows = images.dims()[0];
    let (outputs, gradients) = (together.0.len() / rows, together.1.len() / rows);
    for row in 0..rows {
        let one = images.clone().narrow(0, row, 1);
        let output = numbers(&model.forward(&one).expect("it runs"));
        assert_close(
            "output",
            &together.0[row * outputs..][..outputs],
            &output,
            1e-5,
        );
        let gradient = explain(&one);
        let own = &together.1[row * gradients..][..gradients];
        assert_close("gradient", own, &gradient, 1e-4);
    }
}

#[test]
fn work_in_pieces_is_that_on_the_whole() {
    // More elements than one piece has, in lines that do not divide it.
    let (x, y): (Tensor<3>, Tensor<3>) = (input([9, 1000, 7], 1), input([9, 1000, 7], 2));
    let (values, width) = ([Value::from(x.clone()), Value::from(y.clone())], 7);
    let found = in_pieces(&[&values[0], &values[1]], width, |values| {
        let [x, y] = [values[0].tensor::<2>()?, values[1].tensor::<2>()?];
        Ok(Value::from(activation::softmax(x, 1) * y))
    });
    let expected = activation::softmax(x, 2) * y;
    let found = found.unwrap();
    assert_eq!(found.shape(), [9, 1000, 7]);
    assert_close("pieces", &numbers(&found), &numbers(&expected.into()), 1e-6);
}
