//! Input gradients of convolutions with a stride: the transposed weight times the output's gradient
//! gives what each window passes to its pixels, which is added up where windows overlap.

use std::mem::MaybeUninit;

use rayon::prelude::*;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, PackedAMatrix};
use rten_tensor::NdTensorView;

use super::finish::Finish;
use crate::memory::{Shared, fill, scratch};
use crate::shape::Sizes;

/// Rows and columns of one product: enough to be fast, few enough to stay in a cache.
const ROWS: usize = 144;
const COLUMNS: usize = 512;

pub(super) struct Scatter<'a> {
    pub sizes: &'a Sizes,
    /// One matrix `[inputs * taps, outputs]` for each block of each group.
    pub weight: &'a [PackedAMatrix<f32>],
}

/// Input channels of a block.
fn block(inputs: usize, taps: usize) -> usize {
    ROWS.div_ceil(taps).min(inputs)
}

impl Scatter<'_> {
    pub fn suits(sizes: &Sizes) -> bool {
        sizes.groups == 1 || sizes.inputs >= 8
    }

    pub fn pack(
        outputs: usize,
        inputs: usize,
        taps: usize,
        weight: &[f32],
    ) -> Vec<PackedAMatrix<f32>> {
        let gemm = GemmExecutor::<f32>::new();
        let block = block(inputs, taps);
        let mut packed = Vec::new();
        for group in weight.chunks_exact(outputs * inputs * taps) {
            let group = NdTensorView::from_data([outputs, inputs * taps], group);
            for first in (0..inputs).step_by(block) {
                let last = (first + block).min(inputs);
                let columns = group.slice((.., first * taps..last * taps));
                packed.push(gemm.prepack_a(columns.transposed()));
            }
        }
        packed
    }

    pub fn run(&self, grad: &[f32], finish: Finish, out: &mut [MaybeUninit<f32>]) {
        let (s, gemm) = (self.sizes, &GemmExecutor::new());
        let rows = grad.len() / s.output_row();
        let size = block(s.inputs, s.taps());
        let blocks = s.inputs.div_ceil(size);
        let (pixels, positions) = (s.pixels(), s.positions());
        let out = Shared::new(out);
        let task = |task: usize| {
            let (block, task) = (task % blocks, task / blocks);
            let (group, row) = (task % s.groups, task / s.groups);
            let first = block * size;
            let channels = size.min(s.inputs - first);
            let channel = group * s.inputs + first;
            let start = row * s.input_row() + channel * pixels;
            // SAFETY: each task has its own row and channels.
            let out = unsafe { out.slice(start, channels * pixels) };
            let grad = &grad[row * s.output_row() + group * s.outputs * positions..];
            let weight = &self.weight[group * blocks + block];
            let finish = finish.starting_at(channel);
            self.block(gemm, weight, &grad[..s.outputs * positions], finish, out);
        };
        (0..rows * s.groups * blocks).into_par_iter().for_each(task);
    }

    /// Computes the gradient of some channels of one image.
    fn block(
        &self,
        gemm: &GemmExecutor,
        weight: &PackedAMatrix<f32>,
        grad: &[f32],
        finish: Finish,
        out: &mut [MaybeUninit<f32>],
    ) {
        let s = self.sizes;
        let (pixels, positions, taps) = (s.pixels(), s.positions(), s.taps());
        let channels = out.len() / pixels;
        fill(out, 0.0);
        // SAFETY: all were written.
        let out = unsafe { out.assume_init_mut() };
        let width = s.result[2];
        let lines = positions / width;
        let some = (COLUMNS / width).clamp(1, lines);
        scratch(channels * taps * some * width, |parts| {
            for first in (0..lines).step_by(some) {
                let count = some.min(lines - first) * width;
                let columns = &grad[first * width..];
                let strides = [positions, 1];
                let columns = NdTensorView::from_data_with_strides(
                    [s.outputs, count],
                    &columns[..(s.outputs - 1) * positions + count],
                    strides,
                );
                let Ok(columns) = columns else { continue };
                let parts = &mut parts[..channels * taps * count];
                let done = gemm.gemm(
                    parts,
                    GemmInputA::Packed(weight),
                    GemmInputB::Unpacked(columns),
                    Default::default(),
                );
                assert!(done.is_ok(), "the sizes of a product fit");
                for (i, part) in parts.chunks_exact(count).enumerate() {
                    let channel = &mut out[i / taps * pixels..][..pixels];
                    self.add(i % taps, first, part, channel);
                }
            }
        });
        finish.apply(out, pixels);
    }

    /// Adds what some lines of windows pass to the pixels under one element of the kernel.
    fn add(&self, tap: usize, first: usize, part: &[f32], channel: &mut [f32]) {
        let s = self.sizes;
        let [_, kernel_height, kernel_width] = s.kernel;
        let [depth, height, width] = s.image;
        let (kz, ky, kx) = (
            tap / kernel_width / kernel_height,
            tap / kernel_width % kernel_height,
            tap % kernel_width,
        );
        let (shift, stride) = (kx * s.dilation[2], s.stride[2]);
        // The windows whose pixel is in the image.
        let from = s.padding[2].saturating_sub(shift).div_ceil(stride);
        let until = (width + s.padding[2])
            .saturating_sub(shift)
            .div_ceil(stride)
            .min(s.result[2]);
        if from >= until {
            return;
        }
        for (i, line) in part.chunks_exact(s.result[2]).enumerate() {
            let (z, y) = ((first + i) / s.result[1], (first + i) % s.result[1]);
            let z = (z * s.stride[0] + kz * s.dilation[0]).checked_sub(s.padding[0]);
            let y = (y * s.stride[1] + ky * s.dilation[1]).checked_sub(s.padding[1]);
            let (Some(z), Some(y)) = (z.filter(|&z| z < depth), y.filter(|&y| y < height)) else {
                continue;
            };
            let start = (z * height + y) * width + from * stride + shift - s.padding[2];
            let pixels = channel[start..].iter_mut().step_by(stride);
            for (pixel, value) in pixels.zip(&line[from..until]) {
                *pixel += value;
            }
        }
    }
}
