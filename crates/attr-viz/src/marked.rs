//! Pictures with parts hidden, cut out or framed: reference images of concepts, and boxes of
//! detectors.

use std::ops::Range;

use image::Rgb;
use image::imageops;

use crate::{Error, Map, Picture};

/// How a picture shows only what a map looks at. Names and defaults are those of zennit-crp's
/// `vis_opaque_img`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opaque {
    /// The brightness that is left of hidden pixels, from 0 to 1; default 0.3.
    pub alpha: f32,
    /// Pixels are visible where the blurred map is above this part of its maximum; default 0.2.
    pub vis_th: f32,
    /// With `crop`, the picture is cut to where the blurred map is above this part of its maximum;
    /// default 0.1.
    pub crop_th: f32,
    /// Whether the picture is cut; default false.
    pub crop: bool,
    /// The side of the Gaussian window that blurs the map, an odd number of pixels; default 19. Its
    /// standard deviation is `0.15 kernel_size + 0.35`.
    pub kernel_size: usize,
}

impl Default for Opaque {
    fn default() -> Self {
        Self {
            alpha: 0.3,
            vis_th: 0.2,
            crop_th: 0.1,
            crop: false,
            kernel_size: 19,
        }
    }
}

/// A box of a detector, in pixels, with its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// From left to right.
    pub x: Range<usize>,
    /// From top to bottom.
    pub y: Range<usize>,
    /// The colour.
    pub color: [u8; 3],
}

impl Map {
    /// Blurs the map by a Gaussian window of odd size, mirrored at the edges, and divides it by its
    /// maximum. A map without positive values stays as it is but for the blur.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an even size, or one whose half is not smaller than the map.
    pub fn smoothed(&self, kernel_size: usize) -> Result<Self, Error> {
        let (width, height) = self.size();
        let half = kernel_size / 2;
        if kernel_size.is_multiple_of(2) || half >= width || half >= height {
            return Err(Error::Parameter {
                name: "kernel_size",
                value: kernel_size.to_string(),
                expected: "it must be odd, and its half smaller than the map",
            });
        }
        let sigma = 0.15 * kernel_size as f64 + 0.35;
        let weight = |i: usize| (-0.5 * ((i as f64 - half as f64) / sigma).powi(2)).exp();
        let total: f64 = (0..kernel_size).map(weight).sum();
        let weights: Vec<f64> = (0..kernel_size).map(|i| weight(i) / total).collect();
        // Without repeating the edge itself.
        let mirrored = |i: usize, length: usize| {
            let at = i.abs_diff(half);
            let at = if i < half { half - i } else { at };
            if at < length {
                at
            } else {
                2 * (length - 1) - at
            }
        };
        let values: Vec<f64> = self.values().iter().map(|v| f64::from(*v)).collect();
        let blur = |values: &[f64], along: bool| -> Vec<f64> {
            let at = |x: usize, y: usize| {
                let taps = weights.iter().enumerate().map(|(k, weight)| {
                    let (x, y) = if along {
                        (mirrored(x + k, width), y)
                    } else {
                        (x, mirrored(y + k, height))
                    };
                    weight * values[y * width + x]
                });
                taps.sum::<f64>()
            };
            (0..width * height)
                .map(|i| at(i % width, i / width))
                .collect()
        };
        let blurred = blur(&blur(&values, true), false);
        let most = blurred.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let scale = if most > 0.0 { most + 1e-10 } else { 1.0 };
        let scaled = blurred.iter().map(|v| (v / scale) as f32).collect();
        Self::new(scaled, width, height)
    }

    /// Joins maps of several layers of a detector: each is divided by its maximum and passed through
    /// `tanh(gamma x)`, and the largest value is taken. Smaller maps are enlarged to the size of the
    /// largest; negative values count as 0. LayerCAM's fusion, with `gamma` 2 in the paper: Jiang et
    /// al., 2021 (<https://doi.org/10.1109/TIP.2021.3089943>).
    ///
    /// # Errors
    /// [`Error::Draw`] without maps; [`Error::Parameter`] for a gamma that is not above 0.
    pub fn fused(maps: &[Self], gamma: f32) -> Result<Self, Error> {
        if gamma.is_nan() || gamma <= 0.0 {
            return Err(Error::Parameter {
                name: "gamma",
                value: gamma.to_string(),
                expected: "it must be above 0",
            });
        }
        let sizes = || maps.iter().map(Self::size);
        let width = sizes().map(|size| size.0).max();
        let height = sizes().map(|size| size.1).max();
        let (Some(width), Some(height)) = (width, height) else {
            return Err(Error::Draw("there are no maps to join".into()));
        };
        let mut joined = vec![0f32; width * height];
        for map in maps {
            let map = map.resized(width, height)?;
            let most = map.values().iter().copied().fold(0f32, f32::max);
            if most == 0.0 {
                continue;
            }
            for (all, own) in joined.iter_mut().zip(map.values()) {
                *all = all.max((gamma * own / most).tanh());
            }
        }
        Self::new(joined, width, height)
    }
}

impl Picture {
    /// Shows only what a map of the same size looks at: the rest is dark, and cut off if wished.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if sizes differ; [`Error::Parameter`] for parameters out of range.
    pub fn opaque(&self, map: &Map, how: &Opaque) -> Result<Self, Error> {
        if map.size() != self.size() {
            return Err(Error::Mismatch {
                map: map.size(),
                image: self.size(),
            });
        }
        for (name, value) in [
            ("alpha", how.alpha),
            ("vis_th", how.vis_th),
            ("crop_th", how.crop_th),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::Parameter {
                    name,
                    value: value.to_string(),
                    expected: "it must lie between 0 and 1",
                });
            }
        }
        let smooth = map.smoothed(how.kernel_size)?;
        let (width, values) = (self.0.width(), smooth.values());
        let at = |x: u32, y: u32| values[(y * width + x) as usize];
        let mut shown = self.0.clone();
        for (x, y, pixel) in shown.enumerate_pixels_mut() {
            if at(x, y) <= how.vis_th {
                let dark = pixel.0.map(|c| (f32::from(c) * how.alpha).round() as u8);
                *pixel = Rgb(dark);
            }
        }
        if !how.crop {
            return Ok(Self(shown));
        }
        let inside = self
            .0
            .enumerate_pixels()
            .filter(|(x, y, _)| at(*x, *y) > how.crop_th);
        let ends = inside.map(|(x, y, _)| [x, x, y, y]);
        let ends = ends.reduce(|a, b| {
            [
                a[0].min(b[0]),
                a[1].max(b[1]),
                a[2].min(b[2]),
                a[3].max(b[3]),
            ]
        });
        Ok(Self(match ends {
            Some([left, right, top, bottom]) => {
                let (width, height) = (right - left + 1, bottom - top + 1);
                imageops::crop_imm(&shown, left, top, width, height).to_image()
            }
            None => shown,
        }))
    }

    /// Draws frames of one pixel around boxes; what lies outside the picture is left out.
    pub fn with_frames(mut self, frames: &[Frame]) -> Self {
        let (width, height) = self.size();
        for frame in frames {
            let (right, bottom) = (frame.x.end.saturating_sub(1), frame.y.end.saturating_sub(1));
            let across = frame
                .x
                .clone()
                .flat_map(|x| [(x, frame.y.start), (x, bottom)]);
            let down = frame
                .y
                .clone()
                .flat_map(|y| [(frame.x.start, y), (right, y)]);
            for (x, y) in across.chain(down) {
                if x < width && y < height {
                    self.0.put_pixel(x as u32, y as u32, Rgb(frame.color));
                }
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot() -> (Picture, Map) {
        let values = |i: usize| if i == 27 { 1.0 } else { 0.0 };
        let map = Map::new((0..64).map(values).collect(), 8, 8).unwrap();
        (Picture::gray(&[1.0; 64], 8, 8, 0.0..1.0).unwrap(), map)
    }

    #[test]
    fn only_what_the_map_looks_at_is_bright() {
        let (picture, map) = spot();
        let how = Opaque {
            kernel_size: 3,
            ..Opaque::default()
        };
        let shown = picture.opaque(&map, &how).unwrap();
        assert_eq!(shown.0.get_pixel(3, 3).0, [255; 3]);
        assert_eq!(shown.0.get_pixel(0, 0).0, [77; 3]);
        let cut = picture.opaque(&map, &Opaque { crop: true, ..how }).unwrap();
        assert_eq!(cut.size(), (3, 3));
        let even = Opaque {
            kernel_size: 4,
            ..how
        };
        assert!(picture.opaque(&map, &even).is_err());
        assert!(picture.opaque(&map, &Opaque { alpha: 2.0, ..how }).is_err());
    }

    #[test]
    fn joined_maps_keep_the_strongest() {
        let map = |values: [f32; 4]| Map::new(values.to_vec(), 2, 2).unwrap();
        let joined = Map::fused(
            &[map([4.0, 0.0, -1.0, 0.0]), map([0.0, 0.5, 0.0, 0.25])],
            2.0,
        );
        let expected = [2f32.tanh(), 2f32.tanh(), 0.0, 1f32.tanh()];
        assert_eq!(joined.unwrap().values(), expected);
        assert!(Map::fused(&[], 2.0).is_err());
    }

    #[test]
    fn frames_stay_in_the_picture() {
        let (picture, _) = spot();
        let frame = Frame {
            x: 2..20,
            y: 1..4,
            color: [255, 0, 0],
        };
        let framed = picture.with_frames(&[frame]);
        assert_eq!(framed.0.pixels().filter(|p| p.0 == [255, 0, 0]).count(), 13);
    }
}
