//! A tree in the order in which it is walked, with what its paths say of every feature.

use crate::Error;
use crate::tree::{Node, Tree};

/// The most features that one path may test: one bit each.
pub(crate) const MOST_FEATURES: usize = 128;

/// The most branches of a path; each level of a walk keeps its rows.
const MOST_LEVELS: usize = 4096;

/// The nodes that the root leads to, each before those below it.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub places: Vec<Place>,
    /// The most branches of a path.
    pub depth: usize,
    /// The most features of a path.
    pub features: usize,
}

/// A node, and the branch that leads to it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The node.
    pub node: usize,
    /// How many branches lead to it.
    pub depth: usize,
    /// The first place that does not lie below.
    pub end: usize,
    /// The node of the branch that leads to it; its own for the root.
    pub parent: usize,
    /// Whether rows come here that pass the branch's test, or the others.
    pub side: bool,
    /// The position of the branch's feature among those of the path.
    pub slot: usize,
    /// The level of the last branch above that tests the same feature; 0 for none.
    pub above: usize,
    /// The fraction of the branch's rows that come here.
    pub part: f64,
    /// The fraction of rows that go this way wherever the path tests this feature: the product of the
    /// fractions of its branches.
    pub fraction: f64,
    /// How many features the path tests.
    pub features: usize,
}

/// A feature that the path tests.
struct Tested {
    feature: usize,
    /// The level of the last branch that tests it.
    level: usize,
    fraction: f64,
}

impl Paths {
    /// Brings a checked tree into order; without a cover, fractions mean nothing.
    pub fn new(at: usize, tree: &Tree) -> Result<Self, Error> {
        let too_large = |what, found, most| Error::TooLarge {
            tree: at,
            what,
            found,
            most,
        };
        let mut found = Self {
            places: Vec::new(),
            depth: 0,
            features: 0,
        };
        let mut path: Vec<Tested> = Vec::new();
        // What the path knew of each branch's feature before: its slot, and the last level and the fraction.
        let mut before: Vec<(usize, usize, f64)> = Vec::new();
        let mut above: Vec<usize> = Vec::new();
        let mut open = vec![(tree.root, tree.root, false, 0)];
        while let Some((node, parent, side, depth)) = open.pop() {
            while before.len() >= depth.max(1) {
                let Some((slot, level, fraction)) = before.pop() else {
                    break;
                };
                if level == 0 {
                    path.truncate(slot);
                } else {
                    path[slot].level = level;
                    path[slot].fraction = fraction;
                }
            }
            let here = found.places.len();
            while above.len() > depth {
                if let Some(place) = above.pop() {
                    found.places[place].end = here;
                }
            }
            let mut place = Place {
                node,
                depth,
                end: 0,
                parent,
                side,
                slot: 0,
                above: 0,
                part: 1.0,
                fraction: 1.0,
                features: path.len(),
            };
            if let (Node::Branch(branch), true) = (&tree.nodes[parent], depth > 0) {
                let known = path
                    .iter()
                    .position(|tested| tested.feature == branch.feature);
                place.slot = known.unwrap_or(path.len());
                if known.is_none() {
                    path.push(Tested {
                        feature: branch.feature,
                        level: 0,
                        fraction: 1.0,
                    });
                }
                let tested = &mut path[place.slot];
                before.push((place.slot, tested.level, tested.fraction));
                place.above = tested.level;
                tested.level = depth;
                place.part = part(tree, branch.pass, branch.fail, side);
                tested.fraction *= place.part;
                place.fraction = tested.fraction;
                place.features = path.len();
            }
            found.depth = found.depth.max(depth);
            found.features = found.features.max(path.len());
            if depth > MOST_LEVELS {
                return Err(too_large("levels, or more", depth, MOST_LEVELS));
            }
            if path.len() > MOST_FEATURES {
                let what = "features, or more, on one path";
                return Err(too_large(what, path.len(), MOST_FEATURES));
            }
            above.push(here);
            found.places.push(place);
            if let Node::Branch(branch) = &tree.nodes[node] {
                open.push((branch.fail, node, false, depth + 1));
                open.push((branch.pass, node, true, depth + 1));
            }
        }
        let all = found.places.len();
        for place in above {
            found.places[place].end = all;
        }
        Ok(found)
    }
}

/// The fraction of a branch's rows that go to one side: half of them where none reached it.
fn part(tree: &Tree, pass: usize, fail: usize, side: bool) -> f64 {
    let cover = |node: usize| tree.cover.get(node).copied().unwrap_or(0.0);
    let (pass, fail) = (cover(pass), cover(fail));
    // Halves do not overflow.
    let both = pass / 2.0 + fail / 2.0;
    if both == 0.0 {
        return 0.5;
    }
    let here = if side { pass } else { fail };
    (here / 2.0) / both
}
