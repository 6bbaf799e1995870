//! Path-dependent values by one walk down a tree and back up, for several rows side by side.
//!
//! It is the [integral](crate::units) with leaves put together: on the way down, each branch multiplies the
//! product of its path's factors by that of its feature, at each point of the integral; on the way up, the
//! products of all leaves below, times their weights, are a branch's sum, and what its feature changes is read
//! from it (Quadrature-TreeSHAP, 2026, <https://arxiv.org/abs/2605.04497>). A row costs two products per branch
//! and point, however many features lie above.

use multiversion::multiversion;

use crate::paths::Paths;
use crate::tree::{Branch, Node, Test, Tree, is_member};
use crate::units::Points;
use crate::walk::{Columns, Layout};

/// Rows side by side.
const LANES: usize = 8;

type Lanes = [f64; LANES];

/// 1 where a row passes, and 0 otherwise. Terms for both, of which one is 0, take the place of choices: the processor
/// works on all rows at once, and results are those of the choice.
type Mask = [f64; LANES];

/// Numbers that the levels of a walk, its values, and the factors of a tree may be at most: 128 MB each.
const MOST: usize = 1 << 24;

/// What a branch multiplies by, and what it adds, at one point.
#[derive(Clone, Copy, Default)]
struct Factors {
    /// The factor of a feature's product where the row passes, by what it was above.
    stays: f64,
    /// The same where it passed all branches on this feature above, and fails here.
    fails: f64,
    /// What the sum is multiplied by for the feature's value, less what the branch above on the same feature
    /// takes of the same sum.
    gains: f64,
    loses: f64,
}

/// What one walk works with.
struct Walk<'a> {
    paths: &'a Paths,
    /// `[places, points]`.
    factors: Vec<Factors>,
    /// For each place the factor of a feature that failed above.
    failed: Vec<f64>,
    points: usize,
    /// The targets that the tree adds to, and how many.
    targets: Vec<usize>,
    /// The features that the tree tests, and for each place the position of its own there.
    features: Vec<usize>,
    own: Vec<usize>,
    /// `[levels]`, `[levels, points]` and `[levels, targets, points]`.
    masks: Vec<Mask>,
    products: Vec<Lanes>,
    sums: Vec<Lanes>,
    /// The place at each level.
    open: Vec<usize>,
    /// `[features, targets]`.
    values: Vec<Lanes>,
}

/// Adds one tree's path-dependent values to `out`, `[rows, targets, features]`; gives `false` and does nothing
/// where that would take too much memory.
pub(crate) fn walk_up(
    tree: &Tree,
    paths: &Paths,
    rows: &Columns,
    layout: Layout,
    out: &mut [f64],
) -> bool {
    let mut targets: Vec<usize> = Vec::new();
    for place in &paths.places {
        if let Node::Leaf(weights) = &tree.nodes[place.node] {
            targets.extend(weights.iter().map(|(target, _)| target));
        }
    }
    targets.sort_unstable();
    targets.dedup();
    let rule = Points::new(paths.features);
    let points = rule.weights.len();
    let sizes = [
        [targets.len() + 1, points, paths.depth + 1, LANES],
        [
            targets.len(),
            layout.features.min(paths.places.len()),
            LANES,
            1,
        ],
        [paths.places.len(), points, 4, 1],
    ];
    let product = |all: usize, size: &usize| all.saturating_mul(*size);
    if sizes
        .iter()
        .any(|sizes| sizes.iter().fold(1, product) > MOST)
    {
        return false;
    }
    let mut walk = Walk::new(tree, paths, &rule, targets);
    all_rows(&mut walk, tree, rows, layout, out);
    true
}

/// Walks all rows, with the instructions that the processor has.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn all_rows<'a>(walk: &mut Walk<'a>, tree: &Tree, rows: &Columns, layout: Layout, out: &mut [f64]) {
    let mut column = [0.0; LANES];
    for start in (0..rows.rows()).step_by(LANES) {
        walk.values.fill([0.0; LANES]);
        for at in 1..walk.paths.places.len() {
            let place = &walk.paths.places[at];
            walk.close(place.depth);
            let Node::Branch(branch) = &tree.nodes[place.parent] else {
                continue;
            };
            let values = &rows.of(branch.feature)[start..];
            let count = values.len().min(LANES);
            column[..count].copy_from_slice(&values[..count]);
            let passes = mask(branch, place.side, &column);
            match &tree.nodes[place.node] {
                Node::Leaf(weights) => walk.leaf(at, passes, weights, layout.scale),
                Node::Branch(_) => walk.enter(at, passes),
            }
        }
        walk.close(1);
        let count = (rows.rows() - start).min(LANES);
        let values = walk.values.chunks_exact(walk.targets.len().max(1));
        for (feature, values) in walk.features.iter().zip(values) {
            for (target, values) in walk.targets.iter().zip(values) {
                for (lane, value) in values[..count].iter().enumerate() {
                    let row = (start + lane) * layout.targets + target;
                    out[row * layout.features + feature] += value;
                }
            }
        }
    }
}

impl<'a> Walk<'a> {
    fn new(tree: &Tree, paths: &'a Paths, rule: &Points, targets: Vec<usize>) -> Self {
        let points = rule.weights.len();
        let places = paths.places.len();
        let tested = paths
            .places
            .iter()
            .map(|place| match &tree.nodes[place.parent] {
                Node::Branch(branch) if place.depth > 0 => Some(branch.feature),
                _ => None,
            });
        let tested: Vec<Option<usize>> = tested.collect();
        let mut features: Vec<usize> = tested.iter().flatten().copied().collect();
        features.sort_unstable();
        features.dedup();
        let own = tested.iter().map(|tested| {
            let found = tested.and_then(|tested| features.binary_search(&tested).ok());
            found.unwrap_or(0)
        });
        let own = own.collect();
        let levels = paths.depth + 1;
        let mut walk = Self {
            paths,
            factors: vec![Factors::default(); places * points],
            failed: vec![0.0; places],
            points,
            own,
            masks: vec![[1.0; LANES]; levels],
            products: vec![[0.0; LANES]; levels * points],
            sums: vec![[0.0; LANES]; levels * targets.len() * points],
            open: vec![0],
            values: vec![[0.0; LANES]; features.len() * targets.len()],
            targets,
            features,
        };
        for (product, weight) in walk.products.iter_mut().zip(&rule.weights) {
            *product = [*weight; LANES];
        }
        walk.prepare(rule);
        walk
    }

    /// Calculates the factors of all branches.
    fn prepare(&mut self, rule: &Points) {
        // At each level of the current path, and at each point: `1 / (t + (1 - t) z)`. Nothing is above level 1.
        let mut inverses = vec![1.0; (self.paths.depth + 1) * self.points];
        let mut fractions = vec![1.0; self.paths.depth + 1];
        let least: Vec<f64> = rule.without.iter().map(|without| -1.0 / without).collect();
        for (at, place) in self.paths.places.iter().enumerate().skip(1) {
            let (above, here) = (fractions[place.above], place.fraction);
            fractions[place.depth] = here;
            self.failed[at] = if above > 0.0 { here / above } else { 0.0 };
            let factors = &mut self.factors[at * self.points..(at + 1) * self.points];
            for (point, factors) in factors.iter_mut().enumerate() {
                let without = rule.without[point];
                let passed = 1.0 - without + without * here;
                let inverse = 1.0 / passed;
                let inverse_above = inverses[place.above * self.points + point];
                inverses[place.depth * self.points + point] = inverse;
                let gained_above = (1.0 - above) * inverse_above;
                *factors = Factors {
                    stays: passed * inverse_above,
                    fails: without * here * inverse_above,
                    gains: (1.0 - here) * inverse - gained_above,
                    loses: least[point] - gained_above,
                };
            }
        }
    }

    /// Which rows pass at a place and above, and which of the others pass above.
    #[inline(always)]
    fn masks(&self, at: usize, passes: Mask) -> (Mask, Mask) {
        let above = self.masks[self.paths.places[at].above];
        let (mut here, mut lost) = (above, above);
        for lane in 0..LANES {
            here[lane] *= passes[lane];
            lost[lane] -= here[lane];
        }
        (here, lost)
    }

    /// Goes down to a branch.
    #[inline(always)]
    fn enter(&mut self, at: usize, passes: Mask) {
        let (here, lost) = self.masks(at, passes);
        let (level, points) = (self.paths.places[at].depth, self.points);
        self.masks[level] = here;
        self.open.push(at);
        let (done, next) = self.products.split_at_mut(level * points);
        let from = &done[(level - 1) * points..];
        let factors = &self.factors[at * points..(at + 1) * points];
        let failed = self.failed[at];
        let mut gone = [0.0; LANES];
        for lane in 0..LANES {
            gone[lane] = (1.0 - here[lane] - lost[lane]) * failed;
        }
        for ((next, from), factors) in next.iter_mut().zip(from).zip(factors) {
            let mut product = [0.0; LANES];
            for lane in 0..LANES {
                let factor = here[lane] * factors.stays + lost[lane] * factors.fails + gone[lane];
                product[lane] = from[lane] * factor;
            }
            *next = product;
        }
        let width = self.targets.len() * points;
        self.sums[level * width..(level + 1) * width].fill([0.0; LANES]);
    }

    /// Goes down to a leaf and back.
    #[inline(always)]
    fn leaf(&mut self, at: usize, passes: Mask, weights: &[(usize, f64)], scale: f64) {
        let (here, lost) = self.masks(at, passes);
        let (level, points) = (self.paths.places[at].depth - 1, self.points);
        let from = &self.products[level * points..(level + 1) * points];
        let factors = &self.factors[at * points..(at + 1) * points];
        let failed = self.failed[at];
        let count = self.targets.len();
        for &(target, weight) in weights {
            let Ok(target) = self.targets.binary_search(&target) else {
                continue;
            };
            let weight = weight * scale;
            let sums = &mut self.sums[(level * count + target) * points..][..points];
            let mut gone = [0.0; LANES];
            for lane in 0..LANES {
                gone[lane] = (1.0 - here[lane] - lost[lane]) * failed;
            }
            let mut value = [0.0; LANES];
            for ((sum, from), factors) in sums.iter_mut().zip(from).zip(factors) {
                let mut product = [0.0; LANES];
                for lane in 0..LANES {
                    let factor =
                        here[lane] * factors.stays + lost[lane] * factors.fails + gone[lane];
                    product[lane] = from[lane] * factor * weight;
                    value[lane] +=
                        product[lane] * (here[lane] * factors.gains + lost[lane] * factors.loses);
                }
                add(sum, &product);
            }
            add(&mut self.values[self.own[at] * count + target], &value);
        }
    }

    /// Goes back up until the path ends above a level.
    #[inline(always)]
    fn close(&mut self, level: usize) {
        while self.open.len() > level.max(1) {
            let Some(at) = self.open.pop() else {
                return;
            };
            let (level, points) = (self.paths.places[at].depth, self.points);
            let here = self.masks[level];
            let mut lost = self.masks[self.paths.places[at].above];
            for lane in 0..LANES {
                lost[lane] -= here[lane];
            }
            let factors = &self.factors[at * points..(at + 1) * points];
            let count = self.targets.len();
            let (sums, done) = self.sums.split_at_mut(level * count * points);
            for target in 0..count {
                let sums = &mut sums[((level - 1) * count + target) * points..][..points];
                let done = &done[target * points..][..points];
                let mut value = [0.0; LANES];
                for ((sum, done), factors) in sums.iter_mut().zip(done).zip(factors) {
                    for lane in 0..LANES {
                        value[lane] +=
                            done[lane] * (here[lane] * factors.gains + lost[lane] * factors.loses);
                    }
                    add(sum, done);
                }
                add(&mut self.values[self.own[at] * count + target], &value);
            }
        }
    }
}

#[inline(always)]
fn add(sum: &mut Lanes, value: &Lanes) {
    for (sum, value) in sum.iter_mut().zip(value) {
        *sum += value;
    }
}

/// Which values go to one side of a branch.
#[inline(always)]
fn mask(branch: &Branch, side: bool, values: &[f32; LANES]) -> Mask {
    let nan = branch.missing_passes;
    match &branch.test {
        Test::LessOrEqual(t) => mask_of(side, nan, values, |v| v <= *t),
        Test::Less(t) => mask_of(side, nan, values, |v| v < *t),
        Test::GreaterOrEqual(t) => mask_of(side, nan, values, |v| v >= *t),
        Test::Greater(t) => mask_of(side, nan, values, |v| v > *t),
        Test::Equal(t) => mask_of(side, nan, values, |v| v == *t),
        Test::NotEqual(t) => mask_of(side, nan, values, |v| v != *t),
        Test::Member(all) => mask_of(side, nan, values, |v| is_member(all, v)),
    }
}

#[inline(always)]
fn mask_of(side: bool, nan: bool, values: &[f32; LANES], test: impl Fn(f32) -> bool) -> Mask {
    values.map(|value| {
        let passes = test(value) | (nan & value.is_nan());
        f64::from(u8::from(passes == side))
    })
}
