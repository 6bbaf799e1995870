//! `attrx crp show`: the samples in which concepts are strongest, listed and drawn.

use std::collections::BTreeMap;

use attr_core::{Target, Traced, Values};
use attr_index::{Index, Mode, References, Sample, Statistics};
use attr_lrp_crp::{Concepts, Condition, Crp, LrpConfig, Mixed, channel_dim};
use attr_viz::{Drawing, Map, Opaque, Panel, Picture, Style, View};
use serde::Serialize;

use crate::args::{DataArguments, Look, ModeName, ModelArguments, ShowArguments};
use crate::data::{Row, Source};
use crate::error::Error;
use crate::layout::table;
use crate::model::{self, Opened};
use crate::output::{self, Outputs};
use crate::{json, picture, print};

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
    if let Some(image) = &arguments.image {
        let read = [&arguments.model, &arguments.data];
        let read: Vec<_> = read
            .into_iter()
            .flatten()
            .map(|path| path.as_path())
            .collect();
        output::check(&[("--image", image, &["png"])], &read)?;
    }
    let index = Index::open(&arguments.index)?;
    let (references, statistics) = (index.references()?, index.statistics()?);
    let samples = index.samples()?;
    let samples: BTreeMap<u64, &Sample> = samples.iter().map(|one| (one.number, one)).collect();
    let shown = shown(arguments, &references, &statistics, &samples)?;
    if let Some(path) = &arguments.image {
        let panel = Draw::new(arguments, &index)?.panel(&shown)?;
        let mut outputs = Outputs::default();
        outputs.add(path, picture::encode(&panel, path)?);
        outputs.write()?;
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
        if concept >= count {
            return Err(Error::input(format!(
                "--concept {concept}: layer {layer} has {count} channels, counted from 0"
            )));
        }
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

/// Draws references.
struct Draw<'a> {
    look: Look,
    source: Source,
    opened: Opened,
    model: Traced,
    composite: Mixed,
    layer: &'a str,
    mode: ModeName,
    receptive_field: bool,
}

impl<'a> Draw<'a> {
    /// Opens the model and the data set of the index.
    fn new(arguments: &'a ShowArguments, index: &Index) -> Result<Self, Error> {
        let run = index.run();
        let needed = || Error::input("--image takes --model and --data");
        let path = arguments.model.clone().ok_or_else(needed)?;
        let data = arguments.data.clone().ok_or_else(needed)?;
        let hash = model::hash(&path)?;
        if hash != run.model {
            return Err(Error::input(format!(
                "--model {}: the index was made with another model (SHA-256 {})",
                path.display(),
                run.model
            )));
        }
        let set = |name: &str| run.settings.get(name).filter(|value| !value.is_empty());
        let numbers = |name: &str| -> Vec<f32> {
            let texts = set(name).into_iter().flat_map(|text| text.split(','));
            texts.filter_map(|text| text.parse().ok()).collect()
        };
        let model_arguments = ModelArguments {
            model: path,
            output: set("output").cloned(),
            input: Vec::new(),
            constant: Vec::new(),
            size: set("size").cloned(),
            mean: numbers("mean"),
            std: numbers("std"),
            device: arguments.device,
            logits: set("logits").is_some_and(|value| value == "true"),
            quiet: arguments.quiet,
            verbose: false,
        };
        let data_arguments = DataArguments {
            data,
            labels: arguments.labels.clone(),
            image_column: set("image_column").cloned().unwrap_or_default(),
            label_column: set("label_column").cloned().unwrap_or_default(),
        };
        let opened = Opened::new(&model_arguments)?;
        let source = Source::open(&data_arguments, &model_arguments, opened.ports())?;
        if source.data.fingerprint() != run.data {
            return Err(Error::input(format!(
                "--data {}: the index was made from other data; it had {} samples",
                data_arguments.data.display(),
                run.samples
            )));
        }
        let example = source.example()?.array;
        let example = source.upload(vec![example], &opened.device)?;
        let model = opened.trace(&model_arguments, &Values::new(vec![example], vec![true]))?;
        let config = set("lrp").map_or("{}", String::as_str);
        let config: LrpConfig = serde_json::from_str(config)
            .map_err(|error| Error::input(format!("run.json: lrp: {error}")))?;
        Ok(Self {
            look: arguments.view,
            source,
            opened,
            model,
            composite: config.composite()?,
            layer: &arguments.layer,
            mode: arguments.mode,
            receptive_field: arguments.receptive_field,
        })
    }

    /// A row for each concept, a column for each rank.
    fn panel(&self, shown: &[Shown<'_>]) -> Result<Panel, Error> {
        let ranks = shown.iter().map(|concept| concept.references.len());
        // All rows of a panel are as long as the shortest.
        let ranks = ranks.min().unwrap_or_default();
        let mut panel = Panel::new((0..ranks).map(|rank| format!("{}", rank + 1)));
        for concept in shown {
            let drawings = concept.references[..ranks].iter();
            let drawings = drawings.map(|one| self.drawing(concept.concept, one));
            let label = match concept.mean {
                Some(mean) => format!("concept {}\nmean {mean:.4}", concept.concept),
                None => format!("concept {}", concept.concept),
            };
            panel.row(label, drawings.collect::<Result<_, _>>()?)?;
        }
        Ok(panel.with_cell(128))
    }

    fn drawing(&self, concept: usize, reference: &Named<'_>) -> Result<Drawing, Error> {
        let row = self.source.one(reference.sample)?;
        let Row { array, picture } = row;
        let value = self.source.upload(vec![array], &self.opened.device)?;
        let values = Values::new(vec![value.clone()], vec![true]);
        let (input, _) = picture::channels_first(&value)?;
        let original = match picture {
            Some(picture) => Some(picture),
            None => picture::original(None, &input, 0, true)?,
        };
        let no_picture = || Error::input("--image: samples of this shape are no pictures");
        let original: Picture = original.ok_or_else(no_picture)?;
        let style = Style::default();
        let map = self.map(&values, concept, reference)?;
        let shown = match self.look {
            Look::Sample => return Ok(View::Original.draw(&map, Some(&original), &style)?),
            Look::Heatmap => return Ok(View::HeatMap.draw(&map, None, &style)?),
            Look::Opaque => false,
            Look::Crop => true,
        };
        let (width, height) = map.size();
        // The window must fit into the picture.
        let kernel_size = Opaque::default()
            .kernel_size
            .min((width.min(height) / 4) * 2 + 1);
        let how = Opaque {
            crop: shown,
            kernel_size,
            ..Opaque::default()
        };
        let picture = original.opaque(&map, &how)?;
        let (width, height) = picture.size();
        let blank = Map::new(vec![0.0; width * height], width, height)?;
        Ok(View::Original.draw(&blank, Some(&picture), &style)?)
    }

    /// Where a channel sees what it sees: its relevance for the class, or from its activation.
    fn map(&self, values: &Values, concept: usize, reference: &Named<'_>) -> Result<Map, Error> {
        let concepts = if self.receptive_field {
            let strongest = self.neuron(values, concept, reference.neuron)?;
            Concepts::Neurons(vec![strongest])
        } else {
            Concepts::from([concept])
        };
        let condition = Condition::at(self.layer, concepts);
        let mut crp = Crp::new(self.composite.clone()).with_condition(condition);
        let target = match (self.mode, reference.target) {
            (ModeName::Relevance, Some(target)) => Target::Class(target),
            _ => {
                crp = crp.starting_at(self.layer);
                Target::Predicted
            }
        };
        let found = crp.attribute(&self.model, values, target)?;
        let map = found.maps().first().and_then(|map| map.values()[0].clone());
        let map = map.ok_or_else(|| Error::input("--image: the input gets no relevance"))?;
        let (map, _) = picture::channels_first(&map)?;
        Ok(Map::from_value(&map, 0)?)
    }

    /// The index of a channel's neuron in the layer's output, from its place among all positions.
    fn neuron(&self, values: &Values, channel: usize, place: usize) -> Result<Vec<usize>, Error> {
        let found = self.model.activations(values, &[self.layer])?;
        let shape = found.first().map(|value| value.shape()).unwrap_or_default();
        let plan = self.model.plan(&self.composite, values)?;
        let dim = channel_dim(plan.node(self.layer)?, shape.len());
        let mut index = vec![0; shape.len()];
        let mut rest = place;
        for at in (1..shape.len()).rev() {
            if at == dim {
                index[at] = channel;
            } else {
                index[at] = rest % shape[at];
                rest /= shape[at];
            }
        }
        Ok(index.split_off(1))
    }
}
