//! How much each concept of a layer contributes.

use std::fmt;
use std::ops::Range;

use attr_core::build::ask;
use attr_core::walk::Composite;
use attr_core::{Error, Inputs, Model, Run, Target, Value};
use serde::Serialize;

use super::condition::channel_dim;
use super::{Concepts, Condition, Crp};
use crate::canonized;

/// The channels of one layer, ranked by how much they contribute to the target of one row.
///
/// Prints as a table of the strongest ten.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConceptRanking {
    /// The layer.
    pub layer: String,
    /// All channels, the largest relevance first.
    pub concepts: Vec<Concept>,
}

/// The contribution of one channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Concept {
    /// The channel's number.
    pub channel: usize,
    /// The sum of the relevance at all positions.
    pub relevance: f32,
    /// The same as a fraction of the sum of all channels' absolute relevance: zennit-crp's relative
    /// importance. Negative for channels that oppose the target.
    pub share: f32,
    /// The index of the neuron with the largest relevance, in the layer's output without the batch.
    pub strongest: Vec<usize>,
}

/// A box in an input: a range for each dimension after the batch.
pub type Region = Vec<Range<usize>>;

impl ConceptRanking {
    /// Ranks the channels of one row's relevance, whose shape has no batch; `dim` is their
    /// dimension there.
    pub(super) fn of(layer: &str, relevance: &[f32], shape: &[usize], dim: usize) -> Self {
        let after: usize = shape[dim + 1..].iter().product();
        let count = shape[dim];
        let mut sums = vec![0f64; count];
        let mut strongest: Vec<Option<(usize, f32)>> = vec![None; count];
        for (flat, &value) in relevance.iter().enumerate() {
            let channel = flat / after % count;
            sums[channel] += f64::from(value);
            if strongest[channel].is_none_or(|(_, most)| value > most) {
                strongest[channel] = Some((flat, value));
            }
        }
        // zennit-crp adds this small number, too.
        let total = sums.iter().map(|sum| sum.abs()).sum::<f64>() + 1e-10;
        let concepts = sums.iter().zip(strongest).enumerate();
        let mut concepts: Vec<Concept> = concepts
            .map(|(channel, (&sum, strongest))| Concept {
                channel,
                relevance: sum as f32,
                share: (sum / total) as f32,
                strongest: index(strongest.map_or(0, |(flat, _)| flat), shape),
            })
            .collect();
        concepts.sort_by(|a, b| b.relevance.total_cmp(&a.relevance));
        Self {
            layer: layer.into(),
            concepts,
        }
    }

    /// Returns the `count` channels with the largest absolute relevance, the largest first.
    pub fn top(&self, count: usize) -> Vec<&Concept> {
        let mut all: Vec<&Concept> = self.concepts.iter().collect();
        all.sort_by(|a, b| b.relevance.abs().total_cmp(&a.relevance.abs()));
        all.truncate(count);
        all
    }
}

impl fmt::Display for ConceptRanking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>8} {:>12} {:>8}  strongest at",
            self.layer, "relevance", "share"
        )?;
        for concept in self.top(10) {
            writeln!(
                f,
                "{:>8} {:>+12.5} {:>+7.1}%  {:?}",
                concept.channel,
                concept.relevance,
                100.0 * concept.share,
                concept.strongest
            )?;
        }
        Ok(())
    }
}

/// Returns the index that a flat position stands for.
fn index(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (at, &size) in index.iter_mut().zip(shape).rev() {
        (*at, flat) = (flat % size, flat / size);
    }
    index
}

impl<C: Composite + Clone> Crp<C> {
    /// Ranks the channels of a layer by their relevance, for each row: the sums over positions. With
    /// a condition, under that condition.
    ///
    /// # Errors
    /// As [`attribute`](Self::attribute); [`Error::Method`] for several conditions; [`Error::Layer`]
    /// for a condition on a layer that does not lie behind the ranked one.
    pub fn concepts<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
        layer: &str,
    ) -> Result<Vec<ConceptRanking>, Error> {
        self.concepts_with(model, inputs, target, layer, &Run::new())
    }

    /// As [`concepts`](Self::concepts), with a memory budget and progress reports.
    ///
    /// # Errors
    /// As [`concepts`](Self::concepts).
    pub fn concepts_with<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
        layer: &str,
        run: &Run<'_>,
    ) -> Result<Vec<ConceptRanking>, Error> {
        if self.conditions.len() > 1 {
            return Err(Error::Method {
                method: "the ranking of concepts",
                reason: "there are several conditions; rank under one at a time".into(),
            });
        }
        ask(model, inputs, &[target.into()], run, |question, _| {
            for condition in &self.conditions {
                for (above, _) in &condition.layers {
                    self.check_order(question, &[above, layer])?;
                }
            }
            let found = self.explain(question, &[layer.to_string()])?.into_iter();
            let relevance = found.flat_map(|found| found.layers).next();
            let relevance = relevance.ok_or(Error::Internal("nothing was recorded"))?;
            let dim = self.dim(question, layer, relevance.shape().len())?;
            rankings(layer, &relevance, dim)
        })
    }

    /// Returns, for each row and each of `channels`, the part of the first input that the channel's
    /// strongest neuron sees: one range per dimension after the batch, where its own map is not
    /// zero; `None` where the map is zero everywhere.
    ///
    /// # Errors
    /// As [`concepts`](Self::concepts).
    pub fn receptive_fields<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        target: impl Into<Target>,
        layer: &str,
        channels: &[usize],
    ) -> Result<Vec<Vec<Option<Region>>>, Error> {
        let target = target.into();
        let rankings = self.concepts(model, inputs, target.clone(), layer)?;
        let mut fields: Vec<Vec<_>> = vec![Vec::new(); rankings.len()];
        for &channel in channels {
            // The strongest neuron differs between rows: one condition for each, of which each row
            // needs its own.
            let mut crp = Self {
                conditions: Vec::new(),
                ..self.clone().starting_at(layer)
            };
            for ranking in &rankings {
                let concept = ranking.concepts.iter().find(|c| c.channel == channel);
                let concept = concept.ok_or_else(|| Error::Layer {
                    name: layer.into(),
                    reason: format!("it has no channel {channel}"),
                })?;
                let neuron = Concepts::Neurons(vec![concept.strongest.clone()]);
                crp = crp.with_condition(Condition::at(layer, neuron));
            }
            let found = crp.attribute(model, inputs, target.clone())?;
            for (row, (fields, map)) in fields.iter_mut().zip(found.maps()).enumerate() {
                let map = map.values().first().cloned().flatten();
                let map = map.ok_or(Error::NoGradient { input: 0 })?;
                fields.push(bounding_box(&map.slice_rows(row..row + 1))?);
            }
        }
        Ok(fields)
    }

    /// Refuses layers that do not go from the output towards the input.
    pub(super) fn check_order(
        &self,
        question: &attr_core::Question<'_>,
        layers: &[&str],
    ) -> Result<(), Error> {
        let model = canonized(question.traced()?, self.fold);
        let question = question.about(&model, question.inputs().clone());
        let plan = question.plan(&self.composite)?;
        let position = |layer: &str| -> Result<Option<usize>, Error> {
            Ok(plan.node(layer)?.map(|node| node.position()))
        };
        for pair in layers.windows(2) {
            if position(pair[1])? >= position(pair[0])? {
                return Err(Error::Layer {
                    name: pair[1].into(),
                    reason: format!(
                        "it does not lie before {:?}; give layers from the output towards the input",
                        pair[0]
                    ),
                });
            }
        }
        Ok(())
    }

    /// The dimension of a layer's channels.
    pub(super) fn dim(
        &self,
        question: &attr_core::Question<'_>,
        layer: &str,
        rank: usize,
    ) -> Result<usize, Error> {
        let model = canonized(question.traced()?, self.fold);
        let question = question.about(&model, question.inputs().clone());
        let plan = question.plan(&self.composite)?;
        Ok(channel_dim(plan.node(layer)?, rank))
    }
}

/// Ranks the channels of each row of a layer's relevance.
pub(super) fn rankings(
    layer: &str,
    relevance: &Value,
    dim: usize,
) -> Result<Vec<ConceptRanking>, Error> {
    let shape = relevance.shape();
    let data = relevance.to_vec()?;
    let size: usize = shape[1..].iter().product();
    let rows = data.chunks(size.max(1));
    Ok(rows
        .map(|row| ConceptRanking::of(layer, row, &shape[1..], dim - 1))
        .collect())
}

/// Returns the smallest box around the elements of one row, `[1, ...]`, that are not zero: a range
/// for each dimension after the batch; `None` where all are zero.
///
/// # Errors
/// [`Error::Device`] when reading from the device fails.
pub fn bounding_box(row: &Value) -> Result<Option<Region>, Error> {
    let shape = row.shape();
    let data = row.to_vec()?;
    let mut found: Option<Region> = None;
    for (flat, _) in data.iter().enumerate().filter(|(_, value)| **value != 0.0) {
        let at = index(flat, &shape[1..]);
        match &mut found {
            None => found = Some(at.iter().map(|&i| i..i + 1).collect()),
            Some(ranges) => {
                for (range, i) in ranges.iter_mut().zip(at) {
                    *range = range.start.min(i)..range.end.max(i + 1);
                }
            }
        }
    }
    Ok(found)
}
