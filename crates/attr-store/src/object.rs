//! Reading an object in blocks.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt};

use crate::remote::{Answer, failed};
use crate::request::Request;

/// The size of a block in bytes. A request waits about as long for its first byte as for some MiB that
/// follow: smaller blocks would gain little, larger ones would mostly hold what nobody reads.
const BLOCK: u64 = 4 << 20;

/// The number of blocks that are kept: the columns of a Parquet file are read by turns.
const KEPT: usize = 4;

/// An object that is open for reading.
#[derive(Debug)]
pub struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
    /// What tells its content from that of an object that replaces it.
    e_tag: Option<String>,
    blocks: Mutex<Blocks>,
}

/// Blocks by their numbers.
#[derive(Debug, Default)]
struct Blocks {
    kept: VecDeque<(u64, Vec<u8>)>,
    /// The one that will probably be read next.
    coming: Option<(u64, Request<Answer<Vec<u8>>>)>,
}

impl Object {
    /// Opens an object by reading its first block, which tells its size, too.
    pub async fn open(store: Arc<dyn ObjectStore>, path: Path) -> Answer<Self> {
        let options = GetOptions::new().with_range(Some(0..BLOCK));
        let (meta, first) = match store.get_opts(&path, options).await {
            Ok(found) => {
                let meta = found.meta.clone();
                (meta, Some(found.bytes().await?.to_vec()))
            }
            Err(error @ (Error::NotFound { .. } | Error::PermissionDenied { .. })) => {
                return Err(error);
            }
            // An object without content has no range.
            Err(error) => match store.head(&path).await {
                Ok(meta) if meta.size == 0 => (meta, None),
                _ => return Err(error),
            },
        };
        // Weak tags name no bytes, and match nothing.
        let strong = |tag: &String| !tag.starts_with("W/");
        let object = Self {
            store,
            path,
            size: meta.size,
            e_tag: meta.e_tag.filter(strong),
            blocks: Mutex::default(),
        };
        if let Some(first) = first {
            whole(&first, &object.range(0))?;
            object.lock().kept.push_back((0, first));
        }
        Ok(object)
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads from a position on, at most up to the end of a block.
    pub fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        if at >= self.size || into.is_empty() {
            return Ok(0);
        }
        let number = at / BLOCK;
        let mut blocks = self.lock();
        if !blocks.kept.iter().any(|kept| kept.0 == number) {
            self.fetch(&mut blocks, number)?;
        }
        let found = blocks.kept.iter().find(|kept| kept.0 == number);
        let rest = found.and_then(|(_, block)| block.get((at % BLOCK) as usize..));
        let rest = rest.unwrap_or_default();
        let read = rest.len().min(into.len());
        into[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    /// Adds a block to those that are kept. If the one before it is among them, the next one is asked
    /// for already.
    fn fetch(&self, blocks: &mut Blocks, number: u64) -> io::Result<()> {
        let request = match blocks.coming.take() {
            Some((coming, request)) if coming == number => request,
            _ => self.request(number)?,
        };
        let in_order = blocks.kept.iter().any(|kept| kept.0 + 1 == number);
        if in_order && !self.range(number + 1).is_empty() {
            blocks.coming = Some((number + 1, self.request(number + 1)?));
        }
        let block = request.wait()?.map_err(failed)?;
        if blocks.kept.len() == KEPT {
            blocks.kept.pop_front();
        }
        blocks.kept.push_back((number, block));
        Ok(())
    }

    fn request(&self, number: u64) -> io::Result<Request<Answer<Vec<u8>>>> {
        let (store, path, range) = (self.store.clone(), self.path.clone(), self.range(number));
        let options = GetOptions::new()
            .with_range(Some(range.clone()))
            .with_if_match(self.e_tag.clone());
        let size = self.size;
        Request::new(async move {
            let found = store.get_opts(&path, options).await?;
            if found.meta.size != size {
                return Err(broken("it was replaced while it was read"));
            }
            let block = found.bytes().await?;
            whole(&block, &range)?;
            Ok(block.to_vec())
        })
    }

    /// The bytes of a block.
    fn range(&self, number: u64) -> Range<u64> {
        let start = number.saturating_mul(BLOCK).min(self.size);
        start..start.saturating_add(BLOCK).min(self.size)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses a part of a range.
fn whole(found: &[u8], range: &Range<u64>) -> Answer<()> {
    if found.len() as u64 == range.end - range.start {
        return Ok(());
    }
    Err(broken(
        "the store answered with a part of what was asked for",
    ))
}

fn broken(reason: &str) -> Error {
    Error::Generic {
        store: "attr",
        source: reason.into(),
    }
}
