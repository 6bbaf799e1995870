//! A hierarchy of features: which features belong together at each scale.

use attr_core::perturb::Features;
use attr_core::{Error, Values};

/// A binary tree over features. Leaves `0..n` are the features; inner node `n + k` joins the two
/// nodes of entry `k`, as in a SciPy linkage matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    features: usize,
    joins: Vec<[usize; 2]>,
}

impl Hierarchy {
    /// Creates a tree: `joins[k]` are the two nodes below node `n + k` for `n` features.
    ///
    /// # Errors
    /// [`Error::Method`] unless each node but the last is joined exactly once, after its creation.
    pub fn new(features: usize, joins: Vec<[usize; 2]>) -> Result<Self, Error> {
        let bad = |reason: String| Error::Method {
            method: "a hierarchy of features",
            reason,
        };
        if features == 0 || joins.len() + 1 != features {
            return Err(bad(format!(
                "{} joins are given for {features} features; there must be one join fewer",
                joins.len()
            )));
        }
        let mut joined = vec![false; features + joins.len()];
        for (k, join) in joins.iter().enumerate() {
            for &node in join {
                if node >= features + k || std::mem::replace(&mut joined[node], true) {
                    return Err(bad(format!(
                        "join {k} names node {node}, which does not exist yet or is joined already"
                    )));
                }
            }
        }
        Ok(Self { features, joins })
    }

    /// Groups nearby features: repeatedly splits them in halves along the longest side, by channel
    /// last, as the image masker of the `shap` package does. Different inputs are separated first.
    pub(crate) fn of_places(features: &Features, caller_row: usize, inputs: &Values) -> Self {
        let places = places(features, caller_row, inputs);
        let mut tree = Self {
            features: places.len(),
            joins: Vec::with_capacity(places.len().saturating_sub(1)),
        };
        let mut all: Vec<usize> = (0..places.len()).collect();
        tree.split(&mut all, &places);
        tree
    }

    /// Joins some features into one node.
    fn split(&mut self, members: &mut [usize], places: &[Vec<f64>]) -> usize {
        if let [one] = members {
            return *one;
        }
        let extent = |dim: &usize| {
            let along = members.iter().map(|&member| places[member][*dim]);
            let (low, high) = along.fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(p), h.max(p)));
            high - low
        };
        let dims = 0..places[members[0]].len();
        // The first of equally long sides; the last place is the channel.
        let sides = dims.rev().skip(1);
        let longest = sides.max_by(|a, b| extent(a).total_cmp(&extent(b)));
        let dim = longest.filter(|dim| extent(dim) > 0.0);
        let dim = dim.unwrap_or(places[members[0]].len() - 1);
        members.sort_by(|&a, &b| places[a][dim].total_cmp(&places[b][dim]).then(a.cmp(&b)));
        let (low, high) = members.split_at_mut(members.len().div_ceil(2));
        let join = [self.split(low, places), self.split(high, places)];
        self.joins.push(join);
        self.features + self.joins.len() - 1
    }

    /// Returns the number of features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Returns the last node, which contains all features.
    pub(crate) fn root(&self) -> usize {
        self.features + self.joins.len() - 1
    }

    /// Returns the two nodes below a node; `None` for a feature.
    pub(crate) fn below(&self, node: usize) -> Option<[usize; 2]> {
        self.joins.get(node.checked_sub(self.features)?).copied()
    }

    /// Returns the features of each node.
    pub(crate) fn members(&self) -> Vec<Vec<usize>> {
        let mut members: Vec<Vec<usize>> = (0..self.features).map(|f| vec![f]).collect();
        for &[left, right] in &self.joins {
            let both = [&members[left][..], &members[right][..]].concat();
            members.push(both);
        }
        members
    }
}

/// Returns the centre of each feature: its input (inputs are far apart), its position along each
/// dimension, and its channel.
fn places(features: &Features, caller_row: usize, inputs: &Values) -> Vec<Vec<f64>> {
    let shapes = inputs.values().iter().map(attr_core::Value::shape);
    let shapes: Vec<Vec<usize>> = shapes.collect();
    let dims = shapes.iter().map(Vec::len).max().unwrap_or(1);
    let far = shapes.iter().flatten().sum::<usize>() as f64;
    let mut sums = vec![vec![0f64; dims + 1]; features.count()];
    let mut counts = vec![0f64; features.count()];
    for (i, numbers) in features.row(caller_row).into_iter().enumerate() {
        let numbers = numbers.unwrap_or_default().iter().enumerate();
        // Elements that are never perturbed have a number beyond the features'.
        for (element, &feature) in numbers.filter(|(_, feature)| **feature < features.count()) {
            sums[feature][0] += i as f64 * far;
            let mut rest = element;
            for (dim, &length) in shapes[i].iter().enumerate().skip(1).rev() {
                let channel = dim == 1 && shapes[i].len() > 2;
                sums[feature][if channel { dims } else { dim }] += (rest % length) as f64;
                rest /= length;
            }
            counts[feature] += 1.0;
        }
    }
    for (sums, &count) in sums.iter_mut().zip(&counts) {
        for sum in sums {
            // A feature that only other rows' masks have does not occur here.
            *sum /= count.max(1.0);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_that_are_none() {
        assert!(Hierarchy::new(3, vec![[0, 1], [3, 2]]).is_ok());
        assert!(Hierarchy::new(1, vec![]).is_ok());
        for bad in [
            vec![[0, 1]],
            vec![[0, 1], [1, 2]],
            vec![[0, 4], [3, 2]],
            vec![[0, 0], [3, 2]],
        ] {
            assert!(Hierarchy::new(3, bad.clone()).is_err(), "{bad:?}");
        }
        assert!(Hierarchy::new(0, vec![]).is_err());
    }
}
