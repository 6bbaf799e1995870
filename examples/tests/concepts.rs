//! The reference samples of concepts in 500 digits and 500 scenes are those that zennit-crp finds.

use std::collections::HashMap;

use attr::Traced;
use attr::data::{Content, DataSet, Options};
use attr::index::{MaxTarget, Mode, Reference, ReferenceSearch, References, Strengths};
use attr::lrp::epsilon_plus_flat;
use attr::viz::Picture;
use attr_examples::scenes::{Confounder, HELD_OUT, SIZE, Scenes, ScenesNet, write_folder};
use attr_examples::{Digits, DigitsNet};
use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;

/// zennit-crp 0.6.0's results; `tools/concepts/references.py` writes them.
#[derive(Deserialize)]
struct Case {
    data: String,
    max_target: MaxTarget,
    abs_norm: bool,
    layers: HashMap<String, HashMap<Mode, Lists>>,
}

#[derive(Deserialize)]
struct Lists {
    all: List,
    targets: Vec<List>,
}

/// `[rank][concept]`.
#[derive(Deserialize)]
struct List {
    samples: Vec<Vec<u64>>,
    scores: Vec<Vec<f32>>,
    /// -1 where the largest value is at several positions.
    neurons: Vec<Vec<i64>>,
}

const COUNT: usize = 500;
const BATCH: usize = 32;

/// The network of the digits, and the first digits.
fn digits(device: &Device) -> (Traced, Tensor<4>, Vec<usize>) {
    let (images, labels) = Digits::load()
        .unwrap()
        .batch(&Vec::from_iter(0..COUNT), device);
    let net = DigitsNet::trained(device).unwrap();
    let model = Traced::new(&net, |net: &DigitsNet, x| net.forward(x), &images).unwrap();
    let labels = labels.into_data();
    let labels = labels.iter::<i64>().map(|label| label as usize);
    (model, images, labels.collect())
}

/// The network of the scenes, and a folder of scenes as it is read from disk.
fn scenes(device: &Device) -> (Traced, Tensor<4>, Vec<usize>) {
    let folder = tempfile::tempdir().unwrap();
    write_folder(
        folder.path(),
        Scenes::new(HELD_OUT),
        COUNT,
        Confounder::AsTrained,
    )
    .unwrap();
    let data = DataSet::open(folder.path(), &Options::default()).unwrap();
    assert_eq!(data.len(), COUNT as u64);
    assert_eq!(data.classes()[2], "2-triangle");
    let (mut levels, mut labels) = (Vec::new(), Vec::new());
    for sample in data.samples(0..data.len()) {
        let sample = sample.unwrap();
        let Content::Encoded(bytes) = &sample.content else {
            panic!("{sample:?}");
        };
        levels.extend(Picture::decode(bytes).unwrap().channels(3).unwrap());
        labels.push(sample.label.unwrap());
    }
    let images = TensorData::new(levels, [COUNT, 3, SIZE, SIZE]);
    let images = Tensor::from_data(images, device);
    let net = ScenesNet::trained(device).unwrap();
    let model = Traced::new(&net, |net: &ScenesNet, x| net.forward(x), &images).unwrap();
    (model, images, labels)
}

fn measured(case: &Case, model: &Traced, images: &Tensor<4>, labels: &[usize]) -> Vec<Strengths> {
    let layers: Vec<&str> = case.layers.keys().map(String::as_str).collect();
    let search = ReferenceSearch::new(epsilon_plus_flat(), layers)
        .with_max_target(case.max_target)
        .with_abs_norm(case.abs_norm);
    let batch = |start: usize| {
        let rows = start..COUNT.min(start + BATCH);
        let samples: Vec<u64> = rows.clone().map(|row| row as u64).collect();
        let own = images.clone().narrow(0, start, rows.len());
        search
            .measure(model, &own, &samples, labels[rows].to_vec())
            .unwrap()
    };
    (0..COUNT).step_by(BATCH).map(batch).collect()
}

/// How many references were compared.
#[derive(Debug, Default)]
struct Compared {
    all: usize,
    /// Those that are no weaker or stronger than a neighbour only by rounding: for these zennit-crp's
    /// order is that of its sorting algorithm, ours that of sample numbers.
    tied: usize,
    /// Those that are not tied, and of the same sample.
    same: usize,
}

impl Compared {
    /// Compares a concept's list.
    fn add(
        &mut self,
        what: &str,
        got: &[Reference],
        expected: &List,
        concept: usize,
        largest: f32,
    ) {
        let ranks = expected.samples.len();
        assert!(got.len() >= ranks, "{what}: {} samples", got.len());
        for (rank, samples) in expected.samples.iter().enumerate() {
            let (got, score) = (&got[rank], expected.scores[rank][concept]);
            let close = |other: f32, tolerance: f32| (other - score).abs() <= tolerance * largest;
            assert!(
                close(got.score, 1e-4),
                "{what}, rank {rank}: {} instead of {score}",
                got.score
            );
            let neighbours = rank.saturating_sub(1)..ranks.min(rank + 2);
            let neighbours = neighbours.filter(|&other| other != rank);
            let tied = |other: usize| close(expected.scores[other][concept], 1e-5);
            self.all += 1;
            if neighbours.clone().any(tied) {
                self.tied += 1;
                continue;
            }
            // The last one may be tied with one behind.
            let last = rank + 1 == ranks;
            let same = got.sample == samples[concept];
            assert!(same || last, "{what}, rank {rank}: sample {}", got.sample);
            let neuron = expected.neurons[rank][concept];
            let same_neuron = neuron == -1 || neuron == got.neuron as i64;
            assert!(
                !same || same_neuron,
                "{what}, rank {rank}: neuron {}",
                got.neuron
            );
            self.same += usize::from(same);
        }
    }
}

#[test]
fn zennit_crps_reference_samples_of_digits_and_scenes_are_found() {
    let device = Device::default();
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let text = std::fs::read_to_string(format!("{here}/tests/references.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    let mut sets = HashMap::from([("digits", digits(&device)), ("scenes", scenes(&device))]);
    let mut compared = Compared::default();
    for case in &cases {
        let (model, images, labels) = sets.get_mut(&case.data[..]).unwrap();
        let mut found = References::new();
        for strengths in measured(case, model, images, labels) {
            found.add(&strengths);
        }
        for (layer, modes) in &case.layers {
            for (&mode, lists) in modes {
                let scores = lists.all.scores.iter().flatten();
                let largest = scores.fold(0.0_f32, |most, score| most.max(score.abs()));
                for concept in 0..lists.all.samples[0].len() {
                    let what = format!("{}, {layer}, {mode:?}, concept {concept}", case.data);
                    let all = found.of(layer, mode, concept);
                    compared.add(&what, all, &lists.all, concept, largest);
                    for (target, list) in lists.targets.iter().enumerate() {
                        let what = format!("{what}, class {target}");
                        let own = found.of_target(layer, mode, concept, target);
                        compared.add(&what, own, list, concept, largest);
                    }
                }
            }
        }
    }
    // Concepts that are weak in all samples are tied; the last of a list may be, unseen.
    assert!(compared.tied * 10 < compared.all, "{compared:?}");
    let decided = compared.all - compared.tied;
    assert!(compared.same * 1000 >= decided * 999, "{compared:?}");
}
