//! The meanings of a channel that stands for several things.

use attr_core::walk::Composite;
use attr_core::{Inputs, Model, Run, Target};
use attr_lrp_crp::{Condition, Crp};
use nalgebra::DMatrix;

use crate::Error;
use crate::groups::distance;
use crate::groups::kmeans::Groups;

/// Splits a channel that stands for several things into parts with one meaning each, by what activates it
/// (PURE, Dreyer et al., 2024, <https://arxiv.org/abs/2404.06453>).
///
/// In each of the samples in which the channel is most active, its activation is passed back to the channels
/// of a lower layer by the rules of a composite. The fractions that they receive are the sample's circuit;
/// circuits are sorted by k-means. Each group is a part, a virtual neuron.
///
/// The paper takes gradient times activation, which is what the composite
/// [`epsilon`](attr_lrp_crp::epsilon) gives in networks of linear layers and ReLUs.
#[derive(Clone, Debug)]
pub struct ChannelSplit<C> {
    composite: C,
    layer: String,
    channel: usize,
    lower: String,
    parts: usize,
    n_init: usize,
    seed: u64,
}

impl<C: Composite + Clone> ChannelSplit<C> {
    /// Creates a split of a layer's channel by the channels of a lower layer: into 2 parts, by the best of
    /// 20 starts of k-means (the authors' numbers).
    pub fn new(
        composite: C,
        layer: impl Into<String>,
        channel: usize,
        lower: impl Into<String>,
    ) -> Self {
        Self {
            composite,
            layer: layer.into(),
            channel,
            lower: lower.into(),
            parts: 2,
            n_init: 20,
            seed: 0,
        }
    }

    /// Sets the number of parts, from 2.
    pub fn with_parts(mut self, parts: usize) -> Self {
        self.parts = parts;
        self
    }

    /// Sets how often k-means starts.
    pub fn with_n_init(mut self, n_init: usize) -> Self {
        self.n_init = n_init;
        self
    }

    /// Sets the seed of k-means (default: 0).
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// What activates the channel in each row: for each channel of the lower layer, its fraction of
    /// `Σ|relevance|`. One forward pass and one walk back per row.
    ///
    /// # Errors
    /// As [`Crp::concepts`], such as [`attr_core::Error::UnknownLayer`], and
    /// [`attr_core::Error::Layer`] for a lower layer that does not lie before the layer, or a channel that
    /// it does not have.
    pub fn circuits<I: Inputs>(
        &self,
        model: &impl Model<I>,
        inputs: &I,
        run: &Run<'_>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let crp = Crp::new(self.composite.clone())
            .with_condition(Condition::at(&self.layer, self.channel))
            .starting_at(&self.layer);
        let found = crp.concepts_with(model, inputs, Target::Predicted, &self.lower, run)?;
        let circuits = found.into_iter().map(|ranking| {
            let mut circuit = vec![0.0; ranking.concepts.len()];
            for concept in ranking.concepts {
                circuit[concept.channel] = concept.share;
            }
            circuit
        });
        Ok(circuits.collect())
    }

    /// Sorts circuits into parts.
    ///
    /// # Errors
    /// [`Error::Parameter`] for fewer than 2 parts; [`Error::Groups`] for circuits of several lengths or
    /// fewer than parts, and for NaN or infinity.
    pub fn split(&self, circuits: &[Vec<f32>]) -> Result<Split, Error> {
        if self.parts < 2 {
            return Err(Error::Parameter {
                name: "parts",
                value: self.parts.to_string(),
                expected: "at least 2",
            });
        }
        if circuits.len() < self.parts {
            return Err(Error::Groups(format!(
                "there are {} samples for {} parts",
                circuits.len(),
                self.parts
            )));
        }
        let channels = circuits[0].len();
        if circuits.iter().any(|circuit| circuit.len() != channels) {
            return Err(Error::Groups("circuits are of several lengths".into()));
        }
        let values = circuits.iter().flatten().copied().map(f64::from);
        let rows = DMatrix::from_row_iterator(circuits.len(), channels, values);
        let groups = Groups::of(&rows, self.parts, self.n_init, self.seed)?;
        let parts = (0..groups.count()).map(|part| Part {
            members: groups.members(&rows, part),
            circuit: groups.centroids.row(part).iter().copied().collect(),
        });
        Ok(Split {
            parts: parts.collect(),
            silhouette: silhouette(&rows, &groups),
        })
    }
}

/// A channel in parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    parts: Vec<Part>,
    silhouette: f64,
}

/// A virtual neuron: one meaning of a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The rows that show it, the most central first.
    pub members: Vec<usize>,
    /// The mean circuit: how much each channel of the lower layer activates it.
    pub circuit: Vec<f64>,
}

impl Split {
    /// The parts, that with the most rows first; fewer than asked for if there are fewer different circuits.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// How well parts are separated, from -1 to 1: the mean over all rows of `(b - a) / max(a, b)`, where `a` is
    /// the mean distance to other rows of its part and `b` that to the rows of the nearest other part
    /// (Rousseeuw, 1987). Below about 0.25 there is hardly more than one meaning; 0 for a single part.
    pub fn silhouette(&self) -> f64 {
        self.silhouette
    }

    /// The part of another sample, by its circuit: the one with the nearest mean.
    pub fn part_of(&self, circuit: &[f32]) -> Option<usize> {
        let circuit: Vec<f64> = circuit.iter().copied().map(f64::from).collect();
        let all = self.parts.iter().enumerate();
        let all = all.filter(|(_, part)| part.circuit.len() == circuit.len());
        let all = all.map(|(at, part)| (distance(&circuit, &part.circuit), at));
        all.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at)| at)
    }
}

fn silhouette(rows: &DMatrix<f64>, groups: &Groups) -> f64 {
    if groups.count() < 2 {
        return 0.0;
    }
    let mut sum = 0.0;
    for (row, &own) in groups.labels.iter().enumerate() {
        let (mut sums, mut counts) = (vec![0.0; groups.count()], vec![0usize; groups.count()]);
        for (other, &label) in groups.labels.iter().enumerate() {
            if other != row {
                sums[label] += distance(rows.row(row).iter(), rows.row(other).iter()).sqrt();
                counts[label] += 1;
            }
        }
        // A part of one row says nothing.
        if counts[own] == 0 {
            continue;
        }
        let mean = |group: usize| sums[group] / counts[group] as f64;
        let others = (0..groups.count()).filter(|&group| group != own);
        let nearest = others.map(mean).fold(f64::INFINITY, f64::min);
        let largest = mean(own).max(nearest);
        if largest > 0.0 {
            sum += (nearest - mean(own)) / largest;
        }
    }
    sum / groups.labels.len() as f64
}

#[cfg(test)]
mod tests {
    use attr_core::Traced;
    use attr_lrp_crp::epsilon;
    use burn::module::Param;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, Tensor, activation};

    use super::*;

    /// A channel that adds up two lower channels, which look at one input each.
    fn model(device: &Device) -> (Traced, [String; 2]) {
        let linear = |weights: [[f32; 2]; 2]| -> Linear {
            let mut linear = LinearConfig::new(2, 2).with_bias(false).init(device);
            linear.weight = Param::from_tensor(Tensor::from_data(weights, device));
            linear
        };
        let layers = [
            linear([[1.0, 0.0], [0.0, 1.0]]),
            linear([[1.0, 0.5], [1.0, -0.5]]),
        ];
        let forward = |layers: &Vec<Linear>, x: Tensor<2>| {
            let lower = activation::relu(layers[0].forward(x));
            activation::relu(layers[1].forward(lower))
        };
        let example = Tensor::<2>::ones([1, 2], device);
        let model = Traced::new(&layers.to_vec(), forward, &example).unwrap();
        let relus: Vec<String> = model
            .layers()
            .iter()
            .map(|layer| layer.name.clone())
            .filter(|name| name.contains("relu"))
            .collect();
        let [lower, upper] = &relus[..] else {
            panic!("{relus:?}");
        };
        let names = [lower.clone(), upper.clone()];
        (model, names)
    }

    #[test]
    fn a_channel_with_two_meanings_is_split_by_its_circuits() {
        let device = Device::default();
        let (model, [lower, upper]) = model(&device);
        let rows = [[3.0, 0.0], [0.0, 2.0], [4.0, 0.2], [0.1, 5.0], [6.0, 0.0]];
        let inputs = Tensor::<2>::from_data(rows, &device);
        let split = ChannelSplit::new(epsilon(), upper.as_str(), 0, lower.as_str());
        let circuits = split.circuits(&model, &inputs, &Run::new()).unwrap();
        // The channel is the sum of both lower ones: fractions are those of their activations.
        for (circuit, row) in circuits.iter().zip(rows) {
            let sum: f32 = row.iter().sum();
            assert!((circuit[0] - row[0] / sum).abs() < 1e-4, "{circuit:?}");
            assert!((circuit[1] - row[1] / sum).abs() < 1e-4, "{circuit:?}");
        }
        let found = split.split(&circuits).unwrap();
        let [many, few] = found.parts() else {
            panic!("{found:?}");
        };
        let sorted = |part: &Part| {
            let mut members = part.members.clone();
            members.sort_unstable();
            members
        };
        assert_eq!((sorted(many), sorted(few)), (vec![0, 2, 4], vec![1, 3]));
        assert!(many.circuit[0] > 0.95 && few.circuit[1] > 0.95);
        assert!(found.silhouette() > 0.9);
        assert_eq!(found.part_of(&[0.2, 0.8]), Some(1));
        assert_eq!(found.part_of(&[0.2]), None);
    }

    #[test]
    fn the_silhouette_is_that_of_its_definition() {
        // 0 and 1 against 4: a = 1, 1; b = 4, 3; the single row counts 0.
        let rows = DMatrix::from_column_slice(3, 1, &[0.0, 1.0, 4.0]);
        let groups = Groups::of(&rows, 2, 5, 0).unwrap();
        let expected = (3.0 / 4.0 + 2.0 / 3.0) / 3.0;
        assert!((silhouette(&rows, &groups) - expected).abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_split_is_refused() {
        let device = Device::default();
        let (model, [lower, upper]) = model(&device);
        let split = |parts| ChannelSplit::new(epsilon(), "a", 0, "b").with_parts(parts);
        let rows = [vec![1.0, 0.0], vec![0.0, 1.0]];
        assert!(matches!(
            split(1).split(&rows),
            Err(Error::Parameter { .. })
        ));
        assert!(matches!(split(3).split(&rows), Err(Error::Groups(_))));
        let uneven = [vec![1.0], vec![0.0, 1.0]];
        assert!(matches!(split(2).split(&uneven), Err(Error::Groups(_))));
        let inputs = Tensor::<2>::ones([1, 2], &device);
        // The lower layer lies behind the layer; the channel does not exist.
        for (layer, channel, before) in [(&lower, 0, &upper), (&upper, 2, &lower)] {
            let split = ChannelSplit::new(epsilon(), layer.as_str(), channel, before.as_str());
            let found = split.circuits(&model, &inputs, &Run::new());
            assert!(matches!(found, Err(Error::Core(_))), "{found:?}");
        }
    }
}
