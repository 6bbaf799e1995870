//! Compares class activation maps with pytorch-grad-cam, and path methods and regions with PAIR's
//! saliency library. `tools/golden/cams_and_paths.py` writes their results.

use std::collections::HashMap;

use attr_core::{
    Baseline, Baselines, Error, Explanation, Inputs, LayerMethod, Method, Question, Target, Traced,
    Value,
};
use attr_gradient::cam::weighting::ExceptionalActivation;
use attr_gradient::{
    AblationCam, BlurIntegratedGradients, CamConfig, EigenCam, EigenGradCam, Fem, FullGrad,
    GradCam, GradCamElementWise, GradCamPlusPlus, GuidedIntegratedGradients, HiResCam, Idgi,
    IdgiPath, LayerCam, Resize, ScoreCam, ShapleyCam, XGradCam, Xrai, XraiAlgorithm,
};
use attr_testkit::compare::{assert_close, assert_close_slices};
use attr_testkit::device;
use attr_testkit::golden::{Array, fill, path};
use attr_testkit::models::{Cnn, Residual, Vit, input, seeded};
use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    inputs: Vec<Array>,
    baselines: Vec<Array>,
    targets: Vec<usize>,
}

#[derive(Deserialize)]
struct Parameters {
    parameters: HashMap<String, Array>,
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let text = std::fs::read_to_string(path(name)).expect("the golden file is there");
    serde_json::from_str(&text).expect("the golden file is of this form")
}

fn module<M: Module>(name: &str, module: M) -> M {
    let case: Parameters = read(&format!("captum/{name}.json"));
    fill(module, &case.parameters)
}

/// Returns a model of the golden files, and its input.
fn model(name: &str, case: &Case) -> (Traced, Tensor<4>) {
    let x = case.inputs[0].value().tensor::<4>().unwrap();
    let traced = match name {
        "cnn" => {
            let module = module(name, Cnn::new(&device()));
            Traced::new(&module, |m: &Cnn, x: Tensor<4>| m.forward(x), &x)
        }
        "residual" => {
            let module = module(name, Residual::new(&device()));
            Traced::new(&module, |m: &Residual, x: Tensor<4>| m.forward(x), &x)
        }
        "vit" => {
            let module = module(name, Vit::new(&device()));
            Traced::new(&module, |m: &Vit, x: Tensor<4>| m.forward(x), &x)
        }
        other => panic!("no model {other}"),
    };
    (traced.unwrap(), x)
}

#[derive(Deserialize)]
struct Cams {
    models: HashMap<String, Case>,
    results: Vec<Cam>,
}

#[derive(Deserialize)]
struct Cam {
    model: String,
    method: String,
    layer: Option<String>,
    options: CamOptions,
    values: Array,
    sign_arbitrary: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CamOptions {
    reshape: Option<String>,
    ablation: Option<String>,
    k: Option<f64>,
}

#[test]
fn class_activation_maps_are_those_of_pytorch_grad_cam() {
    let cams: Cams = read("cams.json");
    let mut compared = 0;
    for found in &cams.results {
        let case = &cams.models[&found.model];
        let (model, x) = model(&found.model, case);
        let Some(layer) = &found.layer else { continue };
        // PyTorch names activations after their modules.
        let layer = match &layer[..] {
            "relu1" if found.model == "cnn" => "conv1.relu",
            "relu2" if found.model == "cnn" => "conv2.relu",
            "relu1" | "relu2" | "input" => continue,
            other => other,
        };
        if found.options.ablation.as_deref() == Some("package") && !layer.ends_with("relu") {
            continue; // The package inserts minus ten million instead of zero.
        }
        let config = CamConfig {
            grid: match found.options.reshape {
                Some(_) => vec![2, 2],
                None => Vec::new(),
            },
            ..CamConfig::default()
        };
        let layers = [layer];
        let method: Box<dyn LayerMethod> = match &found.method[..] {
            "GradCAM" => Box::new(GradCam::new(layers).with_config(config)),
            "GradCAMPlusPlus" => Box::new(GradCamPlusPlus::new(layers).with_config(config)),
            "HiResCAM" => Box::new(HiResCam::new(layers).with_config(config)),
            "GradCAMElementWise" => Box::new(GradCamElementWise::new(layers).with_config(config)),
            "XGradCAM" => Box::new(XGradCam::new(layers).with_config(config)),
            "LayerCAM" => Box::new(LayerCam::new(layers).with_config(config)),
            "EigenCAM" => Box::new(EigenCam::new(layers).with_config(config)),
            "EigenGradCAM" => Box::new(EigenGradCam::new(layers).with_config(config)),
            "AblationCAM" => Box::new(AblationCam::new(layers).with_config(config)),
            "ScoreCAM" => Box::new(ScoreCam::new(layers).with_config(config)),
            "ShapleyCAM" => Box::new(ShapleyCam::new(layers).with_config(config)),
            "FEM" => {
                let k = found.options.k.unwrap();
                Box::new(
                    Fem::new(layers)
                        .with_config(config)
                        .with_weighting(ExceptionalActivation { k }),
                )
            }
            // No method here corresponds to the others.
            _ => continue,
        };
        let what = format!("{} {} at {layer}", found.model, found.method);
        let got = method.attribute(&model, &x, case.targets.clone()).unwrap();
        let mut got = got.value(layer).unwrap().to_vec().unwrap();
        if found.sign_arbitrary {
            let size = got.len() / case.targets.len();
            let rows = got.chunks_mut(size).zip(found.values.data.chunks(size));
            for (got, expected) in rows {
                let dot: f32 = got.iter().zip(expected).map(|(a, b)| a * b).sum();
                got.iter_mut().for_each(|v| *v *= dot.signum());
            }
        }
        // attr computes the product with the second derivative as a difference of gradients.
        let tolerance = if found.method == "ShapleyCAM" {
            1e-3
        } else {
            1e-4
        };
        assert_close_slices(&what, &got, &found.values.data, tolerance);
        compared += 1;
    }
    assert!(compared >= 60, "only {compared} maps");
}

#[derive(Deserialize)]
struct Paths {
    models: HashMap<String, Case>,
    xrai: HashMap<String, Regions>,
    results: Vec<Found>,
}

#[derive(Deserialize)]
struct Regions {
    attribution: Array,
    segments: HashMap<String, Vec<Array>>,
}

#[derive(Deserialize)]
struct Found {
    model: String,
    row: usize,
    target: usize,
    method: String,
    options: PathOptions,
    values: Array,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PathOptions {
    max_sigma: f64,
    steps: usize,
    sqrt: bool,
    x_steps: usize,
    fraction: f64,
    max_dist: f64,
    segments: String,
    algorithm: XraiAlgorithm,
    area_threshold: f64,
    min_pixel_diff: usize,
    attribution: String,
}

/// A fixed attribution.
struct Given(Value);

impl Method for Given {
    fn explain(&self, question: &Question<'_>) -> Result<Vec<Explanation>, Error> {
        let inputs = question.inputs();
        let value = self.0.select_rows(inputs.origin());
        let each = question.targets().iter();
        Ok(each
            .map(|_| Explanation::new(vec![Some(value.clone())], vec![0.0; inputs.rows()]))
            .collect())
    }
}

#[test]
fn path_methods_and_regions_are_those_of_pair() {
    let paths: Paths = read("paths.json");
    let mut compared = HashMap::<&str, usize>::new();
    for found in &paths.results {
        let case = &paths.models[&found.model];
        let (model, x) = model(&found.model, case);
        let x = x.narrow(0, found.row, 1);
        let baseline = case.baselines[0]
            .value()
            .slice_rows(found.row..found.row + 1);
        let baseline = || Baselines::each(vec![Baseline::Tensor(baseline.clone())]);
        let options = &found.options;
        let method: Box<dyn Method> = match &found.method[..] {
            "BlurIG" => {
                let blur = BlurIntegratedGradients::new().with_max_sigma(options.max_sigma);
                Box::new(blur.with_steps(options.steps).with_sqrt(options.sqrt))
            }
            "GuidedIG" => {
                let guided = GuidedIntegratedGradients::new().with_steps(options.x_steps);
                let guided = guided.with_fraction(options.fraction);
                let guided = guided.with_max_dist(options.max_dist);
                Box::new(guided.with_baseline(baseline()))
            }
            "IDGI" => {
                let path = IdgiPath::Straight {
                    n_steps: options.steps,
                };
                Box::new(Idgi::along(path).with_baseline(baseline()))
            }
            "XRAI" if options.attribution == "given" => {
                let regions = &paths.xrai[&found.model];
                let attribution = regions.attribution.value();
                let attribution = attribution.slice_rows(found.row..found.row + 1);
                let maps = regions.segments[&options.segments].iter().map(|mask| {
                    // Only the inside of the mask is a segment.
                    let labels: Vec<i64> = mask.data.iter().map(|v| *v as i64 - 1).collect();
                    let shape = [&[1, 1], &mask.shape[..]].concat();
                    Value::from_data(TensorData::new(labels, shape), &device())
                });
                let maps: Vec<Value> = maps
                    .map(|map| map.int_tensor::<4>().map(Value::from).unwrap())
                    .collect();
                let config = attr_gradient::XraiConfig {
                    algorithm: options.algorithm,
                    area_threshold: options.area_threshold,
                    min_pixel_diff: options.min_pixel_diff,
                };
                Box::new(Xrai::of(Given(attribution), maps).with_config(config))
            }
            _ => continue,
        };
        let got = method.attribute(&model, &x, found.target).unwrap();
        let what = format!("{} row {} {}", found.model, found.row, found.method);
        let value = got.values()[0].as_ref().unwrap();
        assert_close(&what, value, &found.values.value(), 1e-4);
        *compared.entry(&found.method[..]).or_default() += 1;
    }
    for method in ["BlurIG", "GuidedIG", "IDGI", "XRAI"] {
        assert!(
            compared.get(method).is_some_and(|n| *n >= 4),
            "{method}: {compared:?}"
        );
    }
}

#[test]
fn the_sums_of_path_methods_are_the_change_of_the_output() {
    let module = seeded(Vit::new(&device()), 3);
    let x = input([2, 1, 8, 8], 4);
    let model = Traced::new(&module, |m: &Vit, x: Tensor<4>| m.forward(x), &x).unwrap();
    let blur = BlurIntegratedGradients::new()
        .with_max_sigma(4.0)
        .with_steps(30);
    let guided = GuidedIntegratedGradients::new().with_steps(40);
    let idgi: [(&str, IdgiPath); 3] = [
        ("straight", IdgiPath::Straight { n_steps: 12 }),
        ("blur", IdgiPath::Blur(blur)),
        ("guided", IdgiPath::Guided(guided.clone())),
    ];
    for (name, path) in idgi {
        let found = Idgi::along(path).attribute(&model, &x, 1).unwrap();
        for delta in found.delta().unwrap() {
            assert!(delta.abs() < 1e-4, "{name}: {delta}");
        }
        let values = found.values()[0].as_ref().unwrap().to_vec().unwrap();
        let total: f32 = values[..64].iter().sum();
        assert!(total.abs() > 1e-3, "{name}: nothing was explained");
    }
    let near = guided
        .clone()
        .with_steps(400)
        .attribute(&model, &x, 1)
        .unwrap();
    let far = guided.with_steps(20).attribute(&model, &x, 1).unwrap();
    let worst = |delta: &[f32]| delta.iter().fold(0f32, |m, d| m.max(d.abs()));
    let (near, far) = (worst(near.delta().unwrap()), worst(far.delta().unwrap()));
    assert!(near < 0.3 * far, "more steps, smaller delta: {near} {far}");
}

#[test]
fn full_gradients_add_up_to_the_output() {
    let x = input([2, 1, 8, 8], 4);
    let module = seeded(Cnn::new(&device()), 3);
    let model = Traced::new(&module, |m: &Cnn, x: Tensor<4>| m.forward(x), &x).unwrap();
    let found = FullGrad::new()
        .attribute(&model, &x, Target::Predicted)
        .unwrap();
    assert_eq!(found.attribution().dims(), [2, 1, 8, 8]);
    assert!(
        found.delta().unwrap().iter().all(|d| d.abs() < 1e-5),
        "{:?}",
        found.delta()
    );
    let work = found.work();
    assert_eq!((work.forward_rows, work.backward_rows), (2, 2));

    let x = input([2, 2, 5, 5], 5);
    let module = seeded(Residual::new(&device()), 3);
    let model = Traced::new(&module, |m: &Residual, x: Tensor<4>| m.forward(x), &x).unwrap();
    let found = FullGrad::new().attribute(&model, &x, 1).unwrap();
    assert!(
        found.delta().unwrap().iter().all(|d| d.abs() < 1e-5),
        "{:?}",
        found.delta()
    );
}

#[test]
fn maps_are_resized_in_any_number_of_dimensions() {
    let line = Value::from(Tensor::<3>::from_floats([[[0.0, 2.0]]], &device()));
    let near = Resize::Nearest.to(&line, &[4]).unwrap();
    assert_close_slices(
        "nearest",
        &near.to_vec().unwrap(),
        &[0.0, 0.0, 2.0, 2.0],
        1e-6,
    );
    let linear = Resize::Bilinear.to(&line, &[4]).unwrap();
    assert_close_slices(
        "linear",
        &linear.to_vec().unwrap(),
        &[0.0, 0.5, 1.5, 2.0],
        1e-6,
    );
    let volume = Value::from(input([1, 2, 2, 3, 4], 1));
    let grown = Resize::Bilinear.to(&volume, &[4, 6, 8]).unwrap();
    assert_eq!(grown.shape(), [1, 2, 4, 6, 8]);
    let same = Resize::Bicubic.to(&volume, &[2, 3, 4]).unwrap();
    assert_close("the same size", &same, &volume, 1e-5);
    assert!(matches!(
        Resize::Nearest.to(&line, &[4, 4]),
        Err(Error::Shape { .. })
    ));
    // A map at the input's size, through a method.
    let x = input([1, 1, 8, 8], 4);
    let module = seeded(Cnn::new(&device()), 3);
    let model = Traced::new(&module, |m: &Cnn, x: Tensor<4>| m.forward(x), &x).unwrap();
    for mode in [Resize::Nearest, Resize::Bilinear, Resize::Bicubic] {
        let cam = GradCam::new(["conv1", "conv2"]).with_interpolation(mode);
        let cam = cam.attribute(&model, &x, 1).unwrap();
        assert_eq!(cam.tensor::<4>("conv2").unwrap().dims(), [1, 1, 8, 8]);
        assert_eq!((cam.work().forward_rows, cam.work().backward_rows), (1, 1));
    }
    assert!(
        GradCam::new(["fc"])
            .with_grid([2, 2])
            .attribute(&model, &x, 1)
            .is_err()
    );
    let _ = x.to_values();
}
