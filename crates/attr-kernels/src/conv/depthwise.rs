//! Depthwise convolutions: each channel has a kernel of its own.
//!
//! Each tap of the kernel reads all results from one of the channel's [`Planes`] at one distance, so
//! the innermost loop runs over a whole plane at once. What it computes between the lines is dropped.

use std::mem::MaybeUninit;

use multiversion::multiversion;
use rayon::prelude::*;

use crate::memory::scratch;
use crate::planes::Planes;
use crate::shape::Sizes;

/// Neighbours that are computed together.
const BLOCK: usize = 64;

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

    pub fn run(&self, x: &[f32], bias: Option<&[f32]>, out: &mut [MaybeUninit<f32>]) {
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
                let bias = bias.map_or(0.0, |bias| bias[i % channels]);
                if self.backward {
                    self.pull_back(&windows, weight, bias, x, out);
                } else {
                    self.convolve(&windows, weight, bias, x, out);
                }
            });
    }

    /// Elements from the first to the last output of one depth, and of the block that ends there.
    fn reach(&self) -> usize {
        let [_, height, width] = self.sizes.result;
        ((height - 1) * self.planes.plane[1] + width).next_multiple_of(BLOCK)
    }

    fn convolve(
        &self,
        windows: &[usize],
        weight: &[f32],
        bias: f32,
        x: &[f32],
        out: &mut [MaybeUninit<f32>],
    ) {
        let [depth, height, width] = self.sizes.result;
        let (reach, pitch) = (self.reach(), self.planes.plane[1]);
        // Blocks may read beyond the last plane.
        scratch(self.planes.len() + reach, |padded| {
            let (planes, beyond) = padded.split_at_mut(self.planes.len());
            self.planes.split(x, 0.0, planes);
            beyond.fill(0.0);
            scratch(reach, |results| {
                for z in 0..depth {
                    let padded = &padded[z * self.planes.depth_step(self.sizes)..];
                    correlate(windows, weight, bias, padded, results);
                    let out = out[z * height * width..].chunks_exact_mut(width);
                    for (to, line) in out.zip(results.chunks(pitch)).take(height) {
                        to.write_copy_of_slice(&line[..width]);
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
        bias: f32,
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
                    correlate(&taps, &weights, bias, spaced, plane);
                }
                self.planes.collect(planes, padded, out);
            });
        });
    }
}

/// `out[i] = bias + sum_k weight[k] * from[windows[k] + i]`, for whole blocks.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn correlate(windows: &[usize], weight: &[f32], bias: f32, from: &[f32], out: &mut [f32]) {
    for (block, out) in out.chunks_exact_mut(BLOCK).enumerate() {
        let mut sums = [bias; BLOCK];
        for (&window, &weight) in windows.iter().zip(weight) {
            let from = &from[window + block * BLOCK..][..BLOCK];
            for (sum, from) in sums.iter_mut().zip(from) {
                *sum += weight * from;
            }
        }
        out.copy_from_slice(&sums);
    }
}
