//! `attrx crp split`: the meanings of a channel.

use attr_core::{Progress, Run};
use attr_index::{ChannelSplit, Index};
use serde::Serialize;

use super::gallery::{self, Gallery, Shows, Subject};
use super::{check_concept, check_layer, strongest};
use crate::args::SplitArguments;
use crate::error::Error;
use crate::layout::table;
use crate::progress::Bar;
use crate::{asked, json, print};

/// What was found, as JSON.
#[derive(Serialize)]
struct Found<'a> {
    layer: &'a str,
    concept: usize,
    lower: &'a str,
    silhouette: f64,
    parts: Vec<Shown>,
}

/// A part, as JSON.
#[derive(Serialize)]
struct Shown {
    /// The samples, the most central first.
    samples: Vec<u64>,
    /// The strongest lower channels, with their shares.
    concepts: Vec<(usize, f64)>,
    /// The shares of all.
    circuit: Vec<f64>,
}

/// Splits a channel.
pub fn run(arguments: &SplitArguments) -> Result<(), Error> {
    gallery::check(&arguments.gallery)?;
    let config = if arguments.set.is_empty() {
        None
    } else {
        Some(asked::config("crp split", &arguments.set)?)
    };
    let index = Index::open(&arguments.index)?;
    check_layer("--layer", &index, &arguments.layer)?;
    let references = index.references()?;
    check_concept(&references, &arguments.layer, arguments.concept)?;
    let mode = arguments.mode.into();
    let references = references.of(&arguments.layer, mode, arguments.concept);
    let gallery = Gallery::of(&arguments.gallery, &index)?;
    let composite = match config {
        Some(config) => config.composite()?,
        None => gallery.composite.clone(),
    };
    let split = ChannelSplit::new(
        composite,
        arguments.layer.as_str(),
        arguments.concept,
        arguments.lower.as_str(),
    );
    let split = split
        .with_parts(arguments.parts)
        .with_n_init(arguments.n_init)
        .with_seed(arguments.seed);
    let bar = Bar::new(arguments.quiet);
    bar.start(references.len());
    let mut circuits = Vec::new();
    for reference in references {
        let (values, _) = gallery.values(reference.sample)?;
        circuits.extend(split.circuits(&gallery.model, &values, &Run::new())?);
        bar.advance(1);
    }
    bar.finish();
    let found = split.split(&circuits)?;
    let sample = |&row: &usize| references[row].sample;
    let parts = found.parts().iter().enumerate();
    let rows = parts.map(|(number, part)| {
        let shows = part.members.iter().map(sample).take(arguments.top);
        let shows = shows.map(|sample| Shows {
            sample,
            target: None,
            subject: Subject::Concept {
                layer: &arguments.layer,
                channel: arguments.concept,
                neuron: None,
            },
        });
        let label = format!("part {number}\n{} samples", part.members.len());
        (label, shows.collect())
    });
    gallery.write(&rows.collect::<Vec<_>>())?;
    let parts = found.parts().iter().map(|part| Shown {
        samples: part.members.iter().map(sample).collect(),
        concepts: strongest(&part.circuit, arguments.concepts),
        circuit: part.circuit.clone(),
    });
    let shown = Found {
        layer: &arguments.layer,
        concept: arguments.concept,
        lower: &arguments.lower,
        silhouette: found.silhouette(),
        parts: parts.collect(),
    };
    if arguments.json {
        return json::print(&shown);
    }
    if arguments.quiet {
        return Ok(());
    }
    let header = [
        "part",
        "size",
        "most central",
        "strongest in the lower layer",
    ];
    let mut lines = vec![header.map(String::from).to_vec()];
    for (number, part) in shown.parts.iter().enumerate() {
        let central = part.samples.iter().take(arguments.top);
        let central: Vec<String> = central.map(u64::to_string).collect();
        let concepts = part.concepts.iter();
        let concepts = concepts.map(|(channel, share)| format!("{channel} ({share:+.3})"));
        lines.push(vec![
            number.to_string(),
            part.samples.len().to_string(),
            central.join(" "),
            concepts.collect::<Vec<_>>().join("  "),
        ]);
    }
    print(&format!(
        "{}\nsilhouette {:.3} (1: separate meanings; below 0.25: hardly more than one)\n",
        table(&lines, &[0, 1]),
        shown.silhouette
    ))
}
