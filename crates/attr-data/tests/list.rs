//! Lists of paths.

use attr_data::Error;

use crate::support::{Folder, assert_ranges, npy, open, ordered_npy, refused, shown};

#[test]
fn lines_are_samples() {
    let folder = Folder::new(&[
        ("images/1.png", "one"),
        ("images/2.JPG", "two"),
        ("3.jpeg", "three"),
    ]);
    folder.write("array.npy", npy(&[2, 1], &[1i64, 2]));
    let list = "images/2.JPG\t5\r\n\n3.jpeg\nimages/1.png\t 0\n  \nmissing.png\t1\narray.npy\t2";
    folder.write("lists/all.txt", list.replace("images", "../images"));
    folder.write("all.txt", list);
    let data = open(folder.join("all.txt"));
    assert!(data.has_labels());
    let found = shown(&data);
    let expected = [
        ("images/2.JPG", Some(5), "two"),
        ("3.jpeg", None, "three"),
        ("images/1.png", Some(0), "one"),
    ];
    let expected = expected.map(|(name, label, text)| (name.into(), label, text.into()));
    assert_eq!(found[..3], expected);
    assert!(found[3].2.starts_with("unreadable: it cannot be read"));
    assert_eq!(found[4].2, "[2, 1] Int([1, 2])");
    assert_ranges(&data);
    // Paths are relative to the list.
    assert_eq!(shown(&open(folder.join("lists/all.txt")))[2].2, "one");
}

#[test]
fn a_list_without_labels_has_none() {
    let folder = Folder::new(&[("1.png", "one"), ("list.txt", "1.png\n")]);
    let data = open(folder.join("list.txt"));
    assert!(!data.has_labels());
    assert_eq!(shown(&data), [("1.png".into(), None, "one".into())]);
}

#[test]
fn labels_count_in_the_fingerprint() {
    let folder = Folder::new(&[("1.png", "one"), ("list.txt", "1.png\n")]);
    let before = open(folder.join("list.txt")).fingerprint().to_string();
    folder.write("list.txt", "1.png\t0\n");
    assert_ne!(open(folder.join("list.txt")).fingerprint(), before);
}

#[test]
fn unreadable_arrays_are_told() {
    let fortran = ordered_npy(npyz::Order::Fortran, &[2, 2], &[1i64, 2, 3, 4]);
    let folder = Folder::new(&[("f.npy", fortran), ("x.npy", b"nothing".to_vec())]);
    folder.write("folder.png/file", "");
    folder.write("list.txt", "f.npy\nx.npy\nfolder.png\n");
    let found = shown(&open(folder.join("list.txt")));
    assert!(found[0].2.contains("Fortran"));
    assert!(found[1].2.contains("not a .npy array"));
    assert!(found[2].2.contains("not a file"));
}

#[test]
fn a_bad_line_is_refused_with_its_number() {
    let cases: [(&[u8], &str); 6] = [
        (
            b"1.png\t0\n\n1.png\tcat\n",
            "line 3: its label \"cat\" is not an integer",
        ),
        (b"1.png\t-1\n", "line 1: its label -1 is not from 0"),
        (b"1.png\t4294967295\n", "is not from 0 to 4294967294"),
        (b"1.png\t1\t2\n", "is not an integer"),
        (b"1.png\nnotes.md\n", "line 2: \"notes.md\" is no .png"),
        (b"1.png\n\xff.png\n", "line 2: it is not UTF-8"),
    ];
    for (list, expected) in cases {
        let folder = Folder::new(&[("list.txt", list)]);
        let error = refused(folder.join("list.txt"));
        assert!(matches!(&error, Error::Line { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
