//! A walk of many rows down one tree.

use crate::Error;
use crate::paths::Paths;
use crate::sorted::{Pattern, Sorted};
use crate::tree::{Node, Tree};
use crate::units::{Integral, Unit, Weights};
use crate::upward::walk_up;

/// What replaces an absent feature.
#[derive(Clone, Debug)]
pub(crate) enum Absent {
    /// The values of background rows.
    Background { rows: Columns, weights: Weights },
    /// Fractions of training rows.
    Cover,
}

/// Rows by feature: `[features, rows]`.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    values: Vec<f32>,
    rows: usize,
}

impl Columns {
    /// Turns `[rows, features]` round.
    pub fn new(rows: &[f32], features: usize) -> Result<Self, Error> {
        let count = rows.len() / features;
        let mut values = crate::zeros(Some(rows.len()))?;
        for (at, row) in rows.chunks_exact(features).enumerate() {
            for (feature, value) in row.iter().enumerate() {
                values[feature * count + at] = *value;
            }
        }
        Ok(Self {
            values,
            rows: count,
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn of(&self, feature: usize) -> &[f32] {
        &self.values[feature * self.rows..(feature + 1) * self.rows]
    }
}

/// The rows that may reach a node.
#[derive(Default)]
struct Level {
    explained: Sorted,
    background: Sorted,
}

/// Where the values of an ensemble's leaves go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub features: usize,
    pub targets: usize,
    /// What weights of leaves are multiplied by.
    pub scale: f64,
    /// Whether values of pairs are wanted.
    pub pairs: bool,
}

impl Layout {
    /// How many values a target has.
    pub fn width(&self) -> Option<usize> {
        if self.pairs {
            self.features.checked_mul(self.features)
        } else {
            Some(self.features)
        }
    }
}

/// Adds one tree's values to `out`, `[rows, targets, features]`, or `[rows, targets, features, features]` for
/// pairs.
///
/// Rows go down together and stay together as long as they pass the same features of a path: a leaf's
/// values are calculated once for all of them. Background rows go down, too, and a row is dropped where no
/// background row has what it fails at.
pub(crate) fn walk(
    tree: &Tree,
    paths: &Paths,
    absent: &Absent,
    rows: &Columns,
    layout: Layout,
    out: &mut [f64],
) {
    if matches!(absent, Absent::Cover) && !layout.pairs && walk_up(tree, paths, rows, layout, out) {
        return;
    }
    let mut levels: Vec<Level> = Vec::new();
    levels.resize_with(paths.depth + 1, Level::default);
    levels[0].explained.fill(rows.rows());
    let mut integral = match absent {
        Absent::Background { rows, .. } => {
            levels[0].background.fill(rows.rows());
            None
        }
        Absent::Cover => Some(Integral::new(paths.features, paths.depth)),
    };
    let mut unit = Unit::new(paths.features, layout.pairs);
    // Of each feature of the path: the level of its last branch, and the feature.
    let mut last = vec![0; paths.features];
    let mut features = vec![0; paths.features];
    let mut entered: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    while let Some(place) = paths.places.get(at) {
        at += 1;
        while entered.len() >= place.depth.max(1) {
            if let Some((slot, above)) = entered.pop() {
                last[slot] = above;
            }
        }
        if let (Node::Branch(branch), true) = (&tree.nodes[place.parent], place.depth > 0) {
            let (above, below) = levels.split_at_mut(place.depth);
            let (from, into) = (&above[place.depth - 1], &mut below[0]);
            let (slot, side) = (place.slot, place.side);
            let column = rows.of(branch.feature);
            into.explained
                .split(&from.explained, column, branch, side, slot);
            if let Absent::Background { rows, .. } = absent {
                let column = rows.of(branch.feature);
                into.background
                    .split(&from.background, column, branch, side, slot);
                meet(&mut into.explained, &into.background);
                meet(&mut into.background, &into.explained);
            }
            if into.explained.is_empty() {
                at = place.end;
                continue;
            }
            if let Some(integral) = &mut integral {
                integral.enter(place.depth, place.fraction);
            }
            entered.push((slot, place.above));
            last[slot] = place.depth;
            features[slot] = branch.feature;
        }
        let Node::Leaf(weights) = &tree.nodes[place.node] else {
            continue;
        };
        if weights.is_empty() || place.features == 0 {
            continue;
        }
        let level = &levels[place.depth];
        for (pattern, members) in level.explained.groups() {
            match absent {
                Absent::Background { rows, weights } => {
                    let background = &level.background;
                    weights.unit(pattern, background, rows.rows(), place.features, &mut unit);
                }
                Absent::Cover => {
                    if let Some(integral) = &mut integral {
                        integral.unit(pattern, &last[..place.features], &mut unit);
                    }
                }
            }
            let features = &features[..place.features];
            for &(target, weight) in weights {
                let weight = weight * layout.scale;
                let row = |member: u32| member as usize * layout.targets + target;
                if layout.pairs {
                    for &member in members {
                        add_pairs(&unit, features, weight, layout.features, row(member), out);
                    }
                } else {
                    for &member in members {
                        let out = &mut out[row(member) * layout.features..];
                        for (&feature, value) in features.iter().zip(&unit.values) {
                            out[feature] += weight * value;
                        }
                    }
                }
            }
        }
    }
}

/// Drops rows that reach nothing below with any of the others.
fn meet(rows: &mut Sorted, others: &Sorted) {
    rows.keep(|row| {
        others
            .counts()
            .any(|(other, _)| row | other == Pattern::MAX)
    });
}

/// Adds a leaf's interactions: each half to both entries of a pair, and to the diagonal what is left of the
/// feature's own value.
fn add_pairs(
    unit: &Unit,
    features: &[usize],
    weight: f64,
    width: usize,
    row: usize,
    out: &mut [f64],
) {
    let out = &mut out[row * width * width..];
    let count = features.len();
    for (i, &feature) in features.iter().enumerate() {
        let line = &mut out[feature * width..(feature + 1) * width];
        let mut rest = unit.values[i];
        for (j, &other) in features.iter().enumerate() {
            if i != j {
                let half = unit.pairs[i * count + j] / 2.0;
                line[other] += weight * half;
                rest -= half;
            }
        }
        line[feature] += weight * rest;
    }
}
