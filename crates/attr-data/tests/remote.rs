//! Data sets in object stores, which must be those of local folders.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use attr_data::attr_store::Folder as Place;
use attr_data::attr_store::object_store::memory::InMemory;
use attr_data::{Content, DataSet, Error, Options};

use crate::parquet::numbered;
use crate::support::{Folder, assert_ranges, npy, open, samples, shown};
use crate::tar::archive;

/// Copies all files below a folder into a store.
fn copied(folder: &Path) -> Place {
    let place = Place::from_object_store(Arc::new(InMemory::new()), "some/data");
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        for entry in std::fs::read_dir(folder.join(&below)).unwrap() {
            let name = below.join(entry.unwrap().file_name());
            if folder.join(&name).is_dir() {
                folders.push(name);
            } else {
                let content = std::fs::read(folder.join(&name)).unwrap();
                let name = name.to_str().unwrap().replace('\\', "/");
                place.put(&name, &content).unwrap();
            }
        }
    }
    place
}

fn stored(place: &Place) -> DataSet {
    DataSet::open_at(place, &Options::default()).unwrap()
}

/// A folder with data sets of every format.
fn data_sets() -> Folder {
    let image = "x".repeat(3000);
    let entries = [
        ("0.png", &*image),
        ("0.cls", "2"),
        ("1.png", "one"),
        ("1.cls", "x"),
    ];
    let row = [1.5f32, 0.0, -3.0];
    Folder::new(&[
        ("images/b/2.PNG", b"b2".to_vec()),
        ("images/b/10.jpg", b"b10".to_vec()),
        ("images/a-x/1.jpeg", b"ax1".to_vec()),
        ("images/a/deep/ä.png", vec![]),
        ("images/a/.hidden.png", vec![]),
        ("images/.cache/1.png", vec![]),
        ("images/a/notes.txt", b"1".to_vec()),
        ("flat/2.png", b"2".to_vec()),
        ("flat/1.png", b"1".to_vec()),
        ("x.npy", npy(&[5, 3], &row.repeat(5))),
        ("tars/a.tar", archive(&entries)),
        ("tars/b.tar", archive(&entries[2..])),
        ("rows/a.parquet", numbered(0, 150, 100)),
        ("rows/b.parquet", numbered(150, 160, 3)),
        (
            "lists/x.txt",
            b"../flat/1.png\t3\n./y.npy\nmissing.png\t1\n".to_vec(),
        ),
        ("lists/y.npy", npy(&[2], &[1i64, 2])),
    ])
}

#[test]
fn stores_and_folders_hold_the_same_data() {
    let folder = data_sets();
    let place = copied(folder.path());
    for (name, len) in [
        ("images", 4),
        ("flat", 2),
        ("x.npy", 5),
        ("tars", 3),
        ("tars/b.tar", 1),
        ("rows", 160),
        ("rows/b.parquet", 10),
        ("lists/x.txt", 3),
    ] {
        let local = open(folder.join(name));
        let found = stored(&place.child(name));
        assert_eq!(found.len(), len, "{name}");
        assert_eq!(found.fingerprint(), local.fingerprint(), "{name}");
        assert_eq!(found.classes(), local.classes(), "{name}");
        assert_eq!(found.has_labels(), local.has_labels(), "{name}");
        for (found, local) in shown(&found).into_iter().zip(shown(&local)) {
            assert_eq!((&found.0, found.1), (&local.0, local.1), "{name}");
            let unreadable = "unreadable: it cannot be read";
            if !local.2.starts_with(unreadable) {
                assert_eq!(found.2, local.2, "{name}");
            } else {
                assert!(found.2.starts_with(unreadable), "{name}: {}", found.2);
            }
        }
        assert_ranges(&found);
    }
}

#[test]
fn what_is_no_data_set_is_refused_as_in_a_folder() {
    let cases: [(&[&str], &str, &str); 7] = [
        (&["1.png", "a/2.png"], "", "sub-folders, such as a/2.png"),
        (&["1.png", "x.tar"], "", "images (1) and .tar files (1)"),
        (&["x.tar", "y.TGZ"], "", "y.TGZ is compressed"),
        (&["readme.md"], "", "has no samples"),
        (&["readme.md"], "readme.md", "is no data set"),
        (&["x.tar"], "", "x.tar is no intact tar archive"),
        (&["x.parquet"], "", "x.parquet is no readable Parquet file"),
    ];
    for (names, name, expected) in cases {
        let files: Vec<(&str, &str)> = names.iter().map(|&name| (name, "x")).collect();
        let place = copied(Folder::new(&files).path());
        let error = DataSet::open_at(&place.child(name), &Options::default()).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("InMemory/some/data"), "{message}");
        assert!(message.contains(expected), "{names:?}: {message}");
    }
    let nothing = copied(Folder::empty().path());
    for place in [nothing.child("x.npy"), nothing] {
        let error = DataSet::open_at(&place, &Options::default()).unwrap_err();
        assert!(matches!(error, Error::Read { .. }), "{error}");
    }
}

#[test]
fn objects_that_change_are_errors() {
    let place = copied(data_sets().path());
    // A single image is one sample only.
    let images = stored(&place.child("flat"));
    place.remove("flat/1.png").unwrap();
    let found = samples(&images, 0..2);
    assert!(matches!(&found[0].content, Content::Unreadable(reason) if reason.contains("read")));
    assert_eq!(found[1].content, Content::Encoded(b"2".into()));

    let names: Vec<String> = (0..5).map(|number| format!("{number}.png")).collect();
    let image = vec![b'0'; 5 << 20];
    let entries: Vec<_> = names.iter().map(|name| (&**name, &image)).collect();
    let rows = npy(&[20, 1 << 17], &vec![7i64; 20 << 17]);
    for (name, content) in [("x.tar", archive(&entries)), ("x.npy", rows)] {
        let changes: [fn(&Place, &str, &[u8]); 3] = [
            |place, name, _| place.remove(name).unwrap(),
            |place, name, content| drop(place.put(name, &content[..1 << 20]).unwrap()),
            // The same size, other content.
            |place, name, content| drop(place.put(name, &vec![b'x'; content.len()]).unwrap()),
        ];
        for change in changes {
            place.put(name, &content).unwrap();
            let data = stored(&place.child(name));
            let mut stream = data.samples(0..data.len());
            assert!(stream.next().unwrap().is_ok());
            change(&place, name, &content);
            // Samples that were on their way may still come.
            let error = stream.find_map(Result::err);
            assert!(matches!(
                error,
                Some(Error::Read { .. } | Error::Tar { .. })
            ));
            assert!(stream.next().is_none());
        }
    }
}

#[test]
fn urls_that_cannot_be_opened_are_refused() {
    for (url, expected) in [
        ("http://host/x.npy", "URLs of object stores are s3://"),
        ("s3://", "it names no bucket"),
        #[cfg(not(feature = "s3"))]
        ("s3://b/x", "needs attr built with the feature `s3`"),
    ] {
        let error = DataSet::open(url, &Options::default()).unwrap_err();
        assert!(matches!(error, Error::Store(_)));
        assert!(error.to_string().contains(expected), "{error}");
    }
}
