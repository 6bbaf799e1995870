//! What lies below a prefix in an object store.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as Location;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};

use crate::Error;
use crate::object::Object;
use crate::request::Request;

/// How many requests are on their way at once.
const AT_ONCE: usize = 16;

/// What a store answers.
pub type Answer<T> = Result<T, object_store::Error>;

/// The objects of a store whose names begin in the same way.
#[derive(Clone, Debug)]
pub struct Prefix {
    store: Arc<dyn ObjectStore>,
    /// The URL of the store itself.
    root: String,
    /// Without slashes around it.
    prefix: String,
    /// The URL of the prefix.
    shown: PathBuf,
}

impl Prefix {
    pub fn new(store: Arc<dyn ObjectStore>, root: &str, prefix: &str) -> Self {
        let prefix = resolved("", prefix);
        let shown = match &*prefix {
            "" => root.into(),
            _ => format!("{root}/{prefix}"),
        };
        Self {
            store,
            root: root.into(),
            prefix,
            shown: shown.into(),
        }
    }

    pub fn shown(&self) -> &Path {
        &self.shown
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.child(name).shown
    }

    pub fn child(&self, name: &str) -> Self {
        let prefix = resolved(&self.prefix, name);
        Self::new(self.store.clone(), &self.root, &prefix)
    }

    /// The prefix around it and its own name there.
    pub fn split(&self) -> Option<(Self, String)> {
        let (parent, name) = self.prefix.rsplit_once('/').unwrap_or(("", &self.prefix));
        let parent = Self::new(self.store.clone(), &self.root, parent);
        (!name.is_empty()).then(|| (parent, name.into()))
    }

    /// The object of a name in it.
    fn location(&self, name: &str) -> io::Result<Location> {
        let path = Location::parse(resolved(&self.prefix, name));
        path.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// Asks for something about the object of a name, and waits for the answer.
    fn ask<T: Send + 'static, F: Future<Output = Answer<T>> + Send + 'static>(
        &self,
        name: &str,
        ask: impl FnOnce(Arc<dyn ObjectStore>, Location) -> F,
    ) -> Result<Answer<T>, Error> {
        let asked = self.location(name).and_then(|location| {
            let request = Request::new(ask(self.store.clone(), location))?;
            request.wait()
        });
        asked.map_err(|error| Error::file(&self.join(name))(error))
    }

    /// Turns an answer into what was asked for; `None` if there is no such object.
    fn found<T>(&self, name: &str, answer: Answer<T>) -> Result<Option<T>, Error> {
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::file(&self.join(name))(failed(error))),
        }
    }

    fn done<T>(&self, name: &str, answer: Answer<T>) -> Result<T, Error> {
        answer.map_err(|error| Error::file(&self.join(name))(failed(error)))
    }

    /// Whether there are objects below it, and no content of its own: stores with folders have an empty
    /// object for each.
    pub fn is_folder(&self) -> Result<bool, Error> {
        let own = match &*self.prefix {
            "" => None,
            _ => self.size("")?,
        };
        if own.is_some_and(|size| size > 0) {
            return Ok(false);
        }
        let answer = self.ask("", |store, prefix| async move {
            let mut below = store.list(Some(&prefix));
            while let Some(object) = below.try_next().await? {
                if object.location != prefix {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        let is_folder = self.done("", answer)?;
        if is_folder || own.is_some() {
            return Ok(is_folder);
        }
        Err(Error::file(&self.shown)(io::Error::new(
            io::ErrorKind::NotFound,
            "there is no such object, and none below it",
        )))
    }

    /// The names of objects, and of prefixes up to the next slash.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let answer = self.ask("", |store, prefix| async move {
            store.list_with_delimiter(Some(&prefix)).await
        })?;
        let found = self.done("", answer)?;
        let objects = found.objects.iter().map(|object| &object.location);
        let names = objects.chain(&found.common_prefixes);
        let mut names: Vec<String> = names.filter_map(|path| self.name(path)).collect();
        // There may be an object `a` beside objects `a/b`.
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The names and sizes of all objects, in order.
    pub fn files(&self) -> Result<Vec<(String, u64)>, Error> {
        let answer = self.ask("", |store, prefix| async move {
            store.list(Some(&prefix)).try_collect::<Vec<_>>().await
        })?;
        let objects = self.done("", answer)?.into_iter();
        let files = objects.filter_map(|object| Some((self.name(&object.location)?, object.size)));
        let mut files: Vec<(String, u64)> = files.collect();
        files.sort_unstable();
        Ok(files)
    }

    /// The name of an object below this; `None` for an empty one, by which some programs mark a folder.
    fn name(&self, path: &Location) -> Option<String> {
        let name = path.as_ref().strip_prefix(&self.prefix)?;
        let name = name.trim_start_matches('/');
        (!name.is_empty()).then(|| name.into())
    }

    pub fn put(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let payload = PutPayload::from(content.to_vec());
        let answer = self.ask(name, |store, path| async move {
            store.put(&path, payload).await
        })?;
        self.done(name, answer)?;
        Ok(())
    }

    /// Writes an object, unless there is one of this name; returns whether there was none.
    pub fn put_first(&self, name: &str, content: &[u8]) -> Result<bool, Error> {
        match self.put_as(name, content, PutMode::Create)? {
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            answer => self.done(name, answer).map(|_| true),
        }
    }

    /// Writes an object in place of the version that was seen, or of none, and returns its version.
    pub fn put_version(
        &self,
        name: &str,
        content: &[u8],
        seen: Option<UpdateVersion>,
    ) -> Result<UpdateVersion, Error> {
        use object_store::Error as Refused;
        let (is_new, mode) = match seen {
            None => (true, PutMode::Create),
            Some(seen) => (false, PutMode::Update(seen)),
        };
        let busy = || Error::Busy {
            path: self.shown.clone(),
        };
        match self.put_as(name, content, mode)? {
            Err(Refused::AlreadyExists { .. } | Refused::Precondition { .. }) => Err(busy()),
            // Somebody has removed what was seen.
            Err(Refused::NotFound { .. }) if !is_new => Err(busy()),
            answer => self.done(name, answer),
        }
    }

    fn put_as(
        &self,
        name: &str,
        content: &[u8],
        mode: PutMode,
    ) -> Result<Answer<UpdateVersion>, Error> {
        let payload = PutPayload::from(content.to_vec());
        self.ask(name, |store, path| async move {
            let written = store.put_opts(&path, payload, mode.into()).await?;
            Ok(written.into())
        })
    }

    /// The version of an object; `None` if there is no such object.
    pub fn version(&self, name: &str) -> Result<Option<UpdateVersion>, Error> {
        let answer = self.ask(name, |store, path| async move { store.head(&path).await })?;
        let found = self.found(name, answer)?;
        Ok(found.map(|meta| UpdateVersion {
            e_tag: meta.e_tag,
            version: meta.version,
        }))
    }

    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let answer = self.ask(name, |store, path| async move {
            store.get(&path).await?.bytes().await
        })?;
        let content = self.found(name, answer)?;
        Ok(content.map(|content| content.to_vec()))
    }

    pub fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        let answer = self.ask(name, |store, path| async move { store.head(&path).await })?;
        Ok(self.found(name, answer)?.map(|meta| meta.size))
    }

    pub fn sizes<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Option<u64>>, Error> {
        let locations: Vec<io::Result<Location>> = names.map(|name| self.location(name)).collect();
        let store = self.store.clone();
        let one = move |location: io::Result<Location>| {
            let store = store.clone();
            async move {
                // What is no name of an object is none.
                let Ok(location) = location else {
                    return Ok(None);
                };
                match store.head(&location).await {
                    Ok(meta) => Ok(Some(meta.size)),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error),
                }
            }
        };
        let sizes = stream::iter(locations).map(one).buffered(AT_ONCE);
        let request = Request::new(sizes.try_collect());
        let answer = request.and_then(Request::wait);
        self.done("", answer.map_err(Error::file(&self.shown))?)
    }

    pub fn open(&self, name: &str) -> Result<Object, Error> {
        let answer = self.ask(name, Object::open)?;
        self.done(name, answer)
    }

    /// Opens objects, several at once.
    pub fn open_each<'a>(
        &'a self,
        names: impl Iterator<Item = &'a str> + Send + 'a,
    ) -> impl Iterator<Item = Result<Object, Error>> + Send + 'a {
        let mut requests = names.map(|name| {
            let open = |location| Request::new(Object::open(self.store.clone(), location));
            (name, self.location(name).and_then(open))
        });
        let mut coming = VecDeque::new();
        std::iter::from_fn(move || {
            while coming.len() < AT_ONCE
                && let Some(request) = requests.next()
            {
                coming.push_back(request);
            }
            let (name, request) = coming.pop_front()?;
            let answer = request.and_then(Request::wait);
            let answer = answer.map_err(|error| Error::file(&self.join(name))(error));
            Some(answer.and_then(|answer| self.done(name, answer)))
        })
    }

    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let answer = self.ask(name, |store, path| async move { store.delete(&path).await })?;
        self.found(name, answer)?;
        Ok(())
    }
}

/// The name of an object that is called `name` from within `prefix`, as paths of files are.
fn resolved(prefix: &str, name: &str) -> String {
    let around = if name.starts_with('/') { "" } else { prefix };
    let mut parts: Vec<&str> = Vec::new();
    for part in around.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// What a store says, as an error of the system.
pub fn failed(error: object_store::Error) -> io::Error {
    use object_store::Error as Store;
    let kind = match &error {
        Store::NotFound { .. } => io::ErrorKind::NotFound,
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        Store::Precondition { .. } => {
            return io::Error::other("it was replaced while it was read");
        }
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_resolved_as_paths_are() {
        for (prefix, name, expected) in [
            ("", "a", "a"),
            ("p/q", "a/b", "p/q/a/b"),
            ("p/q", "../a", "p/a"),
            ("p", "../../a", "a"),
            ("p", "./a//b/", "p/a/b"),
            ("p", "/a", "a"),
            ("p", "", "p"),
        ] {
            assert_eq!(resolved(prefix, name), expected, "{prefix:?} {name:?}");
        }
    }
}
