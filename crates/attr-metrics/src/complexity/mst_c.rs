//! MST-C: how compact and coherent the most relevant pixels lie.
//!
//! The definition is that of Quantus' `MSTC` (2026).

use std::cmp::Ordering;

use attr_core::{Error, FeatureMask};
use serde::{Deserialize, Serialize};

use crate::options::positive;
use crate::{About, Case, Family, Measured, Metric, Needs};

/// Computes `(1 / √A) (|V| / L)` of the most relevant pixels `V`, where `A` is the area of their
/// convex hull and `L` the length of a minimum spanning tree that connects them: large for few
/// compact regions, small for scattered pixels.
///
/// `V` are the pixels whose magnitude is at least the given percentile; the tree consists of edges
/// between nearest neighbours. Where the hull has no area, its root is the image's diagonal. 0 for
/// zero attributions; undefined (NaN) where fewer than two pixels are left.
///
/// # Errors
/// [`Error::Parameter`] for a percentile below 0, or 100 or more, or no neighbours; [`Error::Method`] for
/// inputs that are not images, `[batch, channels, height, width]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Mstc {
    /// The percentile from which a pixel counts; default 80, as in Quantus.
    pub threshold: f64,
    /// Nearest neighbours that a pixel is connected with; default 20, as in Quantus.
    pub k: usize,
    /// Whether more neighbours are taken until all pixels are connected; default false, as in
    /// Quantus.
    pub auto_increase_k: bool,
    /// Whether the value is multiplied by 100 times the image's diagonal, so that images of
    /// different sizes can be compared; default true, as in Quantus.
    pub scale_score: bool,
}

impl Default for Mstc {
    fn default() -> Self {
        Self {
            threshold: 80.0,
            k: 20,
            auto_increase_k: false,
            scale_score: true,
        }
    }
}

impl Metric for Mstc {
    fn about(&self) -> About {
        About {
            name: "mstc",
            summary: "how compact and coherent the most relevant pixels lie",
            paper: "https://github.com/understandable-machine-intelligence-lab/Quantus",
            higher_is_better: true,
            family: Family::Complexity,
            needs: Needs::default(),
        }
    }

    fn measure(&self, case: &Case<'_>) -> Result<Measured, Error> {
        if !(0.0..100.0).contains(&self.threshold) {
            return Err(Error::Parameter {
                name: "threshold",
                value: self.threshold.to_string(),
                expected: "it must be at least 0 and below 100",
            });
        }
        positive("k", self.k)?;
        let image = case.question().inputs().first_explained();
        let shape = case.question().inputs().values()[image].shape();
        let [_, _, height, width] = shape[..] else {
            return Err(Error::Method {
                method: "MST-C",
                reason: format!(
                    "it looks at pixels of images [batch, channels, height, width], but the input \
                     has shape {shape:?}"
                ),
            });
        };
        let pixels = case.with_features("attr:pixels", || Ok(FeatureMask::Pixels))?;
        let rows = pixels.relevance_or_magnitude(true)?;
        let values = rows
            .iter()
            .map(|row| self.of_map(&row[..height * width], width));
        Ok(Measured::new(values.collect()))
    }
}

/// A pixel: row and column.
type Point = (f64, f64);

impl Mstc {
    fn of_map(&self, magnitudes: &[f64], width: usize) -> f64 {
        if magnitudes.iter().all(|&value| value == 0.0) {
            return 0.0;
        }
        let cutoff = percentile(magnitudes, self.threshold);
        let salient = magnitudes
            .iter()
            .enumerate()
            .filter(|(_, value)| **value >= cutoff);
        let points = salient.map(|(i, _)| ((i / width) as f64, (i % width) as f64));
        let points: Vec<Point> = points.collect();
        let count = points.len();
        if count < 2 {
            return f64::NAN;
        }
        let diagonal = ((magnitudes.len() / width) as f64).hypot(width as f64);
        let area = hull_area(&points);
        let side = if area > 1e-12 { area.sqrt() } else { diagonal };
        let mut k = self.k.min(count - 1);
        let (mut length, mut edges) = spanning_tree(&points, k);
        while self.auto_increase_k && edges < count - 1 && k < count - 1 {
            k += 1;
            (length, edges) = spanning_tree(&points, k);
        }
        let scale = if self.scale_score {
            100.0 * diagonal
        } else {
            1.0
        };
        scale * count as f64 / length / side
    }
}

/// Returns a percentile, interpolated linearly between the two nearest values.
fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = percent / 100.0 * (sorted.len() - 1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

/// Returns the area of the convex hull, by Andrew's monotone chain. The points are sorted.
fn hull_area(points: &[Point]) -> f64 {
    let turn = |a: Point, b: Point, c: Point| (b.0 - a.0) * (c.1 - a.1) - (b.1 - a.1) * (c.0 - a.0);
    let chain = |points: &mut dyn Iterator<Item = Point>| {
        let mut chain: Vec<Point> = Vec::new();
        for point in points {
            while let [.., a, b] = chain[..]
                && turn(a, b, point) <= 0.0
            {
                chain.pop();
            }
            chain.push(point);
        }
        chain.pop();
        chain
    };
    let mut hull = chain(&mut points.iter().copied());
    hull.extend(chain(&mut points.iter().rev().copied()));
    let next = hull.iter().cycle().skip(1);
    let doubled: f64 = hull
        .iter()
        .zip(next)
        .map(|(a, b)| a.0 * b.1 - a.1 * b.0)
        .sum();
    doubled.abs() / 2.0
}

/// Returns the length of the spanning trees of the graph of `k` nearest neighbours, and how many
/// edges they have: Kruskal's algorithm.
fn spanning_tree(points: &[Point], k: usize) -> (f64, usize) {
    let square = |a: usize, b: usize| {
        let (a, b) = (points[a], points[b]);
        (a.0 - b.0).powi(2) + (a.1 - b.1).powi(2)
    };
    let mut edges: Vec<(f64, usize, usize)> = Vec::new();
    for a in 0..points.len() {
        let others = (0..points.len()).filter(|&b| b != a);
        let mut near: Vec<(f64, usize)> = others.map(|b| (square(a, b), b)).collect();
        let order = |x: &(f64, usize), y: &(f64, usize)| -> Ordering {
            x.0.total_cmp(&y.0).then(x.1.cmp(&y.1))
        };
        if k < near.len() {
            near.select_nth_unstable_by(k - 1, order);
            near.truncate(k);
        }
        edges.extend(near.into_iter().map(|(square, b)| (square, a, b)));
    }
    edges.sort_by(|x, y| x.0.total_cmp(&y.0));
    let mut parents: Vec<usize> = (0..points.len()).collect();
    let (mut length, mut count) = (0.0, 0);
    for (square, a, b) in edges {
        let (a, b) = (root(&mut parents, a), root(&mut parents, b));
        if a != b {
            parents[a] = b;
            length += square.sqrt();
            count += 1;
        }
    }
    (length, count)
}

/// Returns the representative of a point's tree.
fn root(parents: &mut [usize], mut point: usize) -> usize {
    while parents[point] != point {
        parents[point] = parents[parents[point]];
        point = parents[point];
    }
    point
}
