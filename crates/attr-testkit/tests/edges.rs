//! Inputs at the edge of what formulas allow: infinities beside numbers, nothing that changes, tiny
//! and huge gradients, lists that are empty or name a layer twice.

use std::cell::Cell;

use attr_core::{
    AtLayers, Baseline, Baselines, Budget, Error, Inputs, LayerMethod, Method, Model, Run, Target,
    Traced, Value, Values, WithBaseline,
};
use attr_gradient::{
    BlurIntegratedGradients, Conductance, DeepLift, DeepLiftRule, DeepLiftShap, GradCam,
    GradientShap, GuidedGradCam, GuidedIntegratedGradients, Idgi, IntegratedGradients,
    LayerActivation, NoiseTunnel, Quadrature, Saliency,
};
use attr_testkit::compare::{assert_close, assert_close_slices};
use attr_testkit::device;
use attr_testkit::models::{
    Cnn, EmbeddingClassifier, FunctionalRelu, SmallCnn, TextGru, input, seeded,
};
use burn::module::Param;
use burn::tensor::{Int, Tensor, TensorData, activation};

fn traced(f: fn(Tensor<2>) -> Tensor<2>, x: &Tensor<2>) -> Traced {
    let nothing = Param::from_tensor(Tensor::<1>::zeros([1], &device()));
    Traced::new(&nothing, move |_, x| f(x), x).unwrap()
}

fn numbers(value: &Option<Value>) -> Vec<f32> {
    value.as_ref().unwrap().to_vec().unwrap()
}

#[test]
fn an_infinite_gradient_stays_in_its_row() {
    // The root has none at 0, where the first row's path begins.
    let model = |x: Tensor<2>| x.sqrt().sum_dim(1);
    let x = Tensor::<2>::from_floats([[4.0], [4.0]], &device());
    let baseline = Tensor::<2>::from_floats([[0.0], [1.0]], &device());
    let ig = IntegratedGradients::new()
        .with_method(Quadrature::RiemannTrapezoid)
        .with_steps(100)
        .with_baseline(baseline);
    for rows in [1, 7, 1000] {
        let run = Run::new().with_budget(Budget::Rows(rows));
        let found = ig.attribute_with(&model, &x, 0, &run).unwrap();
        let found = numbers(&found.values()[0]);
        // What the first row gets depends on the device's root; the second has a number.
        assert!((found[1] - 1.0).abs() < 1e-3, "{rows}: {found:?}");
    }
}

#[test]
fn nothing_that_changes_gets_nothing() {
    let x = Tensor::<2>::from_floats([[0.0, 4.0], [1.0, 0.0]], &device());
    let model = traced(|x| x.sqrt(), &x);
    let found = DeepLift::new().attribute(&model, &x, 0).unwrap();
    assert_close_slices(
        "root",
        &numbers(&found.values()[0]),
        &[0.0, 0.0, 1.0, 0.0],
        1e-6,
    );
    let model = traced(activation::relu, &x);
    let found = DeepLift::new()
        .with_eps(0.0)
        .attribute(&model, &x, 0)
        .unwrap();
    assert_close_slices(
        "relu",
        &numbers(&found.values()[0]),
        &[0.0, 0.0, 1.0, 0.0],
        1e-6,
    );
}

#[test]
fn reveal_cancel_keeps_its_sum_at_every_layer() {
    let module = seeded(FunctionalRelu::new(&device()), 3);
    let (x, b) = (input([4, 4], 4), input([4, 4], 5));
    let model = Traced::new(&module, |m: &FunctionalRelu, x: Tensor<2>| m.forward(x), &x).unwrap();
    let layers = model.layers().into_iter().map(|layer| layer.name);
    let layers: Vec<String> = layers.collect();
    let method = DeepLift::new()
        .with_rule(DeepLiftRule::RevealCancel)
        .with_baseline(b);
    let found = method.at_layers(layers).attribute(&model, &x, 1).unwrap();
    for (layer, found) in found.layers().iter().zip(found.explanations()) {
        let delta = found.delta.as_ref().unwrap();
        assert!(delta.iter().all(|d| d.abs() < 1e-5), "{layer}: {delta:?}");
    }
}

#[test]
fn a_row_is_not_judged_by_its_neighbours() {
    // One row is a million times the other: its rounding must not hide the other's error.
    let x = Tensor::<2>::from_floats(
        [[300.0, 200.0, 150.0, 130.0], [0.3, 2.0, -1.5, 0.7]],
        &device(),
    );
    let model = traced(|x| x.clone().sin() * 1e-3 + x.cumprod(1), &x);
    let method = DeepLift::new().with_baseline(0.1);
    let both = method.attribute(&model, &x, 3).unwrap().attribution();
    let alone = method
        .attribute(&model, &x.clone().narrow(0, 1, 1), 3)
        .unwrap();
    assert!(
        alone.delta().unwrap()[0].abs() < 1e-5,
        "{:?}",
        alone.delta()
    );
    let second: Value = both.narrow(0, 1, 1).into();
    assert_close("second row", &second, &alone.attribution().into(), 1e-4);
}

#[test]
fn gradients_of_any_size_square_relative_to_each_other() {
    let x = Tensor::<2>::from_floats([[1.0, 2.0]], &device());
    for factor in [1e-25, 1e25] {
        let model = move |x: Tensor<2>| {
            (x * Tensor::from_floats([[1.0, 3.0]], &device())).sum_dim(1) * factor
        };
        let found = Idgi::new().attribute(&model, &x, 0).unwrap();
        let found: Vec<f32> = numbers(&found.values()[0])
            .iter()
            .map(|v| (f64::from(*v) / factor) as f32)
            .collect();
        // 7 shared as 1² to 3².
        assert_close_slices("idgi", &found, &[0.7, 6.3], 1e-3);
    }
}

#[test]
fn errors_of_means_do_not_cancel() {
    let model = |x: Tensor<2>| (x * 3.0).sum_dim(1);
    let x = Tensor::<2>::full([1, 2], 1000.0, &device());
    let shap = GradientShap::new()
        .with_samples(50)
        .with_baseline(0.0)
        .attribute(&model, &x, 0)
        .unwrap();
    let errors = numbers(&shap.standard_error().unwrap()[0]);
    assert!(
        errors.iter().all(|e| *e < 1e-3),
        "all samples are 3000: {errors:?}"
    );
    let tunnel = NoiseTunnel::new(Saliency::new()).with_samples(9);
    let found = tunnel.attribute(&model, &x, 0).unwrap();
    assert_eq!(numbers(&found.standard_error().unwrap()[0]), [0.0, 0.0]);
}

#[test]
fn copies_stay_within_the_budget() {
    struct Watched(Cell<usize>);
    impl Model<Tensor<2>> for Watched {
        fn forward(&self, inputs: Values) -> Result<Value, Error> {
            self.0.set(self.0.get().max(inputs.rows()));
            let x = inputs.values()[0].tensor::<2>()?;
            Ok((x.clone() * x).sum_dim(1).into())
        }
    }
    let watched = Watched(Cell::new(0));
    let x = input([3, 4], 1);
    let run = Run::new().with_budget(Budget::Rows(7));
    let tunnel = NoiseTunnel::new(Saliency::new()).with_samples(50);
    tunnel.attribute_with(&watched, &x, 0, &run).unwrap();
    assert_eq!(watched.0.get(), 7);
}

#[test]
fn a_distribution_follows_a_method_to_a_layer() {
    let module = seeded(Cnn::new(&device()), 2);
    let x = input([4, 1, 8, 8], 3);
    let model = Traced::new(&module, |m: &Cnn, x: Tensor<4>| m.forward(x), &x).unwrap();
    // On a chain, cutting the model and walking back to the layer are the same.
    let known = input([3, 1, 8, 8], 5);
    for baseline in [Baseline::Scalar(0.2), Baseline::Distribution(known.into())] {
        let at = DeepLiftShap::new()
            .with_baseline(baseline.clone())
            .at_layers(["conv2"]);
        let at = at.attribute(&model, &x, 1).unwrap();
        let absent = match &baseline {
            Baseline::Distribution(rows) => rows.tensor::<4>().unwrap(),
            _ => Tensor::full([1, 1, 8, 8], 0.2, &device()),
        };
        let here = |x: &Tensor<4>| model.activations(x, &["conv2"]).unwrap().remove(0);
        let rest = model.from_layer("conv2", &x).unwrap();
        let cut = DeepLiftShap::new().with_baseline(Baseline::Distribution(here(&absent)));
        let activation = here(&x).tensor::<4>().unwrap();
        let cut = cut.attribute(&rest, &activation, 1).unwrap();
        assert_close(
            "conv2",
            &cut.attribution().into(),
            at.value("conv2").unwrap(),
            1e-5,
        );
        let count = if matches!(baseline, Baseline::Scalar(_)) {
            1
        } else {
            3
        };
        assert_eq!(
            cut.work().backward_rows,
            4 * count,
            "a pair for each row and baseline"
        );
        let shap = GradientShap::new().with_samples(40).with_baseline(baseline);
        let shap = AtLayers::new(["conv2"], shap)
            .attribute(&model, &x, 1)
            .unwrap();
        assert_eq!(shap.work().backward_rows, 4 * 40);
    }
}

#[test]
fn integrated_gradients_from_several_baselines_are_their_mean() {
    let module = seeded(SmallCnn::new(&device()), 1);
    let x = input([2, 1, 6, 6], 2);
    let model = Traced::new(&module, |m: &SmallCnn, x: Tensor<4>| m.forward(x), &x).unwrap();
    let ig = || IntegratedGradients::new().with_steps(9);
    let of = |ig: WithBaseline<IntegratedGradients>| ig.attribute(&model, &x, 1).unwrap();
    let known = input([3, 1, 6, 6], 5);
    let whole = of(ig().with_baseline(Baseline::Distribution(known.clone().into())));
    let each = |row| of(ig().with_baseline(known.clone().narrow(0, row, 1)));
    let mean = (each(0).attribution() + each(1).attribution() + each(2).attribution()) / 3.0;
    assert_close("rows", &whole.attribution().into(), &mean.into(), 1e-5);
    let delta = |row: usize, i: usize| each(i).delta().unwrap()[row];
    for (row, found) in whole.delta().unwrap().iter().enumerate() {
        let mean = (delta(row, 0) + delta(row, 1) + delta(row, 2)) / 3.0;
        assert!((found - mean).abs() < 1e-6, "{found} {mean}");
    }
    // The darkest and the brightest value of each row.
    let extremes = of(ig().with_baseline(Baseline::Several(vec![Baseline::Min, Baseline::Max])));
    let flat = x.clone().flatten::<2>(1, 3);
    let constant = |value: Tensor<2>| {
        let filled = value.expand([2, 36]).reshape([2, 1, 6, 6]);
        of(ig().with_baseline(filled)).attribution()
    };
    let mean = (constant(flat.clone().min_dim(1)) + constant(flat.max_dim(1))) / 2.0;
    assert_close(
        "extremes",
        &extremes.attribution().into(),
        &mean.into(),
        1e-5,
    );
}

#[test]
fn tokens_have_distributions_too() {
    let tokens = |ids: Vec<i64>| {
        let rows = ids.len() / 5;
        Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, 5]), &device())
    };
    let x = tokens(vec![3, 1, 4, 1, 5, 9, 2, 6, 5, 3]);
    let known = tokens(vec![0, 0, 0, 0, 0, 7, 7, 7, 7, 7]);
    let module = seeded(EmbeddingClassifier::new(&device()), 3);
    let model = Traced::new(&module, |m: &EmbeddingClassifier, x| m.forward(x), &x).unwrap();
    let shap = DeepLiftShap::new().with_baseline(Baseline::Distribution(known.clone().into()));
    let shap = shap
        .at_layers(["embedding"])
        .attribute(&model, &x, 1)
        .unwrap();
    let one = |row| {
        let baseline = Baseline::from(known.clone().narrow(0, row, 1));
        let lift = DeepLift::new()
            .with_baseline(baseline)
            .at_layers(["embedding"]);
        lift.attribute(&model, &x, 1)
            .unwrap()
            .tensor::<3>("embedding")
            .unwrap()
    };
    let mean: Value = ((one(0) + one(1)) / 2.0).into();
    assert_close("mean", shap.value("embedding").unwrap(), &mean, 1e-5);

    // Between tokens there is no path; at their embedding there is.
    let refused = GradientShap::new().attribute(&model, &x, 1).map(drop);
    assert!(refused.unwrap_err().to_string().contains("at_layers"));
    let refused = Conductance::new(["embedding"]).attribute(&model, &x, 1);
    assert!(refused.unwrap_err().to_string().contains("at_layers"));
    let shap = GradientShap::new()
        .with_samples(9)
        .with_baseline(Baseline::Distribution(known.into()));
    let module = seeded(TextGru::new(&device()), 3);
    let model = Traced::new(&module, |m: &TextGru, x| m.forward(x), &x).unwrap();
    let found = AtLayers::new(["embedding"], shap)
        .attribute(&model, &x, 1)
        .unwrap();
    assert_eq!(found.per_token("embedding").unwrap().dims(), [2, 5]);
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

#[test]
fn part_of_other_inputs_are_inputs() {
    let model = |x: Values| {
        let x = x.values()[0].tensor::<2>().unwrap();
        x.clone() * x
    };
    let x = input([5, 3], 1).to_values();
    let part = x.slice(1..3);
    let ig = IntegratedGradients::new().with_baseline(Baselines::each(vec![Baseline::Zero]));
    let whole = ig.attribute(&model, &x, vec![0, 1, 2, 0, 1]).unwrap();
    let of_part = ig.attribute(&model, &part, vec![1, 2]).unwrap();
    let expected = whole.values()[0].as_ref().unwrap().slice_rows(1..3);
    assert_close(
        "part",
        of_part.values()[0].as_ref().unwrap(),
        &expected,
        1e-6,
    );
}

#[test]
fn a_path_without_gradients_ends() {
    // At the baseline all gradients are infinite: nothing says which feature is to move first.
    let model = |x: Tensor<2>| x.sqrt().sum_dim(1);
    let x = Tensor::<2>::full([1, 2000], 4.0, &device());
    let guided = GuidedIntegratedGradients::new().with_steps(4);
    let found = guided.attribute(&model, &x, 0).unwrap();
    assert_eq!(found.attribution().dims(), [1, 2000]);
}
