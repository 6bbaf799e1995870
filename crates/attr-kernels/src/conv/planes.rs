//! A padded channel, split into one plane per remainder of line and column by the stride.
//!
//! Then every tap of a kernel reads all results from one plane at one distance, and neighbouring
//! results from neighbouring numbers, whatever the stride.

use multiversion::multiversion;

use super::shape::Sizes;

/// How a padded channel lies in memory: `[depth, line remainder, column remainder, line, column]`.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    /// Depth, and the number of remainders of line and column.
    pub count: [usize; 3],
    /// Lines and columns of a plane.
    pub plane: [usize; 2],
    /// Padding before.
    padding: [usize; 3],
    /// Height and width of the channel.
    image: [usize; 2],
    /// Which remainders of line and column the kernel reads, as bits; the others stay empty.
    read: [u64; 2],
}

impl Planes {
    pub fn new(sizes: &Sizes) -> Self {
        let padded = |i: usize| {
            let reach = sizes.dilation[i] * (sizes.kernel[i] - 1);
            let read = (sizes.result[i] - 1) * sizes.stride[i] + reach + 1;
            read.max(sizes.image[i] + sizes.padding[i])
        };
        let [_, down, right] = sizes.stride;
        Self {
            count: [padded(0), down, right],
            plane: [padded(1).div_ceil(down), padded(2).div_ceil(right)],
            padding: sizes.padding,
            image: [sizes.image[1], sizes.image[2]],
            read: [1, 2].map(|i| {
                let taps = (0..sizes.kernel[i]).map(|k| k * sizes.dilation[i] % sizes.stride[i]);
                // More remainders than bits: all are copied.
                taps.fold(0, |read, at| {
                    1u64.checked_shl(at as u32).map_or(!0, |bit| read | bit)
                })
            }),
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

    /// Whether a tap reads a remainder of the line or column.
    #[inline(always)]
    fn reads(&self, i: usize, remainder: usize) -> bool {
        remainder >= 64 || self.read[i] >> remainder & 1 == 1
    }

    /// The number of the plane for the first column of a channel's line, and the line's place in it.
    #[inline(always)]
    pub fn place(&self, line: usize) -> (usize, usize) {
        let height = self.image[0];
        let [_, down, right] = self.count;
        let z = line / height + self.padding[0];
        let y = line % height + self.padding[1];
        ((z * down + y % down) * right, y / down * self.plane[1])
    }

    /// The first column of a line that lies in the plane of a remainder, and its place there.
    #[inline(always)]
    pub fn column(&self, remainder: usize) -> (usize, usize) {
        let (before, right) = (self.padding[2], self.count[2]);
        let first = (remainder + right - before % right) % right;
        (first.min(self.image[1]), (first + before) / right)
    }

    /// Copies a channel into planes that are zero elsewhere.
    pub fn split(&self, channel: &[f32], planes: &mut [f32]) {
        planes.fill(0.0);
        split(self, channel, planes);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn split(p: &Planes, channel: &[f32], planes: &mut [f32]) {
    let (width, right) = (p.image[1], p.count[2]);
    for (i, line) in channel.chunks_exact(width).enumerate() {
        if !p.reads(0, (i % p.image[0] + p.padding[1]) % p.count[1]) {
            continue;
        }
        let (plane, at) = p.place(i);
        if right == 1 {
            let start = plane * p.area() + at + p.padding[2];
            planes[start..start + width].copy_from_slice(line);
            continue;
        }
        for remainder in (0..right).filter(|&remainder| p.reads(1, remainder)) {
            let (first, column) = p.column(remainder);
            let to = &mut planes[(plane + remainder) * p.area() + at + column..];
            for (to, from) in to.iter_mut().zip(line[first..].iter().step_by(right)) {
                *to = *from;
            }
        }
    }
}
