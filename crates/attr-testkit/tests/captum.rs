//! Compares the gradient methods with Captum 0.9.0 on eight models.
//!
//! `tools/golden/gradient_family.py` writes Captum's results.

use std::collections::HashMap;

use attr_core::{
    AtLayers, Baseline, Baselines, Explanation, Inputs, LayerMethod, Method, Target, Traced, Value,
    Values,
};
use attr_gradient::{
    Conductance, Deconvolution, DeepLift, DeepLiftShap, GradCam, GradientShap, GradientXActivation,
    GuidedBackprop, GuidedGradCam, InputXGradient, IntegratedGradients, InternalInfluence,
    LayerActivation, NeuronConductance, Quadrature, Saliency,
};
use attr_testkit::compare::assert_close;
use attr_testkit::device;
use attr_testkit::golden::{Array, fill, path};
use attr_testkit::models::{
    Cnn, Conv1dNet, EmbeddingClassifier, LstmClassifier, Mlp, Residual, TwoInputs, Vit,
};
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Case {
    pub parameters: HashMap<String, Array>,
    inputs: Vec<Array>,
    integer_inputs: bool,
    baselines: Vec<Array>,
    distribution: Vec<Array>,
    pub targets: Vec<usize>,
    output: Array,
    results: Vec<Found>,
    /// DeepLIFT with a step between a ReLU and the max pooling after it. Without the step, Captum
    /// ignores the pooling's rule.
    #[serde(default)]
    separated_results: Vec<Found>,
}

/// One of Captum's results.
#[derive(Deserialize)]
struct Found {
    method: String,
    layer: Option<String>,
    to_input: bool,
    neuron: Option<Vec<usize>>,
    options: Options,
    values: Vec<Array>,
    delta: Option<Vec<f32>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Options {
    n_steps: usize,
    method: Quadrature,
    n_samples: usize,
    seed: u64,
    relu_attributions: bool,
}

impl Case {
    pub fn load(name: &str) -> Self {
        let text = std::fs::read_to_string(path("captum").join(format!("{name}.json")));
        serde_json::from_str(&text.expect("the golden file is there")).expect("of this form")
    }

    fn value(&self, array: &Array) -> Value {
        if !self.integer_inputs {
            return array.value();
        }
        let ids: Vec<i64> = array.data.iter().map(|&id| id as i64).collect();
        let data = TensorData::new(ids, array.shape.clone());
        Tensor::<2, Int>::from_data(data, &device()).into()
    }

    pub fn inputs(&self) -> Values {
        let values: Vec<Value> = self.inputs.iter().map(|x| self.value(x)).collect();
        let count = values.len();
        Values::new(values, vec![true; count])
    }

    pub fn baselines(&self) -> Baselines {
        let each = self.baselines.iter();
        Baselines::each(each.map(|b| Baseline::Tensor(self.value(b))).collect())
    }

    fn distribution(&self) -> Baselines {
        let each = self.distribution.iter();
        Baselines::each(each.map(|b| Baseline::Distribution(b.value())).collect())
    }
}

/// Computes attr's explanations for one of Captum's results.
fn ours(case: &Case, model: &Traced, found: &Found) -> Vec<Explanation> {
    let inputs = case.inputs();
    let targets = Target::Classes(case.targets.clone());
    let options = &found.options;
    let layer =
        found.layer.clone().unwrap_or_default() + if found.to_input { "@input" } else { "" };
    let name = &found.method[..];
    let at_inputs = |model: &Traced, method: &dyn Method, target: &Target| {
        let got = Method::attribute(&method, model, &inputs, target.clone()).unwrap();
        let delta = got.delta().map(<[f32]>::to_vec);
        vec![Explanation::new(got.values().to_vec(), got.scores().to_vec()).with_delta(delta)]
    };
    let at_layer = |method: &dyn LayerMethod| {
        let got = LayerMethod::attribute(&method, model, &inputs, targets.clone()).unwrap();
        got.explanations().to_vec()
    };
    let ig = || {
        IntegratedGradients::new()
            .with_steps(options.n_steps)
            .with_method(options.method)
            .with_baseline(case.baselines())
    };
    let deep_lift = || DeepLift::new().with_baseline(case.baselines());
    let deep_lift_shap = || DeepLiftShap::new().with_baseline(case.distribution());
    let gradient_shap = || {
        GradientShap::new()
            .with_samples(options.n_samples)
            .with_seed(options.seed)
            .with_baseline(case.distribution())
    };
    let single: Box<dyn Method> = match name.trim_start_matches("Neuron") {
        "Saliency" => Box::new(Saliency::new()),
        "Gradient" => Box::new(Saliency::new().with_abs(false)),
        "InputXGradient" => Box::new(InputXGradient::new()),
        "IntegratedGradients" => Box::new(ig()),
        "DeepLift" => Box::new(deep_lift()),
        "DeepLiftShap" => Box::new(deep_lift_shap()),
        "GradientShap" => Box::new(gradient_shap()),
        "GuidedBackprop" => Box::new(GuidedBackprop::new()),
        "Deconvolution" => Box::new(Deconvolution::new()),
        "GuidedGradCam" => Box::new(GuidedGradCam::new(&layer[..])),
        "Conductance" => {
            let neuron = Target::unit(found.neuron.clone().unwrap());
            let method = NeuronConductance::new(&layer[..], neuron)
                .with_steps(options.n_steps)
                .with_method(options.method)
                .with_baseline(case.baselines());
            return at_inputs(model, &method, &targets);
        }
        "LayerActivation" => return at_layer(&LayerActivation::new([layer])),
        "LayerGradientXActivation" => return at_layer(&GradientXActivation::new([layer])),
        "LayerIntegratedGradients" => return at_layer(&AtLayers::new([layer], ig())),
        "LayerConductance" => {
            let method = Conductance::new([layer]).with_steps(options.n_steps);
            let method = method.with_method(options.method);
            return at_layer(&method.with_baseline(case.baselines()));
        }
        "InternalInfluence" => {
            let method = InternalInfluence::new([layer]).with_steps(options.n_steps);
            let method = method.with_method(options.method);
            return at_layer(&method.with_baseline(case.baselines()));
        }
        "LayerGradCam" => {
            return at_layer(&GradCam::new([layer]).with_relu(options.relu_attributions));
        }
        "LayerDeepLift" => return at_layer(&deep_lift().at_layers([layer])),
        "LayerDeepLiftShap" => return at_layer(&deep_lift_shap().at_layers([layer])),
        "LayerGradientShap" => return at_layer(&gradient_shap().at_layers([layer])),
        other => panic!("a method of Captum's that is not known: {other}"),
    };
    match &found.neuron {
        Some(neuron) => {
            let part = model.to_layer(&layer).unwrap();
            at_inputs(&part, &*single, &Target::unit(neuron.clone()))
        }
        None => at_inputs(model, &*single, &targets),
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |m, v| m.max(v.abs()))
}

/// Where Captum's results are incomplete for a model.
#[derive(Clone, Copy, PartialEq)]
enum Captum {
    /// Nowhere.
    Complete,
    /// Layers are bypassed. Captum's delta at a layer counts what went around the layer; ours only
    /// what the layer changed.
    Bypassed,
    /// As `Bypassed`, and Captum's DeepLIFT lacks rules for operations of the model.
    WithoutRules,
}

/// Compares every result.
fn compare<I: Inputs, M: Module + 'static>(
    name: &str,
    module: M,
    forward: fn(&M, I) -> Tensor<2>,
    captum: Captum,
) {
    let (complete, bypassed) = (captum != Captum::WithoutRules, captum != Captum::Complete);
    let case = Case::load(name);
    let module = fill(module, &case.parameters);
    let example = I::from_values(case.inputs()).unwrap();
    let model = Traced::new(&module, forward, &example).unwrap();
    let output = model.forward(&case.inputs()).unwrap();
    assert_close(
        &format!("{name}, output"),
        &output,
        &case.output.value(),
        1e-5,
    );
    // The change of the output per row, to which DeepLIFT's contributions must add up.
    let baselines = case.baselines.iter().map(|b| case.value(b)).collect();
    let baselines = Values::new(baselines, vec![true; case.inputs.len()]);
    let targets = Target::Classes(case.targets.clone());
    let of = |inputs: &Values| {
        let output = model.forward(inputs).unwrap();
        targets.choose(&output, inputs).unwrap().scores
    };
    let ends = of(&case.inputs()).into_iter().zip(of(&baselines));
    let changes: Vec<f32> = ends.map(|(x, b)| x - b).collect();
    let key = |found: &Found| {
        format!(
            "{name}, {} {:?} {} {:?}",
            found.method, found.layer, found.to_input, found.neuron
        )
    };
    let separated: HashMap<String, &Found> = case
        .separated_results
        .iter()
        .map(|found| (key(found), found))
        .collect();
    let mut compared = 0;
    for found in &case.results {
        let what = key(found);
        let found = separated.get(&what).copied().unwrap_or(found);
        let got = ours(&case, &model, found);
        let deep_lift = found.method.contains("DeepLift");
        let tokens = found.method == "LayerDeepLift" && found.layer.as_deref() == Some("embedding");
        if (found.method == "DeepLift" || tokens) && !found.to_input {
            let delta = got[0].delta.as_ref().unwrap();
            // Captum's own numbers, even where a separated result is compared.
            let plain = case
                .results
                .iter()
                .find(|plain| key(plain) == what)
                .unwrap();
            println!(
                "{name} | {:.3} | {:.1e} | {:.1e}",
                largest(&changes),
                largest(delta),
                largest(plain.delta.as_ref().unwrap()),
            );
            for (delta, change) in delta.iter().zip(&changes) {
                assert!(
                    delta.abs() < 1e-3 * change.abs(),
                    "{what}: {delta} of {change}"
                );
            }
        }
        if deep_lift && !complete {
            continue;
        }
        for (i, expected) in found.values.iter().enumerate() {
            let value = if found.method.starts_with("Layer") || got.len() > 1 {
                got[i].values[0].as_ref()
            } else {
                got[0].values[i].as_ref()
            };
            let mut expected = expected.value();
            if found.options.method == Quadrature::RiemannTrapezoid {
                // Captum's weights sum to (n - 1) / n.
                let n = found.options.n_steps as f64;
                let scaled = expected.matrix().unwrap() * (n / (n - 1.0));
                expected = Value::from_matrix(scaled, &expected.shape());
            }
            let value = value.unwrap_or_else(|| panic!("{what}: nothing"));
            assert_close(&what, value, &expected, 1e-4);
            compared += 1;
        }
        let rows = case.targets.len();
        if let (Some(delta), Some(expected)) = (&got[0].delta, &found.delta) {
            if found.method == "LayerIntegratedGradients" && bypassed {
                // Captum also counts what went around the layer.
                for (got, expected) in delta.iter().zip(expected) {
                    let around = expected.abs() > 0.05;
                    assert!(!around || got.abs() < 0.2 * expected.abs(), "{what}: {got}");
                }
                continue;
            }
            // Captum gives one delta for each baseline of a distribution; ours is their mean.
            let each = expected.len() / rows;
            let expected = expected
                .chunks(each)
                .map(|c| c.iter().sum::<f32>() / each as f32);
            let scale = largest(&got[0].scores).max(1.0);
            for (got, expected) in delta.iter().zip(expected) {
                assert!(
                    (got - expected).abs() < 1e-4 * scale,
                    "{what}: {got} {expected}"
                );
            }
        }
    }
    println!("{name}: {compared} results");
    assert!(compared >= 15, "{name}: only {compared} results");
}

#[test]
fn a_perceptron() {
    compare(
        "mlp",
        Mlp::new(&device()),
        |m, x: Tensor<2>| m.forward(x),
        Captum::Complete,
    );
}

#[test]
fn two_inputs_that_meet_in_a_product() {
    let forward = |m: &TwoInputs, (l, r): (Tensor<2>, Tensor<2>)| m.forward(l, r);
    compare(
        "two_inputs",
        TwoInputs::new(&device()),
        forward,
        Captum::WithoutRules,
    );
}

#[test]
fn a_convolutional_network_with_max_pooling() {
    compare(
        "cnn",
        Cnn::new(&device()),
        |m, x: Tensor<4>| m.forward(x),
        Captum::Complete,
    );
}

#[test]
fn a_residual_network_with_batch_norm() {
    compare(
        "residual",
        Residual::new(&device()),
        |m, x: Tensor<4>| m.forward(x),
        Captum::Bypassed,
    );
}

#[test]
fn a_network_over_sequences() {
    compare(
        "conv1d",
        Conv1dNet::new(&device()),
        |m, x: Tensor<3>| m.forward(x),
        Captum::Complete,
    );
}

#[test]
fn an_lstm() {
    compare(
        "lstm",
        LstmClassifier::new(&device()),
        |m, x: Tensor<3>| m.forward(x),
        Captum::WithoutRules,
    );
}

#[test]
fn a_vision_transformer() {
    compare(
        "vit",
        Vit::new(&device()),
        |m, x: Tensor<4>| m.forward(x),
        Captum::WithoutRules,
    );
}

#[test]
fn a_classifier_of_tokens() {
    let forward = |m: &EmbeddingClassifier, x: Tensor<2, Int>| m.forward(x);
    compare(
        "embedding",
        EmbeddingClassifier::new(&device()),
        forward,
        Captum::Complete,
    );
}
