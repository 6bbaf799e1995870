//! Features for methods that divide an image into coarse cells.

use attr_core::{Error, FeatureMask, Values};

/// Returns the given mask; without one, cells of a `size x size` grid for images, else elements.
pub(crate) fn cells(
    mask: &Option<FeatureMask>,
    size: usize,
    inputs: &Values,
) -> Result<FeatureMask, Error> {
    if let Some(mask) = mask {
        return Ok(mask.clone());
    }
    if size == 0 {
        return Err(Error::Parameter {
            name: "grid_size",
            value: "0".into(),
            expected: "a grid has at least one cell along each side",
        });
    }
    let explained = (0..inputs.values().len()).filter(|&i| inputs.explained(i));
    let shapes: Vec<Vec<usize>> = explained.map(|i| inputs.values()[i].shape()).collect();
    let images = shapes.iter().all(|shape| shape.len() > 2);
    let Some(first) = shapes.first().filter(|_| images) else {
        return Ok(FeatureMask::Elements);
    };
    let dims = shapes.iter().map(Vec::len).min().unwrap_or(first.len()) - 2;
    let smallest = |dim: usize| {
        let lengths = shapes.iter().map(|shape| shape[shape.len() - dims + dim]);
        lengths.min().unwrap_or(1)
    };
    let cells = (0..dims).map(|dim| size.min(smallest(dim)));
    Ok(FeatureMask::Grid(cells.collect()))
}
