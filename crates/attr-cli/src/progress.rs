//! Shows progress on standard error: a bar on a terminal, elsewhere a line now and then.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use attr_core::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long work goes on before the first line, and between lines.
const FIRST_LINE: Duration = Duration::from_secs(10);
const NEXT_LINE: Duration = Duration::from_secs(60);

/// Progress of the evaluations that a method has announced.
pub struct Bar {
    quiet: bool,
    terminal: bool,
    /// Counts evaluations, whether it is shown or not.
    bar: RefCell<Option<ProgressBar>>,
    started: Instant,
    /// When the next line is due.
    due: Cell<Instant>,
}

impl Bar {
    /// Creates progress without any work yet; nothing is shown if `quiet` is set.
    pub fn new(quiet: bool) -> Self {
        let now = Instant::now();
        Self {
            quiet,
            terminal: std::io::stderr().is_terminal(),
            bar: RefCell::new(None),
            started: now,
            due: Cell::new(now + FIRST_LINE),
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &*self.bar.borrow() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bar {
    fn start(&self, rows: usize) {
        let rows = rows as u64;
        let mut present = self.bar.borrow_mut();
        if let Some(bar) = &*present {
            // More work than was known: what is done stays done.
            bar.inc_length(rows);
            return;
        }
        let bar = ProgressBar::with_draw_target(Some(rows), ProgressDrawTarget::hidden());
        if self.terminal && !self.quiet {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            let template = "{bar:40} {pos}/{len} evaluations, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        *present = Some(bar);
    }

    fn advance(&self, rows: usize) {
        let bar = self.bar.borrow();
        let Some(bar) = &*bar else { return };
        bar.inc(rows as u64);
        let now = Instant::now();
        if self.quiet || self.terminal || now < self.due.get() {
            return;
        }
        self.due.set(now + NEXT_LINE);
        let (done, all) = (bar.position(), bar.length().unwrap_or_default());
        let spent = now.duration_since(self.started).as_secs_f64();
        let left = spent * all.saturating_sub(done) as f64 / done.max(1) as f64;
        // The result matters more than a line that cannot be written.
        let _ = writeln!(
            std::io::stderr(),
            "{done} of {all} evaluations, about {left:.0} s left"
        );
    }
}
