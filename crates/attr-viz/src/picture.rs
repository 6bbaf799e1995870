//! An original input as an image.

use std::io::Cursor;
use std::ops::Range;

use attr_core::Value;
use image::{ImageReader, Rgb, RgbImage};

use crate::{Error, Palette};

/// A colour image.
#[derive(Clone, Debug)]
pub struct Picture(pub(crate) RgbImage);

/// The most pixels that are decoded. As floating-point colours they take 768 MiB.
const MOST_PIXELS: u64 = 1 << 26;

impl Picture {
    /// Creates a grey image from numbers in row-major order; `range` runs from black to white.
    ///
    /// # Errors
    /// [`Error::Size`] for a wrong number of values, [`Error::NonFinite`] for NaN.
    pub fn gray(
        values: &[f32],
        width: usize,
        height: usize,
        range: Range<f32>,
    ) -> Result<Self, Error> {
        Self::new(values, 1, width, height, range)
    }

    /// Creates an image from one row of an input `[batch, channels, height, width]` with 1 or 3
    /// channels, `[batch, height, width]` or `[batch, width]`; `range` runs from black to white.
    ///
    /// # Errors
    /// [`Error::Shape`] when the tensor is not an image or has no such row.
    pub fn from_value(input: &Value, row: usize, range: Range<f32>) -> Result<Self, Error> {
        let (channels, height, width, values) = Self::read(input, row)?;
        if channels != 1 && channels != 3 {
            return Err(Error::Shape {
                shape: input.shape(),
                row,
            });
        }
        Self::new(&values, channels, width, height, range)
    }

    /// As [`gray`](Self::gray), in the colours of a palette, such as for a scan without colours.
    ///
    /// # Errors
    /// As [`gray`](Self::gray).
    pub fn colored(
        values: &[f32],
        width: usize,
        height: usize,
        range: Range<f32>,
        palette: &Palette,
    ) -> Result<Self, Error> {
        let mut picture = Self::gray(values, width, height, range)?;
        for pixel in picture.0.pixels_mut() {
            *pixel = Rgb(palette.colors()[usize::from(pixel.0[0])]);
        }
        Ok(picture)
    }

    /// Decodes the content of a PNG or JPEG file.
    ///
    /// # Errors
    /// [`Error::Decode`] if it is neither, is broken or has more than 67,108,864 pixels.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let failed = |error: image::ImageError| Error::Decode(error.to_string());
        let reader = || {
            let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
            reader.map_err(|error| Error::Decode(error.to_string()))
        };
        // The header says how large the picture is; nothing is decoded for it.
        let (width, height) = reader()?.into_dimensions().map_err(failed)?;
        if u64::from(width) * u64::from(height) > MOST_PIXELS {
            return Err(Error::Decode(format!(
                "it has {width} x {height} pixels, more than {MOST_PIXELS}"
            )));
        }
        Ok(Self(reader()?.decode().map_err(failed)?.to_rgb8()))
    }

    /// Resizes the picture, smoothed when it shrinks and interpolated when it grows.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a side of 0 or more than 16384 pixels.
    pub fn resized(self, width: usize, height: usize) -> Result<Self, Error> {
        if self.size() == (width, height) {
            return Ok(self);
        }
        if !(1..=16384).contains(&width) || !(1..=16384).contains(&height) {
            return Err(Error::Parameter {
                name: "size",
                value: format!("{width} x {height}"),
                expected: "each side must be from 1 to 16384",
            });
        }
        let (width, height) = (width as u32, height as u32);
        let filter = image::imageops::FilterType::Triangle;
        Ok(Self(image::imageops::resize(
            &self.0, width, height, filter,
        )))
    }

    /// Returns the colours in `[0, 1]`, `[channels, height, width]` in row-major order: red, green
    /// and blue for three channels, their luminance for one.
    ///
    /// # Errors
    /// [`Error::Parameter`] for another number of channels.
    pub fn channels(&self, channels: usize) -> Result<Vec<f32>, Error> {
        let level = |v: u8| f32::from(v) / 255.0;
        match channels {
            1 => {
                let gray = image::imageops::grayscale(&self.0);
                Ok(gray.pixels().map(|p| level(p.0[0])).collect())
            }
            3 => {
                let pixels = || self.0.pixels();
                Ok((0..3)
                    .flat_map(|c| pixels().map(move |p| level(p.0[c])))
                    .collect())
            }
            other => Err(Error::Parameter {
                name: "channels",
                value: other.to_string(),
                expected: "an image has 1 or 3 channels",
            }),
        }
    }

    /// Inverts light and dark.
    pub fn inverted(mut self) -> Self {
        image::imageops::invert(&mut self.0);
        self
    }

    /// Returns the width and height.
    pub fn size(&self) -> (usize, usize) {
        (self.0.width() as usize, self.0.height() as usize)
    }

    fn new(
        values: &[f32],
        channels: usize,
        width: usize,
        height: usize,
        range: Range<f32>,
    ) -> Result<Self, Error> {
        let plane = width * height;
        if values.len() != channels * plane || plane == 0 {
            return Err(Error::Size {
                got: values.len(),
                width,
                height,
                channels,
            });
        }
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::NonFinite { what: "the image" });
        }
        let span = range.end - range.start;
        if span.is_nan() || span <= 0.0 {
            return Err(Error::Parameter {
                name: "range",
                value: format!("{range:?}"),
                expected: "white must be above black",
            });
        }
        let level = |v: f32| ((v - range.start) / span * 255.0).clamp(0.0, 255.0).round() as u8;
        Ok(Self(RgbImage::from_fn(
            width as u32,
            height as u32,
            |x, y| {
                let i = y as usize * width + x as usize;
                let channel = |c: usize| level(values[(c % channels) * plane + i]);
                Rgb([channel(0), channel(1), channel(2)])
            },
        )))
    }

    /// Returns the channels, height, width and numbers of one row.
    pub(crate) fn read(
        value: &Value,
        row: usize,
    ) -> Result<(usize, usize, usize, Vec<f32>), Error> {
        let shape = value.shape();
        let (channels, height, width) = match shape[..] {
            [_, c, h, w] => (c, h, w),
            [_, h, w] => (1, h, w),
            [_, w] => (1, 1, w),
            _ => (0, 0, 0),
        };
        if channels == 0 || row >= value.rows() {
            return Err(Error::Shape { shape, row });
        }
        let values = value.slice_rows(row..row + 1).to_vec()?;
        Ok((channels, height, width, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_has_the_colours_of_its_palette() {
        let palette: Palette = "00f,80:fff,f00".parse().unwrap();
        let picture = Picture::colored(&[-1.0, 1.0], 2, 1, -1.0..1.0, &palette).unwrap();
        let colors: Vec<[u8; 3]> = picture.0.pixels().map(|pixel| pixel.0).collect();
        assert_eq!(colors, [[0, 0, 255], [255, 0, 0]]);
        assert!(Picture::colored(&[0.0], 2, 1, 0.0..1.0, &palette).is_err());
    }
}
