//! Draws the attribution beside the input for `--image`.

use attr_core::Value;
use attr_viz::{Drawing, Figure, Map, Panel, Picture, Style, View};

use crate::error::Error;

/// The maximum number of rows drawn.
const ROWS: usize = 16;

/// The contents of the drawing.
pub struct Drawn<'a> {
    /// The method's name, shown above its column.
    pub method: &'a str,
    /// A label for each row.
    pub labels: &'a [String],
    /// The attribution.
    pub attribution: &'a Value,
    /// The explained input, and the image it was read from, if any.
    pub input: &'a Value,
    pub picture: Option<&'a Picture>,
}

/// Draws the attribution as the content of a PNG file.
pub fn draw(drawn: &Drawn<'_>) -> Result<Vec<u8>, Error> {
    let (attribution, last) = channels_first(drawn.attribution)?;
    let (input, _) = channels_first(drawn.input)?;
    let rows = drawn.labels.len().min(ROWS);
    let mut lines: Vec<(String, Option<Picture>, Map)> = Vec::with_capacity(rows);
    for (row, label) in drawn.labels.iter().take(rows).enumerate() {
        let mut map = Map::from_value(&attribution, row).map_err(|_| {
            Error::input(format!(
                "--image: an attribution of shape {:?} cannot be drawn, only [batch, channels, \
                 height, width], [batch, height, width] or [batch, width]",
                drawn.attribution.shape()
            ))
        })?;
        let original = original(drawn, &input, row, last)?;
        // A layer's map may be smaller than the image: draw it at the image's size.
        if let Some(original) = &original
            && original.size() != map.size()
        {
            let (width, height) = original.size();
            map = map.resized(width, height)?;
        }
        lines.push((label.clone(), original, map));
    }
    let with_original = lines.iter().all(|(_, original, _)| original.is_some());
    let mut panel = if with_original {
        Panel::new(["input", drawn.method, "over the input"])
    } else {
        Panel::new([drawn.method])
    };
    let style = Style::default();
    for (label, original, map) in &lines {
        let heat = View::HeatMap.draw(map, None, &style)?;
        let drawings: Vec<Drawing> = match original {
            Some(original) if with_original => vec![
                View::Original.draw(map, Some(original), &style)?,
                heat,
                View::BlendedHeatMap.draw(map, Some(original), &style)?,
            ],
            _ => vec![heat],
        };
        panel.row(label.clone(), drawings)?;
    }
    Ok(panel.with_cell(224).to_png()?)
}

/// Returns the input as a picture: the image that was read, or a tensor of 1 or 3 channels scaled
/// to the range from black to white.
fn original(
    drawn: &Drawn<'_>,
    input: &Value,
    row: usize,
    last: bool,
) -> Result<Option<Picture>, Error> {
    if let (Some(picture), 0) = (drawn.picture, row) {
        return Ok(Some(picture.clone()));
    }
    let shape = input.shape();
    let spatial = drawn.attribution.shape().len() == 4 || last;
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
fn channels_first(value: &Value) -> Result<(Value, bool), Error> {
    let shape = value.shape();
    match shape[..] {
        [_, first, _, last] if !matches!(first, 1 | 3) && matches!(last, 1 | 3) => {
            let turned = value.tensor::<4>()?.permute([0, 3, 1, 2]);
            Ok((turned.into(), true))
        }
        _ => Ok((value.clone(), false)),
    }
}
