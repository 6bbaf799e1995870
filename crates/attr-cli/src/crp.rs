//! Runs `attrx crp`.

use std::path::Path;

use attr_core::{Run, Value};
use attr_lrp_crp::{ConceptRanking, Condition, Crp, Region};
use serde::Serialize;

use crate::args::{
    ConceptsArguments, ConditionalArguments, CrpArguments, CrpCommand, GraphArguments,
    RelevanceArguments,
};
use crate::asked::Asked;
use crate::error::Error;
use crate::layout::table;
use crate::output::{self, Outputs};
use crate::picture::{self, Drawn};
use crate::progress::Bar;
use crate::{condition, direction, index, json, memory, print};

/// Runs the subcommand.
pub fn run(arguments: &CrpArguments) -> Result<(), Error> {
    match &arguments.command {
        CrpCommand::Explain(arguments) => explain(arguments),
        CrpCommand::Concepts(arguments) => concepts(arguments),
        CrpCommand::Graph(arguments) => graph(arguments),
        CrpCommand::Index(arguments) => index::build(arguments),
        CrpCommand::Merge(arguments) => index::merge(arguments),
        CrpCommand::Status(arguments) => index::status(arguments),
        CrpCommand::Show(arguments) => index::show(arguments),
        CrpCommand::Compare(arguments) => index::compare(arguments),
        CrpCommand::Prototypes(arguments) => index::prototypes(arguments),
        CrpCommand::Outliers(arguments) => index::outliers(arguments),
        CrpCommand::Strategies(arguments) => index::strategies(arguments),
        CrpCommand::Split(arguments) => index::split(arguments),
        CrpCommand::Export(arguments) => index::export(arguments),
        CrpCommand::Direction(arguments) => direction::find(arguments),
        CrpCommand::Remove(arguments) => direction::remove(arguments),
    }
}

/// Computes conditional maps.
fn explain(arguments: &ConditionalArguments) -> Result<(), Error> {
    check_outputs(arguments)?;
    if arguments.start_layer.is_some() && arguments.common.target.is_some() {
        return Err(Error::input(
            "--start-layer says where relevance sets out; leave out --target",
        ));
    }
    let conditions: Vec<Condition> = arguments
        .condition
        .iter()
        .map(|text| condition::parse(text))
        .collect::<Result<_, _>>()?;
    let common = &arguments.common;
    let asked = Asked::new("crp", common)?;
    let mut crp = Crp::new(asked.config.composite()?)
        .with_exclude_parallel(arguments.exclude_parallel)
        .with_conditions(conditions);
    if let Some(layer) = &arguments.start_layer {
        crp = crp.starting_at(layer);
    }
    for layer in &arguments.record {
        crp = crp.recording(layer);
    }
    let bar = Bar::new(common.model.quiet);
    let run = Run::new()
        .with_budget(memory::budget(common.memory, &asked.model))
        .with_progress(&bar);
    let target = asked.target.clone();
    let found = crp.attribute_with(&asked.model, asked.values(), target, &run);
    bar.finish();
    let found = found?;

    let rows = asked.values().rows();
    let count = found.maps().len();
    let mut maps: Vec<(String, Value)> = Vec::new();
    for (i, port) in asked.opened.ports().iter().enumerate() {
        let each = found.maps().iter().map(|map| map.values()[i].clone());
        let Some(each) = each.collect::<Option<Vec<Value>>>() else {
            continue;
        };
        maps.push((port.name.clone(), by_row(each, rows)?));
    }
    let mut recorded: Vec<(String, Value)> = Vec::new();
    for (k, layer) in arguments.record.iter().enumerate() {
        let each = found.recorded().iter().map(|layers| layers[k].clone());
        recorded.push((layer.clone(), by_row(each.collect(), rows)?));
    }
    let all = maps.iter().chain(&recorded);
    for (name, value) in all {
        if !value.is_finite()? {
            return Err(Error::input(format!(
                "crp gives NaN or infinity at {name:?}"
            )));
        }
    }
    if maps.is_empty() && (arguments.out.is_some() || arguments.image.is_some()) {
        return Err(Error::input(
            "--out: tokens have no relevance of their own; write that of their embedding, with \
             --record and its name from `attrx layers`",
        ));
    }
    let scores = found.maps().first().map_or(&[][..], |map| map.scores());
    let (lines, labels) = described(arguments, &maps, scores, count)?;

    let mut outputs = Outputs::default();
    if arguments.sum_channels {
        for (_, value) in &mut maps {
            *value = summed(value)?;
        }
    }
    if let Some(path) = &arguments.out {
        outputs.add(path, encoded(&maps, path)?);
    }
    if let Some(path) = &arguments.record_out {
        let named: Vec<(&str, &Value)> = recorded.iter().map(|(n, v)| (&n[..], v)).collect();
        outputs.add(path, output::safetensors(&named)?);
    }
    if let Some(path) = &arguments.image {
        let first = (0..asked.values().values().len()).find(|&i| asked.values().attributed(i));
        let first = first.unwrap_or(0);
        let input = &asked.values().values()[first];
        let repeated: Vec<usize> = (0..rows * count).map(|i| i / count).collect();
        let (_, attribution) = maps
            .first()
            .ok_or_else(|| Error::input("--image: no input gets relevance"))?;
        let drawn = Drawn {
            columns: &[("crp", attribution)],
            labels: &labels,
            input: &input.select_rows(&repeated),
            picture: None,
        };
        outputs.add(path, picture::encode(&picture::panel(&drawn)?, path)?);
    }
    outputs.write()?;
    if common.model.quiet {
        return Ok(());
    }
    print(&lines)
}

/// Returns what is printed for each row and condition, and the labels of the pictures.
fn described(
    arguments: &ConditionalArguments,
    maps: &[(String, Value)],
    scores: &[f32],
    count: usize,
) -> Result<(String, Vec<String>), Error> {
    let mut sums = vec![0.0; scores.len() * count];
    for (_, value) in maps {
        let own = Value::from(value.matrix()?.sum_dim(1)).to_vec()?;
        sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
    }
    let header = ["row", "condition", "score", "relevance"].map(String::from);
    let mut lines = vec![header.to_vec()];
    let mut labels = Vec::new();
    for (i, sum) in sums.iter().enumerate() {
        let (row, k) = (i / count, i % count);
        let condition = arguments
            .condition
            .get(k)
            .map_or("no condition", String::as_str);
        lines.push(vec![
            row.to_string(),
            condition.into(),
            format!("{:.6}", scores[row]),
            // Tokens have no map.
            if maps.is_empty() {
                "-".into()
            } else {
                format!("{sum:.6}")
            },
        ]);
        labels.push(format!("row {row}\n{condition}\nrelevance {sum:.3}"));
    }
    Ok((table(&lines, &[0, 2, 3]), labels))
}

/// Joins the maps of all conditions so that all of row 0 come first.
fn by_row(conditions: Vec<Value>, rows: usize) -> Result<Value, Error> {
    let count = conditions.len();
    let joined = Value::cat_rows(conditions)?;
    let order: Vec<usize> = (0..rows * count)
        .map(|i| i % count * rows + i / count)
        .collect();
    Ok(joined.select_rows(&order))
}

/// Sums over dimension 1, which is dropped.
fn summed(value: &Value) -> Result<Value, Error> {
    let shape = value.shape();
    let [rows, channels, rest @ ..] = &shape[..] else {
        return Err(Error::input("--sum-channels: the input has no channels"));
    };
    let size: usize = rest.iter().product();
    let blocks = value.clone().reshape(&[*rows, *channels, size]);
    let sum = Value::from(blocks.tensor::<3>()?.sum_dim(1));
    Ok(sum.reshape(&[&[*rows], rest].concat()))
}

fn encoded(values: &[(String, Value)], path: &Path) -> Result<Vec<u8>, Error> {
    let safetensors = path.extension().is_some_and(|e| e == "safetensors");
    match values {
        [(_, value)] if !safetensors => output::npy(value),
        _ if !safetensors => Err(Error::input(format!(
            "--out {}: .npy holds one array, not {}; write a .safetensors file",
            path.display(),
            values.len()
        ))),
        _ => {
            let named: Vec<(&str, &Value)> = values.iter().map(|(n, v)| (&n[..], v)).collect();
            output::safetensors(&named)
        }
    }
}

fn check_outputs(arguments: &ConditionalArguments) -> Result<(), Error> {
    let mut paths = Vec::new();
    if let Some(out) = &arguments.out {
        paths.push(("--out", out.as_path(), &["npy", "safetensors"][..]));
    }
    if let Some(out) = &arguments.record_out {
        paths.push(("--record-out", out.as_path(), &["safetensors"][..]));
    }
    if let Some(image) = &arguments.image {
        paths.push(("--image", image.as_path(), &["png"][..]));
    }
    output::check(&paths, &read(&arguments.common))
}

/// The files that the command reads.
fn read(arguments: &RelevanceArguments) -> Vec<&Path> {
    let model = &arguments.model;
    let texts = [&model.input, &model.constant];
    let texts = texts.into_iter().flatten().chain(&arguments.target);
    // NAME=FILE, or a file alone, whose name may have an equals sign.
    let files = texts.flat_map(|text| [Some(&text[..]), text.split_once('=').map(|pair| pair.1)]);
    let files = files.flatten().map(Path::new);
    files.chain([model.model.as_path()]).collect()
}

/// A row's ranking, as JSON.
#[derive(Serialize)]
struct Ranked<'a> {
    row: usize,
    layer: &'a str,
    concepts: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    channel: usize,
    relevance: f32,
    share: f32,
    strongest: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    receptive_field: Option<Option<Vec<[usize; 2]>>>,
}

/// Ranks the channels of a layer.
fn concepts(arguments: &ConceptsArguments) -> Result<(), Error> {
    let given = arguments
        .condition
        .as_deref()
        .map(condition::parse)
        .transpose()?;
    let asked = Asked::new("crp", &arguments.common)?;
    let plain = Crp::new(asked.config.composite()?);
    let crp = plain.clone().with_conditions(given);
    let run = Run::new().with_budget(memory::budget(arguments.common.memory, &asked.model));
    let (layer, target) = (&arguments.layer[..], asked.target.clone());
    let rankings = crp.concepts_with(&asked.model, asked.values(), target.clone(), layer, &run)?;
    let tops: Vec<_> = rankings
        .iter()
        .map(|r: &ConceptRanking| r.top(arguments.top))
        .collect();
    // Channels differ between rows: each row's own are looked up one by one.
    let field = |row: usize, channel: usize| -> Result<Option<Region>, Error> {
        let one = asked.values().slice(row..row + 1).renumbered();
        let target = target.select(&[row]);
        let fields = plain.receptive_fields(&asked.model, &one, target, layer, &[channel])?;
        Ok(fields.into_iter().flatten().next().flatten())
    };
    let mut ranked = Vec::new();
    for (row, top) in tops.iter().enumerate() {
        let lines = top.iter().map(|concept| {
            let own = if arguments.receptive_fields {
                let field = field(row, concept.channel)?;
                Some(field.map(|ranges| ranges.iter().map(|r| [r.start, r.end]).collect()))
            } else {
                None
            };
            Ok(Line {
                channel: concept.channel,
                relevance: concept.relevance,
                share: concept.share,
                strongest: &concept.strongest,
                receptive_field: own,
            })
        });
        ranked.push(Ranked {
            row,
            layer,
            concepts: lines.collect::<Result<_, Error>>()?,
        });
    }
    if arguments.json {
        return json::print(&ranked);
    }
    let header = [
        "row",
        "channel",
        "relevance",
        "share",
        "strongest at",
        "sees",
    ];
    let columns = if arguments.receptive_fields { 6 } else { 5 };
    let mut lines = vec![header[..columns].iter().map(ToString::to_string).collect()];
    for ranked in &ranked {
        for line in &ranked.concepts {
            let sees = match &line.receptive_field {
                Some(Some(ranges)) => {
                    let ranges = ranges.iter().map(|[start, end]| format!("{start}..{end}"));
                    ranges.collect::<Vec<_>>().join(", ")
                }
                _ => "nothing".into(),
            };
            let mut cells = vec![
                ranked.row.to_string(),
                line.channel.to_string(),
                format!("{:+.6}", line.relevance),
                format!("{:+.1}%", 100.0 * line.share),
                condition::neuron(line.strongest),
                sees,
            ];
            cells.truncate(columns);
            lines.push(cells);
        }
    }
    print(&table(&lines, &[0, 1, 2, 3]))
}

/// Shows how concepts of several layers contribute to each other.
fn graph(arguments: &GraphArguments) -> Result<(), Error> {
    if let Some(dot) = &arguments.dot {
        output::check(&[("--dot", dot, &["dot", "gv"])], &read(&arguments.common))?;
    }
    let asked = Asked::new("crp", &arguments.common)?;
    let layers: Vec<&str> = arguments.layer.iter().map(String::as_str).collect();
    let first = asked.values().slice(0..1).renumbered();
    let target = asked.target.select(&[0]);
    let crp = Crp::new(asked.config.composite()?);
    let graph = crp.concept_graph(&asked.model, &first, target, &layers, arguments.top)?;
    if let Some(dot) = &arguments.dot {
        let mut outputs = Outputs::default();
        outputs.add(dot, graph.to_dot().into_bytes());
        outputs.write()?;
    }
    if arguments.json {
        return json::print(&graph);
    }
    let name = |node: usize| format!("{} {}", graph.nodes[node].layer, graph.nodes[node].channel);
    let header = ["concept", "contributes to", "relevance", "share"].map(String::from);
    let mut lines = vec![header.to_vec()];
    for edge in &graph.edges {
        lines.push(vec![
            name(edge.from),
            edge.to.map_or(format!("target {}", graph.target), name),
            format!("{:+.6}", edge.relevance),
            format!("{:+.1}%", 100.0 * edge.share),
        ]);
    }
    print(&table(&lines, &[2, 3]))
}
