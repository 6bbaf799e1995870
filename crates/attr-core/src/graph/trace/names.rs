//! Gives nodes stable, readable names, taken from the module's own structure.
//!
//! A node that uses parameters is named by the module they belong to (`layer1.0.conv1`). A node
//! without parameters is named after the layer it follows and what it does (`layer1.0.bn1.relu`).
//! A module used again gets a number from the second use on (`fc#2`). If one module is several
//! nodes, the last one, whose output is the module's, has the plain name.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::graph::{Graph, SlotId, Source};

/// Names all nodes; `taps` are names that the user gave to slots.
pub(crate) fn assign(graph: &mut Graph, taps: &[(SlotId, String)]) {
    let active = graph.dependents(&graph.inputs);
    let paths = parameter_paths(graph, &active);
    let uses = uses(graph, &active, &paths);
    // The first name given to a slot counts: what only passes a tensor on is not its layer.
    let taps = taps.iter().rev();
    let taps: HashMap<SlotId, &String> = taps.map(|(slot, name)| (*slot, name)).collect();

    let mut names = Names::default();
    // Per slot: the layer it follows, and the node at which that layer ended.
    let mut anchors: Vec<(String, usize)> = vec![(String::new(), 0); graph.slots.len()];
    for (i, &slot) in graph.inputs.iter().enumerate() {
        let name = match graph.inputs.len() {
            1 => "input".to_string(),
            _ => format!("input{i}"),
        };
        anchors[slot] = (name, 0);
    }
    for (i, node) in graph.nodes.iter_mut().enumerate() {
        if !node.outputs.iter().any(|&s| active[s]) {
            node.name = "constant".into();
            continue;
        }
        let operation = snake_case(&node.op.name());
        let tapped = node.outputs.iter().find_map(|slot| taps.get(slot));
        let (name, anchor) = match (tapped, &uses[i]) {
            (Some(tap), _) => {
                let name = names.unique(tap.to_string());
                (name.clone(), (name, i + 1))
            }
            (None, Some(layer)) => {
                let name = if layer.last {
                    layer.name.clone()
                } else {
                    format!("{}.{operation}", layer.name)
                };
                (names.unique(name), (layer.name.clone(), i + 1))
            }
            (None, None) => {
                let latest = node.operands.iter().filter(|&&slot| active[slot]);
                let anchor = latest
                    .map(|&slot| anchors[slot].clone())
                    .max_by_key(|(_, position)| *position)
                    .unwrap_or_default();
                let name = format!("{}.{operation}", anchor.0);
                (names.unique(name), anchor)
            }
        };
        node.name = name;
        for &slot in &node.outputs {
            anchors[slot] = anchor.clone();
        }
    }
}

/// A node's place in one use of one layer.
#[derive(Clone)]
struct Use {
    /// The layer, numbered when it is used again.
    name: String,
    /// Whether it is the layer's last node with parameters.
    last: bool,
}

/// For each active node with parameters, which use of which layer it belongs to.
///
/// A node belongs to the current use as long as it brings parameters that this use has not seen
/// (scale, then shift); a parameter seen before starts the next use.
fn uses(graph: &Graph, active: &[bool], paths: &[BTreeSet<String>]) -> Vec<Option<Use>> {
    let mut uses: Vec<Option<Use>> = vec![None; graph.nodes.len()];
    let mut current: HashMap<String, (usize, BTreeSet<String>, usize)> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        if !node.outputs.iter().any(|&s| active[s]) {
            continue;
        }
        let own: BTreeSet<String> = node
            .operands
            .iter()
            .filter(|&&slot| !active[slot])
            .flat_map(|&slot| paths[slot].iter().cloned())
            .collect();
        let Some(layer) = common_module(&own) else {
            continue;
        };
        let entry = current.entry(layer.clone()).or_default();
        if entry.0 > 0 && entry.1.is_disjoint(&own) {
            if let Some(previous) = &mut uses[entry.2] {
                previous.last = false;
            }
            entry.1.extend(own);
        } else {
            entry.0 += 1;
            entry.1 = own;
        }
        entry.2 = i;
        let name = match entry.0 {
            1 => layer,
            n => format!("{layer}#{n}"),
        };
        uses[i] = Some(Use { name, last: true });
    }
    uses
}

/// The parameters each slot was computed from, for slots that depend on no input.
fn parameter_paths(graph: &Graph, active: &[bool]) -> Vec<BTreeSet<String>> {
    let mut paths: Vec<BTreeSet<String>> = graph
        .slots
        .iter()
        .map(|slot| match &slot.source {
            Source::Parameter(path, _) => BTreeSet::from([path.clone()]),
            _ => BTreeSet::new(),
        })
        .collect();
    for node in &graph.nodes {
        if node.outputs.iter().any(|&s| active[s]) {
            continue;
        }
        let own: BTreeSet<String> = node
            .operands
            .iter()
            .flat_map(|&slot| paths[slot].clone())
            .collect();
        for &slot in &node.outputs {
            paths[slot] = own.clone();
        }
    }
    paths
}

/// The module that holds all of these parameters; the parameter itself when none does.
fn common_module(paths: &BTreeSet<String>) -> Option<String> {
    let first = paths.first()?;
    let mut common: Vec<&str> = first.split('.').collect();
    common.pop();
    for path in paths {
        let matching = common
            .iter()
            .zip(path.split('.'))
            .take_while(|(a, b)| *a == b);
        let length = matching.count();
        common.truncate(length);
    }
    if common.is_empty() {
        Some(first.clone())
    } else {
        Some(common.join("."))
    }
}

/// The names given so far.
#[derive(Default)]
pub(in crate::graph) struct Names {
    taken: HashSet<String>,
    /// Per name without its number, the last number given.
    last: HashMap<String, usize>,
}

impl Names {
    /// The names of a graph's nodes.
    pub fn of(graph: &Graph) -> Self {
        let mut names = Self::default();
        for node in &graph.nodes {
            names.taken.insert(node.name.clone());
            names.taken.extend(node.aliases.iter().cloned());
        }
        names
    }

    /// Returns the name itself, or the name with the next free number.
    pub fn unique(&mut self, name: String) -> String {
        if self.taken.insert(name.clone()) {
            return name;
        }
        // The name of a layer's second use already has its number.
        let (plain, own) = match name.rsplit_once('#') {
            Some((plain, number)) => match number.parse::<usize>() {
                Ok(number) => (plain, number),
                Err(_) => (&name[..], 1),
            },
            None => (&name[..], 1),
        };
        let last = self.last.entry(plain.to_string()).or_insert(1);
        *last = own.max(*last);
        loop {
            *last = last.wrapping_add(1);
            let candidate = format!("{plain}#{last}");
            if self.taken.insert(candidate.clone()) {
                return candidate;
            }
        }
    }
}

/// `MaxPool2d` as `max_pool2d`.
fn snake_case(name: &str) -> String {
    let mut result = String::new();
    for (i, c) in name.char_indices() {
        if c.is_uppercase() && i > 0 {
            result.push('_');
        }
        result.extend(c.to_lowercase());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn no_name_is_given_twice() {
        let mut names = Names::default();
        let mut given = |name: &str| names.unique(name.into());
        // A name that the user gave, then a layer of that name used twice, then one more.
        assert_eq!(given("fc"), "fc");
        assert_eq!(given("fc"), "fc#2");
        assert_eq!(given("fc#2"), "fc#3");
        assert_eq!(given("fc"), "fc#4");
        // The number comes first, the plain name later.
        assert_eq!(given("x#2"), "x#2");
        assert_eq!(given("x"), "x");
        assert_eq!(given("x"), "x#3");
        // Not a number.
        assert_eq!(given("a#b"), "a#b");
        assert_eq!(given("a#b"), "a#b#2");
    }
}
