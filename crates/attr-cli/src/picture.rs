//! Draws the attribution beside the input for `--image`.

use std::path::Path;

use attr_core::Value;
use attr_viz::{Drawing, Figure, Map, Panel, Picture, Style, View};

use crate::error::Error;

/// The most drawings side by side of a single row.
const WRAP: usize = 5;

/// The maximum number of rows drawn.
const ROWS: usize = 16;

/// The contents of the drawing.
pub struct Drawn<'a> {
    /// The methods' names, shown above their columns, and their attributions.
    pub columns: &'a [(&'a str, &'a Value)],
    /// A label for each row.
    pub labels: &'a [String],
    /// The explained input, and the image it was read from, if any.
    pub input: &'a Value,
    pub picture: Option<&'a Picture>,
}

/// Encodes a figure in the format that the name of the file asks for.
pub fn encode(figure: &impl Figure, path: &Path) -> Result<Vec<u8>, Error> {
    let svg = path.extension().is_some_and(|e| e == "svg");
    Ok(if svg {
        figure.to_svg()?.into_bytes()
    } else {
        figure.to_png()?
    })
}

/// Draws the attributions side by side.
pub fn panel(drawn: &Drawn<'_>) -> Result<Panel, Error> {
    let rows = drawn.labels.len().min(ROWS);
    let mut originals: Vec<Option<Picture>> = vec![None; rows];
    let mut maps: Vec<Vec<Map>> = vec![Vec::new(); rows];
    for (_, attribution) in drawn.columns {
        let (first, last) = channels_first(attribution)?;
        let (input, _) = channels_first(drawn.input)?;
        for row in 0..rows {
            let mut map = Map::from_value(&first, row).map_err(|_| {
                Error::input(format!(
                    "--image: an attribution of shape {:?} cannot be drawn, only [batch, \
                     channels, height, width], [batch, height, width] or [batch, width]",
                    attribution.shape()
                ))
            })?;
            let spatial = attribution.shape().len() == 4 || last;
            let own = original(drawn.picture, &input, row, spatial)?;
            // A layer's map may be smaller than the image: draw it at the image's size.
            if let Some(original) = &own
                && original.size() != map.size()
            {
                let (width, height) = original.size();
                map = map.resized(width, height)?;
            }
            if originals[row].is_none() {
                originals[row] = own;
            }
            maps[row].push(map);
        }
    }
    let with_original = originals.iter().all(Option::is_some);
    let names = drawn.columns.iter().map(|(name, _)| *name);
    let mut panel = match drawn.columns {
        [(name, _)] if with_original => Panel::new(["input", name, "over the input"]),
        _ if with_original => Panel::new(std::iter::once("input").chain(names)),
        _ => Panel::new(names),
    };
    let style = Style::default();
    for ((label, original), maps) in drawn.labels.iter().zip(&originals).zip(&maps) {
        let mut drawings: Vec<Drawing> = Vec::new();
        if let Some(original) = original.as_ref().filter(|_| with_original) {
            drawings.push(View::Original.draw(&maps[0], Some(original), &style)?);
        }
        for map in maps {
            drawings.push(View::HeatMap.draw(map, None, &style)?);
        }
        if let (Some(original), [map], true) = (original, &maps[..], with_original) {
            drawings.push(View::BlendedHeatMap.draw(map, Some(original), &style)?);
        }
        panel.row(label.clone(), drawings)?;
    }
    Ok(panel.with_cell(224).with_wrap(WRAP))
}

/// Returns the input as a picture: the image that was read, or a tensor of 1 or 3 channels scaled
/// to the range from black to white.
pub fn original(
    picture: Option<&Picture>,
    input: &Value,
    row: usize,
    spatial: bool,
) -> Result<Option<Picture>, Error> {
    if let (Some(picture), 0) = (picture, row) {
        return Ok(Some(picture.clone()));
    }
    let shape = input.shape();
    if !spatial || shape.len() != 4 || !matches!(shape[1], 1 | 3) {
        return Ok(None);
    }
    let values = input.slice_rows(row..row + 1).to_vec()?;
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let high = if high > low { high } else { low + 1.0 };
    Ok(Some(Picture::from_value(input, row, low..high)?))
}

/// Permutes `[batch, height, width, channels]` to `[batch, channels, height, width]` if only the
/// last dimension can be colours; also returns whether it did.
pub fn channels_first(value: &Value) -> Result<(Value, bool), Error> {
    let shape = value.shape();
    match shape[..] {
        [_, first, _, last] if !matches!(first, 1 | 3) && matches!(last, 1 | 3) => {
            let turned = value.tensor::<4>()?.permute([0, 3, 1, 2]);
            Ok((turned.into(), true))
        }
        _ => Ok((value.clone(), false)),
    }
}
