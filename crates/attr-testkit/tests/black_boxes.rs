//! Compares ablation, permutation, occlusion and exact Shapley values with Captum 0.9.0 on five
//! models. `tools/golden/perturbation_family.py` writes Captum's results.

use std::collections::BTreeSet;

use attr_core::{
    AtLayers, Baseline, Baselines, FeatureMask, Inputs, LayerMethod, Method, Target, Traced, Value,
    Values,
};
use attr_perturb::{FeatureAblation, FeaturePermutation, Occlusion, ShapleyValues};
use attr_testkit::compare::assert_close;
use attr_testkit::device;
use attr_testkit::golden::{Array, fill, path};
use attr_testkit::models::{Cnn, Conv1dNet, EmbeddingClassifier, Mlp, TwoInputs};
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use serde::Deserialize;

use crate::captum::Case;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Found>,
}

/// One of Captum's results.
#[derive(Deserialize)]
struct Found {
    model: String,
    method: String,
    layer: Option<String>,
    to_input: bool,
    neuron: Option<Vec<usize>>,
    baseline: Option<Absent>,
    masks: Option<Vec<Array>>,
    options: Options,
    values: Vec<Array>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Absent {
    Number(f64),
    Named(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Options {
    windows: Vec<Vec<usize>>,
    strides: Vec<Vec<usize>>,
    permutation: Vec<usize>,
}

/// Returns the masks, renumbered without gaps.
fn mask(found: &Found) -> FeatureMask {
    let Some(masks) = &found.masks else {
        return FeatureMask::Elements;
    };
    let numbers: BTreeSet<i64> = masks
        .iter()
        .flat_map(|mask| mask.data.iter().map(|&id| id as i64))
        .collect();
    let masks = masks.iter().map(|mask| {
        let ids = mask
            .data
            .iter()
            .map(|&id| numbers.range(..id as i64).count() as i64);
        let data = TensorData::new(ids.collect::<Vec<_>>(), [mask.data.len()]);
        let ids = Tensor::<1, Int>::from_data(data, &device());
        Value::from(ids).reshape(&mask.shape)
    });
    FeatureMask::Each(masks.collect())
}

/// Returns the baselines of the inputs, or of the explained layer.
fn baselines(found: &Found, case: &Case, model: &Traced) -> Baselines {
    match &found.baseline {
        None => Baselines::default(),
        Some(Absent::Number(number)) => Baselines::from(*number),
        Some(Absent::Named(name)) if name == "zero" => Baselines::default(),
        Some(Absent::Named(_)) => match (&found.layer, &found.neuron) {
            (Some(layer), None) => {
                let at = layer.clone() + if found.to_input { "@input" } else { "" };
                let absent = case.baselines().absent(&case.inputs()).unwrap();
                let there = model.activations(&absent, &[&at]).unwrap().remove(0);
                Baseline::Tensor(there).into()
            }
            _ => case.baselines(),
        },
    }
}

fn ours(found: &Found, case: &Case, model: &Traced) -> Vec<Option<Value>> {
    let inputs = case.inputs();
    let targets = Target::Classes(case.targets.clone());
    let absent = baselines(found, case, model);
    let mask = mask(found);
    let values = |method: &dyn Method, model: &Traced, target: Target| {
        let got = Method::attribute(&method, model, &inputs, target).unwrap();
        got.values().to_vec()
    };
    let ablation = || {
        FeatureAblation::new()
            .with_feature_mask(mask.clone())
            .with_baseline(absent.clone())
    };
    match &found.method[..] {
        "feature_ablation" => values(&ablation(), model, targets),
        "feature_permutation" => {
            let permutation = FeaturePermutation::new()
                .with_feature_mask(mask)
                .with_permutation(found.options.permutation.clone());
            values(&permutation, model, targets)
        }
        "occlusion" => {
            let occlusion = Occlusion::new(found.options.windows.clone())
                .with_strides(found.options.strides.clone())
                .with_baseline(absent);
            values(&occlusion, model, targets)
        }
        "shapley_values" => {
            let shapley = ShapleyValues::new()
                .with_feature_mask(mask)
                .with_baseline(absent);
            values(&shapley, model, targets)
        }
        "layer_feature_ablation" => {
            let layer = found.layer.clone().unwrap();
            let at = layer + if found.to_input { "@input" } else { "" };
            let method = AtLayers::new([at.clone()], ablation());
            let got = LayerMethod::attribute(&method, model, &inputs, targets).unwrap();
            vec![Some(got.value(&at).unwrap().clone())]
        }
        "neuron_feature_ablation" => {
            let layer = found.layer.as_ref().unwrap();
            let unit = Target::unit(found.neuron.clone().unwrap());
            values(&ablation(), &model.to_layer(layer).unwrap(), unit)
        }
        other => panic!("{other} is unknown"),
    }
}

fn compare<M, I>(
    name: &str,
    module: M,
    forward: impl Fn(&M, I) -> Tensor<2> + Send + Sync + 'static,
    expected: usize,
) where
    M: Module + 'static,
    I: Inputs,
{
    let text = std::fs::read_to_string(path("perturbation.json")).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let case = Case::load(name);
    let module = fill(module, &case.parameters);
    let inputs: Values = case.inputs();
    let example = I::from_values(inputs).unwrap();
    let model = Traced::new(&module, forward, &example).unwrap();
    let mut compared = 0;
    for (i, found) in golden.cases.iter().enumerate() {
        if found.model != name {
            continue;
        }
        let what = format!("{name}, case {i}: {}", found.method);
        let got = ours(found, &case, &model);
        assert_eq!(got.len(), found.values.len(), "{what}");
        for (got, expected) in got.iter().zip(&found.values) {
            assert_close(&what, got.as_ref().unwrap(), &expected.value(), 1e-5);
        }
        compared += 1;
    }
    assert_eq!(compared, expected, "{name}");
}

#[test]
fn a_perceptron() {
    compare(
        "mlp",
        Mlp::new(&device()),
        |m, x: Tensor<2>| m.forward(x),
        17,
    );
}

#[test]
fn two_inputs_that_meet_in_a_product() {
    let forward = |m: &TwoInputs, (l, r): (Tensor<2>, Tensor<2>)| m.forward(l, r);
    compare("two_inputs", TwoInputs::new(&device()), forward, 14);
}

#[test]
fn a_convolutional_network() {
    compare(
        "cnn",
        Cnn::new(&device()),
        |m, x: Tensor<4>| m.forward(x),
        15,
    );
}

#[test]
fn a_network_over_sequences() {
    let forward = |m: &Conv1dNet, x: Tensor<3>| m.forward(x);
    compare("conv1d", Conv1dNet::new(&device()), forward, 9);
}

#[test]
fn tokens() {
    let forward = |m: &EmbeddingClassifier, x: Tensor<2, Int>| m.forward(x);
    compare("embedding", EmbeddingClassifier::new(&device()), forward, 9);
}
