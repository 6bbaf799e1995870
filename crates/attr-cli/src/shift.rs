//! The autoencoder of latent shift, its video and its sweeps.

use std::path::{Path, PathBuf};

use attr_core::{Traced, Value, Values};
use attr_gradient::Shift;
use attr_onnx::OnnxModel;
use attr_viz::{Animation, Picture};
use burn::tensor::Device;

use crate::args::QuestionArguments;
use crate::error::Error;
use crate::output;

/// Opens and traces encoder and decoder.
pub fn autoencoder(
    arguments: &QuestionArguments,
    device: &Device,
    inputs: &Values,
) -> Result<(Traced, Traced), Error> {
    let (Some(encoder), Some(decoder)) = (&arguments.encoder, &arguments.decoder) else {
        return Err(Error::input("this method needs --encoder and --decoder"));
    };
    let image = (0..inputs.values().len()).find(|&i| inputs.attributed(i));
    let image = inputs.values()[image.unwrap_or(0)].clone();
    let (encoder, codes) = half("--encoder", encoder, device, image)?;
    let (decoder, _) = half("--decoder", decoder, device, codes)?;
    Ok((encoder, decoder))
}

/// Returns half of an autoencoder, and what it makes of an example.
fn half(
    flag: &str,
    path: &PathBuf,
    device: &Device,
    example: Value,
) -> Result<(Traced, Value), Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::input(format!("{flag} {}: {error}", path.display()));
    let file = OnnxModel::open(path, device).map_err(|error| failed(&error))?;
    if file.inputs().len() != 1 {
        let count = file.inputs().len();
        return Err(failed(&format!("it has {count} inputs; it must have one")));
    }
    let example = Values::new(vec![example], vec![true]);
    let traced = file.trace(&example, None).map_err(|error| failed(&error))?;
    let output = attr_core::Run::new().forward(&traced, &example);
    Ok((traced, output.map_err(|error| failed(&error))?))
}

/// Encodes the video of a row in the format that the name of the file asks for.
pub fn video(shift: &Shift, path: &Path) -> Result<Vec<u8>, Error> {
    let values = shift.images.to_vec()?;
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let high = if high > low { high } else { low + 1.0 };
    let pictures = (0..shift.images.rows())
        .map(|i| Picture::from_value(&shift.images, i, low..high))
        .collect::<Result<_, _>>()?;
    let animation = Animation::new(pictures).with_predictions(shift.predictions.clone())?;
    let extension = path.extension().and_then(|e| e.to_str());
    Ok(match extension.unwrap_or_default() {
        "gif" => animation.to_gif()?,
        "mp4" => animation.to_mp4()?,
        _ => animation.to_apng()?,
    })
}

/// Encodes the sweeps of all rows.
pub fn sweep(shifts: &[Shift]) -> Result<Vec<u8>, Error> {
    let Some(first) = shifts.first() else {
        return Err(Error::input("--sweep: there is no row"));
    };
    let steps = first.lambdas.len();
    let device = first.images.device();
    let table = |numbers: Vec<f32>| {
        let data = burn::tensor::TensorData::new(numbers, [shifts.len(), steps]);
        Value::from_data(data, &device)
    };
    let mut shape = vec![shifts.len()];
    shape.extend(first.images.shape());
    let images = shifts.iter().map(|shift| shift.images.clone()).collect();
    let lambdas = shifts.iter().flat_map(|shift| &shift.lambdas);
    let predictions = shifts.iter().flat_map(|shift| &shift.predictions);
    output::safetensors(&[
        ("images", &Value::cat_rows(images)?.reshape(&shape)),
        (
            "lambdas",
            &table(lambdas.map(|&lambda| lambda as f32).collect()),
        ),
        ("predictions", &table(predictions.copied().collect())),
    ])
}
