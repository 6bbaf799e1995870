//! `attrx crp compare`: the most similar concepts of two layers or models.

use attr_index::{ConceptSimilarity, Index};
use serde::Serialize;

use crate::args::CompareArguments;
use crate::error::Error;
use crate::layout::table;
use crate::{json, print};

/// What was compared, as JSON.
#[derive(Serialize)]
struct Compared<'a> {
    layer: &'a str,
    other_layer: &'a str,
    samples: u64,
    concepts: Vec<Pair>,
}

/// A concept, and the most similar one.
#[derive(Serialize)]
struct Pair {
    concept: usize,
    /// None for a concept that is equally strong in all samples.
    other: Option<usize>,
    similarity: Option<f64>,
}

/// Compares two layers.
pub fn run(arguments: &CompareArguments) -> Result<(), Error> {
    let (own, other) = (
        Index::open(&arguments.index)?,
        Index::open(&arguments.other)?,
    );
    let layer = &arguments.layer;
    let other_layer = arguments.other_layer.as_ref().unwrap_or(layer);
    for (index, layer, flag) in [
        (&own, layer, "--layer"),
        (&other, other_layer, "--other-layer"),
    ] {
        if !index.run().layers.contains(layer) {
            return Err(Error::input(format!(
                "{flag} {layer}: {} has the layers {}",
                index.path().display(),
                index.run().layers.join(", ")
            )));
        }
    }
    if own.run().data != other.run().data {
        return Err(Error::input(
            "the indexes were made from different data; their samples cannot be compared",
        ));
    }
    let mode = arguments.mode.into();
    let found = ConceptSimilarity::of(own.vectors(layer, mode), other.vectors(other_layer, mode))?;
    let pair = |concept: usize| {
        let best = found.best(concept);
        Pair {
            concept,
            other: best.map(|best| best.0),
            similarity: best.map(|best| best.1),
        }
    };
    let mut concepts: Vec<Pair> = (0..found.concepts()).map(pair).collect();
    if arguments.json {
        return json::print(&Compared {
            layer,
            other_layer,
            samples: found.samples(),
            concepts,
        });
    }
    // What changed most comes first.
    let similarity = |pair: &Pair| pair.similarity.unwrap_or(f64::INFINITY);
    concepts.sort_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    let mut lines = vec![
        ["concept", "most similar", "similarity"]
            .map(String::from)
            .to_vec(),
    ];
    for pair in &concepts {
        let shown = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        lines.push(vec![
            pair.concept.to_string(),
            shown(pair.other.map(|other| other.to_string())),
            shown(pair.similarity.map(|value| format!("{value:.4}"))),
        ]);
    }
    print(&table(&lines, &[0, 1, 2]))
}
