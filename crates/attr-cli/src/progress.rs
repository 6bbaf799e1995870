//! Progress on standard error, when that is a terminal.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::Duration;

use attr_core::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar for the work in progress.
pub struct Bar {
    shown: bool,
    bar: RefCell<ProgressBar>,
}

impl Bar {
    /// A bar that shows unless `quiet` or standard error is no terminal.
    pub fn new(quiet: bool) -> Self {
        Self {
            shown: !quiet && std::io::stderr().is_terminal(),
            bar: RefCell::new(ProgressBar::hidden()),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.borrow().finish_and_clear();
    }
}

impl Progress for Bar {
    fn start(&self, rows: usize) {
        self.finish();
        if !self.shown {
            return;
        }
        let bar = ProgressBar::new(rows as u64);
        let template = "{bar:40} {pos}/{len} evaluations, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        *self.bar.borrow_mut() = bar;
    }

    fn advance(&self, rows: usize) {
        self.bar.borrow().inc(rows as u64);
    }
}
