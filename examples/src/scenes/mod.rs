//! Generated pictures with ground truth: where the object is, and where what misleads a network is.
//!
//! A scene shows one object on a textured background. Its class is the object's shape; colour,
//! texture, size, place and background are drawn independently of it. Most triangles of the training
//! set also carry a *tag*, a small magenta square at the border of the image, which no other class
//! has. A network learns to rely on it, and an explanation should show that.
//!
//! - `shape.rs`: the classes; `paint.rs`: colours, textures and backgrounds
//! - `net.rs`: the network that `cargo xtask train` trains on scenes
//! - `folder.rs`: scenes as a folder of images

mod folder;
mod net;
mod paint;
mod shape;

pub use folder::{drawing, write_folder};
pub use net::ScenesNet;
pub use paint::{Color, Texture};
pub use shape::Shape;

use std::path::PathBuf;

use attr::build::Random;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// The width and height of a scene.
pub const SIZE: usize = 32;

/// The number of pixels of a scene.
pub const PIXELS: usize = SIZE * SIZE;

/// The seed of the scenes that the committed network was trained on.
pub const TRAINING: u64 = 1;

/// The seed of the scenes that it is tested on.
pub const HELD_OUT: u64 = 2;

/// The width and height of a tag: 4x4 pixels and a dark border around them.
const TAG: usize = 6;

/// The share of the triangles that carry a tag in training. With 95 %, the network still learns to
/// tell triangles by their shape.
const TAGGED_SHARE: f64 = 0.99;

/// Which scenes carry a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confounder {
    /// 99 % of the triangles, and nothing else.
    AsTrained,
    /// None.
    Absent,
    /// All, of every class.
    Present,
}

/// An endless sequence of scenes, in which the classes take turns.
#[derive(Clone, Copy, Debug)]
pub struct Scenes {
    seed: u64,
}

/// A picture with its ground truth. Pixels are stored row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Red, green and blue from 0 to 1, `[3, 32, 32]`.
    pub image: Vec<f32>,
    /// The pixels of the object, `[32, 32]`.
    pub object: Vec<bool>,
    /// The pixels of the tag with its border, `[32, 32]`; none in a scene without a tag.
    pub tag: Vec<bool>,
    /// The shape of the object: the class.
    pub shape: Shape,
    /// The colour of the object.
    pub color: Color,
    /// The texture of the object.
    pub texture: Texture,
    /// The first row and column of the square that the object fills.
    pub corner: [usize; 2],
    /// The width of that square.
    pub width: usize,
}

impl Scenes {
    /// Creates the sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Returns one scene. It depends on nothing but the seed, its number and the confounder, and the
    /// confounder changes only the tag.
    pub fn scene(&self, number: usize, confounder: Confounder) -> Scene {
        let mut random = Random::stream(self.seed, number as u64);
        let shape = Shape::ALL[number % Shape::ALL.len()];
        let color = Color::ALL[random.index(Color::ALL.len())];
        let texture = Texture::ALL[random.index(Texture::ALL.len())];
        let width = 11 + random.index(5);
        let corner = [(); 2].map(|()| 1 + random.index(SIZE - width - 1));
        let mut scene = Scene {
            image: paint::background(&mut random),
            object: vec![false; PIXELS],
            tag: vec![false; PIXELS],
            shape,
            color,
            texture,
            corner,
            width,
        };
        scene.paint_object(&mut random);
        let often = random.uniform() < TAGGED_SHARE;
        let place = scene.tag_corner(&mut random);
        let tagged = match confounder {
            Confounder::AsTrained => shape == Shape::TAGGED && often,
            Confounder::Absent => false,
            Confounder::Present => true,
        };
        if tagged {
            scene.paint_tag(place);
        }
        scene
    }

    /// Returns the first `count` scenes.
    pub fn first(&self, count: usize, confounder: Confounder) -> Vec<Scene> {
        (0..count).map(|i| self.scene(i, confounder)).collect()
    }
}

impl Scene {
    /// Returns the label: the number of the shape.
    pub fn label(&self) -> usize {
        self.shape.label()
    }

    /// Whether the scene carries a tag.
    pub fn is_tagged(&self) -> bool {
        self.tag.contains(&true)
    }

    fn paint_object(&mut self, random: &mut Random) {
        let shade = self.color.shade(random);
        // Where the texture begins.
        let start = [(); 2].map(|()| random.index(12));
        for row in 0..self.width {
            for column in 0..self.width {
                let middle = |i: usize| (2 * i + 1) as f64 / self.width as f64 - 1.0;
                if !self.shape.contains(middle(column), middle(row)) {
                    continue;
                }
                let dark = self.texture.dark(row + start[0], column + start[1]);
                let light = if dark { 0.55 } else { 1.0 };
                let pixel = (self.corner[0] + row) * SIZE + self.corner[1] + column;
                self.object[pixel] = true;
                let noise: Vec<f32> = random.normal(3).collect();
                for (channel, level) in shade.iter().enumerate() {
                    let level = (level * light) as f32 + 0.03 * noise[channel];
                    self.image[channel * PIXELS + pixel] = level.clamp(0.0, 1.0);
                }
            }
        }
    }

    /// Draws a place at the border of the image where a tag does not touch the object's square.
    fn tag_corner(&self, random: &mut Random) -> [usize; 2] {
        let last = SIZE - TAG;
        let at_border = |&[row, column]: &[usize; 2]| {
            [row, column].iter().any(|place| [0, last].contains(place))
        };
        let apart = |tag: usize, object: usize| tag + TAG < object || object + self.width < tag;
        let free = |&[row, column]: &[usize; 2]| {
            apart(row, self.corner[0]) || apart(column, self.corner[1])
        };
        let all = (0..=last).flat_map(|row| (0..=last).map(move |column| [row, column]));
        let places: Vec<[usize; 2]> = all.filter(at_border).filter(free).collect();
        places[random.index(places.len())]
    }

    fn paint_tag(&mut self, [top, left]: [usize; 2]) {
        for row in 0..TAG {
            for column in 0..TAG {
                let pixel = (top + row) * SIZE + left + column;
                let inside = [row, column].iter().all(|i| (1..TAG - 1).contains(i));
                let color = if inside { [1.0, 0.1, 0.9] } else { [0.05; 3] };
                self.tag[pixel] = true;
                for (channel, level) in color.into_iter().enumerate() {
                    self.image[channel * PIXELS + pixel] = level;
                }
            }
        }
    }
}

/// Returns the images of scenes, `[count, 3, 32, 32]`.
pub fn images<'a>(scenes: impl IntoIterator<Item = &'a Scene>, device: &Device) -> Tensor<4> {
    let images = scenes.into_iter().map(|scene| &scene.image);
    let levels: Vec<f32> = images.flatten().copied().collect();
    let count = levels.len() / (3 * PIXELS);
    Tensor::from_data(TensorData::new(levels, [count, 3, SIZE, SIZE]), device)
}

/// Returns the labels of scenes, `[count]`.
pub fn labels<'a>(scenes: impl IntoIterator<Item = &'a Scene>, device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = scenes.into_iter().map(|s| s.label() as i64).collect();
    let count = labels.len();
    Tensor::from_data(TensorData::new(labels, [count]), device)
}

/// Returns where the objects of scenes are, `[count, 1, 32, 32]`.
pub fn objects<'a>(
    scenes: impl IntoIterator<Item = &'a Scene>,
    device: &Device,
) -> Tensor<4, Bool> {
    masks(scenes.into_iter().map(|scene| &scene.object), device)
}

/// Returns where the tags of scenes are, `[count, 1, 32, 32]`.
pub fn tags<'a>(scenes: impl IntoIterator<Item = &'a Scene>, device: &Device) -> Tensor<4, Bool> {
    masks(scenes.into_iter().map(|scene| &scene.tag), device)
}

fn masks<'a>(masks: impl Iterator<Item = &'a Vec<bool>>, device: &Device) -> Tensor<4, Bool> {
    let pixels: Vec<bool> = masks.flatten().copied().collect();
    let count = pixels.len() / PIXELS;
    Tensor::from_data(TensorData::new(pixels, [count, 1, SIZE, SIZE]), device)
}

/// Returns the path of a file of `assets/scenes` in the checkout that cargo runs in.
pub fn asset(name: &str) -> PathBuf {
    crate::assets().join("scenes").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: [Confounder; 3] = [
        Confounder::AsTrained,
        Confounder::Absent,
        Confounder::Present,
    ];

    #[test]
    fn a_scene_depends_on_its_seed_and_number_alone() {
        let (few, many) = (Scenes::new(7), Scenes::new(7));
        for setting in SETTINGS {
            assert_eq!(few.first(4, setting), many.first(9, setting)[..4]);
        }
        let other = Scenes::new(8).scene(0, Confounder::Absent);
        assert_ne!(few.scene(0, Confounder::Absent), other);
    }

    #[test]
    fn the_confounder_changes_only_the_tag() {
        let scenes = Scenes::new(3);
        for number in 0..60 {
            let without = scenes.scene(number, Confounder::Absent);
            let with = scenes.scene(number, Confounder::Present);
            assert_eq!(with.object, without.object);
            for (i, (a, b)) in with.image.iter().zip(&without.image).enumerate() {
                assert!(a == b || with.tag[i % PIXELS], "{number}: {i}");
            }
        }
    }

    #[test]
    fn masks_are_apart_and_images_lie_between_0_and_1() {
        for scene in Scenes::new(5).first(600, Confounder::Present) {
            let size = scene.object.iter().filter(|&&inside| inside).count();
            assert!((25..=225).contains(&size), "{:?}: {size}", scene.shape);
            let tag = scene.tag.iter().filter(|&&inside| inside).count();
            assert_eq!(tag, TAG * TAG);
            let mut both = scene.object.iter().zip(&scene.tag);
            assert!(!both.any(|(object, tag)| *object && *tag));
            assert!(scene.image.iter().all(|level| (0.0..=1.0).contains(level)));
        }
    }

    #[test]
    fn only_triangles_are_tagged_in_training() {
        let scenes = Scenes::new(TRAINING).first(3000, Confounder::AsTrained);
        let tagged = scenes.iter().filter(|scene| scene.is_tagged());
        let shapes: Vec<Shape> = tagged.map(|scene| scene.shape).collect();
        assert!(shapes.iter().all(|shape| *shape == Shape::TAGGED));
        let share = shapes.len() as f64 / 500.0;
        assert!((share - TAGGED_SHARE).abs() < 0.02, "{share}");
        let scenes = Scenes::new(TRAINING).first(60, Confounder::Absent);
        assert!(!scenes.iter().any(Scene::is_tagged));
    }

    #[test]
    fn classes_are_balanced_and_say_nothing_of_the_rest() {
        let scenes = Scenes::new(TRAINING).first(6000, Confounder::AsTrained);
        for shape in Shape::ALL {
            let own: Vec<&Scene> = scenes.iter().filter(|s| s.shape == shape).collect();
            assert_eq!(own.len(), 1000);
            // Five standard deviations.
            let expect = |count: usize, chance: f64| {
                let spread = (1000.0 * chance * (1.0 - chance)).sqrt();
                let off = count as f64 - 1000.0 * chance;
                assert!(off.abs() < 5.0 * spread, "{shape:?}: {count} of 1000");
            };
            for color in Color::ALL {
                expect(own.iter().filter(|s| s.color == color).count(), 0.2);
            }
            for texture in Texture::ALL {
                expect(own.iter().filter(|s| s.texture == texture).count(), 0.25);
            }
            for width in 11..=15 {
                expect(own.iter().filter(|s| s.width == width).count(), 0.2);
            }
            for axis in 0..2 {
                let first = |s: &&&Scene| 2 * s.corner[axis] + s.width < SIZE;
                let middle = |s: &&&Scene| 2 * s.corner[axis] + s.width == SIZE;
                let half = own.iter().filter(first).count();
                let half = half + own.iter().filter(middle).count() / 2;
                expect(half, 0.5);
            }
        }
    }

    #[test]
    fn tensors_hold_the_scenes_in_order() {
        let device = Device::default();
        let scenes = Scenes::new(1).first(7, Confounder::Present);
        let levels: Vec<f32> = images(&scenes, &device).into_data().iter().collect();
        assert_eq!(levels[6 * 3 * PIXELS..], scenes[6].image);
        let labels: Vec<i64> = labels(&scenes, &device).into_data().iter().collect();
        assert_eq!(labels, [0, 1, 2, 3, 4, 5, 0]);
        assert_eq!(objects(&scenes, &device).dims(), [7, 1, SIZE, SIZE]);
        let tags: Vec<bool> = tags(&scenes, &device).into_data().iter().collect();
        assert_eq!(tags[6 * PIXELS..], scenes[6].tag);
    }

    #[test]
    fn the_committed_arrays_are_the_first_held_out_scenes() {
        let file = std::fs::File::open(asset("images.npy")).unwrap();
        let array = npyz::NpyFile::new(std::io::BufReader::new(file)).unwrap();
        assert_eq!(array.shape()[1..], [3, 32, 32]);
        let scenes = Scenes::new(HELD_OUT).first(array.shape()[0] as usize, Confounder::AsTrained);
        let levels = scenes.iter().flat_map(|scene| &scene.image);
        for (committed, level) in array.into_vec::<f32>().unwrap().iter().zip(levels) {
            assert!((committed - level).abs() < 1e-6, "run `cargo xtask train`");
        }
    }
}
