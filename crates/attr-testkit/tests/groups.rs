//! Tests what is known of a graph before anything runs (groups of nodes, linear layers, values that
//! are never negative, names), and the edits that expand attention and fold BatchNorm.

use attr_core::op::GroupKind;
use attr_core::{Error, Inputs, Layer, Traced, Value, tap};
use attr_testkit::check::gradients;
use attr_testkit::compare::assert_close;
use attr_testkit::device;
use attr_testkit::models::{ResNet18, SmallCnn, TokenClassifier, input, seeded};
use burn::module::{Module, Param};
use burn::nn::activation::{Activation, ActivationConfig};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::*;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, Int, Tensor, activation};

/// Traces a function of one tensor between other operations.
fn traced(f: impl Fn(Tensor<2>) -> Tensor<2> + Send + Sync + 'static) -> Traced {
    let forward = move |_: &Relu, x: Tensor<2>| f(x.sin()).cos();
    Traced::new(&Relu::new(), forward, &input([3, 4], 1)).expect("the function traces")
}

fn kinds(model: &Traced) -> Vec<GroupKind> {
    model.groups().iter().map(|group| group.kind).collect()
}

#[track_caller]
fn assert_kind(what: &str, model: &Traced, expected: GroupKind) {
    let got = kinds(model);
    let layers = || {
        model
            .layers()
            .iter()
            .map(|l| l.name.clone())
            .collect::<Vec<_>>()
    };
    let [kind] = got[..] else {
        panic!("{what}: {got:?} instead of {expected:?} in {:#?}", layers());
    };
    // Constants that were rounded to 32 bits.
    let digits = |kind: GroupKind| {
        let text = format!("{kind:?}");
        let numbers = text.split_inclusive([' ', '}']);
        let rounded =
            numbers.map(
                |word| match word.trim_end_matches([' ', '}', ',']).parse::<f64>() {
                    Ok(number) => format!("{number:.5} "),
                    Err(_) => word.to_string(),
                },
            );
        rounded.collect::<String>()
    };
    assert_eq!(digits(kind), digits(expected), "{what}");
}

/// Returns all of a model's layers but the first and the last.
fn inner(model: &Traced) -> Vec<String> {
    let layers = model.layers();
    let names = layers.iter().map(|layer| layer.name.clone());
    names.skip(1).take(layers.len() - 2).collect()
}

type Function = fn(Tensor<2>) -> Tensor<2>;

#[test]
fn every_activation_of_burn_is_a_group_or_an_operation() {
    let functions: [(&str, Function, GroupKind); 19] = [
        ("silu", activation::silu, GroupKind::Silu),
        ("mish", activation::mish, GroupKind::Mish),
        ("hard_swish", activation::hard_swish, GroupKind::HardSwish),
        (
            "gelu_approximate",
            activation::gelu_approximate,
            GroupKind::GeluTanh,
        ),
        (
            "elu",
            |x| activation::elu(x, 1.0),
            GroupKind::Elu { alpha: 1.0 },
        ),
        (
            "elu of 0.3",
            |x| activation::elu(x, 0.3),
            GroupKind::Elu { alpha: 0.3 },
        ),
        ("selu", activation::selu, GroupKind::Selu),
        (
            "celu",
            |x| activation::celu(x, 1.0),
            GroupKind::Celu { alpha: 1.0 },
        ),
        (
            "celu of 0.3",
            |x| activation::celu(x, 0.3),
            GroupKind::Celu { alpha: 0.3 },
        ),
        (
            "softplus",
            |x| activation::softplus(x, 1.0),
            GroupKind::Softplus { beta: 1.0 },
        ),
        (
            "softplus of 2",
            |x| activation::softplus(x, 2.0),
            GroupKind::Softplus { beta: 2.0 },
        ),
        (
            "softplus with a threshold",
            |x| activation::softplus_with_threshold(x, 0.5, 30.0),
            GroupKind::Softplus { beta: 0.5 },
        ),
        ("softsign", activation::softsign, GroupKind::Softsign),
        ("tanhshrink", activation::tanhshrink, GroupKind::Tanhshrink),
        (
            "hard_shrink",
            |x| activation::hard_shrink(x, 0.5),
            GroupKind::Shrink {
                lambda: 0.5,
                bias: 0.0,
            },
        ),
        (
            "soft_shrink",
            |x| activation::soft_shrink(x, 0.5),
            GroupKind::Shrink {
                lambda: 0.5,
                bias: 0.5,
            },
        ),
        (
            "shrink",
            |x| activation::shrink(x, 0.5, 0.2),
            GroupKind::Shrink {
                lambda: 0.5,
                bias: 0.2,
            },
        ),
        (
            "thresholded_relu",
            |x| activation::thresholded_relu(x, 0.7),
            GroupKind::Threshold {
                threshold: 0.7,
                value: 0.0,
            },
        ),
        (
            "threshold",
            |x| activation::threshold(x, 0.7, 0.1),
            GroupKind::Threshold {
                threshold: 0.7,
                value: 0.1,
            },
        ),
    ];
    for (name, f, kind) in functions {
        let model = traced(f);
        assert_kind(name, &model, kind);
        // The group is complete, and nothing else is in it.
        let group = &model.groups()[0];
        assert_eq!(group.layers, inner(&model), "{name}");
        assert_eq!(group.layers.last(), Some(&group.name), "{name}");
        assert!(kind.is_activation() && !kind.is_norm(), "{name}");
    }
    let single: [Function; 6] = [
        activation::relu,
        activation::gelu,
        activation::sigmoid,
        activation::tanh,
        activation::relu6,
        |x| activation::leaky_relu(x, 0.1),
    ];
    for f in single {
        let model = traced(f);
        assert_eq!((kinds(&model).len(), model.layers().len()), (0, 3));
    }
    let glu = traced(|x| activation::glu(x, 1).repeat_dim(1, 2));
    assert_kind("glu", &glu, GroupKind::Glu { dim: 1 });
    assert!(!GroupKind::Glu { dim: 1 }.is_activation());
}

#[test]
fn activation_modules_are_groups() {
    let modules: [(ActivationConfig, GroupKind); 3] = [
        (ActivationConfig::GeluApproximate, GroupKind::GeluTanh),
        (ActivationConfig::Softsign, GroupKind::Softsign),
        (SwiGluConfig::new(4, 4).into(), GroupKind::Silu),
    ];
    for (config, kind) in modules {
        let name = format!("{config:?}");
        let module = seeded(config.init(&device()), 2);
        let x = input([3, 4], 1);
        let model = Traced::new(&module, |m: &Activation, x: Tensor<2>| m.forward(x), &x);
        assert_kind(&name, &model.expect("traces"), kind);
    }
}

#[test]
fn activations_written_by_hand_are_groups() {
    let functions: [(&str, Function, GroupKind); 14] = [
        (
            "sigmoid first",
            |x| activation::sigmoid(x.clone()) * x,
            GroupKind::Silu,
        ),
        (
            "quick GELU",
            |x| x.clone() * activation::sigmoid(x * 1.702),
            GroupKind::Swish { beta: 1.702 },
        ),
        (
            "mish of a plain softplus",
            |x| x.clone() * x.exp().log1p().tanh(),
            GroupKind::Mish,
        ),
        (
            "the hard swish of MobileNetV3",
            |x| x.clone() * (x + 3).clamp(0, 6) / 6,
            GroupKind::HardSwish,
        ),
        (
            "its gate divided first",
            |x| ((x.clone() + 3).clamp(0, 6) / 6) * x,
            GroupKind::HardSwish,
        ),
        (
            "exact GELU",
            |x| x.clone() * 0.5 * ((x / 2f64.sqrt()).erf() + 1),
            GroupKind::Gelu,
        ),
        (
            "exact GELU as exporters write it",
            |x| x.clone() * ((x / 2f64.sqrt()).erf() + 1) * 0.5,
            GroupKind::Gelu,
        ),
        (
            "GELU of GPT-2",
            |x| {
                let cubic = x.clone() + x.clone().powi_scalar(3) * 0.044715;
                x * 0.5 * ((cubic * 0.797_884_6).tanh() + 1.0)
            },
            GroupKind::GeluTanh,
        ),
        (
            "GELU with a cube of products",
            |x| {
                let cube = x.clone() * x.clone() * x.clone();
                ((((x.clone() + cube * 0.044715) * 0.797_884_6).tanh() + 1.0) * 0.5) * x
            },
            GroupKind::GeluTanh,
        ),
        (
            "ELU with a guard",
            |x| {
                let below = (x.clone().clamp_max(0).exp() - 1) * 0.4;
                below.mask_where(x.clone().greater_scalar(0), x)
            },
            GroupKind::Elu { alpha: 0.4 },
        ),
        (
            "SELU as a multiple of ELU",
            |x| activation::elu(x, 1.673_263_2) * 1.050_701,
            GroupKind::Selu,
        ),
        (
            "softplus as a logarithm",
            |x| (x.exp() + 1).log(),
            GroupKind::Softplus { beta: 1.0 },
        ),
        (
            "softplus by the logarithm of a sigmoid",
            |x| -activation::log_sigmoid(-x),
            GroupKind::Softplus { beta: 1.0 },
        ),
        (
            "softplus of a multiple",
            |x| (x * 3).exp().log1p() / 3,
            GroupKind::Softplus { beta: 3.0 },
        ),
    ];
    for (name, f, kind) in functions {
        let model = traced(f);
        assert_kind(name, &model, kind);
        assert_eq!(model.groups()[0].layers, inner(&model), "{name}");
    }
}

#[test]
fn what_only_looks_like_a_group_is_none() {
    let functions: [(&str, Function); 10] = [
        ("a gate of another tensor", |x| {
            x.clone() * activation::sigmoid(x.exp())
        }),
        ("a sigmoid that something else reads", |x| {
            let gate = activation::sigmoid(x.clone());
            x * gate.clone() + gate
        }),
        ("a skip around a ReLU", |x| x.clone() + activation::relu(x)),
        ("another hard swish", |x| {
            x.clone() * activation::hard_sigmoid(x, 0.2, 0.5)
        }),
        ("a choice at another place", |x| {
            let below = x.clone().exp() - 1;
            below.mask_where(x.clone().greater_scalar(1), x)
        }),
        ("ELU of two tensors", |x| {
            let below = (x.clone() * x.clone()).exp() - 1;
            below.mask_where(x.clone().greater_scalar(0), x)
        }),
        ("softsign of a square", |x| {
            x.clone() / ((x.clone() * x).abs() + 1)
        }),
        ("GELU with another constant", |x| {
            let cubic = x.clone() + x.clone().powi_scalar(3) * 0.05;
            x * 0.5 * ((cubic * 0.797_884_6).tanh() + 1.0)
        }),
        ("halves the other way round", |x| {
            let [a, b] = x.chunk(2, 1).try_into().expect("two halves");
            (activation::sigmoid(a) * b).repeat_dim(1, 2)
        }),
        ("quarters", |x| {
            let (a, b) = (x.clone().narrow(1, 0, 1), x.narrow(1, 1, 1));
            (a * activation::sigmoid(b)).repeat_dim(1, 4)
        }),
    ];
    for (name, f) in functions {
        assert_eq!(kinds(&traced(f)), [], "{name}");
    }
    // With a threshold of one it is another function, though there is a softplus inside.
    let cut = traced(|x| activation::softplus_with_threshold(x, 1.0, 1.0)).groups();
    assert_eq!((cut.len(), cut[0].layers.len()), (1, 2), "{cut:?}");
    // A node inside a group is no longer inside once the user asks for it.
    let model = Traced::new(
        &Relu::new(),
        |_: &Relu, x: Tensor<2>| activation::silu(x.sin()),
        &input([3, 4], 1),
    );
    let model = model.expect("traces");
    assert_eq!(kinds(&model), [GroupKind::Silu]);
    let layers = model.groups()[0].layers.clone();
    let part = model.to_layer(&layers[0]).expect("the sigmoid is a layer");
    assert_eq!(kinds(&part), []);
    let x = input([3, 4], 1);
    let rest = model
        .from_layer(&layers[0], &x)
        .expect("it leads to the output");
    assert_eq!(kinds(&rest), []);
    let whole = model
        .from_layer(&model.layers()[0].name, &x)
        .expect("so does this");
    assert_eq!(kinds(&whole), [GroupKind::Silu]);
}

fn norm<const D: usize, M: Module + 'static>(
    module: M,
    forward: fn(&M, Tensor<D>) -> Tensor<D>,
    shape: [usize; D],
) -> Traced {
    let forward = move |m: &M, x: Tensor<D>| forward(m, x.sin()).cos();
    Traced::new(&seeded(module, 2), forward, &input(shape, 1)).expect("the norm traces")
}

#[test]
fn every_norm_of_burn_is_a_group_or_an_operation() {
    let d = &device();
    let rms = RmsNormConfig::new(4).with_epsilon(1e-3);
    let group = |groups: usize| GroupNormConfig::new(groups, 4).with_epsilon(1e-3);
    let instance = InstanceNormConfig::new(4).with_epsilon(1e-3);
    let epsilon = 1e-3;
    let cases = [
        (
            "rms",
            norm(
                rms.init(d),
                |m: &RmsNorm, x: Tensor<3>| m.forward(x),
                [2, 3, 4],
            ),
            GroupKind::RmsNorm { epsilon },
        ),
        (
            "rms of a matrix",
            norm(
                rms.init(d),
                |m: &RmsNorm, x: Tensor<2>| m.forward(x),
                [2, 4],
            ),
            GroupKind::RmsNorm { epsilon },
        ),
        (
            "group",
            norm(
                group(2).init(d),
                |m: &GroupNorm, x: Tensor<4>| m.forward(x),
                [2, 4, 3, 5],
            ),
            GroupKind::GroupNorm { groups: 2, epsilon },
        ),
        (
            "group of a sequence",
            norm(
                group(2).init(d),
                |m: &GroupNorm, x: Tensor<3>| m.forward(x),
                [2, 4, 3],
            ),
            GroupKind::GroupNorm { groups: 2, epsilon },
        ),
        (
            "one group",
            norm(
                group(1).init(d),
                |m: &GroupNorm, x: Tensor<4>| m.forward(x),
                [2, 4, 3, 5],
            ),
            GroupKind::GroupNorm { groups: 1, epsilon },
        ),
        (
            "group without scale",
            norm(
                group(2).with_affine(false).init(d),
                |m: &GroupNorm, x: Tensor<4>| m.forward(x),
                [2, 4, 3, 5],
            ),
            GroupKind::GroupNorm { groups: 2, epsilon },
        ),
        (
            "instance",
            norm(
                instance.init(d),
                |m: &InstanceNorm, x: Tensor<4>| m.forward(x),
                [2, 4, 3, 5],
            ),
            GroupKind::InstanceNorm { epsilon },
        ),
        (
            "instance of a sequence",
            norm(
                instance.init(d),
                |m: &InstanceNorm, x: Tensor<3>| m.forward(x),
                [2, 4, 3],
            ),
            GroupKind::InstanceNorm { epsilon },
        ),
        (
            "instance without scale",
            norm(
                instance.clone().with_affine(false).init(d),
                |m: &InstanceNorm, x: Tensor<4>| m.forward(x),
                [2, 4, 3, 5],
            ),
            GroupKind::InstanceNorm { epsilon },
        ),
    ];
    for (name, model, kind) in cases {
        assert_kind(name, &model, kind);
        assert_eq!(model.groups()[0].layers, inner(&model), "{name}");
        assert!(kind.is_norm() && !kind.is_activation(), "{name}");
        // Scale and shift are parameters, though they were given another shape.
        let parameters: usize = model.layers().iter().map(|l| l.parameters).sum();
        let expected = match (name.contains("without"), name.starts_with("rms")) {
            (true, _) => 0,
            (false, true) => 4,
            (false, false) => 8,
        };
        assert_eq!(parameters, expected, "{name}");
    }
    let layer = norm(
        LayerNormConfig::new(4).init(d),
        |m: &LayerNorm, x: Tensor<3>| m.forward(x),
        [2, 3, 4],
    );
    assert_eq!((kinds(&layer).len(), layer.layers().len()), (0, 3));
}

#[derive(Module, Debug)]
struct Twice {
    norm: RmsNorm,
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
}

impl Twice {
    fn new() -> Self {
        let vector = || Param::from_tensor(Tensor::ones([4], &device()));
        Self {
            norm: RmsNormConfig::new(4).init(&device()),
            gamma: vector(),
            beta: vector(),
        }
    }
}

#[test]
fn a_norm_has_the_name_of_its_module() {
    let model = norm(
        Twice::new(),
        |m: &Twice, x: Tensor<3>| m.norm.forward(m.norm.forward(x)),
        [2, 3, 4],
    );
    let names: Vec<String> = model.groups().into_iter().map(|g| g.name).collect();
    assert_eq!(names, ["norm", "norm#2"]);
    assert!(model.groups()[0].to_string().contains("RMSNorm(epsilon"));
}

#[test]
fn norms_written_by_hand_are_groups() {
    let layer = norm(
        Twice::new(),
        |m: &Twice, x: Tensor<3>| {
            let centred = x.clone() - x.mean_dim(2);
            let variance = centred.clone().powi_scalar(2).mean_dim(2);
            let normal = centred / (variance + 1e-4).sqrt();
            normal * m.gamma.val().unsqueeze() + m.beta.val().unsqueeze()
        },
        [2, 3, 4],
    );
    assert_kind("layer", &layer, GroupKind::LayerNorm { epsilon: 1e-4 });
    let statistics = norm(
        Twice::new(),
        |m: &Twice, x: Tensor<3>| {
            let (variance, mean) = x.clone().var_mean_bias(2);
            m.beta.val().unsqueeze()
                + m.gamma.val().unsqueeze() * ((x - mean) * (variance + 1e-4).sqrt().recip())
        },
        [2, 3, 4],
    );
    let expected = GroupKind::LayerNorm { epsilon: 1e-4 };
    assert_kind("layer by statistics", &statistics, expected);
    let rms = norm(
        Twice::new(),
        |m: &Twice, x: Tensor<3>| {
            let factor = (x.clone().powf_scalar(2.0).mean_dim(2) + 1e-4).powf_scalar(-0.5);
            m.gamma.val().unsqueeze() * (x * factor)
        },
        [2, 3, 4],
    );
    assert_kind("rms", &rms, GroupKind::RmsNorm { epsilon: 1e-4 });
    let images = norm(
        Twice::new(),
        |m: &Twice, x: Tensor<4>| {
            let centred = x.clone() - x.mean_dim(2).mean_dim(3);
            let variance = (centred.clone() * centred.clone()).mean_dim(2).mean_dim(3);
            let along = [1, 4, 1, 1];
            centred / (variance + 1e-4).sqrt() * m.gamma.val().reshape(along)
                + m.beta.val().reshape(along)
        },
        [2, 4, 3, 5],
    );
    assert_kind(
        "instance",
        &images,
        GroupKind::InstanceNorm { epsilon: 1e-4 },
    );
    // Only a complete match is a group.
    for forward in [
        (|_: &Twice, x: Tensor<3>| {
            let other = x.clone().sin();
            x / (other.powi_scalar(2).mean_dim(2) + 1e-4).sqrt()
        }) as fn(&Twice, Tensor<3>) -> Tensor<3>,
        |_, x| x.clone() / (x.powi_scalar(2).mean_dim(1) + 1e-4).sqrt(),
        |_, x| x.clone() / (x.powi_scalar(2).sum_dim(2) + 1e-4).sqrt(),
        |_, x| {
            let root = (x.clone().powi_scalar(2).mean_dim(2) + 1e-4).sqrt();
            x / root.clone() + root
        },
    ] {
        assert_eq!(kinds(&norm(Twice::new(), forward, [2, 3, 4])), []);
    }
}

#[test]
fn names_are_given_once() {
    #[derive(Module, Debug)]
    struct Named {
        fc: Linear,
    }
    let fc = seeded(LinearConfig::new(4, 4).init(&device()), 1);
    let forward = |m: &Named, x: Tensor<2>| {
        let x = tap("fc", x.sin());
        m.fc.forward(m.fc.forward(x).tanh())
    };
    let x = input([2, 4], 1);
    let model = Traced::new(&Named { fc }, forward, &x).expect("traces");
    let mut names: Vec<String> = model.layers().into_iter().map(|l| l.name).collect();
    assert_eq!(names, ["fc", "fc#2", "fc.tanh", "fc#3"]);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 4);
}

/// A convolution with a bias or without, then BatchNorm.
#[derive(Module, Debug)]
struct Folded {
    conv: Conv2d,
    bn: BatchNorm,
    head: Linear,
}

impl Folded {
    fn new(bias: bool) -> Self {
        let d = &device();
        let module = Self {
            conv: Conv2dConfig::new([2, 3], [3, 3]).with_bias(bias).init(d),
            bn: BatchNormConfig::new(3).init(d),
            head: LinearConfig::new(48, 2).init(d),
        };
        seeded(module, 3)
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = activation::relu(self.bn.forward(self.conv.forward(x)));
        self.head.forward(x.flatten(1, 3))
    }
}

#[test]
fn a_folded_layer_answers_to_both_names_and_keeps_its_parameters() {
    let x = input([2, 2, 6, 6], 1);
    for bias in [false, true] {
        let model = Traced::new(&Folded::new(bias), |m: &Folded, x| m.forward(x), &x);
        let model = model.expect("traces");
        let folded = model.fold_batch_norm();
        let layers = folded.layers();
        let layer = &layers[0];
        assert_eq!((&layer.name[..], &layer.operation[..]), ("bn", "Conv2d"));
        assert_eq!(layer.aliases, ["conv"]);
        assert_eq!(layer.parameters, 2 * 3 * 9 + 3);
        assert!(layer.linear && !layer.linear_before);
        let expected = model.activations(&x, &["bn"]).expect("runs").remove(0);
        for name in ["bn", "conv"] {
            let got = folded
                .activations(&x, &[name])
                .expect("both names")
                .remove(0);
            assert_close(name, &got, &expected, 1e-5);
        }
        let taken = folded
            .activations(&x, &["conv@input"])
            .expect("as its input");
        assert_close("input", &taken[0], &Value::from(x.clone()), 0.0);
        let cut = folded
            .to_layer("conv")
            .expect("a layer")
            .forward(&x)
            .expect("runs");
        assert_close("cut", &cut, &expected, 1e-5);
    }
    let model = Traced::new(&Folded::new(true), |m: &Folded, x| m.forward(x), &x);
    let error = model
        .expect("traces")
        .fold_batch_norm()
        .to_layer("cnv")
        .map(|_| ());
    match error {
        Err(Error::UnknownLayer { nearest, .. }) => assert_eq!(nearest[0], "conv"),
        other => panic!("{other:?}"),
    }
}

fn layer<'a>(layers: &'a [Layer], name: &str) -> &'a Layer {
    let found = layers.iter().find(|layer| layer.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {layers:#?}"))
}

#[test]
fn the_first_linear_layers_are_known() {
    let d = &device();
    let resnet = seeded(ResNet18::new(10, d), 1);
    let x = input([2, 3, 32, 32], 2);
    let model = Traced::new(&resnet, |m: &ResNet18, x| m.forward(x), &x).expect("traces");
    let first = |model: &Traced| -> Vec<String> {
        let layers = model.layers().into_iter();
        let first = layers.filter(|layer| layer.linear && !layer.linear_before);
        let mut names: Vec<String> = first.map(|layer| layer.name).collect();
        names.sort();
        names
    };
    assert_eq!(first(&model), ["conv1"]);
    assert_eq!(model.layers().iter().filter(|l| l.linear).count(), 21);
    let rest = model.from_layer("layer3.1.bn2.relu", &x).expect("a layer");
    let expected = ["layer4.0.conv1", "layer4.0.downsample.conv"];
    assert_eq!(first(&rest), expected);

    // Two branches from the input: each has its first layer, whatever comes later in execution.
    let two = |m: &FunctionalPair, x: Tensor<2>| {
        let left = activation::relu(m.left.forward(x.clone()));
        let right = m.right.forward(x * 2).tanh();
        m.head
            .forward(left.clone().matmul(right.clone().transpose()).matmul(left) + right)
    };
    #[derive(Module, Debug)]
    struct FunctionalPair {
        left: Linear,
        right: Linear,
        head: Linear,
    }
    let linear = || LinearConfig::new(4, 4).init(d);
    let pair = FunctionalPair {
        left: linear(),
        right: linear(),
        head: linear(),
    };
    let x = input([3, 4], 1);
    let model = Traced::new(&seeded(pair, 1), two, &x).expect("traces");
    assert_eq!(first(&model), ["left", "right"]);
    // A product of two activations is no linear layer.
    let products = model.layers();
    let products = products.iter().filter(|layer| layer.operation == "Matmul");
    assert!(
        products
            .into_iter()
            .all(|layer| !layer.linear && layer.linear_before)
    );

    let tokens = Tensor::<2, Int>::from_ints([[3, 7, 1, 0], [2, 19, 0, 0]], d);
    let classifier = seeded(TokenClassifier::new(d), 1);
    let forward = |m: &TokenClassifier, x: Tensor<2, Int>| m.forward(x);
    let model = Traced::new(&classifier, forward, &tokens).expect("traces");
    assert_eq!(first(&model), ["embedding"]);
}

/// Checks that layers reported as non-negative are so on random inputs.
fn check_signs<I: Inputs>(name: &str, model: &Traced, inputs: &I) -> usize {
    let layers = model.layers();
    let known: Vec<&Layer> = layers.iter().filter(|layer| layer.non_negative).collect();
    let names: Vec<&str> = known.iter().map(|layer| &layer.name[..]).collect();
    for (name_, value) in names
        .iter()
        .zip(model.activations(inputs, &names).expect("runs"))
    {
        let least = value
            .to_vec()
            .expect("reads")
            .into_iter()
            .fold(0f32, f32::min);
        assert!(least >= 0.0, "{name}: {name_} has {least}");
    }
    names.len()
}

#[test]
fn values_that_are_never_negative_are_known() {
    let functions: [(&str, Function, bool); 34] = [
        ("relu", activation::relu, true),
        ("relu6", activation::relu6, true),
        ("clamp", |x| x.clamp(-1, 1), false),
        ("clamp below zero", |x| x.abs().clamp_max(-1), false),
        ("clamp of a square", |x| x.square().clamp(-1, 3), true),
        ("sigmoid", activation::sigmoid, true),
        (
            "hard sigmoid",
            |x| activation::hard_sigmoid(x, 0.2, 0.5),
            true,
        ),
        ("softmax", |x| activation::softmax(x, 1), true),
        ("softmin", |x| activation::softmin(x, 1), true),
        ("log softmax", |x| activation::log_softmax(x, 1), false),
        ("softplus", |x| activation::softplus(x, 2.0), true),
        ("tanh", |x| x.tanh(), false),
        ("tanh of a square", |x| x.square().tanh(), true),
        ("a cube", |x| x.powi_scalar(3), false),
        ("a fourth power", |x| x.powi_scalar(4), true),
        ("a product", |x| x.clone() * x.exp(), false),
        ("a product with itself", |x| x.clone() * x, true),
        ("a difference", |x| x.clone().exp() - x.abs(), false),
        ("a sum", |x| x.clone().exp() + x.abs(), true),
        ("a quotient", |x| x.clone().exp() / (x.abs() + 1), true),
        ("a negative multiple", |x| x.exp() * -2, false),
        ("less a number", |x| x.exp() - 0.5, false),
        (
            "SiLU of a ReLU",
            |x| activation::silu(activation::relu(x)),
            true,
        ),
        (
            "ELU of a ReLU",
            |x| activation::elu(activation::relu(x), 1.0),
            true,
        ),
        ("ELU", |x| activation::elu(x, 1.0), false),
        (
            "a maximum with a square",
            |x| x.clone().max_pair(x.square()),
            true,
        ),
        (
            "a minimum with a square",
            |x| x.clone().min_pair(x.square()),
            false,
        ),
        ("a maximum", |x| x.clone().max_pair(x.sin()), false),
        ("a comparison", |x| x.clone().greater(x.sin()).float(), true),
        (
            "joined",
            |x| Tensor::cat(vec![x.clone().exp(), x.abs()], 1),
            true,
        ),
        (
            "joined with others",
            |x| Tensor::cat(vec![x.clone().exp(), x], 1),
            false,
        ),
        (
            "moved",
            |x| x.exp().transpose().flip([0]).slice([0..4, 1..2]),
            true,
        ),
        ("reduced", |x| x.exp().mean_dim(1).cumsum(0), true),
        ("padded", |x| x.exp().pad((1, 1, 1, 1), -1.0), false),
    ];
    for (name, f, expected) in functions {
        let model = traced(f);
        let layers = model.layers();
        let own = layers[layers.len() - 2].non_negative;
        assert_eq!(own, expected, "{name}: {layers:#?}");
        check_signs(name, &model, &input([3, 4], 5));
    }
    let d = &device();
    let x = input([3, 1, 6, 6], 2);
    let cnn = Traced::new(
        &seeded(SmallCnn::new(d), 1),
        |m: &SmallCnn, x| m.forward(x),
        &x,
    );
    assert!(check_signs("cnn", &cnn.expect("traces"), &x) > 1);
    let x = input([2, 3, 32, 32], 2);
    let resnet = seeded(ResNet18::new(10, d), 1);
    let resnet = Traced::new(&resnet, |m: &ResNet18, x| m.forward(x), &x).expect("traces");
    // 17 ReLUs, a max pool, an average pool and the reshape after it.
    assert!(check_signs("resnet", &resnet, &x) >= 19);
    let layers = resnet.layers();
    assert!(layer(&layers, "bn1.max_pool2d").non_negative);
    assert!(!layer(&layers, "layer1.0.bn2.add").non_negative);
    // An input of unknown sign, though the layer before the cut knew it.
    let rest = resnet.from_layer("bn1.relu", &x).expect("a layer");
    assert!(!layer(&rest.layers(), "bn1.max_pool2d").non_negative);
}

type Three = (Tensor<4>, Tensor<4>, Tensor<4>);

/// Checks that fused attention and its expansion agree, forwards and backwards, at two batch sizes.
fn check_expanded<I: Inputs>(name: &str, model: &Traced, inputs: &I) -> Traced {
    let expanded = model.expand_attention();
    let given = inputs.to_values();
    let more: Vec<usize> = (0..given.rows()).chain([0]).collect();
    for rows in [given.clone(), given.select(&more)] {
        let what = format!("{name}, {} rows", rows.rows());
        let run = |model: &Traced| model.forward(&rows).expect("runs");
        assert_close(&what, &run(&expanded), &run(model), 1e-4);
        let run = |model: &Traced| gradients::<I>(model, &rows).expect("has gradients");
        let (got, expected) = (run(&expanded), run(model));
        for (got, expected) in got.inputs[0].iter().zip(&expected.inputs[0]) {
            match (got, expected) {
                (Some(got), Some(expected)) => assert_close(&what, got, expected, 1e-4),
                (None, None) => {}
                _ => panic!("{what}: a gradient on one side only"),
            }
        }
    }
    let layers = expanded.layers();
    assert!(layers.iter().all(|layer| layer.operation != "Attention"));
    expanded
}

fn query_key_value(queries: usize, keys: usize) -> Three {
    let key = |seed| input([2, 2, keys, 3], seed);
    (input([2, 2, queries, 3], 1), key(2), key(3))
}

#[test]
fn expanded_attention_is_the_same_function() {
    let options = |scale, softcap, is_causal| AttentionModuleOptions {
        scale,
        softcap,
        is_causal,
    };
    for (queries, keys) in [(4, 4), (3, 5), (5, 3)] {
        for (scale, softcap, causal) in [
            (None, None, false),
            (Some(0.3), None, true),
            (None, Some(0.5), false),
            (Some(2.0), Some(0.7), true),
        ] {
            let name = format!("{queries} by {keys}, {scale:?}, {softcap:?}, causal {causal}");
            let inputs = query_key_value(queries, keys);
            let plain = move |_: &Relu, (q, k, v): Three| {
                attention(q, k, v, None, None, options(scale, softcap, causal))
            };
            let model = Traced::new(&Relu::new(), plain, &inputs).expect("traces");
            check_expanded(&name, &model, &inputs);
            // A mask made from the inputs' shapes, the whole first row hidden; a bias.
            let masked = move |_: &Relu, (q, k, v): Three| {
                let ([batch, heads, queries, _], keys) = (q.dims(), k.dims()[2]);
                let count = Tensor::<1, Int>::arange(0..(queries * keys) as i64, &q.device());
                let mask: Tensor<4, Bool> = count
                    .clone()
                    .reshape([1, 1, queries, keys])
                    .lower_scalar(keys as i64 + 1)
                    .expand([batch, heads, queries, keys]);
                let bias = count.float().sin().reshape([1, 1, queries, keys]);
                let bias = bias.expand([batch, heads, queries, keys]);
                attention(
                    q,
                    k,
                    v,
                    Some(mask),
                    Some(bias),
                    options(scale, softcap, causal),
                )
            };
            let model = Traced::new(&Relu::new(), masked, &inputs).expect("traces");
            let expanded = check_expanded(&format!("{name}, masked"), &model, &inputs);
            let name = layer(&model.layers(), "input2.attention").name.clone();
            let weights = expanded.activations(&inputs, &[&format!("{name}.weights")]);
            let weights = weights.expect("rows may be hidden").remove(0);
            let hidden = weights.tensor::<4>().unwrap().slice([0..2, 0..2, 0..1]);
            assert_eq!(Value::from(hidden.abs().sum()).to_vec().unwrap(), [0.0]);
        }
    }
}

#[test]
fn parts_of_expanded_attention_have_names() {
    let inputs = query_key_value(4, 4);
    let forward = |_: &Relu, (q, k, v): Three| {
        let options = AttentionModuleOptions {
            scale: None,
            softcap: None,
            is_causal: true,
        };
        tap("self", attention(q, k, v, None, None, options)).sin()
    };
    let model = Traced::new(&Relu::new(), forward, &inputs).expect("traces");
    let expanded = model.expand_attention();
    let names: Vec<String> = expanded.layers().into_iter().map(|l| l.name).collect();
    let expected = [
        "self.permute",
        "self.matmul",
        "self.mul",
        "self.scores",
        "self.softmax",
        "self",
    ];
    assert_eq!(names[..6], expected);
    let kept = ["self.softmax", "self", "self.output"];
    let found = expanded
        .activations(&inputs, &kept)
        .expect("all are layers");
    let sums = found[0].tensor::<4>().unwrap().sum_dim(3);
    assert_close(
        "rows",
        &sums.into(),
        &Tensor::<4>::ones([2, 2, 4, 1], &device()).into(),
        1e-6,
    );
    let fused = model
        .activations(&inputs, &["self"])
        .expect("a layer")
        .remove(0);
    assert_close("name", &found[1], &fused, 1e-5);
    assert_close("alias", &found[2], &fused, 1e-5);
    // Expanding again changes nothing.
    let again = expanded.expand_attention();
    assert_eq!(again.layers().len(), expanded.layers().len());
    // The expansion can be cut inside, and the order of edits does not matter.
    let scores = expanded.to_layer("self.scores").expect("a layer");
    assert_eq!(scores.forward(&inputs).expect("runs").shape(), [2, 2, 4, 4]);
    let rest = expanded
        .from_layer("self.softmax", &inputs)
        .expect("a layer");
    let output = rest
        .forward(&found[0].tensor::<4>().unwrap())
        .expect("runs");
    assert_close(
        "rest",
        &output,
        &model.forward(&inputs).expect("runs"),
        1e-5,
    );
}

#[test]
fn expanded_attention_hides_what_a_bias_hides() {
    // Minus infinity for the first query everywhere, and for others here and there.
    let bias: Vec<f32> = (0..24)
        .map(|i| {
            if i % 12 < 4 || i % 5 == 0 {
                -1.0
            } else {
                i as f32 * 0.1
            }
        })
        .collect();
    type Four = (Tensor<4>, Tensor<4>, Tensor<4>, Tensor<4>);
    let inputs = (
        input([2, 2, 3, 3], 1),
        input([2, 2, 4, 3], 2),
        input([2, 2, 4, 3], 3),
        Tensor::<1>::from_floats(&bias[..], &device()).reshape([2, 1, 3, 4]),
    );
    let forward = |_: &Relu, (q, k, v, bias): Four| {
        let bias = bias
            .clone()
            .mask_fill(bias.lower_scalar(0), f32::NEG_INFINITY);
        attention(
            q,
            k,
            v,
            None,
            Some(bias.expand([-1, 2, 3, 4])),
            Default::default(),
        )
    };
    let model = Traced::new(&Relu::new(), forward, &inputs).expect("traces");
    check_expanded("a hiding bias", &model, &inputs);
    let found = gradients::<Four>(&model.expand_attention(), &inputs.to_values());
    let found = found.expect("has gradients");
    for gradient in found.inputs[0].iter().flatten() {
        assert!(gradient.is_finite().expect("reads"));
    }
}

#[test]
fn expanded_attention_shares_keys_among_heads() {
    // Two heads of keys for four of queries, on the backend that runs them fused.
    let forward = |_: &Relu, (q, k, v): Three| attention(q, k, v, None, None, Default::default());
    let key = |seed| input([2, 2, 5, 3], seed);
    let inputs = (input([2, 4, 3, 3], 1), key(2), key(3));
    let model = Traced::new(&Relu::new(), forward, &inputs).expect("traces");
    let repeated = |x: Tensor<4>| {
        let [batch, heads, length, size] = x.dims();
        x.reshape([batch, heads, 1, length * size])
            .repeat_dim(2, 2)
            .reshape([batch, 2 * heads, length, size])
    };
    let (q, k, v) = inputs.clone();
    let expected = attention(q, repeated(k), repeated(v), None, None, Default::default());
    let got = model.expand_attention().forward(&inputs).expect("runs");
    assert_close("shared", &got, &expected.into(), 1e-5);
}
