//! What every folder does, wherever it is.

use std::io::{Read, Seek, SeekFrom};

use attr_store::{Error, Folder, Written, sha256};

/// Calls a test with an empty folder of every kind.
fn each(test: impl Fn(Folder)) {
    let folder = tempfile::tempdir().unwrap();
    test(Folder::create(folder.path().join("a b/ä")).unwrap());
    #[cfg(feature = "remote")]
    test(crate::remote::memory("a b/ä"));
}

#[test]
fn files_are_written_whole() {
    each(|folder| {
        assert_eq!(folder.names().unwrap(), [""; 0]);
        assert_eq!(folder.get("x").unwrap(), None);
        assert_eq!(folder.size("x").unwrap(), None);
        folder.remove("x").unwrap();

        let written = folder.put("x", b"one").unwrap();
        assert_eq!(folder.put("x", b"three").unwrap().bytes, 5);
        assert!(!folder.put_first("x", b"other").unwrap());
        assert!(folder.put_first("#%20?", b"first").unwrap());
        assert_eq!(folder.get("x").unwrap().unwrap(), b"three");
        assert_eq!(folder.size("x").unwrap(), Some(5));
        folder.sync().unwrap();

        let child = folder.child("c");
        child.ensure().unwrap();
        child.put("y", b"").unwrap();
        assert_eq!(folder.names().unwrap(), ["#%20?", "c", "x"]);
        assert_eq!(child.names().unwrap(), ["y"]);
        assert_eq!(folder.get("c/y").unwrap().unwrap(), b"");
        assert_eq!(child.get("../x").unwrap().unwrap(), b"three");
        let shown = child.join("y").display().to_string();
        assert!(shown.replace('\\', "/").ends_with("a b/ä/c/y"), "{shown}");

        for (name, written, expected) in [
            ("x", &written, "its content is not what was written"),
            ("z", &written, "it is missing"),
        ] {
            let error = folder.get_written(name, written).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }));
            assert!(error.to_string().ends_with(expected), "{error}");
        }
        assert!(matches!(
            folder.check_size("x", &written),
            Err(Error::Damaged { .. })
        ));
        let written = Written {
            bytes: 5,
            sha256: sha256(b"three"),
        };
        assert_eq!(folder.get_written("x", &written).unwrap(), b"three");
        folder.check_size("x", &written).unwrap();

        folder.remove("x").unwrap();
        assert_eq!(folder.get("x").unwrap(), None);
    });
}

#[test]
fn values_are_json() {
    each(|folder| {
        assert_eq!(folder.get_json::<Vec<u64>>("x").unwrap(), None);
        folder.put_json("x", &[1, 2]).unwrap();
        assert!(!folder.put_json_first("x", &[3]).unwrap());
        assert_eq!(folder.get_json::<Vec<u64>>("x").unwrap(), Some(vec![1, 2]));
        folder.put("x", b"[1").unwrap();
        let damaged = folder.get_json::<Vec<u64>>("x");
        assert!(matches!(damaged, Err(Error::Damaged { .. })));
    });
}

#[test]
fn a_place_is_a_folder_or_a_file() {
    each(|folder| {
        folder.put("x.tar", b"123").unwrap();
        assert!(folder.is_folder().unwrap());
        let file = folder.child("x.tar");
        assert!(!file.is_folder().unwrap());
        let (around, name) = file.split().unwrap();
        assert_eq!((around.path(), &*name), (folder.path(), "x.tar"));
        match folder.child("x").is_folder() {
            Err(Error::File { source, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
            }
            other => panic!("{other:?}"),
        }
        let names = ["x.tar", "x", "x.tar"];
        let sizes = folder.sizes(names.into_iter()).unwrap();
        assert_eq!(sizes, [Some(3), None, Some(3)]);
    });
}

#[test]
fn files_are_read_anywhere() {
    each(|folder| {
        folder.put("empty", b"").unwrap();
        let mut text = String::new();
        let mut file = folder.open("empty").unwrap();
        assert_eq!(file.read_to_string(&mut text).unwrap(), 0);

        folder.put("x", b"0123456789").unwrap();
        let mut file = folder.open("x").unwrap();
        assert_eq!(file.size(), 10);
        let mut other = file.clone();
        for (to, position, rest) in [
            (SeekFrom::Start(0), 0, "0123456789"),
            (SeekFrom::Start(7), 7, "789"),
            (SeekFrom::Current(-4), 6, "6789"),
            (SeekFrom::End(-2), 8, "89"),
            (SeekFrom::End(5), 15, ""),
        ] {
            assert_eq!(file.seek(to).unwrap(), position);
            text.clear();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, rest);
        }
        assert!(file.seek(SeekFrom::End(-11)).is_err());
        text.clear();
        other.read_to_string(&mut text).unwrap();
        assert_eq!(text, "0123456789");

        let names = ["x", "missing", "empty"];
        let sizes = folder.open_each(names.into_iter()).map(|file| file.ok());
        let sizes: Vec<Option<u64>> = sizes.map(|file| Some(file?.size())).collect();
        assert_eq!(sizes, [Some(10), None, Some(0)]);
        match folder.open("missing") {
            Err(Error::File { source, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn of_two_writers_one_writes() {
    each(|folder| {
        // Begun from nothing, and from what the first has written.
        for content in [b"1", b"2"] {
            let mut first = folder.lock("state").unwrap();
            let second = folder.lock("state");
            let written = first.put(content).unwrap();
            match second {
                Ok(mut second) => {
                    assert!(!first.is_exclusive());
                    for _ in 0..2 {
                        assert!(matches!(second.put(b"x"), Err(Error::Busy { .. })));
                    }
                }
                Err(error) => {
                    assert!(first.is_exclusive());
                    assert!(matches!(error, Error::Busy { .. }));
                }
            }
            assert_eq!(folder.get_written("state", &written).unwrap(), content);
            // The first goes on.
            first.put(b"more").unwrap();
            first.put_json(&[1]).unwrap();
        }
        // One that was removed is not what was seen.
        let mut guard = folder.lock("state").unwrap();
        folder.remove("state").unwrap();
        match guard.put(b"x") {
            Ok(_) => assert!(guard.is_exclusive()),
            Err(error) => assert!(matches!(error, Error::Busy { .. })),
        }
    });
}

#[test]
fn a_file_is_opened_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    std::fs::write(&path, "12").unwrap();
    assert_eq!(attr_store::File::open(&path).unwrap().size(), 2);
    let message = attr_store::File::open(folder.path()).unwrap_err();
    assert!(message.to_string().contains("it is not a file"));
}

#[cfg(unix)]
#[test]
fn files_have_the_permissions_of_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("other"), "").unwrap();
    let own = Folder::at(folder.path()).unwrap();
    own.put("x", b"").unwrap();
    let mode = |name: &str| {
        let about = std::fs::metadata(folder.path().join(name)).unwrap();
        about.permissions().mode()
    };
    assert_eq!(mode("x"), mode("other"));
    assert_eq!(own.names().unwrap(), ["other", "x"]);
}
