//! Checks what holds for every method: shapes, seeds, budgets, batches, devices.

use std::sync::Arc;

use attr_core::op::Op;
use attr_core::walk::{NodeInfo, Rule};
use attr_core::{
    AtLayers, Attribution, Baseline, Budget, Error, FeatureMask, Inputs, LayerAttribution,
    LayerMethod, Method, Model, Run, Target, Traced, Value, Work,
};
use attr_gradient::{
    AblationCam, BlurIntegratedGradients, Conductance, Deconvolution, DeepLift, DeepLiftRule,
    DeepLiftShap, EigenCam, EigenGradCam, Fem, FullGrad, GradCam, GradCamElementWise,
    GradCamPlusPlus, GradientShap, GradientXActivation, GuidedBackprop, GuidedGradCam,
    GuidedIntegratedGradients, HiResCam, Idgi, InputXGradient, IntegratedGradients,
    InternalInfluence, LayerActivation, LayerCam, NeuronConductance, NoiseTunnel, NoiseTunnelKind,
    Quadrature, Saliency, ScoreCam, ShapleyCam, XGradCam, Xrai,
};
use attr_lrp_crp::rules::Pass;
use attr_lrp_crp::{Condition, Lrp, Mixed, Preset, epsilon_gamma_box, epsilon_plus_flat};
use attr_perturb::{
    FeatureAblation, FeaturePermutation, HsicAttribution, Occlusion, PartitionShap,
    PermutationShap, Rise, ShapleyValueSampling, ShapleyValues, SobolAttribution,
};
use attr_surrogate::{KernelShap, Lime, LinearRegression};
use attr_testkit::compare::{assert_close, assert_close_slices};
use attr_testkit::device;
use attr_testkit::golden;
use attr_testkit::models::{SmallCnn, TwoInputs, input, seeded};
use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A method and its properties.
struct Entry {
    name: &'static str,
    method: Box<dyn Method>,
    /// It looks inside the model.
    graph: bool,
    /// It explains images of [`SmallCnn`] only.
    images: bool,
    /// It draws random numbers for each row and feature.
    noise: bool,
    /// It is linear in the target.
    linear: bool,
    /// Its result is an estimate from samples that all rows share.
    sampled: bool,
}

impl Entry {
    fn new(name: &'static str, method: impl Method + 'static) -> Self {
        Self {
            name,
            method: Box::new(method),
            graph: false,
            images: false,
            noise: false,
            linear: true,
            sampled: false,
        }
    }

    fn sampled(mut self) -> Self {
        self.sampled = true;
        self
    }

    fn graph(mut self) -> Self {
        self.graph = true;
        self
    }

    fn images(mut self) -> Self {
        self.images = true;
        self
    }

    fn noise(mut self) -> Self {
        self.noise = true;
        self
    }

    fn nonlinear(mut self) -> Self {
        self.linear = false;
        self
    }
}

/// LRP for [`SmallCnn`], whose final softmax has no rule of LRP.
fn relevance(preset: Preset) -> Lrp<Mixed> {
    let softmax = |node: &NodeInfo<'_>| -> Result<Option<Arc<dyn Rule>>, Error> {
        let found = matches!(node.op(), Op::Softmax { .. });
        Ok(found.then(|| Arc::new(Pass) as Arc<dyn Rule>))
    };
    Lrp::new(Mixed::new(vec![Arc::new(softmax), Arc::new(preset)]))
}

fn methods() -> Vec<Entry> {
    let noisy = |kind| {
        NoiseTunnel::new(Saliency::new().with_abs(false))
            .with_kind(kind)
            .with_samples(7)
            .with_stdevs([0.2])
            .with_seed(5)
    };
    let noisy_ig = NoiseTunnel::new(IntegratedGradients::new().with_steps(6))
        .with_samples(3)
        .with_stdevs([0.1])
        .with_seed(6);
    let noisy_lift = NoiseTunnel::new(DeepLift::new().with_baseline(0.1))
        .with_samples(3)
        .with_stdevs([0.1])
        .with_seed(9);
    let trapezoid = IntegratedGradients::new()
        .with_steps(9)
        .with_method(Quadrature::RiemannTrapezoid)
        .with_baseline(0.3);
    let reveal_cancel = DeepLift::new().with_rule(DeepLiftRule::RevealCancel);
    let shap = GradientShap::new()
        .with_samples(9)
        .with_seed(3)
        .with_baseline(0.1);
    let smooth_shap = GradientShap::new()
        .with_stdevs([0.2])
        .with_seed(4)
        .with_baseline(0.1);
    let blur = BlurIntegratedGradients::new()
        .with_max_sigma(2.0)
        .with_steps(7);
    let segments = Tensor::<1, Int>::arange(0..36, &device()) / 12;
    let segments: Value = segments.reshape([1, 1, 6, 6]).into();
    let guided = GuidedIntegratedGradients::new().with_steps(12);
    vec![
        Entry::new("saliency", Saliency::new()).nonlinear(),
        Entry::new("input x gradient", InputXGradient::new()),
        Entry::new(
            "integrated gradients",
            IntegratedGradients::new().with_steps(11),
        ),
        Entry::new("integrated gradients, trapezoid", trapezoid),
        Entry::new(
            "integrated gradients, black and white",
            IntegratedGradients::new()
                .with_steps(5)
                .with_baseline(Baseline::Several(vec![0.0.into(), 1.0.into()])),
        ),
        Entry::new("smoothgrad", noisy(NoiseTunnelKind::SmoothGrad)).noise(),
        Entry::new("smoothgrad_sq", noisy(NoiseTunnelKind::SmoothGradSq))
            .noise()
            .nonlinear(),
        Entry::new("vargrad", noisy(NoiseTunnelKind::VarGrad))
            .noise()
            .nonlinear(),
        Entry::new("smoothgrad of integrated gradients", noisy_ig).noise(),
        Entry::new("smoothgrad of deeplift", noisy_lift)
            .noise()
            .graph(),
        Entry::new("guided backpropagation", GuidedBackprop::new())
            .graph()
            .nonlinear(),
        Entry::new("deconvolution", Deconvolution::new())
            .graph()
            .nonlinear(),
        Entry::new("deeplift", DeepLift::new().with_baseline(0.2)).graph(),
        Entry::new("deeplift, reveal cancel", reveal_cancel).graph(),
        Entry::new("deeplift shap", DeepLiftShap::new().with_baseline(0.1)).graph(),
        Entry::new("gradient shap", shap).noise(),
        Entry::new("gradient shap, smoothed", smooth_shap).noise(),
        Entry::new("guided integrated gradients", guided).nonlinear(),
        Entry::new("idgi", Idgi::new()).nonlinear(),
        Entry::new("blur integrated gradients", blur).images(),
        Entry::new("xrai", Xrai::new([segments]).with_min_pixel_diff(3))
            .images()
            .nonlinear(),
        Entry::new(
            "neuron conductance",
            NeuronConductance::new("conv", Target::unit([1, 2, 3])).with_steps(9),
        )
        .graph()
        .images(),
        Entry::new("guided grad-cam", GuidedGradCam::new("conv"))
            .graph()
            .images()
            .nonlinear(),
        Entry::new("full gradients", FullGrad::new())
            .graph()
            .images()
            .nonlinear(),
        Entry::new("lrp", relevance(epsilon_plus_flat())).graph(),
        Entry::new("lrp, gamma", relevance(epsilon_gamma_box(-1.0, 1.0))).graph(),
        Entry::new(
            "lrp under a condition",
            relevance(epsilon_plus_flat()).under(Condition::at("conv", [0, 2])),
        )
        .graph()
        .images(),
        Entry::new(
            "feature ablation",
            FeatureAblation::new().with_baseline(0.1),
        ),
        Entry::new(
            "feature permutation",
            FeaturePermutation::new().with_seed(2),
        )
        .noise(),
        Entry::new("occlusion", Occlusion::new([vec![1, 2, 3]])).images(),
        Entry::new(
            "shapley value sampling",
            ShapleyValueSampling::new().with_samples(4),
        )
        .sampled(),
        Entry::new(
            "permutation shap",
            PermutationShap::new().with_permutations(2),
        )
        .sampled(),
        Entry::new("partition shap", PartitionShap::new().with_max_evals(60)).nonlinear(),
        Entry::new(
            "shapley values of a grid",
            ShapleyValues::new().with_feature_mask(FeatureMask::Grid(vec![2, 2])),
        )
        .images(),
        Entry::new("rise", Rise::new().with_masks(40).with_cells(3)).images(),
        Entry::new("sobol", SobolAttribution::new().with_design(8))
            .nonlinear()
            .sampled(),
        Entry::new("hsic", HsicAttribution::new().with_design(40))
            .nonlinear()
            .sampled(),
        Entry::new("kernel shap", KernelShap::new().with_samples(90)),
        Entry::new(
            "lime",
            Lime::new()
                .with_samples(90)
                .with_interpretable_model(LinearRegression::default()),
        )
        .sampled(),
        Entry::new(
            "lime, lasso",
            Lime::new().with_samples(60).with_alpha(0.001),
        )
        .nonlinear()
        .sampled(),
    ]
}

/// Methods that explain the activations of [`SmallCnn`].
fn layer_methods() -> Vec<(&'static str, Box<dyn LayerMethod>)> {
    let layers = ["conv", "bn"];
    let noise = |method| {
        NoiseTunnel::new(method)
            .with_samples(3)
            .with_stdevs([0.1])
            .with_seed(8)
    };
    let ig = || IntegratedGradients::new().with_steps(7).with_baseline(0.1);
    let within = NoiseTunnel::new(ig()).with_samples(3).with_stdevs([0.1]);
    vec![
        ("activation", Box::new(LayerActivation::new(layers))),
        (
            "gradient x activation",
            Box::new(GradientXActivation::new(layers)),
        ),
        (
            "conductance",
            Box::new(Conductance::new(layers).with_steps(7)),
        ),
        (
            "internal influence",
            Box::new(InternalInfluence::new(layers).with_steps(7)),
        ),
        (
            "integrated gradients",
            Box::new(AtLayers::new(["bn"], ig())),
        ),
        (
            "deeplift",
            Box::new(DeepLift::new().with_baseline(0.1).at_layers(layers)),
        ),
        (
            "deeplift shap",
            Box::new(DeepLiftShap::new().with_baseline(0.1).at_layers(layers)),
        ),
        (
            "gradient shap",
            Box::new(GradientShap::new().with_baseline(0.1).at_layers(layers)),
        ),
        (
            "noise before the layer",
            Box::new(noise(AtLayers::new(["bn"], ig()))),
        ),
        (
            "noise at the layer",
            Box::new(AtLayers::new(["bn"], within)),
        ),
        (
            "feature ablation",
            Box::new(AtLayers::new(["bn"], FeatureAblation::new())),
        ),
        (
            "permutation shap",
            Box::new(AtLayers::new(
                ["bn"],
                PermutationShap::new().with_feature_mask(FeatureMask::Pixels),
            )),
        ),
        (
            "lrp",
            Box::new(AtLayers::new(layers, relevance(epsilon_plus_flat()))),
        ),
        ("grad-cam", Box::new(GradCam::new(layers))),
        ("grad-cam++", Box::new(GradCamPlusPlus::new(layers))),
        ("hirescam", Box::new(HiResCam::new(layers))),
        ("elementwise", Box::new(GradCamElementWise::new(layers))),
        ("xgrad-cam", Box::new(XGradCam::new(layers))),
        ("layercam", Box::new(LayerCam::new(layers))),
        ("eigen-cam", Box::new(EigenCam::new(layers))),
        ("eigen-grad-cam", Box::new(EigenGradCam::new(layers))),
        ("fem", Box::new(Fem::new(layers))),
        ("ablation-cam", Box::new(AblationCam::new(layers))),
        ("score-cam", Box::new(ScoreCam::new(layers))),
        ("shapley-cam", Box::new(ShapleyCam::new(layers))),
    ]
}

/// A function of one tensor as a traced model.
fn traced(f: fn(Tensor<2>) -> Tensor<2>, x: &Tensor<2>) -> Traced {
    let nothing = Param::from_tensor(Tensor::<1>::zeros([1], &device()));
    Traced::new(&nothing, move |_, x| f(x), x).unwrap()
}

fn cnn() -> (Traced, Tensor<4>) {
    let model = seeded(SmallCnn::new(&device()), 1);
    let x = input([3, 1, 6, 6], 2);
    let traced = Traced::new(&model, |m: &SmallCnn, x| m.forward(x), &x).unwrap();
    (traced, x)
}

fn value<I: Inputs>(attribution: &Attribution<I>, i: usize) -> Value {
    attribution.values()[i].clone().unwrap()
}

#[test]
fn the_budget_changes_nothing() {
    let (model, x) = cnn();
    for Entry { name, method, .. } in methods() {
        let with = |budget| {
            let run = Run::new().with_budget(budget);
            let found = method
                .attribute_with(&model, &x, Target::Predicted, &run)
                .unwrap();
            (value(&found, 0), found.scores().to_vec())
        };
        let (expected, scores) = with(Budget::Rows(1000));
        assert_eq!(expected.shape(), [3, 1, 6, 6], "{name}");
        // A budget for less than one row still lets one row through.
        let small = if name == "saliency" {
            Budget::Bytes(1)
        } else {
            Budget::Rows(1)
        };
        for budget in [small, Budget::Rows(2)] {
            let (got, got_scores) = with(budget);
            assert_close(&format!("{name}, {budget:?}"), &got, &expected, 1e-5);
            assert_close_slices(name, &got_scores, &scores, 1e-5);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_result_and_another_does_not() {
    let (model, x) = cnn();
    for Entry { name, method, .. } in methods() {
        let run = || value(&method.attribute(&model, &x, 1).unwrap(), 0);
        assert_close(name, &run(), &run(), 0.0);
    }
    let smooth = |seed| {
        let smooth = NoiseTunnel::new(Saliency::new()).with_seed(seed);
        value(&smooth.attribute(&model, &x, 1).unwrap(), 0)
            .to_vec()
            .unwrap()
    };
    assert_ne!(smooth(1), smooth(2));
}

#[test]
fn methods_without_noise_explain_each_row_as_if_it_were_alone() {
    let (model, x) = cnn();
    for Entry {
        name,
        method,
        noise,
        ..
    } in methods()
    {
        if noise {
            continue; // Noise belongs to a row's place in the batch.
        }
        let whole = value(&method.attribute(&model, &x, vec![0, 1, 2]).unwrap(), 0);
        for row in 0..3 {
            let one = x.clone().narrow(0, row, 1);
            let alone = value(&method.attribute(&model, &one, row).unwrap(), 0);
            assert_close(name, &alone, &whole.slice_rows(row..row + 1), 1e-5);
        }
    }
}

#[test]
fn a_traced_model_and_a_closure_agree() {
    let module = seeded(TwoInputs::new(&device()), 1);
    let forward = |m: &TwoInputs, (l, r): (Tensor<2>, Tensor<2>)| m.forward(l, r);
    let x = (input([3, 3], 2), input([3, 5], 3));
    let model = Traced::new(&module, forward, &x).unwrap();
    let frozen = module.valid();
    let closure = |x: (Tensor<2>, Tensor<2>)| forward(&frozen, x);
    for entry in methods() {
        let (name, method) = (entry.name, entry.method);
        if entry.images {
            let refused = method.attribute(&model, &x, Target::Predicted);
            assert!(refused.is_err(), "{name} explained what is no image");
            continue;
        }
        let got = method.attribute(&model, &x, Target::Predicted).unwrap();
        let (left, right) = got.attribution();
        assert_eq!((left.dims(), right.dims()), ([3, 3], [3, 5]), "{name}");
        let expected = method.attribute(&closure, &x, Target::Predicted);
        if entry.graph {
            assert!(matches!(expected, Err(Error::NotTraced)), "{name}");
            continue;
        }
        let expected = expected.unwrap();
        for i in 0..2 {
            assert_close(name, &value(&got, i), &value(&expected, i), 1e-4);
        }
    }
}

#[test]
fn a_feature_without_influence_gets_nothing() {
    // Only the first two features matter.
    let model = |x: Tensor<2>| {
        let used = x.narrow(1, 0, 2);
        (used.clone() * used).sum_dim(1)
    };
    let x = input([2, 4], 3);
    let model = traced(model, &x);
    for entry in methods().into_iter().filter(|entry| !entry.images) {
        let name = entry.name;
        let got = value(&entry.method.attribute(&model, &x, 0).unwrap(), 0)
            .to_vec()
            .unwrap();
        for row in got.chunks(4) {
            match name {
                // Dependence of few samples is never quite zero.
                "hsic" => assert!(row[0].max(row[1]) > row[2].max(row[3]), "{name}: {row:?}"),
                "kernel shap" | "lime" | "lime, lasso" => {
                    assert!(row[2..].iter().all(|v| v.abs() < 1e-5), "{name}: {row:?}");
                }
                _ => assert_eq!(row[2..], [0.0, 0.0], "{name}"),
            }
            assert!(row[0] != 0.0, "{name}");
        }
    }
}

#[test]
fn symmetric_features_get_the_same() {
    let x = Tensor::<2>::from_floats([[0.5, 0.5, -0.2]], &device());
    let model = traced(|x| x.clone().sum_dim(1).powi_scalar(3), &x);
    for entry in methods().into_iter().filter(|entry| !entry.images) {
        if entry.sampled || (entry.noise && entry.name != "gradient shap") {
            continue; // Its noise differs between the features.
        }
        let got = value(&entry.method.attribute(&model, &x, 0).unwrap(), 0)
            .to_vec()
            .unwrap();
        assert!((got[0] - got[1]).abs() < 1e-6, "{}: {got:?}", entry.name);
    }
}

#[test]
fn attributions_are_linear_in_the_target() {
    let (model, x) = cnn();
    let weights = Tensor::<2>::from_floats([[2.0, -1.0, 0.5]], &device());
    for Entry { name, method, .. } in methods().into_iter().filter(|entry| entry.linear) {
        let whole = method
            .attribute(&model, &x, Target::weights(weights.clone()))
            .unwrap();
        let parts: Vec<Tensor<4>> = (0..3)
            .map(|class| {
                let part = method.attribute(&model, &x, class).unwrap();
                value(&part, 0).tensor::<4>().unwrap()
            })
            .collect();
        let sum = parts[0].clone() * 2.0 - parts[1].clone() + parts[2].clone() * 0.5;
        assert_close(name, &value(&whole, 0), &sum.into(), 1e-4);
    }
}

#[test]
fn integrated_gradients_are_complete() {
    let (model, x) = cnn();
    let ig = IntegratedGradients::new()
        .with_steps(400)
        .with_method(Quadrature::RiemannMiddle);
    let baseline = input([3, 1, 6, 6], 8);
    let ig = ig
        .with_baseline(baseline.clone())
        .attribute(&model, &x, 2)
        .unwrap();
    let at = |x: &Tensor<4>| {
        let output = Model::<Tensor<4>>::forward(&model, x.to_values()).unwrap();
        output.tensor::<2>().unwrap().slice([0..3, 2..3])
    };
    let difference: Value = (at(&x) - at(&baseline)).into();
    let sums: Value = ig.attribution().flatten::<2>(1, 3).sum_dim(1).into();
    assert_close("sum of attributions", &sums, &difference, 1e-2);
    let delta: Value = (sums.tensor::<2>().unwrap() - difference.tensor::<2>().unwrap()).into();
    for (got, expected) in ig.delta().unwrap().iter().zip(delta.to_vec().unwrap()) {
        assert!((got - expected).abs() < 1e-6, "{got} {expected}");
    }
}

#[test]
fn noise_statistics_of_a_quadratic_are_known() {
    // The gradient of x² is 2x: under noise its mean is 2x, its variance 4 stdev².
    let model = |x: Tensor<2>| x.powi_scalar(2).sum_dim(1);
    let x = Tensor::<2>::full([1, 2000], 0.7, &device());
    let mean = |kind, stdev| {
        let method = NoiseTunnel::new(Saliency::new().with_abs(false));
        let method = method.with_kind(kind).with_samples(20).with_stdevs([stdev]);
        let found = method.attribute(&model, &x, 0).unwrap().attribution();
        Value::from(found.mean()).to_vec().unwrap()[0]
    };
    let near = |got: f32, expected: f32| (got - expected).abs() < 0.03 * expected;
    assert!(near(mean(NoiseTunnelKind::SmoothGrad, 0.5), 1.4));
    assert!(near(
        mean(NoiseTunnelKind::SmoothGradSq, 0.5),
        1.4 * 1.4 + 1.0
    ));
    assert!(near(mean(NoiseTunnelKind::VarGrad, 0.5), 1.0), "unbiased");
    assert!(
        mean(NoiseTunnelKind::VarGrad, 0.0) < 1e-12,
        "no cancellation"
    );
}

#[test]
fn deviations_per_input() {
    let model =
        |(l, r): (Tensor<2>, Tensor<2>)| l.powi_scalar(3).sum_dim(1) + r.powi_scalar(3).sum_dim(1);
    let x = (input([2, 3], 1), input([2, 5], 2));
    let exact = Saliency::new().attribute(&model, &x, 0).unwrap();
    let tunnel = NoiseTunnel::new(Saliency::new()).with_stdevs([0.0, 0.5]);
    let noisy = tunnel.attribute(&model, &x, 0).unwrap();
    assert_close(
        "the quiet input",
        &value(&noisy, 0),
        &value(&exact, 0),
        1e-6,
    );
    assert_ne!(
        value(&noisy, 1).to_vec().unwrap(),
        value(&exact, 1).to_vec().unwrap()
    );
}

#[test]
fn progress_counts_what_was_announced() {
    #[derive(Default)]
    struct Count(RefCell<(usize, usize)>);
    impl attr_core::Progress for Count {
        fn start(&self, rows: usize) {
            self.0.borrow_mut().0 += rows;
        }
        fn advance(&self, rows: usize) {
            self.0.borrow_mut().1 += rows;
        }
    }
    let (model, x) = cnn();
    for Entry { name, method, .. } in methods() {
        let count = Count::default();
        let run = Run::new()
            .with_progress(&count)
            .with_budget(Budget::Rows(4));
        method.attribute_with(&model, &x, 1, &run).unwrap();
        let (announced, done) = *count.0.borrow();
        assert!(
            announced > 0 && announced == done,
            "{name}: {announced} {done}"
        );
    }
}

fn layer_values(found: &LayerAttribution) -> Vec<Value> {
    let layers = found.layers().iter();
    layers
        .map(|layer| found.value(layer).unwrap().clone())
        .collect()
}

#[test]
fn at_layers_neither_the_budget_nor_the_other_rows_matter() {
    let (model, x) = cnn();
    for (name, method) in layer_methods() {
        let with = |rows| {
            let run = Run::new().with_budget(Budget::Rows(rows));
            let targets = Target::Classes(vec![0, 1, 2]);
            layer_values(&method.attribute_with(&model, &x, targets, &run).unwrap())
        };
        // A difference of gradients divides their rounding error by 2e-3.
        let tolerance = if name == "shapley-cam" { 1e-3 } else { 1e-5 };
        let expected = with(1000);
        for rows in [1, 2, 4] {
            for (got, expected) in with(rows).iter().zip(&expected) {
                assert_close(&format!("{name}, {rows}"), got, expected, tolerance);
            }
        }
        if name.contains("noise") || name == "gradient shap" {
            continue; // Noise belongs to a row's place in the batch.
        }
        for row in 0..3 {
            let one = x.clone().narrow(0, row, 1);
            let alone = layer_values(&method.attribute(&model, &one, row).unwrap());
            for (alone, expected) in alone.iter().zip(&expected) {
                assert_close(name, alone, &expected.slice_rows(row..row + 1), tolerance);
            }
        }
    }
}

#[test]
fn a_closure_has_no_layers() {
    let x = input([3, 1, 6, 6], 2);
    let closure = |x: Tensor<4>| x.flatten::<2>(1, 3).sum_dim(1);
    for (name, method) in layer_methods() {
        let refused = method.attribute(&closure, &x, 0);
        assert!(matches!(refused, Err(Error::NotTraced)), "{name}");
    }
}

#[test]
fn unknown_layers_come_with_the_nearest_names() {
    let (model, x) = cnn();
    let refused = GradCam::new(["con"]).attribute(&model, &x, 0);
    let Err(Error::UnknownLayer { nearest, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(nearest.contains(&"conv".to_string()), "{nearest:?}");
}

#[test]
fn work_is_what_the_formulas_need() {
    let (model, x) = cnn();
    let layers: Vec<String> = model.layers().into_iter().map(|layer| layer.name).collect();
    assert!(layers.len() >= 6, "{layers:?}");
    let (n, rows) = (10, 3);
    // Conductance of all layers is one sweep: n forward and backward passes, the end of the path,
    // and two forward passes for the delta.
    let work = |method: &dyn Fn() -> Work| method();
    let conductance = || {
        let method = Conductance::new(layers.clone()).with_steps(n);
        method.attribute(&model, &x, 1).unwrap().work()
    };
    let found = work(&conductance);
    assert_eq!(found.backward_rows, n * rows);
    assert_eq!(found.forward_rows, (n + 3) * rows);
    let influence = || {
        let method = InternalInfluence::new(layers.clone()).with_steps(n);
        method.attribute(&model, &x, 1).unwrap().work()
    };
    let found = work(&influence);
    assert_eq!(
        (found.forward_rows, found.backward_rows),
        ((n + 1) * rows, n * rows)
    );
    let products = || {
        let method = GradientXActivation::new(layers.clone());
        method.attribute(&model, &x, 1).unwrap().work()
    };
    let found = work(&products);
    assert_eq!(
        (found.forward_rows, found.backward_rows, found.passes),
        (rows, rows, 1)
    );

    let of = |method: &dyn Method| {
        let found = Method::attribute(&method, &model, &x, 1).unwrap().work();
        (found.forward_rows, found.backward_rows)
    };
    let neuron = NeuronConductance::new("conv", Target::unit([1, 2, 3])).with_steps(n);
    assert_eq!(of(&neuron), ((n + 1) * rows, n * rows));
    assert_eq!(of(&DeepLift::new()), (2 * rows, rows));
    assert_eq!(of(&GuidedBackprop::new()), (rows, rows));
    assert_eq!(of(&Deconvolution::new()), (rows, rows));
    assert_eq!(
        of(&IntegratedGradients::new().with_steps(n)),
        ((n + 2) * rows, n * rows)
    );
    // One baseline row: it is evaluated once for each row.
    let shap = GradientShap::new().with_samples(n).with_baseline(0.1);
    assert_eq!(of(&shap), ((n + 2) * rows, n * rows));
    assert_eq!(of(&FullGrad::new()), (rows, rows));
    let guided = GuidedIntegratedGradients::new().with_steps(n);
    assert_eq!(of(&guided), ((n + 2) * rows, n * rows));

    // The two targets share the forward pass.
    let both = DeepLift::new()
        .attribute_targets(&model, &x, &[0.into(), 1.into()], &Run::new())
        .unwrap();
    let found = both[1].work();
    assert_eq!(
        (found.forward_rows, found.backward_rows),
        (2 * rows, 2 * rows)
    );
}

#[test]
fn conductance_is_shared_among_the_neurons_of_a_layer() {
    // Each layer of a chain accounts for the whole change of the output.
    let (model, x) = cnn();
    let whole = Conductance::new(["conv", "bn", "fc"]).with_steps(400);
    let whole = whole.attribute(&model, &x, 2).unwrap();
    let change = IntegratedGradients::new().with_steps(400);
    let change = change.attribute(&model, &x, 2).unwrap();
    for explanation in whole.explanations() {
        let total = explanation.values[0].as_ref().unwrap().matrix().unwrap();
        let total = Value::from(total.sum_dim(1)).to_vec().unwrap();
        let expected: Value = change.attribution().flatten::<2>(1, 3).sum_dim(1).into();
        for (total, expected) in total.iter().zip(expected.to_vec().unwrap()) {
            assert!((total - expected).abs() < 1e-2, "{total} {expected}");
        }
        let delta = explanation.delta.as_ref().unwrap();
        assert!(delta.iter().all(|d| d.abs() < 1e-2), "{delta:?}");
    }
    // All neurons together carry all of the integrated gradients; half of them carry less.
    let neurons = |ranges: Vec<std::ops::Range<usize>>| {
        let method = NeuronConductance::new("conv", Target::Region(ranges)).with_steps(60);
        value(&method.attribute(&model, &x, 2).unwrap(), 0)
    };
    let all = neurons(vec![0..4, 0..6, 0..6]);
    let expected = IntegratedGradients::new()
        .with_steps(60)
        .with_method(Quadrature::RiemannTrapezoid);
    let expected = value(&expected.attribute(&model, &x, 2).unwrap(), 0);
    assert_close("all neurons", &all, &expected, 1e-4);
    let halves = neurons(vec![0..2, 0..6, 0..6]).tensor::<4>().unwrap()
        + neurons(vec![2..4, 0..6, 0..6]).tensor::<4>().unwrap();
    assert_close("two halves", &halves.into(), &expected, 1e-4);
}

#[test]
fn a_function_of_the_output_is_a_target() {
    let (model, x) = cnn();
    let difference = Target::function(|output: Tensor<2>| {
        let [rows, _] = output.dims();
        let pair = output.clone().narrow(1, 0, 1) - output.narrow(1, 2, 1);
        pair.powi_scalar(2).reshape([rows])
    });
    let found = DeepLift::new().with_baseline(0.2);
    let found = found.attribute(&model, &x, difference.clone()).unwrap();
    // The function is one more operation, so the sum also holds through it.
    let at = |x: &Tensor<4>| {
        let output = Model::<Tensor<4>>::forward(&model, x.to_values()).unwrap();
        let output = output.tensor::<2>().unwrap();
        let pair = output.clone().narrow(1, 0, 1) - output.narrow(1, 2, 1);
        Value::from(pair.powi_scalar(2)).to_vec().unwrap()
    };
    let (top, bottom) = (at(&x), at(&x.full_like(0.2)));
    let sums: Value = found.attribution().flatten::<2>(1, 3).sum_dim(1).into();
    for ((sum, x), b) in sums.to_vec().unwrap().iter().zip(&top).zip(&bottom) {
        assert!((sum - (x - b)).abs() < 1e-5, "{sum} {x} {b}");
    }
    assert_close_slices("scores", found.scores(), &top, 1e-5);
    // On a layer, such a function can select neurons.
    let unit = model.to_layer("conv").unwrap();
    let mean = Target::function(|a: Tensor<4>| {
        let [rows, ..] = a.dims();
        a.narrow(1, 1, 1)
            .flatten::<2>(1, 3)
            .sum_dim(1)
            .reshape([rows])
    });
    let by_hand = Saliency::new().attribute(&unit, &x, mean).unwrap();
    let region = Target::Region(vec![1..2, 0..6, 0..6]);
    let by_region = Saliency::new().attribute(&unit, &x, region).unwrap();
    assert_close(
        "a channel",
        &value(&by_hand, 0),
        &value(&by_region, 0),
        1e-6,
    );
    let outside = Target::Region(vec![1..5, 0..6, 0..6]);
    let refused = Saliency::new().attribute(&unit, &x, outside);
    assert!(matches!(refused, Err(Error::TargetOutOfRange { .. })));
}

#[test]
fn errors_of_means_shrink_with_samples() {
    let (model, x) = cnn();
    let largest = |n| {
        let shap = GradientShap::new()
            .with_samples(n)
            .with_seed(2)
            .with_baseline(0.5);
        let found = shap.attribute(&model, &x, 1).unwrap();
        let errors = found.standard_error().unwrap()[0].clone().unwrap();
        let errors = errors.to_vec().unwrap();
        (
            errors.iter().sum::<f32>() / errors.len() as f32,
            value(&found, 0),
        )
    };
    let (few, _) = largest(20);
    let (many, mean) = largest(500);
    assert!(many < 0.35 * few, "{many} {few}");
    // Here expected gradients equal integrated gradients; the estimate is within five errors.
    let exact = IntegratedGradients::new()
        .with_steps(300)
        .with_baseline(0.5);
    let exact = value(&exact.attribute(&model, &x, 1).unwrap(), 0);
    let shap = GradientShap::new()
        .with_samples(500)
        .with_seed(2)
        .with_baseline(0.5);
    let found = shap.attribute(&model, &x, 1).unwrap();
    let errors = found.standard_error().unwrap()[0].clone().unwrap();
    let triples = mean
        .to_vec()
        .unwrap()
        .into_iter()
        .zip(exact.to_vec().unwrap());
    for ((mean, exact), error) in triples.zip(errors.to_vec().unwrap()) {
        assert!(
            (mean - exact).abs() < 5.0 * error + 1e-5,
            "{mean} {exact} ± {error}"
        );
    }
}

#[test]
fn results_and_configurations_are_data() {
    let (model, x) = cnn();
    let found = IntegratedGradients::new()
        .with_steps(4)
        .attribute(&model, &x, 1)
        .unwrap();
    let record = found.to_record().unwrap();
    let text = serde_json::to_string(&record).unwrap();
    let back: attr_core::AttributionRecord = serde_json::from_str(&text).unwrap();
    assert_eq!(back, record);
    let config: attr_gradient::IntegratedGradientsConfig =
        serde_json::from_str(r#"{"n_steps": 7, "method": "riemann_right"}"#).unwrap();
    assert_eq!(
        (config.n_steps, config.method),
        (7, Quadrature::RiemannRight)
    );
    assert!(config.multiply_by_inputs);
    let config: attr_gradient::NoiseTunnelConfig =
        serde_json::from_str(r#"{"nt_type": "smoothgrad_sq", "stdevs": [0.1]}"#).unwrap();
    assert_eq!(
        (config.nt_type, config.nt_samples),
        (NoiseTunnelKind::SmoothGradSq, 5)
    );
}

/// Every device gives the numbers that were recorded on flex: the same seed gives the same
/// attribution, on every device and in every version. `ATTR_BLESS=1` on flex records them again.
#[test]
fn every_device_gives_the_recorded_numbers() {
    let (model, x) = cnn();
    let mut found: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for Entry { name, method, .. } in methods() {
        let run = Run::new().with_budget(Budget::Rows(1000));
        let attribution = method
            .attribute_with(&model, &x, Target::Predicted, &run)
            .unwrap();
        found.insert(name.into(), value(&attribution, 0).to_vec().unwrap());
    }
    for (name, method) in layer_methods() {
        let attribution = method.attribute(&model, &x, Target::Predicted).unwrap();
        let last = layer_values(&attribution).pop().unwrap();
        found.insert(format!("{name} at a layer"), last.to_vec().unwrap());
    }
    let path = golden::path("methods.json");
    if std::env::var_os("ATTR_BLESS").is_some() {
        let text = serde_json::to_string(&found).unwrap() + "\n";
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).expect("recorded numbers");
    let expected: BTreeMap<String, Vec<f32>> = serde_json::from_str(&text).unwrap();
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (name, expected) in &expected {
        // A difference of gradients divides their rounding error by 2e-3.
        let tolerance = if name.starts_with("shapley-cam") {
            1e-2
        } else {
            1e-4
        };
        assert_close_slices(name, &found[name], expected, tolerance);
    }
}
