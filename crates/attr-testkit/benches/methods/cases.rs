//! What is timed: each method with its settings, and what the peer is asked for beside it.

use attr_core::{FeatureMask, LayerMethod, Method, Run, Value, Work};
use attr_gradient::{
    Conductance, DeepLift, GradientShap, IntegratedGradients, NoiseTunnel, Saliency,
};
use attr_lrp_crp::{
    Condition, Crp, Lrp, Preset, epsilon, epsilon_alpha2_beta1, epsilon_gamma_box, epsilon_plus,
    epsilon_plus_flat,
};
use attr_perturb::{FeatureAblation, Occlusion, ShapleyValueSampling, ShapleyValues};
use attr_surrogate::{KernelShap, Lime};
use attr_testkit::device;
use burn::tensor::{Int, Tensor, TensorData};
use serde_json::{Value as Json, json};

use crate::subjects::{Built, Features, Subject};

/// How attr computes a row.
enum Ours {
    Forward,
    Inputs(Box<dyn Method>),
    /// With BatchNorm folded, as relevance needs it.
    Folded(Box<dyn Method>),
    Layer(Box<dyn LayerMethod>),
    Concepts(Box<Crp<Preset>>),
}

/// The library beside attr.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Library {
    Captum,
    Zennit,
    ZennitCrp,
}

impl Library {
    pub fn name(self) -> &'static str {
        match self {
            Self::Captum => "Captum",
            Self::Zennit => "zennit",
            Self::ZennitCrp => "zennit-crp",
        }
    }
}

/// What the peer can take together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Together {
    Nothing,
    /// So many forward passes; by default, one at a time.
    Forward(usize),
    /// So many gradients; by default, all.
    Gradients(usize),
    /// So many conditions; by default, ten at a time.
    Conditions(usize),
}

/// One row of the table.
pub struct Case {
    pub method: &'static str,
    pub setting: String,
    pub library: Library,
    pub together: Together,
    /// Whether both sides compute the same numbers.
    pub same: bool,
    /// What the peer is asked for.
    pub request: Json,
    ours: Ours,
}

/// What attr found.
pub struct Found {
    pub values: Vec<f32>,
    pub work: Option<Work>,
}

fn read(values: &[Option<Value>]) -> Vec<f32> {
    let first = values[0].as_ref().expect("the input is explained");
    first.to_vec().expect("it can be read")
}

impl Case {
    /// Explains the model once.
    pub fn run(&self, subject: &Subject, built: &Built) -> Found {
        let Built { model, folded, x } = built;
        let inputs = |method: &dyn Method, model| {
            let found = Method::attribute(&method, model, x, subject.target);
            let found = found.expect("it is explained");
            Found {
                values: read(found.values()),
                work: Some(found.work()),
            }
        };
        match &self.ours {
            Ours::Forward => {
                let output = model.forward(x).expect("it runs");
                Found {
                    values: output.to_vec().expect("it can be read"),
                    work: Some(Work {
                        forward_rows: 1,
                        backward_rows: 0,
                        passes: 1,
                    }),
                }
            }
            Ours::Inputs(method) => inputs(&**method, model),
            Ours::Folded(method) => inputs(&**method, folded),
            Ours::Layer(method) => {
                let run = Run::new();
                let found = LayerMethod::attribute_with(method, model, x, subject.target, &run);
                let record = found.expect("it is explained").to_record();
                let one = record.expect("it can be read").attributions.remove(0);
                let values = one.values[0].clone().expect("the layer is explained");
                Found {
                    values: values.try_into_vec().expect("numbers"),
                    work: Some(one.work),
                }
            }
            Ours::Concepts(crp) => {
                let found = crp.attribute(folded, x, subject.target);
                let found = found.expect("it is explained");
                let maps = found.maps().iter();
                Found {
                    values: maps.flat_map(|map| read(map.values())).collect(),
                    work: found.maps().first().map(|map| map.work()),
                }
            }
        }
    }
}

/// A row with Captum, which takes nothing together.
fn captum(method: &'static str, setting: impl Into<String>, ours: Ours, request: Json) -> Case {
    Case {
        method,
        setting: setting.into(),
        library: Library::Captum,
        together: Together::Nothing,
        same: true,
        request,
        ours,
    }
}

impl Case {
    fn together(self, together: Together) -> Self {
        Self { together, ..self }
    }

    /// Both sides draw random numbers, or compute different things.
    fn differs(self) -> Self {
        Self {
            same: false,
            ..self
        }
    }
}

/// All rows of a model, cheap ones first.
pub fn of(subject: &Subject) -> Vec<Case> {
    let mut cases = gradients(subject);
    cases.extend(perturbations(subject));
    if subject.name == "tabular" {
        cases.extend(shapley());
    }
    if subject.relevance {
        cases.extend(relevance(subject));
    }
    cases
}

fn gradients(subject: &Subject) -> Vec<Case> {
    let layer = subject.layer;
    let inputs = |method: Box<dyn Method>| Ours::Inputs(method);
    let steps = Together::Gradients(50);
    let integrated = || IntegratedGradients::new().with_steps(50);
    let noisy = NoiseTunnel::new(Saliency::new()).with_samples(20);
    let conductance = Conductance::new(layer).with_steps(50);
    let at_layer = |method: Box<dyn LayerMethod>| Ours::Layer(method);
    let deep_lift = captum(
        "DeepLIFT",
        "",
        inputs(Box::new(DeepLift::new())),
        json!({"case": "deep_lift"}),
    );
    vec![
        captum(
            "forward",
            "1 row",
            Ours::Forward,
            json!({"case": "forward"}),
        ),
        captum(
            "saliency",
            "",
            inputs(Box::new(Saliency::new())),
            json!({"case": "saliency"}),
        ),
        // Captum's multipliers of max pooling do not add up, and those of ReLU6, GELU, attention
        // and normalisation are gradients.
        if subject.name == "tabular" {
            deep_lift
        } else {
            deep_lift.differs()
        },
        captum(
            "integrated gradients",
            "50 steps",
            inputs(Box::new(integrated())),
            json!({"case": "integrated_gradients", "samples": 50}),
        )
        .together(steps),
        captum(
            "integrated gradients at a layer",
            format!("{layer}, 50 steps"),
            at_layer(Box::new(integrated().at_layers(layer))),
            json!({"case": "layer_integrated_gradients", "samples": 50, "layer": layer}),
        )
        .together(steps),
        captum(
            "conductance",
            format!("{layer}, 50 steps"),
            at_layer(Box::new(conductance)),
            json!({"case": "layer_conductance", "samples": 50, "layer": layer}),
        )
        .together(steps),
        captum(
            "GradientSHAP",
            "25 samples",
            inputs(Box::new(GradientShap::new().with_samples(25))),
            json!({"case": "gradient_shap", "samples": 25}),
        )
        .differs(),
        captum(
            "SmoothGrad",
            "20 samples",
            inputs(Box::new(noisy)),
            json!({"case": "smooth_grad", "samples": 20}),
        )
        .together(Together::Gradients(20))
        .differs(),
    ]
}

fn perturbations(subject: &Subject) -> Vec<Case> {
    let features = subject.features;
    let (mask, kind) = match features {
        Features::Elements(_) => (FeatureMask::Elements, "elements"),
        Features::Cells => (FeatureMask::Grid(vec![7, 7]), "cells"),
        Features::Tokens(count) => (tokens(count), "tokens"),
    };
    let count = features.count();
    let what = format!("{count} {kind}");
    let (ablation, kernel, lime) = (
        FeatureAblation::new().with_feature_mask(mask.clone()),
        KernelShap::new()
            .with_samples(200)
            .with_feature_mask(mask.clone()),
        Lime::new().with_samples(200).with_feature_mask(mask),
    );
    let inputs = |method: Box<dyn Method>| Ours::Inputs(method);
    let mut cases = vec![
        captum(
            "ablation",
            &what[..],
            inputs(Box::new(ablation)),
            json!({"case": "feature_ablation", "features": kind}),
        )
        .together(Together::Forward(count)),
    ];
    if let Some(windows) = &subject.windows {
        let occlusion =
            Occlusion::new([windows.shape.to_vec()]).with_strides([windows.strides.to_vec()]);
        cases.push(
            captum(
                "occlusion",
                format!("{} windows", windows.count),
                inputs(Box::new(occlusion)),
                json!({"case": "occlusion", "window": windows.shape, "strides": windows.strides}),
            )
            .together(Together::Forward(windows.count)),
        );
    }
    cases.extend([
        captum(
            "KernelSHAP",
            format!("{what}, 200 samples"),
            inputs(Box::new(kernel)),
            json!({"case": "kernel_shap", "features": kind, "samples": 200}),
        )
        .together(Together::Forward(200))
        .differs(),
        captum(
            "LIME",
            format!("{what}, 200 samples"),
            inputs(Box::new(lime)),
            json!({"case": "lime", "features": kind, "samples": 200}),
        )
        .together(Together::Forward(200))
        .differs(),
    ]);
    cases
}

/// Each token is a feature.
fn tokens(count: usize) -> FeatureMask {
    let width = 256;
    let ids = (0..count * width).map(|i| (i / width) as i64).collect();
    let ids = TensorData::new::<i64, _>(ids, [1, count, width]);
    Tensor::<3, Int>::from_data(ids, &device()).into()
}

/// More black boxes for the tabular network.
fn shapley() -> Vec<Case> {
    let groups = |count: usize| -> FeatureMask {
        let ids: Vec<i64> = (0..30).map(|i| (i * count / 30) as i64).collect();
        Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 30]), &device()).into()
    };
    let inputs = |method: Box<dyn Method>| Ours::Inputs(method);
    let exact = |count| {
        inputs(Box::new(
            ShapleyValues::new().with_feature_mask(groups(count)),
        ))
    };
    vec![
        captum(
            "KernelSHAP",
            "30 elements, 2000 samples",
            inputs(Box::new(KernelShap::new().with_samples(2000))),
            json!({"case": "kernel_shap", "features": "elements", "samples": 2000}),
        )
        .together(Together::Forward(2000))
        .differs(),
        captum(
            "Shapley value sampling",
            "30 elements, 25 permutations",
            inputs(Box::new(ShapleyValueSampling::new().with_samples(25))),
            json!({"case": "shapley_value_sampling", "features": 30, "samples": 25}),
        )
        .together(Together::Forward(30))
        .differs(),
        captum(
            "exact Shapley values",
            "6 groups",
            exact(6),
            json!({"case": "shapley_values", "features": 6}),
        )
        .together(Together::Forward(6)),
        captum(
            "exact Shapley values",
            "7 groups",
            exact(7),
            json!({"case": "shapley_values", "features": 7}),
        )
        .together(Together::Forward(7)),
        captum(
            "exact Shapley values",
            "12 groups; of Captum 500 of its 12! permutations",
            exact(12),
            json!({"case": "shapley_value_sampling", "features": 12, "samples": 500}),
        )
        .together(Together::Forward(12))
        .differs(),
    ]
}

fn relevance(subject: &Subject) -> Vec<Case> {
    let all: [(&str, Preset); 5] = [
        ("epsilon_plus", epsilon_plus()),
        ("epsilon", epsilon()),
        ("epsilon_plus_flat", epsilon_plus_flat()),
        ("epsilon_alpha2_beta1", epsilon_alpha2_beta1()),
        ("epsilon_gamma_box", epsilon_gamma_box(-3.0, 3.0)),
    ];
    let cases = all.into_iter().map(|(composite, preset)| Case {
        method: "LRP",
        setting: composite.into(),
        library: Library::Zennit,
        together: Together::Nothing,
        same: true,
        request: json!({"case": "lrp", "composite": composite}),
        ours: Ours::Folded(Box::new(Lrp::new(preset))),
    });
    let mut cases: Vec<Case> = cases.collect();
    if let Some(layer) = subject.concepts {
        let conditions = (0..64).map(|channel| Condition::at(layer, channel));
        cases.push(Case {
            method: "CRP",
            setting: format!("64 conditions at {layer}"),
            library: Library::ZennitCrp,
            together: Together::Conditions(64),
            // Its heat maps are summed over channels.
            same: false,
            request: json!({"case": "crp", "layer": layer}),
            ours: Ours::Concepts(Box::new(
                Crp::new(epsilon_plus()).with_conditions(conditions),
            )),
        });
    }
    cases
}
