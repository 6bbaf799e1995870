//! Selection of the features that a surrogate may use, as in the `lime` package.
//!
//! Ribeiro, Singh, Guestrin, "Why should I trust you?", 2016 (<https://arxiv.org/abs/1602.04938>),
//! which selects along the lasso's path.

use attr_core::Error;
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::interpretable::{Design, InterpretableModel, Ridge, check};
use crate::lars;

/// How the features of a surrogate are selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FeatureSelection {
    /// All features are used.
    #[default]
    None,
    /// Adds one feature at a time: the one that raises the R² of least squares most.
    ForwardSelection,
    /// Those with the largest coefficients in a ridge regression with penalty 0.01.
    HighestWeights,
    /// Those of the lasso path's last knot with at most the requested number; K-LASSO in the paper.
    LassoPath,
    /// Forward selection for up to six features, highest weights for more, as in `lime`.
    Auto,
}

/// Returns at most `count` of the features, in order of selection (for
/// [`LassoPath`](FeatureSelection::LassoPath), in their own order).
///
/// `instance` is the explained row in interpretable space: the highest weights are those of
/// coefficient times value.
///
/// # Errors
/// Those of [`InterpretableModel::fit`].
pub fn select_features(
    selection: FeatureSelection,
    count: usize,
    instance: &[f64],
    (features, labels, weights): (&Design, &[f64], &[f64]),
) -> Result<Vec<usize>, Error> {
    check(features, labels, weights)?;
    let columns = features.columns();
    let selection = match (selection, count) {
        (FeatureSelection::Auto, ..=6) => FeatureSelection::ForwardSelection,
        (FeatureSelection::Auto, _) => FeatureSelection::HighestWeights,
        (selection, _) => selection,
    };
    let count = count.min(columns);
    match selection {
        FeatureSelection::None | FeatureSelection::Auto => Ok((0..columns).collect()),
        FeatureSelection::ForwardSelection => {
            let model = Ridge {
                alpha: 0.0,
                ..Ridge::default()
            };
            let mut chosen: Vec<usize> = Vec::with_capacity(count);
            for _ in 0..count {
                let mut best: Option<(f64, usize)> = None;
                for feature in (0..columns).filter(|feature| !chosen.contains(feature)) {
                    let candidate = [&chosen[..], &[feature]].concat();
                    let fit = model.fit(&features.with_columns(&candidate), labels, weights)?;
                    if best.is_none_or(|(score, _)| fit.r_squared > score) {
                        best = Some((fit.r_squared, feature));
                    }
                }
                chosen.extend(best.map(|(_, feature)| feature));
            }
            Ok(chosen)
        }
        FeatureSelection::HighestWeights => {
            let model = Ridge {
                alpha: 0.01,
                ..Ridge::default()
            };
            let coefficients = model.fit(features, labels, weights)?.coefficients;
            let mut order: Vec<usize> = (0..columns).collect();
            let size = |j: usize| (coefficients[j] * instance.get(j).unwrap_or(&1.0)).abs();
            order.sort_by(|&a, &b| size(b).total_cmp(&size(a)));
            order.truncate(count);
            Ok(order)
        }
        FeatureSelection::LassoPath => {
            let (x, y) = centred(features, labels, weights);
            let knots = lars::path(&x, &y);
            let fitting = knots.into_iter().rev().find(|knot| knot.len() <= count);
            Ok(fitting.unwrap_or_default())
        }
    }
}

/// Returns samples centred at their weighted means, times the square roots of their weights.
fn centred(features: &Design, labels: &[f64], weights: &[f64]) -> (DMatrix<f64>, DVector<f64>) {
    let total: f64 = weights.iter().sum();
    let mean = |of: &dyn Fn(usize) -> f64| {
        let rows = weights.iter().enumerate();
        rows.map(|(i, w)| w * of(i)).sum::<f64>() / total
    };
    let label = mean(&|i| labels[i]);
    let means: Vec<f64> = (0..features.columns())
        .map(|j| mean(&|i| features.row(i)[j]))
        .collect();
    let x = DMatrix::from_fn(features.rows(), features.columns(), |i, j| {
        (features.row(i)[j] - means[j]) * weights[i].sqrt()
    });
    let y = DVector::from_fn(features.rows(), |i, _| {
        (labels[i] - label) * weights[i].sqrt()
    });
    (x, y)
}
