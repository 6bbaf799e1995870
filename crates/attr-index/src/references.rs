//! Tables of the samples in which concepts are strongest, and how tables are merged.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use attr_core::Error;
use serde::{Deserialize, Serialize};

/// What a concept's strength is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Its relevance for the explained class.
    Relevance,
    /// Its activation.
    Activation,
}

/// A sample in which a concept is strong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The number of the sample in the data set.
    pub sample: u64,
    /// The class that was explained.
    pub target: usize,
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

/// Which samples a list ranks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    layer: String,
    mode: Mode,
    /// `None` for the samples of all classes.
    target: Option<usize>,
}

/// For each concept of some layers, the samples in which it is strongest: of all classes together,
/// and of each class.
///
/// Tables of parts of a data set [merge](Self::merge) into that of the whole: in any order, with
/// parts that overlap, the result is the same.
#[derive(Clone, Debug, PartialEq)]
pub struct References {
    sample_size: usize,
    /// Per concept, its references in order.
    lists: BTreeMap<Key, Vec<Vec<Reference>>>,
}

impl References {
    /// Creates an empty table of up to `sample_size` samples for each concept.
    pub(crate) fn new(sample_size: usize) -> Self {
        Self {
            sample_size,
            lists: BTreeMap::new(),
        }
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
        let mut targets: Vec<usize> = self.lists.keys().filter_map(|key| key.target).collect();
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

    fn list(&self, layer: &str, mode: Mode, target: Option<usize>, concept: usize) -> &[Reference] {
        let key = Key {
            layer: layer.into(),
            mode,
            target,
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

    /// Adds the samples of another table.
    ///
    /// # Errors
    /// [`Error::Method`] for a table of another `sample_size` or with another number of concepts in a
    /// layer; this one then stays as it is.
    pub fn merge(&mut self, other: Self) -> Result<(), Error> {
        let refused = |reason: String| {
            Err(Error::Method {
                method: "merging references",
                reason,
            })
        };
        if other.sample_size != self.sample_size {
            return refused(format!(
                "one table keeps {} samples for each concept, the other {}; search both with the \
                 same sample size",
                self.sample_size, other.sample_size
            ));
        }
        for layer in other.layers() {
            let (own, others) = (self.concepts(layer), other.concepts(layer));
            if own != 0 && own != others {
                return refused(format!(
                    "layer {layer:?} has {own} concepts in one table and {others} in the other; \
                     they are not of the same model"
                ));
            }
        }
        for (key, concepts) in other.lists {
            for (concept, references) in concepts.into_iter().enumerate() {
                let own = self.lists.entry(key.clone()).or_default();
                if own.len() == concept {
                    own.push(Vec::new());
                }
                for reference in references {
                    insert(&mut own[concept], reference, key.mode, self.sample_size);
                }
            }
        }
        Ok(())
    }

    /// Adds the strengths of a layer's concepts in one sample, each with its neuron.
    pub(crate) fn add(
        &mut self,
        layer: &str,
        mode: Mode,
        by_target: bool,
        (sample, target): (u64, usize),
        strengths: impl Iterator<Item = (f32, usize)> + Clone,
    ) {
        for target_of_list in [None, Some(target)]
            .into_iter()
            .take(1 + usize::from(by_target))
        {
            let key = Key {
                layer: layer.into(),
                mode,
                target: target_of_list,
            };
            let size = self.sample_size;
            let concepts = self.lists.entry(key).or_default();
            for (concept, (score, neuron)) in strengths.clone().enumerate() {
                if concepts.len() == concept {
                    concepts.push(Vec::new());
                }
                let reference = Reference {
                    sample,
                    target,
                    score,
                    neuron,
                };
                if !score.is_nan() {
                    insert(&mut concepts[concept], reference, mode, size);
                }
            }
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
