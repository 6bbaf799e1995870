//! Quadrature rules on `[0, 1]`: where a path is sampled and how each sample is weighted.

use attr_core::Error;
use gauss_quad::GaussLegendre;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// A quadrature rule, named as in Captum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Quadrature {
    /// Exact for polynomials of degree `2n - 1`; the default.
    #[default]
    #[serde(rename = "gausslegendre")]
    GaussLegendre,
    /// Samples at `0, 1/n, ..., (n-1)/n`.
    RiemannLeft,
    /// Samples at `1/n, ..., 1`.
    RiemannRight,
    /// Samples at the midpoints of `n` intervals.
    RiemannMiddle,
    /// Samples at `0, 1/(n-1), ..., 1`, with half weight at the ends. The weights sum to one;
    /// Captum's sum to `(n-1)/n`.
    RiemannTrapezoid,
}

impl Quadrature {
    /// All rules.
    pub const ALL: [Self; 5] = [
        Self::GaussLegendre,
        Self::RiemannLeft,
        Self::RiemannRight,
        Self::RiemannMiddle,
        Self::RiemannTrapezoid,
    ];

    /// Returns the `(position, weight)` pairs of `n` samples.
    ///
    /// # Errors
    /// [`Error::Parameter`] for no samples, fewer than two with the trapezoid rule, or more than
    /// 65536. No integral needs more, and computing the Gauss-Legendre rule would take long.
    pub fn samples(self, n: usize) -> Result<Vec<(f64, f64)>, Error> {
        let Some(count) = NonZeroUsize::new(n) else {
            return Err(steps(n, "at least one step is needed"));
        };
        if n > 1 << 16 {
            return Err(steps(n, "at most 65536 steps are allowed"));
        }
        let even =
            |start: f64| (0..n).map(move |k| ((k as f64 + start) / n as f64, 1.0 / n as f64));
        Ok(match self {
            Self::GaussLegendre => GaussLegendre::new(count)
                .iter()
                .map(|(x, w)| (0.5 * (1.0 + x), 0.5 * w))
                .collect(),
            Self::RiemannLeft => even(0.0).collect(),
            Self::RiemannMiddle => even(0.5).collect(),
            Self::RiemannRight => even(1.0).collect(),
            Self::RiemannTrapezoid => {
                if n < 2 {
                    return Err(steps(n, "the trapezoid rule needs at least two steps"));
                }
                let width = 1.0 / (n - 1) as f64;
                let end = |k| if k == 0 || k == n - 1 { 0.5 } else { 1.0 };
                (0..n).map(|k| (k as f64 * width, end(k) * width)).collect()
            }
        })
    }
}

pub(crate) fn steps(n: usize, expected: &'static str) -> Error {
    Error::Parameter {
        name: "n_steps",
        value: n.to_string(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_positions_stay_inside() {
        for rule in Quadrature::ALL {
            for n in [2, 3, 50] {
                let samples = rule.samples(n).unwrap();
                assert_eq!(samples.len(), n);
                let total: f64 = samples.iter().map(|s| s.1).sum();
                assert!((total - 1.0).abs() < 1e-12, "{rule:?} {n}: {total}");
                assert!(
                    samples.iter().all(|s| (0.0..=1.0).contains(&s.0)),
                    "{rule:?}"
                );
            }
        }
    }

    #[test]
    fn orders_of_exactness() {
        let integral = |rule: Quadrature, power: i32| -> f64 {
            let samples = rule.samples(4).unwrap();
            samples.iter().map(|(x, w)| w * x.powi(power)).sum()
        };
        assert!((integral(Quadrature::GaussLegendre, 7) - 1.0 / 8.0).abs() < 1e-12);
        assert!((integral(Quadrature::RiemannMiddle, 1) - 0.5).abs() < 1e-12);
        assert!((integral(Quadrature::RiemannTrapezoid, 1) - 0.5).abs() < 1e-12);
        assert!((integral(Quadrature::RiemannLeft, 1) - 0.375).abs() < 1e-12);
        assert!((integral(Quadrature::RiemannRight, 1) - 0.625).abs() < 1e-12);
    }

    #[test]
    fn too_few_steps_are_refused() {
        for rule in Quadrature::ALL {
            assert!(matches!(rule.samples(0), Err(Error::Parameter { .. })));
        }
        assert!(Quadrature::RiemannTrapezoid.samples(1).is_err());
        assert!(Quadrature::RiemannMiddle.samples(1).is_ok());
    }
}
