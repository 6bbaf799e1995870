//! How similar two explanations are.

use attr_core::Error;
use serde::{Deserialize, Serialize};

use crate::statistics::{pearson, spearman};

/// A similarity of two explanations, at most 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// The correlation of ranks.
    #[default]
    Spearman,
    /// The correlation of values.
    Pearson,
    /// The cosine of the angle between them.
    Cosine,
    /// The structural similarity of images, with windows of 7 by 7 pixels.
    Ssim,
}

/// The side of a window of the structural similarity, as in scikit-image.
const WINDOW: usize = 7;

impl Similarity {
    /// Compares two explanations of `width` columns. NaN where the similarity is not defined, such as
    /// correlations of constants.
    ///
    /// # Errors
    /// [`Error::Method`] for the structural similarity of fewer than 7 columns, or fewer rows unless
    /// there is only one.
    pub fn of(self, a: &[f64], b: &[f64], width: usize) -> Result<f64, Error> {
        Ok(match self {
            Self::Spearman => spearman(a, b),
            Self::Pearson => pearson(a, b),
            Self::Cosine => {
                let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                let norm = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
                dot / (norm(a) * norm(b))
            }
            Self::Ssim => structural_similarity(a, b, width)?,
        })
    }
}

/// Wang et al., 2004 (<https://doi.org/10.1109/TIP.2003.819861>), with uniform windows, sample
/// covariances and the range of both images, as Quantus calls scikit-image. Windows lie within the
/// image.
fn structural_similarity(a: &[f64], b: &[f64], width: usize) -> Result<f64, Error> {
    let height = a.len() / width.max(1);
    if width < WINDOW || (height < WINDOW && height != 1) {
        return Err(Error::Method {
            method: "the structural similarity",
            reason: format!(
                "it compares windows of {WINDOW} by {WINDOW} features, but the explanation has \
                 {height} by {width}"
            ),
        });
    }
    let all = || a.iter().chain(b).copied();
    let range = all().fold(f64::MIN, f64::max) - all().fold(f64::MAX, f64::min);
    if range == 0.0 {
        return Ok(1.0);
    }
    let (c1, c2) = ((0.01 * range).powi(2), (0.03 * range).powi(2));
    let tall = if height == 1 { 1 } else { WINDOW };
    let count = (tall * WINDOW) as f64;
    let (mut total, mut windows) = (0.0, 0.0);
    for y in 0..=height - tall {
        for x in 0..=width - WINDOW {
            let (mut sum_a, mut sum_b, mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for row in y..y + tall {
                for at in row * width + x..row * width + x + WINDOW {
                    let (a, b) = (a[at], b[at]);
                    sum_a += a;
                    sum_b += b;
                    aa += a * a;
                    bb += b * b;
                    ab += a * b;
                }
            }
            let (mean_a, mean_b) = (sum_a / count, sum_b / count);
            let covariance = |xy: f64, x: f64, y: f64| (xy - count * x * y) / (count - 1.0);
            let (var_a, var_b) = (
                covariance(aa, mean_a, mean_a),
                covariance(bb, mean_b, mean_b),
            );
            let both = covariance(ab, mean_a, mean_b);
            let above = (2.0 * mean_a * mean_b + c1) * (2.0 * both + c2);
            let below = (mean_a * mean_a + mean_b * mean_b + c1) * (var_a + var_b + c2);
            total += above / below;
            windows += 1.0;
        }
    }
    Ok(total / windows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(count: usize, step: f64) -> Vec<f64> {
        (0..count).map(|i| (i as f64 * step).sin()).collect()
    }

    /// `skimage.metrics.structural_similarity(a, b, data_range=...)` of the same 9 by 8 images.
    #[test]
    fn structural_similarity_is_scikit_images() {
        let (a, b) = (wave(72, 0.7), wave(72, 0.9));
        let found = Similarity::Ssim.of(&a, &b, 8).unwrap();
        assert!((found - SKIMAGE_9_BY_8).abs() < 1e-9, "{found}");
        assert_eq!(Similarity::Ssim.of(&a, &a, 8).unwrap(), 1.0);
    }

    #[test]
    fn a_small_image_has_no_window() {
        let error = Similarity::Ssim.of(&[0.0; 12], &[1.0; 12], 4).unwrap_err();
        assert!(error.to_string().contains("3 by 4"), "{error}");
    }

    #[test]
    fn cosine() {
        assert_eq!(
            Similarity::Cosine.of(&[1.0, 0.0], &[0.0, 2.0], 2).unwrap(),
            0.0
        );
        assert!(
            Similarity::Cosine
                .of(&[0.0, 0.0], &[0.0, 2.0], 2)
                .unwrap()
                .is_nan()
        );
    }

    const SKIMAGE_9_BY_8: f64 = 0.0055166057197658215;
}
