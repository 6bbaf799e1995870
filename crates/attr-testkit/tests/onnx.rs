//! Compares exported models' predictions with ONNX Runtime's, and saliency with PyTorch's autograd.

use std::path::{Path, PathBuf};

use attr_core::{Kind, Method, Target, Traced, Value, Values};
use attr_gradient::Saliency;
use attr_onnx::{Error, OnnxModel, PortDim};
use attr_testkit::compare::relative_difference;
use burn::tensor::{Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};

/// One exported model, its inputs, and the reference results for them.
pub(crate) struct Exported {
    pub name: String,
    pub model: OnnxModel,
    pub inputs: Values,
    pub output: String,
    pub expected: Vec<f32>,
    /// The unit explained and its saliency, for models with a float input.
    pub saliency: Option<(Vec<usize>, Vec<f32>)>,
}

pub(crate) fn folder(name: &str) -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR");
    PathBuf::from(here.expect("cargo runs the test"))
        .join("onnx")
        .join(name)
}

pub(crate) fn files(folder: &PathBuf, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("is readable").path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|e| e == extension));
    files.sort();
    files
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let words = bytes.as_chunks().0.iter();
    words.map(|word| f32::from_le_bytes(*word)).collect()
}

fn value(view: &safetensors::tensor::TensorView<'_>) -> Value {
    let device = attr_testkit::device();
    let length = [view.shape().iter().product::<usize>()];
    let flat: Value = match view.dtype() {
        Dtype::F32 => {
            Tensor::<1>::from_data(TensorData::new(floats(view.data()), length), &device).into()
        }
        Dtype::I64 => {
            let words = view.data().as_chunks().0.iter();
            let data: Vec<i64> = words.map(|word| i64::from_le_bytes(*word)).collect();
            Tensor::<1, Int>::from_data(TensorData::new(data, length), &device).into()
        }
        other => panic!("inputs of type {other:?} are not used"),
    };
    flat.reshape(view.shape())
}

pub(crate) fn load(path: &PathBuf) -> Exported {
    let name = path
        .file_stem()
        .expect("has a name")
        .to_string_lossy()
        .into_owned();
    let device = attr_testkit::device();
    let model = OnnxModel::open(path, &device).unwrap_or_else(|e| panic!("{name}: {e}"));
    let bytes = std::fs::read(path.with_extension("safetensors")).expect("the data is there");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("is a safetensors file");
    let metadata = metadata.metadata().clone().expect("has metadata");
    let data = SafeTensors::deserialize(&bytes).expect("is a safetensors file");
    let get = |key: String| data.tensor(&key).unwrap_or_else(|e| panic!("{name}: {e}"));
    let ports = model.inputs().iter();
    let values: Vec<Value> = ports
        .map(|port| value(&get(format!("input.{}", port.name))))
        .collect();
    let attributed = vec![true; values.len()];
    let output = metadata["output_name"].clone();
    let first = model.inputs().iter().find_map(|port| {
        let saliency = data.tensor(&format!("saliency.{}", port.name)).ok()?;
        let index = metadata["target_index"].split(',');
        let index = index.map(|i| i.trim().parse().expect("an index")).collect();
        Some((index, floats(saliency.data())))
    });
    Exported {
        expected: floats(get(format!("output.{output}")).data()),
        inputs: Values::new(values, attributed),
        saliency: first,
        output,
        model,
        name,
    }
}

/// The tolerance for a file. With 16-bit weights, attr computes in 32 bits and the references in
/// 16; bfloat16 keeps 8 bits.
fn tolerance(name: &str) -> f32 {
    if name.contains("f16") {
        1.0 / 256.0
    } else {
        1e-4
    }
}

/// Compares every exported model's numbers with the expected ones and reports all that differ.
fn compare_all(what: &str, compare: impl Fn(Exported, Traced) -> Option<Result<f32, Error>>) {
    let (mut tried, mut off) = (0, Vec::new());
    for path in files(&folder("models"), "onnx") {
        let exported = load(&path);
        let name = exported.name.clone();
        let traced = exported
            .model
            .trace(&exported.inputs, Some(&exported.output));
        let outcome = match traced {
            Ok(traced) => compare(exported, traced),
            Err(error) => Some(Err(error)),
        };
        tried += usize::from(outcome.is_some());
        match outcome {
            None => {}
            Some(Ok(difference)) if difference <= tolerance(&name) => {}
            Some(Ok(difference)) => off.push(format!("{name}: off by {difference:e}")),
            Some(Err(error)) => off.push(format!("{name}: {error}")),
        }
    }
    assert!(tried >= 20, "{what} of only {tried} models were compared");
    assert!(
        off.is_empty(),
        "{what} of {tried} models:\n{}",
        off.join("\n")
    );
}

#[test]
fn predictions_are_onnx_runtimes() {
    compare_all("predictions", |exported, traced| {
        let output = traced.forward(&exported.inputs);
        let got = output
            .and_then(|output| output.to_vec())
            .map_err(Error::from);
        Some(got.map(|got| relative_difference(&got, &exported.expected)))
    });
}

#[test]
fn saliency_is_pytorchs() {
    compare_all("saliency", |exported, traced| {
        let (index, expected) = exported.saliency?;
        let target = Target::Index(index);
        let result = Saliency::new().attribute(&traced, &exported.inputs, target);
        let got = result.and_then(|result| {
            let first = result.values().iter().flatten().next();
            first.expect("there is a float input").to_vec()
        });
        Some(
            got.map_err(Error::from)
                .map(|got| relative_difference(&got, &expected)),
        )
    });
}

/// Returns the error of reading and tracing a model; a panic would fail the test.
fn refusal(bytes: Vec<u8>, folder: &Path) -> Option<Error> {
    let device = attr_testkit::device();
    let model = match OnnxModel::from_bytes(bytes, folder, &device) {
        Ok(model) => model,
        Err(error) => return Some(error),
    };
    let ports = model.inputs().iter();
    let values = ports.map(|port| {
        let dims = port.shape.as_deref().unwrap_or_default().iter();
        let sizes = dims.map(|dim| match dim {
            PortDim::Fixed(size) => (*size).min(1 << 10),
            PortDim::Free(_) => 1,
        });
        let shape: Vec<usize> = sizes.take(6).collect();
        let length = [shape.iter().product::<usize>().min(1 << 20)];
        let flat: Value = match port.kind {
            Kind::Int => Tensor::<1, Int>::ones(length, &device).into(),
            _ => Tensor::<1>::ones(length, &device).into(),
        };
        if !shape.is_empty() && length[0] == shape.iter().product::<usize>() {
            flat.reshape(&shape)
        } else {
            flat
        }
    });
    let values: Vec<Value> = values.collect();
    let attributed = vec![true; values.len()];
    model.trace(&Values::new(values, attributed), None).err()
}

#[test]
fn hostile_files_are_refused() {
    let folder = folder("hostile");
    let files = files(&folder, "onnx");
    assert!(files.len() >= 25, "only {} hostile files", files.len());
    for file in files {
        let bytes = std::fs::read(&file).expect("is readable");
        let name = file.file_name().expect("has a name").to_string_lossy();
        let error = refusal(bytes, &folder).unwrap_or_else(|| panic!("{name} was accepted"));
        let text = error.to_string();
        assert!(!text.is_empty() && !text.contains('\n'), "{name}: {text}");
        if name == "unsupported_many.onnx" {
            for listed in ["Foo (foo_1, foo_2)", "my.domain::Bar", "StringNormalizer"] {
                assert!(text.contains(listed), "{text}");
            }
        }
    }
}

/// Files with a few bytes changed, cut or repeated are either read or refused.
#[test]
fn damaged_files_do_not_panic() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    let folder = folder("models");
    let (mut refused, mut read) = (0, 0);
    for file in files(&folder, "onnx") {
        let whole = std::fs::read(&file).expect("is readable");
        if whole.len() > 8000 {
            continue;
        }
        for _ in 0..12 {
            let mut bytes = whole.clone();
            for _ in 0..random.random_range(1..6) {
                let at = random.random_range(0..bytes.len());
                match random.random_range(0..4) {
                    0 => bytes[at] = random.random(),
                    1 => bytes[at] ^= 1 << random.random_range(0..8),
                    2 => bytes.truncate(at.max(1)),
                    _ => {
                        let end = (at + 40).min(bytes.len());
                        let part = bytes[at..end].to_vec();
                        bytes.splice(at..at, part);
                    }
                }
            }
            match refusal(bytes, &folder) {
                Some(_) => refused += 1,
                None => read += 1,
            }
        }
    }
    assert!(refused > 50 && read > 10, "{refused} refused, {read} read");
}

#[test]
fn exported_models_have_groups() {
    let expected = [
        ("bert_tiny_legacy14", "GELU", 1),
        ("bert_tiny_legacy14", "LayerNorm(epsilon 1e-12)", 3),
        ("convnext_tiny_dynamo18", "GELU", 2),
        ("efficientnet_tiny_legacy13", "SiLU", 7),
        ("gpt_tiny_dynamo18", "GELU(tanh)", 1),
        ("gpt_tiny_legacy13", "LayerNorm(epsilon 1e-5)", 3),
        ("groupnorm_net_dynamo18", "ELU(alpha 0.7)", 1),
        ("groupnorm_net_dynamo18", "HardSwish", 1),
        ("groupnorm_net_dynamo18", "Mish", 1),
        ("groupnorm_net_dynamo18", "Softplus(beta 1.0)", 1),
        // Exporters write a group norm as an instance norm of reshaped channels.
        ("groupnorm_net_dynamo18", "InstanceNorm(epsilon 1e-5)", 2),
        ("resnet_tiny_legacy13", "SiLU", 0),
    ];
    for (name, kind, count) in expected {
        let exported = load(&folder("models").join(format!("{name}.onnx")));
        let model = exported.model;
        let traced = model.trace(&exported.inputs, Some(&exported.output));
        let groups = traced.expect("traces").groups();
        let found = groups.iter().filter(|group| group.kind.to_string() == kind);
        assert_eq!(found.count(), count, "{kind} in {name}: {groups:#?}");
    }
}
