//! Convolution as a matrix product: the weight times the windows, one per column, which the product
//! reads from the image where they are.
//!
//! Small images are stacked on top of each other, with their padding in between, so that a product
//! has enough columns.

use std::mem::MaybeUninit;

use rayon::prelude::*;
use rten_gemm::{
    BiasVector, ColOffsets, GemmExecutor, GemmInputA, GemmInputB, GemmUninitOptions, Im2Col,
    PackedAMatrix, RowOffsets,
};
use rten_tensor::NdTensorView;

use super::shape::Sizes;
use crate::memory::{Shared, scratch, uninit, write};

/// As many columns make a product fast.
const COLUMNS: usize = 256;

pub(super) struct Gather<'a> {
    pub sizes: &'a Sizes,
    /// One matrix `[outputs, inputs * taps]` per group.
    pub weight: &'a [PackedAMatrix<f32>],
}

/// Some images on top of each other, of one depth of the result, as columns.
struct Stack {
    images: usize,
    /// Lines of one image, with padding if it is stacked.
    lines: usize,
    /// Padding that is a part of the stack.
    padding: usize,
    columns: ColOffsets,
}

impl Gather<'_> {
    pub fn suits(sizes: &Sizes) -> bool {
        // The product finds pixels by 32-bit numbers. Few channels in a group are a small matrix.
        let most = i32::MAX as usize / 4;
        sizes.inputs * sizes.pixels() < most && (sizes.groups == 1 || sizes.outputs >= 8)
    }

    pub fn pack(outputs: usize, depth: usize, weight: &[f32]) -> Vec<PackedAMatrix<f32>> {
        let gemm = GemmExecutor::<f32>::new();
        let groups = weight.chunks_exact(outputs * depth);
        let groups = groups.map(|group| NdTensorView::from_data([outputs, depth], group));
        groups.map(|group| gemm.prepack_a(group)).collect()
    }

    pub fn run(&self, x: &[f32], bias: Option<&[f32]>, out: &mut [MaybeUninit<f32>]) {
        let (s, gemm) = (self.sizes, &GemmExecutor::new());
        let rows = x.len() / s.input_row();
        let [depth, height, width] = s.result;
        // Volumes are worked on one by one.
        let stacked = if s.image[0] == 1 && depth == 1 {
            let threads = rayon::current_num_threads();
            COLUMNS.div_ceil(height * width).min(rows.div_ceil(threads))
        } else {
            1
        };
        let stack = self.stack(gemm, stacked);
        let rest = self.stack(gemm, rows % stacked);
        let out = Shared::new(out);
        let task = |task: usize| {
            let (group, task) = (task % s.groups, task / s.groups);
            let (z, first) = (task % depth, task / depth * stacked);
            let stack = if first + stacked <= rows {
                &stack
            } else {
                &rest
            };
            self.product(gemm, stack, group, z, first, x, bias, &out);
        };
        let tasks = rows.div_ceil(stacked) * depth * s.groups;
        if tasks == 1 {
            task(0);
        } else {
            (0..tasks).into_par_iter().for_each(task);
        }
    }

    /// The columns of a stack of images.
    fn stack(&self, gemm: &GemmExecutor, images: usize) -> Stack {
        let s = self.sizes;
        let [_, height, width] = s.result;
        let (lines, padding) = if images > 1 {
            let reach = (height - 1) * s.stride[1] + s.dilation[1] * (s.kernel[1] - 1) + 1;
            (reach.max(s.image[1] + s.padding[1]), s.padding[1])
        } else {
            (s.image[1], 0)
        };
        let count = images * height * width;
        let padded = count.next_multiple_of(gemm.im2col_col_count_step());
        let (mut ys, mut xs) = (Vec::with_capacity(padded), Vec::with_capacity(padded));
        let line = s.image[2] as i32;
        for image in 0..images {
            for y in 0..height {
                let y = (image * lines + y * s.stride[1] + padding) as i32 - s.padding[1] as i32;
                for x in 0..width {
                    ys.push(y * line);
                    xs.push((x * s.stride[2]) as i32 - s.padding[2] as i32);
                }
            }
        }
        ys.resize(padded, OUTSIDE);
        xs.resize(padded, OUTSIDE);
        Stack {
            images,
            lines,
            padding,
            columns: ColOffsets { y: ys, x: xs },
        }
    }

    /// Where the elements of the kernels are, relative to a window, at one depth of the result.
    fn offsets(&self, gemm: &GemmExecutor, stack: &Stack, z: usize) -> RowOffsets {
        let s = self.sizes;
        let count = s.inputs * s.taps();
        let padded = count.next_multiple_of(gemm.im2col_row_count_step());
        let reserved = || Vec::with_capacity(padded);
        let (mut planes, mut ys, mut xs) = (reserved(), reserved(), reserved());
        let line = s.image[2];
        let plane = stack.images * stack.lines * line;
        let [kernel_depth, kernel_height, kernel_width] = s.kernel;
        for channel in 0..s.inputs {
            for kz in 0..kernel_depth {
                let at = (z * s.stride[0] + kz * s.dilation[0]).checked_sub(s.padding[0]);
                let at = at.filter(|&at| at < s.image[0]);
                let start = (channel * s.image[0] + at.unwrap_or(0)) * plane;
                for ky in 0..kernel_height {
                    let y = at.map_or(OUTSIDE, |_| (ky * s.dilation[1] * line) as i32);
                    for kx in 0..kernel_width {
                        planes.push(start as i32);
                        ys.push(y);
                        xs.push((kx * s.dilation[2]) as i32);
                    }
                }
            }
        }
        for list in [&mut planes, &mut ys, &mut xs] {
            list.resize(padded, 0);
        }
        RowOffsets {
            chan: planes,
            y: ys,
            x: xs,
        }
    }

    /// Computes the results of one group of channels, at one depth, for the images of a stack.
    #[allow(clippy::too_many_arguments)]
    fn product(
        &self,
        gemm: &GemmExecutor,
        stack: &Stack,
        group: usize,
        z: usize,
        first: usize,
        x: &[f32],
        bias: Option<&[f32]>,
        out: &Shared<'_>,
    ) {
        let s = self.sizes;
        let [depth, height, width] = s.result;
        let (area, positions) = (height * width, s.positions());
        let bias = bias.map(|bias| &bias[group * s.outputs..][..s.outputs]);
        let (line, channel) = (s.image[2], s.pixels());
        let input = |image: usize| {
            let start = (first + image) * s.input_row() + group * s.inputs * channel;
            &x[start..start + s.inputs * channel]
        };
        let result =
            |image: usize| (first + image) * s.output_row() + group * s.outputs * positions;
        let product = |image: &[f32], out: &mut [MaybeUninit<f32>]| {
            let planes = s.inputs * s.image[0];
            let lines = stack.images * stack.lines;
            let simple = s.taps() == 1 && s.stride == [1; 3] && s.padding == [0; 3];
            let windows;
            let columns = if simple {
                let shape = [planes, lines * line];
                GemmInputB::Unpacked(NdTensorView::from_data(shape, image))
            } else {
                let columns = &stack.columns;
                windows = Im2Col {
                    image: NdTensorView::from_data([planes, lines, line], image),
                    row_offsets: self.offsets(gemm, stack, z),
                    col_offsets: ColOffsets {
                        y: columns.y.clone(),
                        x: columns.x.clone(),
                    },
                    n_cols: stack.images * area,
                    n_rows: s.inputs * s.taps(),
                    max_y_offset: ((lines - 1) * line) as i32,
                    max_x_offset: line as i32 - 1,
                };
                GemmInputB::Im2Col(&windows)
            };
            let options = GemmUninitOptions {
                bias: bias.map(BiasVector::Column),
                ..Default::default()
            };
            let weight = GemmInputA::Packed(&self.weight[group]);
            let done = gemm.gemm_uninit(out, weight, columns, options);
            assert!(done.is_ok(), "the sizes of a product fit");
        };
        if stack.images == 1 && depth == 1 {
            // SAFETY: each task has its own image and group.
            product(input(0), unsafe { out.slice(result(0), s.outputs * area) });
            return;
        }
        let count = stack.images * area;
        scratch(s.outputs * count, |products| {
            if stack.images == 1 {
                product(input(0), uninit(products));
            } else {
                let plane = stack.images * stack.lines * line;
                scratch(s.inputs * plane, |stacked| {
                    for (c, plane) in stacked.chunks_exact_mut(plane).enumerate() {
                        for (i, to) in plane.chunks_exact_mut(stack.lines * line).enumerate() {
                            let (before, rest) = to.split_at_mut(stack.padding * line);
                            let (image, after) = rest.split_at_mut(channel);
                            before.fill(0.0);
                            image.copy_from_slice(&input(i)[c * channel..][..channel]);
                            after.fill(0.0);
                        }
                    }
                    product(stacked, uninit(products));
                });
            }
            for (c, products) in products.chunks_exact(count).enumerate() {
                for (i, image) in products.chunks_exact(area).enumerate() {
                    // SAFETY: each task has its own images, group and depth.
                    let to = unsafe { out.slice(result(i) + c * positions + z * area, area) };
                    write(to, image);
                }
            }
        });
    }
}

/// An offset that lies outside any image whatever is added to it.
const OUTSIDE: i32 = i32::MIN / 2;
