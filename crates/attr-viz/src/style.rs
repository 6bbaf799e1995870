//! How attributions become colours.

use colorgrad::{Gradient, preset};
use serde::{Deserialize, Serialize};

use crate::{Error, Palette};

/// Which attributions are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// Only attributions that support the target; values in `[0, 1]`.
    Positive,
    /// Only attributions that oppose the target, as magnitudes; values in `[0, 1]`.
    Negative,
    /// The magnitudes of both; values in `[0, 1]`.
    AbsoluteValue,
    /// Both, with their signs; values in `[-1, 1]`.
    #[default]
    All,
}

/// What the ends of the colours stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// The value at which the sorted magnitudes reach `100 - outlier_perc` percent of their total,
    /// and its negative; as in Captum.
    #[default]
    Outliers,
    /// The largest magnitude and its negative; zennit's `symmetric`.
    Symmetric,
    /// The smallest and the largest value, so that nothing marks 0; zennit's default.
    MinMax,
}

/// How a heat map is drawn. Names and defaults follow Captum's `visualize_image_attr`, except the
/// colours for both signs: blue, white and red instead of red, white and green, which many people
/// cannot tell apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Style {
    /// Which attributions are shown.
    pub sign: Sign,
    /// The percentage of the total that is shown saturated, from the largest values; 2 by default.
    pub outlier_perc: f64,
    /// Opacity of a heat map over an image, from 0 to 1; 0.7 by default.
    pub alpha_overlay: f32,
    /// What the ends of the colours stand for.
    pub scale: Scale,
    /// The colours; by default those that fit the sign.
    pub palette: Option<Palette>,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            sign: Sign::default(),
            outlier_perc: 2.0,
            alpha_overlay: 0.7,
            scale: Scale::default(),
            palette: None,
        }
    }
}

impl Style {
    /// Sets which attributions are shown.
    pub fn with_sign(mut self, sign: Sign) -> Self {
        self.sign = sign;
        self
    }

    /// Sets the percentage of the total that may be shown saturated.
    pub fn with_outlier_perc(mut self, outlier_perc: f64) -> Self {
        self.outlier_perc = outlier_perc;
        self
    }

    /// Sets the opacity of a heat map over an image.
    pub fn with_alpha_overlay(mut self, alpha_overlay: f32) -> Self {
        self.alpha_overlay = alpha_overlay;
        self
    }

    /// Sets what the ends of the colours stand for.
    pub fn with_scale(mut self, scale: Scale) -> Self {
        self.scale = scale;
        self
    }

    /// Sets the colours.
    pub fn with_palette(mut self, palette: Palette) -> Self {
        self.palette = Some(palette);
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(0.0..=100.0).contains(&self.outlier_perc) {
            return Err(Error::Parameter {
                name: "outlier_perc",
                value: self.outlier_perc.to_string(),
                expected: "it must lie between 0 and 100",
            });
        }
        if !(0.0..=1.0).contains(&self.alpha_overlay) {
            return Err(Error::Parameter {
                name: "alpha_overlay",
                value: self.alpha_overlay.to_string(),
                expected: "it must lie between 0 and 1",
            });
        }
        Ok(())
    }

    /// Returns the colour of a normalised value.
    pub(crate) fn color(&self, value: f32) -> [u8; 3] {
        let (low, high) = self.range();
        let level = (value - low) / (high - low);
        if let Some(palette) = &self.palette {
            return palette.at(level);
        }
        let color = match self.sign {
            Sign::All => preset::rd_bu().at(1.0 - level),
            Sign::Positive => preset::reds().at(value),
            Sign::Negative => preset::blues().at(value),
            Sign::AbsoluteValue => preset::purples().at(value),
        };
        let [r, g, b, _] = color.to_rgba8();
        [r, g, b]
    }

    /// Whether one colour bar serves both.
    pub(crate) fn same_colors(&self, other: &Self) -> bool {
        self.range() == other.range() && self.sign == other.sign && self.palette == other.palette
    }

    /// Returns the smallest and the largest normalised value.
    pub(crate) fn range(&self) -> (f32, f32) {
        match (self.sign, self.scale) {
            (_, Scale::MinMax) => (0.0, 1.0),
            (Sign::All, _) => (-1.0, 1.0),
            _ => (0.0, 1.0),
        }
    }
}
