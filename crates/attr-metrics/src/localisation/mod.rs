//! Localisation: does the explanation point at what is known to matter? Each metric compares the
//! relevance of features with ground-truth masks.
//!
//! A row whose mask is empty has nothing to find, and zero attributions point nowhere: every metric
//! is undefined (NaN) for them.
//!
//! ```text
//! pointing_game.rs              does the most relevant feature lie inside?
//! top_k_intersection.rs         how many of the k most relevant do?
//! relevance_rank_accuracy.rs    how many of as many as lie inside do?
//! relevance_mass_accuracy.rs    how much of the relevance lies inside?
//! attribution_localisation.rs   how much of the positive, for objects of any size?
//! focus.rs                      how much of the positive, in a mosaic of images?
//! auc.rs                        does relevance separate the inside from the outside?
//! ```

mod attribution_localisation;
mod auc;
mod focus;
mod pointing_game;
mod relevance_mass_accuracy;
mod relevance_rank_accuracy;
mod top_k_intersection;

pub use attribution_localisation::AttributionLocalisation;
pub use auc::Auc;
pub use focus::Focus;
pub use pointing_game::PointingGame;
pub use relevance_mass_accuracy::RelevanceMassAccuracy;
pub use relevance_rank_accuracy::RelevanceRankAccuracy;
pub use top_k_intersection::TopKIntersection;

use attr_core::Error;

use crate::{About, Case, Family, Measured, Needs};

/// Describes a metric of localisation.
fn about(name: &'static str, summary: &'static str, paper: &'static str) -> About {
    About {
        name,
        summary,
        paper,
        higher_is_better: true,
        family: Family::Localisation,
        needs: Needs {
            masks: true,
            ..Needs::default()
        },
    }
}

/// Computes a value of each row from its relevance and its mask; NaN for an empty mask and for zeros.
fn compare(
    case: &Case<'_>,
    abs: bool,
    of: impl Fn(&[f64], &[bool]) -> f64,
) -> Result<Measured, Error> {
    let relevance = case.relevance_or_magnitude(abs)?;
    let rows = relevance.iter().zip(case.masks()?);
    let values = rows.map(|(relevance, mask)| {
        if mask.contains(&true) && relevance.iter().any(|&value| value != 0.0) {
            of(relevance, mask)
        } else {
            f64::NAN
        }
    });
    Ok(Measured::new(values.collect()))
}

/// Returns how many features lie inside.
fn size(mask: &[bool]) -> usize {
    mask.iter().filter(|&&inside| inside).count()
}

/// Returns the share of relevance that lies inside; NaN where there is none.
fn share(relevance: impl Iterator<Item = f64>, mask: &[bool]) -> f64 {
    let (mut inside, mut total) = (0.0, 0.0);
    for (value, &within) in relevance.zip(mask) {
        total += value;
        inside += if within { value } else { 0.0 };
    }
    if total == 0.0 {
        f64::NAN
    } else {
        inside / total
    }
}
