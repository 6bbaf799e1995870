//! No kernels: Burn does all the work, on one part after the other.

use burn::backend::DispatchDevice;

use super::Boxed;
use crate::Value;
use crate::graph::op::Op;

/// How many threads work on parts of a batch at once on a device.
pub(crate) fn threads(_: &DispatchDevice) -> usize {
    1
}

/// Applies `f` to each item.
pub(crate) fn in_parallel<T, R>(_: &DispatchDevice, items: Vec<T>, f: impl Fn(T) -> R) -> Vec<R> {
    items.into_iter().map(f).collect()
}

/// Runs work in many steps.
pub(crate) fn on_threads<R>(_: &DispatchDevice, f: impl FnOnce() -> R) -> R {
    f()
}

/// No kernels.
#[derive(Debug, Default)]
pub(crate) struct Kernels;

impl Kernels {
    /// Leaves every operation to Burn.
    pub fn run(&self, _: &Op, _: &[Value]) -> Option<Value> {
        None
    }

    /// Leaves every operation to Burn.
    pub fn run_with_activation(&self, _: &Op, _: &[Value], _: &Op) -> Option<Value> {
        None
    }

    /// Leaves boxes to Burn.
    pub fn boxes(
        &self,
        _: &Value,
        _: &[usize],
        _: f32,
        _: Boxed<'_>,
        _: Option<(&Value, Boxed<'_>)>,
    ) -> Option<Value> {
        None
    }

    /// Leaves every derivative to Burn.
    pub fn derivative(&self, _: &Op, _: &[Value], _: &[Value], _: &Value) -> Option<Value> {
        None
    }
}
