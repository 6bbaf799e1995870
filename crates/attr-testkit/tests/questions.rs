//! Tests how a method reaches a model: budgets, models with a fixed batch size or that mix rows,
//! progress and cancellation, closures that fail, changing shapes.

use std::cell::Cell;

use attr_core::{
    Baseline, Budget, Constant, Error, LayerMethod, Method, Model, Progress, Run, Target, Traced,
    Value, Values,
};
use attr_gradient::{
    Conductance, DeepLift, DeepLiftShap, GradientShap, GuidedBackprop, GuidedIntegratedGradients,
    Idgi, InputXGradient, IntegratedGradients, InternalInfluence, NeuronConductance, NoiseTunnel,
    Saliency,
};
use attr_perturb::{FeatureAblation, ShapleyValueSampling};
use attr_surrogate::KernelShap;
use attr_testkit::compare::assert_close;
use attr_testkit::device;
use attr_testkit::models::{SmallCnn, input, seeded};
use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, activation};

fn nothing() -> Param<Tensor<1>> {
    Param::from_tensor(Tensor::<1>::zeros([1], &device()))
}

fn forward(x: Tensor<2>) -> Tensor<2> {
    let hidden = attr_core::tap("hidden", activation::relu(x.clone() * 2.0 - 0.1));
    activation::softmax(hidden * x.tanh(), 1)
}

/// Returns the same function with a free batch size, and fixed to `rows` by a reshape.
fn models(rows: usize) -> (Traced, Traced) {
    let x = input([rows, 4], 1);
    let free = Traced::new(&nothing(), |_, x: Tensor<2>| forward(x), &x).unwrap();
    let literal = move |_: &Param<Tensor<1>>, x: Tensor<2>| forward(x.reshape([rows, 4]));
    let bound = Traced::new(&nothing(), literal, &x).unwrap();
    assert_eq!((free.rows(), bound.rows()), (None, Some(rows)));
    (free, bound)
}

#[test]
fn a_model_bound_to_its_rows_serves_every_method() {
    let known = || Baseline::Distribution(input([3, 4], 7).into());
    let ig = || IntegratedGradients::new().with_steps(25);
    let noisy = |seed| {
        NoiseTunnel::new(Saliency::new())
            .with_samples(5)
            .with_seed(seed)
    };
    let methods: Vec<(&str, Box<dyn Method>)> = vec![
        ("saliency", Box::new(Saliency::new())),
        ("input x gradient", Box::new(InputXGradient::new())),
        ("integrated gradients", Box::new(ig())),
        ("a tolerance", Box::new(ig().with_tolerance(1e-4))),
        ("several baselines", Box::new(ig().with_baseline(known()))),
        ("deeplift", Box::new(DeepLift::new().with_baseline(0.2))),
        (
            "deeplift shap",
            Box::new(DeepLiftShap::new().with_baseline(known())),
        ),
        (
            "gradient shap",
            Box::new(GradientShap::new().with_samples(7)),
        ),
        ("guided backprop", Box::new(GuidedBackprop::new())),
        ("idgi", Box::new(Idgi::new())),
        (
            "guided path",
            Box::new(GuidedIntegratedGradients::new().with_steps(9)),
        ),
        ("noise tunnel", Box::new(noisy(3))),
        (
            "neuron conductance",
            Box::new(NeuronConductance::new("hidden", Target::unit([1])).with_steps(7)),
        ),
    ];
    let layer_methods: Vec<(&str, Box<dyn LayerMethod>)> = vec![
        (
            "conductance",
            Box::new(Conductance::new("hidden").with_steps(7)),
        ),
        (
            "internal influence",
            Box::new(InternalInfluence::new("hidden").with_steps(7)),
        ),
        ("deeplift", Box::new(DeepLift::new().at_layers("hidden"))),
        (
            "gradient shap",
            Box::new(GradientShap::new().at_layers("hidden")),
        ),
        ("integrated gradients", Box::new(ig().at_layers("hidden"))),
    ];
    for rows in [2, 3] {
        let (free, bound) = models(rows);
        let x = input([rows, 4], 1);
        for budget in [Budget::default(), Budget::Rows(1)] {
            let run = Run::new().with_budget(budget);
            for (name, method) in &methods {
                let what = format!("{name}, {rows} rows, {budget:?}");
                let found = |model: &Traced| {
                    let found = Method::attribute_with(method, model, &x, 1, &run);
                    let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
                    Value::from(found.attribution())
                };
                assert_close(&what, &found(&bound), &found(&free), 1e-4);
            }
            for (name, method) in &layer_methods {
                let what = format!("{name} at a layer, {rows} rows, {budget:?}");
                let found = |model: &Traced| {
                    let found = LayerMethod::attribute_with(method, model, &x, 1, &run);
                    let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
                    found.value("hidden").unwrap().clone()
                };
                assert_close(&what, &found(&bound), &found(&free), 1e-4);
            }
        }
    }
}

/// Recording such a model panics inside the trace at every batch size but its own. The panic must
/// be caught and not printed.
#[test]
fn a_trace_of_a_model_bound_to_its_rows_prints_nothing() {
    let tests = std::env::current_exe().unwrap();
    let output = std::process::Command::new(tests)
        .args([
            "--exact",
            "questions::a_model_bound_to_its_rows_serves_every_method",
        ])
        .arg("--nocapture")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("1 passed"), "{printed}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("panicked"), "{errors}");
}

#[test]
fn one_value_for_a_whole_batch_is_not_counted_for_each_sample() {
    let sum = |x: Tensor<2>| x.sum();
    let x = Tensor::<2>::from_floats([[1.0, 2.0]], &device());
    let ablation = FeatureAblation::new().with_perturbations_per_eval(1);
    let tunnel = NoiseTunnel::new(ablation)
        .with_samples(5)
        .with_stdevs([0.0]);
    let found = tunnel.attribute(&sum, &x, Target::Single).map(drop);
    assert!(matches!(found, Err(Error::WholeBatch { .. })), "{found:?}");
    // With one sample at a time, nothing can be confused.
    let run = Run::new().with_budget(Budget::Rows(1));
    let found = tunnel
        .attribute_with(&sum, &x, Target::Single, &run)
        .unwrap();
    assert_eq!(
        found.values()[0].as_ref().unwrap().to_vec().unwrap(),
        [1.0, 2.0]
    );
}

/// A model in training mode gives other values in each pass, and for each batch. Methods that take
/// no gradient refuse it, too; what the inputs track changes nothing.
#[test]
fn black_boxes_refuse_training_and_explain_inference() {
    let training = seeded(SmallCnn::new(&device()), 1).train();
    let valid = seeded(SmallCnn::new(&device()), 1).valid();
    let x = input([3, 1, 6, 6], 2);
    let tracked = Tensor::<4>::from_inner(x.clone()).require_grad();
    let training = |x: Tensor<4>| training.forward(x);
    let inference = |x: Tensor<4>| valid.forward(x);
    let ablation = FeatureAblation::new();
    let shap = KernelShap::new().with_samples(80);
    let methods: [&dyn Method; 2] = [&ablation, &shap];
    for method in methods {
        for x in [&x, &tracked] {
            let refused = Method::attribute(&method, &training, x, 0).map(|_| ());
            let named = matches!(refused, Err(Error::TrainingMode { .. }));
            assert!(named, "{refused:?}");
        }
        let got = Method::attribute(&method, &inference, &tracked, 0).unwrap();
        let expected = Method::attribute(&method, &inference, &x, 0).unwrap();
        let (got, expected) = (got.values()[0].clone(), expected.values()[0].clone());
        assert_close("values", &got.unwrap(), &expected.unwrap(), 1e-6);
    }
}

#[test]
fn a_closure_may_fail() {
    let x = input([2, 3], 1);
    let fails = |x: Tensor<2>| -> Result<Tensor<2>, std::io::Error> {
        let _ = x;
        Err(std::io::Error::other("the service is down"))
    };
    let found = Saliency::new().attribute(&fails, &x, 0).map(drop);
    let message = found.unwrap_err().to_string();
    assert!(message.contains("the service is down"), "{message}");
    let works = |x: Tensor<2>| -> Result<Tensor<2>, Error> { Ok(x * 3.0) };
    let found = Saliency::new().attribute(&works, &x, 0).unwrap();
    assert_eq!(
        Value::from(found.attribution()).to_vec().unwrap(),
        [3.0, 0.0, 0.0, 3.0, 0.0, 0.0]
    );
}

#[test]
fn a_constant_may_hold_infinities() {
    let scores = input([2, 3], 1);
    let hidden = Tensor::<2>::from_floats([[0.0, 0.0, f32::NEG_INFINITY]; 2], &device());
    let inputs = (scores.clone(), Constant(hidden));
    let attention =
        |(x, mask): (Tensor<2>, Constant<Tensor<2>>)| activation::softmax(x + mask.0, 1);
    let (found, ()) = Saliency::new()
        .attribute(&attention, &inputs, 0)
        .unwrap()
        .attribution();
    let found = Value::from(found).to_vec().unwrap();
    assert!(found[0] > 0.0 && found[2] == 0.0, "{found:?}");
    let explained = (
        scores,
        Tensor::<2>::full([2, 3], f32::NEG_INFINITY, &device()),
    );
    let sum = |(x, mask): (Tensor<2>, Tensor<2>)| x + mask;
    let refused = Saliency::new().attribute(&sum, &explained, 0).map(drop);
    assert!(
        matches!(refused, Err(Error::NonFinite { .. })),
        "{refused:?}"
    );
}

/// Cancels after so many chunks.
struct Impatient(Cell<usize>);

impl Progress for Impatient {
    fn cancelled(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left == 0
    }
}

#[test]
fn work_is_cancelled_between_chunks() {
    let x = input([2, 3], 1);
    let evaluated = Cell::new(0);
    let model = |x: Tensor<2>| {
        evaluated.set(evaluated.get() + x.dims()[0]);
        x.powi_scalar(2)
    };
    for (name, method) in [
        (
            "gradients",
            &IntegratedGradients::new().with_steps(1000) as &dyn Method,
        ),
        ("perturbations", &FeatureAblation::new()),
        (
            "noise",
            &NoiseTunnel::new(Saliency::new()).with_samples(1000),
        ),
    ] {
        evaluated.set(0);
        let progress = Impatient(Cell::new(2));
        let run = Run::new()
            .with_budget(Budget::Rows(2))
            .with_progress(&progress);
        let found = Method::attribute_with(&method, &model, &x, 0, &run).map(drop);
        assert!(matches!(found, Err(Error::Cancelled)), "{name}: {found:?}");
        assert!(evaluated.get() < 100, "{name}: {} rows", evaluated.get());
    }
}

#[test]
fn graphs_of_shapes_that_come_and_go_are_forgotten() {
    let x = Tensor::<2, Int>::zeros([1, 3], &device());
    let forward = |_: &Param<Tensor<1>>, x: Tensor<2, Int>| x.float().sum_dim(1);
    let model = Traced::new(&nothing(), forward, &x).unwrap();
    let layers = model.layers().len();
    for length in 1..=80 {
        let x = Tensor::<2, Int>::ones([2, length], &device());
        let found = model.forward(&x).unwrap().to_vec().unwrap();
        assert_eq!(found, [length as f32; 2]);
    }
    assert_eq!(model.traces(), 80);
    model
        .forward(&Tensor::<2, Int>::ones([2, 80], &device()))
        .unwrap();
    assert_eq!(model.traces(), 80, "a shape of late is remembered");
    model
        .forward(&Tensor::<2, Int>::ones([2, 1], &device()))
        .unwrap();
    assert_eq!(model.traces(), 81, "one of long ago is traced anew");
    assert_eq!(
        model.layers().len(),
        layers,
        "the example's layers are always known"
    );
}

#[test]
fn records_of_layers_hold_what_the_attribution_holds() {
    let (model, _) = models(2);
    let x = input([2, 4], 1);
    let found = Conductance::new("hidden")
        .with_steps(7)
        .attribute(&model, &x, 1)
        .unwrap();
    let record = found.to_record().unwrap();
    assert_eq!(record.layers, ["hidden"]);
    let one = &record.attributions[0];
    assert_eq!(one.delta.as_deref(), found.delta());
    assert_eq!(one.work, found.work());
    let text = serde_json::to_string(&record).unwrap();
    let read: attr_core::LayerAttributionRecord = serde_json::from_str(&text).unwrap();
    assert_eq!(read, record);
    assert_eq!(found.attribution::<2>().unwrap().dims(), [2, 4]);
}

#[test]
fn work_counts_every_forward_pass() {
    let model = seeded(SmallCnn::new(&device()), 1);
    let x = input([3, 1, 6, 6], 2);
    let traced = Traced::new(&model, |m: &SmallCnn, x| m.forward(x), &x).unwrap();
    let valid = model.valid();
    let closure = |x: Tensor<4>| valid.forward(x);
    let targets = [Target::Class(0), Target::Class(1)];
    let run = attr_core::Run::new();
    let work = |found: Vec<attr_core::Attribution<Tensor<4>>>| found[0].work();
    let shared = work(
        Saliency::new()
            .attribute_targets(&traced, &x, &targets, &run)
            .unwrap(),
    );
    assert_eq!((shared.forward_rows, shared.backward_rows), (3, 6));
    // Two rows are run twice to verify; then one pass for each target: an autodiff tape serves one
    // backward pass.
    let own = work(
        Saliency::new()
            .attribute_targets(&closure, &x, &targets, &run)
            .unwrap(),
    );
    assert_eq!((own.forward_rows, own.backward_rows), (2 * 2 + 2 * 3, 6));
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
fn a_model_that_mixes_its_rows_is_refused_unless_they_go_one_by_one() {
    let x = input([3, 4], 1);
    let centred = |_: &Param<Tensor<1>>, x: Tensor<2>| {
        let mean = x.clone().mean_dim(0);
        (x - mean * 0.5).powi_scalar(2)
    };
    let mixing = Traced::new(&nothing(), centred, &x).unwrap();
    assert_eq!(mixing.rows(), None);
    for rows in [1, 3] {
        let some = x.clone().narrow(0, 0, rows);
        let refused = IntegratedGradients::new().attribute(&mixing, &some, 1);
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::MixesRows { .. }), "{error}");
        let black_box = FeatureAblation::new().attribute(&mixing, &some, 1);
        assert!(matches!(black_box, Err(Error::MixesRows { .. })));
    }
    // One at a time, each row is its own mean.
    let run = Run::new().with_budget(Budget::Rows(1));
    let found = Saliency::new()
        .with_abs(false)
        .attribute_with(&mixing, &x, 1, &run);
    let found = found
        .unwrap()
        .attribution()
        .into_data()
        .try_to_vec::<f32>()
        .unwrap();
    let x = x.into_data().try_to_vec::<f32>().unwrap();
    assert!(
        (found[1] - 0.5 * x[1]).abs() < 1e-5,
        "{} {}",
        found[1],
        x[1]
    );
    assert!((found[9] - 0.5 * x[9]).abs() < 1e-5);
}

#[test]
fn a_row_gets_the_same_noise_whatever_follows_it() {
    let x = input([3, 4], 1);
    let shap = GradientShap::new().with_stdevs([0.5]).with_seed(3);
    let shap = shap.with_baseline(input([2, 4], 2));
    let first = |rows: usize| {
        let some = x.clone().narrow(0, 0, rows);
        let found = shap.attribute(&forward, &some, 1).unwrap();
        found.values()[0].as_ref().unwrap().slice_rows(0..1)
    };
    assert_close("the first row", &first(3), &first(1), 1e-5);
}

/// What was announced, how often, and what was done.
#[derive(Default)]
struct Counted(Cell<usize>, Cell<usize>, Cell<usize>);

impl Progress for Counted {
    fn start(&self, rows: usize) {
        self.0.set(self.0.get() + rows);
        self.1.set(self.1.get() + 1);
    }

    fn advance(&self, rows: usize) {
        self.2.set(self.2.get() + rows);
    }
}

#[test]
fn work_in_many_parts_is_announced_at_once() {
    // So many coalitions that they are evaluated in several parts.
    let x = input([1, 30], 1);
    let sum = |x: Tensor<2>| x.sum_dim(1);
    let counted = Counted::default();
    let run = Run::new().with_progress(&counted);
    let sampled = ShapleyValueSampling::new().with_samples(10_000);
    sampled.attribute_with(&sum, &x, 0, &run).unwrap();
    let (announced, parts, done) = (counted.0.get(), counted.1.get(), counted.2.get());
    assert!(
        announced >= done && done > announced / 2,
        "{done} of {announced}"
    );
    assert!(parts <= 2, "announced in {parts} parts");
}
