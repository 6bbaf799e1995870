//! Image folders, and telling formats apart.

use std::fs;

use attr_data::{Content, DataSet, Error, Options};

use crate::support::{Folder, assert_ranges, npy, open, refused, samples, shown};

#[test]
fn first_folders_are_classes() {
    let folder = Folder::new(&[
        ("b/2.PNG", "b2"),
        ("b/10.jpg", "b10"),
        ("a-x/1.jpeg", "ax1"),
        ("a/deep/1.png", "a1"),
        ("a/.hidden.png", ""),
        ("a/notes.txt", ""),
        (".cache/1.png", ""),
        ("no images/readme.md", ""),
        ("labels.csv", ""),
    ]);
    let data = open(folder.path());
    assert_eq!(data.len(), 4);
    assert!(data.has_labels());
    assert_eq!(data.classes(), ["a", "a-x", "b"]);
    // By bytes, '-' comes before '/'.
    let expected = [
        ("a-x/1.jpeg", 1, "ax1"),
        ("a/deep/1.png", 0, "a1"),
        ("b/10.jpg", 2, "b10"),
        ("b/2.PNG", 2, "b2"),
    ];
    let expected = expected.map(|(name, label, text)| (name.into(), Some(label), text.into()));
    assert_eq!(shown(&data), expected);
    assert_ranges(&data);
}

#[test]
fn images_without_folders_have_no_labels() {
    let folder = Folder::new(&[("2.png", "two"), ("1.png", "one")]);
    let data = open(folder.path());
    assert!(!data.has_labels());
    assert!(data.classes().is_empty());
    let expected = [("1.png", "one"), ("2.png", "two")];
    let expected = expected.map(|(name, text)| (name.into(), None, text.into()));
    assert_eq!(shown(&data), expected);
}

#[test]
fn paths_are_in_the_order_of_their_bytes() {
    let names = [
        "a/b.png",
        "a/b/c.png",
        "a/b-c.png",
        "a/b0/x.png",
        "a/B.png",
        "a.b/x.png",
        "a b/x.png",
        "ä/x.png",
        "z/y/x/w.png",
        "z/y.png",
    ];
    let folder = Folder::new(&names.map(|name| (name, name)));
    let mut sorted = names.map(String::from);
    sorted.sort();
    let found = shown(&open(folder.path()));
    assert_eq!(
        found.iter().map(|s| &s.0).collect::<Vec<_>>(),
        sorted.iter().collect::<Vec<_>>()
    );
    assert_eq!(
        found.iter().map(|s| &s.2).collect::<Vec<_>>(),
        sorted.iter().collect::<Vec<_>>()
    );
}

#[test]
fn a_missing_file_is_unreadable_among_others() {
    let folder = Folder::new(&[("1.png", "1"), ("2.png", "2"), ("3.png", "3")]);
    let data = open(folder.path());
    fs::remove_file(folder.join("2.png")).unwrap();
    let samples = samples(&data, 0..3);
    assert_eq!(samples[0].content, Content::Encoded(b"1".into()));
    assert!(matches!(&samples[1].content, Content::Unreadable(reason) if reason.contains("read")));
    assert_eq!(samples[2].content, Content::Encoded(b"3".into()));
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new(&[("a/1.png", "1"), ("b/2.png", "2")]);
    let other = Folder::new(&[("real.png", "linked"), ("class/9.png", "9")]);
    symlink(other.join("real.png"), folder.join("a/3.png")).unwrap();
    symlink(other.join("nothing.png"), folder.join("a/4.png")).unwrap();
    symlink(other.join("class"), folder.join("c")).unwrap();
    symlink("..", folder.join("a/up")).unwrap();
    symlink("../b", folder.join("a/to_b")).unwrap();
    symlink("../a", folder.join("b/to_a")).unwrap();
    let data = open(folder.path());
    assert_eq!(data.classes(), ["a", "b", "c"]);
    let found = shown(&data);
    let names: Vec<&str> = found.iter().map(|sample| &*sample.0).collect();
    let expected = [
        "a/1.png",
        "a/3.png",
        "a/4.png",
        "a/to_b/2.png",
        "b/2.png",
        "b/to_a/1.png",
        "b/to_a/3.png",
        "b/to_a/4.png",
        "c/9.png",
    ];
    assert_eq!(names, expected);
    assert_eq!(found[1].2, "linked");
    assert!(found[2].2.starts_with("unreadable"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_unicode_is_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new(&[("1.png", "")]);
    fs::write(folder.path().join(OsStr::from_bytes(b"\xff.png")), "").unwrap();
    assert!(matches!(refused(folder.path()), Error::Name { .. }));
}

#[test]
fn what_is_no_data_set_is_refused() {
    let mixed = "images (1) and .tar files (1)";
    let cases: [(&[&str], &str); 9] = [
        (&["1.png", "a/2.png"], "sub-folders, such as a/2.png"),
        (&["1.png", "x.tar"], mixed),
        (&["a/1.png", "x.tar"], mixed),
        (
            &["x.tar", "y.parquet"],
            ".tar files (1) and .parquet files (1)",
        ),
        (
            &["1.png", "x.tar.gz"],
            "images (1) and compressed .tar files (1)",
        ),
        (
            &["x.tar", "y.TGZ"],
            "y.TGZ is compressed; unpack it to a .tar first",
        ),
        (&["x.tar.gz"], "x.tar.gz is compressed"),
        (&["readme.md"], "has no samples"),
        (&[], "has no samples"),
    ];
    for (names, expected) in cases {
        let files: Vec<(&str, &str)> = names.iter().map(|&name| (name, "x")).collect();
        let folder = Folder::new(&files);
        let message = refused(folder.path()).to_string();
        assert!(message.contains(expected), "{names:?}: {message}");
    }
    let folder = Folder::new(&[
        ("x.png", ""),
        ("x.tgz", ""),
        ("x", ""),
        ("list.txt", "\n\n"),
    ]);
    assert!(matches!(
        refused(folder.join("x.png")),
        Error::Unknown { .. }
    ));
    assert!(matches!(refused(folder.join("x")), Error::Unknown { .. }));
    assert!(matches!(
        refused(folder.join("x.tgz")),
        Error::Compressed { .. }
    ));
    assert!(matches!(
        refused(folder.join("list.txt")),
        Error::Empty { .. }
    ));
    assert!(matches!(
        refused(folder.join("nothing.npy")),
        Error::Read { .. }
    ));
    assert!(matches!(
        refused(folder.join("nothing")),
        Error::Read { .. }
    ));
}

#[test]
fn a_fingerprint_is_that_of_the_listing() {
    let files = [("a/1.png", "1"), ("b/2.png", "2")];
    let (first, second) = (Folder::new(&files), Folder::new(&files));
    let fingerprint = open(first.path()).fingerprint().to_string();
    assert_eq!(fingerprint.len(), 64);
    assert_eq!(open(second.path()).fingerprint(), fingerprint);

    // Labels from a file count.
    let labels = second.write("labels.npy", npy(&[2], &[1i32, 0]));
    let mut options = Options {
        labels: Some(labels),
        ..Options::default()
    };
    let labelled = DataSet::open(second.path(), &options).unwrap();
    assert_ne!(labelled.fingerprint(), fingerprint);
    options.labels = Some(second.write("labels.npy", npy(&[2], &[1i64, 1])));
    let others = DataSet::open(second.path(), &options).unwrap();
    assert_ne!(others.fingerprint(), labelled.fingerprint());

    // So does the size of a file, but not its content.
    second.write("a/1.png", "x");
    assert_eq!(open(second.path()).fingerprint(), fingerprint);
    second.write("a/1.png", "longer");
    assert_ne!(open(second.path()).fingerprint(), fingerprint);
    first.write("b/3.png", "3");
    assert_ne!(open(first.path()).fingerprint(), fingerprint);
}

#[test]
fn labels_from_a_file_override() {
    let folder = Folder::new(&[("a/1.png", "1"), ("b/2.png", "2")]);
    let other = Folder::empty();
    let with = |bytes: Vec<u8>| {
        let options = Options {
            labels: Some(other.write("labels.npy", bytes)),
            ..Options::default()
        };
        DataSet::open(folder.path(), &options)
    };
    let data = with(npy(&[2], &[7u16, 3])).unwrap();
    let labels: Vec<_> = shown(&data).into_iter().map(|sample| sample.1).collect();
    assert_eq!(labels, [Some(7), Some(3)]);
    assert!(matches!(
        with(npy(&[3], &[1i64, 2, 3])).unwrap_err(),
        Error::Labels { samples: 2, .. }
    ));
    assert!(matches!(
        with(npy(&[2, 1], &[1i64, 2])).unwrap_err(),
        Error::Labels { .. }
    ));
    assert!(matches!(
        with(npy(&[2], &[1i64, -2])).unwrap_err(),
        Error::Label {
            number: 1,
            value: -2,
            ..
        }
    ));
    assert!(matches!(
        with(npy(&[2], &[1.0f32, 2.0])).unwrap_err(),
        Error::Npy { .. }
    ));
}

#[test]
fn a_data_set_is_shared_between_threads() {
    fn shared<T: Send + Sync + std::fmt::Debug>() {}
    fn sent<T: Send>() {}
    shared::<DataSet>();
    sent::<attr_data::Samples<'_>>();
    sent::<Error>();
}
