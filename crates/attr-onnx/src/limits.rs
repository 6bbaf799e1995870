//! What one run over a file's nodes may use.

use std::cell::Cell;
use std::ops::RangeInclusive;

/// The maximum number of steps of all recurrent layers and directions together.
pub(crate) const MOST_STEPS: usize = 1 << 14;

/// What a run over the nodes may use: a few bytes in a file can request any amount.
pub(crate) struct Limits {
    /// The integers that the model's device represents.
    pub integers: RangeInclusive<i64>,
    /// The number of elements of constants that may still be computed.
    pub constants: Cell<usize>,
    /// The number of steps that recurrent layers may still take.
    pub steps: Cell<usize>,
}

impl Limits {
    /// Limits the constants that nodes compute.
    pub fn spend(&self, elements: usize) -> Result<(), String> {
        let left = self.constants.get().checked_sub(elements);
        let left = left.ok_or("the model computes too many constants for its size")?;
        self.constants.set(left);
        Ok(())
    }

    /// Limits the steps of recurrent layers, each of which is several nodes of the trace.
    pub fn unroll(&self, steps: usize) -> Result<(), String> {
        let left = self.steps.get().checked_sub(steps);
        let left = left.ok_or_else(|| {
            format!(
                "the model's recurrent layers take more than {MOST_STEPS} steps in all; give \
                 shorter sequences"
            )
        })?;
        self.steps.set(left);
        Ok(())
    }

    /// Refuses an integer that the model's device does not represent.
    pub fn check_integer(&self, integer: i64) -> Result<(), String> {
        if self.integers.contains(&integer) {
            return Ok(());
        }
        Err(format!(
            "it computes with {integer}, but integers on this device go from {} to {}",
            self.integers.start(),
            self.integers.end()
        ))
    }
}
