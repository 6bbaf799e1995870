//! Parses `--feature-mask`.

use std::ops::Range;
use std::path::Path;

use attr_core::{FeatureMask, Kind, Value, Values};
use attr_surrogate::{Slic, superpixels};
use burn::tensor::TensorData;

use crate::error::Error;
use crate::input;

/// What is explained: a range of rows of the inputs, or layers.
pub struct Explained<'a> {
    pub inputs: &'a Values,
    /// The range of these rows among all rows; `total` is the number of all rows.
    pub rows: &'a Range<usize>,
    pub total: usize,
    pub at_layers: bool,
}

/// Parses the flag's values into a feature mask.
pub fn parse(texts: &[String], explained: &Explained<'_>) -> Result<Option<FeatureMask>, Error> {
    let [first, ..] = texts else {
        return Ok(None);
    };
    let named = match first.split_once(':') {
        Some(("slic", count)) => Some(slic(first, count, explained)?),
        Some(("grid", cells)) => Some(grid(first, cells)?),
        None if first == "pixels" => Some(FeatureMask::Pixels),
        _ => None,
    };
    if named.is_some() && !explained.at_layers {
        channels_first(&format!("--feature-mask {first}"), explained.inputs)?;
    }
    match named {
        Some(named) if texts.len() == 1 => return Ok(Some(named)),
        Some(_) => {
            return Err(Error::input(format!(
                "--feature-mask {first}: it applies to all inputs; give it alone"
            )));
        }
        None => {}
    }
    let inputs = explained.inputs;
    let values = inputs.values().iter().enumerate();
    let wanted: Vec<&Value> = values
        .filter(|(i, _)| inputs.explained(*i))
        .map(|(_, value)| value)
        .collect();
    if !explained.at_layers && wanted.len() != texts.len() {
        return Err(Error::input(format!(
            "--feature-mask: {} given for {} explained inputs; give one per input, in the model's \
             order",
            texts.len(),
            wanted.len()
        )));
    }
    let device = inputs.values()[0].device();
    let masks = texts.iter().enumerate().map(|(n, text)| {
        let path = Path::new(text);
        if !path.exists() {
            return Err(Error::input(format!(
                "--feature-mask {text}: neither a file nor slic:SEGMENTS, grid:HEIGHTxWIDTH or \
                 pixels"
            )));
        }
        let array = input::array(path, Kind::Int, |_| Ok(()))?;
        let mask = input::upload(array, "feature mask", Kind::Int, &device)?;
        let mask = if explained.at_layers {
            mask
        } else {
            spread(mask, &wanted[n].shape(), text)?
        };
        if mask.rows() == explained.total {
            return Ok(mask.slice_rows(explained.rows.clone()));
        }
        Ok(mask)
    });
    Ok(Some(FeatureMask::Each(masks.collect::<Result<_, _>>()?)))
}

/// Rejects channels-last images (as in Keras): positions would be mistaken for channels.
pub fn channels_first(flag: &str, inputs: &Values) -> Result<(), Error> {
    for (i, value) in inputs.values().iter().enumerate() {
        if let [_, first, _, last] = value.shape()[..]
            && inputs.explained(i)
            && matches!(last, 1 | 3 | 4)
            && !matches!(first, 1 | 3 | 4)
        {
            return Err(Error::input(format!(
                "{flag}: it needs images [rows, channels, height, width], but the input has {:?}; \
                 give a .npy",
                value.shape()
            )));
        }
    }
    Ok(())
}

/// Expands a mask to its input's shape; missing rows or channels share the same features.
fn spread(mask: Value, shape: &[usize], text: &str) -> Result<Value, Error> {
    let given = mask.shape();
    let rows = if given.len() == shape.len() {
        given[0]
    } else {
        1
    };
    let mut expected = shape.to_vec();
    expected[0] = rows;
    if given == expected {
        return Ok(mask);
    }
    let no_channels = shape.len() > 2
        && (given == shape[2..]
            || (given.len() == shape.len() && given[1] == 1 && given[2..] == shape[2..]));
    if given == shape[1..] {
        return Ok(mask.reshape(&expected));
    }
    if !no_channels {
        return Err(Error::input(format!(
            "--feature-mask {text} has shape {given:?}, but the input has {shape:?}; give the \
             input's shape, with one row or all rows, or an image's shape without channels"
        )));
    }
    let pixels: usize = shape[2..].iter().product();
    let data = mask.to_data()?;
    let ids: Vec<i64> = data.iter::<i64>().collect();
    let ids = ids.chunks(pixels);
    let all: Vec<i64> = ids.flat_map(|row| row.repeat(shape[1])).collect();
    Ok(Value::from_data(
        TensorData::new(all, expected),
        &mask.device(),
    ))
}

fn slic(text: &str, count: &str, explained: &Explained<'_>) -> Result<FeatureMask, Error> {
    let count = count.parse().map_err(|_| {
        Error::input(format!(
            "--feature-mask {text}: give a number of segments, such as slic:50"
        ))
    })?;
    if explained.at_layers {
        return Err(Error::input(format!(
            "--feature-mask {text}: superpixels need an image, not a layer"
        )));
    }
    let inputs = explained.inputs;
    let values = inputs.values().iter().enumerate();
    let images: Vec<&Value> = values
        .filter(|(i, _)| inputs.explained(*i))
        .map(|(_, value)| value)
        .collect();
    let [image] = images[..] else {
        return Err(Error::input(format!(
            "--feature-mask {text}: superpixels need an image as the only explained input"
        )));
    };
    let slic = Slic {
        n_segments: count,
        ..Slic::default()
    };
    Ok(superpixels(image, &slic)?)
}

fn grid(text: &str, cells: &str) -> Result<FeatureMask, Error> {
    let cells: Option<Vec<usize>> = cells.split(['x', ',']).map(|n| n.parse().ok()).collect();
    cells.map(FeatureMask::Grid).ok_or_else(|| {
        Error::input(format!(
            "--feature-mask {text}: give the number of cells per side, such as grid:7x7"
        ))
    })
}

/// Returns a mask's segments of the first image, `[rows or 1, 1, height, width]`.
pub fn segments(mask: &FeatureMask, inputs: &Values) -> Result<Value, Error> {
    let images = inputs.values().iter().enumerate();
    let mut images = images.filter(|(i, value)| inputs.attributed(*i) && value.shape().len() > 2);
    let (at, image) = images.next().ok_or_else(|| {
        Error::input("--feature-mask: no input is an image [rows, channels, height, width]")
    })?;
    let features = mask.resolve(inputs)?;
    let mut shape = image.shape();
    let pixels: usize = shape[2..].iter().product();
    shape[1] = 1;
    let mut ids: Vec<i64> = Vec::with_capacity(shape[0] * pixels);
    for row in 0..shape[0] {
        let own = features.row(row)[at].unwrap_or_default();
        ids.extend(own.iter().take(pixels).map(|&id| id as i64));
    }
    Ok(Value::from_data(
        TensorData::new(ids, shape),
        &image.device(),
    ))
}
