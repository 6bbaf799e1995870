//! Boxes of images against plain loops.

use attr_kernels::{Boxes, Scene, cut};

use super::numbers;

#[test]
fn boxes_show_the_image_its_padding_and_the_patches() {
    let (size, channels) = ([2, 5, 7], 3);
    let image = numbers(channels * 70, 1);
    let scene = Scene {
        image: &image,
        size,
        before: [1, 2, 3],
        padding: 9.0,
    };
    let covered = Boxes {
        starts: vec![[0, 0, 0], [1, 2, 3], [1, 3, 5], [0, 1, 1]],
        size: [1, 2, 2],
    };
    let patches = numbers(4 * channels * 4, 2);
    // In the padding, across a corner, inside, and beyond the far end.
    for (starts, size) in [
        ([[0, 0, 0], [1, 2, 3], [1, 3, 4], [0, 5, 8]], [2, 3, 4]),
        ([[0, 0, 0], [2, 4, 5], [1, 1, 1], [3, 6, 9]], [1, 2, 20]),
        ([[1, 2, 3], [1, 6, 10], [2, 6, 12], [9, 9, 19]], [1, 1, 2]),
        ([[1, 2, 3]; 4], [2, 5, 7]),
    ] {
        let boxes = Boxes {
            starts: starts.to_vec(),
            size,
        };
        for patched in [false, true] {
            let found = cut(&scene, &boxes, patched.then_some((&patches[..], &covered)));
            let length = size.iter().product::<usize>();
            assert_eq!(found.len(), 4 * channels * length);
            for (i, found) in found.into_iter().enumerate() {
                let (row, channel) = (i / length / channels, i / length % channels);
                let place = [
                    i % length / (size[1] * size[2]),
                    i / size[2] % size[1],
                    i % size[2],
                ];
                let at =
                    [0, 1, 2].map(|d| (starts[row][d] + place[d]).checked_sub(scene.before[d]));
                let expected = expected(
                    &scene,
                    at,
                    row,
                    channel,
                    patched.then_some((&patches, &covered)),
                );
                assert_eq!(found, expected, "{size:?} {patched} row {row} {place:?}");
            }
        }
    }
}

/// What lies at a place of the image in one row.
fn expected(
    scene: &Scene<'_>,
    at: [Option<usize>; 3],
    row: usize,
    channel: usize,
    patches: Option<(&Vec<f32>, &Boxes)>,
) -> f32 {
    let [Some(z), Some(y), Some(x)] = at else {
        return scene.padding;
    };
    let [depth, height, width] = scene.size;
    if z >= depth || y >= height || x >= width {
        return scene.padding;
    }
    if let Some((patches, covered)) = patches {
        let inside = |d: usize, at: usize| {
            at.checked_sub(covered.starts[row][d])
                .filter(|&at| at < covered.size[d])
        };
        if let (Some(z), Some(y), Some(x)) = (inside(0, z), inside(1, y), inside(2, x)) {
            let [depth, height, width] = covered.size;
            let number = scene.image.len() / scene.size.iter().product::<usize>() * row + channel;
            return patches[((number * depth + z) * height + y) * width + x];
        }
    }
    scene.image[((channel * depth + z) * height + y) * width + x]
}
