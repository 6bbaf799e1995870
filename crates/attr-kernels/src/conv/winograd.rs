//! Winograd's convolution for 3x3 kernels with stride 1: 36 products instead of 144 for a tile of
//! 4x4 outputs.
//!
//! `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` (Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks", 2016), where the products over channels are 36 matrix products. The matrices
//! interpolate at 0, ±5/8, ±5/4 and infinity; with the usual points 0, ±1, ±2, the rounding error is
//! two to three times as large. It stays below 5e-6 of the largest output.

use std::mem::MaybeUninit;
use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, PackedAMatrix};
use rten_tensor::NdTensorView;

use super::finish::Finish;
use crate::elementwise::limited;
use crate::memory::{Shared, scratch, uninit, write};
use crate::shape::Sizes;

/// Tiles that are transformed together, one per lane. Those beyond the end of a line of tiles are
/// dropped, so short lines take fewer.
const LONG: usize = 16;
const SHORT: usize = 8;
/// Fewer tiles make the matrices too narrow.
const FEWEST: usize = 64;
/// Bytes of the transformed inputs and outputs that a task works on.
const CACHED: usize = 2 << 20;

const A: f32 = 0.625;
const B: f32 = 1.25;

pub(super) struct Winograd<'a> {
    pub sizes: &'a Sizes,
    /// 36 matrices `[outputs, inputs]`.
    pub weight: &'a [PackedAMatrix<f32>],
}

impl Winograd<'_> {
    pub fn suits(sizes: &Sizes, rows: usize) -> bool {
        let fits = sizes.groups == 1
            && sizes.kernel == [1, 3, 3]
            && sizes.stride == [1; 3]
            && sizes.dilation[1..] == [1; 2]
            && sizes.image[0] == 1
            && sizes.padding[0] == 0;
        let [_, height, width] = sizes.result;
        let tiles = rows * height.div_ceil(4) * width.div_ceil(4);
        let used = (height * width * rows) as f64 / (tiles * 16) as f64;
        // Below, the transforms cost more than the products save.
        fits && sizes.inputs >= 32
            && sizes.outputs >= 32
            && tiles >= FEWEST / 2
            && used > 0.5
            && width > 4
    }

    /// Transforms the kernels of a weight.
    pub fn pack(outputs: usize, inputs: usize, weight: &[f32]) -> Vec<PackedAMatrix<f32>> {
        let mut transformed = vec![0.0; 36 * outputs * inputs];
        let step = outputs * inputs;
        let shared = Shared::new(uninit(&mut transformed));
        // Kernels that are transformed together.
        const TOGETHER: usize = 1024;
        let parts = weight.par_chunks(9 * TOGETHER).enumerate();
        parts.for_each(|(part, kernels)| {
            // SAFETY: each part has its own kernels.
            let to =
                |k: usize| unsafe { shared.slice(k * step + part * TOGETHER, kernels.len() / 9) };
            transform_kernels(kernels, &to);
        });
        let gemm = GemmExecutor::<f32>::new();
        let matrices = transformed.chunks_exact(step);
        let matrices = matrices.map(|matrix| NdTensorView::from_data([outputs, inputs], matrix));
        matrices.map(|matrix| gemm.prepack_a(matrix)).collect()
    }

    pub fn run(&self, x: &[f32], finish: Finish, out: &mut [MaybeUninit<f32>]) {
        let (s, gemm) = (self.sizes, &GemmExecutor::new());
        let rows = x.len() / s.input_row();
        let [_, height, width] = s.result;
        let (high, wide) = (height.div_ceil(4), width.div_ceil(4));
        // Tasks are lines of tiles; several images where they are small.
        let lines = rows * high;
        let tile = 36 * size_of::<f32>() * (s.inputs + s.outputs);
        let threads = rayon::current_num_threads();
        let shared = (lines * wide).div_ceil(threads);
        let tiles = (CACHED / tile).max(FEWEST).min(shared);
        let some = tiles.div_ceil(wide).min(lines);
        let out = Shared::new(out);
        let task = |task: usize| {
            let first = task * some;
            self.lines(gemm, first..(first + some).min(lines), x, finish, &out);
        };
        (0..lines.div_ceil(some)).into_par_iter().for_each(task);
    }

    /// Computes some lines of tiles.
    fn lines(
        &self,
        gemm: &GemmExecutor,
        lines: Range<usize>,
        x: &[f32],
        finish: Finish,
        out: &Shared,
    ) {
        let s = self.sizes;
        let tiles = Tiles::new(s, lines);
        let (count, step) = (tiles.count(), tiles.step());
        scratch(36 * s.inputs * step, |transformed| {
            scratch(12 * tiles.columns() + LONG, |pixels| {
                pixels.fill(0.0);
                let (image, planes) = pixels.split_at_mut(6 * tiles.columns());
                for channel in 0..s.inputs {
                    tiles.cut(s, channel, x, image);
                    transform_columns(image, tiles.columns(), planes);
                    let to = &mut transformed[channel * step..];
                    if tiles.wide > SHORT {
                        transform_lines::<LONG>(&tiles, planes, to, s.inputs * step);
                    } else {
                        transform_lines::<SHORT>(&tiles, planes, to, s.inputs * step);
                    }
                }
            });
            scratch(36 * s.outputs * count + LONG, |products| {
                let inputs = transformed.chunks_exact(s.inputs * step);
                let outputs = products.chunks_exact_mut(s.outputs * count);
                for ((weight, input), product) in self.weight.iter().zip(inputs).zip(outputs) {
                    let input = NdTensorView::from_data([s.inputs, step], input);
                    let done = gemm.gemm(
                        product,
                        GemmInputA::Packed(weight),
                        GemmInputB::Unpacked(input.slice((.., ..count))),
                        Default::default(),
                    );
                    assert!(done.is_ok(), "the sizes of a product fit");
                }
                for channel in 0..s.outputs {
                    let finish = finish.starting_at(channel);
                    let products = &products[channel * count..];
                    let step = s.outputs * count;
                    if tiles.wide > SHORT {
                        transform_back::<LONG>(&tiles, s, products, step, finish, channel, out);
                    } else {
                        transform_back::<SHORT>(&tiles, s, products, step, finish, channel, out);
                    }
                }
            });
        });
    }
}

/// `G`: the values of a kernel's polynomial at the points, over the products of their distances.
const fn points() -> [[f64; 3]; 6] {
    const fn at(point: f64, norm: f64) -> [f64; 3] {
        [1.0 / norm, point / norm, point * point / norm]
    }
    let (a, b) = (A as f64, B as f64);
    let (norm_a, norm_b) = (2.0 * a * a * (a * a - b * b), 2.0 * b * b * (b * b - a * a));
    [
        at(0.0, a * a * b * b),
        at(a, norm_a),
        at(-a, norm_a),
        at(b, norm_b),
        at(-b, norm_b),
        [0.0, 0.0, 1.0],
    ]
}

/// `G g Gᵀ` for some kernels; `to` says where each of the 36 results goes.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn transform_kernels<'a>(kernels: &[f32], to: &dyn Fn(usize) -> &'a mut [MaybeUninit<f32>]) {
    const G: [[f64; 3]; 6] = points();
    for (row, down) in G.iter().enumerate() {
        for (column, across) in G.iter().enumerate() {
            let mut factors = [0.0; 9];
            for (i, factor) in factors.iter_mut().enumerate() {
                *factor = down[i / 3] * across[i % 3];
            }
            for (to, kernel) in to(row * 6 + column).iter_mut().zip(kernels.chunks_exact(9)) {
                let mut sum = 0.0;
                for (factor, value) in factors.iter().zip(kernel) {
                    sum += factor * f64::from(*value);
                }
                to.write(sum as f32);
            }
        }
    }
}

/// Some lines of tiles, counted through all images.
struct Tiles {
    lines: Range<usize>,
    /// Lines and columns of tiles of an image.
    high: usize,
    wide: usize,
    /// Groups of four pixels in a padded line of pixels.
    pitch: usize,
}

impl Tiles {
    fn new(s: &Sizes, lines: Range<usize>) -> Self {
        let [_, height, width] = s.result;
        Self {
            lines,
            high: height.div_ceil(4),
            wide: width.div_ceil(4),
            // Tiles overlap by two pixels.
            pitch: (width.div_ceil(4) + 1).max((s.image[2] + s.padding[2]).div_ceil(4)),
        }
    }

    /// The number of tiles.
    fn count(&self) -> usize {
        self.lines.len() * self.wide
    }

    /// Elements from one channel's transformed tiles to the next: the lanes of the last tiles reach
    /// beyond them.
    fn step(&self) -> usize {
        self.count() + LONG
    }

    /// Columns of all lines of tiles, side by side, in whole lanes.
    fn columns(&self) -> usize {
        (self.lines.len() * self.pitch * 4).next_multiple_of(4 * LONG)
    }

    /// Copies the six lines of pixels under each line of tiles into six rows of columns; what is
    /// never written is padding.
    fn cut(&self, s: &Sizes, channel: usize, x: &[f32], image: &mut [f32]) {
        let [_, height, width] = s.image;
        for (i, line) in self.lines.clone().enumerate() {
            let (row, top) = (line / self.high, line % self.high * 4);
            let pixels = &x[(row * s.inputs + channel) * height * width..][..height * width];
            for j in 0..6 {
                let y = (top + j).checked_sub(s.padding[1]);
                if let Some(y) = y.filter(|&y| y < height) {
                    let start = j * self.columns() + i * self.pitch * 4 + s.padding[2];
                    image[start..start + width].copy_from_slice(&pixels[y * width..][..width]);
                }
            }
        }
    }
}

// Plain loops: the standard library's functions on arrays are not compiled for the instructions that
// were chosen.

#[inline(always)]
fn lane<const L: usize>(f: impl Fn(usize) -> f32) -> [f32; L] {
    let mut lane = [0.0; L];
    for (l, value) in lane.iter_mut().enumerate() {
        *value = f(l);
    }
    lane
}

/// `N` lanes of `L` neighbours, from the places that `at` says.
#[inline(always)]
fn lanes<const N: usize, const L: usize>(
    from: &[f32],
    at: impl Fn(usize) -> usize,
) -> [[f32; L]; N] {
    let mut lanes = [[0.0; L]; N];
    for (n, lane) in lanes.iter_mut().enumerate() {
        lane.copy_from_slice(&from[at(n)..][..L]);
    }
    lanes
}

/// Lane `j` of each row.
#[inline(always)]
fn column<const N: usize, const L: usize>(rows: &[[[f32; L]; N]; 6], j: usize) -> [[f32; L]; 6] {
    [
        rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j],
    ]
}

/// `Bᵀ d`.
#[inline(always)]
fn input<const L: usize>([d0, d1, d2, d3, d4, d5]: [[f32; L]; 6]) -> [[f32; L]; 6] {
    const AA: f32 = A * A;
    const BB: f32 = B * B;
    let even_a = lane::<L>(|l| d4[l] - BB * d2[l]);
    let odd_a = lane::<L>(|l| A * (d3[l] - BB * d1[l]));
    let even_b = lane::<L>(|l| d4[l] - AA * d2[l]);
    let odd_b = lane::<L>(|l| B * (d3[l] - AA * d1[l]));
    [
        lane(|l| AA * BB * d0[l] - (AA + BB) * d2[l] + d4[l]),
        lane(|l| even_a[l] + odd_a[l]),
        lane(|l| even_a[l] - odd_a[l]),
        lane(|l| even_b[l] + odd_b[l]),
        lane(|l| even_b[l] - odd_b[l]),
        lane(|l| AA * BB * d1[l] - (AA + BB) * d3[l] + d5[l]),
    ]
}

/// `Aᵀ m`.
#[inline(always)]
fn output<const L: usize>([m0, m1, m2, m3, m4, m5]: [[f32; L]; 6]) -> [[f32; L]; 4] {
    let (sum_a, difference_a) = (lane::<L>(|l| m1[l] + m2[l]), lane::<L>(|l| m1[l] - m2[l]));
    let (sum_b, difference_b) = (lane::<L>(|l| m3[l] + m4[l]), lane::<L>(|l| m3[l] - m4[l]));
    [
        lane(|l| m0[l] + sum_a[l] + sum_b[l]),
        lane(|l| A * difference_a[l] + B * difference_b[l]),
        lane(|l| A * A * sum_a[l] + B * B * sum_b[l]),
        lane(|l| A * A * A * difference_a[l] + B * B * B * difference_b[l] + m5[l]),
    ]
}

/// Transforms all columns of one channel, and splits each of the six results into four planes by
/// the remainder of the column: tile `t` of a line then reads its pixels at `t` and `t + 1`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn transform_columns(image: &[f32], columns: usize, planes: &mut [f32]) {
    let groups = columns / 4;
    for start in (0..columns).step_by(4 * LONG) {
        let mut results = [[0.0; 4 * LONG]; 6];
        for part in (0..4 * LONG).step_by(LONG) {
            let d = input::<LONG>(lanes(image, |i| i * columns + start + part));
            for (result, lane) in results.iter_mut().zip(&d) {
                result[part..part + LONG].copy_from_slice(lane);
            }
        }
        for (i, result) in results.iter().enumerate() {
            for remainder in 0..4 {
                let to = i * columns + remainder * groups + start / 4;
                let plane = lane::<LONG>(|l| result[4 * l + remainder]);
                planes[to..to + LONG].copy_from_slice(&plane);
            }
        }
    }
}

/// Transforms the lines of one channel; the 36 results are `step` apart.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn transform_lines<const L: usize>(
    tiles: &Tiles,
    planes: &[f32],
    transformed: &mut [f32],
    step: usize,
) {
    let (columns, groups) = (tiles.columns(), tiles.columns() / 4);
    for line in 0..tiles.lines.len() {
        for tile in (0..tiles.wide).step_by(L) {
            for i in 0..6 {
                let start = i * columns + line * tiles.pitch + tile;
                let d = input::<L>(lanes(planes, |j| start + j % 4 * groups + j / 4));
                let to = i * 6 * step + line * tiles.wide + tile;
                for (j, lane) in d.iter().enumerate() {
                    transformed[to + j * step..][..L].copy_from_slice(lane);
                }
            }
        }
    }
}

/// Transforms the products of one channel back, and writes its outputs.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn transform_back<const L: usize>(
    tiles: &Tiles,
    s: &Sizes,
    products: &[f32],
    step: usize,
    finish: Finish,
    channel: usize,
    out: &Shared,
) {
    let [_, height, width] = s.result;
    let (bias, [min, max]) = (finish.bias_of(0), finish.limits());
    for (i, line) in tiles.lines.clone().enumerate() {
        let (row, top) = (line / tiles.high, line % tiles.high * 4);
        for tile in (0..tiles.wide).step_by(L) {
            let start = i * tiles.wide + tile;
            let mut rows = [[[0.0; L]; 4]; 6];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = output(lanes(products, |j| (i * 6 + j) * step + start));
            }
            let mut columns = [[[0.0; L]; 4]; 4];
            for (j, pixels) in columns.iter_mut().enumerate() {
                *pixels = output(column(&rows, j));
            }
            let wide = (width - tile * 4).min(4 * L);
            for y in 0..(height - top).min(4) {
                let mut line = [0.0; 4 * LONG];
                for (l, pixels) in line[..4 * L].chunks_exact_mut(4).enumerate() {
                    for (pixel, column) in pixels.iter_mut().zip(&columns) {
                        *pixel = limited(column[y][l] + bias, min, max);
                    }
                }
                let start = ((row * s.outputs + channel) * height + top + y) * width + tile * 4;
                // SAFETY: each task has its own tiles.
                write(unsafe { out.slice(start, wide) }, &line[..wide]);
            }
        }
    }
}
