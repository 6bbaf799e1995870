//! Max pooling over two dimensions.

use std::mem::MaybeUninit;
use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use crate::memory::{filled, scratch};
use crate::planes::Planes;
use crate::shape::Sizes;

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
    fn inside(&self, i: usize, at: usize) -> Range<usize> {
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

    fn windows(&self) -> Windows {
        let three = |of: [usize; 2], first: usize| [first, of[0], of[1]];
        let sizes = Sizes {
            groups: 1,
            inputs: 1,
            outputs: 1,
            kernel: three(self.kernel, 1),
            stride: three(self.stride, 1),
            padding: three(self.padding, 0),
            dilation: three(self.dilation, 1),
            image: three(self.input, 1),
            result: three(self.output, 1),
        };
        let planes = Planes::new(&sizes);
        let pitch = planes.plane[1];
        let reach = (self.output[0] - 1) * pitch + self.output[1];
        // Where no element is larger than the padding, the first one counts.
        let mut first = vec![0; reach];
        for (y, line) in first.chunks_mut(pitch).enumerate() {
            let down = self.inside(0, y).start;
            for (x, first) in line.iter_mut().take(self.output[1]).enumerate() {
                *first = (down * self.kernel[1] + self.inside(1, x).start) as u32;
            }
        }
        Windows {
            taps: planes.windows(&sizes),
            planes,
            pitch,
            reach,
            first,
        }
    }

    /// The largest value of each window.
    ///
    /// # Panics
    /// If `x` is not a number of planes, or a window has no element in the plane.
    pub fn run(&self, x: &[f32]) -> Vec<f32> {
        let whole = x.len().is_multiple_of(self.area().max(1));
        assert!(self.is_valid() && whole, "whole planes");
        let windows = self.windows();
        let planes = x.len() / self.area();
        let width = self.output[1];
        let run = |out: &mut [MaybeUninit<f32>]| {
            let pairs = out
                .par_chunks_mut(self.positions())
                .zip(x.par_chunks(self.area()));
            let pairs = pairs.with_min_len(self.least());
            if self.is_halving() {
                return pairs.for_each(|(out, x)| halve(x, self.input[1], width, out));
            }
            pairs.for_each(|(out, x)| {
                let length = windows.planes.len();
                scratch(length + windows.reach, |numbers| {
                    let (split, most) = numbers.split_at_mut(length);
                    windows.planes.split(x, f32::NEG_INFINITY, split);
                    most.fill(f32::NEG_INFINITY);
                    largest(&windows.taps, split, most);
                    for (to, line) in out.chunks_exact_mut(width).zip(most.chunks(windows.pitch)) {
                        to.write_copy_of_slice(&line[..width]);
                    }
                });
            });
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
        let whole = x.len().is_multiple_of(self.area().max(1));
        assert!(self.is_valid() && whole, "whole planes");
        let windows = self.windows();
        let planes = x.len() / self.area();
        assert_eq!(
            grad.len(),
            planes * self.positions(),
            "one gradient for each window"
        );
        let width = self.output[1];
        let run = |out: &mut [MaybeUninit<f32>]| {
            let pairs = out
                .par_chunks_mut(self.area())
                .zip(x.par_chunks(self.area()));
            let each = pairs.zip(grad.par_chunks(self.positions()));
            let each = each.with_min_len(self.least());
            if self.is_halving() {
                return each.for_each(|((out, x), grad)| {
                    double(x, self.input[1], grad, width, out);
                });
            }
            each.for_each(|((out, x), grad)| {
                let (length, reach) = (windows.planes.len(), windows.reach);
                scratch(2 * length + 2 * reach, |numbers| {
                    let (split, rest) = numbers.split_at_mut(length);
                    let (shares, rest) = rest.split_at_mut(length);
                    let (most, spaced) = rest.split_at_mut(reach);
                    windows.planes.split(x, f32::NEG_INFINITY, split);
                    most.fill(f32::NEG_INFINITY);
                    spaced.fill(0.0);
                    for (line, to) in grad
                        .chunks_exact(width)
                        .zip(spaced.chunks_mut(windows.pitch))
                    {
                        to[..width].copy_from_slice(line);
                    }
                    shares.fill(0.0);
                    let mut places = windows.first.clone();
                    find(&windows.taps, split, most, &mut places);
                    pass_back(&windows.taps, &places, spaced, shares);
                    windows.planes.collect(shares, windows.planes.area(), out);
                });
            });
        };
        // SAFETY: every plane is written whole.
        unsafe { filled(x.len(), run) }
    }

    /// Whether windows are 2x2, side by side.
    fn is_halving(&self) -> bool {
        let fits = (0..2).all(|i| 2 * self.output[i] <= self.input[i]);
        fits && self.kernel == [2; 2]
            && self.stride == [2; 2]
            && self.padding == [0; 2]
            && self.dilation == [1; 2]
    }

    /// Planes that are worth a task.
    fn least(&self) -> usize {
        (1_usize << 13).div_ceil(self.area())
    }
}

/// Where the elements of all windows of a plane are.
struct Windows {
    planes: Planes,
    /// Per element of the window, in which distance the results read it.
    taps: Vec<usize>,
    /// From one line of results to the next, and from the first result to the last.
    pitch: usize,
    reach: usize,
    /// Per result, the first element of its window that lies in the plane.
    first: Vec<u32>,
}

#[inline(always)]
fn larger(value: f32, than: f32) -> bool {
    value > than || value.is_nan()
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn largest(taps: &[usize], split: &[f32], most: &mut [f32]) {
    for &tap in taps {
        for (most, &value) in most.iter_mut().zip(&split[tap..]) {
            *most = if larger(value, *most) { value } else { *most };
        }
    }
}

/// Finds the largest element of each window, and its number.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn find(taps: &[usize], split: &[f32], most: &mut [f32], places: &mut [u32]) {
    for (number, &tap) in taps.iter().enumerate() {
        let number = number as u32;
        for ((most, place), &value) in most.iter_mut().zip(&mut *places).zip(&split[tap..]) {
            let found = larger(value, *most);
            *most = if found { value } else { *most };
            *place = if found { number } else { *place };
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn pass_back(taps: &[usize], places: &[u32], grad: &[f32], shares: &mut [f32]) {
    for (number, &tap) in taps.iter().enumerate() {
        let number = number as u32;
        for ((share, &place), &grad) in shares[tap..].iter_mut().zip(places).zip(grad) {
            *share += if place == number { grad } else { 0.0 };
        }
    }
}

/// The larger of two numbers; not-a-number counts as larger.
#[inline(always)]
fn largest_of(a: f32, b: f32) -> f32 {
    if larger(b, a) { b } else { a }
}

/// The largest value of each 2x2 window of a plane of `width` columns.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn halve(x: &[f32], width: usize, columns: usize, out: &mut [MaybeUninit<f32>]) {
    for (lines, out) in x.chunks_exact(2 * width).zip(out.chunks_exact_mut(columns)) {
        let (upper, lower) = lines.split_at(width);
        let pairs = upper.chunks_exact(2).zip(lower.chunks_exact(2));
        for (to, (upper, lower)) in out.iter_mut().zip(pairs) {
            let above = largest_of(upper[0], upper[1]);
            let below = largest_of(lower[0], lower[1]);
            to.write(largest_of(above, below));
        }
    }
}

/// The gradient of [`halve`].
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn double(x: &[f32], width: usize, grad: &[f32], columns: usize, out: &mut [MaybeUninit<f32>]) {
    let lines = x.chunks_exact(2 * width).zip(grad.chunks_exact(columns));
    let mut rest = 0;
    for ((lines, grad), out) in lines.zip(out.chunks_exact_mut(2 * width)) {
        let (upper, lower) = lines.split_at(width);
        let (above, below) = out.split_at_mut(width);
        let pairs = upper.chunks_exact(2).zip(lower.chunks_exact(2));
        let shares = above.chunks_exact_mut(2).zip(below.chunks_exact_mut(2));
        for (&grad, ((upper, lower), (above, below))) in grad.iter().zip(pairs.zip(shares)) {
            let second = larger(upper[1], upper[0]);
            let left = largest_of(upper[0], upper[1]);
            let third = larger(lower[0], left);
            let left = largest_of(left, lower[0]);
            let fourth = larger(lower[1], left);
            above[0].write(if second | third | fourth { 0.0 } else { grad });
            above[1].write(if second & !third & !fourth { grad } else { 0.0 });
            below[0].write(if third & !fourth { grad } else { 0.0 });
            below[1].write(if fourth { grad } else { 0.0 });
        }
        for line in [above, below] {
            line[2 * columns..].fill(MaybeUninit::new(0.0));
        }
        rest += 2 * width;
    }
    out[rest..].fill(MaybeUninit::new(0.0));
}
