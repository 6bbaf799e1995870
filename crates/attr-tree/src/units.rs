//! The Shapley values of a single leaf of weight 1, for rows of one pattern.
//!
//! Let a path test the features `1..d`. Without a feature `i`, the leaf is reached to a part `z_i`: 0 or 1 by
//! what a background row says, or the fraction of training rows. With it, the part is `o_i`: 0 or 1 by what the
//! explained row says. A coalition `S` reaches the leaf to the part `v(S) = Π_{i in S} o_i Π_{i not in S} z_i`.
//! Averaged over random coalitions in which each feature is with probability `t`, this is
//! `Π (t o_i + (1 - t) z_i)`, and integrals of its derivatives are Shapley values and interactions (Owen, 1972):
//!
//! `φ_i  = (o_i - z_i) ∫_0^1 Π_{k != i} (t o_k + (1 - t) z_k) dt`
//!
//! `φ_ij = (o_i - z_i) (o_j - z_j) ∫_0^1 Π_{k != i, j} (t o_k + (1 - t) z_k) dt`

use std::num::NonZeroUsize;

use gauss_quad::GaussLegendre;

use crate::paths::MOST_FEATURES;
use crate::sorted::{Pattern, Sorted};

/// What one leaf gives to the features of its path, by their position in the path.
#[derive(Debug)]
pub(crate) struct Unit {
    pub values: Vec<f64>,
    /// `[features, features]` in rows of as many as the path has; the diagonal means nothing.
    pub pairs: Vec<f64>,
    /// What has to be calculated.
    pub with_pairs: bool,
}

impl Unit {
    pub fn new(features: usize, with_pairs: bool) -> Self {
        let pairs = if with_pairs { features * features } else { 0 };
        Self {
            values: vec![0.0; features],
            pairs: vec![0.0; pairs],
            with_pairs,
        }
    }
}

/// `∫ t^a (1 - t)^b dt = a! b! / (a + b + 1)!` for all numbers of features.
#[derive(Clone, Debug)]
pub(crate) struct Weights(Vec<f64>);

const SIDE: usize = MOST_FEATURES + 1;

impl Weights {
    pub fn new() -> Self {
        let mut weights = vec![0.0; SIDE * SIDE];
        for a in 0..SIDE {
            weights[a * SIDE] = 1.0 / (a + 1) as f64;
            for b in 1..SIDE {
                weights[a * SIDE + b] = weights[a * SIDE + b - 1] * b as f64 / (a + b + 1) as f64;
            }
        }
        Self(weights)
    }

    fn of(&self, a: u32, b: u32) -> f64 {
        self.0[a as usize * SIDE + b as usize]
    }

    /// The mean over background rows. A row and a background row reach the leaf together if each feature is
    /// passed by one of them at least; what both pass does not count. With `u` features that only the row passes and
    /// `v` that only the background row passes, the integral is one of the weights.
    pub fn unit(
        &self,
        row: Pattern,
        background: &Sorted,
        rows: usize,
        features: usize,
        unit: &mut Unit,
    ) {
        let values = &mut unit.values[..features];
        values.fill(0.0);
        if unit.with_pairs {
            unit.pairs[..features * features].fill(0.0);
        }
        let failed = !row;
        let v = failed.count_ones();
        let mut against = 0.0;
        for (other, count) in background.counts() {
            if row | other != Pattern::MAX {
                continue;
            }
            let share = f64::from(count) / rows as f64;
            let only = !other;
            let u = only.count_ones();
            if v > 0 {
                against += share * self.of(u, v - 1);
            }
            if u > 0 {
                let value = share * self.of(u - 1, v);
                for at in bits(only) {
                    values[at] += value;
                }
            }
            if unit.with_pairs && u + v > 1 {
                self.pairs(only, failed, share, features, &mut unit.pairs);
            }
        }
        // All that only background rows pass get the same.
        for at in bits(failed) {
            values[at] = -against;
        }
    }

    fn pairs(
        &self,
        only: Pattern,
        failed: Pattern,
        share: f64,
        features: usize,
        pairs: &mut [f64],
    ) {
        let (u, v) = (only.count_ones(), failed.count_ones());
        let mut add = |left: Pattern, right: Pattern, value: f64| {
            for i in bits(left) {
                for j in bits(right) {
                    pairs[i * features + j] += value;
                }
            }
        };
        if u > 1 {
            add(only, only, share * self.of(u - 2, v));
        }
        if v > 1 {
            add(failed, failed, share * self.of(u, v - 2));
        }
        if u > 0 && v > 0 {
            let value = -share * self.of(u - 1, v - 1);
            add(only, failed, value);
            add(failed, only, value);
        }
    }
}

/// The positions of the bits that are set.
fn bits(mut pattern: Pattern) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = pattern.trailing_zeros();
        pattern &= pattern.wrapping_sub(1);
        (at < Pattern::BITS).then_some(at as usize)
    })
}

/// Points of the integral by Gauss and Legendre. With `n` of them it is exact for polynomials of degree `2n - 1`,
/// and that of `d` features has degree `d - 1`.
#[derive(Debug)]
pub(crate) struct Points {
    /// `1 - t` at each point.
    pub without: Vec<f64>,
    pub weights: Vec<f64>,
}

impl Points {
    /// As many as paths of so many features take.
    pub fn new(features: usize) -> Self {
        let rule =
            GaussLegendre::new(NonZeroUsize::MIN.saturating_add(features.div_ceil(2).max(1) - 1));
        let pairs = rule.as_node_weight_pairs();
        Self {
            // From [-1, 1] to [0, 1].
            without: pairs.iter().map(|(x, _)| 0.5 - x / 2.0).collect(),
            weights: pairs.iter().map(|(_, weight)| weight / 2.0).collect(),
        }
    }
}

/// The integral for fractions of training rows. All terms of the products are positive, so nothing cancels,
/// however long the path is.
#[derive(Debug)]
pub(crate) struct Integral {
    /// `1 - t` at each point.
    without: Vec<f64>,
    weights: Vec<f64>,
    /// For each level of the path and each point: the factor of a feature that the row passes,
    /// `t + (1 - t) z`,
    passed: Vec<f64>,
    /// and its `(1 - z) / (t + (1 - t) z)`.
    gained: Vec<f64>,
    /// `z` at each level.
    fractions: Vec<f64>,
    products: Vec<f64>,
    /// For each feature and each point: what it changes the product by; only for pairs.
    changes: Vec<f64>,
}

impl Integral {
    /// For paths of at most so many features and levels.
    pub fn new(features: usize, levels: usize) -> Self {
        let Points { without, weights } = Points::new(features);
        let size = weights.len() * (levels + 1);
        Self {
            products: vec![0.0; weights.len()],
            changes: vec![0.0; weights.len() * features],
            without,
            weights,
            passed: vec![0.0; size],
            gained: vec![0.0; size],
            fractions: vec![0.0; levels + 1],
        }
    }

    /// A walk goes down to a level, where `fraction` is that of its feature.
    pub fn enter(&mut self, level: usize, fraction: f64) {
        let points = self.weights.len();
        let range = level * points..(level + 1) * points;
        let passed = &mut self.passed[range.clone()];
        let gained = &mut self.gained[range];
        for ((passed, gained), without) in passed.iter_mut().zip(gained).zip(&self.without) {
            *passed = 1.0 - without + without * fraction;
            *gained = (1.0 - fraction) / *passed;
        }
        self.fractions[level] = fraction;
    }

    /// The values of a leaf. `levels` has that of each feature's last branch.
    pub fn unit(&mut self, row: Pattern, levels: &[usize], unit: &mut Unit) {
        let points = self.weights.len();
        self.products.copy_from_slice(&self.weights);
        let mut fractions = 1.0;
        for (at, &level) in levels.iter().enumerate() {
            if row & (1 << at) == 0 {
                fractions *= self.fractions[level];
                for (product, without) in self.products.iter_mut().zip(&self.without) {
                    *product *= without;
                }
            } else {
                let passed = &self.passed[level * points..];
                for (product, passed) in self.products.iter_mut().zip(passed) {
                    *product *= passed;
                }
            }
        }
        // What the row fails at is without the leaf, for all such features alike: `-z / ((1 - t) z)`.
        let against = self.products.iter().zip(&self.without);
        let against: f64 = against.map(|(product, without)| product / without).sum();
        for (at, &level) in levels.iter().enumerate() {
            unit.values[at] = if row & (1 << at) == 0 {
                -against * fractions
            } else {
                let gained = &self.gained[level * points..];
                let all = self.products.iter().zip(gained);
                fractions * all.map(|(product, gained)| product * gained).sum::<f64>()
            };
        }
        if unit.with_pairs {
            self.pairs(row, levels, fractions, &mut unit.pairs);
        }
    }

    fn pairs(&mut self, row: Pattern, levels: &[usize], fractions: f64, pairs: &mut [f64]) {
        let points = self.weights.len();
        let changes = self.changes.chunks_exact_mut(points);
        for ((at, &level), changes) in levels.iter().enumerate().zip(changes) {
            if row & (1 << at) == 0 {
                for (change, without) in changes.iter_mut().zip(&self.without) {
                    *change = -1.0 / without;
                }
            } else {
                changes.copy_from_slice(&self.gained[level * points..(level + 1) * points]);
            }
        }
        let features = levels.len();
        for i in 0..features {
            let left = &self.changes[i * points..(i + 1) * points];
            for j in i + 1..features {
                let right = &self.changes[j * points..(j + 1) * points];
                let all = self.products.iter().zip(left).zip(right);
                let value: f64 = all
                    .map(|((product, left), right)| product * left * right)
                    .sum();
                pairs[i * features + j] = fractions * value;
                pairs[j * features + i] = fractions * value;
            }
        }
    }
}
