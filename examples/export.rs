//! Writes the trained digits network as `assets/digits/digits.onnx`, and a held-out seven as
//! `assets/digits/seven.png`; `cargo xtask train` runs this after training.

use attr::viz::{Map, Picture, Style, View};
use attr_examples::{Digits, DigitsNet, asset};
use burn::tensor::Device;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let net = DigitsNet::trained(&device)?;
    std::fs::write(asset("digits.onnx"), net.to_onnx()?)?;

    let (_, held_out) = Digits::load()?.split();
    let seven = held_out.labels().iter().position(|label| *label == 7);
    let seven = seven.ok_or("no seven was held out")?;
    let (image, _) = held_out.batch(&[seven], &device);
    let image = image.into();
    let picture = Picture::from_value(&image, 0, 0.0..1.0)?;
    let map = Map::from_value(&image, 0)?;
    let drawing = View::Original.draw(&map, Some(&picture), &Style::default())?;
    drawing.image().save(asset("seven.png"))?;
    println!("wrote digits.onnx and seven.png");
    Ok(())
}
