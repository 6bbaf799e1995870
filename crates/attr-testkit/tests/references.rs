//! Tests the search for the samples in which concepts are strongest: zennit-crp's results, merging,
//! errors.

use attr_core::{Budget, Error, Run, Target, Traced, Values};
use attr_index::{MaxTarget, Mode, Reference, ReferenceSearch, References, Statistics, Strengths};
use attr_lrp_crp::{Preset, epsilon_plus_flat};
use attr_onnx::OnnxModel;
use attr_testkit::device;
use attr_testkit::golden::path;
use burn::tensor::{Tensor, TensorData};
use npyz::NpyFile;
use serde::Deserialize;
use std::collections::HashMap;

/// zennit-crp 0.6.0's results; `tools/concepts/references.py` writes them.
#[derive(Deserialize)]
struct Case {
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

/// The file's name of a layer of the network.
fn named(layer: &str) -> &str {
    match layer {
        "fc" => "logits",
        other => other,
    }
}

/// The samples of a batch.
const BATCH: usize = 17;

pub fn scenes() -> (Traced, Tensor<4>, Vec<usize>) {
    let read = |name: &str| {
        let file = path("").join("../../../assets/scenes").join(name);
        NpyFile::new(std::io::BufReader::new(std::fs::File::open(file).unwrap())).unwrap()
    };
    let (images, labels) = (read("images.npy"), read("labels.npy"));
    let shape: Vec<usize> = images.shape().iter().map(|&size| size as usize).collect();
    let images = TensorData::new(images.into_vec::<f32>().unwrap(), shape);
    let images = Tensor::<4>::from_data(images, &device());
    let values = Values::new(vec![images.clone().into()], vec![true]);
    let file = path("").join("../../../assets/scenes/scenes.onnx");
    let model = OnnxModel::open(file, &device())
        .unwrap()
        .trace(&values, None)
        .unwrap();
    let labels = labels.into_vec::<i64>().unwrap().into_iter();
    (model, images, labels.map(|label| label as usize).collect())
}

/// The strengths in the scenes' parts.
fn parts(search: &ReferenceSearch<Preset>) -> Vec<Strengths> {
    let (model, images, labels) = scenes();
    let starts = (0..labels.len()).step_by(BATCH);
    let part = |start: usize| {
        let rows = start..labels.len().min(start + BATCH);
        let samples: Vec<u64> = rows.clone().map(|row| row as u64).collect();
        let own = labels[rows.clone()].to_vec();
        search
            .measure(
                &model,
                &images.clone().narrow(0, start, rows.len()),
                &samples,
                own,
            )
            .unwrap()
    };
    starts.map(part).collect()
}

/// The table of some parts.
fn ranked<'a>(parts: impl IntoIterator<Item = &'a Strengths>, sample_size: usize) -> References {
    let mut whole = References::new().with_sample_size(sample_size);
    for part in parts {
        let mut own = References::new().with_sample_size(sample_size);
        own.add(part);
        whole.merge(own).unwrap();
    }
    whole
}

/// Compares a concept's list. Samples that are equally strong up to rounding may change places.
fn compare(what: &str, got: &[Reference], expected: &List, concept: usize, largest: f32) -> usize {
    assert_eq!(got.len(), expected.samples.len(), "{what}: samples");
    let mut same = 0;
    for (rank, got) in got.iter().enumerate() {
        let score = expected.scores[rank][concept];
        let close = (got.score - score).abs() <= 1e-4 * largest;
        assert!(
            close,
            "{what}, rank {rank}: {} instead of {score}",
            got.score
        );
        let place = (0..expected.samples.len())
            .find(|&other| expected.samples[other][concept] == got.sample);
        let tied = |other: usize| (expected.scores[other][concept] - score).abs() <= 1e-5 * largest;
        let last = expected.scores.len() - 1;
        let fits = place.map_or(tied(last), tied);
        assert!(fits, "{what}, rank {rank}: sample {}", got.sample);
        let neuron = place.map_or(-1, |place| expected.neurons[place][concept]);
        same += usize::from(neuron == -1 || neuron == got.neuron as i64);
    }
    same
}

#[test]
fn zennit_crps_reference_samples_are_found() {
    let text = std::fs::read_to_string(path("references.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    let (mut compared, mut same) = (0, 0);
    for case in &cases {
        let size = case.layers["conv1"][&Mode::Relevance].all.samples.len();
        let names: Vec<&str> = case.layers.keys().map(|layer| named(layer)).collect();
        let search = ReferenceSearch::new(epsilon_plus_flat(), names)
            .with_max_target(case.max_target)
            .with_abs_norm(case.abs_norm);
        let found = ranked(&parts(&search), size);
        for (layer, modes) in &case.layers {
            let layer = named(layer);
            for (&mode, lists) in modes {
                let scores = lists.all.scores.iter().flatten();
                let largest = scores.fold(0.0_f32, |most, score| most.max(score.abs()));
                let concepts = lists.all.samples[0].len();
                assert_eq!(found.concepts(layer), concepts);
                for concept in 0..concepts {
                    let what = format!("{layer}, {mode:?}, concept {concept}");
                    let all = found.of(layer, mode, concept);
                    same += compare(&what, all, &lists.all, concept, largest);
                    compared += all.len();
                    for (target, list) in lists.targets.iter().enumerate() {
                        let what = format!("{what}, class {target}");
                        let own = found.of_target(layer, mode, concept, target);
                        let own = &own[..list.samples.len()];
                        same += compare(&what, own, list, concept, largest);
                        compared += own.len();
                    }
                }
            }
        }
    }
    // Values that differ in 64 bits may be the same in 32.
    assert!(
        same * 1000 >= compared * 999,
        "{same} of {compared} neurons"
    );
}

#[test]
fn parts_merge_to_the_same_table_in_any_order() {
    let search = ReferenceSearch::new(epsilon_plus_flat(), ["conv2", "logits"]);
    let parts = parts(&search);
    let whole = ranked(&parts, 5);
    assert_eq!(ranked(parts.iter().rev(), 5), whole);
    // Parts may overlap.
    assert_eq!(ranked(parts.iter().chain(&parts[1..3]), 5), whole);
    let mut joined = ranked(&parts[1..], 5);
    joined.merge(ranked(&parts[..2], 5)).unwrap();
    joined.merge(whole.clone()).unwrap();
    assert_eq!(joined, whole);
    assert_eq!(whole.layers(), ["conv2", "logits"]);
    assert_eq!(whole.targets(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn statistics_are_those_of_all_strengths() {
    let search = ReferenceSearch::new(epsilon_plus_flat(), "conv2");
    let parts = parts(&search);
    let (mut whole, mut joined) = (Statistics::new(), Statistics::new());
    for part in &parts {
        whole.add(part);
    }
    for part in parts.iter().rev() {
        let mut own = Statistics::new();
        own.add(part);
        joined.merge(&own).unwrap();
    }
    for (at, mode) in [Mode::Relevance, Mode::Activation].into_iter().enumerate() {
        for concept in [0, 31] {
            let strength =
                |row: usize, part: &Strengths| part.layers()[at].scores()[row * 32 + concept];
            let rows = parts.iter().flat_map(|part| {
                let targets = part.targets().iter().enumerate();
                targets.map(move |(row, &target)| (target, f64::from(strength(row, part))))
            });
            for class in [None, Some(2)] {
                let own = rows
                    .clone()
                    .filter(|row| class.is_none_or(|class| class == row.0));
                let own: Vec<f64> = own.map(|row| row.1).collect();
                let found = |from: &Statistics| match class {
                    Some(class) => from.of_target("conv2", mode, concept, class).unwrap(),
                    None => from.of("conv2", mode, concept).unwrap(),
                };
                let got = found(&whole);
                assert_eq!(got, found(&joined));
                assert_eq!(got.count, own.len() as u64);
                let mean = own.iter().sum::<f64>() / own.len() as f64;
                assert!((got.mean() - mean).abs() <= 1e-12);
                let spread = own.iter().map(|one| (one - mean).powi(2)).sum::<f64>();
                let spread = (spread / own.len() as f64).sqrt();
                assert!(
                    (got.standard_deviation() - spread).abs() <= 1e-9,
                    "{spread}"
                );
                let largest = own.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert_eq!(f64::from(got.largest), largest);
            }
        }
    }
    assert!(whole.of("conv9", Mode::Relevance, 0).is_none());
}

#[test]
fn classes_are_ranked_by_the_mean_of_their_strongest_samples() {
    let search = ReferenceSearch::new(epsilon_plus_flat(), "conv3");
    let found = ranked(&parts(&search), 4);
    for concept in [0, 17, 63] {
        let ranked = found.strongest_targets("conv3", Mode::Relevance, concept, 3);
        assert_eq!(ranked.len(), 6);
        assert!(ranked.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        for (target, mean) in ranked {
            let own = &found.of_target("conv3", Mode::Relevance, concept, target)[..3];
            let expected = own.iter().map(|one| one.score).sum::<f32>() / 3.0;
            assert!((mean - expected).abs() <= 1e-6);
            assert!(own.iter().all(|one| one.target == Some(target)));
        }
    }
}

#[test]
fn the_budget_and_the_kind_of_class_change_nothing() {
    let (model, images, _) = scenes();
    let images = images.narrow(0, 0, 6);
    let samples: Vec<u64> = (10..16).collect();
    let search = ReferenceSearch::new(epsilon_plus_flat(), "conv2");
    let predicted = search.measure(&model, &images, &samples, Target::Predicted);
    let predicted = predicted.unwrap();
    assert_eq!(predicted.samples(), samples);
    let run = Run::new().with_budget(Budget::Rows(1));
    let classes = predicted.targets().to_vec();
    let alone = search.measure_with(&model, &images, &samples, classes, &run);
    for (a, b) in predicted.layers().iter().zip(alone.unwrap().layers()) {
        assert_eq!((a.layer(), a.mode()), (b.layer(), b.mode()));
        assert_eq!(a.neurons(), b.neurons());
        for (a, b) in a.scores().iter().zip(b.scores()) {
            assert!((a - b).abs() <= 1e-5, "{a} {b}");
        }
    }
    let mut found = References::new().with_each_target(false);
    found.add(&predicted);
    assert!(found.targets().is_empty());
    assert_eq!(found.of("conv2", Mode::Activation, 3).len(), 6);
}

#[test]
fn what_cannot_be_searched_or_merged_is_refused() {
    let (model, images, _) = scenes();
    let images = images.narrow(0, 0, 2);
    let search = |layer: &str| ReferenceSearch::new(epsilon_plus_flat(), layer);
    let conv2 = || search("conv2");
    let samples = conv2().measure(&model, &images, &[1], 0);
    assert!(matches!(
        samples,
        Err(Error::Parameter {
            name: "samples",
            ..
        })
    ));
    let layer = search("conv9").measure(&model, &images, &[1, 2], 0);
    assert!(matches!(layer, Err(Error::UnknownLayer { .. })));
    let index = conv2().measure(&model, &images, &[1, 2], Target::Index(vec![0]));
    assert!(matches!(index, Err(Error::Method { .. })));
    let closure = |x: Tensor<4>| x.flatten::<2>(1, 3);
    let untraced = conv2().measure(&closure, &images, &[1, 2], 0);
    assert!(matches!(untraced, Err(Error::NotTraced)));

    let mut found = References::new();
    found.add(&conv2().measure(&model, &images, &[1, 2], 0).unwrap());
    let before = found.clone();
    let size = found.merge(References::new().with_sample_size(3));
    assert!(matches!(size, Err(attr_index::Error::Merge(_))));
    assert_eq!(found, before);
    assert!(found.of("conv2", Mode::Relevance, 99).is_empty());
    assert!(found.of("conv9", Mode::Relevance, 0).is_empty());
}
