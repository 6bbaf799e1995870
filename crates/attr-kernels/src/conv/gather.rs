//! Convolution as a matrix product: the weight times the windows, one per column.
//!
//! A task writes out only as many windows as its cache holds. Small images are worked on together,
//! so that a product has enough columns.

use std::mem::MaybeUninit;
use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmUninitOptions, PackedAMatrix};
use rten_tensor::NdTensorView;

use super::finish::Finish;
use crate::memory::{Shared, scratch, uninit, write};
use crate::planes::Planes;
use crate::shape::Sizes;

/// As many columns make a product fast.
const COLUMNS: usize = 256;
/// Numbers of the windows that a task writes out.
const CACHED: usize = 1 << 17;
/// Numbers that are copied at once. What is copied beyond a line is overwritten by the next.
const COPY: usize = 16;

pub(super) struct Gather<'a> {
    pub sizes: &'a Sizes,
    /// One matrix `[outputs, inputs * taps]` per group.
    pub weight: &'a [PackedAMatrix<f32>],
}

/// Some rows of one group of channels.
struct Part<'a> {
    rows: Range<usize>,
    group: usize,
    /// Their channels `[row, channel]` as planes.
    planes: &'a [f32],
}

impl Gather<'_> {
    pub fn suits(sizes: &Sizes) -> bool {
        // Few channels in a group are a small matrix.
        sizes.groups == 1 || sizes.outputs >= 8
    }

    pub fn pack(outputs: usize, depth: usize, weight: &[f32]) -> Vec<PackedAMatrix<f32>> {
        let gemm = GemmExecutor::<f32>::new();
        let groups = weight.chunks_exact(outputs * depth);
        let groups = groups.map(|group| NdTensorView::from_data([outputs, depth], group));
        groups.map(|group| gemm.prepack_a(group)).collect()
    }

    pub fn run(&self, x: &[f32], finish: Finish, out: &mut [MaybeUninit<f32>]) {
        let (s, gemm) = (self.sizes, &GemmExecutor::new());
        let rows = x.len() / s.input_row();
        let threads = rayon::current_num_threads();
        let together = COLUMNS.div_ceil(s.positions()).min(rows.div_ceil(threads));
        let planes = Planes::new(s);
        let windows = planes.windows(s);
        let out = Shared::new(out);
        let tasks = rows.div_ceil(together) * s.groups;
        // Few tasks leave threads to their parts.
        let windows_of_row = s.inputs * s.taps() * s.positions();
        let inside = tasks < threads && windows_of_row > 2 * CACHED;
        let task = |task: usize| {
            let (group, first) = (task % s.groups, task / s.groups * together);
            let rows = first..(first + together).min(rows);
            if self.is_plain() && rows.len() == 1 {
                return self.plain(gemm, group, first, x, finish, &out);
            }
            let (channel, length) = (s.pixels(), planes.len());
            let count = rows.len() * s.inputs;
            scratch(count * length + COPY, |split| {
                let split_one = |(i, to): (usize, &mut [f32])| {
                    let row = rows.start + i / s.inputs;
                    let start = row * s.input_row() + (group * s.inputs + i % s.inputs) * channel;
                    planes.split(&x[start..start + channel], 0.0, to);
                };
                let lines = rows.len() * s.result[0] * s.result[1];
                let some = self.lines_at_once(lines);
                if inside {
                    let channels = split[..count * length].par_chunks_mut(length);
                    channels.enumerate().for_each(split_one);
                } else {
                    let channels = split[..count * length].chunks_mut(length);
                    channels.enumerate().for_each(split_one);
                }
                let part = Part {
                    rows,
                    group,
                    planes: split,
                };
                let block = |first: usize| {
                    let lines = first * some..((first + 1) * some).min(lines);
                    self.block(gemm, &planes, &windows, &part, lines, finish, &out);
                };
                let blocks = 0..lines.div_ceil(some);
                if inside {
                    blocks.into_par_iter().for_each(block);
                } else {
                    blocks.for_each(block);
                }
            });
        };
        if tasks == 1 {
            task(0);
        } else {
            (0..tasks).into_par_iter().for_each(task);
        }
    }

    /// Whether the windows are the pixels themselves.
    fn is_plain(&self) -> bool {
        let s = self.sizes;
        s.taps() == 1 && s.stride == [1; 3] && s.pixels() == s.positions()
    }

    /// Lines of results that are computed together.
    fn lines_at_once(&self, lines: usize) -> usize {
        let (s, width) = (self.sizes, self.sizes.result[2]);
        let columns = (CACHED / (s.inputs * s.taps())).max(COLUMNS / 2);
        columns.div_ceil(width).min(lines)
    }

    fn product(
        &self,
        gemm: &GemmExecutor,
        group: usize,
        columns: NdTensorView<f32, 2>,
        finish: Finish,
        out: &mut [MaybeUninit<f32>],
    ) {
        let outputs = self.sizes.outputs;
        let options = GemmUninitOptions::default();
        let weight = GemmInputA::Packed(&self.weight[group]);
        let done = gemm.gemm_uninit(out, weight, GemmInputB::Unpacked(columns), options);
        assert!(done.is_ok(), "the sizes of a product fit");
        // The bias that `rten-gemm` would add takes as long as a quarter of a product.
        if let Ok(products) = done {
            let length = products.len() / outputs;
            finish.starting_at(group * outputs).apply(products, length);
        }
    }

    /// Computes one row of a plain product.
    fn plain(
        &self,
        gemm: &GemmExecutor,
        group: usize,
        row: usize,
        x: &[f32],
        finish: Finish,
        out: &Shared<'_>,
    ) {
        let (s, pixels) = (self.sizes, self.sizes.pixels());
        let from = row * s.input_row() + group * s.inputs * pixels;
        let to = row * s.output_row() + group * s.outputs * pixels;
        let columns = &x[from..from + s.inputs * pixels];
        let columns = NdTensorView::from_data([s.inputs, pixels], columns);
        // SAFETY: each task has its own row and group.
        let out = unsafe { out.slice(to, s.outputs * pixels) };
        self.product(gemm, group, columns, finish, out);
    }

    /// Computes some lines of results, counted through the rows of a part.
    #[allow(clippy::too_many_arguments)]
    fn block(
        &self,
        gemm: &GemmExecutor,
        planes: &Planes,
        windows: &[usize],
        part: &Part<'_>,
        lines: Range<usize>,
        finish: Finish,
        out: &Shared<'_>,
    ) {
        let s = self.sizes;
        let (positions, width) = (s.positions(), s.result[2]);
        let (depth, count) = (s.inputs * s.taps(), lines.len() * width);
        let start = |row: usize| (row * s.groups + part.group) * s.outputs * positions;
        let of_row = s.result[0] * s.result[1];
        scratch(depth * count + COPY, |columns| {
            // Where the first channel of each line's row has the first result.
            let step = planes.depth_step(s);
            let starts: Vec<usize> = lines
                .clone()
                .map(|line| {
                    let (row, line) = (line / of_row, line % of_row);
                    let (z, y) = (line / s.result[1], line % s.result[1]);
                    row * s.inputs * planes.len() + z * step + y * planes.plane[1]
                })
                .collect();
            for (i, tap) in (0..depth).map(|i| (i / s.taps(), i % s.taps())).enumerate() {
                let shift = tap.0 * planes.len() + windows[tap.1];
                copy_lines(
                    part.planes,
                    &starts,
                    shift,
                    width,
                    &mut columns[i * count..],
                );
            }
            let columns = NdTensorView::from_data([depth, count], &columns[..depth * count]);
            if lines.len() == of_row && part.rows.len() == 1 {
                // SAFETY: each task has its own row and group.
                let out = unsafe { out.slice(start(part.rows.start), s.outputs * positions) };
                return self.product(gemm, part.group, columns, finish, out);
            }
            scratch(s.outputs * count, |products| {
                self.product(gemm, part.group, columns, finish, uninit(products));
                for (output, products) in products.chunks_exact(count).enumerate() {
                    let mut line = lines.start;
                    while line < lines.end {
                        let (row, first) = (line / of_row, line % of_row);
                        let some = (of_row - first).min(lines.end - line);
                        let from = &products[(line - lines.start) * width..][..some * width];
                        let to = start(part.rows.start + row) + output * positions + first * width;
                        // SAFETY: each task has its own lines of a row and group.
                        write(unsafe { out.slice(to, some * width) }, from);
                        line += some;
                    }
                }
            });
        });
    }
}

/// Copies a line of `width` numbers from `shift` after each of `starts`, one after the other.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn copy_lines(from: &[f32], starts: &[usize], shift: usize, width: usize, to: &mut [f32]) {
    if width <= 8 {
        return copy_short::<8>(from, starts, shift, width, to);
    }
    if width <= COPY {
        return copy_short::<COPY>(from, starts, shift, width, to);
    }
    for (i, start) in starts.iter().enumerate() {
        let mut at = 0;
        while at < width {
            let from = &from[start + shift + at..][..COPY];
            to[i * width + at..][..COPY].copy_from_slice(from);
            at += COPY;
        }
    }
}

/// Lines of at most `L` numbers.
#[inline(always)]
fn copy_short<const L: usize>(
    from: &[f32],
    starts: &[usize],
    shift: usize,
    width: usize,
    to: &mut [f32],
) {
    for (i, start) in starts.iter().enumerate() {
        let from = &from[start + shift..][..L];
        to[i * width..][..L].copy_from_slice(from);
    }
}
