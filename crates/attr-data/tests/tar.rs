//! WebDataset archives.

use attr_data::{Error, Options};
use tar::{Builder, EntryType, Header};

use crate::support::{Folder, assert_ranges, npy, open, refused, shown};

/// Returns an archive.
pub fn archive<B: AsRef<[u8]>>(entries: &[(&str, B)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, bytes) in entries {
        let bytes = bytes.as_ref();
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn sample(name: &str, label: Option<usize>, text: &str) -> (String, Option<usize>, String) {
    (name.into(), label, text.into())
}

#[test]
fn entries_of_one_name_are_a_sample() {
    // Longer than a header has room for.
    let long = format!("train/{}/{}", "d".repeat(90), "n".repeat(120));
    let large = "x".repeat(70_000);
    let bytes = archive(&[
        ("README", "no sample"),
        ("train/0.cls", "3\n"),
        ("train/0.jpg", "zero"),
        ("train/0.json", "{}"),
        ("train/.hidden.png", "no sample"),
        ("train/1.x.PNG", "another extension"),
        ("train/1.PNG", &large),
        (&format!("{long}.png"), "long"),
        (&format!("{long}.cls"), "4"),
        ("train/2.txt", "no image"),
        ("train/2.cls", "1"),
        ("train/3.jpeg", ""),
    ]);
    let folder = Folder::new(&[("x.tar", bytes)]);
    let data = open(folder.join("x.tar"));
    assert!(data.has_labels());
    let found = shown(&data);
    let expected = [
        sample("train/0", Some(3), "zero"),
        sample("train/1", None, &large),
        sample(&long, Some(4), "long"),
    ];
    assert_eq!(found[..3], expected);
    assert_eq!(found[3].1, Some(1));
    assert!(found[3].2.contains("no image or array in its entries"));
    assert_eq!(found[4], sample("train/3", None, ""));
    assert_eq!(data.len(), 5);
    assert_ranges(&data);
}

#[test]
pub fn archives_of_a_folder_follow_each_other() {
    let part = |from: usize, to: usize| {
        let entries: Vec<_> = (from..to)
            .map(|n| (format!("{n}.png"), n.to_string()))
            .collect();
        let entries: Vec<_> = entries.iter().map(|(name, text)| (&**name, text)).collect();
        archive(&entries)
    };
    let files = [
        ("b.tar", part(3, 5)),
        ("a.tar", part(0, 3)),
        ("c.tar", part(5, 5)),
        ("d.tar", part(5, 9)),
    ];
    let folder = Folder::new(&files);
    folder.write("notes.md", "ignored");
    let data = open(folder.path());
    let expected: Vec<_> = (0..9)
        .map(|n: usize| sample(&n.to_string(), None, &n.to_string()))
        .collect();
    assert_eq!(shown(&data), expected);
    assert!(!data.has_labels());
    assert_ranges(&data);
    let same = Folder::new(&files);
    assert_eq!(open(same.path()).fingerprint(), data.fingerprint());
    same.write("e.tar", part(9, 10));
    assert_ne!(open(same.path()).fingerprint(), data.fingerprint());
}

#[test]
fn arrays_are_samples() {
    let array = npy(&[1, 2], &[1.0f32, 2.0]);
    let entries = [
        ("0.npy", array.clone()),
        ("1.npy", array[..20].to_vec()),
        ("2.npy", array),
        ("2.png", b"image".to_vec()),
    ];
    let folder = Folder::new(&[("x.tar", archive(&entries))]);
    let found = shown(&open(folder.join("x.tar")));
    assert_eq!(found[0].2, "[1, 2] Float([1.0, 2.0])");
    assert!(found[1].2.contains("not a .npy array"));
    // An image comes first.
    assert_eq!(found[2].2, "image");
}

#[test]
fn a_bad_label_makes_one_sample_unreadable() {
    let long = "1".repeat(100);
    let labels = ["1", "cat", "-1", &long, " 2 \n", ""];
    let names: Vec<_> = (0..labels.len())
        .map(|n| (format!("{n}.png"), format!("{n}.cls")))
        .collect();
    let entries = names
        .iter()
        .zip(labels)
        .flat_map(|((image, label), text)| [(&**image, "image"), (&**label, text)]);
    let entries: Vec<_> = entries.collect();
    let folder = Folder::new(&[("x.tar", archive(&entries))]);
    let found = shown(&open(folder.join("x.tar")));
    let expected = [
        "image",
        "\"cat\" is not an integer",
        "-1 is not from 0",
        "100 bytes",
        "image",
        "\"\"",
    ];
    for (sample, expected) in found.iter().zip(expected) {
        assert!(sample.2.contains(expected), "{sample:?}");
    }
    assert_eq!(
        (found[0].1, found[1].1, found[4].1),
        (Some(1), None, Some(2))
    );

    // Labels from a file make up for them.
    let folder = Folder::new(&[
        ("x.tar", archive(&entries)),
        ("y.npy", npy(&[6], &[0i64, 1, 2, 3, 4, 5])),
    ]);
    let options = Options {
        labels: Some(folder.join("y.npy")),
        ..Options::default()
    };
    let data = attr_data::DataSet::open(folder.join("x.tar"), &options).unwrap();
    for (number, sample) in shown(&data).into_iter().enumerate() {
        assert_eq!((sample.1, &*sample.2), (Some(number), "image"));
    }
}

#[test]
fn links_have_no_content() {
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Symlink);
    header.set_size(0);
    builder
        .append_link(&mut header, "0.png", "/etc/passwd")
        .unwrap();
    header.set_entry_type(EntryType::Directory);
    builder
        .append_data(&mut header, "a.folder/", &[][..])
        .unwrap();
    let folder = Folder::new(&[("x.tar", builder.into_inner().unwrap())]);
    let found = shown(&open(folder.join("x.tar")));
    assert_eq!(found.len(), 1);
    assert!(found[0].2.contains("no image or array"));
}

#[test]
fn damaged_archives_are_refused() {
    let bytes = archive(&[("0.png", "0".repeat(1000)), ("1.png", "1".repeat(1000))]);
    // Within the last entry, and within its header.
    for length in [512 + 1024 + 512 + 999, 512 + 1024 + 100] {
        let folder = Folder::new(&[("x.tar", &bytes[..length])]);
        let error = refused(folder.join("x.tar"));
        assert!(matches!(error, Error::Tar { .. }), "{error}");
    }
    let mut huge = Header::new_gnu();
    huge.set_path("0.png").unwrap();
    huge.set_size(u64::MAX / 2);
    huge.set_cksum();
    // A name of 2 MiB.
    let mut long = Header::new_gnu();
    long.set_path("././@LongLink").unwrap();
    long.set_entry_type(EntryType::GNULongName);
    long.set_size(1 << 21);
    long.set_cksum();
    let mut sparse = Header::new_gnu();
    sparse.set_path("0.png").unwrap();
    sparse.set_entry_type(EntryType::GNUSparse);
    sparse.set_size(0);
    sparse.as_gnu_mut().unwrap().set_real_size(0);
    sparse.set_cksum();
    for (header, expected) in [
        (huge, "beyond the end"),
        (long, "too long"),
        (sparse, "sparse"),
    ] {
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(1 << 22, b'x');
        let folder = Folder::new(&[("x.tar", bytes)]);
        let error = refused(folder.join("x.tar"));
        assert!(matches!(error, Error::Tar { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let folder = Folder::new(&[
        ("x.tar", vec![7; 2000]),
        ("empty.tar", archive::<&str>(&[])),
    ]);
    assert!(matches!(refused(folder.join("x.tar")), Error::Tar { .. }));
    assert!(matches!(
        refused(folder.join("empty.tar")),
        Error::Empty { .. }
    ));
}

#[test]
fn an_archive_that_changes_is_an_error() {
    let folder = Folder::new(&[
        ("a.tar", archive(&[("0.png", "0"), ("1.png", "1")])),
        ("b.tar", archive(&[("2.png", "2")])),
    ]);
    let data = open(folder.path());
    std::fs::remove_file(folder.join("b.tar")).unwrap();
    let mut stream = data.samples(1..3);
    assert!(stream.next().unwrap().is_ok());
    assert!(matches!(stream.next(), Some(Err(Error::Read { .. }))));
    assert!(stream.next().is_none());
    folder.write("b.tar", "shorter");
    assert!(matches!(
        data.samples(2..3).next(),
        Some(Err(Error::Changed { .. }))
    ));
    // As long as before, but no longer an archive.
    let size = std::fs::metadata(folder.join("a.tar")).unwrap().len();
    folder.write("a.tar", vec![0; size as usize]);
    assert!(matches!(
        data.samples(0..1).next(),
        Some(Err(Error::Changed { .. }))
    ));
}
