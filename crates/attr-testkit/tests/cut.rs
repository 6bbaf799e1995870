//! Tests parts of a model: from a layer, up to a layer, without softmax, with folded BatchNorm,
//! with replaced activations.

use attr_core::walk::{GradientEverywhere, Keep, Walk};
use attr_core::{Error, Inputs, Kind, LayerMethod, Method, Model, Target, Traced, Value, tap};
use attr_gradient::{
    Conductance, DeepLift, FullGrad, GradCam, GradientXActivation, IntegratedGradients,
    InternalInfluence, LayerActivation, Saliency,
};
use attr_perturb::FeatureAblation;
use attr_testkit::check::gradients;
use attr_testkit::compare::assert_close;
use attr_testkit::device;
use attr_testkit::models::{FunctionalRelu, ResNet18, SmallCnn, input, seeded};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, Relu};
use burn::tensor::{Tensor, activation};

fn resnet() -> (Traced, Tensor<4>) {
    let model = seeded(ResNet18::new(10, &device()), 1);
    let x = input([2, 3, 32, 32], 2);
    let traced = Traced::new(&model, |m: &ResNet18, x| m.forward(x), &x).unwrap();
    (traced, x)
}

#[test]
fn prefix_and_suffix_make_the_whole() {
    let (traced, x) = resnet();
    let whole = traced.forward(&x).unwrap();
    // Also inside a residual block, where the skip connection goes around the cut.
    for layer in [
        "layer2.1.bn2.relu",
        "layer3.0.bn1.relu",
        "layer3.0.downsample.conv",
        "conv1",
    ] {
        let middle = traced.to_layer(layer).unwrap().forward(&x).unwrap();
        let suffix = traced.from_layer(layer, &x).unwrap();
        let middle = middle.tensor::<4>().unwrap();
        assert_close(layer, &suffix.forward(&middle).unwrap(), &whole, 1e-6);
    }
}

#[test]
fn a_suffix_explains_more_rows_than_it_holds() {
    let (traced, x) = resnet();
    let suffix = traced.from_layer("layer3.0.bn1.relu", &x).unwrap();
    let [middle] = &traced.activations(&x, &["layer3.0.bn1.relu"]).unwrap()[..] else {
        panic!("one activation");
    };
    let middle = middle.tensor::<4>().unwrap();
    let ig = IntegratedGradients::new().with_tolerance(1e-2);
    let ig = ig.attribute(&suffix, &middle, Target::Predicted).unwrap();
    assert!(
        ig.delta().unwrap().iter().all(|d| d.abs() <= 1e-2),
        "{:?}",
        ig.delta()
    );
    let fewer = Saliency::new().attribute(&suffix, &middle.narrow(0, 0, 1), 0);
    assert!(
        matches!(fewer, Err(Error::Shape { .. })),
        "rows that the held values lack"
    );
}

#[test]
fn gradients_at_a_layer_agree_between_suffix_and_kept_walk() {
    let (traced, x) = resnet();
    let values = x.to_values();
    let output = traced.forward(&x).unwrap();
    let seed = Target::Class(3).choose(&output, &values).unwrap().seed;
    let plan = traced.plan(&GradientEverywhere, &x).unwrap();
    let pass = traced
        .pass(&x, &plan.recording(&["layer3.1.bn2.relu"]).unwrap())
        .unwrap();
    let walk = Walk::from_output(seed).keep(Keep::Layers(&["layer3.1.bn2.relu"]));
    let walked = pass.walk(walk).unwrap();
    let suffix = traced.from_layer("layer3.1.bn2.relu", &x).unwrap();
    let middle = traced
        .activations(&x, &["layer3.1.bn2.relu"])
        .unwrap()
        .remove(0);
    let saliency = Saliency::new().with_abs(false);
    let expected = saliency
        .attribute(&suffix, &middle.tensor::<4>().unwrap(), 3)
        .unwrap();
    let expected = expected.attribution().into();
    assert_close(
        "gradient at layer3",
        walked.layers[0].as_ref().unwrap(),
        &expected,
        1e-5,
    );
}

#[test]
fn a_unit_of_a_layer_is_a_target() {
    let (traced, x) = resnet();
    let prefix = traced.to_layer("layer1.1.bn2.relu").unwrap();
    let unit = Saliency::new()
        .attribute(&prefix, &x, Target::unit([17, 4, 4]))
        .unwrap();
    let activation = prefix.forward(&x).unwrap().tensor::<4>().unwrap();
    let expected: Value = activation.slice([0..2, 17..18, 4..5, 4..5]).into();
    assert_eq!(unit.scores(), expected.to_vec().unwrap());
}

#[test]
fn logits_drop_the_final_softmax_only() {
    let model = seeded(SmallCnn::new(&device()), 1);
    let x = input([3, 1, 6, 6], 2);
    let traced = Traced::new(&model, |m: &SmallCnn, x| m.forward(x), &x).unwrap();
    let logits = traced.logits().forward(&x).unwrap().tensor::<2>().unwrap();
    let probabilities: Value = activation::softmax(logits, 1).into();
    assert_close(
        "softmax",
        &probabilities,
        &traced.forward(&x).unwrap(),
        1e-6,
    );
    let twice = traced.logits().logits().forward(&x).unwrap();
    assert_close("logits", &twice, &traced.logits().forward(&x).unwrap(), 0.0);
}

#[test]
fn folded_batch_norm_is_the_same_function_in_fewer_operations() {
    let (traced, x) = resnet();
    let folded = traced.fold_batch_norm();
    let output = traced.forward(&x).unwrap();
    assert_close("forward", &folded.forward(&x).unwrap(), &output, 1e-5);
    let gradient = |model: &Traced| {
        let found = gradients::<Tensor<4>>(model, &x.to_values()).unwrap();
        found.inputs[0][0].clone().unwrap()
    };
    assert_close("gradient", &gradient(&folded), &gradient(&traced), 1e-4);
    let layers = Traced::layers;
    assert_eq!(layers(&traced).len() - layers(&folded).len(), 20);
    assert!(layers(&folded).iter().all(|l| l.operation != "BatchNorm"));
    // Names that remain still work, and so do edits of edits.
    let part = folded
        .to_layer("layer2.1.bn2.relu")
        .unwrap()
        .forward(&x)
        .unwrap();
    let expected = traced
        .to_layer("layer2.1.bn2.relu")
        .unwrap()
        .forward(&x)
        .unwrap();
    assert_close("layer2.1.bn2.relu", &part, &expected, 1e-5);
}

#[test]
fn replaced_activations_reach_what_follows() {
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let (x, other) = (input([2, 4], 2), input([2, 4], 3));
    let traced = Traced::new(&model, |m: &FunctionalRelu, x| m.forward(x), &x).unwrap();
    let hidden = traced.activations(&other, &["hidden"]).unwrap().remove(0);
    let (patched, kept) = traced
        .forward_with(&x, &[("hidden", hidden.clone())], &["hidden", "first"])
        .unwrap();
    assert_close("patched", &patched, &traced.forward(&other).unwrap(), 1e-6);
    assert_close("kept", &kept[0], &hidden, 0.0);
    let first = traced.activations(&x, &["first"]).unwrap().remove(0);
    assert_close("before the patch", &kept[1], &first, 0.0);
    let wrong = traced.forward_with(&x, &[("hidden", patched)], &[]);
    assert!(matches!(wrong, Err(Error::Shape { .. })));
}

#[test]
fn a_layer_cut_for_integers_is_still_a_model() {
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let x = input([2, 4], 2);
    let forward = |m: &FunctionalRelu, x: Tensor<2>| m.forward(x).argmax(1);
    let traced = Traced::new(&model, forward, &x).unwrap();
    let output = Model::<Tensor<2>>::forward(&traced, x.to_values()).unwrap();
    assert_eq!(output.kind(), Kind::Int);
    let none = Saliency::new().attribute(&traced, &x, 0);
    assert!(matches!(none, Err(Error::NoGradient { .. })));
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

/// Layer methods fold BatchNorms, but not the one behind a layer that they are asked for.
#[test]
fn methods_show_layers_that_folding_would_hide() {
    let (traced, x) = resnet();
    let inputs = x.to_values();
    let whole = traced.plan(&GradientEverywhere, &inputs).unwrap();
    for layers in [
        vec!["layer2.1.conv2"],
        vec!["layer2.1.bn2"],
        vec!["conv1", "layer1.0.bn1", "layer1.0.conv2"],
    ] {
        let plan = whole.to_layers(&layers).unwrap();
        let pass = traced.pass(&x, &plan).unwrap();
        let seed = Target::Class(3).choose(&pass.output().unwrap(), &inputs);
        let walk = Walk::from_output(seed.unwrap().seed).keep(Keep::Layers(&layers));
        let names: Vec<String> = layers.iter().map(ToString::to_string).collect();
        let gradients = pass.walk(walk).unwrap().reached(&names).unwrap();
        let method = GradientXActivation::new(layers.clone());
        let found = method.attribute(&traced, &x, Target::Class(3)).unwrap();
        for (i, layer) in layers.iter().enumerate() {
            let activation = pass.activation(layer).unwrap().tensor::<4>().unwrap();
            let expected = gradients[i].tensor::<4>().unwrap() * activation;
            let got = found.value(layer).unwrap();
            assert_close(layer, got, &expected.into(), 1e-4);
        }
    }
}

#[derive(Module, Debug)]
struct Blocks {
    convs: Vec<Conv2d>,
    norms: Vec<BatchNorm>,
}

impl Blocks {
    fn new() -> Self {
        let conv = |_| Conv2dConfig::new([2, 2], [3, 3]).init(&device());
        let norm = |_| BatchNormConfig::new(2).init(&device());
        seeded(
            Self {
                convs: (0..2).map(conv).collect(),
                norms: (0..2).map(norm).collect(),
            },
            3,
        )
    }
}

/// Compares the activation that a layer method shows with that of the model as it is.
fn shown(name: &str, model: &Traced, plain: &Traced, x: &Tensor<4>) {
    let expected = plain.activations(x, &[name]).unwrap().remove(0);
    let found = LayerActivation::new(name).attribute(model, x, Target::Class(0));
    let found = found.unwrap();
    assert_close(name, found.value(name).unwrap(), &expected, 1e-5);
}

#[test]
fn a_name_means_the_same_where_batch_norms_are_folded() {
    let x = input([2, 2, 9, 9], 4);
    // Folded, `convs` would have two ends.
    let forward = |m: &Blocks, x: Tensor<4>| {
        let first = m.norms[0].forward(m.convs[0].forward(x));
        let second = m.norms[1].forward(m.convs[1].forward(activation::relu(first.clone())));
        let first = first.narrow(2, 1, 5).narrow(3, 1, 5);
        (second + first).mean_dim(3).mean_dim(2).flatten::<2>(1, 3)
    };
    let model = Traced::new(&Blocks::new(), forward, &x).unwrap();
    for name in ["convs", "convs.0", "norms.0", "norms.1"] {
        shown(name, &model, &model, &x);
    }
    // What has two readers cannot be folded until one of them is cut off.
    let forward = |m: &Blocks, x: Tensor<4>| {
        let mean = |x: Tensor<4>| x.mean_dim(3).mean_dim(2).flatten::<2>(1, 3);
        let first = m.convs[0].forward(x);
        let second = m.convs[1].forward(m.norms[0].forward(first.clone()));
        mean(m.norms[1].forward(second.clone())) + mean(first) + mean(second)
    };
    let model = Traced::new(&Blocks::new(), forward, &x).unwrap();
    let folded = model.fold_batch_norm();
    let unit = |model: &Traced| {
        let part = model.to_layer("norms.1").unwrap();
        let target = Target::unit([1, 2, 3]);
        let found = LayerActivation::new("convs.1")
            .attribute(&part, &x, target)
            .unwrap();
        found.value("convs.1").unwrap().clone()
    };
    assert_close("cut", &unit(&folded), &unit(&model), 1e-5);
}

/// A layer computes the ReLU or clamp after it, unless somebody asks for what is in between.
#[test]
fn an_activation_in_one_with_its_layer_changes_nothing() {
    let x = input([2, 2, 9, 9], 5);
    let forward = |m: &Blocks, x: Tensor<4>| {
        let first = activation::relu(m.convs[0].forward(x));
        let second = m.convs[1].forward(first).clamp(-0.2, 0.3);
        second.flatten::<2>(1, 3)
    };
    let model = Traced::new(&Blocks::new(), forward, &x).unwrap();
    let output = model.forward(&x).unwrap();
    let (kept, between) = model
        .forward_with(&x, &[], &["convs.0", "convs.1"])
        .unwrap();
    assert_close("kept", &kept, &output, 0.0);
    let second = between[1].tensor::<4>().unwrap().clamp(-0.2, 0.3);
    assert_close("clamped", &output, &second.flatten::<2>(1, 3).into(), 0.0);
    let zeros = between[0].zeros_like();
    let (patched, _) = model.forward_with(&x, &[("convs.0", zeros)], &[]).unwrap();
    let other = model.from_layer("convs.0", &x).unwrap();
    let zeros = between[0].tensor::<4>().unwrap() * 0.0;
    assert_close("patched", &patched, &other.forward(&zeros).unwrap(), 0.0);
    let unknown = model.forward(&(x * f32::NAN)).unwrap().to_vec().unwrap();
    assert!(unknown.iter().all(|value| value.is_nan()));
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

/// Operations without parameters are named after what they follow, so the graph does not show
/// whether a pooling or a ReLU behind a module's last layer is the module's.
#[test]
fn a_module_is_a_layer_where_the_graph_shows_its_end() {
    let (traced, x) = resnet();
    let ambiguous = |name: &str| match traced.to_layer(name).map(|_| ()) {
        Err(Error::AmbiguousLayer { candidates, .. }) => candidates,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(
        ambiguous("layer2"),
        ["layer2.1.bn2.add", "layer2.1.bn2.relu"],
        "before the sum the skip connection leaves the module, too"
    );
    let last = ambiguous("layer4");
    assert!(
        last.iter().any(|name| name == "layer4.1.bn2.relu"),
        "{last:?}"
    );
    assert_eq!(last.len(), 4, "sum, ReLU, pooling, flatten: {last:?}");
    assert_eq!(
        ambiguous("layer3@input"),
        ["layer3.0.downsample.conv@input"]
    );

    // Two layers in a row, followed by one with parameters: no doubt.
    let shape = |name: &str| traced.activations(&x, &[name]).unwrap()[0].shape();
    assert_eq!(shape("layer3.0.downsample"), [2, 256, 2, 2]);
    let exact = traced.activations(&x, &["layer3.0.downsample.bn"]).unwrap();
    let module = traced.activations(&x, &["layer3.0.downsample"]).unwrap();
    assert_close("module", &module[0], &exact[0], 0.0);
}

/// Recurrent networks put time first. There a method would take steps for rows.
#[test]
fn a_layer_without_the_batch_in_front_is_refused() {
    const STEPS: usize = 5;
    let net: Linear = seeded(LinearConfig::new(4, 3).init(&device()), 6);
    let free = |net: &Linear, x: Tensor<3>| {
        let time_first = tap("time first", net.forward(x.swap_dims(0, 1)).tanh());
        time_first.swap_dims(0, 1).mean_dim(1).squeeze_dim::<2>(1)
    };
    // As many rows as steps, and a forward that works for that many only.
    let bound = |net: &Linear, x: Tensor<3>| {
        let x = x.reshape([STEPS, STEPS, 4]);
        let time_first = tap("time first", net.forward(x.swap_dims(0, 1)).tanh());
        time_first.swap_dims(0, 1).mean_dim(1).squeeze_dim::<2>(1)
    };
    let x = input([STEPS, STEPS, 4], 7);
    let free = Traced::new(&net, free, &x).unwrap();
    let bound = Traced::new(&net, bound, &x).unwrap();
    assert_eq!((free.rows(), bound.rows()), (None, Some(STEPS)));
    let layer = "time first";
    let methods: [&dyn LayerMethod; 6] = [
        &GradCam::new(layer),
        &LayerActivation::new(layer),
        &Conductance::new(layer),
        &InternalInfluence::new(layer),
        &DeepLift::new().at_layers(layer),
        &FeatureAblation::new().at_layers(layer),
    ];
    for method in methods {
        let refused = LayerMethod::attribute(&method, &free, &x, 0).map(|_| ());
        let named = matches!(&refused, Err(Error::Layer { name, .. }) if name == layer);
        assert!(named, "{refused:?}");
    }
    assert!(matches!(
        free.from_layer(layer, &x),
        Err(Error::Layer { .. })
    ));

    // Biases of such layers belong to the rows all the same, however many there are.
    let alone = |row: usize| {
        let x = x.clone().narrow(0, row, 1);
        FullGrad::new().attribute(&free, &x, 0).unwrap()
    };
    let together = FullGrad::new().attribute(&free, &x, 0).unwrap();
    for row in 0..STEPS {
        let (own, delta) = (alone(row), together.delta().unwrap()[row]);
        assert!((own.delta().unwrap()[0] - delta).abs() < 1e-5, "row {row}");
        let whole = together.values()[0]
            .as_ref()
            .unwrap()
            .slice_rows(row..row + 1);
        assert_close("a row", &whole, own.values()[0].as_ref().unwrap(), 1e-4);
    }
}
