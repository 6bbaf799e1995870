//! Checks that DeepLIFT's contributions add up on every kind of model.

use attr_core::{Baseline, Inputs, LayerMethod, Method, Target, Traced, Value};
use attr_gradient::{DeepLift, DeepLiftRule, DeepLiftShap};
use attr_testkit::compare::{assert_close, assert_close_slices};
use attr_testkit::device;
use attr_testkit::models::{
    Cnn, Conv1dNet, EmbeddingClassifier, LstmClassifier, Mlp, ResNet18, Residual, SmallCnn,
    TokenClassifier, TwoInputs, Vit, input, seeded,
};
use burn::tensor::{Int, Tensor, TensorData, activation};

/// Returns the largest delta, after asserting that it is below 1e-3 of the largest change of the
/// output.
fn sums(name: &str, delta: &[f32], model: &Traced, x: &impl Inputs, b: &impl Inputs) -> f32 {
    let (x, b) = (model.forward(x).unwrap(), model.forward(b).unwrap());
    let change = (x.matrix().unwrap() - b.matrix().unwrap()).abs().max();
    let change = Value::from(change).to_vec().unwrap()[0];
    let worst = delta.iter().fold(0f32, |m, d| m.max(d.abs()));
    println!("{name}: {worst:e} of {change:e}");
    assert!(worst < 1e-3 * change, "{name}: {worst:e} of {change:e}");
    worst
}

fn check<const D: usize, M: burn::module::Module + 'static>(
    name: &str,
    module: M,
    forward: fn(&M, Tensor<D>) -> Tensor<2>,
    shape: [usize; D],
) {
    let (x, b) = (input(shape, 3), input(shape, 4) * 0.7);
    let model = Traced::new(&module, forward, &x).unwrap();
    let method = DeepLift::new().with_baseline(b.clone());
    let found = method.attribute(&model, &x, 1).unwrap();
    sums(name, found.delta().unwrap(), &model, &x, &b);
}

#[test]
fn the_sums_hold_on_every_model() {
    let d = device();
    check("mlp", seeded(Mlp::new(&d), 1), |m, x| m.forward(x), [3, 6]);
    check(
        "cnn",
        seeded(Cnn::new(&d), 2),
        |m, x| m.forward(x),
        [2, 1, 8, 8],
    );
    check(
        "residual",
        seeded(Residual::new(&d), 3),
        |m, x| m.forward(x),
        [2, 2, 5, 5],
    );
    check(
        "conv1d",
        seeded(Conv1dNet::new(&d), 4),
        |m, x| m.forward(x),
        [2, 3, 9],
    );
    check(
        "lstm",
        seeded(LstmClassifier::new(&d), 5),
        |m, x| m.forward(x),
        [2, 4, 5],
    );
    check(
        "vit",
        seeded(Vit::new(&d), 6),
        |m, x| m.forward(x),
        [2, 1, 8, 8],
    );
    check(
        "softmax",
        seeded(SmallCnn::new(&d), 7),
        |m, x| m.forward(x),
        [3, 1, 6, 6],
    );
}

#[test]
fn the_sums_hold_with_two_inputs_and_with_tokens() {
    let module = seeded(TwoInputs::new(&device()), 1);
    let (x, b) = (
        (input([3, 3], 2), input([3, 5], 3)),
        (input([3, 3], 4), input([3, 5], 5)),
    );
    let forward = |m: &TwoInputs, (l, r): (Tensor<2>, Tensor<2>)| m.forward(l, r);
    let model = Traced::new(&module, forward, &x).unwrap();
    let each = attr_core::Baselines::each(vec![b.0.clone().into(), b.1.clone().into()]);
    let found = DeepLift::new().with_baseline(each).attribute(&model, &x, 1);
    sums(
        "two inputs",
        found.unwrap().delta().unwrap(),
        &model,
        &x,
        &b,
    );

    let tokens = |ids: [[i64; 5]; 2]| Tensor::<2, Int>::from_data(TensorData::from(ids), &device());
    let (x, b) = (
        tokens([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]]),
        tokens([[0; 5]; 2]),
    );
    let module = seeded(EmbeddingClassifier::new(&device()), 3);
    let model = Traced::new(&module, |m: &EmbeddingClassifier, x| m.forward(x), &x).unwrap();
    let found = DeepLift::new()
        .at_layers(["embedding"])
        .attribute(&model, &x, 1);
    let found = found.unwrap();
    sums("embedding", found.delta().unwrap(), &model, &x, &b);
    assert_eq!(found.per_token("embedding").unwrap().dims(), [2, 5]);

    // The encoder derives its padding mask from token 0, on an integer path. Without token 0 the
    // sums hold.
    let b = tokens([[7; 5]; 2]);
    let module = seeded(TokenClassifier::new(&device()), 4);
    let model = Traced::new(&module, |m: &TokenClassifier, x| m.forward(x), &x).unwrap();
    let method = DeepLift::new().with_baseline(Baseline::from(b.clone()));
    let found = method
        .at_layers(["embedding"])
        .attribute(&model, &x, 1)
        .unwrap();
    sums("transformer", found.delta().unwrap(), &model, &x, &b);
}

#[test]
fn the_sums_hold_on_a_residual_network() {
    check(
        "resnet",
        seeded(ResNet18::new(4, &device()), 8),
        |m, x| m.forward(x),
        [1, 3, 32, 32],
    );
}

type Function = fn(Tensor<2>) -> Tensor<2>;

/// A function of one tensor as a traced model.
fn traced(f: Function, x: &Tensor<2>) -> Traced {
    let nothing: burn::module::Param<Tensor<1>> =
        burn::module::Param::from_tensor(Tensor::zeros([1], &device()));
    Traced::new(&nothing, move |_, x| f(x), x).unwrap()
}

#[test]
fn every_operation_keeps_the_sum() {
    let cases: &[(&str, Function)] = &[
        ("relu", |x| activation::relu(x)),
        ("leaky relu", |x| activation::leaky_relu(x, 0.1)),
        ("sigmoid", activation::sigmoid),
        ("tanh", |x| x.tanh()),
        ("gelu", activation::gelu),
        ("silu", activation::silu),
        ("exp", |x| x.exp()),
        ("log", |x| (x + 3.0).log()),
        ("square", |x| x.powi_scalar(2)),
        ("power", |x| (x + 3.0).powf_scalar(1.7)),
        ("clamp", |x| x.clamp(-0.4, 0.5)),
        ("abs", |x| x.abs()),
        ("sign", |x| x.sign()),
        ("floor", |x| (x * 3.0).floor()),
        ("sine", |x| (x * 2.0).sin()),
        ("softmax", |x| activation::softmax(x * 3.0, 1)),
        ("log softmax", |x| activation::log_softmax(x * 3.0, 1)),
        ("softmin", |x| activation::softmin(x, 1)),
        ("product", |x| x.clone() * x.clone().flip([1]) * x.tanh()),
        ("quotient", |x| x.clone().tanh() / (x.flip([1]) + 2.5)),
        ("max", |x| x.clone().max_dim(1).repeat_dim(1, 4)),
        ("min", |x| x.clone().min_dim(1).repeat_dim(1, 4)),
        ("maximum", |x| x.clone().max_pair(x.flip([1]))),
        ("minimum", |x| x.clone().min_pair(x.flip([1]))),
        ("matmul", |x| {
            let [rows, _] = x.dims();
            let x = x.reshape([rows, 2, 2]);
            x.clone()
                .matmul(x.clone().swap_dims(1, 2))
                .matmul(x)
                .reshape([rows, 4])
        }),
        ("mean and variance", |x| {
            let centred = x.clone() - x.mean_dim(1);
            centred.clone() / (centred.powi_scalar(2).mean_dim(1) + 1e-5).sqrt()
        }),
        ("power of two", |x| (x.clone() + 2.0).powf(x.flip([1]))),
        ("cumulative product", |x| (x + 1.5).cumprod(1)),
        ("product along", |x| (x + 1.5).prod_dim(1).repeat_dim(1, 4)),
        ("mask", |x| {
            let mask = x.clone().lower_elem(0.1);
            (x.clone() * 2.0).mask_where(mask, x * 0.3 + 0.17)
        }),
        ("mask fill", |x| {
            let mask = x.clone().lower_elem(0.1);
            x.mask_fill(mask, 0.1)
        }),
        ("angle", |x| (x.clone() + 2.0).atan2(x.flip([1]) + 3.0)),
    ];
    let (x, b) = (input([3, 4], 11), input([3, 4], 12));
    for (name, f) in cases {
        // Weights, so that what arrives is not one.
        let model = traced(*f, &x);
        let weights = input([3, 4], 13);
        let method = DeepLift::new().with_baseline(b.clone());
        let found = method
            .attribute(&model, &x, Target::weights(weights))
            .unwrap();
        sums(name, found.delta().unwrap(), &model, &x, &b);
        assert!(
            found.values()[0].as_ref().unwrap().is_finite().unwrap(),
            "{name}"
        );
        // Without any difference, multipliers are derivatives where these exist.
        let still = DeepLift::new()
            .with_multiply_by_inputs(false)
            .with_baseline(x.clone());
        let still = still.attribute(&model, &x, 1).unwrap();
        assert!(
            still.values()[0].as_ref().unwrap().is_finite().unwrap(),
            "{name}"
        );
        if !["sign", "floor", "mask", "mask fill"].contains(name) {
            let gradient = attr_gradient::Saliency::new().with_abs(false);
            let gradient = gradient.attribute(&model, &x, 1).unwrap();
            let (got, expected) = (&still.values()[0], &gradient.values()[0]);
            assert_close(
                name,
                got.as_ref().unwrap(),
                expected.as_ref().unwrap(),
                1e-4,
            );
        }
    }
}

#[test]
fn tiny_differences_are_not_divided_by_their_rounding() {
    let cases: &[(&str, Function)] = &[
        ("sigmoid", activation::sigmoid),
        ("exp", |x| x.exp()),
        ("softmax", |x| activation::softmax(x, 1)),
        ("log softmax", |x| activation::log_softmax(x, 1)),
    ];
    let x = input([3, 4], 11);
    for (name, f) in cases {
        let model = traced(*f, &x);
        let near = DeepLift::new()
            .with_multiply_by_inputs(false)
            .with_baseline(x.clone() + 3e-6);
        let near = near.attribute(&model, &x, 1).unwrap();
        let gradient = attr_gradient::Saliency::new().with_abs(false);
        let gradient = gradient.attribute(&model, &x, 1).unwrap();
        let (got, expected) = (&near.values()[0], &gradient.values()[0]);
        assert_close(
            name,
            got.as_ref().unwrap(),
            expected.as_ref().unwrap(),
            1e-3,
        );
    }
}

#[test]
fn a_slope_is_no_quotient_of_rounding_errors() {
    // If both ends lie in one piece of a piecewise linear function, the multiplier is its slope.
    type Piece = (&'static str, Function, f32, f32, f32);
    let cases: &[Piece] = &[
        (
            "leaky ReLU",
            |x| activation::leaky_relu(x, 0.01),
            -1000.0,
            1e-3,
            0.01,
        ),
        (
            "leaky ReLU above",
            |x| activation::leaky_relu(x, 0.01),
            1000.0,
            1e-3,
            1.0,
        ),
        (
            "hard sigmoid",
            |x| activation::hard_sigmoid(x, 0.2, 0.5),
            1.0,
            1e-6,
            0.2,
        ),
        (
            "hard sigmoid from one end to the other",
            |x| activation::hard_sigmoid(x, 0.2, 0.5),
            10.0,
            20.0,
            0.05,
        ),
        (
            "PReLU",
            |x| {
                let slope = Tensor::<1>::from_floats([0.03], &x.device());
                activation::prelu(x, slope)
            },
            -1000.0,
            1e-3,
            0.03,
        ),
    ];
    for &(name, f, at, apart, slope) in cases {
        let x = Tensor::<2>::from_floats([[at]], &device());
        let model = traced(f, &x);
        let near = DeepLift::new().with_multiply_by_inputs(false);
        let near = near.with_baseline(x.clone() - apart);
        let found = near.attribute(&model, &x, 0).unwrap();
        let multiplier = found.values()[0].as_ref().unwrap().to_vec().unwrap();
        assert_close_slices(name, &multiplier, &[slope], 1e-5);
    }
}

/// The paper's example: `min(a, b)` written as `a - relu(a - b)`. The rescale rule gives all to
/// one input, RevealCancel half to each.
#[test]
fn reveal_cancel_sees_what_cancels() {
    use burn::nn::{Linear, LinearConfig};
    #[derive(burn::module::Module, Debug)]
    struct Minimum {
        difference: Linear,
    }
    let d = device();
    let mut difference = LinearConfig::new(2, 1).with_bias(false).init(&d);
    difference.weight =
        burn::module::Param::from_tensor(Tensor::<2>::from_floats([[1.0], [-1.0]], &d));
    let forward = |m: &Minimum, x: Tensor<2>| {
        x.clone().narrow(1, 0, 1) - activation::relu(m.difference.forward(x))
    };
    let x = Tensor::<2>::from_floats([[1.0, 1.0], [2.0, 1.0]], &d);
    let model = Traced::new(&Minimum { difference }, forward, &x).unwrap();
    let with = |rule| {
        let found = DeepLift::new()
            .with_rule(rule)
            .attribute(&model, &x, 0)
            .unwrap();
        assert!(found.delta().unwrap().iter().all(|d| d.abs() < 1e-6));
        found.values()[0].as_ref().unwrap().to_vec().unwrap()
    };
    // At (2, 1) the ReLU passes 1 = 2 - 1: its positive part is ½(2) + ½(1 - 0), its negative
    // part ½(0) + ½(1 - 2).
    let cancelled = with(DeepLiftRule::RevealCancel);
    assert_close_slices("RevealCancel", &cancelled, &[0.5, 0.5, 0.5, 0.5], 1e-6);
    let rescaled = with(DeepLiftRule::Rescale);
    assert_close_slices("rescale", &rescaled[2..], &[0.0, 1.0], 1e-6);
}

#[test]
fn the_mean_over_a_distribution_is_the_mean_of_its_rows() {
    let module = seeded(Cnn::new(&device()), 2);
    let x = input([2, 1, 8, 8], 3);
    let model = Traced::new(&module, |m: &Cnn, x| m.forward(x), &x).unwrap();
    let known = input([3, 1, 8, 8], 5);
    let shap = DeepLiftShap::new().with_baseline(Baseline::Distribution(known.clone().into()));
    let found = shap.attribute(&model, &x, vec![0, 2]).unwrap();
    let mut sum: Option<Tensor<4>> = None;
    for row in 0..3 {
        let one = DeepLift::new().with_baseline(known.clone().narrow(0, row, 1));
        let one = one.attribute(&model, &x, vec![0, 2]).unwrap().attribution();
        sum = Some(match sum {
            Some(sum) => sum + one,
            None => one,
        });
    }
    let expected = sum.unwrap() / 3.0;
    assert_close("shap", &found.attribution().into(), &expected.into(), 1e-5);
    let work = found.work();
    assert_eq!((work.forward_rows, work.backward_rows), (12, 6));
}
