//! Compares latent shift and counterfactuals with the authors' implementation.

use std::collections::HashMap;

use attr_core::{Attribution, Error, Method, Run, Target, Traced, Value};
use attr_gradient::{
    Counterfactual, CounterfactualConfig, LatentShift, LatentShiftConfig, Shift, ShiftHeatmap,
    ShiftSearch, Stop,
};
use attr_testkit::compare::assert_close_slices;
use attr_testkit::device;
use attr_testkit::golden::path;
use attr_testkit::models::seeded;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Tensor, TensorData, activation};
use serde::Deserialize;

/// Written by `tools/golden/latent_shift.py`.
#[derive(Deserialize)]
struct Golden {
    parameters: HashMap<String, Array>,
    inputs: Array,
    cases: Vec<Case>,
    wachter: Vec<Wachter>,
}

#[derive(Clone, Deserialize)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    inputs: Vec<usize>,
    target: usize,
    options: LatentShiftConfig,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    stop: Option<String>,
    searched: Option<Vec<f64>>,
    lambdas: Vec<f64>,
    preds: Vec<f32>,
    heatmaps: HashMap<String, Array>,
    images: Option<Array>,
}

#[derive(Deserialize)]
struct Wachter {
    input: usize,
    options: Options,
    counterfactual: Array,
    heatmap: Array,
}

#[derive(Deserialize)]
struct Options {
    target: usize,
    #[serde(flatten)]
    config: CounterfactualConfig,
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(path("latent_shift.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

impl Array {
    fn tensor<const D: usize>(&self) -> Tensor<D> {
        let data = TensorData::new(self.data.clone(), self.shape.clone());
        Tensor::from_data(data, &device())
    }
}

/// The networks, as closures from their parameters.
#[derive(Clone)]
struct Networks(HashMap<String, (Tensor<2>, Tensor<1>)>);

impl Networks {
    fn new(golden: &Golden) -> Self {
        let names = [
            "encoder",
            "decoder1",
            "decoder2",
            "classifier1",
            "classifier2",
        ];
        let layers = names.map(|name| {
            let parameter = |kind: &str| &golden.parameters[&format!("{name}.{kind}")];
            let layer = (parameter("weight").tensor(), parameter("bias").tensor());
            (name.to_string(), layer)
        });
        Self(layers.into_iter().collect())
    }

    fn layer(&self, name: &str, x: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = &self.0[name];
        x.matmul(weight.clone()) + bias.clone().unsqueeze_dim(0)
    }

    fn encode(&self, x: Tensor<4>) -> Tensor<2> {
        self.layer("encoder", x.flatten(1, 3)).tanh()
    }

    fn decode(&self, z: Tensor<2>) -> Tensor<4> {
        let hidden = self.layer("decoder1", z).tanh();
        let flat = activation::softplus(self.layer("decoder2", hidden), 1.0);
        flat.reshape([-1, 1, 6, 6])
    }

    fn classify(&self, x: Tensor<4>) -> Tensor<2> {
        let hidden = self.layer("classifier1", x.flatten(1, 3)).tanh();
        self.layer("classifier2", hidden)
    }

    fn shift(&self) -> LatentShift {
        let (encoder, decoder) = (self.clone(), self.clone());
        LatentShift::new(
            move |x: Tensor<4>| encoder.encode(x),
            move |z: Tensor<2>| decoder.decode(z),
        )
    }
}

fn inputs(golden: &Golden, rows: &[usize]) -> Tensor<4> {
    let all = golden.inputs.tensor::<4>();
    Tensor::cat(
        rows.iter()
            .map(|&row| all.clone().narrow(0, row, 1))
            .collect(),
        0,
    )
}

const HEATMAPS: [(&str, ShiftHeatmap); 4] = [
    ("int", ShiftHeatmap::Int),
    ("mean", ShiftHeatmap::Mean),
    ("mm", ShiftHeatmap::Mm),
    ("max", ShiftHeatmap::Max),
];

fn check(what: &str, shift: &Shift, expected: &Sample) {
    let stop = shift.searched.last().map(|point| point.stop);
    let stop = stop.map(|stop| match stop {
        Some(Stop::Turned) => "rises",
        Some(Stop::Extreme) => "low",
        Some(Stop::Enough) => "difference",
        Some(Stop::Far) => "steps",
        Some(Stop::Changed) => "pixels",
        None => "nothing",
    });
    assert_eq!(stop, expected.stop.as_deref(), "{what}");
    let searched: Vec<f64> = shift.searched.iter().map(|point| point.lambda).collect();
    assert_eq!(
        searched,
        expected.searched.clone().unwrap_or_default(),
        "{what}"
    );
    let lambdas: Vec<f32> = shift.lambdas.iter().map(|&l| l as f32).collect();
    let expected_lambdas: Vec<f32> = expected.lambdas.iter().map(|&l| l as f32).collect();
    assert_close_slices(
        &format!("{what}, lambdas"),
        &lambdas,
        &expected_lambdas,
        1e-6,
    );
    assert_close_slices(
        &format!("{what}, predictions"),
        &shift.predictions,
        &expected.preds,
        1e-4,
    );
    if let Some(images) = &expected.images {
        let got = shift.images.to_vec().unwrap();
        assert_close_slices(&format!("{what}, images"), &got, &images.data, 1e-4);
    }
}

#[test]
fn shifts_are_the_authors() {
    let golden = golden();
    let networks = Networks::new(&golden);
    let stops = golden.cases.iter().flat_map(|case| &case.samples);
    let stops: std::collections::BTreeSet<_> = stops.map(|sample| &sample.stop).collect();
    assert_eq!(stops.len(), 6, "each stop and none: {stops:?}");
    let sequence = [0.0, -10.0, -21.0, -34.0, -48.0, -63.0, -80.0, -98.0, -118.0];
    let all = golden.cases.iter().flat_map(|case| &case.samples);
    assert!(
        all.filter_map(|s| s.searched.as_ref())
            .any(|s| s[..] == sequence)
    );
    for case in &golden.cases {
        let x = inputs(&golden, &case.inputs);
        let model = |x: Tensor<4>| networks.classify(x);
        for (name, method) in HEATMAPS {
            let config = LatentShiftConfig {
                heatmap_method: method,
                ..case.options.clone()
            };
            let shift = networks.shift().with_config(config);
            let shifts = shift.shifts(&model, &x, case.target).unwrap();
            assert_eq!(shifts.len(), case.samples.len());
            for (row, (shift, expected)) in shifts.iter().zip(&case.samples).enumerate() {
                let what = format!("{}, row {row}", case.name);
                check(&what, shift, expected);
                let got = shift.heatmap.to_vec().unwrap();
                let expected = &expected.heatmaps[name].data;
                assert_close_slices(&format!("{what}, {name}"), &got, expected, 1e-4);
            }
            let maps = shift.attribute(&model, &x, case.target).unwrap();
            let all = shifts.iter().map(|shift| shift.heatmap.clone());
            let all = Value::cat_rows(all.collect()).unwrap().to_vec().unwrap();
            assert_eq!(maps.values()[0].as_ref().unwrap().to_vec().unwrap(), all);
        }
    }
}

/// Closures over modules and traced modules agree, and so do rows of a batch and single rows.
#[test]
fn shifts_do_not_depend_on_how_they_are_asked_for() {
    let golden = golden();
    let networks = Networks::new(&golden);
    let x = inputs(&golden, &[1, 2, 4]);
    let model = |x: Tensor<4>| networks.classify(x);
    let encoder: Linear = seeded(LinearConfig::new(36, 5).init(&device()), 1).valid();
    let decoder: Linear = seeded(LinearConfig::new(5, 36).init(&device()), 2).valid();
    let encode = |encoder: &Linear, x: Tensor<4>| encoder.forward(x.flatten::<2>(1, 3));
    let decode = |decoder: &Linear, z: Tensor<2>| decoder.forward(z).reshape([-1, 1, 6, 6]);
    let z = encode(&encoder, x.clone());
    let traced = LatentShift::traced(
        Traced::new(&encoder, encode, &x).unwrap(),
        Traced::new(&decoder, decode, &z).unwrap(),
    );
    let closures = LatentShift::new(
        move |x: Tensor<4>| encode(&encoder, x),
        move |z: Tensor<2>| decode(&decoder, z),
    );
    let read = |found: &Attribution<Tensor<4>>| found.values()[0].as_ref().unwrap().to_vec();
    let targets = [2usize, 0, 1];
    let together = closures.attribute(&model, &x, targets.to_vec()).unwrap();
    let together = read(&together).unwrap();
    assert!(together.iter().any(|v| *v > 1e-3));
    let found = traced.attribute(&model, &x, targets.to_vec()).unwrap();
    assert_close_slices("traced", &read(&found).unwrap(), &together, 1e-5);
    let mut singles = Vec::new();
    for (row, target) in targets.into_iter().enumerate() {
        let one = x.clone().narrow(0, row, 1);
        let found = closures.attribute(&model, &one, target).unwrap();
        singles.extend(read(&found).unwrap());
    }
    assert_close_slices("rows one by one", &singles, &together, 1e-5);
    let several = [Target::Class(2), Target::Class(0)];
    let several = traced
        .attribute_targets(&model, &x, &several, &Run::new())
        .unwrap();
    for (found, class) in several.iter().zip([2, 0]) {
        let alone = traced.attribute(&model, &x, class).unwrap();
        assert_close_slices(
            "targets",
            &read(found).unwrap(),
            &read(&alone).unwrap(),
            1e-6,
        );
    }
}

/// The mirror image of the search to the left: for the negative output, it goes to the right.
#[test]
fn the_search_also_goes_right() {
    let golden = golden();
    let networks = Networks::new(&golden);
    // Elsewhere the decoder saturates, and rounding decides when the prediction turns.
    let x = inputs(&golden, &[1]);
    let model = |x: Tensor<4>| networks.classify(x);
    let negative = |x: Tensor<4>| -networks.classify(x);
    let config = LatentShiftConfig {
        search_max_pixel_diff_pct: 0.5,
        ..LatentShiftConfig::default()
    };
    let left = networks.shift().with_config(config.clone());
    let left = left.shifts(&model, &x, 2).unwrap();
    let right = networks.shift().with_config(config.clone());
    let right = right
        .with_search(ShiftSearch::Right)
        .shifts(&negative, &x, 2)
        .unwrap();
    let both = networks
        .shift()
        .with_config(config)
        .with_search(ShiftSearch::Both);
    let both = both.shifts(&model, &x, 2).unwrap();
    for ((left, right), both) in left.iter().zip(&right).zip(&both) {
        let mirrored: Vec<f64> = right.searched.iter().map(|point| -point.lambda).collect();
        let lambdas: Vec<f64> = left.searched.iter().map(|point| point.lambda).collect();
        assert_eq!(lambdas, mirrored);
        assert_eq!(
            left.searched.last().unwrap().stop,
            right.searched.last().unwrap().stop
        );
        assert_eq!(both.lambdas[0], left.lambdas[0]);
        assert!(both.lambdas.last().unwrap() >= &0.0);
    }
}

#[test]
fn counterfactuals_are_the_authors() {
    let golden = golden();
    let networks = Networks::new(&golden);
    let model = |x: Tensor<4>| networks.classify(x);
    assert_eq!(golden.wachter.len(), 3);
    for case in &golden.wachter {
        let x = inputs(&golden, &[case.input]);
        let method = Counterfactual::new(0.0).with_config(case.options.config.clone());
        let found = method
            .counterfactuals(&model, &x, case.options.target)
            .unwrap();
        let found = found[0].as_ref().unwrap().to_vec().unwrap();
        assert_close_slices("counterfactual", &found, &case.counterfactual.data, 1e-4);
        let map = method.attribute(&model, &x, case.options.target).unwrap();
        let map = map.values()[0].as_ref().unwrap().to_vec().unwrap();
        assert_close_slices("what moved", &map, &case.heatmap.data, 1e-3);
    }
    // Rows do not affect each other.
    let method = Counterfactual::new(0.0);
    let both = method
        .attribute(&model, &inputs(&golden, &[0, 4]), vec![1, 2])
        .unwrap();
    let both = both.values()[0].clone().unwrap();
    for (row, (input, target)) in [(0, 1), (4, 2)].into_iter().enumerate() {
        let alone = method
            .attribute(&model, &inputs(&golden, &[input]), target)
            .unwrap();
        let alone = alone.values()[0].as_ref().unwrap().to_vec().unwrap();
        let own = both.slice_rows(row..row + 1).to_vec().unwrap();
        assert_close_slices("a row of a batch", &own, &alone, 1e-4);
    }
}

#[test]
fn what_makes_no_sweep_is_refused() {
    let golden = golden();
    let networks = Networks::new(&golden);
    let x = inputs(&golden, &[0]);
    let model = |x: Tensor<4>| networks.classify(x);
    let config = LatentShiftConfig::default;
    let wrong = [
        (
            "fix_range",
            LatentShiftConfig {
                fix_range: Some([1.0, 1.0]),
                ..config()
            },
        ),
        (
            "fix_range",
            LatentShiftConfig {
                fix_range: Some([f64::NAN, 1.0]),
                ..config()
            },
        ),
        (
            "lambda_sweep_steps",
            LatentShiftConfig {
                lambda_sweep_steps: 1,
                ..config()
            },
        ),
        (
            "search_step_size",
            LatentShiftConfig {
                search_step_size: 0.0,
                ..config()
            },
        ),
        (
            "search_max_steps",
            LatentShiftConfig {
                search_max_steps: f64::INFINITY,
                ..config()
            },
        ),
        (
            "search_pred_diff",
            LatentShiftConfig {
                search_pred_diff: -0.1,
                ..config()
            },
        ),
    ];
    for (parameter, config) in wrong {
        let shift = networks.shift().with_config(config);
        match shift.attribute(&model, &x, 0) {
            Err(Error::Parameter { name, .. }) => assert_eq!(name, parameter),
            other => panic!(
                "{parameter}: {:?}",
                other.map(|found| found.scores().to_vec())
            ),
        }
    }
    let small = LatentShift::new(|x: Tensor<4>| x.flatten::<2>(1, 3), |z: Tensor<2>| z);
    let error = small.attribute(&model, &x, 0).unwrap_err().to_string();
    assert!(
        error.contains("the decoder's output") && error.contains("[1, 1, 6, 6]"),
        "{error}"
    );
    let two = |a: Tensor<4>, b: Tensor<4>| networks.classify(a + b);
    let pair = (x.clone(), x.clone());
    let two = |(a, b): (Tensor<4>, Tensor<4>)| two(a, b);
    let error = networks
        .shift()
        .attribute(&two, &pair, Target::Class(0))
        .unwrap_err();
    assert!(
        error.to_string().contains("mark the others as constant"),
        "{error}"
    );
    let slow = Counterfactual::new(0.0).with_config(CounterfactualConfig {
        lr: -1.0,
        ..CounterfactualConfig::default()
    });
    assert!(matches!(
        slow.attribute(&model, &x, 0),
        Err(Error::Parameter { name: "lr", .. })
    ));
}
