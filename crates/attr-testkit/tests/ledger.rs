//! Tests that the ledger of a walk closes, on every exported model and on what gates drop.

use attr_core::walk::Ledger;
use attr_core::{Kind, Target, Traced, Values};
use attr_lrp_crp::{Lrp, LrpConfig};

use crate::onnx::{Exported, files, folder, load};

/// A target for the first number of each row's output.
fn first_unit(model: &Traced, inputs: &Values) -> Target {
    let rank = model.forward(inputs).unwrap().shape().len();
    match rank {
        1 => Target::Single,
        rank => Target::Index(vec![0; rank - 1]),
    }
}

/// The inputs that get relevance: those that are floating point.
pub(crate) fn attributed(exported: &Exported) -> Values {
    let values = exported.inputs.values().to_vec();
    let float = values.iter().map(|value| value.kind() == Kind::Float);
    let float: Vec<bool> = float.collect();
    Values::new(values, float)
}

#[test]
fn ledgers_of_exported_models_close() {
    // What a ledger adds up does not depend on the device: a sample is enough on slower ones.
    let whole = cfg!(feature = "flex");
    let (mut tried, mut off) = (0, Vec::new());
    for path in files(&folder("models"), "onnx") {
        if !whole && !path.to_string_lossy().contains("legacy1") {
            continue;
        }
        let exported = load(&path);
        // Files of one operator are no models; this one gives probabilities, which have no rule.
        if exported.name.starts_with("op_") || exported.name == "sklearn_logreg" {
            continue;
        }
        let inputs = attributed(&exported);
        let model = exported
            .model
            .trace(&inputs, Some(&exported.output))
            .unwrap()
            .logits();
        let target = first_unit(&model, &inputs);
        let transformer = ["vit", "bert", "gpt"]
            .iter()
            .any(|kind| exported.name.starts_with(kind));
        let composites = match (whole, transformer) {
            (false, _) => &["auto"][..],
            (true, true) => &["auto", "attnlrp", "cp_lrp"],
            (true, false) => &["auto", "epsilon_plus_flat", "epsilon_gamma_box"],
        };
        for composite in composites {
            let config = serde_json::json!({"composite": composite, "low": -3.0, "high": 3.0});
            let config: LrpConfig = serde_json::from_value(config).unwrap();
            let lrp: Lrp<_> = config.build().unwrap();
            let name = format!("{}, {composite}", exported.name);
            match lrp.ledgers(&model, &inputs, target.clone()) {
                Ok(ledgers) => {
                    let errors: Vec<f64> = ledgers.iter().map(Ledger::error).collect();
                    // NaN is no closing either.
                    if !errors.iter().all(|error| *error <= 1e-5) {
                        off.push(format!("{name}: off by {errors:?}"));
                    }
                }
                Err(error) => off.push(format!("{name}: {error}")),
            }
            tried += 1;
        }
    }
    let least = if whole { 100 } else { 20 };
    assert!(tried > least, "only {tried} ledgers");
    assert!(
        off.is_empty(),
        "{} of {tried} ledgers:\n{}",
        off.len(),
        off.join("\n")
    );
}
