//! Shows progress on standard error if it is a terminal.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::Duration;

use attr_core::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar.
pub struct Bar {
    shown: bool,
    bar: RefCell<ProgressBar>,
}

impl Bar {
    /// Creates a bar that is hidden if `quiet` is set or standard error is not a terminal.
    pub fn new(quiet: bool) -> Self {
        Self {
            shown: !quiet && std::io::stderr().is_terminal(),
            bar: RefCell::new(ProgressBar::hidden()),
        }
    }

    /// Removes the bar.
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
