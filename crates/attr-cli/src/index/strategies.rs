//! `attrx crp strategies`: explanations of one class in groups.

use std::path::Path;

use attr_core::Kind;
use attr_index::{Index, Strategies, StrategySearch};
use attr_viz::{Map, Panel, Style, View};
use serde::Serialize;

use super::gallery::{self, Gallery, Shows, Subject};
use super::{check_layer, check_target};
use crate::args::StrategiesArguments;
use crate::error::Error;
use crate::layout::table;
use crate::output::Outputs;
use crate::{input, json, picture, print};

/// What was found, as JSON.
#[derive(Serialize)]
struct Found<'a> {
    /// The number of explanations.
    samples: usize,
    eigenvalues: &'a [f64],
    groups: Vec<Group>,
}

/// A group.
#[derive(Serialize)]
struct Group {
    /// The samples, or rows of the file, the most central first.
    samples: Vec<u64>,
}

/// Explanations as rows of equal length.
struct Rows {
    /// The numbers of the samples, or of rows of a file.
    samples: Vec<u64>,
    /// The class of each, if it is known.
    targets: Vec<Option<usize>>,
    values: Vec<f32>,
    features: usize,
    /// Heat maps of a file, to draw them.
    maps: Option<Maps>,
}

/// Heat maps before they were scaled down, `[rows, height, width]`.
struct Maps {
    values: Vec<f32>,
    height: usize,
    width: usize,
}

/// Groups explanations.
pub fn run(arguments: &StrategiesArguments) -> Result<(), Error> {
    gallery::check(&arguments.gallery)?;
    let index = arguments.index.as_ref().map(Index::open).transpose()?;
    let rows = match (&index, &arguments.attributions) {
        (Some(index), _) => vectors(arguments, index)?,
        (None, Some(path)) => attributions(arguments, path)?,
        (None, None) => {
            return Err(Error::input(
                "give the folder of an index, or --attributions",
            ));
        }
    };
    let mut search = StrategySearch::new()
        .with_n_neighbors(arguments.n_neighbors)
        .with_n_eigval(arguments.n_eigval)
        .with_seed(arguments.seed);
    if let Some(n_clusters) = arguments.n_clusters {
        search = search.with_n_clusters(n_clusters);
    }
    let found = search.find(&rows.values, rows.features)?;
    match (&index, &arguments.gallery.image) {
        (Some(index), _) => {
            if let Some(gallery) = Gallery::open(&arguments.gallery, index)? {
                gallery.write(&pictures(arguments, &rows, &found))?;
            }
        }
        (None, Some(path)) => draw(arguments, &rows, &found, path)?,
        (None, None) => {}
    }
    let groups = found.members().iter().map(|members| Group {
        samples: members.iter().map(|&row| rows.samples[row]).collect(),
    });
    let shown = Found {
        samples: rows.samples.len(),
        eigenvalues: found.eigenvalues(),
        groups: groups.collect(),
    };
    if arguments.json {
        return json::print(&shown);
    }
    if arguments.quiet {
        return Ok(());
    }
    let mut lines = vec![
        ["group", "size", "share", "most central"]
            .map(String::from)
            .to_vec(),
    ];
    for (number, group) in shown.groups.iter().enumerate() {
        let size = group.samples.len();
        let central = group.samples.iter().take(arguments.top);
        let central: Vec<String> = central.map(u64::to_string).collect();
        lines.push(vec![
            number.to_string(),
            size.to_string(),
            format!("{:.1} %", 100.0 * size as f64 / shown.samples as f64),
            central.join(" "),
        ]);
    }
    let eigenvalues = shown.eigenvalues.iter().take(shown.groups.len() + 3);
    let eigenvalues: Vec<String> = eigenvalues
        .map(|value| format!("{:.3}", value.abs()))
        .collect();
    print(&format!(
        "{}\nsmallest eigenvalues: {}\n",
        table(&lines, &[0, 1, 2]),
        eigenvalues.join(" ")
    ))
}

/// The concept vectors of an index.
fn vectors(arguments: &StrategiesArguments, index: &Index) -> Result<Rows, Error> {
    let layer = arguments.layer.as_deref().unwrap_or_default();
    check_layer("--layer", index, layer)?;
    let mut rows = Rows {
        samples: Vec::new(),
        targets: Vec::new(),
        values: Vec::new(),
        features: 0,
        maps: None,
    };
    let mut targets = Vec::new();
    for vectors in index.vectors(layer, arguments.mode.into()) {
        let mut vectors = vectors?;
        targets.extend(vectors.targets());
        if let Some(target) = arguments.target {
            vectors = vectors.of_target(target);
        }
        rows.features = vectors.concepts();
        rows.samples.extend(vectors.samples());
        rows.targets
            .extend(vectors.targets().iter().copied().map(Some));
        rows.values
            .extend(vectors.values().iter().map(|value| value.to_f32()));
    }
    if rows.features == 0 {
        return Err(Error::input(
            "the index holds no concept vectors; make it with --vectors",
        ));
    }
    if let Some(target) = arguments.target {
        check_target(target, targets.iter())?;
    }
    Ok(rows)
}

/// Heat maps of a file, scaled down, each divided by the sum of its absolute values.
fn attributions(arguments: &StrategiesArguments, path: &Path) -> Result<Rows, Error> {
    let array = input::array(path, Kind::Float, |shape| match shape.len() {
        2..=4 => Ok(()),
        _ => Err(format!(
            "it has shape {shape:?}, where 2 to 4 dimensions are needed"
        )),
    })?;
    let count = array.shape[0];
    let classes = arguments.gallery.labels.as_ref().map(|path| {
        let labels = input::array(path, Kind::Int, |shape| {
            let fits = shape == [count];
            fits.then_some(())
                .ok_or_else(|| format!("it has shape {shape:?}, where [{count}] is needed"))
        })?;
        let labels = labels.elements.to_ints().unwrap_or_default();
        let classes = labels.iter().map(|&label| usize::try_from(label));
        classes.collect::<Result<Vec<_>, _>>().map_err(|_| {
            Error::input(format!(
                "--labels {}: it holds a negative class",
                path.display()
            ))
        })
    });
    let classes = classes.transpose()?;
    let chosen = match (arguments.target, &classes) {
        (Some(_), None) => {
            return Err(Error::input(
                "--target takes --labels, the class of each row",
            ));
        }
        (Some(target), Some(classes)) => {
            check_target(target, classes.iter())?;
            (0..count).filter(|&row| classes[row] == target).collect()
        }
        (None, _) => (0..count).collect::<Vec<_>>(),
    };
    let (channels, height, width) = match array.shape[1..] {
        [features] => (1, 1, features),
        [height, width] => (1, height, width),
        [channels, height, width] => (channels, height, width),
        _ => return Err(Error::input("--attributions: 2 to 4 dimensions are needed")),
    };
    let is_map = array.shape.len() > 2;
    let side = if is_map { arguments.side.max(1) } else { width };
    let (down, across) = (side.min(height), side.min(width));
    let values = array.elements.into_floats();
    let (mut maps, mut pooled) = (Vec::new(), Vec::new());
    for &row in &chosen {
        let size = channels * height * width;
        let own = &values[row * size..][..size];
        let map = (0..height * width).map(|at| {
            let channels = own.iter().skip(at).step_by(height * width);
            channels.copied().map(f64::from).sum()
        });
        let map: Vec<f64> = map.collect();
        let mut small = scaled_down(&map, (height, width), (down, across));
        let total: f64 = small.iter().map(|value| value.abs()).sum();
        if total > 0.0 {
            small.iter_mut().for_each(|value| *value /= total);
        }
        pooled.extend(small.into_iter().map(|value| value as f32));
        maps.extend(map.into_iter().map(|value| value as f32));
    }
    let target = |row: &usize| classes.as_ref().map(|classes| classes[*row]);
    Ok(Rows {
        targets: chosen.iter().map(target).collect(),
        samples: chosen.iter().map(|&row| row as u64).collect(),
        values: pooled,
        features: down * across,
        maps: is_map.then_some(Maps {
            values: maps,
            height,
            width,
        }),
    })
}

/// The means of a map's cells.
fn scaled_down(
    map: &[f64],
    (height, width): (usize, usize),
    (down, across): (usize, usize),
) -> Vec<f64> {
    let (mut sums, mut counts) = (vec![0.0; down * across], vec![0.0; down * across]);
    for (at, value) in map.iter().enumerate() {
        let (y, x) = (at / width * down / height, at % width * across / width);
        sums[y * across + x] += value;
        counts[y * across + x] += 1.0;
    }
    sums.iter()
        .zip(counts)
        .map(|(sum, count)| sum / count)
        .collect()
}

/// A row of pictures for each group.
fn pictures<'a>(
    arguments: &StrategiesArguments,
    rows: &Rows,
    found: &Strategies,
) -> Vec<(String, Vec<Shows<'a>>)> {
    let groups = found.members().iter().enumerate();
    let row = |(number, members): (usize, &Vec<usize>)| {
        let shows = members.iter().take(arguments.top).map(|&row| Shows {
            sample: rows.samples[row],
            target: rows.targets[row],
            subject: Subject::Prediction,
        });
        (label(number, members.len()), shows.collect())
    };
    groups.map(row).collect()
}

/// Draws heat maps of a file.
fn draw(
    arguments: &StrategiesArguments,
    rows: &Rows,
    found: &Strategies,
    path: &Path,
) -> Result<(), Error> {
    let Some(maps) = &rows.maps else {
        return Err(Error::input(
            "--image: rows of features are no heat maps; give [rows, height, width]",
        ));
    };
    let size = maps.height * maps.width;
    let longest = found
        .members()
        .iter()
        .map(Vec::len)
        .max()
        .unwrap_or_default();
    let columns = longest.min(arguments.top);
    let mut panel = Panel::new((0..columns).map(|rank| format!("{}", rank + 1)));
    for (number, members) in found.members().iter().enumerate() {
        let drawings = members.iter().take(columns).map(|&row| {
            let values = maps.values[row * size..][..size].to_vec();
            let map = Map::new(values, maps.width, maps.height)?;
            View::HeatMap.draw(&map, None, &Style::default())
        });
        panel.row(
            label(number, members.len()),
            drawings.collect::<Result<_, _>>()?,
        )?;
    }
    let mut outputs = Outputs::default();
    outputs.add(path, picture::encode(&panel.with_cell(128), path)?);
    outputs.write()
}

fn label(number: usize, size: usize) -> String {
    format!("group {number}\n{size} samples")
}

#[cfg(test)]
mod tests {
    use super::scaled_down;

    #[test]
    fn cells_are_means() {
        let map: Vec<f64> = (0..12).map(f64::from).collect();
        assert_eq!(scaled_down(&map, (3, 4), (1, 2)), [4.5, 6.5]);
        assert_eq!(scaled_down(&map, (3, 4), (3, 4)), map);
        // Rows 0 and 1 make the first cell.
        assert_eq!(scaled_down(&map, (3, 4), (2, 1)), [3.5, 9.5]);
    }
}
