//! A padded channel, split into one plane per remainder of line and column by the stride.
//!
//! Then every tap of a kernel reads all results from one plane at one distance, and neighbouring
//! results from neighbouring numbers, whatever the stride.

use std::mem::MaybeUninit;

use multiversion::multiversion;

use crate::memory::uninit;
use crate::shape::Sizes;

/// Numbers that are copied at once.
const BLOCK: usize = 16;

/// How a padded channel lies in memory: `[depth, line remainder, column remainder, line, column]`.
pub struct Planes {
    /// Depth, and the number of remainders of line and column.
    pub count: [usize; 3],
    /// Lines and columns of a plane.
    pub plane: [usize; 2],
    /// Padding before.
    padding: [usize; 3],
    /// Height and width of the channel.
    image: [usize; 2],
    /// Whether the kernel reads lines of a remainder; the others may stay empty.
    lines: Vec<bool>,
    columns: Vec<Columns>,
}

/// The columns of one remainder.
struct Columns {
    /// The first of them in the channel, and its place in the plane.
    first: usize,
    place: usize,
    /// Whether the kernel reads them.
    read: bool,
}

impl Planes {
    pub fn new(sizes: &Sizes) -> Self {
        let padded = |i: usize| {
            let reach = sizes.dilation[i] * (sizes.kernel[i] - 1);
            let read = (sizes.result[i] - 1) * sizes.stride[i] + reach + 1;
            read.max(sizes.image[i] + sizes.padding[i])
        };
        let [_, down, right] = sizes.stride;
        let before = sizes.padding[2];
        let reads = |i: usize, remainder: usize| {
            (0..sizes.kernel[i]).any(|k| k * sizes.dilation[i] % sizes.stride[i] == remainder)
        };
        let columns = (0..right).map(|remainder| {
            let first = (remainder + right - before % right) % right;
            Columns {
                first: first.min(sizes.image[2]),
                place: (first + before) / right,
                read: reads(2, remainder),
            }
        });
        Self {
            count: [padded(0), down, right],
            plane: [padded(1).div_ceil(down), padded(2).div_ceil(right)],
            padding: sizes.padding,
            image: [sizes.image[1], sizes.image[2]],
            lines: (0..down).map(|remainder| reads(1, remainder)).collect(),
            columns: columns.collect(),
        }
    }

    /// Elements of a plane.
    pub fn area(&self) -> usize {
        self.plane.iter().product()
    }

    /// Elements of all planes.
    pub fn len(&self) -> usize {
        self.count.iter().product::<usize>() * self.area()
    }

    /// Where each tap reads the first result of depth 0, in the order of the weight.
    pub fn windows(&self, sizes: &Sizes) -> Vec<usize> {
        let [depth, height, width] = sizes.kernel;
        let [_, down, right] = self.count;
        let mut windows = Vec::with_capacity(sizes.taps());
        for z in 0..depth {
            for y in (0..height).map(|y| y * sizes.dilation[1]) {
                for x in (0..width).map(|x| x * sizes.dilation[2]) {
                    let plane = (z * sizes.dilation[0] * down + y % down) * right + x % right;
                    let at = y / down * self.plane[1] + x / right;
                    windows.push(plane * self.area() + at);
                }
            }
        }
        windows
    }

    /// How far apart two depths of the result read.
    pub fn depth_step(&self, sizes: &Sizes) -> usize {
        let [_, down, right] = self.count;
        sizes.stride[0] * down * right * self.area()
    }

    /// Copies a channel into planes, with this padding.
    pub fn split(&self, channel: &[f32], padding: f32, planes: &mut [f32]) {
        let [_, down, right] = self.count;
        if down == 1 && right == 1 {
            surround(self, channel, padding, planes);
        } else {
            planes.fill(padding);
            split(self, channel, planes);
        }
    }

    /// Copies planes, which lie `step` elements apart, into a channel.
    pub fn collect(&self, planes: &[f32], step: usize, channel: &mut [MaybeUninit<f32>]) {
        collect(self, planes, step, channel);
    }
}

/// Calls `f` with the number of each of a channel's lines, where the line starts in the plane of column
/// remainder 0 for planes `step` elements apart, and whether the kernel reads it.
#[inline(always)]
fn each_line(p: &Planes, lines: usize, step: usize, mut f: impl FnMut(usize, usize, bool)) {
    let [_, down, right] = p.count;
    let height = p.image[0];
    for z in 0..lines / height {
        let (mut line, mut remainder) = (p.padding[1] / down, p.padding[1] % down);
        for y in 0..height {
            let plane = ((z + p.padding[0]) * down + remainder) * right;
            let start = plane * step + line * p.plane[1];
            f(z * height + y, start, p.lines[remainder]);
            remainder += 1;
            if remainder == down {
                (line, remainder) = (line + 1, 0);
            }
        }
    }
}

/// Copies a line. A short one is copied with up to 15 numbers that lie beyond its end, where there is room
/// in both places: it takes fewer instructions, and callers write what follows afterwards.
#[inline(always)]
pub fn copy_line(from: &[f32], width: usize, to: &mut [MaybeUninit<f32>]) {
    let room = from.len().min(to.len());
    let blocks = width.div_ceil(BLOCK);
    if blocks > 2 || blocks * BLOCK > room {
        to[..width].write_copy_of_slice(&from[..width]);
        return;
    }
    to[..BLOCK].write_copy_of_slice(&from[..BLOCK]);
    if blocks == 2 {
        to[BLOCK..2 * BLOCK].write_copy_of_slice(&from[BLOCK..2 * BLOCK]);
    }
}

/// Copies a channel without strides, with padding around it.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn surround(p: &Planes, channel: &[f32], padding: f32, planes: &mut [f32]) {
    let ([height, width], pitch, area) = (p.image, p.plane[1], p.area());
    let before = p.padding[1] * pitch + p.padding[2];
    let mut end = 0;
    for (z, image) in channel.chunks_exact(height * width).enumerate() {
        let start = (z + p.padding[0]) * area + before;
        planes[end..start].fill(padding);
        for y in 0..height {
            let to = &mut planes[start + y * pitch..];
            copy_line(&image[y * width..], width, uninit(to));
            // The padding between lines, over what was copied beyond the end of this one.
            let gap = &mut to[width..];
            let len = BLOCK.max(pitch - width).min(gap.len());
            match gap.first_chunk_mut::<BLOCK>() {
                Some(gap) if len == BLOCK => gap.fill(padding),
                _ => gap[..len].fill(padding),
            }
        }
        end = start + (height - 1) * pitch + width;
    }
    planes[end..].fill(padding);
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn split(p: &Planes, channel: &[f32], planes: &mut [f32]) {
    let (width, right, area) = (p.image[1], p.count[2], p.area());
    each_line(p, channel.len() / width, area, |i, start, read| {
        let line = &channel[i * width..][..width];
        if right == 1 {
            planes[start + p.padding[2]..][..width].copy_from_slice(line);
            return;
        }
        for (remainder, columns) in p.columns.iter().enumerate().filter(|(_, c)| c.read && read) {
            let to = &mut planes[start + remainder * area + columns.place..];
            let from = &line[columns.first..];
            if right == 2 {
                // The same, in a form that compiles to instructions of many numbers.
                let pairs = from.chunks_exact(2);
                let (to, rest) = to.split_at_mut(pairs.len());
                for (to, pair) in to.iter_mut().zip(pairs.clone()) {
                    *to = pair[0];
                }
                if let Some(last) = pairs.remainder().first() {
                    rest[0] = *last;
                }
            } else {
                for (to, from) in to.iter_mut().zip(from.iter().step_by(right)) {
                    *to = *from;
                }
            }
        }
    });
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn collect(p: &Planes, planes: &[f32], step: usize, channel: &mut [MaybeUninit<f32>]) {
    let (width, right) = (p.image[1], p.count[2]);
    each_line(p, channel.len() / width, step, |i, start, _| {
        let line = &mut channel[i * width..][..width];
        for (remainder, columns) in p.columns.iter().enumerate() {
            let from = &planes[start + remainder * step + columns.place..];
            for (to, from) in line[columns.first..].iter_mut().step_by(right).zip(from) {
                to.write(*from);
            }
        }
    });
}
