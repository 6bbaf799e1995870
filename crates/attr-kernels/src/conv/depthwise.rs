//! Depthwise convolutions: each channel has a kernel of its own.
//!
//! A channel is padded and split into one plane per remainder of line and column by the stride.
//! Then every tap of the kernel reads all outputs from one plane at one distance, whatever the
//! stride, and the innermost loop runs over a whole plane at once. What it computes between the
//! lines is dropped.

use std::mem::MaybeUninit;

use multiversion::multiversion;
use rayon::prelude::*;

use super::shape::Sizes;
use crate::memory::scratch;

/// Neighbours that are computed together.
const BLOCK: usize = 64;

pub(super) struct Depthwise<'a> {
    sizes: &'a Sizes,
    weight: &'a [f32],
    backward: bool,
    /// Lines and columns of each plane.
    plane: [usize; 2],
    /// Planes of a channel: `[depth, line remainder, column remainder]`.
    planes: [usize; 3],
}

impl<'a> Depthwise<'a> {
    pub fn new(sizes: &'a Sizes, weight: &'a [f32], backward: bool) -> Self {
        let padded = |i: usize| {
            let reach = sizes.dilation[i] * (sizes.kernel[i] - 1);
            let read = (sizes.result[i] - 1) * sizes.stride[i] + reach + 1;
            read.max(sizes.image[i] + sizes.padding[i])
        };
        let [_, down, right] = sizes.stride;
        Self {
            sizes,
            weight,
            backward,
            plane: [padded(1).div_ceil(down), padded(2).div_ceil(right)],
            planes: [padded(0), down, right],
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
        let windows = self.windows();
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

    fn plane_len(&self) -> usize {
        self.plane.iter().product()
    }

    /// Where each tap reads the first output of depth 0, in the order of the weight.
    fn windows(&self) -> Vec<usize> {
        let s = self.sizes;
        let [depth, height, width] = s.kernel;
        let [_, down, right] = self.planes;
        let mut windows = Vec::with_capacity(s.taps());
        for z in 0..depth {
            for y in (0..height).map(|y| y * s.dilation[1]) {
                for x in (0..width).map(|x| x * s.dilation[2]) {
                    let plane = (z * s.dilation[0] * down + y % down) * right + x % right;
                    let at = y / down * self.plane[1] + x / right;
                    windows.push(plane * self.plane_len() + at);
                }
            }
        }
        windows
    }

    /// How far apart two depths of the output read.
    fn depth_step(&self) -> usize {
        let [_, down, right] = self.planes;
        self.sizes.stride[0] * down * right * self.plane_len()
    }

    /// Elements from the first to the last output of one depth, and of the block that ends there.
    fn reach(&self) -> usize {
        let [_, height, width] = self.sizes.result;
        ((height - 1) * self.plane[1] + width).next_multiple_of(BLOCK)
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
        let (reach, pitch) = (self.reach(), self.plane[1]);
        let planes: usize = self.planes.iter().product();
        // Blocks may read beyond the last plane.
        scratch(planes * self.plane_len() + reach, |padded| {
            padded.fill(0.0);
            split(self, x, padded);
            scratch(reach, |results| {
                for z in 0..depth {
                    let padded = &padded[z * self.depth_step()..];
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
        let (len, pitch) = (self.plane_len(), self.plane[1]);
        let [deep, down, right] = self.planes;
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
                            let at = z * self.depth_step() + window;
                            if at / len == number {
                                taps.push(z * slice + len - at % len);
                                weights.push(weight);
                            }
                        }
                    }
                    correlate(&taps, &weights, bias, spaced, plane);
                }
                collect(self, padded, planes, out);
            });
        });
    }

    /// The plane and the place in it for a pixel's line, and the plane's number for column 0.
    #[inline(always)]
    fn place(&self, line: usize) -> (usize, usize) {
        let height = self.sizes.image[1];
        let [_, down, right] = self.planes;
        let z = line / height + self.sizes.padding[0];
        let y = line % height + self.sizes.padding[1];
        ((z * down + y % down) * right, y / down * self.plane[1])
    }
}

/// Copies a channel into planes that are zero elsewhere.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn split(d: &Depthwise, x: &[f32], planes: &mut [f32]) {
    let (width, before, right) = (d.sizes.image[2], d.sizes.padding[2], d.planes[2]);
    for (i, line) in x.chunks_exact(width).enumerate() {
        let (plane, at) = d.place(i);
        if right == 1 {
            planes[plane * d.plane_len() + at + before..][..width].copy_from_slice(line);
            continue;
        }
        for remainder in 0..right {
            // The first pixel of this plane.
            let first = (remainder + right - before % right) % right;
            let column = (first + before) / right;
            let to = &mut planes[(plane + remainder) * d.plane_len() + at + column..];
            for (to, from) in to
                .iter_mut()
                .zip(line[first.min(width)..].iter().step_by(right))
            {
                *to = *from;
            }
        }
    }
}

/// Reads a channel from planes of `len` elements.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn collect(d: &Depthwise, len: usize, planes: &[f32], out: &mut [MaybeUninit<f32>]) {
    let (width, before, right) = (d.sizes.image[2], d.sizes.padding[2], d.planes[2]);
    for (i, line) in out.chunks_exact_mut(width).enumerate() {
        let (plane, at) = d.place(i);
        for remainder in 0..right {
            let first = (remainder + right - before % right) % right;
            let column = (first + before) / right;
            let from = &planes[(plane + remainder) * len + at + column..];
            for (to, from) in line[first.min(width)..].iter_mut().step_by(right).zip(from) {
                to.write(*from);
            }
        }
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
