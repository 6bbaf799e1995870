//! Independent work on rayon's threads.

use rayon::prelude::*;

/// The number of threads.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Applies `f` to each item, on as many threads as there are, and returns the results in order.
pub fn in_parallel<T: Send, R: Send>(items: Vec<T>, f: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
    if items.len() < 2 {
        return items.into_iter().map(f).collect();
    }
    items.into_par_iter().map(f).collect()
}
