//! `attrx crp show`: the samples in which concepts are strongest, listed and drawn.

use std::collections::BTreeMap;

use attr_index::{Index, Mode, References, Sample, Statistics};
use serde::Serialize;

use super::check_concept;
use super::gallery::{self, Gallery, Shows, Subject};
use crate::args::{ModeName, ShowArguments};
use crate::error::Error;
use crate::layout::table;
use crate::{json, print};

/// A concept and its references, as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    layer: &'a str,
    concept: usize,
    mode: Mode,
    /// The mean strength over all samples, or those of the class.
    mean: Option<f64>,
    references: Vec<Named<'a>>,
}

/// A reference with the sample's name.
#[derive(Serialize)]
struct Named<'a> {
    sample: u64,
    name: &'a str,
    label: Option<usize>,
    target: Option<usize>,
    score: f32,
    neuron: usize,
}

/// Shows references.
pub fn run(arguments: &ShowArguments) -> Result<(), Error> {
    gallery::check(&arguments.gallery)?;
    let index = Index::open(&arguments.index)?;
    let (references, statistics) = (index.references()?, index.statistics()?);
    let samples = index.samples()?;
    let samples: BTreeMap<u64, &Sample> = samples.iter().map(|one| (one.number, one)).collect();
    let shown = shown(arguments, &references, &statistics, &samples)?;
    if let Some(gallery) = Gallery::open(&arguments.gallery, &index)? {
        gallery.write(&rows(arguments, &shown))?;
    }
    if arguments.json {
        return json::print(&shown);
    }
    if arguments.quiet {
        return Ok(());
    }
    let header = ["concept", "rank", "sample", "name", "target", "score"].map(String::from);
    let mut lines = vec![header.to_vec()];
    for concept in &shown {
        for (rank, one) in concept.references.iter().enumerate() {
            lines.push(vec![
                concept.concept.to_string(),
                rank.to_string(),
                one.sample.to_string(),
                one.name.into(),
                one.target.map_or("-".into(), |target| target.to_string()),
                format!("{:.6}", one.score),
            ]);
        }
    }
    print(&table(&lines, &[0, 1, 2, 4, 5]))
}

/// The concepts that are asked for, with their references.
fn shown<'a>(
    arguments: &'a ShowArguments,
    references: &'a References,
    statistics: &Statistics,
    samples: &BTreeMap<u64, &'a Sample>,
) -> Result<Vec<Shown<'a>>, Error> {
    let layer = &arguments.layer;
    let count = references.concepts(layer);
    if count == 0 {
        return Err(Error::input(format!(
            "--layer {layer}: the index has the layers {}",
            references.layers().join(", ")
        )));
    }
    let mode = arguments.mode.into();
    if let Some(target) = arguments.target
        && !references.targets().contains(&target)
    {
        let targets = references.targets();
        let targets: Vec<String> = targets.iter().map(usize::to_string).collect();
        return Err(Error::input(if targets.is_empty() {
            "--target: this index does not rank the samples of each class (--each-target)".into()
        } else {
            format!(
                "--target {target}: the index has the classes {}",
                targets.join(", ")
            )
        }));
    }
    let mean = |concept: usize| {
        let statistic = match arguments.target {
            Some(target) => statistics.of_target(layer, mode, concept, target),
            None => statistics.of(layer, mode, concept),
        };
        statistic.map(|statistic| statistic.mean())
    };
    let mut concepts = arguments.concept.clone();
    if concepts.is_empty() {
        concepts = (0..count).collect();
        let strength = |concept: usize| mean(concept).unwrap_or(f64::NEG_INFINITY);
        concepts.sort_by(|&a, &b| strength(b).total_cmp(&strength(a)));
        concepts.truncate(arguments.concepts);
    }
    let mut shown = Vec::new();
    for concept in concepts {
        check_concept(references, layer, concept)?;
        let list = match arguments.target {
            Some(target) => references.of_target(layer, mode, concept, target),
            None => references.of(layer, mode, concept),
        };
        let named = list.iter().take(arguments.top).map(|one| {
            let sample = samples.get(&one.sample);
            Named {
                sample: one.sample,
                name: sample.map_or("", |sample| &sample.name),
                label: sample.and_then(|sample| sample.label),
                target: one.target,
                score: one.score,
                neuron: one.neuron,
            }
        });
        shown.push(Shown {
            layer,
            concept,
            mode,
            mean: mean(concept),
            references: named.collect(),
        });
    }
    Ok(shown)
}

/// A row of pictures for each concept.
fn rows<'a>(arguments: &'a ShowArguments, shown: &'a [Shown<'_>]) -> Vec<(String, Vec<Shows<'a>>)> {
    let row = |concept: &'a Shown<'_>| {
        let label = match concept.mean {
            Some(mean) => format!("concept {}\nmean {mean:.4}", concept.concept),
            None => format!("concept {}", concept.concept),
        };
        let shows = concept.references.iter().map(|one| Shows {
            sample: one.sample,
            target: match arguments.mode {
                ModeName::Relevance => one.target,
                ModeName::Activation => None,
            },
            subject: Subject::Concept {
                layer: &arguments.layer,
                channel: concept.concept,
                neuron: arguments.receptive_field.then_some(one.neuron),
            },
        });
        (label, shows.collect())
    };
    shown.iter().map(row).collect()
}
