//! Checks that wrong input gives an error that says what was wrong, and never a panic.

use attr_core::walk::{GradientEverywhere, Walk};
use attr_core::{
    AtLayers, Baseline, Baselines, Constant, Error, FeatureMask, Inputs, LayerMethod, Method,
    Target, Traced, Value,
};
use attr_gradient::{
    BlurIntegratedGradients, DeepLift, GradCam, GradientShap, GuidedGradCam, IntegratedGradients,
    LayerActivation, NoiseTunnel, NoiseTunnelKind, Quadrature, Saliency,
};
use attr_testkit::device;
use attr_testkit::models::{
    FunctionalRelu, ResNet18, SmallCnn, TokenClassifier, TwoInputs, input, seeded,
};
use burn::module::Param;
use burn::nn::Relu;
use burn::tensor::{Int, Tensor};

fn traced() -> (Traced, Tensor<2>) {
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let x = input([3, 4], 2);
    let traced = Traced::new(&model, |m: &FunctionalRelu, x| m.forward(x), &x).unwrap();
    (traced, x)
}

fn refuse(x: Tensor<2>, target: impl Into<Target>) -> Error {
    let (model, _) = traced();
    let refused = Saliency::new().attribute(&model, &x, target);
    refused.map(|_| ()).unwrap_err()
}

#[test]
fn empty_batch() {
    let empty = Tensor::<2>::zeros([0, 4], &device());
    assert!(matches!(
        refuse(empty.clone(), 0),
        Error::EmptyBatch { input: 0, .. }
    ));
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let trace = Traced::new(&model, |m: &FunctionalRelu, x| m.forward(x), &empty);
    assert!(matches!(trace.map(|_| ()), Err(Error::EmptyBatch { .. })));
}

#[test]
fn nan_or_infinity() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let x = Tensor::<2>::from_floats([[0.0, bad, 0.0, 0.0]], &device());
        let error = refuse(x, 0);
        assert!(
            matches!(&error, Error::NonFinite { what } if what == "input 0"),
            "{error}"
        );
    }
    // Large values are not infinite, even if their sum is.
    let x = Tensor::<2>::from_floats([[3e38, 3e38, 0.0, 0.0]], &device());
    let identity = |x: Tensor<2>| x;
    assert!(Saliency::new().attribute(&identity, &x, 0).is_ok());
    let logarithm = |x: Tensor<2>| x.log();
    let x = Tensor::<2>::from_floats([[1.0, -1.0, 0.0]], &device());
    for class in [1, 2] {
        let error = Saliency::new()
            .attribute(&logarithm, &x, class)
            .map(|_| ())
            .unwrap_err();
        assert!(
            matches!(error, Error::NonFinite { .. }),
            "output {class}: {error}"
        );
    }
    assert!(
        Saliency::new().attribute(&logarithm, &x, 0).is_ok(),
        "other outputs may be NaN"
    );
}

#[test]
fn shape_that_does_not_fit_the_model() {
    let error = refuse(input([3, 5], 2), 0);
    assert!(matches!(error, Error::ForwardPanicked { .. }), "{error}");
    let model = seeded(FunctionalRelu::new(&device()), 1);
    let closure = |x: Tensor<2>| model.forward(x);
    let error = Saliency::new()
        .attribute(&closure, &input([3, 5], 2), 0)
        .map(|_| ());
    assert!(matches!(error, Err(Error::ForwardPanicked { .. })));
    let (traced, x) = traced();
    let suffix = traced.from_layer("first", &x).unwrap();
    let error = Saliency::new()
        .attribute(&suffix, &input([3, 5], 2), 0)
        .map(|_| ());
    assert!(matches!(error, Err(Error::Shape { .. })));
    let error = Saliency::new()
        .attribute(&traced, &input([3, 4, 1], 2), 0)
        .map(|_| ());
    assert!(
        matches!(
            error,
            Err(Error::Rank {
                expected: 2,
                got: 3
            })
        ),
        "{error:?}"
    );
}

#[test]
fn rows_that_disagree_and_missing_inputs() {
    let model = seeded(TwoInputs::new(&device()), 1);
    let forward = |m: &TwoInputs, (l, r): (Tensor<2>, Tensor<2>)| m.forward(l, r);
    let x = (input([3, 3], 2), input([3, 5], 3));
    let traced = Traced::new(&model, forward, &x).unwrap();
    let uneven = (input([3, 3], 2), input([2, 5], 3));
    let error = Saliency::new().attribute(&traced, &uneven, 0).map(|_| ());
    assert!(matches!(error, Err(Error::Shape { .. })));
    let error = Saliency::new().attribute(&traced, &x.0, 0).map(|_| ());
    assert!(matches!(
        error,
        Err(Error::InputCount {
            expected: 2,
            got: 1
        })
    ));
    let half = (x.0.clone(), Constant(x.1));
    let half = Saliency::new().attribute(&traced, &half, 0).unwrap();
    let (left, _) = half.attribution();
    assert_eq!(left.dims(), [3, 3]);
}

#[test]
fn target_out_of_range() {
    let error = refuse(input([3, 4], 2), 3);
    let Error::TargetOutOfRange { target, output } = error else {
        panic!("{error}");
    };
    assert_eq!((&target[..], &output[..]), ("3", &[3, 3][..]));
    let error = refuse(input([3, 4], 2), vec![0, 1, 7]);
    assert!(matches!(error, Error::TargetOutOfRange { .. }));
    let error = refuse(input([3, 4], 2), Target::Index(vec![5]));
    assert!(matches!(error, Error::TargetOutOfRange { .. }));
    let error = refuse(input([3, 4], 2), Target::Index(vec![0, 0]));
    assert!(matches!(error, Error::TargetShape { .. }));
    let error = refuse(input([3, 4], 2), Target::Single);
    assert!(matches!(error, Error::TargetShape { .. }));
    let error = refuse(input([3, 4], 2), Target::weights(input([1, 2], 1)));
    assert!(matches!(error, Error::TargetShape { .. }));
}

#[test]
fn target_per_row_of_the_wrong_length() {
    let error = refuse(input([3, 4], 2), vec![0, 1]);
    assert!(
        matches!(
            error,
            Error::TargetRows {
                expected: 3,
                got: 2
            }
        ),
        "{error}"
    );
    let error = refuse(input([3, 4], 2), Target::Indices(vec![vec![0]]));
    assert!(
        matches!(
            error,
            Error::TargetRows {
                expected: 3,
                got: 1
            }
        ),
        "{error}"
    );
    let error = refuse(input([3, 4], 2), Target::weights(input([2, 3], 1)));
    assert!(
        matches!(
            error,
            Error::TargetRows {
                expected: 3,
                got: 2
            }
        ),
        "{error}"
    );
}

#[test]
fn unknown_layer_with_the_nearest_names() {
    let (traced, x) = traced();
    for error in [
        traced.from_layer("secnd", &x).map(|_| ()).unwrap_err(),
        traced.to_layer("secnd").map(|_| ()).unwrap_err(),
        traced.activations(&x, &["secnd"]).map(|_| ()).unwrap_err(),
    ] {
        let Error::UnknownLayer { name, nearest } = error else {
            panic!("{error}");
        };
        assert_eq!((&name[..], &nearest[0][..]), ("secnd", "second"));
    }
    // Layers differ at the end of their names.
    let model = seeded(ResNet18::new(10, &device()), 1);
    let x = input([1, 3, 32, 32], 2);
    let traced = Traced::new(&model, |m: &ResNet18, x| m.forward(x), &x).unwrap();
    for (name, expected) in [
        ("relu", "relu"),
        ("maxpool", "max_pool2d"),
        ("layer3.0.conv3", "layer3.0.conv"),
        ("fc1", "fc"),
    ] {
        let Err(Error::UnknownLayer { nearest, .. }) = traced.to_layer(name).map(|_| ()) else {
            panic!("{name} is no layer");
        };
        assert!(nearest[0].contains(expected), "{name}: {nearest:?}");
    }
}

#[test]
fn baseline_of_the_wrong_shape() {
    let (traced, x) = traced();
    let refuse = |baseline: Baselines| {
        let ig = IntegratedGradients::new().with_baseline(baseline);
        ig.attribute(&traced, &x, 0).map(|_| ()).unwrap_err()
    };
    assert!(matches!(
        refuse(input([1, 5], 1).into()),
        Error::Shape { .. }
    ));
    assert!(matches!(
        refuse(input([2, 4], 1).into()),
        Error::Shape { .. }
    ));
    assert!(matches!(refuse(input([4], 1).into()), Error::Shape { .. }));
    assert!(matches!(refuse(f64::NAN.into()), Error::NonFinite { .. }));
    let nan = Tensor::<2>::full([1, 4], f32::NAN, &device());
    assert!(matches!(refuse(nan.into()), Error::NonFinite { .. }));
    let two = Baselines::each(vec![Baseline::Zero, Baseline::Zero]);
    assert!(matches!(
        refuse(two),
        Error::InputCount {
            expected: 1,
            got: 2
        }
    ));
    let rows = Baseline::Distribution(input([9, 4], 1).into());
    let lift = DeepLift::new().with_baseline(rows);
    let refused = lift.attribute(&traced, &x, 0).map(|_| ()).unwrap_err();
    assert!(matches!(refused, Error::Method { .. }), "{refused}");
}

#[test]
fn parameters_out_of_range() {
    let (traced, x) = traced();
    for rule in Quadrature::ALL {
        let ig = IntegratedGradients::new().with_method(rule).with_steps(0);
        let error = ig.attribute(&traced, &x, 0).map(|_| ()).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Parameter {
                    name: "n_steps",
                    ..
                }
            ),
            "{error}"
        );
    }
    for tolerance in [0.0, -1.0, f64::NAN] {
        let ig = IntegratedGradients::new().with_tolerance(tolerance);
        let error = ig.attribute(&traced, &x, 0).map(|_| ()).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Parameter {
                    name: "tolerance",
                    ..
                }
            ),
            "{error}"
        );
    }
    let unreachable = IntegratedGradients::new().with_tolerance(1e-30);
    let error = unreachable
        .attribute(&traced, &x, 0)
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, Error::NotConverged { .. }), "{error}");
    let tunnel = || NoiseTunnel::new(Saliency::new());
    for bad in [
        tunnel().with_samples(0),
        tunnel().with_samples(1).with_kind(NoiseTunnelKind::VarGrad),
        tunnel().with_stdevs([-0.1]),
        tunnel().with_stdevs([f64::NAN]),
        tunnel().with_stdevs([0.1, 0.1]),
        tunnel().with_stdevs([]),
    ] {
        let error = bad.attribute(&traced, &x, 0).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Parameter { .. }), "{error}");
    }
}

#[test]
fn no_gradient_to_the_input() {
    let device = device();
    let tokens = Tensor::<2, Int>::from_ints([[3, 7, 1]], &device);
    let model = seeded(TokenClassifier::new(&device), 1);
    let traced = Traced::new(&model, |m: &TokenClassifier, x| m.forward(x), &tokens).unwrap();
    let error = Saliency::new().attribute(&traced, &tokens, 0).map(|_| ());
    assert!(
        matches!(error, Err(Error::NoGradient { input: 0 })),
        "{error:?}"
    );

    let x = input([2, 4], 1);
    let rounded = |x: Tensor<2>| x.int().float();
    let error = Saliency::new().attribute(&rounded, &x, 0).map(|_| ());
    assert!(
        matches!(error, Err(Error::NoGradient { input: 0 })),
        "{error:?}"
    );
    let traced = Traced::new(&Relu::new(), move |_: &Relu, x: Tensor<2>| rounded(x), &x).unwrap();
    let error = Saliency::new().attribute(&traced, &x, 0).map(|_| ());
    assert!(
        matches!(error, Err(Error::NoGradient { input: 0 })),
        "{error:?}"
    );
}

#[test]
fn a_forward_that_reads_values_cannot_be_traced() {
    let x = input([2, 4], 1);
    let reads_input = |_: &Relu, x: Tensor<2>| {
        let first: Vec<f32> = x.clone().into_data().iter::<f32>().collect();
        if first[0] > 0.0 { x } else { -x }
    };
    let reads_result = |_: &Relu, x: Tensor<2>| {
        let sum = x.clone().sum().into_scalar::<f32>();
        x * sum
    };
    let model = seeded(SmallCnn::new(&device()), 1);
    for error in [
        Traced::new(&Relu::new(), reads_input, &x).map(|_| ()),
        Traced::new(&Relu::new(), reads_result, &x).map(|_| ()),
    ] {
        assert!(matches!(error, Err(Error::ReadsValue)), "{error:?}");
    }
    // The capture device is usable again.
    let x = input([1, 1, 6, 6], 1);
    assert!(Traced::new(&model, |m: &SmallCnn, x| m.forward(x), &x).is_ok());
}

#[test]
fn a_constant_output_and_a_foreign_tensor() {
    let x = input([2, 4], 1);
    let constant = |_: &Relu, x: Tensor<2>| Tensor::<2>::ones([2, 3], &x.device());
    let traced = Traced::new(&Relu::new(), constant, &x);
    let error = traced.and_then(|t| Saliency::new().attribute(&t, &x, 0).map(|_| ()));
    assert!(error.is_err(), "a constant has no gradient");
    let elsewhere = |_: &Relu, _: Tensor<2>| Tensor::<2>::ones([2, 3], &device());
    let traced = Traced::new(&Relu::new(), elsewhere, &x).map(|_| ());
    assert!(matches!(traced, Err(Error::Trace(_))), "{traced:?}");
}

#[test]
fn feature_masks_that_do_not_fit() {
    let values = input([3, 4], 2).to_values();
    let mask = |ids: [[i32; 4]; 1]| Value::from(Tensor::<2, Int>::from_ints(ids, &device()));
    let resolve = |masks: Vec<Value>| FeatureMask::Each(masks).resolve(&values).map(|f| f.count());
    assert_eq!(resolve(vec![mask([[1, 1, 0, 2]])]), Ok(3));
    assert_eq!(
        FeatureMask::Elements.resolve(&values).map(|f| f.count()),
        Ok(4)
    );
    let none = resolve(Vec::new());
    assert_eq!(
        none,
        Err(Error::InputCount {
            expected: 1,
            got: 0
        })
    );
    let float = resolve(vec![input([1, 4], 1).into()]);
    assert!(matches!(float, Err(Error::ElementKind { .. })));
    let short = Tensor::<2, Int>::from_ints([[1, 2]], &device());
    let short = resolve(vec![short.into()]);
    assert!(matches!(short, Err(Error::Shape { .. })));
    for (ids, number) in [
        ([[0, 2, 0, 3]], 1),
        ([[-1, -1, -1, -1]], 0),
        ([[0, 1, 9, 2]], 3),
    ] {
        let wrong = resolve(vec![mask(ids)]).unwrap_err();
        assert!(
            matches!(wrong, Error::FeatureMask { number: n, .. } if n == number),
            "{ids:?}: {wrong}"
        );
    }
    for cells in [vec![], vec![0], vec![5], vec![2, 2]] {
        let grid = FeatureMask::Grid(cells).resolve(&values).map(|f| f.count());
        assert!(matches!(grid, Err(Error::Shape { .. })));
    }
}

#[test]
fn every_error_says_something() {
    let (traced, _) = traced();
    let error = traced.to_layer("secnd").map(|_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no layer is called \"secnd\"; the nearest names are [\"second\", \"hidden\", \"first\"]"
    );
}

#[cfg(all(feature = "ndarray", feature = "wgpu"))]
#[test]
fn inputs_on_another_device_than_the_model() {
    // Burn deprecates ndarray; attr supports it as long as Burn has it.
    #[allow(deprecated)]
    let elsewhere = burn::tensor::Device::ndarray();
    let model = seeded(FunctionalRelu::new(&elsewhere), 1);
    let forward = |m: &FunctionalRelu, x: Tensor<2>| m.forward(x);
    let x = Tensor::<2>::ones([2, 4], &elsewhere);
    let traced = Traced::new(&model, forward, &x).unwrap();
    assert!(Saliency::new().attribute(&traced, &x, 0).is_ok());
    let wgpu = burn::tensor::Device::wgpu(burn::tensor::DeviceKind::DefaultDevice);
    let x = Tensor::<2>::ones([2, 4], &wgpu);
    for error in [
        Saliency::new().attribute(&traced, &x, 0).map(|_| ()),
        Traced::new(&model, forward, &x).map(|_| ()),
    ] {
        assert!(
            matches!(error, Err(Error::DeviceMismatch { input: 0, .. })),
            "{error:?}"
        );
    }
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
fn bad_lists_and_numbers_are_refused() {
    let module = seeded(SmallCnn::new(&device()), 1);
    let x = input([3, 1, 6, 6], 2);
    let model = Traced::new(&module, |m: &SmallCnn, x: Tensor<4>| m.forward(x), &x).unwrap();
    let says = |result: Result<(), Error>, expected: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    };
    let none: [&str; 0] = [];
    says(
        LayerActivation::new(none)
            .attribute(&model, &x, 1)
            .map(drop),
        "no layer was named",
    );
    let ig = IntegratedGradients::new;
    let twice = AtLayers::new(["conv", "conv"], ig());
    says(twice.attribute(&model, &x, 1).map(drop), "given twice");
    let chained = AtLayers::new(["conv", "bn"], ig());
    says(
        chained.attribute(&model, &x, 1).map(drop),
        "does not depend",
    );
    let grid = GradCam::new(["fc"]).with_grid([1 << 40, 1 << 40]);
    says(
        grid.attribute(&model, &x, 1).map(drop),
        "a grid is for layers of tokens",
    );
    let method = ig().with_baseline(Baseline::Several(Vec::new()));
    says(
        method.attribute(&model, &x, 1).map(drop),
        "at least one is needed",
    );
    let shap = GradientShap::new().with_baseline(f64::NAN);
    says(
        shap.attribute(&model, &x, 1).map(drop),
        "the baseline of input 0",
    );
    let blur = BlurIntegratedGradients::new().with_max_sigma(1e15);
    says(blur.attribute(&model, &x, 1).map(drop), "max_sigma");
    let capped = ig().with_tolerance(1e-12).with_steps(50).with_max_steps(70);
    says(capped.attribute(&model, &x, 1).map(drop), "after 70 steps");

    let vector = |x: Tensor<1>| x.clone() * x;
    let one = Tensor::<1>::from_floats([1.0, 2.0], &device());
    let nothing = Param::from_tensor(Tensor::<1>::zeros([1], &device()));
    let model = Traced::new(&nothing, move |_, x: Tensor<1>| vector(x), &one).unwrap();
    let layer = model.layers()[0].name.clone();
    let refused = GuidedGradCam::new(layer).attribute(&model, &one, Target::Single);
    assert!(refused.is_err());
}
