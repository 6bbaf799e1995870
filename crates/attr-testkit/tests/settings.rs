//! Tests ONNX files with inputs that are settings or states: without rows, or with the batch elsewhere.

use std::collections::HashMap;
use std::path::PathBuf;

use attr_core::{Method, Target, Value, Values};
use attr_gradient::Saliency;
use attr_onnx::{Elements, Error, OnnxModel};
use attr_testkit::compare::assert_close_slices;
use attr_testkit::device;
use burn::tensor::TensorData;
use safetensors::{Dtype, SafeTensors};

/// PyTorch's and ONNX Runtime's results; `tools/onnx/make_settings.py` writes them.
struct Golden {
    model: OnnxModel,
    tensors: HashMap<String, (Vec<usize>, Elements)>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("onnx/settings");
        let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = tensors.tensors().into_iter().map(|(name, view)| {
            let elements = match view.dtype() {
                Dtype::F32 => {
                    let values = view.data().as_chunks::<4>().0.iter();
                    Elements::Float(values.map(|bytes| f32::from_le_bytes(*bytes)).collect())
                }
                _ => {
                    let values = view.data().as_chunks::<8>().0.iter();
                    Elements::Int(values.map(|bytes| i64::from_le_bytes(*bytes)).collect())
                }
            };
            (name, (view.shape().to_vec(), elements))
        });
        Self {
            tensors: tensors.collect(),
            model: OnnxModel::open(folder.join(format!("{name}.onnx")), &device()).unwrap(),
        }
    }

    fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        match &self.tensors[name] {
            (shape, Elements::Float(values)) => (shape.clone(), values.clone()),
            other => panic!("{name}: {other:?}"),
        }
    }

    fn rows(&self) -> Values {
        let (shape, values) = self.floats("input.x");
        let value = Value::from_data(TensorData::new(values, shape), &device());
        Values::new(vec![value], vec![true])
    }
}

/// The constants of a case; truths are stored as integers.
fn constants(golden: &Golden) -> Vec<(String, Vec<usize>, Elements)> {
    let all = golden
        .tensors
        .iter()
        .filter_map(|(name, (shape, elements))| {
            let name = name.strip_prefix("constant.")?;
            let elements = match elements {
                Elements::Int(values) if name == "centered" => {
                    Elements::Bool(values.iter().map(|&value| value != 0).collect())
                }
                other => other.clone(),
            };
            Some((name.to_string(), shape.clone(), elements))
        });
    all.collect()
}

#[test]
fn settings_and_states_become_part_of_the_model() {
    for (name, batch_dim) in [
        ("voice", None),
        ("voice_unnamed", None),
        ("cell_fixed", Some(1)),
        ("tempered", None),
    ] {
        let golden = Golden::read(name);
        let (rows, constants) = (golden.rows(), constants(&golden));
        let (_, outputs) = golden.floats("output");
        let (_, saliency) = golden.floats("saliency");
        let mut model = golden.model;
        for (input, shape, elements) in constants {
            model = model
                .with_constant(&input, &shape, elements, batch_dim)
                .unwrap();
        }
        assert_eq!(model.inputs().len(), 1, "{name}");
        // Traced with three rows, and with one.
        for example in [rows.clone(), rows.select(&[0])] {
            let traced = model.trace(&example, None).unwrap();
            let got = traced.forward(&rows).unwrap().to_vec().unwrap();
            assert_close_slices(name, &got, &outputs, 1e-4);
            let classes = got.len() / 3;
            let target = if classes == 1 {
                Target::Single
            } else {
                Target::Class(0)
            };
            let found = Saliency::new().attribute(&traced, &rows, target).unwrap();
            let got = found.values()[0].as_ref().unwrap().to_vec().unwrap();
            assert_close_slices(name, &got, &saliency, 1e-3);
        }
    }
}

#[test]
fn constants_that_do_not_fit_are_refused() {
    let floats = |count| Elements::Float(vec![0.5; count]);
    for (input, shape, elements, batch_dim, expected) in [
        ("volume", &[][..], floats(1), None, "its inputs are"),
        (
            "sr",
            &[],
            floats(1),
            None,
            "it is Float, but the model takes Int",
        ),
        (
            "sr",
            &[2],
            Elements::Int(vec![1, 2]),
            None,
            "the model takes []",
        ),
        (
            "state",
            &[1, 1, 5],
            floats(5),
            None,
            "the model takes [2, batch, 5]",
        ),
        ("state", &[2, 1, 5], floats(9), None, "takes 10 elements"),
        ("state", &[2, 1, 5], floats(10), Some(0), "must be 1"),
        ("state", &[2, 1, 5], floats(10), Some(7), "must be 1"),
    ] {
        let model = Golden::read("voice").model;
        match model.with_constant(input, shape, elements, batch_dim) {
            Err(error @ Error::Inputs(_)) => {
                let error = error.to_string();
                assert!(error.contains(expected), "{error}");
            }
            other => panic!("{input} {shape:?}: {other:?}"),
        }
    }
}
