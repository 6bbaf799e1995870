//! The parameters of latent shift.

use attr_core::Error;
use serde::{Deserialize, Serialize};

/// Parameters of [`LatentShift`](crate::LatentShift) as plain data. Names and defaults are those of
/// the authors' implementation, `latentshift.cf.LatentShift`; `search` is new.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LatentShiftConfig {
    /// The range of lambda, `[left, right]`, instead of a search for it.
    pub fix_range: Option<[f64; 2]>,
    /// In which direction the range is searched; default left, towards lower predictions.
    pub search: ShiftSearch,
    /// The search stops when the prediction has moved by more than this; default 0.8.
    pub search_pred_diff: f64,
    /// First step of lambda, above 0; it grows by a tenth of lambda; default 10.
    pub search_step_size: f64,
    /// The search stops when lambda is at least this far from 0; default 3000.
    pub search_max_steps: f64,
    /// The search stops when the image has changed by more than this part of the sum of its
    /// magnitudes; default 0.05.
    pub search_max_pixel_diff_pct: f64,
    /// Number of images in the sweep over the range, at least 2; default 10.
    pub lambda_sweep_steps: usize,
    /// How the images of a sweep become a heat map; default `int`.
    pub heatmap_method: ShiftHeatmap,
    /// Whether predictions are sigmoids of the model's output; default true.
    pub apply_sigmoid: bool,
}

impl Default for LatentShiftConfig {
    fn default() -> Self {
        Self {
            fix_range: None,
            search: ShiftSearch::Left,
            search_pred_diff: 0.8,
            search_step_size: 10.0,
            search_max_steps: 3000.0,
            search_max_pixel_diff_pct: 0.05,
            lambda_sweep_steps: 10,
            heatmap_method: ShiftHeatmap::Int,
            apply_sigmoid: true,
        }
    }
}

/// The directions in which [`LatentShift`](crate::LatentShift) searches for the range of lambda.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShiftSearch {
    /// From 0 down, until the prediction is low: what to take away.
    #[default]
    Left,
    /// From 0 up, until the prediction is high: what to add.
    Right,
    /// Both, each from 0.
    Both,
}

/// How the images `gᵢ` of a sweep become a heat map; `x₀` is the reconstruction at lambda 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShiftHeatmap {
    /// `meanᵢ |gᵢ - gᵢ₊₁|`: all changes on the way.
    #[default]
    Int,
    /// `meanᵢ |x₀ - gᵢ|`.
    Mean,
    /// `|g₁ - gₙ|`: between the two ends.
    Mm,
    /// `maxᵢ |x₀ - gᵢ|`.
    Max,
}

impl LatentShiftConfig {
    /// Refuses values that no sweep can be made of.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |name, value: String, expected| {
            Err(Error::Parameter {
                name,
                value,
                expected,
            })
        };
        if let Some([left, right]) = self.fix_range {
            let fits = left.is_finite() && right.is_finite() && left < right;
            if !fits {
                let expected = "it must be two finite numbers, the smaller one first";
                return wrong("fix_range", format!("[{left}, {right}]"), expected);
            }
        }
        if self.lambda_sweep_steps < 2 {
            let value = self.lambda_sweep_steps.to_string();
            return wrong("lambda_sweep_steps", value, "it must be at least 2");
        }
        let step = self.search_step_size;
        if !step.is_finite() || step <= 0.0 {
            return wrong("search_step_size", step.to_string(), "it must be above 0");
        }
        let most = self.search_max_steps;
        if !most.is_finite() || most < 0.0 {
            let expected = "it must be finite and not negative";
            return wrong("search_max_steps", most.to_string(), expected);
        }
        for (name, value) in [
            ("search_pred_diff", self.search_pred_diff),
            ("search_max_pixel_diff_pct", self.search_max_pixel_diff_pct),
        ] {
            if value.is_nan() || value < 0.0 {
                return wrong(name, value.to_string(), "it must not be negative");
            }
        }
        Ok(())
    }
}
