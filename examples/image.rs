//! Explains the digit on a picture at a layer, by gradients and without them, side by side.
//!
//! `cargo run --release --example image`

use attr::prelude::*;
use attr::surrogate::{Slic, superpixels};
use attr_examples::{DigitsNet, net_and_digits};
use burn::tensor::Device;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let (net, image) = net_and_digits(1, &device)?;
    let model = Traced::new(&net, |net: &DigitsNet, x| net.forward(x), &image)?;
    for layer in model.layers() {
        println!("{layer}"); // the names that methods take
    }

    let cam = GradCam::new("bn2.relu").with_interpolation(Resize::Bilinear);
    let cam = cam.attribute(&model, &image, Target::Predicted)?;
    let lift = DeepLift::new().attribute(&model, &image, Target::Predicted)?;
    let segments = superpixels(
        &image.clone().into(),
        &Slic {
            n_segments: 12,
            ..Slic::default()
        },
    )?;
    let lime = Lime::new().with_samples(200).with_feature_mask(segments);
    let lime = lime.attribute(&model, &image, Target::Predicted)?;

    let digit = Picture::from_value(&image.into(), 0, 0.0..1.0)?;
    let style = Style::default().with_sign(Sign::All);
    let maps = [
        Map::from_value(cam.value("bn2.relu")?, 0)?,
        Map::from_value(&lift.attribution().into(), 0)?,
        Map::from_value(&lime.attribution().into(), 0)?,
    ];
    let mut panel = Panel::new(["Grad-CAM", "DeepLIFT", "LIME"]);
    let drawn = maps
        .iter()
        .map(|map| View::BlendedHeatMap.draw(map, Some(&digit), &style));
    panel.row("a digit", drawn.collect::<Result<_, _>>()?)?;
    let path = std::env::temp_dir().join("attr-image.png");
    panel.save(&path)?;
    println!("the panel is {}", path.display());
    Ok(())
}
