//! Compares metrics with Quantus 0.6.0 and Captum 0.9.0, given the same attributions and draws.
//!
//! `DEVIATIONS` lists the entries of the golden file for which they deviate from the paper, with
//! the formula that decides. Every other entry must agree.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;

use attr_core::perturb::Perturbation;
use attr_core::{Baseline, Error, FeatureMask, Model, Target, Traced, Value, Values};
use attr_gradient::{InputXGradient, Saliency};
use attr_metrics::{
    AttributionLocalisation, Auc, AvgSensitivity, Completeness, Complexity, Consistency,
    Continuity, EffectiveComplexity, EfficientMprt, Evaluation, Explainer, FaithfulnessCorrelation,
    FaithfulnessEstimate, Focus, Given, Infidelity, InputInvariance, Irof, LocalLipschitzEstimate,
    Metric, Monotonicity, MonotonicityCorrelation, Mprt, Mstc, NonSensitivity, Perturb,
    PerturbedRows, PixelFlipping, PointingGame, RandomLogit, Randomised, RegionPerturbation,
    RelativeInputStability, RelativeOutputStability, RelativeRepresentationStability,
    RelevanceMassAccuracy, RelevanceRankAccuracy, Road, Selectivity, SensitivityMax, SensitivityN,
    SmoothMprt, Sparseness, Sufficiency, TopKIntersection, explained_by,
};
use attr_testkit::compare::assert_close_slices;
use attr_testkit::device;
use attr_testkit::golden::{Array, fill, path};
use attr_testkit::models::Cnn;
use burn::tensor::{Int, Tensor, TensorData};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};

/// The golden file.
#[derive(Deserialize)]
struct Golden {
    targets: Vec<usize>,
    six: Six,
    randomised_parameters: HashMap<String, Array>,
    results: Vec<Entry>,
    #[serde(flatten)]
    arrays: HashMap<String, Json>,
}

/// Six rows, some of which have the same explanation.
#[derive(Deserialize)]
struct Six {
    targets: Vec<usize>,
    inputs: Array,
    attributions: Array,
}

/// What a library gives for one metric.
#[derive(Clone, Deserialize)]
struct Entry {
    metric: String,
    peer: String,
    options: Map<String, Json>,
    values: Vec<Option<f32>>,
    #[serde(default)]
    curve: Vec<Vec<f32>>,
    #[serde(default)]
    data: String,
    #[serde(default)]
    explainer: String,
    #[serde(default)]
    attributions: String,
    #[serde(default)]
    noise: String,
    #[serde(default)]
    baselines: Vec<f64>,
    #[serde(default)]
    other_classes: Vec<usize>,
    #[serde(default)]
    steps: Vec<Step>,
    #[serde(default)]
    sums: Vec<f64>,
    #[serde(default)]
    differences: Vec<f64>,
}

/// One step of a randomisation test.
#[derive(Clone, Deserialize)]
struct Step {
    layer: String,
    randomised: Vec<String>,
    values: Vec<f32>,
}

/// Where Quantus deviates: metric, the option by which the entry is recognised, and what is right.
const DEVIATIONS: [(&str, &str, &str); 16] = [
    (
        "monotonicity",
        "perturb_func=",
        "features must be added to the baseline (Arya et al.); Quantus replaces the baseline by \
         itself, so every explanation is monotonous",
    ),
    (
        "monotonicity-correlation",
        "perturb_baseline=\"uniform\"",
        "E[(f(x_i) - f(x))²] draws each feature (Nguyen, Martínez); Quantus draws one number for \
         all features of a step",
    ),
    (
        "region-perturbation",
        "patch_size=3",
        "patches start in the upper left corner; Quantus pads the image on both sides",
    ),
    (
        "region-perturbation",
        "order=\"random\"",
        "another random order: seeds are not shared",
    ),
    (
        "irof",
        "perturb_baseline=\"mean\"",
        "the mean of each image (Rieger, Hansen); Quantus' is that of the batch, as far as it is \
         already replaced",
    ),
    (
        "road",
        "noise=0.01",
        "another draw of noise: seeds are not shared",
    ),
    (
        "local-lipschitz-estimate",
        "normalise=true without normalise_axes",
        "each map divided by its own largest magnitude; Quantus takes that of the batch",
    ),
    (
        "local-lipschitz-estimate",
        "norm_numerator=\"distance_manhattan\"",
        "‖a - a'‖₂ / ‖x - x'‖₂ (Alvarez-Melis, Jaakkola)",
    ),
    (
        "max-sensitivity",
        "normalise=true without normalise_axes",
        "each map divided by its own largest magnitude; Quantus takes that of the batch",
    ),
    (
        "continuity",
        "normalise=true",
        "each map divided by its own largest magnitude, once; Quantus takes that of the batch, \
         twice",
    ),
    (
        "attribution-localisation",
        "weighted=true",
        "μ S_image / S_object (Kohlbrenner et al.); Quantus multiplies by S_object over the size of \
         all rows but two",
    ),
    (
        "attribution-localisation",
        "abs=false positive_attributions=false",
        "a share of signed relevance may be any number; Quantus drops those above 1",
    ),
    (
        "complexity",
        "abs=false",
        "p_i = |a_i| / Σ |a| (Bhatt et al.); Quantus takes logarithms of negative numbers",
    ),
    (
        "effective-complexity",
        "abs=false",
        "#{|a_i| > ε} (Nguyen, Martínez); Quantus does not count negative relevance",
    ),
    (
        "effective-complexity",
        "normalise=true without normalise_axes",
        "each map divided by its own largest magnitude; Quantus takes that of the batch",
    ),
    (
        "non-sensitivity",
        "abs=false or normalise=true",
        "|a_i| < ε of the map itself (Nguyen, Martínez); Quantus counts negative relevance as none, \
         and divides by the largest magnitude of the batch",
    ),
];

/// Returns why Quantus' values are not ours.
fn deviation(entry: &Entry) -> Option<&'static str> {
    let is = |name: &str, value: Json| entry.options.get(name) == Some(&value);
    let has = |name: &str| entry.options.contains_key(name);
    let by_batch = is("normalise", json!(true)) && !has("normalise_axes");
    let recognised = |option: &str| match option {
        "perturb_func=" => !has("perturb_func"),
        "perturb_baseline=\"uniform\"" => is("perturb_baseline", json!("uniform")),
        "perturb_baseline=\"mean\"" => is("perturb_baseline", json!("mean")),
        "patch_size=3" => is("patch_size", json!(3)),
        "order=\"random\"" => is("order", json!("random")),
        "noise=0.01" => is("noise", json!(0.01)),
        "normalise=true without normalise_axes" => by_batch,
        "normalise=true" => is("normalise", json!(true)),
        "norm_numerator=\"distance_manhattan\"" => has("norm_numerator"),
        "weighted=true" => is("weighted", json!(true)),
        "abs=false" => is("abs", json!(false)),
        "abs=false positive_attributions=false" => {
            is("abs", json!(false)) && is("positive_attributions", json!(false))
        }
        "abs=false or normalise=true" => is("abs", json!(false)) || by_batch,
        other => panic!("no test of {other}"),
    };
    let mut known = DEVIATIONS.iter();
    let found = known.find(|(metric, option, _)| *metric == entry.metric && recognised(option));
    found.map(|(_, _, reason)| *reason)
}

impl Golden {
    fn load() -> Self {
        let text = fs::read_to_string(path("metrics.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn array(&self, name: &str) -> Array {
        serde_json::from_value(self.arrays[name].clone()).unwrap()
    }

    fn value(&self, name: &str) -> Value {
        self.array(name).value()
    }

    fn tensor(&self, name: &str) -> Tensor<4> {
        self.value(name).tensor().unwrap()
    }

    /// The model, or the model with the parameters of some layers replaced by random ones.
    fn model(&self, randomised: &[String]) -> Traced {
        let text = fs::read_to_string(path("captum/cnn.json")).unwrap();
        let file: Json = serde_json::from_str(&text).unwrap();
        let mut parameters: HashMap<String, Array> =
            serde_json::from_value(file["parameters"].clone()).unwrap();
        for (name, array) in &self.randomised_parameters {
            if randomised
                .iter()
                .any(|layer| name.starts_with(layer.as_str()))
            {
                parameters.insert(name.clone(), array.clone());
            }
        }
        let net = fill(Cnn::new(&device()), &parameters);
        let x = self.tensor("inputs");
        Traced::new(&net, |net: &Cnn, x| net.forward(x), &x).unwrap()
    }

    fn randomised(&self, entry: &Entry) -> Vec<Randomised> {
        let steps = entry
            .steps
            .iter()
            .filter(|step| !step.randomised.is_empty());
        steps
            .map(|step| Randomised {
                layer: step.layer.clone(),
                model: self.model(&step.randomised),
            })
            .collect()
    }
}

/// Builds a metric from a library's options, which have the same names.
fn built<M: Metric + DeserializeOwned>(options: &Map<String, Json>) -> M {
    let mut options = options.clone();
    if options.get("similarity_func") == Some(&json!("correlation_spearman")) {
        options.insert("similarity_func".into(), json!("spearman"));
    }
    serde_json::from_value(Json::Object(options)).unwrap()
}

fn metric(golden: &Golden, entry: &Entry) -> Box<dyn Metric> {
    let options = &entry.options;
    let with = |more: Json| {
        let mut options = options.clone();
        options.extend(more.as_object().unwrap().clone());
        options
    };
    let noise = || vec![golden.value(&entry.noise)];
    let quantus = || with(json!({ "variant": "quantus" }));
    match entry.metric.as_str() {
        "faithfulness-correlation" => Box::new(FaithfulnessCorrelation {
            subsets: Some(subsets(&golden.array("subsets_12"))),
            ..built(options)
        }),
        "faithfulness-estimate" => Box::new(built::<FaithfulnessEstimate>(options)),
        "pixel-flipping" => Box::new(built::<PixelFlipping>(options)),
        "monotonicity" => Box::new(built::<Monotonicity>(options)),
        "monotonicity-correlation" => {
            let options = with(json!({ "perturb_baseline": "baseline" }));
            Box::new(built::<MonotonicityCorrelation>(&options))
        }
        "region-perturbation" => Box::new(built::<RegionPerturbation>(options)),
        "selectivity" => Box::new(built::<Selectivity>(options)),
        "sensitivity-n" => Box::new(built::<SensitivityN>(&quantus())),
        "irof" => Box::new(built::<Irof>(&quantus())),
        "road" => Box::new(built::<Road>(options)),
        "sufficiency" => Box::new(built::<Sufficiency>(options)),
        "local-lipschitz-estimate" => Box::new(LocalLipschitzEstimate {
            noise: noise(),
            ..built(options)
        }),
        "max-sensitivity" | "sensitivity-max" => Box::new(SensitivityMax {
            noise: noise(),
            ..built(options)
        }),
        "avg-sensitivity" => Box::new(AvgSensitivity {
            noise: noise(),
            ..built(options)
        }),
        "relative-input-stability" => Box::new(RelativeInputStability {
            any_class: true,
            noise: noise(),
            ..built(options)
        }),
        "relative-output-stability" => Box::new(RelativeOutputStability {
            any_class: true,
            noise: noise(),
            ..built(options)
        }),
        "relative-representation-stability" => Box::new(RelativeRepresentationStability {
            any_class: true,
            noise: noise(),
            ..built(options)
        }),
        "continuity" => Box::new(built::<Continuity>(options)),
        "consistency" => Box::new(built::<Consistency>(options)),
        "pointing-game" => Box::new(built::<PointingGame>(options)),
        "attribution-localisation" => Box::new(built::<AttributionLocalisation>(options)),
        "top-k-intersection" => Box::new(built::<TopKIntersection>(options)),
        "relevance-rank-accuracy" => Box::new(built::<RelevanceRankAccuracy>(options)),
        "relevance-mass-accuracy" => Box::new(built::<RelevanceMassAccuracy>(&quantus())),
        "auc" => Box::new(built::<Auc>(options)),
        "focus" => Box::new(built::<Focus>(options)),
        "sparseness" => Box::new(built::<Sparseness>(options)),
        "complexity" => Box::new(built::<Complexity>(options)),
        "effective-complexity" => Box::new(built::<EffectiveComplexity>(options)),
        "mstc" => Box::new(built::<Mstc>(options)),
        "mprt" => Box::new(Mprt {
            models: Some(golden.randomised(entry)),
            ..built(options)
        }),
        "smooth-mprt" => Box::new(SmoothMprt {
            models: Some(golden.randomised(entry)),
            noise: noise(),
            ..built(options)
        }),
        "efficient-mprt" => {
            let all = ["conv1", "conv2", "fc"].map(String::from);
            Box::new(EfficientMprt {
                model: Some(golden.model(&all)),
                ..built(options)
            })
        }
        "random-logit" => Box::new(RandomLogit {
            other_classes: Some(entry.other_classes.clone()),
            ..built(&quantus())
        }),
        "completeness" => Box::new(built::<Completeness>(options)),
        "non-sensitivity" => Box::new(built::<NonSensitivity>(options)),
        "input-invariance" => Box::new(built::<InputInvariance>(options)),
        "infidelity" => Box::new(infidelity(golden, entry, 2)),
        other => panic!("no metric {other}"),
    }
}

fn subsets(array: &Array) -> Vec<Vec<Vec<usize>>> {
    let [_, rows, size] = array.shape[..] else {
        panic!("[runs, rows, size]")
    };
    let numbers: Vec<usize> = array.data.iter().map(|&i| i as usize).collect();
    let runs = numbers.chunks(rows * size);
    runs.map(|run| run.chunks(size).map(<[usize]>::to_vec).collect())
        .collect()
}

/// Infidelity with Captum's recorded noise, or with Quantus' patches of one size.
fn infidelity(golden: &Golden, entry: &Entry, patch: usize) -> Infidelity {
    let number = |name: &str| entry.options.get(name).and_then(Json::as_f64);
    let flag = |name: &str| entry.options.get(name).and_then(Json::as_bool);
    if entry.peer == "captum" {
        let noise = golden.value(&entry.noise);
        let divide = flag("multiply_by_inputs") == Some(true);
        let baseline = number("baselines").unwrap_or(0.0);
        let perturb = move |copies: &Values, part: &[Perturbation]| {
            let noise = noise.clone().reshape(&[20, 1, 8, 8]);
            let which: Vec<usize> = part.iter().map(|copy| copy.number * 4 + copy.row).collect();
            let noise = noise.select_rows(&which);
            let x = copies.values()[0].clone();
            let difference = if divide {
                let scale = x.map(|x| {
                    let scale = x - baseline;
                    let zero = scale.clone().equal_elem(0.0);
                    scale.mask_fill(zero, 1.0)
                })?;
                noise.zip(&scale, |noise, scale| noise / scale)?
            } else {
                noise.clone()
            };
            let changed = x.zip(&noise, |x, noise| x - noise)?;
            Ok(PerturbedRows {
                inputs: copies.with(|_, _| Some(changed.clone())),
                differences: vec![Some(difference)],
            })
        };
        return Infidelity {
            n_perturb_samples: 5,
            normalize: flag("normalize").unwrap(),
            perturb: Some(Perturb::new(perturb)),
            ..Infidelity::default()
        };
    }
    let one_at_a_time = entry.options.contains_key("perturb_func");
    let baseline = number("perturb_baseline").unwrap();
    let perturb = move |copies: &Values, part: &[Perturbation]| {
        let x = copies.values()[0].clone();
        let across = 8 / patch;
        let marks = part.iter().flat_map(|copy| {
            (0..64).map(move |pixel| {
                let own = pixel / 8 / patch * across + pixel % 8 / patch;
                let changed = own == copy.number || (!one_at_a_time && own < copy.number);
                f32::from(u8::from(changed))
            })
        });
        let marks = TensorData::new(marks.collect::<Vec<f32>>(), x.shape());
        let marks = Value::from_data(marks, &x.device());
        let changed = x.zip(&marks, |x, marks| {
            x * (marks.clone().neg() + 1.0) + marks * baseline
        })?;
        Ok::<_, Error>(PerturbedRows {
            differences: vec![Some(x.zip(&changed, |x, changed| x - changed)?)],
            inputs: copies.with(|_, _| Some(changed.clone())),
        })
    };
    Infidelity {
        n_perturb_samples: (8 / patch) * (8 / patch),
        perturb: Some(Perturb::new(perturb)),
        ..Infidelity::default()
    }
}

/// Our values and curves for an entry, without NaN where Quantus has zeros.
fn measured(golden: &Golden, entry: &Entry) -> (Vec<f32>, Vec<Vec<f32>>) {
    let model = golden.model(&[]);
    let six = entry.data == "six";
    let (x, targets) = if six {
        (
            golden.six.inputs.value().tensor().unwrap(),
            golden.six.targets.clone(),
        )
    } else {
        (golden.tensor("inputs"), golden.targets.clone())
    };
    let masks = match entry.metric.as_str() {
        "focus" => mosaic(&golden.array("mosaic_classes")),
        _ if six => x.clone().ones_like().into(),
        _ => golden.value("masks"),
    };
    let mut evaluation = Evaluation::new(&model, &x, Target::Classes(targets)).with_masks(masks);
    evaluation = match (&entry.baselines[..], entry.options.get("perturb_baseline")) {
        ([_, ..], _) => {
            let means = entry.baselines.iter().flat_map(|&mean| [mean as f32; 64]);
            let means = TensorData::new(means.collect::<Vec<f32>>(), [4, 1, 8, 8]);
            evaluation.with_baseline(Tensor::<4>::from_data(means, &device()))
        }
        (_, Some(Json::Number(number))) => evaluation.with_baseline(number.as_f64().unwrap()),
        _ if entry.metric == "continuity" => evaluation.with_baseline(Baseline::Min),
        _ => evaluation,
    };
    if entry.metric == "irof" {
        let segments = golden.array("segments").data;
        let segments: Vec<i64> = segments.iter().map(|&id| id as i64).collect();
        let segments = TensorData::new(segments, [1, 1, 8, 8]);
        evaluation = evaluation.with_features(FeatureMask::Each(vec![Value::from(
            Tensor::<4, Int>::from_data(segments, &device()),
        )]));
    }
    let gradient = Saliency::new().with_abs(false);
    let product = InputXGradient::new();
    let square =
        explained_by(|x: Tensor<4>, rows: &[usize]| square_by_logit(golden, &model, x, rows));
    let given = match entry.attributions.as_str() {
        "" if six => golden.six.attributions.value(),
        "" => golden.value("attributions"),
        name => golden.value(name),
    };
    let absolute = entry.peer == "quantus" && entry.metric == "infidelity";
    let given = if absolute && entry.options["abs"] == json!(true) {
        given.map(|a| a.abs()).unwrap()
    } else {
        given
    };
    let explainer: Explainer<'_> = match entry.explainer.as_str() {
        "" => Given::from(given).into(),
        "gradient" => (&gradient).into(),
        "input-x-gradient" => (&product).into(),
        "square-x-logit" => (&square).into(),
        other => panic!("no explainer {other}"),
    };
    let patches = entry.options.get("perturb_patch_sizes");
    let metrics: Vec<Box<dyn Metric>> = match patches.and_then(Json::as_array) {
        Some(sizes) => {
            let sizes = sizes.iter().map(|size| size.as_u64().unwrap() as usize);
            let each =
                sizes.map(|size| Box::new(infidelity(golden, entry, size)) as Box<dyn Metric>);
            each.collect()
        }
        None => vec![metric(golden, entry)],
    };
    let scores = metrics.iter().map(|metric| {
        let name = &entry.metric;
        let found = evaluation.measure(&**metric, explainer.clone());
        found.unwrap_or_else(|error| panic!("{name}: {error}"))
    });
    let scores: Vec<_> = scores.collect();
    // Quantus averages over patch sizes.
    let values = (0..scores[0].values.len()).map(|row| {
        let sum: f64 = scores.iter().map(|score| score.values[row]).sum();
        (sum / scores.len() as f64) as f32
    });
    let curves = scores[0].curves.iter().flatten();
    let curves = curves.map(|curve| curve.iter().map(|&v| v as f32).collect());
    (values.collect(), curves.collect())
}

/// `x²` times the target's logit.
fn square_by_logit(
    golden: &Golden,
    model: &Traced,
    x: Tensor<4>,
    rows: &[usize],
) -> Result<Tensor<4>, Error> {
    let output =
        Model::<Tensor<4>>::forward(model, Values::new(vec![x.clone().into()], vec![true]))?;
    let output = output.to_vec()?;
    let logits = rows.iter().enumerate();
    let logits = logits.map(|(i, &row)| output[i * 3 + golden.targets[row]]);
    let logits: Vec<f32> = logits.collect();
    let logits = TensorData::new(logits, [rows.len(), 1, 1, 1]);
    Ok(x.clone() * x * Tensor::<4>::from_data(logits, &device()))
}

/// The quadrants of a mosaic that hold the class.
fn mosaic(classes: &Array) -> Value {
    let rows = classes.data.chunks(4).flat_map(|quadrants| {
        (0..64).map(move |pixel| quadrants[pixel / 32 * 2 + usize::from(pixel % 8 >= 4)])
    });
    let data = TensorData::new(rows.collect::<Vec<f32>>(), [classes.shape[0], 1, 8, 8]);
    Value::from_data(data, &device())
}

/// What the library's values and curves are to be compared with.
fn check(golden: &Golden, entry: &Entry) {
    let (mut values, curves) = measured(golden, entry);
    let mut expected: Vec<f32> = entry.values.iter().map(|v| v.unwrap_or(f32::NAN)).collect();
    let what = format!("{} {:?}", entry.metric, entry.options);
    match entry.metric.as_str() {
        // Quantus gives 0 where no other row is close.
        "sufficiency" | "consistency" => {
            values
                .iter_mut()
                .filter(|v| v.is_nan())
                .for_each(|v| *v = 0.0);
        }
        // Quantus returns the curve; its values are areas.
        "pixel-flipping" | "selectivity" if !entry.curve.is_empty() => {
            for (own, theirs) in curves.iter().zip(&entry.curve) {
                assert_close_slices(&what, own, theirs, 1e-4);
            }
            let steps = (entry.curve[0].len() - 1) as f32;
            expected.iter_mut().for_each(|area| *area /= steps);
        }
        "region-perturbation" => {
            for (own, theirs) in curves.iter().zip(&entry.curve) {
                assert_close_slices(&what, own, theirs, 1e-4);
            }
            let sign = if entry.options["order"] == json!("lerf") {
                -1.0
            } else {
                1.0
            };
            let mean =
                |curve: &Vec<f32>| sign * curve.iter().sum::<f32>() / (curve.len() + 1) as f32;
            expected = entry.curve.iter().map(mean).collect();
        }
        // Ours starts at the baseline.
        "monotonicity" => {
            for (own, theirs) in curves.iter().zip(&entry.curve) {
                assert_close_slices(&what, &own[1..], theirs, 1e-4);
            }
            let rises = |curve: &Vec<f32>| curve.windows(2).all(|pair| pair[1] >= pair[0]);
            values = curves
                .iter()
                .map(|curve| f32::from(u8::from(rises(&curve[1..].to_vec()))))
                .collect();
        }
        // One value for each step, or for each percentage.
        "sensitivity-n" => values.clone_from(&curves[0]),
        "road" => {
            assert_eq!(curves, entry.curve, "{what}");
            values = (0..expected.len())
                .map(|k| curves.iter().map(|curve| curve[k]).sum::<f32>() / curves.len() as f32)
                .collect();
        }
        "irof" => {
            for (own, theirs) in curves.iter().zip(&entry.curve) {
                assert_close_slices(&what, own, theirs, 1e-4);
            }
        }
        // Quantus averages over the unchanged model, too.
        "mprt" | "smooth-mprt" => {
            for (k, step) in entry.steps[1..].iter().enumerate() {
                let own: Vec<f32> = curves.iter().map(|curve| curve[k]).collect();
                assert_close_slices(&format!("{what} {}", step.layer), &own, &step.values, 1e-4);
            }
            let layers = (entry.steps.len() - 1) as f32;
            expected
                .iter_mut()
                .for_each(|mean| *mean = (*mean * (layers + 1.0) - 1.0) / layers);
        }
        // Quantus says whether both are equal to the last bit.
        "completeness" => {
            let pairs = entry.sums.iter().zip(&entry.differences);
            expected = pairs
                .map(|(sum, change)| (sum - change).abs() as f32)
                .collect();
            values.push(1.0);
            expected.push(1.0);
        }
        // Quantus leaves the first pixel unshifted, which changes one row's gradient.
        "input-invariance" if entry.explainer == "gradient" => expected = vec![1.0; 4],
        _ => {}
    }
    assert_close_slices(&what, &values, &expected, 1e-4);
}

#[test]
fn metrics_agree_with_quantus_and_captum() {
    let golden = Golden::load();
    let mut agree: BTreeMap<&str, usize> = BTreeMap::new();
    let mut deviate: BTreeSet<&str> = BTreeSet::new();
    for entry in &golden.results {
        if let Some(reason) = deviation(entry) {
            deviate.insert(reason);
            continue;
        }
        check(&golden, entry);
        *agree.entry(&entry.metric).or_default() += 1;
    }
    assert!(agree.len() >= 30, "only {} metrics: {agree:?}", agree.len());
    let reasons: BTreeSet<&str> = DEVIATIONS.iter().map(|(_, _, reason)| *reason).collect();
    assert_eq!(deviate, reasons, "a deviation that no entry shows");
}
