//! Compares relevance of transformers with LXT's.

use std::collections::HashMap;

use attr_core::{LayerMethod, Method, Target, Value};
use attr_lrp_crp::{Lrp, Transformer, attnlrp, cp_lrp};
use attr_testkit::compare::assert_close_slices;
use attr_testkit::golden::path;
use serde::Deserialize;

use crate::onnx::{folder, load};

/// LXT 2.1's results at one place; `tools/golden/attention.py` writes them.
#[derive(Deserialize)]
struct Expected {
    target: Vec<Vec<usize>>,
    layer: Option<String>,
    attnlrp: Vec<f32>,
    cp_lrp: Vec<f32>,
    #[serde(default)]
    more: Vec<Expected>,
}

#[test]
fn relevance_of_transformers_is_lxts() {
    let text = std::fs::read_to_string(path("attnlrp.json")).unwrap();
    let all: HashMap<String, Expected> = serde_json::from_str(&text).unwrap();
    assert_eq!(all.len(), 6);
    for (name, mut expected) in all {
        let exported = load(&folder("models").join(format!("{name}.onnx")));
        let model = exported
            .model
            .trace(&exported.inputs, Some(&exported.output))
            .unwrap();
        let more = std::mem::take(&mut expected.more);
        for expected in std::iter::once(expected).chain(more) {
            let target = Target::Indices(expected.target.clone());
            let relevance = |composite: Transformer| -> Value {
                // LXT has no stabilisers where it multiplies gradients by activations.
                let lrp = Lrp::new(composite.with_epsilon(1e-9).with_stabilizer(1e-9));
                let found = match &expected.layer {
                    None => lrp.attribute(&model, &exported.inputs, target.clone()),
                    Some(layer) => {
                        let lrp = lrp.at_layers(layer.as_str());
                        let found = lrp.attribute(&model, &exported.inputs, target.clone());
                        return found.unwrap().value(layer).unwrap().clone();
                    }
                };
                found.unwrap().values()[0].clone().unwrap()
            };
            let what = format!("{name}, {:?}", expected.layer);
            let got = relevance(attnlrp()).to_vec().unwrap();
            assert_close_slices(&format!("{what}, attnlrp"), &got, &expected.attnlrp, 1e-3);
            let got = relevance(cp_lrp()).to_vec().unwrap();
            assert_close_slices(&format!("{what}, cp_lrp"), &got, &expected.cp_lrp, 1e-3);
        }
    }
}
