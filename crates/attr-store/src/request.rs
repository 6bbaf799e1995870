//! Requests to object stores, for callers that wait.

use std::future::Future;
use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};

use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

/// A request on its way; it is given up when this is dropped.
#[derive(Debug)]
pub struct Request<T> {
    answer: Receiver<T>,
    task: AbortHandle,
}

impl<T: Send + 'static> Request<T> {
    /// Sends a request.
    pub fn new(work: impl Future<Output = T> + Send + 'static) -> io::Result<Self> {
        let (to, answer) = sync_channel(1);
        let task = runtime()?.spawn(async move {
            // It may be that nobody waits for it.
            let _ = to.send(work.await);
        });
        Ok(Self {
            answer,
            task: task.abort_handle(),
        })
    }

    /// Waits for the answer. This works on threads of another runtime, too.
    pub fn wait(self) -> io::Result<T> {
        let answer = self.answer.recv();
        answer.map_err(|_| io::Error::other("the request ended without an answer"))
    }
}

impl<T> Drop for Request<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The threads that all requests run on.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let build = || {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2).thread_name("attr-store");
        builder.enable_all().build()
    };
    let runtime = RUNTIME.get_or_init(build).as_ref();
    runtime.map_err(|error| io::Error::new(error.kind(), error.to_string()))
}
