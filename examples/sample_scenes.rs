//! Writes a sample of the scenes to `assets/scenes`: arrays for `attrx` and a picture of some of
//! them; `cargo xtask train` runs this.

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;

use attr::viz::{Figure, Panel};
use attr_examples::scenes::{self, Confounder, HELD_OUT, SIZE, Scenes, Shape};
use npyz::{AutoSerialize, WriterBuilder};

/// The number of scenes in the arrays, and of rows in the picture.
const COUNT: usize = 64;
const ROWS: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let scenes = Scenes::new(HELD_OUT).first(COUNT, Confounder::AsTrained);
    let image = [COUNT, 3, SIZE, SIZE];
    let mask = [COUNT, 1, SIZE, SIZE];
    array(
        "images.npy",
        &image,
        scenes.iter().flat_map(|s| s.image.iter().copied()),
    )?;
    array(
        "labels.npy",
        &[COUNT],
        scenes.iter().map(|s| s.label() as i64),
    )?;
    let inside = |mask: &bool| u8::from(*mask);
    array(
        "masks.npy",
        &mask,
        scenes.iter().flat_map(|s| s.object.iter().map(inside)),
    )?;
    array(
        "tags.npy",
        &mask,
        scenes.iter().flat_map(|s| s.tag.iter().map(inside)),
    )?;

    // The scenes take turns, so a row of the panel has one of every class.
    let mut panel = Panel::new(Shape::ALL.map(Shape::name)).with_cell(128);
    for row in scenes.chunks_exact(Shape::ALL.len()).take(ROWS) {
        panel.row(
            "",
            row.iter().map(scenes::drawing).collect::<Result<_, _>>()?,
        )?;
    }
    panel.save(scenes::asset("scenes.png"))?;
    println!("wrote {COUNT} scenes");
    Ok(())
}

/// Writes a NumPy array.
fn array<T: AutoSerialize>(
    name: &str,
    shape: &[usize],
    values: impl Iterator<Item = T>,
) -> Result<(), Box<dyn Error>> {
    let shape: Vec<u64> = shape.iter().map(|&size| size as u64).collect();
    let file = BufWriter::new(File::create(scenes::asset(name))?);
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
    let mut writer = options.writer(file).begin_nd()?;
    writer.extend(values)?;
    Ok(writer.finish()?)
}
