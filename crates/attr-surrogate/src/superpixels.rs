//! Superpixels: segments of similar colour, as the features of an image.
//!
//! Achanta, Shaji, Smith, Lucchi, Fua, Süsstrunk, "SLIC superpixels compared to state-of-the-art
//! superpixel methods", 2012 (<https://doi.org/10.1109/TPAMI.2012.120>).

use attr_core::{Error, FeatureMask, Value};
use burn::tensor::TensorData;

/// Parameters of [`superpixels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slic {
    /// Approximate number of segments per image; 100, as in scikit-image.
    pub n_segments: u32,
    /// Weight of nearness relative to colour, from 1 to 20: larger values make squarer segments;
    /// 10, as in scikit-image.
    pub compactness: u8,
    /// Number of clustering rounds; 10, as in scikit-image.
    pub max_num_iter: u8,
}

impl Default for Slic {
    fn default() -> Self {
        Self {
            n_segments: 100,
            compactness: 10,
            max_num_iter: 10,
        }
    }
}

/// Returns a feature mask of SLIC superpixels for images `[batch, channels, height, width]`, one
/// mask per row and the same for all channels.
///
/// Three channels are read as red, green and blue; otherwise, the mean of the channels is read as
/// grey. The values of each row are stretched to the full range of colours.
///
/// # Errors
/// [`Error::Shape`] for a tensor that is not an image; [`Error::Parameter`] for no segments or
/// rounds, or a compactness outside 1 to 20.
///
/// ```
/// use attr_surrogate::{Slic, superpixels};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_core::Error> {
/// let device = Device::default();
/// let dark = Tensor::<4>::zeros([1, 3, 16, 8], &device);
/// let image = Tensor::cat(vec![dark.clone(), dark + 1.0], 3);
/// let slic = Slic { n_segments: 8, ..Slic::default() };
/// let mask = superpixels(&image.into(), &slic)?;
/// # let _ = mask;
/// # Ok(())
/// # }
/// ```
pub fn superpixels(image: &Value, slic: &Slic) -> Result<FeatureMask, Error> {
    let shape = image.shape();
    let [rows, channels, height, width] = shape[..] else {
        return Err(no_image(shape));
    };
    // The library counts pixels in 32 bits.
    if channels * height * width == 0 || height.saturating_mul(width) > 1 << 28 {
        return Err(no_image(shape));
    }
    let bad = |name, value: u32, expected| Error::Parameter {
        name,
        value: value.to_string(),
        expected,
    };
    if slic.n_segments == 0 {
        return Err(bad("n_segments", 0, "at least one segment is needed"));
    }
    if !(1..=20).contains(&slic.compactness) {
        let value = slic.compactness.into();
        return Err(bad("compactness", value, "it must be from 1 to 20"));
    }
    if slic.max_num_iter == 0 {
        return Err(bad("max_num_iter", 0, "at least one round is needed"));
    }
    if !image.is_finite()? {
        return Err(Error::NonFinite {
            what: "the image to be segmented".into(),
        });
    }
    let pixels = height * width;
    let mut ids: Vec<i64> = Vec::with_capacity(rows * channels * pixels);
    for row in image.to_vec()?.chunks(channels * pixels) {
        let labels = labels(slic, row, [channels, height, width])?;
        let mut known: Vec<usize> = labels.clone();
        known.sort_unstable();
        known.dedup();
        let numbers = labels
            .iter()
            .map(|label| known.partition_point(|k| k < label) as i64);
        let numbers: Vec<i64> = numbers.collect();
        for _ in 0..channels {
            ids.extend(&numbers);
        }
    }
    let ids = TensorData::new(ids, shape);
    Ok(FeatureMask::Each(vec![Value::from_data(
        ids,
        &image.device(),
    )]))
}

/// Returns the segment of each pixel of a row.
///
/// The library searches around its seeds in steps of whole pixels and assigns pixels beyond the
/// last step to its first segment. So the image is padded below and on the right with its edges,
/// and the padding is removed from the result.
fn labels(
    slic: &Slic,
    row: &[f32],
    [channels, height, width]: [usize; 3],
) -> Result<Vec<usize>, Error> {
    let pixels = height * width;
    let step = (pixels as f64 / f64::from(slic.n_segments)).sqrt().round() as usize;
    if step < 2 {
        return Ok((0..pixels).collect());
    }
    let (tall, wide) = (height + 2 * step, width + 2 * step);
    let small = colours(row, channels, pixels);
    let places = (0..tall * wide).flat_map(|pixel| {
        let (y, x) = (pixel / wide, pixel % wide);
        let at = y.min(height - 1) * width + x.min(width - 1);
        small[3 * at..3 * at + 3].iter().copied()
    });
    let labels = simple_clustering::slic_from_bytes(
        (tall * wide / (step * step)) as u32,
        slic.compactness,
        wide as u32,
        tall as u32,
        Some(slic.max_num_iter),
        &places.collect::<Vec<u8>>(),
    );
    let labels = labels.map_err(|error| Error::Method {
        method: "SLIC",
        reason: error.to_string(),
    })?;
    let lines = labels.chunks(wide).take(height);
    Ok(lines.flat_map(|line| line[..width].to_vec()).collect())
}

fn no_image(shape: Vec<usize>) -> Error {
    Error::Shape {
        what: "the image to be segmented".into(),
        got: shape,
        expected: "[batch, channels, height, width]".into(),
    }
}

/// Returns an image as red, green and blue bytes, pixel by pixel.
fn colours(row: &[f32], channels: usize, pixels: usize) -> Vec<u8> {
    let (low, high) = row
        .iter()
        .fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    let scale = 255.0 / (high - low).max(f32::MIN_POSITIVE);
    let byte = |value: f32| ((value - low) * scale).round() as u8;
    let mean = |pixel: usize| {
        let all = (0..channels).map(|channel| row[channel * pixels + pixel]);
        all.sum::<f32>() / channels as f32
    };
    (0..pixels)
        .flat_map(|pixel| match channels {
            3 => [0, 1, 2].map(|channel| byte(row[channel * pixels + pixel])),
            _ => [byte(mean(pixel)); 3],
        })
        .collect()
}
