//! Whether metrics agree on the order of methods.
//!
//! Metrics contradict each other: Klein et al., 2024, LATEC (<https://arxiv.org/abs/2409.16756>).

use std::fmt;

use serde::Serialize;

use super::{Comparison, EDGE_DETECTOR, RANDOM};
use crate::{Family, statistics};

/// Whether metrics agree on the order of methods.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Disagreement {
    /// Kendall's coefficient of concordance over all metrics: 1 where all rank the methods alike, 0
    /// where their ranks cancel. The references do not count. `None` for fewer than two metrics or
    /// methods.
    pub concordance: Option<f64>,
    /// The same within each family of at least two metrics.
    pub families: Vec<(Family, f64)>,
    /// Per method, its best and its worst rank.
    pub spread: Vec<(String, f64, f64)>,
    /// Pairs of metrics with Spearman's correlation of their ranks, the most contrary first.
    pub pairs: Vec<(String, String, f64)>,
}

/// What a coefficient of concordance says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// At least 0.7: the order of the methods hardly depends on the metric.
    Strong,
    /// At least 0.4: the metrics share a tendency.
    Moderate,
    /// Below: which method is best depends on which metric is asked.
    Weak,
}

impl Agreement {
    /// Reads a coefficient.
    pub fn of(concordance: f64) -> Self {
        if concordance >= 0.7 {
            Self::Strong
        } else if concordance >= 0.4 {
            Self::Moderate
        } else {
            Self::Weak
        }
    }
}

impl Disagreement {
    pub(super) fn of(comparison: &Comparison) -> Self {
        let ranks = comparison.ranks();
        // The references are last by design; with them, metrics would seem to agree.
        let reference = |name: &String| name == RANDOM || name == EDGE_DETECTOR;
        let methods = comparison.methods.iter();
        let methods: Vec<usize> = (0..ranks.len())
            .zip(methods)
            .filter(|(_, name)| !reference(name))
            .map(|(method, _)| method)
            .collect();
        // Only metrics that rank all methods can be compared.
        let whole: Vec<usize> = (0..comparison.metrics.len())
            .filter(|&metric| {
                methods
                    .iter()
                    .all(|&method| ranks[method][metric].is_some())
            })
            .collect();
        let column =
            |metric: usize| -> Vec<f64> { ranks.iter().filter_map(|row| row[metric]).collect() };
        let columns: Vec<Vec<f64>> = whole.iter().map(|&metric| column(metric)).collect();
        let mut families: Vec<(Family, f64)> = Vec::new();
        for &metric in &whole {
            let family = comparison.metrics[metric].family;
            if families.iter().any(|(known, _)| *known == family) {
                continue;
            }
            let same = whole
                .iter()
                .filter(|&&m| comparison.metrics[m].family == family);
            let same: Vec<Vec<f64>> = same.map(|&metric| column(metric)).collect();
            families.extend(concordance(&same).map(|w| (family, w)));
        }
        let spread = comparison
            .methods
            .iter()
            .zip(&ranks)
            .filter_map(|(name, row)| {
                let defined = || row.iter().flatten().copied();
                let best = defined().reduce(f64::min)?;
                Some((name.clone(), best, defined().reduce(f64::max)?))
            });
        let mut pairs = Vec::new();
        for (i, &a) in whole.iter().enumerate() {
            for (j, &b) in whole.iter().enumerate().skip(i + 1) {
                let rho = statistics::pearson(&columns[i], &columns[j]);
                if !rho.is_nan() {
                    let name = |metric: usize| comparison.metrics[metric].name.clone();
                    pairs.push((name(a), name(b), rho));
                }
            }
        }
        pairs.sort_by(|a, b| a.2.total_cmp(&b.2));
        Self {
            concordance: concordance(&columns),
            families,
            spread: spread.collect(),
            pairs,
        }
    }

    /// Returns the pairs of metrics that rank the methods in contrary order.
    pub fn contradictions(&self) -> &[(String, String, f64)] {
        let count = self.pairs.iter().take_while(|pair| pair.2 < 0.0).count();
        &self.pairs[..count]
    }
}

/// Returns Kendall's W of some rankings, corrected for equal ranks; `None` for fewer than two
/// rankings or ranked items, or where all items have equal ranks.
fn concordance(rankings: &[Vec<f64>]) -> Option<f64> {
    let m = rankings.len() as f64;
    let items = rankings.first()?.len();
    let n = items as f64;
    if rankings.len() < 2 || items < 2 {
        return None;
    }
    let sums = (0..items).map(|item| rankings.iter().map(|ranks| ranks[item]).sum::<f64>());
    let squares: f64 = sums.map(|sum| (sum - m * (n + 1.0) / 2.0).powi(2)).sum();
    let ties: f64 = rankings.iter().map(|ranks| tied(ranks)).sum();
    let most = m * m * (n * n * n - n) - m * ties;
    (most > 0.0).then(|| 12.0 * squares / most)
}

/// Returns `Σ t³ - t` over groups of `t` equal ranks.
fn tied(ranks: &[f64]) -> f64 {
    let mut sorted = ranks.to_vec();
    sorted.sort_by(f64::total_cmp);
    let groups = sorted
        .chunk_by(|a, b| a == b)
        .map(|group| group.len() as f64);
    groups.map(|t| t * t * t - t).sum()
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(concordance) = self.concordance else {
            return writeln!(
                f,
                "too few metrics or methods to say whether the metrics agree"
            );
        };
        let meaning = match Agreement::of(concordance) {
            Agreement::Strong => "the order of the methods hardly depends on the metric",
            Agreement::Moderate => "the metrics share a tendency, but not an order",
            Agreement::Weak => "which method is best depends on which metric is asked",
        };
        writeln!(
            f,
            "agreement of the metrics: Kendall's W = {concordance:.2}; {meaning}"
        )?;
        for (family, w) in &self.families {
            let family = format!("{family:?}").to_lowercase();
            writeln!(f, "  within {family}: W = {w:.2}")?;
        }
        for (method, best, worst) in &self.spread {
            writeln!(f, "  {method}: rank {best} to {worst}")?;
        }
        let contrary = self.contradictions();
        for (a, b, rho) in contrary.iter().take(5) {
            writeln!(
                f,
                "  {a} and {b} contradict each other: rank correlation {rho:+.2}"
            )?;
        }
        if contrary.len() > 5 {
            writeln!(f, "  and {} more pairs", contrary.len() - 5)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concordance_of_equal_and_of_opposite_rankings() {
        let (up, down) = (vec![1.0, 2.0, 3.0], vec![3.0, 2.0, 1.0]);
        assert_eq!(concordance(&[up.clone(), up.clone()]), Some(1.0));
        assert_eq!(concordance(&[up.clone(), down]), Some(0.0));
        assert_eq!(concordance(&[up]), None);
    }

    /// Ties must not lower the concordance of equal rankings.
    #[test]
    fn equal_ranks_are_corrected_for() {
        let ranks = vec![1.5, 1.5, 3.0, 4.0];
        let w = concordance(&[ranks.clone(), ranks.clone(), ranks]).unwrap();
        assert!((w - 1.0).abs() < 1e-12);
        assert_eq!(concordance(&[vec![1.5, 1.5], vec![1.5, 1.5]]), None);
    }
}
