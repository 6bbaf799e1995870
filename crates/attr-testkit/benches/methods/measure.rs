//! Times, memory, and the floor below which a row cannot be.

use std::time::{Duration, Instant};

use attr_core::{Budget, Method, Run, Work};
use attr_gradient::Saliency;

use crate::host::grown;
use crate::peer::{Times, on_host};
use crate::subjects::{Built, Subject};
use crate::{QUICK_MS, WARM_MS};

/// Returns what `work` gives, and its milliseconds.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let found = work();
    (found, start.elapsed().as_secs_f64() * 1e3)
}

/// Runs `work` again and again for so many milliseconds.
pub fn repeated<T>(ms: u64, work: impl Fn() -> T) {
    let (start, enough) = (Instant::now(), Duration::from_millis(ms));
    while start.elapsed() < enough {
        work();
    }
}

/// Returns what `work` gives, its milliseconds, and by how many mebibytes it made the resident
/// memory of this process grow, if it computes here.
pub fn with_memory<T>(work: impl FnOnce() -> T) -> (T, f64, Option<f64>) {
    if !on_host() {
        let (found, ms) = timed(work);
        return (found, ms, None);
    }
    let ((found, ms), grown) = grown(|| timed(work));
    (found, ms, grown)
}

/// What one row of a forward pass and one gradient take at the best batch.
pub struct Floor {
    forward_ms: f64,
    gradient_ms: f64,
}

impl Floor {
    pub fn measure(subject: &Subject, built: &Built) -> Self {
        let forward = |rows| {
            let x = built.x.select(&vec![0; rows]).renumbered();
            let output = built.model.forward(&x).expect("it runs");
            output.to_vec().expect("it can be read");
        };
        let gradient = |rows| {
            let x = built.x.select(&vec![0; rows]).renumbered();
            let run = Run::new().with_budget(Budget::Rows(rows));
            let found = Saliency::new().attribute_with(&built.model, &x, subject.target, &run);
            let found = found.expect("it has a gradient");
            let value = found.values()[0].as_ref().expect("it is explained");
            value.to_vec().expect("it can be read");
        };
        Self {
            forward_ms: best_per_row(forward),
            gradient_ms: best_per_row(gradient),
        }
    }

    /// The milliseconds that the passes of some work take at least. A gradient includes its forward
    /// pass.
    pub fn of(&self, work: Work) -> f64 {
        let forward = work.forward_rows.saturating_sub(work.backward_rows);
        forward as f64 * self.forward_ms + work.backward_rows as f64 * self.gradient_ms
    }
}

/// The least milliseconds per row over several batches, each the median of some runs.
fn best_per_row(run: impl Fn(usize)) -> f64 {
    let mut best = f64::INFINITY;
    for rows in [1, 2, 4, 8, 16, 64, 256] {
        let (_, first) = timed(|| run(rows));
        repeated(if first < QUICK_MS { WARM_MS } else { 0 }, || run(rows));
        let count = if first < 200.0 { 7 } else { 3 };
        let times = Times((0..count).map(|_| timed(|| run(rows)).1).collect());
        let each = times.median() / rows as f64;
        best = best.min(each);
        if times.median() > 400.0 || each > 1.3 * best {
            break;
        }
    }
    best
}
