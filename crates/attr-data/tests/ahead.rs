//! Reading ahead.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use attr_data::{Batch, Content, DataSet, Error, Sample, read_ahead};

use crate::support::{Folder, npy, open, samples};

/// Returns a data set of `count` rows, of which each is its number.
fn numbers(count: usize) -> (Folder, DataSet) {
    let values: Vec<i64> = (0..count as i64).collect();
    let folder = Folder::new(&[("x.npy", npy(&[count as u64], &values))]);
    let data = open(folder.join("x.npy"));
    (folder, data)
}

/// Returns ranges of `size` samples from `0` to `end`.
fn ranges(end: u64, size: u64) -> impl Iterator<Item = std::ops::Range<u64>> + Send {
    (0..end.div_ceil(size)).map(move |n| n * size..(n + 1) * size)
}

fn number(sample: &Sample) -> Result<u64, String> {
    Ok(sample.number)
}

#[test]
fn batches_come_in_order() {
    let (_folder, data) = numbers(103);
    for threads in [0, 1, 3, 8] {
        let mut batches: Vec<Batch<u64>> = Vec::new();
        // Later samples of a batch are done first.
        let slow = |sample: &Sample| {
            std::thread::sleep(Duration::from_micros(200 * (9 - sample.number % 10)));
            number(sample)
        };
        let each = |batch| {
            batches.push(batch);
            Ok::<(), Error>(())
        };
        read_ahead(&data, ranges(120, 10), threads, slow, each).unwrap();
        assert_eq!(batches.len(), 12);
        for (at, batch) in batches.iter().enumerate() {
            let expected = (at as u64 * 10).min(103)..(at as u64 * 10 + 10).min(103);
            assert_eq!(batch.range, expected);
            assert!(batch.skipped.is_empty());
            let rows = batch.rows.iter().map(|row| (row.number, row.item));
            assert_eq!(
                rows.collect::<Vec<_>>(),
                expected.map(|n| (n, n)).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn ranges_may_be_anywhere() {
    let (_folder, data) = numbers(50);
    let mut found = Vec::new();
    let ranges = vec![40..45, 45..48, 3..4, 7..7, 60..70, 0..2, 1..3];
    read_ahead(&data, ranges.into_iter(), 2, number, |batch| {
        found.push(batch.rows.iter().map(|row| row.item).collect::<Vec<_>>());
        assert_eq!(batch.rows.len() as u64, batch.range.end - batch.range.start);
        Ok::<(), Error>(())
    })
    .unwrap();
    let expected = [
        vec![40, 41, 42, 43, 44],
        vec![45, 46, 47],
        vec![3],
        vec![],
        vec![],
        vec![0, 1],
        vec![1, 2],
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_cannot_be_read_or_prepared_is_skipped() {
    let names: Vec<String> = (0..20).map(|n| format!("{n:02}/x.png")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &**name)).collect();
    let folder = Folder::new(&files);
    let data = open(folder.path());
    std::fs::remove_file(folder.join("05/x.png")).unwrap();
    let prepare = |sample: &Sample| match &sample.content {
        Content::Encoded(bytes) if bytes.starts_with(b"07") => Err("no 7".to_string()),
        Content::Encoded(bytes) => Ok(bytes.clone()),
        other => panic!("{other:?}"),
    };
    let (mut rows, mut skipped) = (Vec::new(), Vec::new());
    read_ahead(&data, ranges(20, 10), 4, prepare, |batch| {
        rows.extend(batch.rows);
        skipped.extend(batch.skipped);
        Ok::<(), Error>(())
    })
    .unwrap();
    assert_eq!(rows.len(), 18);
    for row in rows {
        assert_eq!(
            (row.label, row.item),
            (Some(row.number as usize), row.name.into_bytes())
        );
    }
    let found: Vec<_> = skipped.iter().map(|s| (s.number, &*s.name)).collect();
    assert_eq!(found, [(5, "05/x.png"), (7, "07/x.png")]);
    assert!(skipped[0].reason.contains("cannot be read"));
    assert_eq!(skipped[1].reason, "no 7");
}

#[derive(Debug)]
enum Failure {
    Data(Error),
    Mine,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Data(error)
    }
}

#[test]
fn an_error_of_each_ends_everything() {
    let (_folder, data) = numbers(10_000);
    let prepared = AtomicUsize::new(0);
    let prepare = |sample: &Sample| {
        prepared.fetch_add(1, Ordering::Relaxed);
        number(sample)
    };
    let mut seen = 0;
    let result = read_ahead(&data, ranges(10_000, 100), 3, prepare, |_| {
        seen += 1;
        if seen == 2 {
            Err(Failure::Mine)
        } else {
            Ok(())
        }
    });
    assert!(matches!(result, Err(Failure::Mine)));
    assert_eq!(seen, 2);
    // Two batches were given, two waited, and one may have begun.
    assert!(prepared.load(Ordering::Relaxed) <= 500);
}

#[test]
fn an_error_of_the_data_set_ends_everything() {
    let values = npy(&[30], &[0i64; 30]);
    let folder = Folder::new(&[("x.npy", &values)]);
    let data = open(folder.join("x.npy"));
    folder.write("x.npy", "shorter");
    let each = |_| -> Result<(), Failure> { panic!("there are no samples") };
    let result = read_ahead(&data, ranges(30, 10), 2, number, each);
    assert!(matches!(result, Err(Failure::Data(Error::Changed { .. }))));

    // Batches before the break are given.
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    let mut builder = tar::Builder::new(Vec::new());
    for n in 0..20 {
        builder
            .append_data(&mut header, format!("{n}.png"), &[][..])
            .unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    let folder = Folder::new(&[("a.tar", &bytes), ("b.tar", &bytes)]);
    let data = open(folder.path());
    std::fs::remove_file(folder.join("b.tar")).unwrap();
    let mut seen = 0;
    let result = read_ahead(&data, ranges(40, 8), 2, number, |batch| {
        assert_eq!(batch.rows.len(), 8);
        seen += 1;
        Ok::<(), Failure>(())
    });
    assert!(matches!(result, Err(Failure::Data(Error::Read { .. }))));
    assert_eq!(seen, 2);
}

#[test]
fn a_panic_ends_everything() {
    let (_folder, data) = numbers(10_000);
    let panics = |sample: &Sample| {
        if sample.number == 250 {
            panic!("expected")
        } else {
            number(sample)
        }
    };
    for threads in [1, 3] {
        let mut seen = 0;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            read_ahead(&data, ranges(10_000, 100), threads, panics, |_| {
                seen += 1;
                Ok::<(), Error>(())
            })
        }));
        assert!(caught.is_err());
        assert_eq!(seen, 2);
    }
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let each = |_| -> Result<(), Error> { panic!("expected") };
        read_ahead(&data, ranges(10_000, 100), 2, number, each)
    }));
    assert!(caught.is_err());
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let broken = ranges(10_000, 100).inspect(|range| assert!(range.start < 500, "expected"));
        read_ahead(&data, broken, 2, number, |_| Ok::<(), Error>(()))
    }));
    assert!(caught.is_err());
}

#[test]
fn only_two_batches_wait() {
    let (_folder, data) = numbers(1000);
    let prepared = AtomicUsize::new(0);
    let prepare = |sample: &Sample| {
        prepared.fetch_add(1, Ordering::SeqCst);
        number(sample)
    };
    let mut taken = 0;
    read_ahead(&data, ranges(1000, 10), 4, prepare, |_| {
        taken += 1;
        let most = (10 * (taken + 2)).min(1000);
        if taken <= 3 || taken == 100 {
            // Preparing runs ahead by two batches, and no further.
            let begin = Instant::now();
            while prepared.load(Ordering::SeqCst) < most {
                assert!(begin.elapsed() < Duration::from_secs(60));
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        assert!(prepared.load(Ordering::SeqCst) <= most);
        Ok::<(), Error>(())
    })
    .unwrap();
    assert_eq!(taken, 100);
    assert_eq!(samples(&data, 999..1000).len(), 1);
}
