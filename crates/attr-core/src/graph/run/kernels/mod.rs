//! The door to the fast kernels of `attr-kernels`: an operation and its operands go in, the result
//! comes out, or nothing where Burn is to do the work.
//!
//! They serve plain `f32` tensors on `flex` devices. The feature `burn-kernels` closes the door.

#[cfg(all(feature = "flex", not(feature = "burn-kernels")))]
mod fast;
#[cfg(any(not(feature = "flex"), feature = "burn-kernels"))]
mod none;
#[cfg(all(feature = "flex", not(feature = "burn-kernels")))]
mod prepared;

#[cfg(all(feature = "flex", not(feature = "burn-kernels")))]
pub(crate) use fast::{Kernels, in_parallel, on_threads, threads};
#[cfg(any(not(feature = "flex"), feature = "burn-kernels"))]
pub(crate) use none::{Kernels, in_parallel, on_threads, threads};

/// Boxes of equal size in the spatial dimensions: per row where it starts, and the size.
pub(crate) type Boxed<'a> = (&'a [Vec<usize>], &'a [usize]);
