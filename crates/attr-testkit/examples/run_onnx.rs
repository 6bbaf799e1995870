//! Runs an ONNX model on arrays and writes its outputs. `tools/onnx/compare_models.py` uses it to
//! run the ONNX standard's operator cases.
//!
//! `run_onnx MODEL.onnx OUT.npz NAME=FILE.npy ...`; exit status 2 if the model is not supported.

use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use attr_core::{Kind, Value, Values};
use attr_onnx::OnnxModel;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use npyz::{DType, NpyFile, TypeChar, WriterBuilder};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, out, inputs @ ..] = &arguments[..] else {
        return Err("usage: run_onnx MODEL.onnx OUT.npz NAME=FILE.npy ...".into());
    };
    let model = OnnxModel::open(model, &attr_testkit::device())?;
    let mut values = Vec::new();
    for port in model.inputs() {
        let file = inputs.iter().find_map(|input| match input.split_once('=') {
            Some((name, file)) if name == port.name => Some(file),
            _ => None,
        });
        let file = file.ok_or_else(|| format!("input {:?} is missing", port.name))?;
        values.push(read(file, port.kind)?);
    }
    let attributed = vec![true; values.len()];
    let values = Values::new(values, attributed);
    let mut archive = ZipWriter::new(File::create(out)?);
    for (i, port) in model.outputs().iter().enumerate() {
        let traced = model.trace(&values, Some(&port.name));
        let output = match traced.and_then(|traced| Ok(traced.forward(&values)?)) {
            Ok(output) => output,
            Err(error) if i == 0 => return Err(error.into()),
            // Only the first output is required.
            Err(_) => continue,
        };
        let shape: Vec<u64> = output.shape().iter().map(|&d| d as u64).collect();
        archive.start_file(format!("{}.npy", port.name), SimpleFileOptions::default())?;
        let mut writer = npyz::WriteOptions::new()
            .default_dtype()
            .shape(&shape)
            .writer(&mut archive)
            .begin_nd()?;
        writer.extend(output.to_vec()?)?;
        writer.finish()?;
    }
    archive.finish()?;
    Ok(())
}

/// Reads an array as the kind of tensor that the model takes.
fn read(path: &str, kind: Kind) -> Outcome<Value> {
    let array = NpyFile::new(BufReader::new(File::open(path)?))?;
    let shape: Vec<usize> = array.shape().iter().map(|&d| d as usize).collect();
    let DType::Plain(element) = array.dtype() else {
        return Err("an array of records".into());
    };
    let numbers: Vec<f64> = match (element.type_char(), element.size_field()) {
        (TypeChar::Float, 4) => array
            .into_vec::<f32>()?
            .into_iter()
            .map(f64::from)
            .collect(),
        (TypeChar::Float, 8) => array.into_vec::<f64>()?,
        (TypeChar::Int, 4) => array
            .into_vec::<i32>()?
            .into_iter()
            .map(f64::from)
            .collect(),
        (TypeChar::Int, 8) => array
            .into_vec::<i64>()?
            .into_iter()
            .map(|v| v as f64)
            .collect(),
        (TypeChar::Bool, _) => {
            let values = array.into_vec::<bool>()?.into_iter();
            values.map(|v| f64::from(u8::from(v))).collect()
        }
        _ => return Err(format!("elements of type {element}").into()),
    };
    let (device, length) = (attr_testkit::device(), [numbers.len()]);
    let numbers = numbers.into_iter();
    let flat: Value = match kind {
        Kind::Float => {
            let data = TensorData::new(numbers.map(|v| v as f32).collect(), length);
            Tensor::<1>::from_data(data, &device).into()
        }
        Kind::Int => {
            let data = TensorData::new(numbers.map(|v| v as i64).collect(), length);
            Tensor::<1, Int>::from_data(data, &device).into()
        }
        Kind::Bool => {
            let data = TensorData::new(numbers.map(|v| v != 0.0).collect(), length);
            Tensor::<1, Bool>::from_data(data, &device).into()
        }
    };
    Ok(if shape.is_empty() {
        flat
    } else {
        flat.reshape(&shape)
    })
}
