//! Scenes as a folder of images, as many data sets of images are stored.

use std::error::Error;
use std::path::Path;

use attr::viz::{Drawing, Map, Picture, Style, View};
use burn::tensor::Device;

use super::{Confounder, Scene, Scenes, Shape};

/// Writes the first `count` scenes of a sequence as `CLASS/NUMBER.png`, such as
/// `2-triangle/00000008.png`: sorted by name, folders are in the order of their labels.
pub fn write_folder(
    path: &Path,
    scenes: Scenes,
    count: usize,
    confounder: Confounder,
) -> Result<(), Box<dyn Error>> {
    let folder = |shape: Shape| path.join(format!("{}-{}", shape.label(), shape.name()));
    for shape in Shape::ALL {
        std::fs::create_dir_all(folder(shape))?;
    }
    for number in 0..count {
        let scene = scenes.scene(number, confounder);
        let file = folder(scene.shape).join(format!("{number:08}.png"));
        drawing(&scene)?.image().save(file)?;
    }
    Ok(())
}

/// Draws a scene pixel by pixel.
pub fn drawing(scene: &Scene) -> Result<Drawing, Box<dyn Error>> {
    let image = super::images([scene], &Device::default()).into();
    let picture = Picture::from_value(&image, 0, 0.0..1.0)?;
    let map = Map::from_value(&image, 0)?;
    Ok(View::Original.draw(&map, Some(&picture), &Style::default())?)
}
