//! How concepts of several layers contribute to each other.

use std::fmt::Write;

use attr_core::build::ask;
use attr_core::walk::Composite;
use attr_core::{Error, Inputs, Model, Run, Target};
use serde::Serialize;

use super::concepts::rankings;
use super::{ConceptRanking, Condition, Crp};

/// Which concepts of each layer a prediction rests on, and which concepts of the layer before they
/// rest on in turn.
///
/// Serialises to JSON; [`to_dot`](Self::to_dot) gives it to Graphviz.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConceptGraph {
    /// The target.
    pub target: String,
    /// The model's output for the target.
    pub score: f32,
    /// The concepts, layer by layer from the output down.
    pub nodes: Vec<ConceptNode>,
    /// What they contribute to each other.
    pub edges: Vec<Edge>,
}

/// A concept in a [`ConceptGraph`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConceptNode {
    /// The layer.
    pub layer: String,
    /// The channel.
    pub channel: usize,
}

/// What one concept contributes to another, or to the target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Edge {
    /// The number of the contributing concept in [`ConceptGraph::nodes`].
    pub from: usize,
    /// The number of the concept that it contributes to; `None` for the target.
    pub to: Option<usize>,
    /// The relevance that flows from one to the other.
    pub relevance: f32,
    /// The same as a fraction of what flows to all channels of the contributing layer.
    pub share: f32,
}

impl ConceptGraph {
    /// Returns the graph in Graphviz' language.
    pub fn to_dot(&self) -> String {
        let mut text = String::from("digraph concepts {\n  rankdir=BT;\n  node [shape=box];\n");
        let quoted = |label: &str| label.replace('\\', "\\\\").replace('"', "\\\"");
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  target [label=\"target {}\\n{:.3}\"];",
            quoted(&self.target),
            self.score
        );
        for (i, node) in self.nodes.iter().enumerate() {
            let _ = writeln!(
                text,
                "  c{i} [label=\"{} {}\"];",
                quoted(&node.layer),
                node.channel
            );
        }
        for edge in &self.edges {
            let to = edge.to.map_or("target".into(), |to| format!("c{to}"));
            let color = if edge.relevance < 0.0 { "blue" } else { "red" };
            let _ = writeln!(
                text,
                "  c{} -> {to} [label=\"{:.3}\", color={color}, penwidth={:.2}];",
                edge.from,
                edge.relevance,
                0.5 + 6.0 * edge.share.abs()
            );
        }
        text.push_str("}\n");
        text
    }
}

impl<C: Composite + Clone> Crp<C> {
    /// Computes which `top` concepts of the first of `layers` the target of the first row rests on,
    /// which concepts of the second layer each of these rests on, and so on. `layers` go from the
    /// output towards the input.
    ///
    /// One walk back for each layer. Achtibat et al., 2023
    /// (<https://doi.org/10.1038/s42256-023-00711-8>), figure 4.
    ///
    /// # Errors
    /// As [`attribute`](Self::attribute); [`Error::Method`] for conditions of the method's own;
    /// [`Error::EmptyBatch`].
    pub fn concept_graph<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
        layers: &[&str],
        top: usize,
    ) -> Result<ConceptGraph, Error> {
        if !self.conditions.is_empty() {
            return Err(Error::Method {
                method: "the graph of concepts",
                reason: "it makes conditions of its own; leave out `with_condition`".into(),
            });
        }
        let target = target.into();
        ask(
            model,
            inputs,
            std::slice::from_ref(&target),
            &Run::new(),
            |question, _| {
                let first = question.inputs().slice(0..1);
                let question = &question.with_inputs(first);
                self.check_order(question, layers)?;
                let mut graph = ConceptGraph {
                    target: target.to_string(),
                    score: 0.0,
                    nodes: Vec::new(),
                    edges: Vec::new(),
                };
                // The concepts of the layer above, by their numbers; the target at first.
                let mut above: Vec<Option<usize>> = vec![None];
                for layer in layers {
                    let conditions = above.iter().map(|node| match node {
                        None => Condition::none(),
                        Some(node) => {
                            let node = &graph.nodes[*node];
                            Condition::at(&node.layer, node.channel)
                        }
                    });
                    let crp = self.clone().with_conditions(conditions);
                    let found = crp.explain(question, &[layer.to_string()])?;
                    let mut own: Vec<Option<usize>> = Vec::new();
                    for (to, found) in above.iter().zip(found) {
                        graph.score = found.scores.first().copied().unwrap_or(graph.score);
                        let relevance = &found.layers[0];
                        let dim = self.dim(question, layer, relevance.shape().len())?;
                        let ranking = rankings(layer, relevance, dim)?.into_iter().next();
                        let ranking = ranking.ok_or(Error::Internal("a ranking of no rows"))?;
                        graph.join(&ranking, *to, top, &mut own);
                    }
                    above = own;
                }
                Ok(graph)
            },
        )
    }
}

impl ConceptGraph {
    /// Adds the strongest concepts of a layer and their edges to the concept `to`. `own` has the
    /// numbers of the layer's concepts so far.
    fn join(
        &mut self,
        ranking: &ConceptRanking,
        to: Option<usize>,
        top: usize,
        own: &mut Vec<Option<usize>>,
    ) {
        for concept in ranking.top(top) {
            let known = own.iter().flatten().copied();
            let mut known = known.filter(|&i| self.nodes[i].channel == concept.channel);
            let from = known.next().unwrap_or_else(|| {
                self.nodes.push(ConceptNode {
                    layer: ranking.layer.clone(),
                    channel: concept.channel,
                });
                own.push(Some(self.nodes.len() - 1));
                self.nodes.len() - 1
            });
            self.edges.push(Edge {
                from,
                to,
                relevance: concept.relevance,
                share: concept.share,
            });
        }
    }
}
