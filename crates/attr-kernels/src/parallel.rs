//! Independent work on rayon's threads.

use rayon::prelude::*;

/// Numbers that are worth a task.
pub(crate) const TASK: usize = 1 << 14;

/// The number of threads.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Runs `f` on one of the threads. Work in many steps that use all threads is faster there: each step
/// that comes from outside waits until a thread has woken up, and the caller until it has.
pub fn on_threads<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

/// Applies `f` to each item, on as many threads as there are, and returns the results in order.
pub fn in_parallel<T: Send, R: Send>(items: Vec<T>, f: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
    if items.len() < 2 {
        return items.into_iter().map(f).collect();
    }
    items.into_par_iter().map(f).collect()
}
