//! Tests indexes in folders: shards, checkpoints, merging, what is damaged or foreign, and the folders
//! of zennit-crp.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use attr_index::{
    Error, Index, MaxTarget, Mode, ReferenceSearch, References, RunInfo, Sample, ShardStatus,
    ShardWriter, Skipped, Strengths,
};
use attr_lrp_crp::{Preset, epsilon_plus_flat};

use crate::references::scenes;

const BATCH: u64 = 8;
const SAMPLES: u64 = 64;
/// A sample that counts as unreadable.
const BROKEN: u64 = 19;
const TABLES: [&str; 4] = ["references", "statistics", "samples", "skipped"];

fn search() -> ReferenceSearch<Preset> {
    ReferenceSearch::new(epsilon_plus_flat(), ["conv2", "logits"])
}

/// The strengths in each batch of the scenes, without the broken one.
fn batches() -> &'static [Strengths] {
    static BATCHES: OnceLock<Vec<Strengths>> = OnceLock::new();
    BATCHES.get_or_init(|| {
        let (model, images, labels) = scenes();
        let batch = |first: u64| {
            let all = first..first + BATCH;
            let samples: Vec<u64> = all.filter(|&sample| sample != BROKEN).collect();
            let rows: Vec<i32> = samples.iter().map(|&sample| sample as i32).collect();
            let device = images.device();
            let rows = burn::tensor::Tensor::<1, burn::tensor::Int>::from_ints(&rows[..], &device);
            let own = samples.iter().map(|&sample| labels[sample as usize]);
            let own: Vec<usize> = own.collect();
            let images = images.clone().select(0, rows);
            search().measure(&model, &images, &samples, own).unwrap()
        };
        (0..SAMPLES).step_by(BATCH as usize).map(batch).collect()
    })
}

fn described(shards: u64) -> RunInfo {
    RunInfo {
        shards,
        batch: BATCH,
        sample_size: 5,
        vectors: true,
        ..RunInfo::new(&search(), "a model", "some scenes", SAMPLES)
    }
}

/// Adds the next `count` batches.
fn add(writer: &mut ShardWriter, count: usize) {
    for range in writer.batches().take(count) {
        let strengths = &batches()[(range.start / BATCH) as usize];
        let sample = |&number: &u64| Sample {
            number,
            name: format!("scene {number}"),
            label: (number % 2 == 0).then_some(number as usize),
        };
        let samples: Vec<Sample> = strengths.samples().iter().map(sample).collect();
        let skipped = range.contains(&BROKEN).then(|| Skipped {
            number: BROKEN,
            name: "a scene".into(),
            reason: "it is broken".into(),
        });
        writer
            .add(range, Some(strengths), samples, skipped)
            .unwrap();
    }
}

/// Writes a shard.
fn write(index: &Index, shard: u64) {
    if let Some(mut writer) = index.shard(shard).unwrap() {
        add(&mut writer, usize::MAX);
        writer.finish().unwrap();
    }
}

fn tables(index: &Index) -> Vec<Vec<u8>> {
    let read = |table| std::fs::read(index.path().join(format!("{table}.parquet"))).unwrap();
    TABLES.into_iter().map(read).collect()
}

/// The tables of an index that was written in one go.
fn expected() -> &'static Vec<Vec<u8>> {
    static EXPECTED: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    EXPECTED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::create(folder.path().join("index"), &described(1)).unwrap();
        write(&index, 0);
        index.merge().unwrap();
        tables(&index)
    })
}

fn shard_folder(index: &Index, shard: u64) -> std::path::PathBuf {
    let name = format!("shards/{shard:05}-of-{:05}", index.run().shards);
    index.path().join(name)
}

/// The one file of a shard whose name begins so.
fn file(folder: &Path, start: &str) -> std::path::PathBuf {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    let mut own = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
    own.next().unwrap().path()
}

#[test]
fn tables_do_not_depend_on_the_number_and_order_of_shards() {
    for (shards, order) in [
        (3, vec![2, 0, 1]),
        (8, vec![0, 1, 2, 3, 4, 5, 6, 7]),
        // More shards than batches: some are empty.
        (11, vec![10, 3, 5, 7, 9, 0, 2, 4, 6, 8, 1]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::create(folder.path(), &described(shards)).unwrap();
        for shard in order {
            write(&index, shard);
            // A part can be merged, again and again.
            index.merge().unwrap();
        }
        assert_eq!(index.merged().unwrap(), (0..shards).collect::<Vec<_>>());
        assert!(tables(&index) == *expected(), "{shards} shards");
    }
}

#[test]
fn an_index_tells_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::create(folder.path(), &described(2)).unwrap();
    assert!(matches!(index.references(), Err(Error::NoIndex { .. })));
    assert!(matches!(index.merge(), Err(Error::Merge(_))));
    (0..2).for_each(|shard| write(&index, shard));
    index.merge().unwrap();

    let index = Index::open(folder.path()).unwrap();
    let mut references = References::new().with_sample_size(5);
    let mut statistics = attr_index::Statistics::new();
    for batch in batches() {
        references.add(batch);
        statistics.add(batch);
    }
    assert_eq!(index.references().unwrap(), references);
    let found = index.statistics().unwrap();
    for (mode, concept) in [(Mode::Relevance, 3), (Mode::Activation, 31)] {
        let expected = statistics.of("conv2", mode, concept);
        assert!(expected.is_some());
        assert_eq!(found.of("conv2", mode, concept), expected);
        let expected = statistics.of_target("logits", mode, 2, 4);
        assert_eq!(found.of_target("logits", mode, 2, 4), expected);
    }
    let skipped = index.skipped().unwrap();
    assert_eq!(skipped.len(), 1);
    assert_eq!(
        (skipped[0].number, &skipped[0].reason[..]),
        (BROKEN, "it is broken")
    );
    let samples = index.samples().unwrap();
    let samples: BTreeMap<u64, &Sample> = samples.iter().map(|one| (one.number, one)).collect();
    for reference in references.of("conv2", Mode::Activation, 7) {
        let sample = samples[&reference.sample];
        assert_eq!(sample.name, format!("scene {}", reference.sample));
        assert_eq!(sample.label.is_some(), reference.sample % 2 == 0);
    }
    let (mut rows, mut numbers) = (0, Vec::new());
    for vectors in index.vectors("conv2", Mode::Relevance) {
        let vectors = vectors.unwrap();
        assert_eq!(vectors.concepts(), 32);
        for (row, &sample) in vectors.samples().iter().enumerate() {
            let batch = &batches()[(sample / BATCH) as usize];
            let at = batch
                .samples()
                .iter()
                .position(|&own| own == sample)
                .unwrap();
            assert_eq!(vectors.targets()[row], batch.targets()[at]);
            let expected = &batch.layers()[0].scores()[at * 32..][..32];
            let got = &vectors.values()[row * 32..][..32];
            let close =
                |(a, &b): (&half::f16, &f32)| (a.to_f32() - b).abs() <= b.abs() * 1e-3 + 1e-7;
            assert!(got.iter().zip(expected).all(close));
            rows += 1;
            numbers.push(sample);
        }
    }
    assert_eq!(rows, SAMPLES - 1);
    assert!(numbers.is_sorted());
    assert_eq!(index.vectors("conv9", Mode::Relevance).count(), 0);
}

#[test]
fn an_interrupted_shard_goes_on_at_its_checkpoint() {
    for batches in 0..8 {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::create(folder.path(), &described(1)).unwrap();
        let open = || index.shard(0).unwrap().unwrap().with_checkpoint(2 * BATCH);
        let mut writer = open();
        add(&mut writer, batches);
        drop(writer);
        // What a killed process leaves.
        std::fs::write(shard_folder(&index, 0).join(".attr-x"), "half").unwrap();
        let mut writer = open();
        let kept = batches as u64 / 2 * 2;
        assert_eq!(writer.batches().count() as u64, 8 - kept);
        let status = index.status().unwrap();
        match (kept, &status[0]) {
            (0, ShardStatus::Missing) => {}
            (_, ShardStatus::Partial { done, samples: 64 }) => assert_eq!(*done, kept * BATCH),
            other => panic!("{other:?}"),
        }
        add(&mut writer, usize::MAX);
        writer.finish().unwrap();
        assert!(index.shard(0).unwrap().is_none(), "it is done");
        index.merge().unwrap();
        assert!(
            tables(&index) == *expected(),
            "stopped after {batches} batches"
        );
        let left = std::fs::read_dir(shard_folder(&index, 0)).unwrap().count();
        // The lock, shard.json, tables, and vectors of two layers and modes at four checkpoints.
        assert_eq!(left, 2 + 4 + 4 * 4, "stopped after {batches} batches");
    }
}

#[test]
fn damaged_shards_are_seen_and_made_again() {
    for (start, keep) in [
        ("shard.json", 10),
        ("references", 0),
        ("statistics", 100),
        ("vectors", 5),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::create(folder.path(), &described(2)).unwrap();
        (0..2).for_each(|shard| write(&index, shard));
        let path = file(&shard_folder(&index, 1), start);
        let content = std::fs::read(&path).unwrap();
        std::fs::write(&path, &content[..keep]).unwrap();
        let status = index.status().unwrap();
        assert!(matches!(
            status[0],
            ShardStatus::Done {
                samples: 31,
                skipped: 1
            }
        ));
        assert!(matches!(&status[1], ShardStatus::Damaged { reason } if reason.contains(start)));
        index.merge().unwrap();
        assert_eq!(index.merged().unwrap(), [0]);
        write(&index, 1);
        assert!(
            index
                .merge()
                .unwrap()
                .iter()
                .all(|one| matches!(one, ShardStatus::Done { .. }))
        );
        assert!(tables(&index) == *expected(), "{start}");
    }
    // A merged table, too.
    let folder = tempfile::tempdir().unwrap();
    let index = Index::create(folder.path(), &described(1)).unwrap();
    write(&index, 0);
    index.merge().unwrap();
    std::fs::write(folder.path().join("references.parquet"), "other").unwrap();
    assert!(matches!(index.references(), Err(Error::Damaged { .. })));
    std::fs::remove_file(folder.path().join("statistics.parquet")).unwrap();
    assert!(matches!(index.statistics(), Err(Error::Damaged { .. })));
    index.merge().unwrap();
    assert!(tables(&index) == *expected());
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::create(folder.path().join("a"), &described(2)).unwrap();
    // Another process may join.
    assert!(Index::create(folder.path().join("a"), &described(2)).is_ok());
    let other = RunInfo {
        model: "another".into(),
        ..described(2)
    };
    match Index::create(folder.path().join("a"), &other) {
        Err(Error::OtherRun {
            what, there, here, ..
        }) => {
            assert_eq!(
                (&what[..], &there[..], &here[..]),
                ("model", "\"a model\"", "\"another\"")
            );
        }
        other => panic!("{other:?}"),
    }
    let other = Index::create(folder.path().join("b"), &other).unwrap();
    write(&other, 0);
    let (from, to) = (shard_folder(&other, 0), shard_folder(&index, 0));
    std::fs::create_dir_all(index.path().join("shards")).unwrap();
    std::fs::rename(from, to).unwrap();
    assert_eq!(
        index.status().unwrap(),
        [ShardStatus::Foreign, ShardStatus::Missing]
    );
    assert!(matches!(index.shard(0), Err(Error::OtherRun { .. })));
    assert!(matches!(
        index.shard(2),
        Err(Error::Shard {
            shard: 2,
            shards: 2
        })
    ));

    // Two processes at one shard.
    let writer = index.shard(1).unwrap().unwrap();
    assert!(matches!(index.shard(1), Err(Error::Busy { .. })));
    drop(writer);
    assert!(index.shard(1).unwrap().is_some());

    let path = folder.path().join("c");
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(Index::open(&path), Err(Error::NoIndex { .. })));
    std::fs::write(path.join("holiday.jpg"), "x").unwrap();
    assert!(matches!(
        Index::create(&path, &described(1)),
        Err(Error::NoIndex { .. })
    ));
    assert!(matches!(
        Index::create(path.join("holiday.jpg"), &described(1)),
        Err(Error::File { .. })
    ));
    std::fs::write(path.join("run.json"), "{").unwrap();
    assert!(matches!(Index::open(&path), Err(Error::Damaged { .. })));
    for wrong in [
        RunInfo {
            shards: 0,
            ..described(1)
        },
        RunInfo {
            shards: 100_001,
            ..described(1)
        },
        RunInfo {
            batch: 0,
            ..described(1)
        },
        RunInfo {
            samples: 0,
            ..described(1)
        },
        RunInfo {
            sample_size: 0,
            ..described(1)
        },
    ] {
        let created = Index::create(folder.path().join("d"), &wrong);
        assert!(matches!(created, Err(Error::Parameter { .. })), "{wrong:?}");
    }
}

#[test]
fn a_shard_takes_its_next_batch_alone() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::create(folder.path(), &described(2)).unwrap();
    let mut writer = index.shard(1).unwrap().unwrap();
    assert_eq!((writer.samples(), writer.remaining()), (32..64, 32..64));
    let one = |number| Skipped {
        number,
        name: String::new(),
        reason: String::new(),
    };
    let name = |number| Sample {
        number,
        name: String::new(),
        label: None,
    };
    let (own, other) = (&batches()[4], &batches()[0]);
    let (model, images, labels) = scenes();
    let turned = ReferenceSearch::new(epsilon_plus_flat(), ["logits", "conv2"]);
    let rows: Vec<u64> = (32..40).collect();
    let own_labels = labels[32..40].to_vec();
    let turned = turned.measure(&model, &images.narrow(0, 32, 8), &rows, own_labels);
    let turned = turned.unwrap();
    let range = 32..40_u64;
    let cases = [
        (0..8, Some(other), vec![], vec![], "instead of 32..40"),
        (
            range.clone(),
            Some(other),
            vec![],
            vec![],
            "not one of 32..40",
        ),
        (
            range.clone(),
            Some(own),
            vec![name(3)],
            vec![],
            "sample 3 is not",
        ),
        (range.clone(), Some(own), vec![], vec![one(33)], "once more"),
        (
            range.clone(),
            None,
            vec![],
            vec![one(33)],
            "sample 32 was neither",
        ),
        (
            range.clone(),
            None,
            vec![],
            vec![one(33), one(33)],
            "once more",
        ),
        (
            range.clone(),
            Some(&turned),
            vec![],
            vec![],
            "conv2, logits, in this order",
        ),
    ];
    for (batch, strengths, samples, skipped, expected) in cases {
        match writer.add(batch, strengths, samples, skipped) {
            Err(Error::Batch(reason)) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert_eq!(writer.remaining(), 32..64, "nothing was added");
    assert!(
        matches!(writer.finish(), Err(Error::Batch(_))),
        "batches are missing"
    );
}

#[test]
fn a_state_that_does_not_fit_is_damage() {
    type Change = (&'static str, serde_json::Value);
    let changes: [Change; 6] = [
        ("first", 5.into()),
        ("next", 100.into()),
        ("next", 33.into()),
        ("skipped", 100.into()),
        ("skipped", 2.into()),
        (
            "files",
            serde_json::json!({"../../../precious.txt": {"bytes": 4, "sha256": ""}}),
        ),
    ];
    let precious = |folder: &Path| folder.join("precious.txt");
    for (name, value) in changes {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(precious(folder.path()), "gold").unwrap();
        let index = Index::create(folder.path().join("index"), &described(2)).unwrap();
        (0..2).for_each(|shard| write(&index, shard));
        let path = shard_folder(&index, 0).join("shard.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
        match state[name].as_object_mut() {
            Some(own) => own.extend(value.as_object().unwrap().clone()),
            None => state[name] = value.clone(),
        }
        std::fs::write(&path, state.to_string()).unwrap();
        // Whether as many are skipped as are listed is seen when tables are read.
        let found = index.merge().unwrap();
        assert!(
            matches!(found[0], ShardStatus::Damaged { .. }),
            "{name} = {value}: {found:?}"
        );
        assert_eq!(index.merged().unwrap(), [1]);
        write(&index, 0);
        index.merge().unwrap();
        assert!(tables(&index) == *expected(), "{name} = {value}");
        assert_eq!(std::fs::read(precious(folder.path())).unwrap(), b"gold");
    }
    // The copy of another shard.
    let folder = tempfile::tempdir().unwrap();
    let index = Index::create(folder.path(), &described(2)).unwrap();
    write(&index, 0);
    std::fs::rename(shard_folder(&index, 0), shard_folder(&index, 1)).unwrap();
    let status = index.status().unwrap();
    assert!(matches!(&status[1], ShardStatus::Damaged { reason } if reason.contains("0..32")));
}

#[test]
fn what_cannot_be_read_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::create(folder.path(), &described(1)).unwrap();
    write(&index, 0);
    let table = file(&shard_folder(&index, 0), "statistics");
    std::fs::rename(&table, folder.path().join("kept")).unwrap();
    std::fs::create_dir(&table).unwrap();
    assert!(matches!(index.shard(0), Err(Error::File { .. })));
    assert!(matches!(index.status(), Err(Error::File { .. })));
    std::fs::remove_dir(&table).unwrap();
    std::fs::rename(folder.path().join("kept"), &table).unwrap();
    assert!(index.shard(0).unwrap().is_none(), "it is still done");
}

#[test]
fn a_checkpoint_that_fails_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::create(folder.path(), &described(1)).unwrap();
    let mut writer = index.shard(0).unwrap().unwrap().with_checkpoint(2 * BATCH);
    add(&mut writer, 3);
    // In the way of the next checkpoint's last table, so that all others are written.
    let way = shard_folder(&index, 0).join("skipped-000000000032.parquet");
    std::fs::create_dir(&way).unwrap();
    let batch = &batches()[3];
    let failed = writer.add(24..32, Some(batch), [], []);
    assert!(matches!(failed, Err(Error::File { .. })));
    let partial = ShardStatus::Partial {
        done: 16,
        samples: 64,
    };
    assert_eq!(index.status().unwrap(), [partial]);
    std::fs::remove_dir(&way).unwrap();
    add(&mut writer, usize::MAX);
    writer.finish().unwrap();
    index.merge().unwrap();
    let found = tables(&index);
    // Names of the batch that was added by hand are missing.
    assert!(found[..2] == expected()[..2]);
    let vectors = index.vectors("logits", Mode::Activation);
    let rows: usize = vectors
        .map(|vectors| vectors.unwrap().samples().len())
        .sum();
    assert_eq!(rows as u64, SAMPLES - 1);
}

#[test]
fn the_status_of_a_shard_that_is_being_written_is_never_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::create(folder.path(), &described(1)).unwrap();
    let mut writer = index.shard(0).unwrap().unwrap().with_checkpoint(BATCH);
    std::thread::scope(|scope| {
        let written = scope.spawn(move || {
            add(&mut writer, usize::MAX);
            writer.finish().unwrap();
        });
        let mut seen = 0;
        while !written.is_finished() {
            let status = index.status().unwrap();
            assert!(
                !matches!(status[0], ShardStatus::Damaged { .. }),
                "{status:?}"
            );
            seen += 1;
        }
        assert!(seen > 0);
    });
    assert!(matches!(
        index.status().unwrap()[0],
        ShardStatus::Done { .. }
    ));
}

#[test]
fn folders_of_zennit_crp_are_written_and_read() {
    let mut references = References::new().with_sample_size(4);
    batches().iter().for_each(|batch| references.add(batch));
    let folder = tempfile::tempdir().unwrap();
    references
        .write_zennit_crp(folder.path(), MaxTarget::Sum, true)
        .unwrap();
    for (name, shape) in [
        ("RelMax_sum_normed/conv2_data.npy", [4, 32]),
        ("ActStats_sum_normed/logits/3_rel.npy", [4, 6]),
    ] {
        let file = std::fs::File::open(folder.path().join(name)).unwrap();
        let array = npyz::NpyFile::new(file).unwrap();
        assert_eq!(array.shape(), shape, "{name}");
    }
    let read = References::read_zennit_crp(folder.path(), MaxTarget::Sum, true).unwrap();
    assert_eq!(read.layers(), references.layers());
    assert_eq!(read.targets(), references.targets());
    for mode in [Mode::Relevance, Mode::Activation] {
        for concept in [0, 5, 31] {
            let (a, b) = (
                read.of("conv2", mode, concept),
                references.of("conv2", mode, concept),
            );
            let known = |one: &attr_index::Reference| (one.sample, one.score, one.neuron);
            assert!(a.iter().map(known).eq(b.iter().map(known)));
            let class = read.of_target("conv2", mode, concept, 1);
            assert_eq!(class, references.of_target("conv2", mode, concept, 1));
            assert_eq!(class.len(), 4);
        }
    }
    let none = References::read_zennit_crp(folder.path(), MaxTarget::Max, true);
    assert!(matches!(none, Err(Error::NoIndex { .. })));
    std::fs::write(folder.path().join("RelMax_sum_normed/conv2_rf.npy"), "x").unwrap();
    let damaged = References::read_zennit_crp(folder.path(), MaxTarget::Sum, true);
    assert!(matches!(damaged, Err(Error::Damaged { .. })));
}
