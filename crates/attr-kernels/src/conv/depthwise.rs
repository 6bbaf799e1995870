//! Depthwise convolutions: each channel has a kernel of its own.
//!
//! Each tap of the kernel reads all results from one of the channel's [`Planes`] at one distance, so
//! the innermost loop runs over a whole plane at once. What it computes between the lines is dropped.

use std::mem::MaybeUninit;

use multiversion::multiversion;
use rayon::prelude::*;

use super::finish::Finish;
use crate::elementwise::limited;
use crate::memory::scratch;
use crate::planes::{Planes, copy_line};
use crate::shape::Sizes;

/// Neighbours that are computed together.
const BLOCK: usize = 64;
/// Results that are computed before they are copied to their place.
const STRIP: usize = 2048;

pub(super) struct Depthwise<'a> {
    sizes: &'a Sizes,
    weight: &'a [f32],
    backward: bool,
    planes: Planes,
}

impl<'a> Depthwise<'a> {
    pub fn new(sizes: &'a Sizes, weight: &'a [f32], backward: bool) -> Self {
        Self {
            sizes,
            weight,
            backward,
            planes: Planes::new(sizes),
        }
    }

    pub fn run(&self, x: &[f32], finish: Finish, out: &mut [MaybeUninit<f32>]) {
        let (pixels, positions) = (self.sizes.pixels(), self.sizes.positions());
        let (taken, returned) = if self.backward {
            (positions, pixels)
        } else {
            (pixels, positions)
        };
        let channels = self.sizes.groups;
        let taps = self.sizes.taps();
        let windows = self.planes.windows(self.sizes);
        // Enough work per task to be worth a task.
        let least = (1_usize << 15).div_ceil(taps * positions);
        let pairs = x.par_chunks(taken).zip(out.par_chunks_mut(returned));
        pairs
            .enumerate()
            .with_min_len(least)
            .for_each(|(i, (x, out))| {
                let weight = &self.weight[i % channels * taps..][..taps];
                let finish = finish.starting_at(i % channels);
                if self.backward {
                    self.pull_back(&windows, weight, finish, x, out);
                } else {
                    self.convolve(&windows, weight, finish, x, out);
                }
            });
    }

    fn convolve(
        &self,
        windows: &[usize],
        weight: &[f32],
        finish: Finish,
        x: &[f32],
        out: &mut [MaybeUninit<f32>],
    ) {
        let [depth, height, width] = self.sizes.result;
        let pitch = self.planes.plane[1];
        // Lines of results that stay in the nearest cache until they are copied.
        let some = (STRIP / pitch).clamp(1, height);
        let reach = |lines: usize| ((lines - 1) * pitch + width).next_multiple_of(BLOCK);
        // Blocks may read beyond the last plane.
        scratch(self.planes.len() + reach(some), |padded| {
            let (planes, beyond) = padded.split_at_mut(self.planes.len());
            self.planes.split(x, 0.0, planes);
            beyond.fill(0.0);
            scratch(reach(some), |results| {
                for z in 0..depth {
                    let padded = &padded[z * self.planes.depth_step(self.sizes)..];
                    let out = &mut out[z * height * width..(z + 1) * height * width];
                    for first in (0..height).step_by(some) {
                        let lines = some.min(height - first);
                        let results = &mut results[..reach(lines)];
                        correlate(windows, weight, finish, &padded[first * pitch..], results);
                        copy_lines(results, pitch, &mut out[first * width..], width, lines);
                    }
                }
            });
        });
    }

    /// The gradient of the input, plane by plane: each is a convolution of the output's gradient.
    fn pull_back(
        &self,
        windows: &[usize],
        weight: &[f32],
        finish: Finish,
        grad: &[f32],
        out: &mut [MaybeUninit<f32>],
    ) {
        let s = self.sizes;
        let [depth, height, width] = s.result;
        let (len, pitch) = (self.planes.area(), self.planes.plane[1]);
        let [deep, down, right] = self.planes.count;
        let padded = len.next_multiple_of(BLOCK);
        // The gradient with room before it for every distance of a tap.
        let slice = len + padded;
        scratch(depth * slice, |spaced| {
            spaced.fill(0.0);
            for (z, spaced) in spaced.chunks_exact_mut(slice).enumerate() {
                let lines = grad[z * height * width..].chunks_exact(width);
                for (line, to) in lines.zip(spaced[len..].chunks_mut(pitch)).take(height) {
                    to[..width].copy_from_slice(line);
                }
            }
            let mut taps = Vec::with_capacity(windows.len());
            let mut weights = Vec::with_capacity(windows.len());
            scratch(deep * down * right * padded, |planes| {
                for (number, plane) in planes.chunks_exact_mut(padded).enumerate() {
                    taps.clear();
                    weights.clear();
                    for (&window, &weight) in windows.iter().zip(weight) {
                        for z in 0..depth {
                            let at = z * self.planes.depth_step(self.sizes) + window;
                            if at / len == number {
                                taps.push(z * slice + len - at % len);
                                weights.push(weight);
                            }
                        }
                    }
                    correlate(&taps, &weights, finish, spaced, plane);
                }
                self.planes.collect(planes, padded, out);
            });
        });
    }
}

/// Copies lines that are `pitch` apart to where they are `width` apart, in order: what is copied beyond
/// a line is overwritten by the next.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn copy_lines(from: &[f32], pitch: usize, to: &mut [MaybeUninit<f32>], width: usize, lines: usize) {
    for line in 0..lines {
        copy_line(&from[line * pitch..], width, &mut to[line * width..]);
    }
}

/// `out[i] = bias + sum_k weight[k] * from[windows[k] + i]` within the limits, for whole blocks.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn correlate(windows: &[usize], weight: &[f32], finish: Finish, from: &[f32], out: &mut [f32]) {
    let (bias, [min, max]) = (finish.bias_of(0), finish.limits());
    for (block, out) in out.chunks_exact_mut(BLOCK).enumerate() {
        let mut sums = [bias; BLOCK];
        for (&window, &weight) in windows.iter().zip(weight) {
            let from = &from[window + block * BLOCK..][..BLOCK];
            for (sum, from) in sums.iter_mut().zip(from) {
                *sum += weight * from;
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = limited(sum, min, max);
        }
    }
}
