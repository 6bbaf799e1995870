//! Selects and orders the nodes that an output needs.

use std::collections::{BinaryHeap, HashMap, HashSet};

use crate::error::Unsupported;
use crate::graph::{Attribute, Graph, Node};
use crate::{Error, ops};

/// Returns the indices of the nodes that the wanted values need, in execution order: the file's
/// order if that works, as the standard requires.
///
/// `outer` tells which names a branch finds outside itself.
pub(crate) fn order(
    graph: &Graph,
    wanted: &[&str],
    outer: &dyn Fn(&str) -> bool,
) -> Result<Vec<usize>, Error> {
    let inputs: HashSet<&str> = graph.inputs.iter().map(|port| &port.name[..]).collect();
    let mut producer: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        for output in node.outputs.iter().filter(|name| !name.is_empty()) {
            let given = graph.constants.contains_key(output) || inputs.contains(&output[..]);
            if given || producer.insert(output, i).is_some() {
                return Err(Error::Graph(format!(
                    "{output:?}, an output of node {:?}, is defined twice",
                    node.name
                )));
            }
        }
    }
    let given =
        |name: &str| graph.constants.contains_key(name) || inputs.contains(name) || outer(name);

    let mut needed: HashSet<usize> = HashSet::new();
    let mut names: Vec<(String, Option<usize>)> =
        wanted.iter().map(|name| (name.to_string(), None)).collect();
    while let Some((name, reader)) = names.pop() {
        match producer.get(&name[..]) {
            Some(&node) if needed.insert(node) => {
                let reads = reads(&graph.nodes[node]).into_iter();
                names.extend(reads.map(|read| (read, Some(node))));
            }
            Some(_) => {}
            None if given(&name) => {}
            None => {
                let reader = reader.map_or("the model's outputs".to_string(), |node| {
                    format!("node {:?}", graph.nodes[node].name)
                });
                return Err(Error::Graph(format!(
                    "{reader} reads {name:?}, which is not defined"
                )));
            }
        }
    }

    // Kahn's algorithm; among ready nodes, the first in the file runs first.
    let mut waits: HashMap<usize, usize> = HashMap::new();
    let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
    for &node in &needed {
        let reads: HashSet<String> = reads(&graph.nodes[node]).into_iter().collect();
        let before: HashSet<usize> = reads
            .iter()
            .filter_map(|name| producer.get(&name[..]).copied())
            .collect();
        waits.insert(node, before.len());
        for earlier in before {
            readers.entry(earlier).or_default().push(node);
        }
    }
    use std::cmp::Reverse;
    let ready = needed
        .iter()
        .filter(|node| waits[node] == 0)
        .map(|&node| Reverse(node));
    let mut ready: BinaryHeap<Reverse<usize>> = ready.collect();
    let mut order = Vec::with_capacity(needed.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for &reader in readers.get(&node).into_iter().flatten() {
            if let Some(count) = waits.get_mut(&reader) {
                *count -= 1;
                if *count == 0 {
                    ready.push(Reverse(reader));
                }
            }
        }
    }
    if order.len() < needed.len() {
        let ordered: HashSet<&usize> = order.iter().collect();
        let stuck = needed.iter().filter(|node| !ordered.contains(node)).min();
        let name = stuck.map_or("", |&node| &graph.nodes[node].name);
        return Err(Error::Graph(format!(
            "node {name:?} is part of a cycle or depends on one"
        )));
    }
    Ok(order)
}

/// Returns the names that a node reads: its inputs, and those its branches take from outside.
pub(crate) fn reads(node: &Node) -> Vec<String> {
    let mut names: Vec<String> = node
        .inputs
        .iter()
        .filter(|n| !n.is_empty())
        .cloned()
        .collect();
    for attribute in node.attributes.values() {
        if let Attribute::Graph(branch) = attribute {
            let mut inside: HashSet<&str> = branch.constants.keys().map(String::as_str).collect();
            inside.extend(branch.inputs.iter().map(|port| &port.name[..]));
            inside.extend(
                branch
                    .nodes
                    .iter()
                    .flat_map(|n| n.outputs.iter().map(String::as_str)),
            );
            let read = branch.nodes.iter().flat_map(reads);
            let read = read.chain(branch.outputs.iter().map(|port| port.name.clone()));
            names.extend(read.filter(|name| !inside.contains(&name[..])));
        }
    }
    names
}

/// Rejects a plan with unsupported operators, naming all of them.
pub(crate) fn check_operators(graph: &Graph, order: &[usize]) -> Result<(), Error> {
    let mut missing: Vec<Unsupported> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut nodes: Vec<&Node> = order.iter().map(|&i| &graph.nodes[i]).collect();
    let mut i = 0;
    while let Some(&node) = nodes.get(i) {
        i += 1;
        for attribute in node.attributes.values() {
            if let Attribute::Graph(branch) = attribute {
                nodes.extend(&branch.nodes);
            }
        }
        let control = node.domain.is_empty() && node.op == "If";
        if control || ops::find(&node.domain, &node.op).is_some() {
            continue;
        }
        let operator = node.operator();
        let place = *places.entry(operator.clone()).or_insert(missing.len());
        if place == missing.len() {
            let nodes = Vec::new();
            missing.push(Unsupported { operator, nodes });
        }
        missing[place].nodes.push(node.name.clone());
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Unsupported(missing))
    }
}
