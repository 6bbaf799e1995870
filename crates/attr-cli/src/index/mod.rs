//! Runs the commands of `attrx crp` about an index.
//!
//! ```text
//! mod.rs         merge, status and export; what the others check
//! build.rs       index: measures one shard
//! show.rs        show: the references of concepts
//! compare.rs     compare: two layers or models
//! prototypes.rs  prototypes and outliers (PCX)
//! strategies.rs  strategies (SpRAy)
//! split.rs       split (PURE)
//! gallery.rs     pictures of samples
//! ```

mod build;
mod compare;
mod gallery;
mod prototypes;
mod show;
mod split;
mod strategies;

use std::collections::BTreeSet;

use attr_index::{Index, References, ShardStatus};
use serde::Serialize;

pub use build::run as build;
pub use compare::run as compare;
pub use gallery::{Gallery, Shows, Subject};
pub use prototypes::{outliers, prototypes};
pub use show::run as show;
pub use split::run as split;
pub use strategies::run as strategies;

use crate::args::{ExportArguments, MergeArguments, StatusArguments};
use crate::error::Error;
use crate::layout::table;
use crate::{json, print};

/// How far an index is, as JSON.
#[derive(Serialize)]
struct Progress<'a> {
    samples: u64,
    complete: bool,
    /// The shards in the merged tables.
    merged: Vec<u64>,
    shards: &'a [ShardStatus],
}

/// Joins shards.
pub fn merge(arguments: &MergeArguments) -> Result<(), Error> {
    let index = Index::open(&arguments.index)?;
    let found = index.merge()?;
    if arguments.json {
        return json::print(&progress(&index, &found)?);
    }
    if arguments.quiet {
        return Ok(());
    }
    let done = |status: &&ShardStatus| matches!(status, ShardStatus::Done { .. });
    let (merged, all) = (found.iter().filter(done).count(), found.len());
    print(&match all - merged {
        0 => format!("merged all {all} shards\n"),
        missing => format!(
            "merged {merged} of {all} shards; `attrx crp status` says what the other {missing} \
             lack\n"
        ),
    })
}

/// Says how far shards are.
pub fn status(arguments: &StatusArguments) -> Result<(), Error> {
    let index = Index::open(&arguments.index)?;
    let found = index.status()?;
    if arguments.json {
        return json::print(&progress(&index, &found)?);
    }
    let header = ["shard", "state", "samples", "skipped"].map(String::from);
    let mut lines = vec![header.to_vec()];
    for (shard, status) in found.iter().enumerate() {
        let (state, samples, skipped) = match status {
            ShardStatus::Done { samples, skipped } => {
                ("done".into(), samples.to_string(), skipped.to_string())
            }
            ShardStatus::Partial { done, samples } => (
                "begun".into(),
                format!("{done} of {samples}"),
                String::new(),
            ),
            ShardStatus::Missing => ("missing".into(), String::new(), String::new()),
            ShardStatus::Foreign => (
                "of another run; move its folder away".into(),
                String::new(),
                String::new(),
            ),
            ShardStatus::Damaged { reason } => (
                format!("damaged, run it again: {reason}"),
                String::new(),
                String::new(),
            ),
        };
        lines.push(vec![shard.to_string(), state, samples, skipped]);
    }
    let merged = index.merged()?.len();
    print(&format!(
        "{}\n{merged} of {} shards are merged\n",
        table(&lines, &[0, 2, 3]),
        found.len()
    ))
}

fn progress<'a>(index: &Index, shards: &'a [ShardStatus]) -> Result<Progress<'a>, Error> {
    let done = |status: &ShardStatus| matches!(status, ShardStatus::Done { .. });
    Ok(Progress {
        samples: index.run().samples,
        complete: shards.iter().all(done),
        merged: index.merged()?,
        shards,
    })
}

/// Writes the folders of zennit-crp.
pub fn export(arguments: &ExportArguments) -> Result<(), Error> {
    let index = Index::open(&arguments.index)?;
    let (references, run) = (index.references()?, index.run());
    references.write_zennit_crp(&arguments.out, run.max_target, run.abs_norm)?;
    if arguments.quiet {
        return Ok(());
    }
    let layers = references.layers().len();
    print(&format!(
        "wrote {layers} layers to {}\n",
        arguments.out.display()
    ))
}

/// Refuses a layer that an index does not have.
pub fn check_layer(flag: &str, index: &Index, layer: &str) -> Result<(), Error> {
    let layers = &index.run().layers;
    if layers.iter().any(|own| own == layer) {
        return Ok(());
    }
    Err(Error::input(format!(
        "{flag} {layer}: {} has the layers {}",
        index.path().display(),
        layers.join(", ")
    )))
}

/// Refuses a channel that a layer does not have.
fn check_concept(references: &References, layer: &str, concept: usize) -> Result<(), Error> {
    let count = references.concepts(layer);
    if concept < count {
        return Ok(());
    }
    Err(Error::input(format!(
        "--concept {concept}: layer {layer} has {count} channels, counted from 0"
    )))
}

/// Refuses a class without samples.
fn check_target<'a>(target: usize, targets: impl Iterator<Item = &'a usize>) -> Result<(), Error> {
    let targets: BTreeSet<usize> = targets.copied().collect();
    if targets.contains(&target) {
        return Ok(());
    }
    let targets: Vec<String> = targets.iter().map(usize::to_string).collect();
    Err(Error::input(format!(
        "--target {target}: there are samples of the classes {}",
        targets.join(", ")
    )))
}

/// The concepts with the largest absolute values, the largest first.
fn strongest(values: &[f64], count: usize) -> Vec<(usize, f64)> {
    let mut all: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
    all.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    all.truncate(count);
    all
}
