//! Boxes cut out of an image, with patches laid over it.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::memory::{fill, filled, write};
use crate::parallel::TASK;

/// An image `[channels, depth, height, width]` and what surrounds it.
pub struct Scene<'a> {
    pub image: &'a [f32],
    pub size: [usize; 3],
    /// How far padding reaches before the image along each dimension. It reaches as far behind it as
    /// boxes do.
    pub before: [usize; 3],
    pub padding: f32,
}

/// Boxes of equal size, one per row.
pub struct Boxes {
    pub starts: Vec<[usize; 3]>,
    pub size: [usize; 3],
}

/// Cuts boxes, whose coordinates are those of the padded image: `[row, channel, depth, height, width]`.
///
/// Each row has a patch `[row, channel, depth, height, width]` of its own, which takes the place of the
/// image in a box of `covered`, in coordinates of the image itself.
///
/// # Panics
/// If the sizes do not fit each other.
pub fn cut(scene: &Scene<'_>, boxes: &Boxes, patches: Option<(&[f32], &Boxes)>) -> Vec<f32> {
    let pixels: usize = scene.size.iter().product();
    let length: usize = boxes.size.iter().product();
    let channels = scene.image.len() / pixels;
    let run = |out: &mut [MaybeUninit<f32>]| {
        let each = out.par_chunks_exact_mut(length).enumerate();
        each.with_min_len(TASK.div_ceil(length))
            .for_each(|(i, out)| {
                let (row, channel) = (i / channels, i % channels);
                let image = &scene.image[channel * pixels..][..pixels];
                let patch = patches.map(|(patches, covered)| {
                    let length: usize = covered.size.iter().product();
                    Patch {
                        numbers: &patches[i * length..][..length],
                        start: covered.starts[row],
                        size: covered.size,
                    }
                });
                cut_one(scene, image, boxes.starts[row], boxes.size, patch, out);
            });
    };
    // SAFETY: `cut_one` writes every line of its box.
    unsafe { filled(boxes.starts.len() * channels * length, run) }
}

/// One channel of a row's patch.
struct Patch<'a> {
    numbers: &'a [f32],
    start: [usize; 3],
    size: [usize; 3],
}

impl Patch<'_> {
    /// The line of the patch at this depth and height of the image.
    fn line(&self, z: usize, y: usize) -> Option<&[f32]> {
        let z = z.checked_sub(self.start[0]).filter(|&z| z < self.size[0])?;
        let y = y.checked_sub(self.start[1]).filter(|&y| y < self.size[1])?;
        let width = self.size[2];
        Some(&self.numbers[(z * self.size[1] + y) * width..][..width])
    }
}

fn cut_one(
    scene: &Scene<'_>,
    image: &[f32],
    start: [usize; 3],
    size: [usize; 3],
    patch: Option<Patch<'_>>,
    out: &mut [MaybeUninit<f32>],
) {
    let [depth, height, width] = scene.size;
    // Columns of the box before the image, the image's first column in it, and how many there are.
    let left = scene.before[2].saturating_sub(start[2]).min(size[2]);
    let first = (start[2] + left).saturating_sub(scene.before[2]).min(width);
    let count = (width - first).min(size[2] - left);
    for (i, out) in out.chunks_exact_mut(size[2]).enumerate() {
        let z = (start[0] + i / size[1]).checked_sub(scene.before[0]);
        let y = (start[1] + i % size[1]).checked_sub(scene.before[1]);
        let (Some(z), Some(y)) = (z.filter(|&z| z < depth), y.filter(|&y| y < height)) else {
            fill(out, scene.padding);
            continue;
        };
        fill(&mut out[..left], scene.padding);
        fill(&mut out[left + count..], scene.padding);
        let line = &mut out[left..left + count];
        write(line, &image[(z * height + y) * width + first..][..count]);
        let Some((line_of_patch, at)) = patch
            .as_ref()
            .and_then(|patch| Some((patch.line(z, y)?, patch.start[2])))
        else {
            continue;
        };
        let (low, high) = (at.max(first), (at + line_of_patch.len()).min(first + count));
        if low < high {
            write(
                &mut line[low - first..high - first],
                &line_of_patch[low - at..high - at],
            );
        }
    }
}
