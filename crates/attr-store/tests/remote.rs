//! What only object stores do.

use std::fmt::{self, Display};
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attr_store::object_store::memory::InMemory;
use attr_store::object_store::path::Path;
use attr_store::object_store::{
    self, CopyOptions, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use attr_store::{Error, Folder};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

/// The size of a block.
const BLOCK: usize = 4 << 20;

/// A folder in memory.
pub fn memory(prefix: &str) -> Folder {
    Folder::from_object_store(Arc::new(InMemory::new()), prefix)
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}

#[test]
fn blocks_make_a_file() {
    let folder = memory("");
    for size in [1, BLOCK - 1, BLOCK, BLOCK + 1, 7 * BLOCK + 3] {
        let content = bytes(size);
        folder.put("x", &content).unwrap();
        let mut file = folder.open("x").unwrap();
        assert_eq!(file.size(), size as u64);
        let mut found = Vec::new();
        file.read_to_end(&mut found).unwrap();
        assert!(found == content, "{size}");
        // At the borders of blocks, forwards and backwards.
        let borders = (0..=size).step_by(BLOCK).chain([size, 0, BLOCK]);
        for border in borders {
            let from = border.saturating_sub(2).min(size);
            let to = (border + 2).min(size).max(from);
            let mut part = vec![0; to - from];
            file.seek(SeekFrom::Start(from as u64)).unwrap();
            file.read_exact(&mut part).unwrap();
            assert_eq!(part, content[from..to], "{size} {border}");
        }
    }
}

#[test]
fn an_object_that_changes_is_an_error() {
    // Shorter, as long, and gone.
    for (size, expected) in [
        (Some(BLOCK), "replaced"),
        (Some(2 * BLOCK), "replaced"),
        (None, "not found"),
    ] {
        let folder = memory("p");
        folder.put("x", &bytes(2 * BLOCK)).unwrap();
        let mut file = folder.open("x").unwrap();
        let mut part = vec![0; BLOCK];
        file.read_exact(&mut part).unwrap();
        match size {
            Some(size) => drop(folder.put("x", &bytes(size)).unwrap()),
            None => folder.remove("x").unwrap(),
        }
        // What was read already is kept, and all else refused, again and again.
        for _ in 0..2 {
            let error = file.read_exact(&mut part).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_exact(&mut part).unwrap();
    }
}

/// A store that cannot be reached at times.
#[derive(Debug, Default)]
struct Unsteady {
    store: InMemory,
    is_down: Arc<AtomicBool>,
    /// Whether answers lack their last byte.
    is_short: Arc<AtomicBool>,
}

impl Display for Unsteady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unsteady")
    }
}

// What the macro async_trait would write.
impl ObjectStore for Unsteady {
    fn put_opts<'life0, 'life1, 'async_trait>(
        &'life0 self,
        path: &'life1 Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> BoxFuture<'async_trait, object_store::Result<PutResult>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move { self.store.put_opts(path, payload, options).await })
    }

    fn put_multipart_opts<'life0, 'life1, 'async_trait>(
        &'life0 self,
        path: &'life1 Path,
        options: PutMultipartOptions,
    ) -> BoxFuture<'async_trait, object_store::Result<Box<dyn MultipartUpload>>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move { self.store.put_multipart_opts(path, options).await })
    }

    fn get_opts<'life0, 'life1, 'async_trait>(
        &'life0 self,
        path: &'life1 Path,
        options: GetOptions,
    ) -> BoxFuture<'async_trait, object_store::Result<GetResult>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            if self.is_down.load(Ordering::Relaxed) {
                return Err(object_store::Error::Generic {
                    store: "Unsteady",
                    source: "out of order".into(),
                });
            }
            let mut options = options;
            if self.is_short.load(Ordering::Relaxed)
                && let Some(GetRange::Bounded(range)) = &mut options.range
            {
                range.end -= 1;
            }
            self.store.get_opts(path, options).await
        })
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_delimiter<'life0, 'life1, 'async_trait>(
        &'life0 self,
        prefix: Option<&'life1 Path>,
    ) -> BoxFuture<'async_trait, object_store::Result<ListResult>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move { self.store.list_with_delimiter(prefix).await })
    }

    fn copy_opts<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        from: &'life1 Path,
        to: &'life2 Path,
        options: CopyOptions,
    ) -> BoxFuture<'async_trait, object_store::Result<()>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move { self.store.copy_opts(from, to, options).await })
    }
}

#[test]
fn what_fails_in_the_middle_is_an_error_until_it_works_again() {
    let store = Unsteady::default();
    let (is_down, is_short) = (store.is_down.clone(), store.is_short.clone());
    let folder = Folder::from_object_store(Arc::new(store), "");
    let content = bytes(2 * BLOCK);
    folder.put("x", &content).unwrap();
    for (fault, expected) in [(&is_down, "out of order"), (&is_short, "a part of what")] {
        let mut file = folder.open("x").unwrap();
        let mut part = vec![0; BLOCK];
        file.read_exact(&mut part).unwrap();
        fault.store(true, Ordering::Relaxed);
        let error = file.read(&mut part).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(matches!(folder.open("x"), Err(Error::File { .. })));
        fault.store(false, Ordering::Relaxed);
        file.read_exact(&mut part).unwrap();
        assert!(part == content[BLOCK..]);
    }
    // Nothing is taken for missing that only could not be asked for.
    is_down.store(true, Ordering::Relaxed);
    assert!(folder.get("x").is_err());
    assert!(folder.size("x").is_err());
    assert!(folder.sizes(["x"].into_iter()).is_err());
    assert!(folder.is_folder().is_ok());
    assert!(folder.child("x").is_folder().is_err());
    assert!(folder.lock("x").is_err());
}

#[test]
fn all_files_below_a_prefix_are_listed() {
    let store = Arc::new(InMemory::new());
    let root = Folder::from_object_store(store.clone(), "/");
    let names = ["p/b.png", "p/b/c.png", "p/a/d/e", "p/b-c", "p2/x", "q"];
    for name in names {
        root.put(name, name.as_bytes()).unwrap();
    }
    let folder = Folder::from_object_store(store, "p/");
    let expected = [("a/d/e", 7), ("b-c", 5), ("b.png", 7), ("b/c.png", 9)];
    let expected = expected.map(|(name, size)| (name.to_string(), size));
    assert_eq!(folder.files().unwrap().unwrap(), expected);
    assert_eq!(folder.names().unwrap(), ["a", "b", "b-c", "b.png"]);
    assert_eq!(root.names().unwrap(), ["p", "p2", "q"]);
    assert_eq!(root.files().unwrap().unwrap().len(), names.len());
    assert!(root.split().is_none());
    // An empty object may stand for a folder.
    root.put("p", b"").unwrap();
    assert!(folder.is_folder().unwrap());
    assert_eq!(folder.files().unwrap().unwrap(), expected);
    root.put("q", b"").unwrap();
    assert!(!root.child("q").is_folder().unwrap());
    assert_eq!(folder.path().to_str(), Some("InMemory/p"));
}

#[test]
fn many_files_are_opened_at_once_and_in_order() {
    let folder = memory("");
    let names: Vec<String> = (0..100).map(|number| format!("{number}.png")).collect();
    for name in &names {
        folder.put(name, name.as_bytes()).unwrap();
    }
    let files = folder.open_each(names.iter().map(String::as_str));
    for (file, name) in files.zip(&names) {
        let mut text = String::new();
        file.unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, *name);
    }
    // Those that nobody reads are given up.
    let mut files = folder.open_each(names.iter().map(String::as_str));
    assert!(files.next().unwrap().is_ok());
}

#[test]
fn names_that_no_object_can_have_are_refused() {
    let folder = memory("p");
    assert!(matches!(folder.put("a\nb", b""), Err(Error::File { .. })));
    let sizes = folder.sizes(["a\nb"].into_iter()).unwrap();
    assert_eq!(sizes, [None]);
}

/// A program that has a runtime of its own may read and write in it.
#[test]
fn another_runtime_is_no_obstacle() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = memory("");
    let content = runtime.block_on(async {
        folder.put("x", b"1").unwrap();
        folder.get("x").unwrap()
    });
    assert_eq!(content.unwrap(), b"1");
}

#[cfg(feature = "s3")]
#[test]
fn urls_name_places() {
    for (url, path, name) in [
        ("s3://b/photos/", "s3://b/photos", Some("photos")),
        ("s3://b", "s3://b", None),
        ("s3://b/a/../c d/x.tar", "s3://b/c d/x.tar", Some("x.tar")),
    ] {
        let folder = Folder::at(url).unwrap();
        assert_eq!(folder.path().to_str(), Some(path));
        assert_eq!(folder.split().map(|(_, name)| name).as_deref(), name);
        assert!(folder.local().is_none());
    }
    let file = attr_store::File::open("s3://b");
    assert!(file.unwrap_err().to_string().contains("it is not a file"));
}
