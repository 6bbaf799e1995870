//! `attrx crp prototypes` and `outliers`: how a class is usually predicted, and what is unusual.

use std::collections::BTreeMap;

use attr_index::{
    ConceptVectors, Covariance, Error as IndexError, Index, PrototypeSearch, Prototypes, RunInfo,
};
use serde::Serialize;

use super::gallery::{self, Gallery, Names, Shows, Subject};
use super::{check_layer, check_target, strongest};
use crate::args::{CovarianceName, FitArguments, OutliersArguments, PrototypesArguments};
use crate::error::Error;
use crate::layout::table;
use crate::{json, print};

/// A prototype, as JSON.
#[derive(Serialize)]
struct Shown {
    class: usize,
    prototype: usize,
    /// The share of the class's samples.
    weight: f64,
    /// Those that most likely belong to it, those nearest to the mean first.
    samples: Vec<u64>,
    /// The strongest concepts, with their means.
    concepts: Vec<(usize, f64)>,
    /// The mean of all concepts.
    mean: Vec<f64>,
}

/// Shows prototypes.
pub fn prototypes(arguments: &PrototypesArguments) -> Result<(), Error> {
    gallery::check(&arguments.gallery)?;
    let index = Index::open(&arguments.index)?;
    let found = fit(&index, &arguments.fit, arguments.target)?;
    let mut shown = Vec::new();
    for (class, own) in found.classes() {
        for (prototype, one) in own.prototypes().iter().enumerate() {
            shown.push(Shown {
                class,
                prototype,
                weight: one.weight,
                samples: one.samples.clone(),
                concepts: strongest(&one.mean, arguments.concepts),
                mean: one.mean.clone(),
            });
        }
    }
    if let Some(gallery) = Gallery::open(&arguments.gallery, &index)? {
        let rows: Vec<_> = shown.iter().map(|one| row(one, arguments.top)).collect();
        gallery.write(&rows)?;
    }
    if arguments.json {
        return json::print(&shown);
    }
    if arguments.quiet {
        return Ok(());
    }
    let header = [
        "class",
        "prototype",
        "share",
        "samples",
        "nearest",
        "strongest concepts",
    ];
    let mut lines = vec![header.map(String::from).to_vec()];
    for one in &shown {
        let nearest = one.samples.iter().take(arguments.top);
        let nearest: Vec<String> = nearest.map(u64::to_string).collect();
        lines.push(vec![
            one.class.to_string(),
            one.prototype.to_string(),
            format!("{:.1} %", 100.0 * one.weight),
            one.samples.len().to_string(),
            nearest.join(" "),
            concepts(&one.concepts),
        ]);
    }
    print(&table(&lines, &[0, 1, 2, 3]))
}

/// A row of pictures for a prototype.
fn row(one: &Shown, top: usize) -> (String, Vec<Shows<'static>>) {
    let shows = one.samples.iter().take(top).map(|&sample| Shows {
        sample,
        target: Some(one.class),
        subject: Subject::Prediction,
    });
    let share = 100.0 * one.weight;
    let label = format!(
        "class {}\nprototype {}\n{share:.1} %",
        one.class, one.prototype
    );
    (label, shows.collect())
}

/// A sample and how usual it is, as JSON.
#[derive(Serialize)]
struct Outlier {
    sample: u64,
    /// From `--data`.
    name: Option<String>,
    /// The class that was explained.
    class: usize,
    log_likelihood: f64,
    /// The share of the fitted samples that are less usual.
    quantile: f64,
    /// The class for which it would be most usual.
    most_likely: usize,
    /// The nearest prototype of its class.
    prototype: usize,
    /// The concepts that differ most from the prototype, with how much stronger they are.
    concepts: Vec<(usize, f64)>,
}

/// Lists unusual samples.
pub fn outliers(arguments: &OutliersArguments) -> Result<(), Error> {
    gallery::check(&arguments.gallery)?;
    let index = Index::open(&arguments.index)?;
    // Samples may look like those of any class.
    let found = fit(&index, &arguments.fit, None)?;
    let other = arguments.other.as_ref().map(Index::open).transpose()?;
    let judged = other.as_ref().unwrap_or(&index);
    check_comparable(&index, judged)?;
    check_layer("--layer", judged, &arguments.fit.layer)?;
    let mut all = judge(judged, &found, arguments)?;
    if all.is_empty() {
        return Err(Error::input(
            "there are no concept vectors of these samples and a class with prototypes",
        ));
    }
    all.sort_by(|a, b| {
        let by_quantile = a.quantile.total_cmp(&b.quantile);
        by_quantile.then(a.log_likelihood.total_cmp(&b.log_likelihood))
    });
    all.truncate(arguments.top);
    if let Some(names) = Names::open(&arguments.gallery, judged)? {
        for one in &mut all {
            one.name = Some(names.of(one.sample)?);
        }
    }
    if let Some(gallery) = Gallery::open(&arguments.gallery, judged)? {
        let rows: Vec<_> = all.iter().map(picture).collect();
        gallery.write(&rows)?;
    }
    if arguments.json {
        return json::print(&all);
    }
    if arguments.quiet {
        return Ok(());
    }
    let header = [
        "sample",
        "name",
        "class",
        "log-likelihood",
        "quantile",
        "looks like",
        "prototype",
        "differs by",
    ];
    let mut lines = vec![header.map(String::from).to_vec()];
    for one in &all {
        lines.push(vec![
            one.sample.to_string(),
            one.name.clone().unwrap_or_else(|| "-".into()),
            one.class.to_string(),
            format!("{:.2}", one.log_likelihood),
            format!("{:.1} %", 100.0 * one.quantile),
            one.most_likely.to_string(),
            one.prototype.to_string(),
            concepts(&one.concepts),
        ]);
    }
    print(&table(&lines, &[0, 2, 3, 4, 5, 6]))
}

/// Refuses indexes whose strengths do not mean the same.
fn check_comparable(index: &Index, other: &Index) -> Result<(), Error> {
    let (own, there) = (index.run(), other.run());
    if own.model != there.model {
        return Err(Error::input(
            "the indexes were made with different models; their concepts are not the same",
        ));
    }
    let of_data = ["image_column", "label_column", "targets"];
    let describe = |run: &RunInfo| {
        let mut all = run.settings.clone();
        all.retain(|name, _| !of_data.contains(&name.as_str()));
        all.insert("max_target".into(), format!("{:?}", run.max_target));
        all.insert("abs_norm".into(), run.abs_norm.to_string());
        all
    };
    let (own, there) = (describe(own), describe(there));
    match own
        .iter()
        .find(|(name, value)| there.get(*name) != Some(value))
    {
        None => Ok(()),
        Some((name, value)) => Err(Error::input(format!(
            "the indexes were made in different ways: {name} is {value:?} in the first and {:?} in \
             the second",
            there.get(name).map_or("", String::as_str)
        ))),
    }
}

/// How usual each sample of an index is, of those whose class has prototypes.
fn judge(
    index: &Index,
    found: &Prototypes,
    arguments: &OutliersArguments,
) -> Result<Vec<Outlier>, Error> {
    let mut all = Vec::new();
    let fit = &arguments.fit;
    for vectors in vectors(index, fit, arguments.target) {
        let vectors = vectors?;
        let rows = vectors.samples().iter().zip(vectors.targets());
        let values = vectors.values().chunks_exact(vectors.concepts().max(1));
        for ((&sample, &class), values) in rows.zip(values) {
            let Some(own) = found.of(class) else {
                continue;
            };
            let values: Vec<f32> = values.iter().map(|value| value.to_f32()).collect();
            let log_likelihood = own.log_likelihood(&values)?;
            let (prototype, difference) = own.nearest(&values)?;
            all.push(Outlier {
                sample,
                name: None,
                class,
                log_likelihood,
                quantile: own.quantile(log_likelihood),
                most_likely: found.most_likely(&values)?.0,
                prototype,
                concepts: strongest(&difference, arguments.concepts),
            });
        }
    }
    Ok(all)
}

/// A row with the picture of a sample.
fn picture(one: &Outlier) -> (String, Vec<Shows<'static>>) {
    let shows = Shows {
        sample: one.sample,
        target: Some(one.class),
        subject: Subject::Prediction,
    };
    let name = one.name.as_deref().unwrap_or_default();
    let quantile = 100.0 * one.quantile;
    let label = format!(
        "{name}\nclass {}, looks like {}\nquantile {quantile:.1} %",
        one.class, one.most_likely
    );
    (label, vec![shows])
}

/// Fits the prototypes of one class, or of all.
fn fit(index: &Index, how: &FitArguments, target: Option<usize>) -> Result<Prototypes, Error> {
    check_layer("--layer", index, &how.layer)?;
    let search = PrototypeSearch::new()
        .with_prototypes(how.prototypes)
        .with_covariance(match how.covariance {
            CovarianceName::Full => Covariance::Full,
            CovarianceName::Diagonal => Covariance::Diagonal,
        })
        .with_reg_covar(how.reg_covar)
        .with_n_init(how.n_init)
        .with_max_iter(how.max_iter)
        .with_tol(how.tol)
        .with_seed(how.seed);
    let mut targets = BTreeMap::new();
    let own = vectors(index, how, None).map(|vectors| {
        let vectors = vectors?;
        for &target in vectors.targets() {
            *targets.entry(target).or_insert(0u64) += 1;
        }
        Ok(match target {
            Some(target) => vectors.of_target(target),
            None => vectors,
        })
    });
    let found = search.fit(own);
    if let Some(target) = target
        && !targets.is_empty()
    {
        check_target(target, targets.keys())?;
    }
    Ok(found?)
}

fn vectors(
    index: &Index,
    how: &FitArguments,
    target: Option<usize>,
) -> impl Iterator<Item = Result<ConceptVectors, IndexError>> {
    let all = index.vectors(&how.layer, how.mode.into());
    all.map(move |vectors| {
        Ok(match target {
            Some(target) => vectors?.of_target(target),
            None => vectors?,
        })
    })
}

/// Concepts with their numbers, as text.
fn concepts(all: &[(usize, f64)]) -> String {
    let each = all.iter();
    let each: Vec<String> = each
        .map(|(concept, value)| format!("{concept} ({value:+.4})"))
        .collect();
    each.join("  ")
}
