//! An attribution as a two-dimensional map, and its normalisation.

use attr_core::Value;
use image::{ImageBuffer, Luma};

use crate::style::{Scale, Sign, Style};
use crate::{Error, Picture};

/// An attribution map with one number per pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    values: Vec<f32>,
    width: usize,
    height: usize,
}

impl Map {
    /// Creates a map from numbers in row-major order.
    ///
    /// # Errors
    /// [`Error::Size`] unless there are `width * height`, [`Error::NonFinite`] for NaN.
    pub fn new(values: Vec<f32>, width: usize, height: usize) -> Result<Self, Error> {
        if values.len() != width * height || values.is_empty() {
            return Err(Error::Size {
                got: values.len(),
                width,
                height,
                channels: 1,
            });
        }
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::NonFinite {
                what: "the attribution",
            });
        }
        Ok(Self {
            values,
            width,
            height,
        })
    }

    /// Creates a map from one row of an attribution `[batch, channels, height, width]`,
    /// `[batch, height, width]` or `[batch, width]`; channels are summed to keep the total.
    ///
    /// # Errors
    /// [`Error::Shape`] when the tensor is not an image or has no such row.
    pub fn from_value(attribution: &Value, row: usize) -> Result<Self, Error> {
        let (channels, height, width, values) = Picture::read(attribution, row)?;
        let plane = width * height;
        let summed = (0..plane)
            .map(|i| (0..channels).map(|c| values[c * plane + i]).sum())
            .collect();
        Self::new(summed, width, height)
    }

    /// As [`from_value`](Self::from_value), with the mean over channels instead of their sum: for
    /// methods that give all channels of a region the same value.
    ///
    /// # Errors
    /// As [`from_value`](Self::from_value).
    pub fn from_regions(attribution: &Value, row: usize) -> Result<Self, Error> {
        let mut map = Self::from_value(attribution, row)?;
        let shape = attribution.shape();
        let channels = if shape.len() == 4 { shape[1] } else { 1 };
        map.values.iter_mut().for_each(|v| *v /= channels as f32);
        Ok(map)
    }

    /// Creates a map for each slice of one row of a volume's attribution `[batch, channels, depth,
    /// height, width]`; channels are summed.
    ///
    /// # Errors
    /// [`Error::Shape`] when the tensor is not a volume or has no such row.
    pub fn slices(attribution: &Value, row: usize) -> Result<Vec<Self>, Error> {
        let shape = attribution.shape();
        let [_, channels, depth, height, width] = shape[..] else {
            return Err(Error::Shape { shape, row });
        };
        if row >= attribution.rows() {
            return Err(Error::Shape { shape, row });
        }
        let values = attribution.slice_rows(row..row + 1).to_vec()?;
        let plane = height * width;
        let sum = |slice: usize, i: usize| {
            let of = |c: usize| values[(c * depth + slice) * plane + i];
            (0..channels).map(of).sum()
        };
        let slices = (0..depth).map(|slice| {
            let values = (0..plane).map(|i| sum(slice, i)).collect();
            Self::new(values, width, height)
        });
        slices.collect()
    }

    /// Resizes the map by interpolation, for example to put a layer's map over its image.
    ///
    /// # Errors
    /// [`Error::Size`] for a side of 0.
    pub fn resized(&self, width: usize, height: usize) -> Result<Self, Error> {
        type Gray = ImageBuffer<Luma<f32>, Vec<f32>>;
        let (w, h) = (self.width as u32, self.height as u32);
        // The image crate clamps floats to between 0 and 1; interpolation commutes with scaling.
        let low = self.values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = self
            .values
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max);
        let span = if high > low { high - low } else { 1.0 };
        let unit = self.values.iter().map(|v| (v - low) / span).collect();
        let values = Gray::from_raw(w, h, unit);
        let values = values.ok_or(Error::Size {
            got: self.values.len(),
            width: self.width,
            height: self.height,
            channels: 1,
        })?;
        let filter = image::imageops::FilterType::Triangle;
        let resized = image::imageops::resize(&values, width as u32, height as u32, filter);
        let values = resized.into_raw().iter().map(|v| v * span + low).collect();
        Self::new(values, width, height)
    }

    /// Returns the width and height.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Returns the numbers in row-major order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Normalises the map to `[-1, 1]` (both signs) or `[0, 1]` (one sign), by the style's
    /// [`Scale`]. By default, it divides by the value at which the sorted magnitudes add up to
    /// `100 - outlier_perc` percent of their total, then clips. A map without attribution of the
    /// shown sign becomes zero.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a style out of range.
    pub fn normalized(&self, style: &Style) -> Result<Vec<f32>, Error> {
        style.check()?;
        let shown: Vec<f32> = self
            .values
            .iter()
            .map(|&v| match style.sign {
                Sign::All => v,
                Sign::Positive => v.max(0.0),
                Sign::Negative => (-v).max(0.0),
                Sign::AbsoluteValue => v.abs(),
            })
            .collect();
        let threshold = match style.scale {
            Scale::Outliers => threshold(&shown, 100.0 - style.outlier_perc),
            Scale::Symmetric => threshold(&shown, 100.0),
            Scale::MinMax => return Ok(stretched(&shown)),
        };
        if threshold == 0.0 {
            return Ok(vec![0.0; shown.len()]);
        }
        Ok(shown
            .iter()
            .map(|v| (f64::from(*v) / threshold).clamp(-1.0, 1.0) as f32)
            .collect())
    }
}

/// Stretches values from the smallest to the largest over `[0, 1]`; equal ones become 0.
fn stretched(values: &[f32]) -> Vec<f32> {
    let values = || values.iter().map(|v| f64::from(*v));
    let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    });
    let span = if high > low { high - low } else { 1.0 };
    values().map(|v| ((v - low) / span) as f32).collect()
}

/// Returns the magnitude at which the sorted magnitudes add up to `percentile` of their total.
fn threshold(values: &[f32], percentile: f64) -> f64 {
    let mut magnitudes: Vec<f64> = values.iter().map(|v| f64::from(v.abs())).collect();
    magnitudes.sort_by(f64::total_cmp);
    let limit = magnitudes.iter().sum::<f64>() * percentile / 100.0;
    let mut sum = 0.0;
    for &magnitude in &magnitudes {
        sum += magnitude;
        if sum >= limit {
            return magnitude;
        }
    }
    magnitudes.last().copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(values: &[f32], sign: Sign, outlier_perc: f64) -> Vec<f32> {
        let map = Map::new(values.to_vec(), values.len(), 1).unwrap();
        let style = Style::default()
            .with_sign(sign)
            .with_outlier_perc(outlier_perc);
        map.normalized(&style).unwrap()
    }

    #[test]
    fn the_threshold_is_where_the_sorted_sum_reaches_the_percentile() {
        // Magnitudes 1, 2, 3, 4 add up to 10; 60 % is reached at 3.
        let expected = [1.0 / 3.0, -2.0 / 3.0, 1.0, -1.0];
        assert_eq!(
            normalized(&[1.0, -2.0, 3.0, -4.0], Sign::All, 40.0),
            expected
        );
        // Without outliers the largest is 1.
        assert_eq!(normalized(&[1.0, -4.0], Sign::All, 0.0), [0.25, -1.0]);
    }

    #[test]
    fn signs() {
        let values = [2.0, -4.0, 0.0];
        assert_eq!(normalized(&values, Sign::Positive, 0.0), [1.0, 0.0, 0.0]);
        assert_eq!(normalized(&values, Sign::Negative, 0.0), [0.0, 1.0, 0.0]);
        assert_eq!(
            normalized(&values, Sign::AbsoluteValue, 0.0),
            [0.5, 1.0, 0.0]
        );
    }

    #[test]
    fn nothing_to_show_is_zero_not_nan() {
        assert_eq!(normalized(&[0.0, 0.0], Sign::All, 2.0), [0.0, 0.0]);
        assert_eq!(normalized(&[-1.0, -2.0], Sign::Positive, 2.0), [0.0, 0.0]);
    }

    #[cfg(feature = "flex")]
    #[test]
    fn regions_keep_their_value() {
        let device = burn::tensor::Device::flex();
        let numbers = burn::tensor::TensorData::new(vec![1.5f32; 6], [6]);
        let regions = Value::from_data(numbers, &device).reshape(&[1, 3, 1, 2]);
        assert_eq!(Map::from_regions(&regions, 0).unwrap().values(), [1.5, 1.5]);
        assert_eq!(Map::from_value(&regions, 0).unwrap().values(), [4.5, 4.5]);
    }

    #[cfg(feature = "flex")]
    #[test]
    fn volumes_become_slices() {
        let numbers =
            burn::tensor::TensorData::new(Vec::from_iter((0..16).map(|i| i as f32)), [16]);
        let device = burn::tensor::Device::flex();
        let volume = Value::from_data(numbers, &device).reshape(&[1, 2, 2, 2, 2]);
        let slices = Map::slices(&volume, 0).unwrap();
        assert_eq!(slices[1].values(), [16.0, 18.0, 20.0, 22.0]);
        assert_eq!((slices.len(), slices[0].size()), (2, (2, 2)));
        assert!(Map::slices(&volume, 1).is_err());
    }

    #[test]
    fn a_resized_map_keeps_its_range() {
        let map = Map::new(vec![-4.0, 8.0, 2.0, 2.0], 2, 2).unwrap();
        let large = map.resized(8, 6).unwrap();
        assert_eq!(large.size(), (8, 6));
        assert!((large.values()[0] + 4.0).abs() < 1e-5 && (large.values()[7] - 8.0).abs() < 1e-5);
        assert!(large.values()[3] > -4.0 && large.values()[3] < 8.0);
        assert_eq!(map.resized(2, 2).unwrap(), map);
        assert!(map.resized(0, 2).is_err());
    }

    #[test]
    fn wrong_sizes_and_numbers_are_refused() {
        assert!(matches!(Map::new(vec![1.0], 2, 1), Err(Error::Size { .. })));
        assert!(matches!(
            Map::new(vec![f32::NAN], 1, 1),
            Err(Error::NonFinite { .. })
        ));
        let map = Map::new(vec![1.0], 1, 1).unwrap();
        let bad = Style::default().with_outlier_perc(101.0);
        assert!(matches!(map.normalized(&bad), Err(Error::Parameter { .. })));
    }
}
