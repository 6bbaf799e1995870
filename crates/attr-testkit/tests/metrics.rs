//! What all metrics promise: a defined value for degenerate input, the same result for every memory
//! budget, row by row and again, and no evaluation that was made before.

use attr_core::{Budget, Constant, Error, FeatureMask, Method, Run, Target, Traced, Value};
use attr_gradient::{InputXGradient, Saliency};
use attr_metrics::*;
use attr_perturb::FeatureAblation;
use attr_testkit::device;
use attr_testkit::models::{Cnn, Residual, input, seeded};
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData, activation};

/// Every metric, with fewer samples than usual, and its values for constant and for zero
/// attributions where they do not depend on the model: NaN where it is not defined.
fn all() -> Vec<(Box<dyn Metric>, Expected, Expected)> {
    use Expected::{Any, Nan, Number};
    fn of(
        metric: impl Metric + 'static,
        constant: Expected,
        zero: Expected,
    ) -> (Box<dyn Metric>, Expected, Expected) {
        (Box::new(metric), constant, zero)
    }
    vec![
        of(Abpc::default(), Any, Any),
        of(AverageDrop::default(), Any, Any),
        of(AverageGain::default(), Any, Any),
        // With everything shown, the output stays.
        of(AverageIncrease::default(), Number(0.0), Any),
        of(Comprehensiveness::default(), Any, Any),
        of(Deletion::default(), Any, Any),
        of(EraserSufficiency::default(), Any, Any),
        of(correlation(), Nan, Nan),
        of(FaithfulnessEstimate::default(), Nan, Nan),
        of(Infidelity::default(), Any, Any),
        of(Insertion::default(), Any, Any),
        of(Irof::default(), Any, Any),
        of(Monotonicity::default(), Any, Any),
        of(ranks_of_spreads(), Nan, Nan),
        of(mu_fidelity(), Nan, Nan),
        of(PixelFlipping::default(), Any, Any),
        of(patches_of(2), Any, Any),
        of(Road::default(), Any, Any),
        of(
            Selectivity {
                patch_size: 2,
                ..Selectivity::default()
            },
            Any,
            Any,
        ),
        of(sensitivity_n(), Nan, Nan),
        // All explanations are the same, whatever the predictions.
        of(Sufficiency::default(), Any, Any),
        of(Consistency::default(), Any, Any),
        of(PointingGame::default(), Number(1.0), Nan),
        of(AttributionLocalisation::default(), Number(0.25), Nan),
        of(RelevanceMassAccuracy::default(), Number(0.25), Nan),
        of(RelevanceRankAccuracy::default(), Any, Nan),
        of(
            TopKIntersection {
                k: Some(5),
                ..TopKIntersection::default()
            },
            Any,
            Nan,
        ),
        of(Auc::default(), Number(0.5), Nan),
        of(Focus::default(), Number(0.25), Nan),
        of(Complexity::default(), Number(64f64.ln()), Nan),
        of(EffectiveComplexity::default(), Number(64.0), Number(0.0)),
        of(Mstc::default(), Any, Number(0.0)),
        of(Sparseness::default(), Number(0.0), Number(0.0)),
        of(Completeness::default(), Any, Any),
        of(NonSensitivity::default(), Any, Any),
    ]
}

/// Metrics that explain again.
fn again() -> Vec<Box<dyn Metric>> {
    vec![
        Box::new(AvgSensitivity {
            nr_samples: 4,
            ..AvgSensitivity::default()
        }),
        Box::new(Continuity {
            nr_steps: 4,
            ..Continuity::default()
        }),
        Box::new(LocalLipschitzEstimate {
            nr_samples: 4,
            ..LocalLipschitzEstimate::default()
        }),
        Box::new(RelativeInputStability {
            nr_samples: 4,
            ..RelativeInputStability::default()
        }),
        Box::new(RelativeOutputStability {
            nr_samples: 4,
            ..RelativeOutputStability::default()
        }),
        Box::new(RelativeRepresentationStability {
            nr_samples: 4,
            ..RelativeRepresentationStability::default()
        }),
        Box::new(SensitivityMax::default()),
        Box::new(EfficientMprt::default()),
        Box::new(Mprt::default()),
        Box::new(RandomLogit::default()),
        Box::new(SmoothMprt {
            nr_samples: 3,
            ..SmoothMprt::default()
        }),
        Box::new(InputInvariance::default()),
    ]
}

fn correlation() -> FaithfulnessCorrelation {
    FaithfulnessCorrelation {
        nr_runs: 8,
        ..FaithfulnessCorrelation::default()
    }
}

fn ranks_of_spreads() -> MonotonicityCorrelation {
    MonotonicityCorrelation {
        nr_samples: 2,
        features_in_step: 16,
        ..Default::default()
    }
}

fn mu_fidelity() -> MuFidelity {
    MuFidelity {
        nb_samples: 8,
        grid_size: 4,
        ..MuFidelity::default()
    }
}

fn sensitivity_n() -> SensitivityN {
    SensitivityN {
        nr_samples: 6,
        nr_sizes: 3,
        ..SensitivityN::default()
    }
}

fn patches_of(patch_size: usize) -> RegionPerturbation {
    RegionPerturbation {
        patch_size,
        ..RegionPerturbation::default()
    }
}

/// What a metric gives.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// A finite number.
    Any,
    /// This number.
    Number(f64),
    /// Nothing: it is not defined.
    Nan,
}

impl Expected {
    fn fits(self, value: f64) -> bool {
        match self {
            Self::Any => value.is_finite(),
            Self::Number(number) => (value - number).abs() < 1e-6,
            Self::Nan => value.is_nan(),
        }
    }
}

const ROWS: usize = 3;

fn images() -> Tensor<4> {
    input([ROWS, 1, 8, 8], 3)
}

fn traced() -> Traced {
    let net = seeded(Cnn::new(&device()), 5);
    let forward = |net: &Cnn, x: Tensor<4>| activation::softmax(net.forward(x), 1);
    Traced::new(&net, forward, &images()).unwrap()
}

/// Masks of 16 of 64 pixels.
fn quarter() -> Tensor<4, Int> {
    let inside = (0..ROWS * 64).map(|i| i64::from(i % 64 < 16));
    let data = TensorData::new(inside.collect::<Vec<i64>>(), [ROWS, 1, 8, 8]);
    Tensor::from_data(data, &device())
}

#[test]
fn constant_and_zero_attributions() {
    let (model, x) = (traced(), images());
    let evaluation = Evaluation::new(&model, &x, Target::Predicted).with_masks(quarter());
    for (metric, constant, zero) in all() {
        let name = metric.about().name;
        for (level, expected) in [(1.0, constant), (0.0, zero)] {
            let given = Given::from(x.clone().zeros_like() + level);
            let score = evaluation.measure(&*metric, given).unwrap();
            let fits = score.values.iter().all(|&value| expected.fits(value));
            assert!(
                fits,
                "{name} of {level}: {:?}, not {expected:?}",
                score.values
            );
        }
    }
}

#[test]
fn tables_say_which_metric_is_hardly_defined() {
    let (model, x) = (traced(), images());
    let evaluation = Evaluation::new(&model, &x, Target::Predicted);
    let flat = Given::from(x.clone().zeros_like() + 1.0);
    let metrics: [&dyn Metric; 2] = [&FaithfulnessEstimate::default(), &Sparseness::default()];
    let explainers = [("flat", Explainer::from(flat))];
    let table = evaluation
        .compare_each(&explainers, &metrics, &mut |_, _| {})
        .unwrap();
    let expected = "faithfulness-estimate says little about flat: it is not defined on 3 of 3 rows";
    assert_eq!(table.flags(), [expected]);
}

/// Nothing that a model does changes: what compares changes is not defined, and nothing else fails.
#[test]
fn constant_models() {
    let x = images();
    let model = |x: Tensor<4>| x.flatten::<2>(1, 3).sum_dim(1).repeat_dim(1, 3) * 0.0 + 1.0;
    let evaluation = Evaluation::new(&model, &x, 1).with_masks(quarter());
    let given = Given::from(input::<4>([ROWS, 1, 8, 8], 9));
    let undefined = [
        "faithfulness-correlation",
        "faithfulness-estimate",
        "monotonicity-correlation",
        "mu-fidelity",
        "sensitivity-n",
        "average-gain",
    ];
    for (metric, ..) in all() {
        let name = metric.about().name;
        let score = evaluation.measure(&*metric, given.clone()).unwrap();
        // These compare rows, and no row has another's explanation.
        if matches!(name, "sufficiency" | "consistency") {
            continue;
        }
        let defined = score.values.iter().all(|value| value.is_finite());
        assert_eq!(
            defined,
            !undefined.contains(&name),
            "{name}: {:?}",
            score.values
        );
    }
    let unchanged = ["abpc", "comprehensiveness", "eraser-sufficiency", "irof"];
    for (metric, ..) in all() {
        if unchanged.contains(&metric.about().name) {
            let score = evaluation.measure(&*metric, given.clone()).unwrap();
            assert_eq!(score.values, [0.0; ROWS], "{}", score.metric);
        }
    }
}

#[test]
fn masks_without_inside_or_outside() {
    let (model, x) = (traced(), images());
    let given = Given::from(input::<4>([ROWS, 1, 8, 8], 9));
    for (level, share) in [(0, f64::NAN), (1, 1.0)] {
        let masks = Tensor::<4, Int>::zeros([ROWS, 1, 8, 8], &device()) + level;
        let evaluation = Evaluation::new(&model, &x, 0).with_masks(masks);
        for (metric, ..) in all() {
            let about = metric.about();
            if about.family != Family::Localisation {
                continue;
            }
            let score = evaluation.measure(&*metric, given.clone()).unwrap();
            let alone = about.name == "auc" || level == 0;
            for value in score.values {
                let fits = if alone {
                    value.is_nan()
                } else {
                    (value - share).abs() < 1e-9
                };
                assert!(fits, "{} of masks of {level}: {value}", about.name);
            }
        }
    }
    let error = Evaluation::new(&model, &x, 0).measure(&Auc::default(), given);
    assert!(matches!(error, Err(Error::Method { .. })));
}

#[test]
fn attributions_that_cannot_be_judged() {
    let (model, x) = (traced(), images());
    let evaluation = Evaluation::new(&model, &x, 0).with_masks(quarter());
    let nan = Given::from(x.clone() * f32::NAN);
    let small = Given::from(Tensor::<4>::ones([ROWS, 1, 4, 4], &device()));
    let few = Given::from(x.clone().narrow(0, 0, 2));
    for (metric, ..) in all() {
        let name = metric.about().name;
        let error = evaluation.measure(&*metric, nan.clone()).unwrap_err();
        assert!(matches!(error, Error::NonFinite { .. }), "{name}: {error}");
        for given in [&small, &few] {
            let error = evaluation.measure(&*metric, given.clone()).unwrap_err();
            assert!(matches!(error, Error::Shape { .. }), "{name}: {error}");
        }
    }
    for metric in again() {
        let error = evaluation
            .measure(&*metric, Given::from(x.clone()))
            .unwrap_err();
        let message = error.to_string();
        assert!(message.contains("attributions were given"), "{message}");
    }
}

/// A row's score does not depend on its neighbours or on the budget, and comes again.
#[test]
fn rows_budgets_and_seeds() {
    let (model, x) = (traced(), images());
    let method = InputXGradient::new();
    let target = || Target::Classes(vec![1, 0, 2]);
    let whole = Evaluation::new(&model, &x, target()).with_masks(quarter());
    let one_by_one = Evaluation::new(&model, &x, target())
        .with_masks(quarter())
        .with_run(Run::new().with_budget(Budget::Rows(1)));
    let of_all = all().into_iter().map(|(metric, ..)| metric);
    for metric in of_all.chain(again()) {
        let name = metric.about().name;
        let score = whole.measure(&*metric, &method).unwrap();
        for again in [&whole, &one_by_one] {
            let other = again.measure(&*metric, &method).unwrap();
            close(name, &other.values, &score.values);
        }
        // These compare rows with each other.
        if matches!(name, "sufficiency" | "consistency") {
            continue;
        }
        for row in 0..ROWS {
            let one = x.clone().narrow(0, row, 1);
            let mask = quarter().narrow(0, row, 1);
            let class = [1, 0, 2][row];
            let alone = Evaluation::new(&model, &one, class).with_masks(mask);
            let alone = alone.measure(&*metric, &method).unwrap();
            close(name, &alone.values, &score.values[row..row + 1]);
        }
    }
}

fn close(name: &str, got: &[f64], expected: &[f64]) {
    for (got, expected) in got.iter().zip(expected) {
        let same = got.is_nan() && expected.is_nan();
        let near = (got - expected).abs() <= 2e-3 * expected.abs().max(0.05);
        assert!(same || near, "{name}: {got} instead of {expected}");
    }
}

/// What one metric or method evaluated, no other evaluates again.
#[test]
fn evaluations_are_shared() {
    let (model, x) = (traced(), images());
    let saliency = Saliency::new();
    let product = InputXGradient::new();
    let methods: [(&str, &dyn Method); 2] = [("saliency", &saliency), ("product", &product)];
    let (deletion, flipping, abpc) = (
        Deletion {
            steps: 64,
            ..Deletion::default()
        },
        PixelFlipping::default(),
        Abpc {
            steps: 64,
            ..Abpc::default()
        },
    );
    let (correlation, infidelity) = (correlation(), Infidelity::default());
    let metrics: [&dyn Metric; 5] = [&deletion, &flipping, &abpc, &correlation, &infidelity];
    let table = Evaluation::new(&model, &x, 0)
        .compare(&methods, &metrics)
        .unwrap();
    assert_eq!(
        table.methods,
        ["saliency", "product", RANDOM, EDGE_DETECTOR]
    );
    let evaluations = |method: usize, metric: usize| table.scores[method][metric].work.forward_rows;
    // The first metric also explains. The last point of a curve is the same for all methods, and a
    // few others may happen to be.
    assert_eq!(evaluations(0, 0), ROWS * (64 + 1));
    assert!((ROWS * 32..=ROWS * (63 + 1)).contains(&evaluations(1, 0)));
    for method in 0..4 {
        assert_eq!(
            evaluations(method, 1),
            0,
            "pixel flipping asks what deletion asked"
        );
        assert!(
            evaluations(method, 2) <= ROWS * 63,
            "only the reverse order is new"
        );
    }
    assert!(evaluations(0, 3) > 0 && evaluations(0, 4) > 0);
    for method in 1..4 {
        assert_eq!(
            evaluations(method, 3),
            0,
            "subsets are the same for all methods"
        );
        assert_eq!(
            evaluations(method, 4),
            0,
            "perturbations are the same for all methods"
        );
    }
}

/// A feature of several elements counts once, and absent elements become the baseline.
#[test]
fn features_and_baselines() {
    let x = Tensor::<2>::from_floats([[1.0, 2.0, 3.0, 4.0]], &device());
    let model = |x: Tensor<2>| x.sum_dim(1);
    let halves = Tensor::<2, Int>::from_ints([[0, 0, 1, 1]], &device());
    let evaluation = Evaluation::new(&model, &x, 0)
        .with_features(FeatureMask::from(halves))
        .with_baseline(-1.0);
    let given = Given::from(x.clone());
    let curve = |metric: &dyn Metric| {
        let score = evaluation.measure(metric, given.clone()).unwrap();
        score.curves.unwrap().remove(0)
    };
    // Without 3 and 4, then without anything.
    assert_eq!(curve(&Deletion::default()), [10.0, 1.0, -4.0]);
    assert_eq!(curve(&Insertion::default()), [-4.0, 5.0, 10.0]);
    assert_eq!(curve(&PixelFlipping::default()), [1.0, -4.0]);
    // LeRF is without 1 and 2 first: 10, 5, -4.
    assert_eq!(curve(&Abpc::default()), [0.0, 4.0, 0.0]);
    let completeness = evaluation.measure(&Completeness::default(), given).unwrap();
    assert_eq!(completeness.values, [4.0]);
}

/// A table of a network with parameters drawn at random.
#[test]
fn tuning_picks_the_better_candidate() {
    let (model, x) = (traced(), input::<4>([12, 1, 8, 8], 7));
    let evaluation = Evaluation::new(&model, &x, Target::Predicted);
    let (random, ablation, product) = (
        RandomMap::new(1),
        FeatureAblation::new(),
        InputXGradient::new(),
    );
    let candidates: [(&str, &dyn Method); 3] = [
        ("random", &random),
        ("product", &product),
        ("ablation", &ablation),
    ];
    let halving = Halving {
        first_rows: 2,
        ..Halving::default()
    };
    let metric = FaithfulnessEstimate::default();
    let tuned = evaluation
        .tune(&random, &candidates, &metric, &halving)
        .unwrap();
    // Ablation is what the estimate correlates with.
    assert_eq!(tuned.best, "ablation");
    assert!(tuned.is_better());
    assert!((tuned.best_score.mean() - 1.0).abs() < 1e-4);
    let sizes: Vec<(usize, usize)> = tuned
        .rounds
        .iter()
        .map(|round| (round.rows, round.candidates.len()))
        .collect();
    assert_eq!(sizes, [(2, 3), (4, 2)]);
    assert_eq!(tuned.best_score.values.len(), 6);
    for (rows, share) in [(1, 0.5), (4, 0.0), (4, 1.0)] {
        let some = x.clone().narrow(0, 0, rows);
        let halving = Halving {
            held_out: share,
            ..Halving::default()
        };
        let few = Evaluation::new(&model, &some, 0);
        let error = few
            .tune(&random, &candidates, &metric, &halving)
            .unwrap_err();
        assert!(matches!(error, Error::Parameter { .. }), "{error}");
    }
}

/// Laws hold for methods that obey them, and show those that do not.
#[test]
fn laws_of_two_models() {
    let device = device();
    let x = Tensor::<2>::from_floats([[1.0, 2.0, 2.0], [-1.0, 0.5, 0.5]], &device);
    let f = |x: Tensor<2>| x.powi_scalar(2).sum_dim(1);
    let g = |x: Tensor<2>| (x * 3.0).sum_dim(1);
    let both = |x: Tensor<2>| x.clone().powi_scalar(2).sum_dim(1) * 2.0 - (x * 3.0).sum_dim(1);
    let signed = Saliency::new().with_abs(false);
    let found = laws::linearity(&signed, [&f, &g], [2.0, -1.0], &both, &x, 0).unwrap();
    assert!(found < 1e-6, "{found}");
    let found = laws::linearity(&Saliency::new(), [&f, &g], [2.0, -1.0], &both, &x, 0).unwrap();
    assert!(found > 0.1, "magnitudes are not linear: {found}");
    assert_eq!(laws::symmetry(&signed, &f, &x, 0, 0, [1, 2]).unwrap(), 0.0);
    assert!(laws::symmetry(&signed, &f, &x, 0, 0, [0, 1]).unwrap() > 0.1);
    let first = |x: Tensor<2>| x.narrow(1, 0, 1);
    assert_eq!(laws::dummy(&signed, &first, &x, 0, 0, 2).unwrap(), 0.0);
    assert!(laws::dummy(&signed, &first, &x, 0, 0, 9).is_err());
    let same = |x: Tensor<2>| (x.clone() * x).sum_dim(1);
    assert!(laws::implementation_invariance(&signed, &f, &same, &x, 0).unwrap() < 1e-6);
}

/// Randomised parameters change the output, and the model that they were drawn for stays.
#[test]
fn parameters_are_replaced_in_a_copy() {
    let (model, x) = (traced(), images());
    let before = model.forward(&x).unwrap().to_vec().unwrap();
    let layers = model.parameters().unwrap();
    let paths = layers.iter().flat_map(|layer| &layer.values);
    let names: Vec<&str> = paths.map(|(path, _)| path.as_str()).collect();
    let module = seeded(Cnn::new(&device()), 5);
    assert_eq!(
        layers
            .iter()
            .flat_map(|l| &l.values)
            .map(|(_, v)| elements(v))
            .sum::<usize>(),
        module.num_params(),
        "{names:?}"
    );
    let (path, value) = layers[0].values[0].clone();
    let zero = value.map(|v| v * 0.0).unwrap();
    let other = model.with_parameters([(path.clone(), zero)]).unwrap();
    assert_ne!(other.forward(&x).unwrap().to_vec().unwrap(), before);
    let back = other.with_parameters([(path, value.clone())]).unwrap();
    assert_eq!(back.forward(&x).unwrap().to_vec().unwrap(), before);
    assert_eq!(model.forward(&x).unwrap().to_vec().unwrap(), before);
    let error = model
        .with_parameters([("conv.weigth".to_string(), value.clone())])
        .err();
    let error = error.map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("nearest"), "{error}");
    let path = layers[0].values[0].0.clone();
    let wrong = model.with_parameters([(path, x.clone().into())]).err();
    assert!(matches!(wrong, Some(Error::Shape { .. })), "{wrong:?}");
    let shifted = model.with_shifted_inputs(2.5);
    let same = shifted
        .forward(&(x.clone() + 2.5))
        .unwrap()
        .to_vec()
        .unwrap();
    for (same, before) in same.iter().zip(&before) {
        assert!((same - before).abs() < 1e-4 * before.abs().max(1.0));
    }
}

fn elements(value: &Value) -> usize {
    value.shape().iter().product()
}

/// Superpixels differ in number from image to image: rows are judged as if alone.
#[test]
fn rows_with_different_numbers_of_features() {
    let (model, x) = (traced(), images());
    // Two, three and four features.
    let numbers = (0..ROWS * 64).map(|i| (i % 64 * (i / 64 + 2) / 64) as i64);
    let numbers = TensorData::new(numbers.collect::<Vec<i64>>(), [ROWS, 1, 8, 8]);
    let mask = Tensor::<4, Int>::from_data(numbers, &device());
    let classes = vec![1, 0, 2];
    let method = InputXGradient::new();
    let whole = Evaluation::new(&model, &x, classes.clone()).with_features(mask.clone());
    let metrics: [&dyn Metric; 3] = [
        &Irof::default(),
        &Sparseness::default(),
        &Deletion::default(),
    ];
    for metric in metrics {
        let score = whole.measure(metric, &method).unwrap();
        for (row, &class) in classes.iter().enumerate() {
            let one = x.clone().narrow(0, row, 1);
            let alone =
                Evaluation::new(&model, &one, class).with_features(mask.clone().narrow(0, row, 1));
            let alone = alone.measure(metric, &method).unwrap();
            close(&score.metric, &alone.values, &score.values[row..row + 1]);
            let points = |score: &Score, row: usize| score.curves.as_ref().map(|c| c[row].len());
            assert_eq!(points(&score, row), points(&alone, 0));
        }
    }
    let tables: [(&str, &dyn Method); 1] = [("product", &method)];
    let table = whole.compare(&tables, &metrics).unwrap();
    assert_eq!(table.scores[0][0].values.len(), ROWS);
    let taken: [(&str, &dyn Method); 1] = [(RANDOM, &method)];
    assert!(matches!(
        whole.compare(&taken, &metrics),
        Err(Error::Parameter { .. })
    ));
}

/// Running variances must stay positive when parameters become random.
#[test]
fn networks_with_batch_norm_are_randomised() {
    let net = seeded(Residual::new(&device()), 3);
    let x = input::<4>([2, 2, 6, 6], 4);
    let model = Traced::new(&net, |net: &Residual, x| net.forward(x), &x).unwrap();
    let varied = model
        .parameters()
        .unwrap()
        .into_iter()
        .flat_map(|layer| layer.values);
    let varied = varied.filter(|(path, _)| path.contains("running"));
    let varied: Vec<(String, Value)> = varied
        .map(|(path, value)| {
            let count = elements(&value);
            let numbers = (0..count)
                .map(|i| 0.01 + (i * i) as f32)
                .collect::<Vec<f32>>();
            let numbers = TensorData::new(numbers, value.shape());
            (path, Value::from_data(numbers, &device()))
        })
        .collect();
    assert!(!varied.is_empty(), "the statistics are parameters");
    let model = model.with_parameters(varied).unwrap();
    for seed in 0..8 {
        let (each, all) = (
            Mprt {
                seed,
                ..Mprt::default()
            },
            EfficientMprt {
                seed,
                ..EfficientMprt::default()
            },
        );
        let metrics: [&dyn Metric; 2] = [&each, &all];
        for metric in metrics {
            let score = Evaluation::new(&model, &x, 0).measure(metric, &InputXGradient::new());
            assert!(score.unwrap().values.iter().all(|value| value.is_finite()));
        }
    }
}

/// A constant before the image is not the image.
#[test]
fn the_explained_input_need_not_be_the_first() {
    let x = (
        Constant(input::<4>([2, 1, 16, 16], 1)),
        input::<4>([2, 3, 8, 8], 2),
    );
    let model = |(_, image): (Constant<Tensor<4>>, Tensor<4>)| {
        image.flatten::<2>(1, 3).narrow(1, 0, 4).powi_scalar(2)
    };
    let target = || Target::Class(1);
    let evaluation = Evaluation::new(&model, &x, target());
    let saliency = Saliency::new();
    let metrics: [&dyn Metric; 4] = [
        &Mstc::default(),
        &Continuity {
            nr_steps: 3,
            ..Continuity::default()
        },
        &Road::default(),
        &mu_fidelity(),
    ];
    let table = evaluation
        .compare(&[("saliency", &saliency)], &metrics)
        .unwrap();
    assert_eq!(table.methods[2], EDGE_DETECTOR);
}
