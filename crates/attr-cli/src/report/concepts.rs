//! Concepts of a layer that speak for a prediction, with their reference samples.

use std::collections::BTreeMap;

use attr_core::{Target, Value, Values};
use attr_index::{Index, References};
use attr_lrp_crp::{Condition, Crp};
use attr_viz::{Drawing, Map, Shown};

use crate::answers::Answers;
use crate::args::{GalleryArguments, Look, ReportArguments};
use crate::error::Error;
use crate::index::{Gallery, Shows, Subject, check_layer};
use crate::picture;

/// An index, and what is shown of it.
pub struct Concepts<'a> {
    arguments: &'a ReportArguments,
    references: References,
    layer: String,
    gallery: Gallery,
}

/// Maps of concepts, and the pictures of their references.
#[derive(Default)]
pub struct Found {
    /// Of each row.
    pub shown: Vec<Vec<Shown>>,
    /// By the names of concepts.
    pub references: BTreeMap<String, Vec<Drawing>>,
}

impl<'a> Concepts<'a> {
    /// Opens the index that the arguments name.
    pub fn open(arguments: &'a ReportArguments) -> Result<Option<Self>, Error> {
        let Some(path) = &arguments.index else {
            return Ok(None);
        };
        if arguments.question.neuron.is_some() {
            return Err(Error::input("--index explains classes; leave out --neuron"));
        }
        let index = Index::open(path)?;
        let layers = &index.run().layers;
        let last = layers.last().cloned().unwrap_or_default();
        let layer = arguments.concept_layer.clone().unwrap_or(last);
        check_layer("--concept-layer", &index, &layer)?;
        let model = &arguments.question.model;
        let gallery = GalleryArguments {
            image: None,
            view: Look::Opaque,
            model: Some(model.model.clone()),
            data: arguments.data.clone(),
            labels: arguments.data_labels.clone(),
            constant: model.constant.clone(),
            batch_dim: model.batch_dim.clone(),
            device: model.device,
        };
        Ok(Some(Self {
            arguments,
            references: index.references()?,
            gallery: Gallery::of(&gallery, &index)?,
            layer,
        }))
    }

    /// Finds the strongest concepts for the target of each row.
    pub fn of(&self, found: &[Answers]) -> Result<Found, Error> {
        let rows = found.first().map_or(0, |first| first.inputs.values.rows());
        let mut all = Found {
            shown: vec![Vec::new(); rows],
            references: BTreeMap::new(),
        };
        for answers in found {
            let some = answers.answers.iter().flatten().next();
            let Some(answer) = some else {
                continue;
            };
            for row in 0..rows {
                let target = answer.summary.targets.get(row);
                let target = target.and_then(|target| usize::try_from(target.as_u64()?).ok());
                let target = target.ok_or_else(|| {
                    Error::input("--index explains classes, and the target is none")
                })?;
                let name = answer.summary.target_of(row);
                let shown = self.row(answers, (row, target, &name), &mut all)?;
                all.shown[row].extend(shown);
            }
        }
        Ok(all)
    }

    /// The strongest concepts for the target of a row.
    fn row(
        &self,
        answers: &Answers,
        (row, target, name): (usize, usize, &str),
        all: &mut Found,
    ) -> Result<Vec<Shown>, Error> {
        let values = &answers.inputs.values;
        let own = values.values().iter();
        let own = own.map(|value| value.slice_rows(row..row + 1));
        let input = Values::new(own.collect(), answers.inputs.explained.clone());
        let model = &answers.model;
        let crp = Crp::new(self.gallery.composite.clone());
        let ranking = crp.concepts(model, &input, Target::Class(target), &self.layer)?;
        let ranking = ranking.into_iter().next();
        let ranking = ranking.ok_or_else(|| Error::other("a row without a ranking"))?;
        let top = ranking.top(self.arguments.concepts);
        let conditions = top
            .iter()
            .map(|concept| Condition::at(&self.layer, concept.channel));
        let crp = crp.with_conditions(conditions);
        if top.is_empty() {
            return Ok(Vec::new());
        }
        let found = crp.attribute(model, &input, Target::Class(target))?;
        let mut shown = Vec::new();
        for (concept, map) in top.into_iter().zip(found.maps()) {
            let (layer, channel) = (&self.layer, concept.channel);
            let title = format!(
                "concept {channel} of {layer} ({:+.1} %)",
                100.0 * concept.share
            );
            let key = format!("{layer}/{channel}");
            if !all.references.contains_key(&key) {
                let drawings = self.drawings(channel)?;
                all.references.insert(key.clone(), drawings);
            }
            let map: Option<&Value> = map.values()[values.first_explained()].as_ref();
            let one = match map.map(picture::channels_first).transpose()? {
                Some((map, _)) if map.shape().len() == 4 => {
                    Shown::map(title, name, &Map::from_value(&map, 0)?)
                }
                _ => Shown::error(title, name, "the input is no image"),
            };
            shown.push(one.with_references(key));
        }
        Ok(shown)
    }

    /// The samples in which a channel is most relevant, each with what it looks at.
    fn drawings(&self, channel: usize) -> Result<Vec<Drawing>, Error> {
        let references = self
            .references
            .of(&self.layer, attr_index::Mode::Relevance, channel);
        let references = references.iter().take(self.arguments.references);
        let drawings = references.map(|one| {
            self.gallery.drawing(&Shows {
                sample: one.sample,
                target: one.target,
                subject: Subject::Concept {
                    layer: &self.layer,
                    channel,
                    neuron: None,
                },
            })
        });
        drawings.collect()
    }
}
