//! Checks that occlusion of only what a window affects equals occlusion on whole rows.

use attr_core::{Baseline, Baselines, Budget, Inputs, Method, Run, Target, Traced, Values};
use attr_perturb::Occlusion;
use attr_testkit::compare::assert_close;
use attr_testkit::device;
use attr_testkit::models::{Mlp, ResNet18, input, seeded};
use burn::module::Module;
use burn::nn::conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig};
use burn::nn::pool::{AvgPool2dConfig, MaxPool1dConfig, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PRelu, PReluConfig, PaddingConfig1d, PaddingConfig2d};
use burn::tensor::activation::{gelu, leaky_relu, relu, sigmoid, softmax};
use burn::tensor::{Device, Tensor};

const CHANNELS: usize = 48;

type Forward = fn(&Wide, Tensor<4>) -> Tensor<2>;

/// Wide layers, so that computing only patches pays off.
#[derive(Module, Debug)]
struct Wide {
    first: Conv2d,
    second: Conv2d,
    norm: BatchNorm,
    slopes: PRelu,
    strided: Conv2d,
    dilated: Conv2d,
    grouped: Conv2d,
    line: Conv1d,
    next: Conv1d,
}

impl Wide {
    fn new(device: &Device) -> Self {
        let c = CHANNELS;
        let pad = |before, after| PaddingConfig2d::Explicit(before, before, after, after);
        let conv = |inputs, kernel| Conv2dConfig::new([inputs, c], [kernel, kernel]);
        let line =
            |inputs| Conv1dConfig::new(inputs, c, 7).with_padding(PaddingConfig1d::Explicit(3, 3));
        Self {
            first: conv(2, 3).with_padding(pad(1, 1)).init(device),
            second: conv(c, 3).with_padding(pad(1, 1)).init(device),
            norm: BatchNormConfig::new(c).init(device),
            slopes: PReluConfig::new().with_num_parameters(c).init(device),
            strided: conv(c, 5)
                .with_stride([3, 2])
                .with_padding(pad(2, 1))
                .init(device),
            dilated: conv(c, 3).with_dilation([2, 2]).init(device),
            grouped: conv(c, 3)
                .with_groups(2)
                .with_padding(pad(1, 1))
                .init(device),
            line: line(2).init(device),
            next: line(c).init(device),
        }
    }
}

fn maps(x: Tensor<4>) -> Tensor<2> {
    x.flatten::<3>(2, 3).mean_dim(2).flatten(1, 2)
}

fn plain(m: &Wide, x: Tensor<4>) -> Tensor<2> {
    maps(relu(m.second.forward(relu(m.first.forward(x)))))
}

fn normalised(m: &Wide, x: Tensor<4>) -> Tensor<2> {
    let x = relu(m.first.forward(x));
    maps(gelu(m.norm.forward(m.second.forward(x.clone())) + x))
}

fn pooled(m: &Wide, x: Tensor<4>) -> Tensor<2> {
    let x = m.slopes.forward(m.first.forward(x));
    let largest = MaxPool2dConfig::new([3, 2])
        .with_strides([1, 2])
        .with_padding(PaddingConfig2d::Explicit(1, 0, 1, 0));
    let mean = AvgPool2dConfig::new([3, 3])
        .with_strides([2, 2])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
    let x = m.second.forward(largest.init().forward(x));
    let x = mean.init().forward(x);
    maps(leaky_relu(x, 0.1))
}

fn strided(m: &Wide, x: Tensor<4>) -> Tensor<2> {
    let x = sigmoid(m.second.forward(m.first.forward(x)));
    maps(m.dilated.forward(m.strided.forward(x)).tanh())
}

fn grouped(m: &Wide, x: Tensor<4>) -> Tensor<2> {
    let x = relu(m.grouped.forward(m.second.forward(m.first.forward(x))));
    maps(x.clone() * 2.0 - x.clamp(0.1, 0.5))
}

/// A softmax over channels, joined channels, a pooling that rounds up.
fn gathered(m: &Wide, x: Tensor<4>) -> Tensor<2> {
    let x = relu(m.second.forward(m.first.forward(x)));
    let shares = softmax(x.clone(), 1);
    let joined = Tensor::cat(vec![x.clone(), shares], 1);
    let largest = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]);
    maps(largest.with_ceil_mode(true).init().forward(joined))
}

/// Channels scaled by a parameter.
fn scaled(m: &Wide, x: Tensor<4>) -> Tensor<2> {
    let scale = m.norm.gamma.val().reshape([1, CHANNELS, 1, 1]);
    maps(relu(m.second.forward(relu(m.first.forward(x)) * scale)))
}

fn compare<M: Module + 'static, I: Inputs>(
    name: &str,
    module: &M,
    x: I,
    forward: impl Fn(&M, I) -> Tensor<2> + Send + Sync + 'static,
    (window, stride): (Vec<usize>, Vec<usize>),
) {
    let model = Traced::new(module, forward, &x).unwrap();
    let values: Values = x.to_values();
    let size = window[1..].to_vec();
    let row = values.slice(0..1);
    let near = model.near(&row, 0, &size).unwrap();
    assert!(near.is_some(), "{name}: whole rows are evaluated");
    let windows = vec![window; values.values().len()];
    let strides = vec![stride; values.values().len()];
    let each = vec![Baseline::Scalar(0.3); values.values().len()];
    let occlusion = Occlusion::new(windows).with_strides(strides);
    let each = Baselines::each(each);
    let target = Target::Class(1);
    let whole = occlusion.clone().with_perturbations_per_eval(8);
    let whole = whole.with_baseline(each.clone());
    let occlusion = occlusion.with_baseline(each);
    let expected = whole.attribute(&model, &values, target.clone()).unwrap();
    // Chunks are cut in the same way for all models; the largest model is tried with one budget.
    let budgets = [Budget::default(), Budget::Rows(5)];
    for budget in budgets
        .into_iter()
        .take(if name == "resnet" { 1 } else { 2 })
    {
        let run = Run::new().with_budget(budget);
        let got = occlusion.attribute_with(&model, &values, target.clone(), &run);
        let got = got.unwrap();
        for (got, expected) in got.values().iter().zip(expected.values()) {
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
fn images() {
    let module = seeded(Wide::new(&device()), 5);
    let x = || input([2, 2, 30, 26], 6);
    let windows = || (vec![2, 6, 7], vec![2, 6, 6]);
    let cases: [(&str, Forward); 7] = [
        ("plain", plain),
        ("normalised", normalised),
        ("pooled", pooled),
        ("strided", strided),
        ("grouped", grouped),
        ("gathered", gathered),
        ("scaled", scaled),
    ];
    for (name, forward) in cases {
        compare(name, &module, x(), forward, windows());
    }
}

#[test]
fn sequences() {
    let module = seeded(Wide::new(&device()), 7);
    let forward = |m: &Wide, x: Tensor<3>| {
        let x = relu(m.next.forward(relu(m.line.forward(x))));
        let x = m.next.forward(
            MaxPool1dConfig::new(3)
                .with_stride(2)
                .with_padding(PaddingConfig1d::Explicit(1, 1))
                .init()
                .forward(x),
        );
        m.next.forward(x).mean_dim(2).flatten(1, 2)
    };
    let x = input([2, 2, 900], 8);
    compare("sequence", &module, x, forward, (vec![2, 20], vec![1, 20]));
}

/// With strides beyond the kernel and wide padding, the output nearest to a window may see padding only.
#[test]
fn windows_that_no_output_sees() {
    let conv = Conv1dConfig::new(128, 256, 1)
        .with_stride(3)
        .with_padding(PaddingConfig1d::Explicit(2, 2));
    let module: Conv1d = seeded(conv.init(&device()), 10);
    let forward = |m: &Conv1d, x: Tensor<3>| relu(m.forward(x)).mean_dim(2).flatten(1, 2);
    let x = input([1, 128, 300], 11);
    compare("sparse", &module, x, forward, (vec![128, 1], vec![128, 1]));
}

#[test]
fn two_images_that_meet() {
    let module = seeded(Wide::new(&device()), 9);
    let forward = |m: &Wide, (a, b): (Tensor<4>, Tensor<4>)| {
        maps(relu(
            m.second.forward(m.first.forward(a) - m.first.forward(b)),
        ))
    };
    let x = (input([1, 2, 24, 24], 10), input([1, 2, 24, 24], 11));
    compare(
        "two images",
        &module,
        x,
        forward,
        (vec![2, 6, 6], vec![2, 6, 6]),
    );
}

#[test]
fn a_residual_network() {
    let module = seeded(ResNet18::new(10, &device()), 12);
    let x = input([1, 3, 96, 96], 13);
    let forward = |m: &ResNet18, x: Tensor<4>| m.forward(x);
    compare(
        "resnet",
        &module,
        x,
        forward,
        (vec![3, 12, 24], vec![3, 12, 24]),
    );
}

#[test]
fn whole_rows_where_patches_do_not_pay() {
    let module = seeded(Mlp::new(&device()), 14);
    let x = input([1, 6], 15);
    let model = Traced::new(&module, |m: &Mlp, x: Tensor<2>| m.forward(x), &x).unwrap();
    let near = model.near(&x.to_values(), 0, &[1]).unwrap();
    assert!(near.is_none());
    let wide = seeded(Wide::new(&device()), 5);
    let image = input([1, 2, 24, 24], 16);
    let model = Traced::new(&wide, plain, &image).unwrap();
    let all = model.near(&image.to_values(), 0, &[24, 24]).unwrap();
    assert!(all.is_none());
}
