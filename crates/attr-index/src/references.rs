//! Tables of the samples in which concepts are strongest, and how tables are merged.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::strengths::Key;
use crate::{Error, Mode, Strengths};

/// A sample in which a concept is strong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The number of the sample in the data set.
    pub sample: u64,
    /// The class that was explained; `None` where a table of another program does not tell.
    pub target: Option<usize>,
    /// How strong the concept is.
    pub score: f32,
    /// The concept's neuron with the largest value: its place in row-major order among all positions
    /// of the layer's output, that is, its dimensions without the batch and the channels.
    pub neuron: usize,
}

impl Reference {
    /// The stronger comes first; among equals the lower sample, then the lower class.
    fn order(&self, other: &Self) -> Ordering {
        let by_score = other.score.total_cmp(&self.score);
        let by_number = || (self.sample, self.target).cmp(&(other.sample, other.target));
        by_score.then_with(by_number)
    }
}

/// For each concept of some layers, the samples in which it is strongest: of all classes together,
/// and of each class.
///
/// Tables of parts of a data set [merge](Self::merge) into that of the whole: in any order, with
/// parts that overlap, the result is the same.
#[derive(Clone, Debug, PartialEq)]
pub struct References {
    sample_size: usize,
    each_target: bool,
    /// Per concept, its references in order.
    lists: BTreeMap<Key, Vec<Vec<Reference>>>,
}

impl References {
    /// Creates an empty table of up to 40 samples for each concept, among all classes and in each
    /// (zennit-crp's numbers).
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many samples are kept for each concept. Call it before adding samples.
    pub fn with_sample_size(mut self, sample_size: usize) -> Self {
        self.sample_size = sample_size;
        self
    }

    /// Sets whether the strongest samples of each class are kept, too. They take as much memory again
    /// for each class. Call it before adding samples.
    pub fn with_each_target(mut self, each_target: bool) -> Self {
        self.each_target = each_target;
        self
    }

    /// The most samples that are kept for a concept.
    pub fn sample_size(&self) -> usize {
        self.sample_size
    }

    /// The layers, in the order of their names.
    pub fn layers(&self) -> Vec<&str> {
        let mut layers: Vec<&str> = self.lists.keys().map(|key| key.layer.as_str()).collect();
        layers.dedup();
        layers
    }

    /// The number of a layer's concepts; 0 for a layer that is not in the table.
    pub fn concepts(&self, layer: &str) -> usize {
        let own = self.lists.iter().find(|(key, _)| key.layer == layer);
        own.map_or(0, |(_, concepts)| concepts.len())
    }

    /// The classes of which there are samples, in order.
    pub fn targets(&self) -> Vec<usize> {
        let mut targets: Vec<usize> = self.lists.keys().filter_map(|key| key.class).collect();
        targets.sort_unstable();
        targets.dedup();
        targets
    }

    /// The samples in which a concept is strongest, the strongest first; none for a concept that is
    /// not in the table.
    pub fn of(&self, layer: &str, mode: Mode, concept: usize) -> &[Reference] {
        self.list(layer, mode, None, concept)
    }

    /// As [`of`](Self::of), among the samples of one class.
    pub fn of_target(
        &self,
        layer: &str,
        mode: Mode,
        concept: usize,
        target: usize,
    ) -> &[Reference] {
        self.list(layer, mode, Some(target), concept)
    }

    fn list(&self, layer: &str, mode: Mode, class: Option<usize>, concept: usize) -> &[Reference] {
        let key = Key {
            layer: layer.into(),
            mode,
            class,
        };
        let concepts = self.lists.get(&key);
        concepts
            .and_then(|concepts| concepts.get(concept))
            .map_or(&[], Vec::as_slice)
    }

    /// The classes in which a concept is strongest, the strongest first: each with the mean score of
    /// the first `mean_n` samples of its class, as zennit-crp's `compute_stats` has it.
    pub fn strongest_targets(
        &self,
        layer: &str,
        mode: Mode,
        concept: usize,
        mean_n: usize,
    ) -> Vec<(usize, f32)> {
        let mean = |target: usize| {
            let all = self.of_target(layer, mode, concept, target);
            let first = &all[..mean_n.min(all.len())];
            let sum: f64 = first.iter().map(|one| f64::from(one.score)).sum();
            (!first.is_empty()).then(|| (target, (sum / first.len() as f64) as f32))
        };
        let mut means: Vec<(usize, f32)> = self.targets().into_iter().filter_map(mean).collect();
        means.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        means
    }

    /// Adds samples. Those whose strength is NaN or infinite are left out.
    pub fn add(&mut self, strengths: &Strengths) {
        let rows = strengths.samples.iter().zip(&strengths.targets);
        for layer in &strengths.layers {
            for ((&sample, &target), (scores, neurons)) in rows.clone().zip(layer.rows()) {
                for key in Key::of(layer, target, self.each_target) {
                    let lists = self.lists.entry(key).or_default();
                    lists.resize(lists.len().max(layer.concepts), Vec::new());
                    for ((list, &score), &neuron) in lists.iter_mut().zip(scores).zip(neurons) {
                        let reference = Reference {
                            sample,
                            target: Some(target),
                            score,
                            neuron,
                        };
                        if score.is_finite() {
                            insert(list, reference, layer.mode, self.sample_size);
                        }
                    }
                }
            }
        }
    }

    /// Adds the samples of another table.
    ///
    /// # Errors
    /// [`Error::Merge`] for a table of another `sample_size` or with another number of concepts in a
    /// layer; this one then stays as it is.
    pub fn merge(&mut self, other: Self) -> Result<(), Error> {
        if other.sample_size != self.sample_size {
            return Err(Error::Merge(format!(
                "one table keeps {} samples for each concept, the other {}; search both with the \
                 same sample size",
                self.sample_size, other.sample_size
            )));
        }
        for layer in other.layers() {
            let (own, others) = (self.concepts(layer), other.concepts(layer));
            if own != 0 && own != others {
                return Err(Error::Merge(format!(
                    "layer {layer:?} has {own} concepts in one table and {others} in the other; \
                     they are not of the same model"
                )));
            }
        }
        for (key, lists) in other.lists {
            let own = self.lists.entry(key.clone()).or_default();
            own.resize(own.len().max(lists.len()), Vec::new());
            for (own, list) in own.iter_mut().zip(lists) {
                for reference in list {
                    insert(own, reference, key.mode, self.sample_size);
                }
            }
        }
        Ok(())
    }

    /// Every list with the concept that it is of, in order.
    pub(crate) fn lists(&self) -> impl Iterator<Item = (&Key, usize, &[Reference])> + Clone {
        self.lists.iter().flat_map(|(key, lists)| {
            let lists = lists.iter().enumerate();
            lists.map(move |(concept, list)| (key, concept, list.as_slice()))
        })
    }

    /// The classes of a layer's lists by one mode: `None` for all.
    pub(crate) fn classes(&self, layer: &str, mode: Mode) -> Vec<Option<usize>> {
        let own = self
            .lists
            .keys()
            .filter(|key| key.layer == layer && key.mode == mode);
        own.map(|key| key.class).collect()
    }

    /// The lists of all concepts.
    pub(crate) fn concept_lists(&self, key: &Key) -> &[Vec<Reference>] {
        self.lists.get(key).map_or(&[], Vec::as_slice)
    }

    /// Makes room for concepts that may have no reference.
    pub(crate) fn reserve(&mut self, key: &Key, concepts: usize) {
        self.room(key, concepts);
    }

    /// Adds one reference to a list.
    pub(crate) fn insert(&mut self, key: &Key, concept: usize, reference: Reference) {
        let size = self.sample_size;
        let lists = self.room(key, concept + 1);
        insert(&mut lists[concept], reference, key.mode, size);
    }

    /// The lists of at least so many concepts.
    fn room(&mut self, key: &Key, concepts: usize) -> &mut Vec<Vec<Reference>> {
        let lists = self.lists.entry(key.clone()).or_default();
        lists.resize(lists.len().max(concepts), Vec::new());
        lists
    }
}

impl Default for References {
    fn default() -> Self {
        Self {
            sample_size: 40,
            each_target: true,
            lists: BTreeMap::new(),
        }
    }
}

/// Adds a reference to a list in order. A sample is in it once, or once for each class that it was
/// explained for; twice the same changes nothing.
fn insert(list: &mut Vec<Reference>, reference: Reference, mode: Mode, size: usize) {
    let same = |other: &Reference| {
        // An activation does not depend on the explained class.
        let target = mode == Mode::Activation || other.target == reference.target;
        other.sample == reference.sample && target
    };
    let before = |other: &Reference| other.order(&reference) == Ordering::Less;
    if list.len() >= size && list.last().is_some_and(before) {
        return;
    }
    if let Some(there) = list.iter().position(same) {
        if list[there] == reference || before(&list[there]) {
            return;
        }
        list.remove(there);
    }
    let place = list.partition_point(before);
    if place < size {
        list.insert(place, reference);
        list.truncate(size);
    }
}
