//! Memory that is not cleared before it is written, and that is used again.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Returns `len` numbers that `fill` writes.
///
/// # Safety
/// `fill` must write all of them.
pub unsafe fn filled(len: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    fill(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: the caller promises that all were written, and they were reserved.
    unsafe { values.set_len(len) };
    values
}

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Buffers of more numbers are not kept: threads would hold them long after their last use.
const KEPT: usize = 1 << 20;

/// Lends `len` numbers of any content to `f`.
///
/// Each thread keeps its small buffers. A thread that waits for others may meanwhile run another task,
/// which then gets other buffers.
pub fn scratch<T>(len: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    let mut buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = f(&mut buffer[..len]);
    if buffer.len() <= KEPT {
        FREE.with_borrow_mut(|free| free.push(buffer));
    }
    result
}

/// A slice that several threads write, each its own elements.
pub struct Shared<'a> {
    start: *mut MaybeUninit<f32>,
    len: usize,
    slice: PhantomData<&'a mut [MaybeUninit<f32>]>,
}

// SAFETY: elements are only written, through `slice`, whose callers do not overlap.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(slice: &'a mut [MaybeUninit<f32>]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            slice: PhantomData,
        }
    }

    /// Returns a part of the slice.
    ///
    /// # Safety
    /// No other part that exists at the same time may overlap it.
    // Each part belongs to one task, which `&self` allows to many.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, start: usize, len: usize) -> &mut [MaybeUninit<f32>] {
        assert!(start + len <= self.len, "a part of a shared slice");
        // SAFETY: in bounds, and the caller promises that it is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

/// Writes `from` into memory that may hold nothing yet.
pub fn write(to: &mut [MaybeUninit<f32>], from: &[f32]) {
    to.write_copy_of_slice(from);
}

/// Writes one value everywhere.
#[inline(always)]
pub fn fill(to: &mut [MaybeUninit<f32>], value: f32) -> &mut [f32] {
    to.fill(MaybeUninit::new(value));
    // SAFETY: all were written.
    unsafe { to.assume_init_mut() }
}

/// The same slice, to be written only.
pub fn uninit(slice: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: of the same layout; kernels write numbers through it and nothing else.
    unsafe { std::mem::transmute(slice) }
}
