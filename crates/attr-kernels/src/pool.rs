//! Max pooling over two dimensions.

use std::mem::MaybeUninit;

use multiversion::multiversion;
use rayon::prelude::*;

use crate::memory::{filled, scratch};

/// Max pooling of planes `[height, width]`. Padding never is the largest; not-a-number always is.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool {
    /// Height and width of a plane.
    pub input: [usize; 2],
    /// Height and width of a pooled plane.
    pub output: [usize; 2],
    /// Size of the window.
    pub kernel: [usize; 2],
    /// Step.
    pub stride: [usize; 2],
    /// Padding before.
    pub padding: [usize; 2],
    /// Distance between elements of the window.
    pub dilation: [usize; 2],
}

impl MaxPool {
    /// Whether every window has an element in the plane, as [`run`](Self::run) and
    /// [`backward`](Self::backward) need.
    pub fn is_valid(&self) -> bool {
        (0..2).all(|i| {
            let some = |at: usize| !self.inside(i, at).is_empty();
            self.stride[i] > 0 && (0..self.output[i]).all(some)
        })
    }

    /// The elements of window `at` that lie in the plane, along one dimension.
    #[inline(always)]
    fn inside(&self, i: usize, at: usize) -> std::ops::Range<usize> {
        let (start, dilation) = (at * self.stride[i], self.dilation[i].max(1));
        let first = self.padding[i].saturating_sub(start).div_ceil(dilation);
        let room = (self.input[i] + self.padding[i]).saturating_sub(start);
        first..room.div_ceil(dilation).min(self.kernel[i])
    }

    fn area(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// The largest value of each window.
    ///
    /// # Panics
    /// If `x` is not a number of planes, or a window has no element in the plane.
    pub fn run(&self, x: &[f32]) -> Vec<f32> {
        assert!(
            self.is_valid() && x.len().is_multiple_of(self.area()),
            "whole planes"
        );
        let planes = x.len() / self.area();
        let run = |out: &mut [MaybeUninit<f32>]| {
            let pairs = out
                .par_chunks_mut(self.positions())
                .zip(x.par_chunks(self.area()));
            let least = (1_usize << 13).div_ceil(self.area());
            pairs
                .with_min_len(least)
                .for_each(|(out, x)| largest(self, x, out));
        };
        // SAFETY: every plane is written whole.
        unsafe { filled(planes * self.positions(), run) }
    }

    /// The gradient of [`run`](Self::run): what arrives at a window goes to its first largest
    /// element, or its last that is not a number.
    ///
    /// # Panics
    /// As [`run`](Self::run); if there is not one gradient for each window.
    pub fn backward(&self, x: &[f32], grad: &[f32]) -> Vec<f32> {
        assert!(
            self.is_valid() && x.len().is_multiple_of(self.area()),
            "whole planes"
        );
        let planes = x.len() / self.area();
        assert_eq!(
            grad.len(),
            planes * self.positions(),
            "one gradient for each window"
        );
        let mut out = vec![0.0; x.len()];
        let planes = out
            .par_chunks_mut(self.area())
            .zip(x.par_chunks(self.area()));
        let least = (1_usize << 13).div_ceil(self.area());
        let each = planes.zip(grad.par_chunks(self.positions()));
        each.with_min_len(least)
            .for_each(|((out, x), grad)| pass_back(self, x, grad, out));
        out
    }
}

#[inline(always)]
fn larger(value: f32, than: f32) -> bool {
    value > than || value.is_nan()
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn largest(pool: &MaxPool, x: &[f32], out: &mut [MaybeUninit<f32>]) {
    let width = pool.input[1];
    let across: Vec<_> = (0..pool.output[1]).map(|at| pool.inside(1, at)).collect();
    // The largest of each column first: neighbours are compared at once.
    scratch(width, |columns| {
        for (y, out) in out.chunks_exact_mut(pool.output[1]).enumerate() {
            columns.fill(f32::NEG_INFINITY);
            for k in pool.inside(0, y) {
                let line = y * pool.stride[0] + k * pool.dilation[0] - pool.padding[0];
                for (most, &value) in columns.iter_mut().zip(&x[line * width..][..width]) {
                    *most = if larger(value, *most) { value } else { *most };
                }
            }
            for ((at, out), inside) in out.iter_mut().enumerate().zip(&across) {
                let mut most = f32::NEG_INFINITY;
                for k in inside.clone() {
                    let value =
                        columns[at * pool.stride[1] + k * pool.dilation[1] - pool.padding[1]];
                    most = if larger(value, most) { value } else { most };
                }
                out.write(most);
            }
        }
    });
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn pass_back(pool: &MaxPool, x: &[f32], grad: &[f32], out: &mut [f32]) {
    let width = pool.input[1];
    let across: Vec<_> = (0..pool.output[1]).map(|at| pool.inside(1, at)).collect();
    for (y, grad) in grad.chunks_exact(pool.output[1]).enumerate() {
        let down = pool.inside(0, y);
        for ((at, grad), inside) in grad.iter().enumerate().zip(&across) {
            let (mut most, mut place) = (f32::NEG_INFINITY, usize::MAX);
            for k in down.clone() {
                let line = y * pool.stride[0] + k * pool.dilation[0] - pool.padding[0];
                for k in inside.clone() {
                    let column = at * pool.stride[1] + k * pool.dilation[1] - pool.padding[1];
                    let value = x[line * width + column];
                    if place == usize::MAX || larger(value, most) {
                        (most, place) = (value, line * width + column);
                    }
                }
            }
            out[place] += grad;
        }
    }
}
