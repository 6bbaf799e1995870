//! The ways to show an attribution.

use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use crate::{Error, Map, Picture, Style};

/// A way to show an attribution; names as in Captum's `visualize_image_attr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// The attribution as colours.
    HeatMap,
    /// The attribution as colours over the grey original.
    BlendedHeatMap,
    /// The original.
    #[serde(rename = "original_image")]
    Original,
    /// The original, darkened where the attribution is small.
    MaskedImage,
    /// The original, faded to white where the attribution is small.
    AlphaScaling,
}

/// A drawn view, with one pixel per pixel of the map, and the style that its colour bar shows.
#[derive(Clone, Debug)]
pub struct Drawing {
    pub(crate) image: RgbImage,
    pub(crate) bar: Option<Style>,
}

impl View {
    /// Draws the view.
    ///
    /// # Errors
    /// [`Error::NoOriginal`] if the view shows the original and none is given, [`Error::Mismatch`]
    /// if sizes differ, [`Error::Parameter`] for a style out of range.
    pub fn draw(
        self,
        map: &Map,
        original: Option<&Picture>,
        style: &Style,
    ) -> Result<Drawing, Error> {
        let original = match (self, original) {
            (Self::HeatMap, _) => None,
            (_, None) => return Err(Error::NoOriginal),
            (_, Some(picture)) if picture.size() != map.size() => {
                return Err(Error::Mismatch {
                    map: map.size(),
                    image: picture.size(),
                });
            }
            (_, Some(picture)) => Some(&picture.0),
        };
        let normalized = map.normalized(style)?;
        let (width, height) = map.size();
        let image = RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let value = normalized[y as usize * width + x as usize];
            let original = original.map_or([255; 3], |image| image.get_pixel(x, y).0);
            Rgb(match self {
                Self::HeatMap => style.color(value),
                Self::Original => original,
                Self::MaskedImage => mix([0; 3], original, value.abs()),
                Self::AlphaScaling => mix([255; 3], original, value.abs()),
                Self::BlendedHeatMap => {
                    mix(gray(original), style.color(value), style.alpha_overlay)
                }
            })
        });
        let shows_colors = matches!(self, Self::HeatMap | Self::BlendedHeatMap);
        Ok(Drawing {
            image,
            bar: shows_colors.then(|| style.clone()),
        })
    }
}

impl Drawing {
    /// Returns the picture at its own size, one pixel per pixel of the map.
    pub fn image(&self) -> &RgbImage {
        &self.image
    }
}

/// Returns `(1 - t) a + t b`.
fn mix(a: [u8; 3], b: [u8; 3], t: f32) -> [u8; 3] {
    std::array::from_fn(|i| (f32::from(a[i]) * (1.0 - t) + f32::from(b[i]) * t).round() as u8)
}

fn gray(color: [u8; 3]) -> [u8; 3] {
    let sum: u32 = color.iter().map(|&c| u32::from(c)).sum();
    [(sum / 3) as u8; 3]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sign;

    fn draw(view: View, style: &Style) -> Vec<[u8; 3]> {
        let map = Map::new(vec![1.0, 0.0, -1.0], 3, 1).unwrap();
        let picture = Picture::gray(&[1.0, 0.5, 0.0], 3, 1, 0.0..1.0).unwrap();
        let drawing = view.draw(&map, Some(&picture), style).unwrap();
        drawing.image().pixels().map(|p| p.0).collect()
    }

    #[test]
    fn positive_is_red_negative_is_blue_nothing_is_neutral() {
        let [positive, none, negative] = draw(View::HeatMap, &Style::default())[..] else {
            panic!("three pixels");
        };
        assert!(positive[0] > positive[2], "{positive:?}");
        assert!(negative[2] > negative[0], "{negative:?}");
        assert!(none.iter().all(|&c| c > 235), "{none:?}");
    }

    #[test]
    fn original_and_masked() {
        let style = Style::default()
            .with_sign(Sign::Positive)
            .with_outlier_perc(0.0);
        assert_eq!(draw(View::Original, &style), [[255; 3], [128; 3], [0; 3]]);
        assert_eq!(draw(View::MaskedImage, &style), [[255; 3], [0; 3], [0; 3]]);
        assert_eq!(draw(View::AlphaScaling, &style), [[255; 3]; 3]);
    }

    #[test]
    fn an_overlay_of_no_opacity_is_the_original_in_grey() {
        let style = Style::default().with_alpha_overlay(0.0);
        assert_eq!(
            draw(View::BlendedHeatMap, &style),
            [[255; 3], [128; 3], [0; 3]]
        );
    }

    #[test]
    fn views_of_the_original_need_one_of_the_same_size() {
        let map = Map::new(vec![1.0, 2.0], 2, 1).unwrap();
        let other = Picture::gray(&[0.0], 1, 1, 0.0..1.0).unwrap();
        let style = Style::default();
        let missing = View::MaskedImage.draw(&map, None, &style);
        assert!(matches!(missing, Err(Error::NoOriginal)));
        let mismatch = View::Original.draw(&map, Some(&other), &style);
        assert!(matches!(mismatch, Err(Error::Mismatch { .. })));
    }
}
